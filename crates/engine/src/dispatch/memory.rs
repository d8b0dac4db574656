//! What instances may hold together, and which of them go when that is too much.
//!
//! The shell tells what the host has free, from time to time. Between two tellings the machine counts on: what the host
//! does not show yet of an instance will be taken, up to what such instances take at most; and one that was told to end
//! will give back what it holds: nobody else goes for who needs that, but it starts only where there is memory for both, or
//! when the other is gone. That is weighed when it stands still, since what it held at most is long given back,
//! and what it read of files is the host's to take.

use std::collections::BTreeSet;
use std::time::Duration;

use base::Timestamp;

use super::estimate::Estimate;
use super::keep::Worth;
use super::rows::{Function, Instance, State};
use super::{Command, Dispatch, InstanceId, PoolId};

const FADES_EVERY: Duration = Duration::from_secs(1);

impl Instance {
    /// What of it the host does not show, of one that takes what it needs or had done so only after the last telling.
    pub fn unseen(&self) -> u64 {
        self.bytes.saturating_sub(self.shown)
    }
}

/// What an instance has not taken so long after it got its first invocation, it will not take soon.
const SETTLED_AFTER: Duration = Duration::from_secs(1);

/// What a host was found to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// When it was begun to look. What happened since then may be seen, or not.
    pub since: Timestamp,
    pub available_bytes: u64,
    /// What can be taken before the kernel kills for it: less, where instances have a limit together.
    pub free_bytes: u64,
    pub total_bytes: u64,
}

#[derive(Default)]
pub struct Memory {
    /// What was told last, and what must stay free of it. Before that there is no bound.
    available: Option<u64>,
    spare: u64,
    /// By how much more the kernel lets instances take, or less.
    beyond: i128,
    /// What all instances together may hold.
    most: Option<u64>,
    /// What the host does not show yet: of instances that take what they need, and of those that had done so after the
    /// last telling. What it has shown of them is counted by the host alone.
    pub taking: u64,
    pub fresh: u64,
    fresh_ones: BTreeSet<InstanceId>,
    /// Of those told to end.
    leaving: u64,
    /// Of those that may have to go.
    idle: u64,
    /// Idle instances that may have to go, the least worth in front. One that became worth more since stands where it
    /// was, and one that runs again too, so that an invocation on a warm instance leaves all this alone.
    pub order: BTreeSet<((u64, u64), InstanceId)>,
    /// What the last one that had to go was worth.
    clock: u64,
    /// How long those had been idle that had to go, guests aside.
    pub lasted: Estimate,
    /// Counts the times that an instance became idle.
    turns: u64,
}

impl Memory {
    pub fn next_turn(&mut self) -> u64 {
        self.turns = self.turns.saturating_add(1);
        self.turns
    }

    /// What new instances may hold without that any other goes. Less than nothing: some must.
    fn room(&self) -> i128 {
        let Some(available) = self.available else { return i128::MAX };
        let free = i128::from(available).saturating_add(i128::from(self.leaving));
        let taken = [self.spare, self.taking, self.fresh].into_iter().map(i128::from).sum();
        free.saturating_sub(taken)
    }

    /// What instances may take before anything was given back by who was told to end. Half of the spare part may be lent for
    /// that; the other half is for what nobody foresees.
    fn free(&self) -> i128 {
        let promised = i128::from(self.leaving).saturating_sub((self.spare / 2).into());
        self.room().saturating_sub(promised).saturating_add(self.beyond)
    }

    pub fn leaves(&mut self, row: &mut Instance) {
        self.leaving = self.leaving.saturating_add(row.bytes);
        let unseen = row.unseen();
        if row.is_taking {
            self.taking = self.taking.saturating_sub(unseen);
        } else if row.fresh.take().is_some() {
            self.fresh = self.fresh.saturating_sub(unseen);
        } else {
            return;
        }
        // The host did not show that it took this; it will not show that it gives it back.
        self.available = self.available.map(|available| available.saturating_sub(unseen));
    }

    /// What is counted of one, in place of what was: the host shows the rest.
    fn recount(&mut self, row: &Instance, before: u64) {
        let sum = match row.state {
            State::Ending => return,
            State::Queued | State::Starting | State::Ready if row.is_taking => &mut self.taking,
            State::Queued | State::Starting | State::Ready if row.fresh.is_some() => &mut self.fresh,
            State::Queued | State::Starting | State::Ready => return,
        };
        *sum = sum.saturating_sub(before).saturating_add(row.unseen());
    }

    /// If it was told again since its end was near, this is counted twice, until it is told next: the spare part is there.
    pub fn left(&mut self, bytes: u64) {
        self.leaving = self.leaving.saturating_sub(bytes);
        self.available = self.available.map(|available| available.saturating_add(bytes));
    }

    #[cfg(test)]
    pub fn sums(&self) -> [u64; 4] {
        [self.taking, self.fresh, self.leaving, self.idle]
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.sums() == [0; 4] && self.order.is_empty()
    }
}

impl Dispatch {
    pub(super) fn told(&mut self, now: Timestamp, told: Told, shown: &[(InstanceId, u64)], out: &mut Vec<Command>) {
        let spare = u128::from(told.total_bytes).saturating_mul(self.settings.spare_percent.into()) / 100;
        self.memory.available = Some(told.available_bytes);
        self.memory.beyond = i128::from(told.free_bytes).saturating_sub(told.available_bytes.into());
        self.memory.spare = u64::try_from(spare).unwrap_or(u64::MAX);
        self.memory.most = Some(told.total_bytes.saturating_sub(self.memory.spare));
        self.shows_fresh(told.since);
        for (instance, bytes) in shown {
            let Some(row) = self.instances.find_mut(*instance) else { continue };
            if row.is_taking && row.state != State::Ending {
                let before = row.unseen();
                row.shown = *bytes;
                // It takes more than such instances did up to now.
                row.bytes = row.bytes.max(*bytes);
                let is_long_ready = row.state == State::Ready && now.since(row.rested) >= SETTLED_AFTER;
                self.memory.recount(&self.instances[*instance], before);
                if is_long_ready {
                    self.weigh(*instance, *bytes);
                    self.taken(told.since, *instance);
                }
            }
        }
        while self.memory.room() < 0 && self.shed(now, out) {}
    }

    /// The host shows what was taken before.
    fn shows_fresh(&mut self, before: Timestamp) {
        self.memory.fresh = 0;
        let mut still = std::mem::take(&mut self.memory.fresh_ones);
        still.retain(|instance| {
            let Some(row) = self.instances.find_mut(*instance) else { return false };
            row.fresh = row.fresh.filter(|taken| *taken > before);
            if row.fresh.is_some() {
                self.memory.fresh = self.memory.fresh.saturating_add(row.unseen());
            }
            row.fresh.is_some()
        });
        self.memory.fresh_ones = still;
    }

    /// Changes what decides whether an instance may have to go, and what is gained by that.
    pub(super) fn change<R>(&mut self, instance: InstanceId, change: impl FnOnce(&mut Instance) -> R) -> R {
        let row = &mut self.instances[instance];
        let before = row.gain();
        let result = change(row);
        self.memory.idle = self.memory.idle.saturating_sub(before).saturating_add(row.gain());
        result
    }

    /// An instance has taken what it holds: the host shows it when it tells next.
    pub(super) fn taken(&mut self, now: Timestamp, instance: InstanceId) {
        if self.change(instance, |row| std::mem::replace(&mut row.is_taking, false)) {
            let row = &mut self.instances[instance];
            self.memory.taking = self.memory.taking.saturating_sub(row.unseen());
            if self.memory.available.is_some() {
                row.fresh = Some(now);
                self.memory.fresh_ones.insert(instance);
                self.memory.fresh = self.memory.fresh.saturating_add(row.unseen());
            }
        }
    }

    /// What an instance holds is known better.
    fn weigh(&mut self, instance: InstanceId, bytes: u64) {
        let before = self.instances[instance].unseen();
        self.change(instance, |row| row.bytes = bytes);
        self.memory.recount(&self.instances[instance], before);
    }

    /// What an instance has held at most: what later ones may need, and, until it is weighed, what it holds.
    pub(super) fn peaked(&mut self, instance: InstanceId, bytes: u64) {
        let row = &self.instances[instance];
        self.functions[self.pools[row.pool].function].bytes.add_peak(bytes);
        if !row.is_weighed {
            self.weigh(instance, bytes);
        }
    }

    pub(super) fn weighed(&mut self, now: Timestamp, instance: InstanceId, bytes: u64) {
        // What it gives back was settled when it was told to end, and one that was called meanwhile holds more soon.
        let Some(row) = self.instances.find_mut(instance).filter(|row| row.is_idle()) else { return };
        row.is_weighed = true;
        let (pool, is_provisioned) = (row.pool, row.is_provisioned);
        // Of one that nobody has called yet it is all that is known.
        let known = &mut self.functions[self.pools[pool].function].bytes;
        if known.count().is_none_or(|known| known < bytes) {
            known.add_peak(bytes);
        }
        self.weigh(instance, bytes);
        if !is_provisioned {
            self.rank(now, instance);
        }
    }

    /// Puts an idle instance where it stands among those that may have to go.
    pub(super) fn rank(&mut self, now: Timestamp, instance: InstanceId) {
        let (function, worth) = self.worth(instance);
        // One that would be gone before it is called again had better go at once.
        let lasts = match (function.arrivals.gap.get(), self.memory.lasted.get()) {
            (Some(gap), Some(lasted)) => gap <= lasted,
            _ => true,
        };
        let bar = if self.instances[instance].is_guest && !lasts { self.bar(now) } else { 0 };
        let rank = self.settings.keep_alive.rank(now, &function.arrivals, Worth { bar, ..worth });
        let rank = (rank, self.memory.next_turn());
        let row = &mut self.instances[instance];
        row.is_guest &= rank.0 == 0;
        row.rank = rank;
        // Under what it was worth before, it is looked at again in time; not so if it is worth less now.
        if row.queued.is_none_or(|queued| rank < queued) {
            if let Some(queued) = row.queued.replace(rank) {
                self.memory.order.remove(&(queued, instance));
            }
            self.memory.order.insert((rank, instance));
        }
    }

    fn worth(&self, instance: InstanceId) -> (&Function, Worth) {
        let row = &self.instances[instance];
        let function = &self.functions[self.pools[row.pool].function];
        let cold = function.cold.get().unwrap_or_default();
        (function, Worth { clock: self.memory.clock, cold, bytes: row.bytes, bar: 0 })
    }

    /// What is gained by the one that is worth least, of those that did not come as guests.
    fn bar(&self, now: Timestamp) -> u64 {
        let Some((_, instance)) = self.memory.order.range(((1, 0), InstanceId::MIN)..).next() else { return 0 };
        let (function, worth) = self.worth(*instance);
        self.settings.keep_alive.gain(now, &function.arrivals, worth)
    }

    /// What instances hold, for a shell that cannot see it. Those that still take it are counted elsewhere.
    pub fn held_bytes(&self) -> u64 {
        let rows = self.instances.ids().into_iter().filter_map(|id| self.instances.find(id));
        let rows = rows.filter(|row| !row.is_taking);
        rows.fold(0, |sum: u64, row| sum.saturating_add(row.bytes))
    }

    /// Whether there is memory for an instance to be lent. One that broke takes as much as a new one.
    pub(super) fn may_load(&mut self, now: Timestamp, instance: InstanceId, out: &mut Vec<Command>) -> bool {
        let row = &self.instances[instance];
        if !row.is_cold {
            return true;
        }
        let (pool, before, was_fresh) = (row.pool, row.unseen(), row.fresh.is_some());
        // It does not make room for itself.
        self.change(instance, |row| row.is_taking = true);
        let fits = self.make_room(now, pool, out);
        let bytes = self.bytes_of(pool);
        if !fits {
            self.change(instance, |row| row.is_taking = false);
            let row = &self.instances[instance];
            if row.may_go() && row.queued.is_none() {
                self.rank(now, instance);
            }
            return false;
        }
        let row = &mut self.instances[instance];
        (row.is_cold, row.fresh, row.shown, row.bytes) = (false, None, 0, bytes);
        if was_fresh {
            self.memory.fresh = self.memory.fresh.saturating_sub(before);
        }
        self.memory.taking = self.memory.taking.saturating_add(bytes);
        true
    }

    /// Whether one more of these fits without that another goes.
    fn has_room(&self, pool: PoolId) -> bool {
        self.memory.room() >= i128::from(self.bytes_of(pool))
    }

    /// Whether one more of these fits beside those that were told to end and are there still.
    pub(super) fn has_free(&self, pool: PoolId) -> bool {
        self.memory.leaving == 0 || self.memory.free() >= i128::from(self.bytes_of(pool))
    }

    /// Whether one more of these fits where memory is not short: what is started ahead into a full host goes before it
    /// is asked for.
    pub(super) fn has_plenty(&self, pool: PoolId) -> bool {
        self.memory.room() >= i128::from(self.bytes_of(pool)).saturating_add(self.memory.spare.into())
    }

    /// Whether one more of these may get in line. Of too many instances, an idle one goes for it; for its memory none
    /// does before it is its turn.
    pub(super) fn may_queue(&mut self, now: Timestamp, pool: PoolId, out: &mut Vec<Command>) -> bool {
        while self.alive >= self.settings.instances_max {
            if !self.shed(now, out) {
                return false;
            }
        }
        // What those hold that start is not known yet.
        let may = self.would_fit(pool, self.memory.taking);
        if !may {
            self.fade(now, pool);
        }
        may
    }

    /// Lets idle instances go until one more of these fits. Whether it does.
    pub(super) fn make_room(&mut self, now: Timestamp, pool: PoolId, out: &mut Vec<Command>) -> bool {
        // Nobody goes for one that does not fit even so.
        if !self.would_fit(pool, 0) {
            return false;
        }
        while !self.has_room(pool) {
            if !self.shed(now, out) {
                return false;
            }
        }
        true
    }

    /// Whether one more of these fits, or would if all that is idle went, and there was so much more.
    fn would_fit(&self, pool: PoolId, more: u64) -> bool {
        let room = self.memory.room().saturating_add(more.into()).saturating_add(self.memory.idle.into());
        room >= i128::from(self.bytes_of(pool))
    }

    /// One was refused. What its function is taken to hold may be of long ago: it is taken for less as time goes by, not by
    /// how often it is asked for.
    pub(super) fn fade(&mut self, now: Timestamp, pool: PoolId) {
        let function = &mut self.functions[self.pools[pool].function];
        if function.faded.is_none_or(|faded| now.since(faded) >= FADES_EVERY) {
            function.faded = Some(now);
            function.bytes.fade();
        }
    }

    /// No instance can hold more than there is.
    pub fn at_most(&self, bytes: u64) -> u64 {
        self.memory.most.map_or(bytes, |most| bytes.min(most))
    }

    /// Ends the idle instance that is worth least. Whether there was one.
    fn shed(&mut self, now: Timestamp, out: &mut Vec<Command>) -> bool {
        while let Some((queued, instance)) = self.memory.order.pop_first() {
            let row = &mut self.instances[instance];
            row.queued = None;
            if !row.may_go() {
                continue;
            }
            if row.rank > queued {
                row.queued = Some(row.rank);
                self.memory.order.insert((row.rank, instance));
                continue;
            }
            self.memory.clock = self.memory.clock.max(queued.0);
            if queued.0 > 0 {
                let rested = self.instances[instance].rested;
                self.memory.lasted.add(now.since(rested));
            }
            self.end(now, instance, out);
            return true;
        }
        false
    }
}

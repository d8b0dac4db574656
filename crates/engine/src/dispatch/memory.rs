//! What instances may hold together, and which of them go when that is too much.
//!
//! The shell tells what the host has free, from time to time. Between two tellings the machine counts on: what the host
//! does not show yet of an instance will be taken, up to what such instances take at most; and one that was told to end
//! will give back what it holds. That is weighed when it stands still, since what it held at most is long given back,
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

#[derive(Default)]
pub struct Memory {
    /// What was told last, and what must stay free of it. Before that there is no bound.
    available: Option<u64>,
    spare: u64,
    /// What all instances together may hold.
    most: Option<u64>,
    /// What the host does not show yet: of instances that take what they need, and of those that had done so after the
    /// last telling. What it has shown of them is counted by the host alone.
    pub taking: u64,
    pub fresh: u64,
    /// Of those told to end.
    leaving: u64,
    /// Counts the tellings.
    pub telling: u64,
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

    fn is_fresh(&self, row: &Instance) -> bool {
        !row.is_taking && row.taken_at_telling == self.telling
    }

    pub fn leaves(&mut self, row: &Instance) {
        self.leaving = self.leaving.saturating_add(row.bytes);
        let unseen = row.unseen();
        if row.is_taking {
            self.taking = self.taking.saturating_sub(unseen);
        } else if self.is_fresh(row) {
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
            State::Queued | State::Starting | State::Ready if self.is_fresh(row) => &mut self.fresh,
            State::Queued | State::Starting | State::Ready => return,
        };
        *sum = sum.saturating_sub(before).saturating_add(row.unseen());
    }

    pub fn left(&mut self, bytes: u64) {
        self.leaving = self.leaving.saturating_sub(bytes);
        self.available = self.available.map(|available| available.saturating_add(bytes));
    }

    #[cfg(test)]
    pub fn leaving(&self) -> u64 {
        self.leaving
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.taking == 0 && self.fresh == 0 && self.leaving == 0 && self.order.is_empty()
    }
}

impl Dispatch {
    pub(super) fn told(
        &mut self,
        now: Timestamp,
        available: u64,
        total: u64,
        shown: &[(InstanceId, u64)],
        out: &mut Vec<Command>,
    ) {
        let spare = u128::from(total).saturating_mul(self.settings.spare_percent.into()) / 100;
        self.memory.available = Some(available);
        self.memory.spare = u64::try_from(spare).unwrap_or(u64::MAX);
        self.memory.most = Some(total.saturating_sub(self.memory.spare));
        self.memory.fresh = 0;
        self.memory.telling = self.memory.telling.saturating_add(1);
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
                    self.taken(*instance);
                }
            }
        }
        while self.memory.room() < 0 && self.shed(now, out) {}
    }

    /// An instance has taken what it holds: the host shows it when it tells next.
    pub(super) fn taken(&mut self, instance: InstanceId) {
        let row = &mut self.instances[instance];
        if std::mem::replace(&mut row.is_taking, false) {
            row.taken_at_telling = self.memory.telling;
            self.memory.taking = self.memory.taking.saturating_sub(row.unseen());
            self.memory.fresh = self.memory.fresh.saturating_add(row.unseen());
        }
    }

    /// What an instance holds is known better.
    fn weigh(&mut self, instance: InstanceId, bytes: u64) {
        let row = &mut self.instances[instance];
        let before = row.unseen();
        row.bytes = bytes;
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
        let is_provisioned = row.is_provisioned;
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

    /// Whether one more of these fits without that another goes.
    pub(super) fn has_room(&self, pool: PoolId) -> bool {
        self.alive < self.settings.instances_max && self.memory.room() >= i128::from(self.bytes_of(pool))
    }

    /// Whether one more of these fits where memory is not short: what is started ahead into a full host goes before it
    /// is asked for.
    pub(super) fn has_plenty(&self, pool: PoolId) -> bool {
        let ahead = i128::from(self.bytes_of(pool)).saturating_add(self.memory.spare.into());
        self.alive < self.settings.instances_max && self.memory.room() >= ahead
    }

    /// Lets idle instances go until one more of these fits. Whether it does.
    pub(super) fn make_room(&mut self, now: Timestamp, pool: PoolId, out: &mut Vec<Command>) -> bool {
        if self.has_room(pool) {
            return true;
        }
        if self.alive < self.settings.instances_max && !self.would_fit(pool) {
            // Nobody goes for one that does not fit even so. What its function is taken to hold may be of long ago: it is
            // taken for less as time goes by, not by how often it is asked for.
            let function = &mut self.functions[self.pools[pool].function];
            if function.faded.is_none_or(|faded| now.since(faded) >= FADES_EVERY) {
                function.faded = Some(now);
                function.bytes.fade();
            }
            return false;
        }
        while !self.has_room(pool) {
            if !self.shed(now, out) {
                return false;
            }
        }
        true
    }

    /// Whether one more of these would fit if all that is idle went.
    fn would_fit(&self, pool: PoolId) -> bool {
        let idle = self.memory.order.iter().filter_map(|(_, instance)| self.instances.find(*instance));
        let idle =
            idle.filter(|row| row.is_idle() && !row.is_provisioned).map(|row| i128::from(row.bytes)).sum::<i128>();
        self.memory.room().saturating_add(idle) >= i128::from(self.bytes_of(pool))
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
            if !row.is_idle() || row.is_provisioned {
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

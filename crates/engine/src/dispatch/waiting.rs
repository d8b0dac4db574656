//! Asks that wait a moment for a busy instance of their own pool.
//!
//! Where more short invocations run at once than the cores carry, another process only takes the CPU from those that
//! run: the ask is served sooner by who is nearly done. It counts as running meanwhile, waits no longer than a cold
//! start of its function would take, and gets another instance when its time is over. Cores that have something left
//! say that invocations wait for something else: then nobody waits for them.
//!
//! What is short is so by the time that an invocation would take alone: many at once on full cores take many times as long,
//! and must not be taken for long ones because they are many. And it is short by what it takes of a processor: one that
//! sleeps while others keep the cores full is served by no core any sooner.

use std::time::Duration;

use base::Timestamp;

use super::rows::{Function, Lease, Pool};
use super::table::Id;
use super::{Alarm, Command, Dispatch, Freed, InstanceId, PoolId, Reason};

/// An invocation that has a processor for fewer thousandths of its time waits for something else. One that computes has to
/// share, and has it for a tenth: with others of its kind, other functions, and the server that hands it its events.
const COMPUTES_FROM: u64 = 40;

/// So many times as long, shared by so many.
fn times(time: Duration, count: usize, sharing: usize) -> Option<Duration> {
    let [count, sharing] = [count, sharing].map(|number| u32::try_from(number).unwrap_or(u32::MAX));
    time.saturating_mul(count).checked_div(sharing)
}

pub struct Waiter {
    lease: Lease,
    until: Timestamp,
}

impl Dispatch {
    /// Whether an invocation takes little of a processor, and nothing else.
    pub(super) fn is_short(&self, function: Id<Function>) -> bool {
        let row = &self.functions[function];
        let computes = row.share.count().is_none_or(|thousandths| thousandths >= COMPUTES_FROM);
        computes && row.own_time.get().is_some_and(|time| time <= self.settings.short_max)
    }

    /// Learns from an invocation that ended just now.
    pub(super) fn learn_time(&mut self, now: Timestamp, pool: PoolId, freed: Freed) {
        let (cores, crowd) = (self.settings.cores, self.settings.crowd());
        let row = &mut self.pools[pool];
        let at_once = row.busy.saturating_add(1);
        if at_once > crowd {
            row.crowded = Some(now);
        }
        // Among many, hardly anybody has a processor for long, whatever it does.
        let calm = row.crowded.map(|crowded| now.since(crowded));
        let share = freed.cpu.filter(|share| calm.is_none_or(|calm| calm > share.over));
        let function = &mut self.functions[row.function];
        if let Some(share) = share {
            function.share.add_count(share.thousandths.into());
        }
        let is_shared = self.are_cores_full && at_once > cores;
        let own = if is_shared { times(freed.wall, cores, at_once) } else { None };
        function.own_time.add(own.unwrap_or(freed.wall));
    }

    /// Whether an ask does better to wait.
    pub(super) fn may_wait(&self, pool: PoolId, lease: Lease) -> bool {
        let row = &self.pools[pool];
        lease.is_short
            && self.is_crowded()
            && row.waiting.len() < self.settings.waiting_max
            && self.expected(row).is_some_and(|wait| wait < self.patience(row))
    }

    fn is_crowded(&self) -> bool {
        self.are_cores_full && self.runs_many()
    }

    /// Whether as many short invocations run as keep the cores at work.
    pub fn runs_many(&self) -> bool {
        self.short_running >= self.settings.crowd()
    }

    /// How long one more would wait, if somebody is at work.
    fn expected(&self, row: &Pool) -> Option<Duration> {
        let time = self.functions[row.function].own_time.get().unwrap_or_default();
        times(time, row.waiting.len().saturating_add(1), row.busy.min(self.settings.cores))
    }

    /// As long as a start would take now: it gets no more of the cores than each of the crowd that runs or waits already.
    fn patience(&self, row: &Pool) -> Duration {
        let cold = self.functions[row.function].cold.get().unwrap_or_default();
        let at_once = self.short_running.saturating_add(row.waiting.len());
        self.settings.wait_max.min(times(cold, at_once, self.settings.cores).unwrap_or(cold))
    }

    pub(super) fn wait(&mut self, now: Timestamp, pool: PoolId, lease: Lease) {
        self.count(pool, lease);
        let until = now.plus(self.patience(&self.pools[pool]));
        let row = &mut self.pools[pool];
        if row.waiting.is_empty() {
            self.alarms.insert((until, Alarm::Waiting(pool)));
        }
        row.waiting.push_back(Waiter { lease, until });
    }

    /// Gives an instance's free slots to who waits longest.
    pub(super) fn serve_waiting(&mut self, instance: InstanceId, out: &mut Vec<Command>) {
        let row = &self.instances[instance];
        let (pool, is_provisioned) = (row.pool, row.is_provisioned);
        let slots = self.pools[pool].shape.slots;
        // Of too many at once, this one is left aside: the next that is free will do.
        let is_left_out = |dispatch: &Dispatch| dispatch.is_crowded() && dispatch.pools[pool].busy > 0;
        while self.instances[instance].has_room(slots)
            && !self.instances[instance].is_cold
            && !is_left_out(self)
            && let Some(waiter) = self.pools[pool].waiting.pop_front()
        {
            self.uncount(pool, waiter.lease);
            let lease = Lease { is_provisioned, ..waiter.lease };
            self.lend(instance, lease);
            out.push(Command::Lend { ask: lease.ask, instance });
        }
    }

    pub(super) fn waited_long(&mut self, now: Timestamp, pool: PoolId, out: &mut Vec<Command>) {
        while let Some(row) = self.pools.find_mut(pool) {
            let Some(first) = row.waiting.front() else { break };
            if first.until > now {
                // Those in front were served meanwhile.
                let until = first.until;
                self.alarms.insert((until, Alarm::Waiting(pool)));
                break;
            }
            let Some(waiter) = row.waiting.pop_front() else { break };
            self.uncount(pool, waiter.lease);
            if let Err(reason) = self.place(now, pool, waiter.lease, out) {
                out.push(Command::Throttle { ask: waiter.lease.ask, reason });
            }
        }
        self.collect(now, pool, out);
    }

    pub(super) fn refuse_waiting(&mut self, pool: PoolId, out: &mut Vec<Command>) {
        while let Some(waiter) = self.pools.find_mut(pool).and_then(|row| row.waiting.pop_front()) {
            self.uncount(pool, waiter.lease);
            out.push(Command::Throttle { ask: waiter.lease.ask, reason: Reason::Concurrency });
        }
    }
}

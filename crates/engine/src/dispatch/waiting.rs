//! Asks that wait a moment for a busy instance of their own pool.
//!
//! Where more short invocations run at once than the cores carry, another process only takes the CPU from those that
//! run: the ask is served sooner by who is nearly done. It counts as running meanwhile, waits no longer than a cold
//! start of its function would take, and gets another instance when its time is over. Cores that have something left
//! say that invocations wait for something else: then nobody waits for them.

use std::time::Duration;

use base::Timestamp;

use super::rows::{Function, Lease, Pool};
use super::table::Id;
use super::{Alarm, Command, Dispatch, InstanceId, PoolId, Reason};

pub struct Waiter {
    lease: Lease,
    until: Timestamp,
}

impl Dispatch {
    pub(super) fn is_short(&self, function: Id<Function>) -> bool {
        self.functions[function].wall.get().is_some_and(|wall| wall <= self.settings.short_max)
    }

    /// Whether an ask does better to wait.
    pub(super) fn may_wait(&self, pool: PoolId, lease: Lease) -> bool {
        let row = &self.pools[pool];
        lease.is_short
            && self.is_crowded()
            && row.waiting.len() < self.settings.waiting_max
            && self.expected(row).is_some_and(|wait| wait < self.patience(row.function))
    }

    fn is_crowded(&self) -> bool {
        self.are_cores_full && self.short_running >= self.settings.runnable_max
    }

    /// How long one more would wait, if somebody is at work.
    fn expected(&self, row: &Pool) -> Option<Duration> {
        let places = u32::try_from(row.waiting.len()).unwrap_or(u32::MAX).saturating_add(1);
        let wall = self.functions[row.function].wall.get().unwrap_or_default();
        wall.saturating_mul(places).checked_div(u32::try_from(row.busy).unwrap_or(u32::MAX))
    }

    /// As long as a start would take now, which gets half of a core at most where twice the cores are wanted.
    fn patience(&self, function: Id<Function>) -> Duration {
        let cold = self.functions[function].cold.get().unwrap_or_default();
        self.settings.wait_max.min(cold.saturating_mul(2))
    }

    pub(super) fn wait(&mut self, now: Timestamp, pool: PoolId, lease: Lease) {
        self.count(pool, lease);
        let until = now.plus(self.patience(self.pools[pool].function));
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

//! How instances rest and end.

use base::Timestamp;

use super::rows::{Instance, State};
use super::{Alarm, Command, Dispatch, InstanceId, PoolId, Why};

impl Instance {
    pub fn has_room(&self, slots: u32) -> bool {
        u32::try_from(self.leases.len()).is_ok_and(|lent| lent < slots)
    }
}

impl Dispatch {
    /// What one of these instances is likely to hold.
    pub(super) fn bytes_of(&self, pool: PoolId) -> u64 {
        let row = &self.pools[pool];
        self.at_most(self.functions[row.function].bytes.count().unwrap_or(row.shape.bytes))
    }

    pub(super) fn ready(&mut self, now: Timestamp, instance: InstanceId, out: &mut Vec<Command>) {
        let Some(row) = self.instances.find(instance).filter(|row| row.state == State::Starting) else { return };
        let (pool, took) = (row.pool, now.since(row.started));
        self.functions[self.pools[pool].function].cold.add(took);
        self.warmed(instance);
        self.instances[instance].rested = now;
        if !self.settings.are_weighed || self.instances[instance].is_idle() {
            self.taken(now, instance);
        }
        self.settle(now, instance, out);
    }

    /// Its init is over.
    pub(super) fn warmed(&mut self, instance: InstanceId) {
        self.give_place_back(instance);
        self.change(instance, |row| row.state = State::Ready);
        let row = &self.instances[instance];
        if row.is_provisioned
            && let Some(provision) = &mut self.versions[self.pools[row.pool].version].provision
        {
            provision.succeeded();
        }
    }

    /// It has nothing to do: from here on its time runs, and others may have its place.
    pub(super) fn rests(&mut self, now: Timestamp, instance: InstanceId) {
        let row = &self.instances[instance];
        let pool = row.pool;
        let function = &self.functions[self.pools[pool].function];
        // One that was started ahead has its time from whoever expected the call.
        let plan = match row.until {
            Some(_) => None,
            None => Some(self.settings.keep_alive.plan(now, &function.arrivals, function.busy == 0)),
        };
        self.rank(now, instance);
        let row = &mut self.instances[instance];
        row.rested = now;
        if let Some(plan) = plan {
            row.until = plan.until;
        }
        if let Some(until) = row.until
            && row.alarm.is_none_or(|alarm| until < alarm)
        {
            if let Some(early) = row.alarm.replace(until) {
                self.alarms.remove(&(early, Alarm::Idle(instance)));
            }
            self.alarms.insert((until, Alarm::Idle(instance)));
        }
        if let Some(warm) = plan.and_then(|plan| plan.warm) {
            let row = &mut self.pools[pool];
            row.warm = Some(warm);
            if row.warm_alarm.is_none_or(|alarm| warm.at < alarm) {
                row.warm_alarm = Some(warm.at);
                self.alarms.insert((warm.at, Alarm::Warm(pool)));
            }
        }
    }

    pub(super) fn idle_long(&mut self, now: Timestamp, instance: InstanceId, out: &mut Vec<Command>) {
        let Some(row) = self.instances.find_mut(instance) else { return };
        row.alarm = None;
        let Some(until) = row.until.filter(|_| row.is_idle() && !row.is_provisioned) else { return };
        if until <= now {
            return self.end(now, instance, out);
        }
        // It ran meanwhile.
        row.alarm = Some(until);
        self.alarms.insert((until, Alarm::Idle(instance)));
    }

    /// Starts an instance before the call that is to be expected, where that costs nobody else anything.
    pub(super) fn warm(&mut self, now: Timestamp, pool: PoolId, out: &mut Vec<Command>) {
        let Some(row) = self.pools.find_mut(pool).filter(|row| row.warm_alarm.is_some_and(|alarm| alarm <= now)) else {
            return;
        };
        row.warm_alarm = None;
        let Some(warm) = row.warm else { return };
        if warm.at > now {
            row.warm_alarm = Some(warm.at);
            self.alarms.insert((warm.at, Alarm::Warm(pool)));
            return;
        }
        row.warm = None;
        let is_needed = row.alive == 0 && self.functions[row.function].busy == 0;
        let may_start = self.alive < self.settings.instances_max && self.may_grow(now, pool) && self.has_plenty(pool);
        if is_needed && !self.is_draining && self.is_current(pool) && may_start {
            let instance = self.queue(now, pool, Why::Expected);
            self.instances[instance].until = Some(warm.until);
        }
        self.collect(now, pool, out);
    }

    /// Tells an instance to end.
    pub(super) fn end(&mut self, now: Timestamp, instance: InstanceId, out: &mut Vec<Command>) {
        let Some(row) = self.instances.find(instance).filter(|row| row.state != State::Ending) else { return };
        let (pool, is_queued, was_provisioned) = (row.pool, row.state == State::Queued, row.is_provisioned);
        let version = self.pools[pool].version;
        if is_queued {
            self.unqueue(instance);
            self.collect(now, pool, out);
        } else {
            self.detach(instance);
            out.push(Command::End { instance });
        }
        if was_provisioned {
            self.reconcile(now, version, out);
        }
    }

    pub(super) fn ended(
        &mut self,
        now: Timestamp,
        instance: InstanceId,
        failure: Option<String>,
        out: &mut Vec<Command>,
    ) {
        let Some(row) = self.instances.find(instance) else { return };
        let (pool, was_provisioned, was_starting) = (row.pool, row.is_provisioned, row.state == State::Starting);
        // One that ends before it was ready has failed, whether anybody knows why or not.
        let failure = failure.or_else(|| was_starting.then(|| "INTERNAL_ERROR".to_owned()));
        let asks: Vec<_> = row.leases.iter().map(|lease| lease.ask).collect();
        for ask in asks {
            self.take_back(now, instance, ask);
        }
        let version = self.pools[pool].version;
        // Of one that was let go nothing follows for the others.
        if let Some(provision) = &mut self.versions[version].provision
            && provision.instances.contains(&instance)
        {
            match failure {
                Some(failure) => provision.failed(now, failure, &self.settings),
                None => provision.lost(now, &self.settings),
            }
        }
        self.detach(instance);
        let Some(row) = self.instances.remove(instance) else { return };
        self.memory.left(row.bytes);
        self.pools[pool].instances = self.pools[pool].instances.saturating_sub(1);
        if was_provisioned {
            self.reconcile(now, version, out);
        }
        self.collect(now, pool, out);
    }

    /// Nobody finds it any more.
    fn detach(&mut self, instance: InstanceId) {
        self.give_place_back(instance);
        let row = &mut self.instances[instance];
        if row.state == State::Ending {
            return;
        }
        self.memory.leaves(row);
        self.change(instance, |row| row.state = State::Ending);
        let row = &mut self.instances[instance];
        if let Some(queued) = row.queued.take() {
            self.memory.order.remove(&(queued, instance));
        }
        if let Some(alarm) = row.alarm.take() {
            self.alarms.remove(&(alarm, Alarm::Idle(instance)));
        }
        let pool = &mut self.pools[row.pool];
        let open = if row.is_provisioned { &mut pool.open_provisioned } else { &mut pool.open };
        if let Some(at) = open.iter().position(|other| *other == instance) {
            open.remove(at);
        }
        pool.alive = pool.alive.saturating_sub(1);
        self.alive = self.alive.saturating_sub(1);
        if row.is_provisioned
            && let Some(provision) = &mut self.versions[pool.version].provision
        {
            provision.instances.remove(&instance);
        }
    }
}

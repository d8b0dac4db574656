//! How instances start, rest and end.

use base::Timestamp;

use super::rows::{Instance, State};
use super::{Alarm, Command, Dispatch, InstanceId, PoolId, Why};

impl Instance {
    pub fn has_room(&self, slots: u32) -> bool {
        u32::try_from(self.leases.len()).is_ok_and(|lent| lent < slots)
    }
}

impl Dispatch {
    pub(super) fn may_grow(&self, now: Timestamp, pool: PoolId) -> bool {
        self.functions[self.pools[pool].function].growth.has(now, self.settings.growth)
    }

    /// A new instance, for which there is room. Whoever calls says so to the shell.
    pub(super) fn start(&mut self, now: Timestamp, pool: PoolId, is_provisioned: bool) -> InstanceId {
        let bytes = self.bytes_of(pool);
        let instance = self.instances.add(Instance {
            pool,
            state: State::Starting,
            leases: Vec::new(),
            is_provisioned,
            is_spent: false,
            bytes,
            is_weighed: false,
            is_taking: true,
            shown: 0,
            started: now,
            until: None,
            alarm: None,
            rank: (0, 0),
            is_guest: !self.has_plenty(pool),
            rested: now,
            queued: None,
            taken_at_telling: 0,
        });
        self.memory.taking = self.memory.taking.saturating_add(bytes);
        self.alive = self.alive.saturating_add(1);
        let row = &mut self.pools[pool];
        row.instances = row.instances.saturating_add(1);
        row.alive = row.alive.saturating_add(1);
        self.functions[row.function].growth.take(now, self.settings.growth);
        instance
    }

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
            self.taken(instance);
        }
        self.settle(now, instance, out);
    }

    /// Its init is over.
    pub(super) fn warmed(&mut self, instance: InstanceId) {
        let row = &mut self.instances[instance];
        row.state = State::Ready;
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
        if is_needed && !self.is_draining && self.is_current(pool) && self.may_grow(now, pool) && self.has_plenty(pool)
        {
            let instance = self.start(now, pool, false);
            self.instances[instance].until = Some(warm.until);
            out.push(Command::Start { instance, pool, ask: None, why: Why::Expected });
        }
        self.collect(now, pool, out);
    }

    /// Tells an instance to end.
    pub(super) fn end(&mut self, now: Timestamp, instance: InstanceId, out: &mut Vec<Command>) {
        if self.instances.find(instance).is_none_or(|row| row.state == State::Ending) {
            return;
        }
        let version = self.pools[self.instances[instance].pool].version;
        let was_provisioned = self.instances[instance].is_provisioned;
        self.detach(instance);
        out.push(Command::End { instance });
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
        let (pool, was_provisioned) = (row.pool, row.is_provisioned);
        // One that ends before it was ready has failed, whether anybody knows why or not.
        let failure = failure.or_else(|| (row.state == State::Starting).then(|| "INTERNAL_ERROR".to_owned()));
        let asks: Vec<_> = row.leases.iter().map(|lease| lease.ask).collect();
        for ask in asks {
            self.take_back(now, instance, ask);
        }
        self.detach(instance);
        let Some(row) = self.instances.remove(instance) else { return };
        self.memory.left(row.bytes);
        self.pools[pool].instances = self.pools[pool].instances.saturating_sub(1);
        let version = self.pools[pool].version;
        if was_provisioned {
            if let (Some(failure), Some(provision)) = (failure, &mut self.versions[version].provision) {
                provision.failed(now, failure, &self.settings);
            }
            self.reconcile(now, version, out);
        }
        self.collect(now, pool, out);
    }

    /// Nobody finds it any more.
    fn detach(&mut self, instance: InstanceId) {
        let row = &mut self.instances[instance];
        if row.state == State::Ending {
            return;
        }
        self.memory.leaves(row);
        row.state = State::Ending;
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

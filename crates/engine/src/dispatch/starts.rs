//! How instances are started: each is put in line first, and started when it gets a place.
//!
//! It counts as an instance from the beginning, and with what it will hold from its turn on: where more are in line than
//! there is memory for, those that came first start, and it is known by then what such ones hold. As long as it is in
//! line nothing has been done for it: whoever asked for it takes another instance of its pool that becomes free sooner,
//! and then, or when nobody wants it any more, it is dropped as if it had never been. It keeps its place until its init is
//! over, or waits for something else than the CPU, or has taken so long that others must not wait for it.

use base::Timestamp;

use super::rows::{Instance, Lease, Starter, State};
use super::{Alarm, AskId, Command, Dispatch, InstanceId, PoolId, Reason, Why};

/// Of those that wait for memory, so many functions' are looked at in one step at most.
const LOOKED_AT_ONCE: usize = 8;

impl Instance {
    /// What it is started for.
    fn why(&self) -> Why {
        match (self.leases.is_empty(), self.is_provisioned) {
            (false, _) => Why::Asked,
            (true, true) => Why::Provisioned,
            (true, false) => Why::Expected,
        }
    }
}

impl Dispatch {
    pub(super) fn may_grow(&self, now: Timestamp, pool: PoolId) -> bool {
        self.functions[self.pools[pool].function].growth.has(now, self.settings.growth)
    }

    /// A new instance, which may be.
    pub(super) fn queue(&mut self, now: Timestamp, pool: PoolId, why: Why) -> InstanceId {
        let instance = self.instances.add(Instance {
            pool,
            state: State::Queued,
            leases: Vec::new(),
            is_provisioned: why == Why::Provisioned,
            is_spent: false,
            is_cold: false,
            bytes: 0,
            is_weighed: false,
            is_taking: true,
            shown: 0,
            started: now,
            ticket: None,
            until: None,
            alarm: None,
            rank: (0, 0),
            is_guest: false,
            rested: now,
            queued: None,
            waits_until: None,
            fresh: None,
        });
        self.alive = self.alive.saturating_add(1);
        let row = &mut self.pools[pool];
        row.instances = row.instances.saturating_add(1);
        row.alive = row.alive.saturating_add(1);
        match why {
            Why::Asked => row.queued.push_back(instance),
            Why::Expected => row.queued_ahead = Some(instance),
            Why::Provisioned => {}
        }
        self.functions[row.function].growth.take(now, self.settings.growth);
        let starter = Starter { account: row.account, function: row.function };
        self.instances[instance].ticket = Some(self.line.enter(starter, why != Why::Asked, instance));
        instance
    }

    /// Starts those whose turn it is, if there is memory for them. Who waits for memory lets the others pass.
    pub(super) fn start_next(&mut self, now: Timestamp, out: &mut Vec<Command>) {
        loop {
            let candidates = self.line.candidates(LOOKED_AT_ONCE);
            if candidates.iter().any(|instance| self.starts_or_ends(now, *instance, out)) {
                continue;
            }
            // Those behind them have a look in the next step.
            if candidates.len() == LOOKED_AT_ONCE {
                for instance in candidates {
                    if let Some(ticket) = self.instances[instance].ticket {
                        self.line.postpone(ticket);
                    }
                }
            }
            return;
        }
    }

    /// Whether one whose turn it is waits for memory no longer.
    fn starts_or_ends(&mut self, now: Timestamp, instance: InstanceId, out: &mut Vec<Command>) -> bool {
        let row = &self.instances[instance];
        let (pool, why) = (row.pool, row.why());
        let has_memory = match why {
            Why::Expected => self.has_plenty(pool),
            Why::Asked | Why::Provisioned => self.make_room(now, pool, out),
        };
        // Of those that start it is soon known what they hold, and that may be less than what they are taken to hold.
        let is_soon_told =
            if has_memory { !self.has_free(pool) } else { why != Why::Expected && self.memory.taking > 0 };
        if is_soon_told && self.may_wait_for_memory(now, instance) {
            return false;
        }
        if has_memory {
            self.start(now, instance, why, out);
        } else {
            self.refuse(now, instance, out);
        }
        true
    }

    fn start(&mut self, now: Timestamp, instance: InstanceId, why: Why, out: &mut Vec<Command>) {
        if let Some(ticket) = self.instances[instance].ticket {
            self.line.take(ticket);
        }
        let pool = self.instances[instance].pool;
        let (bytes, is_guest) = (self.bytes_of(pool), !self.has_plenty(pool));
        self.memory.taking = self.memory.taking.saturating_add(bytes);
        let row = &mut self.instances[instance];
        (row.state, row.started, row.bytes, row.is_guest) = (State::Starting, now, bytes, is_guest);
        let ask = row.leases.first().map(|lease| lease.ask);
        self.alarms.insert((now.plus(self.settings.long_after), Alarm::Place(instance)));
        self.out_of_line(pool, instance);
        out.push(Command::Start { instance, pool, ask, why });
    }

    /// Whether it has not waited for memory for long.
    fn may_wait_for_memory(&mut self, now: Timestamp, instance: InstanceId) -> bool {
        let row = &mut self.instances[instance];
        let until = *row.waits_until.get_or_insert_with(|| now.plus(self.settings.memory_wait_max));
        if until > now {
            self.alarms.insert((until, Alarm::Memory));
        }
        until > now
    }

    /// Drops one whose turn it is, for want of memory. Whoever asked for it is told so.
    fn refuse(&mut self, now: Timestamp, instance: InstanceId, out: &mut Vec<Command>) {
        let row = &self.instances[instance];
        let (pool, is_provisioned) = (row.pool, row.is_provisioned);
        let asks: Vec<AskId> = row.leases.iter().map(|lease| lease.ask).collect();
        for ask in asks {
            self.take_back(now, instance, ask);
            out.push(Command::Throttle { ask, reason: Reason::Host });
        }
        self.fade(now, pool);
        let version = self.pools[pool].version;
        if is_provisioned && let Some(provision) = &mut self.versions[version].provision {
            provision.pause(now, &self.settings);
        }
        self.end(now, instance, out);
    }

    /// One that still starts keeps its place, with less right to it, and in the end not even that.
    pub(super) fn takes_long(&mut self, now: Timestamp, instance: InstanceId) {
        let Some(row) = self.instances.find_mut(instance) else { return };
        let Some(ticket) = row.ticket.filter(|ticket| !ticket.is_long()) else { return self.give_place_back(instance) };
        let due = row.started.plus(self.settings.place_max);
        if due <= now {
            return self.give_place_back(instance);
        }
        row.ticket = Some(self.line.prolong(ticket));
        self.alarms.insert((due, Alarm::Place(instance)));
    }

    /// Others may start, whatever becomes of it.
    pub(super) fn give_place_back(&mut self, instance: InstanceId) {
        let Some(row) = self.instances.find_mut(instance).filter(|row| row.state != State::Queued) else { return };
        let Some(ticket) = row.ticket.take() else { return };
        let lasts = if ticket.is_long() { self.settings.place_max } else { self.settings.long_after };
        self.alarms.remove(&(row.started.plus(lasts), Alarm::Place(instance)));
        self.line.give_back(ticket);
    }

    /// Drops one that is in line and that nobody asks for, or not any more.
    pub(super) fn unqueue(&mut self, instance: InstanceId) {
        if self.instances.find(instance).is_none_or(|row| row.state != State::Queued) {
            return;
        }
        let Some(row) = self.instances.remove(instance) else { return };
        if let Some(ticket) = row.ticket {
            self.line.leave(ticket);
        }
        self.alive = self.alive.saturating_sub(1);
        self.out_of_line(row.pool, instance);
        let pool = &mut self.pools[row.pool];
        pool.instances = pool.instances.saturating_sub(1);
        pool.alive = pool.alive.saturating_sub(1);
        self.functions[pool.function].growth.give_back(self.settings.growth);
        if let Some(provision) = &mut self.versions[pool.version].provision {
            provision.instances.remove(&instance);
        }
    }

    /// Drops what is in line for a pool and that nobody has asked for.
    pub(super) fn unqueue_unasked(&mut self, now: Timestamp, pool: PoolId, out: &mut Vec<Command>) {
        let row = &self.pools[pool];
        let provision = self.versions[row.version].provision.as_ref().filter(|provision| provision.pool == pool);
        let provisioned = provision.into_iter().flat_map(|provision| provision.instances.iter().copied());
        let is_queued = |instance: &InstanceId| self.instances[*instance].state == State::Queued;
        let dropped: Vec<InstanceId> = provisioned.filter(is_queued).chain(row.queued_ahead).collect();
        for instance in dropped {
            self.end(now, instance, out);
        }
    }

    /// Gives an instance's free slots to who asked for those that are still in line, which are not needed then.
    pub(super) fn serve_queued(&mut self, instance: InstanceId, out: &mut Vec<Command>) {
        let row = &self.instances[instance];
        let (pool, is_provisioned) = (row.pool, row.is_provisioned);
        let slots = self.pools[pool].shape.slots;
        while self.instances[instance].has_room(slots)
            && !self.instances[instance].is_cold
            && let Some(queued) = self.pools[pool].queued.front().copied()
        {
            let leases = std::mem::take(&mut self.instances[queued].leases);
            self.unqueue(queued);
            for lease in leases {
                self.unlend(pool, lease);
                self.lend(instance, Lease { is_provisioned, ..lease });
                out.push(Command::Lend { ask: lease.ask, instance });
            }
        }
    }

    fn out_of_line(&mut self, pool: PoolId, instance: InstanceId) {
        let row = &mut self.pools[pool];
        if row.queued_ahead == Some(instance) {
            row.queued_ahead = None;
        }
        // Those of a pool leave in their order.
        if row.queued.front() == Some(&instance) {
            row.queued.pop_front();
        }
    }
}

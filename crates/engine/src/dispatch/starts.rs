//! How instances are started: each is put in line first, and started when it gets a place.
//!
//! It counts from the beginning, as an instance and with what it will hold. As long as it is in line nothing has been
//! done for it: whoever asked for it takes another instance of its pool that becomes free sooner, and then, or when
//! nobody wants it any more, it is dropped as if it had never been. It keeps its place until its init is over, or waits for
//! something else than the CPU, or has taken so long that others must not wait for it.

use base::Timestamp;

use super::rows::{Instance, Lease, State};
use super::{Alarm, Command, Dispatch, InstanceId, PoolId, Why};

impl Dispatch {
    pub(super) fn may_grow(&self, now: Timestamp, pool: PoolId) -> bool {
        self.functions[self.pools[pool].function].growth.has(now, self.settings.growth)
    }

    /// A new instance, for which there is room.
    pub(super) fn queue(&mut self, now: Timestamp, pool: PoolId, why: Why) -> InstanceId {
        let bytes = self.bytes_of(pool);
        let is_guest = !self.has_plenty(pool);
        let instance = self.instances.add(Instance {
            pool,
            state: State::Queued,
            leases: Vec::new(),
            is_provisioned: why == Why::Provisioned,
            is_spent: false,
            bytes,
            is_weighed: false,
            is_taking: true,
            shown: 0,
            started: now,
            ticket: None,
            until: None,
            alarm: None,
            rank: (0, 0),
            is_guest,
            rested: now,
            queued: None,
            taken_at_telling: 0,
        });
        self.memory.taking = self.memory.taking.saturating_add(bytes);
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
        let turns = row.function;
        self.instances[instance].ticket = Some(self.line.enter(turns, why != Why::Asked, instance));
        instance
    }

    /// Starts those whose turn it is.
    pub(super) fn start_next(&mut self, now: Timestamp, out: &mut Vec<Command>) {
        while let Some(instance) = self.line.next() {
            let row = &mut self.instances[instance];
            (row.state, row.started) = (State::Starting, now);
            let (pool, ask) = (row.pool, row.leases.first().map(|lease| lease.ask));
            let why = match (ask, row.is_provisioned) {
                (Some(_), _) => Why::Asked,
                (None, true) => Why::Provisioned,
                (None, false) => Why::Expected,
            };
            self.alarms.insert((now.plus(self.settings.long_after), Alarm::Place(instance)));
            self.out_of_line(pool, instance);
            out.push(Command::Start { instance, pool, ask, why });
        }
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
        self.memory.taking = self.memory.taking.saturating_sub(row.unseen());
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

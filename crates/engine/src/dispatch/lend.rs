//! What may run, and on which instance.

use base::Timestamp;
use base::ports::Concurrency;

use super::rows::{Budget, Lease, State};
use super::{AskId, Command, Dispatch, Freed, InstanceId, PoolId, Rate, Reason, Why};

pub struct Ask {
    pub ask: AskId,
    pub pool: PoolId,
    pub limit: Concurrency,
    pub is_async: bool,
}

impl Dispatch {
    pub(super) fn ask(&mut self, now: Timestamp, ask: &Ask, out: &mut Vec<Command>) {
        let pool = ask.pool;
        let budget = match ask.limit {
            Concurrency::Reserved(_) => Budget::Reserved,
            Concurrency::Shared(_) => Budget::Shared,
        };
        let Some(row) = self.pools.find(pool).filter(|_| !self.is_draining) else {
            return out.push(Command::Throttle { ask: ask.ask, reason: Reason::Concurrency });
        };
        let function = row.function;
        self.supersede(now, pool, out);
        self.functions[function].arrivals.asked(now);
        let is_short = self.is_short(function);
        let mut lease = Lease { ask: ask.ask, budget, is_provisioned: true, is_short };
        if let Some(instance) = self.take_provisioned(now, pool, ask.is_async)
            && self.may_load(now, instance, out)
        {
            self.lend(instance, lease);
            return out.push(Command::Lend { ask: ask.ask, instance });
        }
        lease.is_provisioned = false;
        if let Err(reason) = self.admit(now, ask) {
            out.push(Command::Throttle { ask: ask.ask, reason });
            return self.collect(now, pool, out);
        }
        if self.may_wait(pool, lease) {
            self.spend(now, ask);
            return self.wait(now, pool, lease);
        }
        match self.place(now, pool, lease, out) {
            Ok(()) => self.spend(now, ask),
            Err(reason) => {
                out.push(Command::Throttle { ask: ask.ask, reason });
                self.collect(now, pool, out);
            }
        }
    }

    /// The instance that was used last, else a new one.
    pub(super) fn place(
        &mut self,
        now: Timestamp,
        pool: PoolId,
        lease: Lease,
        out: &mut Vec<Command>,
    ) -> Result<(), Reason> {
        if let Some(instance) = self.pools[pool].open.back().copied()
            && self.may_load(now, instance, out)
        {
            self.lend(instance, lease);
            out.push(Command::Lend { ask: lease.ask, instance });
            return Ok(());
        }
        // It was expected, and nothing has been done for it yet.
        if let Some(expected) = self.pools[pool].queued_ahead {
            self.unqueue(expected);
        }
        let too_fast = match lease.budget {
            Budget::Reserved => Reason::ReservedRate,
            Budget::Shared => Reason::Rate,
        };
        if !self.may_grow(now, pool) {
            return Err(too_fast);
        }
        if !self.may_queue(now, pool, out) {
            return Err(Reason::Host);
        }
        let instance = self.queue(now, pool, Why::Asked);
        self.lend(instance, lease);
        Ok(())
    }

    /// Whether the function's and the account's limits let it run on demand.
    fn admit(&self, now: Timestamp, ask: &Ask) -> Result<(), Reason> {
        let pool = &self.pools[ask.pool];
        let (function, account) = (&self.functions[pool.function], &self.accounts[pool.account]);
        let (running, requests) = match ask.limit {
            Concurrency::Reserved(_) => (function.running, &function.requests),
            Concurrency::Shared(_) => (account.shared_running, &account.requests),
        };
        let (Concurrency::Reserved(max) | Concurrency::Shared(max)) = ask.limit;
        let (too_many, too_fast) = match ask.limit {
            Concurrency::Reserved(_) => (Reason::ReservedConcurrency, Reason::ReservedRate),
            Concurrency::Shared(_) => (Reason::Concurrency, Reason::Rate),
        };
        if running >= max {
            return Err(too_many);
        }
        if !ask.is_async && !requests.has(now, self.rate(max)) {
            return Err(too_fast);
        }
        Ok(())
    }

    /// Takes the request that `admit` found.
    fn spend(&mut self, now: Timestamp, ask: &Ask) {
        let (Concurrency::Reserved(max) | Concurrency::Shared(max)) = ask.limit;
        let rate = self.rate(max);
        let pool = &self.pools[ask.pool];
        if ask.is_async {
            return;
        }
        match ask.limit {
            Concurrency::Reserved(_) => self.functions[pool.function].requests.take(now, rate),
            Concurrency::Shared(_) => self.accounts[pool.account].requests.take(now, rate),
        }
    }

    pub(super) fn rate(&self, concurrency: u32) -> Rate {
        Rate::per_second(concurrency.saturating_mul(self.settings.requests_per_unit))
    }

    /// Lends a slot, and counts it.
    pub(super) fn lend(&mut self, instance: InstanceId, lease: Lease) {
        self.change(instance, |row| {
            row.leases.push(lease);
            row.until = None;
        });
        let row = &self.instances[instance];
        let (pool, is_full) = (row.pool, !row.has_room(self.pools[row.pool].shape.slots));
        let is_provisioned = row.is_provisioned;
        let row = &mut self.pools[pool];
        row.busy = row.busy.saturating_add(1);
        row.warm = None;
        if is_full {
            let open = if is_provisioned { &mut row.open_provisioned } else { &mut row.open };
            // The last, in nearly every case.
            if open.back() == Some(&instance) {
                open.pop_back();
            } else {
                open.retain(|other| *other != instance);
            }
        }
        if lease.is_short {
            self.short_running = self.short_running.saturating_add(1);
        }
        self.count(pool, lease);
    }

    /// What `lend` counted is so no more.
    pub(super) fn unlend(&mut self, pool: PoolId, lease: Lease) {
        self.pools[pool].busy = self.pools[pool].busy.saturating_sub(1);
        if lease.is_short {
            self.short_running = self.short_running.saturating_sub(1);
        }
        self.uncount(pool, lease);
    }

    pub(super) fn count(&mut self, pool: PoolId, lease: Lease) {
        let pool = &self.pools[pool];
        let (account, function) = (&mut self.accounts[pool.account], &mut self.functions[pool.function]);
        function.busy = function.busy.saturating_add(1);
        account.busy = account.busy.saturating_add(1);
        if lease.is_provisioned {
            account.provisioned_busy = account.provisioned_busy.saturating_add(1);
            if let Some(provision) = &mut self.versions[pool.version].provision {
                provision.busy = provision.busy.saturating_add(1);
            }
        } else {
            function.running = function.running.saturating_add(1);
            if lease.budget == Budget::Shared {
                account.shared_running = account.shared_running.saturating_add(1);
            }
        }
    }

    pub(super) fn uncount(&mut self, pool: PoolId, lease: Lease) {
        let pool = &self.pools[pool];
        let (account, function) = (&mut self.accounts[pool.account], &mut self.functions[pool.function]);
        function.busy = function.busy.saturating_sub(1);
        account.busy = account.busy.saturating_sub(1);
        if lease.is_provisioned {
            account.provisioned_busy = account.provisioned_busy.saturating_sub(1);
            if let Some(provision) = &mut self.versions[pool.version].provision {
                provision.busy = provision.busy.saturating_sub(1);
            }
        } else {
            function.running = function.running.saturating_sub(1);
            if lease.budget == Budget::Shared {
                account.shared_running = account.shared_running.saturating_sub(1);
            }
        }
    }

    /// Takes back what an instance had of an ask. Whether it had it.
    pub(super) fn take_back(&mut self, now: Timestamp, instance: InstanceId, ask: AskId) -> bool {
        let Some(row) = self.instances.find(instance) else { return false };
        let pool = row.pool;
        let Some(at) = row.leases.iter().position(|lease| lease.ask == ask) else { return false };
        let lease = self.change(instance, |row| row.leases.swap_remove(at));
        self.unlend(pool, lease);
        let function = &mut self.functions[self.pools[pool].function];
        if function.busy == 0 {
            function.arrivals.rested(now);
        }
        true
    }

    pub(super) fn free(
        &mut self,
        now: Timestamp,
        instance: InstanceId,
        ask: AskId,
        freed: Freed,
        out: &mut Vec<Command>,
    ) {
        if !self.take_back(now, instance, ask) {
            return;
        }
        let pool = self.instances[instance].pool;
        self.learn_time(now, pool, freed);
        if let Some(bytes) = freed.bytes {
            self.peaked(instance, bytes);
        }
        let row = &mut self.instances[instance];
        row.is_spent |= freed.is_spent || !self.pools[pool].shape.is_kept;
        row.is_cold = freed.is_cold && row.leases.is_empty();
        if row.state == State::Starting {
            self.warmed(instance);
        }
        self.taken(now, instance);
        self.settle(now, instance, out);
    }

    /// An instance has a free slot, or is of no more use.
    pub(super) fn settle(&mut self, now: Timestamp, instance: InstanceId, out: &mut Vec<Command>) {
        let Some(row) = self.instances.find(instance).filter(|row| row.state == State::Ready) else { return };
        let is_useless = self.is_draining || !self.is_current(row.pool);
        let row = &mut self.instances[instance];
        row.is_spent |= is_useless;
        if row.is_spent {
            if row.leases.is_empty() {
                self.end(now, instance, out);
            }
            return;
        }
        self.open(instance);
        self.serve_waiting(instance, out);
        self.serve_queued(instance, out);
        if self.instances.find(instance).is_some_and(|row| row.is_idle() && !row.is_provisioned) {
            self.rests(now, instance);
        }
    }

    /// Puts it where it is found when the next ask comes.
    fn open(&mut self, instance: InstanceId) {
        let row = &self.instances[instance];
        let pool = &mut self.pools[row.pool];
        let open = if row.is_provisioned { &mut pool.open_provisioned } else { &mut pool.open };
        // Of several slots, another one may have been free already.
        let is_there = pool.shape.slots > 1 && open.contains(&instance);
        if !is_there && row.has_room(pool.shape.slots) {
            open.push_back(instance);
        }
    }

    /// Whether instances of this pool are of the release that its version was asked for last.
    pub(super) fn is_current(&self, pool: PoolId) -> bool {
        let row = &self.pools[pool];
        self.versions[row.version].release == row.wanted.release
    }

    /// Idle instances of releases before this one end; those that run get no more.
    pub(super) fn supersede(&mut self, now: Timestamp, pool: PoolId, out: &mut Vec<Command>) {
        if self.is_current(pool) {
            return;
        }
        let version = self.pools[pool].version;
        self.versions[version].release = self.pools[pool].wanted.release;
        let others: Vec<PoolId> = self.versions[version].pools.iter().copied().filter(|id| *id != pool).collect();
        for other in others {
            if self.is_current(other) {
                continue;
            }
            let row = &mut self.pools[other];
            row.warm = None;
            let open: Vec<InstanceId> = row.open.drain(..).chain(row.open_provisioned.drain(..)).collect();
            for instance in open {
                self.instances[instance].is_spent = true;
                self.settle(now, instance, out);
            }
            self.unqueue_unasked(now, other, out);
            // Who waits for them gets another one of them, which ends behind it, or is told that there is none.
            self.collect(now, other, out);
        }
        self.reconcile(now, version, out);
    }
}

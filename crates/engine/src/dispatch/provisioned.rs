//! Provisioned concurrency: instances that are there before anybody asks, and stay.
//!
//! They serve the asks of their version first; what they cannot take runs on demand. One that ends is replaced, at most so
//! often; while inits fail, after a pause that doubles.

use std::collections::BTreeSet;
use std::time::Duration;

use base::Timestamp;

use super::bucket::Bucket;
use super::rows::{Lease, State, Version};
use super::table::Id;
use super::{Alarm, Command, Dispatch, InstanceId, PoolId, Settings, Why};

pub struct Provision {
    pub pool: PoolId,
    pub count: u32,
    /// Invocations on them.
    pub busy: u32,
    pub instances: BTreeSet<InstanceId>,
    /// Synchronous requests on them.
    requests: Bucket,
    failures: u32,
    failure: Option<String>,
    retry_at: Timestamp,
    /// When one that was ready was gone and replaced at once.
    lost_at: Option<Timestamp>,
    /// Its entry in the alarms.
    alarm: Option<Timestamp>,
}

/// How far it is, for who asks the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provided {
    pub requested: u32,
    /// Started; those that wait for their start are not.
    pub allocated: u32,
    /// Of those, ready.
    pub available: u32,
    /// Why the last one failed, until one is ready.
    pub failure: Option<String>,
}

impl Provision {
    fn new(pool: PoolId) -> Provision {
        Provision {
            pool,
            count: 0,
            busy: 0,
            instances: BTreeSet::new(),
            requests: Bucket::default(),
            failures: 0,
            failure: None,
            retry_at: Timestamp::default(),
            lost_at: None,
            alarm: None,
        }
    }

    fn allocated(&self) -> u32 {
        u32::try_from(self.instances.len()).unwrap_or(u32::MAX)
    }

    pub fn succeeded(&mut self) {
        self.failures = 0;
        self.failure = None;
    }

    pub fn failed(&mut self, now: Timestamp, failure: String, settings: &Settings) {
        self.failure = Some(failure);
        // Those that were started together fail together, once.
        if now >= self.retry_at {
            let pause = settings.retry_first.saturating_mul(2_u32.saturating_pow(self.failures));
            self.failures = self.failures.saturating_add(1);
            self.retry_at = now.plus(pause.min(settings.retry_max));
        }
    }

    /// One that was ready is gone. It is replaced at once; the next ones after a pause, as they may all go that way.
    pub fn lost(&mut self, now: Timestamp, settings: &Settings) {
        match self.lost_at.map(|lost| lost.plus(settings.retry_first)).filter(|again| *again > now) {
            Some(again) => self.retry_at = self.retry_at.max(again),
            None => self.lost_at = Some(now),
        }
    }

    /// There is no memory for another one just now.
    pub fn pause(&mut self, now: Timestamp, settings: &Settings) {
        self.retry_at = self.retry_at.max(now.plus(settings.retry_first));
    }
}

impl Dispatch {
    /// How far the provisioned concurrency of a pool's version is; `None` where there is none.
    pub fn provided(&self, pool: PoolId) -> Option<Provided> {
        let provision = self.versions[self.pools.find(pool)?.version].provision.as_ref()?;
        let count = |is_so: fn(State) -> bool| {
            let those = provision.instances.iter().filter(|instance| is_so(self.instances[**instance].state));
            u32::try_from(those.count()).unwrap_or(u32::MAX)
        };
        Some(Provided {
            requested: provision.count,
            allocated: count(|state| state != State::Queued),
            available: count(|state| state == State::Ready),
            failure: provision.failure.clone(),
        })
    }

    pub(super) fn provide(&mut self, now: Timestamp, pool: PoolId, count: u32, out: &mut Vec<Command>) {
        let Some(version) = self.pools.find(pool).map(|row| row.version) else { return };
        if count > 0 {
            self.supersede(now, pool, out);
        }
        let before = self.versions[version].provision.as_ref().map(|provision| provision.pool);
        if let Some(before) = before.filter(|before| *before != pool) {
            self.let_go(now, version, 0, out);
            self.versions[version].provision = None;
            self.collect(now, before, out);
        }
        self.versions[version].provision.get_or_insert_with(|| Provision::new(pool));
        self.let_go(now, version, count, out);
        if count == 0 {
            self.versions[version].provision = None;
            return self.collect(now, pool, out);
        }
        self.reconcile(now, version, out);
    }

    /// Starts what is missing, as fast as it may.
    pub(super) fn reconcile(&mut self, now: Timestamp, version: Id<Version>, out: &mut Vec<Command>) {
        while let Some(provision) = self.versions.find(version).and_then(|row| row.provision.as_ref()) {
            let pool = provision.pool;
            if provision.allocated() >= provision.count || self.is_draining || !self.is_current(pool) {
                return;
            }
            let again = if now < provision.retry_at {
                provision.retry_at
            } else if !self.may_grow(now, pool) {
                self.functions[self.pools[pool].function].growth.has_at(self.settings.growth)
            } else if !self.may_queue(now, pool, out) {
                now.plus(self.settings.retry_first)
            } else {
                let instance = self.queue(now, pool, Why::Provisioned);
                if let Some(provision) = &mut self.versions[version].provision {
                    provision.instances.insert(instance);
                }
                continue;
            };
            // Not at this very moment again, whatever the clock's grain.
            let again = again.max(now.plus(Duration::from_micros(1)));
            if let Some(provision) = &mut self.versions[version].provision {
                if let Some(before) = provision.alarm.replace(again) {
                    self.alarms.remove(&(before, Alarm::Provide(version)));
                }
                self.alarms.insert((again, Alarm::Provide(version)));
            }
            return;
        }
    }

    /// Lets go what is too much: what is not ready first, the less has been done for it the sooner, then what is idle. What
    /// runs is from now on counted as on demand, and ends when it is idle.
    fn let_go(&mut self, now: Timestamp, version: Id<Version>, count: u32, out: &mut Vec<Command>) {
        let Some(provision) = &mut self.versions[version].provision else { return };
        provision.count = count;
        let excess = usize::try_from(provision.allocated().saturating_sub(count)).unwrap_or(usize::MAX);
        if excess == 0 {
            return;
        }
        let mut instances: Vec<InstanceId> = provision.instances.iter().copied().collect();
        instances.sort_by_key(|instance| match &self.instances[*instance] {
            row if !row.leases.is_empty() => 3,
            row if row.state == State::Queued => 0,
            row if row.state == State::Starting => 1,
            _ => 2,
        });
        for instance in instances.into_iter().take(excess) {
            if let Some(provision) = &mut self.versions[version].provision {
                provision.instances.remove(&instance);
            }
            if self.instances[instance].leases.is_empty() {
                self.end(now, instance, out);
            } else {
                self.recount(instance);
            }
        }
    }

    fn recount(&mut self, instance: InstanceId) {
        let pool = self.instances[instance].pool;
        let leases = self.instances[instance].leases.clone();
        for lease in leases {
            self.uncount(pool, lease);
            self.count(pool, Lease { is_provisioned: false, ..lease });
        }
        let row = &mut self.instances[instance];
        row.is_provisioned = false;
        // It knows of itself that it was provisioned, so it is no instance for what runs on demand.
        row.is_spent = true;
        row.leases.iter_mut().for_each(|lease| lease.is_provisioned = false);
        self.pools[pool].open_provisioned.retain(|other| *other != instance);
    }

    /// A slot of a provisioned instance, if there is one, within their rate.
    pub(super) fn take_provisioned(&mut self, now: Timestamp, pool: PoolId, is_async: bool) -> Option<InstanceId> {
        let instance = self.pools[pool].open_provisioned.back().copied()?;
        if is_async {
            return Some(instance);
        }
        let version = self.pools[pool].version;
        let allocated = self.versions[version].provision.as_ref()?.allocated();
        let rate = self.rate(allocated);
        let requests = &mut self.versions[version].provision.as_mut()?.requests;
        if !requests.has(now, rate) {
            return None;
        }
        requests.take(now, rate);
        Some(instance)
    }
}

//! Which instance runs an invocation, when one is started and when one ends: for all functions of a server.
//!
//! Its shell calls [`Dispatch::step`] with what happened and carries out the commands, at once and in their order; and
//! again when [`Dispatch::next_wakeup`] has passed. More calls change nothing. The limits of a function come with each
//! ask, as values: no table is read here.
//!
//! An ask is answered once, by `Lend`, `Start` or `Throttle`. What is lent is a *slot* of an instance, which has one, or
//! as many as its shape says, and is given back by `Free` or by the instance's end. An instance is of one scope,
//! function, version, release and tenant (a *pool*) for ever; the one that was used last is lent first. When a version
//! is asked for by another release, the instances of the one before get no more invocations and end when idle.
//!
//! | file | concept |
//! |---|---|
//! | `lend` | what may run, and on which instance |
//! | `waiting` | asks that wait a moment for a busy instance |
//! | `starts`, `line` | which of those that are to be started is started next |
//! | `instances` | how they rest and end |
//! | `memory` | what instances may hold together, and which of them go |
//! | `provisioned` | instances that are there before anybody asks, because somebody pays for them |
//! | `keep`, `arrivals` | how long an idle one is kept, and when one is started ahead |
//! | `bucket`, `estimate`, `table` | a rate, a mean, rows |
//! | `rows`, `forget` | what is known, and when it is known no more |
//!
//! **Invariants.** Nothing runs above a limit. No slot is lent twice. What was counted is uncounted once, and a function
//! that nobody calls costs nothing once its rates have recovered and its history is old. A decision costs the same
//! however many functions there are.

mod arrivals;
mod bucket;
mod estimate;
mod forget;
mod instances;
mod keep;
mod lend;
mod line;
mod memory;
#[cfg(test)]
mod property;
mod provisioned;
mod rows;
#[cfg(test)]
mod small_host;
mod starts;
mod table;
#[cfg(test)]
mod tests;
mod waiting;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use base::ports::Concurrency;
use base::record::{AtOnce, ProvisionedAtOnce};
use base::{AccountId, Region, Timestamp, Uuid, World};

pub use bucket::Rate;
pub use keep::{KeepAlive, Policy};
pub use line::Places;
pub use memory::Told;
pub use provisioned::Provided;
use rows::{Account, Function, FunctionName, Instance, Pool, Starter, State, Version};
use table::{Id, Names, Table};

/// An instance, from `Start` to `Ended`.
pub type InstanceId = Id<Instance>;

/// What asks for the same instances, from [`Dispatch::pool`] to `Forget`.
pub type PoolId = Id<Pool>;

/// The shell's number of an ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AskId(pub u64);

/// Whose concurrency is counted together.
pub type Scope = (World, AccountId, Region);

/// What an instance is bound to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Wanted {
    pub scope: Scope,
    pub function: String,
    pub version: String,
    pub release: Uuid,
    /// Whose requests it serves alone; also the name of a long-lived instance.
    pub tenant: Option<String>,
}

/// What an instance of a pool is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Invocations at once. Event functions have one.
    pub slots: u32,
    /// What it is taken to hold until it is known.
    pub bytes: u64,
    /// Whether it may be lent again. A long-lived instance that its owner holds is not.
    pub is_kept: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Ask {
        ask: AskId,
        pool: PoolId,
        limit: Concurrency,
        /// Asynchronous ones are bounded by concurrency, not by rate.
        is_async: bool,
    },
    /// Its init waits for something and computes nothing: another one may start meanwhile.
    Waits { instance: InstanceId },
    /// Its init is done.
    Ready { instance: InstanceId },
    /// An invocation is over.
    Free { instance: InstanceId, ask: AskId, freed: Freed },
    /// Nothing of it is left, whatever it was doing. What it ran is given back.
    Ended {
        instance: InstanceId,
        /// Why its init failed, if that is why.
        failure: Option<String>,
    },
    /// So many instances of this pool are to be there before anybody asks; none ends that. One pool of a version at a
    /// time: a new release takes over from the one before.
    Provide { pool: PoolId, count: u32 },
    /// What the host has, and what it has no more because of instances that take what they need: they start, or run for the
    /// first time.
    Memory { told: Told, shown: Vec<(InstanceId, u64)> },
    /// An idle instance stands still, and holds so much that no other one shares: what the host gets back when it ends.
    Weighed { instance: InstanceId, bytes: u64 },
    /// Whether the host's cores are all at work.
    Cores { are_full: bool },
    /// No more invocations.
    Drain,
    /// Time has passed.
    Tick,
}

/// Of the time that an instance's invocations took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuShare {
    pub thousandths: u32,
    /// It is of those since then: that long ago.
    pub over: Duration,
}

/// What is known of an invocation that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Freed {
    /// From hand-over to end.
    pub wall: Duration,
    /// What those of its instance have of a processor, if that was measured.
    pub cpu: Option<CpuShare>,
    /// The most that the instance has held at once, if it was measured: what another one may need.
    pub bytes: Option<u64>,
    /// It is of no more use.
    pub is_spent: bool,
    /// Its next invocation loads the function again, and takes as much as a new one would.
    pub is_cold: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// A slot of an instance that is there.
    Lend {
        ask: AskId,
        instance: InstanceId,
    },
    /// A new instance, the slot for `ask` lent already.
    Start {
        instance: InstanceId,
        pool: PoolId,
        ask: Option<AskId>,
        why: Why,
    },
    Throttle {
        ask: AskId,
        reason: Reason,
    },
    /// It is idle, or must stop for good; `Ended` follows.
    End {
        instance: InstanceId,
    },
    /// The number means nothing any more.
    Forget {
        pool: PoolId,
    },
}

/// What an instance is started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    Asked,
    Provisioned,
    /// It will be asked for soon.
    Expected,
}

/// AWS's reasons for 429.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    Concurrency,
    /// This host has no memory for it, or as many instances as it may. AWS has no such reason: callers are told the one above.
    Host,
    ReservedConcurrency,
    Rate,
    ReservedRate,
}

#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Of the whole server, idle ones too.
    pub instances_max: usize,
    /// New instances of one function, all versions together. Lambda's are 1,000 at once and 100 a second.
    pub growth: Rate,
    /// Synchronous requests a second for each unit of concurrency. Lambda's are ten.
    pub requests_per_unit: u32,
    /// How long an ask waits for a busy instance at most, while cores are full. Zero: none does.
    pub wait_max: Duration,
    /// Asks of one pool that wait at once.
    pub waiting_max: usize,
    /// An invocation is short if it takes no longer.
    pub short_max: Duration,
    /// Of the host.
    pub cores: usize,
    /// Of the host's memory, what instances must leave free.
    pub spare_percent: u32,
    /// Whether `shown` tells of all that take what they need, until their first invocation is over. If not, they count
    /// until they are ready.
    pub are_weighed: bool,
    pub keep_alive: KeepAlive,
    /// Functions without instances whose history is kept, and how long.
    pub histories_max: usize,
    pub history: Duration,
    /// Instances that start at once. More only take the CPU from each other, until all are late.
    pub places: Places,
    /// From when on one that starts takes long, and how long it keeps others from starting at most.
    pub long_after: Duration,
    pub place_max: Duration,
    /// How long one whose turn it is waits for what is not known yet of those that start, or not given back yet.
    pub memory_wait_max: Duration,
    /// The pauses before another start where a provisioned instance failed, at first and at most.
    pub retry_first: Duration,
    pub retry_max: Duration,
}

/// How much a machine knows of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Not told to end.
    pub instances: usize,
    pub pools: usize,
    /// With those that only have a history.
    pub functions: usize,
}

/// The machine.
pub struct Dispatch {
    settings: Settings,
    accounts: Table<Account>,
    functions: Table<Function>,
    versions: Table<Version>,
    pools: Table<Pool>,
    instances: Table<Instance>,
    account_names: Names<Scope, Account>,
    function_names: Names<FunctionName, Function>,
    version_names: Names<(Id<Function>, String), Version>,
    pool_names: Names<Arc<Wanted>, Pool>,
    /// What becomes due, the first first. An entry may be early: then there is a later one, or nothing to do.
    alarms: BTreeSet<(Timestamp, Alarm)>,
    /// Functions without pools, the one that was left first in front.
    dormant: BTreeSet<(Timestamp, Id<Function>)>,
    /// Instances that are there and not told to end.
    alive: usize,
    /// Invocations of functions whose invocations are short.
    short_running: usize,
    are_cores_full: bool,
    memory: memory::Memory,
    /// Instances that are to be started.
    line: line::Line<Starter, InstanceId>,
    is_draining: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Alarm {
    Idle(InstanceId),
    Place(InstanceId),
    Memory,
    Waiting(PoolId),
    Warm(PoolId),
    Provide(Id<Version>),
    Forget(Id<Function>),
}

impl Settings {
    /// Lambda's, for a server with so many cores.
    pub fn new(cores: usize) -> Settings {
        Settings {
            instances_max: 10_000,
            growth: Rate { burst: 1_000, per_second: 100 },
            requests_per_unit: 10,
            wait_max: Duration::from_millis(100),
            waiting_max: 1_000,
            short_max: Duration::from_millis(20),
            cores,
            spare_percent: 10,
            are_weighed: false,
            keep_alive: KeepAlive { policy: Policy::Predictive, keep: Duration::from_secs(600) },
            histories_max: 10_000,
            history: Duration::from_secs(4 * 60 * 60),
            places: Places { most: cores.saturating_mul(4), ahead_max: cores, long_max: cores },
            long_after: Duration::from_millis(150),
            place_max: Duration::from_secs(15),
            memory_wait_max: Duration::from_secs(3),
            retry_first: Duration::from_secs(1),
            retry_max: Duration::from_secs(300),
        }
    }

    /// So many short invocations at once make asks wait, while cores are full: more only take the CPU from each other.
    pub fn crowd(&self) -> usize {
        self.cores.saturating_mul(2)
    }
}

impl Reason {
    /// As AWS writes it. Its documents do not say which one means that a function grows too fast; we take it for a rate,
    /// as they call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Concurrency | Reason::Host => "ConcurrentInvocationLimitExceeded",
            Reason::ReservedConcurrency => "ReservedFunctionConcurrentInvocationLimitExceeded",
            Reason::Rate => "FunctionInvocationRateLimitExceeded",
            Reason::ReservedRate => "ReservedFunctionInvocationRateLimitExceeded",
        }
    }
}

impl Dispatch {
    pub fn new(settings: Settings) -> Dispatch {
        Dispatch {
            accounts: Table::default(),
            functions: Table::default(),
            versions: Table::default(),
            pools: Table::default(),
            instances: Table::default(),
            account_names: Names::default(),
            function_names: Names::default(),
            version_names: Names::default(),
            pool_names: Names::default(),
            alarms: BTreeSet::new(),
            dormant: BTreeSet::new(),
            alive: 0,
            short_running: 0,
            are_cores_full: false,
            memory: memory::Memory::default(),
            line: line::Line::new(settings.places),
            is_draining: false,
            settings,
        }
    }

    /// The events that came, and what has become due.
    pub fn step(&mut self, now: Timestamp, event: Event, out: &mut Vec<Command>) {
        match event {
            Event::Ask { ask, pool, limit, is_async } => self.ask(now, &lend::Ask { ask, pool, limit, is_async }, out),
            Event::Waits { instance } => self.give_place_back(instance),
            Event::Ready { instance } => self.ready(now, instance, out),
            Event::Free { instance, ask, freed } => self.free(now, instance, ask, freed, out),
            Event::Ended { instance, failure } => self.ended(now, instance, failure, out),
            Event::Provide { pool, count } => self.provide(now, pool, count, out),
            Event::Memory { told, shown } => self.told(now, told, &shown, out),
            Event::Weighed { instance, bytes } => self.weighed(now, instance, bytes),
            Event::Cores { are_full } => self.are_cores_full = are_full,
            Event::Drain => self.drain(now, out),
            Event::Tick => {}
        }
        while let Some((due, alarm)) = self.alarms.first().copied().filter(|(due, _)| *due <= now) {
            self.alarms.remove(&(due, alarm));
            self.rings(now, alarm, out);
        }
        self.start_next(now, out);
    }

    /// When to call `step` next, if nothing else happens. Only `step` changes the answer.
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        self.alarms.first().map(|(due, _)| *due)
    }

    /// How much there is.
    pub fn counts(&self) -> Counts {
        Counts { instances: self.alive, pools: self.pools.len(), functions: self.functions.len() }
    }

    /// How many invocations there are where a pool's are counted, those that wait included. What is allocated is not known here.
    pub fn at_once(&self, pool: PoolId) -> AtOnce {
        let Some(row) = self.pools.find(pool) else { return AtOnce::default() };
        let (function, account) = (&self.functions[row.function], &self.accounts[row.account]);
        let provisioned = self.versions[row.version].provision.as_ref().map(|provision| ProvisionedAtOnce {
            account: account.provisioned_busy,
            function: function.busy.saturating_sub(function.running),
            version: provision.busy,
            wanted: provision.count,
        });
        let (unreserved, allocated) = (account.shared_running, 0);
        AtOnce { function: function.busy, account: account.busy, unreserved, allocated, provisioned }
    }

    fn rings(&mut self, now: Timestamp, alarm: Alarm, out: &mut Vec<Command>) {
        match alarm {
            Alarm::Idle(instance) => self.idle_long(now, instance, out),
            Alarm::Place(instance) => self.takes_long(now, instance),
            // Who is in line is looked at in each step.
            Alarm::Memory => {}
            Alarm::Waiting(pool) => self.waited_long(now, pool, out),
            Alarm::Warm(pool) => self.warm(now, pool, out),
            Alarm::Provide(version) => self.reconcile(now, version, out),
            Alarm::Forget(function) => self.forget(now, function),
        }
    }

    /// Answers whoever waits for a busy instance, ends what is idle, and the rest as it becomes so. What was asked for and
    /// is in line is started still.
    fn drain(&mut self, now: Timestamp, out: &mut Vec<Command>) {
        self.is_draining = true;
        for version in self.versions.ids() {
            if let Some(provision) = &self.versions[version].provision {
                let pool = provision.pool;
                self.provide(now, pool, 0, out);
            }
        }
        for pool in self.pools.ids() {
            self.refuse_waiting(pool, out);
            if let Some(row) = self.pools.find_mut(pool) {
                row.warm = None;
            }
            self.collect(now, pool, out);
        }
        for instance in self.instances.ids() {
            let row = &self.instances[instance];
            if row.is_idle() || (row.state == State::Queued && row.leases.is_empty()) {
                self.end(now, instance, out);
            }
        }
    }
}

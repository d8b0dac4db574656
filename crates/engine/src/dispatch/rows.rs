//! What the machine knows of each account, function, version, pool and instance.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use base::{Timestamp, Uuid};

use super::arrivals::Arrivals;
use super::bucket::Bucket;
use super::estimate::Estimate;
use super::keep::Warm;
use super::line::{Ticket, Turns};
use super::provisioned::Provision;
use super::table::Id;
use super::waiting::Waiter;
use super::{AskId, Dispatch, InstanceId, PoolId, Scope, Shape, Wanted};

/// One account in one region.
pub struct Account {
    pub scope: Scope,
    pub functions: usize,
    /// Invocations on demand of functions without a reservation.
    pub shared_running: u32,
    /// All invocations, those that wait and those on provisioned instances included.
    pub busy: u32,
    /// Those on provisioned instances.
    pub provisioned_busy: u32,
    /// Synchronous requests on demand of functions without a reservation.
    pub requests: Bucket,
}

pub type FunctionName = (Id<Account>, String);

pub struct Function {
    pub name: FunctionName,
    pub pools: usize,
    /// Invocations on demand, those that wait included.
    pub running: u32,
    /// With those on provisioned instances.
    pub busy: u32,
    /// Its synchronous requests, where it has reserved concurrency.
    pub requests: Bucket,
    pub growth: Bucket,
    pub arrivals: Arrivals,
    /// What an invocation takes by itself, and for how many thousandths of that it has a processor.
    pub own_time: Estimate,
    pub share: Estimate,
    pub cold: Estimate,
    pub bytes: Estimate,
    /// When it was last taken to hold less, since none of it had fitted.
    pub faded: Option<Timestamp>,
    pub dormant: Option<Timestamp>,
    /// When it is looked at whether it may be forgotten.
    pub alarm: Option<Timestamp>,
}

pub struct Version {
    pub function: Id<Function>,
    pub name: String,
    /// The one that was asked for last.
    pub release: Uuid,
    pub pools: BTreeSet<PoolId>,
    pub provision: Option<Provision>,
}

pub struct Pool {
    pub wanted: Arc<Wanted>,
    pub shape: Shape,
    pub account: Id<Account>,
    pub function: Id<Function>,
    pub version: Id<Version>,
    /// Until they have ended.
    pub instances: usize,
    /// Of those, not told to end.
    pub alive: usize,
    /// Slots that are lent.
    pub busy: usize,
    /// When more than keep the cores at work ran last.
    pub crowded: Option<Timestamp>,
    /// On-demand instances with a free slot, the last used at the end.
    pub open: VecDeque<InstanceId>,
    /// Provisioned ones.
    pub open_provisioned: VecDeque<InstanceId>,
    pub waiting: VecDeque<Waiter>,
    /// Instances in line for their start that were asked for, the oldest in front, and one that is only expected to be.
    pub queued: VecDeque<InstanceId>,
    pub queued_ahead: Option<InstanceId>,
    /// A start that is expected, and its entry in the alarms.
    pub warm: Option<Warm>,
    pub warm_alarm: Option<Timestamp>,
}

pub struct Instance {
    pub pool: PoolId,
    pub state: State,
    pub leases: Vec<Lease>,
    pub is_provisioned: bool,
    /// It gets no more invocations.
    pub is_spent: bool,
    /// It broke, and holds little until it is called again.
    pub is_cold: bool,
    /// What it holds, as far as is known, and whether that was weighed while it stood still.
    pub bytes: u64,
    pub is_weighed: bool,
    /// It has not taken all yet that it will hold, and the host shows so much of it.
    pub is_taking: bool,
    pub shown: u64,
    /// When its start was commanded.
    pub started: Timestamp,
    /// It is in line for its start, or has a place to start in.
    pub ticket: Option<Turn>,
    /// When it ends, if it stays idle.
    pub until: Option<Timestamp>,
    /// Its entry in the alarms.
    pub alarm: Option<Timestamp>,
    /// What decides when it goes, and under what it stands in the order of those that may have to go.
    pub rank: (u64, u64),
    /// It came where memory was short, and has not been worth a place yet.
    pub is_guest: bool,
    /// When it was ready, and then when it had nothing to do any more.
    pub rested: Timestamp,
    pub queued: Option<(u64, u64)>,
    /// How long it waits for memory, since it was its turn and there was none.
    pub waits_until: Option<Timestamp>,
    /// When it had taken what it holds, until the host shows that.
    pub fresh: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// In line for its start, of which the shell has not heard.
    Queued,
    Starting,
    Ready,
    /// Told to end.
    Ending,
}

/// Who takes turns in starting: a function, among those of its account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Starter {
    pub account: Id<Account>,
    pub function: Id<Function>,
}

impl Turns for Starter {
    type Group = Id<Account>;

    fn group(&self) -> Id<Account> {
        self.account
    }
}

pub type Turn = Ticket<Starter, InstanceId>;

/// A slot that is lent, and how it is counted.
#[derive(Debug, Clone, Copy)]
pub struct Lease {
    pub ask: AskId,
    pub budget: Budget,
    pub is_provisioned: bool,
    pub is_short: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Budget {
    Reserved,
    Shared,
}

impl Instance {
    pub fn is_idle(&self) -> bool {
        self.state == State::Ready && self.leases.is_empty()
    }

    /// Whether it is there for others to have its memory.
    pub fn may_go(&self) -> bool {
        self.is_idle() && !self.is_provisioned && !self.is_taking
    }

    /// What others have of it then.
    pub fn gain(&self) -> u64 {
        if self.may_go() { self.bytes } else { 0 }
    }
}

impl Dispatch {
    /// The number of the pool of these instances, to ask with.
    pub fn pool(&mut self, wanted: &Wanted, shape: Shape) -> PoolId {
        if let Some(pool) = self.pool_names.get(wanted) {
            return pool;
        }
        let account = self.account(&wanted.scope);
        let function = self.function((account, wanted.function.clone()));
        let version = self.version((function, wanted.version.clone()), wanted.release);
        let wanted = Arc::new(wanted.clone());
        let pool = self.pools.add(Pool {
            wanted: Arc::clone(&wanted),
            shape,
            account,
            function,
            version,
            instances: 0,
            alive: 0,
            busy: 0,
            crowded: None,
            open: VecDeque::new(),
            open_provisioned: VecDeque::new(),
            waiting: VecDeque::new(),
            queued: VecDeque::new(),
            queued_ahead: None,
            warm: None,
            warm_alarm: None,
        });
        self.pool_names.insert(wanted, pool);
        self.versions[version].pools.insert(pool);
        let function_row = &mut self.functions[function];
        function_row.pools = function_row.pools.saturating_add(1);
        if let Some(since) = function_row.dormant.take() {
            self.dormant.remove(&(since, function));
        }
        pool
    }

    fn account(&mut self, scope: &Scope) -> Id<Account> {
        if let Some(account) = self.account_names.get(scope) {
            return account;
        }
        let row = Account {
            scope: scope.clone(),
            functions: 0,
            shared_running: 0,
            busy: 0,
            provisioned_busy: 0,
            requests: Bucket::default(),
        };
        let account = self.accounts.add(row);
        self.account_names.insert(scope.clone(), account);
        account
    }

    fn function(&mut self, name: FunctionName) -> Id<Function> {
        if let Some(function) = self.function_names.get(&name) {
            return function;
        }
        let account = &mut self.accounts[name.0];
        account.functions = account.functions.saturating_add(1);
        let function = self.functions.add(Function {
            name: name.clone(),
            pools: 0,
            running: 0,
            busy: 0,
            requests: Bucket::default(),
            growth: Bucket::default(),
            arrivals: Arrivals::default(),
            own_time: Estimate::default(),
            share: Estimate::default(),
            cold: Estimate::default(),
            bytes: Estimate::default(),
            faded: None,
            dormant: None,
            alarm: None,
        });
        self.function_names.insert(name, function);
        function
    }

    fn version(&mut self, name: (Id<Function>, String), release: Uuid) -> Id<Version> {
        if let Some(version) = self.version_names.get(&name) {
            return version;
        }
        let row = Version { function: name.0, name: name.1.clone(), release, pools: BTreeSet::new(), provision: None };
        let version = self.versions.add(row);
        self.version_names.insert(name, version);
        version
    }
}

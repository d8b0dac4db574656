//! Which instance runs an invocation: decided without I/O, clock or chance, for all functions of the server.
//!
//! The instance of its release and tenant that was used last, else a new one, within the limits of concurrency. An
//! instance is of one release and one tenant for ever. When another release of a version turns up, idle instances of
//! the one before are used no more.
//!
//! Invariants: an instance that is lent is lent to nobody else until it is `free` again. What runs is counted once, per
//! function and per account, and uncounted once. The cost of a decision does not grow with the number of functions.
//!
//! Not yet: provisioned concurrency, the rate of scaling, memory pressure, several invocations an instance.

use std::collections::{BTreeMap, BTreeSet};

use base::ports::Concurrency;
use base::{AccountId, Region, Uuid, World};

/// Numbers instances, never twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(pub u64);

/// What an invocation needs an instance for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    pub scope: Scope,
    pub function: String,
    pub version: String,
    pub release: Uuid,
    pub tenant: Option<String>,
}

/// Whose concurrency is counted together.
pub type Scope = (World, AccountId, Region);

#[derive(Debug, PartialEq, Eq)]
pub enum Decision {
    /// An idle instance, now lent.
    Use(InstanceId),
    /// A new one, counted and lent already.
    Start(InstanceId),
    /// None, for AWS's reason.
    Throttled(&'static str),
}

#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Of the whole server, idle ones too.
    pub instances_max: usize,
}

pub struct Dispatch {
    limits: Limits,
    next: u64,
    accounts: BTreeMap<Scope, Account>,
    instances: BTreeMap<InstanceId, Instance>,
    /// Idle instances by when they became idle, the longest first.
    idle: BTreeSet<(u64, InstanceId)>,
    /// Counts the times that an instance became idle.
    turns: u64,
    is_draining: bool,
}

#[derive(Default)]
struct Account {
    /// Invocations that run in functions without a reservation.
    unreserved_running: u32,
    functions: BTreeMap<String, Function>,
}

#[derive(Default)]
struct Function {
    running: u32,
    /// Which release of each version was asked for last, and its idle instances by tenant, the last used at the end.
    versions: BTreeMap<String, Pool>,
}

#[derive(Default)]
struct Pool {
    /// Of any release.
    instances: usize,
    release: Option<Uuid>,
    idle: BTreeMap<Option<String>, Vec<InstanceId>>,
}

struct Instance {
    wanted: Wanted,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Runs an invocation, which counts as reserved or not.
    Lent { is_reserved: bool },
    /// With the turn at which it became so.
    Idle(u64),
}

impl Dispatch {
    pub fn new(limits: Limits) -> Dispatch {
        Dispatch {
            limits,
            next: 1,
            accounts: BTreeMap::new(),
            instances: BTreeMap::new(),
            idle: BTreeSet::new(),
            turns: 0,
            is_draining: false,
        }
    }

    /// Finds an instance for an invocation. Idle instances that must go are added to `ended`; they are forgotten here.
    pub fn lend(&mut self, wanted: &Wanted, concurrency: Concurrency, ended: &mut Vec<InstanceId>) -> Decision {
        if self.is_draining {
            return Decision::Throttled(CONCURRENCY);
        }
        if let Err(reason) = self.admit(wanted, concurrency) {
            return Decision::Throttled(reason);
        }
        if self.instances.len() >= self.limits.instances_max && self.idle.is_empty() {
            return Decision::Throttled(CONCURRENCY);
        }
        self.supersede(wanted, ended);
        if let Some(instance) = self.pool(wanted).idle.get_mut(&wanted.tenant).and_then(Vec::pop) {
            self.count(wanted, concurrency, instance);
            return Decision::Use(instance);
        }
        if self.instances.len() >= self.limits.instances_max
            && let Some((_, oldest)) = self.idle.first().copied()
        {
            self.forget(oldest);
            ended.push(oldest);
        }
        let instance = InstanceId(self.next);
        self.next = self.next.saturating_add(1);
        self.instances.insert(instance, Instance { wanted: wanted.clone(), state: State::Idle(0) });
        self.count(wanted, concurrency, instance);
        let pool = self.pool(wanted);
        pool.instances = pool.instances.saturating_add(1);
        Decision::Start(instance)
    }

    /// The invocation of this instance is over. Whether it is kept; else it is forgotten, and the caller ends it.
    pub fn free(&mut self, instance: InstanceId) -> bool {
        let Some(found) = self.instances.get(&instance) else { return false };
        if found.state != (State::Lent { is_reserved: true }) && found.state != (State::Lent { is_reserved: false }) {
            // It was idle already: it restarted itself meanwhile.
            return true;
        }
        let wanted = found.wanted.clone();
        self.uncount(instance);
        let is_current = self.pool(&wanted).release == Some(wanted.release);
        if self.is_draining || !is_current {
            self.forget(instance);
            return false;
        }
        self.turns = self.turns.saturating_add(1);
        let turn = self.turns;
        self.idle.insert((turn, instance));
        if let Some(found) = self.instances.get_mut(&instance) {
            found.state = State::Idle(turn);
        }
        self.pool(&wanted).idle.entry(wanted.tenant).or_default().push(instance);
        true
    }

    /// An idle instance wants to go. Whether it may: otherwise an invocation is on its way to it.
    pub fn retire(&mut self, instance: InstanceId) -> bool {
        match self.instances.get(&instance).map(|found| found.state) {
            Some(State::Lent { .. }) => false,
            Some(State::Idle(_)) | None => {
                self.forget(instance);
                true
            }
        }
    }

    /// The instance is no more, whatever it was doing.
    pub fn ended(&mut self, instance: InstanceId) {
        self.uncount(instance);
        self.forget(instance);
    }

    /// Lends no more. Idle instances are forgotten and added to `ended`.
    pub fn drain(&mut self, ended: &mut Vec<InstanceId>) {
        self.is_draining = true;
        for (_, instance) in std::mem::take(&mut self.idle) {
            self.forget(instance);
            ended.push(instance);
        }
    }

    /// How many instances there are.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.instances.len()
    }

    fn admit(&self, wanted: &Wanted, concurrency: Concurrency) -> Result<(), &'static str> {
        let account = self.accounts.get(&wanted.scope);
        let function = account.and_then(|account| account.functions.get(&wanted.function));
        let running = function.map_or(0, |function| function.running);
        let unreserved_running = account.map_or(0, |account| account.unreserved_running);
        match concurrency {
            Concurrency::Reserved(reserved) if running >= reserved => Err(RESERVED),
            Concurrency::Shared(shared) if unreserved_running >= shared => Err(CONCURRENCY),
            _ => Ok(()),
        }
    }

    /// Idle instances of a release before this one go.
    fn supersede(&mut self, wanted: &Wanted, ended: &mut Vec<InstanceId>) {
        let pool = self.pool(wanted);
        if pool.release == Some(wanted.release) {
            return;
        }
        pool.release = Some(wanted.release);
        for instance in std::mem::take(&mut pool.idle).into_values().flatten() {
            self.forget(instance);
            ended.push(instance);
        }
        // The last of them may have taken the function's entry along.
        self.pool(wanted).release = Some(wanted.release);
    }

    fn count(&mut self, wanted: &Wanted, concurrency: Concurrency, instance: InstanceId) {
        let is_reserved = matches!(concurrency, Concurrency::Reserved(_));
        let Some(found) = self.instances.get_mut(&instance) else { return };
        if let State::Idle(turn) = std::mem::replace(&mut found.state, State::Lent { is_reserved }) {
            self.idle.remove(&(turn, instance));
        }
        let account = self.accounts.entry(wanted.scope.clone()).or_default();
        if !is_reserved {
            account.unreserved_running = account.unreserved_running.saturating_add(1);
        }
        let function = account.functions.entry(wanted.function.clone()).or_default();
        function.running = function.running.saturating_add(1);
    }

    fn uncount(&mut self, instance: InstanceId) {
        let Some(found) = self.instances.get_mut(&instance) else { return };
        let State::Lent { is_reserved } = std::mem::replace(&mut found.state, State::Idle(0)) else { return };
        let Some(account) = self.accounts.get_mut(&found.wanted.scope) else { return };
        if !is_reserved {
            account.unreserved_running = account.unreserved_running.saturating_sub(1);
        }
        if let Some(function) = account.functions.get_mut(&found.wanted.function) {
            function.running = function.running.saturating_sub(1);
        }
    }

    fn forget(&mut self, instance: InstanceId) {
        let Some(Instance { wanted, state }) = self.instances.remove(&instance) else { return };
        if let State::Idle(turn) = state {
            self.idle.remove(&(turn, instance));
        }
        let Some(account) = self.accounts.get_mut(&wanted.scope) else { return };
        let Some(function) = account.functions.get_mut(&wanted.function) else { return };
        if let Some(pool) = function.versions.get_mut(&wanted.version) {
            if let Some(idle) = pool.idle.get_mut(&wanted.tenant) {
                idle.retain(|other| *other != instance);
                if idle.is_empty() {
                    pool.idle.remove(&wanted.tenant);
                }
            }
            pool.instances = pool.instances.saturating_sub(1);
            if pool.instances == 0 {
                function.versions.remove(&wanted.version);
            }
        }
        // What nobody runs costs nothing.
        if function.versions.is_empty() && function.running == 0 {
            account.functions.remove(&wanted.function);
            if account.functions.is_empty() {
                self.accounts.remove(&wanted.scope);
            }
        }
    }

    fn pool(&mut self, wanted: &Wanted) -> &mut Pool {
        let account = self.accounts.entry(wanted.scope.clone()).or_default();
        let function = account.functions.entry(wanted.function.clone()).or_default();
        function.versions.entry(wanted.version.clone()).or_default()
    }
}

const CONCURRENCY: &str = "ConcurrentInvocationLimitExceeded";
const RESERVED: &str = "ReservedFunctionConcurrentInvocationLimitExceeded";

#[cfg(test)]
mod tests {
    use super::*;

    const SHARED: Concurrency = Concurrency::Shared(10);

    fn dispatch(instances_max: usize) -> Dispatch {
        Dispatch::new(Limits { instances_max })
    }

    fn wanted(function: &str, release: u8) -> Wanted {
        Wanted {
            scope: (World(0), AccountId::ZERO, Region::default()),
            function: function.into(),
            version: "$LATEST".into(),
            release: Uuid::from_bytes([release; 16]),
            tenant: None,
        }
    }

    #[test]
    fn the_last_used_instance_comes_first() {
        let mut dispatch = dispatch(10);
        let mut ended = vec![];
        let lend = |dispatch: &mut Dispatch| dispatch.lend(&wanted("f", 1), SHARED, &mut Vec::new());
        assert_eq!(lend(&mut dispatch), Decision::Start(InstanceId(1)));
        assert_eq!(lend(&mut dispatch), Decision::Start(InstanceId(2)));
        assert!(dispatch.free(InstanceId(2)) && dispatch.free(InstanceId(1)) && dispatch.free(InstanceId(1)));
        assert_eq!(lend(&mut dispatch), Decision::Use(InstanceId(1)));
        assert!(!dispatch.retire(InstanceId(1)) && dispatch.retire(InstanceId(2)));
        assert_eq!(lend(&mut dispatch), Decision::Start(InstanceId(3)));
        // Another function never gets it, nor another tenant, nor another release.
        dispatch.free(InstanceId(1));
        assert_eq!(dispatch.lend(&wanted("g", 1), SHARED, &mut ended), Decision::Start(InstanceId(4)));
        let tenant = Wanted { tenant: Some("t".into()), ..wanted("f", 1) };
        assert_eq!(dispatch.lend(&tenant, SHARED, &mut ended), Decision::Start(InstanceId(5)));
        assert_eq!(ended, []);
        assert_eq!(dispatch.lend(&wanted("f", 2), SHARED, &mut ended), Decision::Start(InstanceId(6)));
        assert_eq!(ended, [InstanceId(1)]);
        assert!(!dispatch.free(InstanceId(3)), "of a release that is no more");
    }

    #[test]
    fn limits_hold_and_are_given_back() {
        let mut dispatch = dispatch(10);
        let mut lend = |function: &str, limit| dispatch.lend(&wanted(function, 1), limit, &mut Vec::new());
        assert_eq!(lend("zero", Concurrency::Reserved(0)), Decision::Throttled(RESERVED));
        assert_eq!(lend("one", Concurrency::Reserved(1)), Decision::Start(InstanceId(1)));
        assert_eq!(lend("one", Concurrency::Reserved(1)), Decision::Throttled(RESERVED));
        assert_eq!(lend("f", Concurrency::Shared(2)), Decision::Start(InstanceId(2)));
        assert_eq!(lend("g", Concurrency::Shared(2)), Decision::Start(InstanceId(3)));
        assert_eq!(lend("h", Concurrency::Shared(2)), Decision::Throttled(CONCURRENCY));
        dispatch.ended(InstanceId(2));
        assert_eq!(dispatch.lend(&wanted("h", 1), SHARED, &mut Vec::new()), Decision::Start(InstanceId(4)));
    }

    #[test]
    fn a_full_server_ends_what_was_idle_longest() {
        let mut dispatch = dispatch(2);
        let mut ended = vec![];
        dispatch.lend(&wanted("a", 1), SHARED, &mut ended);
        dispatch.lend(&wanted("b", 1), SHARED, &mut ended);
        assert_eq!(dispatch.lend(&wanted("c", 1), SHARED, &mut ended), Decision::Throttled(CONCURRENCY));
        dispatch.free(InstanceId(2));
        dispatch.free(InstanceId(1));
        assert_eq!(dispatch.lend(&wanted("c", 1), SHARED, &mut ended), Decision::Start(InstanceId(3)));
        assert_eq!(ended, [InstanceId(2)]);
        dispatch.drain(&mut ended);
        assert_eq!(ended, [InstanceId(2), InstanceId(1)]);
        assert!(!dispatch.free(InstanceId(3)));
        assert_eq!(dispatch.lend(&wanted("a", 1), SHARED, &mut ended), Decision::Throttled(CONCURRENCY));
    }

    /// Whatever happens: nothing runs over its limit, nothing is lent twice, and all counters return to nothing.
    #[test]
    fn books_are_kept_in_any_order() {
        use proptest::prelude::*;
        proptest!(|(steps in prop::collection::vec((0..4_u8, 0..3_u8, 0..2_u8, any::<prop::sample::Index>()), 0..200))| {
            let mut dispatch = dispatch(6);
            let mut lent: Vec<(InstanceId, u8)> = vec![];
            for (step, function, release, pick) in steps {
                let name = ["f", "g", "reserved"][usize::from(function)];
                let limit = if function == 2 { Concurrency::Reserved(2) } else { Concurrency::Shared(4) };
                match step {
                    0 | 1 => match dispatch.lend(&wanted(name, release), limit, &mut Vec::new()) {
                        Decision::Use(instance) | Decision::Start(instance) => {
                            prop_assert!(lent.iter().all(|(other, _)| *other != instance));
                            lent.push((instance, function));
                        }
                        Decision::Throttled(_) => {}
                    },
                    _ if lent.is_empty() => {}
                    2 => {
                        dispatch.free(lent.swap_remove(pick.index(lent.len())).0);
                    }
                    _ => dispatch.ended(lent.swap_remove(pick.index(lent.len())).0),
                }
                prop_assert!(lent.iter().filter(|(_, function)| *function == 2).count() <= 2);
                prop_assert!(lent.iter().filter(|(_, function)| *function != 2).count() <= 4);
                prop_assert!(dispatch.len() <= 6);
            }
            for (instance, _) in lent {
                dispatch.ended(instance);
            }
            dispatch.drain(&mut Vec::new());
            prop_assert!(dispatch.instances.is_empty() && dispatch.idle.is_empty());
            prop_assert!(dispatch.accounts.is_empty());
        });
    }
}

//! Whatever happens, in whatever order: the books of somebody who only sees events and commands agree.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::Index;

use super::rows::{Lease, Pool, State};
use super::*;

const FUNCTIONS: usize = 4;
const SHARED: u32 = 5;
const RESERVED: u32 = 3;
const GROWTH: Rate = Rate { burst: 4, per_second: 3 };
const PER_UNIT: u32 = 4;
const INSTANCES_MAX: usize = 12;

#[derive(Debug, Clone)]
enum Step {
    Ask { function: usize, release: u8, tenant: bool, is_async: bool },
    Ready(Index),
    Waits(Index),
    Free { lease: Index, wall: u64, is_spent: bool },
    Ended { instance: Index, failed: bool },
    EndedAsTold,
    Provide { function: usize, release: u8, count: u32 },
    Memory(u64),
    Cores(bool),
    Weighed(Index, u64),
    After(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let ask =
        (0..FUNCTIONS, 0..10_u8, any::<bool>(), any::<bool>()).prop_map(|(function, release, tenant, is_async)| {
            // Releases change now and then.
            Step::Ask { function, release: release / 9, tenant: tenant && release % 2 == 0, is_async }
        });
    let free = (any::<Index>(), 0..4_u64, 0..8_u8).prop_map(|(lease, wall, spent)| Step::Free {
        lease,
        wall,
        is_spent: spent == 0,
    });
    let step = prop_oneof![
        12 => ask,
        8 => free,
        4 => any::<Index>().prop_map(Step::Ready),
        1 => any::<Index>().prop_map(Step::Waits),
        1 => (any::<Index>(), any::<bool>()).prop_map(|(instance, failed)| Step::Ended { instance, failed }),
        3 => Just(Step::EndedAsTold),
        1 => (0..FUNCTIONS, 0..2_u8, 0..3_u32)
            .prop_map(|(function, release, count)| Step::Provide { function, release, count }),
        1 => (0..1_500_u64).prop_map(Step::Memory),
        1 => any::<bool>().prop_map(Step::Cores),
        2 => (any::<Index>(), 0..300_u64).prop_map(|(pick, mib)| Step::Weighed(pick, mib)),
        4 => prop_oneof![0..3_u64, 0..1_000_u64, 0..4_000_000_u64].prop_map(Step::After),
    ];
    prop::collection::vec(step, 0..250)
}

/// What can be known from outside.
struct Model {
    dispatch: Dispatch,
    now: Timestamp,
    slots: u32,
    places: usize,
    is_memory_told: bool,
    asks: u64,
    /// Asks without an answer yet.
    open: BTreeMap<AskId, Asked>,
    instances: BTreeMap<InstanceId, Seen>,
    pools: BTreeMap<PoolId, Wanted>,
    /// When instances of each function were started, and synchronous requests on demand were taken.
    started: BTreeMap<String, Vec<Timestamp>>,
    requests: BTreeMap<Option<String>, Vec<Timestamp>>,
    /// The release of each function that was asked for last.
    current: BTreeMap<String, Uuid>,
}

#[derive(Clone)]
struct Asked {
    wanted: Wanted,
    is_reserved: bool,
    is_async: bool,
    at: Timestamp,
}

struct Seen {
    wanted: Wanted,
    leases: BTreeMap<AskId, Asked>,
    is_ready: bool,
    is_ending: bool,
    is_provisioned: bool,
    /// Until when it keeps others from starting.
    starts_until: Option<Timestamp>,
}

fn wanted(function: usize, release: u8, tenant: bool) -> Wanted {
    Wanted {
        scope: (World(0), AccountId::ZERO, Region::default()),
        function: format!("f{function}"),
        version: "$LATEST".into(),
        release: Uuid::from_bytes([release; 16]),
        tenant: tenant.then(|| "tenant".into()),
    }
}

impl Model {
    fn new(policy: Policy, slots: u32, places: usize, are_weighed: bool, is_memory_told: bool) -> Model {
        let settings = Settings {
            instances_max: INSTANCES_MAX,
            growth: GROWTH,
            requests_per_unit: PER_UNIT,
            keep_alive: KeepAlive { policy, keep: Duration::from_secs(600) },
            cores: 1,
            // Where there is a place for everybody, nobody is kept waiting.
            places: Places {
                most: places,
                ahead_max: places.div_ceil(2),
                long_max: if places > INSTANCES_MAX { places } else { 1 },
            },
            are_weighed,
            ..Settings::new(1)
        };
        Model {
            dispatch: Dispatch::new(settings),
            now: Timestamp::from_secs(1_000_000),
            slots,
            places,
            is_memory_told,
            asks: 0,
            open: BTreeMap::new(),
            instances: BTreeMap::new(),
            pools: BTreeMap::new(),
            started: BTreeMap::new(),
            requests: BTreeMap::new(),
            current: BTreeMap::new(),
        }
    }

    fn pool(&mut self, wanted: Wanted) -> PoolId {
        let shape = Shape { slots: self.slots, bytes: 100 << 20, is_kept: true };
        let pool = self.dispatch.pool(&wanted, shape);
        if let Some(before) = self.pools.insert(pool, wanted.clone()) {
            assert_eq!(before, wanted, "a number that means two pools");
        }
        pool
    }

    fn event(&mut self, event: Event) {
        let mut out = Vec::new();
        self.dispatch.step(self.now, event, &mut out);
        for command in out {
            self.obey(command);
        }
        self.check();
        self.audit();
    }

    /// What is counted is what is there to be counted.
    fn audit(&self) {
        let dispatch = &self.dispatch;
        let instances: Vec<&Instance> =
            dispatch.instances.ids().into_iter().map(|id| &dispatch.instances[id]).collect();
        let bytes = |is_one: &dyn Fn(&Instance) -> bool| -> u64 {
            instances.iter().filter(|row| is_one(row)).map(|row| row.bytes).sum()
        };
        let unseen = |is_one: &dyn Fn(&Instance) -> bool| -> u64 {
            instances.iter().filter(|row| is_one(row)).map(|row| row.bytes.saturating_sub(row.shown)).sum()
        };
        let is_alive = |row: &Instance| row.state != State::Ending;
        let fresh = |row: &Instance| is_alive(row) && row.fresh.is_some();
        let leaves = |row: &Instance| !is_alive(row);
        let taking = |row: &Instance| is_alive(row) && row.is_taking;
        let expected = [unseen(&taking), unseen(&fresh), bytes(&leaves), bytes(&Instance::may_go)];
        assert_eq!(dispatch.memory.sums(), expected);
        let shorts = instances.iter().flat_map(|row| &row.leases).filter(|lease| lease.is_short).count();
        assert_eq!(dispatch.short_running, shorts);
        assert_eq!(dispatch.alive, instances.iter().filter(|row| row.state != State::Ending).count());
        for id in dispatch.functions.ids() {
            let of_it = |pool: PoolId| dispatch.pools[pool].function == id;
            let leases = instances.iter().filter(|row| of_it(row.pool)).flat_map(|row| &row.leases);
            let (provisioned, on_demand): (Vec<&Lease>, Vec<&Lease>) = leases.partition(|lease| lease.is_provisioned);
            let pools = dispatch.pools.ids().into_iter().filter(|pool| of_it(*pool));
            let waiting: usize = pools.map(|pool| dispatch.pools[pool].waiting.len()).sum();
            let row = &dispatch.functions[id];
            let counted = (row.running as usize, row.busy as usize);
            assert_eq!(counted, (on_demand.len() + waiting, on_demand.len() + waiting + provisioned.len()));
        }
        for pool in dispatch.pools.ids() {
            let row = &dispatch.pools[pool];
            let functions = dispatch.functions.ids().into_iter().map(|id| &dispatch.functions[id]);
            let of_account: u32 =
                functions.filter(|function| function.name.0 == row.account).map(|function| function.busy).sum();
            let at_once = dispatch.at_once(pool);
            assert_eq!((at_once.function, at_once.account), (dispatch.functions[row.function].busy, of_account));
            let provisioned = |is_of: &dyn Fn(&Pool) -> bool| {
                let instances = instances.iter().filter(|row| is_of(&dispatch.pools[row.pool]));
                let leases = instances.flat_map(|row| &row.leases).filter(|lease| lease.is_provisioned);
                u32::try_from(leases.count()).unwrap()
            };
            if let Some(told) = at_once.provisioned {
                assert_eq!(told.account, provisioned(&|other| other.account == row.account));
                assert_eq!(told.function, provisioned(&|other| other.function == row.function));
                assert_eq!(told.version, provisioned(&|other| other.version == row.version));
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Start { instance, pool, ask, why } => {
                let wanted = self.pools[&pool].clone();
                self.started.entry(wanted.function.clone()).or_default().push(self.now);
                let is_provisioned = why == Why::Provisioned;
                let starts_until = Some(self.now.plus(self.dispatch.settings.place_max));
                let (leases, is_ready, is_ending) = (BTreeMap::new(), false, false);
                let seen = Seen { wanted, leases, is_ready, is_ending, is_provisioned, starts_until };
                assert!(self.instances.insert(instance, seen).is_none());
                assert_eq!(ask.is_some(), why == Why::Asked);
                if let Some(ask) = ask {
                    self.lent(ask, instance);
                }
            }
            Command::Lend { ask, instance } => {
                assert!(self.instances[&instance].is_ready, "an instance that is not ready yet");
                self.lent(ask, instance);
            }
            Command::Throttle { ask, .. } => {
                assert!(self.open.remove(&ask).is_some(), "an answer to nobody");
            }
            Command::End { instance } => {
                let seen = self.instances.get_mut(&instance).unwrap();
                assert!(seen.leases.is_empty() && !seen.is_ending);
                (seen.is_ending, seen.starts_until) = (true, None);
            }
            Command::Forget { pool } => {
                let wanted = self.pools.remove(&pool).unwrap();
                assert!(self.instances.values().all(|seen| seen.wanted != wanted), "a pool that has instances");
                assert!(self.open.values().all(|asked| asked.wanted != wanted), "a pool that is waited for");
            }
        }
    }

    fn lent(&mut self, ask: AskId, instance: InstanceId) {
        let asked = self.open.remove(&ask).expect("an answer to nobody");
        let seen = self.instances.get_mut(&instance).unwrap();
        assert_eq!(seen.wanted, asked.wanted, "another's instance");
        assert!(!seen.is_ending && seen.leases.len() < self.slots as usize);
        if !asked.is_async && !seen.is_provisioned {
            let budget = asked.is_reserved.then(|| asked.wanted.function.clone());
            self.requests.entry(budget).or_default().push(asked.at);
        }
        seen.leases.insert(ask, asked);
    }

    fn check(&self) {
        let alive = self.instances.values().filter(|seen| !seen.is_ending);
        assert!(alive.clone().count() <= INSTANCES_MAX);
        let starts = |seen: &Seen| seen.starts_until.is_some_and(|until| until > self.now);
        assert!(self.instances.values().filter(|seen| starts(seen)).count() <= 2 * self.places);
        let on_demand = alive.clone().filter(|seen| !seen.is_provisioned).flat_map(|seen| seen.leases.values());
        let running: Vec<&Asked> = on_demand.chain(self.open.values()).collect();
        assert!(running.iter().filter(|asked| !asked.is_reserved).count() <= SHARED as usize);
        assert!(running.iter().filter(|asked| asked.is_reserved).count() <= RESERVED as usize);
        for seen in alive.filter(|seen| seen.is_ready && seen.leases.is_empty()) {
            let current = self.current.get(&seen.wanted.function);
            assert_eq!(current, Some(&seen.wanted.release), "idle, and of a release that is no more");
        }
    }

    fn take(&mut self, step: Step) {
        let ids: Vec<InstanceId> = self.instances.keys().copied().collect();
        match step {
            Step::Ask { function, release, tenant, is_async } => {
                let wanted = wanted(function, release, tenant);
                self.current.insert(wanted.function.clone(), wanted.release);
                let pool = self.pool(wanted.clone());
                let ask = AskId(self.asks);
                self.asks += 1;
                let is_reserved = function == 0;
                self.open.insert(ask, Asked { wanted, is_reserved, is_async, at: self.now });
                let limit = if is_reserved { Concurrency::Reserved(RESERVED) } else { Concurrency::Shared(SHARED) };
                self.event(Event::Ask { ask, pool, limit, is_async });
            }
            Step::Ready(pick) if !ids.is_empty() => {
                let instance = ids[pick.index(ids.len())];
                let seen = self.instances.get_mut(&instance).unwrap();
                (seen.is_ready, seen.starts_until) = (true, None);
                self.event(Event::Ready { instance });
            }
            Step::Waits(pick) if !ids.is_empty() => self.waits(ids[pick.index(ids.len())]),
            Step::Free { lease, wall, is_spent } => self.free(lease, wall, is_spent),
            Step::Ended { instance, failed } if !ids.is_empty() => {
                self.end(ids[instance.index(ids.len())], failed);
            }
            Step::EndedAsTold => {
                if let Some(instance) = ids.into_iter().find(|id| self.instances[id].is_ending) {
                    self.end(instance, false);
                }
            }
            Step::Provide { function, release, count } => {
                let wanted = wanted(function, release, false);
                if count > 0 {
                    self.current.insert(wanted.function.clone(), wanted.release);
                }
                let pool = self.pool(wanted.clone());
                self.event(Event::Provide { pool, count });
            }
            Step::Memory(mib) if self.is_memory_told => self.tell(mib),
            Step::Weighed(pick, mib) if !ids.is_empty() => {
                self.event(Event::Weighed { instance: ids[pick.index(ids.len())], bytes: mib << 20 });
            }
            Step::Cores(are_full) => self.event(Event::Cores { are_full }),
            Step::After(micros) => self.pass(Duration::from_micros(micros)),
            Step::Ready(_) | Step::Waits(_) | Step::Ended { .. } | Step::Weighed(..) | Step::Memory(_) => {}
        }
    }

    fn free(&mut self, lease: Index, wall: u64, is_spent: bool) {
        let leases = self.instances.iter();
        let leases: Vec<(InstanceId, AskId)> =
            leases.flat_map(|(id, seen)| seen.leases.keys().map(|ask| (*id, *ask))).collect();
        if leases.is_empty() {
            return;
        }
        let (instance, ask) = leases[lease.index(leases.len())];
        let seen = self.instances.get_mut(&instance).unwrap();
        seen.leases.remove(&ask);
        (seen.is_ready, seen.starts_until) = (true, None);
        // Some compute, and some wait.
        let share = CpuShare { thousandths: (wall * 37 % 100) as u32, over: Duration::from_millis(wall) };
        let cpu = (!wall.is_multiple_of(3)).then_some(share);
        let is_cold = wall % 5 == 1;
        let freed = Freed { wall: Duration::from_millis(wall), cpu, bytes: Some(wall << 26), is_spent, is_cold };
        self.event(Event::Free { instance, ask, freed });
    }

    fn waits(&mut self, instance: InstanceId) {
        self.instances.get_mut(&instance).unwrap().starts_until = None;
        self.event(Event::Waits { instance });
    }

    /// Some of those that start have taken something of what is not available.
    fn tell(&mut self, mib: u64) {
        let starting = self.instances.iter().filter(|(_, seen)| !seen.is_ready || !seen.leases.is_empty());
        let shown = starting.step_by(2).map(|(id, _)| (*id, mib << 17)).collect();
        // Sometimes the kernel lets them take less, sometimes more than is promised.
        let (available_bytes, free_bytes) = (mib << 20, (mib << 20) / 2 * (mib % 3));
        let since = self.now.minus(Duration::from_millis(mib % 7));
        let told = Told { since, available_bytes, free_bytes, total_bytes: 2_000 << 20 };
        self.event(Event::Memory { told, shown });
    }

    fn end(&mut self, instance: InstanceId, failed: bool) {
        self.instances.remove(&instance);
        self.event(Event::Ended { instance, failure: failed.then(|| "broken".into()) });
    }

    /// Wakes it whenever it asks for that.
    fn pass(&mut self, time: Duration) {
        let until = self.now.plus(time);
        while let Some(due) = self.dispatch.next_wakeup().filter(|due| *due <= until) {
            self.now = due.max(self.now);
            self.event(Event::Tick);
            assert!(self.dispatch.next_wakeup().is_none_or(|next| next > self.now), "it asks to be woken for ever");
        }
        self.now = until;
    }

    /// In any window no more than the burst, and what the rate brings in it.
    fn check_rate(moments: &[Timestamp], rate: Rate) {
        for (at, first) in moments.iter().enumerate() {
            for (count, last) in (1_u64..).zip(&moments[at..]) {
                let micros = last.since(*first).as_micros() as u64;
                let allowed = u64::from(rate.burst) + micros * u64::from(rate.per_second) / 1_000_000;
                assert!(count <= allowed, "{count} in {micros} us");
            }
        }
    }

    fn finish(mut self) {
        // As long as all that may be in line take for it, one after the other.
        self.pass(self.dispatch.settings.place_max * (INSTANCES_MAX as u32 + 1));
        assert!(self.open.is_empty(), "asks without an answer: {}", self.open.len());
        self.event(Event::Drain);
        while let Some(instance) = self.instances.keys().next().copied() {
            self.end(instance, false);
        }
        self.pass(Duration::from_secs(5 * 60 * 60));
        let dispatch = &self.dispatch;
        let rows = [dispatch.accounts.len(), dispatch.functions.len(), dispatch.versions.len(), dispatch.pools.len()];
        assert_eq!(rows, [0; 4]);
        let names = [dispatch.account_names.len(), dispatch.function_names.len(), dispatch.version_names.len()];
        assert_eq!((names, dispatch.pool_names.len(), dispatch.instances.len()), ([0; 3], 0, 0));
        assert_eq!((dispatch.alarms.len(), dispatch.dormant.len()), (0, 0));
        assert_eq!((dispatch.alive, dispatch.short_running), (0, 0));
        assert!(dispatch.memory.is_empty() && self.pools.is_empty() && dispatch.line.is_empty());
        // Growth is taken when somebody comes into line, who may leave it a while later.
        let is_anybody_kept_waiting = self.is_memory_told || self.places <= INSTANCES_MAX;
        for moments in self.started.values().filter(|_| !is_anybody_kept_waiting) {
            Model::check_rate(moments, GROWTH);
        }
        for (budget, moments) in &self.requests {
            let limit = if budget.is_some() { RESERVED } else { SHARED };
            Model::check_rate(moments, Rate::per_second(limit * PER_UNIT));
        }
    }
}

fn policies() -> impl Strategy<Value = Policy> {
    use Policy::{Fixed, GreedyDual, Histogram, LeastRecent, Predictive};
    prop::sample::select(vec![Fixed, LeastRecent, GreedyDual, Histogram, Predictive])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn books_agree(
        policy in policies(),
        slots in 1..3_u32,
        places in 1..=2 * INSTANCES_MAX,
        are_weighed: bool,
        is_memory_told: bool,
        steps in steps(),
    ) {
        let mut model = Model::new(policy, slots, places, are_weighed, is_memory_told);
        for step in steps {
            model.take(step);
        }
        model.finish();
    }

    #[test]
    fn the_same_events_give_the_same_commands(policy in policies(), steps in steps()) {
        let run = || {
            let mut model = Model::new(policy, 1, 2, true, true);
            steps.iter().cloned().for_each(|step| model.take(step));
            (model.started, model.requests, model.instances.into_keys().collect::<BTreeSet<_>>())
        };
        prop_assert_eq!(run(), run());
    }
}

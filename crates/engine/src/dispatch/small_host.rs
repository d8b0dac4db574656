//! A host that is too small for all that is called on it: what it keeps, in virtual time.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

const MIB: u64 = 1 << 20;

/// What an instance holds, in tenths of a MiB, and what a start takes, in milliseconds: native code, Python, Node.js, Ruby,
/// Java, as they were measured.
const KINDS: [(u64, u64); 5] = [(4, 8), (59, 16), (100, 37), (115, 68), (200, 98)];
const FUNCTIONS: u64 = 1_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Later {
    Free(InstanceId, AskId),
    Call(u64),
}

struct Host {
    dispatch: Dispatch,
    now: Timestamp,
    later: BTreeSet<(Timestamp, u64, Later)>,
    numbers: u64,
    pools: BTreeMap<PoolId, u64>,
    held: BTreeMap<InstanceId, u64>,
    total: u64,
    most: u64,
    /// Warm, cold and refused ones of each kind.
    tally: [[u64; 3]; KINDS.len()],
}

fn kind(function: u64) -> usize {
    (function % KINDS.len() as u64) as usize
}

impl Host {
    fn new(total: u64, policy: Policy) -> Host {
        let keep_alive = KeepAlive { policy, keep: Duration::from_secs(600) };
        Host {
            dispatch: Dispatch::new(Settings { keep_alive, ..Settings::new(2) }),
            now: Timestamp::from_secs(1_000_000),
            later: BTreeSet::new(),
            numbers: 0,
            pools: BTreeMap::new(),
            held: BTreeMap::new(),
            total,
            most: 0,
            tally: Default::default(),
        }
    }

    fn at(&mut self, millis: u64, later: Later) {
        self.numbers += 1;
        self.later.insert((self.now.plus(Duration::from_millis(millis)), self.numbers, later));
    }

    fn event(&mut self, event: Event) {
        let mut out = Vec::new();
        self.dispatch.step(self.now, event, &mut out);
        for command in out {
            match command {
                Command::Start { instance, pool, ask, .. } => {
                    let function = self.pools[&pool];
                    let (tenths, cold) = KINDS[kind(function)];
                    self.held.insert(instance, tenths * MIB / 10);
                    self.most = self.most.max(self.held.values().sum());
                    self.tally[kind(function)][1] += 1;
                    self.at(cold + 1, Later::Free(instance, ask.unwrap()));
                }
                Command::Lend { ask, instance } => {
                    self.at(1, Later::Free(instance, ask));
                }
                Command::End { instance } => {
                    self.held.remove(&instance);
                    self.event(Event::Ended { instance, failure: None });
                }
                Command::Throttle { .. } => {}
                Command::Forget { pool } => {
                    self.pools.remove(&pool);
                }
            }
        }
    }

    fn call(&mut self, function: u64) {
        let wanted = Wanted {
            scope: (World(0), AccountId::ZERO, Region::default()),
            function: function.to_string(),
            version: "$LATEST".into(),
            release: Uuid::from_bytes([1; 16]),
            tenant: None,
        };
        let pool = self.dispatch.pool(&wanted, Shape { slots: 1, bytes: 24 * MIB, is_kept: true });
        self.pools.insert(pool, function);
        self.numbers += 1;
        let cold = self.tally[kind(function)][1];
        let before = self.later.len();
        let ask = AskId(self.numbers);
        self.event(Event::Ask { ask, pool, limit: Concurrency::Shared(1_000), is_async: false });
        let of = &mut self.tally[kind(function)];
        match (of[1] > cold, self.later.len() > before) {
            (true, _) => {}
            (false, true) => of[0] += 1,
            (false, false) => of[2] += 1,
        }
    }

    /// Runs what is due up to a moment, and tells the memory each second.
    fn run(&mut self, until: Timestamp) {
        let mut told = self.now;
        while let Some((at, number, later)) = self.later.first().copied().filter(|(at, ..)| *at <= until) {
            self.later.remove(&(at, number, later));
            while told <= at {
                self.now = told;
                let available_bytes = self.total.saturating_sub(self.held.values().sum());
                let (free_bytes, total_bytes) = (available_bytes, self.total);
                let seen = Told { since: self.now, available_bytes, free_bytes, total_bytes };
                self.event(Event::Memory { told: seen, shown: Vec::new() });
                told = told.plus(Duration::from_secs(1));
            }
            self.now = at;
            match later {
                Later::Free(instance, ask) => {
                    let bytes = self.held[&instance];
                    let freed = Freed { wall: Duration::from_millis(1), bytes: Some(bytes), ..Freed::default() };
                    self.event(Event::Ready { instance });
                    self.event(Event::Free { instance, ask, freed });
                    self.event(Event::Weighed { instance, bytes });
                }
                Later::Call(function) => self.call(function),
            }
        }
        self.now = until;
    }
}

fn minutes(total: u64, policy: Policy, count: u64) -> Vec<[[u64; 3]; KINDS.len()]> {
    let mut host = Host::new(total, policy);
    let mut tallies = Vec::new();
    for _ in 0..count {
        for function in 0..FUNCTIONS {
            host.at(function * 60_000 / FUNCTIONS, Later::Call(function));
        }
        host.tally = Default::default();
        host.run(host.now.plus(Duration::from_secs(60)));
        tallies.push(host.tally);
    }
    tallies
}

/// More is called in turn than fits. Whoever went for each that comes would be called next, and all would be cold: some
/// stays, and most of it is what is dear to start for what it holds.
#[test]
fn where_more_is_called_than_fits_some_of_it_stays() {
    let tallies = minutes(4 << 30, Policy::Predictive, 5);
    // In the second minute nobody knows yet how often each is called.
    for tally in &tallies[2..] {
        let warm = tally.map(|[warm, ..]| warm);
        assert_eq!(tally.iter().map(|[.., refused]| refused).sum::<u64>(), 0);
        assert!(warm.iter().sum::<u64>() >= 440 && warm[0] == 200 && warm[3] > warm[2], "{warm:?}");
    }
    // The same were kept in each minute.
    assert_eq!(tallies[2], tallies[4]);
}

/// Who is called no more has to go for who is called.
#[test]
fn who_came_last_gets_a_place_when_it_is_worth_it() {
    let mut host = Host::new(1 << 30, Policy::Predictive);
    // What fills the host, and falls silent.
    for function in (3..800).step_by(5) {
        host.at(function * 10, Later::Call(function));
    }
    host.run(host.now.plus(Duration::from_secs(20)));
    for round in 0..6 {
        for function in (800 + 3..1_000).step_by(5) {
            host.at(round * 30_000 + function, Later::Call(function));
        }
    }
    host.tally = Default::default();
    host.run(host.now.plus(Duration::from_secs(120)));
    host.tally = Default::default();
    host.run(host.now.plus(Duration::from_secs(60)));
    let [warm, cold, refused] = host.tally[3];
    assert!(warm >= 70 && cold <= 10 && refused == 0, "{warm} warm, {cold} cold");
}

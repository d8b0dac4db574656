//! Random puts, keeps, restarts, deletions and reads against a list that is searched from end to end.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use base::{AccountId, Chance, Clock, ManualClock, Region, Seeded, Timestamp, World};
use chronicle::{Candidates, Chronicle, Found, GROUPS, Group, Line, STREAMS, Test, Want};
use proptest::prelude::*;
use store::{Batch, Scope, Store};

const STREAM_NAMES: [&str; 3] = ["a", "b", "c"];

#[derive(Debug, Clone)]
enum Step {
    Put {
        stream: usize,
        lines: Vec<(i64, String)>,
    },
    Keep,
    Restart,
    DeleteStream(usize),
    Clear,
    Read {
        streams: Option<Vec<usize>>,
        from: i64,
        to: i64,
        is_backwards: bool,
        events_max: usize,
        needle: Option<String>,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let lines = prop::collection::vec((0..60_i64, "[ab]{0,4}"), 1..8);
    let read = (
        prop::option::of(prop::collection::vec(0..3_usize, 0..3)),
        0..60_i64,
        0..60_i64,
        any::<bool>(),
        1..20_usize,
        prop::option::of("[ab]{1,2}"),
    );
    prop_oneof![
        6 => (0..3_usize, lines).prop_map(|(stream, lines)| Step::Put { stream, lines }),
        2 => Just(Step::Keep),
        1 => Just(Step::Restart),
        1 => (0..3_usize).prop_map(Step::DeleteStream),
        1 => Just(Step::Clear),
        6 => read.prop_map(|(streams, from, to, is_backwards, events_max, needle)| {
            Step::Read { streams, from, to, is_backwards, events_max, needle }
        }),
    ]
}

fn scope() -> Scope {
    Scope { world: World::default(), account: AccountId::ZERO, region: Some(Region::default()) }
}

struct Has(String);

impl Test for Has {
    fn candidates<'m>(&'m self, messages: &'m [u8]) -> Option<Candidates<'m>> {
        Some(Box::new(|from| Some(from + memchr::memmem::find(messages.get(from..)?, self.0.as_bytes())?)))
    }

    fn admits(&self, message: &str) -> bool {
        message.contains(&self.0)
    }
}

/// What is there: time, stream's number, message, in the order in which they came.
type Model = Vec<(i64, u64, String)>;

struct Bench {
    store: Store,
    chronicle: Chronicle,
    group: Group,
    numbers: BTreeMap<usize, u64>,
    model: Model,
    starts: u64,
}

async fn open(store: &Store, seed: u64) -> Chronicle {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(Timestamp::from_secs(1_000)));
    Chronicle::open(store, clock, Arc::new(Seeded::new(seed)), Arc::new(chronicle::Nothing)).await.unwrap()
}

impl Bench {
    async fn new() -> Bench {
        let store = Store::memory(Arc::new(ManualClock::at(Timestamp::from_secs(1_000))));
        let chronicle = open(&store, 1).await;
        let group = Group::new(Seeded::new(9).uuid(), Timestamp::default());
        assert!(chronicle.create_group(&scope(), "g", &group).await.unwrap());
        assert!(!chronicle.create_group(&scope(), "g", &group).await.unwrap(), "it is there");
        Bench { store, chronicle, group, numbers: BTreeMap::new(), model: Vec::new(), starts: 1 }
    }

    async fn stream(&mut self, at: usize) -> u64 {
        if let Some(number) = self.numbers.get(&at) {
            return *number;
        }
        let name = STREAM_NAMES[at];
        assert!(self.chronicle.create_stream(&scope(), ("g", &self.group), name).await.unwrap());
        let row = STREAMS.get(&self.store, &scope(), (self.group.id, name)).await.unwrap().unwrap();
        assert!(self.numbers.values().all(|number| *number != row.value.number), "numbers are given once");
        self.numbers.insert(at, row.value.number);
        row.value.number
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Put { stream, lines } => {
                let number = self.stream(stream).await;
                let made = |(time, message): &(i64, String)| Line {
                    time: Timestamp::from_millis(*time),
                    message: message.clone(),
                };
                let made: Vec<Line> = lines.iter().map(made).collect();
                self.chronicle.put(number, &made).await.unwrap();
                self.model.extend(lines.into_iter().map(|(time, message)| (time, number, message)));
            }
            Step::Keep => self.chronicle.keep_all().await.unwrap(),
            Step::Clear => self.chronicle.clear().await.unwrap(),
            Step::Restart => {
                self.starts += 1;
                self.chronicle = open(&self.store, self.starts).await;
                self.chronicle.catch_up().await.unwrap();
            }
            Step::DeleteStream(at) => {
                let Some(number) = self.numbers.remove(&at) else { return };
                let row = STREAMS.get(&self.store, &scope(), (self.group.id, STREAM_NAMES[at])).await.unwrap().unwrap();
                assert!(self.chronicle.delete_stream(&scope(), self.group.id, &row).await.unwrap());
                self.model.retain(|(_, stream, _)| *stream != number);
            }
            Step::Read { streams, from, to, is_backwards, events_max, needle } => {
                let streams = streams.map(|some| some.iter().filter_map(|at| self.numbers.get(at).copied()).collect());
                let [from, to] = [from, to].map(Timestamp::from_millis);
                self.check_sweep(from, to, needle.clone()).await;
                let test = needle.map(|needle| Arc::new(Has(needle)) as Arc<dyn Test>);
                let (group, after, bytes_max) = (self.group.id, None, usize::MAX);
                self.check(Want { group, streams, from, to, after, is_backwards, events_max, bytes_max, test }).await;
            }
        }
    }

    /// A sweep comes by all events once, but those that have no needle, and each is found by its number.
    async fn check_sweep(&self, from: Timestamp, to: Timestamp, needle: Option<String>) {
        let is_between = |(time, _, _): &&(i64, u64, String)| *time >= from.as_millis() && *time <= to.as_millis();
        let (mut sweep, test) =
            (self.chronicle.sweep(&scope(), self.group.id, from, to).await.unwrap(), needle.clone().map(Has));
        let (mut all, mut count) = (Vec::new(), 0);
        while let Some(sheet) = sweep.next().await.unwrap() {
            let test = test.as_ref().map(|test| test as &dyn Test);
            count += sheet.sift(test, |event| all.push(event)).unwrap().events;
        }
        let mut expected: Vec<_> = self.model.iter().filter(is_between).cloned().collect();
        assert_eq!(count, expected.len() as u64);
        expected.retain(|(_, _, message)| test.as_ref().is_none_or(|test| test.admits(message)));
        expected.sort();
        let message = |event: &chronicle::Event| String::from_utf8(event.message.to_vec()).unwrap();
        if let Some(event) = all.first() {
            let found = self.chronicle.find(&scope(), event.stream, event.number).await.unwrap();
            assert_eq!(found.unwrap().2, *event);
        }
        let mut found: Vec<_> =
            all.iter().map(|event| (event.time.as_millis(), event.stream, message(event))).collect();
        found.sort();
        assert_eq!(found, expected);
    }

    /// Page by page all that is wanted is found, in order.
    async fn check(&self, mut want: Want) {
        let is_wanted = |(time, stream, message): &&(i64, u64, String)| {
            let streams: Option<&HashSet<u64>> = want.streams.as_ref();
            *time >= want.from.as_millis()
                && *time <= want.to.as_millis()
                && streams.is_none_or(|streams| streams.contains(stream))
                && want.test.as_ref().is_none_or(|test| test.admits(message))
        };
        let mut expected: Vec<_> = self.model.iter().filter(is_wanted).cloned().collect();
        expected.sort_by_key(|(time, _, _)| *time);
        if want.is_backwards {
            expected.reverse();
        }
        let mut all = Vec::new();
        loop {
            let Found { events, next } = self.chronicle.read(&scope(), want.clone()).await.unwrap();
            assert!(events.len() <= want.events_max);
            all.extend(events.into_iter().map(|event| {
                let message = String::from_utf8(event.message.to_vec()).unwrap();
                (event.time.as_millis(), event.stream, message)
            }));
            let Some(next) = next else { break };
            want.after = Some(next);
        }
        assert_eq!(all, expected);
    }
}

async fn check(steps: Vec<Step>) {
    let mut bench = Bench::new().await;
    for step in steps {
        let chronicle = bench.chronicle.clone();
        tokio::select! {
            () = bench.step(step) => {}
            () = chronicle.follow() => unreachable!("it follows for ever"),
        }
    }
    let everything = Want {
        group: bench.group.id,
        streams: None,
        from: Timestamp::default(),
        to: Timestamp::from_secs(1),
        after: None,
        is_backwards: false,
        events_max: 3,
        bytes_max: usize::MAX,
        test: None,
    };
    bench.check(everything).await;
    let bytes: usize = bench.model.iter().map(|(_, _, message)| message.len() + 26).sum();
    bench.chronicle.clear().await.unwrap();
    assert_eq!(bench.chronicle.group_bytes(&scope(), bench.group.id).await.unwrap(), bytes as u64);
}

fn block_on(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        tokio::time::timeout(Duration::from_secs(60), test).await.unwrap();
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if std::env::var_os("LAMP_TORTURE").is_some() { 2_000 } else { 100 }))]

    #[test]
    fn what_is_put_is_found(steps in prop::collection::vec(step(), 0..40)) {
        block_on(check(steps));
    }
}

#[test]
fn a_group_that_is_deleted_leaves_nothing() {
    block_on(async {
        let mut bench = Bench::new().await;
        let chronicle = bench.chronicle.clone();
        let test = async {
            for at in 0..2 {
                bench.step(Step::Put { stream: at, lines: vec![(1, "x".into())] }).await;
                bench.step(Step::Keep).await;
            }
            bench.step(Step::Put { stream: 0, lines: vec![(2, "y".into())] }).await;
            let row = GROUPS.get(&bench.store, &scope(), "g").await.unwrap().unwrap();
            assert!(bench.chronicle.delete_group(&scope(), "g", &row, Batch::new()).await.unwrap());
            bench.chronicle.clear().await.unwrap();
            bench.model.clear();
            bench
                .check(Want {
                    group: bench.group.id,
                    streams: None,
                    from: Timestamp::default(),
                    to: Timestamp::from_secs(9),
                    after: None,
                    is_backwards: false,
                    events_max: 9,
                    bytes_max: usize::MAX,
                    test: None,
                })
                .await;
            assert!(STREAMS.scan_all(&bench.store, None, 9).await.unwrap().rows.is_empty());
            bench.chronicle.keep_all().await.unwrap();
        };
        tokio::select! {
            () = test => {}
            () = chronicle.follow() => unreachable!("it follows for ever"),
        }
    });
}

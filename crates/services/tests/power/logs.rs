//! Clients put log events and metric data, which are kept and settled meanwhile.
//!
//! Pass line: all that was acknowledged is there, once, and nothing that nobody put. A cut right behind an acknowledgement,
//! of which nothing is found that was not synced, says that none came too early.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base::{AccountId, Chance, Clock, Region, Seeded, SystemClock, Timestamp, World};
use chronicle::{Chronicle, GROUPS, Group, Line, STREAMS, Want};
use engine::math::Metric;
use engine::metric::aggregate::Aggregate;
use engine::price::Prices;
use metrics::{Datum, Metrics, Unit};
use services::derived::{Derived, Rules};
use store::testing::{Mutant, Tap};
use store::{Options, Scope, Store};

use crate::disk::{Event, Image, Luck, Recorder, after_power_cut, directory, image_of};
use crate::{cut_anywhere, sized};

struct Bench {
    store: Store,
    chronicle: Chronicle,
    derived: Arc<Derived>,
    metrics: Metrics,
}

fn scope() -> Scope {
    Scope { world: World::default(), account: AccountId::ZERO, region: Some(Region::default()) }
}

fn metric() -> Metric {
    Metric::new("Test", "Put", Vec::new())
}

async fn open(dir: &Path, tap: Option<Arc<dyn Tap>>, mutant: Option<Mutant>) -> Bench {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let options = Options { tap, mutant, checkpoint_pages: Some(6), ..Options::default() };
    let store = Store::open(dir, clock.clone(), options).unwrap();
    let metrics = Metrics::open(&store, clock.clone()).await.unwrap();
    let rules = Rules::open(&store).await.unwrap();
    let derived = Arc::new(Derived::new(metrics.clone(), rules, Prices::default(), clock.clone()));
    let chronicle = Chronicle::open(&store, clock, Arc::new(Seeded::new(1)), derived.clone()).await.unwrap();
    Bench { store, chronicle, derived, metrics }
}

impl Bench {
    async fn group(&self) -> Group {
        GROUPS.get(&self.store, &scope(), "g").await.unwrap().unwrap().value
    }

    /// Puts an event and a datum in turns; events have even numbers, data odd ones.
    async fn put(&self, recorder: &Recorder, count: u64) {
        let group = self.group().await;
        let stream = STREAMS.get(&self.store, &scope(), (group.id, "s")).await.unwrap().unwrap().value.number;
        for id in 0..count {
            let now = SystemClock.now();
            recorder.note(Event::Begun);
            if id % 2 == 0 {
                self.chronicle.put(stream, &[Line { time: now, message: id.to_string() }]).await.unwrap();
            } else {
                let aggregate = Aggregate::of_values([(1.0, 1.0)]);
                let datum = Datum {
                    scope: scope(),
                    metric: metric(),
                    unit: Unit::COUNT,
                    time: now,
                    resolution_s: 60,
                    aggregate,
                };
                self.chronicle.note(&metrics::encode(&[datum])).await.unwrap();
            }
            recorder.note(Event::Acked { id });
            if id % 7 == 6 {
                self.derived.settle().await.unwrap();
            }
            if id % 11 == 10 {
                self.chronicle.keep_all().await.unwrap();
            }
        }
    }

    /// Checks what is there against what was begun and acknowledged.
    async fn verify(&self, begun: u64, acked: u64) {
        self.chronicle.catch_up().await.unwrap();
        let want = Want {
            group: self.group().await.id,
            streams: None,
            from: Timestamp::default(),
            to: Timestamp::from_millis(i64::MAX / 1_000),
            after: None,
            is_backwards: false,
            events_max: 10_000,
            bytes_max: usize::MAX,
            test: None,
        };
        let found = self.chronicle.read(&scope(), want).await.unwrap().events;
        let ids: Vec<u64> = found.iter().map(|event| event.text().parse().unwrap()).collect();
        assert!(ids.is_sorted() && ids.windows(2).all(|pair| pair[0] < pair[1]), "each once: {ids:?}");
        assert!(ids.len() as u64 >= acked.div_ceil(2) && ids.len() as u64 <= begun.div_ceil(2), "{ids:?} of {acked}");
        let (from, to) = (Timestamp::default(), Timestamp::from_secs(1 << 40));
        let points = self.metrics.points(&scope(), &metric(), None, (from, to)).await.unwrap();
        let sum: f64 = points.iter().flat_map(|(_, points)| points).map(|(.., point)| point.sum()).sum();
        assert!(sum >= (acked / 2) as f64 && sum <= (begun / 2) as f64, "{sum} of {acked}, {begun} begun");
    }
}

/// What was put until the power went, and the disk before.
async fn record(count: u64, mutant: Option<Mutant>) -> (Image, Vec<Event>) {
    let dir = directory(&Image::new());
    let bench = open(dir.path(), None, None).await;
    let group = Group::new(Seeded::new(2).uuid(), SystemClock.now());
    assert!(bench.chronicle.create_group(&scope(), "g", &group).await.unwrap());
    assert!(bench.chronicle.create_stream(&scope(), ("g", &group), "s").await.unwrap());
    bench.store.close().await.unwrap();
    drop(bench);
    let base = image_of(dir.path());
    let recorder = Arc::new(Recorder::default());
    let bench = open(dir.path(), Some(recorder.clone()), mutant).await;
    tokio::select! {
        () = bench.put(&recorder, count) => {}
        () = bench.chronicle.follow() => unreachable!("it follows for ever"),
    }
    let trace = recorder.take();
    bench.store.close().await.unwrap();
    (base, trace)
}

async fn check(base: &Image, trace: &[Event], cut: usize, luck: &Luck<'_>) {
    let dir = directory(&after_power_cut(base, trace, cut, luck));
    let count = |is: fn(&Event) -> bool| trace[..cut].iter().filter(|event| is(event)).count() as u64;
    let (begun, acked) =
        (count(|event| matches!(event, Event::Begun)), count(|event| matches!(event, Event::Acked { .. })));
    let bench = open(dir.path(), None, None).await;
    tokio::time::timeout(Duration::from_secs(60), bench.verify(begun, acked)).await.unwrap();
    bench.store.close().await.unwrap();
}

#[tokio::test]
async fn a_power_cut_loses_no_event_and_no_datum_that_was_acknowledged() {
    let (base, trace) = record(sized(60, 300) as u64, None).await;
    let chance = Seeded::new(3);
    cut_anywhere(&trace, &chance, sized(40, 400), async |cut, luck| check(&base, &trace, cut, luck).await).await;
}

#[tokio::test]
async fn nothing_is_acknowledged_before_it_is_synced() {
    let (base, trace) = record(sized(30, 200) as u64, None).await;
    check_acknowledgements(&base, &trace).await;
}

/// Or the tests prove nothing.
#[tokio::test]
async fn an_acknowledgement_before_its_sync_is_found() {
    let (base, trace) = record(10, Some(Mutant::AckBeforeSync)).await;
    let mut checked = tokio::task::JoinSet::new();
    checked.spawn(async move { check_acknowledgements(&base, &trace).await });
    assert!(checked.join_next().await.unwrap().is_err_and(|error| error.is_panic()));
}

async fn check_acknowledgements(base: &Image, trace: &[Event]) {
    for at in (0..trace.len()).filter(|at| matches!(trace[*at], Event::Acked { .. })) {
        check(base, trace, at + 1, &Luck::Nothing).await;
    }
}

//! Random takings, settlings, crashes and readings against a list of all samples.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base::{AccountId, Clock, ManualClock, Region, Timestamp, World};
use bytes::Buf;
use engine::math::Metric;
use engine::metric::aggregate::{Aggregate, StatisticSet};
use engine::metric::retention::Tier;
use proptest::prelude::*;
use store::{Batch, Faults, Range, Scope, Space, Store};

use crate::{Datum, Error, Find, Metrics, Unit};

const ASIDE: Space = Space::new("aside");
const OPENED: Space = Space::new("opened");
/// However many commits fail, one of so many does not.
const ATTEMPTS_MAX: usize = 200;
const START: i64 = 1_800_000_000;

#[derive(Debug, Clone)]
enum Step {
    /// Samples: metric, unit, seconds ago, whether by the second, values.
    Take(Vec<(usize, u8, u64, bool, Vec<i32>)>),
    Settle,
    Crash,
    Tend,
    Advance(u64),
    Check,
}

fn step() -> impl Strategy<Value = Step> {
    let ago = prop_oneof![4 => 0..120_u64, 2 => 0..10_000_u64, 1 => 0..1_200_000_u64];
    let datum = (0..4_usize, 0..2_u8, ago, any::<bool>(), prop::collection::vec(-50..50_i32, 0..4));
    let time = prop_oneof![3 => 1..100_u64, 2 => 1_000..20_000_u64, 1 => 100_000..3_000_000_u64];
    prop_oneof![
        6 => prop::collection::vec(datum, 0..8).prop_map(Step::Take),
        3 => Just(Step::Settle),
        2 => Just(Step::Crash),
        2 => Just(Step::Tend),
        2 => time.prop_map(Step::Advance),
        2 => Just(Step::Check),
    ]
}

fn scope(account: usize) -> Scope {
    let account = format!("{account:012}").parse().unwrap_or(AccountId::ZERO);
    Scope { world: World::default(), account, region: Some(Region::default()) }
}

/// Two of one account, two of another.
fn named(at: usize) -> (Scope, Metric) {
    (scope(at / 2), Metric::new("n", "m", vec![("d".into(), (at % 2).to_string())]))
}

type Totals = BTreeMap<(usize, Unit, i64), (f64, f64, f64, f64)>;

struct Bench {
    store: Store,
    clock: ManualClock,
    metrics: Metrics,
    direct_bytes_max: usize,
    /// A batch of data an offset.
    journal: Vec<Vec<Datum>>,
    settled: u64,
}

impl Bench {
    async fn new(faults: Faults, direct_bytes_max: usize) -> Bench {
        let clock = ManualClock::at(Timestamp::from_secs(START));
        let shared: Arc<dyn Clock> = Arc::new(clock.clone());
        let store = Store::memory(shared.clone()).with_faults(faults);
        let metrics = loop {
            if let Ok(metrics) = Metrics::open_with(&store, shared.clone(), direct_bytes_max).await {
                break metrics;
            }
        };
        Bench { store, clock, metrics, direct_bytes_max, journal: Vec::new(), settled: 0 }
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Take(data) => self.take(data),
            Step::Settle => self.settle_once().await,
            Step::Crash => self.crash().await,
            // A fault leaves the rest for the next time.
            Step::Tend => drop(self.metrics.tend().await),
            Step::Advance(secs) => self.clock.advance(Duration::from_secs(secs)),
            Step::Check => self.check().await,
        }
    }

    fn take(&mut self, data: Vec<(usize, u8, u64, bool, Vec<i32>)>) {
        let now = self.clock.now();
        let datum = |(at, unit, ago, is_fine, values): (usize, u8, u64, bool, Vec<i32>)| {
            let (scope, metric) = named(at);
            let values = values.into_iter().map(|value| (f64::from(value), 1.0));
            Datum {
                scope,
                metric,
                unit: Unit::numbered(unit).unwrap(),
                time: now.minus(Duration::from_secs(ago)),
                resolution_s: if is_fine { 1 } else { 60 },
                aggregate: Aggregate::of_values(values),
            }
        };
        let data: Vec<Datum> = data.into_iter().map(datum).collect();
        self.metrics.take(&data, self.journal.len() as u64 + 1);
        self.journal.push(data);
    }

    async fn settle_once(&mut self) {
        let metrics = self.metrics.clone();
        let aside = |batch: Batch, next: u64| {
            batch.put_raw(ASIDE, next.to_be_bytes().to_vec(), &metrics.settled().to_be_bytes())
        };
        drop(self.metrics.settle(aside).await);
        assert!(self.metrics.settled() >= self.settled, "it never goes back");
        self.settled = self.metrics.settled();
    }

    async fn crash(&mut self) {
        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        // Whoever opens a store does so behind all that was on its way.
        while self.store.commit(Batch::new().put_raw(OPENED, Vec::new(), b"")).await.is_err() {}
        self.metrics = loop {
            match Metrics::open_with(&self.store, clock.clone(), self.direct_bytes_max).await {
                Ok(metrics) => break metrics,
                Err(Error::Store(store::Error::Unavailable { .. } | store::Error::Unanswered)) => {}
                Err(error) => unreachable!("{error}"),
            }
        };
        assert!(self.metrics.settled() >= self.settled, "what was settled stays so");
        self.settled = self.metrics.settled();
        for (offset, data) in (0_u64..).zip(&self.journal).filter(|(offset, _)| *offset >= self.settled) {
            self.metrics.take(data, offset + 1);
        }
    }

    /// All samples are there, once: by metric, unit and hour.
    async fn check(&mut self) {
        let mut found = None;
        for _ in 0..ATTEMPTS_MAX {
            match self.found().await {
                Ok(totals) => {
                    found = Some(totals);
                    break;
                }
                Err(Error::Torn) => self.settle_once().await,
                Err(_) => {}
            }
        }
        assert_eq!(found, Some(self.expected()));
        self.check_list().await;
    }

    async fn found(&self) -> Result<Totals, Error> {
        let mut totals = Totals::new();
        let all = (Timestamp::default(), Timestamp::from_secs(2 * START));
        for at in 0..4 {
            let (scope, metric) = named(at);
            for (unit, points) in self.metrics.points(&scope, &metric, None, all).await? {
                assert!(points.is_sorted_by_key(|(stamp, _, _)| *stamp));
                for (stamp, step_s, samples) in points {
                    assert_eq!(stamp.as_secs() % i64::from(step_s), 0);
                    assert_eq!(samples.spread().map(|spread| spread.count()), Some(samples.count()));
                    add(&mut totals, (at, unit, Tier::Hour.stamp(stamp).as_secs()), &samples);
                }
            }
        }
        Ok(totals)
    }

    fn expected(&self) -> Totals {
        let mut totals = Totals::new();
        for datum in self.journal.iter().flatten().filter(|datum| !datum.aggregate.is_empty()) {
            let at = (0..4).find(|at| named(*at) == (datum.scope.clone(), datum.metric.clone())).unwrap();
            add(&mut totals, (at, datum.unit, Tier::Hour.stamp(datum.time).as_secs()), &datum.aggregate);
        }
        totals
    }

    async fn check_list(&mut self) {
        for account in 0..2 {
            let mut expected: Vec<Metric> = (0..4).filter(|at| at / 2 == account).map(|at| named(at).1).collect();
            expected.retain(|metric| {
                let is_it = |datum: &&Datum| datum.scope == scope(account) && datum.metric == *metric;
                self.journal.iter().flatten().filter(is_it).any(|datum| !datum.aggregate.is_empty())
            });
            let mut found = Vec::new();
            let mut find = Find { namespace: Some("n"), max: 1, ..Find::default() };
            loop {
                let Ok((some, next)) = self.metrics.list(&scope(account), &find).await else { continue };
                assert!(some.len() <= 1);
                found.extend(some);
                find.after = next;
                if find.after.is_none() {
                    break;
                }
            }
            found.sort();
            assert_eq!(found, expected);
        }
    }

    /// What went with the commits goes on where the last one ended.
    async fn check_aside(&self) {
        let mut reached = 0;
        let rows = loop {
            if let Ok(rows) = self.store.range(Range::under(ASIDE, Vec::new(), usize::MAX)).await {
                break rows.rows;
            }
        };
        for row in rows {
            assert_eq!((&*row.value).get_u64(), reached);
            reached = (&*row.key).get_u64();
        }
        assert_eq!(reached, self.metrics.settled());
    }
}

fn add(totals: &mut Totals, key: (usize, Unit, i64), samples: &Aggregate) {
    let total = totals.entry(key).or_insert((0.0, 0.0, f64::INFINITY, f64::NEG_INFINITY));
    total.0 += samples.count();
    total.1 += samples.sum();
    total.2 = total.2.min(samples.min());
    total.3 = total.3.max(samples.max());
}

fn block_on(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        tokio::time::timeout(Duration::from_secs(120), test).await.unwrap();
    });
}

/// Histories stay shorter than the coarsest tier keeps.
async fn run(steps: Vec<Step>, faults: Faults, direct_bytes_max: usize) {
    let mut bench = Bench::new(faults, direct_bytes_max).await;
    for step in steps {
        bench.step(step).await;
    }
    bench.check().await;
    for _ in 0..ATTEMPTS_MAX {
        if bench.metrics.settled() < bench.journal.len() as u64 {
            bench.settle_once().await;
        }
    }
    assert_eq!(bench.metrics.settled(), bench.journal.len() as u64);
    bench.check_aside().await;
    for _ in 0..ATTEMPTS_MAX {
        if bench.metrics.tend().await.is_ok() {
            break;
        }
    }
    bench.check().await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if std::env::var_os("LAMP_TORTURE").is_some() { 4_000 } else { 100 }))]

    #[test]
    fn what_is_taken_is_found_once(steps in prop::collection::vec(step(), 0..40), is_staged: bool) {
        block_on(run(steps, Faults::default(), if is_staged { 0 } else { usize::MAX }));
    }

    #[test]
    fn whatever_commits_fail(steps in prop::collection::vec(step(), 0..40), is_staged: bool, seed: u64) {
        let faults = Faults { seed, refused_share: 9, lost_share: 7, unanswered_share: 7, late_share: 7, ..Faults::default() };
        block_on(run(steps, faults, if is_staged { 0 } else { usize::MAX }));
    }
}

fn datum(at: usize, time: Timestamp, aggregate: Aggregate) -> Datum {
    let (scope, metric) = named(at);
    Datum { scope, metric, unit: Unit::NONE, time, resolution_s: 60, aggregate }
}

#[test]
fn old_points_are_coarse_and_then_gone_with_their_series() {
    block_on(async {
        let bench = Bench::new(Faults::default(), usize::MAX).await;
        let now = bench.clock.now();
        let second = |offset: u64| Datum {
            resolution_s: 1,
            ..datum(0, now.plus(Duration::from_secs(offset)), Aggregate::of_values([(1.0, 1.0)]))
        };
        bench.metrics.take(&(0..4_000).map(second).collect::<Vec<_>>(), 1);
        bench.metrics.settle(|batch, _| batch).await.unwrap();
        let (scope, metric) = named(0);
        let day = 86_400;
        for (days, steps) in [(1, vec![60]), (16, vec![300]), (80, vec![3_600]), (500, vec![])] {
            bench.clock.set(now.plus(Duration::from_secs(days * day)));
            bench.metrics.tend().await.unwrap();
            let all = (Timestamp::default(), bench.clock.now());
            let found = bench.metrics.points(&scope, &metric, None, all).await.unwrap();
            let points: Vec<_> = found.into_iter().flat_map(|(_, points)| points).collect();
            let mut found: Vec<u32> = points.iter().map(|(_, step_s, _)| *step_s).collect();
            found.dedup();
            assert_eq!(found, steps, "after {days} days");
            let count: f64 = points.iter().map(|(_, _, samples)| samples.count()).sum();
            assert_eq!(count, if steps.is_empty() { 0.0 } else { 4_000.0 });
        }
        let (listed, _) = bench.metrics.list(&scope, &Find { max: 9, ..Find::default() }).await.unwrap();
        assert_eq!(listed, [], "it is forgotten");
        for space in ["metric_blocks", "metric_blocks_by_start", "metric_blocks_staged", "metric_series"] {
            let rows = bench.store.range(Range::under(Space::new(space), Vec::new(), 9)).await.unwrap();
            assert_eq!(rows.rows.len(), 0, "{space}");
        }
    });
}

#[test]
fn what_is_too_much_for_one_commit_is_settled_in_several() {
    block_on(async {
        let mut bench = Bench::new(Faults::default(), crate::limits::DIRECT_BYTES_MAX).await;
        let now = bench.clock.now();
        let values = |seed: u32| (0..1_500).map(move |power| (f64::from(seed) + 1.021_f64.powi(power), 1.5));
        let many = |at: u64, seed: u32| {
            let time = now.minus(Duration::from_secs(at * 900));
            datum((at % 4) as usize, time, Aggregate::of_values(values(seed)))
        };
        for seed in 0..2 {
            bench.journal.push((0..600).map(|at| many(at, seed)).collect());
            bench.metrics.take(&bench.journal[seed as usize], u64::from(seed) + 1);
            assert!(bench.metrics.is_full());
            bench.metrics.settle(|batch, _| batch).await.unwrap();
            assert!(!bench.metrics.is_full());
            assert_eq!(bench.metrics.settled(), u64::from(seed) + 1);
        }
        let counts = |totals: Totals| totals.into_iter().map(|(key, total)| (key, total.0)).collect::<BTreeMap<_, _>>();
        assert_eq!(counts(bench.found().await.unwrap()), counts(bench.expected()));
        bench.crash().await;
        assert_eq!(counts(bench.found().await.unwrap()), counts(bench.expected()));
    });
}

#[test]
fn metrics_are_found_by_what_they_have() {
    block_on(async {
        let bench = Bench::new(Faults::default(), usize::MAX).await;
        let now = bench.clock.now();
        let taken = |name: &str, dimensions: &[(&str, &str)], ago: u64| Datum {
            metric: Metric::new(
                "n",
                name,
                dimensions.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            ),
            ..datum(0, now.minus(Duration::from_secs(ago)), Aggregate::of_values([(1.0, 1.0)]))
        };
        bench.metrics.take(&[taken("a", &[("x", "1")], 0), taken("a", &[("x", "2"), ("y", "3")], 9_000)], 1);
        bench.metrics.settle(|batch, _| batch).await.unwrap();
        bench.metrics.take(&[taken("a", &[], 0), taken("b", &[("x", "1")], 20_000)], 2);
        let x = |value: Option<&str>| vec![("x".to_owned(), value.map(str::to_owned))];
        let recently = Some(now.minus(Duration::from_secs(3 * 3_600)));
        let none = Vec::new();
        let some = Some("n");
        let table = [
            (some, None, &none, None, 4),
            (None, Some("a"), &none, None, 3),
            (some, Some("b"), &none, None, 1),
            (Some("other"), None, &none, None, 0),
            (some, None, &x(None), None, 3),
            (some, None, &x(Some("1")), None, 2),
            (some, Some("a"), &x(Some("2")), None, 1),
            (some, None, &x(Some("3")), None, 0),
            (some, None, &none, recently, 3),
        ];
        for (namespace, name, dimensions, since, count) in table {
            let find = Find { namespace, name, dimensions, since, after: None, max: 100 };
            let (found, next) = bench.metrics.list(&scope(0), &find).await.unwrap();
            assert_eq!((found.len(), next), (count, None), "{find:?}");
        }
    });
}

#[test]
fn a_set_whose_spread_is_unknown_and_what_is_too_late_or_early() {
    block_on(async {
        let bench = Bench::new(Faults::default(), usize::MAX).await;
        let now = bench.clock.now();
        let set = StatisticSet { sample_count: 3.0, sum: 9.0, minimum: 1.0, maximum: 6.0 };
        let late = datum(0, now.minus(Duration::from_secs(456 * 86_400)), Aggregate::of_values([(1.0, 1.0)]));
        let early = datum(0, now.plus(Duration::from_secs(4 * 3_600)), Aggregate::of_values([(1.0, 1.0)]));
        bench.metrics.take(&[datum(0, now, Aggregate::of_set(set)), late, early], 1);
        bench.metrics.settle(|batch, _| batch).await.unwrap();
        bench.metrics.take(&[datum(0, now, Aggregate::of_values([(2.0, 1.0)]))], 2);
        let (scope, metric) = named(0);
        let all = (Timestamp::default(), Timestamp::from_secs(2 * START));
        let found = bench.metrics.points(&scope, &metric, Some(Unit::NONE), all).await.unwrap();
        let [(Unit::NONE, points)] = &found[..] else { unreachable!("{found:?}") };
        let [(_, 60, samples)] = &points[..] else { unreachable!("{points:?}") };
        assert_eq!((samples.count(), samples.sum(), samples.spread()), (4.0, 11.0, None));
        let other = bench.metrics.points(&scope, &metric, Unit::named("Count"), all).await.unwrap();
        assert_eq!(other, []);
    });
}

/// More than one commit takes, of whatever size.
#[tokio::test]
async fn a_flood_of_new_series_is_settled() {
    const SERIES: usize = 51_000;
    let clock = ManualClock::at(Timestamp::from_secs(START));
    let store = Store::memory(Arc::new(clock.clone()));
    let metrics = Metrics::open(&store, Arc::new(clock.clone())).await.unwrap();
    let of = |at: usize| Metric::new("n", "m", vec![("d".into(), at.to_string())]);
    let data: Vec<Datum> = (0..SERIES)
        .map(|at| Datum {
            scope: scope(0),
            metric: of(at),
            unit: Unit::NONE,
            time: clock.now(),
            resolution_s: 60,
            aggregate: Aggregate::of_values([(1.0, 1.0)]),
        })
        .collect();
    metrics.take(&data, 1);
    assert!(metrics.is_full());
    metrics.settle(|batch, _| batch).await.unwrap();
    assert!(!metrics.is_full() && metrics.settled() == 1);
    let (from, to) = (Timestamp::from_secs(START - 100), Timestamp::from_secs(START + 100));
    for at in [0, SERIES / 2, SERIES - 1] {
        let found = metrics.points(&scope(0), &of(at), None, (from, to)).await.unwrap();
        assert_eq!(found.iter().map(|(_, points)| points.len()).sum::<usize>(), 1, "{at}");
    }
}

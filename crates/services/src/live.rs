//! What functions do right now: counts since the server began, and what the last minute was like.
//!
//! For Prometheus, whose counters only rise, and for `lamp top`. It is fed with every record of an invocation as it is derived
//! from, holds so many functions in memory and nothing on disk: what is kept is in the metrics.

use std::collections::HashMap;
use std::time::Duration;

use base::record::{Ended, Origin};
use base::{AccountId, Region, Timestamp};
use engine::metric::aggregate::Aggregate;
use engine::metric::statistic::Statistic;
use engine::price::{self, Prices};
use parking_lot::Mutex;
use store::Scope;

/// Functions that are told apart. The calls of others are counted together.
const FUNCTIONS_MAX: usize = 2_000;
/// One that was not called for so long makes room for another.
const IDLE: Duration = Duration::from_secs(3_600);
/// The last minute, in so many parts: it moves on by one of them.
const PARTS: i64 = 6;
const PART: Duration = Duration::from_secs(10);
pub const MINUTE: Duration = Duration::from_secs(60);

/// Upper bounds of durations in seconds: from what a warm call takes to the longest that one may.
pub const BUCKETS: [f64; 14] = [0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 3.0, 10.0, 60.0, 900.0];

/// What the functions of a server do.
pub struct Live {
    began: Timestamp,
    prices: Prices,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    functions: HashMap<Scope, HashMap<String, Function>>,
    count: usize,
    left_out: u64,
}

#[derive(Default)]
struct Function {
    totals: Totals,
    memory_mb: u32,
    last: Timestamp,
    parts: [Part; PARTS as usize],
}

/// What a function did since the server began.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Totals {
    pub invocations: u64,
    pub errors: u64,
    pub throttles: u64,
    pub cold_starts: u64,
    pub billed_ms: u64,
    pub gb_seconds: f64,
    pub cost: f64,
    pub cpu: Duration,
    pub took: Duration,
    /// How many took no longer than each of [`BUCKETS`], and longer than the one before; the last, longer than all.
    pub buckets: [u64; BUCKETS.len() + 1],
}

/// Ten seconds of it.
#[derive(Default)]
struct Part {
    /// Which ten seconds since 1970.
    number: i64,
    invocations: u64,
    errors: u64,
    throttles: u64,
    cold_starts: u64,
    cost: f64,
    at_once: u32,
    memory_peak_bytes: Option<u64>,
    took_ms: Aggregate,
}

/// A function, as it is now.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub account: AccountId,
    pub region: Option<Region>,
    pub function: String,
    pub memory_mb: u32,
    pub totals: Totals,
    pub minute: Minute,
}

/// What a function did within the last minute.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Minute {
    pub invocations: u64,
    pub errors: u64,
    pub throttles: u64,
    pub cold_starts: u64,
    pub cost: f64,
    /// How many ran at once, at most.
    pub at_once: u32,
    /// The most that one held.
    pub memory_peak_bytes: Option<u64>,
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
}

/// All functions, and how many invocations belong to none of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    pub rows: Vec<Row>,
    pub left_out: u64,
}

impl Live {
    /// What ended before the server began does not count: its records are in the journal still, and are taken once more.
    pub fn new(began: Timestamp, prices: Prices) -> Live {
        Live { began, prices, held: Mutex::default() }
    }

    /// Takes an invocation that is over.
    pub fn take(&self, scope: &Scope, origin: &Origin, ended: &Ended) {
        let at = ended.began.plus(ended.took);
        if at < self.began {
            return;
        }
        let cost = price::cost(&self.prices, origin, ended);
        let mut held = self.held.lock();
        let Some(function) = held.function(scope, &origin.function, at) else {
            held.left_out = held.left_out.saturating_add(1);
            return;
        };
        function.memory_mb = origin.memory_mb;
        function.totals.take(origin, ended, cost);
        if let Some(part) = function.part(at) {
            part.take(ended, cost);
        }
    }

    /// A call was refused, because too many ran.
    pub fn throttled(&self, scope: &Scope, function: &str, now: Timestamp) {
        let mut held = self.held.lock();
        let Some(function) = held.function(scope, function, now) else { return };
        function.totals.throttles = function.totals.throttles.saturating_add(1);
        if let Some(part) = function.part(now) {
            part.throttles = part.throttles.saturating_add(1);
        }
    }

    /// All functions, in the order of their accounts, regions and names.
    pub fn snapshot(&self, now: Timestamp) -> Snapshot {
        let held = self.held.lock();
        let of = |(scope, functions): (&Scope, &HashMap<String, Function>)| -> Vec<Row> {
            functions.iter().map(|(name, function)| function.row(scope, name, now)).collect()
        };
        let mut rows: Vec<Row> = held.functions.iter().flat_map(of).collect();
        let left_out = held.left_out;
        drop(held);
        rows.sort_by(|a, b| a.key().cmp(&b.key()));
        Snapshot { rows, left_out }
    }
}

impl Row {
    fn key(&self) -> (&str, Option<&str>, &str) {
        (self.account.as_str(), self.region.as_ref().map(Region::as_str), &self.function)
    }
}

impl Held {
    /// The function, if there is room for it.
    fn function(&mut self, scope: &Scope, name: &str, now: Timestamp) -> Option<&mut Function> {
        let is_known = self.functions.get(scope).is_some_and(|functions| functions.contains_key(name));
        if !is_known {
            if self.count >= FUNCTIONS_MAX {
                self.functions.values_mut().for_each(|functions| functions.retain(|_, one| now.since(one.last) < IDLE));
                self.functions.retain(|_, functions| !functions.is_empty());
                self.count = self.functions.values().map(HashMap::len).sum();
            }
            if self.count >= FUNCTIONS_MAX {
                return None;
            }
            self.count = self.count.saturating_add(1);
            self.functions.entry(scope.clone()).or_default().insert(name.to_owned(), Function::default());
        }
        let function = self.functions.get_mut(scope)?.get_mut(name)?;
        function.last = function.last.max(now);
        Some(function)
    }
}

fn number_of(at: Timestamp) -> i64 {
    at.as_secs().div_euclid(PART.as_secs() as i64)
}

impl Function {
    /// The part of the last minute that a moment is in; `None` if it is over.
    fn part(&mut self, at: Timestamp) -> Option<&mut Part> {
        let number = number_of(at);
        let part = self.parts.get_mut(usize::try_from(number.rem_euclid(PARTS)).ok()?)?;
        if part.number < number {
            *part = Part { number, ..Part::default() };
        }
        (part.number == number).then_some(part)
    }

    fn row(&self, scope: &Scope, name: &str, now: Timestamp) -> Row {
        let number = number_of(now);
        let within = |part: &&Part| part.number > number.saturating_sub(PARTS) && part.number <= number;
        let (mut minute, mut took_ms) = (Minute::default(), Aggregate::default());
        for part in self.parts.iter().filter(within) {
            minute.invocations = minute.invocations.saturating_add(part.invocations);
            minute.errors = minute.errors.saturating_add(part.errors);
            minute.throttles = minute.throttles.saturating_add(part.throttles);
            minute.cold_starts = minute.cold_starts.saturating_add(part.cold_starts);
            minute.cost += part.cost;
            minute.at_once = minute.at_once.max(part.at_once);
            minute.memory_peak_bytes = minute.memory_peak_bytes.max(part.memory_peak_bytes);
            took_ms.merge(&part.took_ms);
        }
        let part = |percent| Statistic::Percentile(percent).of(&took_ms);
        (minute.p50_ms, minute.p99_ms) = (part(50.0), part(99.0));
        let (account, region, function) = (scope.account, scope.region.clone(), name.to_owned());
        Row { account, region, function, memory_mb: self.memory_mb, totals: self.totals.clone(), minute }
    }
}

impl Totals {
    fn take(&mut self, origin: &Origin, ended: &Ended, cost: f64) {
        self.invocations = self.invocations.saturating_add(1);
        self.errors = self.errors.saturating_add(ended.failure.is_some().into());
        self.cold_starts = self.cold_starts.saturating_add(ended.is_cold.into());
        self.billed_ms = self.billed_ms.saturating_add(ended.billed_millis());
        self.gb_seconds += price::gb_seconds(origin, ended);
        self.cost += cost;
        self.cpu = self.cpu.saturating_add(ended.cpu.unwrap_or_default());
        self.took = self.took.saturating_add(ended.took);
        let seconds = ended.took.as_secs_f64();
        let place = BUCKETS.iter().position(|bound| seconds <= *bound).unwrap_or(BUCKETS.len());
        if let Some(bucket) = self.buckets.get_mut(place) {
            *bucket = bucket.saturating_add(1);
        }
    }
}

impl Part {
    fn take(&mut self, ended: &Ended, cost: f64) {
        self.invocations = self.invocations.saturating_add(1);
        self.errors = self.errors.saturating_add(ended.failure.is_some().into());
        self.cold_starts = self.cold_starts.saturating_add(ended.is_cold.into());
        self.cost += cost;
        self.at_once = self.at_once.max(ended.at_once.function);
        self.memory_peak_bytes = self.memory_peak_bytes.max(ended.memory_peak_bytes);
        self.took_ms.add(ended.took.as_secs_f64() * 1e3, 1.0);
    }
}

#[cfg(test)]
mod tests {
    use base::record::{AtOnce, Failure};
    use base::{RequestId, Uuid, World};

    use super::*;

    const BEGAN: i64 = 1_000_000;

    fn scope() -> Scope {
        Scope { world: World::default(), account: AccountId::ZERO, region: Some(Region::default()) }
    }

    fn origin(function: &str) -> Origin {
        Origin { function: function.into(), memory_mb: 1_024, tmp_mb: 512, ..Origin::default() }
    }

    fn ended(second: i64, millis: u64) -> Ended {
        Ended {
            request_id: RequestId(Uuid::NIL),
            qualifier: String::new(),
            began: Timestamp::from_secs(BEGAN + second),
            took: Duration::from_millis(millis),
            init: None,
            restored: None,
            is_cold: second % 2 == 0,
            memory_peak_bytes: Some(millis * 1_000),
            cpu: Some(Duration::from_millis(1)),
            failure: (millis > 500).then_some(Failure::Timeout),
            extensions: None,
            trace: None,
            at_once: AtOnce { function: 3, account: 4, ..AtOnce::default() },
        }
    }

    fn live() -> Live {
        Live::new(Timestamp::from_secs(BEGAN), Prices::default())
    }

    #[test]
    fn counts_only_rise_and_the_last_minute_moves_on() {
        let live = live();
        for second in 0..100 {
            live.take(&scope(), &origin("f"), &ended(second, 100));
        }
        live.take(&scope(), &origin("f"), &ended(100, 1_000));
        live.throttled(&scope(), "f", Timestamp::from_secs(BEGAN + 101));
        let at = |second: i64| live.snapshot(Timestamp::from_secs(BEGAN + second)).rows.remove(0);
        let row = at(101);
        assert_eq!(
            (row.totals.invocations, row.totals.errors, row.totals.throttles, row.totals.cold_starts),
            (101, 1, 1, 51)
        );
        assert_eq!((row.totals.billed_ms, row.totals.took), (11_000, Duration::from_secs(11)));
        assert!((row.totals.gb_seconds - 11.0).abs() < 1e-9);
        assert_eq!(row.totals.buckets.iter().sum::<u64>(), 101);
        assert_eq!((row.totals.buckets[6], row.totals.buckets[9]), (100, 1));
        let Minute { invocations, errors, throttles, at_once, memory_peak_bytes, .. } = row.minute;
        assert!((51..=61).contains(&invocations), "{invocations}");
        assert_eq!((errors, throttles, at_once, memory_peak_bytes), (1, 1, 3, Some(1_000_000)));
        assert!((row.minute.p50_ms.unwrap() - 100.0).abs() < 2.0, "{:?}", row.minute);
        assert!(at(150).minute.invocations < 20);
        let later = at(1_000);
        assert_eq!((later.minute, later.totals), (Minute::default(), row.totals));
    }

    #[test]
    fn what_was_before_the_server_is_not_counted_again() {
        let live = live();
        live.take(&scope(), &origin("f"), &ended(-10, 5_000));
        assert!(live.snapshot(Timestamp::from_secs(BEGAN)).rows.is_empty());
        // It ended afterwards.
        live.take(&scope(), &origin("f"), &ended(-10, 11_000));
        assert_eq!(live.snapshot(Timestamp::from_secs(BEGAN)).rows.len(), 1);
    }

    #[test]
    fn there_are_never_more_functions_than_there_is_room_for() {
        let live = live();
        for number in 0..FUNCTIONS_MAX + 10 {
            live.take(&scope(), &origin(&format!("f{number}")), &ended(0, 1));
        }
        let full = live.snapshot(Timestamp::from_secs(BEGAN));
        assert_eq!((full.rows.len(), full.left_out), (FUNCTIONS_MAX, 10));
        assert!(full.rows.is_sorted_by(|a, b| a.function < b.function));
        // Long after, those that nobody calls make room.
        live.take(&scope(), &origin("new"), &ended(3_700, 1));
        let after = live.snapshot(Timestamp::from_secs(BEGAN + 3_700));
        assert_eq!((after.rows.len(), after.left_out), (1, 10));
    }

    #[test]
    fn what_comes_late_is_in_no_minute_that_is_over() {
        let live = live();
        live.take(&scope(), &origin("f"), &ended(600, 1));
        live.take(&scope(), &origin("f"), &ended(0, 1));
        let row = live.snapshot(Timestamp::from_secs(BEGAN + 601)).rows.remove(0);
        assert_eq!((row.minute.invocations, row.totals.invocations), (1, 2));
    }
}

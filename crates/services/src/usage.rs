//! What functions used and what it cost, as the metrics in `Lamplight/Usage` tell it.
//!
//! `derived::lambda` makes these metrics of records; nothing else is kept of usage, so an alarm on a metric and a bill go by the
//! same numbers.

use std::collections::{BTreeMap, BTreeSet};

use base::{AwsError, Timestamp};
use engine::math::Metric;
use engine::price::{self, Forecast, Prices, Run};
use metrics::{Find, Metrics};
use store::Scope;

use crate::derived::lambda::{NAMESPACE as LAMBDA, USAGE};

/// Functions that are told of. Of more, the first by name.
const FUNCTIONS_MAX: usize = 2_000;
const FUNCTION: &str = "FunctionName";
const DAY_S: i64 = 86_400;

/// What was used in some time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Used {
    pub invocations: f64,
    pub errors: f64,
    pub cold_starts: f64,
    pub billed_ms: f64,
    pub gb_seconds: f64,
    pub cpu_ms: f64,
    /// In dollars, without tiers and without what is free.
    pub cost: f64,
    pub memory_mb: Mean,
    pub memory_used_mb: Mean,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Mean {
    sum: f64,
    count: f64,
}

/// By function, and by the day that begins then.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Usage {
    pub functions: BTreeMap<String, BTreeMap<Timestamp, Used>>,
    /// There are more functions than these.
    pub is_cut: bool,
}

/// What a month costs.
#[derive(Debug, Clone, PartialEq)]
pub struct Month {
    /// `2026-11`
    pub name: String,
    pub cost: f64,
    /// What is left to pay when AWS's free requests and GB-seconds are taken off.
    pub cost_beyond_free: f64,
    /// Of a month that is not over.
    pub forecast: Option<(Forecast, ForecastBeyondFree)>,
}

/// The same of what is left to pay.
pub type ForecastBeyondFree = f64;

impl Mean {
    pub fn get(self) -> Option<f64> {
        (self.count > 0.0).then(|| self.sum / self.count)
    }
}

impl Used {
    pub fn merge(&mut self, other: &Used) {
        let Used { invocations, errors, cold_starts, billed_ms, gb_seconds, cpu_ms, cost, memory_mb, memory_used_mb } =
            self;
        for (sum, more) in [
            (invocations, other.invocations),
            (errors, other.errors),
            (cold_starts, other.cold_starts),
            (billed_ms, other.billed_ms),
            (gb_seconds, other.gb_seconds),
            (cpu_ms, other.cpu_ms),
            (cost, other.cost),
            (&mut memory_mb.sum, other.memory_mb.sum),
            (&mut memory_mb.count, other.memory_mb.count),
            (&mut memory_used_mb.sum, other.memory_used_mb.sum),
            (&mut memory_used_mb.count, other.memory_used_mb.count),
        ] {
            *sum += more;
        }
    }

    /// Adds what a metric says; those that are no part of it do nothing.
    fn add(&mut self, metric: &str, sum: f64, count: f64) {
        let mean = |mean: &mut Mean| {
            mean.sum += sum;
            mean.count += count;
        };
        match metric {
            "Invocations" => self.invocations += sum,
            "Errors" => self.errors += sum,
            "ColdStarts" => self.cold_starts += sum,
            "BilledDuration" => self.billed_ms += sum,
            "GBSeconds" => self.gb_seconds += sum,
            "CpuTime" => self.cpu_ms += sum,
            "Cost" => self.cost += sum,
            "MemorySize" => mean(&mut self.memory_mb),
            "MemoryUsed" => mean(&mut self.memory_used_mb),
            _ => {}
        }
    }

    /// The part of calls for which nothing was ready.
    pub fn cold_share(&self) -> Option<f64> {
        (self.invocations > 0.0).then(|| self.cold_starts / self.invocations)
    }

    /// The part of its memory that it used, of calls of which it is known.
    pub fn memory_share(&self) -> Option<f64> {
        let (used, reserved) = (self.memory_used_mb.get()?, self.memory_mb.get()?);
        (reserved > 0.0).then(|| used / reserved)
    }

    /// How much of the billed time a processor was at it.
    pub fn cpu_share(&self) -> Option<f64> {
        (self.billed_ms > 0.0).then(|| self.cpu_ms / self.billed_ms)
    }
}

impl Usage {
    /// What was used from `from` on and before `to`.
    pub async fn read(
        metrics: &Metrics,
        scope: &Scope,
        (from, to): (Timestamp, Timestamp),
    ) -> Result<Usage, metrics::Error> {
        // What is provisioned costs without a call, too.
        let (names, is_cut) = functions(metrics, scope, (USAGE, "Cost"), from).await?;
        let mut usage = Usage { functions: BTreeMap::new(), is_cut };
        for function in names {
            let mut days: BTreeMap<Timestamp, Used> = BTreeMap::new();
            for name in METRICS {
                let metric = Metric::new(USAGE, name, vec![(FUNCTION.to_owned(), function.clone())]);
                for (_, points) in metrics.points(scope, &metric, None, (from, to)).await? {
                    for (time, _, samples) in points {
                        days.entry(day_of(time)).or_default().add(name, samples.sum(), samples.count());
                    }
                }
            }
            if !days.is_empty() {
                usage.functions.insert(function, days);
            }
        }
        Ok(usage)
    }

    pub fn total(&self) -> Used {
        sum(self.functions.values().flat_map(BTreeMap::values))
    }

    /// All functions, by the day.
    pub fn days(&self) -> BTreeMap<Timestamp, Used> {
        let mut days: BTreeMap<Timestamp, Used> = BTreeMap::new();
        for (day, used) in self.functions.values().flatten() {
            days.entry(*day).or_default().merge(used);
        }
        days
    }

    /// Only what was used on days that begin within.
    pub fn within(&self, (from, to): (Timestamp, Timestamp)) -> Usage {
        let mut usage = self.clone();
        usage.functions.values_mut().for_each(|days| days.retain(|day, _| *day >= from && *day < to));
        usage.functions.retain(|_, days| !days.is_empty());
        usage
    }
}

const METRICS: [&str; 9] = [
    "Invocations",
    "Errors",
    "ColdStarts",
    "BilledDuration",
    "GBSeconds",
    "CpuTime",
    "Cost",
    "MemorySize",
    "MemoryUsed",
];

pub fn sum<'u>(all: impl Iterator<Item = &'u Used>) -> Used {
    let mut total = Used::default();
    all.for_each(|used| total.merge(used));
    total
}

/// What the month costs that begins at `start`, up to `now`; and what was used in it and, if it is not over, on the days before
/// from the moment that comes with it.
pub async fn month(
    (metrics, prices): (&Metrics, &Prices),
    scope: &Scope,
    start: Timestamp,
    now: Timestamp,
) -> Result<(Month, Usage, Timestamp), AwsError> {
    let end = month_after(start);
    let before = std::time::Duration::from_secs(price::FORECAST_DAYS as u64 * DAY_S as u64);
    // The days before the month tell how the rest of it will be.
    let from = if now < end { start.min(day_of(now).minus(before)) } else { start };
    let usage = Usage::read(metrics, scope, (from, end)).await.map_err(AwsError::from)?;
    let (provisioned, _) = functions(metrics, scope, (LAMBDA, "ProvisionedConcurrencyInvocations"), start)
        .await
        .map_err(AwsError::from)?;
    Ok((month_of(prices, &usage, &provisioned, (start, now)), usage, from))
}

fn month_of(
    prices: &Prices,
    usage: &Usage,
    provisioned: &BTreeSet<String>,
    (start, now): (Timestamp, Timestamp),
) -> Month {
    let end = month_after(start);
    let used = usage.within((start, end));
    let cost = used.total().cost;
    // As at AWS, what is free is not for functions that have provisioned concurrency.
    let ours = used.functions.iter().filter(|(name, _)| !provisioned.contains(*name));
    let on_demand = sum(ours.flat_map(|(_, days)| days.values()));
    let forecast = (now >= start && now < end).then(|| {
        let days = usage.days();
        let today = day_of(now);
        let first = start.min(days.keys().next().copied().unwrap_or(start));
        let count = today.as_secs().saturating_sub(first.as_secs()).div_euclid(DAY_S);
        let day = |number: i64| Timestamp::from_secs(first.as_secs().saturating_add(number.saturating_mul(DAY_S)));
        let cost_of = |day: Timestamp| days.get(&day).map_or(0.0, |used| used.cost);
        let whole: Vec<f64> = (0..count).map(|number| cost_of(day(number))).collect();
        let part = now.since(today).as_secs_f64() / DAY_S as f64;
        let left = end.since(now).as_secs_f64() / DAY_S as f64;
        let foretold = price::forecast(cost, &whole, (cost_of(today), part), left);
        let factor = if cost > 0.0 { foretold.expected / cost } else { 1.0 };
        (foretold, beyond_free(prices, &on_demand, factor, foretold.expected))
    });
    let cost_beyond_free = beyond_free(prices, &on_demand, 1.0, cost);
    Month { name: month_name(start), cost, cost_beyond_free, forecast }
}

/// What is left of a cost, when `factor` times as much is used and what is free is taken off.
fn beyond_free(prices: &Prices, on_demand: &Used, factor: f64, cost: f64) -> f64 {
    let run = Run { requests: on_demand.invocations, gb_seconds: on_demand.gb_seconds, ..Run::default() };
    // All of a machine's functions run on its architecture.
    let used = price::Usage::of_run(run, cfg!(target_arch = "aarch64")).times(factor);
    let rest = cost - (prices.bill(&used).total() - prices.bill_beyond_free(&used).total());
    // What is left of a difference of equal sums is nothing.
    if rest < cost * 1e-9 { 0.0 } else { rest }
}

/// The functions that have a metric with points since then, and whether there are more of them.
async fn functions(
    metrics: &Metrics,
    scope: &Scope,
    (namespace, name): (&str, &str),
    since: Timestamp,
) -> Result<(BTreeSet<String>, bool), metrics::Error> {
    let dimensions = [(FUNCTION.to_owned(), None)];
    let mut find = Find {
        namespace: Some(namespace),
        name: Some(name),
        dimensions: &dimensions,
        // When a series had its last point is noted from time to time.
        since: Some(since.minus(metrics::limits::LAST_EVERY)),
        after: None,
        max: FUNCTIONS_MAX,
    };
    let mut found = BTreeSet::new();
    loop {
        let (metrics, next) = metrics.list(scope, &find).await?;
        for metric in metrics {
            found.extend(metric.dimension(FUNCTION).map(str::to_owned));
        }
        match next {
            Some(_) if found.len() >= FUNCTIONS_MAX => return Ok((found, true)),
            Some(_) => find.after = next,
            None => return Ok((found, false)),
        }
    }
}

pub fn day_of(time: Timestamp) -> Timestamp {
    Timestamp::from_secs(time.as_secs().div_euclid(DAY_S).saturating_mul(DAY_S))
}

/// `2026-11`
pub fn month_name(time: Timestamp) -> String {
    time.iso8601().get(..7).unwrap_or_default().to_owned()
}

/// When a month begins that is named so.
pub fn month_start(name: &str) -> Option<Timestamp> {
    (name.len() == 7).then(|| Timestamp::parse_iso8601(&format!("{name}-01T00:00:00Z")).ok()).flatten()
}

/// When the month after this one begins.
pub fn month_after(start: Timestamp) -> Timestamp {
    // No month has more days, and none has less than four fewer.
    let within_next = start.plus(std::time::Duration::from_secs(31 * DAY_S as u64));
    month_start(&month_name(within_next)).unwrap_or(within_next)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use base::{AccountId, Clock, ManualClock, Region, World};
    use engine::metric::aggregate::Aggregate;
    use metrics::{Datum, Unit};
    use store::Store;

    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_iso8601(text).unwrap()
    }

    fn used(invocations: f64, gb_seconds: f64, cost: f64) -> Used {
        Used { invocations, gb_seconds, cost, ..Used::default() }
    }

    fn usage(days: &[(&str, &str, Used)]) -> Usage {
        let mut usage = Usage::default();
        for (function, day, used) in days {
            usage.functions.entry((*function).to_owned()).or_default().insert(at(&format!("{day}T00:00:00Z")), *used);
        }
        usage
    }

    #[test]
    fn months_have_names_and_ends() {
        for (name, after) in
            [("2026-11", "2026-12"), ("2026-12", "2027-01"), ("2028-02", "2028-03"), ("2027-01", "2027-02")]
        {
            let start = month_start(name).unwrap();
            assert_eq!(month_name(start), name);
            assert_eq!(Some(month_after(start)), month_start(after), "{name}");
        }
        for bad in ["", "2026", "2026-13", "2026-1", "11-2026"] {
            assert_eq!(month_start(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_free_is_for_functions_without_provisioned_concurrency() {
        let prices = Prices::default();
        // Three million calls that use 540,000 GB-seconds: AWS's first example.
        let cost = 540_000.0 * 0.000_016_666_7 + 0.6;
        let usage = usage(&[("f", "2026-10-05", used(3e6, 540_000.0, cost))]);
        let now = at("2026-11-20T00:00:00Z");
        let told = |provisioned: &[&str]| {
            let provisioned = provisioned.iter().map(|name| (*name).to_owned()).collect();
            month_of(&prices, &usage, &provisioned, (month_start("2026-10").unwrap(), now))
        };
        let month = told(&[]);
        assert_eq!((month.name.as_str(), month.cost, month.forecast), ("2026-10", cost, None));
        assert!((month.cost_beyond_free - 2.733).abs() < 0.001, "{month:?}");
        assert_eq!(told(&["f"]).cost_beyond_free, cost);
        assert_eq!(told(&["g"]), month);
    }

    #[test]
    fn the_rest_of_a_month_is_foretold_by_its_days_and_those_before() {
        let day = |day: &'static str| ("f", day, used(10.0, 1.0, 1.0));
        // Twelve whole days, and half of today.
        let mut days: Vec<_> = ["2026-10-30", "2026-10-31"].map(day).into();
        days.extend(["2026-11-01", "2026-11-02", "2026-11-03", "2026-11-04", "2026-11-05"].map(day));
        days.extend(["2026-11-06", "2026-11-07", "2026-11-08", "2026-11-09", "2026-11-10"].map(day));
        days.push(("f", "2026-11-11", used(5.0, 0.5, 0.5)));
        let (start, now) = (month_start("2026-11").unwrap(), at("2026-11-11T12:00:00Z"));
        let month = month_of(&Prices::default(), &usage(&days), &BTreeSet::new(), (start, now));
        let (forecast, _) = month.forecast.unwrap();
        assert_eq!(month.cost, 10.5);
        assert!((forecast.expected - 30.0).abs() < 1e-9 && (forecast.days_seen - 12.5).abs() < 1e-9, "{forecast:?}");
    }

    #[tokio::test]
    async fn it_is_read_from_metrics() {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(at("2026-11-02T12:00:00Z")));
        let store = Store::memory(clock.clone());
        let metrics = Metrics::open(&store, clock).await.unwrap();
        let scope = Scope { world: World::default(), account: AccountId::ZERO, region: Some(Region::default()) };
        let datum = |name: &str, function: &str, time: &str, values: &[f64]| Datum {
            scope: scope.clone(),
            metric: Metric::new(USAGE, name, vec![(FUNCTION.to_owned(), function.to_owned())]),
            unit: Unit::NONE,
            time: at(time),
            resolution_s: 60,
            aggregate: Aggregate::of_values(values.iter().map(|value| (*value, 1.0))),
        };
        let data = [
            datum("Invocations", "f", "2026-11-01T10:00:00Z", &[1.0, 1.0]),
            datum("Invocations", "f", "2026-11-02T10:00:00Z", &[1.0, 1.0]),
            datum("ColdStarts", "f", "2026-11-02T10:00:00Z", &[1.0]),
            datum("MemorySize", "f", "2026-11-02T10:00:00Z", &[128.0, 128.0]),
            datum("MemoryUsed", "f", "2026-11-02T10:00:00Z", &[64.0]),
            datum("BilledDuration", "f", "2026-11-02T10:00:00Z", &[200.0]),
            datum("CpuTime", "f", "2026-11-02T10:00:00Z", &[50.0]),
            datum("Cost", "f", "2026-11-02T10:00:00Z", &[0.25]),
            datum("Invocations", "g", "2026-11-01T10:00:00Z", &[1.0]),
            datum("Cost", "g", "2026-11-01T10:00:00Z", &[0.5]),
            // Provisioned, and never called.
            datum("Cost", "h", "2026-11-01T10:00:00Z", &[0.5]),
        ];
        metrics.take(&data, 1);
        let read = |from: &'static str| Usage::read(&metrics, &scope, (at(from), at("2026-12-01T00:00:00Z")));
        let all = read("2026-11-01T00:00:00Z").await.unwrap();
        assert_eq!((all.total().invocations, all.functions.len(), all.is_cut), (5.0, 3, false));
        assert_eq!(all.days().values().map(|used| used.invocations).collect::<Vec<_>>(), [3.0, 2.0]);
        let today = read("2026-11-02T00:00:00Z").await.unwrap();
        let used = today.functions["f"][&at("2026-11-02T00:00:00Z")];
        assert_eq!((today.functions.len(), used.invocations, used.cost), (1, 2.0, 0.25));
        assert_eq!((used.cold_share(), used.memory_share(), used.cpu_share()), (Some(0.5), Some(0.5), Some(0.25)));
    }
}

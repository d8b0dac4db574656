//! Lambda's metrics and what calls cost, from the records of invocations.
//!
//! Follows "Types of metrics for Lambda functions" of Lambda's developer guide: a metric is of all functions, of a function, of
//! what was called of it (`Resource`), and behind an alias also of the version that ran. What an invocation counts belongs
//! to the moment when it began.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base::Timestamp;
use base::ports::{Call, FunctionSpec};
use base::record::{self, Ended, Kind, Origin};
use engine::math::Metric;
use engine::metric::aggregate::Aggregate;
use engine::metric::retention::Tier;
use engine::price::{self, Prices};
use metrics::{Datum, Unit};
use store::Scope;

use crate::{Cloud, Ctx};

pub const NAMESPACE: &str = "AWS/Lambda";
/// Ours: what calls used, and what they would have cost.
pub const USAGE: &str = "Lamplight/Usage";

/// What invocations of one release, called by one name, come to in a minute.
#[derive(Default)]
struct Minute {
    duration: Aggregate,
    errors: Aggregate,
    extensions: Aggregate,
    at_once: AtOnce,
    cold: f64,
    billed: f64,
    gb_seconds: f64,
    cpu: f64,
    memory: Aggregate,
    cost: f64,
}

/// How many ran when invocations began: of all functions, and of what they were invocations of.
#[derive(Default)]
struct AtOnce {
    all: Aggregate,
    own: Aggregate,
    unreserved: Aggregate,
    claimed: Aggregate,
    provisioned: ProvisionedAtOnce,
}

/// Of those on provisioned instances. Nothing, unless the version has some.
#[derive(Default)]
struct ProvisionedAtOnce {
    all: Aggregate,
    of_function: Aggregate,
    of_version: Aggregate,
    utilization: Aggregate,
    /// 1 of each invocation that ran on one, else 0; and the other way round.
    invocations: Aggregate,
    spilled: Aggregate,
}

/// Adds up records, so that a flood of them is few data.
#[derive(Default)]
pub struct Sums(HashMap<Key, Minute>);

#[derive(PartialEq, Eq, Hash)]
struct Key {
    scope: Arc<Scope>,
    origin: Of,
    qualifier: String,
    minute: Timestamp,
}

/// What tells functions' versions apart.
#[derive(PartialEq, Eq, Hash)]
struct Of {
    function: String,
    version: String,
    memory_mb: u32,
}

impl Sums {
    pub fn add(&mut self, prices: &Prices, scope: &Arc<Scope>, origin: &Origin, ended: &Ended) {
        let of = Of { function: origin.function.clone(), version: origin.version.clone(), memory_mb: origin.memory_mb };
        let minute = Tier::Minute.stamp(ended.began);
        let key = Key { scope: Arc::clone(scope), origin: of, qualifier: ended.qualifier.clone(), minute };
        self.0.entry(key).or_default().add(prices, origin, ended);
    }

    pub fn into_data(self) -> Vec<Datum> {
        self.0.into_iter().flat_map(|(key, minute)| minute.data(&key)).collect()
    }
}

impl Minute {
    fn add(&mut self, prices: &Prices, origin: &Origin, ended: &Ended) {
        self.duration.add(millis(ended.took), 1.0);
        self.errors.add(f64::from(u8::from(ended.failure.is_some())), 1.0);
        self.at_once.add(&ended.at_once, origin.kind == Kind::Provisioned);
        if let Some((_, took)) = ended.extensions {
            self.extensions.add(millis(took), 1.0);
        }
        self.cold += f64::from(u8::from(ended.is_cold));
        // As whole as it is billed: no double loses a millisecond of a century.
        let billed = Duration::from_millis(ended.billed_millis()).as_secs_f64();
        self.billed += billed * 1e3;
        self.gb_seconds += price::gb_seconds(origin, ended);
        self.cpu += ended.cpu.map_or(0.0, millis);
        if let Some(bytes) = ended.memory_peak_bytes {
            self.memory.add(megabytes(bytes, origin.memory_mb), 1.0);
        }
        self.cost += price::cost(prices, origin, ended);
    }

    fn data(self, key: &Key) -> Vec<Datum> {
        let function = ("FunctionName", key.origin.function.as_str());
        let resource = resource(&key.origin.function, &key.qualifier);
        let resource = ("Resource", resource.as_str());
        let executed = ("ExecutedVersion", key.origin.version.as_str());
        let is_alias = !key.qualifier.is_empty() && key.qualifier != key.origin.version;
        let sets: [&[(&str, &str)]; 4] = [&[], &[function], &[function, resource], &[function, resource, executed]];
        let sets = sets.get(..if is_alias { 4 } else { 3 }).unwrap_or_default();
        let count = self.duration.count();
        let mut data = Vec::new();
        for dimensions in sets {
            let mut put = |name, unit, aggregate: &Aggregate| {
                if !aggregate.is_empty() {
                    data.push(datum(key, (NAMESPACE, name), dimensions, unit, aggregate.clone()));
                }
            };
            put("Invocations", Unit::COUNT, &equal(1.0, count));
            put("Errors", Unit::COUNT, &self.errors);
            put("Throttles", Unit::COUNT, &equal(0.0, count));
            put("Duration", Unit::MILLISECONDS, &self.duration);
            put("PostRuntimeExtensionsDuration", Unit::MILLISECONDS, &self.extensions);
            self.at_once.data(dimensions.len(), put);
        }
        self.usage(key, function, &mut data);
        data
    }

    fn usage(&self, key: &Key, function: (&str, &str), data: &mut Vec<Datum>) {
        let mut put = |name, unit, aggregate| data.push(datum(key, (USAGE, name), &[function], unit, aggregate));
        let count = self.duration.count();
        put("Invocations", Unit::COUNT, equal(1.0, count));
        put("Errors", Unit::COUNT, once(self.errors.sum()));
        put("ColdStarts", Unit::COUNT, once(self.cold));
        put("BilledDuration", Unit::MILLISECONDS, once(self.billed));
        put("GBSeconds", Unit::NONE, once(self.gb_seconds));
        put("CpuTime", Unit::MILLISECONDS, once(self.cpu));
        put("MemorySize", Unit::MEGABYTES, equal(key.origin.memory_mb.into(), count));
        put("Cost", Unit::NONE, once(self.cost));
        if !self.memory.is_empty() {
            put("MemoryUsed", Unit::MEGABYTES, self.memory.clone());
        }
    }
}

impl AtOnce {
    fn add(&mut self, at_once: &record::AtOnce, is_provisioned: bool) {
        self.all.add(at_once.account.into(), 1.0);
        self.own.add(at_once.function.into(), 1.0);
        self.unreserved.add(at_once.unreserved.into(), 1.0);
        self.claimed.add(at_once.unreserved.saturating_add(at_once.allocated).into(), 1.0);
        if let Some(provisioned) = &at_once.provisioned {
            self.provisioned.add(provisioned, is_provisioned);
        }
    }

    /// By how many dimensions it is told: of all functions, of one, of what was called of it.
    fn data(&self, dimensions: usize, mut put: impl FnMut(&'static str, Unit, &Aggregate)) {
        put("ConcurrentExecutions", Unit::COUNT, if dimensions == 0 { &self.all } else { &self.own });
        let provisioned = &self.provisioned;
        put("ProvisionedConcurrencyInvocations", Unit::COUNT, &provisioned.invocations);
        put("ProvisionedConcurrencySpilloverInvocations", Unit::COUNT, &provisioned.spilled);
        match dimensions {
            0 => {
                put("UnreservedConcurrentExecutions", Unit::COUNT, &self.unreserved);
                put("ClaimedAccountConcurrency", Unit::COUNT, &self.claimed);
                put("ProvisionedConcurrentExecutions", Unit::COUNT, &provisioned.all);
            }
            1 => put("ProvisionedConcurrentExecutions", Unit::COUNT, &provisioned.of_function),
            _ => put("ProvisionedConcurrentExecutions", Unit::COUNT, &provisioned.of_version),
        }
        if dimensions > 0 {
            put("ProvisionedConcurrencyUtilization", Unit::COUNT, &provisioned.utilization);
        }
    }
}

impl ProvisionedAtOnce {
    fn add(&mut self, at_once: &record::ProvisionedAtOnce, is_provisioned: bool) {
        self.all.add(at_once.account.into(), 1.0);
        self.of_function.add(at_once.function.into(), 1.0);
        self.of_version.add(at_once.version.into(), 1.0);
        if at_once.wanted > 0 {
            self.utilization.add(f64::from(at_once.version) / f64::from(at_once.wanted), 1.0);
        }
        self.invocations.add(f64::from(u8::from(is_provisioned)), 1.0);
        self.spilled.add(f64::from(u8::from(!is_provisioned)), 1.0);
    }
}

/// What is provisioned of a function costs, beside what its calls do.
pub fn provisioned_usage(scope: &Scope, function: &str, (gb_seconds, cost): (f64, f64), time: Timestamp) -> [Datum; 2] {
    [("ProvisionedGBSeconds", gb_seconds), ("Cost", cost)].map(|(name, sum)| Datum {
        scope: scope.clone(),
        metric: metric(USAGE, name, &[("FunctionName", function)]),
        unit: Unit::NONE,
        time,
        resolution_s: 60,
        aggregate: once(sum),
    })
}

/// The note of a call that was refused because too many ran.
pub fn throttled(function: &FunctionSpec, call: &Call, now: Timestamp) -> Vec<u8> {
    let scope = Scope { world: function.world, account: function.account, region: Some(function.region.clone()) };
    let qualifier = call.invoked_arn.split(':').nth(7);
    let mut data = of_function(&scope, (&function.name, qualifier), "Throttles", Unit::COUNT, 1.0, now);
    data.push(Datum {
        scope,
        metric: metric(NAMESPACE, "Throttles", &[]),
        unit: Unit::COUNT,
        time: now,
        resolution_s: 60,
        aggregate: equal(1.0, 1.0),
    });
    metrics::encode(&data)
}

/// Takes note of what happened to an event that nobody waits for.
pub fn tell_of_event(ctx: &Ctx, called: (&str, Option<&str>), name: &str, unit: Unit, value: f64) {
    tell(&ctx.cloud, &ctx.scope(), called, (name, unit, value), ctx.cx.now());
}

/// The same where nobody asked for anything.
pub fn tell(
    cloud: &Cloud,
    scope: &Scope,
    called: (&str, Option<&str>),
    (name, unit, value): (&str, Unit, f64),
    now: Timestamp,
) {
    let data = of_function(scope, called, name, unit, value, now);
    cloud.chronicle.note_lazy(&metrics::encode(&data));
}

/// A sample of a function, and of what was called of it.
fn of_function(
    scope: &Scope,
    (function, qualifier): (&str, Option<&str>),
    name: &str,
    unit: Unit,
    value: f64,
    time: Timestamp,
) -> Vec<Datum> {
    let resource = resource(function, qualifier.unwrap_or_default());
    let sets: [&[(&str, &str)]; 2] =
        [&[("FunctionName", function)], &[("FunctionName", function), ("Resource", &resource)]];
    let of = |dimensions: &[(&str, &str)]| {
        let metric = metric(NAMESPACE, name, dimensions);
        Datum { scope: scope.clone(), metric, unit, time, resolution_s: 60, aggregate: equal(value, 1.0) }
    };
    sets.into_iter().map(of).collect()
}

/// What was called: a function, or a version or an alias of it.
fn resource(function: &str, qualifier: &str) -> String {
    if qualifier.is_empty() { function.to_owned() } else { format!("{function}:{qualifier}") }
}

fn datum(
    key: &Key,
    (namespace, name): (&str, &str),
    dimensions: &[(&str, &str)],
    unit: Unit,
    aggregate: Aggregate,
) -> Datum {
    let metric = metric(namespace, name, dimensions);
    Datum { scope: Scope::clone(&key.scope), metric, unit, time: key.minute, resolution_s: 60, aggregate }
}

pub fn metric(namespace: &str, name: &str, dimensions: &[(&str, &str)]) -> Metric {
    let owned = dimensions.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Metric::new(namespace, name, owned.collect())
}

fn equal(value: f64, count: f64) -> Aggregate {
    Aggregate::of_values([(value, count)])
}

/// A sum of which only the sum is asked for.
pub fn once(sum: f64) -> Aggregate {
    equal(sum, 1.0)
}

fn millis(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}

/// As AWS tells it: begun ones, and never more than there are.
fn megabytes(bytes: u64, memory_mb: u32) -> f64 {
    u32::try_from(bytes.div_ceil(1024 * 1024)).unwrap_or(u32::MAX).min(memory_mb).into()
}

#[cfg(test)]
mod tests {
    use base::record::Failure;
    use base::{AccountId, Region, RequestId, Uuid, World};

    use super::*;

    fn ended(second: i64, qualifier: &str) -> Ended {
        Ended {
            request_id: RequestId(Uuid::NIL),
            qualifier: qualifier.into(),
            began: Timestamp::from_secs(second),
            took: Duration::from_micros(1_500),
            init: None,
            restored: None,
            is_cold: false,
            memory_peak_bytes: Some(1024 * 1024 + 1),
            cpu: Some(Duration::from_millis(1)),
            failure: (second == 2).then_some(Failure::Timeout),
            extensions: None,
            trace: None,
            at_once: record::AtOnce {
                function: 2,
                account: 5,
                unreserved: 3,
                allocated: 10,
                provisioned: (qualifier == "ready").then_some(record::ProvisionedAtOnce {
                    account: 4,
                    function: 2,
                    version: 1,
                    wanted: 4,
                }),
            },
        }
    }

    fn data(records: &[Ended]) -> Vec<Datum> {
        data_of(Kind::OnDemand, records)
    }

    fn data_of(kind: Kind, records: &[Ended]) -> Vec<Datum> {
        let scope = Scope { world: World::default(), account: AccountId::ZERO, region: Some(Region::default()) };
        let origin = Origin { function: "f".into(), version: "7".into(), memory_mb: 512, kind, ..Origin::default() };
        let (scope, mut sums) = (Arc::new(scope), Sums::default());
        records.iter().for_each(|ended| sums.add(&Prices::default(), &scope, &origin, ended));
        sums.into_data()
    }

    fn find<'d>(data: &'d [Datum], namespace: &str, name: &str, dimensions: &[(&str, &str)]) -> Vec<&'d Aggregate> {
        let wanted = metric(namespace, name, dimensions);
        data.iter().filter(|datum| datum.metric == wanted).map(|datum| &datum.aggregate).collect()
    }

    #[test]
    fn an_invocation_counts_for_all_that_it_was_called_by() {
        let data = data(&[ended(1, "live"), ended(2, "live"), ended(61, "live")]);
        let sets: [&[(&str, &str)]; 4] = [
            &[],
            &[("FunctionName", "f")],
            &[("FunctionName", "f"), ("Resource", "f:live")],
            &[("FunctionName", "f"), ("Resource", "f:live"), ("ExecutedVersion", "7")],
        ];
        for dimensions in sets {
            let mut counts: Vec<_> =
                find(&data, NAMESPACE, "Invocations", dimensions).iter().map(|one| one.sum()).collect();
            counts.sort_by(f64::total_cmp);
            assert_eq!(counts, [1.0, 2.0], "a minute each: {dimensions:?}");
            let errors: f64 = find(&data, NAMESPACE, "Errors", dimensions).iter().map(|one| one.sum()).sum();
            assert_eq!(errors, 1.0);
            let most = find(&data, NAMESPACE, "ConcurrentExecutions", dimensions)
                .iter()
                .map(|one| one.max())
                .fold(0.0, f64::max);
            assert_eq!(most, if dimensions.is_empty() { 5.0 } else { 2.0 });
        }
    }

    #[test]
    fn what_is_provisioned_is_told_where_something_is() {
        const SETS: [&[(&str, &str)]; 3] =
            [&[], &[("FunctionName", "f")], &[("FunctionName", "f"), ("Resource", "f:ready")]];
        let told = |kind, name| {
            let data = data_of(kind, &[ended(1, "ready")]);
            SETS.map(|dimensions| find(&data, NAMESPACE, name, dimensions).first().map(|one| one.max()))
        };
        let on_it = |name| told(Kind::Provisioned, name);
        assert_eq!(on_it("UnreservedConcurrentExecutions"), [Some(3.0), None, None]);
        assert_eq!(on_it("ClaimedAccountConcurrency"), [Some(13.0), None, None]);
        assert_eq!(on_it("ProvisionedConcurrentExecutions"), [4.0, 2.0, 1.0].map(Some));
        assert_eq!(on_it("ProvisionedConcurrencyUtilization"), [None, Some(0.25), Some(0.25)]);
        assert_eq!(on_it("ProvisionedConcurrencyInvocations"), [Some(1.0); 3]);
        assert_eq!(on_it("ProvisionedConcurrencySpilloverInvocations"), [Some(0.0); 3]);
        assert_eq!(told(Kind::OnDemand, "ProvisionedConcurrencyInvocations"), [Some(0.0); 3]);
        assert_eq!(told(Kind::OnDemand, "ProvisionedConcurrencySpilloverInvocations"), [Some(1.0); 3]);
        let without = data(&[ended(1, "live")]);
        assert!(without.iter().all(|datum| !datum.metric.name.starts_with("Provisioned")));
    }

    #[test]
    fn a_version_that_is_called_by_its_number_is_no_alias() {
        let data = data(&[ended(1, "7")]);
        let named = data.iter().filter(|datum| datum.metric.dimension("ExecutedVersion").is_some());
        assert_eq!(named.count(), 0);
    }

    #[test]
    fn usage_is_what_is_billed() {
        let data = data(&[ended(1, ""), ended(3, "")]);
        let sum = |name| find(&data, USAGE, name, &[("FunctionName", "f")]).iter().map(|one| one.sum()).sum::<f64>();
        assert_eq!(sum("BilledDuration"), 4.0);
        assert!((sum("GBSeconds") - 0.002).abs() < 1e-12);
        assert!((sum("CpuTime") - 2.0).abs() < 1e-9);
        assert!((sum("Cost") - (0.002 * 0.000_016_666_7 + 2.0 * 0.000_000_2)).abs() < 1e-12);
        assert_eq!(sum("MemoryUsed"), 4.0);
    }
}

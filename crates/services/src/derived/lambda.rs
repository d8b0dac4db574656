//! Lambda's metrics and what calls cost, from the records of invocations.
//!
//! Follows "Types of metrics for Lambda functions" of Lambda's developer guide: a metric is of all functions, of a function, of
//! what was called of it (`Resource`), and behind an alias also of the version that ran. What an invocation counts belongs
//! to the moment when it began.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base::Timestamp;
use base::record::{Ended, Kind, Origin};
use engine::math::Metric;
use engine::metric::aggregate::Aggregate;
use engine::metric::retention::Tier;
use engine::price::{self, Prices};
use metrics::{Datum, Unit};
use store::Scope;

pub const NAMESPACE: &str = "AWS/Lambda";
/// Ours: what calls used, and what they would have cost.
pub const USAGE: &str = "Lamplight/Usage";

/// What invocations of one release, called by one name, come to in a minute.
#[derive(Default)]
struct Minute {
    duration: Aggregate,
    errors: Aggregate,
    extensions: Aggregate,
    at_once: Aggregate,
    all_at_once: Aggregate,
    cold: f64,
    billed: f64,
    gb_seconds: f64,
    cpu: f64,
    memory: Aggregate,
    cost: f64,
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
    is_provisioned: bool,
}

impl Sums {
    pub fn add(&mut self, prices: &Prices, scope: &Arc<Scope>, origin: &Origin, ended: &Ended) {
        let of = Of {
            function: origin.function.clone(),
            version: origin.version.clone(),
            memory_mb: origin.memory_mb,
            is_provisioned: origin.kind == Kind::Provisioned,
        };
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
        self.at_once.add(ended.at_once.0.into(), 1.0);
        self.all_at_once.add(ended.at_once.1.into(), 1.0);
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
        let resource = match key.qualifier.as_str() {
            "" => key.origin.function.clone(),
            qualifier => format!("{}:{qualifier}", key.origin.function),
        };
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
            match dimensions {
                [] => put("ConcurrentExecutions", Unit::COUNT, &self.all_at_once),
                _ => put("ConcurrentExecutions", Unit::COUNT, &self.at_once),
            }
            if key.origin.is_provisioned {
                put("ProvisionedConcurrencyInvocations", Unit::COUNT, &equal(1.0, count));
            }
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

/// A call that was refused because too many ran.
pub fn throttled(scope: &Scope, function: &str, qualifier: &str, now: Timestamp) -> Vec<Datum> {
    let named = ("FunctionName", function);
    let resource = if qualifier.is_empty() { function.to_owned() } else { format!("{function}:{qualifier}") };
    let resource = ("Resource", resource.as_str());
    let sets: [&[(&str, &str)]; 3] = [&[], &[named], &[named, resource]];
    let of = |dimensions: &[(&str, &str)]| of_lambda(scope, "Throttles", dimensions, now, equal(1.0, 1.0));
    sets.into_iter().map(of).collect()
}

/// One more count of a metric of Lambda's.
pub fn of_lambda(
    scope: &Scope,
    name: &str,
    dimensions: &[(&str, &str)],
    time: Timestamp,
    aggregate: Aggregate,
) -> Datum {
    let metric = metric(NAMESPACE, name, dimensions);
    Datum { scope: scope.clone(), metric, unit: Unit::COUNT, time, resolution_s: 60, aggregate }
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

fn metric(namespace: &str, name: &str, dimensions: &[(&str, &str)]) -> Metric {
    let owned = dimensions.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Metric::new(namespace, name, owned.collect())
}

fn equal(value: f64, count: f64) -> Aggregate {
    Aggregate::of_values([(value, count)])
}

/// A sum of which only the sum is asked for.
fn once(sum: f64) -> Aggregate {
    equal(sum, 1.0)
}

fn millis(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}

/// As AWS tells it: begun ones, and never more than there are.
fn megabytes(bytes: u64, memory_mb: u32) -> f64 {
    u32::try_from(bytes.div_ceil(1024 * 1024)).unwrap_or(u32::MAX).min(memory_mb).into()
}

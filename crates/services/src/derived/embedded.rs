//! Metrics that log events carry in themselves.

use base::Timestamp;
use engine::emf;
use engine::math::Metric;
use engine::metric::aggregate::Aggregate;
use metrics::{Datum, Unit};
use store::Scope;

/// What an event says of metrics. What is malformed stays a log event, and no more.
pub fn data(scope: &Scope, message: &str, data: &mut Vec<Datum>) {
    let Some(Ok(said)) = emf::parse(message) else { return };
    data.extend(said.into_iter().map(|datum| Datum {
        scope: scope.clone(),
        metric: Metric::new(&datum.namespace, &datum.name, datum.dimensions.to_vec()),
        unit: Unit::named(datum.unit).unwrap_or_default(),
        time: Timestamp::from_millis(datum.timestamp_ms),
        resolution_s: datum.resolution_s,
        aggregate: Aggregate::of_values(datum.values.iter().map(|value| (*value, 1.0))),
    }));
}

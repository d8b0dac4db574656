//! Metrics that log events carry in themselves.

use base::Timestamp;
use engine::emf::{self, Malformed};
use engine::math::Metric;
use engine::metric::aggregate::Aggregate;
use metrics::{Datum, Unit};
use store::Scope;

/// What the dimensions of one event's metrics take, each metric with its own. Sets may name the same members again and again, so
/// a megabyte of an event could be a hundred here.
const DIMENSION_BYTES_MAX: usize = 1024 * 1024;

/// What an event says of metrics, or why it says nothing although it would. What is malformed stays a log event, and no more.
pub fn data(scope: &Scope, message: &str, data: &mut Vec<Datum>) -> Option<Malformed> {
    let said = match emf::parse(message)? {
        Ok(said) => said,
        Err(malformed) => return Some(malformed),
    };
    let mut bytes = 0_usize;
    let fits = |datum: &emf::Datum| {
        let own = datum.dimensions.iter().map(|(name, value)| name.len().saturating_add(value.len()));
        bytes = bytes.saturating_add(own.sum());
        bytes <= DIMENSION_BYTES_MAX
    };
    data.extend(said.into_iter().take_while(fits).map(|datum| Datum {
        scope: scope.clone(),
        metric: Metric::new(&datum.namespace, &datum.name, datum.dimensions.to_vec()),
        unit: Unit::named(datum.unit).unwrap_or_default(),
        time: Timestamp::from_millis(datum.timestamp_ms),
        resolution_s: datum.resolution_s,
        aggregate: Aggregate::of_values(datum.values.iter().map(|value| (*value, 1.0))),
    }));
    None
}

#[cfg(test)]
mod tests {
    use base::{AccountId, Region, World};
    use serde_json::{Map, Value, json};

    use super::*;

    fn count(event: &Value) -> usize {
        let scope = Scope { world: World::default(), account: AccountId::ZERO, region: Some(Region::default()) };
        let mut found = Vec::new();
        data(&scope, &event.to_string(), &mut found);
        found.len()
    }

    #[test]
    fn an_event_cannot_make_more_of_itself_than_it_may() {
        let metrics: Vec<Value> = (0..100).map(|number| json!({ "Name": format!("m{number}") })).collect();
        let names: Vec<String> = (0..30).map(|number| format!("d{number}")).collect();
        let directive = json!({ "Namespace": "n", "Dimensions": vec![names.clone(); 20], "Metrics": metrics });
        let mut event = Map::new();
        event.insert("_aws".into(), json!({ "Timestamp": 1, "CloudWatchMetrics": [directive] }));
        event.extend(names.into_iter().map(|name| (name, "x".repeat(1_000).into())));
        event.extend((0..100).map(|number| (format!("m{number}"), number.into())));
        let count = count(&event.into());
        assert!((30..50).contains(&count), "{count} of 2000");
    }
}

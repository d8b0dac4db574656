//! CloudWatch Logs' own metrics: what came into groups, what of it was no metrics although it said so, and what was sent on.
//!
//! Follows "Monitoring with CloudWatch metrics" of its user guide. Nothing that is sent on is ever throttled here, so there is
//! no `DeliveryThrottling`.

use std::collections::HashMap;
use std::sync::Arc;

use base::{Timestamp, Uuid};
use chronicle::Event;
use engine::emf::Malformed;
use engine::metric::retention::Tier;
use metrics::{Datum, Unit};
use store::Scope;

use super::lambda::{metric, once};

const NAMESPACE: &str = "AWS/Logs";
const GROUP: &str = "LogGroupName";
/// Of all subscribers, in AWS's word.
const DESTINATION_TYPE: &str = "Lambda";

/// Adds up events, so that a flood of them is few data.
#[derive(Default)]
pub struct Sums(HashMap<(Uuid, Timestamp), Came>);

/// What came into a group in a minute.
struct Came {
    scope: Arc<Scope>,
    group: Arc<str>,
    events: f64,
    bytes: f64,
    emf_parsing_errors: f64,
    emf_validation_errors: f64,
}

impl Sums {
    pub fn add(&mut self, scope: &Arc<Scope>, (id, group): (Uuid, &Arc<str>), event: &Event, fault: Option<Malformed>) {
        let came = self.0.entry((id, Tier::Minute.stamp(event.ingested))).or_insert_with(|| Came {
            scope: Arc::clone(scope),
            group: Arc::clone(group),
            events: 0.0,
            bytes: 0.0,
            emf_parsing_errors: 0.0,
            emf_validation_errors: 0.0,
        });
        came.events += 1.0;
        came.bytes += event.bytes() as f64;
        match fault {
            Some(Malformed::Syntax) => came.emf_parsing_errors += 1.0,
            Some(Malformed::Content) => came.emf_validation_errors += 1.0,
            None => {}
        }
    }

    pub fn into_data(self) -> Vec<Datum> {
        let mut data = Vec::new();
        for ((_, minute), came) in self.0 {
            for dimensions in [&[][..], &[(GROUP, &*came.group)]] {
                let mut put = |name, unit, sum| data.push(datum((&came.scope, minute), name, dimensions, unit, sum));
                put("IncomingLogEvents", Unit::NONE, came.events);
                put("IncomingBytes", Unit::BYTES, came.bytes);
                for (name, sum) in
                    [("EMFParsingErrors", came.emf_parsing_errors), ("EMFValidationErrors", came.emf_validation_errors)]
                {
                    if sum > 0.0 {
                        put(name, Unit::NONE, sum);
                    }
                }
            }
        }
        data
    }
}

/// What became of events that a subscription filter matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// So many, of so many bytes when packed.
    Forwarded { events: usize, packed_bytes: usize },
    /// Nobody may have them, or there is nobody.
    Refused { events: usize },
}

pub fn sent(scope: &Scope, (group, filter): (&str, &str), sent: Sent, now: Timestamp) -> Vec<Datum> {
    // As AWS has it.
    let filter: String = filter.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect();
    let dimensions = [(GROUP, group), ("DestinationType", DESTINATION_TYPE), ("FilterName", filter.as_str())];
    let datum = |name, unit, sum: usize| datum((scope, now), name, &dimensions, unit, sum as f64);
    match sent {
        Sent::Forwarded { events, packed_bytes } => {
            vec![datum("ForwardedLogEvents", Unit::NONE, events), datum("ForwardedBytes", Unit::BYTES, packed_bytes)]
        }
        Sent::Refused { events } => vec![datum("DeliveryErrors", Unit::NONE, events)],
    }
}

fn datum((scope, time): (&Scope, Timestamp), name: &str, dimensions: &[(&str, &str)], unit: Unit, sum: f64) -> Datum {
    let metric = metric(NAMESPACE, name, dimensions);
    Datum { scope: scope.clone(), metric, unit, time, resolution_s: 60, aggregate: once(sum) }
}

#[cfg(test)]
mod tests {
    use base::{AccountId, Region, World};

    use super::*;

    #[test]
    fn what_comes_in_counts_for_its_group_and_for_all() {
        let scope = Scope { world: World::default(), account: AccountId::ZERO, region: Some(Region::default()) };
        let (scope, mut sums) = (Arc::new(scope), Sums::default());
        let event = |second: i64| Event {
            number: 1,
            stream: 1,
            time: Timestamp::from_secs(7),
            ingested: Timestamp::from_secs(second),
            message: "four".into(),
        };
        let (one, other) = (Arc::<str>::from("one"), Arc::<str>::from("other"));
        let ids = [1, 2].map(|byte| Uuid::from_bytes([byte; 16]));
        sums.add(&scope, (ids[0], &one), &event(60), None);
        sums.add(&scope, (ids[0], &one), &event(119), Some(Malformed::Syntax));
        sums.add(&scope, (ids[0], &one), &event(120), None);
        sums.add(&scope, (ids[1], &other), &event(61), None);
        let data = sums.into_data();
        let sum = |name, minute, dimensions: &[(&str, &str)]| {
            let wanted = metric(NAMESPACE, name, dimensions);
            let is_it = |datum: &&Datum| datum.metric == wanted && datum.time == Timestamp::from_secs(minute);
            data.iter().filter(is_it).map(|datum| datum.aggregate.sum()).sum::<f64>()
        };
        let of_one = [(GROUP, "one")];
        assert_eq!([sum("IncomingLogEvents", 60, &of_one), sum("IncomingLogEvents", 120, &of_one)], [2.0, 1.0]);
        assert_eq!([sum("IncomingLogEvents", 60, &[]), sum("IncomingBytes", 60, &[])], [3.0, 90.0]);
        assert_eq!([sum("EMFParsingErrors", 60, &of_one), sum("EMFValidationErrors", 60, &of_one)], [1.0, 0.0]);
        assert!(
            data.iter().all(|datum| datum.metric.name != "EMFValidationErrors"),
            "what there is none of is not told"
        );
    }

    #[test]
    fn what_is_sent_counts_for_its_filter() {
        let scope = Scope { world: World::default(), account: AccountId::ZERO, region: Some(Region::default()) };
        let told = |what| sent(&scope, ("g", "zu ä"), what, Timestamp::from_secs(1));
        let data = told(Sent::Forwarded { events: 3, packed_bytes: 70 });
        let sums: Vec<_> = data.iter().map(|datum| (datum.metric.name.as_str(), datum.aggregate.sum())).collect();
        assert_eq!(sums, [("ForwardedLogEvents", 3.0), ("ForwardedBytes", 70.0)]);
        assert_eq!(data[0].metric.dimension("FilterName"), Some("zu ?"));
        assert_eq!(data[0].metric.dimension("DestinationType"), Some("Lambda"));
        assert_eq!(told(Sent::Refused { events: 2 })[0].metric.name, "DeliveryErrors");
    }
}

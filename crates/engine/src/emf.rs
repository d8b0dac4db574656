//! The embedded metric format: metrics that a log event carries in itself.
//!
//! Whoever stores log events gives each to [`parse`]; most are refused by a look at their last character, and what was
//! parsed becomes metrics as PutMetricData makes them. What is not as it must be leaves the event what it is, and AWS
//! counts it (`EMFParsingErrors`, `EMFValidationErrors`). A metric or a set of dimensions whose member is missing, or
//! no number or string, is left out, and the rest stands.
//!
//! Follows "Specification: Embedded metric format" of the CloudWatch user guide. Whether a moment is one that metrics
//! can have is PutMetricData's to say.

use std::sync::Arc;

use serde_json::{Map, Value};

/// A log event is no longer than this.
pub const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// In one directive.
pub const METRICS_MAX: usize = 100;
/// In one metric.
pub const VALUES_MAX: usize = 100;
/// In one set.
pub const DIMENSIONS_MAX: usize = 30;
/// Sets of dimensions in all directives together.
pub const SETS_MAX: usize = 100;
/// What one event yields.
pub const DATA_MAX: usize = 3_000;

const NAMESPACE_CHARS_MAX: usize = 1_024;
const NAME_CHARS_MAX: usize = 255;
const DIMENSION_CHARS_MAX: usize = 1_024;
/// CloudWatch stores values up to 2 to the power of this.
const EXPONENT_MAX: i32 = 360;

/// Names and values, in the order of the names.
pub type Dimensions = Arc<[(String, String)]>;

/// One metric with what was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Datum {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    pub dimensions: Dimensions,
    pub unit: &'static str,
    pub values: Arc<[f64]>,
    /// 1 or 60.
    pub resolution_s: u32,
    pub timestamp_ms: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// It is no JSON.
    Syntax,
    /// It is not what the specification asks for, or more of it than is taken.
    Content,
}

/// The units of CloudWatch.
pub const UNITS: [&str; 27] = [
    "Seconds",
    "Microseconds",
    "Milliseconds",
    "Bytes",
    "Kilobytes",
    "Megabytes",
    "Gigabytes",
    "Terabytes",
    "Bits",
    "Kilobits",
    "Megabits",
    "Gigabits",
    "Terabits",
    "Percent",
    "Count",
    "Bytes/Second",
    "Kilobytes/Second",
    "Megabytes/Second",
    "Gigabytes/Second",
    "Terabytes/Second",
    "Bits/Second",
    "Kilobits/Second",
    "Megabits/Second",
    "Gigabits/Second",
    "Terabits/Second",
    "Count/Second",
    "None",
];

/// The metrics in a log event; `None` if it says nothing of metrics. The event is one object, behind nothing but what
/// Lambda's runtimes write before a line: fields that end with tabs.
pub fn parse(message: &str) -> Option<Result<Vec<Datum>, Malformed>> {
    let message = message.trim();
    if !message.ends_with('}') || !message.contains("\"_aws\"") {
        return None;
    }
    let (before, object) = message.split_at_checked(message.find('{')?)?;
    if !before.is_empty() && !before.ends_with('\t') {
        return None;
    }
    if object.len() > MESSAGE_BYTES_MAX {
        return Some(Err(Malformed::Content));
    }
    let Ok(root) = serde_json::from_str::<Map<String, Value>>(object) else { return Some(Err(Malformed::Syntax)) };
    let metadata = root.get("_aws")?;
    Some(Event { root: &root }.data(metadata).ok_or(Malformed::Content))
}

/// An event whose members metrics refer to.
struct Event<'a> {
    root: &'a Map<String, Value>,
}

impl Event<'_> {
    fn data(&self, metadata: &Value) -> Option<Vec<Datum>> {
        let timestamp_ms = metadata.get("Timestamp")?.as_i64()?;
        let mut data = Vec::new();
        let mut sets_left = SETS_MAX;
        for directive in metadata.get("CloudWatchMetrics")?.as_array()? {
            let namespace: Arc<str> = text(directive.get("Namespace")?, NAMESPACE_CHARS_MAX)?.into();
            let sets = directive.get("Dimensions")?.as_array()?;
            sets_left = sets_left.checked_sub(sets.len().max(1))?;
            let sets = self.sets(sets)?;
            let metrics = directive.get("Metrics")?.as_array()?;
            if metrics.len() > METRICS_MAX {
                return None;
            }
            for definition in metrics {
                let name: Arc<str> = text(definition.get("Name")?, NAME_CHARS_MAX)?.into();
                let (unit, resolution_s) = (unit(definition)?, resolution_s(definition)?);
                let Some(values) = self.values(&name) else { continue };
                data.extend(sets.iter().map(|dimensions| Datum {
                    namespace: namespace.clone(),
                    name: name.clone(),
                    dimensions: dimensions.clone(),
                    unit,
                    values: values.clone(),
                    resolution_s,
                    timestamp_ms,
                }));
                if data.len() > DATA_MAX {
                    return None;
                }
            }
        }
        Some(data)
    }

    /// Those all of whose members are there. Without any set, metrics have no dimensions.
    fn sets(&self, sets: &[Value]) -> Option<Vec<Dimensions>> {
        if sets.is_empty() {
            return Some(vec![Arc::default()]);
        }
        let mut complete = Vec::new();
        for set in sets {
            let mut dimensions = Vec::new();
            let keys = set.as_array()?;
            if keys.len() > DIMENSIONS_MAX {
                return None;
            }
            for key in keys {
                let key = text(key, NAME_CHARS_MAX)?;
                let value = self.root.get(key).and_then(|value| text(value, DIMENSION_CHARS_MAX));
                dimensions.extend(value.map(|value| (key.to_owned(), value.to_owned())));
            }
            if dimensions.len() == keys.len() {
                dimensions.sort();
                dimensions.dedup();
                complete.push(dimensions.into());
            }
        }
        Some(complete)
    }

    /// `None` if the member is no number and no array of numbers, or of too many.
    fn values(&self, name: &str) -> Option<Arc<[f64]>> {
        let one = |value: &Value| value.as_f64().filter(|value| value.abs() <= 2.0_f64.powi(EXPONENT_MAX));
        match self.root.get(name)? {
            Value::Array(values) if !values.is_empty() && values.len() <= VALUES_MAX => {
                values.iter().map(one).collect()
            }
            Value::Array(_) => None,
            value => Some([one(value)?].into()),
        }
    }
}

fn text(value: &Value, chars_max: usize) -> Option<&str> {
    // Counting stops where it is too long.
    let is_fitting = |text: &&str| !text.is_empty() && text.chars().nth(chars_max).is_none();
    value.as_str().filter(is_fitting)
}

fn unit(definition: &Value) -> Option<&'static str> {
    match definition.get("Unit") {
        None | Some(Value::Null) => Some("None"),
        Some(given) => UNITS.into_iter().find(|unit| given.as_str() == Some(*unit)),
    }
}

fn resolution_s(definition: &Value) -> Option<u32> {
    match definition.get("StorageResolution").map(Value::as_u64) {
        None | Some(Some(60)) => Some(60),
        Some(Some(1)) => Some(1),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// `namespace name{dimension=value,…} values unit @resolution` of each.
    fn shown(message: &str) -> Option<Result<Vec<String>, Malformed>> {
        let shown = |datum: Datum| {
            let dimensions: Vec<String> =
                datum.dimensions.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let Datum { namespace, name, unit, values, resolution_s, timestamp_ms, .. } = datum;
            assert_eq!(timestamp_ms, 1_574_109_732_004);
            format!("{namespace} {name}{{{}}} {values:?} {unit} @{resolution_s}", dimensions.join(","))
        };
        parse(message).map(|parsed| parsed.map(|data| data.into_iter().map(shown).collect()))
    }

    fn event(directive: Value, members: Value) -> Value {
        let mut event = json!({ "_aws": { "Timestamp": 1_574_109_732_004_i64, "CloudWatchMetrics": [directive] } });
        event.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        event
    }

    fn documented() -> Value {
        event(
            json!({
                "Namespace": "lambda-function-metrics",
                "Dimensions": [["functionVersion"]],
                "Metrics": [{ "Name": "time", "Unit": "Milliseconds", "StorageResolution": 60 }],
            }),
            json!({ "functionVersion": "$LATEST", "time": 100, "requestId": "989ffbf8" }),
        )
    }

    #[test]
    fn the_documented_example_is_one_metric() {
        let expected = "lambda-function-metrics time{functionVersion=$LATEST} [100.0] Milliseconds @60";
        let plain = documented().to_string();
        let prefixed = format!("2026-01-01T00:00:00.000Z\t989ffbf8\tINFO\t{plain}\n");
        for message in [plain.clone(), serde_json::to_string_pretty(&documented()).unwrap(), prefixed] {
            assert_eq!(shown(&message), Some(Ok(vec![expected.to_owned()])), "{message}");
        }
        assert_eq!(parse(&format!("metrics: {plain}")), None);
        assert_eq!(parse(&format!("{plain} and more")), None);
    }

    #[test]
    fn other_lines_are_none() {
        for line in ["", "START RequestId: x", "{}", "{\"a\": \"_aws\"}", "{\"a\": {\"_aws\": {}}}", "\"_aws\"}"] {
            assert_eq!(parse(line), None, "{line}");
        }
    }

    #[test]
    fn every_set_makes_a_series_of_every_metric() {
        let directive = json!({
            "Namespace": "n",
            "Dimensions": [["b", "a"], ["a"], [], ["a", "missing"], ["number"]],
            "Metrics": [
                { "Name": "one" },
                { "Name": "many", "Unit": "Count", "StorageResolution": 1 },
                { "Name": "absent" }, { "Name": "A.a" }, { "Name": "text" }, { "Name": "mixed" },
                { "Name": "none" }, { "Name": "too many" }, { "Name": "too large" },
            ],
        });
        let members = json!({
            "a": "x", "b": "y", "number": 3, "one": -0.5, "many": [1, 2.5], "A": { "a": 1 }, "text": "7",
            "mixed": [1, "2"], "none": [], "too many": vec![1; VALUES_MAX + 1], "too large": 1e200,
        });
        let expected = [
            "n one{a=x,b=y} [-0.5] None @60",
            "n one{a=x} [-0.5] None @60",
            "n one{} [-0.5] None @60",
            "n many{a=x,b=y} [1.0, 2.5] Count @1",
            "n many{a=x} [1.0, 2.5] Count @1",
            "n many{} [1.0, 2.5] Count @1",
        ];
        let found = shown(&event(directive, members).to_string());
        assert_eq!(found, Some(Ok(expected.map(str::to_owned).to_vec())));
        let bare = json!({ "Namespace": "n", "Dimensions": [], "Metrics": [{ "Name": "A.a" }] });
        let found = shown(&event(bare, json!({ "A.a": vec![1; VALUES_MAX] })).to_string());
        assert_eq!(found.unwrap().unwrap().len(), 1);
    }

    #[test]
    fn what_the_specification_forbids_is_malformed() {
        let at = |path: &str, value: Value| {
            let mut event = documented();
            *event.pointer_mut(path).unwrap() = value;
            parse(&event.to_string())
        };
        for (path, value) in [
            ("/_aws", json!(1)),
            ("/_aws/Timestamp", json!("now")),
            ("/_aws/Timestamp", json!(1.5)),
            ("/_aws/CloudWatchMetrics", json!({})),
            ("/_aws/CloudWatchMetrics/0", json!([])),
            ("/_aws/CloudWatchMetrics/0/Namespace", json!("")),
            ("/_aws/CloudWatchMetrics/0/Namespace", json!("n".repeat(NAMESPACE_CHARS_MAX + 1))),
            ("/_aws/CloudWatchMetrics/0/Dimensions", json!(["functionVersion"])),
            ("/_aws/CloudWatchMetrics/0/Dimensions", json!([vec!["functionVersion"; DIMENSIONS_MAX + 1]])),
            ("/_aws/CloudWatchMetrics/0/Dimensions", json!(vec![["functionVersion"]; SETS_MAX + 1])),
            ("/_aws/CloudWatchMetrics/0/Metrics", json!({})),
            ("/_aws/CloudWatchMetrics/0/Metrics", json!(vec![json!({ "Name": "time" }); METRICS_MAX + 1])),
            ("/_aws/CloudWatchMetrics/0/Metrics/0/Name", json!(3)),
            ("/_aws/CloudWatchMetrics/0/Metrics/0/Unit", json!("Fortnights")),
            ("/_aws/CloudWatchMetrics/0/Metrics/0/StorageResolution", json!(5)),
        ] {
            assert_eq!(at(path, value.clone()), Some(Err(Malformed::Content)), "{path} {value}");
        }
        let metrics = json!(vec![json!({ "Name": "time" }); METRICS_MAX]);
        assert_eq!(at("/_aws/CloudWatchMetrics/0/Metrics", metrics).unwrap().unwrap().len(), METRICS_MAX);
        assert_eq!(parse("{\"_aws\": }"), Some(Err(Malformed::Syntax)));
        assert_eq!(parse(&format!("{}\"_aws\"}}", "{\"a\":".repeat(500))), Some(Err(Malformed::Syntax)));
        let long = documented().to_string().replace("989ffbf8", &"x".repeat(MESSAGE_BYTES_MAX));
        assert_eq!(parse(&long), Some(Err(Malformed::Content)));
    }

    #[test]
    fn one_event_yields_a_bounded_number() {
        let directive = json!({
            "Namespace": "n",
            "Dimensions": vec![json!([]); 31],
            "Metrics": vec![json!({ "Name": "time" }); METRICS_MAX],
        });
        assert_eq!(parse(&event(directive, json!({ "time": 1 })).to_string()), Some(Err(Malformed::Content)));
    }

    fn json() -> impl Strategy<Value = Value> {
        let name =
            prop::sample::select(vec!["_aws", "Timestamp", "CloudWatchMetrics", "Namespace", "Dimensions", "Name"]);
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            name.clone().prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 40, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec((name.clone(), inner), 0..5).prop_map(|members| {
                    Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
                }),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_message_makes_it_panic(text in ".{0,40}", metadata in json(), member in json()) {
            parse(&text);
            parse(&format!("{text}{{\"_aws\"{text}}}"));
            let event = json!({ "_aws": metadata, "Name": member });
            if let Some(Ok(data)) = parse(&event.to_string()) {
                prop_assert!(data.iter().all(|datum| datum.values.iter().all(|value| value.is_finite())));
            }
        }
    }
}

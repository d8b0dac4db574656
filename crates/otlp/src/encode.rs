//! Items as the protocol's JSON: what the same resource says, in one place, as collectors want it.
//!
//! Follows the "OpenTelemetry Protocol" specification 1.x, and the semantic conventions for functions as a service.

use std::sync::Arc;

use base::Timestamp;
use base::ports::LogStream;
use base::record::Ended;
use serde_json::{Map, Value, json};

/// Something of an instance.
#[derive(Debug, Clone)]
pub struct Item {
    pub stream: Arc<LogStream>,
    pub kind: Kind,
}

#[derive(Debug, Clone)]
pub enum Kind {
    Log { time: Timestamp, message: String },
    Span(Box<Ended>),
}

/// A counter of a function's, since the server started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counter {
    pub account: String,
    pub region: String,
    pub function: String,
    pub counts: Vec<Count>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// Such as `faas.invocations`.
    pub name: &'static str,
    pub unit: &'static str,
    pub value: u64,
}

const SCOPE: &str = "lamplight";
/// `SPAN_KIND_SERVER`.
const SERVER: u8 = 2;
/// `STATUS_CODE_ERROR`.
const ERROR: u8 = 2;
/// `AGGREGATION_TEMPORALITY_CUMULATIVE`.
const CUMULATIVE: u8 = 2;

impl Item {
    /// About what it takes in memory.
    pub fn bytes(&self) -> usize {
        const OVERHEAD_BYTES: usize = 256;
        let text = match &self.kind {
            Kind::Log { message, .. } => message.len(),
            Kind::Span(_) => 0,
        };
        text.saturating_add(OVERHEAD_BYTES)
    }
}

/// The body for `/v1/logs`; `None` if there is no log among them.
pub fn logs(items: &[Item], observed: Timestamp) -> Option<Value> {
    by_resource(items, |item| match &item.kind {
        Kind::Log { time, message } => Some(json!({
            "timeUnixNano": nanos(*time),
            "observedTimeUnixNano": nanos(observed),
            "body": { "stringValue": message.strip_suffix('\n').unwrap_or(message) },
            "attributes": attributes([
                ("aws.log.group.names", item.stream.group.as_str()),
                ("aws.log.stream.names", item.stream.name.as_str()),
            ]),
        })),
        Kind::Span(_) => None,
    })
    .map(|groups| sections(groups, "resourceLogs", "scopeLogs", "logRecords"))
}

/// The body for `/v1/traces`; `None` if there is no span among them.
pub fn spans(items: &[Item]) -> Option<Value> {
    by_resource(items, |item| match &item.kind {
        Kind::Span(ended) => Some(span(&item.stream, ended)),
        Kind::Log { .. } => None,
    })
    .map(|groups| sections(groups, "resourceSpans", "scopeSpans", "spans"))
}

/// The body for `/v1/metrics`.
pub fn metrics(counters: &[Counter], since: Timestamp, now: Timestamp) -> Option<Value> {
    let resources: Vec<Value> = counters.iter().map(|counter| resource_metrics(counter, since, now)).collect();
    (!resources.is_empty()).then(|| json!({ "resourceMetrics": resources }))
}

fn resource_metrics(counter: &Counter, since: Timestamp, now: Timestamp) -> Value {
    let Counter { account, region, function, counts } = counter;
    let sum = |count: &Count| {
        json!({
            "name": count.name,
            "unit": count.unit,
            "sum": {
                "aggregationTemporality": CUMULATIVE,
                "isMonotonic": true,
                "dataPoints": [{
                    "startTimeUnixNano": nanos(since),
                    "timeUnixNano": nanos(now),
                    // 64-bit numbers are strings in the protocol's JSON.
                    "asInt": count.value.to_string(),
                }],
            },
        })
    };
    json!({
        "resource": { "attributes": attributes([
            ("service.name", function.as_str()),
            ("faas.name", function),
            ("cloud.account.id", account),
            ("cloud.region", region),
        ]) },
        "scopeMetrics": [{
            "scope": { "name": SCOPE },
            "metrics": counts.iter().map(sum).collect::<Vec<_>>(),
        }],
    })
}

fn span(stream: &LogStream, ended: &Ended) -> Value {
    let (trace, id) = ids(ended);
    let end = ended.began.plus(ended.took);
    let mut own = attributes([("faas.invocation_id", ended.request_id.to_string().as_str())]);
    own.push(json!({ "key": "faas.coldstart", "value": { "boolValue": ended.is_cold } }));
    if let Some(bytes) = ended.memory_peak_bytes {
        own.push(json!({ "key": "process.memory.usage", "value": { "intValue": bytes.to_string() } }));
    }
    let mut span = Map::new();
    span.insert("traceId".into(), trace.into());
    span.insert("spanId".into(), id.into());
    span.insert("name".into(), stream.origin.function.as_str().into());
    span.insert("kind".into(), SERVER.into());
    span.insert("startTimeUnixNano".into(), nanos(ended.began).into());
    span.insert("endTimeUnixNano".into(), nanos(end).into());
    if let Some(failure) = &ended.failure {
        let why = failure.error_type().unwrap_or_else(|| failure.status());
        span.insert("status".into(), json!({ "code": ERROR, "message": why }));
        own.extend(attributes([("error.type", why)]));
    }
    span.insert("attributes".into(), own.into());
    span.into()
}

/// Of X-Ray's header, if the invocation is sampled, so that the function's own spans are below this one; else made of the
/// request's id.
fn ids(ended: &Ended) -> (String, String) {
    let traced = ended.trace.as_ref().and_then(|trace| {
        let id = trace.root.strip_prefix("1-")?.replace('-', "");
        let is_hex = |text: &str, digits| text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        (is_hex(&id, 32) && is_hex(&trace.segment, 16)).then(|| (id, trace.segment.clone()))
    });
    traced.unwrap_or_else(|| {
        let id = base::hex::encode(ended.request_id.0.as_bytes());
        let half = id.get(16..).unwrap_or_default().to_owned();
        (id, half)
    })
}

/// What each item becomes, with those of the same instance together.
fn by_resource(items: &[Item], each: impl Fn(&Item) -> Option<Value>) -> Option<Vec<(Value, Vec<Value>)>> {
    let mut groups: Vec<(&Arc<LogStream>, Vec<Value>)> = Vec::new();
    for item in items {
        let Some(value) = each(item) else { continue };
        match groups.iter_mut().find(|(stream, _)| Arc::ptr_eq(stream, &item.stream)) {
            Some((_, values)) => values.push(value),
            None => groups.push((&item.stream, vec![value])),
        }
    }
    let groups: Vec<_> = groups.into_iter().map(|(stream, values)| (resource(stream), values)).collect();
    (!groups.is_empty()).then_some(groups)
}

fn sections(groups: Vec<(Value, Vec<Value>)>, resources: &str, scopes: &str, records: &str) -> Value {
    let section = |(resource, values): (Value, Vec<Value>)| {
        json!({
            "resource": resource,
            scopes: [{ "scope": { "name": SCOPE }, records: values }],
        })
    };
    json!({ resources: groups.into_iter().map(section).collect::<Vec<_>>() })
}

fn resource(stream: &LogStream) -> Value {
    let origin = &stream.origin;
    let (account, partition) = (stream.account.as_str(), stream.region.partition());
    let (region, function) = (stream.region.as_str(), origin.function.as_str());
    let arn = format!("arn:{partition}:lambda:{region}:{account}:function:{function}");
    let mut attributes = attributes([
        ("service.name", function),
        ("faas.name", function),
        ("faas.version", &origin.version),
        ("faas.instance", &stream.name),
        ("cloud.provider", "aws"),
        ("cloud.platform", "aws_lambda"),
        ("cloud.account.id", account),
        ("cloud.region", region),
        ("cloud.resource_id", &arn),
    ]);
    let bytes = u64::from(origin.memory_mb).saturating_mul(1024 * 1024);
    attributes.push(json!({ "key": "faas.max_memory", "value": { "intValue": bytes.to_string() } }));
    json!({ "attributes": attributes })
}

fn attributes<const N: usize>(pairs: [(&str, &str); N]) -> Vec<Value> {
    pairs.into_iter().map(|(key, value)| json!({ "key": key, "value": { "stringValue": value } })).collect()
}

fn nanos(at: Timestamp) -> String {
    i128::from(at.as_micros()).saturating_mul(1_000).max(0).to_string()
}

#[cfg(test)]
pub mod tests {
    use std::time::Duration;

    use base::record::{AtOnce, Failure, Origin, Trace};
    use base::{AccountId, Region, RequestId, Uuid, World};

    use super::*;

    pub fn stream(function: &str) -> Arc<LogStream> {
        Arc::new(LogStream {
            world: World::default(),
            account: AccountId::ZERO,
            region: Region::default(),
            group: format!("/aws/lambda/{function}"),
            name: "s".into(),
            origin: Origin {
                function: function.into(),
                version: "$LATEST".into(),
                memory_mb: 128,
                ..Origin::default()
            },
        })
    }

    pub fn log(stream: &Arc<LogStream>, message: &str) -> Item {
        let kind = Kind::Log { time: Timestamp::from_secs(1), message: message.into() };
        Item { stream: Arc::clone(stream), kind }
    }

    fn ended() -> Ended {
        Ended {
            request_id: RequestId(Uuid::from_bytes([0xab; 16])),
            qualifier: String::new(),
            began: Timestamp::from_secs(2),
            took: Duration::from_millis(3),
            init: None,
            restored: None,
            is_cold: true,
            memory_peak_bytes: Some(7),
            cpu: None,
            failure: Some(Failure::Timeout),
            extensions: None,
            trace: None,
            at_once: AtOnce::default(),
        }
    }

    #[test]
    fn what_an_instance_says_is_below_one_resource() {
        let (one, other) = (stream("one"), stream("other"));
        let items = [log(&one, "a\n"), log(&other, "b"), log(&one, "c")];
        let body = logs(&items, Timestamp::from_secs(9)).unwrap();
        let resources = body["resourceLogs"].as_array().unwrap();
        assert_eq!(resources.len(), 2);
        let records = &resources[0]["scopeLogs"][0]["logRecords"];
        assert_eq!(records[0]["body"]["stringValue"], "a");
        assert_eq!(records[1]["body"]["stringValue"], "c");
        assert_eq!(records[1]["timeUnixNano"], "1000000000");
        assert_eq!(resources[1]["resource"]["attributes"][0]["value"]["stringValue"], "other");
        assert_eq!(spans(&items), None);
    }

    #[test]
    fn a_span_has_the_ids_of_its_trace_or_of_its_request() {
        let item = |ended| Item { stream: stream("f"), kind: Kind::Span(Box::new(ended)) };
        let body = spans(&[item(ended())]).unwrap();
        let span = &body["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
        assert_eq!(span["traceId"], "ab".repeat(16));
        assert_eq!(span["spanId"], "ab".repeat(8));
        assert_eq!(span["endTimeUnixNano"], "2003000000");
        assert_eq!(span["status"]["message"], "timeout");
        let (root, segment) = ("1-5759e988-bd862e3fe1be46a994272793".to_owned(), "53995c3f42cd8ad8".to_owned());
        let traced = Ended { trace: Some(Trace { header: String::new(), root, segment }), ..ended() };
        let body = spans(&[item(traced)]).unwrap();
        let span = &body["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
        assert_eq!(span["traceId"], "5759e988bd862e3fe1be46a994272793");
        assert_eq!(span["spanId"], "53995c3f42cd8ad8");
    }

    #[test]
    fn counters_are_cumulative_sums() {
        let counts = vec![Count { name: "faas.invocations", unit: "{invocation}", value: 3 }];
        let counter = Counter { account: "1".into(), region: "r".into(), function: "f".into(), counts };
        let body = metrics(&[counter], Timestamp::from_secs(1), Timestamp::from_secs(2)).unwrap();
        let metric = &body["resourceMetrics"][0]["scopeMetrics"][0]["metrics"][0];
        assert_eq!(metric["sum"]["dataPoints"][0]["asInt"], "3");
        assert_eq!(metrics(&[], Timestamp::from_secs(1), Timestamp::from_secs(2)), None);
    }
}

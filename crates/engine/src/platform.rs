//! What the platform writes of an invocation into its function's log: `START`, `END` and `REPORT` in AWS's exact words, or
//! the JSON events that AWS writes for functions with JSON logs. All of it follows from a record and what its instance is.
//!
//! `runtime` tells extensions the same events, and has the parts that its own lines share with these from here.

use std::fmt::Write;
use std::time::Duration;

use base::record::{Ended, Failure, Origin, Record, Started, Trace, billed_millis};
use base::{RequestId, Timestamp};
use serde_json::{Map, Value, json};

/// System log levels, least important first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Debug,
    Info,
    Warn,
}

/// Something that the platform tells, as JSON.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// `None`: it is not in any log.
    pub level: Option<Level>,
    /// Its type, behind `platform.`.
    pub kind: &'static str,
    pub record: Value,
}

/// A part of an invocation's time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span {
    pub name: &'static str,
    pub start: Timestamp,
    pub took: Duration,
}

/// The lines of the log that a record means, line ends included.
pub fn lines(origin: &Origin, time: Timestamp, record: &Record) -> Vec<String> {
    match record {
        _ if origin.is_json => {
            let event = match record {
                Record::Started(started) => start(origin, started),
                Record::Ended(ended) => report(origin, ended),
            };
            event.line(origin, time).into_iter().collect()
        }
        Record::Started(Started { request_id, .. }) => {
            vec![format!("START RequestId: {request_id} Version: {}\n", origin.version)]
        }
        Record::Ended(ended) => vec![format!("END RequestId: {}\n", ended.request_id), report_text(origin, ended)],
    }
}

pub fn start(origin: &Origin, started: &Started) -> Event {
    let mut record = identity(started.request_id, started.tenant_id.as_deref());
    record.insert("version".into(), origin.version.as_str().into());
    follow(&mut record, started.trace.as_ref());
    Event { level: Some(Level::Info), kind: "start", record: record.into() }
}

/// Only extensions are told of it.
pub fn end(ended: &Ended) -> Event {
    Event { level: None, kind: "end", record: identity(ended.request_id, None).into() }
}

pub fn report(origin: &Origin, ended: &Ended) -> Event {
    let mut record = identity(ended.request_id, None);
    judge(&mut record, ended.failure.as_ref());
    let mut metrics = Map::new();
    metrics.insert("durationMs".into(), rounded(ended.took).into());
    metrics.insert("billedDurationMs".into(), ended.billed_millis().into());
    metrics.insert("memorySizeMB".into(), origin.memory_mb.into());
    if let Some(bytes) = ended.memory_peak_bytes {
        metrics.insert("maxMemoryUsedMB".into(), megabytes(origin, bytes).into());
    }
    if let Some(init) = ended.init {
        metrics.insert("initDurationMs".into(), rounded(init).into());
    }
    if let Some((took, billed)) = ended.restored {
        metrics.insert("restoreDurationMs".into(), rounded(took).into());
        metrics.insert("billedRestoreDurationMs".into(), billed_millis(billed).into());
    }
    record.insert("metrics".into(), metrics.into());
    let overhead = ended.extensions.map(|(start, took)| Span { name: "extensionOverhead", start, took });
    part(&mut record, overhead.as_slice());
    follow(&mut record, ended.trace.as_ref());
    Event { level: Level::Info.unless(ended.failure.is_some()), kind: "report", record: record.into() }
}

fn report_text(origin: &Origin, ended: &Ended) -> String {
    let mut text = format!(
        "REPORT RequestId: {}\tDuration: {:.2} ms\tBilled Duration: {} ms\tMemory Size: {} MB\t",
        ended.request_id,
        millis(ended.took),
        ended.billed_millis(),
        origin.memory_mb
    );
    // Where the host does not count memory, none is claimed.
    if let Some(bytes) = ended.memory_peak_bytes {
        let _ = write!(text, "Max Memory Used: {} MB\t", megabytes(origin, bytes));
    }
    if let Some(init) = ended.init {
        let _ = write!(text, "Init Duration: {:.2} ms\t", millis(init));
    }
    if let Some((took, billed)) = ended.restored {
        let (took, billed) = (millis(took), billed_millis(billed));
        let _ = write!(text, "Restore Duration: {took:.2} ms\tBilled Restore Duration: {billed} ms\t");
    }
    if let Some(Trace { root, segment, .. }) = &ended.trace {
        let _ = write!(text, "\nXRAY TraceId: {root}\tSegmentId: {segment}\tSampled: true\t");
    }
    match &ended.failure {
        Some(Failure::Timeout) => text.push_str("Status: timeout"),
        Some(Failure::Broke(kind)) => {
            let _ = write!(text, "Status: error\tError Type: {kind}");
        }
        Some(Failure::Handler(_)) | None => {}
    }
    text + "\n"
}

/// What an instance used of its memory. What is in `/tmp` is counted with it, and AWS never tells of more than there is.
pub fn megabytes(origin: &Origin, bytes: u64) -> u64 {
    bytes.div_ceil(1024 * 1024).min(origin.memory_mb.into())
}

impl Level {
    pub fn parse(word: &str) -> Level {
        match word {
            "DEBUG" => Level::Debug,
            "WARN" => Level::Warn,
            _ => Level::Info,
        }
    }

    /// What fails is important.
    pub fn unless(self, failure: bool) -> Option<Level> {
        Some(if failure { Level::Warn } else { self })
    }
}

impl Event {
    /// For a log in JSON, if it is important enough for that.
    pub fn line(&self, origin: &Origin, time: Timestamp) -> Option<String> {
        let least = origin.system_level.as_deref().map_or(Level::Info, Level::parse);
        if self.level? < least {
            return None;
        }
        let kind = format!("platform.{}", self.kind);
        let event = json!({ "time": time.iso8601_millis(), "type": kind, "record": self.record });
        Some(format!("{event}\n"))
    }
}

impl Span {
    /// From one moment to another, if both came.
    pub fn between(name: &'static str, start: Option<Timestamp>, end: Option<Timestamp>) -> Option<Span> {
        let (start, end) = (start?, end?);
        Some(Span { name, start, took: end.since(start) })
    }
}

/// What the record of an invocation begins with.
pub fn identity(request_id: RequestId, tenant_id: Option<&str>) -> Map<String, Value> {
    let mut record = Map::new();
    record.insert("requestId".into(), request_id.to_string().into());
    if let Some(tenant_id) = tenant_id {
        record.insert("tenantId".into(), tenant_id.into());
    }
    record
}

/// Whether it succeeded.
pub fn judge(record: &mut Map<String, Value>, failure: Option<&Failure>) {
    record.insert("status".into(), failure.map_or("success", Failure::status).into());
    if let Some(kind) = failure.and_then(Failure::error_type) {
        record.insert("errorType".into(), kind.into());
    }
}

/// Where its time went.
pub fn part(record: &mut Map<String, Value>, spans: &[Span]) {
    if !spans.is_empty() {
        let span = |span: &Span| json!({ "name": span.name, "start": span.start.iso8601_millis(), "durationMs": rounded(span.took) });
        record.insert("spans".into(), spans.iter().map(span).collect());
    }
}

/// Its trace, if it is sampled.
pub fn follow(record: &mut Map<String, Value>, trace: Option<&Trace>) {
    if let Some(trace) = trace {
        let tracing = json!({ "spanId": trace.segment, "type": "X-Amzn-Trace-Id", "value": trace.header });
        record.insert("tracing".into(), tracing);
    }
}

pub fn millis(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}

/// Milliseconds, as JSON has them.
pub fn rounded(took: Duration) -> f64 {
    // Three decimals are the microseconds that we count.
    (millis(took) * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use base::Uuid;
    use base::record::{AtOnce, Kind};
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "00000000-0000-0000-0000-000000000000";

    fn origin(is_json: bool, level: Option<&str>) -> Origin {
        Origin {
            function: "f".into(),
            version: "$LATEST".into(),
            memory_mb: 128,
            tmp_mb: 512,
            is_arm: false,
            kind: Kind::OnDemand,
            is_json,
            system_level: level.map(str::to_owned),
        }
    }

    fn ended(failure: Option<Failure>) -> Ended {
        Ended {
            request_id: RequestId(Uuid::NIL),
            qualifier: String::new(),
            began: Timestamp::from_secs(0),
            took: Duration::from_micros(1_700),
            init: None,
            restored: None,
            is_cold: false,
            memory_peak_bytes: Some(36 * 1024 * 1024 + 1),
            cpu: None,
            failure,
            extensions: None,
            trace: None,
            at_once: AtOnce::default(),
        }
    }

    fn trace() -> Option<Trace> {
        Some(Trace { header: "H".into(), root: "1-2-3".into(), segment: "4".into() })
    }

    fn text(ended: Ended) -> String {
        lines(&origin(false, None), Timestamp::from_secs(0), &Record::Ended(ended)).pop().unwrap()
    }

    #[test]
    fn text_is_aws_s_to_the_tab() {
        let started = Started { request_id: RequestId(Uuid::NIL), tenant_id: None, trace: None };
        let told = |record: &Record| lines(&origin(false, None), Timestamp::from_secs(0), record);
        assert_eq!(told(&Record::Started(started)), [format!("START RequestId: {ID} Version: $LATEST\n")]);
        let plain = format!(
            "REPORT RequestId: {ID}\tDuration: 1.70 ms\tBilled Duration: 2 ms\tMemory Size: 128 MB\tMax Memory Used: 37 MB\t"
        );
        assert_eq!(told(&Record::Ended(ended(None))), [format!("END RequestId: {ID}\n"), format!("{plain}\n")]);
        assert_eq!(text(ended(Some(Failure::Handler("E".into())))), format!("{plain}\n"));
        assert_eq!(text(ended(Some(Failure::Timeout))), format!("{plain}Status: timeout\n"));
        assert_eq!(
            text(ended(Some(Failure::Broke("Runtime.OutOfMemory".into())))),
            format!("{plain}Status: error\tError Type: Runtime.OutOfMemory\n")
        );
        assert_eq!(
            text(Ended { init: Some(Duration::from_micros(96_320)), ..ended(None) }),
            format!(
                "REPORT RequestId: {ID}\tDuration: 1.70 ms\tBilled Duration: 99 ms\tMemory Size: 128 MB\tMax Memory Used: 37 MB\tInit Duration: 96.32 ms\t\n"
            )
        );
        let restored = Some((Duration::from_millis(25), Duration::from_micros(19_001)));
        assert_eq!(
            text(Ended { restored, ..ended(None) }),
            format!("{plain}Restore Duration: 25.00 ms\tBilled Restore Duration: 20 ms\t\n")
        );
        assert_eq!(
            text(Ended { trace: trace(), ..ended(Some(Failure::Timeout)) }),
            format!("{plain}\nXRAY TraceId: 1-2-3\tSegmentId: 4\tSampled: true\tStatus: timeout\n")
        );
        let uncounted = text(Ended { memory_peak_bytes: None, ..ended(None) });
        assert!(uncounted.ends_with("Memory Size: 128 MB\t\n"), "{uncounted}");
        let all = text(Ended { memory_peak_bytes: Some(u64::MAX), ..ended(None) });
        assert!(all.contains("Max Memory Used: 128 MB"), "{all}");
    }

    #[test]
    fn json_has_the_same() {
        let started = Started { request_id: RequestId(Uuid::NIL), tenant_id: Some("blue".into()), trace: trace() };
        let told = |record: &Record| lines(&origin(true, None), Timestamp::from_secs(0), record);
        let tracing = "\"tracing\":{\"spanId\":\"4\",\"type\":\"X-Amzn-Trace-Id\",\"value\":\"H\"}";
        assert_eq!(
            told(&Record::Started(started)),
            [format!(
                "{{\"time\":\"1970-01-01T00:00:00.000Z\",\"type\":\"platform.start\",\"record\":{{\"requestId\":\"{ID}\",\
                 \"tenantId\":\"blue\",\"version\":\"$LATEST\",{tracing}}}}}\n"
            )]
        );
        let ended = Ended {
            init: Some(Duration::from_millis(3)),
            restored: Some((Duration::from_millis(2), Duration::from_millis(1))),
            extensions: Some((Timestamp::from_secs(1), Duration::from_micros(1_500))),
            trace: trace(),
            ..ended(Some(Failure::Handler("E".into())))
        };
        assert_eq!(
            told(&Record::Ended(ended)),
            [format!(
                "{{\"time\":\"1970-01-01T00:00:00.000Z\",\"type\":\"platform.report\",\"record\":{{\"requestId\":\"{ID}\",\
                 \"status\":\"error\",\"errorType\":\"E\",\"metrics\":{{\"durationMs\":1.7,\"billedDurationMs\":5,\
                 \"memorySizeMB\":128,\"maxMemoryUsedMB\":37,\"initDurationMs\":3.0,\"restoreDurationMs\":2.0,\
                 \"billedRestoreDurationMs\":1}},\"spans\":[{{\"name\":\"extensionOverhead\",\"start\":\"1970-01-01T00:00:01.000Z\",\
                 \"durationMs\":1.5}}],{tracing}}}}}\n"
            )]
        );
    }

    #[test]
    fn json_has_levels() {
        let records = |failure| {
            let started = Started { request_id: RequestId(Uuid::NIL), tenant_id: None, trace: None };
            [Record::Started(started), Record::Ended(ended(failure))]
        };
        let count = |level, failure| -> usize {
            let origin = origin(true, level);
            records(failure).iter().map(|record| lines(&origin, Timestamp::from_secs(0), record).len()).sum()
        };
        for level in [None, Some("DEBUG"), Some("INFO")] {
            assert_eq!(count(level, None), 2, "{level:?}");
        }
        assert_eq!(count(Some("WARN"), None), 0);
        assert_eq!(count(Some("WARN"), Some(Failure::Timeout)), 1, "what fails is told");
    }

    proptest! {
        /// A record is a few lines, each with one end but the trace's, and text and JSON tell the same bill.
        #[test]
        fn lines_are_whole(took: u32, init: Option<u32>, peak: Option<u64>, is_timeout: bool) {
            let ended = Ended {
                took: Duration::from_micros(took.into()),
                init: init.map(|micros| Duration::from_micros(micros.into())),
                memory_peak_bytes: peak,
                ..ended(is_timeout.then_some(Failure::Timeout))
            };
            let billed = ended.billed_millis();
            let record = Record::Ended(ended);
            let text = lines(&origin(false, None), Timestamp::from_secs(0), &record);
            prop_assert_eq!(text.len(), 2);
            for line in &text {
                prop_assert!(line.ends_with('\n') && line.matches('\n').count() == 1);
            }
            let bill = format!("\tBilled Duration: {billed} ms\t");
            prop_assert!(text[1].contains(&bill));
            let json = lines(&origin(true, None), Timestamp::from_secs(0), &record);
            let event: Value = serde_json::from_str(&json[0]).unwrap();
            prop_assert_eq!(&event["record"]["metrics"]["billedDurationMs"], &json!(billed));
        }
    }
}

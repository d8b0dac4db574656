//! The platform's lines as the JSON records of AWS's telemetry events, and how important each is to a log.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::lines::{Failure, Initialization, Line, Phase, Report, Restored, Span, Writer, billed_millis, millis};
use crate::telemetry::{Api, Category};
use crate::trace::Trace;

/// System log levels, least important first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Debug,
    Info,
    Warn,
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
    fn unless(self, failure: bool) -> Option<Level> {
        Some(if failure { Level::Warn } else { self })
    }
}

/// AWS's reason, in its words.
const DROPPED: &str = "Some logs were dropped because the downstream consumer is slower than the logs production rate";

impl Writer {
    /// A line's level in the log (`None`: it is not in any log), its type behind `platform.`, and its record.
    pub fn record(&self, line: &Line<'_>) -> (Option<Level>, &'static str, Value) {
        match line {
            Line::InitStart { phase } => self.init_start(*phase),
            Line::InitRuntimeDone { phase, failure } => (
                Level::Debug.unless(failure.is_some()),
                "initRuntimeDone",
                init(self.initialization, *phase, *failure).into(),
            ),
            Line::InitReport { phase, took, failure } => {
                let mut record = init(self.initialization, *phase, *failure);
                record.insert("metrics".into(), json!({ "durationMs": rounded(*took) }));
                (Level::Debug.unless(failure.is_some()), "initReport", record.into())
            }
            Line::RestoreStart => (Some(Level::Info), "restoreStart", self.itself().into()),
            Line::RestoreRuntimeDone { failure } => {
                (Level::Debug.unless(failure.is_some()), "restoreRuntimeDone", restore(None, *failure).into())
            }
            Line::RestoreReport { took, failure } => {
                (Level::Info.unless(failure.is_some()), "restoreReport", restore(Some(*took), *failure).into())
            }
            Line::Extension { name, state, events, error_type } => {
                let mut record = Map::new();
                record.insert("name".into(), (*name).into());
                record.insert("state".into(), (*state).into());
                record.insert("events".into(), events.clone().into());
                if let Some(kind) = error_type {
                    record.insert("errorType".into(), (*kind).into());
                }
                (Level::Info.unless(error_type.is_some()), "extension", record.into())
            }
            Line::Subscribed { api, name, types } => subscribed(*api, name, types),
            Line::LogsDropped { records, bytes } => {
                let record = json!({ "reason": DROPPED, "droppedRecords": records, "droppedBytes": bytes });
                (Some(Level::Warn), "logsDropped", record)
            }
            Line::Fault { text } => (None, "fault", text.as_str().into()),
            Line::End { request_id } => (None, "end", identity(request_id, None).into()),
            Line::Start { request_id, tenant_id, trace } => {
                let mut record = identity(request_id, *tenant_id);
                record.insert("version".into(), self.version.as_str().into());
                follow(&mut record, *trace);
                (Some(Level::Info), "start", record.into())
            }
            Line::RuntimeDone { request_id, tenant_id, took, produced_bytes, failure, spans, trace } => {
                let mut record = identity(request_id, *tenant_id);
                judge(&mut record, *failure);
                let metrics = json!({ "durationMs": rounded(*took), "producedBytes": produced_bytes });
                record.insert("metrics".into(), metrics);
                part(&mut record, spans);
                follow(&mut record, *trace);
                (Level::Debug.unless(failure.is_some()), "runtimeDone", record.into())
            }
            Line::Report(report) => self.report_record(report),
        }
    }

    fn init_start(&self, phase: Phase) -> (Option<Level>, &'static str, Value) {
        let mut record = Map::new();
        record.insert("initializationType".into(), self.initialization.word().into());
        record.insert("phase".into(), phase.word().into());
        record.extend(self.itself());
        // An init that is repeated within an invocation is silent.
        ((phase == Phase::Init).then_some(Level::Info), "initStart", record.into())
    }

    /// The instance.
    fn itself(&self) -> Map<String, Value> {
        let mut record = Map::new();
        for (name, value) in [
            ("runtimeVersion", &self.runtime_version),
            ("runtimeVersionArn", &self.runtime_version_arn),
            ("functionName", &self.function_name),
            ("functionVersion", &self.version),
            ("instanceId", &self.instance),
        ] {
            record.insert(name.into(), value.as_str().into());
        }
        record.insert("instanceMaxMemory".into(), u64::from(self.memory_mb).saturating_mul(1024 * 1024).into());
        record
    }

    fn report_record(&self, report: &Report<'_>) -> (Option<Level>, &'static str, Value) {
        let Report { request_id, took, init, restored, memory_peak_bytes, failure, spans, trace } = report;
        let mut record = identity(request_id, None);
        judge(&mut record, *failure);
        let mut metrics = Map::new();
        metrics.insert("durationMs".into(), rounded(*took).into());
        metrics.insert("billedDurationMs".into(), billed_millis(*took, *init).into());
        metrics.insert("memorySizeMB".into(), self.memory_mb.into());
        if let Some(bytes) = memory_peak_bytes {
            metrics.insert("maxMemoryUsedMB".into(), self.megabytes(*bytes).into());
        }
        if let Some(init) = init {
            metrics.insert("initDurationMs".into(), rounded(*init).into());
        }
        if let Some(Restored { took, billed }) = restored {
            metrics.insert("restoreDurationMs".into(), rounded(*took).into());
            metrics.insert("billedRestoreDurationMs".into(), billed_millis(*billed, None).into());
        }
        record.insert("metrics".into(), metrics.into());
        part(&mut record, spans);
        follow(&mut record, *trace);
        (Level::Info.unless(failure.is_some()), "report", record.into())
    }
}

fn identity(request_id: &str, tenant_id: Option<&str>) -> Map<String, Value> {
    let mut record = Map::new();
    record.insert("requestId".into(), request_id.into());
    if let Some(tenant_id) = tenant_id {
        record.insert("tenantId".into(), tenant_id.into());
    }
    record
}

fn init(initialization: Initialization, phase: Phase, failure: Option<Failure<'_>>) -> Map<String, Value> {
    let mut record = Map::new();
    record.insert("initializationType".into(), initialization.word().into());
    record.insert("phase".into(), phase.word().into());
    judge(&mut record, failure);
    record
}

fn subscribed(api: Api, name: &str, types: &[Category]) -> (Option<Level>, &'static str, Value) {
    let kind = match api {
        Api::Telemetry => "telemetrySubscription",
        Api::Logs => "logsSubscription",
    };
    let types: Vec<_> = types.iter().copied().map(Category::word).collect();
    (Some(Level::Info), kind, json!({ "name": name, "state": "Subscribed", "types": types }))
}

fn restore(took: Option<Duration>, failure: Option<Failure<'_>>) -> Map<String, Value> {
    let mut record = Map::new();
    judge(&mut record, failure);
    if let Some(took) = took {
        record.insert("metrics".into(), json!({ "durationMs": rounded(took) }));
    }
    record
}

fn judge(record: &mut Map<String, Value>, failure: Option<Failure<'_>>) {
    record.insert("status".into(), failure.map_or("success", Failure::status).into());
    if let Some(kind) = failure.and_then(Failure::error_type) {
        record.insert("errorType".into(), kind.into());
    }
}

fn part(record: &mut Map<String, Value>, spans: &[Span]) {
    if !spans.is_empty() {
        let span = |span: &Span| json!({ "name": span.name, "start": span.start.iso8601_millis(), "durationMs": rounded(span.took) });
        record.insert("spans".into(), spans.iter().map(span).collect());
    }
}

fn follow(record: &mut Map<String, Value>, trace: Option<&Trace>) {
    if let Some(trace) = trace {
        let tracing = json!({ "spanId": trace.segment, "type": "X-Amzn-Trace-Id", "value": trace.header });
        record.insert("tracing".into(), tracing);
    }
}

fn rounded(took: Duration) -> f64 {
    // Three decimals are the microseconds that we count.
    (millis(took) * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use base::Timestamp;

    use super::super::lines::tests::{json, report, writer};
    use super::*;

    #[test]
    fn json_has_levels() {
        let now = Timestamp::from_secs(0);
        let done = Line::RuntimeDone {
            request_id: "ID",
            tenant_id: None,
            took: Duration::from_millis(1),
            produced_bytes: 2,
            failure: None,
            spans: vec![Span { name: "responseLatency", start: now, took: Duration::from_micros(1_500) }],
            trace: None,
        };
        assert_eq!(writer(json(None)).write(now, &done), None);
        assert_eq!(
            writer(json(Some("DEBUG"))).write(now, &done).unwrap(),
            "{\"time\":\"1970-01-01T00:00:00.000Z\",\"type\":\"platform.runtimeDone\",\"record\":{\"requestId\":\"ID\",\
             \"status\":\"success\",\"metrics\":{\"durationMs\":1.0,\"producedBytes\":2},\"spans\":[{\"name\":\"responseLatency\",\
             \"start\":\"1970-01-01T00:00:00.000Z\",\"durationMs\":1.5}]}}\n"
        );
        assert_eq!(writer(json(Some("WARN"))).write(now, &report(None, None)), None);
        let quiet = Line::InitReport { phase: Phase::Init, took: Duration::from_millis(3), failure: None };
        assert_eq!(writer(json(None)).write(now, &quiet), None);
        let told = writer(json(Some("DEBUG"))).write(now, &quiet).unwrap();
        let record = "{\"initializationType\":\"on-demand\",\"phase\":\"init\",\"status\":\"success\",\"metrics\":{\"durationMs\":3.0}}";
        assert!(told.contains(&format!("\"type\":\"platform.initReport\",\"record\":{record}")), "{told}");
        let dropped = writer(json(Some("WARN"))).write(now, &Line::LogsDropped { records: 1, bytes: 2 }).unwrap();
        assert!(dropped.contains("\"droppedRecords\":1,\"droppedBytes\":2"), "{dropped}");
        let again = Line::InitStart { phase: Phase::Invoke };
        assert_eq!(writer(json(Some("DEBUG"))).write(now, &again), None, "it is silent");
        let failed = writer(json(Some("WARN"))).write(now, &report(None, Some(Failure::Timeout))).unwrap();
        assert!(failed.contains("\"status\":\"timeout\""), "{failed}");
    }
}

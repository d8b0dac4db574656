//! The platform's lines as the JSON records of AWS's telemetry events, and how important each is to a log.

use std::time::Duration;

use base::record::{Failure, Kind};
use engine::platform::{Event, Level, follow, identity, judge, part, rounded};
use serde_json::{Map, Value, json};

use super::lines::{Line, Phase, Writer};
use crate::telemetry::{Api, Category};

/// AWS's reason, in its words.
const DROPPED: &str = "Some logs were dropped because the downstream consumer is slower than the logs production rate";

impl Writer {
    pub fn event(&self, line: &Line<'_>) -> Event {
        let (level, kind, record) = self.record(line);
        Event { level, kind, record }
    }

    /// A line's level in the log (`None`: it is not in any log), its type behind `platform.`, and its record.
    fn record(&self, line: &Line<'_>) -> (Option<Level>, &'static str, Value) {
        match line {
            Line::InitStart { phase } => self.init_start(*phase),
            Line::InitRuntimeDone { phase, failure } => (
                Level::Debug.unless(failure.is_some()),
                "initRuntimeDone",
                init(self.origin.kind, *phase, *failure).into(),
            ),
            Line::InitReport { phase, took, failure } => {
                let mut record = init(self.origin.kind, *phase, *failure);
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
            Line::RuntimeDone { request_id, tenant_id, took, produced_bytes, failure, spans, trace } => {
                let mut record = identity(*request_id, *tenant_id);
                judge(&mut record, *failure);
                let metrics = json!({ "durationMs": rounded(*took), "producedBytes": produced_bytes });
                record.insert("metrics".into(), metrics);
                part(&mut record, spans);
                follow(&mut record, *trace);
                (Level::Debug.unless(failure.is_some()), "runtimeDone", record.into())
            }
        }
    }

    fn init_start(&self, phase: Phase) -> (Option<Level>, &'static str, Value) {
        let mut record = Map::new();
        record.insert("initializationType".into(), self.origin.kind.word().into());
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
            ("functionName", &self.origin.function),
            ("functionVersion", &self.origin.version),
            ("instanceId", &self.instance),
        ] {
            record.insert(name.into(), value.as_str().into());
        }
        record.insert("instanceMaxMemory".into(), u64::from(self.origin.memory_mb).saturating_mul(1024 * 1024).into());
        record
    }
}

fn init(kind: Kind, phase: Phase, failure: Option<&Failure>) -> Map<String, Value> {
    let mut record = Map::new();
    record.insert("initializationType".into(), kind.word().into());
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

fn restore(took: Option<Duration>, failure: Option<&Failure>) -> Map<String, Value> {
    let mut record = Map::new();
    judge(&mut record, failure);
    if let Some(took) = took {
        record.insert("metrics".into(), json!({ "durationMs": rounded(took) }));
    }
    record
}

#[cfg(test)]
mod tests {
    use base::{RequestId, Timestamp, Uuid};
    use engine::platform::Span;

    use super::super::lines::tests::writer;
    use super::*;

    #[test]
    fn json_has_levels() {
        let now = Timestamp::from_secs(0);
        let done = Line::RuntimeDone {
            request_id: RequestId(Uuid::NIL),
            tenant_id: None,
            took: Duration::from_millis(1),
            produced_bytes: 2,
            failure: None,
            spans: vec![Span { name: "responseLatency", start: now, took: Duration::from_micros(1_500) }],
            trace: None,
        };
        assert_eq!(writer(Some(None)).write(now, &done), None);
        assert_eq!(
            writer(Some(Some("DEBUG"))).write(now, &done).unwrap(),
            "{\"time\":\"1970-01-01T00:00:00.000Z\",\"type\":\"platform.runtimeDone\",\"record\":{\"requestId\":\"00000000-0000-0000-0000-000000000000\",\
             \"status\":\"success\",\"metrics\":{\"durationMs\":1.0,\"producedBytes\":2},\"spans\":[{\"name\":\"responseLatency\",\
             \"start\":\"1970-01-01T00:00:00.000Z\",\"durationMs\":1.5}]}}\n"
        );
        let quiet = Line::InitReport { phase: Phase::Init, took: Duration::from_millis(3), failure: None };
        assert_eq!(writer(Some(None)).write(now, &quiet), None);
        let told = writer(Some(Some("DEBUG"))).write(now, &quiet).unwrap();
        let record = "{\"initializationType\":\"on-demand\",\"phase\":\"init\",\"status\":\"success\",\"metrics\":{\"durationMs\":3.0}}";
        assert!(told.contains(&format!("\"type\":\"platform.initReport\",\"record\":{record}")), "{told}");
        let dropped = writer(Some(Some("WARN"))).write(now, &Line::LogsDropped { records: 1, bytes: 2 }).unwrap();
        assert!(dropped.contains("\"droppedRecords\":1,\"droppedBytes\":2"), "{dropped}");
        let again = Line::InitStart { phase: Phase::Invoke };
        assert_eq!(writer(Some(Some("DEBUG"))).write(now, &again), None, "it is silent");
        let late = Line::InitReport { phase: Phase::Init, took: Duration::ZERO, failure: Some(&Failure::Timeout) };
        let failed = writer(Some(Some("WARN"))).write(now, &late).unwrap();
        assert!(failed.contains("\"status\":\"timeout\""), "{failed}");
    }
}

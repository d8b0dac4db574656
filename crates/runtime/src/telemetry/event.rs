//! One thing that is told, and how each schema writes it.

use base::Timestamp;
use serde_json::{Map, Value, json};

use super::subscription::{Api, Schema};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Category {
    Platform,
    Function,
    Extension,
}

impl Category {
    pub const ALL: [Category; 3] = [Category::Platform, Category::Function, Category::Extension];

    pub fn word(self) -> &'static str {
        match self {
            Category::Platform => "platform",
            Category::Function => "function",
            Category::Extension => "extension",
        }
    }

    /// As the log writes it.
    pub fn title(self) -> &'static str {
        match self {
            Category::Platform => "Platform",
            Category::Function => "Function",
            Category::Extension => "Extension",
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    pub time: Timestamp,
    pub what: What,
}

#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// Its type behind `platform.`, and its record.
    Platform(&'static str, Value),
    /// Something that the function wrote, line end included.
    Function(String),
    Extension(String),
}

/// What the Telemetry API never had, and what the Logs API never got.
const LOGS_ALONE: [&str; 3] = ["end", "fault", "logsSubscription"];
const LOGS: [&str; 7] = ["start", "end", "report", "fault", "extension", "logsSubscription", "logsDropped"];

impl Told {
    pub fn category(&self) -> Category {
        match self.what {
            What::Platform(..) => Category::Platform,
            What::Function(_) => Category::Function,
            What::Extension(_) => Category::Extension,
        }
    }

    /// About what it takes to keep it.
    pub fn size(&self) -> usize {
        const RECORD_BYTES: usize = 512;
        match &self.what {
            What::Platform(..) => RECORD_BYTES,
            What::Function(text) | What::Extension(text) => text.len(),
        }
    }

    /// The event as JSON, if this schema has it. Who writes JSON into its log gets it as an object in newer ones.
    pub fn render(&self, schema: Schema, is_json: bool) -> Option<String> {
        let time = self.time.iso8601_millis();
        let (kind, text) = match &self.what {
            What::Platform(kind, record) => {
                let is_known = match schema.api() {
                    Api::Telemetry => !LOGS_ALONE.contains(kind),
                    Api::Logs => LOGS.contains(kind) || (*kind == "runtimeDone" && schema == Schema::Logs20210318),
                };
                let record = if schema.api() == Api::Logs { older(kind, record) } else { record.clone() };
                let kind = format!("platform.{kind}");
                return is_known.then(|| json!({ "time": time, "type": kind, "record": record }).to_string());
            }
            What::Function(text) => ("function", text),
            What::Extension(text) => ("extension", text),
        };
        let object = (is_json && schema.has_objects() && text.trim_start().starts_with('{'))
            .then(|| serde_json::from_str::<Map<String, Value>>(text).ok())
            .flatten();
        let record = object.map_or_else(|| text.as_str().into(), Value::Object);
        Some(json!({ "time": time, "type": kind, "record": record }).to_string())
    }
}

/// A record as the Logs API has it, which is older than parts of it.
fn older(kind: &str, record: &Value) -> Value {
    let (Value::Object(record), true) = (record, matches!(kind, "start" | "report" | "runtimeDone")) else {
        return record.clone();
    };
    let known = |name: &str| match kind {
        "start" => matches!(name, "requestId" | "version"),
        "report" => matches!(name, "requestId" | "metrics" | "tracing"),
        _ => matches!(name, "requestId" | "status"),
    };
    let kept = record.iter().filter(|(name, _)| known(name)).map(|(name, value)| match value.as_str() {
        Some("error") if name == "status" => (name.clone(), "failure".into()),
        _ => (name.clone(), value.clone()),
    });
    Value::Object(kept.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_schema_has_its_own_events() {
        let told = |what| Told { time: Timestamp::from_secs(0), what };
        let platform = |kind| told(What::Platform(kind, json!({})));
        let (new, old) = (Schema::Telemetry20250129, Schema::Telemetry20220701);
        for (kind, telemetry, logs, later_logs) in [
            ("start", true, true, true),
            ("initStart", true, false, false),
            ("runtimeDone", true, false, true),
            ("end", false, true, true),
            ("telemetrySubscription", true, false, false),
            ("logsSubscription", false, true, true),
        ] {
            let event = platform(kind);
            assert_eq!(event.render(new, false).is_some(), telemetry, "{kind}");
            assert_eq!(event.render(Schema::Logs20200815, false).is_some(), logs, "{kind}");
            assert_eq!(event.render(Schema::Logs20210318, false).is_some(), later_logs, "{kind}");
        }
        let done = told(What::Platform("runtimeDone", json!({"requestId": "ID", "status": "error", "spans": []})));
        let older = done.render(Schema::Logs20210318, false).unwrap();
        assert!(older.ends_with("\"record\":{\"requestId\":\"ID\",\"status\":\"failure\"}}"), "{older}");
        assert!(done.render(new, false).unwrap().contains("\"status\":\"error\",\"spans\":[]"));
        let line = told(What::Function("{\"level\": \"INFO\"}\n".into()));
        assert_eq!(
            line.render(new, true).unwrap(),
            "{\"time\":\"1970-01-01T00:00:00.000Z\",\"type\":\"function\",\"record\":{\"level\":\"INFO\"}}"
        );
        let text = "\"record\":\"{\\\"level\\\": \\\"INFO\\\"}\\n\"";
        assert!(line.render(new, false).unwrap().contains(text));
        assert!(line.render(old, true).unwrap().contains(text));
        let broken = told(What::Extension("{no\n".into()));
        assert!(broken.render(new, true).unwrap().contains("\"record\":\"{no\\n\""));
    }
}

//! What the platform writes into a function's log beside the lines of its invocations, which are `engine::platform`'s:
//! `INIT_START` and its like, in AWS's exact words, as text or as the JSON events that AWS writes for functions with JSON
//! logs. `records` has those; subscribers of telemetry get them too.

use std::borrow::Cow;
use std::fmt::Write;
use std::time::Duration;

use base::record::{Failure, Kind, Origin, Trace};
use base::{RequestId, Timestamp};
use engine::platform::{Event, Span, millis};
use serde::Deserialize;

use crate::telemetry::{Api, Category, Told, What};

/// Something that the platform tells of an instance.
#[derive(Debug, Clone, PartialEq)]
pub enum Line<'a> {
    InitStart {
        phase: Phase,
    },
    InitRuntimeDone {
        phase: Phase,
        failure: Option<&'a Failure>,
    },
    /// Text logs have it only of an init that failed.
    InitReport {
        phase: Phase,
        took: Duration,
        failure: Option<&'a Failure>,
    },
    /// A snapshot is being restored.
    RestoreStart,
    RestoreRuntimeDone {
        failure: Option<&'a Failure>,
    },
    RestoreReport {
        took: Duration,
        failure: Option<&'a Failure>,
    },
    /// How far an extension came in an init that is over.
    Extension {
        name: &'a str,
        state: &'static str,
        events: Vec<&'static str>,
        error_type: Option<&'a str>,
    },
    Subscribed {
        api: Api,
        name: &'a str,
        types: &'a [Category],
    },
    /// The runtime is done; extensions may not be.
    RuntimeDone {
        request_id: RequestId,
        tenant_id: Option<&'a str>,
        took: Duration,
        produced_bytes: u64,
        failure: Option<&'a Failure>,
        spans: Vec<Span>,
        trace: Option<&'a Trace>,
    },
    /// Only in the Logs API: what the caller is told of a runtime that broke.
    Fault {
        text: String,
    },
    /// A subscriber was too slow.
    LogsDropped {
        records: u64,
        bytes: u64,
    },
}

/// When an init ran: before the first invocation, or again within one. Or a snapshot of one was restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Init,
    Invoke,
    Restore,
}

impl Phase {
    pub fn word(self) -> &'static str {
        match self {
            Phase::Init => "init",
            Phase::Invoke => "invoke",
            Phase::Restore => "restore",
        }
    }
}

/// Writes the lines of one instance.
#[derive(Debug, Clone)]
pub struct Writer {
    pub origin: Origin,
    /// Such as `python:3.13`.
    pub runtime_version: String,
    pub runtime_version_arn: String,
    /// Of what the function writes, the least important that its log takes.
    pub application_level: Option<String>,
    /// The name of its log stream.
    pub instance: String,
}

impl Writer {
    /// The event for the log, if this function's log has such lines.
    pub fn write(&self, now: Timestamp, line: &Line<'_>) -> Option<String> {
        if self.origin.is_json { self.event(line).line(&self.origin, now) } else { self.text(line) }
    }

    /// The same for subscribers of telemetry, who get all, whatever the log's level.
    pub fn tell(&self, now: Timestamp, line: &Line<'_>) -> Told {
        told(now, self.event(line))
    }

    /// Whether what the function wrote is important enough for its log. What does not tell its level and its time in
    /// JSON counts as `INFO`.
    pub fn admits(&self, text: &str) -> bool {
        let Some(least) = self.application_level.as_deref().filter(|_| self.origin.is_json) else {
            return true;
        };
        let said = serde_json::from_str::<Said<'_>>(text).ok().filter(|said| said.has_time());
        let level = said.and_then(|said| importance(&said.level)).or(importance("INFO"));
        level >= importance(least)
    }

    fn text(&self, line: &Line<'_>) -> Option<String> {
        Some(match line {
            Line::InitStart { phase: Phase::Init } => format!(
                "INIT_START Runtime Version: {}\tRuntime Version ARN: {}\n",
                self.runtime_version, self.runtime_version_arn
            ),
            Line::InitReport { phase, took, failure } if failure.is_some() || self.origin.kind != Kind::OnDemand => {
                let (took, phase, status) = (millis(*took), phase.word(), failure.map_or("success", Failure::status));
                let mut text = format!("INIT_REPORT Init Duration: {took:.2} ms\tPhase: {phase}\tStatus: {status}");
                if let Some(kind) = failure.and_then(Failure::error_type) {
                    let _ = write!(text, "\tError Type: {kind}");
                }
                text + "\n"
            }
            Line::RestoreStart => format!(
                "RESTORE_START Runtime Version: {}\tRuntime Version ARN: {}\n",
                self.runtime_version, self.runtime_version_arn
            ),
            Line::RestoreReport { took, failure } => {
                let mut text = format!("RESTORE_REPORT Restore Duration: {:.2} ms", millis(*took));
                if let Some(failure) = failure {
                    let _ = write!(text, "\tStatus: {}", failure.status());
                }
                if let Some(kind) = failure.and_then(Failure::error_type) {
                    let _ = write!(text, "\tError Type: {kind}");
                }
                text + "\n"
            }
            Line::Extension { name, state, events, error_type } => {
                let mut text = format!("EXTENSION\tName: {name}\tState: {state}\tEvents: [{}]", events.join(","));
                if let Some(kind) = error_type {
                    let _ = write!(text, "\tError Type: {kind}");
                }
                text + "\n"
            }
            Line::Subscribed { api, name, types } => {
                let word = match api {
                    Api::Telemetry => "TELEMETRY",
                    Api::Logs => "LOGS",
                };
                let types: Vec<_> = types.iter().map(|category| category.title()).collect();
                format!("{word}\tName: {name}\tState: Subscribed\tTypes: [{}]\n", types.join(", "))
            }
            Line::InitStart { phase: Phase::Invoke | Phase::Restore }
            | Line::RestoreRuntimeDone { .. }
            | Line::InitRuntimeDone { .. }
            | Line::InitReport { .. }
            | Line::RuntimeDone { .. }
            | Line::Fault { .. }
            | Line::LogsDropped { .. } => return None,
        })
    }
}

/// What an event of a function's says of itself.
#[derive(Deserialize)]
struct Said<'t> {
    // AWS's Python runtime writes the errors that it reports under the second name.
    #[serde(borrow, alias = "log_level")]
    level: Cow<'t, str>,
    #[serde(borrow)]
    timestamp: Cow<'t, str>,
}

impl Said<'_> {
    fn has_time(&self) -> bool {
        Timestamp::parse_iso8601(&self.timestamp).is_ok()
    }
}

/// Application log levels, as AWS and the loggers of its languages call them.
fn importance(level: &str) -> Option<u8> {
    let levels: [&[&str]; 6] =
        [&["TRACE"], &["DEBUG"], &["INFO"], &["WARN", "WARNING"], &["ERROR"], &["FATAL", "CRITICAL"]];
    let at = levels.iter().position(|names| names.iter().any(|name| name.eq_ignore_ascii_case(level)))?;
    u8::try_from(at).ok()
}

/// As subscribers of telemetry are told of it.
pub fn told(now: Timestamp, event: Event) -> Told {
    Told { time: now, what: What::Platform(event.kind, event.record) }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// With a log in text, or in JSON of this system level.
    pub fn writer(system_level: Option<Option<&str>>) -> Writer {
        Writer {
            origin: Origin {
                function: "f".into(),
                version: "$LATEST".into(),
                memory_mb: 128,
                is_json: system_level.is_some(),
                system_level: system_level.flatten().map(str::to_owned),
                ..Origin::default()
            },
            runtime_version: "python:3.13".into(),
            runtime_version_arn: "arn:aws:lambda:us-east-1::runtime:0".into(),
            application_level: None,
            instance: "stream".into(),
        }
    }

    #[test]
    fn text_is_aws_s_to_the_tab() {
        let writer = writer(None);
        let write = |line: &Line<'_>| writer.write(Timestamp::default(), line).unwrap();
        assert_eq!(
            write(&Line::InitStart { phase: Phase::Init }),
            "INIT_START Runtime Version: python:3.13\tRuntime Version ARN: arn:aws:lambda:us-east-1::runtime:0\n"
        );
        let took = Duration::from_micros(9_999_790);
        assert_eq!(
            write(&Line::InitReport { phase: Phase::Init, took, failure: Some(&Failure::Timeout) }),
            "INIT_REPORT Init Duration: 9999.79 ms\tPhase: init\tStatus: timeout\n"
        );
    }

    #[test]
    fn what_is_not_important_enough_stays_out() {
        let least = |level: &str| Writer { application_level: Some(level.to_owned()), ..writer(Some(None)) };
        let told = |level: &str| format!("{{\"timestamp\":\"2026-01-01T00:00:00Z\",\"level\":\"{level}\"}}\n");
        let warn = least("WARN");
        for (text, expected) in [
            (told("warning"), true),
            (told("ERROR"), true),
            (told("INFO"), false),
            (told("odd"), false),
            ("{\"level\":\"ERROR\"}".to_owned(), false),
            ("{\"timestamp\":\"2026-01-01T00:00:00Z\",\"log_level\":\"ERROR\"}".to_owned(), true),
            ("plain text\n".to_owned(), false),
        ] {
            assert_eq!(warn.admits(&text), expected, "{text}");
        }
        assert!(
            least("INFO").admits("plain")
                && !least("INFO").admits(&told("DEBUG"))
                && least("TRACE").admits(&told("TRACE"))
        );
        assert!(writer(None).admits(&told("DEBUG")));
    }

    #[test]
    fn extensions_are_told() {
        let writer = writer(None);
        let write = |line: &Line<'_>| writer.write(Timestamp::default(), line);
        let extension = |state, events, error_type| Line::Extension { name: "x", state, events, error_type };
        assert_eq!(
            write(&extension("Ready", vec!["INVOKE", "SHUTDOWN"], None)).unwrap(),
            "EXTENSION\tName: x\tState: Ready\tEvents: [INVOKE,SHUTDOWN]\n"
        );
        assert_eq!(
            write(&extension("LaunchError", vec![], Some("PermissionDenied"))).unwrap(),
            "EXTENSION\tName: x\tState: LaunchError\tEvents: []\tError Type: PermissionDenied\n"
        );
        assert_eq!(
            write(&Line::Subscribed { api: Api::Telemetry, name: "x", types: &Category::ALL }).unwrap(),
            "TELEMETRY\tName: x\tState: Subscribed\tTypes: [Platform, Function, Extension]\n"
        );
        assert_eq!(write(&Line::LogsDropped { records: 1, bytes: 2 }), None);
    }
}

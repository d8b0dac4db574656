//! What the platform writes into a function's log: `START`, `REPORT` and their like, in AWS's exact words, as text or
//! as the JSON events that AWS writes for functions with JSON logs. `records` has those; subscribers of telemetry get
//! them too.

use std::borrow::Cow;
use std::fmt::Write;
use std::time::Duration;

use base::Timestamp;
use base::ports::Logging;
use base::record::Kind;
use serde::Deserialize;
use serde_json::json;

use super::records::Level;
use crate::telemetry::{Api, Category, Told, What};
use crate::trace::Trace;

/// Something that the platform tells of an instance.
#[derive(Debug, Clone, PartialEq)]
pub enum Line<'a> {
    InitStart {
        phase: Phase,
    },
    InitRuntimeDone {
        phase: Phase,
        failure: Option<Failure<'a>>,
    },
    /// Text logs have it only of an init that failed.
    InitReport {
        phase: Phase,
        took: Duration,
        failure: Option<Failure<'a>>,
    },
    /// A snapshot is being restored.
    RestoreStart,
    RestoreRuntimeDone {
        failure: Option<Failure<'a>>,
    },
    RestoreReport {
        took: Duration,
        failure: Option<Failure<'a>>,
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
    Start {
        request_id: &'a str,
        tenant_id: Option<&'a str>,
        trace: Option<&'a Trace>,
    },
    /// The runtime is done; extensions may not be.
    RuntimeDone {
        request_id: &'a str,
        tenant_id: Option<&'a str>,
        took: Duration,
        produced_bytes: u64,
        failure: Option<Failure<'a>>,
        spans: Vec<Span>,
        trace: Option<&'a Trace>,
    },
    /// Only as text, and in the Logs API.
    End {
        request_id: &'a str,
    },
    Report(Report<'a>),
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

/// The end of an invocation.
#[derive(Debug, Clone, PartialEq)]
pub struct Report<'a> {
    pub request_id: &'a str,
    pub took: Duration,
    /// Of the init before this invocation, if it is told with it.
    pub init: Option<Duration>,
    pub restored: Option<Restored>,
    pub memory_peak_bytes: Option<u64>,
    pub failure: Option<Failure<'a>>,
    pub spans: Vec<Span>,
    pub trace: Option<&'a Trace>,
}

/// How long a snapshot took to be restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    pub took: Duration,
    /// The part that is billed: not the snapshot's own restoring, but what its runtime and its hooks did then.
    pub billed: Duration,
}

/// A part of an invocation's time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span {
    pub name: &'static str,
    pub start: Timestamp,
    pub took: Duration,
}

impl Span {
    /// From one moment to another, if both came.
    pub fn between(name: &'static str, start: Option<Timestamp>, end: Option<Timestamp>) -> Option<Span> {
        let (start, end) = (start?, end?);
        Some(Span { name, start, took: end.since(start) })
    }
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure<'a> {
    Timeout,
    /// The environment broke: an exit, a kill, an error posted in init, an extension. Its type, such as
    /// `Runtime.ExitError`.
    Broke(&'a str),
    /// The handler failed, and the instance is fine. Text logs do not mark it.
    Handler(&'a str),
}

impl<'a> Failure<'a> {
    pub fn status(self) -> &'static str {
        match self {
            Failure::Timeout => "timeout",
            Failure::Broke(_) | Failure::Handler(_) => "error",
        }
    }

    pub fn error_type(self) -> Option<&'a str> {
        match self {
            Failure::Timeout => None,
            Failure::Broke(kind) | Failure::Handler(kind) => Some(kind),
        }
    }
}

/// Writes the lines of one instance.
#[derive(Debug, Clone)]
pub struct Writer {
    pub function_name: String,
    pub version: String,
    /// Such as `python:3.13`.
    pub runtime_version: String,
    pub runtime_version_arn: String,
    pub memory_mb: u32,
    pub logging: Logging,
    /// The name of its log stream.
    pub instance: String,
    pub initialization: Initialization,
}

/// Why an instance is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Initialization {
    OnDemand,
    Provisioned,
    /// Its function is restored from a snapshot, or it is the one that the snapshot is of.
    SnapStart,
}

impl Initialization {
    pub fn word(self) -> &'static str {
        match self {
            Initialization::OnDemand => "on-demand",
            Initialization::Provisioned => "provisioned-concurrency",
            Initialization::SnapStart => "snap-start",
        }
    }

    pub fn kind(self) -> Kind {
        match self {
            Initialization::OnDemand => Kind::OnDemand,
            Initialization::Provisioned => Kind::Provisioned,
            Initialization::SnapStart => Kind::SnapStart,
        }
    }
}

impl Writer {
    /// The event for the log, if this function's log has such lines.
    pub fn write(&self, now: Timestamp, line: &Line<'_>) -> Option<String> {
        if !self.logging.is_json {
            return self.text(line);
        }
        let (level, kind, record) = self.record(line);
        let least = self.logging.system_level.as_deref().map_or(Level::Info, Level::parse);
        let event = json!({ "time": now.iso8601_millis(), "type": format!("platform.{kind}"), "record": record });
        (level? >= least).then(|| format!("{event}\n"))
    }

    /// The same for subscribers of telemetry, who get all, whatever the log's level.
    pub fn tell(&self, now: Timestamp, line: &Line<'_>) -> Told {
        let (_, kind, record) = self.record(line);
        Told { time: now, what: What::Platform(kind, record) }
    }

    /// Whether what the function wrote is important enough for its log. What does not tell its level and its time in
    /// JSON counts as `INFO`.
    pub fn admits(&self, text: &str) -> bool {
        let Some(least) = self.logging.application_level.as_deref().filter(|_| self.logging.is_json) else {
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
            Line::InitReport { phase, took, failure }
                if failure.is_some() || self.initialization != Initialization::OnDemand =>
            {
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
            Line::Start { request_id, .. } => format!("START RequestId: {request_id} Version: {}\n", self.version),
            Line::End { request_id } => format!("END RequestId: {request_id}\n"),
            Line::Report(report) => self.report(report),
            Line::InitStart { phase: Phase::Invoke | Phase::Restore }
            | Line::RestoreRuntimeDone { .. }
            | Line::InitRuntimeDone { .. }
            | Line::InitReport { .. }
            | Line::RuntimeDone { .. }
            | Line::Fault { .. }
            | Line::LogsDropped { .. } => return None,
        })
    }

    fn report(&self, report: &Report<'_>) -> String {
        let Report { request_id, took, init, restored, memory_peak_bytes, failure, trace, .. } = report;
        let mut text = format!(
            "REPORT RequestId: {request_id}\tDuration: {:.2} ms\tBilled Duration: {} ms\tMemory Size: {} MB\t",
            millis(*took),
            billed_millis(*took, *init),
            self.memory_mb
        );
        // Where the host does not count memory, none is claimed.
        if let Some(megabytes) = memory_peak_bytes.map(|bytes| self.megabytes(bytes)) {
            let _ = write!(text, "Max Memory Used: {megabytes} MB\t");
        }
        if let Some(init) = init {
            let _ = write!(text, "Init Duration: {:.2} ms\t", millis(*init));
        }
        if let Some(Restored { took, billed }) = restored {
            let (took, billed) = (millis(*took), billed_millis(*billed, None));
            let _ = write!(text, "Restore Duration: {took:.2} ms\tBilled Restore Duration: {billed} ms\t");
        }
        if let Some(Trace { root, segment, .. }) = trace {
            let _ = write!(text, "\nXRAY TraceId: {root}\tSegmentId: {segment}\tSampled: true\t");
        }
        match failure {
            Some(Failure::Timeout) => text.push_str("Status: timeout"),
            Some(Failure::Broke(kind)) => {
                let _ = write!(text, "Status: error\tError Type: {kind}");
            }
            Some(Failure::Handler(_)) | None => {}
        }
        text + "\n"
    }

    /// What it used of its memory. What is in `/tmp` is counted with it, and AWS never tells of more than there is.
    pub fn megabytes(&self, bytes: u64) -> u64 {
        bytes.div_ceil(1024 * 1024).min(self.memory_mb.into())
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

pub fn millis(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}

/// AWS bills by the millisecond begun, the init before it included.
pub fn billed_millis(took: Duration, init: Option<Duration>) -> u64 {
    let micros = took.saturating_add(init.unwrap_or_default()).as_micros();
    u64::try_from(micros.div_ceil(1_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn writer(logging: Logging) -> Writer {
        Writer {
            function_name: "f".into(),
            version: "$LATEST".into(),
            runtime_version: "python:3.13".into(),
            runtime_version_arn: "arn:aws:lambda:us-east-1::runtime:0".into(),
            memory_mb: 128,
            logging,
            instance: "stream".into(),
            initialization: Initialization::OnDemand,
        }
    }

    fn text() -> Logging {
        Logging { group: "g".into(), is_json: false, application_level: None, system_level: None }
    }

    pub fn json(level: Option<&str>) -> Logging {
        Logging { is_json: true, system_level: level.map(str::to_owned), ..text() }
    }

    pub fn report<'a>(init: Option<u64>, failure: Option<Failure<'a>>) -> Line<'a> {
        Line::Report(Report {
            request_id: "ID",
            took: Duration::from_micros(1_700),
            init: init.map(Duration::from_micros),
            restored: None,
            memory_peak_bytes: Some(36 * 1024 * 1024 + 1),
            failure,
            spans: vec![],
            trace: None,
        })
    }

    #[test]
    fn text_is_aws_s_to_the_tab() {
        let writer = writer(text());
        let write = |line: &Line<'_>| writer.write(Timestamp::default(), line).unwrap();
        assert_eq!(
            write(&Line::InitStart { phase: Phase::Init }),
            "INIT_START Runtime Version: python:3.13\tRuntime Version ARN: arn:aws:lambda:us-east-1::runtime:0\n"
        );
        assert_eq!(
            write(&Line::Start { request_id: "ID", tenant_id: None, trace: None }),
            "START RequestId: ID Version: $LATEST\n"
        );
        let plain = "REPORT RequestId: ID\tDuration: 1.70 ms\tBilled Duration: 2 ms\tMemory Size: 128 MB\tMax Memory Used: 37 MB\t";
        assert_eq!(write(&report(None, None)), format!("{plain}\n"));
        assert_eq!(write(&report(None, Some(Failure::Handler("E")))), format!("{plain}\n"));
        assert_eq!(write(&report(None, Some(Failure::Timeout))), format!("{plain}Status: timeout\n"));
        assert_eq!(
            write(&report(Some(96_320), None)),
            "REPORT RequestId: ID\tDuration: 1.70 ms\tBilled Duration: 99 ms\tMemory Size: 128 MB\tMax Memory Used: 37 MB\tInit Duration: 96.32 ms\t\n"
        );
        assert_eq!(
            write(&report(None, Some(Failure::Broke("Runtime.OutOfMemory")))),
            format!("{plain}Status: error\tError Type: Runtime.OutOfMemory\n")
        );
        let took = Duration::from_micros(9_999_790);
        assert_eq!(
            write(&Line::InitReport { phase: Phase::Init, took, failure: Some(Failure::Timeout) }),
            "INIT_REPORT Init Duration: 9999.79 ms\tPhase: init\tStatus: timeout\n"
        );
    }

    #[test]
    fn what_is_not_important_enough_stays_out() {
        let least = |level: &str| writer(Logging { application_level: Some(level.to_owned()), ..json(None) });
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
        assert!(writer(text()).admits(&told("DEBUG")));
    }

    #[test]
    fn extensions_and_traces_are_told() {
        let writer = writer(text());
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
        let trace = Trace { header: String::new(), root: "1-2-3".into(), segment: "4".into() };
        let Line::Report(report) = report(None, Some(Failure::Timeout)) else { panic!() };
        let traced = Line::Report(Report { trace: Some(&trace), ..report });
        let end = "Max Memory Used: 37 MB\t\nXRAY TraceId: 1-2-3\tSegmentId: 4\tSampled: true\tStatus: timeout\n";
        assert!(write(&traced).unwrap().ends_with(end));
        assert_eq!(write(&Line::LogsDropped { records: 1, bytes: 2 }), None);
    }
}

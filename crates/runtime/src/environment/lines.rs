//! What the platform writes into a function's log: `START`, `REPORT` and their like, in AWS's exact words, as text or as
//! the JSON events that AWS writes for functions with JSON logs.

use std::borrow::Cow;
use std::fmt::Write;
use std::time::Duration;

use base::Timestamp;
use base::ports::Logging;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Something that the platform tells of an instance.
#[derive(Debug, Clone, PartialEq)]
pub enum Line<'a> {
    InitStart,
    /// Only of an init that failed.
    InitReport {
        phase: Phase,
        took: Duration,
        failure: Failure<'a>,
    },
    Start {
        request_id: &'a str,
        tenant_id: Option<&'a str>,
    },
    /// The text form has no more than `END`.
    RuntimeDone {
        request_id: &'a str,
        tenant_id: Option<&'a str>,
        took: Duration,
        produced_bytes: u64,
        failure: Option<Failure<'a>>,
    },
    Report {
        request_id: &'a str,
        took: Duration,
        /// Of the init before this invocation, if it is told with it.
        init: Option<Duration>,
        memory_peak_bytes: Option<u64>,
        failure: Option<Failure<'a>>,
    },
}

/// When an init ran: before the first invocation, or again within one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Init,
    Invoke,
}

impl Phase {
    fn word(self) -> &'static str {
        match self {
            Phase::Init => "init",
            Phase::Invoke => "invoke",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure<'a> {
    Timeout,
    /// The runtime broke: an exit, a kill, an error that it posted in init. Its type, such as `Runtime.ExitError`.
    Broke(&'a str),
    /// The handler failed, and the instance is fine. Text logs do not mark it.
    Handler(&'a str),
}

impl<'a> Failure<'a> {
    fn status(self) -> &'static str {
        match self {
            Failure::Timeout => "timeout",
            Failure::Broke(_) | Failure::Handler(_) => "error",
        }
    }

    fn error_type(self) -> Option<&'a str> {
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
}

impl Writer {
    /// The event for the log, if this function's log has such lines.
    pub fn write(&self, now: Timestamp, line: &Line<'_>) -> Option<String> {
        if !self.logging.is_json {
            return Some(self.text(line));
        }
        let (level, kind, record) = self.record(line);
        let least = self.logging.system_level.as_deref().map_or(Level::Info, Level::parse);
        let event = json!({ "time": now.iso8601_millis(), "type": kind, "record": record });
        (level >= least).then(|| format!("{event}\n"))
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

    fn text(&self, line: &Line<'_>) -> String {
        match line {
            Line::InitStart => format!(
                "INIT_START Runtime Version: {}\tRuntime Version ARN: {}\n",
                self.runtime_version, self.runtime_version_arn
            ),
            Line::InitReport { phase, took, failure } => {
                let (took, phase, status) = (millis(*took), phase.word(), failure.status());
                let mut text = format!("INIT_REPORT Init Duration: {took:.2} ms\tPhase: {phase}\tStatus: {status}");
                if let Some(kind) = failure.error_type() {
                    let _ = write!(text, "\tError Type: {kind}");
                }
                text + "\n"
            }
            Line::Start { request_id, .. } => format!("START RequestId: {request_id} Version: {}\n", self.version),
            Line::RuntimeDone { request_id, .. } => format!("END RequestId: {request_id}\n"),
            Line::Report { request_id, took, init, memory_peak_bytes, failure } => {
                self.report(request_id, *took, *init, *memory_peak_bytes, *failure)
            }
        }
    }

    fn report(
        &self,
        request_id: &str,
        took: Duration,
        init: Option<Duration>,
        memory_peak_bytes: Option<u64>,
        failure: Option<Failure<'_>>,
    ) -> String {
        let mut text = format!(
            "REPORT RequestId: {request_id}\tDuration: {:.2} ms\tBilled Duration: {} ms\tMemory Size: {} MB\t",
            millis(took),
            billed_millis(took, init),
            self.memory_mb
        );
        // Where the host does not count memory, none is claimed.
        if let Some(megabytes) = memory_peak_bytes.map(|bytes| self.megabytes(bytes)) {
            let _ = write!(text, "Max Memory Used: {megabytes} MB\t");
        }
        if let Some(init) = init {
            let _ = write!(text, "Init Duration: {:.2} ms\t", millis(init));
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
    fn megabytes(&self, bytes: u64) -> u64 {
        bytes.div_ceil(1024 * 1024).min(self.memory_mb.into())
    }

    fn record(&self, line: &Line<'_>) -> (Level, &'static str, Value) {
        let normal = |failure: bool, level| if failure { Level::Warn } else { level };
        match line {
            Line::InitStart => {
                let record = json!({
                    "initializationType": "on-demand",
                    "phase": "init",
                    "runtimeVersion": self.runtime_version,
                    "runtimeVersionArn": self.runtime_version_arn,
                    "functionName": self.function_name,
                    "functionVersion": self.version,
                    "instanceMaxMemory": u64::from(self.memory_mb).saturating_mul(1024 * 1024),
                });
                (Level::Info, "platform.initStart", record)
            }
            Line::InitReport { phase, took, failure } => {
                let mut record = Map::new();
                record.insert("initializationType".into(), "on-demand".into());
                record.insert("phase".into(), phase.word().into());
                tell(&mut record, Some(*failure));
                record.insert("metrics".into(), json!({ "durationMs": rounded(*took) }));
                (Level::Warn, "platform.initReport", record.into())
            }
            Line::Start { request_id, tenant_id } => {
                let mut record = identity(request_id, *tenant_id);
                record.insert("version".into(), self.version.as_str().into());
                (Level::Info, "platform.start", record.into())
            }
            Line::RuntimeDone { request_id, tenant_id, took, produced_bytes, failure } => {
                let mut record = identity(request_id, *tenant_id);
                tell(&mut record, *failure);
                let metrics = json!({ "durationMs": rounded(*took), "producedBytes": produced_bytes });
                record.insert("metrics".into(), metrics);
                (normal(failure.is_some(), Level::Debug), "platform.runtimeDone", record.into())
            }
            Line::Report { request_id, took, init, memory_peak_bytes, failure } => {
                let mut record = identity(request_id, None);
                tell(&mut record, *failure);
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
                record.insert("metrics".into(), metrics.into());
                (normal(failure.is_some(), Level::Info), "platform.report", record.into())
            }
        }
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

fn tell(record: &mut Map<String, Value>, failure: Option<Failure<'_>>) {
    record.insert("status".into(), failure.map_or("success", Failure::status).into());
    if let Some(kind) = failure.and_then(Failure::error_type) {
        record.insert("errorType".into(), kind.into());
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

/// System log levels, least important first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Debug,
    Info,
    Warn,
}

impl Level {
    fn parse(word: &str) -> Level {
        match word {
            "DEBUG" => Level::Debug,
            "WARN" => Level::Warn,
            _ => Level::Info,
        }
    }
}

fn millis(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}

fn rounded(took: Duration) -> f64 {
    // Three decimals are the microseconds that we count.
    (millis(took) * 1e3).round() / 1e3
}

/// AWS bills by the millisecond begun, the init before it included.
fn billed_millis(took: Duration, init: Option<Duration>) -> u64 {
    let micros = took.saturating_add(init.unwrap_or_default()).as_micros();
    u64::try_from(micros.div_ceil(1_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub fn writer(logging: Logging) -> Writer {
        Writer {
            function_name: "f".into(),
            version: "$LATEST".into(),
            runtime_version: "python:3.13".into(),
            runtime_version_arn: "arn:aws:lambda:us-east-1::runtime:0".into(),
            memory_mb: 128,
            logging,
        }
    }

    fn text() -> Logging {
        Logging { group: "g".into(), is_json: false, application_level: None, system_level: None }
    }

    fn json(level: Option<&str>) -> Logging {
        Logging { is_json: true, system_level: level.map(str::to_owned), ..text() }
    }

    fn report<'a>(init: Option<u64>, failure: Option<Failure<'a>>) -> Line<'a> {
        Line::Report {
            request_id: "ID",
            took: Duration::from_micros(1_700),
            init: init.map(Duration::from_micros),
            memory_peak_bytes: Some(36 * 1024 * 1024 + 1),
            failure,
        }
    }

    #[test]
    fn text_is_aws_s_to_the_tab() {
        let writer = writer(text());
        let write = |line: &Line<'_>| writer.write(Timestamp::default(), line).unwrap();
        assert_eq!(
            write(&Line::InitStart),
            "INIT_START Runtime Version: python:3.13\tRuntime Version ARN: arn:aws:lambda:us-east-1::runtime:0\n"
        );
        assert_eq!(write(&Line::Start { request_id: "ID", tenant_id: None }), "START RequestId: ID Version: $LATEST\n");
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
            write(&Line::InitReport { phase: Phase::Init, took, failure: Failure::Timeout }),
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
    fn json_has_levels() {
        let now = Timestamp::from_secs(0);
        let done = Line::RuntimeDone {
            request_id: "ID",
            tenant_id: None,
            took: Duration::from_millis(1),
            produced_bytes: 2,
            failure: None,
        };
        assert_eq!(writer(json(None)).write(now, &done), None);
        assert_eq!(
            writer(json(Some("DEBUG"))).write(now, &done).unwrap(),
            "{\"time\":\"1970-01-01T00:00:00.000Z\",\"type\":\"platform.runtimeDone\",\"record\":{\"requestId\":\"ID\",\
             \"status\":\"success\",\"metrics\":{\"durationMs\":1.0,\"producedBytes\":2}}}\n"
        );
        assert_eq!(writer(json(Some("WARN"))).write(now, &report(None, None)), None);
        let failed = writer(json(Some("WARN"))).write(now, &report(None, Some(Failure::Timeout))).unwrap();
        assert!(failed.contains("\"status\":\"timeout\""), "{failed}");
    }
}

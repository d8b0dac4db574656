//! The fields that are found in an event: of JSON, and of the lines that a Lambda function's platform writes.
//!
//! A query names the few that it wants, and the reading ends when they are found. Follows "Supported logs and
//! discovered fields" of Logs Insights' user guide. Not there: the fields of other services' logs.

use super::expression::{Edge, System};
use super::json::{self, See};
use super::value::{self, Value};
use super::{Event, Window, pointer};

/// What a query names that is not the event's own.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    pub names: Vec<String>,
}

/// The values of the wanted ones, in their order.
pub fn wanted<'a>(event: &Event<'a>, wanted: &Wanted) -> Vec<Value<'a>> {
    let mut values = vec![Value::Missing; wanted.names.len()];
    let mut open = values.len();
    fields(event.message, event.log, &mut |name, value| {
        let place = wanted.names.iter().position(|wanted| wanted == name).and_then(|index| values.get_mut(index));
        // Of fields of one name, the first counts.
        if let Some(place) = place.filter(|place| !place.is_present()) {
            *place = value;
            open = open.saturating_sub(1);
        }
        open > 0
    });
    values
}

/// All fields of an event by name, its own ones first, as GetLogRecord and GetLogGroupFields tell them.
pub fn all(event: &Event<'_>) -> Vec<(String, String)> {
    let own = [
        ("@timestamp", Value::text(event.timestamp_ms.to_string())),
        ("@message", event.system(System::Message)),
        ("@log", event.system(System::Log)),
        ("@logStream", event.system(System::Stream)),
        ("@ingestionTime", Value::text(event.ingestion_ms.to_string())),
        ("@ptr", event.system(System::Pointer)),
    ];
    let mut found: Vec<(String, String)> =
        own.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.shown()?))).collect();
    fields(event.message, event.log, &mut |name, value| {
        let is_new = found.iter().all(|(other, _)| other != name);
        found.extend(value.shown().filter(|_| is_new).map(|shown| (name.to_owned(), shown)));
        true
    });
    found
}

fn fields<'a>(message: &'a str, log: &str, see: &mut See<'_, 'a>) {
    let text = message.trim();
    if text.starts_with('{') {
        // What follows the object makes the message no JSON.
        if text.ends_with('}') {
            object(text, see);
        }
        return;
    }
    if let Some(line) = platform_line(text) {
        return line.fields(see);
    }
    let request = application_request(text);
    if request.is_some_and(|request| !see("@requestId", Value::text(request))) {
        return;
    }
    let is_lambda = request.is_some() || log.split(':').next_back().is_some_and(|log| log.starts_with("/aws/lambda/"));
    if is_lambda && let Some(start) = text.find('{') {
        object(text.get(start..).unwrap_or_default(), see);
    }
}

/// JSON, with the names that a platform event of a Lambda function has beside its own.
fn object<'a>(text: &'a str, see: &mut See<'_, 'a>) {
    let (mut is_platform, mut is_report) = (false, false);
    json::fields(text, &mut |name, value| {
        let mut more = true;
        if name == "type" {
            let kind = value.as_text().and_then(|kind| kind.strip_prefix("platform.").map(str::to_owned));
            is_platform = kind.is_some();
            is_report = kind.as_deref() == Some("report");
            let line = match kind.as_deref() {
                Some("start") => Some("START"),
                Some("report") => Some("REPORT"),
                Some("initStart") => Some("INIT_START"),
                _ => None,
            };
            more = line.is_none_or(|line| see("@type", Value::text(line)));
        } else if is_platform
            && let Some((_, short, scale)) = METRICS.iter().find(|(path, ..)| *path == name)
            && (is_report || *scale == 0.0)
        {
            let scaled = match value.as_number().filter(|_| *scale != 0.0) {
                Some(number) => Value::real(number * scale),
                None => value.clone(),
            };
            more = see(short, scaled);
        }
        // A key that begins as the system's own fields do has one sign more.
        more && if name.starts_with('@') { see(&format!("@{name}"), value) } else { see(name, value) }
    });
}

const MB: f64 = 1e6;

/// Where a platform event has what a platform line has, and what that is multiplied by if it is a number.
const METRICS: &[(&str, &str, f64)] = &[
    ("record.requestId", "@requestId", 0.0),
    ("record.metrics.durationMs", "@duration", 1.0),
    ("record.metrics.billedDurationMs", "@billedDuration", 1.0),
    ("record.metrics.initDurationMs", "@initDuration", 1.0),
    ("record.metrics.memorySizeMB", "@memorySize", MB),
    ("record.metrics.maxMemoryUsedMB", "@maxMemoryUsed", MB),
];

/// The same of a `REPORT` line.
const LABELS: &[(&str, &str, f64)] = &[
    ("Duration", "@duration", 1.0),
    ("Billed Duration", "@billedDuration", 1.0),
    ("Init Duration", "@initDuration", 1.0),
    ("Memory Size", "@memorySize", MB),
    ("Max Memory Used", "@maxMemoryUsed", MB),
    ("XRAY TraceId", "@xrayTraceId", 0.0),
    ("SegmentId", "@xraySegmentId", 0.0),
];

struct PlatformLine<'a> {
    kind: &'static str,
    request: Option<&'a str>,
    rest: &'a str,
}

fn platform_line(text: &str) -> Option<PlatformLine<'_>> {
    let kind = ["START", "END", "REPORT", "INIT_START"]
        .into_iter()
        .find(|kind| text.strip_prefix(kind).is_some_and(|rest| rest.starts_with(' ')))?;
    let rest = text.get(kind.len()..)?.trim_start();
    if kind == "INIT_START" {
        return rest.starts_with("Runtime Version").then_some(PlatformLine { kind, request: None, rest });
    }
    let rest = rest.strip_prefix("RequestId: ")?;
    Some(PlatformLine { kind, request: rest.split_whitespace().next(), rest })
}

impl<'a> PlatformLine<'a> {
    fn fields(&self, see: &mut See<'_, 'a>) {
        let more = see("@type", Value::text(self.kind))
            && self.request.is_none_or(|request| see("@requestId", Value::text(request)));
        if !more || self.kind != "REPORT" {
            return;
        }
        for part in self.rest.split(['\t', '\n']) {
            let Some((label, text)) = part.trim().split_once(": ") else { continue };
            let Some((_, name, scale)) = LABELS.iter().find(|(known, ..)| *known == label) else { continue };
            let number = text.split(' ').next().and_then(value::number).filter(|_| *scale != 0.0);
            if !see(name, number.map_or(Value::text(text), |number| Value::real(number * scale))) {
                return;
            }
        }
    }
}

/// The request of a line that a function's runtime wrote, `TIME⇥REQUEST⇥LEVEL⇥…` or `[LEVEL]⇥TIME⇥REQUEST⇥…`.
fn application_request(text: &str) -> Option<&str> {
    let mut parts = text.splitn(4, '\t');
    let first = parts.next()?;
    let time = if first.starts_with('[') { parts.next()? } else { first };
    let is_time = time.len() == "2024-01-01T00:00:10.100Z".len()
        && time.ends_with('Z')
        && time.starts_with(|char: char| char.is_ascii_digit());
    parts.next().filter(|request| is_time && !request.is_empty() && !request.contains(' '))
}

impl<'a> Event<'a> {
    pub(super) fn system(&self, system: System) -> Value<'a> {
        match system {
            System::Timestamp => Value::Time(self.timestamp_ms),
            System::IngestionTime => Value::Time(self.ingestion_ms),
            System::Message => Value::text(self.message),
            System::Stream => Value::text(self.stream),
            System::Log => Value::text(self.log),
            System::Pointer => Value::text(pointer::show(self.pointer)),
        }
    }
}

impl Window {
    pub(super) fn at(&self, edge: Edge) -> Value<'static> {
        let length = self.end_ms.saturating_sub(self.start_ms);
        Value::Number(value::float(match edge {
            Edge::Now => self.now_ms.div_euclid(1_000),
            Edge::Start => self.start_ms,
            Edge::End => self.end_ms,
            Edge::Length => length,
        }))
    }
}

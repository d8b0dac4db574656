//! What one invocation came to, as compact bytes: what the platform's lines, Lambda's metrics and usage are derived from.
//!
//! An instance tells once what it is ([`Origin`]), then one [`Started`] and one [`Ended`] for each invocation.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{RequestId, Timestamp, Uuid, varint};

/// What all records of one instance have in common.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    pub function: String,
    /// `$LATEST`, or a number.
    pub version: String,
    pub memory_mb: u32,
    /// What `/tmp` may hold.
    pub tmp_mb: u32,
    pub is_arm: bool,
    pub kind: Kind,
    /// How its log's lines are written; with JSON, the least system level, such as `INFO`.
    pub is_json: bool,
    pub system_level: Option<String>,
}

/// Why an instance is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    #[default]
    OnDemand,
    Provisioned,
    /// Its function is restored from a snapshot, or it is the one that the snapshot is of.
    SnapStart,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    Started(Started),
    Ended(Ended),
}

/// An invocation begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    pub request_id: RequestId,
    pub tenant_id: Option<String>,
    pub trace: Option<Trace>,
}

/// An invocation is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    pub request_id: RequestId,
    /// The alias or version that was called; empty if none was named.
    pub qualifier: String,
    /// When it began. Its metrics belong to that moment.
    pub began: Timestamp,
    /// By the clock outside the sandbox.
    pub took: Duration,
    /// Of the init that this invocation waited for, if it is told with it.
    pub init: Option<Duration>,
    /// Likewise of a snapshot, and the part of that which is billed.
    pub restored: Option<(Duration, Duration)>,
    /// Nothing was ready for it.
    pub is_cold: bool,
    pub memory_peak_bytes: Option<u64>,
    /// What its processes had of a processor meanwhile.
    pub cpu: Option<Duration>,
    pub failure: Option<Failure>,
    /// When extensions alone held it up, and how long.
    pub extensions: Option<(Timestamp, Duration)>,
    pub trace: Option<Trace>,
    pub at_once: AtOnce,
}

/// How many invocations ran when one began, itself included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AtOnce {
    /// Of its function.
    pub function: u32,
    /// Of its account and region.
    pub account: u32,
    /// Of those, on demand and of functions that have reserved nothing.
    pub unreserved: u32,
    /// What functions of the account and region have reserved, and what else is provisioned.
    pub allocated: u32,
    /// Where instances are provisioned for its version.
    pub provisioned: Option<ProvisionedAtOnce>,
}

/// Of invocations on provisioned instances: how many ran.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProvisionedAtOnce {
    pub account: u32,
    pub function: u32,
    pub version: u32,
    /// How many instances are to be there for the version.
    pub wanted: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    Timeout,
    /// The environment broke; the type, such as `Runtime.ExitError`.
    Broke(String),
    /// The handler failed, and the instance is fine. Logs in text do not mark it.
    Handler(String),
}

/// A sampled invocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// As the function sees it.
    pub header: String,
    pub root: String,
    /// Of the function itself.
    pub segment: String,
}

impl Kind {
    /// As AWS writes it.
    pub fn word(self) -> &'static str {
        match self {
            Kind::OnDemand => "on-demand",
            Kind::Provisioned => "provisioned-concurrency",
            Kind::SnapStart => "snap-start",
        }
    }
}

impl Failure {
    /// As AWS writes it.
    pub fn status(&self) -> &'static str {
        match self {
            Failure::Timeout => "timeout",
            Failure::Broke(_) | Failure::Handler(_) => "error",
        }
    }

    pub fn error_type(&self) -> Option<&str> {
        match self {
            Failure::Timeout => None,
            Failure::Broke(kind) | Failure::Handler(kind) => Some(kind),
        }
    }
}

impl Ended {
    /// AWS bills by the millisecond begun, the init before it included.
    pub fn billed_millis(&self) -> u64 {
        billed_millis(self.took.saturating_add(self.init.unwrap_or_default()))
    }
}

/// The milliseconds begun in so long.
pub fn billed_millis(took: Duration) -> u64 {
    u64::try_from(took.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX)
}

impl Origin {
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_text(&self.function, out);
        put_text(&self.version, out);
        varint::put(self.memory_mb.into(), out);
        varint::put(self.tmp_mb.into(), out);
        out.push(u8::from(self.is_arm) | u8::from(self.is_json) << 1 | (self.kind as u8) << 2);
        put_option(self.system_level.as_ref(), out, |level, out| put_text(level, out));
    }

    pub fn decode(from: &mut &[u8]) -> Option<Origin> {
        let (function, version) = (take_text(from)?, take_text(from)?);
        let (memory_mb, tmp_mb) = (take_u32(from)?, take_u32(from)?);
        let flags = take_byte(from)?;
        let kind = [Kind::OnDemand, Kind::Provisioned, Kind::SnapStart].get(usize::from(flags >> 2)).copied()?;
        let system_level = take_option(from, take_text)?;
        let (is_arm, is_json) = (flags & 1 != 0, flags & 2 != 0);
        Some(Origin { function, version, memory_mb, tmp_mb, is_arm, kind, is_json, system_level })
    }
}

const STARTED: u8 = 1;
const ENDED: u8 = 2;

impl Record {
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Record::Started(started) => {
                out.push(STARTED);
                out.extend_from_slice(started.request_id.0.as_bytes());
                put_option(started.tenant_id.as_ref(), out, |tenant, out| put_text(tenant, out));
                put_option(started.trace.as_ref(), out, put_trace);
            }
            Record::Ended(ended) => {
                out.push(ENDED);
                ended.encode(out);
            }
        }
    }

    /// `None` for what this program does not know.
    pub fn decode(from: &mut &[u8]) -> Option<Record> {
        match take_byte(from)? {
            STARTED => Some(Record::Started(Started {
                request_id: take_id(from)?,
                tenant_id: take_option(from, take_text)?,
                trace: take_option(from, take_trace)?,
            })),
            ENDED => Some(Record::Ended(Ended::decode(from)?)),
            _ => None,
        }
    }
}

impl Ended {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.request_id.0.as_bytes());
        put_text(&self.qualifier, out);
        varint::put_signed(self.began.as_micros(), out);
        put_duration(&self.took, out);
        put_option(self.init.as_ref(), out, put_duration);
        put_option(self.restored.as_ref(), out, |(took, billed), out| {
            put_duration(took, out);
            put_duration(billed, out);
        });
        out.push(self.is_cold.into());
        put_option(self.memory_peak_bytes.as_ref(), out, |bytes, out| varint::put(*bytes, out));
        put_option(self.cpu.as_ref(), out, put_duration);
        put_option(self.failure.as_ref(), out, |failure, out| {
            let (kind, text) = match failure {
                Failure::Timeout => (0, ""),
                Failure::Broke(text) => (1, text.as_str()),
                Failure::Handler(text) => (2, text.as_str()),
            };
            out.push(kind);
            put_text(text, out);
        });
        put_option(self.extensions.as_ref(), out, |(since, took), out| {
            varint::put_signed(since.as_micros(), out);
            put_duration(took, out);
        });
        put_option(self.trace.as_ref(), out, put_trace);
        self.at_once.encode(out);
    }

    fn decode(from: &mut &[u8]) -> Option<Ended> {
        Some(Ended {
            request_id: take_id(from)?,
            qualifier: take_text(from)?,
            began: Timestamp::from_micros(varint::take_signed(from)?),
            took: take_duration(from)?,
            init: take_option(from, take_duration)?,
            restored: take_option(from, |from| Some((take_duration(from)?, take_duration(from)?)))?,
            is_cold: take_byte(from)? != 0,
            memory_peak_bytes: take_option(from, varint::take)?,
            cpu: take_option(from, take_duration)?,
            failure: take_option(from, |from| {
                let (kind, text) = (take_byte(from)?, take_text(from)?);
                match kind {
                    0 => Some(Failure::Timeout),
                    1 => Some(Failure::Broke(text)),
                    2 => Some(Failure::Handler(text)),
                    _ => None,
                }
            })?,
            extensions: take_option(from, |from| {
                Some((Timestamp::from_micros(varint::take_signed(from)?), take_duration(from)?))
            })?,
            trace: take_option(from, take_trace)?,
            at_once: AtOnce::decode(from)?,
        })
    }
}

impl AtOnce {
    fn encode(&self, out: &mut Vec<u8>) {
        let AtOnce { function, account, unreserved, allocated, provisioned } = self;
        [function, account, unreserved, allocated].into_iter().for_each(|count| varint::put((*count).into(), out));
        put_option(provisioned.as_ref(), out, |provisioned, out| {
            let ProvisionedAtOnce { account, function, version, wanted } = provisioned;
            [account, function, version, wanted].into_iter().for_each(|count| varint::put((*count).into(), out));
        });
    }

    fn decode(from: &mut &[u8]) -> Option<AtOnce> {
        let [function, account, unreserved, allocated] = take_four(from)?;
        let provisioned = take_option(from, |from| {
            let [account, function, version, wanted] = take_four(from)?;
            Some(ProvisionedAtOnce { account, function, version, wanted })
        })?;
        Some(AtOnce { function, account, unreserved, allocated, provisioned })
    }
}

fn put_text(text: &str, out: &mut Vec<u8>) {
    varint::put_bytes(text.as_bytes(), out);
}

fn put_duration(duration: &Duration, out: &mut Vec<u8>) {
    varint::put(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX), out);
}

fn put_trace(trace: &Trace, out: &mut Vec<u8>) {
    [&trace.header, &trace.root, &trace.segment].into_iter().for_each(|text| put_text(text, out));
}

fn put_option<T>(value: Option<&T>, out: &mut Vec<u8>, put: impl Fn(&T, &mut Vec<u8>)) {
    out.push(value.is_some().into());
    if let Some(value) = value {
        put(value, out);
    }
}

fn take_byte(from: &mut &[u8]) -> Option<u8> {
    let (byte, rest) = from.split_first()?;
    *from = rest;
    Some(*byte)
}

fn take_text(from: &mut &[u8]) -> Option<String> {
    std::str::from_utf8(varint::take_bytes(from)?).ok().map(str::to_owned)
}

fn take_u32(from: &mut &[u8]) -> Option<u32> {
    u32::try_from(varint::take(from)?).ok()
}

fn take_four(from: &mut &[u8]) -> Option<[u32; 4]> {
    Some([take_u32(from)?, take_u32(from)?, take_u32(from)?, take_u32(from)?])
}

fn take_duration(from: &mut &[u8]) -> Option<Duration> {
    varint::take(from).map(Duration::from_micros)
}

fn take_id(from: &mut &[u8]) -> Option<RequestId> {
    let (id, rest) = from.split_first_chunk::<16>()?;
    *from = rest;
    Some(RequestId(Uuid::from_bytes(*id)))
}

fn take_trace(from: &mut &[u8]) -> Option<Trace> {
    Some(Trace { header: take_text(from)?, root: take_text(from)?, segment: take_text(from)? })
}

/// `None` if it cannot be read, `Some(None)` if there is none.
fn take_option<T>(from: &mut &[u8], take: impl Fn(&mut &[u8]) -> Option<T>) -> Option<Option<T>> {
    match take_byte(from)? {
        0 => Some(None),
        1 => take(from).map(Some),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ended(text: String, micros: u32, has: bool) -> Ended {
        let took = Duration::from_micros(micros.into());
        let trace = Trace { header: text.clone(), root: text.clone(), segment: text.clone() };
        let began = Timestamp::from_micros(micros.into());
        Ended {
            request_id: RequestId(Uuid::from_bytes([7; 16])),
            qualifier: text.clone(),
            began,
            took,
            init: has.then_some(took),
            restored: has.then_some((took, took)),
            is_cold: has,
            memory_peak_bytes: has.then_some(micros.into()),
            cpu: has.then_some(took),
            failure: has.then_some(Failure::Handler(text)),
            extensions: has.then_some((began, took)),
            trace: has.then_some(trace),
            at_once: AtOnce {
                function: micros,
                account: 1,
                unreserved: 2,
                allocated: 3,
                provisioned: has.then_some(ProvisionedAtOnce { account: 4, function: 5, version: 6, wanted: micros }),
            },
        }
    }

    proptest! {
        #[test]
        fn records_read_back(text in ".{0,20}", micros: u32, has: bool, kind in 0..3_usize) {
            let kind = [Kind::OnDemand, Kind::Provisioned, Kind::SnapStart][kind];
            let origin = Origin {
                function: text.clone(), version: text.clone(), memory_mb: micros, tmp_mb: 1, is_arm: has, kind,
                is_json: !has, system_level: has.then(|| text.clone()),
            };
            let mut bytes = Vec::new();
            origin.encode(&mut bytes);
            prop_assert_eq!(Origin::decode(&mut bytes.as_slice()), Some(origin));
            let ended = ended(text.clone(), micros, has);
            let started = Started { request_id: ended.request_id, tenant_id: has.then_some(text), trace: ended.trace.clone() };
            for record in [Record::Started(started), Record::Ended(ended)] {
                let mut bytes = Vec::new();
                record.encode(&mut bytes);
                prop_assert_eq!(Record::decode(&mut bytes.as_slice()), Some(record));
            }
        }

        #[test]
        fn nothing_that_is_read_panics(bytes: Vec<u8>) {
            Record::decode(&mut bytes.as_slice());
            Origin::decode(&mut bytes.as_slice());
        }
    }

    #[test]
    fn one_of_an_ordinary_invocation_is_small() {
        let mut bytes = Vec::new();
        let ended = Ended { trace: None, failure: None, ..ended(String::new(), 1_234, false) };
        Record::Ended(ended).encode(&mut bytes);
        assert!(bytes.len() < 48, "{} bytes", bytes.len());
    }

    #[test]
    fn what_is_billed_is_the_millisecond_begun() {
        for (micros, billed) in [(0, 0), (1, 1), (1_000, 1), (1_001, 2)] {
            assert_eq!(billed_millis(Duration::from_micros(micros)), billed);
        }
    }
}

//! A moment, and the forms that AWS's protocols write it in.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::FormatItem;
use time::format_description::well_known::{Rfc2822, Rfc3339};
use time::macros::format_description;

/// Microseconds since 1970 began, UTC. Totally ordered, and cheap to store and compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Timestamp(i64);

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("parse timestamp {0:?}")]
pub struct TimestampError(pub String);

const BASIC: &[FormatItem<'_>] = format_description!("[year][month][day]T[hour][minute][second]Z");
const ISO_SECONDS: &[FormatItem<'_>] = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
const ISO_MILLIS: &[FormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
const LAMBDA: &[FormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]+0000");
const HTTP_DATE: &[FormatItem<'_>] =
    format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");

impl Timestamp {
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }

    /// From the number of seconds that the JSON protocols carry, fraction included; `None` if it is no real moment.
    pub fn from_secs_f64(secs: f64) -> Option<Self> {
        let micros = (secs * 1e6).round();
        // Beyond ±2^53 microseconds (year 2255) a double no longer counts them one by one, and AWS takes no such time.
        (micros.is_finite() && micros.abs() < 9.0e15).then_some(Self(micros as i64))
    }

    pub const fn as_micros(self) -> i64 {
        self.0
    }

    pub const fn as_millis(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }

    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
    }

    pub fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` this is; zero if it is not after.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Cut to whole milliseconds, the finest that AWS's resources show.
    pub const fn trunc_millis(self) -> Self {
        Self::from_millis(self.as_millis())
    }

    /// `2026-01-01T00:00:00Z`, with milliseconds where there are any.
    pub fn iso8601(self) -> String {
        self.format(if self.as_millis().rem_euclid(1_000) == 0 { ISO_SECONDS } else { ISO_MILLIS })
    }

    /// `2026-01-01T00:00:00.000Z`
    pub fn iso8601_millis(self) -> String {
        self.format(ISO_MILLIS)
    }

    /// `2026-01-01T00:00:00.000+0000`, as Lambda writes `LastModified`.
    pub fn lambda(self) -> String {
        self.format(LAMBDA)
    }

    /// `Thu, 01 Jan 2026 00:00:00 GMT`
    pub fn http_date(self) -> String {
        self.format(HTTP_DATE)
    }

    /// `20260101T000000Z`, as signatures carry it.
    pub fn basic(self) -> String {
        self.format(BASIC)
    }

    pub fn parse_basic(text: &str) -> Result<Self, TimestampError> {
        let parsed = time::PrimitiveDateTime::parse(text, BASIC).map_err(|_| TimestampError(text.into()))?;
        Self::of(parsed.assume_utc()).ok_or_else(|| TimestampError(text.into()))
    }

    /// ISO 8601 as RFC 3339 narrows it, an offset or `Z` required.
    pub fn parse_iso8601(text: &str) -> Result<Self, TimestampError> {
        let parsed = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| TimestampError(text.into()))?;
        Self::of(parsed).ok_or_else(|| TimestampError(text.into()))
    }

    pub fn parse_http_date(text: &str) -> Result<Self, TimestampError> {
        let parsed = OffsetDateTime::parse(text, &Rfc2822).map_err(|_| TimestampError(text.into()))?;
        Self::of(parsed).ok_or_else(|| TimestampError(text.into()))
    }

    fn of(moment: OffsetDateTime) -> Option<Self> {
        i64::try_from(moment.unix_timestamp_nanos().div_euclid(1_000)).ok().map(Self)
    }

    fn format(self, format: &[FormatItem<'_>]) -> String {
        let moment = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000);
        // Moments beyond the year 9999 have no AWS form; they print as the epoch rather than fail a whole answer.
        moment.unwrap_or(OffsetDateTime::UNIX_EPOCH).format(format).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_reads_back() {
        let moment = Timestamp::from_millis(1_767_225_600_123);
        assert_eq!(moment.iso8601(), "2026-01-01T00:00:00.123Z");
        assert_eq!(moment.lambda(), "2026-01-01T00:00:00.123+0000");
        assert_eq!(moment.http_date(), "Thu, 01 Jan 2026 00:00:00 GMT");
        assert_eq!(moment.basic(), "20260101T000000Z");
        assert_eq!(Timestamp::parse_iso8601(&moment.iso8601()), Ok(moment));
        assert_eq!(Timestamp::parse_iso8601("2026-01-01T01:00:00.123+01:00"), Ok(moment));
        assert_eq!(Timestamp::parse_basic(&moment.basic()).map(Timestamp::as_secs), Ok(moment.as_secs()));
        assert_eq!(Timestamp::parse_http_date(&moment.http_date()).map(Timestamp::as_secs), Ok(moment.as_secs()));
        assert_eq!(Timestamp::from_secs_f64(moment.as_secs_f64()), Some(moment));
    }

    #[test]
    fn nonsense_is_refused_and_never_overflows() {
        for text in ["", "2026", "2026-13-01T00:00:00Z", "20261301T000000Z", "99999999T999999Z", "é"] {
            assert!(Timestamp::parse_iso8601(text).is_err() && Timestamp::parse_basic(text).is_err(), "{text}");
        }
        for secs in [f64::NAN, f64::INFINITY, 1e300, -1e300] {
            assert_eq!(Timestamp::from_secs_f64(secs), None);
        }
        let _ = Timestamp::from_micros(i64::MAX).plus(Duration::MAX).iso8601();
        let _ = Timestamp::from_micros(i64::MIN).minus(Duration::MAX).http_date();
    }
}

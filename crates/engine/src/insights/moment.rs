//! Periods of time, the moments at their edges, and how a moment is shown.
//!
//! Edges are counted from 1970 in UTC; months, quarters and years follow the calendar. Follows "Datetime functions" of
//! Logs Insights' user guide.

use base::Timestamp;
use time::{Date, Month, OffsetDateTime, Time};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    Millis(i64),
    Months(i64),
}

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60_000;
const HOUR: i64 = 3_600_000;
const DAY: i64 = 86_400_000;

/// From the year 0 to the end of 9999: no other moment has a form.
const SHOWN: std::ops::Range<i64> = -62_167_219_200_000..253_402_300_800_000;

impl Period {
    /// `None` for a unit that is none. Units up to the hour have a cap, as on AWS: `300s` is `60s`.
    pub fn new(count: i64, unit: &str) -> Option<Period> {
        let unit = unit.to_ascii_lowercase();
        // Names of several letters have a plural; the `s` of `ms` is its own.
        let singular = if unit.len() > 2 { unit.strip_suffix('s').unwrap_or(&unit) } else { &unit };
        let count = count.max(1);
        let millis = |each: i64, cap: i64| Some(Period::Millis(each.saturating_mul(count.min(cap))));
        let months = |each: i64| Some(Period::Months(each.saturating_mul(count.min(120_000))));
        match singular {
            "ms" | "msec" | "millisecond" => millis(1, 1_000),
            "s" | "sec" | "second" => millis(SECOND, 60),
            "m" | "min" | "minute" => millis(MINUTE, 60),
            "h" | "hr" | "hour" => millis(HOUR, 24),
            "d" | "day" => millis(DAY, i64::MAX),
            "w" | "week" => millis(DAY.saturating_mul(7), i64::MAX),
            "mo" | "mon" | "month" => months(1),
            "q" | "qtr" | "quarter" => months(3),
            "y" | "yr" | "year" => months(12),
            _ => None,
        }
    }

    /// The last edge that is not after the moment, with all edges moved by `offset` milliseconds.
    pub fn floor(self, millis: i64, offset: i64) -> Option<i64> {
        let moved = millis.checked_sub(offset)?;
        let edge = match self {
            Period::Millis(width) => moved.checked_sub(moved.checked_rem_euclid(width)?)?,
            Period::Months(width) => {
                let month = month_of(moved)?;
                first_of(month.checked_sub(month.checked_rem_euclid(width)?)?)?
            }
        };
        edge.checked_add(offset)
    }

    /// The first edge that is not before the moment.
    pub fn ceil(self, millis: i64) -> Option<i64> {
        let edge = self.floor(millis, 0)?;
        match self {
            _ if edge == millis => Some(edge),
            Period::Millis(width) => edge.checked_add(width),
            Period::Months(width) => first_of(month_of(edge)?.checked_add(width)?),
        }
    }

    pub fn as_millis(self) -> i64 {
        match self {
            Period::Millis(millis) => millis,
            Period::Months(months) => months.saturating_mul(DAY.saturating_mul(30)),
        }
    }
}

/// The number of the month, counted from January 1970.
fn month_of(millis: i64) -> Option<i64> {
    let moment = OffsetDateTime::from_unix_timestamp(millis.div_euclid(SECOND)).ok()?;
    let years = i64::from(moment.year()).checked_sub(1970)?;
    years.checked_mul(12)?.checked_add(i64::from(u8::from(moment.month())).checked_sub(1)?)
}

fn first_of(month: i64) -> Option<i64> {
    let year = i32::try_from(month.div_euclid(12).checked_add(1970)?).ok()?;
    let month = Month::try_from(u8::try_from(month.rem_euclid(12).checked_add(1)?).ok()?).ok()?;
    let first = Date::from_calendar_date(year, month, 1).ok()?.with_time(Time::MIDNIGHT).assume_utc();
    first.unix_timestamp().checked_mul(SECOND)
}

/// `2024-01-01 00:05:00.000`, in UTC; `None` where the year has not four digits.
pub fn show(millis: i64) -> Option<String> {
    SHOWN.contains(&millis).then(|| Timestamp::from_millis(millis).iso8601_millis().replace('T', " ").replace('Z', ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: i64 = 1_704_067_201_000 + 45 * DAY;

    #[test]
    fn a_period_is_known_by_all_its_names_and_capped() {
        for (names, period) in [
            ("ms|msec|millisecond|msecs|milliseconds", Period::Millis(7)),
            ("s|sec|second|secs|seconds|SECONDS", Period::Millis(7 * SECOND)),
            ("m|min|minute|mins|minutes", Period::Millis(7 * MINUTE)),
            ("h|hr|hour|hrs|hours", Period::Millis(7 * HOUR)),
            ("d|day|days", Period::Millis(7 * DAY)),
            ("w|week|weeks", Period::Millis(49 * DAY)),
            ("mo|mon|month|mons|months", Period::Months(7)),
            ("q|qtr|quarter|qtrs|quarters", Period::Months(21)),
            ("y|yr|year|yrs|years", Period::Months(84)),
        ] {
            assert!(names.split('|').all(|name| Period::new(7, name) == Some(period)), "{names}");
        }
        assert_eq!(Period::new(300, "s"), Some(Period::Millis(MINUTE)));
        assert_eq!(Period::new(5_000, "ms"), Some(Period::Millis(1_000)));
        assert_eq!(Period::new(1, "parsec"), None);
    }

    #[test]
    fn edges_are_where_the_calendar_has_them() {
        let shown = |unit: &str| {
            let period = Period::new(1, unit).unwrap();
            (period.floor(MOMENT, 0).and_then(show).unwrap(), period.ceil(MOMENT).and_then(show).unwrap())
        };
        let pair = |floor: &str, ceil: &str| (format!("{floor}:00.000"), format!("{ceil}:00.000"));
        assert_eq!(shown("h"), pair("2024-02-15 00:00", "2024-02-15 01:00"));
        assert_eq!(shown("mo"), pair("2024-02-01 00:00", "2024-03-01 00:00"));
        assert_eq!(shown("q"), pair("2024-01-01 00:00", "2024-04-01 00:00"));
        assert_eq!(shown("y"), pair("2024-01-01 00:00", "2025-01-01 00:00"));
        let period = Period::new(1, "d").unwrap();
        assert_eq!(period.floor(MOMENT, HOUR).and_then(show).unwrap(), "2024-02-14 01:00:00.000");
        let edge = period.floor(MOMENT, 0).unwrap();
        assert_eq!(period.ceil(edge), Some(edge));
        assert_eq!(period.floor(-1, 0), Some(-DAY));
    }

    #[test]
    fn a_moment_that_no_calendar_holds_is_not_shown() {
        assert_eq!(show(i64::MAX), None);
        assert_eq!(show(i64::MIN), None);
        assert_eq!(show(0).unwrap(), "1970-01-01 00:00:00.000");
        assert_eq!(Period::Months(1).floor(i64::MAX, 0), None);
    }
}

//! Which state the datapoints of a metric mean: thresholds, M of N, missing data.
//!
//! An alarm looks at more periods than it evaluates, its *range*, and evaluates the newest N points that are there.
//! Only where there are fewer does `TreatMissingData` count, and for as few points as possible. AWS's tables for that
//! are the tests below.
//!
//! Follows "Configuring how CloudWatch alarms treat missing data". AWS does not say how long a range is beyond its
//! example, where it is two periods longer. Where periods are shorter than a minute, ours reaches two minutes further:
//! the points of a metric of standard resolution are stamped with their minute's beginning and would never be seen.

use std::collections::BTreeMap;
use std::time::Duration;

use base::Timestamp;

use super::super::retention;
use super::State;

/// What an alarm compares with what.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    pub operator: Operator,
    pub threshold: f64,
    pub period_s: u32,
    /// N.
    pub evaluation_periods: u32,
    /// M, if it was said. Else all of them.
    pub datapoints_to_alarm: Option<u32>,
    pub missing: Missing,
    /// Below so many samples a point says nothing: `EvaluateLowSampleCountPercentile` is `ignore`.
    pub samples_needed: Option<f64>,
}

/// `ComparisonOperator`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    GreaterThan,
    GreaterThanOrEqualTo,
    LessThan,
    LessThanOrEqualTo,
}

/// `TreatMissingData`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Missing {
    #[default]
    Missing,
    Ignore,
    Breaching,
    NotBreaching,
}

/// What the statistic was in one period.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Datapoint {
    /// When the period began.
    pub at: Timestamp,
    pub value: f64,
    pub sample_count: f64,
}

/// The periods that an alarm looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    pub start: Timestamp,
    pub end: Timestamp,
    pub periods: u32,
}

/// What an evaluation looked at.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Evaluated {
    /// The points that count, the newest first, each with its age in periods: the newest period has the age one.
    pub points: Vec<(u32, Datapoint)>,
    /// How many more would have been evaluated.
    pub missing: u32,
}

/// More than an alarm may have: a day of ten-second periods.
const PERIODS_MAX: u32 = 8_640;

/// How far beyond N periods a range reaches at least.
const MORE_PERIODS: u32 = 2;
const MORE_S: u32 = 120;

const MINUTE_S: u32 = 60;
const HOUR_S: u32 = 3_600;
const DAY_S: u64 = 86_400;

impl Operator {
    pub const fn name(self) -> &'static str {
        match self {
            Self::GreaterThan => "GreaterThanThreshold",
            Self::GreaterThanOrEqualTo => "GreaterThanOrEqualToThreshold",
            Self::LessThan => "LessThanThreshold",
            Self::LessThanOrEqualTo => "LessThanOrEqualToThreshold",
        }
    }

    pub fn parse(name: &str) -> Option<Operator> {
        let all = [Self::GreaterThan, Self::GreaterThanOrEqualTo, Self::LessThan, Self::LessThanOrEqualTo];
        all.into_iter().find(|operator| operator.name() == name)
    }

    fn holds(self, value: f64, threshold: f64) -> bool {
        match self {
            Self::GreaterThan => value > threshold,
            Self::GreaterThanOrEqualTo => value >= threshold,
            Self::LessThan => value < threshold,
            Self::LessThanOrEqualTo => value <= threshold,
        }
    }
}

impl Missing {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Ignore => "ignore",
            Self::Breaching => "breaching",
            Self::NotBreaching => "notBreaching",
        }
    }

    pub fn parse(name: &str) -> Option<Missing> {
        let all = [Self::Missing, Self::Ignore, Self::Breaching, Self::NotBreaching];
        all.into_iter().find(|missing| missing.name() == name)
    }
}

impl Condition {
    /// N, as far as an alarm may have it.
    pub fn n(&self) -> u32 {
        self.evaluation_periods.clamp(1, PERIODS_MAX)
    }

    /// M.
    pub fn m(&self) -> u32 {
        self.datapoints_to_alarm.unwrap_or(self.n()).clamp(1, self.n())
    }

    pub fn is_breaching(&self, point: &Datapoint) -> bool {
        self.operator.holds(point.value, self.threshold)
    }

    /// What is to be read for an evaluation now. Periods of a minute and more end with the last minute, shorter ones
    /// where one of them ends.
    pub fn range(&self, now: Timestamp) -> Range {
        let period_s = self.period_s.max(1);
        let more = MORE_S.checked_div(period_s).unwrap_or(0).max(MORE_PERIODS);
        let periods = self.n().saturating_add(more);
        let end = retention::floor(now, period_s.min(MINUTE_S));
        let length = u64::from(period_s).saturating_mul(u64::from(periods));
        Range { start: end.minus(Duration::from_secs(length)), end, periods }
    }

    /// Every minute; every ten seconds where periods are shorter; every hour where an alarm looks at more than a day.
    pub fn next_evaluation(&self, after: Timestamp) -> Timestamp {
        let looks_at = u64::from(self.period_s).saturating_mul(u64::from(self.n()));
        let interval_s = match self.period_s {
            _ if looks_at > DAY_S => HOUR_S,
            period_s if period_s < MINUTE_S => 10,
            _ => MINUTE_S,
        };
        retention::floor(after, interval_s).plus(Duration::from_secs(u64::from(interval_s)))
    }

    /// The points that count now. What is outside of the range does not, nor what is no number.
    pub fn evaluated(&self, now: Timestamp, points: &[Datapoint]) -> Evaluated {
        let Range { start, end, .. } = self.range(now);
        let period = u128::from(self.period_s.max(1)).saturating_mul(1_000_000);
        let mut by_age = BTreeMap::new();
        for point in points.iter().filter(|point| point.value.is_finite() && point.at >= start && point.at < end) {
            let age = end.since(point.at).as_micros().div_ceil(period);
            by_age.insert(u32::try_from(age).unwrap_or(u32::MAX), *point);
        }
        let n = usize::try_from(self.n()).unwrap_or(usize::MAX);
        let points: Vec<_> = by_age.into_iter().take(n).collect();
        let missing = self.n().saturating_sub(u32::try_from(points.len()).unwrap_or(u32::MAX));
        Evaluated { points, missing }
    }

    /// What the alarm is to be; `None` if what it is.
    pub fn verdict(&self, evaluated: &Evaluated) -> Option<State> {
        let Evaluated { points, missing } = evaluated;
        let is_thin = |point: &Datapoint| self.samples_needed.is_some_and(|needed| point.sample_count < needed);
        if points.iter().any(|(_, point)| is_thin(point)) {
            return None;
        }
        let (n, m) = (self.n(), self.m());
        let breaching = u32::try_from(self.breaching(evaluated).count()).unwrap_or(u32::MAX);
        let good = n.saturating_sub(*missing).saturating_sub(breaching);
        if breaching >= m {
            return Some(State::Alarm);
        }
        // So many are good that the others cannot make an alarm.
        if good > n.saturating_sub(m) {
            return Some(State::Ok);
        }
        match self.missing {
            Missing::Ignore if good > 0 => Some(State::Ok),
            Missing::Ignore => None,
            Missing::Breaching if breaching.saturating_add(*missing) >= m => Some(State::Alarm),
            Missing::Breaching | Missing::NotBreaching => Some(State::Ok),
            Missing::Missing if good > 0 => Some(State::Ok),
            // All that is known is breaching, and has been so for long enough that waiting for more would hide it.
            Missing::Missing if points.iter().any(|(age, _)| *age >= m) => Some(State::Alarm),
            Missing::Missing => Some(State::InsufficientData),
        }
    }

    pub fn breaching<'a>(&self, evaluated: &'a Evaluated) -> impl Iterator<Item = &'a Datapoint> {
        evaluated.points.iter().map(|(_, point)| point).filter(|point| self.is_breaching(point))
    }

    pub fn good<'a>(&self, evaluated: &'a Evaluated) -> impl Iterator<Item = &'a Datapoint> {
        evaluated.points.iter().map(|(_, point)| point).filter(|point| !self.is_breaching(point))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub const NOW: i64 = 1_704_281_780;

    pub fn condition(m: u32, n: u32, missing: Missing) -> Condition {
        Condition {
            operator: Operator::GreaterThan,
            threshold: 0.5,
            period_s: 60,
            evaluation_periods: n,
            datapoints_to_alarm: Some(m),
            missing,
            samples_needed: None,
        }
    }

    /// AWS's notation, the oldest first: `0` is good, `x` breaching, `-` missing.
    pub fn points(condition: &Condition, drawn: &str) -> Vec<Datapoint> {
        let end = condition.range(Timestamp::from_secs(NOW)).end;
        let period = Duration::from_secs(u64::from(condition.period_s));
        let newest_first = drawn.chars().rev().zip(1_u32..);
        newest_first
            .filter(|(mark, _)| *mark != '-')
            .map(|(mark, age)| Datapoint {
                at: end.minus(period * age),
                value: if mark == 'x' { 1.0 } else { 0.0 },
                sample_count: 2.0,
            })
            .collect()
    }

    fn verdict(condition: &Condition, drawn: &str) -> &'static str {
        let evaluated = condition.evaluated(Timestamp::from_secs(NOW), &points(condition, drawn));
        condition.verdict(&evaluated).map_or("keep", State::name)
    }

    const TREATMENTS: [Missing; 4] = [Missing::Missing, Missing::Ignore, Missing::Breaching, Missing::NotBreaching];

    /// The tables of AWS's page, of today and of before 2020, and what it says beside them: M, the five points of a
    /// range with N = 3, and the state for each treatment.
    #[test]
    fn missing_data_is_treated_as_aws_documents_it() {
        let unknown = "INSUFFICIENT_DATA";
        let table = [
            (3, "0-x-x", ["OK", "OK", "OK", "OK"]),
            (3, "0----", ["OK", "OK", "OK", "OK"]),
            (3, "-----", [unknown, "keep", "ALARM", "OK"]),
            (3, "0xx-x", ["ALARM", "ALARM", "ALARM", "ALARM"]),
            (3, "--x--", ["ALARM", "keep", "ALARM", "OK"]),
            (3, "x----", ["ALARM", "keep", "ALARM", "OK"]),
            (3, "----x", [unknown, "keep", "ALARM", "OK"]),
            (3, "---x-", [unknown, "keep", "ALARM", "OK"]),
            (2, "0-x-x", ["ALARM", "ALARM", "ALARM", "ALARM"]),
            (2, "00x0x", ["ALARM", "ALARM", "ALARM", "ALARM"]),
            (2, "0-x--", ["OK", "OK", "ALARM", "OK"]),
            (2, "----0", ["OK", "OK", "ALARM", "OK"]),
            (2, "---x-", ["ALARM", "keep", "ALARM", "OK"]),
            (2, "----x", [unknown, "keep", "ALARM", "OK"]),
        ];
        for (m, drawn, expected) in table {
            let found = TREATMENTS.map(|missing| verdict(&condition(m, 3, missing), drawn));
            assert_eq!(found, expected, "{m} of 3: {drawn}");
        }
    }

    #[test]
    fn the_newest_points_count_and_what_is_older_than_the_range_does_not() {
        let of_three = condition(3, 3, Missing::Missing);
        assert_eq!(verdict(&of_three, "xxx00"), "OK");
        assert_eq!(verdict(&of_three, "00xxx"), "ALARM");
        // The sixth is out of the range of five.
        assert_eq!(verdict(&of_three, "0-----"), "INSUFFICIENT_DATA");
        let mut twice = points(&of_three, "xxx");
        twice.extend(points(&of_three, "xxx").into_iter().map(|point| Datapoint { value: f64::NAN, ..point }));
        twice.push(Datapoint { at: Timestamp::from_secs(NOW), value: 0.0, sample_count: 1.0 });
        let evaluated = of_three.evaluated(Timestamp::from_secs(NOW), &twice);
        assert_eq!((of_three.verdict(&evaluated), evaluated.missing), (Some(State::Alarm), 0));
    }

    #[test]
    fn operators_are_those_of_aws() {
        let table = [
            ("GreaterThanThreshold", [false, false, true]),
            ("GreaterThanOrEqualToThreshold", [false, true, true]),
            ("LessThanThreshold", [true, false, false]),
            ("LessThanOrEqualToThreshold", [true, true, false]),
        ];
        for (name, expected) in table {
            let operator = Operator::parse(name).unwrap();
            assert_eq!([1.0, 2.0, 3.0].map(|value| operator.holds(value, 2.0)), expected, "{name}");
        }
        assert_eq!(Operator::parse("GreaterThanUpperThreshold"), None);
        assert_eq!(TREATMENTS.map(|missing| Missing::parse(missing.name())), TREATMENTS.map(Some));
        assert_eq!(Missing::parse("bad"), None);
    }

    #[test]
    fn few_samples_of_a_percentile_change_nothing() {
        let mut thin = condition(1, 1, Missing::Breaching);
        assert_eq!(verdict(&thin, "x"), "ALARM");
        thin.samples_needed = Some(3.0);
        assert_eq!(verdict(&thin, "x"), "keep");
        thin.samples_needed = Some(2.0);
        assert_eq!(verdict(&thin, "x"), "ALARM");
    }

    #[test]
    fn ranges_end_with_a_minute_or_a_short_period() {
        let at = |text: &str| Timestamp::parse_iso8601(&format!("2024-01-03T{text}Z")).unwrap();
        let range = |period_s, n, now: &str| {
            let Range { start, end, periods } =
                Condition { period_s, ..condition(1, n, Missing::Missing) }.range(at(now));
            (start.iso8601().split_off(11), end.iso8601().split_off(11), periods)
        };
        let owned = |start: &str, end: &str, periods| (start.to_owned(), end.to_owned(), periods);
        assert_eq!(range(60, 3, "11:36:20"), owned("11:31:00Z", "11:36:00Z", 5));
        assert_eq!(range(300, 1, "17:04:40"), owned("16:49:00Z", "17:04:00Z", 3));
        // A minute's point of 11:36:00 is seen until it is two minutes old.
        assert_eq!(range(10, 1, "11:37:59"), owned("11:35:40Z", "11:37:50Z", 13));
        assert_eq!(range(30, 1, "11:37:59"), owned("11:35:00Z", "11:37:30Z", 5));
    }

    #[test]
    fn evaluations_come_as_often_as_periods_ask() {
        let at = |text: &str| Timestamp::parse_iso8601(&format!("2024-01-03T{text}Z")).unwrap();
        let table = [
            (60, 3, "11:37:00"),
            (10, 3, "11:36:30"),
            (30, 1, "11:36:30"),
            (3_600, 24, "11:37:00"),
            (3_600, 25, "12:00:00"),
            (86_400, 7, "12:00:00"),
        ];
        for (period_s, n, next) in table {
            let condition = Condition { period_s, ..condition(1, n, Missing::Missing) };
            assert_eq!(condition.next_evaluation(at("11:36:20")), at(next), "{period_s} {n}");
        }
        // It is always later, so an evaluation on time does not come again at once.
        assert_eq!(condition(1, 1, Missing::Missing).next_evaluation(at("11:37:00")), at("11:38:00"));
    }

    /// What AWS's page says, word by word: fill up, then count.
    fn by_the_page(m: usize, n: usize, missing: Missing, drawn: &[char]) -> Option<State> {
        let real: Vec<char> = drawn.iter().rev().copied().filter(|mark| *mark != '-').take(n).collect();
        let count = |mark| real.iter().filter(|other| **other == mark).count();
        let filled = n - real.len();
        let breaching = count('x') + if missing == Missing::Breaching { filled } else { 0 };
        Some(if breaching >= m { State::Alarm } else { State::Ok })
    }

    proptest! {
        #[test]
        fn filling_up_and_counting_is_what_happens(
            drawn in prop::collection::vec(prop::sample::select(vec!['0', 'x', '-']), 0..12),
            n in 1..8_u32,
            m in 1..8_u32,
            missing in prop::sample::select(vec![Missing::Breaching, Missing::NotBreaching]),
        ) {
            let condition = condition(m.min(n), n, missing);
            let drawn: Vec<char> = drawn.into_iter().rev().take(n as usize + 2).rev().collect();
            let expected = by_the_page(m.min(n) as usize, n as usize, missing, &drawn);
            let text: String = drawn.iter().collect();
            let evaluated = condition.evaluated(Timestamp::from_secs(NOW), &points(&condition, &text));
            prop_assert_eq!(condition.verdict(&evaluated), expected);
        }

        /// Where N points are there, the treatment does not matter.
        #[test]
        fn enough_points_need_no_treatment(
            drawn in prop::collection::vec(prop::sample::select(vec!['0', 'x', '-']), 5),
            m in 1..=3_u32,
        ) {
            let text: String = drawn.iter().collect();
            prop_assume!(drawn.iter().filter(|mark| **mark != '-').count() >= 3);
            let verdicts = TREATMENTS.map(|missing| verdict(&condition(m, 3, missing), &text));
            prop_assert!(verdicts.iter().all(|verdict| *verdict == verdicts[0] && *verdict != "keep"));
        }
    }
}

//! The buckets that a request's range and period make, as GetMetricData and GetMetricStatistics cut them.
//!
//! AWS rounds the start down, the coarser the older it is, and counts the buckets from there; a bucket is named by its
//! first moment. The end is exclusive and taken as it is: a point of the current minute is seen at once by a range that
//! ends now. A period that is finer than what is kept of old points shows nothing of them.

use std::time::Duration;

use base::Timestamp;

use super::retention::{self, Tier};

/// Of one query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The first bucket's.
    pub start: Timestamp,
    pub end: Timestamp,
    pub period_s: u32,
    /// Points before that are kept coarser than the period, and are not shown.
    pub seen_from: Timestamp,
}

/// Whether AWS takes it: a second and some parts of a minute, or whole minutes.
pub fn is_period(period_s: u32) -> bool {
    matches!(period_s, 1 | 5 | 10 | 20 | 30) || (period_s > 0 && period_s.is_multiple_of(60))
}

/// How many a request asks for at most: what AWS's limits count, and its refusal names.
pub fn datapoints(start: Timestamp, end: Timestamp, period_s: u32) -> u64 {
    end.since(start).as_secs().checked_div(u64::from(period_s)).unwrap_or(0)
}

impl Window {
    pub fn new(now: Timestamp, start: Timestamp, end: Timestamp, period_s: u32) -> Window {
        let period_s = period_s.max(1);
        let aligned = match Tier::of_age(now.since(start)) {
            Some(Tier::Second) if period_s < 60 => period_s,
            Some(Tier::Second | Tier::Minute) => 60,
            Some(Tier::FiveMinutes) => 300,
            Some(Tier::Hour) | None => 3_600,
        };
        // Whatever the period, a minute's points are there to be shown while those of a second are.
        let shown =
            Tier::ALL.into_iter().rev().find(|tier| period_s.is_multiple_of(tier.step_s())).unwrap_or(Tier::Second);
        Window { start: retention::floor(start, aligned), end, period_s, seen_from: shown.due_before(now) }
    }

    /// The bucket of a point, if the window shows it.
    pub fn bucket(&self, stamp: Timestamp) -> Option<Timestamp> {
        let is_seen = stamp >= self.start && stamp < self.end && stamp >= self.seen_from;
        let into = stamp.since(self.start).as_micros();
        let over = into.checked_rem(self.period().as_micros())?;
        is_seen.then(|| stamp.minus(Duration::from_micros(u64::try_from(over).unwrap_or(0))))
    }

    /// All of its buckets, the first first, whether points are in them or not.
    pub fn buckets(&self) -> impl Iterator<Item = Timestamp> + use<> {
        let (end, period) = (self.end, self.period());
        std::iter::successors(Some(self.start), move |last| Some(last.plus(period)))
            .take_while(move |bucket| *bucket < end)
    }

    fn period(&self) -> Duration {
        Duration::from_secs(u64::from(self.period_s.max(1)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_iso8601(&format!("2026-01-{text}Z")).unwrap()
    }

    #[test]
    fn the_start_is_rounded_the_coarser_the_older_it_is() {
        let now = at("31T12:00:30");
        let start = |age: Duration, period| Window::new(now, now.minus(age), now, period).start.iso8601();
        let day = Duration::from_secs(86_400);
        let table = [
            (Duration::from_secs(7), 10, "2026-01-31T12:00:20Z"),
            (Duration::from_secs(7), 1, "2026-01-31T12:00:23Z"),
            (Duration::from_secs(7), 60, "2026-01-31T12:00:00Z"),
            (Duration::from_secs(4 * 3_600), 10, "2026-01-31T08:00:00Z"),
            (Duration::from_secs(3_600), 3_600, "2026-01-31T11:00:00Z"),
            (day * 15 + Duration::from_secs(200), 60, "2026-01-16T11:55:00Z"),
            (day * 63 + Duration::from_secs(200), 60, "2025-11-29T11:00:00Z"),
            (day * 500, 60, "2024-09-18T12:00:00Z"),
        ];
        for (age, period, expected) in table {
            assert_eq!(start(age, period), expected, "{age:?} {period}");
        }
    }

    #[test]
    fn the_current_minute_is_in_a_range_that_ends_now() {
        let now = at("31T12:00:30");
        let window = Window::new(now, at("31T11:00:30"), now, 3_600);
        assert_eq!(window.bucket(at("31T12:00:00")), Some(at("31T12:00:00")));
        assert_eq!(window.bucket(at("31T11:59:00")), Some(at("31T11:00:00")));
        assert_eq!(window.buckets().collect::<Vec<_>>(), [at("31T11:00:00"), at("31T12:00:00")]);
        // The start is inclusive and the end exclusive.
        assert_eq!(window.bucket(at("31T10:59:00")), None);
        assert_eq!(Window::new(now, at("31T11:00:00"), at("31T12:00:00"), 60).bucket(at("31T12:00:00")), None);
    }

    #[test]
    fn a_fine_period_shows_no_old_points() {
        let now = at("31T12:00:00");
        let seen = |period, stamp| Window::new(now, at("01T00:00:00"), now, period).bucket(stamp).is_some();
        let (hours, days) = (at("31T08:00:00"), at("10T00:00:00"));
        assert_eq!([10, 60, 300].map(|period| seen(period, hours)), [false, true, true]);
        assert_eq!([10, 60, 300, 3_600].map(|period| seen(period, days)), [false, false, true, true]);
    }

    #[test]
    fn periods_are_those_of_aws() {
        let good = [1, 5, 10, 20, 30, 60, 120, 3_600, 86_400];
        assert!(good.into_iter().all(is_period));
        assert!(![0, 2, 7, 15, 45, 61, 90].into_iter().any(is_period));
    }

    #[test]
    fn datapoints_are_counted_as_awss_refusal_counts_them() {
        let start = at("01T00:00:00");
        assert_eq!(datapoints(start, at("02T00:00:00"), 1), 86_400);
        assert_eq!(datapoints(start, at("02T00:00:00"), 60), 1_440);
        assert_eq!(datapoints(start, at("02T00:00:00"), 0), 0);
        assert_eq!(datapoints(at("02T00:00:00"), start, 60), 0);
    }

    proptest! {
        #[test]
        fn a_point_is_in_the_bucket_that_covers_it(
            age in 0..20_000_u64,
            length in 1..20_000_u64,
            period in prop::sample::select(vec![1, 5, 10, 20, 30, 60, 300, 3_600]),
            point in 0..30_000_u64,
        ) {
            let now = at("31T12:00:00");
            let ago = |secs| now.minus(Duration::from_secs(secs));
            let window = Window::new(now, ago(age), ago(age).plus(Duration::from_secs(length)), period);
            let stamp = ago(point);
            let covering = window.buckets().find(|bucket| {
                *bucket <= stamp && stamp < bucket.plus(window.period())
            });
            let expected = covering.filter(|_| stamp < window.end && stamp >= window.seen_from);
            prop_assert_eq!(window.bucket(stamp), expected);
        }
    }
}

//! What is done with points: alone, side by side, and across many series. What comes out infinite or NaN is no point.

use super::function::{Clock, Fold, Walk};
use super::{Point, Window, count, real};

use time::OffsetDateTime;

impl Window {
    /// Where periods begin.
    pub(super) fn moments(self, period_s: u32) -> impl Iterator<Item = i64> {
        let period = i64::from(period_s.max(1));
        std::iter::successors(Some(self.start_s), move |at| at.checked_add(period))
            .take_while(move |at| *at < self.end_s)
    }

    /// How many periods begin in it.
    pub(super) fn periods(self, period_s: u32) -> usize {
        let seconds = u64::try_from(self.end_s.saturating_sub(self.start_s)).unwrap_or_default();
        usize::try_from(seconds.div_ceil(u64::from(period_s.max(1)))).unwrap_or(usize::MAX)
    }
}

pub fn map(points: &[Point], change: impl Fn(f64) -> f64) -> Vec<Point> {
    points.iter().map(|(at, value)| (*at, change(*value))).filter(|(_, value)| value.is_finite()).collect()
}

/// Both side by side, wherever either has a point.
pub fn merge(left: &[Point], right: &[Point], combine: impl Fn(Option<f64>, Option<f64>) -> Option<f64>) -> Vec<Point> {
    let (mut left, mut right) = (left.iter().copied().peekable(), right.iter().copied().peekable());
    let mut merged = Vec::new();
    loop {
        let at = match (left.peek(), right.peek()) {
            (None, None) => return merged,
            (Some((at, _)), None) | (None, Some((at, _))) => *at,
            (Some((one, _)), Some((other, _))) => *one.min(other),
        };
        let here = |(moment, _): &Point| *moment == at;
        let (one, other) = (left.next_if(here), right.next_if(here));
        let value = combine(one.map(|(_, value)| value), other.map(|(_, value)| value));
        merged.extend(value.filter(|value| value.is_finite()).map(|value| (at, value)));
    }
}

pub fn at(points: &[Point], moment: i64) -> Option<f64> {
    let place = points.binary_search_by_key(&moment, |(at, _)| *at).ok()?;
    points.get(place).map(|(_, value)| *value)
}

/// The value of the last point before `moment`.
pub fn previous(points: &[Point], moment: i64) -> Option<f64> {
    around(points, moment).0.map(|(_, value)| value)
}

/// On the straight line between the points before and after `moment`.
pub fn between(points: &[Point], moment: i64) -> Option<f64> {
    let (Some((from, low)), Some((to, high))) = around(points, moment) else { return None };
    let share = real(moment.saturating_sub(from)) / real(to.saturating_sub(from));
    Some(low + (high - low) * share)
}

fn around(points: &[Point], moment: i64) -> (Option<Point>, Option<Point>) {
    let (before, after) = points.split_at(points.partition_point(|(at, _)| *at < moment));
    (before.last().copied(), after.first().copied())
}

/// With a point more at each of `moments` that has none and for which `filler` has a value.
pub fn fill(points: &[Point], moments: impl Iterator<Item = i64>, filler: impl Fn(i64) -> Option<f64>) -> Vec<Point> {
    let fillers: Vec<Point> = moments.filter_map(|at| Some((at, filler(at)?))).collect();
    merge(points, &fillers, Option::or)
}

/// One value at each moment at which any of the series has one.
pub fn across<'a>(series: impl ExactSizeIterator<Item = &'a [Point]>, fold: Fold) -> Vec<Point> {
    let width = series.len();
    let mut all: Vec<Point> = series.flatten().copied().collect();
    all.sort_by_key(|(at, _)| *at);
    let moments = all.chunk_by(|(one, _), (other, _)| one == other);
    let folded = moments.filter_map(|points| {
        let (at, _) = points.first()?;
        Some((*at, fold.of(points, width.saturating_sub(points.len()))))
    });
    folded.filter(|(_, value)| value.is_finite()).collect()
}

impl Fold {
    /// `absent` series have no value here, which averages count as 0.
    pub fn of(self, points: &[Point], absent: usize) -> f64 {
        let values = || points.iter().map(|(_, value)| *value);
        let sum = values().fold(0.0, |sum, value| sum + value);
        let (present, absent) = (count(points.len()), count(absent));
        let mean = sum / (present + absent);
        match self {
            Fold::Average => mean,
            Fold::Count => present,
            Fold::Maximum => values().fold(f64::NAN, f64::max),
            Fold::Minimum => values().fold(f64::NAN, f64::min),
            Fold::StandardDeviation => {
                let squares = values().fold(absent * mean * mean, |sum, value| sum + (value - mean) * (value - mean));
                (squares / (present + absent)).sqrt()
            }
            Fold::Sum => sum,
        }
    }
}

impl Walk {
    pub fn along(self, points: &[Point]) -> Vec<Point> {
        if self == Walk::RunningSum {
            let sums = points.iter().scan(0.0, |sum, (at, value)| {
                *sum += value;
                Some((*at, *sum))
            });
            return sums.filter(|(_, sum)| sum.is_finite()).collect();
        }
        let steps = points.windows(2).filter_map(|pair| {
            let [(before, from), (at, to)] = pair else { return None };
            let (change, seconds) = (to - from, real(at.saturating_sub(*before)));
            let value = match self {
                Walk::Rate => change / seconds,
                Walk::DifferenceOfTime => seconds,
                Walk::Difference | Walk::RunningSum => change,
            };
            Some((*at, value))
        });
        steps.filter(|(_, value)| value.is_finite()).collect()
    }
}

impl Clock {
    /// What it shows at a moment, in UTC. `None` where no calendar reaches.
    pub fn shows(self, at: i64) -> Option<f64> {
        let moment = OffsetDateTime::from_unix_timestamp(at).ok()?;
        Some(match self {
            Clock::Minute => f64::from(moment.minute()),
            Clock::Hour => f64::from(moment.hour()),
            Clock::Day => f64::from(moment.weekday().number_from_monday()),
            Clock::Date => f64::from(moment.day()),
            Clock::Month => f64::from(u8::from(moment.month())),
            Clock::Year => f64::from(moment.year()),
            Clock::Epoch => real(at),
        })
    }
}

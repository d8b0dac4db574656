//! What people ask of a point: AWS's statistics, parsed and evaluated.
//!
//! A percentage range is taken by weight: of ten samples `tm90` leaves out the highest, of five samples half of it. A
//! bound in the metric's unit counts as the whole bin of the sketch that it falls in, so that samples equal to a bound
//! are where AWS puts them: the lower bound is outside, the upper one inside.
//!
//! Follows "CloudWatch statistics definitions". AWS computes from a histogram of its own, whose bins are coarser; only
//! what is exact here is equal there: the five basic statistics, `p0` and `p100`.

use std::str::FromStr;

use super::aggregate::Aggregate;
use super::sketch::Sketch;

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Statistic {
    SampleCount,
    Average,
    Sum,
    Minimum,
    Maximum,
    /// `p99.9`, from 0 to 100.
    Percentile(f64),
    /// `tm90`, `TC(10%:90%)`, `WM(:500)`, `IQM`.
    Trimmed(Measure, Range),
    /// `PR(100:2000)`: how many percent of the samples are within.
    Rank(Range),
}

/// What is told of the samples within a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    Mean,
    Count,
    Sum,
    /// The mean of all, those outside moved to the nearest bound.
    Winsorized,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Range {
    /// Of the samples in their order, from 0 to 100.
    Percent { from: f64, to: f64 },
    /// In the metric's unit; without a bound, all samples on that side are in.
    Values { above: Option<f64>, up_to: Option<f64> },
}

/// It is no statistic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsupported(pub String);

/// Characters of a statistic. AWS's longest has two numbers of three and ten digits.
const LENGTH_MAX: usize = 64;

const DECIMALS_MAX: usize = 10;

/// Of all samples, what is not there but for a percentage that no binary fraction is equal to.
const ROUNDING: f64 = 1e-12;

/// Below so many samples on its thin side, AWS holds a percentile to say little.
const SAMPLES_BEYOND: f64 = 10.0;

impl Unsupported {
    /// In the words of GetMetricStatistics and PutMetricAlarm, of the parameter that named it.
    pub fn message(&self, parameter: &str) -> String {
        format!("The value {} for parameter {parameter} is not supported.", self.0)
    }

    /// In the words of GetMetricData.
    pub fn message_of_query(parameter: &str) -> String {
        format!("The value for parameter {parameter} is not a valid statistic.")
    }
}

impl FromStr for Statistic {
    type Err = Unsupported;

    fn from_str(text: &str) -> Result<Self, Unsupported> {
        let found = match text {
            "SampleCount" => Some(Self::SampleCount),
            "Average" => Some(Self::Average),
            "Sum" => Some(Self::Sum),
            "Minimum" => Some(Self::Minimum),
            "Maximum" => Some(Self::Maximum),
            _ => Some(text).filter(|text| text.len() <= LENGTH_MAX).and_then(extended),
        };
        found.ok_or_else(|| Unsupported(text.to_owned()))
    }
}

impl Statistic {
    /// Whether it goes into `ExtendedStatistics`.
    pub fn is_extended(self) -> bool {
        matches!(self, Self::Percentile(_) | Self::Trimmed(..) | Self::Rank(_))
    }

    /// How many samples a percentile needs to say much; `EvaluateLowSampleCountPercentile` asks.
    pub fn samples_needed(self) -> Option<f64> {
        match self {
            Self::Percentile(percent) if percent > 0.0 && percent < 100.0 => {
                let part = percent / 100.0;
                Some(SAMPLES_BEYOND / if part < 0.5 { part } else { 1.0 - part })
            }
            _ => None,
        }
    }

    /// `None` where it cannot be known: no samples, a statistic set among them, negative ones, none in the range.
    pub fn of(self, point: &Aggregate) -> Option<f64> {
        if point.is_empty() {
            return None;
        }
        let value = match self {
            Self::SampleCount => Some(point.count()),
            Self::Average => Some(point.sum() / point.count()),
            Self::Sum => Some(point.sum()),
            Self::Minimum => Some(point.min()),
            Self::Maximum => Some(point.max()),
            // The ends are known whatever lies between.
            Self::Percentile(percent) if percent <= 0.0 => Some(point.min()),
            Self::Percentile(percent) if percent >= 100.0 => Some(point.max()),
            // AWS has the others of values that are not negative.
            _ if point.min() < 0.0 => None,
            Self::Percentile(percent) => {
                let value = point.spread()?.quantile(percent / 100.0)?;
                Some(clipped(value, point))
            }
            Self::Trimmed(measure, range) => Some(Kept::of(point.spread()?, point, range).measure(measure)),
            Self::Rank(range) => {
                let kept = Kept::of(point.spread()?, point, range);
                Some(100.0 * kept.count / kept.all())
            }
        };
        value.filter(|value| value.is_finite())
    }
}

/// What a range keeps of the samples, and what lies on either side of it.
#[derive(Debug, Default)]
struct Kept {
    count: f64,
    sum: f64,
    below: f64,
    above: f64,
    /// Where those go that lie below and above.
    lowest: f64,
    highest: f64,
}

impl Kept {
    fn of(spread: &Sketch, point: &Aggregate, range: Range) -> Kept {
        match range {
            Range::Percent { from, to } => Self::of_percent(spread, point, from, to),
            Range::Values { above, up_to } => Self::of_values(spread, point, above, up_to),
        }
    }

    fn of_percent(spread: &Sketch, point: &Aggregate, from: f64, to: f64) -> Kept {
        let all = spread.count();
        let (from, to) = (all * from / 100.0, all * to / 100.0);
        let mut kept = Kept { below: from, above: all - to, ..Kept::default() };
        let mut passed = 0.0_f64;
        for (value, count) in spread.bins() {
            let value = clipped(value, point);
            let inside = (passed + count).min(to) - passed.max(from);
            passed += count;
            if inside > all * ROUNDING {
                if kept.count == 0.0 {
                    kept.lowest = value;
                }
                kept.highest = value;
                kept.count += inside;
                kept.sum += inside * value;
            }
        }
        kept
    }

    fn of_values(spread: &Sketch, point: &Aggregate, above: Option<f64>, up_to: Option<f64>) -> Kept {
        let mut kept = Kept {
            lowest: above.unwrap_or_else(|| point.min()),
            highest: up_to.unwrap_or_else(|| point.max()),
            ..Kept::default()
        };
        for (value, count) in spread.bins() {
            if above.is_some_and(|bound| value <= Sketch::rounded(bound)) {
                kept.below += count;
            } else if up_to.is_some_and(|bound| value > Sketch::rounded(bound)) {
                kept.above += count;
            } else {
                kept.count += count;
                kept.sum += count * clipped(value, point);
            }
        }
        kept
    }

    fn all(&self) -> f64 {
        self.below + self.count + self.above
    }

    /// No number, if there is nothing to tell.
    fn measure(&self, measure: Measure) -> f64 {
        match measure {
            Measure::Mean => self.sum / self.count,
            Measure::Count => self.count,
            Measure::Sum => self.sum,
            Measure::Winsorized => (self.sum + self.below * self.lowest + self.above * self.highest) / self.all(),
        }
    }
}

/// No answer is beyond the samples that it is made of.
fn clipped(value: f64, point: &Aggregate) -> f64 {
    value.max(point.min()).min(point.max())
}

fn extended(text: &str) -> Option<Statistic> {
    if text.eq_ignore_ascii_case("IQM") {
        return Some(Statistic::Trimmed(Measure::Mean, Range::Percent { from: 25.0, to: 75.0 }));
    }
    if let Some(percent) = text.strip_prefix('p').and_then(percent) {
        return Some(Statistic::Percentile(percent));
    }
    let (name, rest) = text.split_at_checked(2)?;
    let range = match percent(rest) {
        Some(to) => Some(Range::Percent { from: 0.0, to }).filter(|_| to > 0.0),
        None => range(rest),
    }?;
    match name.to_ascii_uppercase().as_str() {
        "TM" => Some(Statistic::Trimmed(Measure::Mean, range)),
        "TC" => Some(Statistic::Trimmed(Measure::Count, range)),
        "TS" => Some(Statistic::Trimmed(Measure::Sum, range)),
        "WM" => Some(Statistic::Trimmed(Measure::Winsorized, range)),
        "PR" if matches!(range, Range::Values { .. }) => Some(Statistic::Rank(range)),
        _ => None,
    }
}

/// `(from:to)`: two percentages or two values, one of which may be left out.
fn range(text: &str) -> Option<Range> {
    let (from, to) = text.strip_prefix('(')?.strip_suffix(')')?.split_once(':')?;
    let bound = |text: &str, read: fn(&str) -> Option<f64>| match text {
        "" => Some(None),
        _ => read(text).map(Some),
    };
    if from.is_empty() && to.is_empty() {
        None
    } else if from.ends_with('%') || to.ends_with('%') {
        let part = |text: &str| text.strip_suffix('%').and_then(percent);
        let (from, to) = (bound(from, part)?.unwrap_or(0.0), bound(to, part)?.unwrap_or(100.0));
        (from < to).then_some(Range::Percent { from, to })
    } else {
        let (above, up_to) = (bound(from, decimal)?, bound(to, decimal)?);
        let is_empty = above.zip(up_to).is_some_and(|(above, up_to)| above >= up_to);
        (!is_empty).then_some(Range::Values { above, up_to })
    }
}

fn percent(text: &str) -> Option<f64> {
    decimal(text).filter(|percent| !text.starts_with('-') && *percent <= 100.0)
}

/// Without an exponent, and with no more digits behind the point than AWS takes.
fn decimal(text: &str) -> Option<f64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let are_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let is_decimal = are_digits(whole) && are_digits(fraction) && fraction.len() <= DECIMALS_MAX;
    if is_decimal { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::aggregate::StatisticSet;
    use super::super::sketch::RELATIVE_ERROR;
    use super::*;

    fn ask(text: &str, point: &Aggregate) -> Option<f64> {
        text.parse::<Statistic>().unwrap().of(point)
    }

    fn is_near(found: Option<f64>, expected: f64) -> bool {
        found.is_some_and(|found| (found - expected).abs() <= expected.abs() * (RELATIVE_ERROR + 1e-9))
    }

    fn hundred() -> Aggregate {
        Aggregate::of_values((1..=100).map(|value| (f64::from(value), 1.0)))
    }

    #[test]
    fn statistics_are_read() {
        use Measure::{Count, Mean, Sum, Winsorized};
        use Statistic::{Percentile, Rank, Trimmed};
        let percent = |from, to| Range::Percent { from, to };
        let values = |above, up_to| Range::Values { above, up_to };
        let table = [
            ("SampleCount", Statistic::SampleCount),
            ("Average", Statistic::Average),
            ("p0", Percentile(0.0)),
            ("p99.9", Percentile(99.9)),
            ("p99.9999999999", Percentile(99.999_999_999_9)),
            ("p100", Percentile(100.0)),
            ("tm90", Trimmed(Mean, percent(0.0, 90.0))),
            ("tc99.5", Trimmed(Count, percent(0.0, 99.5))),
            ("ts50", Trimmed(Sum, percent(0.0, 50.0))),
            ("wm98", Trimmed(Winsorized, percent(0.0, 98.0))),
            ("TM(10%:90%)", Trimmed(Mean, percent(10.0, 90.0))),
            ("TM(10%:)", Trimmed(Mean, percent(10.0, 100.0))),
            ("TC(:500)", Trimmed(Count, values(None, Some(500.0)))),
            ("WM(0.5:500)", Trimmed(Winsorized, values(Some(0.5), Some(500.0)))),
            ("IQM", Trimmed(Mean, percent(25.0, 75.0))),
            ("PR(:300)", Rank(values(None, Some(300.0)))),
            ("pr(100:2000)", Rank(values(Some(100.0), Some(2000.0)))),
        ];
        for (text, statistic) in table {
            assert_eq!(text.parse::<Statistic>(), Ok(statistic), "{text}");
        }
    }

    #[test]
    fn what_is_no_statistic_is_refused_in_awss_words() {
        let long = format!("p{}", "1".repeat(LENGTH_MAX));
        let texts = [
            "",
            "p",
            "p101",
            "p-1",
            "p1e1",
            "p1.",
            "p.5",
            "p99.99999999999",
            "average",
            "Median",
            "tm",
            "tm101",
            "tm0",
            "TM(:)",
            "TM()",
            "TM(10%:500)",
            "TM(90%:10%)",
            "TM(5:5)",
            "TM(1:2:3)",
            "PR(10%:90%)",
            "PR(:)",
            "IQM(1:2)",
            "TM(10%:90%",
            "é9",
            "pé",
            &long,
        ];
        for text in texts {
            assert_eq!(text.parse::<Statistic>(), Err(Unsupported(text.to_owned())), "{text}");
        }
        assert_eq!(
            Unsupported("p101".into()).message("ExtendedStatistics.member.1.<list element>"),
            "The value p101 for parameter ExtendedStatistics.member.1.<list element> is not supported."
        );
        assert_eq!(
            Unsupported::message_of_query("MetricDataQueries.member.1.MetricStat.Stat"),
            "The value for parameter MetricDataQueries.member.1.MetricStat.Stat is not a valid statistic."
        );
    }

    #[test]
    fn basic_statistics_are_exact() {
        let point = Aggregate::of_values((0..10).map(|value| (f64::from(value), 1.0)));
        let table = [("Average", 4.5), ("Maximum", 9.0), ("Minimum", 0.0), ("SampleCount", 10.0), ("Sum", 45.0)];
        for (text, value) in table {
            assert_eq!(ask(text, &point), Some(value), "{text}");
            assert_eq!(ask(text, &Aggregate::default()), None, "{text}");
        }
        assert_eq!(["Sum", "p50"].map(|text| text.parse::<Statistic>().unwrap().is_extended()), [false, true]);
    }

    #[test]
    fn extended_statistics_are_near() {
        let point = hundred();
        let table = [
            ("p0", 1.0),
            ("p50", 50.0),
            ("p99", 99.0),
            ("p100", 100.0),
            ("tm90", 45.5),
            ("TM(10%:90%)", 50.5),
            ("IQM", 50.5),
            ("TM(50:)", 75.5),
            ("ts90", 4_095.0),
            ("tc90", 90.0),
            ("TC(10%:20%)", 10.0),
            ("WM(:50%)", (1_275.0 + 2_500.0) / 100.0),
            ("WM(:70.1%)", (2_485.0 + 7.1 + 29.9 * 71.0) / 100.0),
            ("WM(20:40)", (20.0 * 20.0 + 610.0 + 60.0 * 40.0) / 100.0),
        ];
        for (text, value) in table {
            assert!(is_near(ask(text, &point), value), "{text}: {:?} for {value}", ask(text, &point));
        }
    }

    #[test]
    fn the_lower_bound_is_outside_and_the_upper_one_inside() {
        let point = Aggregate::of_values([(10.0, 4.0), (20.0, 4.0), (30.0, 2.0)]);
        let table = [("TC(10:20)", 4.0), ("TC(:10)", 4.0), ("TC(10:)", 6.0), ("PR(:20)", 80.0), ("PR(20:30)", 20.0)];
        for (text, value) in table {
            assert_eq!(ask(text, &point), Some(value), "{text}");
        }
        assert_eq!(["TM(40:50)", "TC(40:50)", "PR(40:50)"].map(|text| ask(text, &point)), [None, Some(0.0), Some(0.0)]);
    }

    #[test]
    fn rounding_of_a_percentage_lets_no_outlier_in() {
        let point = Aggregate::of_values([(1.0, 998.0), (2.0, 1.0), (1e6, 1.0)]);
        assert!(is_near(ask("wm99.9", &point), 1.002));
    }

    #[test]
    fn what_cannot_be_known_is_not_told() {
        let set = StatisticSet { sample_count: 2.0, sum: 11.0, minimum: 5.0, maximum: 6.0 };
        let mut point = hundred();
        point.merge(&Aggregate::of_set(set));
        let negative = Aggregate::of_values([(-1.0, 1.0), (2.0, 1.0)]);
        for text in ["p50", "tm90", "IQM", "PR(:5)", "wm90"] {
            assert_eq!([&point, &negative].map(|point| ask(text, point)), [None, None], "{text}");
        }
        assert_eq!(["p0", "p100"].map(|text| ask(text, &point)), [Some(1.0), Some(100.0)]);
    }

    #[test]
    fn percentiles_say_how_many_samples_they_need() {
        let needed = |text: &str| text.parse::<Statistic>().unwrap().samples_needed().map(f64::round);
        let table = [("p99", Some(1_000.0)), ("p50", Some(20.0)), ("p1", Some(1_000.0)), ("p100", None), ("Sum", None)];
        for (text, samples) in table {
            assert_eq!(needed(text), samples, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd(text in ".{0,40}", odd in "(p|tm|TC|WM|pr|IQM)[(]?[0-9.%:-]{0,12}[)]?") {
            for text in [text, odd] {
                if let Ok(statistic) = text.parse::<Statistic>() {
                    prop_assert!(statistic.of(&hundred()).is_none_or(f64::is_finite));
                }
            }
        }

        #[test]
        fn a_trimmed_mean_is_near_that_of_the_samples(
            values in prop::collection::vec(0.001..1e6_f64, 1..60),
            from in 0..50_usize,
            to in 51..=100_usize,
        ) {
            // Every sample a hundred times over: then whole samples lie within any whole percentage.
            let point = Aggregate::of_values(values.iter().map(|value| (*value, 100.0)));
            let mut all: Vec<f64> = values.iter().flat_map(|value| [*value; 100]).collect();
            all.sort_by(f64::total_cmp);
            let kept = &all[values.len() * from..values.len() * to];
            let mean = kept.iter().sum::<f64>() / kept.len() as f64;
            let found = ask(&format!("TM({from}%:{to}%)"), &point);
            prop_assert!(is_near(found, mean), "{found:?} for {mean}");
            let count = ask(&format!("TC({from}%:{to}%)"), &point).unwrap();
            prop_assert!((count - kept.len() as f64).abs() < 1e-6);
        }
    }
}

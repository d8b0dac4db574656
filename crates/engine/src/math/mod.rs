//! Metric math: what the expressions of GetMetricData, and of alarms on several metrics, come to.
//!
//! `services::cloudwatch` is the shell. It makes a [`Plan`] of the queries of a request, which refuses what AWS
//! refuses, in AWS's words; fetches the metrics that were asked for, and what the plan [needs](Plan::needs) beside
//! them, which is what SEARCH and Metrics Insights find; and has the plan evaluated. A query's value is a [`Series`],
//! or an array of them, each with the label that AWS shows.
//!
//! | file | concept |
//! |---|---|
//! | `plan` | which query uses which, what type each has, and what must be fetched |
//! | `token`, `parse` | an expression's text as a tree |
//! | `bind` | ids looked up, types checked |
//! | `function` | the functions, and which types they take |
//! | `evaluate` | the tree's value |
//! | `series` | what is done with points |
//! | `label` | default labels, and `${…}` in given ones |
//! | `search` | the language of SEARCH |
//! | `select` | Metrics Insights |
//!
//! **Invariants.** The points of a series rise in time, one a moment, and none is infinite or NaN: what divides by zero
//! is dropped. Parsing recurses [`DEPTH_MAX`] deep at most, and so does all that walks the tree. One evaluation reads
//! and makes [`POINTS_MAX`] points at most.
//!
//! Follows "Using math expressions with CloudWatch metrics", "CloudWatch search expression syntax", "Use dynamic
//! labels" and "CloudWatch Metrics Insights query components and syntax" of the CloudWatch user guide. Refused, as
//! nothing here computes them: ANOMALY_DETECTION_BAND, DB_PERF_INSIGHTS, INSIGHT_RULE_METRIC, LAMBDA and SERVICE_QUOTA.

mod bind;
mod evaluate;
mod function;
pub mod label;
mod parse;
mod plan;
#[cfg(test)]
mod property;
pub mod search;
pub mod select;
mod series;
#[cfg(test)]
mod tests;
mod token;

use std::fmt;
use std::sync::Arc;

pub use plan::{Asks, Need, Plan, Query, Wanted};

/// How deep parentheses, function calls and signs nest, in an expression and in a search.
pub const DEPTH_MAX: usize = 50;
/// GetMetricData takes as many queries in a request.
pub const QUERIES_MAX: usize = 500;
/// How many an expression has.
pub const EXPRESSION_CHARS_MAX: usize = 2_048;
/// How many series a SEARCH, a Metrics Insights query or an array has at most.
pub const SERIES_MAX: usize = 500;
/// How many points one evaluation reads and makes, 16 bytes each.
pub const POINTS_MAX: usize = 4_000_000;

/// What names a metric.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Metric {
    pub namespace: String,
    pub name: String,
    /// Names and values, in the order of the names.
    pub dimensions: Vec<(String, String)>,
}

impl Metric {
    pub fn new(namespace: &str, name: &str, mut dimensions: Vec<(String, String)>) -> Metric {
        dimensions.sort();
        Metric { namespace: namespace.into(), name: name.into(), dimensions }
    }

    pub fn dimension(&self, name: &str) -> Option<&str> {
        self.dimensions.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// Where a series comes from: a metric, seen through a statistic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub metric: Metric,
    pub statistic: String,
    pub period_s: u32,
}

/// A moment in seconds since 1970, and the value there.
pub type Point = (i64, f64);

/// Values over time. Cheap to clone.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    pub label: String,
    /// `None` once several series were put together.
    pub source: Option<Arc<Source>>,
    pub period_s: u32,
    pub points: Arc<[Point]>,
}

impl Series {
    /// As the store has it. Evaluation gives it its label.
    pub fn fetched(source: Source, mut points: Vec<Point>) -> Series {
        points.retain(|(_, value)| value.is_finite());
        points.sort_by_key(|(at, _)| *at);
        points.dedup_by_key(|(at, _)| *at);
        let (label, period_s) = (source.metric.name.clone(), source.period_s);
        Series { label, source: Some(Arc::new(source)), period_s, points: points.into() }
    }
}

/// What an expression comes to.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Scalar(f64),
    Series(Series),
    Array(Vec<Series>),
}

/// The time asked for, from `start_s` up to but without `end_s`. Periods are counted from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub start_s: i64,
    pub end_s: i64,
}

/// The message of AWS's ValidationError.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused(pub String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

/// As a double, exact up to 2^53.
fn real(number: i64) -> f64 {
    const HALF: i64 = 1 << 32;
    let high = i32::try_from(number.div_euclid(HALF)).unwrap_or_default();
    let low = u32::try_from(number.rem_euclid(HALF)).unwrap_or_default();
    f64::from(high) * 4_294_967_296.0 + f64::from(low)
}

fn count(number: usize) -> f64 {
    real(i64::try_from(number).unwrap_or(i64::MAX))
}

//! What a series is called: by default, as the one who asks says, and with values put in where a label says `${…}`.
//!
//! A default label names what differs between the metrics that are asked for together, and the metric's name if nothing
//! else of its identity does. Follows "Use dynamic labels" of the CloudWatch user guide; how AWS writes moments, spans
//! and fractions in labels is not documented.

use std::collections::{BTreeMap, BTreeSet};

use base::Timestamp;

use super::function::Fold;
use super::{Metric, Point, Series, Source, Value};

/// Values that a label takes in; further ones stay as they are written.
pub const VALUES_MAX: usize = 5;
/// Longer than any `${PROP('Dim.…')}`.
const VALUE_CHARS_MAX: usize = 300;
/// In the place of what there is not.
const NOTHING: &str = "--";

/// Who asks, where and when, as labels show it.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    pub account_id: &'a str,
    pub region: &'a str,
    pub now_s: i64,
    /// Of LabelOptions' time zone, to the east of UTC.
    pub offset_s: i32,
}

/// The labels of metrics that are asked for together, in their order.
pub fn defaults(sources: &[&Source]) -> Vec<String> {
    let differ = |part: fn(&Metric) -> &str| {
        let parts: BTreeSet<&str> = sources.iter().map(|source| part(&source.metric)).collect();
        parts.len() > 1
    };
    let namespaces_differ = differ(|metric| metric.namespace.as_str());
    let names_differ = differ(|metric| metric.name.as_str());
    let mut holders: BTreeMap<&(String, String), usize> = BTreeMap::new();
    let mut statistics: BTreeMap<&Metric, BTreeSet<&str>> = BTreeMap::new();
    let mut periods: BTreeMap<&Metric, BTreeSet<u32>> = BTreeMap::new();
    for source in sources {
        for dimension in &source.metric.dimensions {
            let count = holders.entry(dimension).or_default();
            *count = count.saturating_add(1);
        }
        statistics.entry(&source.metric).or_default().insert(&source.statistic);
        periods.entry(&source.metric).or_default().insert(source.period_s);
    }
    let is_common = |dimension: &(String, String)| holders.get(dimension) == Some(&sources.len());
    let label = |source: &&Source| {
        let metric = &source.metric;
        let mut parts: Vec<String> = Vec::new();
        parts.extend(namespaces_differ.then(|| metric.namespace.clone()));
        let dimensions = metric.dimensions.iter().filter(|dimension| !is_common(dimension));
        parts.extend(dimensions.map(|(_, value)| value.clone()));
        if names_differ || parts.is_empty() {
            parts.push(metric.name.clone());
        }
        if statistics.get(metric).is_some_and(|of_it| of_it.len() > 1) {
            parts.push(source.statistic.clone());
        }
        if periods.get(metric).is_some_and(|of_it| of_it.len() > 1) {
            parts.push(source.period_s.to_string());
        }
        parts.join(" ")
    };
    sources.iter().map(label).collect()
}

/// What SEARCH found, each with its default label, in the order of the labels.
pub(super) fn arranged(mut found: Vec<Series>) -> Vec<Series> {
    let sources: Vec<&Source> = found.iter().filter_map(|series| series.source.as_deref()).collect();
    if sources.len() == found.len() {
        let labels = defaults(&sources);
        found.iter_mut().zip(labels).for_each(|(series, label)| series.label = label);
    }
    let identity = |series: &Series| series.source.as_ref().map(|source| source.metric.clone());
    found.sort_by_cached_key(|series| (series.label.clone(), identity(series)));
    found
}

/// A query's value under the labels that it is shown with, here and where other expressions use it. `default` is that
/// of a single series; those of an array have their own.
pub(super) fn labelled(value: Value, default: &str, given: Option<&str>, place: &Place<'_>) -> Value {
    let given = given.filter(|given| !given.is_empty());
    match value {
        Value::Scalar(_) => value,
        Value::Series(series) => {
            let series = Series { label: default.into(), ..series };
            let label = given.map_or_else(|| default.into(), |given| shown(given, &series, place).0);
            Value::Series(Series { label, ..series })
        }
        Value::Array(mut array) => {
            for series in &mut array {
                let Some(given) = given else { continue };
                series.label = match shown(given, series, place) {
                    (label, 0) => format!("{label} {}", series.label),
                    (label, _) => label,
                };
            }
            Value::Array(array)
        }
    }
}

/// A label with values put in, and how many were.
fn shown(given: &str, series: &Series, place: &Place<'_>) -> (String, usize) {
    let (mut label, mut count) = (String::new(), 0_usize);
    let mut rest = given;
    while let Some((before, after)) = rest.split_once("${") {
        label.push_str(before);
        let end = after.char_indices().take(VALUE_CHARS_MAX).find(|(_, found)| *found == '}');
        let found = end.and_then(|(end, _)| {
            let value = value(after.get(..end)?, series, place)?;
            Some((value, after.get(end..)?.strip_prefix('}')?))
        });
        match found.filter(|_| count < VALUES_MAX) {
            Some((value, behind)) => {
                label.push_str(&value);
                count = count.saturating_add(1);
                rest = behind;
            }
            None => {
                label.push_str("${");
                rest = after;
            }
        }
    }
    label.push_str(rest);
    (label, count)
}

/// `None` if AWS has no such value.
fn value(name: &str, series: &Series, place: &Place<'_>) -> Option<String> {
    if let Some(property) = name.strip_prefix("PROP('").and_then(|rest| rest.strip_suffix("')")) {
        return property_of(property, series, place);
    }
    let points = &series.points;
    let fold = |fold: Fold| fold.of(points, 0);
    let text = match name {
        "LABEL" => Some(series.label.clone()),
        "AVG" => number(fold(Fold::Average)),
        "SUM" => number(fold(Fold::Sum)),
        "DATAPOINT_COUNT" => number(fold(Fold::Count)),
        "FIRST_LAST_RANGE" => ends("FIRST", "LAST", points).and_then(|(one, other)| number(other.1 - one.1)),
        "MIN_MAX_RANGE" => ends("MIN", "MAX", points).and_then(|(one, other)| number(other.1 - one.1)),
        "FIRST_LAST_TIME_RANGE" => ends("FIRST", "LAST", points).map(|(one, other)| span(one.0, other.0)),
        "MIN_MAX_TIME_RANGE" => ends("MIN", "MAX", points).map(|(one, other)| span(one.0, other.0)),
        _ => {
            let end = ["FIRST", "LAST", "MIN", "MAX"].into_iter().find(|end| name.starts_with(end))?;
            let point = point(end, points);
            match name.strip_prefix(end)? {
                "" => point.and_then(|(_, value)| number(value)),
                "_TIME" => point.map(|(at, _)| moment(at, place.offset_s)),
                "_TIME_RELATIVE" => point.map(|(at, _)| span(at, place.now_s)),
                _ => return None,
            }
        }
    };
    Some(text.unwrap_or_else(|| NOTHING.into()))
}

fn property_of(property: &str, series: &Series, place: &Place<'_>) -> Option<String> {
    let source = series.source.as_deref();
    let text = match property {
        "AccountId" | "AccountLabel" => Some(place.account_id.to_owned()),
        "Region" => Some(place.region.to_owned()),
        "MetricName" => source.map(|source| source.metric.name.clone()),
        "Namespace" => source.map(|source| source.metric.namespace.clone()),
        "Period" => Some(series.period_s.to_string()),
        "Stat" => source.map(|source| source.statistic.clone()),
        _ => {
            let dimension = property.strip_prefix("Dim.")?;
            source.and_then(|source| source.metric.dimension(dimension)).map(str::to_owned)
        }
    };
    Some(text.unwrap_or_else(|| NOTHING.into()))
}

fn point(end: &str, points: &[Point]) -> Option<Point> {
    let by_value = |one: &&Point, other: &&Point| one.1.total_cmp(&other.1);
    let found = match end {
        "FIRST" => points.first(),
        "LAST" => points.last(),
        "MIN" => points.iter().min_by(by_value),
        _ => points.iter().max_by(by_value),
    };
    found.copied()
}

fn ends(one: &str, other: &str, points: &[Point]) -> Option<(Point, Point)> {
    Some((point(one, points)?, point(other, points)?))
}

fn number(value: f64) -> Option<String> {
    value.is_finite().then(|| value.to_string())
}

/// `2026-01-01T04:00:00+0400`
fn moment(at: i64, offset_s: i32) -> String {
    let local = Timestamp::from_secs(at.saturating_add(offset_s.into())).iso8601();
    let minutes = offset_s.unsigned_abs().div_euclid(60);
    let sign = if offset_s < 0 { '-' } else { '+' };
    let (hours, minutes) = (minutes.div_euclid(60), minutes.rem_euclid(60));
    format!("{}{sign}{hours:02}{minutes:02}", local.trim_end_matches('Z'))
}

/// `1d 2h 3m 4s`, without what is zero.
fn span(from: i64, to: i64) -> String {
    let seconds = from.abs_diff(to);
    let parts = [
        (seconds.div_euclid(86_400), 'd'),
        (seconds.div_euclid(3_600).rem_euclid(24), 'h'),
        (seconds.div_euclid(60).rem_euclid(60), 'm'),
        (seconds.rem_euclid(60), 's'),
    ];
    let shown: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, unit)| format!("{count}{unit}")).collect();
    if shown.is_empty() { "0s".into() } else { shown.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(namespace: &str, name: &str, dimensions: &[(&str, &str)], statistic: &str, period_s: u32) -> Source {
        let dimensions = dimensions.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Source { metric: Metric::new(namespace, name, dimensions), statistic: statistic.into(), period_s }
    }

    #[test]
    fn default_labels_name_what_differs() {
        let plain = |name, statistic, period_s| source("n", name, &[], statistic, period_s);
        let zone = |name, zone, statistic| source("n", name, &[("Common", "x"), ("Zone", zone)], statistic, 60);
        for (sources, expected) in [
            (vec![plain("m", "p50", 60)], vec!["m"]),
            (vec![zone("m", "a", "Sum")], vec!["m"]),
            (vec![plain("m", "Sum", 60), plain("m", "Minimum", 30)], vec!["m Sum 60", "m Minimum 30"]),
            (vec![plain("m", "Sum", 60), plain("m", "Minimum", 60)], vec!["m Sum", "m Minimum"]),
            (vec![plain("m", "Sum", 60), plain("m", "Sum", 30)], vec!["m 60", "m 30"]),
            (vec![plain("m", "Sum", 60), plain("m", "Sum", 60)], vec!["m", "m"]),
            (vec![plain("m", "Sum", 60), plain("o", "Average", 60)], vec!["m", "o"]),
            (
                vec![plain("m", "Sum", 60), plain("m", "Average", 60), plain("o", "Sum", 60)],
                vec!["m Sum", "m Average", "o"],
            ),
            (vec![zone("m", "a", "Sum"), zone("m", "b", "Sum")], vec!["a", "b"]),
            (vec![zone("m", "a", "Sum"), zone("o", "b", "Sum")], vec!["a m", "b o"]),
            (vec![plain("m", "Sum", 60), zone("m", "b", "Average")], vec!["m", "x b"]),
            (vec![plain("m", "Sum", 60), source("o", "m", &[], "Average", 60)], vec!["n", "o"]),
            (vec![plain("m", "Sum", 60), source("o", "k", &[], "Sum", 60)], vec!["n m", "o k"]),
            (
                vec![
                    source("n", "m", &[("Zebra", "z1"), ("Alpha", "a1")], "Sum", 60),
                    source("n", "m", &[("Alpha", "a2"), ("Zebra", "z2")], "Sum", 60),
                ],
                vec!["a1 z1", "a2 z2"],
            ),
        ] {
            assert_eq!(defaults(&sources.iter().collect::<Vec<_>>()), expected, "{sources:?}");
        }
    }

    fn series() -> Series {
        let source = source("AWS/Lambda", "Errors", &[("FunctionName", "f")], "Sum", 60);
        Series::fetched(source, vec![(0, 2.5), (60, 7.0), (180, -1.0)])
    }

    const PLACE: Place<'_> = Place { account_id: "123456789012", region: "eu-west-1", now_s: 3_900, offset_s: 0 };

    #[test]
    fn dynamic_labels_show_values_of_the_series_and_its_metric() {
        for (given, expected) in [
            ("[max: ${MAX} Errors for ${LABEL}]", "[max: 7 Errors for Errors]"),
            ("${MIN} ${FIRST} ${LAST} ${SUM} ${DATAPOINT_COUNT}", "-1 2.5 -1 8.5 3"),
            ("${AVG}", "2.8333333333333335"),
            ("${FIRST_LAST_RANGE} ${MIN_MAX_RANGE}", "-3.5 8"),
            ("${FIRST_LAST_TIME_RANGE} ${MIN_MAX_TIME_RANGE}", "3m 2m"),
            ("${MAX_TIME} ${MIN_TIME_RELATIVE}", "1970-01-01T00:01:00+0000 1h 2m"),
            ("${PROP('Dim.FunctionName')}|${PROP('Dim.Absent')}", "f|--"),
            (
                "${PROP('MetricName')} ${PROP('Namespace')} ${PROP('Stat')} ${PROP('Period')}",
                "Errors AWS/Lambda Sum 60",
            ),
            ("${PROP('Region')} ${PROP('AccountId')}", "eu-west-1 123456789012"),
            ("${LABEL}${LABEL}${LABEL}${LABEL}${LABEL}${LABEL}", "ErrorsErrorsErrorsErrorsErrors${LABEL}"),
            ("${MAXIMUM} ${PROP('x')} ${ $ {MAX} ${${MAX}", "${MAXIMUM} ${PROP('x')} ${ $ {MAX} ${7"),
            ("none", "none"),
        ] {
            assert_eq!(shown(given, &series(), &PLACE).0, expected, "{given}");
        }
        let empty = Series { points: [].into(), ..series() };
        assert_eq!(shown("${MAX} ${AVG} ${LAST_TIME} ${SUM}", &empty, &PLACE).0, "-- -- -- 0");
        let east = Place { offset_s: 4 * 3_600, ..PLACE };
        assert_eq!(shown("${FIRST_TIME}", &series(), &east).0, "1970-01-01T04:00:00+0400");
        let west = Place { offset_s: -1_800, ..PLACE };
        assert_eq!(shown("${FIRST_TIME}", &series(), &west).0, "1969-12-31T23:30:00-0030");
    }

    #[test]
    fn a_given_label_stands_before_those_of_an_array_unless_it_is_dynamic() {
        let of = |value: Value, given| match labelled(value, "e1", given, &PLACE) {
            Value::Series(series) => series.label,
            Value::Array(array) => array.into_iter().map(|series| series.label).collect::<Vec<_>>().join(","),
            Value::Scalar(_) => unreachable!(),
        };
        let array = || Value::Array(vec![series(), Series { label: "b".into(), ..series() }]);
        assert_eq!(of(array(), None), "Errors,b");
        assert_eq!(of(array(), Some("")), "Errors,b");
        assert_eq!(of(array(), Some("Filled With 0:")), "Filled With 0: Errors,Filled With 0: b");
        assert_eq!(of(array(), Some("${LABEL}!")), "Errors!,b!");
        assert_eq!(of(array(), Some("${PROP('Stat')}")), "Sum,Sum");
        assert_eq!(of(Value::Series(series()), None), "e1");
        assert_eq!(of(Value::Series(series()), Some("rate")), "rate");
        assert_eq!(of(Value::Series(series()), Some("${LABEL} now")), "e1 now");
    }
}

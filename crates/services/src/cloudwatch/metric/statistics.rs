//! GetMetricStatistics: some statistics of one metric, period by period and unit by unit.

use std::collections::BTreeMap;

use base::{AwsError, Timestamp};
use engine::math::Metric;
use engine::metric::aggregate::Aggregate;
use engine::metric::statistic::Statistic;
use engine::metric::window::{Window, datapoints, is_period};
use metrics::Unit;
use serde::{Deserialize, Serialize};

use super::refusal::Faults;
use super::{UNITS_SHOWN, read};
use crate::Ctx;
use crate::cloudwatch::alarm::watch::Dimension;

const DATAPOINTS_MAX: u64 = 1_440;
const EXTENDED_MAX: usize = 10;
const NAME_CHARS_MAX: usize = 255;
/// As AWS's message lists them.
const STATISTICS: [&str; 5] = ["Minimum", "Maximum", "Average", "SampleCount", "Sum"];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct GetMetricStatistics {
    namespace: Option<String>,
    metric_name: Option<String>,
    #[serde(default)]
    dimensions: Vec<Dimension>,
    start_time: Option<Timestamp>,
    end_time: Option<Timestamp>,
    period: Option<i64>,
    #[serde(default)]
    statistics: Vec<String>,
    #[serde(default)]
    extended_statistics: Vec<String>,
    unit: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Got {
    label: String,
    datapoints: Vec<Datapoint>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Datapoint {
    timestamp: Timestamp,
    sample_count: Option<f64>,
    average: Option<f64>,
    sum: Option<f64>,
    minimum: Option<f64>,
    maximum: Option<f64>,
    unit: &'static str,
    extended_statistics: Option<BTreeMap<String, f64>>,
}

/// What is left of a request that AWS takes.
struct Asked {
    start: Timestamp,
    end: Timestamp,
    period_s: u32,
    basic: Vec<Statistic>,
    extended: Vec<(String, Statistic)>,
}

pub async fn get(ctx: Ctx, input: GetMetricStatistics) -> Result<Got, AwsError> {
    let asked = check(&input)?;
    let name = input.metric_name.unwrap_or_default();
    let dimensions = input.dimensions.into_iter().map(|one| (one.name, one.value)).collect();
    let metric = Metric::new(&input.namespace.unwrap_or_default(), &name, dimensions);
    let unit = input.unit.as_deref().and_then(Unit::named);
    let window = Window::new(ctx.cx.now(), asked.start, asked.end, asked.period_s);
    let found = read::buckets(&ctx, &metric, unit, &window, !asked.extended.is_empty()).await?;
    let all =
        found.into_iter().flat_map(|(unit, buckets)| buckets.into_iter().map(move |(at, bucket)| (at, unit, bucket)));
    let mut datapoints: Vec<Datapoint> =
        all.filter_map(|(at, unit, samples)| datapoint(&asked, (at, unit), &samples)).collect();
    datapoints.sort_by_key(|datapoint| datapoint.timestamp);
    Ok(Got { label: name, datapoints })
}

/// None where nothing of what is asked for is known.
fn datapoint(asked: &Asked, (timestamp, unit): (Timestamp, Unit), samples: &Aggregate) -> Option<Datapoint> {
    let basic = |statistic: Statistic| asked.basic.contains(&statistic).then(|| statistic.of(samples)).flatten();
    let extended: BTreeMap<String, f64> =
        asked.extended.iter().filter_map(|(name, statistic)| Some((name.clone(), statistic.of(samples)?))).collect();
    (!asked.basic.is_empty() || !extended.is_empty()).then(|| Datapoint {
        timestamp,
        sample_count: basic(Statistic::SampleCount),
        average: basic(Statistic::Average),
        sum: basic(Statistic::Sum),
        minimum: basic(Statistic::Minimum),
        maximum: basic(Statistic::Maximum),
        unit: unit.name(),
        extended_statistics: (!extended.is_empty()).then_some(extended),
    })
}

fn check(input: &GetMetricStatistics) -> Result<Asked, AwsError> {
    let mut faults = Faults::default();
    faults.text("Namespace", input.namespace.as_deref(), NAME_CHARS_MAX);
    faults.text("MetricName", input.metric_name.as_deref(), NAME_CHARS_MAX);
    if input.unit.as_deref().is_some_and(|unit| Unit::named(unit).is_none()) {
        faults.not_in("Unit", &UNITS_SHOWN);
    }
    let (basic, extended) = statistics(&mut faults, input);
    let period_s = period(&mut faults, input.period);
    for (member, time) in [("StartTime", input.start_time), ("EndTime", input.end_time)] {
        if time.is_none() {
            faults.missing(member);
        }
    }
    let (start, end) = (input.start_time.unwrap_or_default(), input.end_time.unwrap_or_default());
    if input.start_time.is_some() && input.end_time.is_some() && start >= end {
        faults.value("The parameter StartTime must be less than the parameter EndTime.".to_owned());
    }
    let count = datapoints(start, end, period_s);
    if count > DATAPOINTS_MAX && period_s > 0 {
        faults.combination(format!(
            "You have requested up to {count} datapoints, which exceeds the limit of {DATAPOINTS_MAX}. You may reduce \
             the datapoints requested by increasing Period, or decreasing the time range."
        ));
    }
    faults.refused()?;
    Ok(Asked { start, end, period_s, basic, extended })
}

fn statistics(faults: &mut Faults, input: &GetMetricStatistics) -> (Vec<Statistic>, Vec<(String, Statistic)>) {
    match (input.statistics.is_empty(), input.extended_statistics.is_empty()) {
        (true, true) => faults.none_of(&["Statistics".to_owned(), "ExtendedStatistics".to_owned()]),
        (false, false) => faults.both("Statistics", "ExtendedStatistics"),
        _ => {}
    }
    if input.extended_statistics.len() > EXTENDED_MAX {
        faults.too_many("ExtendedStatistics", EXTENDED_MAX);
    }
    let (mut basic, mut extended) = (Vec::new(), Vec::new());
    for (at, name) in (1_usize..).zip(&input.statistics) {
        match name.parse::<Statistic>() {
            Ok(statistic) if !statistic.is_extended() => basic.push(statistic),
            _ => faults.not_in(&format!("Statistics.member.{at}"), &STATISTICS),
        }
    }
    for (at, name) in (1_usize..).zip(input.extended_statistics.iter().take(EXTENDED_MAX)) {
        let member = format!("ExtendedStatistics.member.{at}");
        match name.parse::<Statistic>() {
            Ok(statistic) if statistic.is_extended() => extended.push((name.clone(), statistic)),
            Ok(_) => faults.value(format!("The value {name} for parameter {member} is not supported.")),
            Err(unsupported) => faults.value(unsupported.message(&member)),
        }
    }
    (basic, extended)
}

fn period(faults: &mut Faults, period: Option<i64>) -> u32 {
    let Some(period) = period else {
        faults.missing("Period");
        return 0;
    };
    let period_s = u32::try_from(period).unwrap_or(0);
    if period_s == 0 {
        faults.value("The parameter Period must be greater than 0.".to_owned());
    } else if !is_period(period_s) {
        faults.value("The parameter Period must be a multiple of 60.".to_owned());
    }
    period_s
}

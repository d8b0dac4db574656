//! PutMetricData: samples, or what a client has added up of them. They are synced before the answer, and read by whoever asks after it.

use std::collections::BTreeSet;
use std::time::Duration;

use base::{AwsError, Timestamp};
use engine::math::Metric;
use engine::metric::aggregate::{Aggregate, StatisticSet};
use metrics::{Datum, Unit};
use serde::{Deserialize, Serialize};

use super::UNITS_SHOWN;
use super::refusal::{Faults, number};
use crate::Ctx;

/// In one request.
const DATA_MAX: usize = 1_000;
const ENTITIES_MAX: usize = 2;
const VALUES_MAX: usize = 150;
const DIMENSIONS_MAX: usize = 30;
const NAME_CHARS_MAX: usize = 255;
const DIMENSION_VALUE_CHARS_MAX: usize = 1_024;
const AGE_MAX: Duration = Duration::from_secs(14 * 24 * 3_600);
const AHEAD_MAX: Duration = Duration::from_secs(2 * 3_600);
/// The magnitudes of values lie between two to the power of minus this, and of this.
const EXPONENT_MAX: i32 = 360;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct PutMetricData {
    namespace: Option<String>,
    #[serde(default)]
    metric_data: Vec<MetricDatum>,
    #[serde(default)]
    entity_metric_data: Vec<EntityMetricData>,
    #[serde(rename = "StrictEntityValidation")]
    _strict_entity_validation: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct EntityMetricData {
    /// Nothing here shows what belongs to an entity.
    #[serde(rename = "Entity")]
    _entity: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    metric_data: Vec<MetricDatum>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct MetricDatum {
    metric_name: Option<String>,
    #[serde(default)]
    dimensions: Vec<Dimension>,
    timestamp: Option<Timestamp>,
    value: Option<f64>,
    statistic_values: Option<StatisticValues>,
    #[serde(default)]
    values: Vec<f64>,
    #[serde(default)]
    counts: Vec<f64>,
    unit: Option<String>,
    storage_resolution: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Dimension {
    name: Option<String>,
    value: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct StatisticValues {
    sample_count: Option<f64>,
    sum: Option<f64>,
    minimum: Option<f64>,
    maximum: Option<f64>,
}

#[derive(Serialize)]
pub struct Nothing {}

pub async fn put(ctx: Ctx, input: PutMetricData) -> Result<Nothing, AwsError> {
    let now = ctx.cx.now();
    check(&input, now).refused()?;
    let (scope, namespace) = (ctx.scope(), input.namespace.unwrap_or_default());
    let with_entities = input.entity_metric_data.into_iter().flat_map(|entity| entity.metric_data);
    let datum = |datum: MetricDatum| Datum {
        scope: scope.clone(),
        metric: datum.metric(&namespace),
        unit: datum.unit.as_deref().and_then(Unit::named).unwrap_or_default(),
        time: datum.timestamp.unwrap_or(now),
        resolution_s: if datum.storage_resolution == Some(1) { 1 } else { 60 },
        aggregate: datum.aggregate(),
    };
    let data: Vec<Datum> = input.metric_data.into_iter().chain(with_entities).map(datum).collect();
    ctx.cloud.chronicle.note(&metrics::encode(&data)).await?;
    Ok(Nothing {})
}

impl MetricDatum {
    fn metric(&self, namespace: &str) -> Metric {
        let pair = |dimension: &Dimension| Some((dimension.name.clone()?, dimension.value.clone()?));
        let name = self.metric_name.as_deref().unwrap_or_default();
        Metric::new(namespace, name, self.dimensions.iter().filter_map(pair).collect())
    }

    /// Of a set and values that come together, AWS takes the set.
    fn aggregate(&self) -> Aggregate {
        if let Some(set) = &self.statistic_values {
            return Aggregate::of_set(StatisticSet {
                sample_count: set.sample_count.unwrap_or_default(),
                sum: set.sum.unwrap_or_default(),
                minimum: set.minimum.unwrap_or_default(),
                maximum: set.maximum.unwrap_or_default(),
            });
        }
        let counts = self.counts.iter().copied().chain(std::iter::repeat(1.0));
        Aggregate::of_values(
            self.value.map(|value| (value, 1.0)).into_iter().chain(self.values.iter().copied().zip(counts)),
        )
    }
}

fn check(input: &PutMetricData, now: Timestamp) -> Faults {
    let mut faults = Faults::default();
    faults.text("Namespace", input.namespace.as_deref(), NAME_CHARS_MAX);
    let namespace = input.namespace.as_deref().unwrap_or_default();
    if namespace.starts_with("AWS/") {
        faults.invalid("AWS/", "Namespace");
    }
    if namespace.starts_with(':') {
        faults.invalid(namespace, "Namespace");
    }
    if input.entity_metric_data.len() > ENTITIES_MAX {
        faults.too_many("EntityMetricData", ENTITIES_MAX);
    }
    let counts = input.entity_metric_data.iter().map(|entity| entity.metric_data.len());
    match counts.fold(input.metric_data.len(), usize::saturating_add) {
        0 => faults.missing("MetricData"),
        1..=DATA_MAX => {}
        _ => faults.too_many("MetricData", DATA_MAX),
    }
    check_all(&mut faults, "", &input.metric_data, now);
    for (at, entity) in (1_usize..).zip(&input.entity_metric_data) {
        check_all(&mut faults, &format!("EntityMetricData.member.{at}."), &entity.metric_data, now);
    }
    faults
}

fn check_all(faults: &mut Faults, before: &str, data: &[MetricDatum], now: Timestamp) {
    for (at, datum) in (1_usize..).zip(data.iter().take(DATA_MAX)) {
        let path = format!("{before}MetricData.member.{at}");
        faults.text(&format!("{path}.MetricName"), datum.metric_name.as_deref(), NAME_CHARS_MAX);
        check_dimensions(faults, &path, &datum.dimensions);
        check_time(faults, &path, datum.timestamp, now);
        check_values(faults, &path, datum);
        if datum.unit.as_deref().is_some_and(|unit| Unit::named(unit).is_none()) {
            faults.not_in(&format!("{path}.Unit"), &UNITS_SHOWN);
        }
        if !matches!(datum.storage_resolution, None | Some(1 | 60)) {
            faults.not_in(&format!("{path}.StorageResolution"), &["1", "60"]);
        }
    }
}

fn check_dimensions(faults: &mut Faults, path: &str, dimensions: &[Dimension]) {
    if dimensions.len() > DIMENSIONS_MAX {
        return faults.too_many(&format!("{path}.Dimensions"), DIMENSIONS_MAX);
    }
    let mut names = BTreeSet::new();
    for (at, Dimension { name, value }) in (1_usize..).zip(dimensions) {
        let path = format!("{path}.Dimensions.member.{at}");
        let member = format!("{path}.Name");
        faults.text(&member, name.as_deref(), NAME_CHARS_MAX);
        faults.text(&format!("{path}.Value"), value.as_deref(), DIMENSION_VALUE_CHARS_MAX);
        let Some(name) = name.as_deref() else { continue };
        if name.starts_with(':') || !names.insert(name) {
            faults.invalid(name, &member);
        }
    }
}

fn check_time(faults: &mut Faults, path: &str, time: Option<Timestamp>, now: Timestamp) {
    let Some(time) = time else { return };
    if time < now.minus(AGE_MAX) {
        faults.value(format!("The parameter {path}.Timestamp must specify a time within the past two weeks."));
    }
    if time > now.plus(AHEAD_MAX) {
        faults
            .value(format!("The parameter {path}.Timestamp must specify a time no more than two hours in the future."));
    }
}

fn check_values(faults: &mut Faults, path: &str, datum: &MetricDatum) {
    let of = |member: &str| format!("{path}.{member}");
    let (value, values, set) = (of("Value"), of("Values"), of("StatisticValues"));
    match (datum.value, datum.values.is_empty(), &datum.statistic_values) {
        (None, true, None) => faults.none_of(&[value.clone(), values.clone(), set.clone()]),
        (Some(_), false, _) => faults.both(&value, &values),
        (Some(_), _, Some(_)) => faults.both(&value, &set),
        _ => {}
    }
    if datum.values.len() > VALUES_MAX {
        faults.too_many(&values, VALUES_MAX);
    }
    if !datum.counts.is_empty() && datum.counts.len() != datum.values.len() {
        faults.value(format!("The parameters {values} and {} must be of the same size.", of("Counts")));
    }
    if let Some(given) = datum.value.filter(|given| !is_value(*given)) {
        faults.invalid(&number(given), &value);
    }
    for (at, given) in (1_usize..).zip(datum.values.iter().take(VALUES_MAX)).filter(|(_, given)| !is_value(**given)) {
        faults.invalid(&number(*given), &format!("{values}.member.{at}"));
    }
    let is_count = |count: f64| is_value(count) && count >= 0.0;
    for (at, count) in (1_usize..).zip(datum.counts.iter().take(VALUES_MAX)).filter(|(_, count)| !is_count(**count)) {
        faults.invalid(&number(*count), &format!("{}.member.{at}", of("Counts")));
    }
    if let Some(given) = &datum.statistic_values {
        check_set(faults, &set, given);
    }
}

fn check_set(faults: &mut Faults, path: &str, set: &StatisticValues) {
    let members =
        [("SampleCount", set.sample_count), ("Sum", set.sum), ("Minimum", set.minimum), ("Maximum", set.maximum)];
    for (member, value) in members {
        match value {
            None => faults.missing(&format!("{path}.{member}")),
            Some(value) if !is_value(value) => faults.invalid(&number(value), &format!("{path}.{member}")),
            Some(_) => {}
        }
    }
    if set.sample_count.is_some_and(|count| count <= 0.0) {
        faults.value(format!("The parameter {path}.SampleCount must be greater than 0."));
    }
    if let (Some(minimum), Some(maximum)) = (set.minimum, set.maximum)
        && maximum < minimum
    {
        faults.value(format!("The parameter {path}.Maximum must be greater than {path}.Minimum."));
    }
}

fn is_value(value: f64) -> bool {
    let range = 2.0_f64.powi(-EXPONENT_MAX)..=2.0_f64.powi(EXPONENT_MAX);
    value == 0.0 || range.contains(&value.abs())
}

//! Metric filters: what in a group's events is a point of a metric.
//!
//! They are rows of [`group_filter`](super::group_filter), and kept by name for listings over all groups. Here points are made of messages ([`of_group`],
//! [`Parsed::apply`]); who follows the journal says when, and keeps them.
//!
//! Not there yet: transformed logs, and selection by system fields.

use std::collections::BTreeMap;

use base::{AwsError, Timestamp, Uuid};
use engine::filter::{Filter, Transformation};
use serde::{Deserialize, Serialize};
use store::{Batch, Record, Row, Scan, Scope, Store, Table};
use tokio::task::spawn_blocking;

use super::group_filter::{self, GroupFilter};
use super::subscription_filter::SubscriptionFilter;
use super::{errors, name};
use crate::{Ctx, Service};

const PAGE_MAX: usize = 50;
/// Filters that one page of a search over all groups looks at.
const STEP: usize = 200;
const STEPS_MAX: usize = 20;

/// A metric filter, under its group's id and its name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricFilter {
    /// The group's name.
    pub group: String,
    pub pattern: String,
    pub transformation: Transformed,
    pub created: Timestamp,
}

impl Record for MetricFilter {
    const VERSION: u8 = 1;
}

pub const METRIC_FILTERS: Table<(Uuid, String), MetricFilter> = Table::new("log_metric_filters");

impl GroupFilter for MetricFilter {
    const TABLE: Table<(Uuid, String), MetricFilter> = METRIC_FILTERS;
    const FILTERS_MAX: usize = 100;
    type Other = SubscriptionFilter;

    fn pattern(&self) -> &str {
        &self.pattern
    }

    fn created(&self) -> Timestamp {
        self.created
    }

    fn missing() -> AwsError {
        errors::no_metric_filter()
    }

    fn put_more(batch: Batch, scope: &Scope, (group, name): (Uuid, &str)) -> Batch {
        batch.put(&NAMES, scope, (name, group), &Named {})
    }

    fn delete_more(batch: Batch, scope: &Scope, (group, name): (Uuid, &str)) -> Batch {
        batch.delete(&NAMES, scope, (name, group))
    }
}

/// That a group has a filter of a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Named {}

impl Record for Named {
    const VERSION: u8 = 1;
}

/// By the filter's name and the group's id.
const NAMES: Table<(String, Uuid), Named> = Table::new("log_metric_filter_names");

/// What a match is transformed to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Transformed {
    metric_name: String,
    metric_namespace: String,
    metric_value: String,
    default_value: Option<f64>,
    dimensions: Option<BTreeMap<String, String>>,
    unit: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PutMetricFilter {
    log_group_name: String,
    filter_name: String,
    filter_pattern: String,
    metric_transformations: Vec<Transformed>,
    apply_on_transformed_logs: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DescribeMetricFilters {
    log_group_name: Option<String>,
    filter_name_prefix: Option<String>,
    next_token: Option<String>,
    limit: Option<usize>,
    metric_name: Option<String>,
    metric_namespace: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeleteMetricFilter {
    log_group_name: String,
    filter_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TestMetricFilter {
    filter_pattern: String,
    log_event_messages: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Described {
    metric_filters: Vec<Shown>,
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    filter_name: String,
    filter_pattern: String,
    metric_transformations: [Transformed; 1],
    creation_time: i64,
    log_group_name: String,
    apply_on_transformed_logs: bool,
}

#[derive(Serialize)]
pub struct Tested {
    matches: Vec<Match>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Match {
    /// From 1.
    event_number: usize,
    event_message: String,
    extracted_values: BTreeMap<String, String>,
}

pub fn operations(service: Service) -> Service {
    service
        .operation("DeleteMetricFilter", delete)
        .operation("DescribeMetricFilters", describe)
        .operation("PutMetricFilter", put)
        .operation("TestMetricFilter", test)
}

pub async fn put(ctx: Ctx, input: PutMetricFilter) -> Result<(), AwsError> {
    if input.apply_on_transformed_logs.unwrap_or_default() {
        return Err(errors::no_transformer());
    }
    let transformation = input.metric_transformations.into_iter().next().ok_or_else(errors::no_transformation)?;
    transformation.parse(&input.filter_pattern)?;
    let name = (input.log_group_name.as_str(), input.filter_name.as_str());
    group_filter::put(&ctx, name, |created| MetricFilter {
        group: input.log_group_name.clone(),
        pattern: input.filter_pattern.clone(),
        transformation: transformation.clone(),
        created,
    })
    .await
}

pub async fn delete(ctx: Ctx, input: DeleteMetricFilter) -> Result<(), AwsError> {
    group_filter::delete::<MetricFilter>(&ctx, (&input.log_group_name, &input.filter_name)).await
}

pub async fn describe(ctx: Ctx, input: DescribeMetricFilters) -> Result<Described, AwsError> {
    if input.metric_name.is_some() != input.metric_namespace.is_some() {
        return Err(errors::name_without_namespace());
    }
    let (rows, next_token) = match &input.log_group_name {
        Some(group) => in_group(&ctx, group, &input).await?,
        None => everywhere(&ctx, &input).await?,
    };
    Ok(Described { metric_filters: rows.into_iter().map(Shown::from).collect(), next_token })
}

type Found = (group_filter::Rows<MetricFilter>, Option<String>);

async fn in_group(ctx: &Ctx, group: &str, input: &DescribeMetricFilters) -> Result<Found, AwsError> {
    const OPERATION: &str = "logs:DescribeMetricFilters of a group";
    let found = name::find(ctx, Some(group.to_owned()), None).await?;
    let after = match &input.next_token {
        None => None,
        Some(token) => Some(ctx.position::<String>(OPERATION, token).ok_or_else(errors::invalid_token)?),
    };
    let mut rows: group_filter::Rows<MetricFilter> =
        group_filter::of_id(&ctx.cloud.store, &ctx.scope(), found.group.id).await?;
    rows.retain(|row| input.wants(row) && after.as_ref().is_none_or(|after| row.key.1 > *after));
    let limit = input.limit.unwrap_or(PAGE_MAX);
    let is_cut = rows.len() > limit;
    rows.truncate(limit);
    let last = rows.last().filter(|_| is_cut).map(|row| row.key.1.clone());
    Ok((rows, ctx.marker(OPERATION, last.as_ref())))
}

/// Over all groups, in order of the filters' names. A page that has looked at enough ends, full or not.
async fn everywhere(ctx: &Ctx, input: &DescribeMetricFilters) -> Result<Found, AwsError> {
    const OPERATION: &str = "logs:DescribeMetricFilters";
    let scan = Scan::all(STEP).starting_with(input.filter_name_prefix.as_deref().unwrap_or_default());
    let mut scan = ctx.resume(OPERATION, scan, input.next_token.as_deref()).ok_or_else(errors::invalid_token)?;
    let (store, scope, limit) = (&ctx.cloud.store, ctx.scope(), input.limit.unwrap_or(PAGE_MAX));
    let (mut found, mut last) = (Vec::new(), None);
    for _ in 0..STEPS_MAX {
        let page = NAMES.page(store, &scope, scan.clone()).await?;
        let keys: Vec<_> = page.rows.iter().map(|row| (row.key.1, row.key.0.as_str())).collect();
        let filters = METRIC_FILTERS.get_many(store, &scope, &keys).await?;
        for (name, filter) in page.rows.iter().zip(filters) {
            if found.len() >= limit {
                return Ok((found, ctx.marker(OPERATION, last.as_ref())));
            }
            last = Some(name.key.clone());
            found.extend(filter.filter(|row| input.wants(row)));
        }
        match page.next {
            None => return Ok((found, None)),
            Some((name, group)) => scan = scan.after((&name, group)),
        }
    }
    Ok((found, ctx.marker(OPERATION, last.as_ref())))
}

pub async fn test(_: Ctx, input: TestMetricFilter) -> Result<Tested, AwsError> {
    let filter = parse_pattern(&input.filter_pattern)?;
    let try_one = move |(event_number, event_message): (usize, String)| {
        let extracted_values = filter.extract(&event_message)?.into_iter().collect();
        Some(Match { event_number, event_message, extracted_values })
    };
    let try_all = move || (1..).zip(input.log_event_messages).filter_map(try_one).collect();
    Ok(Tested { matches: spawn_blocking(try_all).await.map_err(AwsError::internal)? })
}

fn parse_pattern(pattern: &str) -> Result<Filter, AwsError> {
    Filter::parse(pattern).map_err(|malformed| match malformed {
        engine::filter::Malformed::Grammar => errors::invalid_parameter("Invalid metric filter pattern"),
        malformed => errors::invalid_parameter(malformed.to_string()),
    })
}

impl DescribeMetricFilters {
    fn wants(&self, row: &Row<(Uuid, String), MetricFilter>) -> bool {
        let is = |wanted: &Option<String>, is: &str| wanted.as_ref().is_none_or(|wanted| wanted == is);
        let begins = self.filter_name_prefix.as_ref().is_none_or(|prefix| row.key.1.starts_with(prefix));
        let transformed = &row.value.transformation;
        begins
            && is(&self.metric_name, &transformed.metric_name)
            && is(&self.metric_namespace, &transformed.metric_namespace)
    }
}

impl Transformed {
    fn parse(&self, pattern: &str) -> Result<Transformation, AwsError> {
        let filter = parse_pattern(pattern)?;
        if self.default_value.is_some_and(|value| !value.is_finite()) {
            return Err(errors::invalid_parameter(
                "Invalid metric transformation: default value must be a valid number",
            ));
        }
        let dimensions: Vec<_> = self.dimensions.clone().unwrap_or_default().into_iter().collect();
        let made = Transformation::new(filter, &self.metric_value, self.default_value.is_some(), &dimensions);
        made.map_err(|invalid| errors::invalid_parameter(invalid.to_string()))
    }
}

impl From<Row<(Uuid, String), MetricFilter>> for Shown {
    fn from(row: Row<(Uuid, String), MetricFilter>) -> Shown {
        Shown {
            filter_name: row.key.1,
            filter_pattern: row.value.pattern,
            metric_transformations: [row.value.transformation],
            creation_time: row.value.created.as_millis(),
            log_group_name: row.value.group,
            apply_on_transformed_logs: false,
        }
    }
}

/// A metric filter, ready to be tried.
#[derive(Debug, Clone)]
pub struct Parsed {
    pub name: String,
    transformation: Transformation,
    namespace: String,
    metric: String,
    unit: String,
    default_value: Option<f64>,
}

/// What a message adds to a metric.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    pub namespace: String,
    pub name: String,
    pub value: f64,
    /// As CloudWatch names it; `None` where none was said.
    pub unit: String,
    pub dimensions: Vec<(String, String)>,
}

/// The filters of a group. One that cannot be read any more is left out: it says nothing of any event.
pub async fn of_group(store: &Store, scope: &Scope, group: Uuid) -> Result<Vec<Parsed>, AwsError> {
    let parse = |row: Row<(Uuid, String), MetricFilter>| {
        let transformed = row.value.transformation;
        Some(Parsed {
            name: row.key.1,
            transformation: transformed.parse(&row.value.pattern).ok()?,
            namespace: transformed.metric_namespace,
            metric: transformed.metric_name,
            unit: transformed.unit.unwrap_or_else(|| "None".to_owned()),
            default_value: transformed.default_value,
        })
    };
    Ok(group_filter::of_id(store, scope, group).await?.into_iter().filter_map(parse).collect())
}

impl Parsed {
    /// What a message adds, if it matches.
    pub fn apply(&self, message: &str) -> Option<Point> {
        let (value, dimensions) = self.transformation.point(message)?;
        Some(self.point(value, dimensions))
    }

    pub fn filter(&self) -> &Filter {
        self.transformation.filter()
    }

    /// What a message adds that matches and has these fields.
    pub fn point_of(&self, fields: &[(String, String)]) -> Option<Point> {
        let (value, dimensions) = self.transformation.point_of(fields)?;
        Some(self.point(value, dimensions))
    }

    /// What a minute adds that had events in the group and no match, if anything.
    pub fn default_point(&self) -> Option<Point> {
        Some(self.point(self.default_value?, Vec::new()))
    }

    fn point(&self, value: f64, dimensions: Vec<(String, String)>) -> Point {
        let Parsed { namespace, metric, unit, .. } = self;
        Point { namespace: namespace.clone(), name: metric.clone(), value, unit: unit.clone(), dimensions }
    }
}

/// What events add to a filter's metric, each with its time: a point a match, and the default of each minute that has
/// events and no match among them.
pub fn apply<'m>(parsed: &Parsed, events: impl Iterator<Item = (Timestamp, &'m str)>) -> Vec<(Timestamp, Point)> {
    const MINUTE_S: i64 = 60;
    let (mut points, mut is_matched) = (Vec::new(), BTreeMap::new());
    for (time, message) in events {
        let minute = time.as_secs().div_euclid(MINUTE_S);
        let point = parsed.apply(message);
        *is_matched.entry(minute).or_insert(false) |= point.is_some();
        points.extend(point.map(|point| (time, point)));
    }
    if let Some(default) = parsed.default_point() {
        let without = is_matched.into_iter().filter(|(_, is_matched)| !is_matched);
        let at = |minute: i64| Timestamp::from_secs(minute.saturating_mul(MINUTE_S));
        points.extend(without.map(|(minute, _)| (at(minute), default.clone())));
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(pattern: &str, value: &str, default_value: Option<f64>) -> Parsed {
        let [metric_name, metric_namespace, metric_value] = ["m", "n", value].map(str::to_owned);
        let (dimensions, unit) = (None, None);
        let transformed = Transformed { metric_name, metric_namespace, metric_value, default_value, dimensions, unit };
        Parsed {
            name: "f".into(),
            transformation: transformed.parse(pattern).unwrap(),
            namespace: transformed.metric_namespace,
            metric: transformed.metric_name,
            unit: "None".into(),
            default_value,
        }
    }

    #[test]
    fn a_minute_without_a_match_has_the_default() {
        let events = |messages: &[(i64, &'static str)]| -> Vec<(Timestamp, &'static str)> {
            messages.iter().map(|(second, message)| (Timestamp::from_secs(*second), *message)).collect()
        };
        let values = |parsed: &Parsed, messages: &[(i64, &'static str)]| -> Vec<(i64, f64)> {
            let points = apply(parsed, events(messages).into_iter());
            points.into_iter().map(|(time, point)| (time.as_secs(), point.value)).collect()
        };
        let messages = [(61, "ERROR"), (62, "fine"), (119, "ERROR"), (130, "fine"), (-1, "fine")];
        let with_default = parsed("ERROR", "1", Some(0.0));
        assert_eq!(values(&with_default, &messages), [(61, 1.0), (119, 1.0), (-60, 0.0), (120, 0.0)]);
        assert_eq!(values(&parsed("ERROR", "1", None), &messages), [(61, 1.0), (119, 1.0)]);
        let latency = parsed("{ $.latency = * }", "$.latency", None);
        assert_eq!(values(&latency, &[(1, r#"{"latency": 2.5}"#), (2, "x")]), [(1, 2.5)]);
        assert_eq!(latency.apply(r#"{"latency": 1}"#).unwrap().unit, "None");
    }
}

//! DescribeAlarms and DescribeAlarmsForMetric.

use std::collections::BTreeSet;

use base::{AwsError, Timestamp};
use engine::metric::alarm::composite::SuppressedBy;
use serde::{Deserialize, Serialize};
use store::{Row, Scan};

use super::watch::{Dimension, Watch};
use super::{ALARMS, Alarm, KeptStanding, STANDINGS, TIES, Watches, arn, errors};
use crate::{Ctx, Service};

/// Alarms of a page, unless asked for more.
const PAGE: usize = 50;
const PAGE_MAX: usize = 100;
/// Alarms read in one step, and steps of one request: a page that has looked at enough ends, full or not.
const STEP: usize = 200;
const STEPS_MAX: usize = 25;
const OPERATION: &str = "cloudwatch:DescribeAlarms";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct DescribeAlarms {
    alarm_names: Option<Vec<String>>,
    alarm_name_prefix: Option<String>,
    alarm_types: Option<Vec<String>>,
    children_of_alarm_name: Option<String>,
    parents_of_alarm_name: Option<String>,
    state_value: Option<String>,
    action_prefix: Option<String>,
    max_records: Option<usize>,
    next_token: Option<String>,
}

#[derive(Serialize, Default)]
#[serde(rename_all = "PascalCase")]
pub struct Described {
    composite_alarms: Vec<Shown>,
    metric_alarms: Vec<Shown>,
    /// There are none.
    log_alarms: Vec<Shown>,
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct DescribeAlarmsForMetric {
    metric_name: String,
    namespace: String,
    statistic: Option<String>,
    extended_statistic: Option<String>,
    dimensions: Option<Vec<Dimension>>,
    period: Option<u32>,
    unit: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribedForMetric {
    metric_alarms: Vec<Shown>,
}

/// An alarm of either kind. Absent members are those of the other one, or were not asked for.
#[derive(Serialize, Default)]
#[serde(rename_all = "PascalCase")]
struct Shown {
    alarm_name: String,
    alarm_arn: String,
    alarm_description: Option<String>,
    alarm_configuration_updated_timestamp: Option<Timestamp>,
    actions_enabled: Option<bool>,
    #[serde(rename = "OKActions")]
    ok_actions: Option<Vec<String>>,
    alarm_actions: Option<Vec<String>>,
    insufficient_data_actions: Option<Vec<String>>,
    state_value: Option<String>,
    state_reason: Option<String>,
    state_reason_data: Option<String>,
    state_updated_timestamp: Option<Timestamp>,
    state_transitioned_timestamp: Option<Timestamp>,
    #[serde(flatten)]
    watch: Option<Watch>,
    #[serde(flatten)]
    composition: Option<ShownComposition>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ShownComposition {
    alarm_rule: String,
    actions_suppressed_by: Option<String>,
    actions_suppressed_reason: Option<String>,
    actions_suppressor: Option<String>,
    actions_suppressor_wait_period: Option<u32>,
    actions_suppressor_extension_period: Option<u32>,
}

/// An alarm and its state.
type Found = (Row<String, Alarm>, KeptStanding);

pub fn operations(service: Service) -> Service {
    service.operation("DescribeAlarms", describe).operation("DescribeAlarmsForMetric", describe_for_metric)
}

pub async fn describe(ctx: Ctx, input: DescribeAlarms) -> Result<Described, AwsError> {
    if input.alarm_names.is_some() && input.alarm_name_prefix.is_some() {
        return Err(errors::validation("AlarmNamePrefix and AlarmNames cannot both be specified"));
    }
    match (&input.children_of_alarm_name, &input.parents_of_alarm_name) {
        (None, None) => {}
        _ if input.is_filtered() => {
            return Err(errors::validation(
                "ChildrenOfAlarmName and ParentsOfAlarmName cannot be specified with other parameters than MaxRecords \
                 and NextToken",
            ));
        }
        (Some(name), _) => return describe_children(&ctx, name, &input).await,
        (None, Some(name)) => return describe_parents(&ctx, name, &input).await,
    }
    let types = input.alarm_types.clone().unwrap_or_else(|| vec!["MetricAlarm".to_owned()]);
    let is_wanted = |(row, standing): &Found| {
        types.iter().any(|wanted| wanted == row.value.kind())
            && input.state_value.as_ref().is_none_or(|wanted| *wanted == standing.state)
            && input
                .action_prefix
                .as_ref()
                .is_none_or(|prefix| row.value.actions.all().any(|action| action.starts_with(prefix)))
    };
    let whole = |found| shown(&ctx, found);
    match &input.alarm_names {
        Some(names) => {
            let found = named(&ctx, names.iter().cloned().collect()).await?;
            Ok(described(found.into_iter().filter(is_wanted), None, whole))
        }
        None => {
            let prefix = input.alarm_name_prefix.as_deref().unwrap_or_default();
            let (found, next_token) = search(&ctx, prefix, &input, is_wanted).await?;
            Ok(described(found.into_iter(), next_token, whole))
        }
    }
}

pub async fn describe_for_metric(ctx: Ctx, input: DescribeAlarmsForMetric) -> Result<DescribedForMetric, AwsError> {
    let mut dimensions = input.dimensions.unwrap_or_default();
    dimensions.sort();
    let is_same = |watch: &Watch| {
        let mut own = watch.dimensions.clone();
        own.sort();
        watch.metric_name.as_ref() == Some(&input.metric_name)
            && watch.namespace.as_ref() == Some(&input.namespace)
            && own == dimensions
            && input.statistic.as_ref().is_none_or(|wanted| watch.statistic.as_ref() == Some(wanted))
            && input.extended_statistic.as_ref().is_none_or(|wanted| watch.extended_statistic.as_ref() == Some(wanted))
            && input.period.is_none_or(|wanted| watch.period == Some(wanted))
            && input.unit.as_ref().is_none_or(|wanted| watch.unit.as_ref() == Some(wanted))
    };
    let (mut metric_alarms, mut scan) = (Vec::new(), Scan::all(STEP));
    loop {
        let page = ALARMS.page(&ctx.cloud.store, &ctx.scope(), scan.clone()).await?;
        let is_wanted =
            |row: &Row<String, Alarm>| matches!(&row.value.watches, Watches::Metric(watch) if is_same(watch));
        let found = stand(&ctx, page.rows.into_iter().filter(is_wanted).collect()).await?;
        metric_alarms.extend(found.into_iter().map(|found| shown(&ctx, found)));
        match page.next {
            Some(next) => scan = scan.after(&next),
            None => return Ok(DescribedForMetric { metric_alarms }),
        }
    }
}

impl DescribeAlarms {
    /// Whether it says more than whose relatives are wanted.
    fn is_filtered(&self) -> bool {
        let both = self.children_of_alarm_name.is_some() && self.parents_of_alarm_name.is_some();
        both || self.alarm_names.is_some()
            || self.alarm_name_prefix.is_some()
            || self.alarm_types.is_some()
            || self.state_value.is_some()
            || self.action_prefix.is_some()
    }
}

/// Name, ARN and state of what an alarm's rule names.
async fn describe_children(ctx: &Ctx, name: &str, input: &DescribeAlarms) -> Result<Described, AwsError> {
    let alarm = ALARMS.get_shared(&ctx.cloud.store, &ctx.scope(), name).await?;
    let wanted: BTreeSet<String> = match alarm.as_ref().map(|alarm| &alarm.watches) {
        Some(Watches::Alarms(composition)) => composition.children(ctx)?.into_iter().collect(),
        _ => BTreeSet::new(),
    };
    let after = input.next_token.as_deref().map(|token| ctx.position::<String>(OPERATION, token));
    let after = after.map(|position| position.ok_or_else(errors::invalid_token)).transpose()?;
    let rest: BTreeSet<String> = wanted.into_iter().filter(|name| Some(name) > after.as_ref()).collect();
    let page: BTreeSet<String> = rest.iter().take(input.limit()).cloned().collect();
    let next_token = page.last().filter(|_| page.len() < rest.len()).and_then(|last| ctx.marker(OPERATION, Some(last)));
    let brief = |(row, standing): Found| Shown {
        alarm_arn: arn(ctx, &row.key),
        alarm_name: row.key,
        state_value: Some(standing.state),
        state_updated_timestamp: Some(standing.updated.trunc_millis()),
        ..Shown::default()
    };
    Ok(described(named(ctx, page).await?.into_iter(), next_token, brief))
}

/// Name and ARN of the composite alarms whose rules name an alarm.
async fn describe_parents(ctx: &Ctx, name: &str, input: &DescribeAlarms) -> Result<Described, AwsError> {
    let scan = Scan::all(input.limit()).under::<String>(name);
    let scan = ctx.resume(OPERATION, scan, input.next_token.as_deref()).ok_or_else(errors::invalid_token)?;
    let page = TIES.page(&ctx.cloud.store, &ctx.scope(), scan).await?;
    let parents = page.rows.into_iter().filter(|row| row.value.is_in_rule).map(|row| row.key.1).collect();
    let next_token = ctx.marker(OPERATION, page.next.as_ref());
    let brief = |(row, _): Found| Shown { alarm_arn: arn(ctx, &row.key), alarm_name: row.key, ..Shown::default() };
    Ok(described(named(ctx, parents).await?.into_iter(), next_token, brief))
}

impl DescribeAlarms {
    fn limit(&self) -> usize {
        self.max_records.unwrap_or(PAGE).clamp(1, PAGE_MAX)
    }
}

/// Those of these names that there are, in the order of the names.
async fn named(ctx: &Ctx, names: BTreeSet<String>) -> Result<Vec<Found>, AwsError> {
    let keys: Vec<&str> = names.iter().map(String::as_str).collect();
    let rows = ALARMS.get_many(&ctx.cloud.store, &ctx.scope(), &keys).await?;
    stand(ctx, rows.into_iter().flatten().collect()).await
}

/// Alarms with their states. One that is about to go has none.
async fn stand(ctx: &Ctx, rows: Vec<Row<String, Alarm>>) -> Result<Vec<Found>, AwsError> {
    let keys: Vec<&str> = rows.iter().map(|row| row.key.as_str()).collect();
    let standings = STANDINGS.get_many(&ctx.cloud.store, &ctx.scope(), &keys).await?;
    Ok(rows.into_iter().zip(standings).filter_map(|(row, standing)| Some((row, standing?.value))).collect())
}

/// A page of the alarms that are wanted, in the order of their names, and where to go on.
async fn search(
    ctx: &Ctx,
    prefix: &str,
    input: &DescribeAlarms,
    is_wanted: impl Fn(&Found) -> bool,
) -> Result<(Vec<Found>, Option<String>), AwsError> {
    let scan = Scan::all(STEP).starting_with(prefix);
    let mut scan = ctx.resume(OPERATION, scan, input.next_token.as_deref()).ok_or_else(errors::invalid_token)?;
    let (mut wanted, mut last) = (Vec::new(), None);
    for _ in 0..STEPS_MAX {
        let page = ALARMS.page(&ctx.cloud.store, &ctx.scope(), scan.clone()).await?;
        for found in stand(ctx, page.rows).await? {
            if wanted.len() >= input.limit() {
                return Ok((wanted, ctx.marker(OPERATION, last.as_ref())));
            }
            last = Some(found.0.key.clone());
            if is_wanted(&found) {
                wanted.push(found);
            }
        }
        match page.next {
            None => return Ok((wanted, None)),
            Some(next) => scan = scan.after(&next),
        }
    }
    Ok((wanted, ctx.marker(OPERATION, last.as_ref())))
}

fn described(
    found: impl Iterator<Item = Found>,
    next_token: Option<String>,
    show: impl Fn(Found) -> Shown,
) -> Described {
    let mut described = Described { next_token, ..Described::default() };
    for one in found {
        match one.0.value.watches {
            Watches::Metric(_) => described.metric_alarms.push(show(one)),
            Watches::Alarms(_) => described.composite_alarms.push(show(one)),
        }
    }
    described
}

fn shown(ctx: &Ctx, (row, standing): Found) -> Shown {
    let alarm = row.value;
    let (watch, composition) = match alarm.watches {
        Watches::Metric(watch) => (Some(watch), None),
        Watches::Alarms(composition) => {
            let suppressor = composition.suppressor;
            let held = standing.machine().suppressed;
            let shown = ShownComposition {
                alarm_rule: composition.rule,
                actions_suppressed_by: held.map(|held| SuppressedBy::name(held.by).to_owned()),
                actions_suppressed_reason: held.map(|held| held.reason()),
                actions_suppressor_wait_period: suppressor.as_ref().map(|suppressor| suppressor.wait_s),
                actions_suppressor_extension_period: suppressor.as_ref().map(|suppressor| suppressor.extension_s),
                actions_suppressor: suppressor.map(|suppressor| suppressor.alarm),
            };
            (None, Some(shown))
        }
    };
    Shown {
        alarm_arn: arn(ctx, &row.key),
        alarm_name: row.key,
        alarm_description: alarm.description,
        alarm_configuration_updated_timestamp: Some(alarm.configured),
        actions_enabled: Some(alarm.actions.are_enabled),
        ok_actions: Some(alarm.actions.ok),
        alarm_actions: Some(alarm.actions.alarm),
        insufficient_data_actions: Some(alarm.actions.insufficient_data),
        state_value: Some(standing.state),
        state_reason: Some(standing.reason),
        state_reason_data: standing.reason_data,
        state_updated_timestamp: Some(standing.updated.trunc_millis()),
        state_transitioned_timestamp: Some(standing.transitioned.trunc_millis()),
        watch,
        composition,
    }
}

//! PutMetricAlarm. What is put replaces what was there, but for the alarm's state and its tags.

use base::{Arn, AwsError};
use engine::math::Plan;
use engine::metric::alarm::Standing;
use engine::metric::alarm::evaluate::{Missing, Operator};
use engine::metric::alarm::history::{Change, Item};
use engine::metric::statistic::Statistic;
use serde::Deserialize;
use store::Batch;

use super::watch::{Dimension, Query, Watch};
use super::{ALARMS, Actions, Alarm, KeptStanding, STANDINGS, TIES, Watches, errors, event, history};
use crate::cloudwatch::tag::{self, Tag};
use crate::{Ctx, Service};

/// Alarms of more than a day look at hours.
const LONG_PERIOD_S: u32 = 3_600;
const DAY_S: u64 = 86_400;
const WEEK_S: u64 = 604_800;
/// Queries of one alarm.
const QUERIES_MAX: usize = 20;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct PutMetricAlarm {
    alarm_name: String,
    alarm_description: Option<String>,
    actions_enabled: Option<bool>,
    #[serde(rename = "OKActions")]
    ok_actions: Option<Vec<String>>,
    alarm_actions: Option<Vec<String>>,
    insufficient_data_actions: Option<Vec<String>>,
    metric_name: Option<String>,
    namespace: Option<String>,
    statistic: Option<String>,
    extended_statistic: Option<String>,
    dimensions: Option<Vec<Dimension>>,
    period: Option<u32>,
    unit: Option<String>,
    evaluation_periods: Option<u32>,
    datapoints_to_alarm: Option<u32>,
    threshold: Option<f64>,
    comparison_operator: Option<String>,
    treat_missing_data: Option<String>,
    evaluate_low_sample_count_percentile: Option<String>,
    metrics: Option<Vec<Query>>,
    tags: Option<Vec<Tag>>,
    threshold_metric_id: Option<String>,
}

pub fn operations(service: Service) -> Service {
    service.operation("PutMetricAlarm", put)
}

pub async fn put(ctx: Ctx, input: PutMetricAlarm) -> Result<(), AwsError> {
    check_name(&input.alarm_name)?;
    let actions = Actions {
        are_enabled: input.actions_enabled.unwrap_or(true),
        ok: input.ok_actions.clone().unwrap_or_default(),
        alarm: input.alarm_actions.clone().unwrap_or_default(),
        insufficient_data: input.insufficient_data_actions.clone().unwrap_or_default(),
    };
    check_actions(&ctx, &actions)?;
    let (name, description) = (input.alarm_name.clone(), input.alarm_description.clone());
    let tags = tag::map(input.tags.as_deref().unwrap_or_default())?;
    let watches = Watches::Metric(input.watch()?);
    save(&ctx, &name, Alarm { description, configured: ctx.cx.now().trunc_millis(), actions, tags, watches }).await
}

/// Puts an alarm of either kind: its state stays if it has one, and so do its tags.
pub async fn save(ctx: &Ctx, name: &str, alarm: Alarm) -> Result<(), AwsError> {
    let scope = ctx.scope();
    let mut edit = ctx.edit(&ALARMS, &scope, name).await;
    loop {
        let (found, batch) = edit.read().await?;
        let mut alarm = alarm.clone();
        let batch = match &found {
            Some(found) => untie(ctx, name, found, batch)?,
            None => batch,
        };
        let (change, standing, mut batch) = match found {
            Some(found) if found.kind() != alarm.kind() => {
                return Err(errors::validation(format!(
                    "An alarm of type {} already exists with the name {name}",
                    found.kind()
                )));
            }
            Some(found) => {
                alarm.tags = found.tags;
                let standing = STANDINGS.get(&ctx.cloud.store, &scope, name).await?.map(|row| row.value);
                (Change::Updated, standing, batch)
            }
            None => {
                let standing = KeptStanding::of(&Standing::new(alarm.configured));
                let batch = batch.put(&STANDINGS, &scope, name, &standing);
                (Change::Created, Some(standing), batch)
            }
        };
        for (other, tie) in alarm.ties(ctx)? {
            batch = batch.put(&TIES, &scope, (&other, name), &tie);
        }
        let batch = batch.put(&ALARMS, &scope, name, &alarm);
        let batch = record(ctx, name, change, &alarm, standing.as_ref(), batch);
        if edit.commit(batch).await? {
            return Ok(());
        }
    }
}

/// Takes away what tells others of an alarm that hangs on them.
pub fn untie(ctx: &Ctx, name: &str, alarm: &Alarm, batch: Batch) -> Result<Batch, AwsError> {
    let ties = alarm.ties(ctx)?;
    Ok(ties.keys().fold(batch, |batch, other| batch.delete(&TIES, &ctx.scope(), (other, name))))
}

/// Tells the history what was done to an alarm.
pub fn record(
    ctx: &Ctx,
    name: &str,
    change: Change,
    alarm: &Alarm,
    standing: Option<&KeptStanding>,
    batch: Batch,
) -> Batch {
    let told = event::configuration(ctx, name, alarm, standing);
    let item = Item::configuration(ctx.cx.now(), name, change, told);
    history::add(ctx, batch, name, alarm, &[item])
}

/// No control characters.
pub fn check_name(name: &str) -> Result<(), AwsError> {
    match name.chars().any(|c| c.is_ascii_control()) {
        true => Err(errors::validation("AlarmName must not contain control characters")),
        false => Ok(()),
    }
}

/// ARNs, of this region: `arn:aws:automate:us-east-1:ec2:stop` names an action of EC2 and is shorter than others.
pub fn check_actions(ctx: &Ctx, actions: &Actions) -> Result<(), AwsError> {
    let here = ctx.cx.region.as_str();
    for action in actions.all() {
        let arn = action.parse::<Arn>().map_err(|_| errors::validation(format!("Invalid arn syntax: {action}")))?;
        if !arn.region.is_empty() && arn.region != here {
            let region = arn.region;
            return Err(errors::validation(format!("Invalid region {region} specified. Only {here} is supported.")));
        }
    }
    Ok(())
}

impl PutMetricAlarm {
    /// What is watched, if it is something that can be.
    fn watch(self) -> Result<Watch, AwsError> {
        if self.threshold.is_some() && self.threshold_metric_id.is_some() {
            return Err(errors::validation("Threshold and ThresholdMetricId cannot both be set"));
        }
        if self.threshold_metric_id.is_some() {
            return Err(AwsError::not_built("alarms on anomaly detection"));
        }
        match &self.metrics {
            Some(queries) => self.check_queries(queries)?,
            None => self.check_metric()?,
        }
        let comparison_operator =
            self.comparison_operator.ok_or_else(|| errors::must_not_be_null("ComparisonOperator"))?;
        if Operator::parse(&comparison_operator).is_none() {
            return Err(AwsError::not_built("alarms on anomaly detection"));
        }
        let mut queries = self.metrics;
        queries.iter_mut().flatten().for_each(|query| query.return_data = Some(query.is_returned()));
        let watch = Watch {
            metric_name: self.metric_name,
            namespace: self.namespace,
            statistic: self.statistic,
            extended_statistic: self.extended_statistic,
            dimensions: self.dimensions.unwrap_or_default(),
            period: self.period,
            unit: self.unit,
            evaluation_periods: self.evaluation_periods.ok_or_else(|| errors::must_not_be_null("EvaluationPeriods"))?,
            datapoints_to_alarm: self.datapoints_to_alarm,
            threshold: self.threshold.ok_or_else(|| errors::must_not_be_null("Threshold"))?,
            comparison_operator,
            treat_missing_data: self.treat_missing_data,
            evaluate_low_sample_count_percentile: self.evaluate_low_sample_count_percentile,
            metrics: queries,
        };
        check_evaluation(&watch)?;
        Ok(watch)
    }

    fn check_metric(&self) -> Result<(), AwsError> {
        let given = [
            ("MetricName", self.metric_name.is_some()),
            ("Namespace", self.namespace.is_some()),
            ("Period", self.period.is_some()),
        ];
        if let Some((member, _)) = given.iter().find(|(_, is_given)| !is_given) {
            return Err(errors::must_not_be_null(member));
        }
        match (&self.statistic, &self.extended_statistic) {
            (None, None) => Err(errors::must_not_be_null("Statistic")),
            (Some(_), Some(_)) => Err(errors::validation("Statistic and ExtendedStatistic cannot both be set")),
            (Some(_), None) => Ok(()),
            (None, Some(text)) => match text.parse::<Statistic>() {
                Ok(statistic) if statistic.is_extended() => Ok(()),
                _ => Err(errors::not_supported(text, "ExtendedStatistic")),
            },
        }
    }

    fn check_queries(&self, queries: &[Query]) -> Result<(), AwsError> {
        let beside = [
            ("MetricName", self.metric_name.is_some()),
            ("Namespace", self.namespace.is_some()),
            ("Dimensions", self.dimensions.is_some()),
            ("Period", self.period.is_some()),
            ("Unit", self.unit.is_some()),
            ("Statistic", self.statistic.is_some()),
            ("ExtendedStatistic", self.extended_statistic.is_some()),
        ];
        if let Some((member, _)) = beside.iter().find(|(_, is_given)| *is_given) {
            return Err(errors::set_beside_metrics(member));
        }
        if queries.iter().filter(|query| query.is_returned()).count() != 1 {
            return Err(errors::validation("Exactly one element of the metrics list should return data."));
        }
        if queries.len() > QUERIES_MAX || !queries.iter().all(is_whole) {
            return Err(errors::validation("Invalid metrics list"));
        }
        check_plan(queries)
    }
}

/// What AWS asks of an expression: that it means one series, of metrics that are named.
fn check_plan(queries: &[Query]) -> Result<(), AwsError> {
    let asked: Vec<_> = queries.iter().map(Query::asked).collect();
    let plan = Plan::new(&asked).map_err(|refused| errors::validation(refused.0))?;
    let searches = |need: &engine::math::Need| matches!(need.wanted, engine::math::Wanted::Search { .. });
    if plan.needs().iter().any(searches) {
        return Err(errors::validation("SEARCH is not supported on Metric Alarms"));
    }
    if !plan.needs().is_empty() {
        return Err(AwsError::not_built("alarms on Metrics Insights queries"));
    }
    let watched = queries.iter().position(Query::is_returned).unwrap_or_default();
    match plan.is_array(watched) {
        true => Err(errors::validation("Invalid metrics list")),
        false => Ok(()),
    }
}

/// A metric or an expression; a metric with a statistic that there is.
fn is_whole(query: &Query) -> bool {
    match (&query.metric_stat, &query.expression) {
        (Some(stat), None) => {
            stat.metric().is_some() && is_period(stat.period) && stat.stat.parse::<Statistic>().is_ok()
        }
        (None, Some(_)) => query.period.is_none_or(is_period),
        _ => false,
    }
}

fn is_period(period_s: u32) -> bool {
    matches!(period_s, 10 | 20 | 30) || (period_s > 0 && period_s.is_multiple_of(60))
}

fn check_evaluation(watch: &Watch) -> Result<(), AwsError> {
    let period_s = watch.period_s();
    if !is_period(period_s) {
        return Err(errors::validation("Period must be 10, 20, 30 or a multiple of 60"));
    }
    let looks_at = u64::from(period_s).saturating_mul(u64::from(watch.evaluation_periods));
    if period_s < LONG_PERIOD_S && looks_at > DAY_S {
        return Err(errors::validation(format!(
            "Metrics cannot be checked across more than a day (EvaluationPeriods * Period must be <= {DAY_S})"
        )));
    }
    if looks_at > WEEK_S {
        return Err(errors::validation(format!(
            "Metrics cannot be checked across more than a week (EvaluationPeriods * Period must be <= {WEEK_S}) for \
             alarms using period >= {LONG_PERIOD_S}"
        )));
    }
    if watch.datapoints_to_alarm.is_some_and(|needed| needed > watch.evaluation_periods) {
        return Err(errors::validation("DatapointsToAlarm must be less than or equal to EvaluationPeriods"));
    }
    if !watch.threshold.is_finite() {
        return Err(errors::not_supported(&watch.threshold.to_string(), "Threshold"));
    }
    let missing = watch.treat_missing_data.as_deref();
    if let Some(value) = missing.filter(|value| Missing::parse(value).is_none()) {
        return Err(errors::not_supported(value, "TreatMissingData"));
    }
    let thin = watch.evaluate_low_sample_count_percentile.as_deref();
    if let Some(value) = thin.filter(|value| !["evaluate", "ignore"].contains(value)) {
        return Err(errors::not_supported(value, "EvaluateLowSampleCountPercentile"));
    }
    Ok(())
}

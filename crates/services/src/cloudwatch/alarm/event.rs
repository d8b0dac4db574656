//! Alarms as JSON: as the history tells what was done to one, and as a function is told of a change of state.
//!
//! Follows "Invoke a Lambda function from an alarm" and "Alarm events and EventBridge" of the user guide.

use std::collections::BTreeMap;

use base::Timestamp;
use engine::metric::alarm::Standing;
use engine::metric::alarm::State;
use serde_json::{Map, Value, json};

use super::watch::{Dimension, MetricStat, Query, Watch};
use super::{Actions, Alarm, Composition, KeptStanding, Watches, arn};
use crate::Ctx;

/// What a function is told. `id` names the one metric of an alarm that has no queries; AWS gives it a new one each
/// time.
pub fn of_change(ctx: &Ctx, name: &str, alarm: &Alarm, from: &Standing, to: &Standing, id: &str) -> String {
    let mut data = Map::new();
    data.insert("alarmName".to_owned(), json!(name));
    data.insert("state".to_owned(), state(to));
    data.insert("previousState".to_owned(), state(from));
    data.insert("configuration".to_owned(), described(alarm, id));
    json!({
        "source": "aws.cloudwatch",
        "alarmArn": arn(ctx, name),
        "accountId": ctx.cx.account.as_str(),
        "time": to.updated.lambda(),
        "region": ctx.cx.region.as_str(),
        "alarmData": data,
    })
    .to_string()
}

fn state(standing: &Standing) -> Value {
    let Standing { state, reason, reason_data, updated, suppressed, .. } = standing;
    let mut told = members([
        ("value", Some(json!(State::name(*state)))),
        ("reason", Some(json!(reason))),
        ("reasonData", reason_data.as_ref().map(|data| json!(data))),
        ("timestamp", Some(json!(updated.lambda()))),
    ]);
    if let Some(held) = suppressed {
        told.insert("actionsSuppressedBy".to_owned(), json!(held.by.name()));
        told.insert("actionsSuppressedReason".to_owned(), json!(held.reason()));
    }
    Value::Object(told)
}

fn described(alarm: &Alarm, id: &str) -> Value {
    let description = alarm.description.as_ref().map(|text| json!(text));
    Value::Object(match &alarm.watches {
        Watches::Metric(watch) => members([("description", description), ("metrics", Some(metrics(watch, id)))]),
        Watches::Alarms(composition) => {
            let mut told = members([("description", description)]);
            told.extend(composed(composition));
            told
        }
    })
}

fn metrics(watch: &Watch, id: &str) -> Value {
    if let Some(queries) = &watch.metrics {
        return queries.iter().map(query).collect();
    }
    let metric = metric(watch.namespace.as_deref(), watch.metric_name.as_deref(), &watch.dimensions);
    let stat = stat(metric, watch.period_s(), watch.statistic().unwrap_or_default(), watch.unit.as_deref());
    json!([{ "id": id, "metricStat": stat, "returnData": true }])
}

fn query(query: &Query) -> Value {
    let metric_stat = |stat_: &MetricStat| {
        let name = &stat_.metric;
        let dimensions = name.dimensions.as_deref().unwrap_or_default();
        let metric = metric(name.namespace.as_deref(), name.metric_name.as_deref(), dimensions);
        stat(metric, stat_.period, &stat_.stat, stat_.unit.as_deref())
    };
    Value::Object(members([
        ("id", Some(json!(query.id))),
        ("expression", query.expression.as_ref().map(|text| json!(text))),
        ("metricStat", query.metric_stat.as_ref().map(metric_stat)),
        ("label", query.label.as_ref().map(|text| json!(text))),
        ("period", query.period.map(|period| json!(period))),
        ("returnData", Some(json!(query.is_returned()))),
    ]))
}

fn stat(metric: Value, period_s: u32, stat: &str, unit: Option<&str>) -> Value {
    Value::Object(members([
        ("metric", Some(metric)),
        ("period", Some(json!(period_s))),
        ("stat", Some(json!(stat))),
        ("unit", unit.map(|unit| json!(unit))),
    ]))
}

fn metric(namespace: Option<&str>, name: Option<&str>, dimensions: &[Dimension]) -> Value {
    let dimensions: BTreeMap<&str, &str> =
        dimensions.iter().map(|dimension| (dimension.name.as_str(), dimension.value.as_str())).collect();
    json!({ "namespace": namespace, "name": name, "dimensions": dimensions })
}

/// An alarm as AWS writes one into its history.
pub fn configuration(ctx: &Ctx, name: &str, alarm: &Alarm, standing: Option<&KeptStanding>) -> Value {
    let Actions { are_enabled, ok, alarm: in_alarm, insufficient_data } = &alarm.actions;
    let moment = |at: Timestamp| json!(at.lambda());
    let mut told = members([
        ("alarmName", Some(json!(name))),
        ("alarmDescription", alarm.description.as_ref().map(|text| json!(text))),
        ("alarmArn", Some(json!(arn(ctx, name)))),
        ("alarmConfigurationUpdatedTimestamp", Some(moment(alarm.configured))),
        ("stateValue", standing.map(|standing| json!(standing.state))),
        ("stateUpdatedTimestamp", standing.map(|standing| moment(standing.updated))),
        ("actionsEnabled", Some(json!(are_enabled))),
        ("okactions", Some(json!(ok))),
        ("alarmActions", Some(json!(in_alarm))),
        ("insufficientDataActions", Some(json!(insufficient_data))),
    ]);
    match &alarm.watches {
        Watches::Metric(watch) => told.extend(watched(watch)),
        Watches::Alarms(composition) => told.extend(composed(composition)),
    }
    Value::Object(told)
}

fn composed(composition: &Composition) -> Map<String, Value> {
    let suppressor = composition.suppressor.as_ref();
    members([
        ("alarmRule", Some(json!(composition.rule))),
        ("actionsSuppressor", suppressor.map(|suppressor| json!(suppressor.alarm))),
        ("actionsSuppressorWaitPeriod", suppressor.map(|suppressor| json!(suppressor.wait_s))),
        ("actionsSuppressorExtensionPeriod", suppressor.map(|suppressor| json!(suppressor.extension_s))),
    ])
}

fn watched(watch: &Watch) -> Map<String, Value> {
    let text = |text: &Option<String>| text.as_ref().map(|text| json!(text));
    let dimension = |dimension: &Dimension| json!({ "value": dimension.value, "name": dimension.name });
    let dimensions: Value = watch.dimensions.iter().map(dimension).collect();
    members([
        ("namespace", text(&watch.namespace)),
        ("metricName", text(&watch.metric_name)),
        ("statistic", text(&watch.statistic)),
        ("extendedStatistic", text(&watch.extended_statistic)),
        ("period", watch.period.map(|period| json!(period))),
        ("unit", text(&watch.unit)),
        ("dimensions", Some(dimensions)),
        ("metrics", watch.metrics.as_ref().map(|queries| queries.iter().map(query).collect())),
        ("threshold", Some(json!(watch.threshold))),
        ("comparisonOperator", Some(json!(watch.comparison_operator))),
        ("evaluationPeriods", Some(json!(watch.evaluation_periods))),
        ("datapointsToAlarm", watch.datapoints_to_alarm.map(|needed| json!(needed))),
        ("treatMissingData", text(&watch.treat_missing_data)),
        ("evaluateLowSampleCountPercentile", text(&watch.evaluate_low_sample_count_percentile)),
    ])
}

/// Of those that are there.
fn members<const N: usize>(all: [(&str, Option<Value>); N]) -> Map<String, Value> {
    all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

//! What a metric alarm watches, in AWS's members: as it is asked for, stored and shown.

use engine::math::{Asks, Metric, Query as Asked};
use engine::metric::alarm::evaluate::{Condition, Missing, Operator};
use engine::metric::alarm::reason::Source;
use engine::metric::statistic::Statistic;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Watch {
    pub metric_name: Option<String>,
    pub namespace: Option<String>,
    pub statistic: Option<String>,
    pub extended_statistic: Option<String>,
    pub dimensions: Vec<Dimension>,
    pub period: Option<u32>,
    pub unit: Option<String>,
    pub evaluation_periods: u32,
    pub datapoints_to_alarm: Option<u32>,
    pub threshold: f64,
    pub comparison_operator: String,
    pub treat_missing_data: Option<String>,
    pub evaluate_low_sample_count_percentile: Option<String>,
    /// Instead of one metric: metrics and expressions, of which one is watched.
    pub metrics: Option<Vec<Query>>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Dimension {
    pub name: String,
    pub value: String,
}

/// `MetricDataQuery`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Query {
    pub id: String,
    pub metric_stat: Option<MetricStat>,
    pub expression: Option<String>,
    pub label: Option<String>,
    pub return_data: Option<bool>,
    pub period: Option<u32>,
    pub account_id: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct MetricStat {
    pub metric: MetricName,
    pub period: u32,
    pub stat: String,
    pub unit: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct MetricName {
    pub namespace: Option<String>,
    pub metric_name: Option<String>,
    pub dimensions: Option<Vec<Dimension>>,
}

const PERIOD_S: u32 = 60;

impl Watch {
    /// The one metric that is watched, if it is one.
    pub fn metric(&self) -> Option<Metric> {
        Some(metric(self.namespace.as_deref()?, self.metric_name.as_deref()?, &self.dimensions))
    }

    /// How the one metric is looked at, in AWS's words.
    pub fn statistic(&self) -> Option<&str> {
        self.statistic.as_deref().or(self.extended_statistic.as_deref())
    }

    /// `None` where it compares with what is not there yet, which was refused when it was put.
    pub fn condition(&self) -> Option<Condition> {
        let samples_needed = || self.extended_statistic.as_deref()?.parse::<Statistic>().ok()?.samples_needed();
        let is_cautious = self.evaluate_low_sample_count_percentile.as_deref() == Some("ignore");
        Some(Condition {
            operator: Operator::parse(&self.comparison_operator)?,
            threshold: self.threshold,
            period_s: self.period_s(),
            evaluation_periods: self.evaluation_periods,
            datapoints_to_alarm: self.datapoints_to_alarm,
            missing: self.missing(),
            samples_needed: if is_cautious { samples_needed() } else { None },
        })
    }

    pub fn source(&self) -> Source {
        Source { statistic: self.statistic().map(str::to_owned), unit: self.unit.clone() }
    }

    /// Of the metric, or of the expression that is watched: the longest of all that it reads.
    pub fn period_s(&self) -> u32 {
        let Some(queries) = &self.metrics else { return self.period.unwrap_or(PERIOD_S) };
        queries.iter().filter_map(Query::period_s).max().unwrap_or(PERIOD_S)
    }

    /// AWS's DynamoDB has metrics only when something happens: what is missing there says nothing.
    fn missing(&self) -> Missing {
        if self.namespace.as_deref() == Some("AWS/DynamoDB") {
            return Missing::Ignore;
        }
        self.treat_missing_data.as_deref().and_then(Missing::parse).unwrap_or_default()
    }
}

impl Query {
    /// A query is returned unless it says no.
    pub fn is_returned(&self) -> bool {
        self.return_data.unwrap_or(true)
    }

    fn period_s(&self) -> Option<u32> {
        self.metric_stat.as_ref().map(|stat| stat.period).or(self.period)
    }

    /// As metric math has it.
    pub fn asked(&self) -> Asked<'_> {
        let asks = match (&self.metric_stat, &self.expression) {
            (None, Some(text)) => Asks::Expression { text, period_s: self.period },
            _ => Asks::Metric { period_s: self.period_s().unwrap_or(PERIOD_S) },
        };
        Asked { id: &self.id, label: self.label.as_deref(), asks, is_returned: self.is_returned() }
    }
}

impl MetricStat {
    pub fn metric(&self) -> Option<Metric> {
        let MetricName { namespace, metric_name, dimensions } = &self.metric;
        Some(metric(namespace.as_deref()?, metric_name.as_deref()?, dimensions.as_deref().unwrap_or_default()))
    }
}

fn metric(namespace: &str, name: &str, dimensions: &[Dimension]) -> Metric {
    let pair = |dimension: &Dimension| (dimension.name.clone(), dimension.value.clone());
    Metric::new(namespace, name, dimensions.iter().map(pair).collect())
}

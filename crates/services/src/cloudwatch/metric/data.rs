//! GetMetricData: metrics and what is computed of them, many at once, page by page.

use base::{AwsError, Timestamp};
use engine::math::label::Place;
use engine::math::{Plan, Point, Query as Asked, Value, Window as Moments};
use engine::metric::statistic::{Statistic, Unsupported};
use engine::metric::window::{Window, is_period};
use serde::{Deserialize, Serialize};

use super::fetch::{Fetch, Range};
use crate::Ctx;
use crate::cloudwatch::alarm::watch::Query;

const DATAPOINTS_MAX: usize = 100_800;
const OPERATION: &str = "cloudwatch:GetMetricData";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct GetMetricData {
    metric_data_queries: Vec<Query>,
    start_time: Timestamp,
    end_time: Timestamp,
    next_token: Option<String>,
    scan_by: Option<String>,
    max_datapoints: Option<i64>,
    label_options: Option<LabelOptions>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct LabelOptions {
    timezone: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Got {
    metric_data_results: Vec<Shown>,
    next_token: Option<String>,
    messages: Vec<Message>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Shown {
    id: String,
    label: String,
    timestamps: Vec<Timestamp>,
    values: Vec<f64>,
    status_code: &'static str,
    messages: Option<Vec<Message>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Message {
    pub code: &'static str,
    pub value: String,
}

/// What one series comes to, in the order of time.
struct Whole {
    id: String,
    label: String,
    points: Vec<Point>,
    messages: Vec<Message>,
}

pub async fn get(ctx: Ctx, input: GetMetricData) -> Result<Got, AwsError> {
    check(&input)?;
    // All pages are of the moment of the first.
    let (now, from) = match input.next_token.as_deref() {
        None => (ctx.cx.now(), 0),
        Some(token) => ctx.position::<(Timestamp, u64)>(OPERATION, token).ok_or_else(invalid_token)?,
    };
    let (mut whole, messages) = whole(&ctx, &input, now).await?;
    if input.scan_by.as_deref() != Some("TimestampAscending") {
        whole.iter_mut().for_each(|one| one.points.reverse());
    }
    let max = input.max_datapoints.and_then(|max| usize::try_from(max).ok()).unwrap_or(DATAPOINTS_MAX);
    let (shown, next) = page(whole, usize::try_from(from).unwrap_or(usize::MAX), max);
    let next = next.and_then(|next| u64::try_from(next).ok()).map(|next| (now, next));
    let messages = if from == 0 { messages } else { Vec::new() };
    Ok(Got { metric_data_results: shown, next_token: ctx.marker(OPERATION, next.as_ref()), messages })
}

/// All that the request comes to.
async fn whole(ctx: &Ctx, input: &GetMetricData, now: Timestamp) -> Result<(Vec<Whole>, Vec<Message>), AwsError> {
    let queries = &input.metric_data_queries;
    let asked: Vec<Asked<'_>> = queries.iter().map(Query::asked).collect();
    let plan = Plan::new(&asked).map_err(|refused| validation(refused.0))?;
    let range = Range { now, start: input.start_time, end: input.end_time };
    let mut fetch = Fetch::new(ctx, range);
    let (mut metrics, mut messages) = (Vec::with_capacity(queries.len()), Vec::with_capacity(queries.len()));
    for query in queries {
        let (series, message) = match &query.metric_stat {
            Some(stat) => fetch.metric(stat).await?,
            None => (None, None),
        };
        metrics.push(series);
        messages.push(message);
    }
    let mut found = Vec::with_capacity(plan.needs().len());
    for need in plan.needs() {
        found.push(fetch.need(need).await?);
    }
    let periods = (0..queries.len()).map(|place| plan.period_s(place));
    let window = moments(range, periods);
    let place = Place {
        account_id: ctx.cx.account.as_str(),
        region: ctx.cx.region.as_str(),
        now_s: now.as_secs(),
        offset_s: offset_s(input.label_options.as_ref())?,
    };
    let values = plan.evaluate(window, &place, metrics, found).map_err(|refused| validation(refused.0))?;
    let mut whole = Vec::new();
    for ((query, value), message) in queries.iter().zip(values).zip(messages) {
        let series = match value {
            _ if !query.is_returned() => continue,
            Value::Series(series) => vec![series],
            Value::Array(array) => array,
            Value::Scalar(_) => continue,
        };
        whole.extend(series.into_iter().map(|series| Whole {
            id: query.id.clone(),
            label: series.label,
            points: series.points.to_vec(),
            messages: message.clone().into_iter().collect(),
        }));
    }
    Ok((whole, fetch.messages))
}

/// The periods of all queries begin with the earliest: AWS cuts the start of a fine one no coarser than it needs to be.
fn moments(range: Range, periods: impl Iterator<Item = u32>) -> Moments {
    let starts = periods.map(|period_s| range.window(period_s).start);
    let start = starts.min().unwrap_or(range.start);
    Moments { start_s: start.as_secs(), end_s: range.end.as_secs() }
}

/// As many points as a page has, behind the first `from`. Where the next page begins, if there is one.
fn page(whole: Vec<Whole>, from: usize, max: usize) -> (Vec<Shown>, Option<usize>) {
    let (mut before, mut room, mut is_more) = (0_usize, max, false);
    let mut shown = Vec::new();
    for Whole { id, label, points, messages } in whole {
        let skipped = from.saturating_sub(before).min(points.len());
        before = before.saturating_add(points.len());
        let is_first = from == 0;
        if !is_first && skipped == points.len() {
            continue;
        }
        let left = points.len().saturating_sub(skipped);
        let taken = left.min(room);
        room = room.saturating_sub(taken);
        is_more |= taken < left;
        let (timestamps, values) =
            points.into_iter().skip(skipped).take(taken).map(|(at, value)| (Timestamp::from_secs(at), value)).unzip();
        let status_code = if taken < left { "PartialData" } else { "Complete" };
        let messages = (!messages.is_empty()).then_some(messages);
        shown.push(Shown { id, label, timestamps, values, status_code, messages });
    }
    let next = from.saturating_add(max);
    (shown, is_more.then_some(next))
}

fn check(input: &GetMetricData) -> Result<(), AwsError> {
    let mut faults = Vec::new();
    for (at, query) in (1_usize..).zip(&input.metric_data_queries) {
        check_query(&mut faults, &format!("MetricDataQueries.member.{at}"), query);
    }
    if input.start_time == input.end_time {
        faults.push("The parameter StartTime must not equal parameter EndTime.".to_owned());
    } else if input.start_time > input.end_time {
        faults.push("The parameter StartTime must be less than the parameter EndTime.".to_owned());
    }
    let max = i64::try_from(DATAPOINTS_MAX).unwrap_or(i64::MAX);
    if input.max_datapoints.is_some_and(|asked| !(1..=max).contains(&asked)) {
        faults.push(format!("The parameter MaxDatapoints must be between 1 and {max}."));
    }
    if faults.is_empty() { Ok(()) } else { Err(validation(faults.join("\n"))) }
}

fn check_query(faults: &mut Vec<String>, path: &str, query: &Query) {
    let id = &query.id;
    if !is_id(id) {
        faults.push(format!(
            "The value {id} for parameter {path}.Id is not matching the expected pattern ^[a-z][a-zA-Z0-9_]*$."
        ));
    }
    match (&query.metric_stat, &query.expression) {
        (Some(_), Some(_)) => faults.push(format!(
            "The parameters {path}.MetricStat and {path}.Expression are mutually exclusive and you have specified both."
        )),
        (None, None) => faults
            .push(format!("At least one of the parameters {path}.MetricStat, {path}.Expression must be specified.")),
        _ => {}
    }
    let Some(stat) = &query.metric_stat else { return };
    let metric = &stat.metric;
    for (member, text) in [("Namespace", &metric.namespace), ("MetricName", &metric.metric_name)] {
        if text.is_none() {
            faults.push(format!("The parameter {path}.MetricStat.Metric.{member} is required."));
        }
    }
    if stat.stat.parse::<Statistic>().is_err() {
        faults.push(Unsupported::message_of_query(&format!("{path}.MetricStat.Stat")));
    }
    if !is_period(stat.period) {
        faults.push(format!("The parameter {path}.MetricStat.Period must be a multiple of 60."));
    }
}

fn is_id(id: &str) -> bool {
    id.starts_with(|first: char| first.is_ascii_lowercase())
        && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Of a time zone like `+0130`.
fn offset_s(options: Option<&LabelOptions>) -> Result<i32, AwsError> {
    let Some(zone) = options.and_then(|options| options.timezone.as_deref()) else { return Ok(0) };
    let parse = || {
        let (sign, digits) = match zone.split_at_checked(1)? {
            ("+", digits) => (1, digits),
            ("-", digits) => (-1, digits),
            _ => return None,
        };
        let (hours, minutes) = digits.split_at_checked(2)?;
        let is_number = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(hours) || !is_number(minutes) {
            return None;
        }
        let (hours, minutes) = (hours.parse::<i32>().ok()?, minutes.parse::<i32>().ok()?);
        let seconds = hours.checked_mul(3_600)?.checked_add(minutes.checked_mul(60)?)?;
        seconds.checked_mul(sign)
    };
    parse().ok_or_else(|| validation(format!("The value {zone} for parameter LabelOptions.Timezone is invalid.")))
}

pub fn validation(message: impl Into<String>) -> AwsError {
    AwsError::client(400, "ValidationError", message)
}

fn invalid_token() -> AwsError {
    AwsError::client(400, "InvalidNextToken", "The next token specified is invalid.")
}

impl Range {
    pub fn window(self, period_s: u32) -> Window {
        Window::new(self.now, self.start, self.end, period_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(counts: &[usize]) -> Vec<Whole> {
        let one = |(at, count): (usize, &usize)| Whole {
            id: format!("m{at}"),
            label: String::new(),
            points: (0..*count).map(|point| (point as i64, at as f64)).collect(),
            messages: Vec::new(),
        };
        counts.iter().enumerate().map(one).collect()
    }

    #[test]
    fn pages_have_every_point_once() {
        for max in 1..12 {
            let (mut from, mut found, mut pages) = (0, [0_usize; 4], 0);
            loop {
                let (shown, next) = page(whole(&[3, 0, 5, 2]), from, max);
                assert!(shown.iter().map(|one| one.values.len()).sum::<usize>() <= max);
                pages += 1;
                for one in &shown {
                    let at: usize = one.id[1..].parse().unwrap();
                    assert_eq!(
                        one.timestamps.first().map_or(0, |at| at.as_secs()),
                        found[at] as i64 * i64::from(!one.values.is_empty())
                    );
                    found[at] += one.values.len();
                    assert_eq!(one.status_code == "Complete", found[at] == [3, 0, 5, 2][at]);
                }
                let Some(next) = next else { break };
                from = next;
            }
            assert_eq!((found, pages), ([3, 0, 5, 2], 10_usize.div_ceil(max)), "{max}");
        }
    }

    #[test]
    fn time_zones_are_read() {
        let of = |zone: &str| offset_s(Some(&LabelOptions { timezone: Some(zone.to_owned()) })).ok();
        for (zone, expected) in
            [("+0130", Some(5_400)), ("-0500", Some(-18_000)), ("0130", None), ("+1", None), ("+é0", None)]
        {
            assert_eq!(of(zone), expected, "{zone}");
        }
        assert_eq!(offset_s(None).ok(), Some(0));
    }
}

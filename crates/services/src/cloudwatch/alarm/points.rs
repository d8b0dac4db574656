//! The datapoints that an alarm looks at: of its metric, or of the expression that it watches.

use std::collections::BTreeMap;
use std::time::Duration;

use base::{AwsError, Timestamp};
use engine::math::label::Place;
use engine::math::{Metric, Plan, Point, Query as Asked, Series, Source, Value, Window};
use engine::metric::aggregate::Aggregate;
use engine::metric::alarm::evaluate::{Datapoint, Range};
use engine::metric::statistic::Statistic;
use metrics::Unit;

use super::watch::{MetricStat, Query, Watch};
use crate::Ctx;

pub async fn read(ctx: &Ctx, watch: &Watch, range: &Range) -> Result<Vec<Datapoint>, AwsError> {
    if let Some(queries) = &watch.metrics {
        return of_queries(ctx, queries, range).await;
    }
    let (Some(metric), Some(statistic)) = (watch.metric(), watch.statistic()) else { return Ok(Vec::new()) };
    let Ok(statistic) = statistic.parse::<Statistic>() else { return Ok(Vec::new()) };
    let buckets = buckets(ctx, &metric, watch.unit.as_deref(), watch.period_s(), range).await?;
    let datapoint = |(at, samples): (Timestamp, Aggregate)| {
        let value = statistic.of(&samples)?;
        Some(Datapoint { at, value, sample_count: samples.count() })
    };
    Ok(buckets.into_iter().filter_map(datapoint).collect())
}

/// What is known of a metric in each period of the range. Without a unit, all of its units count together.
async fn buckets(
    ctx: &Ctx,
    metric: &Metric,
    unit: Option<&str>,
    period_s: u32,
    range: &Range,
) -> Result<BTreeMap<Timestamp, Aggregate>, AwsError> {
    let mut buckets: BTreeMap<Timestamp, Aggregate> = BTreeMap::new();
    let unit = unit.and_then(Unit::named);
    let found = ctx.cloud.metrics.points(&ctx.scope(), metric, unit, (range.start, range.end)).await?;
    let period = Duration::from_secs(u64::from(period_s.max(1))).as_micros();
    for (stamp, _, samples) in found.into_iter().flat_map(|(_, points)| points) {
        let into = stamp.since(range.start).as_micros().checked_rem(period).unwrap_or(0);
        let at = stamp.minus(Duration::from_micros(u64::try_from(into).unwrap_or(0)));
        buckets.entry(at).or_default().merge(&samples);
    }
    Ok(buckets)
}

/// The series that the one returned query comes to. How many samples a point of it has, nobody knows.
async fn of_queries(ctx: &Ctx, queries: &[Query], range: &Range) -> Result<Vec<Datapoint>, AwsError> {
    let asked: Vec<Asked<'_>> = queries.iter().map(Query::asked).collect();
    let plan = Plan::new(&asked).map_err(|refused| AwsError::internal(refused.0))?;
    let mut fetched = Vec::with_capacity(queries.len());
    for query in queries {
        fetched.push(match &query.metric_stat {
            Some(stat) => series(ctx, stat, range).await?,
            None => None,
        });
    }
    let window = Window { start_s: range.start.as_secs(), end_s: range.end.as_secs() };
    let (account_id, region) = (ctx.cx.account.as_str(), ctx.cx.region.as_str());
    let place = Place { account_id, region, now_s: ctx.cx.now().as_secs(), offset_s: 0 };
    // What cannot be computed has no data.
    let values = plan.evaluate(window, &place, fetched, Vec::new()).unwrap_or_default();
    let watched = queries.iter().zip(values).find(|(query, _)| query.is_returned());
    let datapoint = |(at, value): &Point| Datapoint { at: Timestamp::from_secs(*at), value: *value, sample_count: 1.0 };
    Ok(match watched {
        Some((_, Value::Series(series))) => series.points.iter().map(datapoint).collect(),
        _ => Vec::new(),
    })
}

async fn series(ctx: &Ctx, stat: &MetricStat, range: &Range) -> Result<Option<Series>, AwsError> {
    let (Some(metric), Ok(statistic)) = (stat.metric(), stat.stat.parse::<Statistic>()) else { return Ok(None) };
    let buckets = buckets(ctx, &metric, stat.unit.as_deref(), stat.period, range).await?;
    let point = |(at, samples): (Timestamp, Aggregate)| Some((at.as_secs(), statistic.of(&samples)?));
    let points: Vec<Point> = buckets.into_iter().filter_map(point).collect();
    let source = Source { metric, statistic: stat.stat.clone(), period_s: stat.period };
    Ok(Some(Series::fetched(source, points)))
}

//! What a request's metrics, searches and Metrics Insights queries find, as series.

use std::collections::BTreeMap;

use base::{AwsError, Timestamp};
use engine::math::select::{Bucket, Select};
use engine::math::{Metric, Need, POINTS_MAX, Point, SERIES_MAX, Series, Source, Wanted};
use engine::metric::statistic::Statistic;
use metrics::{Find, Unit};

use super::UNITS_SHOWN;
use super::data::{Message, validation};
use super::list::ACTIVE_MAX;
use super::read::{self, Buckets};
use crate::Ctx;
use crate::cloudwatch::alarm::watch::MetricStat;

/// Metrics Insights looks at so many metrics, and a search through all that an account has.
const SELECTED_MAX: usize = 10_000;
const PAGE: usize = 500;

/// What is asked for, seen at a moment.
#[derive(Debug, Clone, Copy)]
pub struct Range {
    pub now: Timestamp,
    pub start: Timestamp,
    pub end: Timestamp,
}

/// Fetches for one request, whose points are counted: they are all in memory at once.
pub struct Fetch<'a> {
    ctx: &'a Ctx,
    range: Range,
    points_left: usize,
    /// About the request as a whole.
    pub messages: Vec<Message>,
}

impl Fetch<'_> {
    pub fn new(ctx: &Ctx, range: Range) -> Fetch<'_> {
        Fetch { ctx, range, points_left: POINTS_MAX, messages: Vec::new() }
    }

    /// The series of a metric, and what there is to be said of it.
    pub async fn metric(&mut self, stat: &MetricStat) -> Result<(Option<Series>, Option<Message>), AwsError> {
        let Some(metric) = stat.metric() else { return Ok((None, None)) };
        let unit = stat.unit.as_deref().and_then(Unit::named);
        let (buckets, units) = self.buckets(&metric, unit, stat.period, &stat.stat).await?;
        let message = (units.len() > 1).then(|| Message {
            code: "MultipleUnits",
            value: format!("Multiple units returned: '[{}]'", units.join(", ")),
        });
        let source = Source { metric, statistic: stat.stat.clone(), period_s: stat.period };
        Ok((Some(self.series(source, buckets)?), message))
    }

    pub async fn need(&mut self, need: &Need) -> Result<Vec<Series>, AwsError> {
        match &need.wanted {
            Wanted::Search { search, statistic } => {
                let account = self.ctx.cx.account;
                let found = self
                    .matching(search.namespace(), None, SERIES_MAX, |metric| search.matches(metric, account.as_str()));
                let mut series = Vec::new();
                for metric in found.await? {
                    let (buckets, _) = self.buckets(&metric, None, need.period_s, statistic).await?;
                    let source = Source { metric, statistic: statistic.clone(), period_s: need.period_s };
                    series.push(self.series(source, buckets)?);
                }
                Ok(series)
            }
            Wanted::Select(select) => self.selected(need, select).await,
        }
    }

    async fn selected(&mut self, need: &Need, select: &Select) -> Result<Vec<Series>, AwsError> {
        let account = self.ctx.cx.account;
        let matching = self.matching(Some(select.namespace()), Some(select.metric()), SELECTED_MAX, |metric| {
            select.matches(metric, account.as_str())
        });
        let mut found = Vec::new();
        for metric in matching.await? {
            let (buckets, _) = self.buckets(&metric, None, need.period_s, "Sum").await?;
            self.charge(buckets.len())?;
            let bucket = |(at, samples): (Timestamp, engine::metric::aggregate::Aggregate)| {
                let (minimum, maximum) = (samples.min(), samples.max());
                (at.as_secs(), Bucket { count: samples.count(), sum: samples.sum(), minimum, maximum })
            };
            found.push((metric, buckets.into_iter().map(bucket).collect()));
        }
        Ok(select.series(&need.id, need.period_s, account.as_str(), found))
    }

    /// Metrics that had points lately and that are wanted, `max` at most.
    async fn matching(
        &mut self,
        namespace: Option<&str>,
        name: Option<&str>,
        max: usize,
        is_wanted: impl Fn(&Metric) -> bool,
    ) -> Result<Vec<Metric>, AwsError> {
        let since = Some(self.range.now.minus(ACTIVE_MAX));
        let mut find = Find { namespace, name, dimensions: &[], since, after: None, max: PAGE };
        let mut matching = Vec::new();
        loop {
            let (found, next) = self.ctx.cloud.metrics.list(&self.ctx.scope(), &find).await?;
            matching.extend(found.into_iter().filter(|metric| is_wanted(metric)));
            if matching.len() > max {
                let value = "Maximum number of allowed metrics exceeded".to_owned();
                self.messages.push(Message { code: "MaxMetricsExceeded", value });
                matching.truncate(max);
                return Ok(matching);
            }
            find.after = next;
            if find.after.is_none() {
                return Ok(matching);
            }
        }
    }

    /// A metric's samples by period. Of several units, that one which AWS has first, and the names of all.
    async fn buckets(
        &self,
        metric: &Metric,
        unit: Option<Unit>,
        period_s: u32,
        statistic: &str,
    ) -> Result<(Buckets, Vec<&'static str>), AwsError> {
        let is_extended = statistic.parse::<Statistic>().is_ok_and(Statistic::is_extended);
        let window = self.range.window(period_s);
        let mut found: BTreeMap<Unit, Buckets> = read::buckets(self.ctx, metric, unit, &window, is_extended).await?;
        let is_there = |unit: &&'static str| Unit::named(unit).is_some_and(|unit| found.contains_key(&unit));
        let units: Vec<&'static str> = UNITS_SHOWN.into_iter().filter(is_there).collect();
        let first = units.first().and_then(|unit| Unit::named(unit));
        Ok((first.and_then(|unit| found.remove(&unit)).unwrap_or_default(), units))
    }

    fn series(&mut self, source: Source, buckets: Buckets) -> Result<Series, AwsError> {
        let Ok(statistic) = source.statistic.parse::<Statistic>() else {
            return Ok(Series::fetched(source, Vec::new()));
        };
        let point = |(at, samples): (Timestamp, engine::metric::aggregate::Aggregate)| {
            Some((at.as_secs(), statistic.of(&samples)?))
        };
        let points: Vec<Point> = buckets.into_iter().filter_map(point).collect();
        self.charge(points.len())?;
        Ok(Series::fetched(source, points))
    }

    fn charge(&mut self, points: usize) -> Result<(), AwsError> {
        let left = self.points_left.checked_sub(points);
        self.points_left = left.ok_or_else(|| {
            validation(
                "The request needs more data points than can be computed: choose longer periods or a shorter range.",
            )
        })?;
        Ok(())
    }
}

//! What is found: the points of a series, in memory and in all tiers; and which series there are.

use std::collections::BTreeMap;

use base::Timestamp;
use engine::math::Metric;
use engine::metric::aggregate::Aggregate;
use engine::metric::retention::Tier;
use store::{Row, Scan, Scope};

use crate::block::{span_s, start_of};
use crate::limits::{LAST_EVERY, LIST_ROWS_MAX, STEP};
use crate::rows;
use crate::tables::{SERIES, Series, SeriesKey, cut};
use crate::{Error, Metrics, Unit};

/// When, of how many seconds, and what.
pub type Points = Vec<(Timestamp, u32, Aggregate)>;

/// Which metrics are listed.
#[derive(Debug, Clone, Default)]
pub struct Find<'a> {
    pub namespace: Option<&'a str>,
    pub name: Option<&'a str>,
    /// Names, and values where they matter. A metric has all of them, and may have more.
    pub dimensions: &'a [(String, Option<String>)],
    /// Only what has points since then.
    pub since: Option<Timestamp>,
    /// Behind this one.
    pub after: Option<SeriesKey>,
    pub max: usize,
}

impl Find<'_> {
    fn admits(&self, metric: &Metric, last: Timestamp) -> bool {
        let has = |(name, value): &(String, Option<String>)| match (metric.dimension(name), value) {
            (Some(found), Some(value)) => found == value,
            (found, None) => found.is_some(),
            (None, Some(_)) => false,
        };
        self.namespace.is_none_or(|namespace| metric.namespace == namespace)
            && self.name.is_none_or(|name| metric.name == name)
            && self.since.is_none_or(|since| last >= since)
            && self.dimensions.iter().all(has)
    }
}

impl Metrics {
    /// The points of a metric from `from` on and before `to`, by unit, each in the order of time. Of several tiers there may be
    /// some at the same time: a sample is in one of them.
    pub async fn points(
        &self,
        scope: &Scope,
        metric: &Metric,
        unit: Option<Unit>,
        range: (Timestamp, Timestamp),
    ) -> Result<Vec<(Unit, Points)>, Error> {
        let mut found: BTreeMap<(Unit, Timestamp, u32), Aggregate> = BTreeMap::new();
        self.each_point(scope, metric, unit, range, |unit, stamp, step_s, samples| {
            found.entry((unit, stamp, step_s)).or_default().merge(samples);
        })
        .await?;
        let mut by_unit: Vec<(Unit, Points)> = Vec::new();
        for ((unit, stamp, step_s), samples) in found {
            match by_unit.last_mut().filter(|(last, _)| *last == unit) {
                Some((_, points)) => points.push((stamp, step_s, samples)),
                None => by_unit.push((unit, vec![(stamp, step_s, samples)])),
            }
        }
        Ok(by_unit)
    }

    /// The same in no order, one after the other: unit, time, seconds, samples. One that is open as well as in the store comes in
    /// two parts.
    pub async fn each_point(
        &self,
        scope: &Scope,
        metric: &Metric,
        unit: Option<Unit>,
        (from, to): (Timestamp, Timestamp),
        mut each: impl FnMut(Unit, Timestamp, u32, &Aggregate) + Send,
    ) -> Result<(), Error> {
        let mut add = |stamp: Timestamp, tier: Tier, of: Unit, samples: &Aggregate| {
            if unit.is_none_or(|unit| unit == of) && stamp >= from && stamp < to {
                each(of, stamp, tier.step_s(), samples);
            }
        };
        let _shared = self.0.moving.read().await;
        {
            let held = self.0.held.lock();
            if held.is_torn {
                return Err(Error::Torn);
            }
            held.open.points(scope, metric, (from, to), &mut add);
            held.settling.0.points(scope, metric, (from, to), &mut add);
        }
        let key = SeriesKey::of(metric);
        let Some(row) = SERIES.get(&self.0.store, scope, key.parts()).await? else { return Ok(()) };
        for tier in Tier::ALL {
            let starts = (start_of(tier, from), to.as_secs().saturating_add(1).min(ends(tier, row.value.last)));
            rows::read(&self.0.store, (row.value.id, tier), starts, |start, block| {
                for (offset_s, unit, samples) in block.points() {
                    add(Timestamp::from_secs(start.saturating_add(i64::from(offset_s))), tier, unit, samples);
                }
            })
            .await?;
        }
        Ok(())
    }

    /// Metrics in the order of their keys, and where to go on. There may be fewer than were asked for, and more behind them.
    pub async fn list(&self, scope: &Scope, find: &Find<'_>) -> Result<(Vec<Metric>, Option<SeriesKey>), Error> {
        let mut open = self.open_series(scope, find);
        let mut found: Vec<(SeriesKey, Metric)> = Vec::new();
        let mut after = find.after.clone();
        let mut row_count = 0_usize;
        loop {
            let mut scan = Scan::all(STEP);
            if let Some(namespace) = find.namespace {
                scan = scan.under::<String>(cut(namespace));
                if let Some(name) = find.name {
                    scan = scan.under::<String>(cut(name));
                }
            }
            if let Some(after) = &after {
                scan = scan.after(after.parts());
            }
            let page = SERIES.page(&self.0.store, scope, scan).await?;
            row_count = row_count.saturating_add(page.rows.len());
            for row in page.rows {
                add(&mut found, &mut open, find, row);
            }
            after = page.next.map(SeriesKey);
            match &after {
                Some(_) if found.len() <= find.max && row_count < LIST_ROWS_MAX => {}
                Some(reached) => {
                    let is_before = |key: &SeriesKey| key <= reached;
                    found.extend(open.into_iter().filter(|(key, _)| is_before(key)).map(|(key, one)| (key, one.0)));
                    break;
                }
                None => {
                    found.extend(open.into_iter().map(|(key, one)| (key, one.0)));
                    break;
                }
            }
        }
        found.sort_by(|(one, _), (other, _)| one.cmp(other));
        let next = if found.len() > find.max {
            found.truncate(find.max);
            found.last().map(|(key, _)| key.clone())
        } else {
            after
        };
        Ok((found.into_iter().map(|(_, metric)| metric).collect(), next))
    }

    /// Those in memory that are looked for, with their last points.
    fn open_series(&self, scope: &Scope, find: &Find<'_>) -> BTreeMap<SeriesKey, (Metric, Timestamp)> {
        let held = self.0.held.lock();
        let mut open: BTreeMap<SeriesKey, (Metric, Timestamp)> = BTreeMap::new();
        for (metric, series) in held.open.of(scope).chain(held.settling.0.of(scope)) {
            let key = || SeriesKey::of(metric);
            if find.admits(metric, series.last) && find.after.as_ref().is_none_or(|after| key() > *after) {
                open.insert(key(), (metric.clone(), series.last));
            }
        }
        open
    }
}

fn add(
    found: &mut Vec<(SeriesKey, Metric)>,
    open: &mut BTreeMap<SeriesKey, (Metric, Timestamp)>,
    find: &Find<'_>,
    row: Row<(String, String, u128), Series>,
) {
    let key = SeriesKey(row.key);
    if let Some((metric, _)) = open.remove(&key) {
        return found.push((key, metric));
    }
    let metric = row.value.metric();
    if find.admits(&metric, row.value.last.plus(LAST_EVERY)) {
        found.push((key, metric));
    }
}

/// Behind the last block that a series can have in a tier whose last point is about there.
fn ends(tier: Tier, last: Timestamp) -> i64 {
    last.plus(LAST_EVERY).as_secs().saturating_add(span_s(tier))
}

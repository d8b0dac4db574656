//! Points in memory: what was taken and is not in the store yet.

use std::collections::{BTreeMap, HashMap};

use base::Timestamp;
use engine::math::Metric;
use engine::metric::retention::Tier;
use store::Scope;

use crate::block::{Block, start_of};
use crate::limits::AHEAD_MAX;
use crate::{Datum, Unit};

/// By scope and metric.
#[derive(Debug, Clone, Default)]
pub struct Open {
    scopes: HashMap<Scope, HashMap<Metric, OpenSeries>>,
    blocks: usize,
    bytes: usize,
}

#[derive(Debug, Clone)]
pub struct OpenSeries {
    pub first: Timestamp,
    pub last: Timestamp,
    /// By tier and start.
    pub blocks: BTreeMap<(Tier, i64), Block>,
}

impl Default for OpenSeries {
    fn default() -> Self {
        let (latest, earliest) = (Timestamp::from_micros(i64::MAX), Timestamp::from_micros(i64::MIN));
        OpenSeries { first: latest, last: earliest, blocks: BTreeMap::new() }
    }
}

impl Open {
    pub fn is_empty(&self) -> bool {
        self.blocks == 0
    }

    pub fn blocks(&self) -> usize {
        self.blocks
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a datum to its point, if there is a tier that keeps it.
    pub fn take(&mut self, now: Timestamp, datum: &Datum) {
        let tier = Tier::of_new(datum.resolution_s, now.since(datum.time));
        let Some(tier) = tier.filter(|_| datum.time <= now.plus(AHEAD_MAX) && !datum.aggregate.is_empty()) else {
            return;
        };
        let stamp = tier.stamp(datum.time);
        let start = start_of(tier, stamp);
        let offset_s = u32::try_from(stamp.as_secs().saturating_sub(start)).unwrap_or(0);
        let Some(series) = series_mut(&mut self.scopes, &datum.scope, &datum.metric) else { return };
        series.first = series.first.min(stamp);
        series.last = series.last.max(stamp);
        let block = series.blocks.entry((tier, start)).or_insert_with(|| {
            self.blocks = self.blocks.saturating_add(1);
            Block::default()
        });
        self.bytes = self.bytes.saturating_add(block.add(offset_s, datum.unit, &datum.aggregate));
    }

    pub fn merge(&mut self, other: Open) {
        for (scope, all) in other.scopes {
            for (metric, later) in all {
                let Some(series) = series_mut(&mut self.scopes, &scope, &metric) else { continue };
                series.first = series.first.min(later.first);
                series.last = series.last.max(later.last);
                for (place, block) in later.blocks {
                    let into = series.blocks.entry(place).or_insert_with(|| {
                        self.blocks = self.blocks.saturating_add(1);
                        Block::default()
                    });
                    self.bytes = self.bytes.saturating_add(into.merge(&block));
                }
            }
        }
    }

    /// In no order.
    pub fn all(&self) -> impl Iterator<Item = (&Scope, &Metric, &OpenSeries)> {
        self.scopes.iter().flat_map(|(scope, all)| all.iter().map(move |(metric, series)| (scope, metric, series)))
    }

    pub fn of(&self, scope: &Scope) -> impl Iterator<Item = (&Metric, &OpenSeries)> {
        self.scopes.get(scope).into_iter().flatten()
    }

    /// The points of a metric from `from` on and before `to`.
    pub fn points(
        &self,
        scope: &Scope,
        metric: &Metric,
        (from, to): (Timestamp, Timestamp),
        mut each: impl FnMut(Timestamp, Tier, Unit, &engine::metric::aggregate::Aggregate),
    ) {
        let Some(series) = self.scopes.get(scope).and_then(|all| all.get(metric)) else { return };
        for ((tier, start), block) in &series.blocks {
            for (offset_s, unit, samples) in block.points() {
                let stamp = Timestamp::from_secs(start.saturating_add(i64::from(offset_s)));
                if stamp >= from && stamp < to {
                    each(stamp, *tier, unit, samples);
                }
            }
        }
    }
}

fn series_mut<'o>(
    scopes: &'o mut HashMap<Scope, HashMap<Metric, OpenSeries>>,
    scope: &Scope,
    metric: &Metric,
) -> Option<&'o mut OpenSeries> {
    // Names are copied once for each series, not for each datum.
    if !scopes.contains_key(scope) {
        scopes.insert(scope.clone(), HashMap::new());
    }
    let all = scopes.get_mut(scope)?;
    if !all.contains_key(metric) {
        all.insert(metric.clone(), OpenSeries::default());
    }
    all.get_mut(metric)
}

//! Which series there are, and their numbers. A series is made before its first block is, in a commit of its own: one without
//! points is shown by nothing but a list, and forgotten in time.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use base::Timestamp;
use engine::math::Metric;
use store::{Batch, Row, Scope, TableKey, Version};

use crate::block::Block;
use crate::limits::{LAST_EVERY, SERIES_MAX, STEP, STEP_BYTES_MAX};
use crate::open::{Open, OpenSeries};
use crate::rows::Place;
use crate::tables::{COUNTS, Count, NUMBERS, Numbers, SERIES, Series, SeriesKey, nobody};
use crate::{Error, Metrics};

impl Metrics {
    /// Where open blocks go: each by its place. Those of series that are one too many go nowhere.
    pub(crate) async fn places<'o>(&self, open: &'o Open) -> Result<Vec<(Place, &'o Block)>, Error> {
        let mut by_scope: HashMap<&Scope, Vec<(&Metric, &OpenSeries)>> = HashMap::new();
        for (scope, metric, series) in open.all() {
            by_scope.entry(scope).or_default().push((metric, series));
        }
        let mut places = Vec::with_capacity(open.blocks());
        for (scope, all) in by_scope {
            for some in all.chunks(STEP) {
                let ids = self.numbers(scope, some).await?;
                for ((_, series), id) in some.iter().zip(ids) {
                    let Some(id) = id else { continue };
                    let place = |(tier, start)| Place { series: id, tier, start };
                    places.extend(series.blocks.iter().map(|(at, block)| (place(*at), block)));
                }
            }
        }
        places.sort_unstable_by_key(|(place, _)| *place);
        Ok(places)
    }

    /// The numbers of these series, which are made where they are not there; none for those that are too many.
    async fn numbers(&self, scope: &Scope, some: &[(&Metric, &OpenSeries)]) -> Result<Vec<Option<u64>>, Error> {
        let store = &self.0.store;
        let keys: Vec<SeriesKey> = some.iter().map(|(metric, _)| SeriesKey::of(metric)).collect();
        let refs: Vec<_> = keys.iter().map(SeriesKey::parts).collect();
        let rows = SERIES.get_many(store, scope, &refs).await?;
        let mut making = Making::default();
        let mut ids = Vec::with_capacity(some.len());
        for ((metric, open), (key, row)) in some.iter().zip(keys.iter().zip(rows)) {
            if let Some(Row { value, .. }) = row {
                ids.push(Some(value.id));
                if open.last >= value.last.plus(LAST_EVERY) {
                    making.put(scope, key, &Series { last: open.last, ..value });
                }
                continue;
            }
            ids.push(making.number(self, scope).await?);
            let Some(Some(id)) = ids.last().copied() else { continue };
            let Metric { namespace, name, dimensions } = (*metric).clone();
            let series = Series { id, namespace, name, dimensions, first: open.first, last: open.last };
            making.put(scope, key, &series);
            if making.bytes > STEP_BYTES_MAX {
                std::mem::take(&mut making).commit(self, scope).await?;
            }
        }
        making.commit(self, scope).await?;
        Ok(ids)
    }

    /// Removes a series that has no points any more.
    pub(crate) async fn forget_series(&self, before: Timestamp) -> Result<(), Error> {
        let mut after = None;
        loop {
            let page = SERIES.scan_all(&self.0.store, after.as_ref(), STEP).await?;
            for Row { key: (scope, key), value, version } in &page.rows {
                if value.last >= before {
                    continue;
                }
                let count = COUNTS.get(&self.0.store, scope, ()).await?.map_or(0, |row| row.value.series);
                let count = Count { series: count.saturating_sub(1) };
                let batch = Batch::new()
                    .expect_version(&SERIES, scope, key.as_key(), *version)
                    .delete(&SERIES, scope, key.as_key())
                    .put(&COUNTS, scope, (), &count);
                self.0.store.commit(batch).await?;
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }
}

/// Series of one scope on their way.
#[derive(Default)]
struct Making {
    batch: Batch,
    bytes: usize,
    is_any: bool,
    /// The next number, and how many series there are, once one is made.
    counted: Option<(u64, u64)>,
    /// Of the row of numbers; absent if there is none.
    version: Option<Version>,
}

impl Making {
    fn put(&mut self, scope: &Scope, key: &SeriesKey, series: &Series) {
        let texts = series.dimensions.iter().map(|(name, value)| name.len().saturating_add(value.len()));
        self.bytes = self.bytes.saturating_add(texts.sum::<usize>()).saturating_add(1_024);
        self.batch = std::mem::take(&mut self.batch).put(&SERIES, scope, key.parts(), series);
        self.is_any = true;
    }

    /// A number for one more.
    async fn number(&mut self, metrics: &Metrics, scope: &Scope) -> Result<Option<u64>, Error> {
        let store = &metrics.0.store;
        let (next, count) = match self.counted {
            Some(counted) => counted,
            None => {
                let row = NUMBERS.get(store, &nobody(), ()).await?;
                self.version = row.as_ref().map(|row| row.version);
                let next = row.map_or(0, |row| row.value.next);
                (next, COUNTS.get(store, scope, ()).await?.map_or(0, |row| row.value.series))
            }
        };
        if count >= SERIES_MAX {
            self.counted = Some((next, count));
            metrics.0.refused_series.fetch_add(1, Ordering::Relaxed);
            return Ok(None);
        }
        self.counted = Some((next.saturating_add(1), count.saturating_add(1)));
        Ok(Some(next))
    }

    async fn commit(self, metrics: &Metrics, scope: &Scope) -> Result<(), Error> {
        if !self.is_any {
            return Ok(());
        }
        let mut batch = self.batch;
        if let Some((next, series)) = self.counted {
            batch = match self.version {
                Some(version) => batch.expect_version(&NUMBERS, &nobody(), (), version),
                None => batch.expect_absent(&NUMBERS, &nobody(), ()),
            };
            batch = batch.put(&NUMBERS, &nobody(), (), &Numbers { next }).put(&COUNTS, scope, (), &Count { series });
        }
        let is_made = metrics.0.store.commit(batch).await?.is_committed();
        if is_made { Ok(()) } else { Err(Error::Contended) }
    }
}

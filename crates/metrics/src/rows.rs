//! Where blocks are in the store: by series, tier and start; and by tier and start, for whoever looks for old ones.
//!
//! A block that is longer than a row goes on in more rows. They are read at one snapshot or while nobody writes.

use std::collections::BTreeMap;

use bytes::{Buf, Bytes};
use engine::metric::retention::Tier;
use store::limits::VALUE_BYTES_MAX;
use store::{Batch, Range, RawRow, Read, Rows, Space, Store};

use crate::Error;
use crate::block::Block;
use crate::limits::{STEP, STEP_BYTES_MAX};

const BLOCKS: Space = Space::new("metric_blocks");

/// Tier, start, series.
const BY_START: Space = Space::new("metric_blocks_by_start");

/// Of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub series: u64,
    pub tier: Tier,
    /// In seconds.
    pub start: i64,
}

/// A block as it is in the store: empty, in no rows, if it is not there.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    pub block: Block,
    pub row_count: u16,
    /// What it was read from.
    pub bytes: usize,
}

/// Whole numbers of either sign, in order.
fn ordered(start: i64) -> [u8; 8] {
    (start ^ i64::MIN).to_be_bytes()
}

fn number_of(tier: Tier) -> u8 {
    match tier {
        Tier::Second => 0,
        Tier::Minute => 1,
        Tier::FiveMinutes => 2,
        Tier::Hour => 3,
    }
}

fn tier_of(number: u8) -> Option<Tier> {
    Tier::ALL.get(usize::from(number)).copied()
}

impl Place {
    pub fn key(self) -> Vec<u8> {
        [&self.series.to_be_bytes()[..], &[number_of(self.tier)], &ordered(self.start)].concat()
    }

    pub fn parse(mut key: &[u8]) -> Option<Place> {
        let series = key.try_get_u64().ok()?;
        let tier = tier_of(key.try_get_u8().ok()?)?;
        let start = key.try_get_i64().ok()? ^ i64::MIN;
        Some(Place { series, tier, start })
    }

    fn row_key(self, row: u16) -> Vec<u8> {
        [&self.key()[..], &row.to_be_bytes()].concat()
    }

    fn key_by_start(self) -> Vec<u8> {
        [&[number_of(self.tier)], &ordered(self.start)[..], &self.series.to_be_bytes()].concat()
    }
}

/// Writes a block in the place of what was read of it. How many bytes it takes.
pub fn put(batch: Batch, place: Place, block: &Block, before: &Kept) -> (Batch, usize) {
    let encoded = block.encode();
    let rows = (0_u16..).zip(encoded.chunks(VALUE_BYTES_MAX));
    let batch = rows.fold(batch, |batch, (row, bytes)| batch.put_raw(BLOCKS, place.row_key(row), bytes));
    let row_count = u16::try_from(encoded.len().div_ceil(VALUE_BYTES_MAX)).unwrap_or(u16::MAX);
    let batch = (row_count..before.row_count).fold(batch, |batch, row| batch.delete_raw(BLOCKS, place.row_key(row)));
    let batch = match before.row_count {
        0 => batch.put_raw(BY_START, place.key_by_start(), &[]),
        _ => batch,
    };
    (batch, encoded.len())
}

pub fn delete(batch: Batch, place: Place, before: &Kept) -> Batch {
    let batch = batch.delete_raw(BY_START, place.key_by_start());
    (0..before.row_count).fold(batch, |batch, row| batch.delete_raw(BLOCKS, place.row_key(row)))
}

/// The blocks at these places, in their order: all, or the first of them if they are too much for one step.
pub async fn load(store: &Store, places: &[Place]) -> Result<Vec<Kept>, Error> {
    let (mut loaded, mut bytes) = (Vec::with_capacity(places.len()), 0_usize);
    for some in places.chunks(STEP / 4) {
        let range = |place: &Place| Range::under(BLOCKS, place.key(), usize::MAX);
        let reads = some.iter().map(|place| Read::Range(range(place))).collect();
        for (place, found) in some.iter().zip(store.read(reads).await?) {
            let rows = all(store, range(place), found.into_rows()).await?;
            let kept = joined(place.series, &rows)?;
            bytes = bytes.saturating_add(kept.bytes);
            loaded.push(kept);
            if bytes > STEP_BYTES_MAX {
                return Ok(loaded);
            }
        }
    }
    Ok(loaded)
}

/// What is behind the rows of a range that was cut.
async fn all(store: &Store, mut range: Range, mut found: Rows) -> Result<Vec<RawRow>, Error> {
    while let Some(last) = found.rows.last().filter(|_| found.more) {
        range.from = behind(&last.key);
        let more = store.range(range.clone()).await?;
        found.rows.extend(more.rows);
        found.more = more.more;
    }
    Ok(found.rows)
}

fn behind(key: &[u8]) -> Bytes {
    [key, b"\0"].concat().into()
}

fn joined(series: u64, rows: &[RawRow]) -> Result<Kept, Error> {
    if rows.is_empty() {
        return Ok(Kept::default());
    }
    let encoded: Vec<u8> = rows.iter().flat_map(|row| row.value.iter().copied()).collect();
    let block = Block::decode(&encoded).ok_or(Error::Damaged { series })?;
    let row_count = u16::try_from(rows.len()).map_err(|_| Error::Damaged { series })?;
    Ok(Kept { block, row_count, bytes: encoded.len() })
}

/// The blocks of a series in one tier that start from `from` on and before `to`. Hands them over one by one.
pub async fn read(
    store: &Store,
    (series, tier): (u64, Tier),
    (from, to): (i64, i64),
    mut each: impl FnMut(i64, Block),
) -> Result<(), Error> {
    let key = |start: i64| Place { series, tier, start }.key();
    let mut range =
        Range { space: BLOCKS, from: key(from).into(), to: Some(key(to).into()), limit: usize::MAX, reverse: false };
    // Rows of the block whose last row is not yet seen.
    let mut open: BTreeMap<i64, Vec<RawRow>> = BTreeMap::new();
    let mut close = |start: i64, rows: Vec<RawRow>| -> Result<(), Error> {
        each(start, joined(series, &rows)?.block);
        Ok(())
    };
    loop {
        let found = store.range(range.clone()).await?;
        let last = found.rows.last().map(|row| behind(&row.key));
        for row in found.rows {
            let start = Place::parse(&row.key).ok_or(Error::Damaged { series })?.start;
            if !open.contains_key(&start)
                && let Some((start, rows)) = open.pop_first()
            {
                close(start, rows)?;
            }
            open.entry(start).or_default().push(row);
        }
        match last.filter(|_| found.more) {
            Some(from) => range.from = from,
            None => break,
        }
    }
    open.into_iter().try_for_each(|(start, rows)| close(start, rows))
}

/// Some blocks of a tier that start before `before`, the oldest first.
pub async fn oldest(store: &Store, tier: Tier, before: i64) -> Result<Vec<Place>, Error> {
    let mut range = Range::under(BY_START, vec![number_of(tier)], STEP);
    range.to = Some([&[number_of(tier)], &ordered(before)[..]].concat().into());
    let parse = |row: RawRow| {
        let mut key: &[u8] = &row.key;
        let tier = key.try_get_u8().ok().and_then(tier_of)?;
        let start = key.try_get_i64().ok()? ^ i64::MIN;
        Some(Place { series: key.try_get_u64().ok()?, tier, start })
    };
    Ok(store.range(range).await?.rows.into_iter().filter_map(parse).collect())
}

/// Some rows of a space from a key on.
pub async fn first_from(store: &Store, space: Space, key: Vec<u8>) -> Result<Rows, Error> {
    let range = Range { space, from: key.into(), to: None, limit: STEP, reverse: false };
    Ok(store.range(range).await?)
}

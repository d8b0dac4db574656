//! What is too much for one commit: open blocks as they are, staged in as many commits as it takes, and valid once the journal is
//! settled up to the offset that they are staged under. Then they are added to their blocks, step by step.

use std::collections::BTreeMap;

use bytes::{Buf, Bytes};
use store::limits::VALUE_BYTES_MAX;
use store::{Batch, RawRow, Space, Store};

use crate::Error;
use crate::block::Block;
use crate::limits::{DIRECT_BLOCKS_MAX, STEP_BYTES_MAX};
use crate::rows::{self, Place};

/// Offset, place, and the number of the piece -> points, as a block.
const STAGED: Space = Space::new("metric_blocks_staged");

fn key(next: u64, place: Place, piece: u16) -> Vec<u8> {
    [&next.to_be_bytes()[..], &place.key(), &piece.to_be_bytes()].concat()
}

fn parse(key: &[u8]) -> Option<(u64, Place)> {
    let mut rest = key;
    let next = rest.try_get_u64().ok()?;
    Some((next, Place::parse(rest)?))
}

/// Stages open blocks under an offset. What was staged before and never became valid goes first.
pub async fn put(store: &Store, settled: u64, next: u64, blocks: &[(Place, &Block)]) -> Result<(), Error> {
    clear(store, settled).await?;
    let (mut batch, mut bytes, mut count) = (Batch::new(), 0_usize, 0_usize);
    for (place, block) in blocks {
        for (piece, encoded) in (0_u16..).zip(pieces(block)) {
            bytes = bytes.saturating_add(encoded.len());
            count = count.saturating_add(1);
            batch = batch.put_raw(STAGED, key(next, *place, piece), &encoded);
        }
        if bytes > STEP_BYTES_MAX || count > DIRECT_BLOCKS_MAX {
            store.commit(std::mem::take(&mut batch)).await?;
            (bytes, count) = (0, 0);
        }
    }
    store.commit(batch).await?;
    Ok(())
}

/// A block as several that each fit a row.
fn pieces(block: &Block) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    let (mut piece, mut bytes) = (Block::default(), 0_usize);
    for (offset_s, unit, samples) in block.points() {
        let mut one = Block::default();
        one.add(offset_s, unit, samples);
        let length = one.encode().len();
        if bytes.saturating_add(length) > VALUE_BYTES_MAX {
            pieces.push(std::mem::take(&mut piece).encode());
            bytes = 0;
        }
        piece.merge(&one);
        bytes = bytes.saturating_add(length);
    }
    pieces.push(piece.encode());
    pieces
}

/// Removes what is staged for a settling that has not been.
async fn clear(store: &Store, settled: u64) -> Result<(), Error> {
    loop {
        let found = rows::first_from(store, STAGED, settled.saturating_add(1).to_be_bytes().to_vec()).await?;
        if found.rows.is_empty() {
            return Ok(());
        }
        let batch = found.rows.into_iter().fold(Batch::new(), |batch, row| batch.delete_raw(STAGED, row.key));
        store.commit(batch).await?;
    }
}

/// Adds what is staged to its blocks. Nobody reads points meanwhile, nor writes any.
pub async fn finish(store: &Store, settled: u64) -> Result<(), Error> {
    clear(store, settled).await?;
    loop {
        let found = rows::first_from(store, STAGED, Vec::new()).await?;
        if found.rows.is_empty() {
            return Ok(());
        }
        store.commit(step(store, found.rows).await?).await?;
    }
}

/// As many of these as fit a commit.
async fn step(store: &Store, staged: Vec<RawRow>) -> Result<Batch, Error> {
    let mut open: BTreeMap<Place, (Block, Vec<Bytes>)> = BTreeMap::new();
    for row in staged {
        let (_, place) = parse(&row.key).ok_or(Error::Damaged { series: 0 })?;
        let points = Block::decode(&row.value).ok_or(Error::Damaged { series: place.series })?;
        let (block, keys) = open.entry(place).or_default();
        block.merge(&points);
        keys.push(row.key);
    }
    let places: Vec<Place> = open.keys().copied().collect();
    let (mut batch, mut bytes) = (Batch::new(), 0_usize);
    for ((place, (points, keys)), kept) in open.into_iter().zip(rows::load(store, &places).await?) {
        if bytes > STEP_BYTES_MAX {
            break;
        }
        let mut block = kept.block.clone();
        block.merge(&points);
        let written;
        (batch, written) = rows::put(batch, place, &block, &kept);
        bytes = bytes.saturating_add(written);
        batch = keys.into_iter().fold(batch, |batch, key| batch.delete_raw(STAGED, key));
    }
    Ok(batch)
}

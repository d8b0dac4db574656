//! Where chunks are in the store: heads by group and chunk, bodies by group, chunk and row.

use base::Uuid;
use bytes::{Buf, Bytes};
use store::limits::VALUE_BYTES_MAX;
use store::{Batch, Found, Range, Read, Rows, Space, Store};

use super::{Head, Packed};
use crate::Error;

const HEADS: Space = Space::new("log_chunk_heads");
const BODIES: Space = Space::new("log_chunks");

pub fn row_count(body: &[u8]) -> u64 {
    body.len().div_ceil(VALUE_BYTES_MAX) as u64
}

fn key(group: Uuid, id: u64) -> Vec<u8> {
    [group.as_bytes().as_slice(), &id.to_be_bytes()].concat()
}

fn row_key(group: Uuid, id: u64, row: u64) -> Vec<u8> {
    [key(group, id).as_slice(), &row.to_be_bytes()].concat()
}

pub fn put(batch: Batch, group: Uuid, packed: &Packed) -> Batch {
    let id = packed.head.id;
    let batch = batch.put_raw(HEADS, key(group, id), &packed.head.encode());
    let rows = (0_u64..).zip(packed.body.chunks(VALUE_BYTES_MAX));
    rows.fold(batch, |batch, (row, bytes)| batch.put_raw(BODIES, row_key(group, id, row), bytes))
}

pub fn delete(batch: Batch, group: Uuid, head: &Head) -> Batch {
    let batch = batch.delete_raw(HEADS, key(group, head.id));
    (0..head.row_count).fold(batch, |batch, row| batch.delete_raw(BODIES, row_key(group, head.id, row)))
}

/// Heads of a group from the chunk `from` on, `limit` at most, and whether there are more.
pub async fn heads(store: &Store, group: Uuid, from: u64, limit: usize) -> Result<(Vec<Head>, bool), Error> {
    let mut range = Range::under(HEADS, group.as_bytes().to_vec(), limit);
    range.from = key(group, from).into();
    parse(group, store.range(range).await?)
}

/// The last heads of a group, the last one first.
pub async fn heads_before(store: &Store, group: Uuid, limit: usize) -> Result<Vec<Head>, Error> {
    let mut range = Range::under(HEADS, group.as_bytes().to_vec(), limit);
    range.reverse = true;
    Ok(parse(group, store.range(range).await?)?.0)
}

fn parse(group: Uuid, found: Rows) -> Result<(Vec<Head>, bool), Error> {
    let parse = |row: &store::RawRow| {
        let id = row.key.get(group.as_bytes().len()..).and_then(|mut id| id.try_get_u64().ok());
        id.and_then(|id| Head::decode(id, &row.value)).ok_or(Error::Damaged { group })
    };
    Ok((found.rows.iter().map(parse).collect::<Result<_, _>>()?, found.more))
}

/// A chunk's body. Absent if the chunk is gone: it was joined with others, or it is too old.
pub async fn get(store: &Store, group: Uuid, head: &Head) -> Result<Option<Bytes>, Error> {
    let mut body = Vec::new();
    let mut range = Range::under(BODIES, key(group, head.id), usize::MAX);
    let mut row_count = 0_u64;
    loop {
        // The head at the same snapshot: one that was joined to a chunk of the same name has another.
        let reads = vec![Read::Get { space: HEADS, key: key(group, head.id).into() }, Read::Range(range.clone())];
        let mut found = store.read(reads).await?.into_iter();
        let still = found.next().and_then(Found::into_value).is_some_and(|row| row.value == head.encode());
        let rows = found.next().map(Found::into_rows).unwrap_or_default();
        if !still {
            return Ok(None);
        }
        body.reserve(rows.rows.iter().map(|row| row.value.len()).sum());
        for row in &rows.rows {
            body.extend_from_slice(&row.value);
            row_count = row_count.saturating_add(1);
        }
        match rows.rows.last().filter(|_| rows.more) {
            Some(last) => range.from = [&last.key, &b"\0"[..]].concat().into(),
            None if row_count == head.row_count => return Ok(Some(body.into())),
            None => return Err(Error::Damaged { group }),
        }
    }
}

//! Records in blocks, and blocks in rows.
//!
//! A block is a few records with offsets that follow one another. Its row's key is the stream, the offset of its
//! first record and a part number, which is 0 but for a record that is too long for one row. The first part begins
//! with a version byte, the number of parts (two bytes) and the number of records (four); then the records follow,
//! each behind its length (four). All numbers in values are little-endian, in keys big-endian.

use bytes::{Buf, Bytes};

use super::StreamId;
use crate::limits::{STREAM_BLOCK_BYTES, STREAM_PART_BYTES, STREAM_RECORD_BYTES_MAX};
use crate::{Batch, RawRow, Space};

pub(super) const BLOCKS: Space = Space::new("stream_blocks");

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 7;
const LENGTH_BYTES: usize = 4;

/// Records that are to be appended, already in blocks.
#[derive(Debug, Default)]
pub(super) struct Run {
    blocks: Vec<Block>,
    /// What the blocks take, headers included.
    bytes: usize,
}

#[derive(Debug)]
struct Block {
    record_count: u32,
    /// The records behind their lengths, and room for the header before them.
    bytes: Vec<u8>,
}

impl Run {
    /// Adds a record; `false` if it is too long for a stream.
    pub(super) fn push(&mut self, record: &[u8]) -> bool {
        let Some(length) = u32::try_from(record.len()).ok().filter(|_| record.len() <= STREAM_RECORD_BYTES_MAX) else {
            return false;
        };
        let fits = |block: &&mut Block| block.bytes.len() + LENGTH_BYTES + record.len() <= STREAM_BLOCK_BYTES;
        if self.blocks.last_mut().filter(fits).is_none() {
            self.bytes = self.bytes.saturating_add(HEADER_BYTES);
            // Where one block is full the next will be, and what grows step by step leaves holes behind that fit nobody.
            let room = if self.blocks.is_empty() { 0 } else { STREAM_BLOCK_BYTES };
            let mut bytes = Vec::with_capacity(room.max(HEADER_BYTES + LENGTH_BYTES + record.len()));
            bytes.resize(HEADER_BYTES, 0);
            self.blocks.push(Block { record_count: 0, bytes });
        }
        if let Some(block) = self.blocks.last_mut() {
            self.bytes = self.bytes.saturating_add(LENGTH_BYTES + record.len());
            block.record_count = block.record_count.saturating_add(1);
            block.bytes.extend_from_slice(&length.to_le_bytes());
            block.bytes.extend_from_slice(record);
        }
        true
    }

    pub(super) fn record_count(&self) -> u64 {
        self.blocks.iter().map(|block| u64::from(block.record_count)).sum()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Takes blocks off the front, up to `bytes_max` but at least one if there is any.
    pub(super) fn split_front(&mut self, bytes_max: usize) -> Self {
        let mut bytes: usize = 0;
        let fits = |block: &&Block| {
            bytes = bytes.saturating_add(block.bytes.len());
            bytes <= bytes_max
        };
        let count = self.blocks.iter().take_while(fits).count().max(1).min(self.blocks.len());
        let blocks: Vec<_> = self.blocks.drain(..count).collect();
        let bytes = blocks.iter().map(|block| block.bytes.len()).sum();
        self.bytes = self.bytes.saturating_sub(bytes);
        Self { blocks, bytes }
    }

    /// Puts `self` before what has been gathered since it was split off.
    pub(super) fn append(&mut self, mut later: Self) {
        self.bytes = self.bytes.saturating_add(later.bytes);
        self.blocks.append(&mut later.blocks);
    }

    /// Adds the rows of these blocks to a batch, the first record at offset `first`.
    pub(super) fn write(&self, mut batch: Batch, stream: &StreamId, mut first: u64) -> Batch {
        for block in &self.blocks {
            // Bounded by the longest record: some hundred parts.
            let part_count = u16::try_from(block.bytes.len().div_ceil(STREAM_PART_BYTES)).unwrap_or(u16::MAX);
            let mut bytes = block.bytes.clone();
            let header = [&[VERSION], part_count.to_le_bytes().as_slice(), &block.record_count.to_le_bytes()].concat();
            bytes.iter_mut().zip(header).for_each(|(to, from)| *to = from);
            for (part, bytes) in (0..part_count).zip(bytes.chunks(STREAM_PART_BYTES)) {
                batch = batch.put_raw(BLOCKS, key(stream, first, part), bytes);
            }
            first = first.saturating_add(block.record_count.into());
        }
        batch
    }
}

pub(super) fn key(stream: &StreamId, first: u64, part: u16) -> Bytes {
    [stream.as_bytes(), &first.to_be_bytes(), &part.to_be_bytes()].concat().into()
}

/// The first offset and the part number in a row's key.
pub(super) fn parse_key(stream: &StreamId, key: &[u8]) -> Option<(u64, u16)> {
    let mut rest = key.strip_prefix(stream.as_bytes())?;
    let parsed = (rest.try_get_u64().ok()?, rest.try_get_u16().ok()?);
    rest.is_empty().then_some(parsed)
}

/// Puts blocks together again from rows, in order. Never panics, whatever the bytes.
pub(super) struct Assembler<'a> {
    stream: &'a StreamId,
    /// A block of which not all parts have come.
    pending: Option<Pending>,
}

struct Pending {
    first: u64,
    record_count: u32,
    part_next: u16,
    part_count: u16,
    bytes: Vec<u8>,
}

/// A row that is no part of a block, or not of this one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Damaged;

/// A block's first offset and its records.
pub(super) type Assembled = (u64, Vec<Bytes>);

impl<'a> Assembler<'a> {
    pub(super) fn new(stream: &'a StreamId) -> Self {
        Self { stream, pending: None }
    }

    /// Takes the next row; answers with a block when this was its last part.
    pub(super) fn push(&mut self, row: &RawRow) -> Result<Option<Assembled>, Damaged> {
        let (first, part) = parse_key(self.stream, &row.key).ok_or(Damaged)?;
        let mut value = row.value.clone();
        let mut pending = match self.pending.take() {
            Some(pending) if (pending.first, pending.part_next) == (first, part) => pending,
            None if part == 0 => Self::begin(first, &mut value).ok_or(Damaged)?,
            _ => return Err(Damaged),
        };
        pending.part_next = part.checked_add(1).ok_or(Damaged)?;
        if pending.part_count == 1 {
            // The usual case: the records share the row's memory.
            return records(value, pending.record_count).map(|records| Some((first, records)));
        }
        if pending.bytes.is_empty() {
            // All of it at once: it lives as long as its record does, and would be up to twice as large.
            let most = usize::from(pending.part_count).saturating_mul(STREAM_PART_BYTES);
            pending.bytes.reserve_exact(most.min(STREAM_RECORD_BYTES_MAX + STREAM_PART_BYTES));
        }
        pending.bytes.extend_from_slice(&value);
        if pending.part_next < pending.part_count {
            self.pending = Some(pending);
            return Ok(None);
        }
        records(pending.bytes.into(), pending.record_count).map(|records| Some((first, records)))
    }

    /// Whether the next row has to go on with a block.
    pub(super) fn is_midway(&self) -> bool {
        self.pending.is_some()
    }

    fn begin(first: u64, value: &mut Bytes) -> Option<Pending> {
        let version = value.try_get_u8().ok()?;
        let part_count = value.try_get_u16_le().ok()?;
        let record_count = value.try_get_u32_le().ok()?;
        let known = version == VERSION && part_count > 0 && record_count > 0;
        known.then(|| Pending { first, record_count, part_next: 0, part_count, bytes: Vec::new() })
    }
}

fn records(mut bytes: Bytes, count: u32) -> Result<Vec<Bytes>, Damaged> {
    let mut records = Vec::new();
    for _ in 0..count {
        let length = bytes.try_get_u32_le().map_err(|_| Damaged)? as usize;
        if bytes.len() < length {
            return Err(Damaged);
        }
        records.push(bytes.split_to(length));
    }
    if bytes.is_empty() { Ok(records) } else { Err(Damaged) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::batch::Write;
    use crate::{Version, envelope};

    fn stream() -> StreamId {
        StreamId(Bytes::from_static(b"stream"))
    }

    fn rows(batch: Batch) -> Vec<RawRow> {
        let row = |write| match write {
            Write::Put { space, key, value } => {
                RawRow { value: envelope::open(space, &key, &value).unwrap(), key, version: Version(1) }
            }
            other => panic!("{other:?}"),
        };
        batch.writes.into_iter().map(row).collect()
    }

    fn assemble(rows: &[RawRow]) -> Result<Vec<Assembled>, Damaged> {
        let stream = stream();
        let mut assembler = Assembler::new(&stream);
        let blocks: Result<Vec<_>, _> = rows.iter().filter_map(|row| assembler.push(row).transpose()).collect();
        if assembler.is_midway() { Err(Damaged) } else { blocks }
    }

    /// Mostly short; some around the sizes at which blocks and rows end.
    fn length() -> impl Strategy<Value = usize> {
        let near = |size: usize| size - 20..size + 20;
        prop_oneof![
            8 => 0..200_usize,
            2 => 10_000..40_000_usize,
            1 => near(STREAM_BLOCK_BYTES),
            1 => near(STREAM_PART_BYTES),
            1 => near(2 * STREAM_PART_BYTES),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn records_come_back_in_order_at_their_offsets(
            lengths in prop::collection::vec(length(), 1..40), first in 0..u64::MAX / 2, split in 0..300_000_usize,
        ) {
            let mut run = Run::default();
            for (number, length) in lengths.iter().enumerate() {
                prop_assert!(run.push(&vec![number as u8; *length]));
            }
            // Whatever is split off and put back changes nothing.
            let mut front = run.split_front(split);
            prop_assert!(!front.is_empty());
            front.append(run);
            prop_assert_eq!(front.record_count(), lengths.len() as u64);
            let rows = rows(front.write(Batch::new(), &stream(), first));
            prop_assert!(rows.is_sorted_by_key(|row| row.key.clone()));
            let mut next = first;
            for (offset, records) in assemble(&rows).unwrap() {
                prop_assert_eq!(offset, next);
                for record in records {
                    let number = (next - first) as usize;
                    prop_assert_eq!(record.len(), lengths[number]);
                    prop_assert!(record.iter().all(|byte| *byte == number as u8));
                    next += 1;
                }
            }
            prop_assert_eq!(next, first + lengths.len() as u64);
        }

        #[test]
        fn rows_that_are_no_blocks_are_refused_calmly(
            rows in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..40), 0..2_u64, 0..3_u16), 0..6),
            flip: prop::sample::Index,
        ) {
            let row = |(value, first, part)| RawRow { key: key(&stream(), first, part), value, version: Version(1) };
            let noise: Vec<_> = rows.into_iter().map(|(value, first, part)| row((value.into(), first, part))).collect();
            let _ = assemble(&noise);
            let mut run = Run::default();
            run.push(b"abc");
            run.push(&[7; 100]);
            let mut good = self::rows(run.write(Batch::new(), &stream(), 5));
            let mut bent = good[0].value.to_vec();
            let at = flip.index(bent.len());
            bent[at] ^= 0x80;
            good[0].value = bent.into();
            let _ = assemble(&good);
            good[0].value.truncate(at);
            prop_assert_eq!(assemble(&good), Err(Damaged));
        }
    }

    #[test]
    fn a_missing_part_is_found() {
        let mut run = Run::default();
        assert!(run.push(&vec![1; 3 * STREAM_PART_BYTES]));
        let rows = rows(run.write(Batch::new(), &stream(), 0));
        assert_eq!(rows.len(), 4);
        for missing in 0..4 {
            let mut rows = rows.clone();
            rows.remove(missing);
            assert_eq!(assemble(&rows), Err(Damaged));
        }
        assert!(!Run::default().push(&vec![0; STREAM_RECORD_BYTES_MAX + 1]));
    }
}

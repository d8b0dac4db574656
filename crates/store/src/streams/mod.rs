//! Log streams: records at offsets that rise one by one, appended at the end, read from anywhere, trimmed in front.
//! For logs, and for streams with shards.
//!
//! Two classes of append. A durable one is synced when it answers, and commits together with whatever else its batch
//! writes. A lazy one (`lazy.rs`) never waits: it may be lost with a crash, and where it is dropped it is counted.
//!
//! A stream is a head row (the first offset that is kept, and the next to be given) and rows of blocks (`block.rs`).
//! Invariants: every append and every trim is a compare-and-swap on the head, in the commit that writes the blocks; so
//! offsets are dense, are given once, and a reader that sees an offset sees all kept ones before it. Whoever appends
//! holds the stream's [`Tail`] meanwhile, so appends of one process do not run into each other.
//!
//! Not here: an index by time, which services keep for themselves where they need one.

mod block;
mod lazy;

use std::collections::HashMap;
use std::ops;
use std::sync::Arc;

use base::AwsError;
use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedMutexGuard};

use self::block::{Assembler, BLOCKS, Run};
use crate::error::detail;
use crate::limits::{RANGE_ROWS_MAX, STREAM_ATTEMPTS_MAX, STREAM_ID_BYTES_MAX, STREAM_TAILS_MAX, STREAM_TRIM_STEP};
use crate::{
    Batch, Expect, Found, Outcome, Range, Read, Rows, Scope, Space, Store, TableKey, Version, Versioned, Watch,
};

pub use lazy::LazyStats;

/// Stream -> version byte, first offset that is kept, next offset to be given; little-endian.
const HEADS: Space = Space::new("stream_heads");
const HEAD_VERSION: u8 = 1;
/// Rows of the first page of a read; each further one has four times as many.
const FIRST_PAGE_ROWS: usize = 8;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("name a stream with {bytes} bytes")]
    NameTooLong { bytes: usize },
    #[error("append a record of {bytes} bytes to a stream")]
    RecordTooLarge { bytes: usize },
    #[error("read stream {stream:?} at offset {offset}: its blocks do not fit together")]
    Damaged { stream: StreamId, offset: u64 },
    #[error("agree with others who change the same stream")]
    Contended,
    #[error("reach a stream's rows")]
    Store(#[from] crate::Error),
}

impl Error {
    /// Whether the same may succeed later, and nothing has been done so far.
    fn may_pass(&self) -> bool {
        matches!(self, Self::Contended | Self::Store(crate::Error::Unavailable { .. }))
    }

    /// Whether it may have been done all the same.
    fn is_doubtful(&self) -> bool {
        matches!(self, Self::Store(crate::Error::Unanswered | crate::Error::Failed(_)))
    }
}

impl From<Error> for AwsError {
    fn from(error: Error) -> Self {
        match error {
            Error::Store(store) => store.into(),
            Error::Contended => Self::unavailable(detail(&error)),
            other => Self::internal(detail(&other)),
        }
    }
}

/// Names a stream: a scope, then a name that no other stream of the scope has.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StreamId(Bytes);

impl StreamId {
    pub fn new(scope: &Scope, name: &str) -> Result<Self, Error> {
        let mut bytes = Vec::new();
        scope.encode(&mut bytes);
        String::encode(name, &mut bytes);
        match bytes.len() {
            0..=STREAM_ID_BYTES_MAX => Ok(Self(bytes.into())),
            bytes => Err(Error::NameTooLong { bytes }),
        }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// How a durable append ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Appended {
    /// The records and the batch are synced; the records have these offsets.
    At(ops::Range<u64>, Version),
    /// Nothing is written: these expectations of the batch do not hold.
    Conflict(Vec<usize>),
}

/// What a read found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Slice {
    /// The offset of the first of `records`.
    pub first: u64,
    pub records: Vec<Bytes>,
    /// The first offset that the stream keeps.
    pub start: u64,
    /// The offset behind the stream's last record.
    pub end: u64,
}

impl Slice {
    /// Where to read on.
    pub fn next(&self) -> u64 {
        self.first.saturating_add(self.records.len() as u64)
    }
}

/// All streams of a store; cheap to clone.
#[derive(Clone)]
pub struct Streams(Arc<Inner>);

struct Inner {
    store: Store,
    tails: Mutex<HashMap<StreamId, Tail>>,
    gathered: Mutex<lazy::Gathered>,
    /// Something waits to be written.
    arrived: Notify,
    /// So much waits that it is written at once.
    enough: Notify,
    /// One flush at a time: it is the only one who holds several tails.
    flushing: tokio::sync::Mutex<()>,
}

/// Held by whoever changes a stream's head. Holds the head as it was last committed; absent where that is not known,
/// as after a commit that was cancelled.
type Tail = Arc<tokio::sync::Mutex<Option<Head>>>;

/// A stream's head row. A stream that was never written has one that is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Head {
    version: Option<Version>,
    start: u64,
    next: u64,
}

impl Head {
    fn parse(stream: &StreamId, row: Option<Versioned>) -> Result<Self, Error> {
        let Some(Versioned { mut value, version }) = row else { return Ok(Self::default()) };
        let damaged = || Error::Damaged { stream: stream.clone(), offset: 0 };
        let mut parse = || {
            let known = value.try_get_u8().ok()? == HEAD_VERSION;
            let (start, next) = (value.try_get_u64_le().ok()?, value.try_get_u64_le().ok()?);
            (known && start <= next && value.is_empty()).then_some((start, next))
        };
        let (start, next) = parse().ok_or_else(damaged)?;
        Ok(Self { version: Some(version), start, next })
    }

    /// Adds to `batch` the change from this head to `to`.
    fn swap(&self, batch: Batch, stream: &StreamId, to: &Self) -> Batch {
        let value = [&[HEAD_VERSION], to.start.to_le_bytes().as_slice(), &to.next.to_le_bytes()].concat();
        self.expect(batch, stream).put_raw(HEADS, stream.0.clone(), &value)
    }

    fn expect(&self, batch: Batch, stream: &StreamId) -> Batch {
        batch.expect_raw(HEADS, stream.0.clone(), self.version.map_or(Expect::Absent, Expect::Version))
    }
}

impl Streams {
    pub fn new(store: &Store) -> Self {
        Self(Arc::new(Inner {
            store: store.clone(),
            tails: Mutex::default(),
            gathered: Mutex::default(),
            arrived: Notify::new(),
            enough: Notify::new(),
            flushing: tokio::sync::Mutex::default(),
        }))
    }

    /// Appends records, durably.
    pub async fn append(&self, stream: &StreamId, records: &[Bytes]) -> Result<ops::Range<u64>, Error> {
        match self.append_with(&Batch::new(), stream, records).await? {
            Appended::At(offsets, _) => Ok(offsets),
            Appended::Conflict(_) => Err(Error::Contended),
        }
    }

    /// Appends records, durably, in one commit with `batch`.
    pub async fn append_with(&self, batch: &Batch, stream: &StreamId, records: &[Bytes]) -> Result<Appended, Error> {
        let mut run = Run::default();
        if let Some(record) = records.iter().find(|record| !run.push(record)) {
            return Err(Error::RecordTooLarge { bytes: record.len() });
        }
        let (outcome, firsts) = self.commit_runs(batch, &[(stream.clone(), run)]).await?;
        match (outcome, firsts.first()) {
            (Outcome::Committed(version), Some(first)) => {
                Ok(Appended::At(*first..first.saturating_add(records.len() as u64), version))
            }
            (Outcome::Conflict(failed), _) => Ok(Appended::Conflict(failed)),
            (Outcome::Committed(_), None) => Err(Error::Contended),
        }
    }

    /// Appends to several streams in one commit with `batch`; answers how it ended for the batch, and the first offset
    /// in each stream.
    async fn commit_runs(&self, batch: &Batch, runs: &[(StreamId, Run)]) -> Result<(Outcome, Vec<u64>), Error> {
        let mut tails = Vec::with_capacity(runs.len());
        for (stream, _) in runs {
            tails.push(self.tail(stream).await);
        }
        for _ in 0..STREAM_ATTEMPTS_MAX {
            let heads = self.take_heads(runs, &mut tails).await?;
            let mut all = batch.clone();
            let mut swapped = Vec::with_capacity(heads.len());
            for ((stream, run), head) in runs.iter().zip(&heads) {
                let to = Head { next: head.next.saturating_add(run.record_count()), ..*head };
                all = run.write(head.swap(all, stream, &to), stream, head.next);
                swapped.push(to);
            }
            match self.0.store.commit(all).await? {
                Outcome::Committed(version) => {
                    for (tail, to) in tails.iter_mut().zip(swapped) {
                        **tail = Some(Head { version: Some(version), ..to });
                    }
                    return Ok((Outcome::Committed(version), heads.iter().map(|head| head.next).collect()));
                }
                Outcome::Conflict(mut failed) => {
                    // Behind the batch's own expectations are those on the heads. If only they failed, another
                    // process was faster, or a cancelled commit of this one: the heads are read anew.
                    failed.retain(|index| *index < batch.expectations.len());
                    if !failed.is_empty() {
                        return Ok((Outcome::Conflict(failed), Vec::new()));
                    }
                }
            }
        }
        Err(Error::Contended)
    }

    /// Takes each stream's head out of its tail, reading at one snapshot those that are not there.
    async fn take_heads(
        &self,
        runs: &[(StreamId, Run)],
        tails: &mut [OwnedMutexGuard<Option<Head>>],
    ) -> Result<Vec<Head>, Error> {
        let unknown: Vec<_> = runs.iter().zip(&*tails).filter(|(_, tail)| tail.is_none()).collect();
        let read = |(run, _): &(&(StreamId, Run), _)| Read::Get { space: HEADS, key: run.0.0.clone() };
        let reads: Vec<_> = unknown.iter().map(read).collect();
        let found = if reads.is_empty() { Vec::new() } else { self.0.store.read(reads).await? };
        let mut found = found.into_iter();
        let mut heads = Vec::with_capacity(runs.len());
        for ((stream, _), tail) in runs.iter().zip(tails) {
            heads.push(match tail.take() {
                Some(head) => head,
                None => Head::parse(stream, found.next().and_then(Found::into_value))?,
            });
        }
        Ok(heads)
    }

    /// Reads from offset `from` on, or from the stream's start if that is later: at most `records_max` records and
    /// `bytes_max` bytes, but one record in any case, if there is any.
    pub async fn read(
        &self,
        stream: &StreamId,
        from: u64,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<Slice, Error> {
        for _ in 0..STREAM_ATTEMPTS_MAX {
            let (head, block_first) = self.locate(stream, from).await?;
            let first = from.max(head.start);
            let mut slice = Slice { first, records: Vec::new(), start: head.start, end: head.next };
            if first >= head.next || records_max == 0 {
                return Ok(slice);
            }
            // Absent where the block was trimmed since, or begins behind `from` because the start does.
            if let Some(block_first) = block_first
                && self.fill(stream, block_first, &mut slice, records_max, bytes_max).await?
            {
                slice.end = slice.end.max(slice.next());
                return Ok(slice);
            }
            // Something is missing: either it was trimmed or removed meanwhile, or the blocks are damaged.
            let now = self.locate(stream, from).await?.0;
            if now.start == head.start && now.next >= head.next {
                return Err(Error::Damaged { stream: stream.clone(), offset: first });
            }
        }
        Err(Error::Contended)
    }

    /// The head, and the first offset of the block that holds `from` or else the stream's start.
    async fn locate(&self, stream: &StreamId, from: u64) -> Result<(Head, Option<u64>), Error> {
        let mut from = from;
        loop {
            let reads = vec![Read::Get { space: HEADS, key: stream.0.clone() }, floor(stream, from)];
            let mut found = self.0.store.read(reads).await?.into_iter();
            let head = Head::parse(stream, found.next().and_then(Found::into_value))?;
            if head.start > from {
                // The start only rises, so this happens as often as somebody trims.
                from = head.start;
                continue;
            }
            let row = found.next().map(Found::into_rows).and_then(|rows| rows.rows.into_iter().next());
            return Ok((head, row.and_then(|row| block::parse_key(stream, &row.key)).map(|(first, _)| first)));
        }
    }

    /// Reads into `slice` from the block that begins at `block_first` on; `false` if what should be there is not.
    async fn fill(
        &self,
        stream: &StreamId,
        block_first: u64,
        slice: &mut Slice,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<bool, Error> {
        let mut assembler = Assembler::new(stream);
        let (mut expected, mut bytes) = (block_first, 0_usize);
        let (mut rows_bytes, mut row_count) = (0_usize, 0_usize);
        let mut range = Range::under(BLOCKS, stream.0.clone(), FIRST_PAGE_ROWS);
        range.from = block::key(stream, block_first, 0);
        loop {
            let Rows { rows, more } = self.0.store.range(range.clone()).await?;
            rows_bytes = rows_bytes.saturating_add(rows.iter().map(|row| row.value.len()).sum());
            row_count = row_count.saturating_add(rows.len());
            for row in &rows {
                let records = match assembler.push(row) {
                    Ok(None) => continue,
                    Ok(Some((first, records))) if first == expected => records,
                    _ => return Ok(false),
                };
                for record in records {
                    let wanted = expected >= slice.first;
                    expected = expected.saturating_add(1);
                    if !wanted {
                        continue;
                    }
                    bytes = bytes.saturating_add(record.len());
                    if slice.records.len() >= records_max || (bytes > bytes_max && !slice.records.is_empty()) {
                        return Ok(true);
                    }
                    slice.records.push(record);
                }
            }
            if !more {
                return Ok(!assembler.is_midway() && !slice.records.is_empty());
            }
            if let Some(last) = rows.last() {
                range.from = [&last.key, &b"\0"[..]].concat().into();
            }
            // Not more rows than are wanted, if these are like those before.
            let wanted = bytes_max.saturating_sub(bytes).saturating_mul(row_count).checked_div(rows_bytes);
            let most = wanted.unwrap_or_default().saturating_add(1).min(RANGE_ROWS_MAX);
            range.limit = range.limit.saturating_mul(4).min(most);
        }
    }

    /// Hints that something was appended, or trimmed.
    pub fn watch(&self, stream: &StreamId) -> Watch {
        self.0.store.watch(HEADS, stream.0.clone())
    }

    /// Gives up the records before `before`; answers with the first offset that is kept. Blocks that hold later
    /// records too stay whole.
    pub async fn trim(&self, stream: &StreamId, before: u64) -> Result<u64, Error> {
        let mut tail = self.tail(stream).await;
        let head = self.move_start(stream, &mut tail, before).await?;
        drop(tail);
        // The start has passed these blocks for good, so they can go in any number of steps. A crash between leaves
        // some to the next trim.
        self.delete_blocks(stream, &head).await?;
        Ok(head.start)
    }

    /// Removes a stream with all its records. Whoever might append to it or trim it must have stopped: an append that
    /// comes later begins the stream anew, at offset 0.
    pub async fn remove(&self, stream: &StreamId) -> Result<(), Error> {
        self.0.gathered.lock().discard(stream);
        let mut tail = self.tail(stream).await;
        for _ in 0..STREAM_ATTEMPTS_MAX {
            let head = self.move_start(stream, &mut tail, u64::MAX).await?;
            // The head goes last: blocks without one would be taken for those of the stream's next life.
            self.delete_blocks(stream, &head).await?;
            *tail = None;
            let batch = head.expect(Batch::new(), stream).delete_raw(HEADS, stream.0.clone());
            if self.0.store.commit(batch).await?.is_committed() {
                return Ok(());
            }
        }
        Err(Error::Contended)
    }

    /// Commits a head whose start is `before`, if that is later and not behind the end; answers with what is committed.
    async fn move_start(&self, stream: &StreamId, tail: &mut Option<Head>, before: u64) -> Result<Head, Error> {
        for _ in 0..STREAM_ATTEMPTS_MAX {
            // Read anew: no compare-and-swap follows where nothing is to be changed, so nothing would show that another
            // process has appended since.
            *tail = None;
            let head = Head::parse(stream, self.0.store.get(HEADS, stream.0.clone()).await?)?;
            let to = Head { start: before.min(head.next).max(head.start), ..head };
            if to == head {
                *tail = Some(head);
                return Ok(head);
            }
            if let Outcome::Committed(version) = self.0.store.commit(head.swap(Batch::new(), stream, &to)).await? {
                let head = Head { version: Some(version), ..to };
                *tail = Some(head);
                return Ok(head);
            }
        }
        Err(Error::Contended)
    }

    /// Deletes the blocks that end before the start.
    async fn delete_blocks(&self, stream: &StreamId, head: &Head) -> Result<(), Error> {
        let floor = self.0.store.read(vec![floor(stream, head.start)]).await?.into_iter().next();
        let floor = floor.map(Found::into_rows).and_then(|rows| rows.rows.into_iter().next());
        let kept = match floor.and_then(|row| block::parse_key(stream, &row.key)) {
            // All that is stored lies before the start.
            Some(_) if head.start == head.next => head.start,
            Some((first, _)) => first,
            None => return Ok(()),
        };
        let mut range = Range::under(BLOCKS, stream.0.clone(), STREAM_TRIM_STEP);
        range.to = Some(block::key(stream, kept, 0));
        loop {
            let Rows { rows, more } = self.0.store.range(range.clone()).await?;
            let batch = rows.iter().fold(Batch::new(), |batch, row| batch.delete_raw(BLOCKS, row.key.clone()));
            if !rows.is_empty() {
                self.0.store.commit(batch).await?;
            }
            if !more {
                return Ok(());
            }
        }
    }

    /// The sole right to change a stream's head.
    async fn tail(&self, stream: &StreamId) -> OwnedMutexGuard<Option<Head>> {
        let tail = {
            let mut tails = self.0.tails.lock();
            if tails.len() >= STREAM_TAILS_MAX && !tails.contains_key(stream) {
                // Those that somebody holds or waits for stay: two for one stream would be no sole right.
                tails.retain(|_, tail| Arc::strong_count(tail) > 1);
            }
            tails.entry(stream.clone()).or_default().clone()
        };
        tail.lock_owned().await
    }
}

/// The last row whose block begins at `offset` or before.
fn floor(stream: &StreamId, offset: u64) -> Read {
    let to = offset.checked_add(1).map(|behind| block::key(stream, behind, 0));
    let under = Range::under(BLOCKS, stream.0.clone(), 1);
    Read::Range(Range { to: to.or(under.to.clone()), reverse: true, ..under })
}

#[cfg(test)]
mod tests;

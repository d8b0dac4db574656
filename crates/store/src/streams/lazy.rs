//! Records that nobody waits for: gathered in memory, written soon, bounded, and counted where they are lost.
//!
//! [`Gathered`] is the pure part. [`Streams::run`] is the task that writes; the binary starts it, and at the end, when
//! it runs no more, calls [`Streams::flush`].

use std::collections::BTreeMap;

use parking_lot::Mutex;
use tokio::time::{sleep, timeout};

use super::block::Run;
use super::{Error, StreamId, Streams};
use crate::Batch;
use crate::limits::{
    STREAM_FLUSH_BYTES, STREAM_FLUSH_STREAMS, STREAM_LAZY_BYTES_MAX, STREAM_LAZY_DELAY, STREAM_RECORD_BYTES_MAX,
};

/// What a record costs at most beyond its bytes and its stream's name: its length, a block, a stream's entry.
const OVERHEAD_BYTES_MAX: usize = 256;

/// How the lazy records fare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LazyStats {
    pub waiting_bytes: usize,
    /// Did not fit, or could not be written.
    pub dropped_count: u64,
    pub dropped_bytes: u64,
}

/// The records that wait or are being written. Invariant: a record is taken only if all then take at most
/// [`STREAM_LAZY_BYTES_MAX`].
#[derive(Default)]
pub(super) struct Gathered {
    streams: BTreeMap<StreamId, Run>,
    /// Of those that wait, what is on its way to the store.
    taken_bytes: usize,
    stats: LazyStats,
}

/// Records of some streams that are written together.
type Chunk = Vec<(StreamId, Run)>;

impl Gathered {
    /// Takes a record, or counts it as dropped. Answers whether enough wait for a commit of their own.
    fn push(&mut self, stream: &StreamId, record: &[u8]) -> bool {
        let most = record.len().saturating_add(stream.as_bytes().len() + OVERHEAD_BYTES_MAX);
        let fits = self.stats.waiting_bytes.saturating_add(most) <= STREAM_LAZY_BYTES_MAX;
        if !fits || record.len() > STREAM_RECORD_BYTES_MAX {
            self.count_dropped(1, record.len());
            return false;
        }
        // Looked up first, so that a stream that waits already costs no copy of its name.
        let run = match self.streams.get_mut(stream) {
            Some(run) => run,
            None => self.streams.entry(stream.clone()).or_default(),
        };
        let before = charge(stream, run);
        run.push(record);
        self.stats.waiting_bytes += charge(stream, run).saturating_sub(before);
        self.stats.waiting_bytes.saturating_sub(self.taken_bytes) >= STREAM_FLUSH_BYTES / 2
    }

    /// Puts back what could not be written, before what has come since.
    fn put_back(&mut self, stream: &StreamId, run: Run) {
        let waiting = self.streams.entry(stream.clone()).or_default();
        let before = charge(stream, waiting);
        let later = std::mem::replace(waiting, run);
        waiting.append(later);
        self.stats.waiting_bytes = self.stats.waiting_bytes.saturating_sub(before) + charge(stream, waiting);
    }

    /// Takes everything, which goes on counting until it is let go.
    fn take_all(&mut self) -> BTreeMap<StreamId, Run> {
        self.taken_bytes = self.stats.waiting_bytes;
        std::mem::take(&mut self.streams)
    }

    /// What was taken is written, or put back: so much of it counts no more.
    fn let_go(&mut self, bytes: usize) {
        let bytes = bytes.min(self.taken_bytes);
        self.taken_bytes = self.taken_bytes.saturating_sub(bytes);
        self.stats.waiting_bytes = self.stats.waiting_bytes.saturating_sub(bytes);
    }

    /// Forgets the records that wait for a stream.
    pub(super) fn discard(&mut self, stream: &StreamId) {
        if let Some(run) = self.streams.remove(stream) {
            self.stats.waiting_bytes = self.stats.waiting_bytes.saturating_sub(charge(stream, &run));
        }
    }

    fn count_dropped(&mut self, count: u64, bytes: usize) {
        self.stats.dropped_count = self.stats.dropped_count.saturating_add(count);
        self.stats.dropped_bytes = self.stats.dropped_bytes.saturating_add(bytes as u64);
    }
}

/// What a stream's waiting records take. A stream without any takes nothing.
fn charge(stream: &StreamId, run: &Run) -> usize {
    if run.is_empty() { 0 } else { run.bytes().saturating_add(stream.as_bytes().len() + OVERHEAD_BYTES_MAX / 2) }
}

/// Everything that was gathered, on its way to the store. What has not been written when this is dropped, because a
/// commit failed or the flush was cancelled, waits again.
struct Taken<'a> {
    gathered: &'a Mutex<Gathered>,
    streams: BTreeMap<StreamId, Run>,
    /// So many more chunks have one stream only.
    alone_count: usize,
}

impl<'a> Taken<'a> {
    fn all(gathered: &'a Mutex<Gathered>) -> Self {
        let streams = gathered.lock().take_all();
        Self { gathered, streams, alone_count: 0 }
    }

    /// The next records for one commit.
    fn next_chunk(&mut self) -> Option<Chunk> {
        let streams_max = if self.alone_count > 0 { 1 } else { STREAM_FLUSH_STREAMS };
        self.alone_count = self.alone_count.saturating_sub(1);
        let mut bytes_left = STREAM_FLUSH_BYTES;
        let mut chunk = Chunk::new();
        while chunk.len() < streams_max && bytes_left > 0 {
            let Some(mut entry) = self.streams.first_entry() else { break };
            let front = entry.get_mut().split_front(bytes_left);
            bytes_left = bytes_left.saturating_sub(charge(entry.key(), &front));
            chunk.push((entry.key().clone(), front));
            if !entry.get().is_empty() {
                // What is left of it is for the next chunk: a stream is in a chunk once.
                break;
            }
            entry.remove();
        }
        if chunk.is_empty() { None } else { Some(chunk) }
    }

    fn put_back(&mut self, chunk: Chunk) {
        for (stream, mut run) in chunk {
            if let Some(later) = self.streams.remove(&stream) {
                run.append(later);
            }
            self.streams.insert(stream, run);
        }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut gathered = self.gathered.lock();
        gathered.let_go(usize::MAX);
        for (stream, run) in std::mem::take(&mut self.streams) {
            gathered.put_back(&stream, run);
        }
    }
}

impl Streams {
    /// Appends a record some time soon: it is written within 100 ms and synced within a second while the store keeps
    /// up, and lost with a crash before. Never waits; a record for which there is no room is dropped and counted.
    pub fn append_lazy(&self, stream: &StreamId, record: &[u8]) {
        let enough = self.0.gathered.lock().push(stream, record);
        self.0.arrived.notify_one();
        if enough {
            self.0.enough.notify_one();
        }
    }

    pub fn lazy_stats(&self) -> LazyStats {
        self.0.gathered.lock().stats
    }

    /// Writes what is appended lazily, until it is cancelled.
    pub async fn run(&self) {
        loop {
            self.0.arrived.notified().await;
            timeout(STREAM_LAZY_DELAY, self.0.enough.notified()).await.ok();
            let mut told = false;
            while let Err(error) = self.flush().await {
                if !told {
                    tracing::warn!(error = &error as &dyn std::error::Error, "lazy records wait: failed to {error}");
                }
                told = true;
                sleep(STREAM_LAZY_DELAY).await;
            }
        }
    }

    /// Writes what was appended lazily before the call. After an error it waits still, unless it was dropped and
    /// counted because it can never be written.
    pub async fn flush(&self) -> Result<(), Error> {
        let _alone = self.0.flushing.lock().await;
        let mut taken = Taken::all(&self.0.gathered);
        while let Some(chunk) = taken.next_chunk() {
            match self.commit_runs(&Batch::new(), &chunk).await {
                Ok(_) => {
                    let bytes = chunk.iter().map(|(stream, run)| charge(stream, run)).sum();
                    // Its memory is free before its room is.
                    drop(chunk);
                    self.0.gathered.lock().let_go(bytes);
                }
                Err(error) if error.may_pass() => {
                    taken.put_back(chunk);
                    return Err(error);
                }
                // A damaged stream must not take others with it.
                Err(error) if chunk.len() > 1 && !error.is_doubtful() => {
                    taken.alone_count = chunk.len();
                    taken.put_back(chunk);
                }
                // What may have been written is not written again.
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "lazy records dropped: failed to {error}");
                    let mut gathered = self.0.gathered.lock();
                    for (_, run) in chunk {
                        gathered.count_dropped(run.record_count(), run.bytes());
                    }
                }
            }
        }
        Ok(())
    }
}

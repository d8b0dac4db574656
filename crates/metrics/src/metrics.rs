//! The handle that everyone holds, and what it takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base::{AwsError, Clock, Timestamp};
use parking_lot::Mutex;
use store::{Store, Version};
use tokio::sync::{Mutex as Turn, RwLock};

use crate::Datum;
use crate::limits::{DIRECT_BYTES_MAX, OPEN_BLOCKS_MAX, OPEN_BYTES_MAX};
use crate::open::Open;
use crate::staged;
use crate::tables::{SETTLED, Settled, nobody};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("reach the metrics' rows")]
    Store(#[from] store::Error),
    #[error("read the points of series {series}: they are damaged")]
    Damaged { series: u64 },
    /// Whether points in memory are in the store as well is not known: the next settling finds out.
    #[error("tell which points are stored: the last commit was not answered")]
    Torn,
    #[error("settle the metrics: somebody else has, or what goes with it is refused")]
    Contended,
}

impl From<Error> for AwsError {
    fn from(error: Error) -> Self {
        match error {
            Error::Store(store) => store.into(),
            Error::Damaged { .. } => Self::internal(error.to_string()),
            Error::Torn | Error::Contended => Self::unavailable(error.to_string()),
        }
    }
}

/// Cheap to clone; all clones are the same metrics.
#[derive(Clone)]
pub struct Metrics(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub store: Store,
    pub clock: Arc<dyn Clock>,
    pub held: Mutex<Held>,
    /// Readers share it while they read memory, then rows. Who moves points has it alone for as long as they are in both
    /// or in neither.
    pub moving: RwLock<()>,
    /// Whose turn it is to write rows.
    pub writer: Turn<Writer>,
    pub refused_series: AtomicU64,
    /// What one commit rewrites.
    pub direct_bytes_max: usize,
}

/// What is in memory.
pub(crate) struct Held {
    pub open: Open,
    /// Points on their way to the store, all that was taken before the journal's offset behind them.
    pub settling: (Arc<Open>, u64),
    /// All of the journal before is open, settling, or in the store.
    pub next: u64,
    pub settled: u64,
    /// Whether `settling` is in the store already is not known.
    pub is_torn: bool,
}

/// What whoever writes knows.
pub(crate) struct Writer {
    /// Of the row that says what is settled.
    pub settled: Option<Version>,
    /// As in that row.
    pub count: u64,
    /// Whether something that was begun may still be on its way to the store.
    pub is_unsure: bool,
    /// When series were last looked through.
    pub forgot: Timestamp,
}

impl Metrics {
    pub async fn open(store: &Store, clock: Arc<dyn Clock>) -> Result<Metrics, Error> {
        Self::open_with(store, clock, DIRECT_BYTES_MAX).await
    }

    pub(crate) async fn open_with(
        store: &Store,
        clock: Arc<dyn Clock>,
        direct_bytes_max: usize,
    ) -> Result<Metrics, Error> {
        let row = SETTLED.get(store, &nobody(), ()).await?;
        let Settled { next: settled, count } = row.as_ref().map(|row| row.value.clone()).unwrap_or_default();
        staged::finish(store, settled).await?;
        let held =
            Held { open: Open::default(), settling: (Arc::default(), settled), next: settled, settled, is_torn: false };
        let writer =
            Writer { settled: row.map(|row| row.version), count, is_unsure: false, forgot: Timestamp::default() };
        Ok(Metrics(Arc::new(Inner {
            store: store.clone(),
            clock,
            held: Mutex::new(held),
            moving: RwLock::new(()),
            writer: Turn::new(writer),
            refused_series: AtomicU64::new(0),
            direct_bytes_max,
        })))
    }

    /// Takes what the journal says before its offset `next`, all before that being taken already. Never waits. What is
    /// settled already is not taken again, as long as nothing of it is handed over together with what is not.
    pub fn take(&self, data: &[Datum], next: u64) {
        let now = self.0.clock.now();
        let mut held = self.0.held.lock();
        if next <= held.settled {
            return;
        }
        data.iter().for_each(|datum| held.open.take(now, datum));
        held.next = held.next.max(next);
    }

    /// Adds what has no place of its own in the journal: a crash forgets it, if it is not settled.
    pub fn add(&self, data: &[Datum]) {
        let now = self.0.clock.now();
        let mut held = self.0.held.lock();
        data.iter().for_each(|datum| held.open.take(now, datum));
    }

    /// All of the journal before this offset is in the store.
    pub fn settled(&self) -> u64 {
        self.0.held.lock().settled
    }

    /// There is so much to settle that nothing more should be taken before.
    pub fn is_full(&self) -> bool {
        let held = self.0.held.lock();
        let settling = &held.settling.0;
        held.open.blocks().saturating_add(settling.blocks()) > OPEN_BLOCKS_MAX
            || held.open.bytes().saturating_add(settling.bytes()) > OPEN_BYTES_MAX
    }

    /// Series that were not kept because their account had too many, counted whenever they come.
    pub fn refused_series(&self) -> u64 {
        self.0.refused_series.load(Ordering::Relaxed)
    }
}

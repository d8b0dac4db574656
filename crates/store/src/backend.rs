//! What a backend is: bytes only, object-safe, behind [`Store`](crate::Store).
//!
//! A backend sees sealed values and batches whose limits were checked. It need not know what a lease, a fence, a
//! checksum or a table is.

use std::path::Path;
use std::sync::Arc;

use base::{BoxFuture, Timestamp};
use bytes::Bytes;
use tokio::sync::watch;

use crate::backup::CopyError;
use crate::embedded::cache::CachedRow;
use crate::{Batch, Error, Found, Outcome, Read, Space, Watch};

pub(crate) trait Backend: Send + Sync {
    /// All at one snapshot, which holds every commit answered before the call; answers in the order of `reads`.
    fn read<'a>(&'a self, reads: &'a [Read]) -> BoxFuture<'a, Result<Vec<Found>, Error>>;

    /// The row, if it is in memory just as a read would find it now.
    fn cached(&self, _space: Space, _key: &Bytes) -> Option<Arc<CachedRow>> {
        None
    }

    /// Answers when the batch is durable. Once polled it may be committed even if the future is dropped.
    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Outcome, Error>>;

    fn watch(&self, space: Space, prefix: Bytes) -> Watch;

    /// The clock that all who share the store agree on.
    fn now(&self) -> BoxFuture<'_, Result<Timestamp, Error>>;

    /// Stops the store for good: something that it vouches for could not be synced.
    fn fail(&self, reason: &str);

    /// Set once, to the reason, when the store has failed for good.
    fn fatal(&self) -> watch::Receiver<Option<Arc<str>>>;

    /// Writes all that is committed, at one snapshot, to a new data directory, while commits go on.
    fn copy_to<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, Result<(), CopyError>>;

    /// Finishes the commits under way and lets go of what the store holds.
    fn close(&self) -> BoxFuture<'_, Result<(), Error>>;
}

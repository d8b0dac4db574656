//! The store in a directory: SQLite as an ordered key-value engine.
//!
//! One thread commits ([`committer`]): it gathers what waits into one transaction, so that one sync serves many. One
//! thread checkpoints, off the commit path. Reads run where they are asked for, on a connection of their own: each
//! takes microseconds, bounded by `limits.rs`, which is less than handing it to another thread and back.
//!
//! All rows are in one table, the space as a small number before the key: a space costs nothing until it is used, a
//! handful of prepared statements serves all of them, and one B-tree keeps few pages warm.
//!
//! A write or sync that fails when a transaction commits ends the store: what the kernel has in memory may then never
//! reach the disk, and a sync that succeeds later proves nothing. A full disk does not; that commit is undone.

pub(crate) mod cache;
mod checkpointer;
mod committer;
mod connection;
mod copy;
pub(crate) mod directory;
mod readers;
mod vfs;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use base::{BoxFuture, Clock, Timestamp};
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::backend::Backend;
use crate::backup::CopyError;
use crate::embedded::cache::{Cache, CachedRow};
use crate::embedded::checkpointer::Checkpointer;
use crate::embedded::committer::{Committer, Message};
use crate::embedded::connection::Connector;
use crate::embedded::directory::Directory;
use crate::embedded::readers::Readers;
use crate::embedded::vfs::Vfs;
use crate::limits::{CHECKPOINT_PAGES, QUEUE_BATCHES_MAX, QUEUE_BYTES_MAX};
#[cfg(any(test, feature = "testing"))]
use crate::testing::Mutant;
use crate::watch::Watches;
use crate::{Batch, Error, Found, Outcome, Read, Space, Watch};

pub use directory::OpenError;
pub use vfs::{Action, Fault, LogError, Op, RegisterError, Tap, Verdict};

/// How to open a data directory; the default is production.
#[derive(Clone, Default)]
pub struct Options {
    /// The directory is a copy under way, which gets its format when it is complete.
    pub is_unfinished: bool,
    /// Listens to the database's I/O, and interferes with it.
    #[cfg(any(test, feature = "testing"))]
    pub tap: Option<Arc<dyn Tap>>,
    /// A bug that the tests must find.
    #[cfg(any(test, feature = "testing"))]
    pub mutant: Option<Mutant>,
    /// Instead of [`CHECKPOINT_PAGES`], so that a short life sees many checkpoints.
    #[cfg(any(test, feature = "testing"))]
    pub checkpoint_pages: Option<u32>,
}

impl Options {
    pub(crate) fn unfinished() -> Self {
        Self {
            is_unfinished: true,
            #[cfg(any(test, feature = "testing"))]
            tap: None,
            #[cfg(any(test, feature = "testing"))]
            mutant: None,
            #[cfg(any(test, feature = "testing"))]
            checkpoint_pages: None,
        }
    }

    fn checkpoint_pages(&self) -> u32 {
        #[cfg(any(test, feature = "testing"))]
        if let Some(pages) = self.checkpoint_pages {
            return pages;
        }
        CHECKPOINT_PAGES
    }

    #[cfg(any(test, feature = "testing"))]
    fn vfs(&self) -> Result<Vfs, RegisterError> {
        match (&self.tap, self.mutant) {
            (None, None) => Vfs::production(),
            (tap, mutant) => Vfs::tapped(tap.clone(), mutant != Some(Mutant::DamageTrusted)),
        }
    }

    #[cfg(not(any(test, feature = "testing")))]
    fn vfs(&self) -> Result<Vfs, RegisterError> {
        Vfs::production()
    }
}

pub(crate) struct Embedded {
    queue: mpsc::Sender<Message>,
    /// Room for the bytes of waiting batches, a permit a KiB.
    room: Arc<Semaphore>,
    readers: Readers,
    connector: Connector,
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    /// Taken when the store is closed or dropped.
    held: Mutex<Option<Held>>,
    #[cfg(any(test, feature = "testing"))]
    mutant: Option<Mutant>,
}

/// What others may have once this store has let go of it.
struct Held {
    committer: JoinHandle<()>,
    /// Locked for as long as this lives, so it goes last.
    directory: Directory,
}

/// What the threads and the handle share.
pub(crate) struct Shared {
    /// Space name -> its number in the table, for spaces that were ever written.
    pub spaces: RwLock<HashMap<String, i64>>,
    pub cache: Cache,
    pub watches: Watches,
    pub fatal: watch::Sender<Option<Arc<str>>>,
    /// Held while a transaction is written, so that the log can be begun anew between two.
    pub turn: Mutex<()>,
}

impl Shared {
    /// Stops the store for good. The first reason stays.
    pub fn fail(&self, reason: &str) -> Error {
        // What the disk has is no longer known, so nothing may be said to be as it is there.
        self.cache.close();
        self.fatal.send_if_modified(|fatal| match fatal {
            Some(_) => false,
            None => {
                tracing::error!(reason, "the store has failed and takes no more commits");
                *fatal = Some(reason.into());
                true
            }
        });
        self.failure().unwrap_or(Error::Unanswered)
    }

    /// The error of every commit since the store failed.
    pub fn failure(&self) -> Option<Error> {
        self.fatal.borrow().clone().map(Error::Failed)
    }
}

/// Makes a panic of the thread that has it the end of the store: its state is unknown, and recovery is well tested.
struct PanicIsFatal<'a>(&'a Shared);

impl Drop for PanicIsFatal<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail("a thread of the store panicked");
        }
    }
}

impl Embedded {
    pub fn open(dir: &Path, clock: Arc<dyn Clock>, options: Options) -> Result<Self, OpenError> {
        let take = if options.is_unfinished { Directory::take_unfinished } else { Directory::take };
        let directory = take(dir)?;
        let connector = Connector::new(directory.database(), options.vfs()?);
        let (writer, known) = connector.prepare(&directory)?;
        #[cfg(any(test, feature = "testing"))]
        Mutant::in_writer(options.mutant, &writer).map_err(|source| connector.failed("plant a bug in", source))?;
        let shared = Arc::new(Shared {
            spaces: RwLock::new(known.spaces),
            cache: Cache::default(),
            watches: Watches::default(),
            fatal: watch::Sender::new(None),
            turn: Mutex::new(()),
        });
        let readers = Readers::new(connector.clone(), shared.clone());
        let checkpointer = Checkpointer::start(connector.open()?, options.checkpoint_pages(), shared.clone())?;
        let (queue, waiting) = mpsc::channel(QUEUE_BATCHES_MAX);
        let committer = Committer::new(writer, known.last, shared.clone(), checkpointer)?.start(waiting)?;
        let room = Arc::new(Semaphore::new(QUEUE_BYTES_MAX / 1024));
        let held = Mutex::new(Some(Held { committer, directory }));
        Ok(Self {
            queue,
            room,
            readers,
            connector,
            shared,
            clock,
            held,
            #[cfg(any(test, feature = "testing"))]
            mutant: options.mutant,
        })
    }

    /// Tells what the committer's silence means.
    fn silence(&self) -> Error {
        self.shared.failure().unwrap_or(CLOSED)
    }

    async fn submit(&self, batch: Batch) -> Result<Outcome, Error> {
        #[cfg(any(test, feature = "testing"))]
        let batch = Mutant::in_batch(self.mutant, batch);
        // Batches are far smaller than 4 TiB, and no single one is larger than the room.
        let permits = u32::try_from(batch.payload_bytes / 1024 + 1).unwrap_or(u32::MAX);
        let room = self.room.clone().acquire_many_owned(permits).await.map_err(|_| self.silence())?;
        let (answer, outcome) = oneshot::channel();
        self.queue.send(Message::Commit { batch, answer, room }).await.map_err(|_| self.silence())?;
        // Without an answer the committer died with the batch in hand.
        outcome.await.unwrap_or_else(|_| Err(self.shared.failure().unwrap_or(Error::Unanswered)))
    }

    async fn finish(&self) -> Result<(), Error> {
        let (answer, done) = oneshot::channel();
        let told = self.queue.send(Message::Close(answer)).await;
        let result = match told {
            Ok(()) => done.await.unwrap_or_else(|_| Err(self.silence())),
            Err(_) => self.shared.failure().map_or(Ok(()), Err),
        };
        self.readers.close();
        self.let_go();
        result
    }

    /// Waits for the committer to end, then frees the directory.
    fn let_go(&self) {
        if let Some(Held { committer, directory }) = self.held.lock().take() {
            // A panic of the committer's was made fatal by itself.
            committer.join().ok();
            drop(directory);
        }
    }
}

const CLOSED: Error = Error::Unavailable { reason: "it is closed", source: None };

impl Backend for Embedded {
    fn read<'a>(&'a self, reads: &'a [Read]) -> BoxFuture<'a, Result<Vec<Found>, Error>> {
        Box::pin(async move { self.readers.read(reads) })
    }

    fn cached(&self, space: Space, key: &Bytes) -> Option<Arc<CachedRow>> {
        self.shared.cache.get(space, key).ok()
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Outcome, Error>> {
        Box::pin(self.submit(batch))
    }

    fn watch(&self, space: Space, prefix: Bytes) -> Watch {
        self.shared.watches.watch(space, prefix)
    }

    fn now(&self) -> BoxFuture<'_, Result<Timestamp, Error>> {
        Box::pin(std::future::ready(Ok(self.clock.now())))
    }

    fn fail(&self, reason: &str) {
        self.shared.fail(reason);
    }

    fn fatal(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.shared.fatal.subscribe()
    }

    fn copy_to<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, Result<(), CopyError>> {
        Box::pin(copy::copy_to(self.connector.clone(), dir.to_owned()))
    }

    fn close(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.finish())
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        // The committer ends when its queue has no sender left, and this is the last one.
        let (nowhere, _) = mpsc::channel(1);
        self.queue = nowhere;
        self.readers.close();
        self.let_go();
    }
}

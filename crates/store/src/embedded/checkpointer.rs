//! The checkpointer: copies what the log has into the database, on a thread and a connection of its own, so that no
//! commit waits for it.
//!
//! The log begins anew when all of it is copied and nobody reads from it. Under commits without pause that moment may
//! never come by itself; when the log has grown long, or finds no room to grow, commits are held back for the moment that it
//! takes. A log that was begun anew needs no room.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use rusqlite::{Connection, ErrorCode};

use crate::embedded::directory::OpenError;
use crate::embedded::{PanicIsFatal, Shared};
use crate::limits::{CHECKPOINT_WAIT, LOCK_WAIT, LOG_PAGES_MAX, RELIEF_REST};

/// The committer's end of it, which it ends with `stop`.
pub(crate) struct Checkpointer {
    /// Holds one poke: a second says nothing that the first did not.
    pokes: SyncSender<()>,
    thread: JoinHandle<Connection>,
    /// The log found no room, and has not begun anew since.
    needs_room: Arc<AtomicBool>,
    checkpoint_pages: u32,
    /// Length of the log when the thread was last poked.
    poked_pages: u32,
}

impl Checkpointer {
    /// Copies the log each time that it has grown by `checkpoint_pages`.
    pub fn start(connection: Connection, checkpoint_pages: u32, shared: Arc<Shared>) -> Result<Self, OpenError> {
        let (pokes, poked) = sync_channel(1);
        let name = "store-checkpoint";
        // While it waits for a slow reader, commits may wait for it.
        connection.busy_timeout(CHECKPOINT_WAIT).map_err(|source| OpenError::Database {
            step: "set up a connection to",
            path: connection.path().unwrap_or_default().into(),
            source: Arc::new(source),
        })?;
        let needs_room = Arc::new(AtomicBool::new(false));
        let needs = needs_room.clone();
        let thread = thread::Builder::new()
            .name(name.into())
            .spawn(move || run(connection, &shared, &poked, &needs))
            .map_err(|source| OpenError::Thread { name, source })?;
        Ok(Self { pokes, thread, needs_room, checkpoint_pages, poked_pages: 0 })
    }

    /// Called after each commit with the length of the log.
    pub fn log_is(&mut self, pages: u32) {
        // A shorter log is a new one.
        self.poked_pages = if pages < self.poked_pages { 0 } else { self.poked_pages };
        let has_grown = pages.saturating_sub(self.poked_pages) >= self.checkpoint_pages;
        if has_grown || self.needs_room.load(Ordering::Relaxed) {
            self.poked_pages = pages;
            // When a poke lies there already, the thread will look at all that is there by then.
            self.pokes.try_send(()).ok();
        }
    }

    /// Called after a commit that found no room for the log to grow.
    pub fn log_needs_room(&self) {
        self.needs_room.store(true, Ordering::Relaxed);
        self.pokes.try_send(()).ok();
    }

    /// Ends the thread, and waits for the checkpoint that it may be at.
    pub fn stop(self) -> Option<Connection> {
        drop(self.pokes);
        // Where it panicked it made that fatal itself, and nothing may be written now.
        self.thread.join().ok()
    }
}

/// Copies everything and empties the log: the last step of a store that has not failed.
pub(crate) fn empty_log(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(LOCK_WAIT)?;
    checkpoint(connection, "TRUNCATE").map(drop)
}

fn run(connection: Connection, shared: &Shared, poked: &Receiver<()>, needs_room: &AtomicBool) -> Connection {
    let guard = PanicIsFatal(shared);
    while poked.recv().is_ok() && shared.failure().is_none() {
        match relieve(&connection, shared, needs_room.load(Ordering::Relaxed)) {
            Ok(begins_anew) => drop(needs_room.fetch_and(!begins_anew, Ordering::Relaxed)),
            // The database could not grow, or a reader was slow: nothing is lost, and a later turn goes on.
            Err(error) if is_harmless(&error) => {
                tracing::warn!(%error, "a checkpoint must wait");
                // Each commit that is refused asks again.
                thread::sleep(RELIEF_REST);
            }
            // The log still has all of it, but a repeated sync of the database may falsely succeed, and the log would
            // then begin anew over the only good copy.
            Err(error) => drop(shared.fail(&format!("checkpoint: {error}"))),
        }
    }
    drop(guard);
    connection
}

/// Copies the log, and says whether it begins anew.
fn relieve(connection: &Connection, shared: &Shared, needs_room: bool) -> rusqlite::Result<bool> {
    let log_pages = checkpoint(connection, "PASSIVE")?;
    let begins_anew = needs_room || log_pages >= LOG_PAGES_MAX;
    if begins_anew {
        let _turn = shared.turn.lock();
        checkpoint(connection, "RESTART")?;
    }
    Ok(begins_anew)
}

/// Runs a checkpoint; answers with the length of the log in pages.
fn checkpoint(connection: &Connection, mode: &str) -> rusqlite::Result<u32> {
    let pages: i64 = connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), (), |row| row.get(1))?;
    Ok(u32::try_from(pages).unwrap_or(0))
}

fn is_harmless(error: &rusqlite::Error) -> bool {
    let harmless = [ErrorCode::DiskFull, ErrorCode::DatabaseBusy, ErrorCode::DatabaseLocked];
    error.sqlite_error_code().is_some_and(|code| harmless.contains(&code))
}

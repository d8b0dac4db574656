//! The committer: the one thread that writes.
//!
//! It takes what waits, up to the bounds of a group, into one transaction. Each batch is judged and applied in turn,
//! so that it sees those before it; one COMMIT, and with it one sync, makes the group durable; then all are answered
//! and watches are told. A group forms by itself: while one is synced, the next gathers.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};

use rusqlite::{Connection, ErrorCode, OptionalExtension, params};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use crate::batch::{Expectation, Write};
use crate::embedded::checkpointer::{self, Checkpointer};
use crate::embedded::connection::{explain, stored, version};
use crate::embedded::directory::OpenError;
use crate::embedded::readers::execute;
use crate::embedded::{PanicIsFatal, Shared};
use crate::limits::{GROUP_BATCHES_MAX, GROUP_BYTES_MAX};
use crate::{Batch, Error, Expect, Outcome, Space, Version};

const PUT: &str = "REPLACE INTO kv (space, key, version, value) VALUES (?1, ?2, ?3, ?4)";
const DELETE: &str = "DELETE FROM kv WHERE space = ?1 AND key = ?2";
const SWEEP: &str = "DELETE FROM kv WHERE space = ?1 AND key >= ?2 AND key < ?3";
const FIND: &str = "SELECT version FROM kv WHERE space = ?1 AND key = ?2";
const COMPARE: &str = "SELECT value = ?3 FROM kv WHERE space = ?1 AND key = ?2";
const ADD_SPACE: &str = "INSERT INTO spaces (name) VALUES (?1)";
const ADVANCE: &str = "UPDATE state SET last_version = ?1";

pub(crate) enum Message {
    Commit {
        batch: Batch,
        answer: oneshot::Sender<Result<Outcome, Error>>,
        /// Given back with the answer.
        room: OwnedSemaphorePermit,
    },
    /// Finish what was sent before, tidy up and end.
    Close(oneshot::Sender<Result<(), Error>>),
}

struct Waiting {
    batch: Batch,
    answer: oneshot::Sender<Result<Outcome, Error>>,
    _room: OwnedSemaphorePermit,
}

/// Why a group was not committed.
enum Failure {
    /// The disk has nothing of it, and what follows may succeed.
    Undone(Error),
    /// A batch ran into something: alone, it would spare the others.
    Tripped(Error),
    /// What the disk has of it is unknown.
    Fatal(Error),
}

pub(crate) struct Committer {
    connection: Connection,
    last: Version,
    /// Spaces that the transaction adds; they join the shared ones when it is committed.
    added: HashMap<&'static str, i64>,
    shared: Arc<Shared>,
    checkpointer: Checkpointer,
    /// Length of the log after the last commit, noted by SQLite's hook.
    log_pages: Arc<AtomicU32>,
}

impl Committer {
    pub fn new(
        mut connection: Connection,
        last: Version,
        shared: Arc<Shared>,
        checkpointer: Checkpointer,
    ) -> Result<Self, OpenError> {
        let log_pages = Arc::new(AtomicU32::new(0));
        let noted = log_pages.clone();
        let hook = move |_: &mut rusqlite::hooks::Wal, pages: i32| {
            noted.store(u32::try_from(pages).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        };
        connection.wal_hook(Some(hook)).map_err(|source| OpenError::Database {
            step: "hook into",
            path: connection.path().unwrap_or_default().into(),
            source: Arc::new(source),
        })?;
        Ok(Self { connection, last, added: HashMap::new(), shared, checkpointer, log_pages })
    }

    pub fn start(self, queue: mpsc::Receiver<Message>) -> Result<JoinHandle<()>, OpenError> {
        let name = "store-commit";
        let shared = self.shared.clone();
        let run = move || {
            let guard = PanicIsFatal(&shared);
            self.run(queue);
            drop(guard);
        };
        thread::Builder::new().name(name.into()).spawn(run).map_err(|source| OpenError::Thread { name, source })
    }

    fn run(mut self, mut queue: mpsc::Receiver<Message>) {
        let mut closing = None;
        while let Some(message) = queue.blocking_recv() {
            let mut group = Vec::new();
            let mut group_bytes = 0;
            let mut next = Some(message);
            while let Some(message) = next {
                match message {
                    Message::Commit { batch, answer, room } => {
                        group_bytes += batch.payload_bytes;
                        group.push(Waiting { batch, answer, _room: room });
                    }
                    Message::Close(answer) => {
                        queue.close();
                        closing = Some(answer);
                    }
                }
                let is_full = group.len() >= GROUP_BATCHES_MAX || group_bytes >= GROUP_BYTES_MAX;
                next = if is_full { None } else { queue.try_recv().ok() };
            }
            self.commit(group);
        }
        let connection = self.checkpointer.stop();
        // Judged after the checkpoint under way has ended: if that failed, another would build on its failed write.
        let closed = match (self.shared.failure(), connection) {
            (Some(failure), _) => Err(failure),
            (None, Some(connection)) if closing.is_some() => {
                checkpointer::empty_log(&connection).map_err(|error| explain("empty the log", error))
            }
            // A store that was only dropped leaves at once.
            (None, _) => Ok(()),
        };
        drop(self.connection);
        if let Some(closing) = closing {
            closing.send(closed).ok();
        }
    }

    fn commit(&mut self, group: Vec<Waiting>) {
        let outcomes = match self.shared.failure() {
            Some(failure) => Err(Failure::Fatal(failure)),
            None => self.attempt(&group),
        };
        match outcomes {
            Ok(outcomes) => {
                for (waiting, outcome) in group.into_iter().zip(outcomes) {
                    if outcome.is_committed() {
                        self.shared.watches.publish(&waiting.batch.writes);
                    }
                    // Whoever asked may have left.
                    waiting.answer.send(Ok(outcome)).ok();
                }
                self.checkpointer.log_is(self.log_pages.load(Ordering::Relaxed));
            }
            Err(Failure::Tripped(_)) if group.len() > 1 => {
                for waiting in group {
                    self.commit(vec![waiting]);
                }
            }
            Err(failure) => {
                if let Failure::Undone(_) = failure {
                    self.checkpointer.log_needs_room();
                }
                let (Failure::Undone(error) | Failure::Tripped(error) | Failure::Fatal(error)) = failure;
                for waiting in group {
                    waiting.answer.send(Err(error.clone())).ok();
                }
            }
        }
    }

    /// Commits a group in one transaction; what does not commit is rolled back.
    fn attempt(&mut self, group: &[Waiting]) -> Result<Vec<Outcome>, Failure> {
        let shared = self.shared.clone();
        let _turn = shared.turn.lock();
        let last = self.last;
        let applied = execute(&self.connection, "BEGIN IMMEDIATE", ()).and_then(|()| {
            let outcomes = group.iter().map(|waiting| self.apply(&waiting.batch)).collect::<Result<Vec<_>, _>>()?;
            execute(&self.connection, ADVANCE, params![stored(self.last)])?;
            Ok(outcomes)
        });
        let result = match applied {
            // Nothing to write, so nothing to sync.
            Ok(outcomes) if !outcomes.iter().any(Outcome::is_committed) => self.roll_back().map(|()| outcomes),
            Ok(outcomes) => {
                let committed = group.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_committed());
                let change = shared.cache.change(committed.flat_map(|(waiting, _)| &waiting.batch.writes));
                let synced = self.sync();
                drop(change);
                synced.map(|()| outcomes)
            }
            Err(error) => self.roll_back().and_then(|()| {
                Err(match explain("apply a batch", error) {
                    error @ Error::Unavailable { .. } => Failure::Undone(error),
                    error => Failure::Tripped(error),
                })
            }),
        };
        let added = std::mem::take(&mut self.added);
        match &result {
            Ok(_) => shared.spaces.write().extend(added.into_iter().map(|(name, id)| (name.to_owned(), id))),
            Err(_) => self.last = last,
        }
        result
    }

    /// The moment of truth. The cache does not spill (`vfs` sees to it), so every byte of the transaction is written
    /// and synced here, and a step that failed before has written nothing.
    fn sync(&self) -> Result<(), Failure> {
        let Err(error) = execute(&self.connection, "COMMIT", ()) else { return Ok(()) };
        if error.sqlite_error_code() == Some(ErrorCode::DiskFull) {
            // A write into the log found no room, before any sync; a log without the mark of a commit is ignored.
            self.roll_back()?;
            return Err(Failure::Undone(explain("commit", error)));
        }
        Err(Failure::Fatal(self.shared.fail(&format!("commit: {error}"))))
    }

    fn roll_back(&self) -> Result<(), Failure> {
        // Some errors have rolled back by themselves.
        if self.connection.is_autocommit() {
            return Ok(());
        }
        execute(&self.connection, "ROLLBACK", ())
            .map_err(|error| Failure::Fatal(self.shared.fail(&format!("roll back: {error}"))))
    }

    fn apply(&mut self, batch: &Batch) -> rusqlite::Result<Outcome> {
        let mut failed = Vec::new();
        for (index, expectation) in batch.expectations.iter().enumerate() {
            if !self.holds(expectation)? {
                failed.push(index);
            }
        }
        if !failed.is_empty() {
            return Ok(Outcome::Conflict(failed));
        }
        let version = Version(self.last.0.saturating_add(1));
        for write in &batch.writes {
            self.write(write, version)?;
        }
        self.last = version;
        Ok(Outcome::Committed(version))
    }

    fn holds(&self, Expectation { space, key, expect }: &Expectation) -> rusqlite::Result<bool> {
        let Some(id) = self.id(*space) else { return Ok(*expect == Expect::Absent) };
        if let Expect::Value(value) = expect {
            let mut statement = self.connection.prepare_cached(COMPARE)?;
            let equal = statement.query_row(params![id, &**key, &**value], |row| row.get(0)).optional()?;
            return Ok(equal.unwrap_or(false));
        }
        let mut statement = self.connection.prepare_cached(FIND)?;
        let found = statement.query_row(params![id, &**key], |row| row.get(0)).optional()?.map(version);
        Ok(match expect {
            Expect::Absent => found.is_none(),
            Expect::Version(expected) => found == Some(*expected),
            Expect::Present | Expect::Value(_) => found.is_some(),
        })
    }

    fn write(&mut self, write: &Write, version: Version) -> rusqlite::Result<()> {
        match write {
            Write::Put { space, key, value } => {
                let id = self.id_or_add(*space)?;
                execute(&self.connection, PUT, params![id, &**key, stored(version), &**value])
            }
            Write::Delete { space, key } => match self.id(*space) {
                Some(id) => execute(&self.connection, DELETE, params![id, &**key]),
                None => Ok(()),
            },
            Write::Sweep { space, from, to } => match self.id(*space) {
                Some(id) => execute(&self.connection, SWEEP, params![id, &**from, &**to]),
                None => Ok(()),
            },
        }
    }

    fn id(&self, space: Space) -> Option<i64> {
        let added = || self.added.get(space.name()).copied();
        self.shared.spaces.read().get(space.name()).copied().or_else(added)
    }

    fn id_or_add(&mut self, space: Space) -> rusqlite::Result<i64> {
        if let Some(id) = self.id(space) {
            return Ok(id);
        }
        execute(&self.connection, ADD_SPACE, [space.name()])?;
        let id = self.connection.last_insert_rowid();
        self.added.insert(space.name(), id);
        Ok(id)
    }
}

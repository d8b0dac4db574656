//! The in-memory twin: the same laws as [`embedded`](crate::embedded), nothing on disk, no thread, no time of its own.
//!
//! It answers on the first poll and the same calls give the same answers, so a simulation on it repeats itself.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base::{BoxFuture, Clock, Timestamp};
use bytes::Bytes;
use parking_lot::RwLock;
use tokio::sync::watch;

use crate::backend::Backend;
use crate::backup::CopyError;
use crate::batch::{Expectation, Write};
use crate::limits::READ_BYTES_MAX;
use crate::watch::Watches;
use crate::{Batch, Error, Expect, Found, Outcome, Range, RawRow, Read, Rows, Space, Version, Versioned, Watch};

pub(crate) struct Memory {
    state: RwLock<State>,
    watches: Watches,
    clock: Arc<dyn Clock>,
    closed: AtomicBool,
    /// Memory does not fail; held so that those who wait for it to fail keep waiting.
    fatal: watch::Sender<Option<Arc<str>>>,
}

#[derive(Default)]
struct State {
    spaces: HashMap<Space, BTreeMap<Bytes, Versioned>>,
    last: Version,
}

impl Memory {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            state: RwLock::default(),
            watches: Watches::default(),
            clock,
            closed: AtomicBool::new(false),
            fatal: watch::Sender::new(None),
        }
    }

    fn usable(&self) -> Result<(), Error> {
        if let Some(reason) = self.fatal.borrow().clone() {
            return Err(Error::Failed(reason));
        }
        match self.closed.load(Ordering::SeqCst) {
            true => Err(Error::Unavailable { reason: "it is closed", source: None }),
            false => Ok(()),
        }
    }
}

impl State {
    fn get(&self, space: Space, key: &Bytes) -> Option<&Versioned> {
        self.spaces.get(&space)?.get(key)
    }

    fn range(&self, range: &Range, bytes_left: &mut usize) -> Rows {
        let Some(space) = self.spaces.get(&range.space).filter(|_| !range.is_empty()) else {
            return Rows::default();
        };
        let end = range.to.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut entries = space.range::<Bytes, _>((Bound::Included(&range.from), end));
        let mut next = || if range.reverse { entries.next_back() } else { entries.next() };
        let mut found = Rows::default();
        while let Some((key, Versioned { value, version })) = next() {
            if found.rows.len() >= range.rows_max() || *bytes_left == 0 {
                found.more = true;
                break;
            }
            *bytes_left = bytes_left.saturating_sub(key.len() + value.len());
            found.rows.push(RawRow { key: key.clone(), value: value.clone(), version: *version });
        }
        found
    }

    fn holds(&self, Expectation { space, key, expect }: &Expectation) -> bool {
        match (expect, self.get(*space, key)) {
            (Expect::Absent, found) => found.is_none(),
            (Expect::Present, found) => found.is_some(),
            (Expect::Version(version), found) => found.is_some_and(|row| row.version == *version),
            (Expect::Value(value), found) => found.is_some_and(|row| row.value == *value),
        }
    }

    fn apply(&mut self, batch: &Batch) -> Outcome {
        let expectations = batch.expectations.iter().enumerate();
        let failed: Vec<_> = expectations.filter(|(_, e)| !self.holds(e)).map(|(index, _)| index).collect();
        if !failed.is_empty() {
            return Outcome::Conflict(failed);
        }
        let version = Version(self.last.0.saturating_add(1));
        self.last = version;
        for write in &batch.writes {
            match write.clone() {
                Write::Put { space, key, value } => {
                    self.spaces.entry(space).or_default().insert(key, Versioned { value, version });
                }
                Write::Delete { space, key } => {
                    self.spaces.entry(space).or_default().remove(&key);
                }
                Write::Sweep { space, from, to } => {
                    let rows = self.spaces.entry(space).or_default();
                    let swept: Vec<_> = rows.range(from.clone()..to.max(from)).map(|(key, _)| key.clone()).collect();
                    for key in swept {
                        rows.remove(&key);
                    }
                }
            }
        }
        Outcome::Committed(version)
    }
}

impl Backend for Memory {
    fn read<'a>(&'a self, reads: &'a [Read]) -> BoxFuture<'a, Result<Vec<Found>, Error>> {
        Box::pin(async move {
            self.usable()?;
            let state = self.state.read();
            let mut bytes_left = READ_BYTES_MAX;
            let answer = |read: &Read| match read {
                Read::Get { space, key } => Found::Value(state.get(*space, key).cloned()),
                Read::Range(range) => Found::Rows(state.range(range, &mut bytes_left)),
            };
            Ok(reads.iter().map(answer).collect())
        })
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Outcome, Error>> {
        Box::pin(async move {
            self.usable()?;
            let mut state = self.state.write();
            let outcome = state.apply(&batch);
            if outcome.is_committed() {
                // Published under the lock, so that hints come in the order of their commits.
                self.watches.publish(&batch.writes);
            }
            Ok(outcome)
        })
    }

    fn watch(&self, space: Space, prefix: Bytes) -> Watch {
        self.watches.watch(space, prefix)
    }

    fn now(&self) -> BoxFuture<'_, Result<Timestamp, Error>> {
        Box::pin(std::future::ready(Ok(self.clock.now())))
    }

    fn fail(&self, reason: &str) {
        self.fatal.send_replace(Some(reason.into()));
    }

    fn fatal(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.fatal.subscribe()
    }

    fn copy_to<'a>(&'a self, _dir: &'a Path) -> BoxFuture<'a, Result<(), CopyError>> {
        Box::pin(std::future::ready(Err(CopyError::NoFiles)))
    }

    fn close(&self) -> BoxFuture<'_, Result<(), Error>> {
        self.closed.store(true, Ordering::SeqCst);
        Box::pin(std::future::ready(Ok(())))
    }
}

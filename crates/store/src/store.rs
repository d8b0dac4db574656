//! The handle that everyone holds, and the plain data that goes in and out of it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use base::{Clock, Timestamp};
use bytes::Bytes;

use crate::backend::Backend;
use crate::backup::CopyError;
use crate::embedded::Embedded;
use crate::fault::Faulty;
use crate::limits::{RANGE_ROWS_MAX, READS_MAX};
use crate::memory::Memory;
use crate::{Batch, Error, Faults, OpenError, Options, Outcome, Watch, envelope};

/// The store. Cheap to clone; all clones are the same store.
#[derive(Clone)]
pub struct Store(Arc<dyn Backend>);

/// A named table of ordered byte keys. It exists from its first write.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Space(&'static str);

impl Space {
    pub const fn new(name: &'static str) -> Self {
        Self(name)
    }

    pub const fn name(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Debug for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// The number of a commit. Later commits have greater ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Version(pub u64);

/// A value, and the commit that wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned {
    pub value: Bytes,
    pub version: Version,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawRow {
    pub key: Bytes,
    pub value: Bytes,
    pub version: Version,
}

#[derive(Debug, Clone)]
pub enum Read {
    Get { space: Space, key: Bytes },
    Range(Range),
}

/// The keys from `from` on and before `to`, in order or backwards.
#[derive(Debug, Clone)]
pub struct Range {
    pub space: Space,
    pub from: Bytes,
    /// Absent: up to the end of the space.
    pub to: Option<Bytes>,
    /// Rows at most; [`RANGE_ROWS_MAX`] is a ceiling to it.
    pub limit: usize,
    /// From the end of the range towards its beginning.
    pub reverse: bool,
}

/// The answer to one [`Read`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    Value(Option<Versioned>),
    Rows(Rows),
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rows {
    pub rows: Vec<RawRow>,
    /// The range goes on behind the last row: it was cut at its limit, or at the bytes that one read may answer.
    pub more: bool,
}

impl Found {
    pub fn into_value(self) -> Option<Versioned> {
        match self {
            Self::Value(value) => value,
            Self::Rows(_) => None,
        }
    }

    pub fn into_rows(self) -> Rows {
        match self {
            Self::Value(_) => Rows::default(),
            Self::Rows(rows) => rows,
        }
    }
}

impl Range {
    /// The keys that begin with `prefix`.
    pub fn under(space: Space, prefix: impl Into<Bytes>, limit: usize) -> Self {
        let from = prefix.into();
        let to = prefix_end(&from);
        Self { space, from, to, limit, reverse: false }
    }
}

/// The first key behind all that begin with `prefix`; `None` if there is none.
pub(crate) fn prefix_end(prefix: &[u8]) -> Option<Bytes> {
    let keep = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix.get(..=keep)?.to_vec();
    if let Some(last) = end.last_mut() {
        *last = last.saturating_add(1);
    }
    Some(end.into())
}

impl Store {
    /// Opens the data directory, making it if it is not there. Only one process has it at a time.
    ///
    /// Recovers from whatever ended the last one. It blocks for the few milliseconds that it takes.
    pub fn open(dir: &Path, clock: Arc<dyn Clock>, options: Options) -> Result<Self, OpenError> {
        Ok(Self(Arc::new(Embedded::open(dir, clock, options)?)))
    }

    /// A store that lasts as long as its handles do, for tests and simulations.
    pub fn memory(clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Memory::new(clock)))
    }

    /// This store behind a connection that fails in seeded ways, for tests and simulations.
    pub fn with_faults(self, faults: Faults) -> Self {
        Self(Arc::new(Faulty::new(self.0, faults)))
    }

    /// Everything at one snapshot, which holds all commits that were answered before.
    pub async fn read(&self, reads: Vec<Read>) -> Result<Vec<Found>, Error> {
        if reads.len() > READS_MAX {
            return Err(Error::TooLarge { what: "number of reads", size: reads.len(), max: READS_MAX });
        }
        let mut all_found = self.0.read(&reads).await?;
        for (read, found) in reads.iter().zip(&mut all_found) {
            match (read, found) {
                (Read::Get { space, key }, Found::Value(Some(versioned))) => {
                    versioned.value = envelope::open(*space, key, &versioned.value)?;
                }
                (Read::Range(range), Found::Rows(found)) => {
                    for row in &mut found.rows {
                        row.value = envelope::open(range.space, &row.key, &row.value)?;
                    }
                }
                _ => {}
            }
        }
        Ok(all_found)
    }

    pub async fn get(&self, space: Space, key: impl Into<Bytes>) -> Result<Option<Versioned>, Error> {
        let found = self.read(vec![Read::Get { space, key: key.into() }]).await?;
        Ok(found.into_iter().next().and_then(Found::into_value))
    }

    /// The value of a row that is in memory, taken apart by `decode` if nobody has done so before: as current as what
    /// [`get`](Self::get) answers. `None` if it is not there, or `decode` needs more than the row.
    pub(crate) fn cached<V: Send + Sync + 'static>(
        &self,
        space: Space,
        key: &Bytes,
        decode: impl FnOnce(&[u8]) -> Result<Option<V>, Error>,
    ) -> Result<Option<Arc<V>>, Error> {
        let Some(row) = self.0.cached(space, key) else { return Ok(None) };
        if let Some(decoded) = row.decoded.get() {
            // Of another type it is when two tables have one name.
            return Ok(decoded.clone().downcast().ok());
        }
        let Some(sealed) = &row.sealed else { return Ok(None) };
        let Some(decoded) = decode(&envelope::open(space, key, &sealed.value)?)? else { return Ok(None) };
        let decoded = Arc::new(decoded);
        row.decoded.set(decoded.clone()).ok();
        Ok(Some(decoded))
    }

    pub async fn range(&self, range: Range) -> Result<Rows, Error> {
        let found = self.read(vec![Read::Range(range)]).await?;
        Ok(found.into_iter().next().map(Found::into_rows).unwrap_or_default())
    }

    /// Writes the batch if all that it expects holds; answers when it is durable.
    ///
    /// A caller that is dropped meanwhile does not learn the outcome; the batch may be committed nevertheless.
    pub async fn commit(&self, mut batch: Batch) -> Result<Outcome, Error> {
        match batch.defect.take() {
            Some(defect) => Err(defect),
            None => self.0.commit(batch).await,
        }
    }

    /// Hints of changes to keys of `space` that begin with `prefix`, from now on.
    pub fn watch(&self, space: Space, prefix: impl Into<Bytes>) -> Watch {
        self.0.watch(space, prefix.into())
    }

    /// The clock that all who share the store agree on. Leases go by it.
    pub async fn now(&self) -> Result<Timestamp, Error> {
        self.0.now().await
    }

    /// Resolves, with the reason, when the store has failed for good: the process must then end at once with an
    /// error, for what it holds in memory is no longer what is on disk. Pends for as long as all is well.
    pub async fn failed(&self) -> Arc<str> {
        let mut fatal = self.0.fatal();
        let reason = fatal.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        match reason {
            Some(reason) => reason,
            // The store was closed in order, so it will never fail.
            None => std::future::pending().await,
        }
    }

    /// Stops the store for good, for what is kept beside it.
    pub(crate) fn fail(&self, reason: &str) {
        self.0.fail(reason);
    }

    pub(crate) async fn copy_to(&self, dir: &Path) -> Result<(), CopyError> {
        self.0.copy_to(dir).await
    }

    /// Finishes the commits under way, tidies up and lets go of the data directory. What is called on the store
    /// afterwards is unavailable. A store that is only dropped loses nothing either.
    pub async fn close(&self) -> Result<(), Error> {
        self.0.close().await
    }
}

impl Range {
    /// The rows that one call may answer with.
    pub(crate) fn rows_max(&self) -> usize {
        self.limit.min(RANGE_ROWS_MAX)
    }

    /// Whether no key can lie in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.to.as_ref().is_some_and(|to| *to <= self.from)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_end_of_a_prefix_lies_right_behind_its_keys(
            prefix in proptest::collection::vec(prop_oneof![Just(0xff), any::<u8>()], 0..4),
            key in proptest::collection::vec(prop_oneof![Just(0xff), any::<u8>()], 0..6),
        ) {
            let before_end = prefix_end(&prefix).is_none_or(|end| key < end.to_vec());
            prop_assert_eq!(key >= prefix && before_end, key.starts_with(&prefix));
        }
    }
}

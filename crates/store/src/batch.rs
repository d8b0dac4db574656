//! A batch: what must hold, and what to write if it does. All of it happens, or nothing.

use bytes::Bytes;

use crate::envelope::{self, ENVELOPE_BYTES};
use crate::limits::{BATCH_BYTES_MAX, BATCH_OPS_MAX, KEY_BYTES_MAX, VALUE_BYTES_MAX};
use crate::{Error, Space, Version, lease};

/// What must hold of one key at the moment of the commit, before the batch's own writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    Absent,
    Present,
    /// The value is the one that this commit wrote.
    Version(Version),
    /// The value is this one, whoever wrote it.
    Value(Bytes),
}

/// How a commit ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Everything is written and synced.
    Committed(Version),
    /// Nothing is written: these expectations and fences, counted in the order in which they joined, do not hold.
    Conflict(Vec<usize>),
}

impl Outcome {
    pub fn is_committed(&self) -> bool {
        matches!(self, Self::Committed(_))
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Expectation {
    pub space: Space,
    pub key: Bytes,
    pub expect: Expect,
}

#[derive(Debug, Clone)]
pub(crate) enum Write {
    /// The value is sealed.
    Put {
        space: Space,
        key: Bytes,
        value: Bytes,
    },
    Delete {
        space: Space,
        key: Bytes,
    },
    /// Removes the parts of one record; few by construction, which is why it is not offered outside. Watches do not
    /// see it.
    Sweep {
        space: Space,
        from: Bytes,
        to: Bytes,
    },
}

/// Built by chaining; a step that passes a limit, or a record that does not encode, makes the commit fail.
///
/// Later writes to a key win over earlier ones. Typed steps are in `table.rs`.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    pub(crate) expectations: Vec<Expectation>,
    pub(crate) writes: Vec<Write>,
    /// Keys and values, sealed.
    pub(crate) payload_bytes: usize,
    /// The first thing that was wrong with it.
    pub(crate) defect: Option<Error>,
}

impl Batch {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn expect_raw(mut self, space: Space, key: impl Into<Bytes>, expect: Expect) -> Self {
        let key = key.into();
        let expect = match expect {
            Expect::Value(value) => {
                self.weigh(&key, value.len());
                Expect::Value(envelope::seal(space, &key, &value))
            }
            other => {
                self.weigh(&key, 0);
                other
            }
        };
        self.expectations.push(Expectation { space, key, expect });
        self
    }

    pub fn put_raw(mut self, space: Space, key: impl Into<Bytes>, value: &[u8]) -> Self {
        let key = key.into();
        self.weigh(&key, value.len());
        let value = envelope::seal(space, &key, value);
        self.writes.push(Write::Put { space, key, value });
        self
    }

    pub fn delete_raw(mut self, space: Space, key: impl Into<Bytes>) -> Self {
        let key = key.into();
        self.weigh(&key, 0);
        self.writes.push(Write::Delete { space, key });
        self
    }

    /// Fails the batch when the lease has a newer epoch: its owner has changed.
    pub fn fence(self, lease: &str, epoch: u64) -> Self {
        self.expect_raw(lease::EPOCHS, lease.to_owned(), Expect::Value(lease::epoch_bytes(epoch)))
    }

    /// The steps of both, these first: all happen or none.
    pub fn and(mut self, other: Self) -> Self {
        self.payload_bytes = self.payload_bytes.saturating_add(other.payload_bytes);
        self.expectations.extend(other.expectations);
        self.writes.extend(other.writes);
        if let Some(defect) = other.defect {
            self.defect.get_or_insert(defect);
        }
        let op_count = self.expectations.len() + self.writes.len();
        self.check([("batch", self.payload_bytes, BATCH_BYTES_MAX), ("number of steps", op_count, BATCH_OPS_MAX)]);
        self
    }

    pub(crate) fn sweep(mut self, space: Space, from: Bytes, to: Bytes) -> Self {
        self.weigh(&from, to.len());
        self.writes.push(Write::Sweep { space, from, to });
        self
    }

    pub(crate) fn refuse(mut self, defect: Error) -> Self {
        self.defect.get_or_insert(defect);
        self
    }

    /// Counts a step, and notes the first that is too large.
    fn weigh(&mut self, key: &[u8], value_bytes: usize) {
        self.payload_bytes = self.payload_bytes.saturating_add(key.len()).saturating_add(value_bytes + ENVELOPE_BYTES);
        let op_count = self.expectations.len() + self.writes.len() + 1;
        self.check([
            ("key", key.len(), KEY_BYTES_MAX),
            ("value", value_bytes, VALUE_BYTES_MAX),
            ("batch", self.payload_bytes, BATCH_BYTES_MAX),
            ("number of steps", op_count, BATCH_OPS_MAX),
        ]);
    }

    fn check<const N: usize>(&mut self, checks: [(&'static str, usize, usize); N]) {
        for (what, size, max) in checks {
            if size > max {
                self.defect.get_or_insert(Error::TooLarge { what, size, max });
            }
        }
    }
}

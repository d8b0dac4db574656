//! What the tests of a store need and production does not have: a tap on its I/O, and planted bugs.

use rusqlite::Connection;

pub use crate::embedded::{Action, Fault, Op, Tap, Verdict};
use crate::{Batch, lease};

/// A bug that can be planted in the embedded store. The torture tests must find each of them, or they prove nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// Commits are answered when they are written, not when they are synced.
    AckBeforeSync,
    /// Fences are not checked.
    EpochIgnored,
    /// Pages and logs are taken as they are read.
    DamageTrusted,
}

impl Mutant {
    pub(crate) fn in_batch(mutant: Option<Self>, mut batch: Batch) -> Batch {
        if mutant == Some(Self::EpochIgnored) {
            batch.expectations.retain(|expectation| expectation.space != lease::EPOCHS);
        }
        batch
    }

    pub(crate) fn in_writer(mutant: Option<Self>, writer: &Connection) -> rusqlite::Result<()> {
        match mutant {
            Some(Self::AckBeforeSync) => writer.pragma_update(None, "synchronous", "NORMAL"),
            _ => Ok(()),
        }
    }
}

//! What is made of the journal besides events that are read: metrics, usage, what is sent on.
//!
//! Whoever derives takes what the follower took, in the same order, and settles it by and by. The journal keeps what is not
//! settled, so that after a crash it is taken again, and nothing is counted twice or lost: what was settled before is
//! known by its offset.

use std::sync::Arc;

use base::record::{Origin, Record};
use base::{Timestamp, Uuid};
use bytes::Bytes;
use store::Scope;

use crate::Event;

/// Something of the journal.
#[derive(Debug, Clone)]
pub struct Taken {
    /// Where it is in the journal.
    pub offset: u64,
    pub what: What,
}

#[derive(Debug, Clone)]
pub enum What {
    Event { scope: Arc<Scope>, group: Uuid, group_name: Arc<str>, event: Event },
    Record { scope: Arc<Scope>, origin: Arc<Origin>, time: Timestamp, record: Box<Record> },
    Note(Bytes),
}

pub trait Derive: Send + Sync {
    /// The log lines that a record means: at most [`LINES_MAX`](crate::limits::LINES_MAX).
    fn lines(&self, origin: &Origin, time: Timestamp, record: &Record) -> Vec<String>;

    /// Takes what comes next, all before the offset `next`. Readers wait until it has.
    fn take(&self, taken: Vec<Taken>, next: u64);

    /// All that there is was taken.
    fn caught_up(&self) {}

    /// All before this offset is settled: the journal may give it up. Where nothing is kept, as far as there is.
    fn settled(&self) -> u64;

    /// The journal is large for what is not settled: that is to be soon.
    fn hurry(&self) {}

    /// What is not settled yet is too much: the follower waits.
    fn is_full(&self) -> bool {
        false
    }
}

/// Derives nothing.
pub struct Nothing;

impl Derive for Nothing {
    fn lines(&self, _: &Origin, _: Timestamp, _: &Record) -> Vec<String> {
        Vec::new()
    }

    fn take(&self, _: Vec<Taken>, _: u64) {}

    fn settled(&self) -> u64 {
        u64::MAX
    }
}

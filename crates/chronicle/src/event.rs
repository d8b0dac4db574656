//! A log event, and where it stands among the others.

use base::Timestamp;
use bytes::Bytes;

use crate::limits::EVENT_OVERHEAD_BYTES;

/// One event of a group. Its message is shared with those that came with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its offset in the journal.
    pub number: u64,
    /// The number of its stream.
    pub stream: u64,
    pub time: Timestamp,
    pub ingested: Timestamp,
    /// UTF-8.
    pub message: Bytes,
}

impl Event {
    pub fn position(&self) -> Position {
        Position { time: self.time, number: self.number }
    }

    /// What it counts, as CloudWatch Logs counts it.
    pub fn bytes(&self) -> usize {
        self.message.len().saturating_add(EVENT_OVERHEAD_BYTES)
    }
}

/// The order of events: by time, and where that is the same, as they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub time: Timestamp,
    pub number: u64,
}

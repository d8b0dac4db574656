//! A log event, and where it stands among the others.

use std::borrow::Cow;

use base::Timestamp;
use bytes::Bytes;

use crate::limits::{EVENT_OVERHEAD_BYTES, LINES_MAX};

/// One event of a group. Its message is shared with those that came with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Greater than that of all events before it: where it is in the journal, times [`LINES_MAX`].
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

    /// Its message; what was damaged is shown as such. This is told much faster of what is not.
    pub fn text(&self) -> Cow<'_, str> {
        str::from_utf8(&self.message).map_or_else(|_| String::from_utf8_lossy(&self.message), Cow::Borrowed)
    }

    /// What it counts, as CloudWatch Logs counts it.
    pub fn bytes(&self) -> usize {
        self.message.len().saturating_add(EVENT_OVERHEAD_BYTES)
    }
}

/// The number of an event that is at an offset of the journal, or is one of the lines of a record there.
pub(crate) fn number(offset: u64, line: u64) -> u64 {
    offset.saturating_mul(LINES_MAX).saturating_add(line)
}

/// Where an event is in the journal.
pub(crate) fn offset(number: u64) -> u64 {
    number.checked_div(LINES_MAX).unwrap_or_default()
}

/// The order of events: by time, and where that is the same, as they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub time: Timestamp,
    pub number: u64,
}

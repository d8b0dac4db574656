//! Log groups and streams as they are stored, and what the keeper notes about them.
//!
//! A group's rows but its own are found by its id, so that whoever deletes a group and makes one of the same name begins with
//! nothing. What the keeper writes is apart from what operations write, so that neither waits for the other.

use std::collections::BTreeMap;

use base::record::Origin;
use base::{AccountId, Region, Timestamp, Uuid, World};
use serde::{Deserialize, Serialize};
use store::{Record, Scope, Table};

/// A log group. Written by the operations of CloudWatch Logs, and when a function logs to one that is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    pub id: Uuid,
    pub created: Timestamp,
    pub class: String,
    pub retention_days: Option<u32>,
    pub kms_key: Option<String>,
    pub is_protected: bool,
    pub tags: BTreeMap<String, String>,
}

impl Record for Group {
    const VERSION: u8 = 1;
}

impl Group {
    pub fn new(id: Uuid, created: Timestamp) -> Group {
        let (retention_days, kms_key, is_protected, tags) = (None, None, false, BTreeMap::new());
        Group { id, created, class: "STANDARD".to_owned(), retention_days, kms_key, is_protected, tags }
    }

    /// Events from before that are too old to be shown, and will be gone.
    pub fn kept_since(&self, now: Timestamp) -> Option<Timestamp> {
        let days = i64::from(self.retention_days?);
        Some(Timestamp::from_secs(now.as_secs().saturating_sub(days.saturating_mul(86_400))))
    }
}

/// By name.
pub const GROUPS: Table<String, Group> = Table::new("log_groups");

/// A stream of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream {
    /// Its name in the journal and in chunks; no other stream ever has it.
    pub number: u64,
    pub created: Timestamp,
}

impl Record for Stream {
    const VERSION: u8 = 1;
}

/// By the group's id and the stream's name.
pub const STREAMS: Table<(Uuid, String), Stream> = Table::new("log_streams");

/// The stream that a number stands for. In no scope: whoever follows the journal knows nothing but the number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    pub world: World,
    pub account: AccountId,
    pub region: Option<Region>,
    pub group: Uuid,
    /// The number that its events have: another where the stream was there before.
    pub number: u64,
    pub name: String,
    /// Of a function's instance.
    pub origin: Option<Origin>,
}

impl Record for Named {
    const VERSION: u8 = 1;
}

impl Named {
    pub fn scope(&self) -> Scope {
        Scope { world: self.world, account: self.account, region: self.region.clone() }
    }
}

/// The next number that no stream has, and no run of the server has taken for its streams.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbers {
    pub next: u64,
}

impl Record for Numbers {
    const VERSION: u8 = 1;
}

pub const NUMBERS: Table<(), Numbers> = Table::new("log_stream_numbers");

pub const NAMES: Table<u64, Named> = Table::new("log_stream_names");

/// What the keeper knows of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The group's name.
    pub name: String,
    /// Events with lower numbers are in chunks.
    pub below: u64,
    /// The next chunk's name.
    pub next_chunk: u64,
    /// Of all events in chunks.
    pub bytes: u64,
}

impl Record for Kept {
    const VERSION: u8 = 1;
}

/// By the group's id.
pub const KEPT: Table<Uuid, Kept> = Table::new("log_groups_kept");

/// When events of a stream happened and came, and which chunks have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamSpan {
    pub first: Timestamp,
    pub last: Timestamp,
    pub ingested: Timestamp,
}

impl StreamSpan {
    pub fn of(time: Timestamp, ingested: Timestamp) -> StreamSpan {
        StreamSpan { first: time, last: time, ingested }
    }

    pub fn join(self, other: StreamSpan) -> StreamSpan {
        StreamSpan {
            first: self.first.min(other.first),
            last: self.last.max(other.last),
            ingested: self.ingested.max(other.ingested),
        }
    }
}

impl Record for StreamSpan {
    const VERSION: u8 = 1;
}

/// By the group's id and the stream's number.
pub const SPANS: Table<(Uuid, u64), StreamSpan> = Table::new("log_stream_spans");

/// What is deleted, and of which something may be left: a group, or a stream of one that is still there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gone {}

impl Record for Gone {
    const VERSION: u8 = 1;
}

pub const GONE_GROUPS: Table<Uuid, Gone> = Table::new("log_groups_gone");

/// By the group's id and the stream's number. Its events are hidden, until the chunks with them are joined or go.
pub const GONE_STREAMS: Table<(Uuid, u64), Gone> = Table::new("log_streams_gone");

/// For what is the whole store's.
pub fn nobody() -> Scope {
    Scope { world: World::default(), account: AccountId::ZERO, region: None }
}

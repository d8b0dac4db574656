//! Open events: those that the journal has, and no chunk yet. What came last is read here.

use std::collections::{HashMap, HashSet};

use base::{Timestamp, Uuid};
use store::Scope;

use crate::Event;
use crate::tables::StreamSpan;

#[derive(Default)]
pub struct Open {
    groups: HashMap<Uuid, OpenGroup>,
    bytes: usize,
}

pub struct OpenGroup {
    pub scope: Scope,
    /// In the order of their numbers.
    pub events: Vec<Event>,
    bytes: usize,
    /// When the first of them came here.
    since: Timestamp,
    spans: HashMap<u64, StreamSpan>,
}

impl Open {
    /// What all groups hold.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes an event, and answers how much its group then holds.
    pub fn push(&mut self, now: Timestamp, scope: &Scope, group: Uuid, event: Event) -> usize {
        let open = self.groups.entry(group).or_insert_with(|| OpenGroup {
            scope: scope.clone(),
            events: Vec::new(),
            bytes: 0,
            since: now,
            spans: HashMap::new(),
        });
        if open.events.is_empty() {
            open.since = now;
        }
        let span = StreamSpan::of(event.time, event.ingested);
        open.spans.entry(event.stream).and_modify(|known| *known = known.join(span)).or_insert(span);
        open.bytes = open.bytes.saturating_add(event.bytes());
        self.bytes = self.bytes.saturating_add(event.bytes());
        open.events.push(event);
        open.bytes
    }

    /// What is open of a group.
    pub fn get(&self, group: Uuid) -> Option<&OpenGroup> {
        self.groups.get(&group)
    }

    /// Events with lower numbers are in chunks now.
    pub fn kept(&mut self, group: Uuid, below: u64) {
        let Some(open) = self.groups.get_mut(&group) else { return };
        let count = open.events.partition_point(|event| event.number < below);
        let bytes: usize = open.events.drain(..count).map(|event| event.bytes()).sum();
        open.bytes = open.bytes.saturating_sub(bytes);
        self.bytes = self.bytes.saturating_sub(bytes);
        if open.events.is_empty() {
            self.groups.remove(&group);
            return;
        }
        open.spans.clear();
        for event in &open.events {
            let span = StreamSpan::of(event.time, event.ingested);
            open.spans.entry(event.stream).and_modify(|known| *known = known.join(span)).or_insert(span);
        }
    }

    /// Forgets a group that is deleted.
    pub fn forget(&mut self, group: Uuid) {
        if let Some(open) = self.groups.remove(&group) {
            self.bytes = self.bytes.saturating_sub(open.bytes);
        }
    }

    /// Forgets a stream that is deleted.
    pub fn forget_stream(&mut self, group: Uuid, stream: u64) {
        let Some(open) = self.groups.get_mut(&group) else { return };
        let mut bytes: usize = 0;
        open.events.retain(|event| {
            let is_kept = event.stream != stream;
            bytes = bytes.saturating_add(if is_kept { 0 } else { event.bytes() });
            is_kept
        });
        open.spans.remove(&stream);
        open.bytes = open.bytes.saturating_sub(bytes);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// The groups whose events are to be kept now: those that hold much, or something old; and if all together hold too
    /// much, the largest.
    pub fn due(&self, is_due: impl Fn(usize, Timestamp) -> bool, bytes_max: usize) -> Vec<Uuid> {
        let mut due: Vec<Uuid> = Vec::new();
        let mut left = self.bytes;
        let mut waiting: Vec<(usize, Uuid)> = Vec::new();
        for (id, open) in &self.groups {
            if is_due(open.bytes, open.since) {
                left = left.saturating_sub(open.bytes);
                due.push(*id);
            } else {
                waiting.push((open.bytes, *id));
            }
        }
        waiting.sort_unstable_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        for (bytes, id) in waiting {
            if left <= bytes_max {
                break;
            }
            left = left.saturating_sub(bytes);
            due.push(id);
        }
        due
    }

    /// The lowest number that is open.
    pub fn lowest(&self) -> Option<u64> {
        self.groups.values().filter_map(|open| open.events.first()).map(|event| event.number).min()
    }
}

impl OpenGroup {
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The events with the lowest numbers, so many bytes of them, but one in any case.
    pub fn first(&self, bytes_max: usize) -> Vec<Event> {
        let mut bytes: usize = 0;
        let fits = |event: &&Event| {
            let is_first = bytes == 0;
            bytes = bytes.saturating_add(event.bytes());
            is_first || bytes <= bytes_max
        };
        self.events.iter().take_while(fits).cloned().collect()
    }

    pub fn span(&self, stream: u64) -> Option<StreamSpan> {
        self.spans.get(&stream).copied()
    }

    /// Events of these streams (all if `None`) between two times, both included.
    pub fn between(&self, streams: Option<&HashSet<u64>>, from: Timestamp, to: Timestamp) -> Vec<Event> {
        let is_wanted = |event: &&Event| {
            event.time >= from && event.time <= to && streams.is_none_or(|streams| streams.contains(&event.stream))
        };
        self.events.iter().filter(is_wanted).cloned().collect()
    }
}

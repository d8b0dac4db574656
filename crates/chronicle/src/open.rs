//! Open events: those that the journal has, and no chunk yet. What came last is read here.

use std::collections::{HashMap, HashSet};

use base::{Timestamp, Uuid};
use store::Scope;

use crate::Event;
use crate::limits::OPEN_EVENT_BYTES;
use crate::tables::StreamSpan;

#[derive(Default)]
pub struct Open {
    groups: HashMap<Uuid, OpenGroup>,
    weight: usize,
    /// What all events took that ever came here.
    passed: u64,
}

pub struct OpenGroup {
    pub scope: Scope,
    /// In the order of their numbers.
    pub events: Vec<Event>,
    bytes: usize,
    weight: usize,
    /// When the first of them came here.
    since: Timestamp,
    /// What had come to all groups by then.
    since_passed: u64,
    spans: HashMap<u64, StreamSpan>,
}

impl Open {
    /// How many groups have open events.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// What all groups take in memory.
    pub fn weight(&self) -> usize {
        self.weight
    }

    /// Takes an event, and answers how much its group then holds.
    pub fn push(&mut self, now: Timestamp, scope: &Scope, group: Uuid, event: Event) -> usize {
        let open = self.groups.entry(group).or_insert_with(|| OpenGroup {
            scope: scope.clone(),
            events: Vec::new(),
            bytes: 0,
            weight: 0,
            since: now,
            since_passed: self.passed,
            spans: HashMap::new(),
        });
        if open.events.is_empty() {
            (open.since, open.since_passed) = (now, self.passed);
        }
        let span = StreamSpan::of(event.time, event.ingested);
        open.spans.entry(event.stream).and_modify(|known| *known = known.join(span)).or_insert(span);
        open.bytes = open.bytes.saturating_add(event.bytes());
        open.weight = open.weight.saturating_add(weight(&event));
        self.weight = self.weight.saturating_add(weight(&event));
        self.passed = self.passed.saturating_add(weight(&event) as u64);
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
        for event in open.events.drain(..count) {
            open.bytes = open.bytes.saturating_sub(event.bytes());
            open.weight = open.weight.saturating_sub(weight(&event));
            self.weight = self.weight.saturating_sub(weight(&event));
        }
        // The room of a flood is not held by the drops after it.
        open.events.shrink_to(open.events.len().saturating_mul(4));
        if open.events.is_empty() {
            self.groups.remove(&group);
            return;
        }
        // What is left of it came lately.
        open.since_passed = self.passed;
        open.spans.clear();
        for event in &open.events {
            let span = StreamSpan::of(event.time, event.ingested);
            open.spans.entry(event.stream).and_modify(|known| *known = known.join(span)).or_insert(span);
        }
    }

    /// Forgets a group that is deleted.
    pub fn forget(&mut self, group: Uuid) {
        if let Some(open) = self.groups.remove(&group) {
            self.weight = self.weight.saturating_sub(open.weight);
        }
    }

    /// Forgets a stream that is deleted.
    pub fn forget_stream(&mut self, group: Uuid, stream: u64) {
        let Some(open) = self.groups.get_mut(&group) else { return };
        let OpenGroup { events, bytes, weight: group_weight, .. } = open;
        events.retain(|event| {
            let is_kept = event.stream != stream;
            if !is_kept {
                *bytes = bytes.saturating_sub(event.bytes());
                *group_weight = group_weight.saturating_sub(weight(event));
                self.weight = self.weight.saturating_sub(weight(event));
            }
            is_kept
        });
        open.spans.remove(&stream);
    }

    /// The groups whose events are to be kept now: those that hold much, or something old, which is asked with what came
    /// after their first event; and if all together hold too much, the largest.
    pub fn due(&self, is_due: impl Fn(&OpenGroup, u64) -> bool, weight_max: usize) -> Vec<Uuid> {
        let mut due: Vec<Uuid> = Vec::new();
        let mut left = self.weight;
        let mut waiting: Vec<(usize, Uuid)> = Vec::new();
        for (id, open) in &self.groups {
            if is_due(open, self.passed.saturating_sub(open.since_passed)) {
                left = left.saturating_sub(open.weight);
                due.push(*id);
            } else {
                waiting.push((open.weight, *id));
            }
        }
        waiting.sort_unstable_by_key(|(weight, _)| std::cmp::Reverse(*weight));
        for (weight, id) in waiting {
            if left <= weight_max {
                break;
            }
            left = left.saturating_sub(weight);
            due.push(id);
        }
        due
    }

    /// The lowest number that is open.
    pub fn lowest(&self) -> Option<u64> {
        self.groups.values().filter_map(|open| open.events.first()).map(|event| event.number).min()
    }
}

/// What an event takes in memory.
fn weight(event: &Event) -> usize {
    event.message.len().saturating_add(OPEN_EVENT_BYTES)
}

impl OpenGroup {
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn since(&self) -> Timestamp {
        self.since
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

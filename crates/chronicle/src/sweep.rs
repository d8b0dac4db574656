//! Sweeping: all events of a group between two times, a sheet after the other, for whoever looks at very many.
//!
//! Their order is that of no clock, though new ones tend to come first. Unpacking a sheet takes long and is left to who
//! asks for it, by [`Chronicle::look`]. Nothing is held but the sheet at hand.
//!
//! Chunks may be joined or go while a sweep is under way. Those that may be joined come first, so that it is rare that one
//! is missing later; whoever sweeps then begins again.

use std::collections::HashSet;
use std::sync::Arc;

use base::{Timestamp, Uuid};
use bytes::Bytes;
use store::Scope;

use crate::chronicle::gone_streams;
use crate::chunk::{self, Head};
use crate::limits::{CLEAN_STEP, JOIN_MAX, SCAN_BYTES_MAX};
use crate::tables::{NAMES, nobody};
use crate::{Chronicle, Error, Event, Test};

/// A sweep under way.
pub struct Sweep {
    chronicle: Chronicle,
    group: Uuid,
    wanted: Arc<Wanted>,
    open: Option<Vec<Event>>,
    /// Chunks that were not read yet, the next one last.
    heads: Vec<Head>,
    /// The last chunk that there was at the beginning.
    last: u64,
}

/// Which events are wanted.
struct Wanted {
    from: Timestamp,
    to: Timestamp,
    /// Events in chunks with this number or a greater one are among those that were open.
    below: u64,
    gone: HashSet<u64>,
}

/// Some events, as they are stored.
pub struct Sheet {
    group: Uuid,
    wanted: Arc<Wanted>,
    content: Content,
}

enum Content {
    Open(Vec<Event>),
    Packed(Head, Bytes),
}

/// How many events there were, and what they count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    pub events: u64,
    pub bytes: u64,
}

impl Chronicle {
    /// Begins to sweep a group, the first and the last moment included.
    pub async fn sweep(&self, scope: &Scope, group: Uuid, from: Timestamp, to: Timestamp) -> Result<Sweep, Error> {
        // Open events first: what is kept meanwhile is then in both, and the number tells.
        let (open, below) = {
            let held = self.0.held.lock();
            let open = held.open.get(group);
            let first = open.and_then(|open| open.events.first()).map_or(u64::MAX, |event| event.number);
            (open.map(|open| open.between(None, from, to)).unwrap_or_default(), first)
        };
        let gone = gone_streams(&self.0.store, scope, group).await?.into_iter().collect();
        let wanted = Arc::new(Wanted { from, to, below, gone });
        let mut heads = Vec::new();
        let mut next = Some(0);
        let mut last = 0;
        while let Some(from) = next {
            let (some, more) = chunk::heads(&self.0.store, group, from, CLEAN_STEP).await?;
            last = some.last().map_or(last, |head| head.id);
            next = more.then(|| last.saturating_add(1));
            heads.extend(some.into_iter().filter(|head| wanted.may_be_in(head)));
        }
        // Those that may be joined have the greatest ids.
        let joinable = heads.len().saturating_sub(JOIN_MAX);
        if let Some(others) = heads.get_mut(..joinable) {
            others.sort_by_key(|head| head.last);
        }
        Ok(Sweep { chronicle: self.clone(), group, wanted, open: Some(open), heads, last })
    }

    /// The event that has a number, with its group and its stream's name, if it is of that stream and scope.
    pub async fn find(&self, scope: &Scope, stream: u64, number: u64) -> Result<Option<(Uuid, String, Event)>, Error> {
        let Some(named) = NAMES.get(&self.0.store, &nobody(), stream).await?.map(|row| row.value) else {
            return Ok(None);
        };
        if named.scope() != *scope {
            return Ok(None);
        }
        let is_it = move |event: &Event| event.number == number && event.stream == stream;
        let (earliest, latest) = (Timestamp::from_millis(i64::MIN), Timestamp::from_millis(i64::MAX));
        let mut sweep = self.sweep(scope, named.group, earliest, latest).await?;
        let open = sweep.open.take().unwrap_or_default();
        if let Some(event) = open.into_iter().find(is_it) {
            return Ok(Some((named.group, named.name, event)));
        }
        // Nothing says which chunk has a number; but events are packed about as they came.
        let distance = |head: &Head| {
            let (first, last) = (head.first.number.min(head.last.number), head.first.number.max(head.last.number));
            first.saturating_sub(number).max(number.saturating_sub(last))
        };
        sweep.heads.retain(|head| head.has(stream));
        sweep.heads.sort_by_key(|head| std::cmp::Reverse(distance(head)));
        let mut bytes: u64 = 0;
        while let Some(sheet) = sweep.next().await?.filter(|_| bytes < SCAN_BYTES_MAX) {
            let find = move || {
                let mut found = None;
                let swept = sheet.sift(None, |event| found = found.take().or_else(|| Some(event).filter(is_it)))?;
                Ok::<_, Error>((swept, found))
            };
            let (swept, found) = self.look(scope.account, find).await??;
            if let Some(event) = found {
                return Ok(Some((named.group, named.name, event)));
            }
            bytes = bytes.saturating_add(swept.bytes);
        }
        Ok(None)
    }
}

impl Sweep {
    /// The next sheet, if there is one. [`Error::Contended`] says to begin again: what is missing is elsewhere now.
    pub async fn next(&mut self) -> Result<Option<Sheet>, Error> {
        let sheet = |content| Sheet { group: self.group, wanted: self.wanted.clone(), content };
        if let Some(open) = self.open.take().filter(|open| !open.is_empty()) {
            return Ok(Some(sheet(Content::Open(open))));
        }
        let store = &self.chronicle.0.store;
        while let Some(head) = self.heads.pop() {
            if let Some(body) = chunk::get(store, self.group, &head).await? {
                return Ok(Some(sheet(Content::Packed(head, body))));
            }
            // It was written anew without a stream that was deleted, or it is gone, being too old or joined.
            let (now, _) = chunk::heads(store, self.group, head.id, 1).await?;
            if let Some(now) = now.into_iter().find(|now| now.id == head.id) {
                self.heads.push(now);
            } else if chunk::heads_before(store, self.group, 1).await?.iter().any(|latest| latest.id > self.last) {
                return Err(Error::Contended);
            }
        }
        Ok(None)
    }
}

impl Wanted {
    fn may_be_in(&self, head: &Head) -> bool {
        head.first.time <= self.to && head.last.time >= self.from
    }

    fn has(&self, time: Timestamp, stream: u64) -> bool {
        time >= self.from && time <= self.to && !self.gone.contains(&stream)
    }
}

impl Sheet {
    /// The streams that may have events here.
    pub fn streams(&self) -> Vec<u64> {
        match &self.content {
            Content::Open(events) => events.iter().map(|event| event.stream).collect(),
            Content::Packed(head, _) => head.streams.iter().map(|(stream, _)| *stream).collect(),
        }
    }

    /// Hands the events that are wanted and that `test` admits to `take`, the last one first, and says how many are
    /// wanted, admitted or not.
    pub fn sift(self, test: Option<&dyn Test>, mut take: impl FnMut(Event)) -> Result<Swept, Error> {
        let mut swept = Swept::default();
        let admits = |event: &Event| test.is_none_or(|test| test.admits(&event.text()));
        match self.content {
            Content::Open(events) => {
                let wanted = events.into_iter().filter(|event| self.wanted.has(event.time, event.stream));
                for event in wanted.rev() {
                    swept.add(event.bytes());
                    if admits(&event) {
                        take(event);
                    }
                }
            }
            Content::Packed(head, body) => {
                let block = chunk::unpack(&head, &body).ok_or(Error::Damaged { group: self.group })?;
                let is_wanted = |number: u64, time: Timestamp, stream: u64| {
                    number < self.wanted.below && self.wanted.has(time, stream)
                };
                let is_taken = |event: &Event| is_wanted(event.number, event.time, event.stream) && admits(event);
                block.each(|number, time, stream, bytes| {
                    if is_wanted(number, time, stream) {
                        swept.add(bytes);
                    }
                });
                match test.and_then(|test| test.candidates(block.messages())) {
                    Some(next) => block.events_at(next).into_iter().rev().filter(is_taken).for_each(take),
                    None => block.events().rev().filter(is_taken).for_each(take),
                }
            }
        }
        Ok(swept)
    }
}

impl Swept {
    fn add(&mut self, bytes: usize) {
        self.events = self.events.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }
}

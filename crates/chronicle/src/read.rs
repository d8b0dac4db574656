//! Reading: the events of a group in order of time, from where one stands, forwards or backwards.
//!
//! Chunks overlap in time where events came late. They are taken in the order in which they begin (backwards: end), and what
//! was found is sure once no chunk that is left can have anything before it.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use base::{Timestamp, Uuid};
use bytes::Bytes;
use store::Scope;

use crate::chronicle::gone_streams;
use crate::chunk::{self, Head};
use crate::limits::{ATTEMPTS_MAX, CLEAN_STEP, SCAN_BYTES_MAX};
use crate::{Chronicle, Error, Event, Position};

/// Finds the first place from a place on.
pub type Candidates<'m> = Box<dyn FnMut(usize) -> Option<usize> + 'm>;

/// Whether a message is wanted.
pub trait Test: Send + Sync {
    /// Finds in messages that lie end to end where the next one may be that is wanted: the first such place from a place
    /// on. `None` if nothing is known but by asking for each.
    fn candidates<'m>(&'m self, _messages: &'m [u8]) -> Option<Candidates<'m>> {
        None
    }

    fn admits(&self, message: &str) -> bool;
}

/// Which events are wanted.
#[derive(Clone)]
pub struct Want {
    pub group: Uuid,
    /// All, if `None`.
    pub streams: Option<HashSet<u64>>,
    /// The first moment that is wanted, and the last.
    pub from: Timestamp,
    pub to: Timestamp,
    /// Only those behind it, in the direction of reading.
    pub after: Option<Position>,
    pub is_backwards: bool,
    /// At most so many.
    pub events_max: usize,
    /// At most so many bytes, as [`Event::bytes`] counts, but one event in any case.
    pub bytes_max: usize,
    pub test: Option<Arc<dyn Test>>,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// In the direction of reading.
    pub events: Vec<Event>,
    /// Where to go on, if there may be more.
    pub next: Option<Position>,
}

impl Chronicle {
    pub async fn read(&self, scope: &Scope, want: Want) -> Result<Found, Error> {
        for _ in 0..ATTEMPTS_MAX {
            if let Some(found) = self.try_read(scope, &want).await? {
                return Ok(found);
            }
        }
        Err(Error::Contended)
    }

    /// `None` if a chunk went away meanwhile.
    async fn try_read(&self, scope: &Scope, want: &Want) -> Result<Option<Found>, Error> {
        // Open events first: what is kept meanwhile is then in both, and the number tells.
        let (open, open_from) = {
            let held = self.0.held.lock();
            let open = held.open.get(want.group);
            let first = open.and_then(|open| open.events.first()).map_or(u64::MAX, |event| event.number);
            (open.map(|open| open.between(want.streams.as_ref(), want.from, want.to)).unwrap_or_default(), first)
        };
        let gone: HashSet<u64> = gone_streams(&self.0.store, scope, want.group).await?.into_iter().collect();
        let mut heads = self.heads_between(want).await?;
        heads.sort_by_key(|head| want.order(want.edge(head)));
        let sieve = Arc::new(Sieve { want: want.clone(), gone, below: open_from });
        let mut catch = Catch { sieve: sieve.clone(), found: Vec::new() };
        catch.take(self.look(scope.account, sieve.clone().sift_open(open)).await?);
        let mut heads = heads.into_iter().peekable();
        let (mut ahead, mut ahead_max, mut scanned) = (VecDeque::new(), 1, 0_u64);
        loop {
            let first = ahead.front().map(|(head, _)| head);
            let Some(edge) = first.or(heads.peek()).map(|head| want.edge(head)) else { break };
            // What lies before all that is left is sure.
            if catch.is_full_before(edge) {
                break;
            }
            if scanned >= SCAN_BYTES_MAX {
                return Ok(Some(catch.answer(Some(edge))));
            }
            while ahead.len() < ahead_max
                && let Some(head) = heads.next()
            {
                let Some(body) = chunk::get(&self.0.store, want.group, &head).await? else { return Ok(None) };
                let look = self.look(scope.account, sieve.clone().sift(head.clone(), body));
                ahead.push_back((head, look));
            }
            let Some((head, look)) = ahead.pop_front() else { break };
            scanned = scanned.saturating_add(head.bytes);
            catch.take(look.await?.ok_or(Error::Damaged { group: want.group })?);
            // One chunk may be enough; the more there were that were not, the more are likely to be needed.
            ahead_max = (2 * ahead_max).min(self.lookers().saturating_add(1));
        }
        Ok(Some(catch.answer(None)))
    }

    /// The heads of the chunks that may have something.
    async fn heads_between(&self, want: &Want) -> Result<Vec<Head>, Error> {
        let (mut found, mut from) = (Vec::new(), 0);
        loop {
            let (heads, more) = chunk::heads(&self.0.store, want.group, from, CLEAN_STEP).await?;
            let last = heads.last().map(|head| head.id);
            found.extend(heads.into_iter().filter(|head| want.may_be_in(head)));
            match last.filter(|_| more) {
                Some(last) => from = last.saturating_add(1),
                None => return Ok(found),
            }
        }
    }
}

impl Want {
    fn may_be_in(&self, head: &Head) -> bool {
        let is_ahead =
            self.after.is_none_or(|after| if self.is_backwards { head.first < after } else { head.last > after });
        let has_stream = self.streams.as_ref().is_none_or(|streams| match streams.len() <= head.streams.len() {
            true => streams.iter().any(|stream| head.has(*stream)),
            false => head.streams.iter().any(|(stream, _)| streams.contains(stream)),
        });
        is_ahead && has_stream && head.first.time <= self.to && head.last.time >= self.from
    }

    /// Where a chunk begins, in the direction of reading.
    fn edge(&self, head: &Head) -> Position {
        if self.is_backwards { head.last } else { head.first }
    }

    /// Sorts positions in the direction of reading.
    fn order(&self, at: Position) -> (i64, i128) {
        let (time, number) = (at.time.as_millis(), i128::from(at.number));
        if self.is_backwards { (time.saturating_neg(), -number) } else { (time, number) }
    }

    fn has(&self, event: &Event) -> bool {
        let is_ahead = self.after.is_none_or(|after| self.order(event.position()) > self.order(after));
        is_ahead
            && event.time >= self.from
            && event.time <= self.to
            && self.streams.as_ref().is_none_or(|streams| streams.contains(&event.stream))
    }

    fn admits(&self, event: &Event) -> bool {
        let admits = |test: &Arc<dyn Test>| test.admits(&event.text());
        self.test.as_ref().is_none_or(admits)
    }
}

/// Knows which events are wanted.
struct Sieve {
    want: Want,
    gone: HashSet<u64>,
    /// Events in chunks with this number or a greater one are among those that were open.
    below: u64,
}

impl Sieve {
    /// Finds what is wanted of events, when it is called.
    fn sift_open(self: Arc<Self>, mut events: Vec<Event>) -> impl FnOnce() -> Vec<Event> + Send + 'static {
        move || {
            events.retain(|event| self.is_wanted(event));
            events
        }
    }

    /// Finds what is wanted of a chunk, when it is called; `None` if the chunk is damaged.
    fn sift(self: Arc<Self>, head: Head, body: Bytes) -> impl FnOnce() -> Option<Vec<Event>> + Send + 'static {
        move || {
            let block = chunk::unpack(&head, &body)?;
            let events = match self.want.test.as_ref().and_then(|test| test.candidates(block.messages())) {
                Some(next) => block.events_at(next),
                None => block.events().collect(),
            };
            let is_wanted = |event: &Event| event.number < self.below && self.is_wanted(event);
            let mut wanted: Vec<Event> = events.into_iter().filter(is_wanted).collect();
            // A few events are not to hold all messages of their chunk in memory.
            let bytes: usize = wanted.iter().map(|event| event.message.len()).sum();
            if bytes < block.messages().len() / 2 {
                wanted.iter_mut().for_each(|event| event.message = Bytes::copy_from_slice(&event.message));
            }
            Some(wanted)
        }
    }

    fn is_wanted(&self, event: &Event) -> bool {
        self.want.has(event) && !self.gone.contains(&event.stream) && self.want.admits(event)
    }
}

/// Holds what was found so far, in order, and no more of it than is wanted.
struct Catch {
    sieve: Arc<Sieve>,
    found: Vec<Event>,
}

impl Catch {
    fn take(&mut self, events: Vec<Event>) {
        let want = &self.sieve.want;
        self.found.extend(events);
        self.found.sort_by_key(|event| want.order(event.position()));
        // One more tells that there is more.
        self.found.truncate(want.events_max.saturating_add(1));
    }

    /// Whether enough was found that lies before `edge`.
    fn is_full_before(&self, edge: Position) -> bool {
        let edge = self.sieve.want.order(edge);
        self.is_full(self.found.partition_point(|event| self.sieve.want.order(event.position()) < edge))
    }

    fn is_full(&self, count: usize) -> bool {
        count > self.sieve.want.events_max || {
            let bytes: usize = self.found.iter().take(count).map(Event::bytes).sum();
            bytes > self.sieve.want.bytes_max
        }
    }

    /// What is sure, if all before `edge` was looked at, else everything.
    fn answer(mut self, edge: Option<Position>) -> Found {
        if let Some(edge) = edge {
            // Whole moments, as it is said where to go on.
            let is_sure = |event: &Event| match self.sieve.want.is_backwards {
                true => event.time > edge.time,
                false => event.time < edge.time,
            };
            let sure = self.found.partition_point(is_sure);
            self.found.truncate(sure);
        }
        let mut bytes: usize = 0;
        let fits = |(at, event): &(usize, &Event)| {
            bytes = bytes.saturating_add(event.bytes());
            *at < self.sieve.want.events_max && (bytes <= self.sieve.want.bytes_max || *at == 0)
        };
        let count = self.found.iter().enumerate().take_while(fits).count();
        let is_cut = count < self.found.len();
        self.found.truncate(count);
        let last = self.found.last().map(Event::position);
        // Right before the edge, so that the next one begins with it.
        const STEP: Duration = Duration::from_millis(1);
        let before = edge.map(|edge| match self.sieve.want.is_backwards {
            true => Position { time: edge.time.plus(STEP), number: 0 },
            false => Position { time: edge.time.minus(STEP), number: u64::MAX },
        });
        let next = if is_cut { last } else { before };
        Found { events: self.found, next }
    }
}

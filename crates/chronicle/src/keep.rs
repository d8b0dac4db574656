//! The keeper: packs open events into chunks, joins small chunks to larger ones, and gives up what the journal no longer
//! needs.
//!
//! A new chunk takes along those before it that are at most twice as large, so an event is packed anew about as often as its
//! group's events double.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use base::{Timestamp, Uuid};
use store::{Batch, Scope};
use tokio::time::{sleep, timeout};

use crate::chunk::{self, Head};
use crate::limits::{
    CHUNK_BYTES, CHUNK_STREAMS_MAX, EXPIRE_EVERY, JOIN_MAX, JOURNAL_BYTES_MAX, JOURNAL_GROUP_BYTES, KEEP_BYTES_MAX,
    KEEP_EVERY, KEEP_ROUNDS_MAX, OPEN_BYTES_MAX, OPEN_TIME_MAX, TRIM_BYTES,
};
use crate::open::OpenGroup;
use crate::tables::{KEPT, Kept, SPANS, StreamSpan};
use crate::{Chronicle, Error, Event, event};

impl Chronicle {
    /// Keeps what is due, and clears away what is deleted or too old, until it is cancelled.
    pub async fn tend(&self) {
        let mut expired = None;
        loop {
            timeout(KEEP_EVERY, self.0.enough.notified()).await.ok();
            if let Err(error) = self.tend_once(&mut expired).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "log events stay where they are: failed to {error}"
                );
                sleep(KEEP_EVERY).await;
            }
        }
    }

    async fn tend_once(&self, expired: &mut Option<Timestamp>) -> Result<(), Error> {
        self.keep_due().await?;
        if self.0.is_littered.swap(false, Ordering::Acquire) {
            self.clear().await.inspect_err(|_| self.0.is_littered.store(true, Ordering::Release))?;
        }
        let now = self.0.clock.now();
        if expired.is_none_or(|last| now.since(last) >= EXPIRE_EVERY) {
            self.expire().await?;
            *expired = Some(now);
        }
        Ok(())
    }

    async fn keep_due(&self) -> Result<(), Error> {
        let now = self.0.clock.now();
        let due = {
            let held = self.0.held.lock();
            // A group that is kept writes some rows, however little it had: that is to be less than what is given up for it.
            let behind_max =
                JOURNAL_BYTES_MAX.saturating_add(JOURNAL_GROUP_BYTES.saturating_mul(held.open.len() as u64));
            let is_due = |open: &OpenGroup, behind| {
                open.bytes() >= CHUNK_BYTES || now.since(open.since()) >= OPEN_TIME_MAX || behind >= behind_max
            };
            held.open.due(is_due, OPEN_BYTES_MAX)
        };
        self.keep(due).await
    }

    /// Keeps all that is open. The journal then begins at its end.
    pub async fn keep_all(&self) -> Result<(), Error> {
        let all = self.0.held.lock().open.due(|_, _| true, 0);
        self.keep(all).await
    }

    async fn keep(&self, groups: Vec<Uuid>) -> Result<(), Error> {
        let has_some = !groups.is_empty();
        for group in groups {
            let mut rounds = 0..KEEP_ROUNDS_MAX;
            while self.keep_some(group).await? {
                // Whoever writes without end is never kept to the end, and the journal must not grow with it.
                if self.hurry_if_much() {
                    self.trim().await?;
                }
                if rounds.next().is_none() {
                    self.0.enough.notify_one();
                    break;
                }
            }
        }
        self.hurry_if_much();
        if has_some { self.trim().await } else { Ok(()) }
    }

    /// Where much was kept, what is derived of it is to be settled, so that the journal can give up its room.
    fn hurry_if_much(&self) -> bool {
        let is_much = self.0.untrimmed_bytes.load(Ordering::Relaxed) >= TRIM_BYTES;
        if is_much {
            self.0.untrimmed_bytes.store(0, Ordering::Relaxed);
            self.0.derive.hurry();
        }
        is_much
    }

    /// Has the journal give up what is kept and settled.
    async fn trim(&self) -> Result<(), Error> {
        // What was followed before the lowest open event was looked for is open or kept.
        let followed = *self.0.followed.borrow();
        let lowest = self.0.held.lock().open.lowest().map_or(followed, event::offset);
        let before = lowest.min(followed).min(self.0.derive.settled());
        self.0.streams.trim(&self.0.journal, before).await?;
        Ok(())
    }

    /// Keeps a group's first open events; `true` if as many are left as make a chunk.
    async fn keep_some(&self, group: Uuid) -> Result<bool, Error> {
        let (scope, events) = {
            let held = self.0.held.lock();
            let Some(open) = held.open.get(group) else { return Ok(false) };
            (open.scope.clone(), open.first(KEEP_BYTES_MAX))
        };
        let Some(below) = events.last().map(|event| event.number.saturating_add(1)) else { return Ok(false) };
        let bytes: usize = events.iter().map(Event::bytes).sum();
        let is_kept = match KEPT.get(&self.0.store, &scope, group).await? {
            Some(row) => {
                let batch = Batch::new().expect_version(&KEPT, &scope, group, row.version);
                let batch = self.put_spans(batch, &scope, group, &events).await?;
                let batch = self.put_chunks(batch, &scope, group, (row.value, below), events).await?;
                self.0.store.commit(batch).await?.is_committed()
            }
            None => false,
        };
        let mut held = self.0.held.lock();
        if !is_kept {
            // Nobody but the keeper writes the row, so somebody has deleted it with the group.
            held.open.forget(group);
            return Ok(false);
        }
        held.open.kept(group, below);
        self.0.untrimmed_bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(held.open.get(group).is_some_and(|open| open.bytes() >= CHUNK_BYTES))
    }

    async fn put_spans(&self, mut batch: Batch, scope: &Scope, group: Uuid, events: &[Event]) -> Result<Batch, Error> {
        let mut spans: Vec<(u64, StreamSpan)> = Vec::new();
        let mut sorted: Vec<&Event> = events.iter().collect();
        sorted.sort_unstable_by_key(|event| event.stream);
        for event in sorted {
            let span = StreamSpan::of(event.time, event.ingested);
            match spans.last_mut().filter(|(stream, _)| *stream == event.stream) {
                Some((_, known)) => *known = known.join(span),
                None => spans.push((event.stream, span)),
            }
        }
        for some in spans.chunks(store::limits::READS_MAX) {
            let keys: Vec<_> = some.iter().map(|(stream, _)| (group, *stream)).collect();
            let rows = SPANS.get_many(&self.0.store, scope, &keys).await?;
            for ((stream, span), row) in some.iter().zip(rows) {
                let span = row.map_or(*span, |row| row.value.join(*span));
                batch = batch.put(&SPANS, scope, (group, *stream), &span);
            }
        }
        Ok(batch)
    }

    /// Adds the chunks of these events, and of those in the small chunks before them.
    async fn put_chunks(
        &self,
        mut batch: Batch,
        scope: &Scope,
        group: Uuid,
        (kept, below): (Kept, u64),
        mut events: Vec<Event>,
    ) -> Result<Batch, Error> {
        let mut kept = Kept { below, ..kept };
        kept.bytes = kept.bytes.saturating_add(events.iter().map(|event| event.bytes() as u64).sum());
        for head in self.to_join(group, &events).await? {
            events.extend(self.events_of(group, &head).await?);
            batch = chunk::delete(batch, group, &head);
        }
        events.sort_unstable_by_key(Event::position);
        for piece in pieces(&events) {
            let Some(packed) = chunk::pack(kept.next_chunk, piece) else { continue };
            batch = chunk::put(batch, group, &packed);
            kept.next_chunk = kept.next_chunk.saturating_add(1);
        }
        Ok(batch.put(&KEPT, scope, group, &kept))
    }

    /// The last chunks of a group that are small beside what comes behind them.
    async fn to_join(&self, group: Uuid, events: &[Event]) -> Result<Vec<Head>, Error> {
        let mut bytes: u64 = events.iter().map(|event| event.bytes() as u64).sum();
        let mut heads = chunk::heads_before(&self.0.store, group, JOIN_MAX).await?;
        let mut is_small = |head: &Head| {
            let is_small =
                head.bytes <= bytes.saturating_mul(2) && bytes.saturating_add(head.bytes) <= CHUNK_BYTES as u64;
            bytes = bytes.saturating_add(head.bytes);
            is_small
        };
        let count = heads.iter().take_while(|head| is_small(head)).count();
        heads.truncate(count);
        Ok(heads)
    }
}

/// Cuts events into chunks, none too large or of too many streams.
fn pieces(events: &[Event]) -> Vec<&[Event]> {
    let mut pieces = Vec::new();
    let (mut from, mut bytes, mut streams) = (0, 0_usize, HashSet::new());
    for (at, event) in events.iter().enumerate() {
        streams.insert(event.stream);
        let is_full = bytes.saturating_add(event.bytes()) > CHUNK_BYTES || streams.len() > CHUNK_STREAMS_MAX;
        if is_full && at > from {
            pieces.extend(events.get(from..at));
            (from, bytes, streams) = (at, 0, HashSet::from([event.stream]));
        }
        bytes = bytes.saturating_add(event.bytes());
    }
    pieces.extend(events.get(from..).filter(|last| !last.is_empty()));
    pieces
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use base::{AccountId, Chance, Clock, ManualClock, Region, Seeded, World};
    use store::Store;

    use super::*;
    use crate::{Group, Line, STREAMS};

    async fn bench() -> (Chronicle, Scope, Group, u64, ManualClock) {
        let clock = ManualClock::at(Timestamp::from_secs(1_000));
        let store = Store::memory(Arc::new(clock.clone()));
        let shared: Arc<dyn Clock> = Arc::new(clock.clone());
        let chronicle =
            Chronicle::open(&store, shared, Arc::new(Seeded::new(1)), Arc::new(crate::Nothing)).await.unwrap();
        let scope = Scope { world: World::default(), account: AccountId::ZERO, region: Some(Region::default()) };
        let group = Group::new(Seeded::new(2).uuid(), Timestamp::default());
        chronicle.create_group(&scope, "g", &group).await.unwrap();
        chronicle.create_stream(&scope, ("g", &group), "s").await.unwrap();
        let number = STREAMS.get(&store, &scope, (group.id, "s")).await.unwrap().unwrap().value.number;
        (chronicle, scope, group, number, clock)
    }

    async fn put(chronicle: &Chronicle, stream: u64, bytes: usize, count: usize) {
        let line = Line { time: Timestamp::from_secs(1_000), message: "x".repeat(bytes) };
        let lines = vec![line; count];
        tokio::select! {
            put = chronicle.put(stream, &lines) => put.unwrap(),
            () = chronicle.follow() => unreachable!("it follows for ever"),
        }
    }

    #[tokio::test]
    async fn small_chunks_are_joined_and_the_journal_ends_where_it_begins() {
        let (chronicle, _, group, number, _) = bench().await;
        for _ in 0..64 {
            put(&chronicle, number, 10, 1).await;
            chronicle.keep_all().await.unwrap();
        }
        let (heads, _) = chunk::heads(&chronicle.0.store, group.id, 0, 100).await.unwrap();
        assert!(heads.len() <= 8, "{} chunks", heads.len());
        assert_eq!(heads.iter().map(|head| head.event_count).sum::<u64>(), 64);
        let slice = chronicle.0.streams.read(&chronicle.0.journal, 0, 9, 9).await.unwrap();
        assert_eq!((slice.start, slice.end), (64, 64));
    }

    /// A few events of one group, young as they are, do not make the journal hold all that others write.
    #[tokio::test]
    async fn a_quiet_group_does_not_hold_the_journal() {
        let (chronicle, scope, group, number, clock) = bench().await;
        let quiet = Group::new(Seeded::new(3).uuid(), Timestamp::default());
        chronicle.create_group(&scope, "quiet", &quiet).await.unwrap();
        chronicle.create_stream(&scope, ("quiet", &quiet), "s").await.unwrap();
        let row = STREAMS.get(&chronicle.0.store, &scope, (quiet.id, "s")).await.unwrap().unwrap();
        put(&chronicle, row.value.number, 10, 1).await;
        let puts = JOURNAL_BYTES_MAX / (1 << 20) + 4;
        for _ in 0..puts {
            put(&chronicle, number, 1 << 18, 4).await;
            clock.advance(KEEP_EVERY);
            chronicle.keep_due().await.unwrap();
        }
        assert!(chronicle.0.held.lock().open.get(quiet.id).is_none(), "it is kept");
        let slice = chronicle.0.streams.read(&chronicle.0.journal, 0, 0, 0).await.unwrap();
        assert!(slice.start > 1, "the journal begins at {} and ends at {}", slice.start, slice.end);
        assert_eq!(chronicle.group_bytes(&scope, group.id).await.unwrap(), puts * 4 * ((1 << 18) + 26));
    }

    #[tokio::test]
    async fn what_is_large_or_old_is_kept_and_the_rest_waits() {
        let (chronicle, _, group, number, clock) = bench().await;
        put(&chronicle, number, 10, 1).await;
        chronicle.keep_due().await.unwrap();
        assert!(chronicle.0.held.lock().open.get(group.id).is_some(), "it is small and new");
        clock.advance(OPEN_TIME_MAX);
        chronicle.keep_due().await.unwrap();
        assert!(chronicle.0.held.lock().open.get(group.id).is_none(), "it is old");
        put(&chronicle, number, 250_000, 40).await;
        chronicle.keep_due().await.unwrap();
        let left = chronicle.0.held.lock().open.get(group.id).map_or(0, |open| open.bytes());
        assert!(left < CHUNK_BYTES, "{left} bytes are left");
        let (heads, _) = chunk::heads(&chronicle.0.store, group.id, 0, 100).await.unwrap();
        assert!(heads.iter().all(|head| head.bytes <= CHUNK_BYTES as u64));
    }

    #[tokio::test]
    async fn what_is_too_old_for_its_group_goes() {
        let (chronicle, scope, mut group, number, clock) = bench().await;
        put(&chronicle, number, 10, 3).await;
        chronicle.keep_all().await.unwrap();
        group.retention_days = Some(1);
        chronicle.0.store.commit(Batch::new().put(&crate::GROUPS, &scope, "g", &group)).await.unwrap();
        chronicle.expire().await.unwrap();
        assert_eq!(chronicle.group_bytes(&scope, group.id).await.unwrap(), 3 * 36);
        clock.advance(std::time::Duration::from_secs(86_401));
        chronicle.expire().await.unwrap();
        assert_eq!(chronicle.group_bytes(&scope, group.id).await.unwrap(), 0);
        assert!(chunk::heads(&chronicle.0.store, group.id, 0, 9).await.unwrap().0.is_empty());
    }
}

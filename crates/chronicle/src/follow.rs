//! The follower: takes what the journal has to the open events, from where the chunks end.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use base::Timestamp;
use bytes::Bytes;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::chronicle::{Held, Known};
use crate::derive::{Derive, Taken, What};
use crate::entry::{self, Entry};
use crate::limits::{
    CHUNK_BYTES, DERIVE_MAX, FOLLOW_BYTES_MAX, FOLLOW_RECORDS_MAX, KEEP_EVERY, LINES_MAX, NAMES_CACHED_MAX,
    OPEN_BYTES_FULL,
};
use crate::tables::{KEPT, NAMES, nobody};
use crate::{Chronicle, Error, Event, event};

impl Chronicle {
    /// Follows the journal until it is cancelled.
    pub async fn follow(&self) {
        let mut journal = self.0.streams.watch(&self.0.journal);
        loop {
            match self.follow_some().await {
                Ok(true) => self.wait_for_room().await,
                Ok(false) => drop(journal.changed().await),
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "log events wait: failed to {error}");
                    sleep(KEEP_EVERY).await;
                }
            }
        }
    }

    /// Follows up to where the journal ends now.
    pub async fn catch_up(&self) -> Result<(), Error> {
        while self.follow_some().await? {}
        Ok(())
    }

    /// What is open is bounded: the keeper goes first.
    async fn wait_for_room(&self) {
        while self.0.held.lock().open.weight() > OPEN_BYTES_FULL || self.0.derive.is_full() {
            self.0.enough.notify_one();
            sleep(KEEP_EVERY / 20).await;
        }
    }

    /// Follows the next records; `false` if there are none.
    async fn follow_some(&self) -> Result<bool, Error> {
        let from = *self.0.followed.borrow();
        let slice = self.0.streams.read(&self.0.journal, from, FOLLOW_RECORDS_MAX, FOLLOW_BYTES_MAX).await?;
        if slice.records.is_empty() {
            self.0.derive.caught_up();
            return Ok(false);
        }
        let next = slice.next();
        let entries: Vec<(u64, Entry)> = (slice.first..).zip(&slice.records).filter_map(decode).collect();
        for (_, entry) in &entries {
            if let Entry::Opened { stream, place } = entry {
                self.make_place(*stream, place).await?;
            }
        }
        self.look_up(&entries).await?;
        let now = self.0.clock.now();
        let mut taken = Vec::with_capacity(entries.len());
        let is_enough = {
            let mut held = self.0.held.lock();
            let mut is_enough = false;
            for (offset, entry) in entries {
                let derive = &*self.0.derive;
                is_enough |= held.take((now, offset), entry, derive, &mut taken);
            }
            is_enough
        };
        self.derive(taken, next).await;
        if is_enough {
            self.0.enough.notify_one();
        }
        self.0.followed.send_replace(next);
        Ok(true)
    }

    /// Hands over what was taken, some at a time, as there is room for what is derived from it. A filter may take its time with
    /// an event, which is not to be other tasks' time.
    async fn derive(&self, mut taken: Vec<Taken>, next: u64) {
        loop {
            let rest = taken.split_off(piece_of(&taken));
            let behind = rest.first().map_or(next, |first| first.offset);
            let derive = Arc::clone(&self.0.derive);
            let piece = std::mem::replace(&mut taken, rest);
            if piece.is_empty() {
                derive.take(piece, behind);
            } else if let Err(error) = spawn_blocking(move || derive.take(piece, behind)).await {
                // What is read of the journal has been taken, and is not taken twice for that.
                tracing::error!(%error, "some of what was logged is not in metrics, and nobody was sent it");
            }
            if taken.is_empty() {
                return;
            }
            while self.0.derive.is_full() {
                sleep(KEEP_EVERY / 20).await;
            }
        }
    }

    /// Finds what the numbers in these entries stand for, where that is not known.
    async fn look_up(&self, entries: &[(u64, Entry)]) -> Result<(), Error> {
        let unknown: BTreeSet<u64> = {
            let mut held = self.0.held.lock();
            if held.names.len() > NAMES_CACHED_MAX {
                held.names.clear();
            }
            let stream = |(_, entry): &(u64, Entry)| match entry {
                Entry::Event { stream, .. } | Entry::Record { stream, .. } => Some(*stream),
                Entry::Opened { .. } | Entry::Note(_) => None,
            };
            entries.iter().filter_map(stream).filter(|stream| !held.names.contains_key(stream)).collect()
        };
        let unknown: Vec<u64> = unknown.into_iter().collect();
        let mut found = HashMap::new();
        for some in unknown.chunks(store::limits::READS_MAX) {
            let rows = NAMES.get_many(&self.0.store, &nobody(), some).await?;
            for row in rows.into_iter().flatten() {
                let (scope, group) = (Arc::new(row.value.scope()), row.value.group);
                // A group that is being deleted has none.
                if let Some(kept) = KEPT.get(&self.0.store, &scope, group).await? {
                    let (number, origin) = (row.value.number, row.value.origin.map(Arc::new));
                    let (kept_below, group_name) = (kept.value.below, kept.value.name.into());
                    found.insert(row.key, Known { scope, group, group_name, number, origin, kept_below });
                }
            }
        }
        self.0.held.lock().names.extend(found);
        Ok(())
    }
}

/// How many are handed over at once: not only some of what one place of the journal has.
fn piece_of(taken: &[Taken]) -> usize {
    let Some(last) = taken.get(DERIVE_MAX.saturating_sub(1)) else { return taken.len() };
    let more = taken.iter().skip(DERIVE_MAX).take_while(|one| one.offset == last.offset);
    DERIVE_MAX.saturating_add(more.count())
}

impl Known {
    fn what(&self, event: Event) -> What {
        let (scope, group_name) = (Arc::clone(&self.scope), Arc::clone(&self.group_name));
        What::Event { scope, group: self.group, group_name, event }
    }
}

impl Held {
    /// Takes an entry of the journal; `true` if its group has enough for a chunk. What is deleted is not known any more.
    fn take(
        &mut self,
        (now, offset): (Timestamp, u64),
        entry: Entry,
        derive: &dyn Derive,
        taken: &mut Vec<Taken>,
    ) -> bool {
        match entry {
            Entry::Opened { .. } => false,
            Entry::Note(note) => {
                taken.push(Taken { offset, what: What::Note(note) });
                false
            }
            Entry::Event { stream, time, ingested, message } => {
                let Some(known) = self.names.get(&stream).cloned() else { return false };
                let event = Event { number: event::number(offset, 0), stream: known.number, time, ingested, message };
                taken.push(Taken { offset, what: known.what(event.clone()) });
                self.push(now, &known, event)
            }
            Entry::Record { stream, time, record } => {
                let Some(known) = self.names.get(&stream).cloned() else { return false };
                let Some(origin) = &known.origin else { return false };
                let lines = (0..LINES_MAX).zip(derive.lines(origin, time, &record));
                let mut is_enough = false;
                for (line, message) in lines {
                    let (number, message) = (event::number(offset, line), message.into());
                    let event = Event { number, stream: known.number, time, ingested: time, message };
                    taken.push(Taken { offset, what: known.what(event.clone()) });
                    is_enough |= self.push(now, &known, event);
                }
                let (scope, origin) = (Arc::clone(&known.scope), Arc::clone(origin));
                taken.push(Taken { offset, what: What::Record { scope, origin, time, record } });
                is_enough
            }
        }
    }

    /// Takes an event, if it is not in a chunk already.
    fn push(&mut self, now: Timestamp, known: &Known, event: Event) -> bool {
        if event.number < known.kept_below {
            return false;
        }
        self.listeners.retain(|listening| listening.tell(known.group, &event));
        self.open.push(now, &known.scope, known.group, event) >= CHUNK_BYTES
    }
}

fn decode((number, record): (u64, &Bytes)) -> Option<(u64, Entry)> {
    let entry = entry::decode(record);
    if entry.is_none() {
        tracing::warn!(number, "a log event is left out: this program does not know its form");
    }
    Some((number, entry?))
}

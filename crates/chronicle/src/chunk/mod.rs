//! Chunks: events of one group, in order of time, packed.
//!
//! ```text
//! head   which numbers, times and streams are in it; small, so that whoever seeks reads heads and not bodies
//! body   columns, then the messages, each behind its length before packing and packed by LZ4
//! ```
//!
//! Columns, an event after the other: its number and time less those of the event before, how much later it came, which of
//! the head's streams it is of, and how long its message is. The messages lie end to end, so that a search for a literal
//! runs over all of them at once.

mod rows;

use std::ops::Range;

use base::{Timestamp, varint};
use bytes::Bytes;

use crate::limits::EVENT_OVERHEAD_BYTES;
use crate::{Event, Position};

pub use rows::{delete, get, heads, heads_before, put};

const VERSION: u8 = 1;

/// What is known of a chunk without unpacking it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Its name in its group. Later chunks have greater ones.
    pub id: u64,
    pub event_count: u64,
    /// As [`Event::bytes`] counts.
    pub bytes: u64,
    pub first: Position,
    pub last: Position,
    /// The streams that have events in it, in order, each with how many.
    pub streams: Vec<(u64, u64)>,
    /// Rows that its body takes.
    pub row_count: u64,
}

/// A chunk that is not stored yet.
pub struct Packed {
    pub head: Head,
    pub body: Vec<u8>,
}

/// Packs events, of which there is at least one, in order of time.
pub fn pack(id: u64, events: &[Event]) -> Option<Packed> {
    let (first, last) = (events.first()?.position(), events.last()?.position());
    let mut streams: Vec<u64> = events.iter().map(|event| event.stream).collect();
    streams.sort_unstable();
    let counted = streams.chunk_by(|one, other| one == other);
    let streams: Vec<_> = counted.filter_map(|same| Some((*same.first()?, same.len() as u64))).collect();
    let message_bytes = events.iter().map(|event| event.message.len()).sum();
    let (mut columns, mut messages) = (Vec::new(), Vec::with_capacity(message_bytes));
    let mut before = Position { time: Timestamp::default(), number: 0 };
    for event in events {
        let at = streams.binary_search_by_key(&event.stream, |(stream, _)| *stream).unwrap_or_default();
        varint::put_signed(event.number.wrapping_sub(before.number).cast_signed(), &mut columns);
        varint::put_signed(event.time.as_millis().saturating_sub(before.time.as_millis()), &mut columns);
        varint::put_signed(event.ingested.as_millis().saturating_sub(event.time.as_millis()), &mut columns);
        varint::put(at as u64, &mut columns);
        varint::put(event.message.len() as u64, &mut columns);
        messages.extend_from_slice(&event.message);
        before = event.position();
    }
    let mut body = vec![VERSION];
    for part in [&columns, &messages] {
        varint::put(part.len() as u64, &mut body);
        varint::put_bytes(&lz4_flex::block::compress(part), &mut body);
    }
    let bytes = events.iter().map(|event| event.bytes() as u64).sum();
    let row_count = rows::row_count(&body);
    Some(Packed { head: Head { id, event_count: events.len() as u64, bytes, first, last, streams, row_count }, body })
}

/// A chunk's events, unpacked.
pub struct Block {
    rows: Vec<Row>,
    messages: Bytes,
}

struct Row {
    number: u64,
    time: Timestamp,
    ingested: Timestamp,
    stream: u64,
    message: Range<usize>,
}

/// `None` if the body is damaged, or of a version that this program does not know.
pub fn unpack(head: &Head, body: &[u8]) -> Option<Block> {
    let (version, mut rest) = body.split_first()?;
    if *version != VERSION {
        return None;
    }
    let mut part = || {
        let bytes = usize::try_from(varint::take(&mut rest)?).ok()?;
        let packed = varint::take_bytes(&mut rest)?;
        // LZ4 makes at most 255 bytes of one.
        (bytes <= packed.len().saturating_mul(255)).then(|| lz4_flex::block::decompress(packed, bytes).ok())?
    };
    let (columns, messages) = (part()?, Bytes::from(part()?));
    let mut columns = columns.as_slice();
    // A row takes a byte of each column at least.
    let row_count = usize::try_from(head.event_count).ok()?.min(columns.len() / 5);
    let (mut rows, mut from) = (Vec::with_capacity(row_count), 0_usize);
    let mut before = Position { time: Timestamp::default(), number: 0 };
    while !columns.is_empty() {
        let number = before.number.wrapping_add(varint::take_signed(&mut columns)?.cast_unsigned());
        let time = before.time.as_millis().saturating_add(varint::take_signed(&mut columns)?);
        let ingested = time.saturating_add(varint::take_signed(&mut columns)?);
        let at = usize::try_from(varint::take(&mut columns)?).ok()?;
        let to = from.checked_add(usize::try_from(varint::take(&mut columns)?).ok()?)?;
        messages.get(from..to)?;
        let [time, ingested] = [time, ingested].map(Timestamp::from_millis);
        rows.push(Row { number, time, ingested, stream: head.streams.get(at)?.0, message: from..to });
        before = Position { time, number };
        from = to;
    }
    (from == messages.len()).then_some(Block { rows, messages })
}

impl Block {
    /// All events, in order.
    pub fn events(&self) -> impl DoubleEndedIterator<Item = Event> {
        self.rows.iter().map(|row| self.event(row))
    }

    /// Tells of each event its number, time and stream, and what it counts.
    pub fn each(&self, mut tell: impl FnMut(u64, Timestamp, u64, usize)) {
        for row in &self.rows {
            tell(row.number, row.time, row.stream, row.message.len().saturating_add(EVENT_OVERHEAD_BYTES));
        }
    }

    /// The messages, end to end.
    pub fn messages(&self) -> &[u8] {
        &self.messages
    }

    /// The events at the places of the messages that `next` finds: the first from a place on.
    pub fn events_at(&self, mut next: impl FnMut(usize) -> Option<usize>) -> Vec<Event> {
        let (mut found, mut from) = (Vec::new(), 0);
        while let Some(place) = next(from) {
            let Some(row) = self.rows.get(self.rows.partition_point(|row| row.message.end <= place)) else { break };
            found.push(self.event(row));
            from = row.message.end;
        }
        found
    }

    fn event(&self, row: &Row) -> Event {
        Event {
            number: row.number,
            stream: row.stream,
            time: row.time,
            ingested: row.ingested,
            message: self.messages.slice(row.message.clone()),
        }
    }
}

impl Head {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        for number in [self.event_count, self.bytes, self.row_count, self.first.number, self.last.number] {
            varint::put(number, &mut out);
        }
        for time in [self.first.time, self.last.time] {
            varint::put_signed(time.as_millis(), &mut out);
        }
        let mut before = 0;
        for (stream, count) in &self.streams {
            varint::put(stream.wrapping_sub(before), &mut out);
            varint::put(*count, &mut out);
            before = *stream;
        }
        out
    }

    pub fn decode(id: u64, bytes: &[u8]) -> Option<Head> {
        let (version, mut rest) = bytes.split_first()?;
        if *version != VERSION {
            return None;
        }
        let mut number = || varint::take(&mut rest);
        let [event_count, bytes, row_count] = [number()?, number()?, number()?];
        let (first, last) = (number()?, number()?);
        let mut position =
            |number| Some(Position { time: Timestamp::from_millis(varint::take_signed(&mut rest)?), number });
        let (first, last) = (position(first)?, position(last)?);
        let (mut streams, mut before) = (Vec::new(), 0_u64);
        while !rest.is_empty() {
            before = before.wrapping_add(varint::take(&mut rest)?);
            streams.push((before, varint::take(&mut rest)?));
        }
        Some(Head { id, event_count, bytes, first, last, streams, row_count })
    }

    pub fn has(&self, stream: u64) -> bool {
        self.streams.binary_search_by_key(&stream, |(stream, _)| *stream).is_ok()
    }
}

#[cfg(test)]
pub mod tests {
    use proptest::prelude::*;

    use super::*;

    pub fn events() -> impl Strategy<Value = Vec<Event>> {
        let event = (any::<u32>(), 0..5_u64, 0..100_i64, -3..3_i64, "[ab€]{0,6}");
        prop::collection::vec(event, 1..40).prop_map(|parts| {
            let make = |(number, stream, time, later, message): (u32, u64, i64, i64, String)| Event {
                number: number.into(),
                stream: stream * 1_000_000_007,
                time: Timestamp::from_millis(time),
                ingested: Timestamp::from_millis(time + later),
                message: message.into(),
            };
            let mut events: Vec<Event> = parts.into_iter().map(make).collect();
            events.sort_by_key(Event::position);
            events
        })
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(events in events(), id in any::<u64>(), needle in "[ab]{1,3}") {
            let packed = pack(id, &events).unwrap();
            prop_assert_eq!(Head::decode(id, &packed.head.encode()), Some(packed.head.clone()));
            let block = unpack(&packed.head, &packed.body).unwrap();
            prop_assert_eq!(block.events().collect::<Vec<_>>(), events.clone());
            let has = |event: &Event| std::str::from_utf8(&event.message).unwrap().contains(&needle);
            // Where it begins in one message and ends in the next, it is in neither.
            let next = |from| Some(from + memchr::memmem::find(&block.messages()[from..], needle.as_bytes())?);
            let mut found = block.events_at(next);
            found.retain(has);
            prop_assert_eq!(found, events.iter().filter(|event| has(event)).cloned().collect::<Vec<_>>());
            for event in &events {
                prop_assert!(packed.head.has(event.stream) && !packed.head.has(event.stream + 1));
            }
        }

        #[test]
        fn damaged_chunks_are_refused_calmly(events in events(), at in any::<prop::sample::Index>(), to in any::<u8>()) {
            let mut packed = pack(1, &events).unwrap();
            let at = at.index(packed.body.len());
            packed.body[at] = to;
            unpack(&packed.head, &packed.body);
            unpack(&packed.head, &packed.body[..at]);
            Head::decode(1, &packed.body);
        }
    }
}

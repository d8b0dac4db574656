//! What is in the journal, as bytes: which stream a number stands for, and the events that name it.
//!
//! ```text
//! 1  number                 world account region group stream origin   a stream of a function's instance
//! 2  number  time  later    message                                    an event; `later` is how long after its time it came
//! 3  number  time           record                                     what happened to an invocation of the instance
//! 4                         bytes                                      whatever else things are derived from
//! ```

use base::ports::LogStream;
use base::record::{Origin, Record};
use base::{Timestamp, World, varint};
use bytes::Bytes;

const OPENED: u8 = 1;
const EVENT: u8 = 2;
const RECORD: u8 = 3;
const NOTE: u8 = 4;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    Opened { stream: u64, place: LogStream },
    Event { stream: u64, time: Timestamp, ingested: Timestamp, message: Bytes },
    Record { stream: u64, time: Timestamp, record: Box<Record> },
    Note(Bytes),
}

pub fn encode_opened(stream: u64, place: &LogStream) -> Bytes {
    let mut out = vec![OPENED];
    varint::put(stream, &mut out);
    varint::put(place.world.0.into(), &mut out);
    for part in [place.account.as_str(), place.region.as_str(), &place.group, &place.name] {
        varint::put_bytes(part.as_bytes(), &mut out);
    }
    place.origin.encode(&mut out);
    out.into()
}

pub fn encode_record(stream: u64, time: Timestamp, record: &Record) -> Bytes {
    let mut out = vec![RECORD];
    varint::put(stream, &mut out);
    varint::put_signed(time.as_millis(), &mut out);
    record.encode(&mut out);
    out.into()
}

pub fn encode_note(note: &[u8]) -> Bytes {
    [&[NOTE], note].concat().into()
}

pub fn encode_event(stream: u64, time: Timestamp, ingested: Timestamp, message: &str) -> Bytes {
    let mut out = Vec::with_capacity(message.len().saturating_add(32));
    out.push(EVENT);
    varint::put(stream, &mut out);
    varint::put_signed(time.as_millis(), &mut out);
    varint::put_signed(ingested.as_millis().saturating_sub(time.as_millis()), &mut out);
    out.extend_from_slice(message.as_bytes());
    out.into()
}

/// `None` for what this program does not know.
pub fn decode(record: &Bytes) -> Option<Entry> {
    let (kind, mut rest) = record.split_first()?;
    if *kind == NOTE {
        return Some(Entry::Note(record.slice_ref(rest)));
    }
    let stream = varint::take(&mut rest)?;
    match *kind {
        OPENED => {
            let world = World(u32::try_from(varint::take(&mut rest)?).ok()?);
            let mut text = || std::str::from_utf8(varint::take_bytes(&mut rest)?).ok();
            let (account, region) = (text()?.parse().ok()?, text()?.parse().ok()?);
            let (group, name) = (text()?.to_owned(), text()?.to_owned());
            let origin = Origin::decode(&mut rest)?;
            Some(Entry::Opened { stream, place: LogStream { world, account, region, group, name, origin } })
        }
        EVENT => {
            let time = varint::take_signed(&mut rest)?;
            let ingested = time.saturating_add(varint::take_signed(&mut rest)?);
            let message = record.slice_ref(rest);
            let [time, ingested] = [time, ingested].map(Timestamp::from_millis);
            Some(Entry::Event { stream, time, ingested, message })
        }
        RECORD => {
            let time = Timestamp::from_millis(varint::take_signed(&mut rest)?);
            Some(Entry::Record { stream, time, record: Box::new(Record::decode(&mut rest)?) })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use base::{AccountId, Region};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn entries_read_back(stream in any::<u64>(), time in 0..1_i64 << 42, later in -1_000_000..1_000_000_i64, message in ".*") {
            let [time, ingested] = [time, time + later].map(Timestamp::from_millis);
            let event = Entry::Event { stream, time, ingested, message: Bytes::from(message.clone()) };
            prop_assert_eq!(decode(&encode_event(stream, time, ingested, &message)), Some(event));
            let place = LogStream {
                world: World(7), account: AccountId::ZERO, region: Region::default(), group: message.clone(), name: message,
                origin: Origin::default(),
            };
            prop_assert_eq!(decode(&encode_opened(stream, &place)), Some(Entry::Opened { stream, place }));
        }

        #[test]
        fn nonsense_is_refused_calmly(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            decode(&bytes.into());
        }
    }
}

//! How values that serde's data model has no word for pass through it unchanged.
//!
//! A [`Timestamp`](base::Timestamp) is a newtype by that name over microseconds: the bridge's serializer and
//! deserializer watch for the name. A [`Blob`] may be an open file and a [`Value`] may hold one, so both travel beside
//! serde: the side that has it puts it into a slot of this thread, the other takes it out at once. Each hand-over
//! begins and ends within one call, and nothing is left in the slot when a side fails.
//!
//! With any other format a blob is a sequence of bytes; a `Value` exists only here.

use std::cell::RefCell;

use bytes::Bytes;
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{self, Serialize, Serializer};

use super::Value;
use crate::Blob;

/// The newtype name of `base::Timestamp`.
pub const TIMESTAMP: &str = "Timestamp";
/// The newtype name under which blobs and values ask for a hand-over.
pub const HANDOVER: &str = "$wire::value";

thread_local! {
    static SLOT: RefCell<Slot> = const { RefCell::new(Slot::Closed) };
}

enum Slot {
    /// The format at work is not ours.
    Closed,
    /// Our serializer waits for a value.
    Open,
    Filled(Value),
}

/// For our serializer: what `fill` hands over.
pub fn receive(fill: impl FnOnce()) -> Option<Value> {
    SLOT.set(Slot::Open);
    fill();
    take()
}

/// For our deserializer: runs `drain` with `value` in the slot.
pub fn send<T>(value: Value, drain: impl FnOnce() -> T) -> T {
    SLOT.set(Slot::Filled(value));
    let drained = drain();
    SLOT.set(Slot::Closed);
    drained
}

fn take() -> Option<Value> {
    match SLOT.replace(Slot::Closed) {
        Slot::Filled(value) => Some(value),
        Slot::Open | Slot::Closed => None,
    }
}

/// Puts the value into the slot if our serializer waits for one.
fn offer(value: impl FnOnce() -> Value) -> bool {
    SLOT.with_borrow_mut(|slot| {
        let waiting = matches!(slot, Slot::Open);
        if waiting {
            *slot = Slot::Filled(value());
        }
        waiting
    })
}

/// A blob or a value inside the newtype that asks for the hand-over.
struct Handed<'a, T>(&'a T);

impl Serialize for Handed<'_, Blob> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if offer(|| Value::Blob(self.0.clone())) {
            return serializer.serialize_unit();
        }
        let content = self.0.read_all().map_err(ser::Error::custom)?;
        serializer.serialize_bytes(&content)
    }
}

impl Serialize for Handed<'_, Value> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if offer(|| self.0.clone()) {
            return serializer.serialize_unit();
        }
        Err(ser::Error::custom("a Value has no form outside the wire crate"))
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(HANDOVER, &Handed(self))
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(HANDOVER, &Handed(self))
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(HANDOVER, BlobVisitor)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(HANDOVER, ValueVisitor)
    }
}

struct BlobVisitor;

impl<'de> Visitor<'de> for BlobVisitor {
    type Value = Blob;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a blob")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Blob, E> {
        match take() {
            Some(Value::Blob(blob)) => Ok(blob),
            Some(other) => Err(E::custom(format_args!("expected a blob, found {}", other.kind()))),
            None => Err(E::invalid_type(de::Unexpected::Unit, &self)),
        }
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Blob, D::Error> {
        Vec::<u8>::deserialize(deserializer).map(Blob::from)
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Blob, E> {
        Ok(Bytes::copy_from_slice(bytes).into())
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value of the wire crate")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        take().ok_or_else(|| E::invalid_type(de::Unexpected::Unit, &self))
    }
}

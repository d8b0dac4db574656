//! Typed keys as bytes that sort as the keys do, behind the scope that they belong to.
//!
//! Every encoding ends by itself: no key of a type is the beginning of another of that type. So keys can be
//! concatenated into tuples, and a prefix of a tuple selects exactly the keys that share it.

use base::{AccountId, Cx, Region, Timestamp, Uuid, World};
use bytes::Bytes;

/// A key of a table. The form in which it is handed in is borrowed: `&str` for `String`, a tuple of such for a tuple.
pub trait TableKey: Sized {
    type Ref<'a>: Copy;

    fn encode(key: Self::Ref<'_>, out: &mut Vec<u8>);

    /// Takes a key off the front of `from`; `None` if there is none. Never panics, whatever the bytes.
    fn decode(from: &mut &[u8]) -> Option<Self>;

    fn as_key(&self) -> Self::Ref<'_>;
}

/// Stands for a zero byte inside a text, whose end is [`END`]; as it is greater, a text sorts behind its prefixes.
const ZERO: [u8; 2] = [0, 0xff];
const END: [u8; 2] = [0, 1];

/// A text without its end: the common beginning of all texts that start with it.
pub(crate) fn encode_text_prefix(text: &[u8], out: &mut Vec<u8>) {
    for byte in text {
        match byte {
            0 => out.extend_from_slice(&ZERO),
            byte => out.push(*byte),
        }
    }
}

fn encode_text(text: &[u8], out: &mut Vec<u8>) {
    encode_text_prefix(text, out);
    out.extend_from_slice(&END);
}

fn decode_text(from: &mut &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    loop {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        if *byte != 0 {
            text.push(*byte);
            continue;
        }
        let (mark, rest) = from.split_first()?;
        *from = rest;
        match [0, *mark] {
            ZERO => text.push(0),
            END => return Some(text),
            _ => return None,
        }
    }
}

fn take<const N: usize>(from: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = from.split_first_chunk()?;
    *from = rest;
    Some(*taken)
}

impl TableKey for String {
    type Ref<'a> = &'a str;

    fn encode(key: &str, out: &mut Vec<u8>) {
        encode_text(key.as_bytes(), out);
    }

    fn decode(from: &mut &[u8]) -> Option<Self> {
        Self::from_utf8(decode_text(from)?).ok()
    }

    fn as_key(&self) -> &str {
        self
    }
}

impl TableKey for Bytes {
    type Ref<'a> = &'a [u8];

    fn encode(key: &[u8], out: &mut Vec<u8>) {
        encode_text(key, out);
    }

    fn decode(from: &mut &[u8]) -> Option<Self> {
        decode_text(from).map(Self::from)
    }

    fn as_key(&self) -> &[u8] {
        self
    }
}

macro_rules! unsigned {
    ($($type:ty),*) => {$(
        impl TableKey for $type {
            type Ref<'a> = $type;

            fn encode(key: $type, out: &mut Vec<u8>) {
                out.extend_from_slice(&key.to_be_bytes());
            }

            fn decode(from: &mut &[u8]) -> Option<Self> {
                take(from).map(Self::from_be_bytes)
            }

            fn as_key(&self) -> $type {
                *self
            }
        }
    )*};
}

unsigned!(u8, u16, u32, u64, u128);

impl TableKey for Timestamp {
    type Ref<'a> = Timestamp;

    fn encode(key: Timestamp, out: &mut Vec<u8>) {
        // The sign bit turned over, moments before 1970 sort before those after.
        out.extend_from_slice(&(key.as_micros() ^ i64::MIN).to_be_bytes());
    }

    fn decode(from: &mut &[u8]) -> Option<Self> {
        take(from).map(|bytes| Self::from_micros(i64::from_be_bytes(bytes) ^ i64::MIN))
    }

    fn as_key(&self) -> Timestamp {
        *self
    }
}

impl TableKey for Uuid {
    type Ref<'a> = Uuid;

    fn encode(key: Uuid, out: &mut Vec<u8>) {
        out.extend_from_slice(key.as_bytes());
    }

    fn decode(from: &mut &[u8]) -> Option<Self> {
        take(from).map(Self::from_bytes)
    }

    fn as_key(&self) -> Uuid {
        *self
    }
}

/// For a table with one row a scope.
impl TableKey for () {
    type Ref<'a> = ();

    fn encode(_key: (), _out: &mut Vec<u8>) {}

    fn decode(_from: &mut &[u8]) -> Option<Self> {
        Some(())
    }

    fn as_key(&self) {}
}

macro_rules! tuple {
    ($($name:ident: $index:tt),*) => {
        impl<$($name: TableKey),*> TableKey for ($($name,)*) {
            type Ref<'a> = ($($name::Ref<'a>,)*);

            fn encode(key: Self::Ref<'_>, out: &mut Vec<u8>) {
                $($name::encode(key.$index, out);)*
            }

            fn decode(from: &mut &[u8]) -> Option<Self> {
                Some(($($name::decode(from)?,)*))
            }

            fn as_key(&self) -> Self::Ref<'_> {
                ($(self.$index.as_key(),)*)
            }
        }
    };
}

tuple!(A: 0, B: 1);
tuple!(A: 0, B: 1, C: 2);
tuple!(A: 0, B: 1, C: 2, D: 3);

/// Whose rows: the beginning of every key of every table.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scope {
    pub world: World,
    pub account: AccountId,
    /// Absent for what an account has once, in no region.
    pub region: Option<Region>,
}

impl Scope {
    /// For what an account has once, in no region.
    pub fn global(cx: &Cx) -> Self {
        Self { world: cx.world, account: cx.account, region: None }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        u32::encode(self.world.0, out);
        out.extend_from_slice(self.account.as_str().as_bytes());
        String::encode(self.region.as_ref().map_or("", Region::as_str), out);
    }

    pub(crate) fn decode(from: &mut &[u8]) -> Option<Self> {
        let world = World(u32::decode(from)?);
        let account = std::str::from_utf8(&take::<12>(from)?).ok()?.parse().ok()?;
        let region = match String::decode(from)?.as_str() {
            "" => None,
            name => Some(name.parse().ok()?),
        };
        Some(Self { world, account, region })
    }
}

impl From<&Cx> for Scope {
    fn from(cx: &Cx) -> Self {
        Self { world: cx.world, account: cx.account, region: Some(cx.region.clone()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Key = (String, u64, (Timestamp, Bytes, Uuid));

    fn encoded<K: TableKey>(key: &K) -> Vec<u8> {
        let mut out = Vec::new();
        K::encode(key.as_key(), &mut out);
        out
    }

    /// Few letters, so that keys often share a beginning.
    fn key() -> impl Strategy<Value = Key> {
        let number = prop_oneof![0..3_u64, any::<u64>()];
        let moment = prop_oneof![-2..2_i64, any::<i64>()].prop_map(Timestamp::from_micros);
        let bytes = proptest::collection::vec(prop_oneof![Just(0), Just(1), Just(0xff), any::<u8>()], 0..4);
        let id = prop_oneof![Just([0; 16]), any::<[u8; 16]>()].prop_map(Uuid::from_bytes);
        ("[\0\u{1}a\u{7f}é]{0,4}", number, (moment, bytes.prop_map(Bytes::from), id))
    }

    proptest! {
        #[test]
        fn keys_read_back_and_sort_as_their_bytes(a in key(), b in key()) {
            let (left, right) = (encoded(&a), encoded(&b));
            prop_assert_eq!(left.cmp(&right), a.cmp(&b));
            prop_assert_eq!(a == b, left.starts_with(&right), "no key begins another");
            let mut rest = left.as_slice();
            prop_assert_eq!(Key::decode(&mut rest), Some(a));
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn what_is_not_a_key_is_refused_calmly(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let mut from = bytes.as_slice();
            if let Some(key) = Key::decode(&mut from) {
                prop_assert!(bytes.starts_with(&encoded(&key)), "only one form of a key is read");
            }
            let _ = Scope::decode(&mut bytes.as_slice());
        }
    }

    #[test]
    fn scopes_read_back_and_begin_with_the_world() {
        let account = "123456789012".parse().unwrap();
        for region in [None, Some(Region::default())] {
            let scope = Scope { world: World(7), account, region };
            let mut bytes = Vec::new();
            scope.encode(&mut bytes);
            assert_eq!(bytes[..4], 7_u32.to_be_bytes());
            assert_eq!(Scope::decode(&mut bytes.as_slice()), Some(scope));
        }
    }
}

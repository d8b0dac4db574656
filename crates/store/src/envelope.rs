//! The checksum round every stored value, put on and checked by the [`Store`](crate::Store) handle, so that all
//! backends have it alike.
//!
//! It covers the space and the key too: a value that turns up under another key is as wrong as one with a flipped bit.

use bytes::Bytes;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::{Error, Space};

/// What [`seal`] adds to a value.
pub(crate) const ENVELOPE_BYTES: usize = 8;

pub(crate) fn seal(space: Space, key: &[u8], value: &[u8]) -> Bytes {
    let mut sealed = Vec::with_capacity(ENVELOPE_BYTES + value.len());
    sealed.extend_from_slice(&checksum(space, key, value).to_le_bytes());
    sealed.extend_from_slice(value);
    sealed.into()
}

/// The value inside `sealed`, sharing its memory.
pub(crate) fn open(space: Space, key: &[u8], sealed: &Bytes) -> Result<Bytes, Error> {
    match sealed.split_first_chunk() {
        Some((sum, value)) if u64::from_le_bytes(*sum) == checksum(space, key, value) => {
            Ok(sealed.slice(ENVELOPE_BYTES..))
        }
        _ => Err(Error::Corrupt { space, key: Bytes::copy_from_slice(key) }),
    }
}

/// Each part seeds the next, so that no byte can pass from one to its neighbour unnoticed.
fn checksum(space: Space, key: &[u8], value: &[u8]) -> u64 {
    xxh3_64_with_seed(value, xxh3_64_with_seed(key, xxh3_64(space.name().as_bytes())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SPACE: Space = Space::new("s");

    proptest! {
        #[test]
        fn a_sealed_value_opens_and_no_flipped_bit_passes(
            key in proptest::collection::vec(any::<u8>(), 0..40),
            value in proptest::collection::vec(any::<u8>(), 0..400),
            flip in any::<proptest::sample::Index>(),
        ) {
            let sealed = seal(SPACE, &key, &value);
            prop_assert_eq!(open(SPACE, &key, &sealed).unwrap(), Bytes::from(value));
            let mut bent = sealed.to_vec();
            let bit = flip.index(bent.len() * 8);
            bent[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(open(SPACE, &key, &bent.into()).is_err());
        }

        #[test]
        fn whatever_the_disk_holds_is_looked_at_calmly(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert!(open(SPACE, b"key", &bytes.into()).is_err());
        }
    }

    #[test]
    fn a_value_is_bound_to_its_place() {
        let sealed = seal(SPACE, b"key", b"value");
        assert!(open(SPACE, b"yek", &sealed).is_err());
        assert!(open(Space::new("t"), b"key", &sealed).is_err());
        assert_ne!(seal(SPACE, b"a", b"bc")[..ENVELOPE_BYTES], seal(SPACE, b"ab", b"c")[..ENVELOPE_BYTES]);
    }
}

//! Numbers in as few bytes as they need: seven bits a byte, the least first.

/// A 64-bit number has at most so many.
const BYTES_MAX: usize = 10;

pub fn put(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(u8::try_from(number & 0x7f).unwrap_or_default() | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).unwrap_or_default());
}

/// Small numbers of either sign are short.
pub fn put_signed(number: i64, out: &mut Vec<u8>) {
    put((number.wrapping_shl(1) ^ (number >> 63)).cast_unsigned(), out);
}

/// Takes a number off the front; `None` if there is none.
pub fn take(from: &mut &[u8]) -> Option<u64> {
    let mut number: u64 = 0;
    for at in 0..BYTES_MAX {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        let bits = u64::from(byte & 0x7f);
        let shift = u32::try_from(at.saturating_mul(7)).ok()?;
        if bits.leading_zeros() < shift {
            return None;
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

pub fn take_signed(from: &mut &[u8]) -> Option<i64> {
    let number = take(from)?;
    Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
}

/// Takes bytes behind their count.
pub fn take_bytes<'b>(from: &mut &'b [u8]) -> Option<&'b [u8]> {
    let count = usize::try_from(take(from)?).ok()?;
    let (bytes, rest) = from.split_at_checked(count)?;
    *from = rest;
    Some(bytes)
}

pub fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    put(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_read_back(number in any::<u64>(), signed in any::<i64>(), bytes in prop::collection::vec(any::<u8>(), 0..9)) {
            for shift in 0..64 {
                let mut out = Vec::new();
                put(number >> shift, &mut out);
                put_signed(signed >> shift, &mut out);
                put_bytes(&bytes, &mut out);
                let mut rest = out.as_slice();
                prop_assert_eq!(take(&mut rest), Some(number >> shift));
                prop_assert_eq!(take_signed(&mut rest), Some(signed >> shift));
                prop_assert_eq!(take_bytes(&mut rest), Some(bytes.as_slice()));
                prop_assert!(rest.is_empty());
            }
        }

        #[test]
        fn nonsense_is_refused_calmly(bytes in prop::collection::vec(any::<u8>(), 0..24)) {
            take(&mut bytes.as_slice());
            take_bytes(&mut bytes.as_slice());
        }
    }

    #[test]
    fn what_is_too_large_or_cut_is_none() {
        assert_eq!(take(&mut [0xff; 10].as_slice()), None);
        assert_eq!(take(&mut [0x80].as_slice()), None);
        assert_eq!(take_bytes(&mut [3, 1, 2].as_slice()), None);
    }
}

//! Real numbers in as few bytes as they need.
//!
//! What metrics count is mostly small and whole, so a real number that is whole is written as a whole one, and as its eight
//! bytes otherwise. The checksum and the version of a stored value are the table's that keeps it.

use base::varint;

/// Whole numbers up to here are exact in a real number.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// The two lowest bits of a real number's first varint.
const POSITIVE: u64 = 0;
const BYTES: u64 = 1;
const NEGATIVE: u64 = 2;
const KINDS: u64 = 4;

pub fn write(value: f64, out: &mut Vec<u8>) {
    if value.fract() == 0.0 && value.abs() <= WHOLE_MAX {
        // It is whole and below 2^54, so the cast is exact.
        let magnitude = value.abs() as u64;
        varint::put(magnitude.saturating_mul(KINDS) | if value < 0.0 { NEGATIVE } else { POSITIVE }, out);
    } else {
        varint::put(BYTES, out);
        out.extend_from_slice(&value.to_le_bytes());
    }
}

/// Bytes that are being read. Each answer is `None` once they do not say what was asked for.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether all is read.
    pub fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub fn whole(&mut self) -> Option<u64> {
        varint::take(&mut self.0)
    }

    /// A finite one.
    pub fn real(&mut self) -> Option<f64> {
        let first = self.whole()?;
        let value = match first % KINDS {
            BYTES if first == BYTES => {
                let (bytes, rest) = self.0.split_first_chunk()?;
                self.0 = rest;
                f64::from_le_bytes(*bytes)
            }
            // What `write` wrote is exact; more is rounded.
            POSITIVE => (first / KINDS) as f64,
            NEGATIVE => -((first / KINDS) as f64),
            _ => return None,
        };
        value.is_finite().then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn small_numbers_take_one_byte() {
        for (value, length) in [(0.0, 1), (31.0, 1), (-31.0, 1), (32.0, 2), (0.5, 9), (1e300, 9)] {
            let mut out = Vec::new();
            write(value, &mut out);
            assert_eq!(out.len(), length, "{value}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        let endless = [0xff; 11];
        let infinite = [&[1][..], &f64::INFINITY.to_le_bytes()].concat();
        for bytes in [&[][..], &[0x80], &endless, &[1, 0, 0], &[3], &[5], &infinite] {
            assert_eq!(Reader::new(bytes).real(), None, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn numbers_read_back(whole: u64, real in prop::num::f64::NORMAL | prop::num::f64::ZERO, count in -1_000_i32..1_000) {
            let mut out = Vec::new();
            varint::put(whole, &mut out);
            write(real, &mut out);
            write(f64::from(count), &mut out);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.whole(), Some(whole));
            prop_assert_eq!(reader.real(), Some(real));
            prop_assert_eq!(reader.real(), Some(f64::from(count)));
            prop_assert!(reader.is_at_end());
        }
    }
}

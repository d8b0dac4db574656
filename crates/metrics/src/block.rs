//! Points of one series and one tier that lie together, as they are kept.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use base::{Timestamp, varint};
use engine::metric::aggregate::Aggregate;
use engine::metric::real::Reader;
use engine::metric::retention::Tier;

use crate::Unit;
use crate::limits::{BIN_BYTES, BINS_KEPT_MAX, BLOCK_BYTES_MAX, POINT_BYTES};

const VERSION: u8 = 1;

/// Seconds that a block covers. It is a whole number of the next tier's points, so that a block moves as a whole.
pub const fn span_s(tier: Tier) -> i64 {
    match tier {
        Tier::Second => 60,
        Tier::Minute => 15 * 60,
        Tier::FiveMinutes => 6 * 3_600,
        Tier::Hour => 3 * 86_400,
    }
}

/// The start in seconds of the block that a moment is in.
pub fn start_of(tier: Tier, at: Timestamp) -> i64 {
    let secs = at.as_secs();
    secs.saturating_sub(secs.rem_euclid(span_s(tier)))
}

/// By the number of seconds from the block's start, and unit.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Block(BTreeMap<(u32, Unit), Aggregate>);

impl Block {
    /// Adds samples; how much heavier the block has become.
    pub fn add(&mut self, offset_s: u32, unit: Unit, samples: &Aggregate) -> usize {
        match self.0.entry((offset_s, unit)) {
            Entry::Vacant(entry) => weight(entry.insert(samples.clone())),
            Entry::Occupied(mut entry) => {
                let before = weight(entry.get());
                entry.get_mut().merge(samples);
                weight(entry.get()).saturating_sub(before)
            }
        }
    }

    pub fn merge(&mut self, other: &Block) -> usize {
        other.0.iter().map(|((offset_s, unit), samples)| self.add(*offset_s, *unit, samples)).sum()
    }

    pub fn points(&self) -> impl Iterator<Item = (u32, Unit, &Aggregate)> {
        self.0.iter().map(|((offset_s, unit), samples)| (*offset_s, *unit, samples))
    }

    /// What is too long forgets how its points spread: hundreds of thousands of different values in some minutes.
    pub fn encode(&self) -> Vec<u8> {
        let encoded = self.encode_all();
        if encoded.len() <= BLOCK_BYTES_MAX {
            return encoded;
        }
        let mut short = self.clone();
        for samples in short.0.values_mut() {
            if samples.spread().is_some_and(|spread| spread.bin_count() > BINS_KEPT_MAX) {
                samples.forget_spread();
            }
        }
        short.encode_all()
    }

    fn encode_all(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        let mut last = 0;
        for ((offset_s, unit), samples) in &self.0 {
            varint::put(u64::from(offset_s.abs_diff(last)), &mut out);
            out.push(unit.number());
            samples.encode(&mut out);
            last = *offset_s;
        }
        out
    }

    /// What [`Block::encode`] wrote; `None` for all else.
    pub fn decode(bytes: &[u8]) -> Option<Block> {
        let mut bytes = Reader::new(bytes);
        if bytes.byte()? != VERSION {
            return None;
        }
        let (mut points, mut last) = (BTreeMap::new(), 0_u32);
        while !bytes.is_at_end() {
            last = last.checked_add(u32::try_from(bytes.whole()?).ok()?)?;
            let unit = Unit::numbered(bytes.byte()?)?;
            if points.insert((last, unit), Aggregate::decode(&mut bytes)?).is_some() {
                return None;
            }
        }
        Some(Block(points))
    }
}

fn weight(samples: &Aggregate) -> usize {
    let bins = samples.spread().map_or(0, |spread| spread.bin_count());
    POINT_BYTES.saturating_add(bins.saturating_mul(BIN_BYTES))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn samples(values: &[i32]) -> Aggregate {
        Aggregate::of_values(values.iter().map(|value| (f64::from(*value), 1.0)))
    }

    #[test]
    fn blocks_are_whole_points_of_the_next_tier() {
        for tier in Tier::ALL {
            let coarser = tier.coarser().unwrap_or(tier);
            assert_eq!(span_s(tier) % i64::from(coarser.step_s()), 0, "{tier:?}");
        }
        assert_eq!(start_of(Tier::Minute, Timestamp::from_secs(-1)), -900);
    }

    #[test]
    fn a_block_of_very_many_values_stays_short_and_exact() {
        let mut block = Block::default();
        for offset_s in 0..60 {
            for unit in 0..4 {
                let values: Vec<(f64, f64)> = (0..2_000).map(|power| (1.021_f64.powi(power), 1.5)).collect();
                block.add(offset_s, Unit::numbered(unit).unwrap(), &Aggregate::of_values(values));
            }
        }
        let encoded = block.encode();
        assert!(encoded.len() <= BLOCK_BYTES_MAX, "{} bytes", encoded.len());
        let read = Block::decode(&encoded).unwrap();
        let parts = |block: &Block| -> Vec<(f64, f64)> {
            block.points().map(|(_, _, samples)| (samples.count(), samples.sum())).collect()
        };
        assert_eq!(parts(&read), parts(&block));
    }

    proptest! {
        #[test]
        fn blocks_read_back(points in prop::collection::vec((0..900_u32, 0..27_u8, prop::collection::vec(-9..9_i32, 1..4)), 0..20)) {
            let mut block = Block::default();
            let mut weight = 0;
            for (offset_s, unit, values) in points {
                weight += block.add(offset_s, Unit::numbered(unit).unwrap(), &samples(&values));
            }
            prop_assert_eq!(weight, block.0.values().map(super::weight).sum::<usize>());
            prop_assert_eq!(Block::decode(&block.encode()), Some(block));
        }

        #[test]
        fn nonsense_is_read_calmly(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            Block::decode(&bytes);
            Block::decode(&[&[VERSION][..], &bytes].concat());
        }
    }
}

//! Counting what cannot be kept: numbers for percentiles, and distinct values.
//!
//! Both are exact while they are small. Both say the same whatever parts the values came in, so that halves of a log,
//! counted by two threads, are joined without a difference.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hasher};

use super::limits::{DISTINCT_MAX, EXACT_MAX};
use super::value::{float, whole};
use crate::metric::sketch::Sketch;

/// What a bin of a sketch takes.
const BIN_BYTES: usize = 16;

/// Numbers, one by one or in a sketch.
#[derive(Debug, Clone, Default)]
pub struct Numbers {
    exact: Vec<f64>,
    sketch: Sketch,
    count: u64,
    least: f64,
    greatest: f64,
}

impl Numbers {
    /// Says how much more it holds than before.
    pub fn add(&mut self, number: f64) -> usize {
        self.see(number, number, 1);
        if !self.is_sketched() && self.exact.len() < EXACT_MAX {
            self.exact.push(number);
            return size_of::<f64>();
        }
        let before = self.bytes();
        self.spill();
        self.sketch.add(number, 1.0);
        self.bytes().saturating_sub(before)
    }

    pub fn join(&mut self, other: Numbers) {
        if other.count == 0 {
            return;
        }
        self.see(other.least, other.greatest, other.count);
        let is_sketched = self.is_sketched() || other.is_sketched();
        self.exact.extend(other.exact);
        if self.exact.len() > EXACT_MAX || is_sketched {
            self.spill();
        }
        self.sketch.merge(&other.sketch);
    }

    /// The number that so many percent of all do not exceed: the nearest rank.
    pub fn percentile(&self, percent: f64) -> Option<f64> {
        if self.is_sketched() {
            let near = self.sketch.quantile(percent.clamp(0.0, 100.0) / 100.0);
            return near.map(|near| near.clamp(self.least, self.greatest));
        }
        let rank = (percent.clamp(0.0, 100.0) * count(self.count) / 100.0).ceil().max(1.0);
        let mut sorted = self.exact.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let index = whole(rank - 1.0).and_then(|index| usize::try_from(index).ok())?;
        sorted.get(index).or(sorted.last()).copied()
    }

    pub fn bytes(&self) -> usize {
        let exact = self.exact.len().saturating_mul(size_of::<f64>());
        exact.saturating_add(self.sketch.bin_count().saturating_mul(BIN_BYTES))
    }

    fn is_sketched(&self) -> bool {
        self.sketch.bin_count() > 0
    }

    fn see(&mut self, least: f64, greatest: f64, count: u64) {
        self.least = if self.count == 0 { least } else { self.least.min(least) };
        self.greatest = if self.count == 0 { greatest } else { self.greatest.max(greatest) };
        self.count = self.count.saturating_add(count);
    }

    fn spill(&mut self) {
        for number in std::mem::take(&mut self.exact) {
            self.sketch.add(number, 1.0);
        }
    }
}

fn count(count: u64) -> f64 {
    float(i64::try_from(count).unwrap_or(i64::MAX))
}

/// Distinct texts by their hashes: all of them, or the least ones, from which the number of all follows.
#[derive(Debug, Clone, Default)]
pub struct Distinct(BTreeSet<u64>);

impl Distinct {
    /// Says how much more it holds than before.
    pub fn add(&mut self, text: &str) -> usize {
        let mut hasher = DefaultHasher::new();
        hasher.write(text.as_bytes());
        let hash = hasher.finish();
        let is_full = self.0.len() >= DISTINCT_MAX;
        if is_full && self.0.last().is_some_and(|last| *last <= hash) || !self.0.insert(hash) {
            return 0;
        }
        self.cut();
        if is_full { 0 } else { size_of::<u64>() }
    }

    pub fn join(&mut self, other: Distinct) {
        self.0.extend(other.0);
        self.cut();
    }

    pub fn count(&self) -> f64 {
        let held = float(i64::try_from(self.0.len()).unwrap_or(i64::MAX));
        match self.0.last() {
            // So many of all hashes are below the last one as its share of their range.
            Some(last) if self.0.len() >= DISTINCT_MAX => {
                let share = count(*last >> 1) / count(u64::MAX >> 1);
                ((held - 1.0) / share).round().max(held)
            }
            _ => held,
        }
    }

    pub fn bytes(&self) -> usize {
        self.0.len().saturating_mul(size_of::<u64>())
    }

    fn cut(&mut self) {
        while self.0.len() > DISTINCT_MAX {
            self.0.pop_last();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::metric::sketch::RELATIVE_ERROR;

    #[test]
    fn distinct_values_are_counted_well_however_many() {
        for many in [0, 1, 700, 1_000, 20_000] {
            let mut distinct = Distinct::default();
            for number in (0..many).chain(0..many / 2) {
                distinct.add(&format!("value-{number}"));
            }
            let (counted, many) = (distinct.count(), f64::from(many));
            assert!((counted - many).abs() <= if many <= 1_000.0 { 0.0 } else { many * 0.1 }, "{counted} of {many}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn a_percentile_is_near_the_nearest_rank(
            numbers in prop::collection::vec(-1e6..1e6_f64, 1..900),
            percent in 0.0..=100.0_f64,
            cut in 0..900_usize,
        ) {
            let (mut whole, mut head, mut tail) = (Numbers::default(), Numbers::default(), Numbers::default());
            for (index, number) in numbers.iter().enumerate() {
                whole.add(*number);
                if index < cut { head.add(*number) } else { tail.add(*number) };
            }
            head.join(tail);
            prop_assert_eq!(whole.percentile(percent), head.percentile(percent));
            let mut sorted = numbers.clone();
            sorted.sort_by(f64::total_cmp);
            let rank = ((percent * numbers.len() as f64 / 100.0).ceil() as usize).max(1);
            let (exact, near) = (sorted[rank - 1], whole.percentile(percent).unwrap());
            let error = if numbers.len() <= EXACT_MAX { 0.0 } else { exact.abs() * (RELATIVE_ERROR + 1e-9) };
            prop_assert!((near - exact).abs() <= error, "{near} for {exact}");
        }

        #[test]
        fn distinct_halves_join_to_the_whole(
            numbers in prop::collection::vec(0..4_000_u16, 0..3_000),
            cut in 0..3_000_usize,
        ) {
            let (mut whole, mut head, mut tail) = (Distinct::default(), Distinct::default(), Distinct::default());
            for (index, number) in numbers.iter().enumerate() {
                let text = number.to_string();
                whole.add(&text);
                if index < cut { head.add(&text) } else { tail.add(&text) };
            }
            head.join(tail);
            prop_assert_eq!(whole.0, head.0);
        }
    }
}

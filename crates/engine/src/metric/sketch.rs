//! Quantiles of many values in little space: a histogram whose bins grow by 2 %, so that its answers are off by 1 % of
//! the value at most (Masson, Rim, Lee, "DDSketch", 2019).
//!
//! A bin holds values of one sign between two powers of [`GAMMA`]; one holds zero, and what is too small for
//! CloudWatch. Its number orders bins as their values are ordered, over both signs. Merging adds counts, so it may be
//! done in any order and grouping: what was sketched by the second is merged by the minute and by the hour without a
//! further error.
//!
//! **Invariant:** there are [`BINS_MAX`] bins at most. When more are needed, the lowest go into the one above: over so
//! many bins lie 17 powers of ten, and high quantiles are those that people ask for.

use std::collections::BTreeMap;

use super::number;
use base::varint;

use super::real::{self, Reader};

/// How far off a quantile is, as a part of it.
pub const RELATIVE_ERROR: f64 = 0.01;

pub const BINS_MAX: usize = 2_048;

const GAMMA: f64 = (1.0 + RELATIVE_ERROR) / (1.0 - RELATIVE_ERROR);

/// 2^-360 and 2^360, between which lie the magnitudes that CloudWatch takes.
const SMALLEST: f64 = f64::from_bits(0x2970_0000_0000_0000);
const LARGEST: f64 = f64::from_bits(0x5670_0000_0000_0000);

/// The bin of the number one, far enough above zero for those of all smaller numbers.
const ONE: i16 = 12_500;

/// Beyond all that a value may have.
const BIN_MAX: i16 = 25_000;

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sketch {
    /// What each bin weighs: below zero the negative ones, above it the positive ones.
    bins: BTreeMap<i16, f64>,
}

impl Sketch {
    /// As often as `count` says, which may be a fraction. What is no number is left out.
    pub fn add(&mut self, value: f64, count: f64) {
        if value.is_nan() || count.is_nan() || count <= 0.0 {
            return;
        }
        self.put(bin_of(value), count);
        self.collapse();
    }

    pub fn merge(&mut self, other: &Sketch) {
        for (bin, count) in &other.bins {
            self.put(*bin, *count);
        }
        self.collapse();
    }

    pub fn count(&self) -> f64 {
        number::bounded(self.bins.values().sum())
    }

    /// How much there is to hold.
    pub fn bin_count(&self) -> usize {
        self.bins.len()
    }

    /// The value below which lies the part `q` of all, from 0 to 1; `None` if there are none.
    ///
    /// It is within [`RELATIVE_ERROR`] of the one at the nearest rank: the first in their order that, with those before
    /// it, makes up that part. So the highest parts of few values are the highest value.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        // A rank that is whole but for the last bits of its product is that rank.
        let place = q * self.count() * (1.0 - 1e-12);
        let mut below = 0.0;
        let found = self.bins.iter().find(|(_, count)| {
            below += **count;
            below >= place
        });
        let (bin, _) = found.or_else(|| self.bins.last_key_value())?;
        Some(middle(*bin))
    }

    /// Values in their order, and what each weighs.
    pub fn bins(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        self.bins.iter().map(|(bin, count)| (middle(*bin), *count))
    }

    /// What a value is taken for here: what `bins` says of its bin.
    pub fn rounded(value: f64) -> f64 {
        middle(bin_of(value))
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        varint::put(u64::try_from(self.bins.len()).unwrap_or(u64::MAX), out);
        let mut last = -BIN_MAX;
        for (bin, count) in &self.bins {
            varint::put(u64::from(bin.abs_diff(last)), out);
            real::write(*count, out);
            last = *bin;
        }
    }

    /// What [`Sketch::encode`] wrote; `None` for all else.
    pub fn decode(bytes: &mut Reader<'_>) -> Option<Sketch> {
        let length = usize::try_from(bytes.whole()?).ok().filter(|length| *length <= BINS_MAX)?;
        let mut bins = BTreeMap::new();
        let mut last = -BIN_MAX;
        for _ in 0..length {
            let step = u16::try_from(bytes.whole()?).ok()?;
            last = last.checked_add_unsigned(step).filter(|bin| *bin <= BIN_MAX)?;
            let count = bytes.real().filter(|count| *count > 0.0)?;
            if bins.insert(last, count).is_some() {
                return None;
            }
        }
        Some(Sketch { bins })
    }

    fn put(&mut self, bin: i16, count: f64) {
        let held = self.bins.entry(bin).or_default();
        *held = number::bounded(*held + count);
    }

    fn collapse(&mut self) {
        while self.bins.len() > BINS_MAX {
            let Some((_, lowest)) = self.bins.pop_first() else { return };
            if let Some(mut next) = self.bins.first_entry() {
                *next.get_mut() = number::bounded(*next.get() + lowest);
            }
        }
    }
}

fn bin_of(value: f64) -> i16 {
    let magnitude = value.abs().min(LARGEST);
    if magnitude < SMALLEST {
        return 0;
    }
    // The logarithm of these is between -12,477 and 12,477, so the cast is exact.
    let bin = ONE.saturating_add(magnitude.log(GAMMA).ceil() as i16);
    if value < 0.0 { bin.saturating_neg() } else { bin }
}

/// What is nowhere in the bin further away than the error allows.
fn middle(bin: i16) -> f64 {
    let power = i32::from(bin.saturating_abs()).saturating_sub(i32::from(ONE));
    let magnitude = 2.0 * GAMMA.powf(f64::from(power)) / (GAMMA + 1.0);
    match bin {
        0 => 0.0,
        1.. => magnitude,
        _ => -magnitude,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sketch(values: &[f64]) -> Sketch {
        let mut sketch = Sketch::default();
        values.iter().for_each(|value| sketch.add(*value, 1.0));
        sketch
    }

    fn merged(parts: &[&Sketch]) -> Sketch {
        let mut all = Sketch::default();
        parts.iter().for_each(|part| all.merge(part));
        all
    }

    fn encoded(sketch: &Sketch) -> Vec<u8> {
        let mut out = Vec::new();
        sketch.encode(&mut out);
        out
    }

    /// Of both signs and all sizes, with zeros and repetitions.
    fn values() -> impl Strategy<Value = Vec<f64>> {
        let size = prop_oneof![4 => -12.0..12.0_f64, 1 => -100.0..100.0_f64];
        let value = prop_oneof![
            6 => (size, any::<bool>()).prop_map(|(size, is_negative)| {
                10.0_f64.powf(size) * if is_negative { -1.0 } else { 1.0 }
            }),
            1 => Just(0.0),
            2 => (0..20_i32).prop_map(f64::from),
        ];
        prop::collection::vec(value, 1..200)
    }

    #[test]
    fn the_ends_of_what_cloudwatch_takes_have_bins() {
        for (value, bin) in [(1.0, ONE), (-1.0, -ONE), (0.0, 0), (1e-200, 0), (-1e-200, 0)] {
            assert_eq!(bin_of(value), bin, "{value}");
        }
        for end in [SMALLEST, LARGEST] {
            assert!((Sketch::rounded(end) / end - 1.0).abs() < RELATIVE_ERROR + 1e-9);
            assert!((1..BIN_MAX).contains(&bin_of(end)));
        }
        assert_eq!(bin_of(f64::INFINITY), bin_of(LARGEST));
        assert_eq!((SMALLEST, LARGEST), (2.0_f64.powi(-360), 2.0_f64.powi(360)));
    }

    #[test]
    fn nothing_has_no_quantile_and_weighs_nothing() {
        let mut none = Sketch::default();
        none.add(f64::NAN, 1.0);
        none.add(1.0, 0.0);
        none.add(1.0, -1.0);
        none.add(1.0, f64::NAN);
        assert_eq!((none.quantile(0.5), none.count()), (None, 0.0));
    }

    #[test]
    fn a_quantile_is_the_value_at_its_place() {
        let three = sketch(&[1.0, 2.0, 3.0]);
        let table = [(0.0, 1.0), (0.33, 1.0), (0.34, 2.0), (0.66, 2.0), (0.99, 3.0), (1.0, 3.0)];
        for (q, value) in table {
            assert_eq!(three.quantile(q), Some(Sketch::rounded(value)), "{q}");
        }
    }

    #[test]
    fn the_lowest_bins_collapse_and_the_highest_stay() {
        let mut wide = Sketch::default();
        let powers: Vec<f64> = (0..3_000).map(|power| middle(ONE + power)).collect();
        powers.iter().for_each(|value| wide.add(*value, 1.0));
        assert_eq!((wide.bins.len(), wide.count()), (BINS_MAX, 3_000.0));
        // The lowest bin that is left holds all that came below it.
        let lowest = wide.bins.values().next().copied().unwrap();
        assert!(lowest > 900.0, "{lowest}");
        let exact = powers[2_699];
        assert!((wide.quantile(0.9).unwrap() / exact - 1.0).abs() <= RELATIVE_ERROR + 1e-9);
    }

    #[test]
    fn hostile_bytes_are_refused() {
        let full = encoded(&sketch(&[1.0, 2.0, -3.0]));
        for length in 0..full.len() {
            assert_eq!(Sketch::decode(&mut Reader::new(&full[..length])), None, "{length}");
        }
        let mut many = Vec::new();
        varint::put(u64::MAX, &mut many);
        let repeated = [2, 100, 4, 0, 4];
        let weightless = [1, 100, 0];
        let beyond = [1, 0xff, 0xff, 3, 4];
        for bytes in [&many[..], &repeated, &weightless, &beyond] {
            assert_eq!(Sketch::decode(&mut Reader::new(bytes)), None, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn quantiles_are_within_one_percent(mut values in values(), q in 0.0..=1.0_f64) {
            let found = sketch(&values).quantile(q).unwrap();
            values.sort_by(f64::total_cmp);
            let rank = (q * values.len() as f64 * (1.0 - 1e-12)).ceil().max(1.0);
            let exact = values[rank as usize - 1];
            // Numbers that are too small to tell apart count as zero.
            let allowed = exact.abs() * (RELATIVE_ERROR + 1e-9) + SMALLEST;
            prop_assert!((found - exact).abs() <= allowed, "{found} for {exact}");
        }

        #[test]
        fn parts_merge_in_any_order(a in values(), b in values(), c in values()) {
            let all = sketch(&[a.clone(), b.clone(), c.clone()].concat());
            let [a, b, c] = [a, b, c].map(|part| sketch(&part));
            prop_assert_eq!(&merged(&[&a, &b, &c]), &all);
            prop_assert_eq!(&merged(&[&c, &a, &b]), &all);
            prop_assert_eq!(&merged(&[&a, &merged(&[&b, &c])]), &all);
        }

        #[test]
        fn sketches_read_back(values in values(), count in 0.1..1e9_f64) {
            let mut sketch = sketch(&values);
            sketch.add(7.0, count);
            let bytes = encoded(&sketch);
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(Sketch::decode(&mut reader), Some(sketch));
            prop_assert!(reader.is_at_end());
        }

        #[test]
        fn whatever_is_decoded_is_a_sketch(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(sketch) = Sketch::decode(&mut Reader::new(&bytes)) {
                prop_assert_eq!(Sketch::decode(&mut Reader::new(&encoded(&sketch))), Some(sketch.clone()));
                prop_assert!(sketch.quantile(0.5).is_none_or(f64::is_finite));
                prop_assert!(sketch.count().is_finite());
            }
        }
    }

    proptest! {
        // Each case fills thousands of bins.
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Also where bins had to collapse on the way.
        #[test]
        fn wide_parts_merge_in_any_order(cut in 0..4_000_i16, step in 1..7_usize) {
            let part = |from: i16, to: i16| {
                let mut part = Sketch::default();
                (from..to).step_by(step).for_each(|power| part.add(middle(ONE + power), 1.0));
                part
            };
            let (low, high, other) = (part(-4_000, cut), part(cut, 6_000), part(-1_000, 1_000));
            let all = merged(&[&low, &high, &other]);
            prop_assert!(all.bins.len() <= BINS_MAX);
            prop_assert_eq!(&merged(&[&other, &high, &low]), &all);
            prop_assert_eq!(&merged(&[&low, &merged(&[&high, &other])]), &all);
        }
    }
}

//! What one point of a series holds: the samples of a second, a minute or an hour, without the samples.
//!
//! Count, sum and extremes are exact. The rest comes from a sketch, which is missing where a statistic set told of many
//! samples at once: how they spread is not known then, for the whole point. AWS knows it of a set only if all of its
//! samples are equal.

use super::number;
use super::real::{self, Reader};
use super::sketch::Sketch;

#[derive(Debug, Clone, PartialEq)]
pub struct Aggregate {
    count: f64,
    sum: f64,
    min: f64,
    max: f64,
    /// `None` once it cannot be known any more.
    spread: Option<Sketch>,
}

/// Samples that a client has added up already: `StatisticValues` of PutMetricData.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StatisticSet {
    pub sample_count: f64,
    pub sum: f64,
    pub minimum: f64,
    pub maximum: f64,
}

/// The first byte of an encoded aggregate.
const EMPTY: u8 = 0;
const EQUAL: u8 = 1;
const KNOWN: u8 = 2;
const UNKNOWN: u8 = 3;

impl Default for Aggregate {
    /// No samples.
    fn default() -> Self {
        Self { count: 0.0, sum: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY, spread: Some(Sketch::default()) }
    }
}

impl Aggregate {
    /// `Values` and `Counts` of PutMetricData. A value that is counted zero times is not there.
    pub fn of_values(values: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let mut all = Self::default();
        for (value, count) in values {
            all.add(value, count);
        }
        all
    }

    pub fn of_set(set: StatisticSet) -> Self {
        let StatisticSet { sample_count: count, sum, minimum: min, maximum: max } = set;
        let is_real = [count, sum, min, max].iter().all(|part| part.is_finite());
        if !is_real || count <= 0.0 {
            return Self::default();
        }
        // With one sample the sum is that sample: AWS's other condition is this one with a count of one.
        let are_equal = min == max && sum == min * count;
        Self { count, sum, min, max, spread: are_equal.then(|| sketch_of(min, count)) }
    }

    pub fn add(&mut self, value: f64, count: f64) {
        if !value.is_finite() || !count.is_finite() || count <= 0.0 {
            return;
        }
        self.count = number::bounded(self.count + count);
        self.sum = number::bounded(self.sum + number::bounded(value * count));
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        if let Some(spread) = &mut self.spread {
            spread.add(value, count);
        }
    }

    pub fn merge(&mut self, other: &Aggregate) {
        self.count = number::bounded(self.count + other.count);
        self.sum = number::bounded(self.sum + other.sum);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        match (&mut self.spread, &other.spread) {
            (Some(spread), Some(other)) => spread.merge(other),
            _ => self.spread = None,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.count <= 0.0
    }

    pub fn count(&self) -> f64 {
        self.count
    }

    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// The lowest sample; without samples, infinity.
    pub fn min(&self) -> f64 {
        self.min
    }

    /// The highest sample; without samples, minus infinity.
    pub fn max(&self) -> f64 {
        self.max
    }

    /// How the samples spread, if that is known.
    pub fn spread(&self) -> Option<&Sketch> {
        self.spread.as_ref()
    }

    /// Gives up how the samples spread, for want of room.
    pub fn forget_spread(&mut self) {
        self.spread = None;
    }

    /// Points that hold one value only are many, and take little: a point of whole numbers below 32, three bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        if self.is_empty() {
            return out.push(EMPTY);
        }
        if *self == equal(self.min, self.count) {
            out.push(EQUAL);
            real::write(self.count, out);
            return real::write(self.min, out);
        }
        out.push(if self.spread.is_some() { KNOWN } else { UNKNOWN });
        for part in [self.count, self.sum, self.min, self.max] {
            real::write(part, out);
        }
        if let Some(spread) = &self.spread {
            spread.encode(out);
        }
    }

    /// What [`Aggregate::encode`] wrote; `None` for all else.
    pub fn decode(bytes: &mut Reader<'_>) -> Option<Aggregate> {
        let kind = bytes.byte()?;
        if kind == EMPTY {
            return Some(Self::default());
        }
        let count = bytes.real().filter(|count| *count > 0.0)?;
        if kind == EQUAL {
            return Some(equal(bytes.real()?, count));
        }
        let (sum, min) = (bytes.real()?, bytes.real()?);
        let max = bytes.real().filter(|max| *max >= min)?;
        let spread = match kind {
            KNOWN => Some(Sketch::decode(bytes)?),
            UNKNOWN => None,
            _ => return None,
        };
        Some(Self { count, sum, min, max, spread })
    }
}

/// So many samples of one value.
fn equal(value: f64, count: f64) -> Aggregate {
    let sum = number::bounded(value * count);
    Aggregate { count, sum, min: value, max: value, spread: Some(sketch_of(value, count)) }
}

fn sketch_of(value: f64, count: f64) -> Sketch {
    let mut sketch = Sketch::default();
    sketch.add(value, count);
    sketch
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(sample_count: f64, sum: f64, minimum: f64, maximum: f64) -> StatisticSet {
        StatisticSet { sample_count, sum, minimum, maximum }
    }

    fn encoded(aggregate: &Aggregate) -> Vec<u8> {
        let mut out = Vec::new();
        aggregate.encode(&mut out);
        out
    }

    fn parts(aggregate: &Aggregate) -> (f64, f64, f64, f64) {
        (aggregate.count(), aggregate.sum(), aggregate.min(), aggregate.max())
    }

    #[test]
    fn values_are_counted_as_often_as_they_are_said_to_be() {
        let counted = Aggregate::of_values([(1.0, 2.0), (10.0, 4.0), (99.0, 0.0), (f64::NAN, 1.0)]);
        assert_eq!(parts(&counted), (6.0, 42.0, 1.0, 10.0));
    }

    #[test]
    fn a_set_and_a_value_make_one_point() {
        let mut point = Aggregate::of_values([(11.0, 1.0)]);
        point.merge(&Aggregate::of_set(set(10.0, 55.0, 1.0, 10.0)));
        assert_eq!(parts(&point), (11.0, 66.0, 1.0, 11.0));
        assert_eq!(point.spread(), None);
    }

    #[test]
    fn how_a_set_spreads_is_known_if_its_samples_are_equal() {
        let table = [
            (set(1.0, 5.0, 5.0, 5.0), true),
            (set(4.0, 20.0, 5.0, 5.0), true),
            (set(4.0, 21.0, 5.0, 5.0), false),
            (set(1.0, 6.0, 5.0, 5.0), false),
            (set(2.0, 11.0, 5.0, 6.0), false),
        ];
        for (set, is_known) in table {
            let aggregate = Aggregate::of_set(set);
            assert_eq!(aggregate.spread().is_some(), is_known, "{set:?}");
            assert_eq!(parts(&aggregate), (set.sample_count, set.sum, set.minimum, set.maximum));
        }
        for nothing in [set(0.0, 0.0, 0.0, 0.0), set(-1.0, 5.0, 5.0, 5.0), set(1.0, f64::NAN, 5.0, 5.0)] {
            assert!(Aggregate::of_set(nothing).is_empty());
        }
    }

    #[test]
    fn points_of_one_value_take_little() {
        assert_eq!(encoded(&Aggregate::of_values([(1.0, 1.0)])), [EQUAL, 4, 4]);
        assert_eq!(encoded(&Aggregate::of_values([(20.0, 1.0), (20.0, 2.0)])).len(), 3);
        assert_eq!(encoded(&Aggregate::default()), [EMPTY]);
    }

    #[test]
    fn sums_beyond_all_numbers_stay_numbers() {
        let mut huge = Aggregate::of_values([(2.0_f64.powi(360), 1e300), (-2.0_f64.powi(360), 1e300)]);
        huge.merge(&huge.clone());
        assert!(huge.sum().is_finite() && huge.count().is_finite());
        assert_eq!(Aggregate::decode(&mut Reader::new(&encoded(&huge))), Some(huge));
    }

    #[test]
    fn hostile_bytes_are_refused() {
        let full = encoded(&Aggregate::of_values([(1.0, 1.0), (2.5, 3.0)]));
        for length in 0..full.len() {
            assert_eq!(Aggregate::decode(&mut Reader::new(&full[..length])), None, "{length}");
        }
        let upside_down = [UNKNOWN, 4, 4, 8, 4];
        let weightless = [EQUAL, 0, 4];
        let of_no_kind = [4, 4, 4, 4, 4];
        for bytes in [&upside_down[..], &weightless, &of_no_kind] {
            assert_eq!(Aggregate::decode(&mut Reader::new(bytes)), None, "{bytes:?}");
        }
    }

    fn aggregates() -> impl Strategy<Value = Aggregate> {
        let values = prop::collection::vec((-1e6..1e6_f64, (1..50_u32).prop_map(f64::from)), 0..40);
        let sets = (1..100_u32, 0..100_i32, 0..100_i32).prop_map(|(count, low, width)| {
            let (count, low) = (f64::from(count), f64::from(low));
            Aggregate::of_set(set(count, low * count, low, low + f64::from(width)))
        });
        prop_oneof![3 => values.prop_map(Aggregate::of_values), 1 => sets]
    }

    fn merged(parts: [&Aggregate; 3]) -> Aggregate {
        let mut all = Aggregate::default();
        parts.iter().for_each(|part| all.merge(part));
        all
    }

    proptest! {
        #[test]
        fn points_merge_in_any_order(a in aggregates(), b in aggregates(), c in aggregates()) {
            let one = merged([&a, &b, &c]);
            let nested = merged([&c, &Aggregate::default(), &merged([&b, &Aggregate::default(), &a])]);
            prop_assert_eq!(one.spread(), nested.spread());
            prop_assert_eq!((one.count(), one.min(), one.max()), (nested.count(), nested.min(), nested.max()));
            let scale = [&a, &b, &c].iter().map(|part| part.sum().abs()).sum::<f64>();
            prop_assert!((one.sum() - nested.sum()).abs() <= 1e-12 * scale);
        }

        #[test]
        fn points_read_back(a in aggregates(), b in aggregates()) {
            for point in [a.clone(), merged([&a, &b, &a])] {
                let bytes = encoded(&point);
                let mut reader = Reader::new(&bytes);
                prop_assert_eq!(Aggregate::decode(&mut reader), Some(point));
                prop_assert!(reader.is_at_end());
            }
        }

        #[test]
        fn whatever_is_decoded_is_a_point(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            if let Some(point) = Aggregate::decode(&mut Reader::new(&bytes)) {
                prop_assert_eq!(Aggregate::decode(&mut Reader::new(&encoded(&point))), Some(point));
            }
        }
    }
}

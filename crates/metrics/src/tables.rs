//! Series as they are stored, and how far the journal is settled.

use base::{AccountId, Timestamp, World};
use engine::math::Metric;
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use store::{Record, Scope, Table};

use crate::limits::KEY_TEXT_BYTES_MAX;

/// Namespace and name, cut where they are long, and a hash of all that names the metric.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SeriesKey(pub(crate) (String, String, u128));

impl SeriesKey {
    pub fn of(metric: &Metric) -> SeriesKey {
        let mut hash = Context::new(&SHA256);
        let texts = [&metric.namespace, &metric.name];
        for text in texts.into_iter().chain(metric.dimensions.iter().flat_map(|(name, value)| [name, value])) {
            hash.update(&(text.len() as u64).to_be_bytes());
            hash.update(text.as_bytes());
        }
        let first = hash.finish().as_ref().first_chunk().copied().unwrap_or_default();
        SeriesKey((cut(&metric.namespace).to_owned(), cut(&metric.name).to_owned(), u128::from_be_bytes(first)))
    }

    /// As a table has it.
    pub fn as_parts(&self) -> &(String, String, u128) {
        &self.0
    }

    pub fn from_parts(parts: (String, String, u128)) -> SeriesKey {
        SeriesKey(parts)
    }

    pub(crate) fn parts(&self) -> (&str, &str, u128) {
        let (namespace, name, hash) = &self.0;
        (namespace, name, *hash)
    }
}

/// A text as it is in a key.
pub fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(KEY_TEXT_BYTES_MAX)).unwrap_or(text)
}

/// A metric that has points.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Series {
    /// Its name in blocks; no other series ever has it.
    pub id: u64,
    pub namespace: String,
    pub name: String,
    pub dimensions: Vec<(String, String)>,
    /// The earliest point that it had when it was made.
    pub first: Timestamp,
    /// Of its points, [`LAST_EVERY`](crate::limits::LAST_EVERY) behind at most.
    pub last: Timestamp,
}

impl Record for Series {
    const VERSION: u8 = 1;
}

impl Series {
    pub fn metric(&self) -> Metric {
        let Series { namespace, name, dimensions, .. } = self.clone();
        Metric { namespace, name, dimensions }
    }
}

/// By [`SeriesKey`].
pub const SERIES: Table<(String, String, u128), Series> = Table::large("metric_series");

/// How many series an account has in a region.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    pub series: u64,
}

impl Record for Count {
    const VERSION: u8 = 1;
}

pub const COUNTS: Table<(), Count> = Table::new("metric_series_counts");

/// The next number that no series has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbers {
    pub next: u64,
}

impl Record for Numbers {
    const VERSION: u8 = 1;
}

pub const NUMBERS: Table<(), Numbers> = Table::new("metric_series_numbers");

/// All of the journal before this offset is in blocks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    pub next: u64,
    /// How often something was settled.
    #[serde(default)]
    pub count: u64,
}

impl Record for Settled {
    const VERSION: u8 = 1;
}

pub const SETTLED: Table<(), Settled> = Table::new("metrics_settled");

/// For what is the whole store's.
pub fn nobody() -> Scope {
    Scope { world: World::default(), account: AccountId::ZERO, region: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_tell_metrics_apart_and_are_short() {
        let metric = |name: &str, dimensions: &[(&str, &str)]| {
            let dimensions = dimensions.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
            SeriesKey::of(&Metric::new("n", name, dimensions))
        };
        assert_eq!(metric("m", &[("a", "1"), ("b", "2")]), metric("m", &[("b", "2"), ("a", "1")]));
        assert_ne!(metric("m", &[("a", "1b"), ("c", "2")]), metric("m", &[("a", "1"), ("bc", "2")]));
        let long = metric(&"é".repeat(1_000), &[]);
        assert_eq!(long.parts().1.len(), KEY_TEXT_BYTES_MAX);
        assert_ne!(long, metric(&"é".repeat(999), &[]));
    }
}

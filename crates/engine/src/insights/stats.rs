//! `stats`: what is counted for each group, and how halves of a count are joined.
//!
//! Follows "Functions in the stats command" of Logs Insights' user guide. What is no number adds nothing to a sum; what
//! had no value at all has no result, and a count of it is 0.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::expression::Expr;
use super::limits::VALUES_MAX;
use super::sketch::{Distinct, Numbers};
use super::value::{Key, Value, float};

/// One aggregation of a `stats`.
#[derive(Debug, Clone)]
pub struct Aggregate {
    pub kind: Kind,
    /// None counts rows.
    pub of: Option<Expr>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    Count,
    CountDistinct,
    Sum,
    Average,
    Deviation,
    Percentile(f64),
    /// Of what sorts first or last; a time counts as its milliseconds.
    Least,
    Greatest,
    SortsFirst,
    SortsLast,
    Earliest,
    Latest,
    Values,
}

/// When a row was: its event's time, when that came in, where it is, and which of the rows of its event it is.
pub type Moment = (i64, i64, u128, u32);

/// What is known of one aggregation in one group.
#[derive(Debug, Clone)]
pub enum Tally {
    Count(u64),
    Moments(Moments),
    Numbers(Numbers),
    Distinct(Distinct),
    /// The one that sorts first or last so far.
    Extreme(Option<(Key, Value<'static>)>),
    /// The earliest or latest so far.
    Edge(Option<(Moment, Value<'static>)>),
    Values(BTreeMap<Key, String>),
}

/// How many, their sum, and how far they are from their mean. What the sum loses by rounding is kept beside it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Moments {
    count: u64,
    sum: f64,
    lost: f64,
    mean: f64,
    squares: f64,
}

impl Kind {
    pub fn find(name: &str) -> Option<Kind> {
        let kinds = [
            ("count", Kind::Count),
            ("count_distinct", Kind::CountDistinct),
            ("sum", Kind::Sum),
            ("avg", Kind::Average),
            ("stddev", Kind::Deviation),
            ("min", Kind::Least),
            ("max", Kind::Greatest),
            ("pct", Kind::Percentile(f64::NAN)),
            ("median", Kind::Percentile(50.0)),
            ("sortsFirst", Kind::SortsFirst),
            ("sortsLast", Kind::SortsLast),
            ("earliest", Kind::Earliest),
            ("latest", Kind::Latest),
            ("values", Kind::Values),
        ];
        kinds.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, kind)| kind)
    }

    /// Whether the smaller one of two counts.
    fn is_first(self) -> bool {
        matches!(self, Kind::Least | Kind::SortsFirst | Kind::Earliest)
    }

    fn is_number(self) -> bool {
        matches!(self, Kind::Least | Kind::Greatest | Kind::Earliest | Kind::Latest)
    }
}

impl Tally {
    pub fn new(kind: Kind) -> Tally {
        match kind {
            Kind::Count => Tally::Count(0),
            Kind::Sum | Kind::Average | Kind::Deviation => Tally::Moments(Moments::default()),
            Kind::Percentile(_) => Tally::Numbers(Numbers::default()),
            Kind::CountDistinct => Tally::Distinct(Distinct::default()),
            Kind::Least | Kind::Greatest | Kind::SortsFirst | Kind::SortsLast => Tally::Extreme(None),
            Kind::Earliest | Kind::Latest => Tally::Edge(None),
            Kind::Values => Tally::Values(BTreeMap::new()),
        }
    }

    /// Says how much more it holds than before.
    pub fn add(&mut self, kind: Kind, value: Value<'_>, moment: Moment) -> usize {
        if !value.is_present() {
            return 0;
        }
        match self {
            Tally::Count(count) => {
                *count = count.saturating_add(1);
                0
            }
            Tally::Moments(moments) => {
                value.as_number().into_iter().for_each(|number| moments.add(number));
                0
            }
            Tally::Numbers(numbers) => value.as_number().map_or(0, |number| numbers.add(number)),
            Tally::Distinct(distinct) => value.as_text().map_or(0, |text| distinct.add(&text)),
            Tally::Extreme(best) => match Key::of(&value) {
                Key::Missing => 0,
                key => improve(best, kind.is_first(), key, || value.into_owned()),
            },
            Tally::Edge(best) => improve(best, kind.is_first(), moment, || value.into_owned()),
            Tally::Values(values) => {
                let Some(text) = value.as_text() else { return 0 };
                let (key, bytes) = (Key::of(&value), value.bytes());
                if values.len() >= VALUES_MAX && values.last_key_value().is_some_and(|(last, _)| key >= *last)
                    || values.insert(key, text.into_owned()).is_some()
                {
                    return 0;
                }
                cut(values);
                bytes
            }
        }
    }

    pub fn join(&mut self, kind: Kind, other: Tally) {
        match (self, other) {
            (Tally::Count(count), Tally::Count(more)) => *count = count.saturating_add(more),
            (Tally::Moments(moments), Tally::Moments(more)) => moments.join(more),
            (Tally::Numbers(numbers), Tally::Numbers(more)) => numbers.join(more),
            (Tally::Distinct(distinct), Tally::Distinct(more)) => distinct.join(more),
            (Tally::Extreme(best), Tally::Extreme(Some((key, value)))) => {
                improve(best, kind.is_first(), key, || value);
            }
            (Tally::Edge(best), Tally::Edge(Some((moment, value)))) => {
                improve(best, kind.is_first(), moment, || value);
            }
            (Tally::Values(values), Tally::Values(more)) => {
                values.extend(more);
                cut(values);
            }
            // Tallies of one aggregation are of one kind; what had no value adds nothing.
            _ => {}
        }
    }

    pub fn result(&self, kind: Kind) -> Value<'static> {
        let shown = |value: &Value<'static>| match value.as_number().filter(|_| kind.is_number()) {
            Some(number) if matches!(value, Value::Time(_)) || kind != Kind::Earliest && kind != Kind::Latest => {
                Value::Number(number)
            }
            _ => value.clone(),
        };
        match self {
            Tally::Count(count) => Value::Number(float(i64::try_from(*count).unwrap_or(i64::MAX))),
            Tally::Moments(moments) => moments.result(kind),
            Tally::Numbers(numbers) => match kind {
                Kind::Percentile(percent) => numbers.percentile(percent).map_or(Value::Missing, Value::Number),
                _ => Value::Missing,
            },
            Tally::Distinct(distinct) => Value::Number(distinct.count()),
            Tally::Extreme(best) => best.as_ref().map_or(Value::Missing, |(_, value)| shown(value)),
            Tally::Edge(best) => best.as_ref().map_or(Value::Missing, |(_, value)| shown(value)),
            Tally::Values(values) if values.is_empty() => Value::Missing,
            Tally::Values(values) => {
                Value::of(&Json::Array(values.values().map(|text| Json::String(text.clone())).collect()))
            }
        }
    }

    pub fn bytes(&self) -> usize {
        let beside = match self {
            Tally::Count(_) | Tally::Moments(_) => 0,
            Tally::Numbers(numbers) => numbers.bytes(),
            Tally::Distinct(distinct) => distinct.bytes(),
            Tally::Extreme(best) => best.as_ref().map_or(0, |(key, value)| key.bytes().saturating_add(value.bytes())),
            Tally::Edge(best) => best.as_ref().map_or(0, |(_, value)| value.bytes()),
            Tally::Values(values) => {
                values.values().map(|text| text.len().saturating_mul(2)).fold(0, usize::saturating_add)
            }
        };
        beside.saturating_add(size_of::<Tally>())
    }
}

fn cut(values: &mut BTreeMap<Key, String>) {
    while values.len() > VALUES_MAX {
        values.pop_last();
    }
}

/// Says how much more is held than before.
fn improve<K: Ord>(
    best: &mut Option<(K, Value<'static>)>,
    is_first: bool,
    key: K,
    value: impl FnOnce() -> Value<'static>,
) -> usize {
    let before = match best {
        Some((held, _)) if (key < *held) != is_first || key == *held => return 0,
        Some((_, value)) => value.bytes(),
        None => 0,
    };
    let value = value();
    let bytes = value.bytes();
    *best = Some((key, value));
    bytes.saturating_sub(before)
}

impl Moments {
    fn add(&mut self, number: f64) {
        self.join(Moments { count: 1, sum: number, mean: number, ..Moments::default() });
    }

    /// The sum after Neumaier, the squares after Chan, Golub and LeVeque.
    fn join(&mut self, other: Moments) {
        if other.count == 0 {
            return;
        }
        let count = self.count.saturating_add(other.count);
        let [held, more, all] =
            [self.count, other.count, count].map(|count| float(count.try_into().unwrap_or(i64::MAX)));
        let apart = other.mean - self.mean;
        self.mean += apart * more / all;
        self.squares += other.squares + apart * apart * held * more / all;
        let sum = self.sum + other.sum;
        let (large, small) =
            if self.sum.abs() >= other.sum.abs() { (self.sum, other.sum) } else { (other.sum, self.sum) };
        self.lost += (large - sum) + small + other.lost;
        self.sum = sum;
        self.count = count;
    }

    fn result(self, kind: Kind) -> Value<'static> {
        let count = float(self.count.try_into().unwrap_or(i64::MAX));
        let sum = self.sum + self.lost;
        match kind {
            _ if self.count == 0 => Value::Missing,
            Kind::Average => Value::real(sum / count),
            Kind::Deviation => Value::real((self.squares / count).sqrt()),
            _ => Value::real(sum),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(kind: Kind, values: &[&'static str]) -> Option<String> {
        let mut tally = Tally::new(kind);
        for (index, value) in (0..).zip(values) {
            tally.add(kind, Value::text(*value), (index, 0, 0, 0));
        }
        tally.result(kind).shown()
    }

    #[test]
    fn aggregations_take_what_they_have_a_use_for() {
        let values = ["3", "x", "1.50", "10", "y"];
        for (name, expected) in [
            ("count", "5"),
            ("sum", "14.5"),
            ("avg", "4.8333"),
            ("stddev", "3.7044"),
            ("min", "x"),
            ("max", "10"),
            ("median", "3"),
            ("sortsFirst", "x"),
            ("sortsLast", "10"),
            ("earliest", "3"),
            ("latest", "y"),
            ("values", r#"["x","y","1.50","3","10"]"#),
            ("count_distinct", "5"),
        ] {
            assert_eq!(result(Kind::find(name).unwrap(), &values).unwrap(), expected, "{name}");
        }
        assert_eq!(result(Kind::Sum, &["x"]), None);
        assert_eq!(result(Kind::Least, &[]), None);
        assert_eq!(result(Kind::Count, &[]).unwrap(), "0");
    }

    #[test]
    fn a_sum_loses_nothing_to_large_neighbours() {
        assert_eq!(result(Kind::Sum, &["1", "1e17", "1", "-1e17"]).unwrap(), "2");
    }
}

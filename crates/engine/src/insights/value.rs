//! What a field holds: how it reads as a number, as a text, how it compares, sorts and is shown.
//!
//! A log knows only texts, so whether two values compare as numbers is asked of each pair anew. Follows "Supported
//! operations and functions" and "Sort" of Logs Insights' user guide.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::sync::Arc;

use serde_json::Value as Json;

use super::moment;

#[derive(Debug, Clone)]
pub enum Value<'a> {
    Missing,
    Number(f64),
    /// Milliseconds since 1970, shown as a date.
    Time(i64),
    Text(Cow<'a, str>),
    /// A map or a list.
    Json(Arc<Json>),
}

/// Where a value goes in a sorted column: other texts, then numbers, then what is missing.
#[derive(Debug, Clone)]
pub enum Key {
    Text(Box<str>),
    Number(f64),
    Missing,
}

/// Longer texts are no numbers.
const NUMBER_CHARS_MAX: usize = 40;

/// From here on doubles no longer tell whole numbers apart.
const EXACT_BELOW: f64 = 9_007_199_254_740_992.0;

impl<'a> Value<'a> {
    pub fn text(text: impl Into<Cow<'a, str>>) -> Value<'a> {
        Value::Text(text.into())
    }

    pub fn truth(is_true: bool) -> Value<'static> {
        Value::Number(if is_true { 1.0 } else { 0.0 })
    }

    /// What has no real value is missing.
    pub fn real(number: f64) -> Value<'static> {
        if number.is_finite() { Value::Number(number) } else { Value::Missing }
    }

    pub fn count(count: usize) -> Value<'static> {
        Value::Number(float(i64::try_from(count).unwrap_or(i64::MAX)))
    }

    pub fn of(json: &Json) -> Value<'static> {
        match json {
            Json::Null => Value::Missing,
            Json::Bool(is_true) => Value::truth(*is_true),
            Json::Number(number) => Value::text(number.to_string()),
            Json::String(text) => Value::text(text.clone()),
            Json::Array(_) | Json::Object(_) => Value::Json(Arc::new(json.clone())),
        }
    }

    pub fn is_present(&self) -> bool {
        !matches!(self, Value::Missing)
    }

    pub fn is_true(&self) -> bool {
        match (self.as_number(), self) {
            (Some(number), _) => number != 0.0,
            (None, Value::Text(text)) => !text.is_empty() && !text.eq_ignore_ascii_case("false"),
            (None, _) => self.is_present(),
        }
    }

    pub fn as_number(&self) -> Option<f64> {
        match self {
            Value::Number(number) => Some(*number),
            Value::Time(millis) => Some(float(*millis)),
            Value::Text(text) => number(text),
            Value::Missing | Value::Json(_) => None,
        }
    }

    /// Maps and lists have no text of their own.
    pub fn as_text(&self) -> Option<Cow<'_, str>> {
        match self {
            Value::Text(text) => Some(Cow::Borrowed(text)),
            Value::Number(number) => Some(Cow::Owned(plain(*number))),
            Value::Time(millis) => moment::show(*millis).map(Cow::Owned),
            Value::Missing | Value::Json(_) => None,
        }
    }

    /// What a cell of the answer shows; none for a value that is missing.
    pub fn shown(&self) -> Option<String> {
        match self {
            Value::Json(json) => Some(json.to_string()),
            value => value.as_text().map(Cow::into_owned),
        }
    }

    pub fn lend(&self) -> Value<'_> {
        match self {
            Value::Missing => Value::Missing,
            Value::Number(number) => Value::Number(*number),
            Value::Time(millis) => Value::Time(*millis),
            Value::Text(text) => Value::Text(Cow::Borrowed(text)),
            Value::Json(json) => Value::Json(Arc::clone(json)),
        }
    }

    pub fn into_owned(self) -> Value<'static> {
        match self {
            Value::Missing => Value::Missing,
            Value::Number(number) => Value::Number(number),
            Value::Time(millis) => Value::Time(millis),
            Value::Text(text) => Value::Text(Cow::Owned(text.into_owned())),
            Value::Json(json) => Value::Json(json),
        }
    }

    /// About what it holds in memory.
    pub fn bytes(&self) -> usize {
        let beside = match self {
            Value::Text(text) => text.len(),
            Value::Json(json) => json_bytes(json),
            Value::Missing | Value::Number(_) | Value::Time(_) => 0,
        };
        beside.saturating_add(size_of::<Value<'_>>())
    }

    /// `None` if either is missing. Numbers compare as such if both are.
    pub fn compare(&self, other: &Value<'_>) -> Option<Ordering> {
        let (Some(left), Some(right)) = (self.as_number(), other.as_number()) else {
            return Some(self.as_text()?.cmp(&other.as_text()?));
        };
        let order = left.partial_cmp(&right)?;
        if order.is_eq() && left.abs() >= EXACT_BELOW {
            let whole = |value: &Value<'_>| value.as_text()?.parse::<i128>().ok();
            return Some(whole(self).zip(whole(other)).map_or(order, |(left, right)| left.cmp(&right)));
        }
        Some(order)
    }

    /// Appends what tells it from all others, so that keys of several values are told apart as well. Times are written
    /// so that the newest comes first, which is kept where not all groups are.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Value::Time(millis) => {
                out.push(1);
                out.extend((!millis ^ i64::MIN).to_be_bytes());
            }
            Value::Number(number) => encode_text(&exact(*number), out),
            Value::Text(text) => encode_text(text, out),
            Value::Missing | Value::Json(_) => out.push(0),
        }
    }
}

fn encode_text(text: &str, out: &mut Vec<u8>) {
    out.push(2);
    out.extend(text.len().to_be_bytes());
    out.extend(text.as_bytes());
}

/// Recursion goes as deep as `serde_json` reads.
fn json_bytes(json: &Json) -> usize {
    let inside = match json {
        Json::Null | Json::Bool(_) | Json::Number(_) => 0,
        Json::String(text) => text.len(),
        Json::Array(list) => list.iter().map(json_bytes).fold(0, usize::saturating_add),
        Json::Object(map) => map
            .iter()
            .map(|(key, value)| key.len().saturating_add(json_bytes(value)).saturating_add(size_of::<String>()))
            .fold(0, usize::saturating_add),
    };
    inside.saturating_add(size_of::<Json>())
}

/// A text that is a number, as JSON writes them.
pub fn number(text: &str) -> Option<f64> {
    let is_like = text.as_bytes().first().is_some_and(|first| first.is_ascii_digit() || matches!(first, b'-' | b'.'));
    if !is_like || text.len() > NUMBER_CHARS_MAX {
        return None;
    }
    text.parse::<f64>().ok().filter(|number| number.is_finite())
}

/// Four decimals at most, rounded, without zeros at the end and without an exponent.
pub fn plain(number: f64) -> String {
    let text = format!("{number:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// All decimals; zero has no sign.
fn exact(number: f64) -> String {
    if number == 0.0 { "0".to_owned() } else { number.to_string() }
}

pub fn float(whole: i64) -> f64 {
    // The nearest double is what is meant.
    whole as f64
}

/// Cut to a whole number, if it is one that `i64` holds.
pub fn whole(number: f64) -> Option<i64> {
    // Within ±2^63 the cast cuts the fraction and nothing else.
    (number.is_finite() && number.abs() < 9.2e18).then_some(number as i64)
}

impl Key {
    pub fn of(value: &Value<'_>) -> Key {
        match value.as_number() {
            Some(number) => Key::Number(number),
            None => value.as_text().map_or(Key::Missing, |text| Key::Text(text.into_owned().into_boxed_str())),
        }
    }

    fn class(&self) -> u8 {
        match self {
            Key::Text(_) => 0,
            Key::Number(_) => 1,
            Key::Missing => 2,
        }
    }

    pub fn bytes(&self) -> usize {
        let beside = if let Key::Text(text) = self { text.len() } else { 0 };
        beside.saturating_add(size_of::<Key>())
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Key) -> Ordering {
        match (self, other) {
            (Key::Text(left), Key::Text(right)) => natural(left, right),
            // Both are finite, and zeros of either sign are the same.
            (Key::Number(left), Key::Number(right)) => left.partial_cmp(right).unwrap_or(Ordering::Equal),
            _ => self.class().cmp(&other.class()),
        }
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Key) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Key {}

/// By runs of digits, of letters and of others: digits by their number and then by value, the rest by code point.
pub fn natural(mut left: &str, mut right: &str) -> Ordering {
    loop {
        if left.is_empty() || right.is_empty() {
            return left.len().cmp(&right.len());
        }
        let ((left_kind, left_run), (right_kind, right_run)) = (run(left), run(right));
        let by_length = match (left_kind, right_kind) {
            (Kind::Digit, Kind::Digit) => left_run.len().cmp(&right_run.len()),
            _ => Ordering::Equal,
        };
        let order = by_length.then_with(|| left_run.cmp(right_run));
        if order.is_ne() {
            return order;
        }
        left = left.get(left_run.len()..).unwrap_or_default();
        right = right.get(right_run.len()..).unwrap_or_default();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Digit,
    Letter,
    Other,
}

fn kind(char: char) -> Kind {
    match char {
        char if char.is_ascii_digit() => Kind::Digit,
        char if char.is_alphabetic() => Kind::Letter,
        _ => Kind::Other,
    }
}

/// The run that a text begins with.
fn run(text: &str) -> (Kind, &str) {
    let first = text.chars().next().map_or(Kind::Other, kind);
    let end = text.find(|char| kind(char) != first).unwrap_or(text.len());
    (first, text.get(..end).unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_with_four_decimals_at_most() {
        let shown = [0.1 + 0.2, 27.656_57, 3.0, -0.000_01, 1e15, 16.333_333, 1_704_067_201_000.0].map(plain);
        assert_eq!(shown, ["0.3", "27.6566", "3", "0", "1000000000000000", "16.3333", "1704067201000"]);
    }

    #[test]
    fn what_only_looks_like_a_number_is_a_text() {
        let read = ["12", "-1.5", "1e3", "inf", "NaN", "-inf", "12ms", "", "+1", "1e999", " 1"].map(number);
        let expected = [Some(12.0), Some(-1.5), Some(1_000.0)];
        assert_eq!(read[..3], expected);
        assert!(read[3..].iter().all(Option::is_none), "{read:?}");
    }

    #[test]
    fn pairs_of_numbers_compare_as_such() {
        let compare = |left: &'static str, right: &'static str| Value::text(left).compare(&Value::text(right));
        assert_eq!(compare("9", "10"), Some(Ordering::Less));
        assert_eq!(compare("9a", "10"), Some(Ordering::Greater));
        assert_eq!(compare("5.0", "5"), Some(Ordering::Equal));
        assert_eq!(compare("9007199254740993", "9007199254740992"), Some(Ordering::Greater));
        assert_eq!(Value::Missing.compare(&Value::text("")), None);
    }

    #[test]
    fn sorting_is_natural_and_numbers_come_after_texts() {
        let order =
            ["!:", "#", "*%04", "0#", "5A", "111A", "2345_", "@", "@_", "A", "A9876fghj", "a12345hfh", "0", "1", "2"];
        let mut sorted: Vec<&str> = order.iter().rev().copied().collect();
        sorted.sort_by_key(|text| Key::of(&Value::text(*text)));
        assert_eq!(sorted, order);
        assert!(Key::of(&Value::Missing) > Key::of(&Value::text("3")));
    }
}

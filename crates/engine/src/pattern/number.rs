//! Numbers of patterns and events, and whether they are the same.
//!
//! AWS compares numbers as `double`s of 64 bits, but only those that a `double` holds exactly as they are written:
//! `300`, `300.0` and `3e2` are one number. All others, long account numbers say, equal only what is written the same. Of an
//! event's numbers with more digits than 64 bits hold, the nearest `double` is all that is known here.
//! The user guide still speaks of ±5e9 and six decimals; the engine that AWS published has no such limit any more.

use serde_json::Number;

/// Whole numbers up to here are `double`s, all of them.
const EXACT_MAX: u64 = 1 << 53;

/// A number that a field is to have.
#[derive(Debug, Clone, PartialEq)]
pub struct Exactly {
    text: Box<str>,
    value: Option<f64>,
}

impl Exactly {
    pub fn new(text: &str) -> Exactly {
        Exactly { text: text.into(), value: comparable(text) }
    }

    /// The `double` that it is, if there is one.
    pub fn value(&self) -> Option<f64> {
        self.value
    }

    pub fn is(&self, number: &Number) -> bool {
        match (self.value, value(number)) {
            (Some(own), Some(other)) => own == other,
            (None, None) => *self.text == *number.to_string(),
            (None, Some(other)) if number.is_f64() => self.text.parse() == Ok(other),
            _ => false,
        }
    }
}

/// Two bounds, each of which belongs to the range or not.
#[derive(Debug, Clone, PartialEq)]
pub struct Range {
    pub low: Bound,
    pub high: Bound,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bound {
    pub value: f64,
    pub is_open: bool,
}

impl Bound {
    pub const LOWEST: Bound = Bound { value: f64::MIN, is_open: false };
    pub const HIGHEST: Bound = Bound { value: f64::MAX, is_open: false };
}

impl Range {
    pub fn contains(&self, number: &Number) -> bool {
        let Some(value) = value(number) else { return false };
        let Range { low, high } = self;
        let is_above = if low.is_open { value > low.value } else { value >= low.value };
        let is_below = if high.is_open { value < high.value } else { value <= high.value };
        is_above && is_below
    }
}

/// The `double` that a number is, if there is one.
pub fn value(number: &Number) -> Option<f64> {
    let is_exact = |whole: i64| whole.unsigned_abs() <= EXACT_MAX;
    if number.is_f64() || number.as_i64().is_some_and(is_exact) {
        return number.as_f64();
    }
    comparable(&number.to_string())
}

/// The `double` that a number is as it is written, if there is one.
pub fn comparable(text: &str) -> Option<f64> {
    let value: f64 = text.parse().ok()?;
    // Of two decimals as short and as near as each other, either may be meant.
    let own = Some(Decimal::read(text)?);
    let is_same =
        own == Decimal::read(&format!("{value:e}")) || own == Decimal::read(&Number::from_f64(value)?.to_string());
    is_same.then_some(value)
}

/// A number as it is written, without what changes nothing: `-1.50e3` is -15e2.
#[derive(Debug, PartialEq)]
struct Decimal {
    is_negative: bool,
    digits: String,
    exponent: i64,
}

impl Decimal {
    /// Nothing for what is no number, or has an exponent that no number has.
    fn read(text: &str) -> Option<Decimal> {
        let (is_negative, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, decimals) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{decimals}");
        let digits = all.trim_end_matches('0');
        let dropped = all.len().checked_sub(digits.len())?;
        let digits = digits.trim_start_matches('0');
        if digits.is_empty() {
            return Some(Decimal { is_negative: false, digits: String::new(), exponent: 0 });
        }
        let exponent: i64 = exponent.parse().ok()?;
        let exponent = exponent.checked_sub(i64::try_from(decimals.len()).ok()?)?;
        let exponent = exponent.checked_add(i64::try_from(dropped).ok()?)?;
        Some(Decimal { is_negative, digits: digits.to_owned(), exponent })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_comparable_if_a_double_holds_it_as_it_is_written() {
        for (text, value) in [
            ("300", 300.0),
            ("300.0", 300.0),
            ("3.0e2", 300.0),
            ("-0", 0.0),
            ("0.1", 0.1),
            ("272940525053768.12", 272_940_525_053_768.13),
        ] {
            assert_eq!(comparable(text), Some(value), "{text}");
        }
        for text in ["1.7976931348623157e308", "5e-324", "9007199254740992", "123456789012", "-5.000001E9"] {
            assert!(comparable(text).is_some(), "{text}");
        }
        for text in
            ["9007199254740993", "1e400", "0.10000000000000000001", "12345678901234567890", "1e99999999999999999999"]
        {
            assert_eq!(comparable(text), None, "{text}");
        }
    }

    #[test]
    fn other_numbers_equal_what_is_written_the_same() {
        let number = |text: &str| serde_json::from_str::<Number>(text).unwrap();
        assert!(Exactly::new("9007199254740993").is(&number("9007199254740993")));
        assert!(!Exactly::new("9007199254740993").is(&number("9007199254740992")));
        assert!(Exactly::new("1.0").is(&number("1")));
        for text in ["18446744073709551616", "-9223372036854775809", "0.10000000000000000001", &"7".repeat(30)] {
            assert!(Exactly::new(text).is(&number(text)), "{text}");
        }
        assert!(!Exactly::new("18446744073709551616").is(&number("1.9e19")));
        assert!(!Exactly::new("9007199254740993").is(&number("0.5")));
    }
}

//! An operator and a value: what a field of JSON or a column is compared with.
//!
//! Text is compared with `=` and `!=` alone, and may have `*` for any run of characters; there is no way to mean a
//! star. Numbers are compared by what they are worth, unless the field is text and it is not their order that is
//! asked for.

use std::cmp::Ordering;

use memchr::memmem::Finder;

use super::Malformed;
use super::cursor::{Cursor, is_word};
use super::expression::Expression;

#[derive(Debug, Clone)]
pub struct Comparison {
    operator: Operator,
    value: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone)]
enum Value {
    Number(Number, String),
    Text(Wildcard),
    Expression(Expression),
}

/// What a field holds, as it is written.
#[derive(Debug, Clone, Copy)]
pub struct Scalar<'m> {
    pub text: &'m str,
    /// It is one of JSON's numbers, not text that looks like one.
    pub is_number: bool,
}

/// A decimal number. Whole ones are compared digit for digit: identifiers are longer than a float is exact.
#[derive(Debug, Clone, Copy)]
pub struct Number {
    whole: Option<i128>,
    pub real: f64,
}

/// Text with stars in it.
#[derive(Debug, Clone)]
pub struct Wildcard {
    first: String,
    middle: Vec<Finder<'static>>,
    /// Behind the last star, if there is one.
    last: Option<String>,
}

/// The longer ones first, since they begin with the others.
const OPERATORS: [(&str, Operator); 6] = [
    ("!=", Operator::Unequal),
    ("<=", Operator::LessOrEqual),
    (">=", Operator::GreaterOrEqual),
    ("=", Operator::Equal),
    ("<", Operator::Less),
    (">", Operator::Greater),
];

impl Comparison {
    pub fn read(cursor: &mut Cursor<'_>) -> Result<Comparison, Malformed> {
        cursor.blanks();
        let found = OPERATORS.iter().find(|(sign, _)| cursor.eat(sign));
        let Some((_, operator)) = found else { return Err(cursor.unexpected()) };
        cursor.blanks();
        let value = Value::read(cursor)?;
        let comparison = Comparison { operator: *operator, value };
        if comparison.operator.is_order() && !comparison.is_number() {
            return Err(Malformed::Grammar);
        }
        Ok(comparison)
    }

    pub fn holds(&self, scalar: Scalar<'_>) -> bool {
        let is_same = match &self.value {
            Value::Text(wildcard) => wildcard.matches(scalar.text),
            Value::Expression(expression) => expression.is_in(scalar.text),
            Value::Number(_, text) if !scalar.is_number && !self.operator.is_order() => text == scalar.text,
            Value::Number(number, _) => {
                let ordering = Number::parse(scalar.text).and_then(|field| field.compare(*number));
                return ordering.is_some_and(|ordering| self.operator.admits(ordering));
            }
        };
        is_same == (self.operator == Operator::Equal)
    }

    /// It is compared as a number where the field is one, in whatever way that is written.
    pub fn is_number(&self) -> bool {
        matches!(self.value, Value::Number(..))
    }

    /// Something that every text contains which this holds for.
    pub fn literal(&self) -> Option<&str> {
        match &self.value {
            Value::Text(wildcard) if self.operator == Operator::Equal => Some(wildcard.literal()),
            Value::Number(_, text) if self.operator == Operator::Equal => Some(text),
            _ => None,
        }
    }
}

impl Operator {
    fn is_order(self) -> bool {
        !matches!(self, Operator::Equal | Operator::Unequal)
    }

    fn admits(self, ordering: Ordering) -> bool {
        match self {
            Operator::Equal => ordering.is_eq(),
            Operator::Unequal => ordering.is_ne(),
            Operator::Less => ordering.is_lt(),
            Operator::LessOrEqual => ordering.is_le(),
            Operator::Greater => ordering.is_gt(),
            Operator::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

impl Value {
    fn read(cursor: &mut Cursor<'_>) -> Result<Value, Malformed> {
        match cursor.peek() {
            Some('"') => Ok(Value::Text(Wildcard::new(&cursor.quoted()?))),
            Some('%') => Expression::read(cursor).map(Value::Expression),
            _ => match cursor.take(|c| is_word(c) || ".-*+".contains(c)) {
                "" => Err(cursor.unexpected()),
                bare => Ok(match Number::parse(bare) {
                    Some(number) => Value::Number(number, bare.to_owned()),
                    None => Value::Text(Wildcard::new(bare)),
                }),
            },
        }
    }
}

impl Number {
    /// A sign, digits, a fraction and an exponent, all but the digits optional; no unit, no infinity.
    pub fn parse(text: &str) -> Option<Number> {
        let mut cursor = Cursor::new(text);
        let digits = |cursor: &mut Cursor<'_>| !cursor.take(|c| c.is_ascii_digit()).is_empty();
        let sign = |cursor: &mut Cursor<'_>| cursor.eat("-") || cursor.eat("+");
        sign(&mut cursor);
        let mut is_number = digits(&mut cursor);
        if cursor.eat(".") {
            is_number &= digits(&mut cursor);
        }
        if cursor.eat("e") || cursor.eat("E") {
            sign(&mut cursor);
            is_number &= digits(&mut cursor);
        }
        if !is_number || !cursor.is_at_end() {
            return None;
        }
        Some(Number { whole: text.parse().ok(), real: text.parse().ok()? })
    }

    fn compare(self, other: Number) -> Option<Ordering> {
        match (self.whole, other.whole) {
            (Some(own), Some(other)) => Some(own.cmp(&other)),
            _ => self.real.partial_cmp(&other.real),
        }
    }
}

impl Wildcard {
    pub fn new(text: &str) -> Wildcard {
        let mut pieces = text.split('*');
        let first = pieces.next().unwrap_or_default().to_owned();
        let last = pieces.next_back().map(str::to_owned);
        let middle = pieces.filter(|piece| !piece.is_empty()).map(|piece| Finder::new(piece).into_owned()).collect();
        Wildcard { first, middle, last }
    }

    pub fn matches(&self, text: &str) -> bool {
        let Some(last) = &self.last else { return text == self.first };
        let inner = text.strip_prefix(&*self.first).and_then(|rest| rest.strip_suffix(&**last));
        let Some(mut rest) = inner.map(str::as_bytes) else { return false };
        // The first place for each piece leaves most to those behind it.
        for piece in &self.middle {
            let Some(place) = piece.find(rest) else { return false };
            rest = rest.get(place.saturating_add(piece.needle().len())..).unwrap_or_default();
        }
        true
    }

    /// Its longest piece without a star.
    fn literal(&self) -> &str {
        let middle = self.middle.iter().filter_map(|piece| str::from_utf8(piece.needle()).ok());
        middle.chain([&*self.first]).chain(self.last.as_deref()).max_by_key(|piece| piece.len()).unwrap_or_default()
    }
}

//! What a field of an event is compared with: a value, or `{"prefix": …}` and its likes.
//!
//! Text is compared character by character. Lower and upper case are the same for `equals-ignore-case` where one
//! character stands for the other.

use std::iter;

use serde_json::{Number, Value};

use super::address::{Address, Block};
use super::number::{self, Exactly, Range};
use super::wildcard::Wildcard;

/// One of the alternatives of a field.
#[derive(Debug, Clone)]
pub enum Comparison {
    Null,
    Bool(bool),
    Number(Exactly),
    Range(Range),
    Text(Text),
    /// Of addresses; a text that is an address is the block of that alone.
    Block(Block),
    /// There is a value, whichever.
    Exists,
    /// There is none. No value holds it: whoever looks for values knows.
    Absent,
    /// A value, but none of these.
    Except(Exception),
}

/// What a text is compared with.
#[derive(Debug, Clone)]
pub enum Text {
    Equal(String),
    Prefix(String),
    Suffix(String),
    EqualIgnoringCase(String),
    PrefixIgnoringCase(String),
    SuffixIgnoringCase(String),
    Wildcard(Wildcard),
}

/// What a value may be anything but. Values of other types are something else.
#[derive(Debug, Clone)]
pub enum Exception {
    Texts(Vec<Text>),
    Numbers(Vec<f64>),
}

impl Comparison {
    /// Whether a value that is no object and no array holds it.
    pub fn holds(&self, value: &Value) -> bool {
        match (self, value) {
            (Comparison::Null, Value::Null) | (Comparison::Exists, _) => true,
            (Comparison::Bool(own), Value::Bool(other)) => own == other,
            (Comparison::Number(own), Value::Number(other)) => own.is(other),
            (Comparison::Range(range), Value::Number(number)) => range.contains(number),
            (Comparison::Text(own), Value::String(text)) => own.holds(text),
            (Comparison::Block(block), Value::String(text)) => {
                Address::read(text).is_some_and(|address| block.contains(address))
            }
            (Comparison::Except(exception), value) => !exception.names(value),
            _ => false,
        }
    }

    /// The wildcards in it.
    pub fn wildcards(&self) -> impl Iterator<Item = &Wildcard> {
        let texts = match self {
            Comparison::Text(text) => std::slice::from_ref(text),
            Comparison::Except(Exception::Texts(texts)) => texts,
            _ => &[],
        };
        texts.iter().filter_map(|text| if let Text::Wildcard(wildcard) = text { Some(wildcard) } else { None })
    }
}

impl Exception {
    fn names(&self, value: &Value) -> bool {
        match (self, value) {
            (Exception::Texts(texts), Value::String(text)) => texts.iter().any(|own| own.holds(text)),
            (Exception::Numbers(numbers), Value::Number(number)) => is_among(numbers, number),
            _ => false,
        }
    }
}

fn is_among(numbers: &[f64], number: &Number) -> bool {
    number::value(number).is_some_and(|value| numbers.contains(&value))
}

impl Text {
    fn holds(&self, text: &str) -> bool {
        match self {
            Text::Equal(own) => own == text,
            Text::Prefix(own) => text.starts_with(own),
            Text::Suffix(own) => text.ends_with(own),
            Text::EqualIgnoringCase(own) => {
                own.chars().count() == text.chars().count() && starts_alike(own.chars(), text.chars())
            }
            Text::PrefixIgnoringCase(own) => starts_alike(own.chars(), text.chars()),
            Text::SuffixIgnoringCase(own) => starts_alike(own.chars().rev(), text.chars().rev()),
            Text::Wildcard(wildcard) => wildcard.fits(text),
        }
    }
}

fn starts_alike(own: impl Iterator<Item = char>, text: impl Iterator<Item = char>) -> bool {
    let mut text = text.map(Some).chain(iter::repeat(None));
    own.zip(&mut text).all(|(own, other)| other.is_some_and(|other| is_alike(own, other)))
}

fn is_alike(a: char, b: char) -> bool {
    a == b || a.to_lowercase().eq(b.to_lowercase()) || a.to_uppercase().eq(b.to_uppercase())
}

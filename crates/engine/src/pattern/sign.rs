//! What all values show that hold a comparison, so that patterns can be looked up by the values of an event.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::comparison::{Comparison, Text};
use super::number::{self, Range};

/// Bytes of a text's beginning or ending that are looked at.
const END_BYTES_MAX: usize = 16;
const BITS: u32 = u64::BITS;

/// Values that show it hold the comparison, or may.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sign {
    Null,
    Bool(bool),
    Text(Box<str>),
    Beginning(Box<str>),
    Ending(Box<str>),
    /// Numbers that are alike but for this many of their last bits.
    Span(u32, u64),
}

/// Who is looked up by which sign, at one path.
#[derive(Debug)]
pub struct Signs<P> {
    who: BTreeMap<Sign, Vec<P>>,
    /// The lengths of beginnings and endings, and the widths of spans, that there are.
    beginnings: BTreeSet<usize>,
    endings: BTreeSet<usize>,
    spans: BTreeSet<u32>,
}

impl<P> Default for Signs<P> {
    fn default() -> Self {
        let (beginnings, endings, spans) = Default::default();
        Self { who: BTreeMap::new(), beginnings, endings, spans }
    }
}

impl Sign {
    /// Of which each value that holds the comparison shows one; nothing if nothing is known of its values, or there are none.
    pub fn of(comparison: &Comparison) -> Option<Vec<Sign>> {
        let sign = match comparison {
            Comparison::Null => Sign::Null,
            Comparison::Bool(value) => Sign::Bool(*value),
            Comparison::Number(number) => Sign::Span(0, ordered(number.value()?)),
            Comparison::Range(range) => return Some(spans(range)),
            Comparison::Text(Text::Equal(text)) => Sign::Text(text.as_str().into()),
            Comparison::Text(Text::Prefix(text)) => Sign::beginning(text)?,
            Comparison::Text(Text::Suffix(text)) => Sign::ending(text)?,
            Comparison::Text(Text::Wildcard(wildcard)) => Sign::beginning(wildcard.beginning())?,
            Comparison::Text(
                Text::EqualIgnoringCase(_) | Text::PrefixIgnoringCase(_) | Text::SuffixIgnoringCase(_),
            )
            | Comparison::Block(_)
            | Comparison::Exists
            | Comparison::Absent
            | Comparison::Except(_) => return None,
        };
        Some(vec![sign])
    }

    fn beginning(text: &str) -> Option<Sign> {
        let length = (1..=text.len().min(END_BYTES_MAX)).rev().find(|length| text.is_char_boundary(*length))?;
        Some(Sign::Beginning(text.get(..length)?.into()))
    }

    fn ending(text: &str) -> Option<Sign> {
        let most = text.len().saturating_sub(END_BYTES_MAX);
        let from = (most..text.len()).find(|from| text.is_char_boundary(*from))?;
        Some(Sign::Ending(text.get(from..)?.into()))
    }

    /// How many values show it, very roughly: the fewer the better to look up by.
    pub fn breadth(&self) -> usize {
        match self {
            Sign::Text(_) => 1,
            Sign::Beginning(text) | Sign::Ending(text) => END_BYTES_MAX.saturating_add(2).saturating_sub(text.len()),
            Sign::Span(bits, _) => usize::try_from(bits / 8).unwrap_or(usize::MAX).saturating_add(1),
            Sign::Null | Sign::Bool(_) => END_BYTES_MAX,
        }
    }
}

impl<P> Signs<P> {
    pub fn add(&mut self, sign: Sign, who: P) {
        match &sign {
            Sign::Beginning(text) => _ = self.beginnings.insert(text.len()),
            Sign::Ending(text) => _ = self.endings.insert(text.len()),
            Sign::Span(bits, _) => _ = self.spans.insert(*bits),
            Sign::Null | Sign::Bool(_) | Sign::Text(_) => {}
        }
        self.who.entry(sign).or_default().push(who);
    }

    /// How many are looked up by a sign.
    pub fn count(&self, sign: &Sign) -> usize {
        self.who.get(sign).map_or(0, Vec::len)
    }

    /// Who is looked up by what a value shows.
    pub fn shown_by<'s>(&'s self, value: &'s Value) -> impl Iterator<Item = &'s [P]> {
        let text = value.as_str();
        let plain = match value {
            Value::Null => Some(Sign::Null),
            Value::Bool(value) => Some(Sign::Bool(*value)),
            Value::String(text) => Some(Sign::Text(text.as_str().into())),
            _ => None,
        };
        let beginnings = self.beginnings.iter().filter_map(move |length| text?.get(..*length));
        let endings = self.endings.iter().filter_map(move |length| text?.get(text?.len().checked_sub(*length)?..));
        let number = value.as_number().and_then(number::value).map(ordered);
        let spans = self.spans.iter().filter_map(move |bits| Some(Sign::Span(*bits, above(number?, *bits))));
        let signs = plain.into_iter().chain(beginnings.map(|text| Sign::Beginning(text.into())));
        let signs = signs.chain(endings.map(|text| Sign::Ending(text.into()))).chain(spans);
        signs.filter_map(|sign| self.who.get(&sign).map(Vec::as_slice))
    }
}

/// Numbers as whole ones that are in the same order.
fn ordered(value: f64) -> u64 {
    // Of two zeros there is one.
    let bits = (value + 0.0).to_bits();
    if value < 0.0 { !bits } else { bits | 1 << 63 }
}

/// What is above a number's last bits.
fn above(number: u64, bits: u32) -> u64 {
    number.checked_shr(bits).unwrap_or(0)
}

/// Two spans that hold a range and, on either side of where it begins to differ, at most twice as much as it does.
fn spans(range: &Range) -> Vec<Sign> {
    let Range { low, high } = range;
    let low = ordered(low.value).saturating_add(u64::from(low.is_open));
    let high = ordered(high.value).saturating_sub(u64::from(high.is_open));
    if low > high {
        return Vec::new();
    }
    let common = |a: u64, b: u64| BITS.saturating_sub((a ^ b).leading_zeros());
    let span = |a: u64, b: u64| Sign::Span(common(a, b), above(a, common(a, b)));
    let Some(differs) = common(low, high).checked_sub(1) else { return vec![span(low, high)] };
    let middle = above(high, differs) << differs;
    vec![span(low, middle.saturating_sub(1)), span(middle, high)]
}

//! Functions of texts. Lengths and places count characters.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::Value as Json;

use super::super::limits::{ELEMENTS_MAX, TEXT_BYTES_MAX};
use super::super::value::{self, Value};
use super::get;

fn one(arguments: &[Value<'_>], of: impl Fn(&str) -> Value<'static>) -> Value<'static> {
    get(arguments, 0).as_text().map_or(Value::Missing, |text| of(&text))
}

fn two(arguments: &[Value<'_>], of: impl Fn(&str, &str) -> bool) -> Value<'static> {
    let pair = get(arguments, 0).as_text().zip(get(arguments, 1).as_text());
    Value::truth(pair.is_some_and(|(text, other)| of(&text, &other)))
}

pub fn is_empty<'a>(arguments: &[Value<'a>]) -> Value<'a> {
    let value = get(arguments, 0);
    Value::truth(!value.is_present() || value.as_text().is_some_and(|text| text.is_empty()))
}

pub fn is_blank<'a>(arguments: &[Value<'a>]) -> Value<'a> {
    let value = get(arguments, 0);
    Value::truth(!value.is_present() || value.as_text().is_some_and(|text| text.trim().is_empty()))
}

/// What is missing adds nothing.
pub fn concat<'a>(arguments: &[Value<'a>]) -> Value<'a> {
    let mut whole = String::new();
    for argument in arguments {
        whole.push_str(&argument.as_text().unwrap_or(Cow::Borrowed("")));
        if whole.len() > TEXT_BYTES_MAX {
            return Value::Missing;
        }
    }
    Value::text(whole)
}

/// Cuts off white space, or the characters that the second argument lists.
fn trimmed(arguments: &[Value<'_>], left: bool, right: bool) -> Value<'static> {
    let listed = get(arguments, 1).as_text();
    let goes = |char: char| listed.as_ref().map_or_else(|| char.is_whitespace(), |listed| listed.contains(char));
    one(arguments, |text| {
        let text = if left { text.trim_start_matches(goes) } else { text };
        let text = if right { text.trim_end_matches(goes) } else { text };
        Value::text(text.to_owned())
    })
}

pub fn trim_left<'a>(arguments: &[Value<'a>]) -> Value<'a> {
    trimmed(arguments, true, false)
}

pub fn trim_right<'a>(arguments: &[Value<'a>]) -> Value<'a> {
    trimmed(arguments, false, true)
}

pub fn trim<'a>(arguments: &[Value<'a>]) -> Value<'a> {
    trimmed(arguments, true, true)
}

pub fn length<'a>(arguments: &[Value<'a>]) -> Value<'a> {
    one(arguments, |text| Value::count(text.chars().count()))
}

pub fn to_upper<'a>(arguments: &[Value<'a>]) -> Value<'a> {
    one(arguments, |text| Value::text(text.to_uppercase()))
}

pub fn to_lower<'a>(arguments: &[Value<'a>]) -> Value<'a> {
    one(arguments, |text| Value::text(text.to_lowercase()))
}

/// From a place on, to the end or so many characters.
pub fn part<'a>(arguments: &[Value<'a>]) -> Value<'a> {
    let count = |index: usize| get(arguments, index).as_number().and_then(value::whole);
    let Some(start) = count(1).and_then(|start| usize::try_from(start).ok()) else { return Value::Missing };
    let length = match (arguments.len(), count(2)) {
        (..3, _) => usize::MAX,
        (_, Some(length)) => usize::try_from(length).unwrap_or(0),
        (_, None) => return Value::Missing,
    };
    one(arguments, |text| Value::text(text.chars().skip(start).take(length).collect::<String>()))
}

pub fn replace<'a>(arguments: &[Value<'a>]) -> Value<'a> {
    let (Some(from), Some(to)) = (get(arguments, 1).as_text(), get(arguments, 2).as_text()) else {
        return Value::Missing;
    };
    one(arguments, |text| {
        let grows = to.len().saturating_sub(from.len());
        let places = if grows > 0 { text.matches(&*from).count() } else { 0 };
        let is_long = text.len().saturating_add(places.saturating_mul(grows)) > TEXT_BYTES_MAX;
        if is_long { Value::Missing } else { Value::text(text.replace(&*from, &to)) }
    })
}

pub fn contains<'a>(arguments: &[Value<'a>]) -> Value<'a> {
    two(arguments, |text, part| text.contains(part))
}

pub fn starts_with<'a>(arguments: &[Value<'a>]) -> Value<'a> {
    two(arguments, |text, part| text.starts_with(part))
}

pub fn ends_with<'a>(arguments: &[Value<'a>]) -> Value<'a> {
    two(arguments, |text, part| text.ends_with(part))
}

pub fn split<'a>(arguments: &[Value<'a>]) -> Value<'a> {
    let Some(by) = get(arguments, 1).as_text().filter(|by| !by.is_empty()) else { return Value::Missing };
    one(arguments, |text| {
        let parts = text.split(&*by).take(ELEMENTS_MAX).map(|part| Json::String(part.to_owned()));
        Value::Json(Arc::new(Json::Array(parts.collect())))
    })
}

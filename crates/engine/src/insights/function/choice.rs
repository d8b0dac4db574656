//! Functions that look whether there is a value, and choose among several.

use super::super::value::Value;
use super::get;

pub fn is_present<'a>(arguments: &[Value<'a>]) -> Value<'a> {
    Value::truth(get(arguments, 0).is_present())
}

pub fn is_numeric<'a>(arguments: &[Value<'a>]) -> Value<'a> {
    Value::truth(get(arguments, 0).as_number().is_some())
}

/// The first that is there.
pub fn coalesce<'a>(arguments: &[Value<'a>]) -> Value<'a> {
    arguments.iter().find(|value| value.is_present()).cloned().unwrap_or(Value::Missing)
}

/// Pairs of a condition and a value, and a value at the end if none holds; `if` is one pair.
pub fn case<'a>(arguments: &[Value<'a>]) -> Value<'a> {
    let chosen = arguments.chunks(2).find_map(|pair| match pair {
        [condition, value] => condition.is_true().then(|| value.clone()),
        [otherwise] => Some(otherwise.clone()),
        _ => None,
    });
    chosen.unwrap_or(Value::Missing)
}

//! Functions of JSON: from text to maps and lists, and back.

use std::sync::Arc;

use serde_json::Value as Json;

use super::super::value::Value;
use super::get;

/// `serde_json` reads no deeper than 128 levels.
pub fn parse<'a>(arguments: &[Value<'a>]) -> Value<'a> {
    let value = get(arguments, 0);
    if matches!(value, Value::Json(_)) {
        return value.clone();
    }
    let json = value.as_text().and_then(|text| serde_json::from_str::<Json>(&text).ok());
    match json {
        Some(json @ (Json::Array(_) | Json::Object(_))) => Value::Json(Arc::new(json)),
        Some(scalar) => Value::of(&scalar),
        None => Value::Missing,
    }
}

pub fn stringify<'a>(arguments: &[Value<'a>]) -> Value<'a> {
    match get(arguments, 0) {
        Value::Json(json) => Value::text(json.to_string()),
        value => value.clone(),
    }
}

fn list(value: &Value<'_>) -> Option<Vec<Json>> {
    let json = match value {
        Value::Json(json) => Arc::clone(json),
        value => Arc::new(serde_json::from_str(&value.as_text()?).ok()?),
    };
    json.as_array().cloned()
}

pub fn array_size<'a>(arguments: &[Value<'a>]) -> Value<'a> {
    list(get(arguments, 0)).map_or(Value::Missing, |list| Value::count(list.len()))
}

pub fn array_contains<'a>(arguments: &[Value<'a>]) -> Value<'a> {
    let Some(list) = list(get(arguments, 0)) else { return Value::Missing };
    let wanted = get(arguments, 1);
    Value::truth(list.iter().any(|element| Value::of(element).compare(wanted).is_some_and(|order| order.is_eq())))
}

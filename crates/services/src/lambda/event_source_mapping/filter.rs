//! Event filter patterns: whether one is well formed. Matching records against them comes with polling.
//!
//! Follows the grammar of EventBridge's patterns, which Lambda's documentation of event filtering refers to: an object
//! whose members are objects again, or lists of alternatives, each a value or one comparison.
//!
//! A pattern has at most 4,096 characters (the description says so) and the JSON reader refuses to nest deeper than
//! 128, so that the walk below is bounded.

use std::net::IpAddr;

use serde_json::{Map, Value};

/// Whether `pattern` is one that Lambda takes.
pub fn is_valid(pattern: &str) -> bool {
    match serde_json::from_str(pattern) {
        Ok(Value::Object(members)) => is_object_pattern(&members),
        _ => false,
    }
}

fn is_object_pattern(members: &Map<String, Value>) -> bool {
    !members.is_empty()
        && members.iter().all(|(name, value)| match value {
            Value::Array(branches) if name == "$or" => is_choice(branches),
            Value::Array(alternatives) => !alternatives.is_empty() && alternatives.iter().all(is_alternative),
            Value::Object(members) => name != "$or" && is_object_pattern(members),
            _ => false,
        })
}

/// The branches of an `$or`, of which one has to match.
fn is_choice(branches: &[Value]) -> bool {
    branches.len() >= 2 && branches.iter().all(|branch| branch.as_object().is_some_and(is_object_pattern))
}

/// One of the values that a field may have.
fn is_alternative(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
        Value::Object(comparison) => is_only_member(comparison, is_comparison),
        Value::Array(_) => false,
    }
}

fn is_only_member(object: &Map<String, Value>, check: impl FnOnce(&str, &Value) -> bool) -> bool {
    let mut members = object.iter();
    match (members.next(), members.next()) {
        (Some((name, value)), None) => check(name, value),
        _ => false,
    }
}

fn is_comparison(name: &str, value: &Value) -> bool {
    match name {
        "exists" => value.is_boolean(),
        "prefix" | "suffix" => value.is_string() || is_ignoring_case(value),
        "equals-ignore-case" => value.is_string(),
        "wildcard" => value.as_str().is_some_and(is_wildcard),
        "numeric" => value.as_array().is_some_and(|parts| is_numeric(parts)),
        "cidr" => value.as_str().is_some_and(is_cidr),
        "anything-but" => is_exclusion(value),
        _ => false,
    }
}

/// `{"equals-ignore-case": "text"}` inside another comparison.
fn is_ignoring_case(value: &Value) -> bool {
    value
        .as_object()
        .is_some_and(|inner| is_only_member(inner, |name, value| name == "equals-ignore-case" && value.is_string()))
}

/// What follows `anything-but`: a value, several of one type, or a comparison of text.
fn is_exclusion(value: &Value) -> bool {
    match value {
        Value::String(_) | Value::Number(_) => true,
        Value::Array(values) => {
            !values.is_empty() && (values.iter().all(Value::is_string) || values.iter().all(Value::is_number))
        }
        Value::Object(comparison) => is_only_member(comparison, |name, value| match name {
            "prefix" | "suffix" => is_texts(value, |_| true) || is_ignoring_case(value),
            "equals-ignore-case" => is_texts(value, |_| true),
            "wildcard" => is_texts(value, is_wildcard),
            _ => false,
        }),
        Value::Null | Value::Bool(_) => false,
    }
}

/// One text or several, each of which passes.
fn is_texts(value: &Value, check: impl Fn(&str) -> bool) -> bool {
    let passes = |value: &Value| value.as_str().is_some_and(&check);
    match value {
        Value::Array(values) => !values.is_empty() && values.iter().all(passes),
        value => passes(value),
    }
}

fn is_wildcard(text: &str) -> bool {
    !text.contains("**")
}

/// `["=", n]`, one bound, or a lower bound and then an upper one.
fn is_numeric(parts: &[Value]) -> bool {
    let bound = |operator: &Value, number: &Value| Some((operator.as_str()?.to_owned(), number.as_f64()?));
    match parts {
        [operator, number] => {
            bound(operator, number).is_some_and(|(operator, _)| matches!(&*operator, "=" | "<" | "<=" | ">" | ">="))
        }
        [from, low, to, high] => match (bound(from, low), bound(to, high)) {
            (Some((from, low)), Some((to, high))) => {
                matches!(&*from, ">" | ">=") && matches!(&*to, "<" | "<=") && low < high
            }
            _ => false,
        },
        _ => false,
    }
}

/// `10.0.0.0/24`, `2001:db8::/32`
fn is_cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    match (address.parse(), length.parse::<u8>()) {
        (Ok(IpAddr::V4(_)), Ok(length)) => length <= 32,
        (Ok(IpAddr::V6(_)), Ok(length)) => length <= 128,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_that_aws_took_are_valid() {
        // From the mappings that were recorded on AWS, and from the documentation.
        for pattern in [
            r#"{"body": {"my-key": ["my-value-one", "my-value-two"], "other": ["x"]}}"#,
            r#"{"body": {"n": [{"numeric": [">=", 100, "<", 200]}]}}"#,
            r#"{"body": {"n": [{"numeric": ["<", 100]}, {"numeric": ["=", 1.5]}]}}"#,
            r#"{"body": {"k": [{"prefix": "us-1"}, {"suffix": {"equals-ignore-case": ".PNG"}}]}}"#,
            r#"{"dynamodb": {"NewImage": {"n": {"N": [{"numeric": [">", 100]}, {"anything-but": "101"}]}}}}"#,
            r#"{"dynamodb": {"NewImage": {"k": [{"exists": false}]}}, "eventName": ["INSERT", "MODIFY"]}"#,
            r#"{"data": {"$or": [{"a": ["x"]}, {"b": [null, "", true, 7]}]}}"#,
            r#"{"body": [{"anything-but": ["a", "b"]}, {"anything-but": {"prefix": ["a", "b"]}}]}"#,
            r#"{"value": {"ip": [{"cidr": "10.0.0.0/24"}], "w": [{"wildcard": "a*b"}]}}"#,
        ] {
            assert!(is_valid(pattern), "{pattern}");
        }
    }

    #[test]
    fn what_aws_refused_is_not() {
        for pattern in ["null", "single-string", r#"[{"eventName": ["INSERT"=123}]"#, r#"{"a": "b"}"#, r#"{"a": []}"#] {
            assert!(!is_valid(pattern), "{pattern}");
        }
    }

    #[test]
    fn what_the_grammar_has_not_is_refused() {
        for pattern in [
            "",
            "{}",
            "[]",
            r#"{"a": {}}"#,
            r#"{"a": [[1]]}"#,
            r#"{"a": [{}]}"#,
            r#"{"a": [{"exists": "yes"}]}"#,
            r#"{"a": [{"exists": true, "prefix": "x"}]}"#,
            r#"{"a": [{"contains": "x"}]}"#,
            r#"{"a": [{"prefix": 1}]}"#,
            r#"{"a": [{"numeric": []}]}"#,
            r#"{"a": [{"numeric": [">", "1"]}]}"#,
            r#"{"a": [{"numeric": ["=", 1, "<", 2]}]}"#,
            r#"{"a": [{"numeric": [">", 2, "<", 1]}]}"#,
            r#"{"a": [{"anything-but": []}]}"#,
            r#"{"a": [{"anything-but": ["a", 1]}]}"#,
            r#"{"a": [{"anything-but": null}]}"#,
            r#"{"a": [{"cidr": "10.0.0.0/33"}]}"#,
            r#"{"a": [{"wildcard": "a**"}]}"#,
            r#"{"$or": [{"a": [1]}]}"#,
            r#"{"$or": [{"a": [1]}, 2]}"#,
            r#"{"$or": {"a": [1]}}"#,
        ] {
            assert!(!is_valid(pattern), "{pattern}");
        }
    }

    #[test]
    fn nesting_without_end_is_refused_and_does_no_harm() {
        let deep = format!("{}[1]{}", r#"{"a":"#.repeat(600), "}".repeat(600));
        assert!(!is_valid(&deep));
        let nested = format!("{}[1]{}", r#"{"a":"#.repeat(100), "}".repeat(100));
        assert!(is_valid(&nested));
    }
}

//! Which events of a batch a function says that it has failed with.

use std::collections::BTreeSet;

use serde_json::Value;

/// The ids of the failed ones, of those that the function was given; nothing when the answer is such that all count as
/// failed, as one that names none of them does.
pub fn failed<'a>(answer: &[u8], given: &BTreeSet<&'a str>) -> Option<BTreeSet<&'a str>> {
    if answer.is_empty() {
        return Some(BTreeSet::new());
    }
    let answer: Value = serde_json::from_slice(answer).ok()?;
    let items = match &answer {
        Value::Null => return Some(BTreeSet::new()),
        Value::String(text) if text.is_empty() => return Some(BTreeSet::new()),
        Value::Array(items) if items.is_empty() => return Some(BTreeSet::new()),
        Value::Object(members) => match members.get("batchItemFailures") {
            None | Some(Value::Null) => return Some(BTreeSet::new()),
            Some(items) => items.as_array()?,
        },
        _ => return None,
    };
    items.iter().map(|item| given.get(item.get("itemIdentifier")?.as_str()?).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_function_answers_is_taken_as_aws_takes_it() {
        let given = BTreeSet::from(["a", "b"]);
        for all_is_well in [
            "",
            "null",
            "\"\"",
            "[]",
            "{}",
            r#"{"batchItemFailures": []}"#,
            r#"{"batchItemFailures": null}"#,
            r#"{"other": 1}"#,
        ] {
            assert_eq!(failed(all_is_well.as_bytes(), &given), Some(BTreeSet::new()), "{all_is_well}");
        }
        let one = r#"{"batchItemFailures": [{"itemIdentifier": "b"}]}"#;
        assert_eq!(failed(one.as_bytes(), &given), Some(BTreeSet::from(["b"])));
        for all_failed in [
            "nonsense",
            "7",
            r#"{"batchItemFailures": "b"}"#,
            r#"{"batchItemFailures": [{"itemIdentifier": ""}]}"#,
            r#"{"batchItemFailures": [{"itemIdentifier": null}]}"#,
            r#"{"batchItemFailures": [{"itemIdentifier": 7}]}"#,
            r#"{"batchItemFailures": [{"other": "b"}]}"#,
            r#"{"batchItemFailures": [{"itemIdentifier": "c"}]}"#,
        ] {
            assert_eq!(failed(all_failed.as_bytes(), &given), None, "{all_failed}");
        }
    }
}

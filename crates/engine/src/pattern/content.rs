//! What a record carries as text, the way patterns see it.

use serde_json::Value;

/// Of such as `\ud83d`.
const ESCAPE_CHARS: usize = 6;
const REPLACEMENT: &str = "\\ufffd";

/// The JSON value that a text is, or itself.
///
/// Lambda puts it in the place of a queue's `body`, of a stream's decoded `data`, and of a topic's `value`. A pattern
/// that compares the body as text so lets no JSON object pass; one that [goes into](super::Pattern::goes_into) it is for
/// nothing else, also where it asks for what is not there.
pub fn content(text: &str) -> Value {
    let read = |text: &str| serde_json::from_str(text).ok();
    read(text).or_else(|| read(&whole_characters(text))).unwrap_or_else(|| Value::String(text.to_owned()))
}

/// Half a character, as is left where a text of UTF-16 was cut, is JSON too; it is shown as what nobody can read.
fn whole_characters(text: &str) -> String {
    let mut whole = String::new();
    let mut rest = text;
    while let Some((before, escape)) = rest.find('\\').and_then(|at| rest.split_at_checked(at)) {
        whole.push_str(before);
        let halves = (half(escape), escape.get(ESCAPE_CHARS..).and_then(half));
        let (shown, chars) = match halves {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => (None, 2 * ESCAPE_CHARS),
            (Some(_), _) => (Some(REPLACEMENT), ESCAPE_CHARS),
            (None, _) => (None, 2),
        };
        let (escape, after) = escape.split_at_checked(chars).unwrap_or((escape, ""));
        whole.push_str(shown.unwrap_or(escape));
        rest = after;
    }
    whole.push_str(rest);
    whole
}

/// The half of a character that an escape stands for.
fn half(escape: &str) -> Option<u16> {
    let digits = escape.strip_prefix("\\u")?.get(..4)?;
    let unit = u16::from_str_radix(digits, 16).ok()?;
    (0xd800..=0xdfff).contains(&unit).then_some(unit)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn content_is_json_or_text() {
        assert_eq!(content(r#"{"a": 1}"#), json!({"a": 1}));
        assert_eq!(content("12"), json!(12));
        assert_eq!(content("{a}"), json!("{a}"));
        assert_eq!(content(""), json!(""));
        assert_eq!(content("\\"), json!("\\"));
        assert_eq!(content("\\é"), json!("\\é"));
    }

    #[test]
    fn half_a_character_makes_no_text_of_json() {
        let seen = |text: &str| content(&format!(r#"{{"a": "{text}"}}"#));
        for (text, shown) in [
            (r"cut \ud83d", "cut \u{fffd}"),
            (r"\udc00\ud83d\ude00", "\u{fffd}\u{1f600}"),
            (r"\ud83d\ud83d\ude00!", "\u{fffd}\u{1f600}!"),
            (r"\\ud83d \ud83d\n", "\\ud83d \u{fffd}\n"),
            (r"\ud83d\u0041é", "\u{fffd}Aé"),
        ] {
            assert_eq!(seen(text), json!({"a": shown}), "{text}");
        }
        assert!(seen(r"\ud83d\q").is_string());
    }
}

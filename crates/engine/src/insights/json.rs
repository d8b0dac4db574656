//! The fields of a JSON text, found by one pass over it that builds nothing.
//!
//! A field is a leaf: its name is the keys on the way to it with dots between, numbers for the elements of lists.
//! Fields are told in the order of the text, up to the first error in it, so a text that was cut short still has those before
//! the cut; whoever has seen enough ends the pass, and sees the same as who reads on. `null` is no field.

use std::borrow::Cow;

use super::limits::{FIELDS_MAX, JSON_DEPTH_MAX};
use super::value::Value;

/// Told the name and the value of a field; says whether it wants more.
pub type See<'v, 'a> = dyn FnMut(&str, Value<'a>) -> bool + 'v;

/// Tells the fields of the object that the text begins with.
pub fn fields<'a>(text: &'a str, see: &mut See<'_, 'a>) {
    let mut scanner = Scanner { text, at: 0, path: String::new(), count: 0, see };
    // An error and having seen enough end the pass alike.
    let _ = scanner.object(JSON_DEPTH_MAX);
}

struct Scanner<'a, 's, 'v> {
    text: &'a str,
    at: usize,
    path: String,
    count: usize,
    see: &'s mut See<'v, 'a>,
}

impl<'a> Scanner<'a, '_, '_> {
    fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while matches!(bytes.get(self.at)?, b' ' | b'\t' | b'\n' | b'\r') {
            self.skip(1);
        }
        bytes.get(self.at).copied()
    }

    fn skip(&mut self, count: usize) {
        self.at = self.at.saturating_add(count);
    }

    /// Takes this byte, which must come next.
    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.skip(1))
    }

    fn object(&mut self, depth: usize) -> Option<()> {
        self.take(b'{')?;
        if self.peek()? == b'}' {
            return self.take(b'}');
        }
        loop {
            self.peek()?;
            let key = self.string()?;
            self.take(b':')?;
            let before = self.path.len();
            if !self.path.is_empty() {
                self.path.push('.');
            }
            self.path.push_str(&key);
            self.value(depth)?;
            self.path.truncate(before);
            match self.peek()? {
                b',' => self.skip(1),
                _ => return self.take(b'}'),
            }
        }
    }

    fn list(&mut self, depth: usize) -> Option<()> {
        self.take(b'[')?;
        if self.peek()? == b']' {
            return self.take(b']');
        }
        let mut index = 0_usize;
        loop {
            let before = self.path.len();
            self.path.push('.');
            self.path.push_str(&index.to_string());
            self.value(depth)?;
            self.path.truncate(before);
            index = index.saturating_add(1);
            match self.peek()? {
                b',' => self.skip(1),
                _ => return self.take(b']'),
            }
        }
    }

    fn value(&mut self, depth: usize) -> Option<()> {
        let value = match self.peek()? {
            b'{' => return self.object(depth.checked_sub(1)?),
            b'[' => return self.list(depth.checked_sub(1)?),
            b'"' => Value::Text(self.string()?),
            b't' => self.literal("true", Value::truth(true))?,
            b'f' => self.literal("false", Value::truth(false))?,
            b'n' => self.literal("null", Value::Missing)?,
            _ => self.number()?,
        };
        if !value.is_present() {
            return Some(());
        }
        self.count = self.count.saturating_add(1);
        ((self.see)(&self.path, value) && self.count < FIELDS_MAX).then_some(())
    }

    fn literal(&mut self, name: &str, value: Value<'a>) -> Option<Value<'a>> {
        let is_there = self.text.as_bytes().get(self.at..)?.starts_with(name.as_bytes());
        is_there.then(|| {
            self.skip(name.len());
            value
        })
    }

    /// Kept as it is written.
    fn number(&mut self) -> Option<Value<'a>> {
        let rest = self.text.get(self.at..)?;
        let is_part = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E');
        let length = rest.bytes().position(|byte| !is_part(&byte)).unwrap_or(rest.len());
        let digits = rest.get(..length).filter(|digits| digits.bytes().any(|byte| byte.is_ascii_digit()))?;
        self.skip(length);
        Some(Value::text(digits))
    }

    /// Borrowed unless something in it is escaped.
    fn string(&mut self) -> Option<Cow<'a, str>> {
        let rest = self.text.get(self.at..)?.strip_prefix('"')?;
        let end = rest.bytes().position(|byte| matches!(byte, b'"' | b'\\'))?;
        let plain = rest.get(..end)?;
        if rest.as_bytes().get(end) == Some(&b'"') {
            self.skip(end.saturating_add(2));
            return Some(plain.into());
        }
        let mut text = plain.to_owned();
        let mut chars = rest.get(end..)?.chars();
        loop {
            match chars.next()? {
                '"' => break,
                '\\' => text.push(escaped(&mut chars)?),
                char => text.push(char),
            }
        }
        self.at = self.text.len().saturating_sub(chars.as_str().len());
        Some(text.into())
    }
}

fn escaped(chars: &mut std::str::Chars<'_>) -> Option<char> {
    Some(match chars.next()? {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        'b' => '\u{8}',
        'f' => '\u{c}',
        char @ ('"' | '\\' | '/') => char,
        'u' => {
            let first = unit(chars)?;
            if let Some(char) = char::from_u32(first) {
                return Some(char);
            }
            // One half of a pair; alone it is no character.
            let rest = chars.as_str();
            let second = rest.strip_prefix("\\u").and_then(|rest| unit(&mut rest.chars()));
            let pair = second.and_then(|second| char::decode_utf16([half(first)?, half(second)?]).next()?.ok());
            if pair.is_some() {
                *chars = rest.get(6..)?.chars();
            }
            pair.unwrap_or(char::REPLACEMENT_CHARACTER)
        }
        _ => return None,
    })
}

fn half(unit: u32) -> Option<u16> {
    u16::try_from(unit).ok()
}

fn unit(chars: &mut std::str::Chars<'_>) -> Option<u32> {
    (0..4).try_fold(0_u32, |unit, _| Some(unit << 4 | chars.next()?.to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value as Json;

    use super::*;

    fn all(text: &str) -> Vec<(String, String)> {
        let mut found = Vec::new();
        fields(text, &mut |name, value| {
            found.push((name.to_owned(), value.as_text().unwrap().into_owned()));
            true
        });
        found
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn leaves_are_named_by_the_way_to_them() {
        let text =
            r#" {"a": {"b.c": [1.50, {"d": "x"}, []]}, "e": null, "f": true, "": "\u00e9\ud83d\ude00\n", "g":{}}"#;
        assert_eq!(all(text), pairs(&[("a.b.c.0", "1.50"), ("a.b.c.1.d", "x"), ("f", "1"), ("", "é😀\n")]));
    }

    #[test]
    fn what_comes_before_an_error_is_found() {
        assert_eq!(all(r#"{"a":1,"b":"x"#), pairs(&[("a", "1")]));
        assert_eq!(all(r#"{"a":1 "b":2}"#), pairs(&[("a", "1")]));
        assert!(all("{a:1}").is_empty() && all("[1]").is_empty());
        assert_eq!(all(r#"{"a":"\ud83d!"}"#), pairs(&[("a", "\u{fffd}!")]));
        let deep = format!("{{\"a\":1,\"b\":{}1{},\"c\":2}}", "[".repeat(90), "]".repeat(90));
        assert_eq!(all(&deep), pairs(&[("a", "1")]));
    }

    #[test]
    fn fields_of_an_event_are_counted() {
        let text = format!("{{{}\"z\":1}}", "\"a\":1,".repeat(FIELDS_MAX + 5));
        assert_eq!(all(&text).len(), FIELDS_MAX);
    }

    fn flatten(path: &str, json: &Json, out: &mut Vec<(String, String)>) {
        let join = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        match json {
            Json::Object(map) => map.iter().for_each(|(key, value)| flatten(&join(key), value, out)),
            Json::Array(list) => {
                list.iter().enumerate().for_each(|(index, value)| flatten(&format!("{path}.{index}"), value, out));
            }
            Json::Null => {}
            Json::Bool(is_true) => out.push((path.to_owned(), u8::from(*is_true).to_string())),
            Json::Number(number) => out.push((path.to_owned(), number.to_string())),
            Json::String(text) => out.push((path.to_owned(), text.clone())),
        }
    }

    fn json() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::from),
            any::<i64>().prop_map(Json::from),
            any::<String>().prop_map(Json::from),
        ];
        leaf.prop_recursive(4, 60, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Json::from),
                prop::collection::vec(("[a-c.\"\\\\é]{0,3}", inner), 0..6)
                    .prop_map(|pairs| Json::Object(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_pass_finds_what_a_parser_finds(inner in json(), is_pretty in any::<bool>()) {
            let whole = Json::Object([("k".to_owned(), inner)].into_iter().collect());
            let mut expected = Vec::new();
            flatten("", &whole, &mut expected);
            expected.truncate(FIELDS_MAX);
            let text = if is_pretty { serde_json::to_string_pretty(&whole).unwrap() } else { whole.to_string() };
            prop_assert_eq!(all(&text), expected);
        }

        #[test]
        fn no_text_harms_the_pass(text in "[{}\\[\\]\",:\\\\u0-9a-z ]{0,60}") {
            all(&text);
            all(&format!("{{{text}"));
        }
    }
}

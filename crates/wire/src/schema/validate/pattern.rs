//! The model's patterns, which are written for Java's regular expressions, in Rust's engine: linear in the value's
//! length, whatever the pattern.
//!
//! A value must match as a whole. `\d`, `\w` and `\s` mean ASCII, as they do in Java, and `\u` with four digits may be
//! half of a surrogate pair. What is beyond that (looking around, back-references) has a replacement in the overlay:
//! `matches` is matched instead, and `unless` must not match.

use std::sync::OnceLock;

use regex::{Regex, RegexBuilder};

use crate::limits;

/// A pattern, compiled when a value first needs it.
#[derive(Debug)]
pub struct Pattern {
    /// As messages show it.
    pub shown: &'static str,
    matches: Option<&'static str>,
    unless: Option<&'static str>,
    /// Longer text is refused unread.
    subject_bytes_max: usize,
    compiled: OnceLock<Option<Compiled>>,
}

#[derive(Debug)]
struct Compiled {
    matches: Regex,
    unless: Option<Regex>,
}

impl Pattern {
    /// `length_max` is what the shape that has the pattern allows, in characters.
    pub fn new(
        shown: &'static str,
        matches: Option<&'static str>,
        unless: Option<&'static str>,
        length_max: Option<f64>,
    ) -> Self {
        // No number of a model comes near what a `usize` holds, and the cast saturates.
        let allowed = (length_max.unwrap_or_default() * 4.0) as usize;
        let subject_bytes_max = allowed.max(limits::PATTERN_SUBJECT_BYTES_MAX);
        Self { shown, matches, unless, subject_bytes_max, compiled: OnceLock::new() }
    }

    /// Whether the whole of `text` matches. A pattern that does not compile admits everything; a test compiles all.
    pub fn admits(&self, text: &str) -> bool {
        if text.len() > self.subject_bytes_max {
            return false;
        }
        let Some(compiled) = self.compiled.get_or_init(|| self.compile().ok()) else { return true };
        compiled.matches.is_match(text) && !compiled.unless.as_ref().is_some_and(|unless| unless.is_match(text))
    }

    fn compile(&self) -> Result<Compiled, regex::Error> {
        let whole = |pattern: &str| {
            let text = format!(r"\A(?:{})\z", rust_syntax(pattern));
            RegexBuilder::new(&text).size_limit(limits::PATTERN_BYTES_MAX).build()
        };
        Ok(Compiled {
            matches: whole(self.matches.unwrap_or(self.shown))?,
            unless: self.unless.map(whole).transpose()?,
        })
    }
}

/// A Java pattern as Rust's engine spells it.
fn rust_syntax(java: &str) -> String {
    let mut out = String::with_capacity(java.len());
    let mut class_depth = 0_u32;
    let mut rest = java;
    while let Some(first) = rest.chars().next() {
        rest = rest.get(first.len_utf8()..).unwrap_or_default();
        match first {
            '\\' => {
                let Some(escaped) = rest.chars().next() else { break };
                rest = rest.get(escaped.len_utf8()..).unwrap_or_default();
                match (escaped, class_depth > 0) {
                    ('d', true) => out.push_str("0-9"),
                    ('w', true) => out.push_str("_a-zA-Z0-9"),
                    ('s', true) => out.push_str(r"\t\n\x0B\x0C\r "),
                    ('d', false) => out.push_str("[0-9]"),
                    ('w', false) => out.push_str("[_a-zA-Z0-9]"),
                    ('s', false) => out.push_str(r"[\t\n\x0B\x0C\r ]"),
                    ('D', _) => out.push_str("[^0-9]"),
                    ('W', _) => out.push_str("[^_a-zA-Z0-9]"),
                    ('S', _) => out.push_str(r"[^\t\n\x0B\x0C\r ]"),
                    ('u', _) => rest = code_unit(rest, &mut out),
                    (other, _) => {
                        out.push('\\');
                        out.push(other);
                    }
                }
            }
            _ => {
                match first {
                    '[' => class_depth = class_depth.saturating_add(1),
                    ']' => class_depth = class_depth.saturating_sub(1),
                    _ => {}
                }
                out.push(first);
            }
        }
    }
    out
}

/// Writes the character of the four digits behind `\u`, taking in a second unit if this is the first of a pair;
/// returns what follows.
fn code_unit<'a>(digits: &'a str, out: &mut String) -> &'a str {
    let unit = |text: &str| text.get(..4).and_then(|digits| u16::from_str_radix(digits, 16).ok());
    let Some(high) = unit(digits) else {
        out.push_str("\\u");
        return digits;
    };
    let after = digits.get(4..).unwrap_or_default();
    let low = after.strip_prefix("\\u").and_then(unit);
    match low.and_then(|low| char::decode_utf16([high, low]).next()?.ok().filter(|char| char.len_utf16() == 2)) {
        Some(pair) => {
            out.push_str(&format!("\\x{{{:X}}}", u32::from(pair)));
            after.get(6..).unwrap_or_default()
        }
        None => {
            out.push_str(&format!("\\x{{{high:X}}}"));
            after
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::testing::{ALL, model};

    #[test]
    fn every_pattern_of_every_service_compiles() {
        let mut count = 0;
        for model in ALL.iter() {
            for (shape, rules) in model.shapes.iter().zip(&model.validation.rules) {
                if let Some(pattern) = &rules.pattern {
                    count += 1;
                    let error = pattern.compile().err();
                    assert!(error.is_none(), "{}.{} {}: {error:?}", model.name, shape.name, pattern.shown);
                }
            }
        }
        assert!(count > 500, "{count}");
    }

    #[test]
    fn java_means_ascii_and_writes_pairs() {
        let admits = |pattern: &'static str, text: &str| Pattern::new(pattern, None, None, None).admits(text);
        assert!(admits(r"\d+", "09") && !admits(r"\d+", "٣"));
        assert!(admits(r"[\w-_]+", "a-_9") && !admits(r"\w", "é") && !admits(r"[\w-_]+", "a.b"));
        assert!(admits(r"[^\s]+", "a\u{a0}b") && !admits(r"[^\s]+", "a b"));
        assert!(admits(r"[\s\S]*", "a\nb") && admits(r"[^\D]", "1") && !admits(r"[^\D]", "a"));
        assert!(admits(r"[\uD800\uDC00-\uDBFF\uDFFF]", "𝄞") && !admits(r"[\uD800\uDC00-\uDBFF\uDFFF]", "a"));
        assert!(admits(r"[\u0041-\u0043]\u0044", "BD"));
        assert!(!admits("a|b", "ab") && !admits("a", "xay"), "the whole value matches");
    }

    #[test]
    fn text_beyond_every_bound_is_refused_unread() {
        let long = "a".repeat(limits::PATTERN_SUBJECT_BYTES_MAX + 1);
        assert!(!Pattern::new("a*", None, None, Some(1e4)).admits(&long));
        assert!(Pattern::new("a*", None, None, Some(1e6)).admits(&long));
    }

    #[test]
    fn replacements_mean_what_the_original_means() {
        let check = |service, shape, good: &[&str], bad: &[&str]| {
            let model = model(service);
            let index = model.shapes.iter().position(|known| known.name == shape).unwrap();
            let pattern = model.validation.rules.get(index).unwrap().pattern.as_ref().unwrap();
            let wrong: Vec<_> = good.iter().filter(|text| !pattern.admits(text)).collect();
            assert!(wrong.is_empty(), "{service}.{shape} refuses {wrong:?}");
            let wrong: Vec<_> = bad.iter().filter(|text| pattern.admits(text)).collect();
            assert!(wrong.is_empty(), "{service}.{shape} admits {wrong:?}");
        };
        check("lambda", "Alias", &["live", "1a", "a1", "-"], &["", "1", "123", "a.b"]);
        check(
            "lambda",
            "CollectionName",
            &["a", "_x", "systematic", "a.b", "system"],
            &["", "system.x", "a$", ".a", "system."],
        );
        check(
            "lambda",
            "FunctionUrlFunctionName",
            &["f", "f:live", "f:1a", "arn:aws:lambda:us-east-1:123456789012:function:f:live"],
            &["f:1", "f:", "a.b"],
        );
        check("lambda", "FunctionUrlQualifier", &["live", "1a"], &["", "12", "$LATEST"]);
        check("lambda", "S3Bucket", &["abc", "a.b", ""], &["abc.", "a/b", "."]);
        check("iam", "accountAliasType", &["abc", "a-b-c", "a1-2"], &["ab-", "a--b", "-ab", "ab", "aBc"]);
        check("dynamodb", "AutoScalingPolicyName", &["a b~", " "], &["", "é", "a\n"]);
        check("events", "PathParameter", &["a", " a "], &["", " ", "\t "]);
        check("ssm", "AlarmName", &["x"], &["", "  "]);
        check(
            "scheduler",
            "Source",
            &["my.app", "aws", "/x y", "$", "$.a.b[0][*]", "$.a-"],
            &["", "aws.s3", " a", "$a", "$[0]"],
        );
        check("stepfunctions", "CharacterRestrictedName", &["a", "1a", "1-2", "_"], &["", "123", "a b"]);
        check("ssm", "AccountId", &["all", "ALL", "aLl", "123456789012"], &["al", "12345678901", "all1"]);
        check(
            "ssm",
            "TargetLocationsURL",
            &["https://b.s3.us-east-1.amazonaws.com/k", "https://b.s3.amazonaws.com/k"],
            &["http://b.s3.amazonaws.com/k", "https://b.s3.amazonaws.com/"],
        );
        check(
            "ssm",
            "StringDateTime",
            &["2026-01-01T00:00:00Z", "20260101", "2026-01-01"],
            &["", "tomorrow", "2026-1"],
        );
    }
}

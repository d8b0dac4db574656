//! A text without which no event passes a query's filters: so whole blocks of a log are passed over unread.
//!
//! **Invariant:** sound, never complete. Where there is a doubt, there is no needle.

use memchr::memmem::Finder;

use super::discover::Wanted;
use super::expression::{Comparison, Expr, Pattern, Ref, System};
use super::run::{Pass, Step};
use super::value::{self, Value};
use crate::filter::Candidates;

/// A block of raw messages that has neither the text nor the escape holds nothing that matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needle {
    pub text: String,
    /// How JSON may write the text in other letters; none where the message itself must have it.
    pub escape: Option<&'static str>,
}

/// A needle, ready to be searched for.
#[derive(Debug, Clone)]
pub struct Search(Vec<Finder<'static>>);

impl Needle {
    pub fn search(&self) -> Search {
        let texts = [Some(self.text.as_str()), self.escape];
        Search(texts.into_iter().flatten().map(|text| Finder::new(text).into_owned()).collect())
    }
}

impl Search {
    /// Where in a block of messages, one behind the other, there may be one that passes.
    pub fn candidates<'a>(&'a self, block: &'a [u8]) -> Candidates<'a> {
        Candidates::new(block, &self.0)
    }
}

/// Of the filters before the first cut, which are all to hold, the one with the longest text.
pub fn of(passes: &[Pass], wanted: &Wanted) -> Option<Needle> {
    let steps = passes.first().map_or(&[][..], |pass| &pass.steps);
    let filters = steps.iter().filter_map(|step| match step {
        Step::Filter(expr) => in_expr(expr, wanted),
        // What is made without a match has no value, but the event goes on.
        Step::Compute { .. } | Step::Extract { .. } | Step::Unnest { .. } => None,
    });
    filters.max_by_key(|needle| needle.text.len())
}

fn in_expr(expr: &Expr, wanted: &Wanted) -> Option<Needle> {
    match expr {
        Expr::And(all) => all.iter().filter_map(|expr| in_expr(expr, wanted)).max_by_key(|needle| needle.text.len()),
        Expr::Like(field, Pattern::Text(text)) => in_field(field, str::from_utf8(text.needle()).ok()?, wanted),
        Expr::Like(field, Pattern::Regex(regex)) => in_field(field, &in_pattern(regex.as_str())?, wanted),
        Expr::Compare(left, Comparison::Equal, right) => match (left.as_ref(), right.as_ref()) {
            (field @ Expr::Field(_), Expr::Constant(Value::Text(text)))
            | (Expr::Constant(Value::Text(text)), field @ Expr::Field(_)) => {
                // Numbers are equal that are written otherwise.
                Some(text).filter(|text| value::number(text).is_none()).and_then(|text| in_field(field, text, wanted))
            }
            _ => None,
        },
        _ => None,
    }
}

/// A value that has this text is found in an event only if the message has it as well.
fn in_field(field: &Expr, text: &str, wanted: &Wanted) -> Option<Needle> {
    let escape = match field {
        Expr::Field(Ref::System(System::Message)) => None,
        // Those are made of other words, or of none.
        Expr::Field(Ref::Found(index)) => {
            let name = wanted.names.get(*index)?;
            let is_plain = text.chars().all(|char| char.is_ascii_alphanumeric() || " -_.:,=@".contains(char));
            let is_made = MADE.contains(&name.as_str()) || value::number(text).is_some() || !is_plain;
            // The texts that stand for `true` and `false`, and parts of them, are numbers, and so no needles.
            if is_made {
                return None;
            }
            Some("\\u")
        }
        _ => return None,
    };
    Some(Needle { text: text.to_owned(), escape }).filter(|needle| needle.text.len() >= TEXT_BYTES_MIN)
}

/// Shorter ones are everywhere.
const TEXT_BYTES_MIN: usize = 3;

/// Fields whose values are not in the message as they are shown.
const MADE: &[&str] = &["@type", "@duration", "@billedDuration", "@initDuration", "@memorySize", "@maxMemoryUsed"];

/// The longest run of characters that each match of a pattern has.
fn in_pattern(pattern: &str) -> Option<String> {
    let mut runs = vec![String::new()];
    let mut chars = pattern.chars().peekable();
    let mut depth = 0_usize;
    while let Some(char) = chars.next() {
        let literal = match char {
            // Either side will do, or letters of either case, or blanks and comments that match nothing.
            '|' if depth == 0 => return None,
            '(' if chars.peek() == Some(&'?') => return None,
            '(' => {
                depth = depth.saturating_add(1);
                None
            }
            ')' => {
                depth = depth.saturating_sub(1);
                None
            }
            // What may be in a class is not told from its end here.
            '[' => return None,
            '*' | '?' | '+' | '{' => {
                // What comes before may be there not at all; even after `+`, as another star may follow. A group's runs
                // are not taken anyway.
                runs.last_mut()?.pop();
                if char == '{' {
                    while chars.next_if(|char| *char != '}').is_some() {}
                    chars.next();
                }
                None
            }
            '\\' => match chars.next()? {
                'd' | 'D' | 'w' | 'W' | 's' | 'S' | 'b' | 'B' | '<' | '>' => None,
                escaped if escaped.is_ascii_punctuation() => Some(escaped),
                _ => return None,
            },
            '.' | '^' | '$' => None,
            literal => Some(literal),
        };
        match literal.filter(|_| depth == 0) {
            Some(literal) => runs.last_mut()?.push(literal),
            None => runs.push(String::new()),
        }
    }
    runs.into_iter().max_by_key(String::len)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Query;
    use super::*;

    fn text(query: &str) -> Option<(String, bool)> {
        let needle = Query::parse(query).unwrap().needle().cloned();
        needle.map(|needle| (needle.text, needle.escape.is_some()))
    }

    #[test]
    fn a_needle_is_what_all_that_passes_must_have() {
        let raw = |text: &str| Some((text.to_owned(), false));
        let escaped = |text: &str| Some((text.to_owned(), true));
        assert_eq!(text(r#"filter @message like "ERROR""#), raw("ERROR"));
        assert_eq!(text(r#"fields a | filter level = "ERROR" | stats count(*)"#), escaped("ERROR"));
        assert_eq!(text(r#"filter level = "ERROR" and @message like /code=\d+ bad/"#), raw("code="));
        assert_eq!(text(r#"filter @message like "abc" | filter @message like "abcd""#), raw("abcd"));
        for none in [
            r#"filter level = "ERROR" or a = "bcd""#,
            r#"filter level != "ERROR""#,
            r#"filter not (level = "ERROR")"#,
            r#"filter level not like "ERROR""#,
            r#"filter status = "5000""#,
            r#"filter @type = "REPORT""#,
            r#"filter path = "/a/b/c""#,
            r#"fields concat(a, b) as level | filter level = "ERROR""#,
            r#"parse "[*]" as level | filter level = "ERROR""#,
            r#"limit 5 | filter @message like "ERROR""#,
            r#"stats count(*) as c by level | filter level = "ERROR""#,
            "filter @message like /(?i)error/",
            "filter @message like /error|warning/",
            "filter @message like /[e]rror/",
            "fields a",
        ] {
            assert_eq!(text(none), None, "{none}");
        }
    }

    #[test]
    fn a_patterns_run_is_what_it_cannot_do_without() {
        for (pattern, run) in [
            ("abc", "abc"),
            ("abc?de", "de"),
            ("ab{0,1}cdef", "cdef"),
            ("(abcdef)*gh", "gh"),
            ("a\\.b\\dlong", "long"),
            ("xab+c", "xa"),
            (r"\<abc\>d", "abc"),
            ("^x.*status\": 5", "status\": 5"),
        ] {
            assert_eq!(in_pattern(pattern).as_deref(), Some(run), "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn no_match_is_without_its_run(
            pattern in r"([abc.|?*+()\\]|\\d|\{2\}|\{0,1\}){1,9}",
            text in "[abc0.|?]{0,9}",
        ) {
            if let (Ok(regex), Some(run)) = (regex::Regex::new(&pattern), in_pattern(&pattern)) {
                prop_assert!(!regex.is_match(&text) || text.contains(&run), "{run}");
            }
        }
    }
}

//! `a*b`: texts in which each star stands for any characters, and be it none. `\*` and `\\` stand for the second one.
//!
//! Trying one takes time that is linear in the text, whatever the pattern: what comes before the first star and behind
//! the last is at the text's ends, and what is between is found from left to right, the nearest first.
//!
//! AWS tries them with a machine that follows all beginnings of the pattern at once, and refuses patterns of which one
//! text fits too many. [`is_too_complex`] counts them, so that what AWS refuses is refused here.

use std::collections::{BTreeSet, VecDeque};

use memchr::memmem::Finder;

use super::limits::{COMPLEXITY_MAX, COMPLEXITY_STEPS_MAX};

#[derive(Debug, Clone)]
pub struct Wildcard {
    first: Box<str>,
    between: Vec<Finder<'static>>,
    /// None if there is no star, so that the text has to be `first`.
    last: Option<Box<str>>,
    /// For counting its beginnings; none is a star.
    steps: Vec<Option<u8>>,
}

impl Wildcard {
    /// What is wrong with it, in AWS's words, which count the bytes from a quote before the pattern on.
    pub fn read(text: &str) -> Result<Wildcard, String> {
        let mut parts = vec![String::new()];
        let mut steps = Vec::new();
        let mut chars = text.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            let at = at.saturating_add(1);
            let after = chars.peek().map(|(_, c)| *c);
            let literal = match (c, after) {
                ('*', Some('*')) => return Err(format!("Consecutive wildcard characters at pos {at}")),
                ('*', _) => {
                    parts.push(String::new());
                    steps.push(None);
                    continue;
                }
                ('\\', Some(escaped @ ('*' | '\\'))) => {
                    chars.next();
                    escaped
                }
                ('\\', _) => return Err(format!("Invalid escape character at pos {at}")),
                (c, _) => c,
            };
            if let Some(part) = parts.last_mut() {
                part.push(literal);
            }
            steps.extend(literal.encode_utf8(&mut [0; 4]).bytes().map(Some));
        }
        let last = if parts.len() > 1 { parts.pop().map(String::into_boxed_str) } else { None };
        let mut parts = parts.into_iter();
        let first = parts.next().unwrap_or_default().into_boxed_str();
        let between = parts.map(|part| Finder::new(part.as_bytes()).into_owned()).collect();
        Ok(Wildcard { first, between, last, steps })
    }

    /// What texts begin with that fit.
    pub fn beginning(&self) -> &str {
        &self.first
    }

    pub fn fits(&self, text: &str) -> bool {
        let Some(last) = &self.last else { return *text == *self.first };
        let inner = text.strip_prefix(&*self.first).and_then(|text| text.strip_suffix(&**last));
        let Some(mut rest) = inner.map(str::as_bytes) else { return false };
        self.between.iter().all(|part| {
            let found = part.find(rest).and_then(|at| rest.get(at.saturating_add(part.needle().len())..));
            rest = found.unwrap_or_default();
            found.is_some()
        })
    }
}

/// The beginnings of several wildcards that a text fits: each the wildcard's number and how many of its steps.
type Beginnings = BTreeSet<(usize, usize)>;

/// Whether some text fits more beginnings of a field's wildcards than AWS follows.
pub fn is_too_complex(wildcards: &[&Wildcard]) -> bool {
    let mut start: Beginnings = wildcards.iter().enumerate().map(|(number, _)| (number, 0)).collect();
    pass_stars(wildcards, &mut start);
    let mut seen = BTreeSet::from([start.clone()]);
    let mut waiting = VecDeque::from([start]);
    while let Some(beginnings) = waiting.pop_front() {
        // All that may come next: what some beginning goes on with, or anything else, which stars take.
        let nexts: BTreeSet<Option<u8>> =
            beginnings.iter().map(|at| step(wildcards, *at).flatten()).chain([None]).collect();
        for next in nexts {
            let after = advance(wildcards, &beginnings, next);
            if after.len() > COMPLEXITY_MAX || seen.len() > COMPLEXITY_STEPS_MAX {
                return true;
            }
            if !after.is_empty() && seen.insert(after.clone()) {
                waiting.push_back(after);
            }
        }
    }
    false
}

fn step(wildcards: &[&Wildcard], (number, at): (usize, usize)) -> Option<Option<u8>> {
    wildcards.get(number)?.steps.get(at).copied()
}

/// The beginnings that fit a text with one more byte; none is a byte that no beginning goes on with.
fn advance(wildcards: &[&Wildcard], beginnings: &Beginnings, byte: Option<u8>) -> Beginnings {
    let mut after = Beginnings::new();
    for (number, at) in beginnings.iter().copied() {
        let is_behind_star = at.checked_sub(1).and_then(|at| step(wildcards, (number, at))) == Some(None);
        if is_behind_star {
            after.insert((number, at));
        }
        if byte.is_some() && step(wildcards, (number, at)) == Some(byte) {
            after.insert((number, at.saturating_add(1)));
        }
    }
    pass_stars(wildcards, &mut after);
    after
}

/// What fits a beginning fits it with the star that follows, too. No two stars stand together.
fn pass_stars(wildcards: &[&Wildcard], beginnings: &mut Beginnings) {
    let before_stars = beginnings.iter().filter(|at| step(wildcards, **at) == Some(None));
    let behind_stars: Vec<_> = before_stars.map(|(number, at)| (*number, at.saturating_add(1))).collect();
    beginnings.extend(behind_stars);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(pattern: &str, text: &str) -> bool {
        Wildcard::read(pattern).unwrap().fits(text)
    }

    #[test]
    fn stars_stand_for_anything() {
        assert!(fits("*", "") && fits("*", "anything") && fits("a*", "a") && fits("a*b*c", "a-b-b-c"));
        assert!(fits("*aa*aa*", "aaaa") && !fits("*aa*aa*", "aaa"));
        assert!(!fits("ab*ba", "aba") && fits("ab*ba", "abba"));
        assert!(fits("", "") && !fits("", "a") && fits("abc", "abc") && !fits("abc", "abcd"));
        assert!(fits(r"\*a\\*", r"*a\b") && !fits(r"\*", "a"));
        assert!(fits("é*ü", "éäü"));
    }

    #[test]
    fn bad_ones_are_told_with_their_place() {
        assert_eq!(Wildcard::read("ab**").unwrap_err(), "Consecutive wildcard characters at pos 3");
        assert_eq!(Wildcard::read(r"a\b").unwrap_err(), "Invalid escape character at pos 2");
        assert_eq!(Wildcard::read(r"a\").unwrap_err(), "Invalid escape character at pos 2");
    }

    #[test]
    fn complexity_is_how_many_beginnings_a_text_fits() {
        let too_complex = |texts: &[&str]| {
            let wildcards: Vec<_> = texts.iter().map(|text| Wildcard::read(text).unwrap()).collect();
            is_too_complex(&wildcards.iter().collect::<Vec<_>>())
        };
        assert!(!too_complex(&["/Users/*/dir/dir/dir/dir/dir/doc.txt"]));
        assert!(!too_complex(&["*a*a*a*a*"]));
        assert!(too_complex(&["*:*:*:*:*:event-bus/*"]));
        assert!(too_complex(&["*a*a*a*a*a*a*a*a*"]));
        assert!(!too_complex(&["*.a.*", "*.b.*"]) && too_complex(&["*.a.*", "*.b.*", "*.c.*", "*.d.*"]));
        // Long ones end, too.
        let long = format!("*{}", "ab".repeat(2_000));
        assert!(too_complex(&[&long]));
        let plain = format!("*{}", (0..900).map(|n| format!("{n:04}x")).collect::<String>());
        assert!(!too_complex(&[&plain]));
    }
}

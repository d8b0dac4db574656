//! A place in a pattern, and the tokens that all its languages have.
//!
//! Invariant: a call moves forward or not at all.

use super::Malformed;

#[derive(Debug, Clone, Copy)]
pub struct Cursor<'p> {
    text: &'p str,
    at: usize,
    /// Regular expressions that were read so far.
    pub regex_count: usize,
}

/// What terms are made of. AWS speaks of letters and digits; those of all scripts are taken.
pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// What names of fields and columns are made of.
pub fn is_name(c: char) -> bool {
    is_word(c) || c == '-'
}

fn is_odd(c: char) -> bool {
    !is_word(c) && !c.is_ascii_whitespace()
}

/// What some token begins with, beside words.
const STARTS: &str = "$()\"%&|=!<>*+-.[]";

impl<'p> Cursor<'p> {
    pub fn new(text: &'p str) -> Cursor<'p> {
        Cursor { text, at: 0, regex_count: 0 }
    }

    fn rest(&self) -> &'p str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn skip(&mut self, bytes: usize) {
        self.at = self.at.saturating_add(bytes);
    }

    pub fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub fn is_at(&self, token: &str) -> bool {
        self.rest().starts_with(token)
    }

    pub fn is_at_end(&self) -> bool {
        self.rest().is_empty()
    }

    pub fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.skip(c.len_utf8());
        Some(c)
    }

    pub fn eat(&mut self, token: &str) -> bool {
        let is_there = self.is_at(token);
        if is_there {
            self.skip(token.len());
        }
        is_there
    }

    pub fn blanks(&mut self) {
        self.take(|c| c.is_ascii_whitespace());
    }

    /// As many characters as belong to it, and be it none.
    pub fn take(&mut self, belongs: impl Fn(char) -> bool) -> &'p str {
        let rest = self.rest();
        let end = rest.find(|c| !belongs(c)).unwrap_or(rest.len());
        self.skip(end);
        rest.get(..end).unwrap_or_default()
    }

    /// What comes before the next `close`, and goes behind that.
    pub fn until(&mut self, close: char) -> Option<&'p str> {
        let (text, _) = self.rest().split_once(close)?;
        self.skip(text.len().saturating_add(close.len_utf8()));
        Some(text)
    }

    /// What was read since an earlier place.
    pub fn since(&self, earlier: &Cursor<'p>) -> &'p str {
        self.text.get(earlier.at..self.at).unwrap_or_default()
    }

    /// `"…"`, in which `\"` and `\\` stand for the second character; any other backslash is one.
    pub fn quoted(&mut self) -> Result<String, Malformed> {
        if !self.eat("\"") {
            return Err(self.unexpected());
        }
        let mut text = String::new();
        while let Some(c) = self.bump() {
            match c {
                '"' => return Ok(text),
                '\\' if self.is_at("\"") || self.is_at("\\") => text.extend(self.bump()),
                c => text.push(c),
            }
        }
        Err(Malformed::Grammar)
    }

    /// Characters here that no term may have: AWS shows all of them that stand together.
    pub fn invalid(&self) -> Malformed {
        let before = self.text.get(..self.at).unwrap_or_default();
        let start = before.trim_end_matches(is_odd).len();
        let mut run = self.text.get(start..).unwrap_or_default().chars().take_while(|c| is_odd(*c)).peekable();
        if run.peek().is_some() { Malformed::characters(run) } else { Malformed::Grammar }
    }

    /// What is here has no place: its characters are at fault if no token begins with them.
    pub fn unexpected(&self) -> Malformed {
        match self.peek() {
            Some(c) if is_odd(c) && !STARTS.contains(c) => self.invalid(),
            _ => Malformed::Grammar,
        }
    }
}

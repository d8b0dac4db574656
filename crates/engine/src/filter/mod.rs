//! CloudWatch Logs' filter patterns: which messages match, and which fields they have.
//!
//! FilterLogEvents, live tail, metric filters and subscription filters parse a pattern once, and try it on every
//! message. A pattern is of one of three languages, known by its first character:
//!
//! | file | concept |
//! |---|---|
//! | `terms` | `ERROR -"not found" ?a ?b`: substrings of the message |
//! | `json`, `scan` | `{ $.level = "ERROR" && … }`: fields of a message that is one JSON value, read where it lies |
//! | `columns` | `[ip, user, ..., status = 4*]`: fields parted by blanks |
//! | `logic`, `comparison`, `expression` | what the languages share: `&&`, `||` and `()`; operators; `%regex%` |
//! | `needle` | what every match contains, to find the few messages in a large block that can match at all |
//! | `together` | many patterns tried at once |
//! | `transformation` | the point that a metric filter makes of a match |
//!
//! **Invariants.** The time that a pattern takes is linear in the message, and so is parsing in the pattern, whoever
//! wrote them. A message that matches contains a needle, where there are any.
//!
//! Follows "Filter pattern syntax" of the CloudWatch Logs user guide. What is not said there is decided in favour of
//! matching text as it is written; each such choice is at its place. How many patterns with regular expressions a log
//! group may have is the caller's to count ([`Filter::regex_count`]).

mod columns;
mod comparison;
mod cursor;
mod expression;
mod json;
mod logic;
mod needle;
#[cfg(test)]
mod property;
mod scan;
mod terms;
#[cfg(test)]
mod tests;
mod together;
mod transformation;

use std::fmt;

use memchr::memmem::Finder;

use columns::Columns;
use cursor::Cursor;
use json::{Json, Selector};
use terms::Terms;

pub use needle::Candidates;
pub use together::{Fields, Together};
pub use transformation::{Invalid, Transformation};

/// Longest pattern, in characters. The API's description refuses longer ones in its own words before.
const PATTERN_CHARS_MAX: usize = 1_024;

/// A pattern, ready to be tried.
#[derive(Debug, Clone)]
pub struct Filter {
    language: Language,
    /// A match contains one of them at least; none, if nothing is known.
    needles: Vec<Finder<'static>>,
    regex_count: usize,
}

/// What a pattern speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Everything,
    Terms,
    Json,
    Delimited,
}

#[derive(Debug, Clone)]
enum Language {
    Everything,
    Terms(Terms),
    Json(Json),
    Columns(Columns),
}

/// Why a pattern is none. It is displayed as FilterLogEvents words it; operations on metric filters say `Invalid metric
/// filter pattern` of bad grammar, and live tail puts `Invalid filter pattern: ` in front of bad characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Malformed {
    /// Characters that no term may have.
    Characters(String),
    /// It begins with `{` and does not end with `}`.
    Brace,
    /// It begins with `[` and does not end with `]`.
    Bracket,
    /// Anything else.
    Grammar,
}

impl Filter {
    pub fn parse(pattern: &str) -> Result<Filter, Malformed> {
        if pattern.chars().count() > PATTERN_CHARS_MAX {
            return Err(Malformed::Grammar);
        }
        let text = pattern.trim_ascii();
        let (kind, text) = match text.chars().next() {
            None => (Kind::Everything, text),
            Some('{') => (Kind::Json, inside(text, '{', '}').ok_or(Malformed::Brace)?),
            Some('[') => (Kind::Delimited, inside(text, '[', ']').ok_or(Malformed::Bracket)?),
            Some(_) => (Kind::Terms, text),
        };
        let mut cursor = Cursor::new(text);
        let language = match kind {
            Kind::Everything => Language::Everything,
            Kind::Terms => Language::Terms(Terms::parse(&mut cursor)?),
            Kind::Json => Language::Json(Json::parse(&mut cursor)?),
            Kind::Delimited => Language::Columns(Columns::parse(&mut cursor)?),
        };
        let needles = match &language {
            Language::Everything => Vec::new(),
            Language::Terms(terms) => terms.needles().finders(),
            Language::Json(json) => json.needles().finders(),
            Language::Columns(columns) => columns.needles().finders(),
        };
        Ok(Filter { language, needles, regex_count: cursor.regex_count })
    }

    pub fn kind(&self) -> Kind {
        match &self.language {
            Language::Everything => Kind::Everything,
            Language::Terms(_) => Kind::Terms,
            Language::Json(_) => Kind::Json,
            Language::Columns(_) => Kind::Delimited,
        }
    }

    /// How many regular expressions it has.
    pub fn regex_count(&self) -> usize {
        self.regex_count
    }

    /// Whether this message matches.
    pub fn matches(&self, message: &str) -> bool {
        match &self.language {
            Language::Everything => true,
            Language::Terms(terms) => terms.matches(message),
            Language::Json(json) => self.has_needle(message) && json.matches(message),
            Language::Columns(columns) => self.has_needle(message) && columns.matches(message),
        }
    }

    /// The fields that the pattern names, in the pattern's order and by AWS's names, or nothing if there is no match.
    /// Terms name none. Fields of JSON are named as in the pattern, columns by `$` and their name or number.
    pub fn extract(&self, message: &str) -> Option<Vec<(String, String)>> {
        match &self.language {
            Language::Json(json) if self.has_needle(message) => json.extract(message),
            Language::Columns(columns) if self.has_needle(message) => columns.extract(message),
            _ => self.matches(message).then(Vec::new),
        }
    }

    /// Literals of which every message that matches contains one at least; none, if nothing is known.
    pub fn needles(&self) -> impl Iterator<Item = &[u8]> {
        self.needles.iter().map(Finder::needle)
    }

    /// Where in a block of messages, one behind the other, there may be a match.
    pub fn candidates<'a>(&'a self, block: &'a [u8]) -> Candidates<'a> {
        Candidates::new(block, &self.needles)
    }

    /// Extracts one more field, where messages are JSON.
    fn watch(&mut self, selector: Selector) {
        if let Language::Json(json) = &mut self.language {
            json.watch(selector);
        }
    }

    fn has_needle(&self, message: &str) -> bool {
        self.needles.is_empty() || self.needles.iter().any(|needle| needle.find(message.as_bytes()).is_some())
    }
}

fn inside(text: &str, open: char, close: char) -> Option<&str> {
    text.strip_prefix(open)?.strip_suffix(close)
}

impl Malformed {
    fn characters(run: impl Iterator<Item = char>) -> Malformed {
        Malformed::Characters(run.map(|c| if c.is_ascii() { c } else { '?' }).collect())
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Malformed::Characters(run) => write!(f, "Invalid character(s) in term '{run}'"),
            Malformed::Brace => f.write_str("If a filter pattern starts with '{' it must end with '}'"),
            Malformed::Bracket => f.write_str("If a filter pattern starts with '[' it must end with ']'"),
            Malformed::Grammar => f.write_str("Invalid filter pattern"),
        }
    }
}

impl std::error::Error for Malformed {}

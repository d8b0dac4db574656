//! `%…%`: a regular expression of AWS's few operators, put into the words of the `regex` crate.
//!
//! It is searched for anywhere in a text. It has no groups, no references and no flags, and its characters are ASCII
//! alone. `\d`, `\s` and `\w` mean ASCII. `.` is any character at all. `$` is the end, and also what comes before a
//! line's last break, as in Java: lines of functions end with one.

use regex::{Regex, RegexBuilder};

use super::Malformed;
use super::cursor::Cursor;

/// AWS allows two in a pattern that names fields, and in every pattern that searches. Terms have the same limit here.
const PER_PATTERN_MAX: usize = 2;

/// What a compiled expression may take: counts such as `{1,500}` multiply, and time with them.
const COMPILED_BYTES_MAX: usize = 16 * 1024;

const SYMBOLS: &str = " :_#=@/;,-";
const OPERATORS: &str = "^$?[]{}|\\*+.";

#[derive(Debug, Clone)]
pub struct Expression(Regex);

enum Atom {
    Char(char),
    Class(&'static str),
}

impl Expression {
    /// Reads it with its percent signs, the first of which the cursor is at.
    pub fn read(cursor: &mut Cursor<'_>) -> Result<Expression, Malformed> {
        cursor.eat("%");
        let text = cursor.until('%').ok_or_else(|| cursor.invalid())?;
        if text.is_empty() {
            return Err(cursor.invalid());
        }
        let mut odd = text.chars().skip_while(|c| is_allowed(*c)).take_while(|c| !is_allowed(*c)).peekable();
        if odd.peek().is_some() {
            return Err(Malformed::characters(odd));
        }
        cursor.regex_count = cursor.regex_count.saturating_add(1);
        if cursor.regex_count > PER_PATTERN_MAX {
            return Err(Malformed::Grammar);
        }
        compile(text).map(Expression).ok_or(Malformed::Grammar)
    }

    pub fn is_in(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

fn is_allowed(c: char) -> bool {
    c.is_ascii_alphanumeric() || SYMBOLS.contains(c) || OPERATORS.contains(c)
}

fn compile(text: &str) -> Option<Regex> {
    let mut cursor = Cursor::new(text);
    let mut words = String::new();
    while let Some(c) = cursor.peek() {
        match c {
            '[' => class(&mut cursor, &mut words)?,
            '{' => count(&mut cursor, &mut words)?,
            '$' => words.extend(cursor.bump().map(|_| r"(?:\n?\z)")),
            '^' | '?' | '*' | '+' | '|' | '.' => words.extend(cursor.bump()),
            _ => match atom(&mut cursor)? {
                Atom::Char(c) => literal(&mut words, c),
                Atom::Class(class) => words.push_str(class),
            },
        }
    }
    RegexBuilder::new(&words).dot_matches_new_line(true).size_limit(COMPILED_BYTES_MAX).build().ok()
}

fn literal(words: &mut String, c: char) {
    words.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
}

/// A character, or what a backslash makes of those behind it.
fn atom(cursor: &mut Cursor<'_>) -> Option<Atom> {
    let c = cursor.bump()?;
    if c != '\\' {
        return Some(Atom::Char(c));
    }
    Some(match cursor.bump()? {
        'd' => Atom::Class("[0-9]"),
        'D' => Atom::Class("[^0-9]"),
        's' => Atom::Class(r"[ \t\n]"),
        'S' => Atom::Class(r"[^ \t\n]"),
        'w' => Atom::Class("[A-Za-z0-9_]"),
        'W' => Atom::Class("[^A-Za-z0-9_]"),
        'x' => {
            let (high, low) = (cursor.bump()?.to_digit(16)?, cursor.bump()?.to_digit(16)?);
            let code = high.checked_mul(16)?.checked_add(low)?;
            Atom::Char(char::from_u32(code).filter(char::is_ascii)?)
        }
        c if !c.is_ascii_alphanumeric() => Atom::Char(c),
        _ => return None,
    })
}

/// `[…]`, which holds something at least. A hyphen between two characters makes a range, any other is itself.
fn class(cursor: &mut Cursor<'_>, words: &mut String) -> Option<()> {
    words.extend(cursor.bump());
    if cursor.is_at("^") {
        words.extend(cursor.bump());
    }
    if cursor.is_at("]") {
        return None;
    }
    while !cursor.eat("]") {
        match atom(cursor)? {
            Atom::Class(class) => words.push_str(class),
            Atom::Char(from) => {
                literal(words, from);
                if !cursor.is_at("-]") && cursor.eat("-") {
                    let Atom::Char(to) = atom(cursor)? else { return None };
                    words.push('-');
                    literal(words, to);
                }
            }
        }
    }
    words.push(']');
    Some(())
}

/// `{m}`, `{m,n}`, `{m,}` or `{,n}`.
fn count(cursor: &mut Cursor<'_>, words: &mut String) -> Option<()> {
    cursor.bump();
    let text = cursor.until('}')?;
    if text.is_empty() || !text.chars().all(|c| c.is_ascii_digit() || c == ',') {
        return None;
    }
    let least = if text.starts_with(',') { "0" } else { "" };
    words.push('{');
    words.push_str(least);
    words.push_str(text);
    words.push('}');
    Some(())
}

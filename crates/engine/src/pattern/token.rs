//! The tokens of a pattern's JSON, one by one, and where in the text the reader stands.
//!
//! AWS shows that place in its errors, and reads with a parser whose habits show in it: it looks at the value behind a
//! member's name together with the name, and reads a text only when somebody asks for it. Both are kept to here.
//!
//! Invariant: a call moves forward, or fails.

use std::mem;

use super::Malformed;
use super::limits::PATTERN_DEPTH_MAX;

#[derive(Debug, Clone, PartialEq)]
pub enum Token {
    ObjectStart,
    ObjectEnd,
    ArrayStart,
    ArrayEnd,
    Name(String),
    Text(String),
    /// As it is written.
    Number(String),
    True,
    False,
    Null,
}

impl Token {
    /// How errors show it.
    pub fn text(&self) -> &str {
        match self {
            Token::ObjectStart => "{",
            Token::ObjectEnd => "}",
            Token::ArrayStart => "[",
            Token::ArrayEnd => "]",
            Token::Name(text) | Token::Text(text) | Token::Number(text) => text,
            Token::True => "true",
            Token::False => "false",
            Token::Null => "null",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Level {
    Object,
    Array,
}

const VALUES: &str = "(JSON String, Number, Array, Object or token 'null', 'true' or 'false')";
/// How much of a pattern errors show, in characters.
const SHOWN_CHARS_MAX: usize = 500;

#[derive(Debug)]
pub struct Tokens<'p> {
    text: &'p str,
    /// Where reading goes on.
    at: usize,
    /// What AWS would call the current place: `at`, or within a text that nobody asked for yet.
    place: usize,
    levels: Vec<Level>,
    /// Whether the innermost level has a member or element already.
    is_begun: bool,
    /// The value that was read together with its name.
    ahead: Option<Token>,
}

impl<'p> Tokens<'p> {
    pub fn new(text: &'p str) -> Tokens<'p> {
        Tokens { text, at: 0, place: 0, levels: Vec::new(), is_begun: false, ahead: None }
    }

    pub fn next(&mut self) -> Result<Token, Malformed> {
        if let Some(token) = self.ahead.take() {
            return Ok(token);
        }
        self.place = self.at;
        self.blanks();
        let Some(mut c) = self.peek() else { return Err(self.cut_off()) };
        if matches!(c, '}' | ']') {
            return self.close(c);
        }
        if mem::replace(&mut self.is_begun, true) && !self.levels.is_empty() {
            c = self.comma(c)?;
        }
        if self.levels.last() != Some(&Level::Object) {
            return self.value(c);
        }
        let name = self.name(c)?;
        let first = self.peek().ok_or_else(|| self.cut_off())?;
        self.ahead = Some(self.value(first)?);
        Ok(Token::Name(name))
    }

    /// The text that came last was asked for, so the reader stands behind it.
    pub fn take_text(&mut self) {
        self.place = self.at;
    }

    /// Whether nothing but blanks is left.
    pub fn finish(&mut self) -> Result<(), Malformed> {
        self.blanks();
        match self.peek() {
            None => Ok(()),
            Some(c) => Err(self.unexpected(c, "expected the end of the pattern")),
        }
    }

    /// What is wrong, at the place where the reader stands.
    pub fn fail(&self, reason: impl AsRef<str>) -> Malformed {
        self.fail_at(self.place, reason.as_ref())
    }

    fn fail_at(&self, place: usize, reason: &str) -> Malformed {
        let shown: String = self.text.chars().take(SHOWN_CHARS_MAX).collect();
        let hidden_count = self.text.chars().count().saturating_sub(SHOWN_CHARS_MAX);
        let hidden = if hidden_count > 0 { format!("[truncated {hidden_count} chars]") } else { String::new() };
        let (line, column) = self.locate(place);
        Malformed::new(format!("{reason}\n at [Source: (String)\"{shown}\"{hidden}; line: {line}, column: {column}]"))
    }

    /// Line and column, each from one on.
    fn locate(&self, place: usize) -> (usize, usize) {
        let before = self.text.get(..place).unwrap_or_default();
        let line = before.rsplit('\n').next().unwrap_or_default();
        (before.split('\n').count(), line.encode_utf16().count().saturating_add(1))
    }

    fn unexpected(&self, c: char, why: &str) -> Malformed {
        self.fail_at(self.at, &format!("Unexpected character ('{c}' (code {})): {why}", u32::from(c)))
    }

    fn cut_off(&self) -> Malformed {
        let what = match self.levels.last() {
            None => "No content to map due to end-of-input",
            Some(Level::Object) => "Unexpected end-of-input: expected close marker for Object",
            Some(Level::Array) => "Unexpected end-of-input: expected close marker for Array",
        };
        self.fail_at(self.text.len(), what)
    }

    fn rest(&self) -> &'p str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn skip(&mut self, bytes: usize) {
        self.at = self.at.saturating_add(bytes);
    }

    fn blanks(&mut self) {
        let rest = self.rest();
        self.skip(rest.len().saturating_sub(rest.trim_start_matches([' ', '\t', '\n', '\r']).len()));
    }

    /// As many characters as belong, and be it none.
    fn run(&mut self, belongs: impl Fn(char) -> bool) -> &'p str {
        let rest = self.rest();
        let end = rest.find(|c| !belongs(c)).unwrap_or(rest.len());
        self.skip(end);
        rest.get(..end).unwrap_or_default()
    }

    fn close(&mut self, c: char) -> Result<Token, Malformed> {
        let (level, token) = match c {
            '}' => (Level::Object, Token::ObjectEnd),
            _ => (Level::Array, Token::ArrayEnd),
        };
        if self.levels.last() != Some(&level) {
            return Err(self.unexpected(c, "expected a value"));
        }
        self.levels.pop();
        self.is_begun = true;
        self.skip(1);
        self.place = self.at;
        Ok(token)
    }

    /// The comma before a member or element that is not the first, and what it begins with.
    fn comma(&mut self, c: char) -> Result<char, Malformed> {
        if c != ',' {
            let kind = if self.levels.last() == Some(&Level::Object) { "Object" } else { "Array" };
            return Err(self.unexpected(c, &format!("was expecting comma to separate {kind} entries")));
        }
        self.skip(1);
        self.blanks();
        self.peek().ok_or_else(|| self.cut_off())
    }

    fn name(&mut self, c: char) -> Result<String, Malformed> {
        if c != '"' {
            return Err(self.unexpected(c, "was expecting double-quote to start field name"));
        }
        let name = self.quoted()?;
        self.blanks();
        match self.peek() {
            Some(':') => self.skip(1),
            Some(c) => return Err(self.unexpected(c, "was expecting a colon to separate field name and value")),
            None => return Err(self.cut_off()),
        }
        self.blanks();
        Ok(name)
    }

    fn value(&mut self, c: char) -> Result<Token, Malformed> {
        let token = match c {
            '"' => {
                self.place = self.at.saturating_add(1);
                return self.quoted().map(Token::Text);
            }
            '{' => self.open(Level::Object, Token::ObjectStart)?,
            '[' => self.open(Level::Array, Token::ArrayStart)?,
            '-' | '0'..='9' => self.number()?,
            c if c.is_alphabetic() || matches!(c, '_' | '$') => self.word()?,
            '}' | ']' => return Err(self.unexpected(c, "expected a value")),
            _ => return Err(self.unexpected(c, &format!("expected a valid value {VALUES}"))),
        };
        self.place = self.at;
        Ok(token)
    }

    fn open(&mut self, level: Level, token: Token) -> Result<Token, Malformed> {
        if self.levels.len() >= PATTERN_DEPTH_MAX {
            let depth = self.levels.len().saturating_add(1);
            return Err(self
                .fail(format!("Document nesting depth ({depth}) exceeds the maximum allowed ({PATTERN_DEPTH_MAX})")));
        }
        self.levels.push(level);
        self.is_begun = false;
        self.skip(1);
        Ok(token)
    }

    fn word(&mut self) -> Result<Token, Malformed> {
        match self.run(|c| c.is_alphanumeric() || matches!(c, '_' | '$')) {
            "true" => Ok(Token::True),
            "false" => Ok(Token::False),
            "null" => Ok(Token::Null),
            word => Err(self.fail_at(self.at, &format!("Unrecognized token '{word}': was expecting {VALUES}"))),
        }
    }

    fn number(&mut self) -> Result<Token, Malformed> {
        let start = self.at;
        let text = self.run(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.'));
        if !is_number(text) {
            return Err(self.fail_at(start, &format!("Malformed numeric value ({text})")));
        }
        Ok(Token::Number(text.to_owned()))
    }

    /// `"…"`: its end is found here, its escapes are read by the JSON reader.
    fn quoted(&mut self) -> Result<String, Malformed> {
        let rest = self.rest();
        let mut is_escaped = false;
        let end = rest.bytes().skip(1).position(|byte| {
            let ends = byte == b'"' && !is_escaped;
            is_escaped = byte == b'\\' && !is_escaped;
            ends
        });
        let length = end.map_or(rest.len(), |end| end.saturating_add(2));
        let text = serde_json::from_str(rest.get(..length).unwrap_or_default());
        let text = text.map_err(|_| self.fail_at(self.at, "Malformed text"))?;
        self.skip(length);
        Ok(text)
    }
}

/// Whether JSON has such a number.
fn is_number(text: &str) -> bool {
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let text = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, decimals) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
    is_digits(whole) && (whole == "0" || !whole.starts_with('0')) && is_digits(decimals) && is_digits(exponent)
}

//! A query's text as tokens, with the place of each, and the error that points at one.
//!
//! The parser asks for one token after another and says where a regular expression may be: only it knows whether `/`
//! divides. Strings and comments are read whole, so that a `|` in them parts no commands.

use std::borrow::Cow;

/// Why a query is none, in AWS's words, and where: in characters from 0, the last one included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    pub message: String,
    pub start: usize,
    pub end: usize,
}

/// Bytes of the query, the end excluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Token<'q> {
    /// A name, which may be a keyword unless it is quoted.
    Word {
        name: Cow<'q, str>,
        is_quoted: bool,
    },
    Number(&'q str),
    Text(String),
    Symbol(&'static str),
    End,
}

/// The longer ones first.
const SYMBOLS: &[&str] = &[
    "!=", "<=", ">=", "=~", "==", "|", "(", ")", "[", "]", ",", "=", "<", ">", "+", "-", "*", "/", "%", "^", ".", ":",
];

pub struct Lexer<'q> {
    text: &'q str,
    at: usize,
}

impl Malformed {
    fn at(text: &str, span: Span, message: String) -> Malformed {
        let chars = |end: usize| text.get(..end).map_or(0, |before| before.chars().count());
        let start = chars(span.start);
        Malformed { message, start, end: chars(span.end).saturating_sub(1).max(start) }
    }
}

impl<'q> Lexer<'q> {
    pub fn new(text: &'q str) -> Lexer<'q> {
        Lexer { text, at: 0 }
    }

    pub fn slice(&self, span: Span) -> &'q str {
        self.text.get(span.start..span.end).unwrap_or_default()
    }

    /// Of whatever should not be there.
    pub fn unexpected(&self, span: Span) -> Malformed {
        let symbol = if span.start >= self.text.len() { "<EOF>" } else { self.slice(span) };
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = before.matches('\n').count().saturating_add(1);
        let position = before.rsplit('\n').next().unwrap_or(before).chars().count();
        let message = format!("unexpected symbol found {symbol} at line {line} and position {position}");
        Malformed::at(self.text, span, message)
    }

    /// Of what reads well and means nothing: the place is part of the message.
    pub fn refused(&self, span: Span, message: &str) -> Malformed {
        let mut refused = Malformed::at(self.text, span, String::new());
        refused.message = format!("{message} ([{},{}])", refused.start, refused.end);
        refused
    }

    /// Without a place in the message.
    pub fn failed(&self, span: Span, message: &str) -> Malformed {
        Malformed::at(self.text, span, message.to_owned())
    }

    pub fn token(&mut self) -> Result<(Token<'q>, Span), Malformed> {
        self.skip_blanks();
        let start = self.at;
        let Some(first) = self.peek() else { return Ok((Token::End, Span { start, end: start })) };
        let token = match first {
            '"' | '\'' => Token::Text(self.quoted(first)?),
            first if first.is_ascii_digit() => self.number(),
            first if is_name_start(first) => self.word()?,
            _ => {
                let rest = self.text.get(start..).unwrap_or_default();
                let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) else {
                    return Err(self.unexpected(Span { start, end: start.saturating_add(first.len_utf8()) }));
                };
                self.at = start.saturating_add(symbol.len());
                Token::Symbol(symbol)
            }
        };
        Ok((token, Span { start, end: self.at }))
    }

    /// The regular expression whose first slash, a token of its own before, begins at `start`.
    pub fn regex(&mut self, start: usize) -> Result<(String, Span), Malformed> {
        self.at = start.saturating_add(1);
        let mut pattern = String::new();
        while let Some(char) = self.bump() {
            match char {
                '/' => return Ok((pattern, Span { start, end: self.at })),
                '\\' => match self.bump() {
                    Some('/') => pattern.push('/'),
                    Some(escaped) => pattern.extend(['\\', escaped]),
                    None => break,
                },
                char => pattern.push(char),
            }
        }
        Err(self.unexpected(Span { start, end: self.text.len() }))
    }

    fn peek(&self) -> Option<char> {
        self.text.get(self.at..)?.chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let char = self.peek()?;
        self.at = self.at.saturating_add(char.len_utf8());
        Some(char)
    }

    fn skip_blanks(&mut self) {
        while let Some(char) = self.peek() {
            if char == '#' {
                while self.bump().is_some_and(|char| char != '\n') {}
            } else if char.is_whitespace() {
                self.bump();
            } else {
                return;
            }
        }
    }

    fn quoted(&mut self, quote: char) -> Result<String, Malformed> {
        let start = self.at;
        self.bump();
        let mut text = String::new();
        while let Some(char) = self.bump() {
            match char {
                char if char == quote => return Ok(text),
                '\\' => match self.bump() {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('r') => text.push('\r'),
                    Some(escaped @ ('"' | '\'' | '\\')) => text.push(escaped),
                    Some(other) => text.extend(['\\', other]),
                    None => break,
                },
                char => text.push(char),
            }
        }
        Err(self.unexpected(Span { start, end: self.text.len() }))
    }

    fn number(&mut self) -> Token<'q> {
        let start = self.at;
        self.skip_digits();
        let rest = self.text.get(self.at..).unwrap_or_default();
        if rest.strip_prefix('.').is_some_and(|rest| rest.starts_with(|char: char| char.is_ascii_digit())) {
            self.bump();
            self.skip_digits();
        }
        Token::Number(self.slice(Span { start, end: self.at }))
    }

    fn skip_digits(&mut self) {
        while self.peek().is_some_and(|char| char.is_ascii_digit()) {
            self.bump();
        }
    }

    /// Plain and quoted parts, which stand beside each other without a blank.
    fn word(&mut self) -> Result<Token<'q>, Malformed> {
        let start = self.at;
        let mut quoted: Option<String> = None;
        while let Some(char) = self.peek() {
            if char == '`' {
                let before = self.slice(Span { start, end: self.at });
                let name = quoted.get_or_insert_with(|| before.to_owned());
                let opened = self.at.saturating_add(1);
                let Some(length) = self.text.get(opened..).and_then(|rest| rest.find('`')) else {
                    return Err(self.unexpected(Span { start, end: self.text.len() }));
                };
                let closed = opened.saturating_add(length);
                name.push_str(self.text.get(opened..closed).unwrap_or_default());
                self.at = closed.saturating_add(1);
            } else if is_name(char) {
                if let Some(name) = &mut quoted {
                    name.push(char);
                }
                self.bump();
            } else {
                break;
            }
        }
        let is_quoted = quoted.is_some();
        let name = quoted.map_or_else(|| Cow::Borrowed(self.slice(Span { start, end: self.at })), Cow::Owned);
        Ok(Token::Word { name, is_quoted })
    }
}

fn is_name_start(char: char) -> bool {
    char.is_alphabetic() || matches!(char, '_' | '@' | '`')
}

fn is_name(char: char) -> bool {
    char.is_alphanumeric() || matches!(char, '_' | '@' | '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Result<Vec<String>, Malformed> {
        let mut lexer = Lexer::new(text);
        let mut found = Vec::new();
        loop {
            match lexer.token()? {
                (Token::End, _) => return Ok(found),
                (Token::Text(text), _) => found.push(format!("<{text}>")),
                (Token::Word { name, .. }, _) => found.push(name.into_owned()),
                (Token::Number(number), _) => found.push(format!("#{number}")),
                (Token::Symbol(symbol), _) => found.push(symbol.to_owned()),
            }
        }
    }

    #[test]
    fn names_strings_and_comments_are_read_whole() {
        let text = "a.`b-c`.0 @@x!=\"x|#\\\"\" # it's | nothing\n5m 1.5 'é\\d'";
        assert_eq!(words(text).unwrap(), ["a.b-c.0", "@@x", "!=", "<x|#\">", "#5", "m", "#1.5", "<é\\d>"]);
    }

    #[test]
    fn an_error_counts_characters_and_lines() {
        let refused = words("é é\n §").unwrap_err();
        assert_eq!(refused.message, "unexpected symbol found § at line 2 and position 1");
        assert_eq!((refused.start, refused.end), (5, 5));
        assert_eq!(words("a 'b").unwrap_err().message, "unexpected symbol found 'b at line 1 and position 2");
        assert_eq!(words("a `b").unwrap_err().start, 2);
    }

    #[test]
    fn a_slash_begins_what_the_parser_says() {
        let mut lexer = Lexer::new("like /a\\/b|\"\\d/ x");
        lexer.token().unwrap();
        let (token, span) = lexer.token().unwrap();
        assert_eq!(token, Token::Symbol("/"));
        assert_eq!(lexer.regex(span.start).unwrap().0, "a/b|\"\\d");
        assert_eq!(lexer.token().unwrap().0, Token::Word { name: "x".into(), is_quoted: false });
    }
}

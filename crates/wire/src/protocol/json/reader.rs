//! A pull reader of JSON: one pass, no tree, the same code over bytes in memory and over a spooled file.
//!
//! It checks the whole grammar of RFC 8259, also of what is skipped, and holds no more than one string at a time.

use std::io::BufRead;

use crate::limits::NUMBER_BYTES_MAX;
use crate::protocol::DecodeError;
use crate::protocol::base64::Decoder;
use crate::protocol::budget::Budget;

type Result<T> = std::result::Result<T, DecodeError>;

/// What begins at the reader's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token {
    Object,
    Array,
    String,
    Number,
    True,
    False,
    Null,
}

pub struct Reader<'a, R> {
    input: R,
    /// How many bytes lie behind, for messages.
    offset: u64,
    /// The key or number read last.
    text: Vec<u8>,
    pub budget: Budget<'a>,
}

impl<'a, R: BufRead> Reader<'a, R> {
    pub fn new(input: R, budget: Budget<'a>) -> Self {
        Self { input, offset: 0, text: Vec::new(), budget }
    }

    /// What comes next, without taking it.
    pub fn peek(&mut self) -> Result<Token> {
        match self.peek_byte()? {
            Some(b'{') => Ok(Token::Object),
            Some(b'[') => Ok(Token::Array),
            Some(b'"') => Ok(Token::String),
            Some(b'-' | b'0'..=b'9') => Ok(Token::Number),
            Some(b't') => Ok(Token::True),
            Some(b'f') => Ok(Token::False),
            Some(b'n') => Ok(Token::Null),
            other => Err(self.unexpected(other)),
        }
    }

    /// True when nothing but white space is left.
    pub fn at_end(&mut self) -> Result<bool> {
        Ok(self.peek_byte()?.is_none())
    }

    /// Takes the opening bracket that `peek` saw. Follow with `next_key` or `next_element` until they say no.
    pub fn open(&mut self) -> Result<()> {
        self.budget.descend()?;
        self.advance(1);
        Ok(())
    }

    /// Whether the object has another member, whose key is then in `key`.
    pub fn next_key(&mut self, first: bool) -> Result<bool> {
        if !self.next_item(first, b'}')? {
            return Ok(false);
        }
        if self.peek_byte()? != Some(b'"') {
            return Err(self.unexpected_here());
        }
        self.text.clear();
        let mut text = std::mem::take(&mut self.text);
        let room = self.budget.text_bytes_left();
        self.string_pieces(|_, piece| {
            if text.len().saturating_add(piece.len()) > room {
                return Err(DecodeError::TooLarge("the body has too much text"));
            }
            text.extend_from_slice(piece);
            Ok(())
        })?;
        self.text = text;
        self.expect(b':')?;
        Ok(true)
    }

    /// The key that `next_key` found.
    pub fn key(&self) -> Result<&str> {
        std::str::from_utf8(&self.text).map_err(|_| DecodeError::Malformed("Invalid UTF-8 in a key".into()))
    }

    /// Whether the array has another element.
    pub fn next_element(&mut self, first: bool) -> Result<bool> {
        self.next_item(first, b']')
    }

    fn next_item(&mut self, first: bool, close: u8) -> Result<bool> {
        match self.peek_byte()? {
            Some(byte) if byte == close => {
                self.advance(1);
                self.budget.ascend();
                return Ok(false);
            }
            Some(b',') if !first => self.advance(1),
            Some(_) if first => return Ok(true),
            other => return Err(self.unexpected(other)),
        }
        // A comma promises one more.
        match self.peek_byte()? {
            Some(byte) if byte == close => Err(self.unexpected(Some(byte))),
            _ => Ok(true),
        }
    }

    pub fn literal(&mut self, token: Token) -> Result<()> {
        let word: &[u8] = match token {
            Token::True => b"true",
            Token::False => b"false",
            _ => b"null",
        };
        for expected in word {
            match self.byte()? {
                Some(byte) if byte == *expected => self.advance(1),
                other => return Err(self.unexpected(other)),
            }
        }
        match self.byte()? {
            Some(byte) if byte.is_ascii_alphanumeric() => Err(self.unexpected(Some(byte))),
            _ => Ok(()),
        }
    }

    /// A string, charged to the budget.
    pub fn string(&mut self) -> Result<String> {
        let mut text = Vec::new();
        self.string_pieces(|budget, piece| {
            budget.charge_text(piece.len())?;
            text.extend_from_slice(piece);
            Ok(())
        })?;
        String::from_utf8(text).map_err(|_| DecodeError::Malformed("Invalid UTF-8 in a string".into()))
    }

    /// A string as the blob that it is the base64 of.
    pub fn blob(&mut self) -> Result<crate::Blob> {
        let mut decoder = Decoder::default();
        self.string_pieces(|budget, piece| decoder.push(piece, budget))?;
        decoder.finish(&mut self.budget)
    }

    /// A number as it is spelled.
    pub fn number(&mut self) -> Result<&str> {
        self.text.clear();
        while let Some(byte @ (b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')) = self.byte()? {
            if self.text.len() >= NUMBER_BYTES_MAX {
                return Err(DecodeError::TooLarge("the body has a number of too many digits"));
            }
            self.text.push(byte);
            self.advance(1);
        }
        match std::str::from_utf8(&self.text) {
            Ok(number) if is_number(number.as_bytes()) => Ok(number),
            _ => Err(DecodeError::Malformed(format!("Invalid number at byte {}", self.offset))),
        }
    }

    /// Reads over a value of any kind.
    pub fn skip(&mut self) -> Result<()> {
        match self.peek()? {
            Token::Object => {
                self.open()?;
                let mut first = true;
                while self.next_key(first)? {
                    first = false;
                    self.skip()?;
                }
                Ok(())
            }
            Token::Array => {
                self.open()?;
                let mut first = true;
                while self.next_element(first)? {
                    first = false;
                    self.skip()?;
                }
                Ok(())
            }
            Token::String => self.string_pieces(|_, _| Ok(())),
            Token::Number => self.number().map(drop),
            literal => self.literal(literal),
        }
    }

    /// Reads a string, giving out its bytes piece by piece with escapes resolved.
    fn string_pieces(&mut self, mut take: impl FnMut(&mut Budget<'a>, &[u8]) -> Result<()>) -> Result<()> {
        self.advance(1);
        loop {
            let window = self.input.fill_buf().map_err(DecodeError::Read)?;
            let stops = |byte: &u8| *byte < b' ' || *byte == b'"' || *byte == b'\\';
            let plain = window.iter().position(stops).unwrap_or(window.len());
            let (piece, rest) = window.split_at(plain);
            if !piece.is_empty() {
                take(&mut self.budget, piece)?;
            }
            let stop = rest.first().copied();
            self.advance(plain);
            match stop {
                Some(b'"') => {
                    self.advance(1);
                    return Ok(());
                }
                Some(b'\\') => {
                    self.advance(1);
                    let letter = self.escape()?;
                    take(&mut self.budget, letter.encode_utf8(&mut [0; 4]).as_bytes())?;
                }
                Some(control) => return Err(self.unexpected(Some(control))),
                None if plain == 0 => return Err(self.unexpected(None)),
                None => {}
            }
        }
    }

    /// The character behind a backslash.
    fn escape(&mut self) -> Result<char> {
        let byte = self.byte()?;
        self.advance(usize::from(byte.is_some()));
        Ok(match byte {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode_escape(),
            other => return Err(self.unexpected(other)),
        })
    }

    fn unicode_escape(&mut self) -> Result<char> {
        let first = self.hex()?;
        if let Some(letter) = char::from_u32(first) {
            return Ok(letter);
        }
        // A surrogate: only a pair of them, high then low, names a character.
        let pair = first < 0xdc00 && self.byte()? == Some(b'\\');
        if pair {
            self.advance(1);
            if self.byte()? == Some(b'u') {
                self.advance(1);
                let second = self.hex()?;
                if let Some(Ok(letter)) = char::decode_utf16([first as u16, second as u16]).next() {
                    return Ok(letter);
                }
            }
        }
        Err(DecodeError::Malformed(format!("Incomplete surrogate pair at byte {}", self.offset)))
    }

    fn hex(&mut self) -> Result<u32> {
        let mut code = 0;
        for _ in 0..4 {
            let byte = self.byte()?;
            let digit = byte.and_then(|byte| char::from(byte).to_digit(16)).ok_or_else(|| self.unexpected(byte))?;
            code = code << 4 | digit;
            self.advance(1);
        }
        Ok(code)
    }

    fn expect(&mut self, wanted: u8) -> Result<()> {
        match self.peek_byte()? {
            Some(byte) if byte == wanted => {
                self.advance(1);
                Ok(())
            }
            other => Err(self.unexpected(other)),
        }
    }

    /// The next byte that is not white space.
    fn peek_byte(&mut self) -> Result<Option<u8>> {
        loop {
            match self.byte()? {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.advance(1),
                other => return Ok(other),
            }
        }
    }

    fn byte(&mut self) -> Result<Option<u8>> {
        Ok(self.input.fill_buf().map_err(DecodeError::Read)?.first().copied())
    }

    /// Callers pass what the window holds, never more.
    fn advance(&mut self, count: usize) {
        self.input.consume(count);
        self.offset = self.offset.saturating_add(count as u64);
    }

    fn unexpected_here(&mut self) -> DecodeError {
        match self.byte() {
            Ok(found) => self.unexpected(found),
            Err(error) => error,
        }
    }

    fn unexpected(&self, found: Option<u8>) -> DecodeError {
        DecodeError::Malformed(match found {
            Some(byte @ b' '..=b'~') => {
                format!("Unexpected character ('{}' (code {byte})) at byte {}", char::from(byte), self.offset)
            }
            Some(byte) => format!("Unexpected byte (code {byte}) at byte {}", self.offset),
            None => format!("Unexpected end-of-input at byte {}", self.offset),
        })
    }
}

/// The grammar of a JSON number.
fn is_number(text: &[u8]) -> bool {
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let whole = digits(text);
    if whole == 0 || whole > 1 && text.first() == Some(&b'0') {
        return false;
    }
    let mut rest = text.get(whole..).unwrap_or_default();
    if let Some(fraction) = rest.strip_prefix(b".") {
        let count = digits(fraction);
        if count == 0 {
            return false;
        }
        rest = fraction.get(count..).unwrap_or_default();
    }
    if let Some(exponent) = rest.strip_prefix(b"e").or_else(|| rest.strip_prefix(b"E")) {
        let exponent = exponent.strip_prefix(b"+").or_else(|| exponent.strip_prefix(b"-")).unwrap_or(exponent);
        let count = digits(exponent);
        return count > 0 && count == exponent.len();
    }
    rest.is_empty()
}

//! Reading JSON where it lies: one pass over a message, which checks all of it and stops only at the fields asked for.
//!
//! Nothing is built of what nobody asked for. A name that an object has twice is two fields. What is no JSON to the
//! letter (RFC 8259), or nests deeper than any log line does, has no fields at all.

use std::borrow::Cow;

use super::comparison::Scalar;
use super::json::{Selector, Step};

/// Objects and arrays within one another.
const NESTING_MAX: usize = 128;

/// What a selector leads to.
#[derive(Debug, Clone, PartialEq)]
pub enum Node<'m> {
    Null,
    Bool(bool),
    /// As it is written.
    Number(&'m str),
    Text(Cow<'m, str>),
    /// An object or an array.
    Nested,
}

impl Node<'_> {
    /// What can be compared and extracted.
    pub fn scalar(&self) -> Option<Scalar<'_>> {
        match self {
            Node::Null | Node::Nested => None,
            Node::Bool(true) => Some(Scalar { text: "true", is_number: false }),
            Node::Bool(false) => Some(Scalar { text: "false", is_number: false }),
            Node::Number(text) => Some(Scalar { text, is_number: true }),
            Node::Text(text) => Some(Scalar { text, is_number: false }),
        }
    }
}

/// Tells `found` of every field that a selector leads to, with the selector's number, in the message's order. Whether
/// the message is one object or one array is known at its end: if it is not, what was told before is void.
pub fn scan(message: &str, selectors: &[Selector], found: &mut dyn FnMut(usize, &Node<'_>)) -> bool {
    let text = message.trim_ascii();
    if !text.starts_with(['{', '[']) {
        return false;
    }
    let routes = selectors.iter().enumerate().map(|(selector, it)| Route { selector, rest: it.steps() }).collect();
    let mut scan = Scan { text, at: 0, routes, found };
    scan.value(0, NESTING_MAX).is_some() && scan.at == text.len()
}

struct Scan<'m, 's> {
    text: &'m str,
    at: usize,
    /// A stack: those that lead to the present value or through it are the last ones.
    routes: Vec<Route<'s>>,
    found: &'s mut dyn FnMut(usize, &Node<'_>),
}

/// A selector on its way, and the steps that it has before it.
#[derive(Clone, Copy)]
struct Route<'s> {
    selector: usize,
    rest: &'s [Step],
}

/// Text between quotes, as it is written.
struct Quoted<'m> {
    raw: &'m str,
    has_escapes: bool,
}

impl<'m> Scan<'m, '_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'m str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn skip(&mut self, bytes: usize) {
        self.at = self.at.saturating_add(bytes);
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.skip(1);
        }
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.skip(1);
        Some(byte)
    }

    fn literal(&mut self, word: &str) -> Option<()> {
        let rest = self.text.as_bytes().get(self.at..)?;
        rest.starts_with(word.as_bytes()).then(|| self.skip(word.len()))
    }

    /// Reads a value to which the routes from this one on lead.
    fn value(&mut self, from: usize, nesting: usize) -> Option<()> {
        match self.peek()? {
            b'{' => self.nested(from, b'}', nesting.checked_sub(1)?),
            b'[' => self.nested(from, b']', nesting.checked_sub(1)?),
            b'"' => {
                let quoted = self.quoted()?;
                self.tell(from, || Node::Text(quoted.text()));
                Some(())
            }
            b'n' => self.literal("null").map(|()| self.tell(from, || Node::Null)),
            b't' => self.literal("true").map(|()| self.tell(from, || Node::Bool(true))),
            b'f' => self.literal("false").map(|()| self.tell(from, || Node::Bool(false))),
            _ => {
                let number = self.number()?;
                self.tell(from, || Node::Number(number));
                Some(())
            }
        }
    }

    /// Reads an object or an array up to its end, to which the routes from this one on lead.
    fn nested(&mut self, from: usize, end: u8, nesting: usize) -> Option<()> {
        let inner = self.routes.len();
        self.tell(from, || Node::Nested);
        self.skip(1);
        self.blanks();
        if self.peek()? == end {
            self.skip(1);
            return Some(());
        }
        for index in 0_usize.. {
            self.blanks();
            match end {
                b'}' => self.name(from, inner)?,
                _ => self.follow(from, inner, |step| match step {
                    Step::Index(wanted) => *wanted == index,
                    Step::AnyElement => true,
                    Step::Name(_) | Step::AnyField => false,
                }),
            }
            self.blanks();
            self.value(inner, nesting)?;
            self.routes.truncate(inner);
            self.blanks();
            match self.next()? {
                b',' => {}
                byte => return (byte == end).then_some(()),
            }
        }
        None
    }

    /// Reads the name of a field.
    fn name(&mut self, from: usize, to: usize) -> Option<()> {
        let quoted = self.quoted()?;
        self.blanks();
        self.literal(":")?;
        if from < to {
            let name = quoted.text();
            self.follow(from, to, |step| match step {
                Step::Name(wanted) => *wanted == name,
                Step::AnyField => true,
                Step::Index(_) | Step::AnyElement => false,
            });
        }
        Some(())
    }

    /// Puts those routes that take this step on top, with one step less before them.
    fn follow(&mut self, from: usize, to: usize, takes: impl Fn(&Step) -> bool) {
        for place in from..to {
            let Some(Route { selector, rest }) = self.routes.get(place).copied() else { return };
            if let Some((step, rest)) = rest.split_first()
                && takes(step)
            {
                self.routes.push(Route { selector, rest });
            }
        }
    }

    fn tell(&mut self, from: usize, node: impl FnOnce() -> Node<'m>) {
        let arrived = |route: &&Route<'_>| route.rest.is_empty();
        let routes = self.routes.get(from..).unwrap_or_default();
        if routes.iter().any(|route| arrived(&route)) {
            let node = node();
            for route in routes.iter().filter(arrived) {
                (self.found)(route.selector, &node);
            }
        }
    }

    fn quoted(&mut self) -> Option<Quoted<'m>> {
        self.literal("\"")?;
        let (text, start, mut has_escapes) = (self.rest(), self.at, false);
        loop {
            // Most texts are short: going byte by byte is faster than a search by vectors.
            let rest = self.text.as_bytes().get(self.at..)?;
            self.skip(rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..b' '))?);
            let end = self.at;
            match self.next()? {
                b'"' => return Some(Quoted { raw: text.get(..end.checked_sub(start)?)?, has_escapes }),
                b'\\' => self.escape()?,
                _ => return None,
            }
            has_escapes = true;
        }
    }

    /// What may stand behind a backslash.
    fn escape(&mut self) -> Option<()> {
        match self.next()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(()),
            b'u' => (0..4).try_for_each(|_| self.next().filter(u8::is_ascii_hexdigit).map(|_| ())),
            _ => None,
        }
    }

    fn number(&mut self) -> Option<&'m str> {
        let (text, start) = (self.rest(), self.at);
        if self.peek() == Some(b'-') {
            self.skip(1);
        }
        if self.peek() == Some(b'0') {
            self.skip(1);
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.skip(1);
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.skip(1);
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.skip(1);
            }
            self.digits()?;
        }
        text.get(..self.at.checked_sub(start)?)
    }

    /// One at least.
    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.skip(1);
        }
        (self.at > start).then_some(())
    }
}

impl<'m> Quoted<'m> {
    /// What it means. Half a surrogate pair means no character, and becomes the one that stands for such.
    fn text(&self) -> Cow<'m, str> {
        if !self.has_escapes {
            return Cow::Borrowed(self.raw);
        }
        let mut text = String::with_capacity(self.raw.len());
        let mut rest = self.raw;
        while let Some((before, behind)) = rest.split_once('\\') {
            text.push_str(before);
            let (c, behind) = escaped(behind);
            text.push(c);
            rest = behind;
        }
        text.push_str(rest);
        Cow::Owned(text)
    }
}

/// The character that an escape means, whose backslash was read, and what follows it.
fn escaped(text: &str) -> (char, &str) {
    let mut chars = text.chars();
    let c = match chars.next() {
        Some('b') => '\u{8}',
        Some('f') => '\u{c}',
        Some('n') => '\n',
        Some('r') => '\r',
        Some('t') => '\t',
        Some('u') => return code_units(chars.as_str()),
        Some(c) => c,
        None => char::REPLACEMENT_CHARACTER,
    };
    (c, chars.as_str())
}

/// The character of one `\u` with its digits or of two that belong together, behind the first `\u`.
fn code_units(text: &str) -> (char, &str) {
    let unit = |text: &str| u16::from_str_radix(text.get(..4)?, 16).ok();
    let behind = text.get(4..).unwrap_or_default();
    let second = behind.strip_prefix("\\u").and_then(unit);
    let decoded = char::decode_utf16(unit(text).into_iter().chain(second)).next();
    match decoded {
        Some(Ok(c)) if c.len_utf16() == 2 => (c, behind.get(6..).unwrap_or_default()),
        Some(Ok(c)) => (c, behind),
        _ => (char::REPLACEMENT_CHARACTER, behind),
    }
}

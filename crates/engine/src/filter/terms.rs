//! Terms: words, quoted phrases and regular expressions that occur anywhere in a message, or do not.
//!
//! A term is a substring, of a longer word too. `-` in front of it means that it must not occur, `?` that one of those
//! with a `?` must; as soon as there is any other term, those with a `?` mean nothing.

use memchr::memmem::Finder;

use super::Malformed;
use super::cursor::{Cursor, is_word};
use super::expression::Expression;
use super::needle::Needles;

#[derive(Debug, Clone, Default)]
pub struct Terms {
    all: Vec<Term>,
    none: Vec<Term>,
    any: Vec<Term>,
}

#[derive(Debug, Clone)]
enum Term {
    Literal(Box<Finder<'static>>),
    Expression(Expression),
}

impl Terms {
    pub fn parse(cursor: &mut Cursor<'_>) -> Result<Terms, Malformed> {
        let mut terms = Terms::default();
        while !cursor.is_at_end() {
            let group = if cursor.eat("-") {
                &mut terms.none
            } else if cursor.eat("?") {
                &mut terms.any
            } else {
                &mut terms.all
            };
            group.push(Term::read(cursor)?);
            if cursor.peek().is_some_and(|c| !c.is_ascii_whitespace()) {
                return Err(cursor.invalid());
            }
            cursor.blanks();
        }
        if !terms.all.is_empty() || !terms.none.is_empty() {
            terms.any.clear();
        }
        Ok(terms)
    }

    pub fn matches(&self, message: &str) -> bool {
        self.all.iter().all(|term| term.is_in(message))
            && !self.none.iter().any(|term| term.is_in(message))
            && (self.any.is_empty() || self.any.iter().any(|term| term.is_in(message)))
    }

    pub fn needles(&self) -> Needles {
        if self.any.is_empty() {
            Needles::all(self.all.iter().map(Term::needles))
        } else {
            Needles::any(self.any.iter().map(Term::needles))
        }
    }
}

impl Term {
    fn read(cursor: &mut Cursor<'_>) -> Result<Term, Malformed> {
        match cursor.peek() {
            Some('%') => Expression::read(cursor).map(Term::Expression),
            Some('"') => match cursor.quoted()? {
                text if text.is_empty() => Err(cursor.invalid()),
                // A blank phrase is in every message.
                text if text.trim().is_empty() => Ok(Term::literal("")),
                text => Ok(Term::literal(&text)),
            },
            _ => match cursor.take(is_word) {
                "" => Err(cursor.invalid()),
                word => Ok(Term::literal(word)),
            },
        }
    }

    fn literal(text: &str) -> Term {
        Term::Literal(Box::new(Finder::new(text).into_owned()))
    }

    fn is_in(&self, message: &str) -> bool {
        match self {
            Term::Literal(finder) => finder.find(message.as_bytes()).is_some(),
            Term::Expression(expression) => expression.is_in(message),
        }
    }

    fn needles(&self) -> Needles {
        match self {
            Term::Literal(finder) => Needles::value(str::from_utf8(finder.needle()).unwrap_or_default()),
            Term::Expression(_) => Needles::default(),
        }
    }
}

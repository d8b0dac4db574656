//! From a query's text to what it selects, or to AWS's words for what is wrong with it.

use std::collections::BTreeSet;

use super::super::SERIES_MAX;
use super::{Aggregate, Condition, Order, Select};

/// Whether an expression is a query of this language, and no metric math: it begins with SELECT and a word.
pub fn is_select(text: &str) -> bool {
    let Some((first, rest)) = text.trim_start().split_once(char::is_whitespace) else { return false };
    first.eq_ignore_ascii_case("SELECT") && rest.trim_start().starts_with(|letter: char| letter.is_alphabetic())
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    /// Between double quotation marks.
    Identifier(String),
    /// Between single ones.
    Text(String),
    Symbol(&'static str),
    /// No letter, digit or sign of the language.
    Strange,
}

const SYMBOLS: [&str; 7] = ["()", "(", ")", ",", "!=", "=", "."];

/// What no name can be that is not quoted.
const KEYWORDS: [&str; 11] =
    ["AND", "ASC", "BY", "DESC", "FROM", "GROUP", "LIMIT", "ORDER", "SCHEMA", "SELECT", "WHERE"];

/// Each with the place in the text where it begins.
fn tokens(text: &str) -> Result<Vec<(usize, Token)>, String> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let place = text.len().saturating_sub(rest.len());
        let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
        let quoted = |quote| quoted(rest, quote).ok_or_else(|| near(rest));
        let (token, after) = if is_word(first) {
            let end = rest.find(|letter: char| !is_word(letter)).unwrap_or(rest.len());
            let (word, after) = rest.split_at_checked(end).unwrap_or_default();
            (Token::Word(word.into()), after)
        } else if first == '"' {
            let (name, after) = quoted('"')?;
            (Token::Identifier(name), after)
        } else if first == '\'' {
            let (text, after) = quoted('\'')?;
            (Token::Text(text), after)
        } else {
            let symbol = SYMBOLS.iter().find_map(|symbol| Some((Token::Symbol(symbol), rest.strip_prefix(*symbol)?)));
            symbol.unwrap_or_else(|| (Token::Strange, rest.get(first.len_utf8()..).unwrap_or_default()))
        };
        found.push((place, token));
        rest = after.trim_start();
    }
    Ok(found)
}

/// Up to the closing quotation mark. A backslash keeps quotation marks and itself, and stays before anything else.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut chars = text.strip_prefix(quote)?.chars();
    let mut content = String::new();
    loop {
        match chars.next()? {
            found if found == quote => return Some((content, chars.as_str())),
            '\\' => {
                let escaped = chars.next()?;
                if !matches!(escaped, '"' | '\'' | '\\') {
                    content.push('\\');
                }
                content.push(escaped);
            }
            found => content.push(found),
        }
    }
}

/// How much of a query a message shows.
const NEAR_CHARS_MAX: usize = 32;

fn near(rest: &str) -> String {
    let rest = rest.trim_end();
    if rest.chars().count() <= NEAR_CHARS_MAX {
        return format!("Invalid syntax near '{rest}'");
    }
    let shown: String = rest.chars().take(NEAR_CHARS_MAX.saturating_sub(3)).collect();
    format!("Invalid syntax near '{shown}...'")
}

/// The message is AWS's.
pub fn select(text: &str) -> Result<Select, String> {
    let tokens = tokens(text)?;
    Parser { text, tokens: &tokens }.select()
}

struct Parser<'a> {
    text: &'a str,
    tokens: &'a [(usize, Token)],
}

impl Parser<'_> {
    fn select(mut self) -> Result<Select, String> {
        self.keyword("SELECT")?;
        let start = self.tokens;
        let aggregate = self.aggregate("aggregate")?;
        self.symbol("(")?;
        let metric = self.name()?;
        self.symbol(")")?;
        if self.tokens.is_empty() {
            return Err(Parser { text: self.text, tokens: start }.unexpected());
        }
        self.keyword("FROM")?;
        let (namespace, schema) = self.source()?;
        let conditions = if self.takes("WHERE") { self.conditions()? } else { Vec::new() };
        let group_by = if self.takes("GROUP") { self.group_by()? } else { Vec::new() };
        let order_by = if self.takes("ORDER") { Some(self.order_by()?) } else { None };
        let limit = if self.takes("LIMIT") { self.limit()? } else { SERIES_MAX };
        if !self.tokens.is_empty() {
            return Err(self.unexpected());
        }
        Ok(Select { aggregate, metric, namespace, schema, conditions, group_by, order_by, limit })
    }

    fn source(&mut self) -> Result<(String, Option<BTreeSet<String>>), String> {
        if !self.takes("SCHEMA") {
            return Ok((self.name()?, None));
        }
        self.symbol("(")?;
        let namespace = self.name()?;
        let mut names = BTreeSet::new();
        while self.takes_symbol(",") {
            names.insert(self.key()?);
        }
        self.symbol(")")?;
        Ok((namespace, Some(names)))
    }

    fn conditions(&mut self) -> Result<Vec<Condition>, String> {
        let mut conditions = Vec::new();
        loop {
            let key = self.key()?;
            let is_equal = self.takes_symbol("=");
            if !is_equal {
                self.symbol("!=")?;
            }
            conditions.push(Condition { key, is_equal, value: self.wanted()? });
            if !self.takes("AND") {
                return Ok(conditions);
            }
        }
    }

    fn wanted(&mut self) -> Result<Option<String>, String> {
        let tokens = self.tokens;
        match tokens {
            [(_, Token::Text(text)), rest @ ..] => {
                self.tokens = rest;
                Ok(Some(text.clone()))
            }
            [(_, Token::Word(word)), (_, Token::Symbol("()")), rest @ ..]
                if word.eq_ignore_ascii_case("CURRENT_ACCOUNT_ID") =>
            {
                self.tokens = rest;
                Ok(None)
            }
            [(_, Token::Word(_) | Token::Identifier(_)), ..] => Err(
                "Invalid syntax. Comparing identifiers is not supported. Values must be surrounded by single quotes"
                    .into(),
            ),
            _ => Err(self.unexpected()),
        }
    }

    fn group_by(&mut self) -> Result<Vec<String>, String> {
        self.keyword("BY")?;
        let mut keys = vec![self.key()?];
        while self.takes_symbol(",") {
            keys.push(self.key()?);
        }
        Ok(keys)
    }

    fn order_by(&mut self) -> Result<Order, String> {
        self.keyword("BY")?;
        let by = self.aggregate("ORDER BY")?;
        self.symbol("()")?;
        let is_descending = self.takes("DESC");
        if !is_descending {
            self.takes("ASC");
        }
        Ok(Order { by, is_descending })
    }

    fn limit(&mut self) -> Result<usize, String> {
        let Some((_, Token::Word(digits))) = self.tokens.first() else { return Err(self.unexpected()) };
        if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(self.unexpected());
        }
        let limit = digits.parse().unwrap_or(usize::MAX);
        if limit == 0 {
            return Err("Invalid syntax. LIMIT must be greater than 0".into());
        }
        self.skip();
        Ok(limit.min(SERIES_MAX))
    }

    fn aggregate(&mut self, place: &str) -> Result<Aggregate, String> {
        let Some((_, Token::Word(name))) = self.tokens.first() else { return Err(self.unexpected()) };
        let known = Aggregate::named(name).ok_or_else(|| match place {
            "ORDER BY" => format!("Invalid syntax. '{name}' is not a valid ORDER BY function"),
            _ => format!("Invalid syntax. '{name}' is not a valid aggregate function"),
        })?;
        self.skip();
        Ok(known)
    }

    /// A dimension, or a name with dots such as `AWS.AccountId`.
    fn key(&mut self) -> Result<String, String> {
        let mut key = self.name()?;
        while self.takes_symbol(".") {
            key.push('.');
            key.push_str(&self.name()?);
        }
        Ok(key)
    }

    fn name(&mut self) -> Result<String, String> {
        match self.tokens.first() {
            Some((_, Token::Word(word))) if !KEYWORDS.iter().any(|keyword| keyword.eq_ignore_ascii_case(word)) => {
                self.skip();
                Ok(word.clone())
            }
            Some((_, Token::Identifier(name))) => {
                self.skip();
                Ok(name.clone())
            }
            _ => Err(self.unexpected()),
        }
    }

    fn skip(&mut self) {
        self.tokens = self.tokens.split_first().map_or(&[], |(_, rest)| rest);
    }

    fn takes(&mut self, keyword: &str) -> bool {
        let is_next = matches!(self.tokens.first(), Some((_, Token::Word(word))) if word.eq_ignore_ascii_case(keyword));
        if is_next {
            self.skip();
        }
        is_next
    }

    fn takes_symbol(&mut self, symbol: &str) -> bool {
        let is_next = matches!(self.tokens.first(), Some((_, Token::Symbol(found))) if *found == symbol);
        if is_next {
            self.skip();
        }
        is_next
    }

    fn keyword(&mut self, keyword: &str) -> Result<(), String> {
        if self.takes(keyword) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn symbol(&mut self, symbol: &str) -> Result<(), String> {
        if self.takes_symbol(symbol) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn unexpected(&self) -> String {
        match self.tokens.first().and_then(|(place, _)| self.text.get(*place..)) {
            Some(rest) => near(rest),
            None => "Invalid syntax".into(),
        }
    }
}

//! `{"prefix": "a"}` and all the other comparisons, as a pattern writes them.
//!
//! Errors are AWS's, in the order in which AWS finds them.

use super::Malformed;
use super::address::Block;
use super::comparison::{Comparison, Exception, Text};
use super::number::{self, Bound, Range};
use super::token::{Token, Tokens};
use super::wildcard::Wildcard;

const ONE_KEY: &str = "Only one key allowed in match expression";
const TOO_MANY: &str = "Too many elements in numeric expression";

/// A comparison, behind its `{`.
pub fn read(tokens: &mut Tokens<'_>) -> Result<Comparison, Malformed> {
    let Token::Name(name) = tokens.next()? else { return Err(tokens.fail("Match expression name not found")) };
    let (comparison, complaint) = match name.as_str() {
        "anything-but" => return exclusion(tokens),
        "numeric" => (numeric(tokens)?, TOO_MANY),
        "exists" => (existence(tokens)?, ONE_KEY),
        "cidr" => (block(tokens)?, ONE_KEY),
        "prefix" | "suffix" => (end_of_text(tokens, name == "prefix")?, ONE_KEY),
        "exactly" => (Comparison::Text(Text::Equal(text(tokens, "exact")?)), ONE_KEY),
        "equals-ignore-case" => (Comparison::Text(Text::EqualIgnoringCase(text(tokens, &name)?)), ONE_KEY),
        "wildcard" => {
            let text = text(tokens, &name)?;
            (Comparison::Text(wildcard(tokens, &text)?), ONE_KEY)
        }
        _ => return Err(tokens.fail(format!("Unrecognized match type {name}"))),
    };
    end(tokens, complaint)?;
    Ok(comparison)
}

fn end(tokens: &mut Tokens<'_>, complaint: &str) -> Result<(), Malformed> {
    match tokens.next()? {
        Token::ObjectEnd => Ok(()),
        _ => Err(tokens.fail(complaint)),
    }
}

fn text(tokens: &mut Tokens<'_>, of: &str) -> Result<String, Malformed> {
    let Token::Text(text) = tokens.next()? else {
        return Err(tokens.fail(format!("{of} match pattern must be a string")));
    };
    tokens.take_text();
    Ok(text)
}

fn wildcard(tokens: &Tokens<'_>, text: &str) -> Result<Text, Malformed> {
    Wildcard::read(text).map(Text::Wildcard).map_err(|reason| tokens.fail(reason))
}

fn existence(tokens: &mut Tokens<'_>) -> Result<Comparison, Malformed> {
    match tokens.next()? {
        Token::True => Ok(Comparison::Exists),
        Token::False => Ok(Comparison::Absent),
        _ => Err(tokens.fail("exists match pattern must be either true or false.")),
    }
}

/// A block of addresses. AWS speaks of a prefix if it is no text, and of no place if it is no block.
fn block(tokens: &mut Tokens<'_>) -> Result<Comparison, Malformed> {
    let text = text(tokens, "prefix")?;
    Block::read(&text).map(Comparison::Block).map_err(Malformed::new)
}

/// A prefix or a suffix, behind its name.
fn end_of_text(tokens: &mut Tokens<'_>, is_prefix: bool) -> Result<Comparison, Malformed> {
    let (lower, upper) = if is_prefix { ("prefix", "Prefix") } else { ("suffix", "Suffix") };
    let text = match tokens.next()? {
        Token::Text(text) if is_prefix => Text::Prefix(text),
        Token::Text(text) => Text::Suffix(text),
        Token::ObjectStart => {
            match tokens.next()? {
                Token::Name(name) if name == "equals-ignore-case" => {}
                Token::Name(name) => return Err(tokens.fail(format!("Unsupported {lower} pattern: {name}"))),
                _ => return Err(tokens.fail(format!("{upper} expression name not found"))),
            }
            let text = text(tokens, "equals-ignore-case")?;
            end(tokens, ONE_KEY)?;
            if is_prefix { Text::PrefixIgnoringCase(text) } else { Text::SuffixIgnoringCase(text) }
        }
        _ => return Err(tokens.fail(format!("{lower} match pattern must be a string"))),
    };
    Ok(Comparison::Text(text))
}

/// `["=", 1]`, one bound, or a lower bound and then an upper one.
fn numeric(tokens: &mut Tokens<'_>) -> Result<Comparison, Malformed> {
    if tokens.next()? != Token::ArrayStart {
        return Err(tokens.fail("Value of numeric must be an array."));
    }
    let operator = match tokens.next()? {
        Token::Text(operator) => operator,
        other => return Err(tokens.fail(format!("Invalid member in numeric match: {}", other.text()))),
    };
    tokens.take_text();
    let first = tokens.next()?;
    let name = match operator.as_str() {
        "=" => "equals",
        "<" | "<=" | ">" | ">=" => &operator,
        _ => return Err(tokens.fail(format!("Unrecognized numeric range operator: {operator}"))),
    };
    let Token::Number(first) = first else { return Err(tokens.fail(format!("Value of {name} must be numeric"))) };
    let next = tokens.next()?;
    let is_low = operator.starts_with('>');
    if next != Token::ArrayEnd && is_low {
        return range_to(tokens, next, &first, operator == ">");
    }
    if next != Token::ArrayEnd {
        return Err(tokens.fail(TOO_MANY));
    }
    let bound = Bound { value: comparable(tokens, &first)?, is_open: matches!(&*operator, "<" | ">") };
    Ok(Comparison::Range(match operator.as_str() {
        "=" => Range { low: bound, high: bound },
        _ if is_low => Range { low: bound, high: Bound::HIGHEST },
        _ => Range { low: Bound::LOWEST, high: bound },
    }))
}

/// The upper bound of a range, from its operator on.
fn range_to(tokens: &mut Tokens<'_>, operator: Token, low: &str, is_open: bool) -> Result<Comparison, Malformed> {
    let Token::Text(operator) = operator else {
        return Err(tokens.fail(format!("Bad value in numeric range: {}", operator.text())));
    };
    tokens.take_text();
    if !matches!(operator.as_str(), "<" | "<=") {
        return Err(tokens.fail(format!("Bad numeric range operator: {operator}")));
    }
    let Token::Number(high) = tokens.next()? else {
        return Err(tokens.fail(format!("Value of {operator} must be numeric")));
    };
    if tokens.next()? != Token::ArrayEnd {
        return Err(tokens.fail("Too many terms in numeric range expression"));
    }
    let low = Bound { value: comparable(tokens, low)?, is_open };
    let high = Bound { value: comparable(tokens, &high)?, is_open: operator == "<" };
    if low.value >= high.value {
        return Err(tokens.fail("Bottom must be less than top"));
    }
    Ok(Comparison::Range(Range { low, high }))
}

fn comparable(tokens: &Tokens<'_>, number: &str) -> Result<f64, Malformed> {
    number::comparable(number).ok_or_else(|| tokens.fail(format!("Cannot compare number : {number}")))
}

/// What `anything-but` may look at beside whole values.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Excluded {
    Values,
    IgnoringCase,
    Prefix,
    Suffix,
    Wildcard,
}

fn exclusion(tokens: &mut Tokens<'_>) -> Result<Comparison, Malformed> {
    let mut first = tokens.next()?;
    let mut excluded = Excluded::Values;
    if first == Token::ObjectStart {
        let Token::Name(name) = tokens.next()? else {
            return Err(tokens.fail("Anything-But expression name not found"));
        };
        excluded = match name.as_str() {
            "equals-ignore-case" => Excluded::IgnoringCase,
            "prefix" => Excluded::Prefix,
            "suffix" => Excluded::Suffix,
            "wildcard" => Excluded::Wildcard,
            _ => return Err(tokens.fail(format!("Unsupported anything-but pattern: {name}"))),
        };
        first = tokens.next()?;
    }
    let exception = match (first, excluded) {
        (Token::ArrayStart, Excluded::Values) => excluded_values(tokens)?,
        (Token::ArrayStart, excluded) => excluded_texts(tokens, excluded)?,
        (first @ (Token::Text(_) | Token::Number(_)), Excluded::Values) => excluded_value(tokens, first)?,
        (first @ (Token::Text(_) | Token::Number(_)), excluded) => {
            let text = excluded_text(tokens, first, excluded)?;
            Exception::Texts(vec![complete(tokens, text, excluded)?])
        }
        _ => return Err(tokens.fail("Value of anything-but must be an array or single string/number value.")),
    };
    end(tokens, TOO_MANY)?;
    if excluded != Excluded::Values {
        end(tokens, TOO_MANY)?;
    }
    Ok(Comparison::Except(exception))
}

fn excluded_value(tokens: &mut Tokens<'_>, value: Token) -> Result<Exception, Malformed> {
    match value {
        Token::Number(number) => match number::comparable(&number) {
            Some(value) => Ok(Exception::Numbers(vec![value])),
            None => Err(Malformed::new(format!("Cannot compare number : {number}"))),
        },
        value => {
            tokens.take_text();
            Ok(Exception::Texts(vec![Text::Equal(value.text().to_owned())]))
        }
    }
}

/// Values up to the end of a list. What is wrong in a list, AWS tells with its place twice.
fn excluded_values(tokens: &mut Tokens<'_>) -> Result<Exception, Malformed> {
    let (mut texts, mut numbers) = (Vec::new(), Vec::new());
    loop {
        match tokens.next().map_err(|malformed| tokens.fail(malformed))? {
            Token::ArrayEnd => break,
            Token::Text(text) => {
                tokens.take_text();
                texts.push(Text::Equal(text));
            }
            Token::Number(number) => numbers.push(comparable(tokens, &number)?),
            _ => {
                let malformed = tokens.fail("Inside anything but list, start|null|boolean is not supported.");
                return Err(tokens.fail(malformed));
            }
        }
    }
    match (texts.is_empty(), numbers.is_empty()) {
        (false, true) => Ok(Exception::Texts(texts)),
        (true, false) => Ok(Exception::Numbers(numbers)),
        _ => Err(tokens
            .fail("Inside anything but list, either all values are number or string, mixed type is not supported")),
    }
}

/// Texts up to the end of a list. None at all exclude nothing.
fn excluded_texts(tokens: &mut Tokens<'_>, excluded: Excluded) -> Result<Exception, Malformed> {
    let mut texts = Vec::new();
    loop {
        let text = match tokens.next() {
            Ok(Token::ArrayEnd) => break,
            Ok(token) => excluded_text(tokens, token, excluded),
            Err(malformed) => Err(malformed),
        };
        texts.push(text.map_err(|malformed| tokens.fail(malformed))?);
    }
    let texts: Result<_, _> = texts.into_iter().map(|text| complete(tokens, text, excluded)).collect();
    Ok(Exception::Texts(texts?))
}

fn excluded_text(tokens: &mut Tokens<'_>, token: Token, excluded: Excluded) -> Result<String, Malformed> {
    let Token::Text(text) = token else {
        return Err(tokens.fail(match excluded {
            Excluded::Wildcard => "wildcard match pattern must be a string",
            Excluded::Prefix | Excluded::Suffix => "prefix/suffix match pattern must be a string",
            _ => "Inside anything-but/equals-ignore-case list, number|start|null|boolean is not supported.",
        }));
    };
    tokens.take_text();
    if text.is_empty() && matches!(excluded, Excluded::Prefix | Excluded::Suffix) {
        return Err(tokens.fail("Null prefix/suffix not allowed"));
    }
    Ok(text)
}

fn complete(tokens: &Tokens<'_>, text: String, excluded: Excluded) -> Result<Text, Malformed> {
    Ok(match excluded {
        Excluded::Values => Text::Equal(text),
        Excluded::IgnoringCase => Text::EqualIgnoringCase(text),
        Excluded::Prefix => Text::Prefix(text),
        Excluded::Suffix => Text::Suffix(text),
        Excluded::Wildcard => wildcard(tokens, &text)?,
    })
}

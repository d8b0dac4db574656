//! The fields of a pattern, as the branches of its `$or`s: an event has to hold all fields of one branch.
//!
//! A field is named by its path, with points between the steps, so that `{"a": {"b": …}}` and `{"a.b": …}` are one
//! field; the later one counts. In a branch of `$or`, so does a field that was there before.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Malformed;
use super::address::{Address, Block};
use super::comparison::{Comparison, Text};
use super::expression;
use super::limits::{BRANCHES_MAX, FIELDS_MAX};
use super::number::Exactly;
use super::token::{Token, Tokens};
use super::wildcard::{self, Wildcard};

/// The alternatives of each field, in the order of their paths.
pub type Branch = BTreeMap<Arc<str>, Arc<[Comparison]>>;

/// Names that no field has within `$or`: AWS keeps them for itself.
const RESERVED: &[&str] = &[
    "exactly",
    "equals-ignore-case",
    "prefix",
    "suffix",
    "anything-but",
    "exists",
    "wildcard",
    "numeric",
    "cidr",
    "=",
    "<",
    "<=",
    ">",
    ">=",
    "regex",
    "not-wildcard",
    "not-equals-ignore-case",
    "date-after",
    "date-on-or-after",
    "date-before",
    "date-on-or-before",
    "in-date-range",
    "ip-address-in-range",
    "ip-address-not-in-range",
];

/// All branches of a pattern.
pub fn read(tokens: &mut Tokens<'_>) -> Result<Vec<Branch>, Malformed> {
    if tokens.next()? != Token::ObjectStart {
        return Err(tokens.fail("Filter is not an object"));
    }
    let mut branches = Vec::new();
    object(tokens, "", false, &mut branches)?;
    tokens.finish()?;
    for branch in &branches {
        check_wildcards(branch)?;
    }
    Ok(branches)
}

/// The members of an object, behind its `{`. It recurses no deeper than tokens nest.
fn object(tokens: &mut Tokens<'_>, path: &str, is_in_or: bool, branches: &mut Vec<Branch>) -> Result<(), Malformed> {
    let mut is_empty = true;
    loop {
        let name = match tokens.next()? {
            Token::Name(name) => name,
            _ if is_empty => return Err(tokens.fail("Empty objects are not allowed")),
            _ => return Ok(()),
        };
        is_empty = false;
        if name == "$or" {
            either(tokens, path, branches)?;
            continue;
        }
        if is_in_or && RESERVED.contains(&name.as_str()) {
            return Err(tokens.fail(format!("{name} is Ruler reserved fieldName which cannot be used inside $or.")));
        }
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match tokens.next()? {
            Token::ObjectStart => object(tokens, &path, is_in_or, branches)?,
            Token::ArrayStart => field(tokens, &path, branches)?,
            _ => return Err(tokens.fail(format!("\"{name}\" must be an object or an array"))),
        }
    }
}

/// The list behind `$or`: each branch so far goes on with each of its objects.
fn either(tokens: &mut Tokens<'_>, path: &str, branches: &mut Vec<Branch>) -> Result<(), Malformed> {
    if tokens.next()? != Token::ArrayStart {
        return Err(tokens.fail("It must be an Array followed with $or."));
    }
    let so_far = std::mem::take(branches);
    let mut object_count = 0_usize;
    loop {
        match tokens.next()? {
            Token::ArrayEnd if object_count < 2 => {
                return Err(tokens.fail("There must have at least 2 Objects in $or relationship."));
            }
            Token::ArrayEnd => return Ok(()),
            Token::ObjectStart => object_count = object_count.saturating_add(1),
            _ => return Err(tokens.fail("Only JSON object is allowed in array of $or relationship.")),
        }
        let mut more = if so_far.is_empty() { vec![Branch::new()] } else { so_far.clone() };
        object(tokens, path, true, &mut more)?;
        branches.append(&mut more);
        check_size(branches)?;
    }
}

/// The alternatives of a field, behind their `[`.
fn field(tokens: &mut Tokens<'_>, path: &str, branches: &mut Vec<Branch>) -> Result<(), Malformed> {
    let mut alternatives = Vec::new();
    loop {
        alternatives.push(match tokens.next()? {
            Token::ArrayEnd => break,
            Token::ObjectStart => expression::read(tokens)?,
            Token::Text(text) => {
                tokens.take_text();
                Address::read(&text).map_or_else(
                    || Comparison::Text(Text::Equal(text)),
                    |address| Comparison::Block(Block::of(address)),
                )
            }
            Token::Number(number) => Comparison::Number(Exactly::new(&number)),
            Token::Null => Comparison::Null,
            Token::True => Comparison::Bool(true),
            Token::False => Comparison::Bool(false),
            _ => return Err(tokens.fail("Match value must be String, number, true, false, or null")),
        });
    }
    if alternatives.is_empty() {
        return Err(tokens.fail("Empty arrays are not allowed"));
    }
    if branches.is_empty() {
        branches.push(Branch::new());
    }
    let (path, alternatives): (Arc<str>, Arc<[Comparison]>) = (path.into(), alternatives.into());
    for branch in branches.iter_mut() {
        branch.insert(Arc::clone(&path), Arc::clone(&alternatives));
    }
    check_size(branches)
}

fn check_size(branches: &[Branch]) -> Result<(), Malformed> {
    let field_count: usize = branches.iter().map(Branch::len).sum();
    if branches.len() > BRANCHES_MAX || field_count > FIELDS_MAX {
        return Err(Malformed::new("Rule is too complex".to_owned()));
    }
    Ok(())
}

fn check_wildcards(branch: &Branch) -> Result<(), Malformed> {
    for alternatives in branch.values() {
        let wildcards: Vec<&Wildcard> = alternatives.iter().flat_map(Comparison::wildcards).collect();
        if !wildcards.is_empty() && wildcard::is_too_complex(&wildcards) {
            return Err(Malformed::new(
                "Rule is too complex - try using fewer wildcard characters or fewer repeating character sequences \
                 after a wildcard character"
                    .to_owned(),
            ));
        }
    }
    Ok(())
}

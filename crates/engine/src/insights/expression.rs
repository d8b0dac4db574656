//! Expressions, and what they are worth for a row.
//!
//! Evaluating fails never: what has no sense (a text that is multiplied, a division by zero, a part that is not there)
//! is worth a missing value, as on AWS. Chains of one operator are flat, so the recursion is as deep as the parser's
//! nesting and no deeper.

use std::cell::OnceCell;
use std::cmp::Ordering;

use memchr::memmem::Finder;
use regex::Regex;
use serde_json::Value as Json;

use super::discover::{self, Wanted};
use super::function::Function;
use super::limits::TEXT_BYTES_MAX;
use super::moment::Period;
use super::value::Value;
use super::{Event, Window};

#[derive(Debug, Clone)]
pub enum Expr {
    Constant(Value<'static>),
    Field(Ref),
    /// Parts of a map or list, each of the one before.
    Part(Box<Expr>, Vec<Part>),
    Or(Vec<Expr>),
    And(Vec<Expr>),
    Not(Box<Expr>),
    Compare(Box<Expr>, Comparison, Box<Expr>),
    Like(Box<Expr>, Pattern),
    In(Box<Expr>, Vec<Expr>),
    Negative(Box<Expr>),
    /// From the left to the right; all operators are equally strong.
    Arithmetic(Box<Expr>, Vec<(Operator, Expr)>),
    Call(&'static Function, Vec<Expr>),
    Replace(Box<Expr>, Regex, Box<Expr>),
    Floor {
        moment: Box<Expr>,
        period: Period,
        offset_ms: i64,
    },
    Ceil {
        moment: Box<Expr>,
        period: Period,
    },
}

/// Where a value is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ref {
    /// In the event itself.
    System(System),
    /// Among what is discovered in the event, by its number among the names that the query wants.
    Found(usize),
    /// Among what the commands since the last cut made.
    Made(usize),
    /// Among what the last cut kept.
    Kept(usize),
    /// With the query.
    Window(Edge),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    Timestamp,
    IngestionTime,
    Message,
    Stream,
    Log,
    Pointer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    Now,
    Start,
    End,
    Length,
}

#[derive(Debug, Clone)]
pub enum Part {
    /// A key, or several with dots between them.
    Key(String),
    Index(Expr),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Power,
}

#[derive(Debug, Clone)]
pub enum Pattern {
    Text(Box<Finder<'static>>),
    Regex(Regex),
}

/// Where the values of a row come from that no command made.
pub enum Origin<'a> {
    Event { event: &'a Event<'a>, wanted: &'a Wanted, found: OnceCell<Vec<Value<'a>>> },
    Kept(&'a [Value<'static>]),
}

/// A row on its way through the commands.
pub struct Row<'s, 'a> {
    pub origin: &'s Origin<'a>,
    pub window: &'a Window,
    pub made: Vec<Value<'a>>,
}

impl Comparison {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Comparison::Equal => order.is_eq(),
            Comparison::NotEqual => order.is_ne(),
            Comparison::Less => order.is_lt(),
            Comparison::LessOrEqual => order.is_le(),
            Comparison::Greater => order.is_gt(),
            Comparison::GreaterOrEqual => order.is_ge(),
        }
    }
}

impl Operator {
    fn apply(self, left: f64, right: f64) -> Value<'static> {
        Value::real(match self {
            Operator::Add => left + right,
            Operator::Subtract => left - right,
            Operator::Multiply => left * right,
            // Nothing is divided by zero: what comes out is not real, and so missing.
            Operator::Divide => left / right,
            Operator::Modulo => left % right,
            Operator::Power => left.powf(right),
        })
    }
}

impl Pattern {
    pub fn text(text: &str) -> Pattern {
        Pattern::Text(Box::new(Finder::new(text).into_owned()))
    }

    pub fn is_in(&self, text: &str) -> bool {
        match self {
            Pattern::Text(part) => part.find(text.as_bytes()).is_some(),
            Pattern::Regex(regex) => regex.is_match(text),
        }
    }
}

impl<'a> Row<'_, 'a> {
    pub fn get(&self, at: Ref) -> Value<'a> {
        let of = |values: &[Value<'a>], index: usize| values.get(index).cloned().unwrap_or(Value::Missing);
        match (at, self.origin) {
            (Ref::Window(edge), _) => self.window.at(edge),
            (Ref::Made(index), _) => of(&self.made, index),
            (Ref::Kept(index), Origin::Kept(values)) => values.get(index).map_or(Value::Missing, Value::lend),
            (Ref::System(system), Origin::Event { event, .. }) => event.system(system),
            (Ref::Found(index), Origin::Event { event, wanted, found }) => {
                of(found.get_or_init(|| discover::wanted(event, wanted)), index)
            }
            // The parser lets nobody ask across a cut.
            (Ref::Kept(_), Origin::Event { .. }) | (Ref::System(_) | Ref::Found(_), Origin::Kept(_)) => Value::Missing,
        }
    }
}

impl Expr {
    pub fn is_true<'a>(&'a self, row: &Row<'_, 'a>) -> bool {
        self.value(row).is_true()
    }

    pub fn value<'a>(&'a self, row: &Row<'_, 'a>) -> Value<'a> {
        match self {
            Expr::Constant(value) => value.lend(),
            Expr::Field(at) => row.get(*at),
            Expr::Part(whole, parts) => dig(&whole.value(row), parts, row),
            Expr::Or(any) => Value::truth(any.iter().any(|expr| expr.is_true(row))),
            Expr::And(all) => Value::truth(all.iter().all(|expr| expr.is_true(row))),
            Expr::Not(expr) => Value::truth(!expr.is_true(row)),
            Expr::Compare(left, comparison, right) => {
                // What is missing equals nothing.
                let order = left.value(row).compare(&right.value(row));
                Value::truth(order.map_or(*comparison == Comparison::NotEqual, |order| comparison.holds(order)))
            }
            Expr::Like(expr, pattern) => {
                Value::truth(expr.value(row).as_text().is_some_and(|text| pattern.is_in(&text)))
            }
            Expr::In(expr, list) => {
                let value = expr.value(row);
                Value::truth(list.iter().any(|other| value.compare(&other.value(row)).is_some_and(Ordering::is_eq)))
            }
            Expr::Negative(expr) => expr.value(row).as_number().map_or(Value::Missing, |number| Value::real(-number)),
            Expr::Arithmetic(first, rest) => {
                let mut total = first.value(row);
                for (operator, expr) in rest {
                    let pair = total.as_number().zip(expr.value(row).as_number());
                    let Some((left, right)) = pair else { return Value::Missing };
                    total = operator.apply(left, right);
                }
                total
            }
            Expr::Call(function, arguments) => {
                let values: Vec<Value<'a>> = arguments.iter().map(|argument| argument.value(row)).collect();
                bounded((function.apply)(&values))
            }
            Expr::Replace(expr, regex, by) => {
                let (text, by) = (expr.value(row), by.value(row));
                let Some((text, by)) = text.as_text().zip(by.as_text()) else { return Value::Missing };
                bounded(replace(&text, regex, &by))
            }
            Expr::Floor { moment, period, offset_ms } => edge(&moment.value(row), |at| period.floor(at, *offset_ms)),
            Expr::Ceil { moment, period } => edge(&moment.value(row), |at| period.ceil(at)),
        }
    }
}

fn bounded(value: Value<'_>) -> Value<'_> {
    match value {
        Value::Text(text) if text.len() > TEXT_BYTES_MAX => Value::Missing,
        value => value,
    }
}

/// Each match, its replacement as it is; stops where the result would be too long to be a value.
fn replace(text: &str, regex: &Regex, by: &str) -> Value<'static> {
    let mut made = String::new();
    let mut end = 0;
    for found in regex.find_iter(text) {
        made.push_str(text.get(end..found.start()).unwrap_or_default());
        made.push_str(by);
        end = found.end();
        if made.len() > TEXT_BYTES_MAX {
            return Value::Missing;
        }
    }
    made.push_str(text.get(end..).unwrap_or_default());
    Value::text(made)
}

fn edge(moment: &Value<'_>, of: impl Fn(i64) -> Option<i64>) -> Value<'static> {
    let millis = match moment {
        Value::Time(millis) => Some(*millis),
        other => other.as_number().and_then(super::value::whole),
    };
    millis.and_then(of).map_or(Value::Missing, Value::Time)
}

fn dig<'a>(whole: &Value<'_>, parts: &'a [Part], row: &Row<'_, 'a>) -> Value<'static> {
    let Value::Json(json) = whole else { return Value::Missing };
    let mut at: &Json = json;
    for part in parts {
        let inner = match part {
            Part::Key(keys) => below(at, keys),
            Part::Index(expr) => {
                let index = expr.value(row).as_number().and_then(super::value::whole);
                index.and_then(|index| usize::try_from(index).ok()).and_then(|index| at.get(index))
            }
        };
        let Some(inner) = inner else { return Value::Missing };
        at = inner;
    }
    Value::of(at)
}

/// A key may hold dots of its own: the whole rest is tried first, then its shortest beginning that is a key.
fn below<'j>(mut at: &'j Json, mut keys: &str) -> Option<&'j Json> {
    loop {
        if let Some(inner) = at.get(keys) {
            return Some(inner);
        }
        let step = |key: &str| match at {
            Json::Array(list) => key.parse::<usize>().ok().and_then(|index| list.get(index)),
            other => other.get(key),
        };
        let dots = keys.match_indices('.').map(|(dot, _)| dot).chain(Some(keys.len()));
        let (inner, dot) = dots.take(DOTS_MAX).find_map(|dot| Some((step(keys.get(..dot)?)?, dot)))?;
        match keys.get(dot.saturating_add(1)..) {
            Some(rest) if dot < keys.len() => (at, keys) = (inner, rest),
            _ => return Some(inner),
        }
    }
}

/// Dots that a key of a parsed map may have of its own, unless all of the rest is the key.
const DOTS_MAX: usize = 8;

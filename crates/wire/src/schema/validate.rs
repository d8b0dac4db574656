//! What a model demands of an input, and AWS's words for each breach.
//!
//! Called by the pipeline with a decoded input, before the handler; a handler can rely on required members being there
//! and on every constraint of the model. All violations are reported at once, ten at most:
//! `2 validation errors detected: Value null at 'role' failed to satisfy constraint: Member must not be null; …`.
//! Strings count in Unicode characters, blobs in bytes. Values are printed as Java prints them; a sensitive value is
//! left out (`Value at 'password' failed …`), and a structure within a list or map is printed as its shape's name
//! where AWS prints an object id.
//!
//! A violation by an item of a list, or by a key or value of a map, is reported for the list or map, with all
//! constraints of its items. Which code the error has and how a service departs from the common form is in its
//! overlay ([`Policy`]). Members are visited in Java's hash order, as AWS's validator does.
//!
//! Not checked: that a union has exactly one member; handlers of unions see to that.

use std::fmt::{self, Write};

use base::AwsError;

use super::{Kind, Model, Operation, Protocol, Shape, ShapeId, Structure};
use crate::{Value, limits};

mod java;
mod pattern;

pub use pattern::Pattern;

/// How a service reports violations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The error's code, such as `ValidationException`.
    pub code: &'static str,
    /// Its code where the request came over Query.
    pub query_code: &'static str,
    /// The code of operations that list it among their errors and do not list `code`.
    pub code_where_listed: Option<&'static str>,
    /// Whether the service checks its input against the model at all; S3, for one, has its own words for each mistake.
    pub checked: bool,
    /// Whether messages show the offending value.
    pub echoed: bool,
    /// Whether messages count `Member must not be null` among the constraints of items.
    pub items_not_null: bool,
    /// Whether paths begin with the operation: `putIntegrationInput.type`.
    pub input_prefix: bool,
    /// Code and message, with `{member}` in it, of a service that asks for required members in words of its own and
    /// leaves all other constraints to its operations.
    pub missing: Option<(&'static str, &'static str)>,
}

/// The part of a model that only validation reads.
#[derive(Debug)]
pub struct Validation {
    pub policy: Policy,
    /// One a shape.
    pub rules: Vec<Rules>,
}

/// What a shape demands beyond what the codecs need to know of it.
#[derive(Debug, Default)]
pub struct Rules {
    pub pattern: Option<Pattern>,
    /// The values of an enum in the order in which messages list them, where it is not Java's. Of a list: what messages
    /// show, instead of all constraints of its items, as what its items may be.
    pub shown: Option<Vec<&'static str>>,
}

/// Checks an input against the model.
pub fn validate(model: &Model, operation: &Operation, protocol: Protocol, input: &Value) -> Result<(), AwsError> {
    let policy = &model.validation.policy;
    let Some(shape) = operation.input.filter(|_| policy.checked) else { return Ok(()) };
    // No input at all lacks every required member.
    let empty = Value::EMPTY;
    let input = if matches!(input, Value::Map(_)) { input } else { &empty };
    // The order matters only for messages: first any violation, then the ones to report.
    let mut check = Check { model, path: Vec::new(), found: Vec::new(), missing: None, max: 1, ordered: false };
    check.inside(shape, input);
    if check.found.is_empty() {
        return Ok(());
    }
    let mut check = Check { found: Vec::new(), max: limits::VIOLATIONS_MAX, ordered: true, ..check };
    let prefix = format!("{}Input", operation.name);
    if policy.input_prefix {
        check.path.push(Step::Member(&prefix));
    }
    check.inside(shape, input);
    if let (Some((code, message)), Some(member)) = (policy.missing, check.missing) {
        return Err(AwsError::client(400, code, message.replace("{member}", member)));
    }
    let count = check.found.len();
    let mut message =
        format!("{count} validation error{} detected: {}", if count == 1 { "" } else { "s" }, check.found.join("; "));
    message.truncate(message.floor_char_boundary(limits::VIOLATIONS_BYTES_MAX));
    let code = if protocol == Protocol::Query { policy.query_code } else { policy.code_of(model, operation) };
    Err(AwsError::client(400, code, message))
}

impl Policy {
    fn code_of(&self, model: &Model, operation: &Operation) -> &'static str {
        let lists = |code: &str| operation.errors.iter().any(|error| model.shape(*error).name == code);
        self.code_where_listed.filter(|listed| lists(listed) && !lists(self.code)).unwrap_or(self.code)
    }
}

/// One walk over an input.
struct Check<'a> {
    model: &'a Model,
    path: Vec<Step<'a>>,
    found: Vec<String>,
    /// The first required member that is not there.
    missing: Option<&'static str>,
    max: usize,
    ordered: bool,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Member(&'a str),
    /// Counted from one.
    Item(usize),
    Entry(&'a str),
}

const ENUM_SET: &str = "Member must satisfy enum value set";

/// One demand, as a message words it.
enum Constraint<'a> {
    LengthMax(f64),
    LengthMin(f64),
    Max(f64, bool),
    Min(f64, bool),
    Enum(&'a [&'static str], Option<&'a [&'static str]>),
    Pattern(&'a Pattern),
    NotNull,
}

impl<'a> Check<'a> {
    /// Checks what a value consists of; its own constraints have been checked by whoever holds it.
    fn inside(&mut self, id: ShapeId, value: &'a Value) {
        match (&self.model.shape(id).kind, value) {
            (Kind::Structure(structure), Value::Map(_)) => self.structure(structure, value),
            (Kind::List { member, .. }, Value::List(items)) => self.list(id, *member, items, value),
            (Kind::Map { key, value: entry, .. }, Value::Map(_)) => self.map(id, *key, *entry, value),
            _ => {}
        }
    }

    fn structure(&mut self, structure: &'a Structure, value: &'a Value) {
        let mut members: Vec<_> = structure.members.iter().collect();
        if self.ordered {
            let named = members.into_iter().map(|member| (java::lower_first(member.name), member)).collect();
            members = java::hash_order(named, |(name, _)| name).into_iter().map(|(_, member)| member).collect();
        }
        for member in members {
            if self.found.len() >= self.max {
                return;
            }
            self.path.push(Step::Member(member.name));
            match value.get(member.name) {
                None | Some(Value::Null) => {
                    if member.required {
                        self.missing.get_or_insert(member.name);
                        self.report(member.shape, &Value::Null, &Constraint::NotNull);
                    }
                }
                Some(value) => {
                    for constraint in self.constraints(member.shape) {
                        if !constraint.admits(value) {
                            self.report(member.shape, value, &constraint);
                        }
                    }
                    self.inside(member.shape, value);
                }
            }
            self.path.pop();
        }
    }

    fn list(&mut self, id: ShapeId, member: ShapeId, items: &'a [Value], value: &'a Value) {
        self.parts(id, value, member, items.iter(), "Member must satisfy constraint", true);
        for (index, item) in items.iter().enumerate() {
            if self.found.len() >= self.max {
                return;
            }
            self.path.push(Step::Item(index.saturating_add(1)));
            self.inside(member, item);
            self.path.pop();
        }
    }

    fn map(&mut self, id: ShapeId, key: ShapeId, entry: ShapeId, value: &'a Value) {
        let Value::Map(entries) = value else { return };
        let keys: Vec<Value> = match self.constraints(key).is_empty() {
            true => Vec::new(),
            false => entries.iter().map(|(key, _)| Value::String(key.to_string())).collect(),
        };
        self.parts(id, value, key, keys.iter(), "Map keys must satisfy constraint", false);
        let values = entries.iter().map(|(_, value)| value);
        self.parts(id, value, entry, values, "Map value must satisfy constraint", true);
        for (key, item) in entries {
            if self.found.len() >= self.max {
                return;
            }
            self.path.push(Step::Entry(key));
            self.inside(entry, item);
            self.path.pop();
        }
    }

    /// Reports the container once if any of its parts breaks a constraint, with all that there are.
    fn parts<'v>(
        &mut self,
        container: ShapeId,
        value: &Value,
        part: ShapeId,
        mut parts: impl Iterator<Item = &'v Value>,
        title: &str,
        not_null: bool,
    ) {
        if self.found.len() >= self.max {
            return;
        }
        let mut constraints = self.constraints(part);
        let refused = |part: &Value| *part == Value::Null || constraints.iter().any(|c| !c.admits(part));
        let Some(first) = parts.find(|part| refused(part)) else { return };
        if *first == Value::Null || (not_null && self.model.validation.policy.items_not_null) {
            constraints.push(Constraint::NotNull);
        }
        if let Some(shown) = self.rules(container).and_then(|rules| rules.shown.as_deref()) {
            self.report(container, value, &format_args!("{ENUM_SET}: [{}]", shown.join(", ")));
            return;
        }
        let texts: Vec<String> = constraints.iter().map(ToString::to_string).collect();
        self.report(container, value, &format_args!("{title}: [{}]", texts.join(", ")));
    }

    /// A shape's own constraints, in the order in which AWS lists them.
    fn constraints(&self, id: ShapeId) -> Vec<Constraint<'a>> {
        let Shape { kind, min, max, .. } = self.model.shape(id);
        let mut constraints = Vec::new();
        if self.model.validation.policy.missing.is_some() {
            return constraints;
        }
        match kind {
            Kind::Integer | Kind::Long | Kind::Float | Kind::Double => {
                let whole = matches!(kind, Kind::Integer | Kind::Long);
                constraints.extend(max.map(|max| Constraint::Max(max, whole)));
                constraints.extend(min.map(|min| Constraint::Min(min, whole)));
            }
            Kind::String { .. } | Kind::Blob { .. } | Kind::List { .. } | Kind::Map { .. } => {
                constraints.extend(max.map(Constraint::LengthMax));
                constraints.extend(min.map(Constraint::LengthMin));
            }
            _ => {}
        }
        let rules = self.rules(id);
        if let Kind::String { values, .. } = kind {
            if !values.is_empty() {
                constraints.push(Constraint::Enum(values, rules.and_then(|rules| rules.shown.as_deref())));
            }
            constraints.extend(rules.and_then(|rules| rules.pattern.as_ref()).map(Constraint::Pattern));
        }
        constraints
    }

    fn rules(&self, id: ShapeId) -> Option<&'a Rules> {
        usize::try_from(id.0).ok().and_then(|index| self.model.validation.rules.get(index))
    }

    fn report(&mut self, id: ShapeId, value: &Value, constraint: &dyn fmt::Display) {
        if self.found.len() >= self.max {
            return;
        }
        let mut text = String::from("Value ");
        if self.model.validation.policy.echoed && !self.secret(id) {
            match value {
                Value::Null => text.push_str("null "),
                value => {
                    let mut shown = String::new();
                    self.print(id, value, &mut shown);
                    text.push_str(&format!("'{shown}' "));
                }
            }
        }
        text.push_str(&format!("at '{}' failed to satisfy constraint: {constraint}", self.path()));
        self.found.push(text);
    }

    /// Whether a value of this shape may not be shown.
    fn secret(&self, id: ShapeId) -> bool {
        let shape = self.model.shape(id);
        shape.sensitive
            || match &shape.kind {
                Kind::List { member, .. } => self.secret(*member),
                Kind::Map { key, value, .. } => self.secret(*key) || self.secret(*value),
                // AWS shows no bytes.
                Kind::Blob { .. } => true,
                _ => false,
            }
    }

    /// What does not fit is left out, and not walked through.
    fn print(&self, id: ShapeId, value: &Value, out: &mut String) {
        let is_full = |out: &String| out.len() >= limits::SHOWN_VALUE_BYTES_MAX;
        if is_full(out) {
            return;
        }
        let shape = self.model.shape(id);
        match (&shape.kind, value) {
            (Kind::List { member, .. }, Value::List(items)) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if is_full(out) {
                        break;
                    }
                    out.push_str(if index == 0 { "" } else { ", " });
                    self.print(*member, item, out);
                }
                out.push(']');
            }
            (Kind::Map { value: entry, .. }, Value::Map(entries)) => {
                out.push('{');
                for (index, (key, item)) in entries.iter().enumerate() {
                    if is_full(out) {
                        break;
                    }
                    out.push_str(if index == 0 { "" } else { ", " });
                    out.push_str(cut(key, limits::SHOWN_VALUE_BYTES_MAX));
                    out.push('=');
                    self.print(*entry, item, out);
                }
                out.push('}');
            }
            (_, Value::String(text)) => out.push_str(cut(text, limits::SHOWN_VALUE_BYTES_MAX)),
            (_, Value::Integer(number)) => out.push_str(&number.to_string()),
            (_, Value::Float(number)) => out.push_str(&format!("{number:?}")),
            (_, Value::Bool(flag)) => out.push_str(&flag.to_string()),
            (_, Value::Timestamp(time)) => out.push_str(&time.iso8601()),
            (_, Value::Null) => out.push_str("null"),
            (_, Value::Blob(_) | Value::List(_) | Value::Map(_)) => out.push_str(shape.name),
        }
    }

    /// `tags.1.member.key`, `requestItems.table.member.1.member.putRequest`
    fn path(&self) -> String {
        let mut text = String::new();
        for step in &self.path {
            if text.len() >= limits::SHOWN_VALUE_BYTES_MAX {
                break;
            }
            let separator = if text.is_empty() { "" } else { "." };
            // Writing to a string cannot fail.
            let _ = match step {
                Step::Member(name) => write!(text, "{separator}{}", java::lower_first(name)),
                Step::Item(number) => write!(text, "{separator}{number}.member"),
                Step::Entry(key) => {
                    write!(text, "{separator}{}.member", cut(key, limits::SHOWN_KEY_BYTES_MAX))
                }
            };
        }
        text
    }
}

impl Constraint<'_> {
    /// A value of another type than the constraint speaks of passes: types are the codecs' concern.
    fn admits(&self, value: &Value) -> bool {
        match self {
            Self::LengthMax(max) => length(value).is_none_or(|length| length <= *max),
            Self::LengthMin(min) => length(value).is_none_or(|length| length >= *min),
            Self::Max(max, _) => number(value).is_none_or(|number| number <= *max),
            Self::Min(min, _) => number(value).is_none_or(|number| number >= *min),
            Self::Enum(values, _) => value.as_str().is_none_or(|text| values.contains(&text)),
            Self::Pattern(pattern) => value.as_str().is_none_or(|text| pattern.admits(text)),
            Self::NotNull => *value != Value::Null,
        }
    }
}

impl fmt::Display for Constraint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LengthMax(max) => write!(f, "Member must have length less than or equal to {max}"),
            Self::LengthMin(min) => write!(f, "Member must have length greater than or equal to {min}"),
            // Java prints a double with its point, Rust's `{}` without.
            Self::Max(max, true) => write!(f, "Member must have value less than or equal to {max}"),
            Self::Max(max, false) => write!(f, "Member must have value less than or equal to {max:?}"),
            Self::Min(min, true) => write!(f, "Member must have value greater than or equal to {min}"),
            Self::Min(min, false) => write!(f, "Member must have value greater than or equal to {min:?}"),
            Self::Enum(values, shown) => {
                let shown = match shown {
                    Some(shown) => shown.to_vec(),
                    None => java::hash_order(values.to_vec(), |value| value),
                };
                write!(f, "{ENUM_SET}: [{}]", shown.join(", "))
            }
            Self::Pattern(pattern) => write!(f, "Member must satisfy regular expression pattern: {}", pattern.shown),
            Self::NotNull => f.write_str("Member must not be null"),
        }
    }
}

/// As much of the beginning of `text` as has `bytes_max`.
fn cut(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or_default()
}

/// Characters, bytes, items or entries. Precise far beyond what a request can hold.
fn length(value: &Value) -> Option<f64> {
    match value {
        Value::String(text) => Some(text.chars().count() as f64),
        Value::Blob(blob) => Some(blob.len() as f64),
        Value::List(items) => Some(items.len() as f64),
        Value::Map(entries) => Some(entries.len() as f64),
        _ => None,
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Integer(number) => Some(*number as f64),
        Value::Float(number) => Some(*number),
        _ => None,
    }
}

#[cfg(test)]
mod tests;

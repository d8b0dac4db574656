//! Whether an event holds all fields of a branch.
//!
//! A step of a path is the name of a member, and goes on in every element of an array. A name of the event may have
//! points itself, and is several steps then. Only values that are no objects and no arrays have something to compare.
//!
//! Fields that lie in one array of objects must hold in the same object of it, as in AWS's engine. A field that is to
//! be absent is absent from the whole array, unless a field whose path sorts before it has chosen an object.
//!
//! The time is that of looking at each part of the event once for each field and level of arrays around it.

use serde_json::{Map, Value};

use super::branch::Branch;
use super::comparison::Comparison;
use super::limits::EVENT_DEPTH_MAX;

/// A field, and how much of its path is still ahead: none at the place itself.
#[derive(Clone, Copy)]
struct Field<'p> {
    ahead: Option<&'p str>,
    alternatives: &'p [Comparison],
    /// Whether it holds, too, where there is no value.
    may_be_absent: bool,
}

impl<'p> Field<'p> {
    fn new((path, alternatives): (&'p str, &'p [Comparison])) -> Field<'p> {
        let may_be_absent = alternatives.iter().any(|comparison| matches!(comparison, Comparison::Absent));
        Field { ahead: Some(path), alternatives, may_be_absent }
    }

    fn is_held_by(&self, value: &Value) -> bool {
        self.alternatives.iter().any(|comparison| comparison.holds(value))
    }

    /// The members that the path may go on in, and the field there.
    fn steps<'e>(self, members: &'e Map<String, Value>) -> impl Iterator<Item = (&'e Value, Field<'p>)> {
        let path = self.ahead.unwrap_or_default();
        let points = path.match_indices('.').map(|(at, _)| (path.get(..at), path.get(at.saturating_add(1)..)));
        let whole = self.ahead.map(|path| (Some(path), None));
        points.chain(whole).filter_map(move |(name, ahead)| Some((members.get(name?)?, Field { ahead, ..self })))
    }

    /// Whether some value at the field's place passes, in any element of arrays.
    fn any(self, node: &Value, depth: usize, passes: &impl Fn(&Value) -> bool) -> bool {
        if depth > EVENT_DEPTH_MAX {
            return false;
        }
        let deeper = depth.saturating_add(1);
        match node {
            Value::Object(members) => self.steps(members).any(|(value, field)| field.any(value, deeper, passes)),
            Value::Array(elements) => elements.iter().any(|element| self.any(element, deeper, passes)),
            value => self.ahead.is_none() && passes(value),
        }
    }

    fn is_absent(self, node: &Value, depth: usize) -> bool {
        !self.any(node, depth, &|_| true)
    }

    /// Whether it holds by itself, without regard to other fields.
    fn holds(self, node: &Value, depth: usize) -> bool {
        self.any(node, depth, &|value| self.is_held_by(value)) || (self.may_be_absent && self.is_absent(node, depth))
    }
}

pub fn holds(event: &Value, branch: &Branch) -> bool {
    let fields: Vec<_> = branch.iter().map(|(path, alternatives)| Field::new((path, alternatives))).collect();
    event.is_object() && all(event, &fields, 0)
}

/// Whether all fields, in the order of their paths, hold together.
fn all(node: &Value, fields: &[Field<'_>], depth: usize) -> bool {
    if let [field] = fields {
        return field.holds(node, depth);
    }
    if depth > EVENT_DEPTH_MAX {
        return false;
    }
    match node {
        Value::Object(members) => all_in_object(members, fields, depth),
        Value::Array(elements) => all_in_array(elements, fields, depth),
        value => fields.iter().all(|field| field.holds(value, depth)),
    }
}

/// Fields that go on in the same member have to hold there together.
fn all_in_object(members: &Map<String, Value>, fields: &[Field<'_>], depth: usize) -> bool {
    let deeper = depth.saturating_add(1);
    let mut groups: Vec<(&Value, Vec<Field<'_>>)> = Vec::new();
    for field in fields {
        let mut steps = field.steps(members);
        match (steps.next(), steps.next()) {
            (Some((value, field)), None) => match groups.iter_mut().find(|(other, _)| std::ptr::eq(*other, value)) {
                Some((_, group)) => group.push(field),
                None => groups.push((value, vec![field])),
            },
            // Nowhere, or in several members because of points in their names: nothing binds it to other fields.
            (None, _) if field.may_be_absent => {}
            (None, _) => return false,
            (Some((value, first)), Some((other, second))) => {
                let ways = [(value, first), (other, second)].into_iter().chain(steps);
                if !holds_in_some(ways, *field, deeper) {
                    return false;
                }
            }
        }
    }
    groups.into_iter().all(|(value, group)| all(value, &group, deeper))
}

fn holds_in_some<'e, 'p>(ways: impl Iterator<Item = (&'e Value, Field<'p>)>, field: Field<'p>, depth: usize) -> bool {
    let mut is_absent = true;
    for (value, step) in ways {
        if step.any(value, depth, &|value| field.is_held_by(value)) {
            return true;
        }
        is_absent = is_absent && step.is_absent(value, depth);
    }
    field.may_be_absent && is_absent
}

/// Fields that a plain element holds, and those that are absent from all, are done. One object or array has to hold all
/// the others.
fn all_in_array(elements: &[Value], fields: &[Field<'_>], depth: usize) -> bool {
    let deeper = depth.saturating_add(1);
    let is_plain = |element: &&Value| !element.is_object() && !element.is_array();
    let mut bound: Vec<Field<'_>> = Vec::new();
    let mut is_chosen = false;
    for field in fields {
        let is_held = field.ahead.is_none() && elements.iter().filter(is_plain).any(|plain| field.is_held_by(plain));
        let is_absent = || field.may_be_absent && elements.iter().all(|element| field.is_absent(element, deeper));
        if is_held || is_absent() {
            continue;
        }
        bound.push(Field { may_be_absent: field.may_be_absent && is_chosen, ..*field });
        is_chosen = is_chosen || !field.may_be_absent;
    }
    let mut objects = elements.iter().filter(|element| !is_plain(element));
    bound.is_empty() || objects.any(|element| all(element, &bound, deeper))
}

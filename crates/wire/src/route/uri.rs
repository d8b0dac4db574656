//! The URIs of a REST service as one tree: which operation a method, path and query mean.
//!
//! A template such as `/2015-03-31/functions/{FunctionName}/aliases?List=ALL` has literal segments, labels, a greedy
//! label at the end (`{Key+}`), and query parameters that must be there. Where several templates fit a path the most
//! specific wins, segment by segment: literal, label, greedy label. S3 has operations that share even the template;
//! those differ in which of their required headers and query parameters are there.
//!
//! The path is taken as it came: segments are cut at real slashes and decoded after that, so `%2F` stays within a
//! label; dots and empty segments mean nothing special (AWS resolves neither).

use std::borrow::Cow;

use http::HeaderMap;

use crate::percent::{self, Plus};
use crate::schema::{Location, Model, Operation};

/// All templates of a service.
#[derive(Debug, Default)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    ends: Vec<End>,
}

/// Where a prefix of templates leads. Indices are into `Tree::nodes` and `Tree::ends`.
#[derive(Debug, Default)]
struct Node {
    literals: Vec<(&'static str, usize)>,
    label: Option<usize>,
    /// Operations whose template ends here.
    ends: Vec<usize>,
    /// Operations whose template ends here in a label that takes the rest of the path.
    greedy_ends: Vec<usize>,
}

/// An operation as the end of a way through the tree.
#[derive(Debug)]
struct End {
    operation: usize,
    method: &'static str,
    labels: Vec<&'static str>,
    query: Vec<(&'static str, Option<&'static str>)>,
    /// Required members outside path and body: what tells operations of one template apart.
    required: Vec<(Location, &'static str)>,
}

/// An operation found, and what its labels stand for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub operation: usize,
    pub labels: Vec<(&'static str, String)>,
}

/// A label whose bytes are no UTF-8.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadLabel;

/// The parts of a request that a REST operation is found by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub query: &'a str,
    pub headers: &'a HeaderMap,
}

impl Tree {
    pub fn new(model: &Model) -> Self {
        let mut tree = Self { nodes: vec![Node::default()], ends: Vec::new() };
        for (index, operation) in model.operations.iter().enumerate() {
            tree.insert(index, operation, model);
        }
        tree
    }

    fn insert(&mut self, index: usize, operation: &Operation, model: &Model) {
        let (path, query) = operation.uri.split_once('?').unwrap_or((operation.uri, ""));
        let mut labels = Vec::new();
        let mut node = 0;
        let mut greedy = false;
        for segment in path.split('/').skip(1).filter(|segment| !segment.is_empty()) {
            match segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
                Some(label) => {
                    greedy = label.ends_with('+');
                    labels.push(label.trim_end_matches('+'));
                    if !greedy {
                        node = self.child(node, None);
                    }
                }
                None => node = self.child(node, Some(segment)),
            }
        }
        let end = End {
            operation: index,
            method: operation.method,
            labels,
            query: query.split('&').filter(|pair| !pair.is_empty()).map(key_value).collect(),
            required: required(operation, model),
        };
        let place = self.ends.len();
        self.ends.push(end);
        if let Some(node) = self.nodes.get_mut(node) {
            if greedy { node.greedy_ends.push(place) } else { node.ends.push(place) }
        }
    }

    /// The node below `parent` for a literal, or for a label; made if it is not there.
    fn child(&mut self, parent: usize, literal: Option<&'static str>) -> usize {
        let fresh = self.nodes.len();
        let Some(node) = self.nodes.get_mut(parent) else { return parent };
        let known = match literal {
            Some(literal) => node.literals.iter().find(|(text, _)| *text == literal).map(|(_, at)| *at),
            None => node.label,
        };
        if let Some(known) = known {
            return known;
        }
        match literal {
            Some(literal) => node.literals.push((literal, fresh)),
            None => node.label = Some(fresh),
        }
        self.nodes.push(Node::default());
        fresh
    }

    pub fn find(&self, target: Target<'_>) -> Result<Option<Found>, BadLabel> {
        let Some(rest) = target.path.strip_prefix('/') else { return Ok(None) };
        let query: Vec<_> = target.query.split('&').filter(|pair| !pair.is_empty()).map(decoded_key_value).collect();
        let mut captured = Vec::new();
        let Some((end, rest)) = self.walk(0, Some(rest), &target, &query, &mut captured) else { return Ok(None) };
        captured.extend(rest);
        let labels = end.labels.iter().zip(captured);
        let labels: Option<Vec<_>> =
            labels.map(|(label, raw)| Some((*label, percent::decode_text(raw, Plus::Literal)?.into_owned()))).collect();
        Ok(Some(Found { operation: end.operation, labels: labels.ok_or(BadLabel)? }))
    }

    /// Follows the path down from `node`; on success `captured` holds the raw labels, and a greedy one is returned.
    /// A node is entered at one depth only, so the work is bounded by the tree, whatever the path.
    fn walk<'p>(
        &self,
        node: usize,
        rest: Option<&'p str>,
        target: &Target<'_>,
        query: &[(Cow<'_, str>, Cow<'_, str>)],
        captured: &mut Vec<&'p str>,
    ) -> Option<(&End, Option<&'p str>)> {
        let node = self.nodes.get(node)?;
        // `/a/` is `/a`: AWS's services take both.
        let Some(path) = rest.filter(|path| !path.is_empty()) else {
            return self.select(&node.ends, target, query).map(|end| (end, None));
        };
        let (segment, below) = match path.split_once('/') {
            Some((segment, below)) => (segment, Some(below)),
            None => (path, None),
        };
        let plain = percent::decode_text(segment, Plus::Literal);
        let literal = plain.and_then(|plain| node.literals.iter().find(|(text, _)| *text == plain));
        if let Some((_, child)) = literal
            && let Some(found) = self.walk(*child, below, target, query, captured)
        {
            return Some(found);
        }
        if let Some(child) = node.label
            && !segment.is_empty()
        {
            captured.push(segment);
            if let Some(found) = self.walk(child, below, target, query, captured) {
                return Some(found);
            }
            captured.pop();
        }
        self.select(&node.greedy_ends, target, query).map(|end| (end, Some(path)))
    }

    /// Of the operations that share a template, the one that this request means.
    fn select(&self, ends: &[usize], target: &Target<'_>, query: &[(Cow<'_, str>, Cow<'_, str>)]) -> Option<&End> {
        let has = |key: &str, value: Option<&str>| {
            query.iter().any(|(k, v)| k == key && value.is_none_or(|value| v == value))
        };
        let present = |(location, name): &(Location, &str)| match location {
            Location::Header => target.headers.contains_key(*name),
            _ => has(name, None),
        };
        let ends = ends.iter().filter_map(|end| self.ends.get(*end));
        let fitting = ends.filter(|end| end.method == target.method && end.query.iter().all(|(k, v)| has(k, *v)));
        // More fixed parameters first; then everything required being there, the more the better; with something
        // missing, the operation that requires least will say best what is wrong.
        let mut best: Option<(&End, (usize, isize))> = None;
        for end in fitting {
            let required = isize::try_from(end.required.len()).unwrap_or(isize::MAX);
            let complete = end.required.iter().all(present);
            let rank = (end.query.len(), if complete { required } else { -required });
            if best.is_none_or(|(_, other)| rank > other) {
                best = Some((end, rank));
            }
        }
        best.map(|(end, _)| end)
    }
}

fn required(operation: &Operation, model: &Model) -> Vec<(Location, &'static str)> {
    let members = model.structure(operation.input).map(|input| input.members.as_slice()).unwrap_or_default();
    members
        .iter()
        .filter(|member| member.required && matches!(member.location, Location::QueryString | Location::Header))
        .map(|member| (member.location, member.wire()))
        .collect()
}

fn key_value(pair: &str) -> (&str, Option<&str>) {
    match pair.split_once('=') {
        Some((key, value)) => (key, Some(value)),
        None => (pair, None),
    }
}

/// A pair of a query or form; what cannot be decoded matches nothing that has a name.
pub(super) fn decoded_key_value(pair: &str) -> (Cow<'_, str>, Cow<'_, str>) {
    let (key, value) = key_value(pair);
    let decode = |text| percent::decode_text(text, Plus::Space).unwrap_or_default();
    (decode(key), decode(value.unwrap_or_default()))
}

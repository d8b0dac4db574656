//! What a model demands of an input, and AWS's words for each breach.

use std::sync::OnceLock;

use regex::Regex;

/// How a service reports violations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The error's code, such as `ValidationException`.
    pub code: &'static str,
    /// Its code where the request came over Query.
    pub query_code: &'static str,
    /// Whether the service checks its input against the model at all; S3, for one, has its own words for each mistake.
    pub checked: bool,
}

/// A pattern of the model, compiled when a value first needs it.
#[derive(Debug)]
pub struct Pattern {
    /// As messages show it.
    pub(super) shown: &'static str,
    /// What a value must match as a whole, where `shown` is not a regular expression that Rust's engine takes.
    pub(super) matches: Option<&'static str>,
    /// What a value must not match: the part of `shown` that looks around.
    pub(super) unless: Option<&'static str>,
    pub(super) compiled: OnceLock<Option<(Regex, Option<Regex>)>>,
}

/// The part of a model that only validation reads.
#[derive(Debug)]
pub struct Validation {
    pub policy: Policy,
    /// One place a shape.
    patterns: Vec<Option<Pattern>>,
}

impl Pattern {
    pub(super) fn new(shown: &'static str, matches: Option<&'static str>, unless: Option<&'static str>) -> Self {
        Self { shown, matches, unless, compiled: OnceLock::new() }
    }
}

impl Validation {
    pub(super) fn new(policy: Policy, patterns: Vec<Option<Pattern>>) -> Self {
        Self { policy, patterns }
    }
}

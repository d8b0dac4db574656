//! What AWS promises of functions, versions, aliases, layers, tags and reserved concurrency, in as few words as it takes.
//!
//! A step is one call; the model says what it must come to and what is there afterwards.

use std::collections::{BTreeMap, BTreeSet};

pub const UNRESERVED_MIN: i32 = 100;
pub const CONCURRENCY_MAX: i32 = 1_000;
pub const LAYERS_MAX: usize = 5;
pub const TAGS_MAX: usize = 50;

pub const NOT_FOUND: &str = "ResourceNotFoundException";
pub const CONFLICT: &str = "ResourceConflictException";
pub const INVALID: &str = "InvalidParameterValueException";
pub const MALFORMED: &str = "ValidationException";
pub const STALE: &str = "PreconditionFailedException";

/// What a change says about the revision that it wants to change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Revision {
    Any,
    Current,
    Outdated,
}

/// One call. Functions, aliases and layers go by small numbers, code by its place among the zips.
#[derive(Clone, Debug)]
pub enum Step {
    Create { function: usize, code: usize, publish: bool },
    UpdateCode { function: usize, code: usize, publish: bool, revision: Revision },
    UpdateConfiguration { function: usize, description: String, revision: Revision },
    UseLayers { function: usize, layers: Vec<(usize, u64)> },
    Publish { function: usize, description: Option<String>, revision: Revision },
    Delete { function: usize },
    DeleteVersion { function: usize, version: u64 },
    CreateAlias { function: usize, alias: usize, target: Target },
    UpdateAlias { function: usize, alias: usize, target: Target, revision: Revision },
    DeleteAlias { function: usize, alias: usize },
    Reserve { function: usize, executions: i32 },
    Unreserve { function: usize },
    Tag { function: usize, first: usize, count: usize },
    Untag { function: usize, first: usize, count: usize },
    Grant { function: usize, statement: usize },
    Revoke { function: usize, statement: usize },
    PublishLayer { layer: usize, code: usize },
    DeleteLayer { layer: usize, version: u64 },
}

/// What an alias points to: a version, 0 for `$LATEST`, and perhaps a second one with a tenth of the traffic.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    pub version: u64,
    pub second: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Release {
    pub code: usize,
    pub description: String,
    pub layers: Vec<(usize, u64)>,
}

#[derive(Clone, Debug, Default)]
pub struct Function {
    pub latest: Release,
    pub versions: BTreeMap<u64, Release>,
    pub aliases: BTreeMap<usize, Target>,
    pub tags: BTreeMap<usize, String>,
    pub grants: BTreeSet<usize>,
    pub reserved: Option<i32>,
    /// The last number given, and what it was given to.
    last: u64,
    published: Option<Release>,
}

#[derive(Clone, Debug, Default)]
pub struct Layer {
    pub versions: BTreeMap<u64, usize>,
    last: u64,
}

#[derive(Clone, Debug, Default)]
pub struct Model {
    pub functions: BTreeMap<usize, Function>,
    pub layers: BTreeMap<usize, Layer>,
    /// The last numbers of functions that are gone: the next of the name goes on from there.
    gone: BTreeMap<usize, u64>,
}

/// What a call comes to: the version that its answer names, or one of these errors.
pub type Verdict = Result<Option<String>, &'static [&'static str]>;

impl Model {
    /// What the step comes to. A refused one changes nothing.
    pub fn apply(&mut self, step: &Step) -> Verdict {
        let mut after = self.clone();
        let verdict = after.perform(step);
        if verdict.is_ok() {
            *self = after;
        }
        verdict
    }

    fn perform(&mut self, step: &Step) -> Verdict {
        match step {
            Step::Create { function, code, publish } => {
                if self.functions.contains_key(function) {
                    return Err(&[CONFLICT]);
                }
                let last = self.gone.get(function).copied().unwrap_or_default();
                let mut made =
                    Function { latest: Release { code: *code, ..Release::default() }, last, ..Function::default() };
                let number = publish.then(|| made.publish(None));
                self.functions.insert(*function, made);
                Ok(number.or(Some("$LATEST".into())))
            }
            Step::Delete { function } => {
                let removed = self.functions.remove(function).ok_or(&[NOT_FOUND][..])?;
                self.gone.insert(*function, removed.last);
                Ok(None)
            }
            Step::UseLayers { function, layers } => {
                let mut names: Vec<usize> = layers.iter().map(|(layer, _)| *layer).collect();
                names.sort_unstable();
                names.dedup();
                let there = |(layer, version): &(usize, u64)| {
                    self.layers.get(layer).is_some_and(|layer| layer.versions.contains_key(version))
                };
                let good = layers.len() <= LAYERS_MAX && names.len() == layers.len() && layers.iter().all(there);
                let function = self.functions.get_mut(function).ok_or(&[NOT_FOUND, INVALID][..])?;
                if !good {
                    return Err(&[INVALID]);
                }
                function.latest.layers = layers.clone();
                Ok(Some("$LATEST".into()))
            }
            Step::Reserve { function, executions } => {
                let others = self.functions.iter().filter(|(name, _)| *name != function);
                let others: i32 = others.filter_map(|(_, function)| function.reserved).sum();
                let function = self.functions.get_mut(function).ok_or(&[NOT_FOUND][..])?;
                if CONCURRENCY_MAX - others - executions < UNRESERVED_MIN {
                    return Err(&[INVALID]);
                }
                function.reserved = Some(*executions);
                Ok(None)
            }
            Step::PublishLayer { layer, code } => {
                let layer = self.layers.entry(*layer).or_default();
                layer.last += 1;
                layer.versions.insert(layer.last, *code);
                Ok(Some(layer.last.to_string()))
            }
            Step::DeleteLayer { layer, version } => {
                if let Some(layer) = self.layers.get_mut(layer) {
                    layer.versions.remove(version);
                }
                Ok(None)
            }
            Step::CreateAlias { target: Target { second: Some(0), .. }, .. }
            | Step::UpdateAlias { target: Target { second: Some(0), .. }, .. } => Err(&[MALFORMED]),
            Step::CreateAlias { function, .. } | Step::UpdateAlias { function, .. } => {
                self.functions.get_mut(function).ok_or(&[NOT_FOUND, INVALID][..])?.perform(step)
            }
            _ => self.functions.get_mut(&step.function()).ok_or(&[NOT_FOUND][..])?.perform(step),
        }
    }

    pub fn reserved(&self) -> i32 {
        self.functions.values().filter_map(|function| function.reserved).sum()
    }
}

impl Step {
    /// The function that it is about; that of a layer's step is none.
    pub fn function(&self) -> usize {
        match self {
            Self::Create { function, .. }
            | Self::UpdateCode { function, .. }
            | Self::UpdateConfiguration { function, .. }
            | Self::UseLayers { function, .. }
            | Self::Publish { function, .. }
            | Self::Delete { function }
            | Self::DeleteVersion { function, .. }
            | Self::CreateAlias { function, .. }
            | Self::UpdateAlias { function, .. }
            | Self::DeleteAlias { function, .. }
            | Self::Reserve { function, .. }
            | Self::Unreserve { function }
            | Self::Tag { function, .. }
            | Self::Untag { function, .. }
            | Self::Grant { function, .. }
            | Self::Revoke { function, .. } => *function,
            Self::PublishLayer { .. } | Self::DeleteLayer { .. } => usize::MAX,
        }
    }
}

impl Function {
    fn perform(&mut self, step: &Step) -> Verdict {
        match step {
            Step::UpdateCode { code, publish, revision, .. } => {
                revision.check()?;
                self.latest.code = *code;
                Ok(Some(if *publish { self.publish_unless_same(None) } else { "$LATEST".into() }))
            }
            Step::UpdateConfiguration { description, revision, .. } => {
                revision.check()?;
                self.latest.description.clone_from(description);
                Ok(Some("$LATEST".into()))
            }
            Step::Publish { description, revision, .. } => {
                revision.check()?;
                Ok(Some(self.publish_unless_same(description.as_deref())))
            }
            Step::DeleteVersion { version, .. } => {
                let held = |target: &Target| target.version == *version || target.second == Some(*version);
                if self.aliases.values().any(held) {
                    return Err(&[CONFLICT]);
                }
                self.versions.remove(version);
                Ok(None)
            }
            Step::CreateAlias { alias, target, .. } => {
                let taken = self.aliases.contains_key(alias);
                self.check(target, if taken { &[NOT_FOUND, CONFLICT, INVALID] } else { &[NOT_FOUND, INVALID] })?;
                if taken {
                    return Err(&[CONFLICT]);
                }
                self.aliases.insert(*alias, *target);
                Ok(Some(target.version()))
            }
            Step::UpdateAlias { alias, target, revision, .. } => {
                if !self.aliases.contains_key(alias) {
                    return Err(&[NOT_FOUND, INVALID]);
                }
                let outdated = revision.check().is_err();
                self.check(target, if outdated { &[NOT_FOUND, STALE, INVALID] } else { &[NOT_FOUND, INVALID] })?;
                revision.check()?;
                self.aliases.insert(*alias, *target);
                Ok(Some(target.version()))
            }
            Step::DeleteAlias { alias, .. } => {
                self.aliases.remove(alias);
                Ok(None)
            }
            Step::Unreserve { .. } => {
                self.reserved = None;
                Ok(None)
            }
            Step::Tag { first, count, .. } => {
                self.tags.extend((*first..first + count).map(|key| (key, format!("of {first}"))));
                if self.tags.len() > TAGS_MAX { Err(&[INVALID]) } else { Ok(None) }
            }
            Step::Untag { first, count, .. } => {
                self.tags.retain(|key, _| !(*first..first + count).contains(key));
                Ok(None)
            }
            Step::Grant { statement, .. } => {
                if self.grants.insert(*statement) {
                    Ok(None)
                } else {
                    Err(&[CONFLICT])
                }
            }
            Step::Revoke { statement, .. } => {
                if self.grants.remove(statement) {
                    Ok(None)
                } else {
                    Err(&[NOT_FOUND])
                }
            }
            other => unreachable!("not a step within a function: {other:?}"),
        }
    }

    /// An alias points to what is there, and splits between two published versions at most.
    fn check(&self, target: &Target, wrong: &'static [&'static str]) -> Result<(), &'static [&'static str]> {
        let there = |version: u64| version == 0 || self.versions.contains_key(&version);
        let second = target
            .second
            .is_none_or(|second| second != target.version && second != 0 && target.version != 0 && there(second));
        if there(target.version) && second { Ok(()) } else { Err(wrong) }
    }

    fn publish_unless_same(&mut self, description: Option<&str>) -> String {
        if self.published.as_ref() == Some(&self.latest) && self.versions.contains_key(&self.last) {
            return self.last.to_string();
        }
        self.publish(description)
    }

    /// Numbers are given once, whatever becomes of the version.
    fn publish(&mut self, description: Option<&str>) -> String {
        self.last += 1;
        self.published = Some(self.latest.clone());
        let description = description.unwrap_or(&self.latest.description).to_owned();
        self.versions.insert(self.last, Release { description, ..self.latest.clone() });
        self.last.to_string()
    }
}

impl Revision {
    fn check(self) -> Result<(), &'static [&'static str]> {
        if self == Self::Outdated { Err(&[STALE]) } else { Ok(()) }
    }
}

impl Target {
    pub fn version(&self) -> String {
        version_name(self.version)
    }
}

pub fn version_name(version: u64) -> String {
    if version == 0 { "$LATEST".into() } else { version.to_string() }
}

//! What of AWS's runtimes this machine serves, by which interpreter, and with which SDK: for `lamp runtimes` and
//! `lamp doctor`.

use super::choice::{self, Unserved};
use super::find::{self, Interpreter};
use super::{Family, Sdk, sdk};
use crate::runtime::Settings;

/// AWS's runtimes that Lamplight knows, in the order in which people look for them. Older ones run too.
pub const RUNTIMES: [&str; 19] = [
    "python3.9",
    "python3.10",
    "python3.11",
    "python3.12",
    "python3.13",
    "python3.14",
    "nodejs18.x",
    "nodejs20.x",
    "nodejs22.x",
    "nodejs24.x",
    "java11",
    "java17",
    "java21",
    "java25",
    "ruby3.2",
    "ruby3.3",
    "ruby3.4",
    "provided.al2",
    "provided.al2023",
];

/// What happens to functions of one runtime here.
#[derive(Debug, Clone)]
pub struct Offer {
    pub runtime: String,
    pub family: Family,
    pub serving: Serving,
}

#[derive(Debug, Clone)]
pub enum Serving {
    /// The function brings its own program.
    Own,
    By {
        interpreter: Interpreter,
        /// Its version is not the runtime's.
        is_other_version: bool,
        sdk: Option<Sdk>,
    },
    None {
        reason: String,
        remedy: String,
    },
}

/// Looks for interpreters and SDKs. Blocks on the disk, and on programs that are asked for their version.
pub fn survey(settings: &Settings, runtimes: &[&str]) -> Vec<Offer> {
    let found = find::all(&find::Places::of_this_machine(&settings.interpreters));
    runtimes.iter().filter_map(|runtime| offer(settings, &found, runtime)).collect()
}

/// `None` for a name that means nothing.
fn offer(settings: &Settings, found: &[Interpreter], runtime: &str) -> Option<Offer> {
    let (family, version) = match Family::named(runtime) {
        // A whole language: its newest version stands for it.
        Some(family) => {
            let versions = found.iter().filter(|found| found.family == family).map(Interpreter::version);
            (family, versions.max().unwrap_or_default())
        }
        None => Family::of(runtime)?,
    };
    let is_compiler = |found: &Interpreter| found.family == Family::Java && found.prefix.join("bin/javac").exists();
    let serving = match choice::choose(found, settings, runtime, family, version) {
        _ if family == Family::Provided => Serving::Own,
        // Our part of the runtime is compiled on this machine.
        Ok(_) if family == Family::Java && !found.iter().any(is_compiler) => Serving::None {
            reason: "only a JRE found, without javac".to_owned(),
            remedy: Family::Java.install().to_owned(),
        },
        Ok(interpreter) => Serving::By {
            is_other_version: interpreter.version() != version,
            sdk: sdk::of(&settings.sdk_dir, runtime, family, interpreter),
            interpreter: interpreter.clone(),
        },
        Err(error) => Serving::None { reason: reason(&error), remedy: error.remedy() },
    };
    Some(Offer { runtime: runtime.to_owned(), family, serving })
}

/// Short, for a table that has the runtime's name already.
fn reason(error: &Unserved) -> String {
    match error {
        Unserved::Unknown(_) => "not served".to_owned(),
        Unserved::Missing { family, .. } => format!("no {} found", family.word()),
        Unserved::Named { folder, family, .. } => format!("no {} in {}", family.word(), folder.join("bin").display()),
        Unserved::NotExact { nearest, .. } => format!("only {nearest} found, and runtime_match is exact"),
        Unserved::Closed { closed, .. } => format!("others may not read {}", closed.display()),
    }
}

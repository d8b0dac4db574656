//! What is prepared once for a version of a function, so that its instances load its code sooner: by whom, how, and
//! under which name it is kept.
//!
//! The result is one file. The host keeps it beside the version's trees, shows it read-only to the instances of that
//! version, and names it in `INIT` (`"prepared"`). An instance never waits for it, and runs the same without it. What
//! made it is as hostile as the function itself, so nobody but that version's instances may ever read it: the host only
//! counts its bytes. A file of another interpreter is ignored by the bootstraps.
//!
//! For Java it is an archive of classes that has nothing of any version, so all share it that run on one interpreter. Ruby
//! has nothing to keep.

use std::collections::BTreeMap;
use std::time::Duration;

use base::hex;
use ring::digest;

use super::{Family, Served, java};
use crate::code::SHARED;
use crate::variables;

/// The largest file that is kept; one that is larger is no good.
pub const PREPARED_BYTES_MAX: u64 = 64 * 1024 * 1024;

const PYTHON: &str = include_str!("../../bootstraps/python/prepare.py");
/// Of compiled code; the index comes to it.
const PYTHON_CODE_BYTES_MAX: u64 = 56 * 1024 * 1024;
/// What compiling may take inside; what is compiled by then is kept.
const PYTHON_SECONDS: u64 = 30;
/// All compiled modules are held at once.
const PYTHON_MEMORY_BYTES: u64 = 512 * 1024 * 1024;

/// How a version's code is prepared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Preparation {
    Nothing,
    /// By a program in a sandbox of its own, which runs none of the function's code.
    Program(Recipe),
    /// By an instance that has answered an invocation, whose `INIT` said `"prepare": true`: it answers the frame `PREPARE`
    /// with `PREPARED`. Once.
    Instance,
}

/// What a program is shown that prepares something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sees {
    /// The version's code, and the interpreter.
    Code,
    /// The interpreter and our part of the runtime: nothing of the version.
    Runtime,
}

/// A program that writes what is prepared to its standard output. With status 0 all of it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// Places as the instances see them: the sandbox shows them as theirs do, and has no way out. Where there are no
    /// walls, places are elsewhere, in each argument.
    pub argv: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub sees: Sees,
    pub memory_bytes: u64,
    /// After which it has failed.
    pub within: Duration,
}

/// What is to be prepared for versions that run on `served`.
pub fn preparation(served: &Served) -> Preparation {
    match served.family {
        Family::Python => Preparation::Program(python(served)),
        Family::Node => Preparation::Instance,
        Family::Java => java::recipe(served).map_or(Preparation::Nothing, Preparation::Program),
        Family::Ruby | Family::Provided => Preparation::Nothing,
    }
}

fn python(served: &Served) -> Recipe {
    let mut argv = vec![served.program.display().to_string()];
    // Neither the function's folder nor its variables have a say in how it is compiled.
    argv.extend(["-I", "-S", "-B", "-c", PYTHON].map(str::to_owned));
    argv.extend([PYTHON_CODE_BYTES_MAX.to_string(), PYTHON_SECONDS.to_string()]);
    argv.extend(["/var/task", "/opt/python"].map(str::to_owned));
    Recipe {
        argv,
        env: variables::libraries(served.is_relocated),
        sees: Sees::Code,
        memory_bytes: PYTHON_MEMORY_BYTES,
        within: Duration::from_secs(PYTHON_SECONDS.saturating_mul(2)),
    }
}

/// Whose a file is, and nobody else's. Neither text is ever another owner's.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    pub account: &'a str,
    /// The version with its settings, and the tenant.
    pub instances: &'a str,
}

/// The name of the file for a version, if there is one for it. `trees` are the hashes of its code and its layers. What no
/// code of the function had a hand in is its account's, for all versions that have these trees. What an instance made
/// knows its events and its secrets, so it is for those alone who are like it; and V8 takes code only under the flags that
/// it was made with, of which memory is one.
pub fn prepared_name(served: &Served, trees: &[[u8; 32]], owner: &Owner<'_>) -> Option<String> {
    let mut digest = digest::Context::new(&digest::SHA256);
    let mut add = |part: &[u8]| {
        digest.update(&(part.len() as u64).to_le_bytes());
        digest.update(part);
    };
    add(served.label.as_bytes());
    match preparation(served) {
        Preparation::Nothing => return None,
        Preparation::Program(recipe) if recipe.sees == Sees::Runtime => {
            recipe.argv.iter().for_each(|part| add(part.as_bytes()));
            let (major, minor, patch) = served.version;
            let place = served.lang_dir.as_ref().map(|dir| dir.display().to_string()).unwrap_or_default();
            add(format!("{major}.{minor}.{patch} {place} {}", java::sources()).as_bytes());
            return Some(format!("{SHARED}{}", hex::encode(digest.finish().as_ref())));
        }
        Preparation::Program(recipe) => recipe.argv.iter().for_each(|part| add(part.as_bytes())),
        Preparation::Instance => add(owner.instances.as_bytes()),
    }
    add(owner.account.as_bytes());
    trees.iter().for_each(|tree| add(tree));
    Some(format!("p-{}", hex::encode(digest.finish().as_ref())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(family: Family, label: &str) -> Served {
        Served {
            family,
            label: label.to_owned(),
            program: "/var/lang/bin/python3.13".into(),
            is_relocated: true,
            ..crate::languages::provided("provided.al2023")
        }
    }

    #[test]
    fn the_recipe_runs_nothing_of_the_function() {
        let Preparation::Program(recipe) = preparation(&served(Family::Python, "python:3.13.v0")) else { panic!() };
        assert_eq!(recipe.argv[..5], ["/var/lang/bin/python3.13", "-I", "-S", "-B", "-c"]);
        assert!(recipe.argv[6].parse::<u64>().unwrap() < PREPARED_BYTES_MAX);
        assert!(recipe.env["LD_LIBRARY_PATH"].contains("/var/lang/lib"));
    }

    #[test]
    fn a_name_is_one_version_and_one_interpreter() {
        let (python, node) = (served(Family::Python, "python:3.13.v0"), served(Family::Node, "nodejs:22.v3"));
        let name = |served: &Served, trees: &[[u8; 32]], instances: &str| {
            prepared_name(served, trees, &Owner { account: "a", instances }).unwrap()
        };
        let (a, b) = ([1; 32], [2; 32]);
        assert_ne!(name(&python, &[a], ""), name(&python, &[b], ""));
        assert_ne!(name(&python, &[a, b], ""), name(&python, &[b, a], ""));
        assert_ne!(name(&python, &[a], ""), name(&served(Family::Python, "python:3.13.v1"), &[a], ""));
        // What no code of the function had a hand in is the same for all of the account who have that code.
        assert_eq!(name(&python, &[a], "one"), name(&python, &[a], "other"));
        assert_ne!(name(&node, &[a], "one"), name(&node, &[a], "other"));
        let other = Owner { account: "b", instances: "" };
        for served in [&python, &node] {
            assert_ne!(prepared_name(served, &[a], &other), Some(name(served, &[a], "")));
        }
        assert_eq!(prepared_name(&served(Family::Ruby, "ruby:3.3.v0"), &[a], &other), None);
    }

    #[test]
    fn an_archive_of_classes_is_an_interpreter_s_and_nothing_of_any_version() {
        let name = |served: &Served, tree: u8, account: &str| {
            prepared_name(served, &[[tree; 32]], &Owner { account, instances: account })
        };
        let java = Served { version: (17, 0, 1), ..served(Family::Java, "java:17.v0") };
        let patched = Served { version: (17, 0, 2), ..java.clone() };
        let elsewhere = Served { lang_dir: Some("/opt/java".into()), ..java.clone() };
        assert!(name(&java, 1, "a").unwrap().starts_with(SHARED));
        assert_eq!(name(&java, 1, "a"), name(&java, 2, "b"));
        assert_ne!(name(&java, 1, "a"), name(&patched, 1, "a"));
        assert_ne!(name(&java, 1, "a"), name(&elsewhere, 1, "a"));
        let Preparation::Program(recipe) = preparation(&java) else { panic!() };
        assert_eq!(recipe.sees, Sees::Runtime);
        assert_eq!(preparation(&served(Family::Java, "java:11.v0")), Preparation::Nothing);
    }

    #[test]
    fn a_command_line_is_given_an_archive_and_has_it_taken() {
        for (label, flag) in [
            ("java:17.v0", "-XX:SharedArchiveFile=/a"),
            ("java:25.v0", "-XX:AOTCache=/a"),
            ("java:11.v0", "-Xshare:auto"),
        ] {
            let plain = java::arguments(128);
            let mut argv = plain.clone();
            java::use_archive(&mut argv, &served(Family::Java, label), "/a");
            assert!(argv.iter().any(|argument| argument == flag), "{argv:?}");
            assert_eq!(
                argv.iter().filter(|argument| argument.starts_with("-Xshare")).count(),
                usize::from(argv == plain)
            );
            java::forget_archive(&mut argv);
            argv.retain(|argument| !argument.starts_with("-Xlog"));
            assert_eq!(argv, plain);
        }
    }
}

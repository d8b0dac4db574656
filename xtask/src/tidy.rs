//! The house rules that a compiler cannot see, as tests: `cargo test -p xtask` is where the project checks itself.
//!
//! A rule that fires prints what to do. Exceptions live in `xtask/ratchet.txt`, each with its reason; the list may
//! only shrink.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::root;

/// Which crate may use which. A line that is not here needs a decision record first.
const EDGES: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("archive", &["base"]),
    ("engine", &["base"]),
    ("sandbox", &["base"]),
    ("store", &["base"]),
    ("chronicle", &["base", "store"]),
    ("otlp", &["base"]),
    ("metrics", &["base", "engine", "store"]),
    ("wire", &["base"]),
    ("console", &["base", "wire"]),
    ("runtime", &["archive", "base", "engine", "sandbox", "store"]),
    ("services", &["archive", "base", "chronicle", "engine", "metrics", "store", "wire"]),
    (
        "lamp",
        &[
            "archive",
            "base",
            "chronicle",
            "console",
            "engine",
            "metrics",
            "otlp",
            "runtime",
            "sandbox",
            "services",
            "store",
            "wire",
        ],
    ),
    ("bench", &["base", "engine", "sim", "wire"]),
    ("e2e", &[]),
    ("sim", &["base", "engine"]),
    ("xtask", &["base", "services", "wire"]),
];

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 60;

/// Files that may hold `unsafe`, each with a reason in its module documentation.
const UNSAFE_FILES: &[&str] = &["crates/store/src/embedded/vfs", "crates/sandbox/src/sys.rs"];

/// The words that mean nothing to somebody who has only this repository, or that hide what a thing is.
const BANNED: &[(&str, &str)] = &[
    (concat!("TO", "DO"), "build it, or list it under \"Not yet\""),
    (concat!("FIX", "ME"), "mend it"),
    (concat!("XX", "X"), "say what is meant"),
    (concat!("tokio::", "spawn("), "start tasks through base::Spawn"),
    (concat!("#[", "ignore"), "a test that does not run is no test"),
    (concat!("#[", "allow("), "use #[expect(lint, reason = \"..\")], or mend the cause"),
];

/// Every Rust file of the workspace, as a path below the root, with its text.
fn sources() -> Vec<(String, String)> {
    let root = root();
    let mut found = Vec::new();
    let mut folders =
        vec![root.join("crates"), root.join("xtask"), root.join("e2e"), root.join("bench"), root.join("sim")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name();
            if path.is_dir() && name != "target" && name != "node_modules" {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap_or_default();
                let below = path.strip_prefix(&root).unwrap_or(&path).to_string_lossy().into_owned();
                found.push((below, text));
            }
        }
    }
    found.sort();
    found
}

/// The part of a file that is not its inline tests.
fn product(text: &str) -> &str {
    text.split("\n#[cfg(test)]\nmod ").next().unwrap_or(text)
}

fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.contains("/examples/") || path.ends_with("tests.rs") || path.starts_with("e2e/")
}

/// Functions longer than the limit: name and number of lines. Relies on rustfmt: a function ends with a brace at the
/// indentation of its `fn`.
fn long_functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let indentation = line.len() - line.trim_start().len();
        let Some((before, name)) = line.split_once("fn ") else { continue };
        let is_head = before.trim().is_empty() || before.split_whitespace().all(|word| HEAD_WORDS.contains(&word));
        if !is_head || line.trim_end().ends_with(';') {
            continue;
        }
        let close = format!("{}}}", " ".repeat(indentation));
        let length = lines.iter().skip(start).position(|line| *line == close).unwrap_or(0) + 1;
        if length > FUNCTION_LINES_MAX {
            let name = name.split(['(', '<']).next().unwrap_or(name);
            found.push((name.to_owned(), length));
        }
    }
    found
}

const HEAD_WORDS: &[&str] = &["pub", "pub(crate)", "pub(super)", "async", "const", "unsafe", "extern", "\"C\""];

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn fail(rule: &str, offences: &[String]) {
        assert!(offences.is_empty(), "{rule}:\n  {}", offences.join("\n  "));
    }

    #[test]
    fn crates_use_only_what_the_map_allows() {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
        let output = Command::new(cargo)
            .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
            .current_dir(root())
            .output()
            .unwrap();
        let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let packages = metadata["packages"].as_array().unwrap();
        let ours: BTreeSet<&str> = packages.iter().map(|package| package["name"].as_str().unwrap()).collect();
        let allowed: BTreeMap<&str, &[&str]> = EDGES.iter().copied().collect();
        let mut offences = Vec::new();
        for package in packages {
            let name = package["name"].as_str().unwrap();
            let Some(allowed) = allowed.get(name) else {
                offences.push(format!("{name} is not on the map (EDGES in xtask/src/tidy.rs)"));
                continue;
            };
            for dependency in package["dependencies"].as_array().unwrap() {
                let used = dependency["name"].as_str().unwrap();
                let is_dev = dependency["kind"].as_str() == Some("dev");
                if ours.contains(used) && !allowed.contains(&used) && !(is_dev && used == name) {
                    offences.push(format!("{name} uses {used}"));
                }
            }
        }
        fail("an edge that the design does not have", &offences);
    }

    #[test]
    fn services_do_not_see_each_other() {
        let services: BTreeSet<String> = fs::read_dir(root().join("crates/services/src"))
            .unwrap()
            .flatten()
            .filter(|entry| entry.path().is_dir())
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        assert!(services.len() > 1, "no service folders found: the rule checks nothing");
        let mut offences = Vec::new();
        for (path, text) in sources() {
            let Some(folder) = path.strip_prefix("crates/services/src/").and_then(|rest| rest.split_once('/')) else {
                continue;
            };
            for other in services.iter().filter(|other| *other != folder.0) {
                if text.contains(&format!("crate::{other}::")) {
                    offences.push(format!("{path} reaches into {other}"));
                }
            }
        }
        fail("services meet through the ports, not in each other's folders", &offences);
    }

    #[test]
    fn the_engine_decides_without_clock_chance_or_runtime() {
        let mut offences = Vec::new();
        for (path, text) in sources().iter().filter(|(path, _)| path.starts_with("crates/engine/src")) {
            for banned in ["tokio", "Instant", "SystemTime", "rand::", "HashMap", "HashSet"] {
                // That one wraps it, without a way to ask for its order.
                let is_wrapper = banned == "HashMap" && path == "crates/engine/src/dispatch/table.rs";
                if !is_wrapper && text.contains(banned) {
                    offences.push(format!("{path} uses {banned}"));
                }
            }
        }
        fail("engine is sans-io", &offences);
    }

    #[test]
    fn services_take_time_and_chance_from_their_context() {
        let mut offences = Vec::new();
        for (path, text) in sources().iter().filter(|(path, _)| path.starts_with("crates/services/src/")) {
            for banned in ["SystemClock", "SystemChance", "SystemRandom", "SystemTime", "Instant::now", "getrandom"] {
                if product(text).contains(banned) {
                    offences.push(format!("{path} uses {banned}: ask the request context"));
                }
            }
        }
        fail("time, identity and chance come from the request context", &offences);
    }

    #[test]
    fn no_input_of_an_operation_is_dropped() {
        let mut offences = Vec::new();
        for (path, text) in sources().iter().filter(|(path, _)| path.starts_with("crates/services/src/")) {
            let mut lines = product(text).lines().enumerate().peekable();
            while let Some((_, line)) = lines.next() {
                let reads = line.starts_with("#[derive(") && line.contains("Deserialize");
                if let Some((number, next)) = lines.peek().filter(|_| reads)
                    && next.contains("PascalCase")
                    && !next.contains("deny_unknown_fields")
                {
                    offences.push(format!("{path}:{}", number + 1));
                }
            }
        }
        fail("what an operation does not take is refused by name: add deny_unknown_fields", &offences);
    }

    #[test]
    fn unsafe_code_stays_where_it_belongs() {
        let needle = concat!("expect(unsafe", "_code");
        let offences: Vec<String> = sources()
            .into_iter()
            .filter(|(path, text)| {
                text.contains(needle)
                    && !path.starts_with("xtask/")
                    && !UNSAFE_FILES.iter().any(|at| path.starts_with(at))
            })
            .map(|(path, _)| path)
            .collect();
        fail("only a syscall or SQLite's C interface needs unsafe", &offences);
    }

    #[test]
    fn files_and_functions_stay_short() {
        let ratchet = fs::read_to_string(root().join("xtask/ratchet.txt")).unwrap();
        let mut excused = BTreeMap::new();
        for line in ratchet.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let mut words = line.split_whitespace();
            let (place, length) = (words.next().unwrap(), words.next().unwrap().parse::<usize>().unwrap());
            assert!(words.next().is_some(), "ratchet.txt: {place} has no reason");
            excused.insert(place.to_owned(), length);
        }
        let mut offences = Vec::new();
        let mut check = |place: String, length: usize, max: usize| match excused.remove(&place) {
            Some(was) if length > was => offences.push(format!("{place} grew from {was} to {length} lines")),
            Some(was) if length < was => {
                offences.push(format!("{place} shrank to {length}: write that in ratchet.txt"))
            }
            None if length > max => offences.push(format!("{place} has {length} lines, over {max}: split it")),
            _ => {}
        };
        for (path, text) in sources().iter().filter(|(path, _)| !is_test(path)) {
            let text = product(text);
            check(path.clone(), text.lines().count(), FILE_LINES_MAX);
            for (name, length) in long_functions(text) {
                check(format!("{path}:{name}"), length, FUNCTION_LINES_MAX);
            }
        }
        offences
            .extend(excused.keys().map(|place| format!("{place} needs no excuse any more: take it off ratchet.txt")));
        fail("one concept a file, one thought a function", &offences);
    }

    #[test]
    fn no_banned_words() {
        let mut offences = Vec::new();
        for (path, text) in sources().iter().filter(|(path, _)| !path.ends_with("tidy.rs")) {
            let applies = |word: &str| !(is_test(path) && word.starts_with("tokio"));
            for (number, line) in text.lines().enumerate() {
                for (word, instead) in BANNED.iter().filter(|(word, _)| applies(word) && line.contains(word)) {
                    offences.push(format!("{path}:{}: {word}: {instead}", number + 1));
                }
            }
        }
        fail("banned words", &offences);
    }

    #[test]
    fn every_module_says_what_it_owns() {
        let offences: Vec<String> = sources()
            .into_iter()
            .filter(|(path, text)| !is_test(path) && !text.starts_with("//!"))
            .map(|(path, _)| path)
            .collect();
        fail("a module opens with `//!`", &offences);
    }

    #[test]
    fn the_map_names_only_what_exists() {
        let mut offences = Vec::new();
        for document in ["ARCHITECTURE.md", "CONTRIBUTING.md", "README.md"] {
            let text = fs::read_to_string(root().join(document)).unwrap();
            for quoted in text.split('`').skip(1).step_by(2) {
                let is_path = ["crates/", "xtask/", "docs/", "e2e/", "bench/", "fuzz/", "sim/"]
                    .iter()
                    .any(|top| quoted.starts_with(top));
                let is_plain = quoted.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
                if is_path && is_plain && !root().join(quoted).exists() {
                    offences.push(format!("{document} names {quoted}"));
                }
            }
        }
        fail("documents name only what exists", &offences);
    }

    #[test]
    fn every_dependency_has_its_reason() {
        let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
        let table = manifest.split("[workspace.dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
        let architecture = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
        let reasons = architecture.split("## Dependencies").nth(1).unwrap();
        let explained: BTreeSet<&str> = reasons
            .lines()
            .filter_map(|line| line.strip_prefix("| ")?.split(" |").next())
            .flat_map(|names| names.split(", "))
            .collect();
        let offences: Vec<String> = table
            .lines()
            .filter(|line| !line.contains("path ="))
            .filter_map(|line| Some(line.split_once(" = ")?.0))
            .filter(|name| !explained.contains(name))
            .map(|name| format!("{name} has no reason in ARCHITECTURE.md"))
            .collect();
        fail("a dependency enters with its reason", &offences);
    }

    #[test]
    fn long_functions_are_found() {
        let body = "    let x = 1;\n".repeat(FUNCTION_LINES_MAX);
        let text = format!("impl T {{\n    pub async fn long<A>(a: A) {{\n{body}    }}\n}}\nfn short() {{\n}}\n");
        assert_eq!(long_functions(&text), [("long".to_owned(), FUNCTION_LINES_MAX + 2)]);
    }
}

//! The tests of one service that the suite has and we count: `xtask/conformance/SERVICE.txt`.
//!
//! ```text
//! [section]                      what the tests below have in common: what they need
//!     functions do not run yet   an indented line below a section: why none of it is expected to pass
//! file.py::Class::test           a test, its file as seen from the service's folder in the suite
//!     AWS answers otherwise now  an indented line below a test: why it is known to fail
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

#[derive(Debug, PartialEq)]
pub struct Section {
    pub name: String,
    /// Why its tests are not expected to pass, and therefore run only if asked for.
    pub waits_for: Option<String>,
    pub tests: Vec<Test>,
}

#[derive(Debug, PartialEq)]
pub struct Test {
    pub id: String,
    /// Why it is known to fail.
    pub known: Option<String>,
}

fn folder() -> PathBuf {
    crate::root().join("xtask/conformance")
}

/// The services that have a list.
pub fn services() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder()).context("list the services")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".txt").map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

pub fn read(service: &str) -> Result<Vec<Section>> {
    let path = folder().join(service).with_extension("txt");
    let text = fs::read_to_string(&path).with_context(|| {
        format!("find the tests of {service}: lists exist for {}", services().unwrap_or_default().join(", "))
    })?;
    parse(&text).with_context(|| format!("read {}", path.display()))
}

fn parse(text: &str) -> Result<Vec<Section>> {
    let mut sections: Vec<Section> = Vec::new();
    let mut seen = BTreeSet::new();
    for (number, line) in (1..).zip(text.lines()) {
        let name = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        match (name, sections.last_mut()) {
            _ if line.is_empty() || line.starts_with('#') => {}
            (Some(name), _) => sections.push(Section { name: name.to_owned(), waits_for: None, tests: Vec::new() }),
            (None, None) => bail!("place line {number}: it is in no section"),
            (None, Some(section)) if line.starts_with(' ') => {
                let why = section.tests.last_mut().map_or(&mut section.waits_for, |test| &mut test.known);
                *why = Some(line.trim().to_owned());
            }
            (None, Some(_)) if !line.contains("::") => bail!("take line {number} for a test: {line}"),
            (None, Some(_)) if !seen.insert(line) => bail!("count {line} once: line {number} has it again"),
            (None, Some(section)) => section.tests.push(Test { id: line.to_owned(), known: None }),
        }
    }
    Ok(sections)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_and_tests_carry_their_reasons() {
        let text = "# head\n\n[control plane]\na.py::one\n    it is odd\na.py::C::two[x y]\n\n[invokes]\n    not yet\nb.py::three\n";
        let test = |id: &str, known: Option<&str>| Test { id: id.into(), known: known.map(str::to_owned) };
        let section = |name: &str, waits_for: Option<&str>, tests| Section {
            name: name.into(),
            waits_for: waits_for.map(str::to_owned),
            tests,
        };
        assert_eq!(
            parse(text).unwrap(),
            [
                section(
                    "control plane",
                    None,
                    vec![test("a.py::one", Some("it is odd")), test("a.py::C::two[x y]", None)]
                ),
                section("invokes", Some("not yet"), vec![test("b.py::three", None)]),
            ]
        );
    }

    #[test]
    fn what_cannot_be_counted_is_refused() {
        for bad in ["a.py::one\n", "[s]\nnot a test\n", "[s]\na.py::one\n[t]\na.py::one\n"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn our_lists_are_in_order() {
        for service in services().unwrap() {
            let sections = read(&service).unwrap();
            assert!(sections.iter().all(|section| !section.tests.is_empty()), "{service} has an empty section");
        }
    }
}

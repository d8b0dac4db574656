//! What a run found: counted by file and by section, and every failure with its reason.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    Passed,
    Failed,
    /// By the suite itself.
    Skipped,
    /// The suite no longer has it, or its run ended before.
    NotRun,
    /// Its section waits for something, and was not asked for.
    NotAsked,
}

impl Outcome {
    pub fn of(told: &str) -> Self {
        match told {
            "passed" => Self::Passed,
            "skipped" => Self::Skipped,
            _ => Self::Failed,
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::NotRun => "not run",
            Self::NotAsked => "not asked",
        }
    }
}

/// A test with its fate.
pub struct Judged {
    pub id: String,
    pub section: String,
    pub outcome: Outcome,
    pub seconds: f64,
    pub reason: String,
    pub known: Option<String>,
}

impl Judged {
    fn file(&self) -> &str {
        self.id.split("::").next().unwrap_or(&self.id)
    }

    fn is_failure(&self) -> bool {
        matches!(self.outcome, Outcome::Failed | Outcome::NotRun)
    }

    /// A failure that nothing explains.
    fn is_news(&self) -> bool {
        self.is_failure() && self.known.is_none()
    }
}

pub struct Report {
    pub service: String,
    pub tests: Vec<Judged>,
    /// The sections in the order of the list, each with what it waits for.
    pub sections: Vec<(String, Option<String>)>,
}

fn count<'a>(tests: impl IntoIterator<Item = &'a Judged>, outcome: Outcome) -> usize {
    tests.into_iter().filter(|test| test.outcome == outcome).count()
}

impl Report {
    /// Failures that nothing explains.
    pub fn news(&self) -> usize {
        self.tests.iter().filter(|test| test.is_news()).count()
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = format!("{:<66} passed  failed skipped not run\n", self.service);
        let mut files: BTreeMap<&str, Vec<&Judged>> = BTreeMap::new();
        for test in self.tests.iter().filter(|test| test.outcome != Outcome::NotAsked) {
            files.entry(test.file()).or_default().push(test);
        }
        for (file, tests) in files {
            let [passed, failed, skipped, not_run] = COUNTED.map(|outcome| count(tests.iter().copied(), outcome));
            writeln!(text, "  {file:<64} {passed:>6} {failed:>7} {skipped:>7} {not_run:>7}").ok();
        }
        for (name, waits_for) in &self.sections {
            let line = self.section(name, waits_for.as_deref());
            line.map(|line| writeln!(text, "{}: {name}: {line}", self.service));
        }
        for test in self.tests.iter().filter(|test| test.known.is_some() && test.outcome == Outcome::Passed) {
            writeln!(text, "passes, against the reason on its list: {}", test.id).ok();
        }
        text
    }

    /// What to say of a section; nothing if none of it was wanted.
    fn section(&self, name: &str, waits_for: Option<&str>) -> Option<String> {
        let tests: Vec<&Judged> = self.tests.iter().filter(|test| test.section == name).collect();
        let of = |outcome| count(tests.iter().copied(), outcome);
        let judged = tests.len() - of(Outcome::Skipped) - of(Outcome::NotAsked);
        if of(Outcome::NotAsked) == tests.len() {
            return waits_for.map(|what| format!("{} tests wait: {what}", tests.len()));
        }
        let mut remarks = Vec::new();
        for (number, what) in [
            (tests.iter().filter(|test| test.is_failure() && test.known.is_some()).count(), "known to fail"),
            (of(Outcome::Skipped), "skipped by the suite"),
            (of(Outcome::NotAsked), "not asked for"),
        ] {
            remarks.extend((number > 0).then(|| format!("{number} {what}")));
        }
        let remarks = if remarks.is_empty() { String::new() } else { format!(" ({})", remarks.join(", ")) };
        Some(format!("{} of {judged}{remarks}", of(Outcome::Passed)))
    }

    /// Every failure, those that nothing explains first.
    pub fn failures(&self) -> String {
        let mut failures: Vec<&Judged> = self.tests.iter().filter(|test| test.is_failure()).collect();
        failures.sort_by_key(|test| !test.is_news());
        let mut text = String::new();
        for test in failures {
            let known = test.known.as_ref().map(|why| format!("known: {why}\n")).unwrap_or_default();
            writeln!(text, "{} {} [{}]\n{known}{}\n", test.outcome.word(), test.id, test.section, test.reason).ok();
        }
        text
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let [passed, failed, skipped, not_run] = COUNTED.map(|outcome| count(&self.tests, outcome));
        let tests = self.tests.iter().filter(|test| test.outcome != Outcome::NotAsked).map(|test| {
            json!({
                "id": test.id, "section": test.section, "outcome": test.outcome.word(), "seconds": test.seconds,
                "reason": test.reason, "known": test.known,
            })
        });
        json!({
            "service": self.service, "passed": passed, "failed": failed, "skipped": skipped, "not_run": not_run,
            "tests": tests.collect::<Vec<_>>(),
        })
    }
}

const COUNTED: [Outcome; 4] = [Outcome::Passed, Outcome::Failed, Outcome::Skipped, Outcome::NotRun];

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(id: &str, section: &str, outcome: Outcome, known: Option<&str>) -> Judged {
        let (id, section, reason) = (id.to_owned(), section.to_owned(), format!("{} because", outcome.word()));
        Judged { id, section, outcome, seconds: 1.5, reason, known: known.map(str::to_owned) }
    }

    fn report() -> Report {
        Report {
            service: "lambda_".into(),
            sections: vec![("control plane".into(), None), ("invokes".into(), Some("functions do not run yet".into()))],
            tests: vec![
                judged("a.py::one", "control plane", Outcome::Passed, None),
                judged("a.py::two", "control plane", Outcome::Failed, Some("odd")),
                judged("b.py::three", "control plane", Outcome::Skipped, None),
                judged("b.py::four", "control plane", Outcome::NotRun, None),
                judged("b.py::five", "control plane", Outcome::Passed, Some("was odd")),
                judged("c.py::six", "invokes", Outcome::NotAsked, None),
            ],
        }
    }

    #[test]
    fn sections_are_counted_without_what_the_suite_skips() {
        let text = report().text();
        assert!(text.contains("lambda_: control plane: 2 of 4 (1 known to fail, 1 skipped by the suite)\n"), "{text}");
        assert!(text.contains("lambda_: invokes: 1 tests wait: functions do not run yet\n"), "{text}");
        assert!(text.contains("against the reason on its list: b.py::five"), "{text}");
        assert!(!text.contains("c.py"), "{text}");
    }

    #[test]
    fn failures_without_an_explanation_come_first_and_decide() {
        let report = report();
        assert_eq!(report.news(), 1);
        let failures = report.failures();
        let place = |what: &str| failures.find(what).unwrap_or_else(|| panic!("{what}: {failures}"));
        assert!(place("not run b.py::four") < place("failed a.py::two"));
        assert!(failures.contains("known: odd\nfailed because"), "{failures}");
    }

    #[test]
    fn programs_get_the_same_numbers() {
        let json = report().json();
        assert_eq!((&json["passed"], &json["failed"], &json["not_run"]), (&json!(2), &json!(1), &json!(1)));
        assert_eq!(json["tests"].as_array().map(Vec::len), Some(5));
    }
}

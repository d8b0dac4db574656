//! AWS's recorded behaviour as a judge: LocalStack's public test-suite, whose expectations were recorded on the real
//! AWS, against the `lamp` of this checkout.
//!
//! The suite stays where the user has it; we carry the ids of the tests that we count (`xtask/conformance`), sorted by
//! what each needs, and why some are known to fail. A run builds and starts a server of its own, on a free port with a
//! directory of its own, and takes both away at the end. What it found is printed and lies in `target/conformance`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::tools;
use list::Section;
use report::{Judged, Outcome, Report};
use suite::Suite;

mod list;
mod report;
mod suite;

const USAGE: &str =
    "read the arguments: LOCALSTACK [--services NAMES] [--section NAME] [--match TEXT] [--all] [--json]";

/// What the user wants to know.
#[derive(Default)]
struct Asked {
    /// A checkout of localstack/localstack, or its bare git directory.
    localstack: PathBuf,
    services: Vec<String>,
    /// Only this section of a list.
    section: Option<String>,
    /// Only tests whose id has this.
    matching: Option<String>,
    /// Also what waits for something that is not there yet.
    all: bool,
    json: bool,
}

impl Asked {
    fn read(args: &[String]) -> Result<Self> {
        let mut asked = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().cloned().context(USAGE);
            match arg.as_str() {
                "--services" => asked.services = value()?.split_whitespace().map(str::to_owned).collect(),
                "--section" => asked.section = Some(value()?),
                "--match" => asked.matching = Some(value()?),
                "--all" => asked.all = true,
                "--json" => asked.json = true,
                path if !path.is_empty() && !path.starts_with('-') => asked.localstack = path.into(),
                _ => bail!(USAGE),
            }
        }
        if asked.localstack.as_os_str().is_empty() {
            bail!(
                "find the suite: name a checkout of localstack/localstack, as in make conformance LOCALSTACK=../localstack"
            );
        }
        if asked.services.is_empty() {
            asked.services = list::services()?;
        }
        Ok(asked)
    }

    fn wants(&self, section: &Section, id: &str) -> bool {
        // Whoever names something wants to see it, ready or not.
        let ready = section.waits_for.is_none() || self.all || self.section.is_some() || self.matching.is_some();
        let named = self.section.as_ref().is_none_or(|name| *name == section.name);
        ready && named && self.matching.as_ref().is_none_or(|part| id.contains(part))
    }
}

pub fn run(args: &[String]) -> Result<()> {
    let asked = Asked::read(args)?;
    let lists = asked.services.iter().map(|service| Ok((service, list::read(service)?))).collect::<Result<Vec<_>>>()?;
    let suite = Suite::prepare(&asked.localstack)?;
    tools::call(Command::new("cargo").args(["build", "--quiet", "--package", "lamp"]).current_dir(crate::root()))?;
    let dir = crate::root().join("target/conformance");
    fs::create_dir_all(&dir)?;
    let dir = dir.canonicalize()?;
    let lamp = Lamp::start(&dir.join("lamp.log"))?;

    let mut reports = Vec::new();
    for (service, sections) in lists {
        let report = judge(&asked, &suite, service, sections, lamp.port, &dir)?;
        fs::write(dir.join(format!("{service}.failures.txt")), report.failures())?;
        reports.push(report);
    }
    drop(lamp);
    if asked.json {
        println!("{}", serde_json::Value::from_iter(reports.iter().map(Report::json)));
    } else {
        reports.iter().for_each(|report| print!("\n{}", report.text()));
        println!("\nfailures and their reasons: {}", dir.display());
    }
    match reports.iter().map(Report::news).sum::<usize>() {
        0 => Ok(()),
        news => bail!("pass {news} tests that are not known to fail"),
    }
}

/// Runs what is wanted of one service.
fn judge(asked: &Asked, suite: &Suite, service: &str, sections: Vec<Section>, port: u16, dir: &Path) -> Result<Report> {
    let mut tests = Vec::new();
    let mut names = Vec::new();
    for section in sections {
        for test in &section.tests {
            let outcome = if asked.wants(&section, &test.id) { Outcome::NotRun } else { Outcome::NotAsked };
            let known = test.known.clone().or_else(|| section.waits_for.clone());
            let (id, section) = (test.id.clone(), section.name.clone());
            tests.push(Judged { id, section, outcome, seconds: 0.0, reason: String::new(), known });
        }
        names.push((section.name, section.waits_for));
    }
    let wanted: Vec<String> =
        tests.iter().filter(|test| test.outcome == Outcome::NotRun).map(|test| test.id.clone()).collect();
    if !wanted.is_empty() {
        let log = dir.join(format!("{service}.pytest.log"));
        eprintln!("{service}: {} tests; pytest's own words are in {}", wanted.len(), log.display());
        let mut places: BTreeMap<String, &mut Judged> = tests.iter_mut().map(|test| (test.id.clone(), test)).collect();
        let run = suite.judge(service, &wanted, port, &dir.join(format!("{service}.tests")), &log)?;
        for (number, told) in (1..).zip(run) {
            let Some(test) = places.get_mut(&told.id) else { continue };
            (test.outcome, test.seconds, test.reason) = (Outcome::of(&told.outcome), told.seconds, told.reason);
            eprintln!("{number:>4}/{} {:<8}{:>5.1} s  {}", wanted.len(), test.outcome.word(), test.seconds, test.id);
            if test.outcome == Outcome::Failed {
                // A difference to the recording has a line that says where, and then what.
                let lines: Vec<&str> = test.reason.lines().take(2).map(str::trim).collect();
                eprintln!("{:26}{}", "", lines.join(" "));
            }
        }
    }
    Ok(Report { service: service.to_owned(), tests, sections: names })
}

/// The server under judgement. Dropping it stops it and removes its data.
struct Lamp {
    child: Child,
    port: u16,
    data: PathBuf,
}

impl Lamp {
    fn start(log: &Path) -> Result<Self> {
        // `cargo build` puts it beside this program.
        let binary = std::env::current_exe()?.with_file_name("lamp");
        let data = std::env::temp_dir().join(format!("lamp-conformance-{}", std::process::id()));
        // On AWS the SDK is there.
        let added = Command::new(&binary).args(["runtimes", "add", "python", "--data-dir"]).arg(&data).status();
        if !added.is_ok_and(|added| added.success()) {
            eprintln!("boto3 could not be put in place: tests whose functions import it will fail");
        }
        let mut child = Command::new(&binary)
            .args(["start", "--port", "0", "--data-dir"])
            .arg(&data)
            .env("LAMP_LOG_LEVEL", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(log)?)
            .spawn()
            .with_context(|| format!("start {}", binary.display()))?;
        let stdout = child.stdout.take().context("hear the server")?;
        let mut lamp = Self { child, port: 0, data };
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        let address = lines.find_map(|line| line.split_once("listens on http://").map(|(_, behind)| behind.to_owned()));
        let port = address.and_then(|address| address.trim().rsplit_once(':')?.1.parse().ok());
        lamp.port = port.with_context(|| format!("learn where the server listens: see {}", log.display()))?;
        // What else it prints must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(lamp)
    }
}

impl Drop for Lamp {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        fs::remove_dir_all(&self.data).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(args: &[&str]) -> Result<Asked> {
        Asked::read(&args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn what_waits_runs_only_if_asked_for() {
        let ready = Section { name: "control plane".into(), waits_for: None, tests: Vec::new() };
        let waiting = Section { name: "invokes".into(), waits_for: Some("later".into()), tests: Vec::new() };
        let wanted = |args: &[&str]| {
            let asked = asked(args).unwrap();
            (asked.wants(&ready, "a.py::one"), asked.wants(&waiting, "a.py::one"))
        };
        assert_eq!(wanted(&["there"]), (true, false));
        assert_eq!(wanted(&["there", "--all"]), (true, true));
        assert_eq!(wanted(&["there", "--section", "invokes"]), (false, true));
        assert_eq!(wanted(&["there", "--match", "one"]), (true, true));
        assert_eq!(wanted(&["there", "--match", "two"]), (false, false));
    }

    #[test]
    fn a_run_needs_the_suite_and_knows_its_arguments() {
        assert!(asked(&[]).is_err());
        assert!(asked(&["there", "--unknown"]).is_err());
        assert!(asked(&["there", "--match"]).is_err());
        assert_eq!(asked(&["there", "--services", "iam lambda_"]).unwrap().services, ["iam", "lambda_"]);
    }
}

//! The project's test suites, in the order in which they fail fastest, each with its time.
//!
//! `cargo xtask test` is what `make test` and CI run; there are no private checks.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::{tests, tools};

/// A suite: its name, and what it runs.
type Suite = (&'static str, fn() -> Result<()>);

const TEST: &[Suite] = &[
    ("format", || cargo(&["fmt", "--all", "--check"])),
    ("lint", || cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"])),
    ("build", || cargo(&["build", "--workspace", "--all-targets", "--quiet"])),
    ("tools", tools::run),
    ("unit and property", || tests::call(&["--workspace", "--exclude", "e2e"])),
    ("keystone", keystone),
    ("end to end", || tests::call(&["--package", "e2e"])),
];

/// The long forms of the tests that `test` runs short.
const TORTURE: &[Suite] = &[
    ("build", || cargo(&["build", "--workspace", "--all-targets", "--quiet"])),
    ("tools", tools::with_slow),
    ("keystone", keystone),
    ("unit and property", || call_long(&["test", "--workspace", "--exclude", "e2e", "--", "--nocapture"])),
    // One after the other: floods of thousands would be each other's neighbours.
    ("end to end", || call_long(&["test", "--package", "e2e", "--", "--nocapture", "--test-threads", "1"])),
];

/// Every operation of every service in every protocol, both ways, against botocore.
fn keystone() -> Result<()> {
    let mut command = Command::new("python3");
    command.arg("e2e/keystone/run.py").current_dir(crate::root());
    tools::call(&mut command)
}

pub fn test() -> Result<()> {
    run(TEST)
}

pub fn torture() -> Result<()> {
    run(TORTURE)
}

/// Builds everything optimised and measures; `cases` are those of the `bench` crate, all if none.
pub fn bench(cases: &[String]) -> Result<()> {
    tools::with_peers()?;
    measure(cases)
}

/// Plays a trace against the server; `options` are those of the `bench` crate, the trace's folder first.
pub fn replay(options: &[String]) -> Result<()> {
    tools::with_bench_functions()?;
    measure(&[&["replay".to_owned()], options].concat())
}

fn measure(arguments: &[String]) -> Result<()> {
    cargo(&["build", "--release", "--package", "lamp", "--package", "bench"])?;
    let mut command = Command::new("cargo");
    command.args(["run", "--release", "--quiet", "--package", "bench", "--"]).args(arguments);
    tools::call(command.current_dir(crate::root()))
}

/// Replays a trace with the server's dispatcher; `options` are those of the `sim` crate, the trace's folder first.
pub fn sim(options: &[String]) -> Result<()> {
    let mut command = Command::new("cargo");
    command.args(["run", "--release", "--quiet", "--package", "sim", "--", "trace"]).args(options);
    // From where it was called, so that a relative folder means what it says.
    tools::call(&mut command)
}

/// A minute for each parser of outside bytes. Needs the nightly toolchain and cargo-fuzz.
pub fn fuzz() -> Result<()> {
    let manifest = std::fs::read_to_string(crate::root().join("fuzz/Cargo.toml"))?;
    let targets = manifest.split("[[bin]]").skip(1).filter_map(|bin| bin.split('"').nth(1));
    for target in targets {
        eprintln!("fuzz: {target}");
        let mut command = Command::new("cargo");
        command.args([
            "+nightly",
            "fuzz",
            "run",
            target,
            &format!("fuzz/corpus/{target}"),
            &format!("fuzz/seeds/{target}"),
            "--",
            "-max_total_time=60",
            "-print_final_stats=1",
        ]);
        // The pinned toolchain must not win over the one that the sanitizers need.
        command.env_remove("RUSTUP_TOOLCHAIN").current_dir(crate::root());
        tools::call(&mut command)?;
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "it measures how long a suite took, for the reader")]
fn run(suites: &[Suite]) -> Result<()> {
    let mut times: Vec<(&str, Duration)> = Vec::new();
    for (name, suite) in suites {
        eprintln!("== {name}");
        let start = Instant::now();
        let result = suite();
        times.push((name, start.elapsed()));
        if let Err(error) = result {
            report(&times);
            bail!("pass the suite \"{name}\": {error:#}");
        }
    }
    report(&times);
    Ok(())
}

fn report(times: &[(&str, Duration)]) {
    for (name, time) in times {
        eprintln!("{:>8.1} s  {name}", time.as_secs_f64());
    }
}

fn cargo(args: &[&str]) -> Result<()> {
    tools::call(Command::new("cargo").args(args).current_dir(crate::root()))
}

fn call_long(args: &[&str]) -> Result<()> {
    tools::call(Command::new("cargo").args(args).env("LAMP_TORTURE", "1").current_dir(crate::root()))
}

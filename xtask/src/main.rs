//! The project's own tools, in one program: `cargo run -p xtask -- TASK`, or `cargo xtask TASK` with the alias.
//!
//! Each task is a module; this file only chooses one.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

mod conformance;
mod functions;
mod gen_models;
mod suites;
mod tests;
#[cfg(test)]
mod tidy;
mod tools;

const USAGE: &str = "\
usage: cargo xtask TASK

tasks:
  gen [--check] [SERVICE...]   derive crates/services/src/SERVICE/model.json from the pinned botocore
                               (all services that have one, if none is named); --check only compares
  tools [--slow]               install what the end-to-end tests need; --slow: also what only the long ones wait for
  test                         every check that CI runs
  torture                      the long forms of the tests; most of an hour
  fuzz                         a minute for each parser of outside bytes
  conformance LOCALSTACK [--services NAMES] [--section NAME] [--match TEXT] [--all] [--json]
                               LocalStack's test-suite, recorded on AWS, against this lamp; docs/conformance.md
  bench [CASE...]              speed, as ratios to peers in the same run: requests, server, many, invoke_warm,
                               invoke_throughput, cold_start, cold_burst, create_to_first_answer, density,
                               logs_ingest, logs_search, logs_disk
  replay DIR [OPTION VALUE]... an hour of a public trace against the server, faster; docs/benchmarks.md
  sim DIR [OPTION VALUE]...    the dispatcher in virtual time on a public trace; docs/scaling.md
";

/// The top of the checkout.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match args.split_first() {
        Some((task, rest)) if task == "gen" => gen_models::run(rest),
        Some((task, [])) if task == "tools" => tools::run(),
        Some((task, [flag])) if task == "tools" && flag == "--slow" => tools::with_slow(),
        Some((task, [])) if task == "test" => suites::test(),
        Some((task, [])) if task == "torture" => suites::torture(),
        Some((task, [])) if task == "fuzz" => suites::fuzz(),
        Some((task, rest)) if task == "conformance" => conformance::run(rest),
        Some((task, cases)) if task == "bench" => suites::bench(cases),
        Some((task, options)) if task == "replay" => suites::replay(options),
        Some((task, options)) if task == "sim" => suites::sim(options),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: failed to {error:#}");
            ExitCode::FAILURE
        }
    }
}

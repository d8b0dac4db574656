//! The project's own tools, in one program: `cargo run -p xtask -- TASK`, or `cargo xtask TASK` with the alias.
//!
//! Each task is a module; this file only chooses one.

use std::process::ExitCode;

mod gen_models;

const USAGE: &str = "\
usage: cargo xtask TASK

tasks:
  gen [--check] [SERVICE...]   derive crates/services/src/SERVICE/model.json from the pinned botocore
                               (all services that have one, if none is named); --check only compares
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match args.split_first() {
        Some((task, rest)) if task == "gen" => gen_models::run(rest),
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

//! `lamp doctor`: what this machine lends the server and its functions, what is missing, and what helps. A line a
//! check.
//!
//! It asks as whoever runs it, and beside a server that runs it changes nothing: what it makes is its own and goes with
//! it. Each part gathers facts and has pure functions that judge them.

mod machine;
mod place;
mod running;

use std::borrow::Cow;
use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use rustix::termios::isatty;
use serde_json::{Value, json};

use crate::cli::Doctor;
use crate::config::Config;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    pub name: Cow<'static, str>,
    pub state: State,
    pub found: String,
    /// What the operator can do about it; only where something is to be done.
    pub remedy: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    Ok,
    /// The server runs, with less than it could have.
    Warn,
    /// The server does not start, or runs no functions.
    Fail,
}

impl Check {
    pub fn ok(name: impl Into<Cow<'static, str>>, found: impl Into<String>) -> Self {
        Self { name: name.into(), state: State::Ok, found: found.into(), remedy: None }
    }

    pub fn warn(name: impl Into<Cow<'static, str>>, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name: name.into(), state: State::Warn, found: found.into(), remedy: Some(remedy.into()) }
    }

    pub fn fail(name: impl Into<Cow<'static, str>>, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name: name.into(), state: State::Fail, found: found.into(), remedy: Some(remedy.into()) }
    }
}

impl State {
    fn word(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Warn => "warn",
            State::Fail => "fail",
        }
    }

    fn colour(self) -> &'static str {
        match self {
            State::Ok => "\x1b[32m",
            State::Warn => "\x1b[33m",
            State::Fail => "\x1b[31m",
        }
    }
}

/// Looks at everything. A failure is in what it prints, and in the exit code.
pub fn run(options: Doctor) -> Result<ExitCode, Box<dyn Error>> {
    let config = Config::new(options.settings)?;
    let mut checks = place::checks(&config);
    checks.extend(machine::checks(&config.data_dir));
    checks.extend(running::checks(&config)?);
    let mut out = io::stdout().lock();
    match options.json {
        true => writeln!(out, "{:#}", as_json(&checks))?,
        false => {
            let is_coloured = isatty(rustix::stdio::stdout()) && std::env::var_os("NO_COLOR").is_none();
            out.write_all(as_lines(&checks, is_coloured).as_bytes())?;
        }
    }
    out.flush()?;
    Ok(if worst(&checks) == State::Fail { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn worst(checks: &[Check]) -> State {
    checks.iter().map(|check| check.state).max().unwrap_or(State::Ok)
}

fn as_json(checks: &[Check]) -> Value {
    let check = |check: &Check| json!({ "name": check.name, "state": check.state.word(), "found": check.found, "remedy": check.remedy });
    json!({ "ok": worst(checks) != State::Fail, "checks": checks.iter().map(check).collect::<Vec<_>>() })
}

fn as_lines(checks: &[Check], is_coloured: bool) -> String {
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    let mut lines = String::new();
    for Check { name, state, found, remedy } in checks {
        let word = format!("{:4}", state.word());
        let word = if is_coloured { format!("{}{word}\x1b[0m", state.colour()) } else { word };
        lines.extend([format!("{word}  {name:width$}  {found}\n")]);
        lines.extend(remedy.iter().map(|remedy| format!("{:width$}          {remedy}\n", "")));
    }
    let count = |state| checks.iter().filter(|check| check.state == state).count();
    let some = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let end = match (count(State::Fail), count(State::Warn)) {
        (0, 0) => "All is well.".to_owned(),
        (0, warnings) => format!("Functions run here; {}.", some(warnings, "warning")),
        (failures, warnings) => format!("{}, {}.", some(failures, "failure"), some(warnings, "warning")),
    };
    format!("{lines}\n{end}\n")
}

/// Bytes as people say them.
pub fn bytes(count: u64) -> String {
    const GIB: u64 = 1 << 30;
    const MIB: u64 = 1 << 20;
    match count {
        GIB.. => format!("{}.{} GiB", count / GIB, count % GIB * 10 / GIB),
        _ => format!("{} MiB", count / MIB),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_lines() {
        let checks = [
            Check::ok("kernel", "Linux 6.1"),
            Check::warn("memory limit", "not lent", "run lamp as root"),
            Check::fail("port", "4566 is taken", "choose another"),
        ];
        let expected = "\
ok    kernel        Linux 6.1
warn  memory limit  not lent
                      run lamp as root
fail  port          4566 is taken
                      choose another

1 failure, 1 warning.
";
        assert_eq!(as_lines(&checks, false), expected);
        assert!(as_lines(&checks[..2], false).ends_with("\nFunctions run here; 1 warning.\n"));
        assert!(as_lines(&checks[..1], false).ends_with("\nAll is well.\n"));
        assert!(as_lines(&checks, true).starts_with("\x1b[32mok  \x1b[0m  kernel"));
    }

    #[test]
    fn programs_read_json() {
        let json = as_json(&[Check::ok("kernel", "Linux 6.1"), Check::warn("clock", "alone", "install chrony")]);
        assert_eq!(json["ok"], true);
        assert_eq!(json["checks"][1]["remedy"], "install chrony");
        assert_eq!(as_json(&[Check::fail("port", "", "")])["ok"], false);
    }

    #[test]
    fn sizes_are_readable() {
        assert_eq!([500 << 20, 3 << 29, 25 << 30].map(bytes), ["500 MiB", "1.5 GiB", "25.0 GiB"]);
    }
}

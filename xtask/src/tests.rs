//! The tests of cargo, with a second chance for the few that fail beside all others.
//!
//! Hundreds of tests share two cores with servers, floods and compilers of their own making, so one may run out of
//! patience that alone would not. It is run again by itself and named at the end, for somebody to look at; it fails the
//! suite when it fails again, and many failures at once are believed at once.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// What may fail at first. More is no accident.
const FAILED_MAX: usize = 3;

/// Runs `cargo test` on these packages.
pub fn call(packages: &[&str]) -> Result<()> {
    let mut all = cargo_test(packages);
    let (is_passed, failed) = watch(all.args(["--quiet", "--no-fail-fast"]))?;
    if is_passed {
        return Ok(());
    }
    if failed.is_empty() || failed.len() > FAILED_MAX {
        bail!("run {all:?}: {} tests failed", failed.len());
    }
    eprintln!("once more, alone: {failed:?}");
    let mut again = cargo_test(packages);
    let (is_passed, _) = watch(again.args(["--quiet", "--", "--exact", "--test-threads", "1"]).args(&failed))?;
    if !is_passed {
        bail!("pass {failed:?}, alone too");
    }
    eprintln!("LOOK AT: {failed:?} failed beside the others and passed alone");
    Ok(())
}

fn cargo_test(packages: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command.arg("test").args(packages).current_dir(crate::root()).stdout(Stdio::piped());
    command
}

/// Runs it, showing what it prints, and gives whether it passed and which tests did not.
fn watch(command: &mut Command) -> Result<(bool, BTreeSet<String>)> {
    let mut child = command.spawn().context("run cargo")?;
    let mut failed = BTreeSet::new();
    let mut is_list = false;
    let mut line = Vec::new();
    let mut output = BufReader::new(child.stdout.take().context("read what cargo prints")?);
    // The list of names is what comes last: `failures:` and indented names.
    while output.read_until(b'\n', &mut line)? > 0 {
        std::io::stdout().write_all(&line)?;
        let text = String::from_utf8_lossy(&line);
        match text.trim_end() {
            "failures:" => is_list = true,
            named => match named.strip_prefix("    ") {
                Some(name) if is_list && !name.contains(char::is_whitespace) => drop(failed.insert(name.to_owned())),
                _ => is_list = is_list && named.is_empty(),
            },
        }
        line.clear();
    }
    Ok((child.wait()?.success(), failed))
}

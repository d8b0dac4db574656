//! Programs that do the same work on a file: grep, jq, awk, lz4, gzip.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Whether this machine has a program.
pub fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// What a program prints, of a file that comes last among its arguments.
pub fn printed(command: &[&str], path: &Path) -> Result<Vec<u8>> {
    let (program, arguments) = command.split_first().context("name a program")?;
    let mut command = Command::new(program);
    // Bytes, not letters of a language: it is the harder figure to meet.
    command.args(arguments).arg(path).env("LC_ALL", "C").stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.stdout(Stdio::piped()).output().with_context(|| format!("run {program}"))?;
    if !output.status.success() {
        bail!("run {program}: it ended with {}", output.status);
    }
    Ok(output.stdout)
}

/// The numbers that a program prints.
pub fn numbers(command: &[&str], path: &Path) -> Result<Vec<f64>> {
    let printed = String::from_utf8(printed(command, path)?)?;
    printed.split_whitespace().map(|word| Ok(word.parse()?)).collect()
}

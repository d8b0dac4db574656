//! The limit of starting sandboxes: a process that gives birth to others in new namespaces, and does nothing else. It is
//! `fork_floor.c`, which says which namespaces those are.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

pub struct ForkFloor {
    program: PathBuf,
    _dir: TempDir,
}

impl ForkFloor {
    pub fn build() -> Result<Self> {
        let dir = TempDir::new()?;
        let program = dir.path().join("fork_floor");
        let mut command = Command::new("cc");
        command.args(["-O2", "-o"]).arg(&program).arg(concat!(env!("CARGO_MANIFEST_DIR"), "/fork_floor.c"));
        let status = command.status().context("run cc")?;
        if !status.success() {
            bail!("compile the floor of forks: it ended with {status}");
        }
        Ok(Self { program, _dir: dir })
    }

    /// How many a second, `count` at once.
    pub fn burst(&self, count: usize) -> Result<f64> {
        self.run(&[count.to_string()])
    }

    /// How many a second in the long run, `count` at a time.
    pub fn sustained(&self, count: usize, seconds: u64) -> Result<f64> {
        self.run(&[count.to_string(), seconds.to_string()])
    }

    fn run(&self, arguments: &[String]) -> Result<f64> {
        let output = Command::new(&self.program).args(arguments).output()?;
        if !output.status.success() {
            bail!("fork into namespaces: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (count, ms) = text.trim().split_once(' ').context("read how many were forked")?;
        Ok(count.parse::<f64>()? / ms.parse::<f64>()? * 1e3)
    }
}

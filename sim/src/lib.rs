//! The dispatcher of the server, `engine::dispatch`, in virtual time, on a trace of what functions were asked for.
//!
//! The program `sim` is its command line. The benchmark replays the same trace, spread by the same chance, against the
//! server itself, and compares.

pub mod chance;
pub mod cost;
pub mod host;
pub mod report;
pub mod trace;

use std::time::Duration;

use anyhow::{Context, Result, bail};
use engine::dispatch::{KeepAlive, Policy};

/// What to run.
pub struct Plan {
    pub memory_gib: Vec<u64>,
    pub policies: Vec<(String, KeepAlive)>,
    pub cold: Duration,
    pub minutes: usize,
    pub every: usize,
    pub seed: u64,
    pub is_json: bool,
}

/// A policy by its name, with the minutes that it keeps behind a slash; ten, if there are none.
pub fn policy(name: &str) -> Result<KeepAlive> {
    let (policy, minutes) = name.split_once('/').unwrap_or((name, "10"));
    let policy = match policy {
        "fixed" => Policy::Fixed,
        "least-recent" => Policy::LeastRecent,
        "greedy-dual" => Policy::GreedyDual,
        "histogram" => Policy::Histogram,
        "predictive" => Policy::Predictive,
        _ => bail!("find a policy {policy}"),
    };
    let minutes: u64 = minutes.parse().with_context(|| format!("read the minutes of {name}"))?;
    Ok(KeepAlive { policy, keep: Duration::from_secs(minutes.saturating_mul(60)) })
}

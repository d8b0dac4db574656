//! What the server costs before it does anything: time to be ready, memory, size on disk.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::peer::{Peer, lamp_binary};
use crate::sandboxes::{Memory, field_mb};

const STARTS: usize = 20;

pub fn run() -> Result<()> {
    let empty = start_ms(|| Ok(TempDir::new()?))?;
    println!("ready on an empty directory: {empty:.1} ms (median of {STARTS}; goal 20)");
    let mut lamp = Peer::lamp()?;
    std::thread::sleep(Duration::from_secs(1));
    println!(
        "idle memory: {:.1} MB resident, {:.1} MB private (goal 10, never over 20)",
        rss_mb(&lamp)?,
        private_mb(&lamp)?
    );
    lamp.prepare()?;
    println!("after the first requests: {:.1} MB resident", rss_mb(&lamp)?);
    println!("binary: {:.1} MB", std::fs::metadata(lamp_binary()?)?.len() as f64 / 1e6);
    lamp = Peer::ministack()?;
    println!("MiniStack idle: {:.1} MB resident", rss_mb(&lamp)?);
    Ok(())
}

fn start_ms(dir: impl Fn() -> Result<TempDir>) -> Result<f64> {
    let mut times = Vec::new();
    for _ in 0..STARTS {
        times.push(ready_ms(&dir()?.path().join("data"))?);
    }
    times.sort_unstable_by(f64::total_cmp);
    times.get(STARTS / 2).copied().context("take the median")
}

/// From `exec` to the line that says where it listens.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures the machine's time")]
pub fn ready_ms(dir: &Path) -> Result<f64> {
    let start = Instant::now();
    let lamp = Peer::lamp_on(dir)?;
    let ready = start.elapsed();
    drop(lamp);
    Ok(ready.as_secs_f64() * 1e3)
}

pub fn rss_mb(peer: &Peer) -> Result<f64> {
    rss_of(peer.pid())
}

pub fn rss_of(pid: u32) -> Result<f64> {
    field_mb(&std::fs::read_to_string(format!("/proc/{pid}/status"))?, "VmRSS:")
}

pub fn private_mb(peer: &Peer) -> Result<f64> {
    Ok(Memory::of(peer.pid())?.private_mb)
}

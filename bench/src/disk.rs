//! What the disk itself takes: no durable write is faster.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use anyhow::{Result, bail};

use crate::rounds::{percentile, timed};

const WRITES: usize = 500;
const BYTES: usize = 4096;
/// The kernel's number of a file system that is memory.
const TMPFS: i64 = 0x0102_1994;

/// How long it took to append a page and to sync it.
#[derive(Debug, Clone, Copy)]
pub struct Synced {
    pub p50_us: f64,
    pub p99_us: f64,
}

impl Synced {
    /// Measures the disk that servers keep their data on. One that is memory is refused: what is durable costs nothing there.
    pub fn measure() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        if is_memory(dir.path())? {
            bail!("measure the disk below {}: it is memory", dir.path().display());
        }
        let mut file = OpenOptions::new().create_new(true).append(true).open(dir.path().join("f"))?;
        let mut micros = Vec::with_capacity(WRITES);
        for _ in 0..WRITES {
            let ((), ms) = timed(|| {
                file.write_all(&[0; BYTES])?;
                Ok(file.sync_data()?)
            })?;
            micros.push(ms * 1e3);
        }
        micros.sort_unstable_by(f64::total_cmp);
        Ok(Self { p50_us: percentile(&micros, 0.5), p99_us: percentile(&micros, 0.99) })
    }

    pub fn print(&self) {
        let (p50, p99) = (self.p50_us, self.p99_us);
        println!("fdatasync of 4 KiB appended: {p50:.0} us at p50, {p99:.0} at p99, {:.0} a second", 1e6 / p50);
    }
}

fn is_memory(path: &Path) -> Result<bool> {
    Ok(rustix::fs::statfs(path)?.f_type == TMPFS)
}

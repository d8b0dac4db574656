//! What the disk itself takes: no durable write is faster.

use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::rounds::{median, timed};

const WRITES: usize = 200;
const BYTES: usize = 4096;
/// The kernel's number of a file system that is memory.
const TMPFS: i64 = 0x0102_1994;

/// How long it took to write a page and to sync it.
#[derive(Debug, Clone, Copy)]
pub struct Synced {
    /// At the end of a file, which grows.
    pub appended_us: f64,
    /// Where a file has been written before, as a log is that begins anew.
    pub again_us: f64,
}

impl Synced {
    /// Measures the disk that servers keep their data on. One that is memory is refused: what is durable costs nothing there.
    pub fn measure() -> Result<Self> {
        Self::measure_with(Duration::ZERO)
    }

    /// The same with a pause before each write, in which the machine comes to rest as it does between rare requests.
    pub fn measure_with(pause: Duration) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        if is_memory(dir.path())? {
            bail!("measure the disk below {}: it is memory", dir.path().display());
        }
        let mut file = OpenOptions::new().create_new(true).write(true).open(dir.path().join("f"))?;
        let mut p50 = || -> Result<f64> {
            file.seek(SeekFrom::Start(0))?;
            let mut micros = Vec::with_capacity(WRITES);
            for _ in 0..WRITES {
                std::thread::sleep(pause);
                let ((), ms) = timed(|| {
                    file.write_all(&[0; BYTES])?;
                    Ok(file.sync_data()?)
                })?;
                micros.push(ms * 1e3);
            }
            Ok(median(micros))
        };
        Ok(Self { appended_us: p50()?, again_us: p50()? })
    }

    /// The medians of what was measured beside the rounds of a case.
    pub fn print(rounds: &[Self]) {
        let of = |pick: fn(&Self) -> f64| median(rounds.iter().map(pick));
        let (appended, again) = (of(|disk| disk.appended_us), of(|disk| disk.again_us));
        println!("fdatasync of 4 KiB: {appended:.0} us appended, {again:.0} us written again");
    }
}

fn is_memory(path: &Path) -> Result<bool> {
    Ok(rustix::fs::statfs(path)?.f_type == TMPFS)
}

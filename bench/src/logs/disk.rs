//! What a byte of log takes on the disk, when the server has been closed, beside programs that do nothing but compress.
//!
//! The rest of a group, up to a megabyte that was not packed yet, is in the journal as it came; and what the journal held before
//! is room that the store uses again, so a small log takes more for each byte than a large one.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use tempfile::TempDir;

use super::client::Logs;
use super::filling::{Filled, events, fill};
use super::programs::{has, printed};
use crate::peer::Peer;
use crate::rounds::timed;

const GROUP: &str = "/bench/disk";

/// After the last event, until all but the rest is packed.
const SETTLING: Duration = Duration::from_secs(5);

const PROGRAMS: &[&[&str]] = &[&["lz4", "-1", "-c"], &["gzip", "-6", "-c"]];

pub fn run() -> Result<()> {
    let dir = TempDir::new()?;
    let (data, lines) = (dir.path().join("data"), dir.path().join("lines"));
    Peer::lamp_on(&data)?.stop()?;
    let empty = on_disk(&data)?;
    let lamp = Peer::lamp_on(&data)?;
    let filled = fill(lamp.port, GROUP, &lines, events())?;
    std::thread::sleep(SETTLING);
    let open = on_disk(&data)?;
    let ((), ms) = timed(|| lamp.stop())?;
    let closed = on_disk(&data)?;
    let ratio = |bytes: u64| bytes as f64 / filled.bytes as f64;
    let grown = closed.saturating_sub(empty);
    println!("empty {:.2} MB, before the close {:.1} MB; it took {:.2} s", mb(empty), mb(open), ms / 1e3);
    println!("{:<10}{:>12}{:>20}{:>18}", "", "MB", "bytes for a byte", "lamp's / its");
    println!("{:<10}{:>12.1}{:>20.3}{:>18.2}", "lamp", mb(grown), ratio(grown), 1.0);
    for program in PROGRAMS {
        let name = program.first().copied().unwrap_or_default();
        if !has(name) {
            println!("{name:<10}{:>12}", "not there");
            continue;
        }
        let packed = printed(program, &lines)?.len() as u64;
        println!("{name:<10}{:>12.1}{:>20.3}{:>18.2}", mb(packed), ratio(packed), grown as f64 / packed as f64);
    }
    check(&data, &filled)
}

/// Fails unless a server that starts again shows all of it at once.
fn check(data: &Path, filled: &Filled) -> Result<()> {
    let lamp = Peer::lamp_on(data)?;
    let mut logs = Logs::of(lamp.port)?;
    let (found, ms) = timed(|| Ok(logs.query(GROUP, "stats count(*) as n", filled.window)?.sum("n")))?;
    if found != filled.events as f64 {
        bail!("read what was kept: {found} events of {}", filled.events);
    }
    println!("all {found} events are there {ms:.0} ms after a start");
    Ok(())
}

fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// What the files of a folder take.
fn on_disk(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            bytes += on_disk(&entry.path())?;
        } else if kind.is_file() {
            bytes += entry.metadata()?.blocks() * 512;
        }
    }
    Ok(bytes)
}

//! Ten thousand functions: list, get and start-up must stay flat, and memory small.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};
use http::Method;
use tempfile::TempDir;

use crate::load;
use crate::peer::{Peer, tools};
use crate::server::{ready_ms, rss_mb};

const TIME: Duration = Duration::from_secs(2);

pub fn run() -> Result<()> {
    let dir = TempDir::new()?;
    let data = dir.path().join("data");
    println!("{:>10}{:>12}{:>12}{:>12}{:>12}", "functions", "start ms", "get p50 us", "list p50 us", "RSS MB");
    let mut made = 0;
    for count in [10, 1_000, 10_000] {
        {
            let lamp = Peer::lamp_on(&data)?;
            make(&lamp, made, count)?;
            made = count;
        }
        let start = ready_ms(&data)?;
        let lamp = Peer::lamp_on(&data)?;
        let get = load::run(lamp.port, &[lamp.signed(Method::GET, "/2015-03-31/functions/f5", "")?], TIME)?;
        let list = load::run(lamp.port, &[lamp.signed(Method::GET, "/2015-03-31/functions", "")?], TIME)?;
        println!("{count:>10}{start:>12.1}{:>12.1}{:>12.1}{:>12.1}", get.p50_us, list.p50_us, rss_mb(&lamp)?);
    }
    Ok(())
}

/// Makes functions of the same code, called f and their number.
pub fn make(lamp: &Peer, from: usize, to: usize) -> Result<()> {
    let status = Command::new(tools()?.join("python/bin/python"))
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/make_functions.py"))
        .args([format!("http://127.0.0.1:{}", lamp.port), from.to_string(), to.to_string()])
        .status()?;
    if !status.success() {
        bail!("make functions: it ended with {status}");
    }
    Ok(())
}

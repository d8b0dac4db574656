//! What a server's sandboxes cost, seen from outside: which processes there are in each, and what they hold.
//!
//! A sandbox is a child of the process that makes them, which is the server's own program run again, with all that it has
//! started. One that shows code is an instance, and one that shows none is held ready; so is a clone of a template, which has
//! its code before anybody calls it, and is told by the name of its control group.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, Result};

use crate::peer::Peer;

/// Where a function's code is, within its sandbox.
const CODE: &str = "root/var/task";

/// How the name of a clone's group begins, also when it has been called.
const CLONE: &str = "/clone-";

#[derive(Debug, Clone)]
pub struct Sandbox {
    /// Of its first process.
    pub pid: u32,
    pub is_instance: bool,
    pub memory: Memory,
}

#[derive(Debug, Default, Clone, Copy)]
pub struct Memory {
    /// Held by it alone, and not to be had again from a file.
    pub private_mb: f64,
    /// And its part of what it shares.
    pub proportional_mb: f64,
}

/// All sandboxes of a server that runs functions in such.
pub fn of(server: &Peer) -> Result<Vec<Sandbox>> {
    let children = children()?;
    let below = |pid: u32| children.get(&pid).map(Vec::as_slice).unwrap_or_default();
    // The server runs interpreters too, to learn about them.
    let program = |pid: u32| fs::read_link(format!("/proc/{pid}/exe")).ok();
    let spawner = below(server.pid()).iter().find(|pid| program(**pid) == program(server.pid()));
    let spawner = spawner.context("find the process that makes the server's sandboxes")?;
    // Those that end meanwhile are none.
    Ok(below(*spawner).iter().filter_map(|pid| Sandbox::read(*pid, &children).ok()).collect())
}

impl Sandbox {
    fn read(pid: u32, children: &BTreeMap<u32, Vec<u32>>) -> Result<Sandbox> {
        let mut sandbox = Sandbox { pid, is_instance: false, memory: Memory::default() };
        let (mut left, mut seen) = (vec![pid], BTreeSet::new());
        while let Some(pid) = left.pop().filter(|pid| seen.insert(*pid)) {
            let memory = Memory::of(pid)?;
            sandbox.memory.private_mb += memory.private_mb;
            sandbox.memory.proportional_mb += memory.proportional_mb;
            sandbox.is_instance |=
                fs::read_dir(format!("/proc/{pid}/{CODE}")).is_ok_and(|mut files| files.next().is_some());
            left.extend(children.get(&pid).into_iter().flatten());
        }
        sandbox.is_instance &= !fs::read_to_string(format!("/proc/{pid}/cgroup"))?.contains(CLONE);
        Ok(sandbox)
    }
}

impl Memory {
    pub fn of(pid: u32) -> Result<Memory> {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        Ok(Memory { private_mb: field_mb(&text, "Private_Dirty:")?, proportional_mb: field_mb(&text, "Pss:")? })
    }
}

/// A line of a file of `/proc` that counts kilobytes.
pub fn field_mb(text: &str, name: &str) -> Result<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).context("find a field of /proc")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1e3)
}

/// The children of every process of this machine.
fn children() -> Result<BTreeMap<u32, Vec<u32>>> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // Gone meanwhile.
        let Ok(text) = fs::read_to_string(entry.path().join("stat")) else { continue };
        if let Some(parent) = parent(&text) {
            children.entry(parent).or_default().push(pid);
        }
    }
    Ok(children)
}

/// A program's name, which is in brackets, may have brackets and spaces.
fn parent(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_proc_says_is_read() {
        assert_eq!(parent("12 (a) b (c)) S 7 12 12 0"), Some(7));
        assert_eq!(field_mb("Rss: 12 kB\nPss:      1500 kB\n", "Pss:").unwrap(), 1.5);
        assert!(field_mb("Rss: 12 kB\n", "Pss:").is_err());
        let own = std::process::id();
        assert!(children().unwrap().values().flatten().any(|child| *child == own));
        assert!(Memory::of(own).unwrap().private_mb > 0.0);
    }
}

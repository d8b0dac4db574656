//! What memory the host has for instances, told to the dispatcher from time to time.
//!
//! The host's own figures, and those of each control group that the server is in: whichever leaves least. What a group
//! holds of files counts as free, as it does in the host's figures: the kernel gives it up when it is needed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::dispatch::Event;
use tokio::time::sleep;

use crate::limits::{MEMORY_TOLD_EVERY, MEMORY_TOLD_EVERY_IN_HASTE};
use crate::runtime::Inner;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    pub available_bytes: u64,
    pub total_bytes: u64,
}

/// A control group with a limit, as either version has it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    limit: PathBuf,
    usage: PathBuf,
    stat: PathBuf,
}

/// Tells until the runtime is no more, at once for the first time.
pub fn tell(inner: &Arc<Inner>) {
    let groups = groups(&fs::read_to_string("/proc/self/cgroup").unwrap_or_default());
    tell_once(inner, &groups);
    let spawn = Arc::clone(&inner.parts.spawn);
    let inner = Arc::downgrade(inner);
    let task = async move {
        loop {
            let Some(alive) = inner.upgrade() else { return };
            tell_once(&alive, &groups);
            let pause = if alive.stock.is_launching() { MEMORY_TOLD_EVERY_IN_HASTE } else { MEMORY_TOLD_EVERY };
            drop(alive);
            sleep(pause).await;
        }
    };
    spawn.spawn("memory", Box::pin(task));
}

fn tell_once(inner: &Arc<Inner>, groups: &[Group]) {
    if let Some(Memory { available_bytes, total_bytes }) = measure(groups) {
        inner.start_all(inner.books.tell(Event::Memory { available_bytes, total_bytes }));
    }
}

fn measure(groups: &[Group]) -> Option<Memory> {
    let host = of_this_host()?;
    Some(groups.iter().filter_map(Group::measure).fold(host, |least, group| Memory {
        available_bytes: least.available_bytes.min(group.available_bytes),
        total_bytes: least.total_bytes.min(group.total_bytes),
    }))
}

pub fn of_this_host() -> Option<Memory> {
    of_host(&fs::read_to_string("/proc/meminfo").ok()?)
}

fn of_host(text: &str) -> Option<Memory> {
    let bytes = |name| Some(field(text, name)?.saturating_mul(1024));
    Some(Memory { available_bytes: bytes("MemAvailable:")?, total_bytes: bytes("MemTotal:")? })
}

/// The number behind a name at the start of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
}

/// The groups that this process is in, from its own up.
fn groups(own: &str) -> Vec<Group> {
    let mut groups = Vec::new();
    for line in own.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (tree, limit, usage) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max", "memory.current"),
            "memory" => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
            _ => continue,
        };
        for folder in Path::new(path).ancestors() {
            let folder = Path::new(tree).join(folder.strip_prefix("/").unwrap_or(folder));
            groups.push(Group {
                limit: folder.join(limit),
                usage: folder.join(usage),
                stat: folder.join("memory.stat"),
            });
        }
    }
    groups.retain(|group| group.limit.exists());
    groups
}

impl Group {
    fn measure(&self) -> Option<Memory> {
        let number = |path: &Path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
        // A group without a limit says `max`, or a number that no host has.
        let limit = number(&self.limit)?;
        let stat = fs::read_to_string(&self.stat).ok()?;
        let files = |kind: &str| {
            let total = field(&stat, &format!("total_{kind}_file "));
            total.or(field(&stat, &format!("{kind}_file "))).unwrap_or(0)
        };
        let files = files("inactive").saturating_add(files("active"));
        let held = number(&self.usage)?.saturating_sub(files);
        Some(Memory { available_bytes: limit.saturating_sub(held), total_bytes: limit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_of_host_and_groups_counts() {
        let host = of_host("MemTotal:       1000 kB\nMemFree:  1 kB\nMemAvailable:    600 kB\n").unwrap();
        assert_eq!(host, Memory { available_bytes: 614_400, total_bytes: 1_024_000 });
        let dir = tempfile::tempdir().unwrap();
        let group = Group {
            limit: dir.path().join("limit"),
            usage: dir.path().join("usage"),
            stat: dir.path().join("memory.stat"),
        };
        assert_eq!(group.measure(), None);
        fs::write(&group.limit, "max\n").unwrap();
        fs::write(&group.usage, "500\n").unwrap();
        fs::write(&group.stat, "anon 10\ninactive_file 70\nactive_file 30\n").unwrap();
        assert_eq!(group.measure(), None, "it has no limit");
        fs::write(&group.limit, "900\n").unwrap();
        assert_eq!(group.measure(), Some(Memory { available_bytes: 500, total_bytes: 900 }));
        let least = measure(&[group]).unwrap();
        assert_eq!((least.available_bytes, least.total_bytes), (500, 900));
    }

    #[test]
    fn this_host_tells_what_it_has() {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let memory = measure(&groups(&own)).unwrap();
        assert!(memory.available_bytes > 0 && memory.available_bytes <= memory.total_bytes);
    }
}

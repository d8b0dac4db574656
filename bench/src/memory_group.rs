//! A control group with a limit of memory, for a server that is to run on a small machine.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Below the group of this program, so that whatever limits that one holds on.
pub struct MemoryGroup {
    path: PathBuf,
    is_v2: bool,
}

impl MemoryGroup {
    pub fn new(bytes: u64) -> Result<Self> {
        let text = fs::read_to_string("/proc/self/cgroup").context("read which groups this program is in")?;
        let (own, is_v2) = own(&text).context("find a group that counts memory")?;
        let path = own.join(format!("lamp-bench-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("make {}", path.display()))?;
        let group = Self { path, is_v2 };
        let limit = group.path.join(if is_v2 { "memory.max" } else { "memory.limit_in_bytes" });
        fs::write(&limit, bytes.to_string()).with_context(|| format!("write {}", limit.display()))?;
        // Nothing of it is swapped out; where the kernel does not count that, nothing is.
        let (swap, most) = if is_v2 { ("memory.swap.max", 0) } else { ("memory.memsw.limit_in_bytes", bytes) };
        fs::write(group.path.join(swap), most.to_string()).ok();
        Ok(group)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it holds, the kernel's part included, that cannot be read again from files.
    pub fn held_mb(path: &Path) -> Option<f64> {
        let text = fs::read_to_string(path.join("memory.stat")).ok()?;
        // On v1 the plain names leave out the groups below.
        let is_v1 = text.contains("\ntotal_rss ");
        let (usage, prefix) = if is_v1 { ("memory.usage_in_bytes", "total_") } else { ("memory.current", "") };
        let usage: f64 = fs::read_to_string(path.join(usage)).ok()?.trim().parse().ok()?;
        let files = ["active_file", "inactive_file"].iter().filter_map(|name| {
            let wanted = format!("{prefix}{name} ");
            text.lines().find_map(|line| line.strip_prefix(&wanted)?.parse::<f64>().ok())
        });
        Some((usage - files.sum::<f64>()) / 1e6)
    }

    /// How often the kernel killed something in it for want of memory.
    pub fn kills(&self) -> u64 {
        let file = self.path.join(if self.is_v2 { "memory.events" } else { "memory.oom_control" });
        let text = fs::read_to_string(file).unwrap_or_default();
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok()).unwrap_or_default()
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // Groups of sandboxes below go first, and only when their processes are gone.
        for _ in 0..100 {
            if remove(&self.path) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        eprintln!("bench: {} is left behind", self.path.display());
    }
}

fn remove(path: &Path) -> bool {
    for below in fs::read_dir(path).into_iter().flatten().flatten() {
        if below.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&below.path());
        }
    }
    fs::remove_dir(path).is_ok()
}

/// Where the group is that this program's memory is counted in, and whether that is version 2.
fn own(text: &str) -> Option<(PathBuf, bool)> {
    let find = |wanted: fn(&str) -> bool| {
        text.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?);
            wanted(controllers).then(|| path.trim_start_matches('/').to_owned())
        })
    };
    if let Some(path) = find(|controllers| controllers.split(',').any(|one| one == "memory")) {
        return Some((Path::new("/sys/fs/cgroup/memory").join(path), false));
    }
    Some((Path::new("/sys/fs/cgroup").join(find(str::is_empty)?), true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_group_is_found_in_either_version() {
        let v1 = "4:memory:/jobs/7\n1:cpu,cpuacct:/\n0::/\n";
        assert_eq!(own(v1), Some(("/sys/fs/cgroup/memory/jobs/7".into(), false)));
        assert_eq!(own("0::/user.slice\n"), Some(("/sys/fs/cgroup/user.slice".into(), true)));
        assert_eq!(own(""), None);
    }
}

//! Control groups, v1, v2 and both at once: which of them the host lends us, one group a sandbox, its limits and
//! counts.
//!
//! Everything of one spawner lies below one directory, `lamplight-<pid namespace>-<pid>-<start time>`, under the group
//! that the server itself is in, so that limits set from outside hold for its sandboxes too; on v2, where that group may be
//! divided (`claim`). What a spawner that died hard has left is found by that name and swept by the next.
//!
//! On v1 a process joins by writing `0` into `tasks` *itself*: any other way of moving one waits some 10 ms for a grace
//! period of the whole machine. On v2 it is born inside (`CLONE_INTO_CGROUP`). Where both trees are mounted, v1 limits
//! and v2 freezes, which is the faster of the two.

mod claim;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use crate::isolation::{Freezing, Usage};
use crate::process::Kind;
use crate::spec::{Cpu, Limits};

const PREFIX: &str = "lamplight-";

/// The period of a hard CPU quota: short, so that a small function stalls for milliseconds and not for 100 of them.
const QUOTA_PERIOD_US: u64 = 20_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Controller {
    Memory,
    Cpu,
    Cpuacct,
    Pids,
    Freezer,
}

impl Controller {
    const ALL: [(Controller, &str); 5] = [
        (Controller::Memory, "memory"),
        (Controller::Cpu, "cpu"),
        (Controller::Cpuacct, "cpuacct"),
        (Controller::Pids, "pids"),
        (Controller::Freezer, "freezer"),
    ];

    fn named(name: &str) -> Option<Controller> {
        Controller::ALL.iter().find(|(_, known)| *known == name).map(|(controller, _)| *controller)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Version {
    V1,
    V2,
}

/// A directory in one tree of groups, with the controllers that work in it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Place {
    version: Version,
    controllers: Vec<Controller>,
    path: PathBuf,
}

impl Place {
    fn read(&self, file: &str) -> io::Result<String> {
        fs::read_to_string(self.path.join(file))
    }

    fn number(&self, file: &str) -> Option<u64> {
        self.field(file, "")
    }

    fn field(&self, file: &str, key: &str) -> Option<u64> {
        number_after(&self.read(file).ok()?, key)
    }

    fn write(&self, file: &str, value: impl ToString) -> io::Result<()> {
        fs::write(self.path.join(file), value.to_string())
    }
}

/// The number after `key` in a text of one pair a line; of one that is a number alone, behind nothing.
fn number_after(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok())
}

/// What the host lends one spawner: a directory of its own in each tree.
#[derive(Debug)]
pub struct Trees {
    places: Vec<Place>,
    /// What is missing, and why.
    pub missing: Vec<(Controller, String)>,
}

impl Trees {
    /// Makes the directories of this spawner, after sweeping those of dead ones.
    pub fn claim(server: u32) -> io::Result<Trees> {
        let name = own_name()?;
        let mut trees = Trees { places: Vec::new(), missing: Vec::new() };
        let mut withheld = Vec::new();
        for own in claim::mounted()? {
            sweep(&own.path);
            match claim::claim(&own, &name, server) {
                Ok(claimed) => {
                    trees.places.push(claimed.place);
                    withheld.extend(claimed.withheld);
                }
                Err(error) => withheld.extend(claim::all_of(&own, &error)),
            }
        }
        trees.prefer_v2();
        let held: BTreeSet<Controller> = trees.places.iter().flat_map(|place| place.controllers.clone()).collect();
        for (controller, name) in Controller::ALL.iter().filter(|(controller, _)| !held.contains(controller)) {
            let why = withheld.iter().find(|(withheld, _)| withheld == controller);
            let why = why.map_or_else(|| format!("no group of ours has the controller {name}"), |(_, why)| why.clone());
            trees.missing.push((*controller, why));
        }
        Ok(trees)
    }

    /// Where v2 counts and freezes, v1 groups for that alone would be one more to make, join and remove for each
    /// sandbox.
    fn prefer_v2(&mut self) {
        if self.places.iter().any(|place| place.version == Version::V2) {
            let by_v2 = [Controller::Cpuacct, Controller::Freezer];
            self.places.retain(|place| {
                let is_needed =
                    place.version == Version::V2 || !place.controllers.iter().all(|one| by_v2.contains(one));
                if !is_needed {
                    let _ = fs::remove_dir(&place.path);
                }
                is_needed
            });
        }
    }

    /// A group for one sandbox, with its limits.
    pub fn group(&self, name: &str, limits: &Limits, kind: Kind) -> io::Result<Group> {
        let mut group = Group { places: Vec::with_capacity(self.places.len()) };
        for tree in &self.places {
            let path = tree.path.join(name);
            if let Err(error) = fs::create_dir(&path) {
                group.remove();
                return Err(error);
            }
            group.places.push(Place { version: tree.version, controllers: tree.controllers.clone(), path });
        }
        if let Err(error) = group.set(limits, kind, true) {
            group.remove();
            return Err(error);
        }
        Ok(group)
    }

    /// The group in which all of them are. With a limit of memory, what is too much ends one of them, and nobody else.
    pub fn of_all(&self, memory_bytes: Option<u64>) -> io::Result<Group> {
        let all = Group { places: self.places.clone() };
        memory_bytes.map_or(Ok(()), |bytes| all.limit_memory(bytes))?;
        Ok(all)
    }

    /// Gives everything back. Groups of sandboxes must be gone.
    pub fn release(&self) {
        for place in &self.places {
            let _ = fs::remove_dir(&place.path);
        }
    }
}

/// The groups of one sandbox.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Group {
    places: Vec<Place>,
}

/// What the kernel counts of a group.
#[derive(Debug, Clone, Copy)]
pub enum Count {
    Memory,
    MemoryPeak,
    CpuNanos,
}

/// Where a count is told.
pub struct Source {
    pub path: PathBuf,
    key: &'static str,
    factor: u64,
}

impl Source {
    pub fn number(&self, text: &str) -> Option<u64> {
        number_after(text, self.key)?.checked_mul(self.factor)
    }
}

/// How a child gets into its groups.
#[derive(Debug)]
pub struct Doors {
    /// `tasks` of each v1 group, into which the child writes.
    pub v1: Vec<OwnedFd>,
    /// The v2 group, into which it is cloned.
    pub v2: Option<OwnedFd>,
}

impl Group {
    pub fn doors(&self) -> io::Result<Doors> {
        let mut doors = Doors { v1: Vec::new(), v2: None };
        for place in &self.places {
            match place.version {
                Version::V1 => {
                    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
                    doors.v1.push(rustix::fs::open(place.path.join("tasks"), flags, Mode::empty())?);
                }
                Version::V2 => {
                    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                    doors.v2 = Some(rustix::fs::open(&place.path, flags, Mode::empty())?);
                }
            }
        }
        Ok(doors)
    }

    fn place(&self, controller: Controller) -> Option<&Place> {
        self.places.iter().find(|place| place.controllers.contains(&controller))
    }

    pub fn limit(&self, limits: &Limits, kind: Kind) -> io::Result<()> {
        self.set(limits, kind, false)
    }

    pub fn limit_memory(&self, bytes: u64) -> io::Result<()> {
        self.place(Controller::Memory).map_or(Ok(()), |place| limit_memory(place, bytes))
    }

    fn set(&self, limits: &Limits, kind: Kind, is_new: bool) -> io::Result<()> {
        self.limit_memory(kind.memory_bytes(limits))?;
        if let Some(place) = self.place(Controller::Cpu) {
            limit_cpu(place, limits.cpu, is_new)?;
        }
        if let Some(place) = self.place(Controller::Pids) {
            // Our init is one of them.
            place.write("pids.max", u64::from(limits.processes) + 1)?;
        }
        Ok(())
    }

    pub fn freeze(&self, frozen: bool) -> io::Result<Freezing> {
        match self.place(Controller::Freezer) {
            Some(place) if place.version == Version::V2 => place.write("cgroup.freeze", u8::from(frozen))?,
            Some(place) => place.write("freezer.state", if frozen { "FROZEN" } else { "THAWED" })?,
            None => return Ok(Freezing::Unsupported),
        }
        Ok(Freezing::Done)
    }

    pub fn usage(&self) -> Usage {
        Usage {
            memory_bytes: self.count(Count::Memory),
            memory_peak_bytes: self.count(Count::MemoryPeak),
            cpu: self.count(Count::CpuNanos).map(Duration::from_nanos),
            processes: self.place(Controller::Pids).and_then(|place| place.number("pids.current")),
            out_of_memory: self.out_of_memory(),
        }
    }

    fn count(&self, count: Count) -> Option<u64> {
        let source = self.source(count)?;
        source.number(&fs::read_to_string(&source.path).ok()?)
    }

    pub fn source(&self, count: Count) -> Option<Source> {
        let controller = match count {
            Count::Memory | Count::MemoryPeak => Controller::Memory,
            Count::CpuNanos => Controller::Cpuacct,
        };
        let place = self.place(controller)?;
        let (file, key, factor) = match (count, place.version) {
            (Count::Memory, Version::V1) => ("memory.usage_in_bytes", "", 1),
            (Count::Memory, Version::V2) => ("memory.current", "", 1),
            (Count::MemoryPeak, Version::V1) => ("memory.max_usage_in_bytes", "", 1),
            (Count::MemoryPeak, Version::V2) => ("memory.peak", "", 1),
            (Count::CpuNanos, Version::V1) => ("cpuacct.usage", "", 1),
            (Count::CpuNanos, Version::V2) => ("cpu.stat", "usage_usec ", 1_000),
        };
        Some(Source { path: place.path.join(file), key, factor })
    }

    /// What of its memory nobody else gets before it ends: all but files, which the kernel reads again when it must.
    /// `/tmp` is not of those.
    pub fn held_bytes(&self) -> Option<u64> {
        let place = self.place(Controller::Memory)?;
        let (usage, stat) = (self.count(Count::Memory)?, place.read("memory.stat").ok()?);
        let keys = match place.version {
            Version::V1 => ["total_active_file ", "total_inactive_file "],
            Version::V2 => ["active_file ", "inactive_file "],
        };
        let files = keys.map(|key| number_after(&stat, key).unwrap_or(0));
        Some(files.into_iter().fold(usage, u64::saturating_sub))
    }

    /// How often the kernel has killed here for memory.
    pub fn out_of_memory(&self) -> Option<u64> {
        let place = self.place(Controller::Memory)?;
        match place.version {
            Version::V1 => place.field("memory.oom_control", "oom_kill "),
            Version::V2 => place.field("memory.events", "oom_kill "),
        }
    }

    /// Removes what the kernel lets go already; true when nothing is left.
    pub fn remove(&self) -> bool {
        let mut gone = true;
        for place in &self.places {
            let removed = fs::remove_dir(&place.path);
            gone &= removed.is_ok() || removed.is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        }
        gone
    }
}

fn limit_memory(place: &Place, bytes: u64) -> io::Result<()> {
    if place.version == Version::V2 {
        place.write("memory.max", bytes)?;
        // Not all of them: the sandbox's init lives on, and tells who was killed.
        let _ = place.write("memory.oom.group", 0);
        return optional(place.write("memory.swap.max", 0));
    }
    // Memory alone may never exceed memory with swap, so growing and shrinking go in opposite orders.
    let (alone, with_swap) = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes");
    if place.write(alone, bytes).is_err() {
        place.write(with_swap, bytes)?;
        return place.write(alone, bytes);
    }
    optional(place.write(with_swap, bytes))
}

/// Files that not every kernel has.
fn optional(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => Ok(()),
        other => other,
    }
}

fn limit_cpu(place: &Place, cpu: Cpu, is_new: bool) -> io::Result<()> {
    let millis = u64::from(cpu.millis());
    let quota = match cpu {
        Cpu::Weight(_) => None,
        // The kernel takes no less than a millisecond.
        Cpu::Quota(_) => Some((millis * QUOTA_PERIOD_US / 1_000).max(1_000)),
    };
    // v1 counts 1,024 for an ordinary neighbour, v2 100.
    if place.version == Version::V1 {
        place.write("cpu.shares", (millis * 1_024 / 1_000).clamp(2, 262_144))?;
        if is_new && quota.is_none() {
            return Ok(());
        }
        optional(place.write("cpu.cfs_period_us", QUOTA_PERIOD_US))?;
        return optional(place.write("cpu.cfs_quota_us", quota.map_or("-1".to_owned(), |quota| quota.to_string())));
    }
    place.write("cpu.weight", (millis / 10).clamp(1, 10_000))?;
    if is_new && quota.is_none() {
        return Ok(());
    }
    let quota = quota.map_or("max".to_owned(), |quota| quota.to_string());
    optional(place.write("cpu.max", format!("{quota} {QUOTA_PERIOD_US}")))
}

fn pid_namespace() -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    Ok(fs::metadata("/proc/self/ns/pid")?.ino())
}

/// When a process started, in ticks since boot: with its pid, its name for good.
fn start_time(pid: u32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The command's name, in brackets, may contain anything.
    let after = stat.rsplit_once(") ").map(|(_, after)| after);
    if after.is_some_and(|after| after.starts_with('Z')) {
        return Err(io::Error::other("the process is dead"));
    }
    let field = after.and_then(|after| after.split(' ').nth(19)).and_then(|field| field.parse().ok());
    field.ok_or_else(|| io::Error::other("/proc/pid/stat has no start time"))
}

/// What this process calls a directory of its own: no other process ever had that name, or will.
pub fn own_name() -> io::Result<String> {
    let own = std::process::id();
    Ok(format!("{PREFIX}{}-{own}-{}", pid_namespace()?, start_time(own)?))
}

/// Directories of that name whose process, of this pid namespace, is no more.
pub fn dead_spawners(within: &Path) -> Vec<PathBuf> {
    let Ok(namespace) = pid_namespace() else { return Vec::new() };
    let is_dead = |name: &str| {
        let numbers: Vec<u64> = name.strip_prefix(PREFIX)?.split('-').filter_map(|part| part.parse().ok()).collect();
        let &[of, pid, started] = numbers.as_slice() else { return None };
        let alive = u32::try_from(pid).is_ok_and(|pid| start_time(pid).is_ok_and(|at| at == started));
        (of == namespace && !alive).then_some(())
    };
    let entries = fs::read_dir(within).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_name().to_str().and_then(is_dead).is_some()).map(|entry| entry.path()).collect()
}

/// Removes what spawners have left that are no more, with whatever still runs in it.
fn sweep(own: &Path) {
    dead_spawners(own).iter().for_each(|path| sweep_tree(path));
}

fn sweep_tree(path: &Path) {
    for group in fs::read_dir(path).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir()) {
        let inside = fs::read_to_string(group.path().join("cgroup.procs")).unwrap_or_default();
        for pid in inside.lines().filter_map(|line| line.parse().ok()).filter_map(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        let _ = fs::write(group.path().join("freezer.state"), "THAWED");
        let _ = fs::remove_dir(group.path());
    }
    // What still dies is in the way now; the next one sweeps again.
    let _ = fs::remove_dir(path);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::gauges::Gauges;

    #[test]
    fn limits_and_counts_of_v2() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let place = Place {
            version: Version::V2,
            controllers: vec![
                Controller::Memory,
                Controller::Cpu,
                Controller::Cpuacct,
                Controller::Pids,
                Controller::Freezer,
            ],
            path: path.clone(),
        };
        let group = Group { places: vec![place] };
        let mut limits = Limits::for_memory(128 * 1024 * 1024);
        limits.cpu = Cpu::Quota(72);
        group.limit(&limits, Kind::Bare).unwrap();
        let read = |file: &str| fs::read_to_string(path.join(file)).unwrap();
        assert_eq!(read("memory.max"), "134217728");
        assert_eq!(read("memory.swap.max"), "0");
        assert_eq!(read("cpu.weight"), "7");
        assert_eq!(read("cpu.max"), "1440 20000");
        assert_eq!(read("pids.max"), "1025");
        assert_eq!(group.held_bytes(), None);
        fs::write(path.join("memory.current"), "9000\n").unwrap();
        fs::write(path.join("memory.stat"), "anon 10\nfile 900\nactive_file 300\ninactive_file 200\n").unwrap();
        assert_eq!(group.held_bytes(), Some(8_500));
        let gauges = Gauges::default();
        assert_eq!(gauges.read(&group, Count::Memory), Some(9_000));
        fs::write(path.join("memory.current"), "5000\n").unwrap();
        assert_eq!(gauges.read(&group, Count::MemoryPeak), Some(9_000));
        fs::write(path.join("memory.peak"), "4096\n").unwrap();
        assert_eq!(Gauges::default().read(&group, Count::MemoryPeak), Some(4_096));
        fs::write(path.join("memory.events"), "low 0\noom 2\noom_kill 1\n").unwrap();
        fs::write(path.join("cpu.stat"), "usage_usec 1500\nuser_usec 1000\n").unwrap();
        let usage = group.usage();
        assert_eq!((usage.memory_peak_bytes, usage.out_of_memory), (Some(4096), Some(1)));
        assert_eq!(usage.cpu, Some(Duration::from_micros(1500)));
        assert_eq!(group.freeze(true).unwrap(), Freezing::Done);
        assert_eq!(read("cgroup.freeze"), "1");
    }
}

//! Control groups, v1, v2 and both at once: which of them the host lends us, one group a sandbox, its limits and
//! counts.
//!
//! Everything of one spawner lies below one directory, `lamplight-<pid namespace>-<pid>-<start time>`, under the group
//! that the server itself is in, so that limits set from outside hold for its sandboxes too. What a spawner that died
//! hard has left is found by that name and swept by the next.
//!
//! On v1 a process joins by writing `0` into `tasks` *itself*: any other way of moving one waits some 10 ms for a grace
//! period of the whole machine. On v2 it is born inside (`CLONE_INTO_CGROUP`). Where both trees are mounted, v1 limits
//! and v2 freezes, which is the faster of the two.

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
        self.read(file).ok()?.trim().parse().ok()
    }

    /// The number after `key` in a file of one pair a line.
    fn field(&self, file: &str, key: &str) -> Option<u64> {
        let text = self.read(file).ok()?;
        text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok())
    }

    fn write(&self, file: &str, value: impl ToString) -> io::Result<()> {
        fs::write(self.path.join(file), value.to_string())
    }

    /// What of its memory nobody else gets before it ends: all but files, which the kernel reads again when it must.
    /// `/tmp` is not of those.
    fn held_bytes(&self) -> Option<u64> {
        let (usage, prefix) = match self.version {
            Version::V1 => ("memory.usage_in_bytes", "total_"),
            Version::V2 => ("memory.current", ""),
        };
        let (usage, stat) = (self.number(usage)?, self.read("memory.stat").ok()?);
        let files = |kind: &str| {
            let key = format!("{prefix}{kind}_file ");
            stat.lines().find_map(|line| line.strip_prefix(&key)?.trim().parse::<u64>().ok()).unwrap_or(0)
        };
        Some(usage.saturating_sub(files("active")).saturating_sub(files("inactive")))
    }
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
        let mut refused = Vec::new();
        for own in mounted()? {
            sweep(&own.path);
            match claim_place(&own, &name, server) {
                Ok(place) => trees.places.push(place),
                Err(error) => refused.push((own, error)),
            }
        }
        trees.prefer_v2();
        let held: BTreeSet<Controller> = trees.places.iter().flat_map(|place| place.controllers.clone()).collect();
        for (controller, name) in Controller::ALL.iter().filter(|(controller, _)| !held.contains(controller)) {
            let why = match refused.iter().find(|(own, _)| own.controllers.contains(controller)) {
                Some((own, error)) => format!("{}: {error}", own.path.display()),
                None => format!("no group of ours has the controller {name}"),
            };
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
        let number = text.lines().find_map(|line| line.strip_prefix(self.key)?.trim().parse::<u64>().ok())?;
        number.checked_mul(self.factor)
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
        let count = |count| {
            let source = self.source(count)?;
            source.number(&fs::read_to_string(&source.path).ok()?)
        };
        Usage {
            memory_bytes: count(Count::Memory),
            memory_peak_bytes: count(Count::MemoryPeak),
            cpu: count(Count::CpuNanos).map(Duration::from_nanos),
            processes: self.place(Controller::Pids).and_then(|place| place.number("pids.current")),
            out_of_memory: self.out_of_memory(),
        }
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

    pub fn held_bytes(&self) -> Option<u64> {
        self.place(Controller::Memory)?.held_bytes()
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
        // One process of many would be a riddle; AWS kills the environment.
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

/// The groups in which this process is, where they are mounted: one a tree.
fn mounted() -> io::Result<Vec<Place>> {
    let own = fs::read_to_string("/proc/self/cgroup")?;
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(parse_mounted(&own, &mounts))
}

fn parse_mounted(own: &str, mounts: &str) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    for mount in mounts.lines() {
        // 36 25 0:30 /root /mount/point options - type source super,options
        let Some((before, after)) = mount.split_once(" - ") else { continue };
        let mut before = before.split(' ').skip(3);
        let (Some(root), Some(point)) = (before.next(), before.next()) else { continue };
        let mut after = after.split(' ');
        let (Some(kind), _, Some(options)) = (after.next(), after.next(), after.next()) else { continue };
        let options: BTreeSet<&str> = options.split(',').collect();
        let found = own.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?);
            let is_here = match kind {
                "cgroup2" => controllers.is_empty(),
                "cgroup" => !controllers.is_empty() && controllers.split(',').all(|name| options.contains(name)),
                _ => false,
            };
            is_here.then_some((controllers, path))
        });
        let Some((controllers, path)) = found else { continue };
        let version = if kind == "cgroup2" { Version::V2 } else { Version::V1 };
        let controllers: Vec<Controller> = controllers.split(',').filter_map(Controller::named).collect();
        if version == Version::V1 && controllers.is_empty() {
            continue;
        }
        // A container may see only a part of the tree, from `root` on.
        let below = path.strip_prefix(root).unwrap_or(path).trim_start_matches('/');
        let place = Place { version, controllers, path: Path::new(point).join(below) };
        if !places.iter().any(|known| known.path == place.path) {
            places.push(place);
        }
    }
    places
}

fn claim_place(own: &Place, name: &str, server: u32) -> io::Result<Place> {
    match own.version {
        Version::V1 => {
            let path = own.path.join(name);
            fs::create_dir(&path)?;
            let place = Place { version: Version::V1, controllers: own.controllers.clone(), path };
            if place.controllers.contains(&Controller::Cpu) {
                // All sandboxes together weigh as much as the machine has processors.
                let processors = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
                optional(place.write("cpu.shares", (processors * 1_024).min(262_144)))?;
            }
            Ok(place)
        }
        Version::V2 => claim_v2(own, name, server),
    }
}

/// Below our own group where its controllers may be passed on; else at the top, which is only for the owner of the
/// machine; else a group without limits, which can still freeze and count.
fn claim_v2(own: &Place, name: &str, server: u32) -> io::Result<Place> {
    // A spawner that replaces another begins in the leaf into which the server stepped aside.
    let own = if own.path.ends_with(LEAF) { own.path.parent().unwrap_or(&own.path) } else { &own.path };
    let top = own.ancestors().take_while(|path| path.join(CONTROLLERS).exists()).last().unwrap_or(own);
    let wanted = available(top);
    let passes_on = |path: &Path| available(path) == wanted && pass_on(path, &wanted).is_ok();
    // A group that passes controllers on has no processes of its own: ours step aside.
    let own_does = passes_on(own) || (own != top && step_aside(own, server).is_ok() && passes_on(own));
    let home = if !own_does && rustix::process::geteuid().is_root() && passes_on(top) { top } else { own };
    sweep(home);
    let path = home.join(name);
    fs::create_dir(&path)?;
    let mut held = Vec::new();
    if available(&path) == wanted && pass_on(&path, &wanted).is_ok() {
        held.extend(wanted.iter().filter_map(|name| Controller::named(name)));
    }
    // Every group of v2 counts its time and can be frozen, whatever controllers it has.
    held.extend([Controller::Cpuacct, Controller::Freezer]);
    Ok(Place { version: Version::V2, controllers: held, path })
}

/// A leaf of the server's own group, for the server itself.
const LEAF: &str = "lamplight-server";
const CONTROLLERS: &str = "cgroup.controllers";

/// Which of the controllers that limit are to be had in a group.
fn available(path: &Path) -> Vec<&'static str> {
    let text = fs::read_to_string(path.join(CONTROLLERS)).unwrap_or_default();
    let has = |name: &&str| text.split_whitespace().any(|has| has == *name);
    ["memory", "cpu", "pids"].into_iter().filter(has).collect()
}

fn pass_on(path: &Path, controllers: &[&str]) -> io::Result<()> {
    if controllers.is_empty() {
        return Ok(());
    }
    let enable: Vec<String> = controllers.iter().map(|name| format!("+{name}")).collect();
    fs::write(path.join("cgroup.subtree_control"), enable.join(" "))
}

/// Moves the server and this process into a leaf of their group.
fn step_aside(path: &Path, server: u32) -> io::Result<()> {
    let leaf = path.join(LEAF);
    match fs::create_dir(&leaf) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    for pid in [server, std::process::id()] {
        fs::write(leaf.join("cgroup.procs"), pid.to_string())?;
    }
    Ok(())
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

    #[test]
    fn own_groups_are_found_in_both_trees_and_in_containers() {
        let own = "4:memory:/docker/abc/inner\n3:cpu,cpuacct:/\n1:name=systemd:/x\n0::/user.slice\n";
        let mounts = "30 25 0:26 /docker/abc /cg/memory rw - cgroup cgroup rw,memory\n\
                      31 25 0:27 / /cg/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
                      32 25 0:28 / /cg/systemd rw - cgroup cgroup rw,name=systemd\n\
                      33 25 0:29 / /cg/unified rw shared:4 - cgroup2 cgroup2 rw\n\
                      34 25 8:1 / / rw - ext4 /dev/vda rw\n";
        let found: Vec<_> = parse_mounted(own, mounts)
            .into_iter()
            .map(|place| (place.version, place.path.display().to_string(), place.controllers))
            .collect();
        assert_eq!(
            found,
            [
                (Version::V1, "/cg/memory/inner".to_owned(), vec![Controller::Memory]),
                (Version::V1, "/cg/cpu/".to_owned(), vec![Controller::Cpu, Controller::Cpuacct]),
                (Version::V2, "/cg/unified/user.slice".to_owned(), vec![]),
            ]
        );
    }

    #[test]
    fn a_v2_group_is_claimed_where_controllers_may_be_passed_on() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("own");
        fs::create_dir(&own).unwrap();
        for path in [folder.path(), &own] {
            fs::write(path.join(CONTROLLERS), "cpuset cpu io memory pids").unwrap();
        }
        let claim = |path: &Path, name: &str| {
            // The kernel would put the file there with the group.
            let place = Place { version: Version::V2, controllers: Vec::new(), path: path.to_owned() };
            claim_v2(&place, name, std::process::id()).unwrap()
        };
        assert_eq!(claim(&own, "lamplight-a").path, own.join("lamplight-a"));
        assert_eq!(fs::read_to_string(own.join("cgroup.subtree_control")).unwrap(), "+memory +cpu +pids");
        assert_eq!(claim(&own.join(LEAF), "lamplight-b").path, own.join("lamplight-b"));
        // What is not passed on to us is to be had at the top, or not at all.
        fs::write(own.join(CONTROLLERS), "pids").unwrap();
        let place = claim(&own, "lamplight-c");
        let is_root = rustix::process::geteuid().is_root();
        assert_eq!(place.path, if is_root { folder.path() } else { &own }.join("lamplight-c"));
        assert_eq!(place.controllers, [Controller::Cpuacct, Controller::Freezer]);
    }

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
        fs::write(path.join("memory.peak"), "4096\n").unwrap();
        fs::write(path.join("memory.events"), "low 0\noom 2\noom_kill 1\n").unwrap();
        fs::write(path.join("cpu.stat"), "usage_usec 1500\nuser_usec 1000\n").unwrap();
        let usage = group.usage();
        assert_eq!((usage.memory_peak_bytes, usage.out_of_memory), (Some(4096), Some(1)));
        assert_eq!(usage.cpu, Some(Duration::from_micros(1500)));
        assert_eq!(group.freeze(true).unwrap(), Freezing::Done);
        assert_eq!(read("cgroup.freeze"), "1");
    }
}

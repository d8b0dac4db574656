//! Which directories the host lends a spawner: its own in each tree, with all controllers that can be had there.
//!
//! On v2 a group either has processes or passes controllers on, and systemd has marked those that are not its own. So a
//! service with `Delegate=yes` and a container hold their sandboxes below themselves; elsewhere root has a group at the top,
//! beside systemd's, and an ordinary user none with limits.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{Controller, Place, Version, optional};

/// The groups in which this process is, where they are mounted: one a tree.
pub fn mounted() -> io::Result<Vec<Place>> {
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

/// What was had of one tree.
pub struct Claimed {
    pub place: Place,
    /// What was not, and why.
    pub withheld: Vec<(Controller, String)>,
}

/// Makes the directory of a spawner in the tree in which this is its own group.
pub fn claim(own: &Place, name: &str, server: u32) -> io::Result<Claimed> {
    let claimed = match own.version {
        Version::V1 => {
            let path = own.path.join(name);
            fs::create_dir(&path)?;
            let place = Place { version: Version::V1, controllers: own.controllers.clone(), path };
            Claimed { place, withheld: Vec::new() }
        }
        Version::V2 => claim_v2(own, name, server)?,
    };
    let place = &claimed.place;
    if place.controllers.contains(&Controller::Cpu) {
        // All sandboxes together weigh as much as the machine has processors.
        let processors = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
        optional(match place.version {
            Version::V1 => place.write("cpu.shares", (processors * 1_024).min(262_144)),
            Version::V2 => place.write("cpu.weight", (processors * 100).min(10_000)),
        })?;
    }
    if place.controllers.contains(&Controller::Pids) {
        let numbers = fs::read_to_string("/proc/sys/kernel/pid_max").unwrap_or_default();
        if let Ok(numbers) = numbers.trim().parse() {
            optional(place.write("pids.max", tasks_max(numbers)))?;
        }
    }
    Ok(claimed)
}

/// All sandboxes together leave the host some of its process numbers, however many of them fill theirs.
fn tasks_max(numbers: u64) -> u64 {
    numbers.saturating_sub(numbers / 8)
}

/// Nothing is to be had of a tree.
pub fn all_of(own: &Place, error: &io::Error) -> Vec<(Controller, String)> {
    let every = Controller::ALL.iter().map(|(controller, _)| *controller);
    let refused = every.filter(|one| own.version == Version::V2 || own.controllers.contains(one));
    refused.map(|controller| (controller, format!("{}: {error}", own.path.display()))).collect()
}

/// Below our own group, if it may have others below it; else at the top, which is only for the owner of the machine; else
/// a group without limits, which can still freeze and count.
fn claim_v2(own: &Place, name: &str, server: u32) -> io::Result<Claimed> {
    // A spawner that replaces another begins in the leaf into which the server stepped aside.
    let own = if own.path.ends_with(LEAF) { own.path.parent().unwrap_or(&own.path) } else { &own.path };
    let top = own.ancestors().take_while(|path| path.join(CONTROLLERS).exists()).last().unwrap_or(own);
    let (home, refused) = home(own, top, rustix::process::geteuid().is_root(), server);
    // Whoever was here before may have been elsewhere in the tree.
    [home, top].into_iter().for_each(super::sweep);
    let path = home.join(name);
    fs::create_dir(&path)?;
    // Every group of v2 counts its time and can be frozen, whatever controllers it has.
    let mut held = vec![Controller::Cpuacct, Controller::Freezer];
    let lent = available(&path);
    let refused = refused.or_else(|| pass_on(&path, &lent).err());
    if refused.is_none() {
        held.extend(lent.iter().filter_map(|name| Controller::named(name)));
    }
    let withheld = Controller::ALL.iter().filter(|(controller, _)| !held.contains(controller));
    let withheld = withheld.map(|(controller, name)| {
        let why = match &refused {
            Some(error) => format!("{}: {error}", own.display()),
            None => format!("{}: it is not lent the controller {name}", home.display()),
        };
        (*controller, why)
    });
    let withheld = withheld.collect();
    Ok(Claimed { place: Place { version: Version::V2, controllers: held, path }, withheld })
}

/// Where ours is to be, and why it has no limits there.
fn home<'a>(own: &'a Path, top: &'a Path, is_root: bool, server: u32) -> (&'a Path, Option<io::Error>) {
    let all = available(top);
    if all.is_empty() {
        return (own, None);
    }
    let may_have_top = own != top && is_root;
    let whole = if is_root { all.clone() } else { available(lent_to_user(own, top)) };
    let (whose, is_whole) = (whose(own, top, mark), available(own) == whole);
    if may_have_top && (whose == Whose::Systemds || !is_whole) && pass_on(top, &all).is_ok() {
        return (top, None);
    }
    let lends = match whose {
        Whose::Systemds => Err(io::Error::other("systemd has not delegated it")),
        Whose::Unknown if !is_whole => {
            Err(io::Error::other("it is not delegated: it lacks controllers that were lent to others of yours"))
        }
        Whose::Ours | Whose::Unknown => make_inner(own, server),
    };
    match lends {
        Err(_) if may_have_top && pass_on(top, &all).is_ok() => (top, None),
        lends => (own, lends.err()),
    }
}

/// The highest group that is the user's own: where what was lent to all of the user's processes begins.
fn lent_to_user<'a>(own: &'a Path, top: &Path) -> &'a Path {
    let user = rustix::process::geteuid().as_raw();
    let is_users = |path: &&Path| path.starts_with(top) && fs::metadata(path).is_ok_and(|found| found.uid() == user);
    own.ancestors().take_while(is_users).last().unwrap_or(own)
}

/// Who may divide a group. In one that is systemd's alone, systemd takes a function that the kernel kills for memory for the
/// service's failure, and ends the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Ours,
    Systemds,
    /// Nobody says so. What is delegated has all controllers that its user has, and other groups seldom do.
    Unknown,
}

/// Systemd names the unit of each of its groups, and says which of them are delegated. A user's own systemd says nothing.
fn whose(own: &Path, top: &Path, mark: impl Fn(&Path, &str) -> Option<String>) -> Whose {
    let within = own.ancestors().take_while(|path| path.starts_with(top));
    let Some(unit) = within.into_iter().find(|path| mark(path, "invocation_id").is_some()) else {
        return Whose::Unknown;
    };
    match mark(unit, "delegate").as_deref() {
        Some("1") if unit == own => Whose::Ours,
        Some("1") => Whose::Unknown,
        _ => Whose::Systemds,
    }
}

/// What systemd notes at a group. Older ones tell that to root alone.
fn mark(path: &Path, name: &str) -> Option<String> {
    ["trusted", "user"].into_iter().find_map(|space| {
        let mut value = [0; MARK_BYTES_MAX];
        let count = rustix::fs::getxattr(path, format!("{space}.{name}"), &mut value).ok()?;
        Some(String::from_utf8_lossy(value.get(..count)?).into_owned())
    })
}

/// A leaf of the server's own group, for the server itself.
const LEAF: &str = "lamplight-server";
const CONTROLLERS: &str = "cgroup.controllers";

/// The id of an invocation has 32 letters.
const MARK_BYTES_MAX: usize = 64;

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

/// A group that passes controllers on has no processes of its own: ours step aside, and others' are not ours to move.
fn make_inner(own: &Path, server: u32) -> io::Result<()> {
    let lent = available(own);
    match pass_on(own, &lent) {
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {}
        passed => return passed,
    }
    let inside = fs::read_to_string(own.join(PROCESSES))?;
    let ours = [server, std::process::id()];
    if !inside.lines().all(|line| line.parse().is_ok_and(|pid| ours.contains(&pid))) {
        return Err(io::Error::other("other processes are in it"));
    }
    step_aside(own, ours)?;
    pass_on(own, &lent)
}

const PROCESSES: &str = "cgroup.procs";

/// Moves the server and this process into a leaf of their group.
fn step_aside(path: &Path, ours: [u32; 2]) -> io::Result<()> {
    let leaf = path.join(LEAF);
    match fs::create_dir(&leaf) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    for pid in ours {
        fs::write(leaf.join(PROCESSES), pid.to_string())?;
    }
    Ok(())
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

    /// A tree as the kernel would show it: groups with these controllers. A group's files come with it.
    fn tree(groups: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (group, controllers) in groups {
            let path = folder.path().join(group);
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join(CONTROLLERS), controllers).unwrap();
        }
        folder
    }

    fn claim_below(path: &Path, name: &str) -> Claimed {
        let own = Place { version: Version::V2, controllers: Vec::new(), path: path.to_owned() };
        claim_v2(&own, name, std::process::id()).unwrap()
    }

    #[test]
    fn a_v2_group_is_claimed_where_controllers_may_be_passed_on() {
        let folder = tree(&[("", "cpuset cpu io memory pids"), ("own", "cpuset cpu io memory pids")]);
        let own = folder.path().join("own");
        assert_eq!(claim_below(&own, "lamplight-a").place.path, own.join("lamplight-a"));
        assert_eq!(fs::read_to_string(own.join("cgroup.subtree_control")).unwrap(), "+memory +cpu +pids");
        let claimed = claim_below(&own.join(LEAF), "lamplight-b");
        assert_eq!(claimed.place.path, own.join("lamplight-b"));
        // Here is no kernel to lend anything to the group that was made.
        assert_eq!(claimed.place.controllers, [Controller::Cpuacct, Controller::Freezer]);
        let why = format!("{}: it is not lent the controller memory", own.display());
        assert!(claimed.withheld.contains(&(Controller::Memory, why)));
    }

    #[test]
    fn what_a_group_lacks_is_had_at_the_top_by_root() {
        let folder = tree(&[("", "cpu memory pids"), ("own", "memory pids")]);
        let (top, own) = (folder.path(), folder.path().join("own"));
        let passed = |path: &Path| fs::read_to_string(path.join("cgroup.subtree_control")).ok();
        assert_eq!(home(&own, top, true, 1).0, top);
        assert_eq!((passed(top).as_deref(), passed(&own)), (Some("+memory +cpu +pids"), None));
        // An ordinary user cannot, and what others have not delegated is not ours.
        let (place, refused) = home(&own, top, false, 1);
        assert_eq!((place, passed(&own)), (own.as_path(), None));
        assert!(refused.is_some());
        fs::write(own.join(CONTROLLERS), "cpu memory pids").unwrap();
        assert!(home(&own, top, false, 1).1.is_none());
        assert_eq!(passed(&own).as_deref(), Some("+memory +cpu +pids"));
    }

    #[test]
    fn all_sandboxes_leave_the_host_process_numbers() {
        assert_eq!([0, 32_768, u64::MAX].map(tasks_max), [0, 28_672, u64::MAX - u64::MAX / 8]);
    }

    #[test]
    fn systemd_says_which_groups_are_not_its_own() {
        let (top, unit) = (Path::new("/cg"), Path::new("/cg/system.slice/lamp.service"));
        let whose = |own: &Path, marks: &[(&str, &str, &str)]| {
            whose(own, top, |path, name| {
                let found = marks.iter().find(|(at, mark, _)| Path::new(at) == path && *mark == name);
                found.map(|(_, _, value)| (*value).to_owned())
            })
        };
        let slice = ("/cg/system.slice", "invocation_id", "1f");
        let service = ("/cg/system.slice/lamp.service", "invocation_id", "2f");
        let delegated = ("/cg/system.slice/lamp.service", "delegate", "1");
        assert_eq!(whose(unit, &[]), Whose::Unknown);
        assert_eq!(whose(unit, &[slice, service]), Whose::Systemds);
        assert_eq!(whose(unit, &[slice, service, delegated]), Whose::Ours);
        // Below a unit nobody says more than that; above what we see, nobody asks.
        assert_eq!(whose(&unit.join("inner"), &[slice, service, delegated]), Whose::Unknown);
        assert_eq!(whose(&unit.join("inner"), &[slice, service]), Whose::Systemds);
        assert_eq!(whose(unit, &[("/", "invocation_id", "3f")]), Whose::Unknown);
    }
}

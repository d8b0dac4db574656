//! The machine: kernel, memory, descriptors, the disk below the data, the clock.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::{Clock, SystemClock, Timestamp};
use rustix::process::{Resource, getrlimit};

use super::{Check, bytes};

/// Namespaces and mounts as sandboxes need them.
const KERNEL_MIN: (u32, u32) = (5, 12);
const MEMORY_WANTED: u64 = 512 << 20;
const DISK_WANTED: u64 = 1 << 30;
/// The server's own, its connections', and two for each instance.
const DESCRIPTORS_WANTED: u64 = 8192;
/// Every answer to a write waits for one.
const SYNC_SLOW: Duration = Duration::from_millis(20);
const SYNCS: usize = 11;
/// Less than that is what file systems and clocks round away.
const CLOCK_SLACK: Duration = Duration::from_secs(2);

pub fn checks(data_dir: &Path) -> Vec<Check> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let descriptors = getrlimit(Resource::Nofile).maximum;
    let processes = getrlimit(Resource::Nproc).current.filter(|_| !rustix::process::geteuid().is_root());
    let newest = newest(data_dir);
    // Where the kernel does not say, systemd may.
    let is_synchronised =
        sandbox::is_clock_synchronised().unwrap_or(false) || Path::new("/run/systemd/timesync/synchronized").exists();
    let mut checks = vec![
        kernel(read("/proc/sys/kernel/osrelease").trim()),
        memory(&read("/proc/meminfo")),
        limits(descriptors, processes),
    ];
    checks.extend(disk(data_dir));
    checks.push(clock(SystemClock.now(), newest, is_synchronised, keeper(Path::new("/proc")).as_deref()));
    checks
}

fn kernel(release: &str) -> Check {
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    let version = numbers.next().zip(numbers.next()).unwrap_or_default();
    let (major, minor) = KERNEL_MIN;
    match version >= KERNEL_MIN {
        true => Check::ok("kernel", format!("Linux {release}")),
        false => Check::fail("kernel", format!("Linux {release}"), format!("boot Linux {major}.{minor} or newer")),
    }
}

fn memory(meminfo: &str) -> Check {
    let field = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kilobytes| kilobytes.saturating_mul(1024))
    };
    let (total, available) = (field("MemTotal:").unwrap_or(0), field("MemAvailable:").unwrap_or(0));
    let found = format!("{}, {} available", bytes(total), bytes(available));
    match available >= MEMORY_WANTED {
        true => Check::ok("memory", found),
        false => Check::warn("memory", found, "stop something; a function takes what it uses, up to its memory size"),
    }
}

fn limits(descriptors: Option<u64>, processes: Option<u64>) -> Check {
    let said = |limit: Option<u64>| limit.map_or("any number of".to_owned(), |limit| limit.to_string());
    let found = format!("{} descriptors, {} processes", said(descriptors), said(processes));
    match descriptors.is_none_or(|limit| limit >= DESCRIPTORS_WANTED) {
        true => Check::ok("limits", found),
        false => Check::warn("limits", found, "raise the hard limit: LimitNOFILE=65536 in the service, or ulimit -Hn"),
    }
}

/// The disk below the data, or below where it will be.
fn disk(data_dir: &Path) -> Vec<Check> {
    let Some(dir) = data_dir.ancestors().find(|dir| dir.exists()) else { return Vec::new() };
    let kind = rustix::fs::statfs(dir).ok().and_then(|fs| u32::try_from(fs.f_type).ok()).map(kind);
    let Ok(space) = rustix::fs::statvfs(dir) else { return Vec::new() };
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    let mut checks = vec![space_left(free, kind.unwrap_or(("unknown", None)))];
    checks.extend(sync_time(dir).map(|time| sync(dir, time)));
    checks
}

/// A file system's name, and what is wrong with it for a database.
fn kind(number: u32) -> (&'static str, Option<&'static str>) {
    const IN_MEMORY: Option<&str> = Some("it is memory: everything in it ends with the machine's power");
    const FAR: Option<&str> = Some("it is another machine's: its locks and syncs may not hold what they say");
    const OTHER: Option<&str> = Some("a program stands behind it: its syncs may not hold what they say");
    match number {
        0x0102_1994 => ("tmpfs", IN_MEMORY),
        0x8584_58f6 => ("ramfs", IN_MEMORY),
        0x6969 => ("NFS", FAR),
        0xff53_4d42 | 0xfe53_4d42 | 0x517b => ("SMB", FAR),
        0x0102_1997 => ("9p", FAR),
        0x6573_5546 => ("FUSE", OTHER),
        0xef53 => ("ext4", None),
        0x5846_5342 => ("XFS", None),
        0x9123_683e => ("Btrfs", None),
        0x2fc1_2fc1 => ("ZFS", None),
        0xf2f5_2010 => ("F2FS", None),
        0x794c_7630 => {
            ("overlay", Some("it is a container's own: it ends with the container, unless a volume is mounted"))
        }
        _ => ("another kind of file system", None),
    }
}

fn space_left(free: u64, (kind, wrong): (&'static str, Option<&'static str>)) -> Check {
    let found = format!("{} free, {kind}", bytes(free));
    match wrong {
        _ if free < DISK_WANTED => {
            Check::warn("disk", found, "make room: code and data need it, and writes fail without")
        }
        Some(wrong) => {
            Check::warn("disk", format!("{found}: {wrong}"), "name a directory of a local disk with --data-dir")
        }
        None => Check::ok("disk", found),
    }
}

/// How long the disk takes to make a write safe: the median of some, in a file that has no name.
#[expect(clippy::disallowed_methods, reason = "it measures the disk, and decides nothing")]
fn sync_time(dir: &Path) -> Option<Duration> {
    let mut times = Vec::new();
    let mut file = nameless(dir).ok()?;
    for _ in 0..SYNCS {
        let began = std::time::Instant::now();
        file.write_all(&[0; 4096]).and_then(|()| file.sync_data()).ok()?;
        times.push(began.elapsed());
    }
    times.sort();
    times.get(SYNCS / 2).copied()
}

fn nameless(dir: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(dir, flags, Mode::RUSR | Mode::WUSR)?.into())
}

fn sync(dir: &Path, time: Duration) -> Check {
    let found = format!("a write is safe after {:.1} ms, in {}", time.as_secs_f64() * 1000.0, dir.display());
    match time < SYNC_SLOW {
        true => Check::ok("sync", found),
        false => Check::warn("sync", found, "use a faster disk: the answer to each write waits for that"),
    }
}

/// When the data was written last, as far as the top of the directory tells.
fn newest(data_dir: &Path) -> Option<Timestamp> {
    let entries = fs::read_dir(data_dir).ok()?.flatten();
    let seconds = entries.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.mtime()).max()?;
    Some(Timestamp::from_secs(seconds))
}

/// A program of this machine that keeps the clock right.
fn keeper(proc: &Path) -> Option<String> {
    const KEEPERS: [&str; 7] =
        ["systemd-timesyn", "chronyd", "ntpd", "openntpd", "ntp-daemon", "phc2sys", "VBoxService"];
    let comms = fs::read_dir(proc).ok()?.flatten().map(|entry| -> PathBuf { entry.path().join("comm") });
    let names = comms.filter_map(|comm| fs::read_to_string(comm).ok());
    let mut found = names.map(|name| name.trim().to_owned()).filter(|name| KEEPERS.contains(&name.as_str()));
    found.next()
}

fn clock(now: Timestamp, newest: Option<Timestamp>, is_synchronised: bool, keeper: Option<&str>) -> Check {
    const NAME: &str = "clock";
    let ahead = newest.map(|newest| newest.since(now)).unwrap_or_default();
    let now = now.iso8601();
    if ahead > CLOCK_SLACK {
        let found = format!("{now}: {} s before the data was written last", ahead.as_secs());
        return Check::warn(NAME, found, "set the clock: it went back, and leases and signatures go by it");
    }
    match (is_synchronised, keeper) {
        (true, _) => Check::ok(NAME, format!("{now}, synchronised")),
        (false, Some(keeper)) => {
            let found = format!("{now}: not synchronised, although {keeper} runs");
            Check::warn(NAME, found, format!("see why {keeper} finds no time: signatures may be 15 minutes off"))
        }
        (false, None) => {
            let remedy =
                "if nothing outside keeps it, run systemd-timesyncd or chrony: signatures may be 15 minutes off";
            Check::warn(NAME, format!("{now}: not synchronised, and no program here keeps it"), remedy)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn kernels_have_an_age() {
        let states =
            ["6.18.44-fc", "5.12.0", "5.11.9-generic", "4.18.0", "unknown"].map(|release| kernel(release).state);
        assert_eq!(states, [State::Ok, State::Ok, State::Fail, State::Fail, State::Fail]);
    }

    #[test]
    fn memory_is_what_is_available() {
        let check = memory("MemTotal:        8388608 kB\nMemFree:  1 kB\nMemAvailable:    4194304 kB\n");
        assert_eq!((check.state, check.found.as_str()), (State::Ok, "8.0 GiB, 4.0 GiB available"));
        assert_eq!(memory("MemTotal: 524288 kB\nMemAvailable: 1024 kB").state, State::Warn);
    }

    #[test]
    fn disks_are_near_and_have_room() {
        let state = |free, number| space_left(free, kind(number)).state;
        assert_eq!(state(10 << 30, 0xef53), State::Ok);
        assert_eq!(state(10 << 20, 0xef53), State::Warn);
        assert_eq!([0x0102_1994, 0x6969, 0x794c_7630].map(|number| state(10 << 30, number)), [State::Warn; 3]);
        assert_eq!(sync(Path::new("/"), Duration::from_micros(150)).found, "a write is safe after 0.1 ms, in /");
        assert_eq!(sync(Path::new("/"), Duration::from_millis(50)).state, State::Warn);
    }

    #[test]
    fn a_clock_that_went_back_is_told() {
        let at = Timestamp::from_secs;
        let check = |newest, is_synchronised, keeper| clock(at(1000), newest, is_synchronised, keeper);
        assert_eq!(check(Some(at(999)), true, None).state, State::Ok);
        assert_eq!(check(Some(at(1001)), true, None).state, State::Ok);
        assert_eq!(check(None, false, None).state, State::Warn);
        assert!(check(None, false, Some("chronyd")).found.ends_with("not synchronised, although chronyd runs"));
        assert!(check(Some(at(1600)), true, None).found.ends_with("600 s before the data was written last"));
    }

    #[test]
    fn descriptors_are_counted() {
        assert_eq!(limits(None, None).found, "any number of descriptors, any number of processes");
        assert_eq!(limits(Some(1024), Some(9)).state, State::Warn);
    }
}

//! Sandboxes without walls, for hosts that lend no namespaces and operators who trust every function: programs are
//! plain processes of the server's user, below an init and a spawner as with walls.
//!
//! What holds: fresh folders in place of `/tmp`, `/opt` and the like; the environment, descriptors and limits that a
//! program is given; the host's listeners; exits, signals, clearing and killing of all that runs in one; limits,
//! freezing and counts where the host lends control groups. What cannot: everything else. A program can read, change
//! and kill whatever the server can, it is in the host's network, its `/tmp` is not limited, and code that writes to
//! `/tmp` by name writes to the host's. When the spawner is killed hard, and there are no control groups to sweep, what
//! a program has started may outlive it.
//!
//! Nobody falls back to this: it has a door of its own (`crate::bare`), and says so in the log.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal};

use crate::process::cgroup::{Doors, dead_spawners, own_name};
use crate::process::step::{Failure, Step};
use crate::process::template::MOUNT_POINTS;
use crate::spec::Mount;

/// The spawner's part: the folder of all its sandboxes.
#[derive(Debug)]
pub struct Bare {
    folder: PathBuf,
}

/// Below a sandbox's folder: what stands for `/tmp`, and for the places that no mount fills.
pub const TMP: &str = "tmp";

impl Bare {
    /// Makes it, after those of dead spawners are removed.
    pub fn begin() -> Result<Bare, Failure> {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).step("adopt orphans")?;
        let all = std::env::temp_dir();
        let own = rustix::process::geteuid().as_raw();
        for folder in dead_spawners(&all) {
            // Whoever else makes folders of such names there keeps them.
            if fs::symlink_metadata(&folder).is_ok_and(|found| found.is_dir() && found.uid() == own) {
                remove(&folder);
            }
        }
        let folder = all.join(own_name().step("name the folder of sandboxes")?);
        fs::DirBuilder::new().mode(0o700).create(&folder).step("make the folder of sandboxes")?;
        Ok(Bare { folder })
    }

    fn of(&self, slot: u32) -> PathBuf {
        self.folder.join(slot.to_string())
    }

    /// A sandbox's folder.
    pub fn prepare(&self, slot: u32) -> Result<PathBuf, Failure> {
        let folder = self.of(slot);
        remove(&folder);
        fs::create_dir(&folder).step("make the sandbox's folder")?;
        for name in MOUNT_POINTS.iter().map(|point| point.trim_start_matches('/')).chain([TMP]) {
            fs::create_dir_all(folder.join(name)).step("make a folder of the sandbox")?;
        }
        Ok(folder)
    }

    pub fn remove(&self, slot: u32) {
        remove(&self.of(slot));
    }

    pub fn release(&self) {
        remove(&self.folder);
    }
}

/// Ports that nobody else has. The server tells programs which.
pub fn listen(count: usize) -> Result<Vec<OwnedFd>, Failure> {
    let bind = || {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        Ok::<_, io::Error>(OwnedFd::from(listener))
    };
    (0..count).map(|_| bind().step("listen for the sandbox")).collect()
}

/// Whether a directory can be lent: there is no mount to make.
pub fn check(mount: &Mount) -> Result<(), Failure> {
    let found = fs::symlink_metadata(&mount.host).step("open a directory to mount")?;
    let is_folder = if found.is_dir() { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ENOTDIR)) };
    is_folder.step("open a directory to mount")
}

/// Makes the calling child the init of a sandbox without walls.
pub fn enter(doors: &Doors) -> Result<(), Failure> {
    for tasks in &doors.v1 {
        rustix::io::write(tasks, b"0").step("join a cgroup")?;
    }
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).step("adopt orphans")?;
    rustix::thread::set_no_new_privs(true).step("give up new privileges")?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).step("tie the sandbox to its spawner")
}

/// Kills every child of the caller but these. How many there were: their own children are the caller's next time.
pub fn kill_children(but: impl Fn(i32) -> bool) -> io::Result<usize> {
    let own = std::process::id();
    let mut killed = 0;
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The command's name, in brackets, may contain anything.
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse::<u32>().ok());
        if parent == Some(own) && !but(pid) {
            killed += 1;
            if let Some(pid) = Pid::from_raw(pid) {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        }
    }
    Ok(killed)
}

/// Folders below that a removal opens again: programs may have closed them to their own user.
const OPENED_MAX: usize = 10_000;

fn remove(folder: &Path) {
    if fs::remove_dir_all(folder).is_ok() {
        return;
    }
    let mut closed = vec![folder.to_owned()];
    for _ in 0..OPENED_MAX {
        let Some(folder) = closed.pop() else { break };
        let _ = fs::set_permissions(&folder, fs::Permissions::from_mode(0o700));
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        closed.extend(
            entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()),
        );
    }
    let _ = fs::remove_dir_all(folder);
}

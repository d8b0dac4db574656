//! From a fresh child of the spawner to a confined init: the recipe, step by step, in the order that makes each step
//! possible and leaves nothing for a later one to undo. A step that fails ends the child; nobody sees a half-made room.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, UnmountFlags, fsconfig_create, fsconfig_set_string,
    fsmount, fsopen, open_tree, unmount,
};
use rustix::process::{DumpableBehavior, Gid, Signal, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets, UnshareFlags};

use crate::process::cgroup::Doors;
use crate::process::etc::{GID, UID};
use crate::process::step::{Failure, Step};
use crate::process::template::{attach, tmpfs};
use crate::process::{landlock, seccomp};
use crate::spec::Limits;
use crate::sys::{self, Alone};

/// What a child brings from its spawner.
#[derive(Debug)]
pub struct Entry {
    pub doors: Doors,
    /// Detached and sealed trees of the host, and where they go.
    pub mounts: Vec<(OwnedFd, String)>,
    pub limits: Limits,
    /// The host's uid and gid of this slot; `None` without root, where there is only the user's own.
    pub host_id: Option<u32>,
    pub covers_proc: bool,
    pub wants_landlock: bool,
}

/// Files of `/proc` that speak of the machine or reach it, covered with `/dev/null`.
const MASKED: [&str; 10] = [
    "kcore",
    "keys",
    "key-users",
    "timer_list",
    "config.gz",
    "kallsyms",
    "cmdline",
    "sysrq-trigger",
    "kmsg",
    "sched_debug",
];

/// Folders of `/proc` in which a write would change the machine.
const READ_ONLY: [&str; 4] = ["sys", "irq", "bus", "fs"];

/// Confines the calling process, for good.
pub fn enter(alone: &Alone, entry: &Entry) -> Result<(), Failure> {
    for tasks in &entry.doors.v1 {
        rustix::io::write(tasks, b"0").step("join a cgroup")?;
    }
    // Only now: what the namespace shows as its root is the group that we are in.
    sys::unshare(alone, UnshareFlags::NEWCGROUP).step("make a cgroup namespace")?;
    rustix::system::sethostname(b"localhost").step("name the sandbox's host")?;
    let proc = mount_proc(entry.covers_proc)?;
    mount_tmp(&entry.limits)?;
    for (tree, at) in &entry.mounts {
        attach(tree, at).step("mount a directory of the host")?;
    }
    become_nobody(alone, entry.host_id, &proc)?;
    drop(proc);
    drop_capabilities().step("drop the capabilities")?;
    rustix::thread::set_no_new_privs(true).step("give up new privileges")?;
    // After all changes of identity, which would undo both.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).step("hide the init's memory")?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).step("tie the sandbox to its spawner")?;
    if entry.wants_landlock {
        landlock::restrict().step("restrict files with Landlock")?;
    }
    sys::filter(&seccomp::program()).step("install the syscall filter")
}

/// Mounts this pid namespace's `/proc`, masked. Gives a view of it without the masks, which no path leads to.
fn mount_proc(covers_host: bool) -> Result<OwnedFd, Failure> {
    let context = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC).step("mount /proc")?;
    fsconfig_set_string(context.as_fd(), "hidepid", "invisible").step("hide foreign processes in /proc")?;
    fsconfig_create(context.as_fd()).step("mount /proc")?;
    let attributes =
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let proc = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes).step("mount /proc")?;
    if covers_host {
        // The host's, which stayed only so that this user namespace was allowed to mount its own.
        unmount("/proc", UnmountFlags::DETACH).step("let go of the host's /proc")?;
    }
    attach(&proc, "/proc").step("mount /proc")?;
    let bare = clone_one("/proc").step("look at /proc")?;
    for name in MASKED {
        let at = format!("/proc/{name}");
        if rustix::fs::accessat(CWD, &at, rustix::fs::Access::EXISTS, AtFlags::empty()).is_ok() {
            let null = clone_one("/dev/null").step("mask a file of /proc")?;
            attach(&null, &at).step("mask a file of /proc")?;
        }
    }
    for name in READ_ONLY {
        let at = format!("/proc/{name}");
        match clone_one(&at) {
            Ok(folder) => {
                sys::seal_mount(folder.as_fd(), libc::MOUNT_ATTR_RDONLY).step("make a folder of /proc read-only")?;
                attach(&folder, &at).step("make a folder of /proc read-only")?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).step("make a folder of /proc read-only"),
        }
    }
    Ok(bare)
}

fn clone_one(path: &str) -> io::Result<OwnedFd> {
    Ok(open_tree(CWD, path, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?)
}

fn mount_tmp(limits: &Limits) -> Result<(), Failure> {
    let (size, inodes) = (limits.tmp_bytes.to_string(), limits.tmp_inodes.to_string());
    let options = [("mode", "1777"), ("size", size.as_str()), ("nr_inodes", inodes.as_str())];
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    let tmp = tmpfs(&options, attributes).step("make /tmp")?;
    attach(&tmp, "/tmp").step("mount /tmp")
}

/// Takes the slot's uid, then a user namespace in which it is AWS's and nobody else is. The namespaces made before
/// belong to the one outside, so even all capabilities in here would not touch them.
fn become_nobody(alone: &Alone, host_id: Option<u32>, proc: &OwnedFd) -> Result<(), Failure> {
    let (uid, gid) = match host_id {
        Some(id) => {
            rustix::thread::set_thread_groups(&[]).step("leave all groups")?;
            let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
            rustix::thread::set_thread_res_gid(gid, gid, gid).step("take the slot's gid")?;
            rustix::thread::set_thread_res_uid(uid, uid, uid).step("take the slot's uid")?;
            (id, id)
        }
        None => (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw()),
    };
    sys::unshare(alone, UnshareFlags::NEWUSER).step("make a user namespace")?;
    // A change of uid makes /proc/self root's; it must be ours for a moment.
    rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable).step("open /proc/self")?;
    write_proc(proc, "self/setgroups", "deny").step("deny setgroups")?;
    write_proc(proc, "self/uid_map", &format!("{UID} {uid} 1")).step("map the uid")?;
    write_proc(proc, "self/gid_map", &format!("{GID} {gid} 1")).step("map the gid")?;
    // A host that runs out of memory ends functions before it ends anything of its own.
    write_proc(proc, "self/oom_score_adj", "500").step("offer the sandbox to the out-of-memory killer")?;
    // No user namespaces below this one, whatever the filter might let through.
    write_proc(proc, "sys/user/max_user_namespaces", "0").step("forbid user namespaces")
}

pub fn write_proc(proc: &OwnedFd, file: &str, text: &str) -> io::Result<()> {
    let file = rustix::fs::openat(proc, file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, text.as_bytes())?;
    Ok(())
}

fn drop_capabilities() -> io::Result<()> {
    rustix::thread::clear_ambient_capability_set()?;
    for bit in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // Past the last capability that this kernel has.
            Err(rustix::io::Errno::INVAL) => break,
            other => other?,
        }
    }
    let none = CapabilitySet::empty();
    rustix::thread::set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    Ok(())
}

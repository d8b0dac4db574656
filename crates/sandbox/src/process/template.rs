//! The file system that every sandbox begins with, made once a spawner: the host's `/usr` read-only, an `/etc` of ours,
//! four devices, empty folders to mount on, and nothing else. A sandbox's init gets a copy of this small mount
//! namespace, which costs a tenth of copying the host's and leaves no old root to take away.
//!
//! Invariant: the copy holds no mount of the host but those named here, all read-only and without set-uid.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, move_mount, open_tree, unmount,
};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use crate::process::etc;
use crate::process::step::{Failure, Step};
use crate::sys::{self, Alone};

/// Where the host's directories may be shown.
pub const MOUNT_POINTS: [&str; 5] = ["/var/task", "/opt", "/var/runtime", "/var/lang", "/var/rapid"];

/// Empty folders. The last components of `MOUNT_POINTS` are among them.
const FOLDERS: [&str; 11] =
    ["dev", "etc", "opt", "proc", "tmp", "usr", "var", "var/task", "var/runtime", "var/lang", "var/rapid"];

/// What a system that merged its folders into `/usr` has as links, and others as folders.
const ROOTS: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// Name, major and minor number.
const DEVICES: [(&str, u32, u32); 5] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9)];

const LINKS: [(&str, &str); 7] = [
    ("dev/fd", "/proc/self/fd"),
    ("dev/stdin", "/proc/self/fd/0"),
    ("dev/stdout", "/proc/self/fd/1"),
    ("dev/stderr", "/proc/self/fd/2"),
    ("var/tmp", "/tmp"),
    // ES modules know no `NODE_PATH`, which AWS's Node.js makes good: they look in the folders above their own.
    ("var/node_modules", "/opt/nodejs/node_modules"),
    ("node_modules", "/var/runtime/node_modules"),
];

/// The whole of the template's own files: `/etc`, with the host's bundle of certificates.
const BYTES_MAX: &str = "33554432";

/// Read-only, no set-uid, no devices: what every mount of the host's directories gets.
pub const SEALED: u64 = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;

/// The two mount namespaces of a spawner: the host's, where it lives, and the template's, where its children are born.
#[derive(Debug)]
pub struct Template {
    host: OwnedFd,
    template: OwnedFd,
    /// The host's.
    proc: OwnedFd,
    /// The template keeps the host's `/proc` until a sandbox has its own: a user namespace may not mount one otherwise.
    pub covers_proc: bool,
}

impl Template {
    pub fn build(alone: &Alone, is_root: bool) -> Result<Template, Failure> {
        let host = mount_namespace().step("open the host's mount namespace")?;
        let proc = rustix::fs::open("/proc", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).step("open /proc")?;
        let lent = Lent::by_host(is_root)?;
        let etc = etc::gather();

        sys::unshare(alone, UnshareFlags::NEWNS).step("make a mount namespace")?;
        let template = mount_namespace().step("open the template's mount namespace")?;
        let root = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).step("open /")?;
        sys::seal_mount(root.as_fd(), 0).step("detach mounts from the host's")?;
        let root = tmpfs(&[("mode", "0755"), ("size", BYTES_MAX)], MountAttrFlags::MOUNT_ATTR_NOSUID)
            .step("make the template's root")?;
        // Only for a moment, and only in this namespace: any folder will do.
        attach(&root, "/usr").step("mount the template's root")?;

        for name in FOLDERS {
            rustix::fs::mkdirat(&root, name, Mode::from_raw_mode(0o755)).step("make a folder of the template")?;
        }
        etc::write(&root, &etc).step("write the template's /etc")?;
        if is_root {
            make_devices(&root).step("make the template's devices")?;
        }
        let covers_proc = lent.proc.is_some();
        lent.furnish(&root)?;
        sys::seal_mount_alone(root.as_fd(), libc::MOUNT_ATTR_RDONLY).step("make the template read-only")?;
        rustix::process::fchdir(&root).step("enter the template")?;
        rustix::process::pivot_root(".", ".").step("make the template the root")?;
        unmount(".", UnmountFlags::DETACH).step("let go of the host's root")?;
        let built = Template { host, template, proc, covers_proc };
        built.leave()?;
        Ok(built)
    }

    /// Into a copy of the template, to give birth there. Gives the copy, which a later mount needs: the init of an
    /// ordinary user is closed to its own spawner once it is confined.
    pub fn enter_copy(&self, alone: &Alone) -> Result<OwnedFd, Failure> {
        move_into_link_name_space(self.template.as_fd(), Some(LinkNameSpaceType::Mount)).step("enter the template")?;
        sys::unshare(alone, UnshareFlags::NEWNS).step("copy the template")?;
        let copy = rustix::fs::openat(&self.proc, "self/ns/mnt", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        copy.step("open the copy of the template")
    }

    /// Into the copy that belongs to a sandbox.
    pub fn enter(&self, copy: &OwnedFd) -> Result<(), Failure> {
        move_into_link_name_space(copy.as_fd(), Some(LinkNameSpaceType::Mount)).step("enter the sandbox's files")
    }

    /// Back into the host's files.
    pub fn leave(&self) -> Result<(), Failure> {
        move_into_link_name_space(self.host.as_fd(), Some(LinkNameSpaceType::Mount)).step("leave the template")
    }
}

/// What the template has of the host: detached copies of its mounts, and the links of its root.
struct Lent {
    usr: OwnedFd,
    folders: Vec<(&'static str, OwnedFd)>,
    links: Vec<(PathBuf, PathBuf)>,
    devices: Vec<(&'static str, OwnedFd)>,
    proc: Option<OwnedFd>,
}

impl Lent {
    fn by_host(is_root: bool) -> Result<Lent, Failure> {
        let usr = clone_tree(Path::new("/usr")).step("clone the host's /usr")?;
        let mut folders = Vec::new();
        let mut links: Vec<(PathBuf, PathBuf)> = LINKS.iter().map(|(at, to)| (at.into(), to.into())).collect();
        for name in ROOTS {
            let path = Path::new("/").join(name);
            match fs::symlink_metadata(&path) {
                Ok(metadata) if metadata.is_symlink() => {
                    links.push((name.into(), fs::read_link(&path).step("read a link in /")?));
                }
                Ok(metadata) if metadata.is_dir() => {
                    folders.push((name, clone_tree(&path).step("clone a folder of the host's /")?));
                }
                _ => {}
            }
        }
        // Only root makes device nodes, and mounts a new /proc whatever the host shows of its own.
        let (devices, proc) = if is_root {
            (Vec::new(), None)
        } else {
            let devices = clone_devices().step("clone the host's devices")?;
            (devices, Some(clone_tree(Path::new("/proc")).step("clone the host's /proc")?))
        };
        Ok(Lent { usr, folders, links, devices, proc })
    }

    fn furnish(self, root: &OwnedFd) -> Result<(), Failure> {
        for (at, to) in &self.links {
            rustix::fs::symlinkat(to, root, at).step("make a link of the template")?;
        }
        seal(&self.usr).step("make the host's /usr read-only")?;
        attach_at(&self.usr, root, "usr").step("mount the host's /usr")?;
        for (name, tree) in &self.folders {
            rustix::fs::mkdirat(root, *name, Mode::from_raw_mode(0o755)).step("make a folder of the template")?;
            seal(tree).step("make a folder of the host read-only")?;
            attach_at(tree, root, name).step("mount a folder of the host")?;
        }
        for (name, device) in &self.devices {
            let at = format!("dev/{name}");
            let file = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
            rustix::fs::openat(root, &at, file, Mode::from_raw_mode(0o644)).step("make a place for a device")?;
            attach_at(device, root, &at).step("mount a device")?;
        }
        match &self.proc {
            Some(proc) => attach_at(proc, root, "proc").step("mount the host's /proc"),
            None => Ok(()),
        }
    }
}

fn mount_namespace() -> io::Result<OwnedFd> {
    Ok(rustix::fs::open("/proc/self/ns/mnt", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

/// A detached copy of the mount at `path`, with the mounts below it.
pub fn clone_tree(path: &Path) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    Ok(open_tree(CWD, path, flags)?)
}

pub fn seal(tree: &OwnedFd) -> io::Result<()> {
    sys::seal_mount(tree.as_fd(), SEALED)
}

/// A new memory file system, attached nowhere yet.
pub fn tmpfs(options: &[(&str, &str)], attributes: MountAttrFlags) -> io::Result<OwnedFd> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        fsconfig_set_string(context.as_fd(), *key, *value)?;
    }
    fsconfig_create(context.as_fd())?;
    Ok(fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

pub fn attach(mount: &OwnedFd, at: &str) -> io::Result<()> {
    Ok(move_mount(mount, "", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

fn attach_at(mount: &OwnedFd, root: &OwnedFd, at: &str) -> io::Result<()> {
    Ok(move_mount(mount, "", root, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

fn make_devices(root: &OwnedFd) -> io::Result<()> {
    for (name, major, minor) in DEVICES {
        let at = format!("dev/{name}");
        let mode = Mode::from_raw_mode(0o666);
        let device = rustix::fs::makedev(major, minor);
        rustix::fs::mknodat(root, &at, FileType::CharacterDevice, mode, device)?;
        rustix::fs::chmodat(root, &at, mode, AtFlags::empty())?;
    }
    Ok(())
}

fn clone_devices() -> io::Result<Vec<(&'static str, OwnedFd)>> {
    DEVICES.iter().map(|(name, ..)| Ok((*name, clone_tree(&Path::new("/dev").join(name))?))).collect()
}

//! Landlock, as a second wall behind the mounts: inside, files may be written in `/tmp`, a few in `/dev` and `/proc`,
//! and nowhere else; abstract sockets and signals end at the sandbox. Where the kernel has an older version, what it
//! knows.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

use crate::sys::{self, LandlockRules};

const EXECUTE: u64 = 1 << 0;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
const MAKE_CHAR: u64 = 1 << 6;
const MAKE_BLOCK: u64 = 1 << 11;
const TRUNCATE: u64 = 1 << 14;
const IOCTL_DEV: u64 = 1 << 15;

const SCOPE_ABSTRACT_UNIX: u64 = 1 << 0;
const SCOPE_SIGNAL: u64 = 1 << 1;

/// All rights over files that a version of the interface knows.
fn rights(abi: u32) -> u64 {
    match abi {
        0 => 0,
        1 => (1 << 13) - 1,
        2 => (1 << 14) - 1,
        3 | 4 => (1 << 15) - 1,
        _ => (1 << 16) - 1,
    }
}

/// How much of `LandlockRules` a version takes.
fn bytes(abi: u32) -> usize {
    match abi {
        0..=3 => 8,
        4 | 5 => 16,
        _ => 24,
    }
}

/// Binds the caller and its children, for good. Fails where the kernel has no Landlock.
pub fn restrict() -> io::Result<()> {
    let abi = sys::landlock_abi()?;
    let handled = rights(abi);
    let scoped = if abi >= 6 { SCOPE_ABSTRACT_UNIX | SCOPE_SIGNAL } else { 0 };
    let rules = LandlockRules { handled_access_fs: handled, handled_access_net: 0, scoped };
    let ruleset = sys::landlock_ruleset(rules, bytes(abi))?;
    let read = EXECUTE | READ_FILE | READ_DIR;
    let allowed = [
        ("/", read),
        ("/tmp", !(MAKE_CHAR | MAKE_BLOCK)),
        ("/dev", read | WRITE_FILE | IOCTL_DEV),
        ("/proc", read | WRITE_FILE | TRUNCATE),
    ];
    for (path, access) in allowed {
        sys::landlock_allow(ruleset.as_fd(), folder(path)?.as_fd(), access & handled)?;
    }
    sys::landlock_restrict(ruleset.as_fd())
}

fn folder(path: &str) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
}

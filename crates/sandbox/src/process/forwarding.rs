//! The host's switch for forwarding packets (`net.ipv4.ip_forward`): turned on for the first of our servers that needs
//! it, and off again with the last, also when those before it were killed.
//!
//! Who turns it on leaves a file that says so, and every server that needs it holds a shared lock on that file: the
//! kernel gives the locks of the dead back.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, Mode, OFlags};

const SWITCH: &str = "/proc/sys/net/ipv4/ip_forward";

#[derive(Debug)]
pub struct Forwarding {
    /// We, that is one of our servers, made the host forward: the file of whoever did, and its lock.
    ours: Option<(PathBuf, fs::File)>,
}

pub fn is_on() -> io::Result<bool> {
    Ok(fs::read_to_string(SWITCH)?.trim() != "0")
}

/// Turns it on in a network namespace that is nobody else's and ends with its owner.
pub fn turn_on_for_good() -> io::Result<()> {
    fs::write(SWITCH, "1")
}

impl Forwarding {
    /// Finds out who turned it on, or that somebody has to. `Err` where that is not allowed.
    pub fn find(may_forward: bool) -> io::Result<Forwarding> {
        let namespace = fs::metadata("/proc/self/ns/net")?.ino();
        let path = Path::new("/run").join(format!("lamplight-forwards-{namespace}"));
        if is_on()? {
            let ours = open(&path, OFlags::empty()).ok().map(|lock| (path, lock));
            return Ok(Forwarding { ours });
        }
        if !may_forward {
            return Err(io::Error::other("this host forwards no packets: net.ipv4.ip_forward is 0"));
        }
        let lock = open(&path, OFlags::CREATE)?;
        Ok(Forwarding { ours: Some((path, lock)) })
    }

    /// Whether the host forwards for us and nobody else.
    pub fn is_ours(&self) -> bool {
        self.ours.is_some()
    }

    /// To be called when the fence stands.
    pub fn turn_on(&self) -> io::Result<()> {
        if self.is_ours() && !is_on()? { turn_on_for_good() } else { Ok(()) }
    }
}

/// Opened and locked, shared.
fn open(path: &Path, create: OFlags) -> io::Result<fs::File> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | create;
    let file = rustix::fs::openat(CWD, path, flags, Mode::from_raw_mode(0o600))?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared)?;
    Ok(file.into())
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        let Some((path, lock)) = self.ours.take() else { return };
        // Fails while another server needs it.
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = fs::write(SWITCH, "0");
            let _ = fs::remove_file(path);
        }
    }
}

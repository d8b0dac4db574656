//! The host's switch for forwarding packets (`net.ipv4.ip_forward`): turned on for the first of our servers that needs
//! it, and off again with the last, also when those before it were killed.
//!
//! Every server with a way out holds a shared lock on one file, and whoever turns the switch on marks that file before:
//! what is marked is ours to turn off. The last to go, which alone gets the lock for itself, does so and removes the
//! file. The kernel gives the locks of the dead back, and their mark stays for the next.
//!
//! Invariant: while a server holds the lock on the file that is at the path, no other turns the switch off.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, Mode, OFlags};

use crate::features::NOT_FORWARDING;
use crate::limits::SERVERS_ENDING_MAX;

const SWITCH: &str = "/proc/sys/net/ipv4/ip_forward";

#[derive(Debug)]
pub struct Forwarding {
    switch: PathBuf,
    /// The file and the lock on it. None on a host where somebody else forwards and no file can be made.
    held: Option<(PathBuf, fs::File)>,
    is_ours: bool,
    has_turned_on: bool,
}

/// Turns it on in a network namespace that is nobody else's and ends with its owner.
pub fn turn_on_for_good() -> io::Result<()> {
    fs::write(SWITCH, "1")
}

impl Forwarding {
    /// Finds out who turned it on, or that somebody has to.
    pub fn find() -> io::Result<Forwarding> {
        let namespace = fs::metadata("/proc/self/ns/net")?.ino();
        Forwarding::find_at(SWITCH.into(), Path::new("/run").join(format!("lamplight-forwards-{namespace}")))
    }

    fn find_at(switch: PathBuf, path: PathBuf) -> io::Result<Forwarding> {
        let held = lock(&path);
        // In this order, and under the lock: the mark is there before the switch is on.
        let is_on = is_on(&switch)?;
        let held = match held {
            Ok(file) => Some((path, file)),
            Err(_) if is_on => None,
            Err(error) => return Err(io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
        };
        let mut forwarding = Forwarding { switch, held, is_ours: true, has_turned_on: false };
        forwarding.is_ours = !is_on || forwarding.is_marked();
        Ok(forwarding)
    }

    /// Whether the host forwards for us and nobody else, or will.
    pub fn is_ours(&self) -> bool {
        self.is_ours
    }

    /// Whether it was off before we came.
    pub fn has_turned_on(&self) -> bool {
        self.has_turned_on
    }

    /// To be called when the fence stands.
    pub fn turn_on(&mut self, may_forward: bool) -> io::Result<()> {
        if is_on(&self.switch)? {
            return Ok(());
        }
        if !may_forward {
            return Err(io::Error::other(NOT_FORWARDING));
        }
        if let Some((_, file)) = &self.held
            && !self.is_marked()
        {
            let mut file = file;
            file.write_all(b"ours\n")?;
        }
        fs::write(&self.switch, "1")?;
        self.has_turned_on = true;
        Ok(())
    }

    fn is_marked(&self) -> bool {
        self.held.as_ref().is_some_and(|(_, file)| file.metadata().is_ok_and(|metadata| metadata.len() > 0))
    }
}

fn is_on(switch: &Path) -> io::Result<bool> {
    Ok(fs::read_to_string(switch)?.trim() != "0")
}

/// The file at the path, locked. Who is just ending holds it for a moment, and then it is not at the path any more.
fn lock(path: &Path) -> io::Result<fs::File> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::CREATE;
    for _ in 0..SERVERS_ENDING_MAX {
        let file = fs::File::from(rustix::fs::openat(CWD, path, flags, Mode::from_raw_mode(0o600))?);
        rustix::fs::flock(&file, FlockOperation::LockShared)?;
        let (locked, there) = (file.metadata()?, fs::metadata(path));
        if there.is_ok_and(|there| (there.dev(), there.ino()) == (locked.dev(), locked.ino())) {
            return Ok(file);
        }
    }
    Err(io::Error::other("too many servers end at once"))
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        let Some((path, file)) = &self.held else { return };
        // Fails while another server needs it.
        if rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            if self.is_marked() {
                let _ = fs::write(&self.switch, "0");
            }
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Host(tempfile::TempDir);

    impl Host {
        fn new(switch: &str) -> Host {
            let host = Host(tempfile::tempdir().unwrap());
            fs::write(host.switch(), switch).unwrap();
            host
        }

        fn switch(&self) -> PathBuf {
            self.0.path().join("ip_forward")
        }

        fn path(&self) -> PathBuf {
            self.0.path().join("forwards")
        }

        fn find(&self) -> Forwarding {
            Forwarding::find_at(self.switch(), self.path()).unwrap()
        }

        fn forwards(&self) -> bool {
            is_on(&self.switch()).unwrap()
        }
    }

    #[test]
    fn the_last_to_go_turns_off_what_the_first_turned_on() {
        let host = Host::new("0\n");
        let (mut first, mut second) = (host.find(), host.find());
        first.turn_on(true).unwrap();
        second.turn_on(true).unwrap();
        assert!(first.has_turned_on() && !second.has_turned_on());
        let third = host.find();
        assert!(first.is_ours() && second.is_ours() && third.is_ours());
        drop(first);
        drop(third);
        assert!(host.forwards());
        drop(second);
        assert!(!host.forwards() && !host.path().exists());
    }

    #[test]
    fn what_somebody_else_turned_on_stays_on() {
        let host = Host::new("1\n");
        let (mut first, second) = (host.find(), host.find());
        first.turn_on(true).unwrap();
        assert!(!first.is_ours() && !first.has_turned_on() && !second.is_ours());
        drop((first, second));
        assert!(host.forwards() && !host.path().exists());
    }

    #[test]
    fn who_may_not_turn_it_on_says_so_and_leaves_nothing() {
        let host = Host::new("0\n");
        assert_eq!(host.find().turn_on(false).unwrap_err().to_string(), NOT_FORWARDING);
        assert!(!host.forwards() && !host.path().exists());
    }

    #[test]
    fn a_killed_server_leaves_its_mark() {
        let host = Host::new("1\n");
        fs::write(host.path(), "ours\n").unwrap();
        assert!(host.find().is_ours());
        assert!(!host.forwards());
    }

    /// Both ways in which one begins while the last one ends: it waits, and neither takes the switch for somebody
    /// else's nor locks a file that nobody will find.
    #[test]
    fn who_begins_while_the_last_one_ends_turns_it_on_again() {
        let host = Host::new("1\n");
        fs::write(host.path(), "ours\n").unwrap();
        let ending = fs::File::open(host.path()).unwrap();
        rustix::fs::flock(&ending, FlockOperation::LockExclusive).unwrap();
        let waits = format!(":{} ", ending.metadata().unwrap().ino());
        std::thread::scope(|scope| {
            let begins = scope.spawn(|| host.find());
            let is_waiting = |line: &str| line.contains("-> FLOCK") && line.contains(&waits);
            while !fs::read_to_string("/proc/locks").unwrap().lines().any(is_waiting) {
                assert!(!begins.is_finished());
                std::thread::yield_now();
            }
            fs::write(host.switch(), "0").unwrap();
            fs::remove_file(host.path()).unwrap();
            drop(ending);
            let mut new = begins.join().unwrap();
            assert!(new.is_ours() && new.turn_on(true).is_ok() && host.forwards());
            let (_, file) = new.held.as_ref().unwrap();
            assert_eq!(file.metadata().unwrap().ino(), fs::metadata(host.path()).unwrap().ino());
        });
        assert!(!host.forwards());
    }
}

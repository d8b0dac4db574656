//! What a program of which an image is taken has open.
//!
//! What it was given, a clone is given too. What it has opened itself a clone can open again if it is a file that is only
//! read, under the same name and with the same contents, or one of the devices that are alike for everybody. Its TCP
//! connections a clone finds hung up: it has sockets in their places that were never connected. Whatever
//! else is open is taken for given, and there is no clone where it is not.

use std::collections::BTreeSet;
use std::io;

use rustix::fs::{FileType, Stat};
use serde::{Deserialize, Serialize};

use crate::process::image::layout::Table;
use crate::process::image::trace::Process;
use crate::process::image::{IMAGE_AT, refuse};
use crate::process::step::{Failure, Step};
use crate::sys;

/// The standard ones, which everybody is given.
const STANDARD: u16 = 3;

/// What a program has open.
#[derive(Debug)]
pub struct Descriptors {
    pub given: Vec<u16>,
    /// The given that are closed to programs that it starts.
    closed: Vec<u16>,
    reopened: Vec<Opening>,
    hung_up: Vec<Connection>,
}

/// A TCP connection.
#[derive(Debug)]
struct Connection {
    number: u16,
    flags: libc::c_int,
}

#[derive(Debug)]
struct Opening {
    opened: Opened,
    path: Vec<u8>,
    flags: libc::c_int,
    position: u64,
}

/// What a clone has opened, and must be the same.
#[derive(Debug, Serialize, Deserialize)]
pub struct Opened {
    number: u16,
    /// Device, inode, size and age; of a device, what it is.
    identity: [u64; 5],
}

impl Descriptors {
    pub fn read(process: &Process) -> Result<Descriptors, Failure> {
        let mut read = Descriptors { given: Vec::new(), closed: Vec::new(), reopened: Vec::new(), hung_up: Vec::new() };
        let connected = connections(process);
        for number in process.names_in("fd").step("list a program's descriptors")? {
            let number = u16::try_from(number).ok().filter(|number| *number < IMAGE_AT);
            let number = number.ok_or_else(|| refuse("it has descriptors of too high numbers"))?;
            read.add(process, number, &connected).step("read a program's descriptors")?;
        }
        read.are_apart(process)?;
        Ok(read)
    }

    fn add(&mut self, process: &Process, number: u16, connected: &BTreeSet<u64>) -> io::Result<()> {
        let text = process.read(&format!("fdinfo/{number}"))?;
        let line = |key: &str| text.lines().find_map(|line| Some(line.strip_prefix(key)?.trim().to_owned()));
        let flags = line("flags:").and_then(|flags| libc::c_int::from_str_radix(&flags, 8).ok());
        let position = line("pos:").and_then(|position| position.parse().ok());
        let (Some(flags), Some(position)) = (flags, position) else { return Err(io::ErrorKind::InvalidData.into()) };
        let path = process.link(&format!("fd/{number}"))?;
        let stat = process.stat(&format!("fd/{number}"))?;
        let is_plain = path.starts_with(b"/") && !path.ends_with(b" (deleted)");
        let is_socket = FileType::from_raw_mode(stat.st_mode) == FileType::Socket;
        if is_socket && number >= STANDARD && connected.contains(&stat.st_ino) {
            self.hung_up.push(Connection { number, flags });
            return Ok(());
        }
        match identity(&stat, flags).filter(|_| is_plain && number >= STANDARD) {
            Some(identity) => {
                let opened = Opened { number, identity };
                self.reopened.push(Opening { opened, path, flags, position });
            }
            None => {
                self.given.push(number);
                if flags & libc::O_CLOEXEC != 0 {
                    self.closed.push(number);
                }
            }
        }
        Ok(())
    }

    /// Two descriptors of one open file read on from one place, which two that are opened do not.
    fn are_apart(&self, process: &Process) -> Result<(), Failure> {
        for (place, one) in self.reopened.iter().enumerate() {
            let alike = |other: &&Opening| other.opened.identity == one.opened.identity;
            for other in self.reopened.iter().skip(place.saturating_add(1)).filter(alike) {
                let is_one = sys::is_one_file(process.pid, one.opened.number, other.opened.number);
                if is_one.step("compare a program's descriptors")? {
                    return Err(refuse("two of its descriptors are one open file"));
                }
            }
        }
        Ok(())
    }

    /// Closes all that a fresh program has and this one was not given.
    pub fn close_others(&self, table: &mut Table) {
        let mut from = 0_u64;
        for kept in self.given.iter().chain([&IMAGE_AT]).map(|fd| u64::from(*fd)) {
            if from < kept {
                table.call(libc::SYS_close_range, &[from, kept.saturating_sub(1), 0], 0);
            }
            from = kept.saturating_add(1);
        }
        table.call(libc::SYS_close_range, &[from, u64::from(u32::MAX), 0], 0);
        let [set, closed] = [libc::F_SETFD, libc::FD_CLOEXEC].map(|word| u64::from(word.unsigned_abs()));
        for number in &self.closed {
            table.call(libc::SYS_fcntl, &[u64::from(*number), set, closed], 0);
        }
    }

    /// The number that the next file gets while none is opened again.
    pub fn free(&self) -> u16 {
        (0..IMAGE_AT).find(|number| !self.given.contains(number)).unwrap_or(IMAGE_AT)
    }

    /// Opens again what is to be.
    pub fn reopen(self, table: &mut Table) -> Result<Vec<Opened>, Failure> {
        let mut taken = self.given;
        let mut done = Vec::new();
        for Opening { opened, mut path, flags, position } in self.reopened {
            let free = (0..IMAGE_AT).find(|number| !taken.contains(number)).unwrap_or(IMAGE_AT);
            path.push(0);
            let (here, path) = (i64::from(libc::AT_FDCWD).cast_unsigned(), table.put(&path)?);
            let kept = flags & (libc::O_ACCMODE | libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOATIME);
            table.call(libc::SYS_openat, &[here, path, u64::from(kept.unsigned_abs()), 0], free.into());
            let number = u64::from(opened.number);
            put(table, free, opened.number, flags);
            if position > 0 {
                table.call(libc::SYS_lseek, &[number, position, 0], position);
            }
            taken.push(opened.number);
            done.push(opened);
        }
        for Connection { number, flags } in self.hung_up {
            let free = (0..IMAGE_AT).find(|number| !taken.contains(number)).unwrap_or(IMAGE_AT);
            let kind = libc::SOCK_STREAM | flags & (libc::O_CLOEXEC | libc::O_NONBLOCK);
            let [family, kind] = [libc::AF_INET, kind].map(|word| u64::from(word.unsigned_abs()));
            table.call(libc::SYS_socket, &[family, kind, 0], free.into());
            put(table, free, number, flags);
            taken.push(number);
        }
        Ok(done)
    }
}

/// Moves what was just opened to its number.
fn put(table: &mut Table, opened: u16, number: u16, flags: libc::c_int) {
    if opened != number {
        let closed = u64::from((flags & libc::O_CLOEXEC).unsigned_abs());
        table.call(libc::SYS_dup3, &[opened.into(), number.into(), closed], number.into());
        table.call(libc::SYS_close, &[opened.into()], 0);
    }
}

/// The TCP connections of its network, by their inodes. Who listens is none.
fn connections(process: &Process) -> BTreeSet<u64> {
    const LISTENS: &str = "0A";
    let lists = ["net/tcp", "net/tcp6"].map(|name| process.read(name).unwrap_or_default());
    let lines = lists.iter().flat_map(|list| list.lines().skip(1));
    let connected = lines.filter_map(|line| {
        let mut words = line.split_whitespace().skip(3);
        let (state, inode) = (words.next()?, words.nth(5)?);
        (state != LISTENS).then(|| inode.parse().ok())?
    });
    connected.collect()
}

impl Opened {
    pub fn is_same(&self, process: &Process) -> io::Result<bool> {
        let stat = process.stat(&format!("fd/{}", self.number))?;
        Ok(identity(&stat, libc::O_RDONLY) == Some(self.identity))
    }
}

/// Of what can be opened again. Devices: null, zero, full, random and urandom.
fn identity(stat: &Stat, flags: libc::c_int) -> Option<[u64; 5]> {
    const MEMORY: u32 = 1;
    const ALIKE: [u32; 5] = [3, 5, 7, 8, 9];
    if flags & libc::O_PATH != 0 {
        return None;
    }
    let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile if flags & libc::O_ACCMODE == libc::O_RDONLY => {
            let [seconds, size] = [stat.st_mtime, stat.st_size].map(i64::cast_unsigned);
            Some([stat.st_dev, stat.st_ino, size, seconds, stat.st_mtime_nsec])
        }
        FileType::CharacterDevice if major == MEMORY && ALIKE.contains(&minor) => {
            Some([u64::from(major), u64::from(minor), 0, 0, 0])
        }
        _ => None,
    }
}

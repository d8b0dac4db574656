//! What a program of which an image is taken has open.
//!
//! What it was given, a clone is given too. What it has opened itself a clone can open again if it is a file that is only
//! read, under the same name and with the same contents, or one of the devices that are alike for everybody. Whatever
//! else is open is taken for given, and there is no clone where it is not.

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
        let mut read = Descriptors { given: Vec::new(), closed: Vec::new(), reopened: Vec::new() };
        for number in process.names_in("fd").step("list a program's descriptors")? {
            let number = u16::try_from(number).ok().filter(|number| *number < IMAGE_AT);
            let number = number.ok_or_else(|| refuse("it has descriptors of too high numbers"))?;
            read.add(process, number).step("read a program's descriptors")?;
        }
        read.are_apart(process)?;
        Ok(read)
    }

    fn add(&mut self, process: &Process, number: u16) -> io::Result<()> {
        let text = process.read(&format!("fdinfo/{number}"))?;
        let line = |key: &str| text.lines().find_map(|line| Some(line.strip_prefix(key)?.trim().to_owned()));
        let flags = line("flags:").and_then(|flags| libc::c_int::from_str_radix(&flags, 8).ok());
        let position = line("pos:").and_then(|position| position.parse().ok());
        let (Some(flags), Some(position)) = (flags, position) else { return Err(io::ErrorKind::InvalidData.into()) };
        let path = process.link(&format!("fd/{number}"))?;
        let stat = process.stat(&format!("fd/{number}"))?;
        let is_plain = path.starts_with(b"/") && !path.ends_with(b" (deleted)");
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
            if free != opened.number {
                let closed = u64::from((flags & libc::O_CLOEXEC).unsigned_abs());
                table.call(libc::SYS_dup3, &[free.into(), number, closed], number);
                table.call(libc::SYS_close, &[free.into()], 0);
            }
            if position > 0 {
                table.call(libc::SYS_lseek, &[number, position, 0], position);
            }
            taken.push(opened.number);
            done.push(opened);
        }
        Ok(done)
    }
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

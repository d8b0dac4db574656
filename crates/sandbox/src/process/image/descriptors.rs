//! What a program of which an image is taken has open.
//!
//! What it was given, a clone is given too. What it has opened itself a clone can open again if it is a file that is only
//! read, under the same name and with the same contents, or one of the devices that are alike for everybody; what it has
//! made for itself alone a clone makes too (`own`). Whatever else is open is taken for given, and there is no clone where
//! it is not.

use std::io;

use rustix::fs::{FileType, Stat};
use serde::{Deserialize, Serialize};

use crate::process::image::layout::Table;
use crate::process::image::own::{self, Own, Stage, Told};
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
    own: Vec<Own>,
}

#[derive(Debug)]
struct Opening {
    opened: Opened,
    told: Told,
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
        let numbers = process.names_in("fd").step("list a program's descriptors")?;
        // Not so many either, then. What is told of each is bounded.
        let low = |number: u32| u16::try_from(number).ok().filter(|number| *number < IMAGE_AT);
        let numbers: Option<Vec<u16>> = numbers.into_iter().map(low).collect();
        let numbers = numbers.ok_or_else(|| refuse("it has descriptors of too high numbers"))?;
        let mut told = Vec::new();
        for number in numbers {
            told.push(Told::read(process, number).step("read a program's descriptors")?);
        }
        let mut read = Descriptors { given: Vec::new(), closed: Vec::new(), reopened: Vec::new(), own: Vec::new() };
        let is_standard = |told: &Told| told.number < STANDARD;
        let (standard, mut others): (Vec<Told>, Vec<Told>) = told.into_iter().partition(is_standard);
        read.own = own::find(process, &mut others)?;
        standard.into_iter().for_each(|told| read.give(&told));
        for told in others {
            read.add(process, told).step("read a program's descriptors")?;
        }
        read.are_apart(process)?;
        Ok(read)
    }

    fn give(&mut self, told: &Told) {
        self.given.push(told.number);
        if told.is_closed_by_exec() {
            self.closed.push(told.number);
        }
    }

    fn add(&mut self, process: &Process, told: Told) -> io::Result<()> {
        let stat = process.stat(&format!("fd/{}", told.number))?;
        let is_plain = told.link.starts_with(b"/") && !told.link.ends_with(b" (deleted)");
        match identity(&stat, told.flags).filter(|_| is_plain) {
            Some(identity) => {
                let opened = Opened { number: told.number, identity };
                let position = told.value("pos:", 10).ok_or(io::ErrorKind::InvalidData)?;
                self.reopened.push(Opening { opened, told, position });
            }
            None => self.give(&told),
        }
        Ok(())
    }

    /// Two descriptors of one open file read on from one place, which two that are opened do not.
    fn are_apart(&self, process: &Process) -> Result<(), Failure> {
        let own = self.own.iter().flat_map(Own::numbers);
        let numbers: Vec<u16> = self.reopened.iter().map(|one| one.opened.number).chain(own).collect();
        for (place, one) in numbers.iter().enumerate() {
            for other in numbers.iter().skip(place.saturating_add(1)) {
                let is_one = sys::is_one_file(process.pid, *one, *other);
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

    /// Opens again, and makes, what is to be.
    pub fn reopen(self, process: &Process, table: &mut Table) -> Result<Vec<Opened>, Failure> {
        let mut stage = Stage::new(table, &self.given);
        let mut done = Vec::new();
        for Opening { opened, told, position } in self.reopened {
            let path = stage.table.put(&[told.link.as_slice(), &[0]].concat())?;
            let flags = told.flags & (libc::O_ACCMODE | libc::O_NONBLOCK | libc::O_NOATIME);
            let (here, flags) = (i64::from(libc::AT_FDCWD).cast_unsigned(), u64::from(flags.unsigned_abs()));
            let [free, _] = stage.free;
            stage.table.call(libc::SYS_openat, &[here, path, flags, 0], free.into());
            if position > 0 {
                stage.table.call(libc::SYS_lseek, &[free.into(), position, 0], position);
            }
            stage.put(free, opened.number, told.is_closed_by_exec());
            done.push(opened);
        }
        self.own.iter().try_for_each(|own| own.make(&mut stage))?;
        stage.end();
        self.own.iter().try_for_each(|own| own.fill(process, table))?;
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

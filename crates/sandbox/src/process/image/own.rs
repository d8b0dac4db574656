//! What a program has made for itself to wait on: pipes whose both ends it has, counters, sets of descriptors (epoll), and TCP
//! connections. A clone finds those hung up: it has sockets in their places that were never connected.
//!
//! The kernel tells what they hold, so a clone makes the same. (Libraries keep a byte in a pipe, as a lock.) Descriptors are made at any number, moved out of the way, and put in their places when all are there.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};

use rustix::fs::OFlags;
use rustix::pipe::{PipeFlags, SpliceFlags};

use crate::limits::{IMAGE_PIPE_BYTES_MAX, IMAGE_SOCKETS_BYTES_MAX};
use crate::process::image::layout::Table;
use crate::process::image::trace::Process;
use crate::process::image::{IMAGE_AT, refuse};
use crate::process::step::{Failure, Step};

/// One descriptor as `/proc` tells of it.
#[derive(Debug)]
pub struct Told {
    pub number: u16,
    pub flags: libc::c_int,
    /// What it leads to.
    pub link: Vec<u8>,
    /// `fdinfo`.
    pub text: String,
}

impl Told {
    pub fn read(process: &Process, number: u16) -> io::Result<Told> {
        let text = process.read(&format!("fdinfo/{number}"))?;
        let link = process.link(&format!("fd/{number}"))?;
        let mut told = Told { number, flags: 0, link, text };
        told.flags = told.value("flags:", 8).and_then(|flags| i32::try_from(flags).ok()).ok_or(INVALID)?;
        Ok(told)
    }

    pub fn value(&self, key: &str, radix: u32) -> Option<u64> {
        let value = self.text.lines().find_map(|line| line.strip_prefix(key))?;
        u64::from_str_radix(value.trim(), radix).ok()
    }

    pub fn is_closed_by_exec(&self) -> bool {
        self.flags & libc::O_CLOEXEC != 0
    }

    fn is_writable(&self) -> bool {
        self.flags & libc::O_ACCMODE == libc::O_WRONLY
    }
}

const INVALID: io::ErrorKind = io::ErrorKind::InvalidData;

#[derive(Debug)]
pub enum Own {
    /// Its end that is read, the one that is written, and what is in it.
    Pipe(Told, Told, Vec<u8>),
    Counter(Told),
    Set(Told),
    Connection(Told),
}

/// Takes out of these what is the program's own.
pub fn find(process: &Process, told: &mut Vec<Told>) -> Result<Vec<Own>, Failure> {
    let (mut found, mut others, mut pipes) = (Vec::new(), Vec::new(), Vec::new());
    let connected = connections(process).step("list a program's connections")?;
    for one in told.drain(..) {
        match one.link.as_slice() {
            b"anon_inode:[eventfd]" => found.push(Own::Counter(one)),
            b"anon_inode:[eventpoll]" => found.push(Own::Set(one)),
            link if link.starts_with(b"pipe:[") => pipes.push(one),
            link if connected.contains(link) => found.push(Own::Connection(one)),
            _ => others.push(one),
        }
    }
    while let Some(one) = pipes.pop() {
        let (mut same, rest): (Vec<Told>, Vec<Told>) = pipes.into_iter().partition(|other| other.link == one.link);
        pipes = rest;
        match (same.pop(), same.is_empty()) {
            (Some(other), true) if one.is_writable() != other.is_writable() => {
                let (read, write) = if one.is_writable() { (other, one) } else { (one, other) };
                let contents = contents(process, &read).step("look into a program's pipe")?;
                if contents.len() > IMAGE_PIPE_BYTES_MAX {
                    return Err(refuse("a pipe of its own holds too much"));
                }
                found.push(Own::Pipe(read, write, contents));
            }
            // Somebody else has the other end.
            (last, _) => others.extend([one].into_iter().chain(last).chain(same)),
        }
    }
    others.sort_unstable_by_key(|one| one.number);
    *told = others;
    Ok(found)
}

/// What is in a pipe, which it still is in afterwards.
fn contents(process: &Process, pipe: &Told) -> io::Result<Vec<u8>> {
    let pipe = process.file(&format!("fd/{}", pipe.number), OFlags::RDONLY | OFlags::NONBLOCK)?;
    let (copied, copy) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    let more_than_allowed = IMAGE_PIPE_BYTES_MAX.saturating_add(1);
    let length = match rustix::pipe::tee(&pipe, &copy, more_than_allowed, SpliceFlags::NONBLOCK) {
        Err(rustix::io::Errno::AGAIN) => 0,
        length => length?,
    };
    let mut bytes = vec![0; length];
    File::from(copied).read_exact(&mut bytes)?;
    Ok(bytes)
}

/// What leads to a TCP connection of its network. Who listens has none.
fn connections(process: &Process) -> io::Result<BTreeSet<Vec<u8>>> {
    let mut found = BTreeSet::new();
    for name in ["net/tcp", "net/tcp6"] {
        let list = match process.read_up_to(IMAGE_SOCKETS_BYTES_MAX, name) {
            Err(error) if error.raw_os_error() == Some(libc::EFBIG) => return Err(error),
            // A kernel may have no such network.
            list => list.unwrap_or_default(),
        };
        found.extend(list.lines().filter_map(connection).map(String::into_bytes));
    }
    Ok(found)
}

/// Of a line on a socket of the network.
fn connection(line: &str) -> Option<String> {
    const LISTENS: &str = "0A";
    let mut words = line.split_whitespace().skip(3);
    let (state, inode) = (words.next()?, words.nth(5)?);
    (state != LISTENS).then(|| format!("socket:[{inode}]"))
}

/// Where descriptors are until all are made.
pub struct Stage<'a> {
    pub table: &'a mut Table,
    /// The two numbers that the kernel gives next.
    pub free: [u16; 2],
    staged: Vec<(u16, bool)>,
}

/// Above all numbers that programs are given.
const STAGE_AT: u64 = IMAGE_AT as u64 + 1;

impl<'a> Stage<'a> {
    /// With these open, and nothing else below the image.
    pub fn new(table: &'a mut Table, given: &[u16]) -> Stage<'a> {
        let mut free = (0..IMAGE_AT).filter(|number| !given.contains(number));
        let free = [free.next(), free.next()].map(|number| number.unwrap_or(IMAGE_AT));
        Stage { table, free, staged: Vec::new() }
    }

    /// Moves what was made last, at `made`, to where it waits for its number.
    pub fn put(&mut self, made: u16, number: u16, is_closed_by_exec: bool) {
        let at = STAGE_AT.saturating_add(self.staged.len() as u64);
        let duplicate = u64::from(libc::F_DUPFD.unsigned_abs());
        self.table.call(libc::SYS_fcntl, &[made.into(), duplicate, at], at);
        self.table.call(libc::SYS_close, &[made.into()], 0);
        self.staged.push((number, is_closed_by_exec));
    }

    /// All get their numbers.
    pub fn end(self) {
        for (at, (number, is_closed_by_exec)) in (STAGE_AT..).zip(&self.staged) {
            let flags = if *is_closed_by_exec { u64::from(libc::O_CLOEXEC.unsigned_abs()) } else { 0 };
            let number = u64::from(*number);
            self.table.call(libc::SYS_dup3, &[at, number, flags], number);
        }
        self.table.call(libc::SYS_close_range, &[STAGE_AT, u64::from(u32::MAX), 0], 0);
    }
}

impl Own {
    pub fn make(&self, stage: &mut Stage<'_>) -> Result<(), Failure> {
        let [first, second] = stage.free;
        match self {
            Own::Counter(told) => {
                let (count, is_semaphore) = (told.value("eventfd-count:", 16), told.value("eventfd-semaphore:", 10));
                let count = count.filter(|count| u32::try_from(*count).is_ok());
                let count = count.ok_or_else(|| refuse("a counter of its own is not known"))?;
                let semaphore = if is_semaphore == Some(1) { libc::EFD_SEMAPHORE.unsigned_abs() } else { 0 };
                let flags = u64::from(semaphore) | nonblocking(told);
                stage.table.call(libc::SYS_eventfd2, &[count, flags], first.into());
                stage.put(first, told.number, told.is_closed_by_exec());
            }
            Own::Connection(told) => {
                let kind = u64::from(libc::SOCK_STREAM.unsigned_abs()) | nonblocking(told);
                stage.table.call(libc::SYS_socket, &[u64::from(libc::AF_INET.unsigned_abs()), kind, 0], first.into());
                stage.put(first, told.number, told.is_closed_by_exec());
            }
            Own::Set(told) => {
                stage.table.call(libc::SYS_epoll_create1, &[0], first.into());
                stage.put(first, told.number, told.is_closed_by_exec());
            }
            Own::Pipe(read, write, contents) => {
                // Where the kernel writes their numbers, which are known.
                let at = stage.table.put(&[0; 8])?;
                stage.table.call(libc::SYS_pipe2, &[at, 0], 0);
                if !contents.is_empty() {
                    let (at, length) = (stage.table.put(contents)?, contents.len() as u64);
                    stage.table.call(libc::SYS_write, &[second.into(), at, length], length);
                }
                for (made, told) in [(first, read), (second, write)] {
                    let set = u64::from(libc::F_SETFL.unsigned_abs());
                    stage.table.call(libc::SYS_fcntl, &[made.into(), set, nonblocking(told)], 0);
                    stage.put(made, told.number, told.is_closed_by_exec());
                }
            }
        }
        Ok(())
    }

    /// When all descriptors are there: what a set waits on. All of them together are as many as the table has room for.
    pub fn fill(&self, process: &Process, table: &mut Table) -> Result<(), Failure> {
        let Own::Set(told) = self else { return Ok(()) };
        for line in told.text.lines().filter(|line| line.starts_with("tfd:")) {
            let [of, events, data, inode] = watched(line).ok_or(INVALID).step("read a program's descriptors")?;
            // It may watch what has another number by now, or none.
            let is_it = process.stat(&format!("fd/{of}")).is_ok_and(|stat| stat.st_ino == inode);
            if !is_it {
                return Err(refuse("it waits on what it has closed"));
            }
            let mut event = u32::try_from(events).unwrap_or(0).to_ne_bytes().to_vec();
            event.extend_from_slice(&data.to_ne_bytes());
            let at = table.put(&event)?;
            let add = u64::from(libc::EPOLL_CTL_ADD.unsigned_abs());
            table.call(libc::SYS_epoll_ctl, &[told.number.into(), add, of, at], 0);
        }
        Ok(())
    }

    pub fn numbers(&self) -> Vec<u16> {
        match self {
            Own::Pipe(read, write, _) => vec![read.number, write.number],
            Own::Counter(told) | Own::Set(told) | Own::Connection(told) => vec![told.number],
        }
    }
}

fn nonblocking(told: &Told) -> u64 {
    u64::from((told.flags & libc::O_NONBLOCK).unsigned_abs())
}

/// Of a line on something that a set waits on: its number, for what, what is told then, and its inode.
fn watched(line: &str) -> Option<[u64; 4]> {
    let mut words = line.split_whitespace();
    let mut of = |key: &str, radix: u32| -> Option<u64> {
        let word = words.by_ref().find_map(|word| word.strip_prefix(key))?;
        let value = if word.is_empty() { words.next()? } else { word };
        u64::from_str_radix(value, radix).ok()
    };
    Some([of("tfd:", 10)?, of("events:", 16)?, of("data:", 16)?, of("ino:", 16)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_told_from_who_listens() {
        let line = |state| {
            format!(
                "   0: 0100007F:11F4 0100007F:9C40 {state} 00000000:00000000 00:00000000 00000000     0        0 123 1 0 100 0 0 10 0"
            )
        };
        assert_eq!(connection(&line("01")).as_deref(), Some("socket:[123]"));
        assert_eq!(connection(&line("0A")), None);
        assert_eq!(connection("sl local_address rem_address st"), None);
    }

    #[test]
    fn what_a_set_waits_on_is_read_as_the_kernel_writes_it() {
        let line = "tfd:        3 events:       19 data:     12345678abcdef  pos:0 ino:1f3 sdev:e";
        assert_eq!(watched(line), Some([3, 0x19, 0x0012_3456_78ab_cdef, 0x1f3]));
        assert_eq!(watched("tfd: 3 events: 19"), None);
    }
}

//! What a process has mapped, from `/proc`, and the table of syscalls that maps the same in another.
//!
//! The text is the kernel's, but names and number of the mappings are the program's to choose.

use std::io;
use std::os::fd::AsFd;

use crate::limits::{IMAGE_DATA_BYTES, IMAGE_MAPPINGS_MAX};
use crate::process::step::Failure;

pub const PAGE: u64 = 4_096;

/// The lowest addresses, where programs have nothing: here a fresh process keeps what it needs while it becomes another.
pub const RUNNER_AT: u64 = 0x1_0000;
pub const DATA_AT: u64 = RUNNER_AT + PAGE;
/// The kernel's own pages, on their way.
pub const SYSTEM_AT: u64 = DATA_AT + IMAGE_DATA_BYTES;
pub const TABLE_AT: u64 = SYSTEM_AT + 0x2_0000;
/// Where programs begin.
pub const LOW_END: u64 = 0x40_0000;
/// Where they end.
pub const HIGH_END: u64 = 0x7fff_ffff_f000;

/// One mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Area {
    pub start: u64,
    pub end: u64,
    pub protection: u64,
    pub is_shared: bool,
    pub offset: u64,
    pub device: String,
    pub inode: u64,
    pub name: String,
    /// The kernel's two letters each.
    pub flags: String,
    /// Whether something of it may be in memory.
    pub has_pages: bool,
}

impl Area {
    pub fn bytes(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    pub fn has(&self, flag: &str) -> bool {
        self.flags.split_whitespace().any(|set| set == flag)
    }

    /// Of the kernel, and movable: its clock and its way in.
    pub fn is_system(&self) -> bool {
        self.name.starts_with("[vvar") || self.name == "[vdso]"
    }
}

/// A file as lists of mappings tell of it. Its name there is for anybody to choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    device: String,
    inode: u64,
}

impl Identity {
    pub fn of(file: impl AsFd) -> io::Result<Identity> {
        let stat = rustix::fs::fstat(file)?;
        let (major, minor) = (rustix::fs::major(stat.st_dev), rustix::fs::minor(stat.st_dev));
        Ok(Identity { device: format!("{major:02x}:{minor:02x}"), inode: stat.st_ino })
    }

    pub fn is_of(&self, area: &Area) -> bool {
        area.inode == self.inode && area.device == self.device
    }
}

/// How much of a mapping is in memory, if none is.
const NOTHING: &str = "0 kB";

/// Of `/proc/pid/maps` or `smaps`.
pub fn parse(text: &str) -> io::Result<Vec<Area>> {
    let mut areas: Vec<Area> = Vec::new();
    for line in text.lines() {
        if let Some(flags) = line.strip_prefix("VmFlags:") {
            if let Some(last) = areas.last_mut() {
                last.flags = flags.to_owned();
            }
        } else if let Some(resident) = line.strip_prefix("Rss:") {
            if let Some(last) = areas.last_mut() {
                last.has_pages = resident.trim() != NOTHING;
            }
        } else if let Some(swapped) = line.strip_prefix("Swap:") {
            if let Some(last) = areas.last_mut() {
                last.has_pages |= swapped.trim() != NOTHING;
            }
        } else if let Some(area) = parse_line(line) {
            // And one that nobody can move.
            if areas.len() > IMAGE_MAPPINGS_MAX {
                return Err(io::ErrorKind::InvalidData.into());
            }
            areas.push(area);
        }
    }
    // There at a fixed place in every process, and nobody's to move.
    areas.retain(|area| area.name != "[vsyscall]");
    if areas.is_empty() {
        // It has died.
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    if areas.len() > IMAGE_MAPPINGS_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(areas)
}

fn parse_line(line: &str) -> Option<Area> {
    let mut words = line.splitn(6, ' ');
    let (start, end) = words.next()?.split_once('-')?;
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    let (start, end) = (hex(start)?, hex(end)?);
    let rights = words.next()?;
    let protection = [('r', libc::PROT_READ), ('w', libc::PROT_WRITE), ('x', libc::PROT_EXEC)]
        .into_iter()
        .filter(|(letter, _)| rights.contains(*letter))
        .fold(0, |all, (_, one)| all | one.unsigned_abs());
    Some(Area {
        start,
        end,
        protection: u64::from(protection),
        is_shared: rights.ends_with('s'),
        offset: hex(words.next()?)?,
        device: words.next()?.to_owned(),
        inode: words.next()?.parse().ok()?,
        name: words.next().unwrap_or_default().trim_start().to_owned(),
        flags: String::new(),
        has_pages: true,
    })
}

/// Syscalls with the answers that they must give, and what their arguments point to.
#[derive(Debug, Default)]
pub struct Table {
    calls: Vec<[u64; 8]>,
    data: Vec<u8>,
}

impl Table {
    /// One more than there is room for is kept, so that there is no table then, and none after that.
    pub fn call(&mut self, number: libc::c_long, args: &[u64], answer: u64) {
        const CALLS_MAX: u64 = (LOW_END - TABLE_AT) / size_of::<[u64; 8]>() as u64;
        if self.calls.len() as u64 > CALLS_MAX {
            return;
        }
        let mut entry = [0; 8];
        let words = [number.cast_unsigned()].into_iter().chain(args.iter().copied());
        entry.iter_mut().take(7).zip(words).for_each(|(to, from)| *to = from);
        if let Some(last) = entry.last_mut() {
            *last = answer;
        }
        self.calls.push(entry);
    }

    /// Where these bytes will be.
    pub fn put(&mut self, bytes: &[u8]) -> Result<u64, Failure> {
        let at = DATA_AT.saturating_add(self.data.len() as u64);
        self.data.extend_from_slice(bytes);
        self.data.resize(self.data.len().next_multiple_of(8), 0);
        if self.data.len() as u64 > IMAGE_DATA_BYTES {
            return Err(super::refuse("its mappings have names that are too long"));
        }
        Ok(at)
    }

    /// Where the next call will be, from the table's begin.
    pub fn end(&self) -> u64 {
        (self.calls.len() as u64).saturating_mul(size_of::<[u64; 8]>() as u64)
    }

    pub fn data(&self) -> &[u8] {
        &self.data
    }

    pub fn bytes(&self) -> Result<Vec<u8>, Failure> {
        let bytes: Vec<u8> = self.calls.iter().flatten().flat_map(|word| word.to_ne_bytes()).collect();
        if TABLE_AT.saturating_add(bytes.len() as u64) > LOW_END {
            return Err(super::refuse("it has too many mappings"));
        }
        Ok(bytes)
    }
}

/// Bytes as words, for registers and the like.
pub fn words(bytes: &[u8]) -> Vec<u64> {
    bytes.chunks_exact(8).filter_map(|chunk| Some(u64::from_ne_bytes(chunk.try_into().ok()?))).collect()
}

pub fn bytes(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_are_read_as_the_kernel_writes_them() {
        let text = "00400000-00401000 r-xp 00001000 fe:00 77                                 /var/task/a b.so\n\
                    Size: 4 kB\nRss:                   0 kB\nSwap:                  0 kB\nVmFlags: rd ex mr\n\
                    7f00-8000 rw-s 00000000 00:00 0 \n\
                    ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n";
        let areas = parse(text).unwrap();
        assert_eq!(areas.len(), 2);
        let first = &areas[0];
        assert_eq!((first.start, first.end, first.protection, first.offset), (0x40_0000, 0x40_1000, 5, 0x1000));
        assert_eq!((first.inode, first.name.as_str(), first.is_shared), (77, "/var/task/a b.so", false));
        assert!(!first.has_pages && areas[1].has_pages);
        assert!(first.has("ex") && !first.has("e") && areas[1].is_shared && areas[1].name.is_empty());
        assert!(parse("").is_err());
    }

    #[test]
    fn a_table_ends_where_programs_begin() {
        let mut table = Table::default();
        table.call(libc::SYS_munmap, &[1, 2], 3);
        assert_eq!(words(&table.bytes().unwrap()), [libc::SYS_munmap as u64, 1, 2, 0, 0, 0, 0, 3]);
        assert_eq!((table.put(b"/usr\0").unwrap(), table.put(b"x").unwrap()), (DATA_AT, DATA_AT + 8));
        (0..70_000).for_each(|_| table.call(libc::SYS_munmap, &[], 0));
        assert!(table.bytes().is_err() && table.calls.len() < 65_000);
        assert!(table.put(&[0; IMAGE_DATA_BYTES as usize]).is_err());
    }
}

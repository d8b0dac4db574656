//! Memory that a program gives back to the kernel, and takes for zeros from then on, as some allocators do.
//!
//! A clone maps the image's pages as a file of which it has its own view. What it gives back of that is the image's contents
//! again, and what it makes larger goes on with them. A program that bears to be refused is refused both, where the
//! image is: it keeps what it wanted to give back, and copies what it wanted to be larger. Who takes a refusal for an
//! error and ends gets copies instead of the image's pages, as V8 would, and everybody who is not known. There the
//! kernel does as it always does.

use std::collections::BTreeMap;

use crate::limits::IMAGE_KEPT_MAX;
use crate::process::image::layout::{Area, Table};
use crate::process::seccomp;
use crate::process::step::Failure;

/// The C library, Java's machine, jemalloc, mimalloc, tcmalloc and Go's runtime go on when they are refused.
const PATIENT: [&str; 2] = ["python", "java"];

/// Libraries with V8 in them.
const IMPATIENT: [&str; 3] = ["v8", "node", "mini_racer"];

/// Whether a program bears to be told that it cannot give memory back, by the names of what it runs and has mapped. It may
/// have named them as it liked: that is about its own memory only.
pub fn bears_refusals(executable: &[u8], areas: &[Area]) -> bool {
    let executable = String::from_utf8_lossy(executable);
    let last = |path: &str| path.rsplit('/').next().unwrap_or_default().to_lowercase();
    let is_patient = PATIENT.iter().any(|name| last(&executable).starts_with(name));
    let mut files = areas.iter().filter(|area| area.inode != 0).map(|area| last(&area.name));
    is_patient && !files.any(|file| IMPATIENT.iter().any(|name| file.contains(name)))
}

/// Where the image's pages are, for which a program is refused to give them back.
#[derive(Debug, Default)]
pub struct Kept(BTreeMap<u64, u64>);

impl Kept {
    pub fn add(&mut self, start: u64, end: u64) {
        self.0.insert(start, end);
    }

    /// Not more of them than the filter has room for: those that are the closest to each other become one. What is
    /// between them is refused too, which is safe.
    fn ranges(&self, most: usize) -> Vec<(u64, u64)> {
        let mut gaps: Vec<u64> = self.gaps().collect();
        gaps.sort_unstable_by(|one, other| other.cmp(one));
        // All gaps that are larger than this one stay, and so do fewer than there may be ranges.
        let closed = gaps.get(most.saturating_sub(1)).copied().unwrap_or(0);
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for (start, end) in &self.0 {
            match ranges.last_mut() {
                Some(last) if start.saturating_sub(last.1) <= closed => last.1 = *end,
                _ => ranges.push((*start, *end)),
            }
        }
        ranges
    }

    fn gaps(&self) -> impl Iterator<Item = u64> {
        self.0.keys().skip(1).zip(self.0.values()).map(|(start, end)| start.saturating_sub(*end))
    }

    /// The call by which a clone is refused it. Threads that it makes later are, too.
    pub fn refuse(&self, table: &mut Table) -> Result<(), Failure> {
        if self.0.is_empty() {
            return Ok(());
        }
        let filter = seccomp::keep(&self.ranges(IMAGE_KEPT_MAX));
        let bytes: Vec<u8> = filter.iter().flat_map(seccomp::bytes).collect();
        let at = table.put(&bytes)?;
        let described = table.put(&[(filter.len() as u64).to_ne_bytes(), at.to_ne_bytes()].concat())?;
        table.call(libc::SYS_seccomp, &[libc::SECCOMP_SET_MODE_FILTER.into(), 0, described], 0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_ranges_become_one() {
        let mut kept = Kept::default();
        for (start, end) in
            [(0x9000, 0xa000), (0x1000, 0x2000), (0x2000, 0x3000), (0x4000, 0x5000), (0x2_0000, 0x3_0000)]
        {
            kept.add(start, end);
        }
        assert_eq!(kept.ranges(9), [(0x1000, 0x3000), (0x4000, 0x5000), (0x9000, 0xa000), (0x2_0000, 0x3_0000)]);
        assert_eq!(kept.ranges(3), [(0x1000, 0x5000), (0x9000, 0xa000), (0x2_0000, 0x3_0000)]);
        assert_eq!(kept.ranges(2), [(0x1000, 0xa000), (0x2_0000, 0x3_0000)]);
        assert_eq!(kept.ranges(1), [(0x1000, 0x3_0000)]);
        let mut even = Kept::default();
        (0..100_u64).for_each(|number| even.add(number * 0x2000, number * 0x2000 + 0x1000));
        assert!(even.ranges(7).len() <= 7);
    }

    #[test]
    fn only_who_is_known_to_bear_it_is_refused() {
        let with = |names: &[&str]| -> Vec<Area> {
            let line = |name| format!("7f00-8000 r-xp 00000000 fe:00 77 {name}\n");
            crate::process::image::layout::parse(&names.iter().map(line).collect::<String>()).unwrap()
        };
        let plain = with(&["/usr/lib/libc.so.6", "/opt/node/lib/libssl.so"]);
        assert!(bears_refusals(b"/usr/bin/python3.11", &plain) && bears_refusals(b"/var/lang/bin/java", &plain));
        assert!(!bears_refusals(b"/usr/bin/node", &plain) && !bears_refusals(b"/var/task/python/bootstrap", &plain));
        assert!(!bears_refusals(b"/usr/bin/python3.11", &with(&["/var/task/libmini_racer.so"])));
        assert!(!bears_refusals(b"/usr/bin/java", &with(&["/tmp/libjavet-V8-linux.so"])));
    }
}

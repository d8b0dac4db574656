//! Where an archive's bytes come from: anything that can be read at an offset.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::limits::{BUFFER_BYTES, NEARBY_BYTES};

/// An archive at rest. It should not change while it is read: what changes is refused or read as it is at that moment,
/// never trusted from before.
pub trait Source {
    fn size_bytes(&self) -> io::Result<u64>;

    /// Fills `buffer` from `offset`, or fails with `UnexpectedEof`.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

impl Source for File {
    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, buffer, offset)
    }
}

impl Source for &[u8] {
    fn size_bytes(&self) -> io::Result<u64> {
        Ok(u64::try_from(self.len()).unwrap_or(u64::MAX))
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let found = usize::try_from(offset)
            .ok()
            .and_then(|start| self.get(start..start.checked_add(buffer.len())?))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(found);
        Ok(())
    }
}

/// A range of a source, read front to back through one buffer.
pub(crate) struct Window<'s> {
    source: &'s dyn Source,
    /// What the buffer does not hold yet.
    offset: u64,
    left_bytes: u64,
    buffer: Vec<u8>,
    /// How much of the buffer has been handed out.
    used: usize,
}

impl<'s> Window<'s> {
    /// The caller has checked that the range lies within the source.
    pub fn new(source: &'s dyn Source, offset: u64, bytes: u64) -> Self {
        Self { source, offset, left_bytes: bytes, buffer: Vec::new(), used: 0 }
    }

    /// The next `count` bytes; `None` if the range ends before.
    pub fn take(&mut self, count: u16) -> io::Result<Option<&[u8]>> {
        let count = usize::from(count);
        if self.buffer.len().saturating_sub(self.used) < count {
            self.fill()?;
        }
        let start = self.used;
        let Some(end) = start.checked_add(count).filter(|end| *end <= self.buffer.len()) else { return Ok(None) };
        self.used = end;
        Ok(self.buffer.get(start..end))
    }

    /// Whether everything has been taken.
    pub fn is_empty(&self) -> bool {
        self.left_bytes == 0 && self.used == self.buffer.len()
    }

    /// Moves what was not handed out to the front and fills the buffer behind it. As the buffer is no smaller than the
    /// largest `take`, one call suffices.
    fn fill(&mut self) -> io::Result<()> {
        self.buffer.drain(..self.used);
        self.used = 0;
        let kept = self.buffer.len();
        let room = BUFFER_BYTES.saturating_sub(kept);
        let more = usize::try_from(self.left_bytes).unwrap_or(usize::MAX).min(room);
        self.buffer.resize(kept.saturating_add(more), 0);
        self.source.read_exact_at(self.buffer.get_mut(kept..).unwrap_or_default(), self.offset)?;
        let more = u64::try_from(more).unwrap_or(u64::MAX);
        self.offset = self.offset.saturating_add(more);
        self.left_bytes = self.left_bytes.saturating_sub(more);
        Ok(())
    }
}

/// Small reads that are often near each other, such as one local header after the next.
pub(crate) struct Nearby<'s> {
    source: &'s dyn Source,
    end: u64,
    offset: u64,
    buffer: Vec<u8>,
}

impl<'s> Nearby<'s> {
    /// Reads nothing from `end` on, which lies within the source.
    pub fn new(source: &'s dyn Source, end: u64) -> Self {
        Self { source, end, offset: 0, buffer: Vec::new() }
    }

    /// The `count` bytes at `offset`.
    pub fn read(&mut self, offset: u64, count: usize) -> io::Result<&[u8]> {
        let within = |buffer: &[u8], start: u64| {
            let start = usize::try_from(offset.checked_sub(start)?).ok()?;
            let end = start.checked_add(count)?;
            (end <= buffer.len()).then_some(start..end)
        };
        let range = match within(&self.buffer, self.offset) {
            Some(range) => range,
            None => {
                let left = usize::try_from(self.end.saturating_sub(offset)).unwrap_or(usize::MAX);
                self.buffer.clear();
                self.buffer.resize(NEARBY_BYTES.max(count).min(left), 0);
                self.offset = offset;
                self.source.read_exact_at(&mut self.buffer, offset)?;
                0..count
            }
        };
        self.buffer.get(range).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_hands_out_its_range_and_no_more() {
        let bytes: Vec<u8> = (0..200_000u32).map(|n| n as u8).collect();
        let source = bytes.as_slice();
        let mut nothing = Window::new(&source, 0, 0);
        assert!(nothing.is_empty() && nothing.take(1).unwrap().is_none() && nothing.take(0).unwrap().is_some());
        let mut window = Window::new(&source, 10, 150_000);
        let mut seen = Vec::new();
        for count in [1, 65_535, 0, 60_000, 20_000] {
            seen.extend_from_slice(window.take(count).unwrap().unwrap());
        }
        assert_eq!(seen, bytes[10..10 + 145_536]);
        assert!(window.take(4_465).unwrap().is_none() && !window.is_empty());
        assert!(window.take(4_464).unwrap().is_some() && window.is_empty());
    }

    #[test]
    fn near_and_far_reads_find_the_same() {
        let bytes: Vec<u8> = (0..20_000u32).map(|n| (n / 7) as u8).collect();
        let source = bytes.as_slice();
        let mut nearby = Nearby::new(&source, 19_000);
        for (offset, count) in [(5, 3), (8, 100), (4_090, 30), (3, 9_000), (18_999, 1), (0, 19_000), (19_000, 0)] {
            assert_eq!(nearby.read(offset, count).unwrap(), &bytes[offset as usize..][..count], "{offset} {count}");
        }
        assert!(nearby.read(18_999, 2).is_err() && nearby.read(u64::MAX, 1).is_err());
    }

    #[test]
    fn a_source_that_shrinks_is_an_error() {
        let source: &[u8] = b"short";
        assert!(Window::new(&source, 0, 6).take(1).is_err());
        assert!(Source::read_exact_at(&source, &mut [0; 2], u64::MAX).is_err());
    }
}

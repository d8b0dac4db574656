//! The contents of entries: inflated, counted and checked as they pass.

use flate2::{Crc, Decompress, FlushDecompress, Status};

use crate::entry::{Entry, Method};
use crate::error::{ArchiveError, EntryFlaw};
use crate::limits::BUFFER_BYTES;
use crate::source::Source;

/// Takes the contents of an entry piece by piece.
pub(crate) type Sink<'k> = dyn FnMut(&[u8]) -> Result<(), ArchiveError> + 'k;

/// Reads one entry after another through the same two buffers.
pub(crate) struct Reader {
    inflate: Decompress,
    packed: Vec<u8>,
    unpacked: Vec<u8>,
}

/// What has come out of one entry so far.
struct Tally<'e> {
    entry: &'e Entry,
    bytes: u64,
    checksum: Crc,
}

/// A run of bytes in the source.
struct Span {
    offset: u64,
    left_bytes: u64,
}

impl Reader {
    pub fn new() -> Self {
        Self { inflate: Decompress::new(false), packed: vec![0; BUFFER_BYTES], unpacked: vec![0; BUFFER_BYTES] }
    }

    /// Passes the contents of `entry`, whose data starts at `offset`, to `sink`. No byte beyond the entry's stated size
    /// reaches it; that all of them are right is known when this returns.
    pub fn read(
        &mut self,
        source: &dyn Source,
        entry: &Entry,
        offset: u64,
        sink: &mut Sink<'_>,
    ) -> Result<(), ArchiveError> {
        let mut span = Span { offset, left_bytes: entry.packed_bytes };
        let mut tally = Tally { entry, bytes: 0, checksum: Crc::new() };
        match entry.method {
            Method::Stored => {
                while span.left_bytes > 0 {
                    let chunk = span.next(source, &mut self.packed)?;
                    tally.pass(chunk, sink)?;
                }
            }
            Method::Deflate => self.inflate(source, &mut span, &mut tally, sink)?,
        }
        tally.finish()
    }

    fn inflate(
        &mut self,
        source: &dyn Source,
        span: &mut Span,
        tally: &mut Tally<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(), ArchiveError> {
        let refuse = |flaw| ArchiveError::entry(tally.entry.index, flaw);
        let (truncated, garbled, trailing) =
            (refuse(EntryFlaw::Truncated), refuse(EntryFlaw::Deflate), refuse(EntryFlaw::TrailingData));
        self.inflate.reset(false);
        loop {
            if span.left_bytes == 0 {
                return Err(truncated);
            }
            let mut input = span.next(source, &mut self.packed)?;
            loop {
                let (consumed_before, produced_before) = (self.inflate.total_in(), self.inflate.total_out());
                let status = self.inflate.decompress(input, &mut self.unpacked, FlushDecompress::None);
                let Ok(status) = status else { return Err(garbled) };
                let consumed = count_since(self.inflate.total_in(), consumed_before);
                let produced = count_since(self.inflate.total_out(), produced_before);
                input = input.get(consumed..).unwrap_or_default();
                tally.pass(self.unpacked.get(..produced).unwrap_or_default(), sink)?;
                match status {
                    Status::StreamEnd if input.is_empty() && span.left_bytes == 0 => return Ok(()),
                    Status::StreamEnd => return Err(trailing),
                    // Once nothing moves, only more input helps. Output that fills the buffer comes round again.
                    Status::Ok | Status::BufError if consumed == 0 && produced == 0 && input.is_empty() => break,
                    Status::Ok | Status::BufError if consumed == 0 && produced == 0 => return Err(garbled),
                    Status::Ok | Status::BufError => {}
                }
            }
        }
    }
}

impl Span {
    fn next<'b>(&mut self, source: &dyn Source, buffer: &'b mut [u8]) -> Result<&'b [u8], ArchiveError> {
        let wanted = usize::try_from(self.left_bytes).unwrap_or(usize::MAX).min(buffer.len());
        let chunk = buffer.get_mut(..wanted).unwrap_or_default();
        source.read_exact_at(chunk, self.offset).map_err(ArchiveError::Read)?;
        let wanted = u64::try_from(wanted).unwrap_or(u64::MAX);
        self.offset = self.offset.saturating_add(wanted);
        self.left_bytes = self.left_bytes.saturating_sub(wanted);
        Ok(chunk)
    }
}

impl Tally<'_> {
    fn pass(&mut self, bytes: &[u8], sink: &mut Sink<'_>) -> Result<(), ArchiveError> {
        self.bytes = self.bytes.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        if self.bytes > self.entry.unpacked_bytes {
            return Err(ArchiveError::entry(self.entry.index, EntryFlaw::Size));
        }
        self.checksum.update(bytes);
        sink(bytes)
    }

    fn finish(self) -> Result<(), ArchiveError> {
        let refuse = |flaw| Err(ArchiveError::entry(self.entry.index, flaw));
        match (self.bytes == self.entry.unpacked_bytes, self.checksum.sum() == self.entry.checksum) {
            (false, _) => refuse(EntryFlaw::Size),
            (true, false) => refuse(EntryFlaw::Checksum),
            (true, true) => Ok(()),
        }
    }
}

fn count_since(now: u64, before: u64) -> usize {
    usize::try_from(now.saturating_sub(before)).unwrap_or(usize::MAX)
}

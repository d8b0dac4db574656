//! The contents of entries: inflated, counted and checked as they pass.
//!
//! The inflater writes into a plain buffer behind the last 32 KiB of its own output, not into a ring: only so does it
//! notice a distance to before the start of a stream. In a ring such a stream would unpack to bytes of the entry before,
//! and differently in each reader.

use crc32fast::Hasher;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::{TINFL_FLAG_HAS_MORE_INPUT, TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF};
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

use crate::entry::{Entry, Method};
use crate::error::{ArchiveError, EntryFlaw};
use crate::limits::BUFFER_BYTES;
use crate::source::Source;

/// Takes the contents of an entry piece by piece.
pub(crate) type Sink<'k> = dyn FnMut(&[u8]) -> Result<(), ArchiveError> + 'k;

/// Reads one entry after another through the same two buffers.
pub(crate) struct Reader {
    packed: Vec<u8>,
    inflater: Inflater,
}

struct Inflater {
    state: Box<DecompressorOxide>,
    /// As much of the stream's past as a distance can reach, and the room behind it.
    unpacked: Vec<u8>,
    /// Where the next byte goes.
    position: usize,
}

/// What has come out of one entry so far.
struct Tally<'e> {
    entry: &'e Entry,
    bytes: u64,
    checksum: Hasher,
}

/// A run of bytes in the source.
struct Span {
    offset: u64,
    left_bytes: u64,
}

/// How far back a deflate stream may refer.
const HISTORY_BYTES: usize = 32 * 1024;

impl Reader {
    pub fn new() -> Self {
        let unpacked = vec![0; HISTORY_BYTES.saturating_add(BUFFER_BYTES)];
        let inflater = Inflater { state: Box::default(), unpacked, position: 0 };
        Self { packed: vec![0; BUFFER_BYTES], inflater }
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
        let mut tally = Tally { entry, bytes: 0, checksum: Hasher::new() };
        match entry.method {
            Method::Stored => {
                while span.left_bytes > 0 {
                    tally.pass(span.next(source, &mut self.packed)?, sink)?;
                }
            }
            Method::Deflate => {
                self.inflater.start();
                let mut done = false;
                while !done {
                    let input = span.next(source, &mut self.packed)?;
                    done = self.inflater.inflate(input, span.left_bytes > 0, &mut tally, sink)?;
                }
            }
        }
        tally.finish()
    }
}

impl Inflater {
    fn start(&mut self) {
        self.state.init();
        self.position = 0;
    }

    /// Inflates all of `input`; true once the stream has ended, which it must do exactly where the input does.
    fn inflate(
        &mut self,
        mut input: &[u8],
        more: bool,
        tally: &mut Tally<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<bool, ArchiveError> {
        let more_flag = if more { TINFL_FLAG_HAS_MORE_INPUT } else { 0 };
        let flags = TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF | more_flag;
        loop {
            self.make_room();
            let start = self.position;
            let (status, consumed, produced) = decompress(&mut self.state, input, &mut self.unpacked, start, flags);
            input = input.get(consumed..).unwrap_or_default();
            self.position = start.saturating_add(produced);
            tally.pass(self.unpacked.get(start..self.position).unwrap_or_default(), sink)?;
            let flaw = match status {
                TINFLStatus::HasMoreOutput => continue,
                TINFLStatus::NeedsMoreInput if more => return Ok(false),
                TINFLStatus::Done if input.is_empty() && !more => return Ok(true),
                TINFLStatus::Done => EntryFlaw::TrailingData,
                TINFLStatus::NeedsMoreInput | TINFLStatus::FailedCannotMakeProgress => EntryFlaw::Truncated,
                _ => EntryFlaw::Deflate,
            };
            return Err(ArchiveError::entry(tally.entry.index, flaw));
        }
    }

    /// Moves the history to the front once the buffer is full.
    fn make_room(&mut self) {
        let full = self.unpacked.len();
        if self.position == full {
            self.unpacked.copy_within(full.saturating_sub(HISTORY_BYTES).., 0);
            self.position = HISTORY_BYTES;
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
        match (self.bytes == self.entry.unpacked_bytes, self.checksum.clone().finalize() == self.entry.checksum) {
            (false, _) => refuse(EntryFlaw::Size),
            (true, false) => refuse(EntryFlaw::Checksum),
            (true, true) => Ok(()),
        }
    }
}

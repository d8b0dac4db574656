//! SQLite's write-ahead log as the shim sees it: where frames lie, whether one is whole, and whether a log that is
//! about to be recovered still holds every commit that was acknowledged.
//!
//! A log is a header of 32 bytes and frames of 24 bytes and a page. The frame's header names its page, says whether it
//! ends a transaction, repeats the log's salts, and carries a checksum of itself and its page that continues from the
//! frame before (<https://sqlite.org/fileformat2.html#the_write_ahead_log>). SQLite verifies that chain only when it
//! recovers a log; the shim (`Log::read`) checks every page that is read, against what this process wrote or, for frames
//! from before, against the chain.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use parking_lot::RwLock;
use xxhash_rust::xxh3::xxh3_64;

use super::mark::{Mark, MarkFile};
use super::page::{PAGE_BYTES, Page};
use super::tap::{Action, Tapped};

pub(super) const HEADER_BYTES: usize = 32;
pub(super) const FRAME_HEADER_BYTES: usize = 24;
const FRAME_BYTES: usize = FRAME_HEADER_BYTES + PAGE_BYTES;

/// SQLite's two running sums over 32-bit words in the byte order of the machine that began the log. A log from a
/// machine of the other order does not verify, and is refused as damaged rather than half understood.
pub(super) type Sums = [u32; 2];

const MAGIC: u32 = if cfg!(target_endian = "big") { 0x377f_0683 } else { 0x377f_0682 };
const LOG_FORMAT: u32 = 3_007_000;

fn add(sums: Sums, bytes: &[u8]) -> Sums {
    let [mut first, mut second] = sums;
    for word in bytes.as_chunks::<8>().0 {
        let [a, b, c, d, e, f, g, h] = *word;
        first = first.wrapping_add(u32::from_ne_bytes([a, b, c, d])).wrapping_add(second);
        second = second.wrapping_add(u32::from_ne_bytes([e, f, g, h])).wrapping_add(first);
    }
    [first, second]
}

/// The big-endian words of a header.
fn words<const BYTES: usize, const WORDS: usize>(bytes: &[u8; BYTES]) -> [u32; WORDS] {
    let mut words = [0; WORDS];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *word = u32::from_be_bytes(*bytes);
    }
    words
}

/// What the header of a frame says. The salts are as in the header of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameHeader {
    page: u32,
    /// The size of the database after the commit that this frame ends; 0 if it ends none.
    pages_after_commit: u32,
    salts: [u32; 2],
    sums: Sums,
}

impl FrameHeader {
    pub(super) fn parse(bytes: &[u8; FRAME_HEADER_BYTES]) -> Self {
        let [page, pages_after_commit, salt_1, salt_2, sum_1, sum_2] = words(bytes);
        Self { page, pages_after_commit, salts: [salt_1, salt_2], sums: [sum_1, sum_2] }
    }

    pub(super) fn is_commit(&self) -> bool {
        self.pages_after_commit != 0
    }

    /// The mark of a log whose synced part ends with this frame at `index`.
    pub(super) fn mark(&self, index: u32) -> Mark {
        Mark { salts: bytes_of(self.salts), frame_count: index.saturating_add(1), checksum: bytes_of(self.sums) }
    }
}

fn bytes_of([first, second]: [u32; 2]) -> [u8; 8] {
    (u64::from(first) << 32 | u64::from(second)).to_be_bytes()
}

/// Whether this header and page follow from a frame whose sums were `before`.
pub(super) fn follows(before: Sums, header: &[u8; FRAME_HEADER_BYTES], page: &Page) -> bool {
    let covered = header.first_chunk::<8>().map(<[u8; 8]>::as_slice).unwrap_or_default();
    add(add(before, covered), page) == FrameHeader::parse(header).sums
}

/// Sums as they stand in the last 8 bytes of a header.
pub(super) fn sums_in(tail: &[u8; 8]) -> Sums {
    words(tail)
}

/// The frame whose header begins at `offset`, if one does.
pub(super) fn frame_at(offset: u64) -> Option<u32> {
    let within = offset.checked_sub(HEADER_BYTES as u64)?;
    if !within.is_multiple_of(FRAME_BYTES as u64) {
        return None;
    }
    u32::try_from(within / FRAME_BYTES as u64).ok()
}

/// The frame whose page begins at `offset`, if one does.
pub(super) fn page_at(offset: u64) -> Option<u32> {
    frame_at(offset.checked_sub(FRAME_HEADER_BYTES as u64)?)
}

fn offset_of(frame: u32) -> u64 {
    HEADER_BYTES as u64 + u64::from(frame) * FRAME_BYTES as u64
}

/// Checksums of the pages of a log as this process wrote them, by frame; 0 for those that it found there.
///
/// A read is held against them where it can be: that needs no other read, and shows even a write that the disk dropped.
/// SQLite overwrites a frame only when nobody reads it any more. As long as the log itself, so bounded with it.
#[derive(Default)]
pub(super) struct Written(RwLock<Vec<u64>>);

impl Written {
    pub(super) fn note(&self, frame: u32, page: &Page) {
        let mut sums = self.0.write();
        let index = frame as usize;
        if sums.len() <= index {
            sums.resize(index.saturating_add(1), 0);
        }
        if let Some(sum) = sums.get_mut(index) {
            *sum = Self::sum(page);
        }
    }

    /// Whether this is what was written; `None` if that was not here.
    pub(super) fn confirms(&self, frame: u32, page: &Page) -> Option<bool> {
        let sum = self.0.read().get(frame as usize).copied().filter(|sum| *sum != 0)?;
        Some(sum == Self::sum(page))
    }

    fn sum(page: &Page) -> u64 {
        xxh3_64(page).max(1)
    }
}

/// Why a log cannot be recovered.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("read or sync the write-ahead log")]
    Io(#[from] io::Error),
    /// Whole commits that were acknowledged cannot be read any more. Nothing was changed.
    #[error("verify the write-ahead log: acknowledged commits are damaged at frame {frame}; restore a backup")]
    Damaged { frame: u32 },
    /// There was a database.
    #[error("find the database: its file is empty or gone; restore it, or a backup")]
    Emptied,
}

/// Checks the log of a database that no connection has open, before SQLite recovers from it, and makes sure that what
/// recovery will find is on the disk.
///
/// A log that ends early is sound only if what is missing was never acknowledged. Two things prove otherwise:
/// - the mark names a frame beyond the end;
/// - beyond the end a frame follows, by its checksum, from the last frame of a transaction. SQLite's one writer begins
///   a transaction when the one before is synced, so everything up to that commit was.
///
/// The part that SQLite will accept is then written again, unchanged, and synced. After a failed sync the kernel may
/// keep pages that never reached the disk and call them clean: recovery would read them from memory, acknowledge more
/// behind them, and a power cut later take the lot.
pub(super) fn check(database: &Path, log: &Path, disk: &Tapped) -> Result<(), LogError> {
    let mut mark_file = MarkFile::beside(log, disk.clone());
    let mark = mark_file.read()?;
    // The first page is synced before there is a log, and the log before there is a mark.
    if mark.is_some() && size_of_file(database)? == 0 {
        return Err(LogError::Emptied);
    }
    let mark = mark.filter(|mark| mark.frame_count > 0);
    let file = match OpenOptions::new().read(true).write(true).open(log) {
        Ok(file) => file,
        // Deleting a log erases its mark first.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return if mark.is_some() { Err(LogError::Damaged { frame: 0 }) } else { Ok(()) };
        }
        Err(error) => return Err(error.into()),
    };
    let Some(log_file) = LogFile::read_header(&file)? else {
        // The header is synced before the first frame is written, so frames without it were not left by a power cut.
        let has_frames = file.metadata()?.len() > HEADER_BYTES as u64;
        return if mark.is_some() || has_frames { Err(LogError::Damaged { frame: 0 }) } else { Ok(()) };
    };
    let synced = log_file.verify(mark)?;
    if let Some(synced) = synced {
        rewrite(log, &file, synced.frame_count, disk)?;
        mark_file.write(&synced)?;
        mark_file.sync()?;
    }
    Ok(())
}

fn rewrite(log: &Path, file: &File, frame_count: u32, disk: &Tapped) -> io::Result<()> {
    let mut chunk = vec![0; FRAME_BYTES * 16];
    let (mut offset, end) = (0, offset_of(frame_count));
    while offset < end {
        let left = usize::try_from(end - offset).unwrap_or(usize::MAX);
        let wanted = chunk.len().min(left);
        let Some(bytes) = chunk.get_mut(..wanted) else { break };
        file.read_exact_at(bytes, offset)?;
        disk.run(log, Action::Write { offset, bytes }, || file.write_all_at(bytes, offset))?;
        offset += wanted as u64;
    }
    disk.run(log, Action::Sync, || file.sync_data())
}

/// A log with a sound header.
struct LogFile<'a> {
    file: &'a File,
    salts: [u32; 2],
    sums: Sums,
}

struct Frame {
    bytes: [u8; FRAME_HEADER_BYTES],
    header: FrameHeader,
    page: Page,
}

impl<'a> LogFile<'a> {
    fn read_header(file: &'a File) -> io::Result<Option<Self>> {
        let mut bytes = [0; HEADER_BYTES];
        if !read_whole(file, &mut bytes, 0)? {
            return Ok(None);
        }
        let [magic, format, page_bytes, _checkpoint, salt_1, salt_2, sum_1, sum_2] = words(&bytes);
        let sums = bytes.first_chunk::<24>().map_or([0, 0], |covered| add([0, 0], covered));
        let is_sound = magic == MAGIC
            && format == LOG_FORMAT
            && usize::try_from(page_bytes) == Ok(PAGE_BYTES)
            && sums == [sum_1, sum_2];
        Ok(is_sound.then_some(Self { file, salts: [salt_1, salt_2], sums }))
    }

    /// The last commit that recovery will accept, as a mark, after proof that no acknowledged one lies beyond.
    fn verify(&self, mark: Option<Mark>) -> Result<Option<Mark>, LogError> {
        // A mark of other salts is of a generation that was checkpointed whole before its frames were overwritten.
        let mark = mark.filter(|mark| mark.salts == bytes_of(self.salts));
        let mut last_commit = None;
        let mut sums = self.sums;
        let mut index = 0;
        let mut is_mark_met = mark.is_none();
        while let Some(frame) = self.frame(index)? {
            if !self.is_ours(&frame) || !follows(sums, &frame.bytes, &frame.page) {
                break;
            }
            sums = frame.header.sums;
            let here = frame.header.mark(index);
            if frame.header.is_commit() {
                last_commit = Some(here);
            }
            is_mark_met |= mark == Some(here);
            index += 1;
        }
        if !is_mark_met || self.is_continued_after(index)? {
            return Err(LogError::Damaged { frame: index });
        }
        Ok(last_commit)
    }

    /// Whether any frame from `first_bad` on ends a transaction and is followed by the first frame of another.
    fn is_continued_after(&self, first_bad: u32) -> io::Result<bool> {
        let mut index = first_bad;
        let mut before: Option<FrameHeader> = None;
        while let Some(frame) = self.frame(index)? {
            let begins_next = before.is_some_and(|commit| follows(commit.sums, &frame.bytes, &frame.page));
            if begins_next && self.is_ours(&frame) {
                return Ok(true);
            }
            before = (self.is_ours(&frame) && frame.header.is_commit()).then_some(frame.header);
            index += 1;
        }
        Ok(false)
    }

    fn is_ours(&self, frame: &Frame) -> bool {
        frame.header.salts == self.salts && frame.header.page != 0
    }

    fn frame(&self, index: u32) -> io::Result<Option<Frame>> {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        let mut page = [0; PAGE_BYTES];
        let offset = offset_of(index);
        let is_whole = read_whole(self.file, &mut bytes, offset)?
            && read_whole(self.file, &mut page, offset + FRAME_HEADER_BYTES as u64)?;
        Ok(is_whole.then(|| Frame { bytes, header: FrameHeader::parse(&bytes), page }))
    }
}

/// 0 for a file that is not there.
fn size_of_file(path: &Path) -> io::Result<u64> {
    match path.metadata() {
        Ok(metadata) => Ok(metadata.len()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

/// Fills `bytes`, or says that the file ends before.
fn read_whole(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<bool> {
    match file.read_exact_at(bytes, offset) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

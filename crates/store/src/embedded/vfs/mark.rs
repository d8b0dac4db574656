//! The mark: how far the log was synced, in a file of its own beside it.
//!
//! SQLite takes the first bad frame of a log for its end. That is right for the torn tail of a power cut, and silently
//! loses acknowledged commits if a synced frame was damaged. The mark tells one from the other: it names the last
//! frame whose sync succeeded, so a log that ends before its mark is damaged.
//!
//! It is written after each successful sync of the log and not synced with it, as that would double the price of a
//! commit. After the death of the process the mark is exact. After a power cut it may be as old as the kernel's
//! write-back (half a minute); then the log's own later transactions prove the earlier ones (see `log`), and only the
//! very last group of commits is without proof. An old mark never raises a false alarm: what it names was synced.
//! Before the log is emptied or deleted the mark is erased and synced, so that it never outlives what it speaks of.
//! An erased mark still says that the database was made, so that one which is empty is not taken for new.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::tap::{Action, Tapped};

/// The end of a log that is known to be on disk. `frame_count` 0 says that nothing is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Mark {
    /// The generation of the log: SQLite draws new salts whenever it starts over.
    pub salts: [u8; 8],
    pub frame_count: u32,
    /// The checksum in the header of the last frame, which follows from all frames before it.
    pub checksum: [u8; 8],
}

const MAGIC: [u8; 4] = *b"LMK1";
const MARK_BYTES: usize = 32;
const BODY_BYTES: usize = 24;

impl Mark {
    fn encode(&self) -> [u8; MARK_BYTES] {
        let mut body = [0; BODY_BYTES];
        let fields = MAGIC.iter().chain(&self.salts);
        let count = self.frame_count.to_be_bytes();
        for (to, from) in body.iter_mut().zip(fields.chain(&count).chain(&self.checksum)) {
            *to = *from;
        }
        let mut bytes = [0; MARK_BYTES];
        for (to, from) in bytes.iter_mut().zip(body.iter().chain(&xxh3_64(&body).to_be_bytes())) {
            *to = *from;
        }
        bytes
    }

    /// A mark that is not whole says nothing.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, sum) = bytes.split_first_chunk::<BODY_BYTES>()?;
        if *sum != xxh3_64(body).to_be_bytes() {
            return None;
        }
        let (magic, rest) = body.split_first_chunk::<4>()?;
        let (salts, rest) = rest.split_first_chunk()?;
        let (count, checksum) = rest.split_first_chunk()?;
        let checksum = checksum.first_chunk()?;
        (*magic == MAGIC).then_some(Self {
            salts: *salts,
            frame_count: u32::from_be_bytes(*count),
            checksum: *checksum,
        })
    }
}

/// The file that holds the mark of one log. Opened at the first use, kept open as long as the log's handle.
pub(super) struct MarkFile {
    path: PathBuf,
    disk: Tapped,
    open: Option<File>,
    is_dirty: bool,
}

impl MarkFile {
    /// The mark beside the log at `log`: `x-wal` has `x-mark`.
    pub(super) fn beside(log: &Path, disk: Tapped) -> Self {
        let name = log.as_os_str().as_bytes();
        let stem = name.strip_suffix(b"-wal").unwrap_or(name);
        let mut path = OsString::from(OsStr::from_bytes(stem));
        path.push("-mark");
        Self { path: path.into(), disk, open: None, is_dirty: false }
    }

    /// Absent before the first commit of a database, and when the file is damaged.
    pub(super) fn read(&self) -> io::Result<Option<Mark>> {
        match fs::read(&self.path) {
            Ok(bytes) => Ok(Mark::decode(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn write(&mut self, mark: &Mark) -> io::Result<()> {
        self.file()?;
        let Self { path, disk, open: Some(file), is_dirty } = self else { return Ok(()) };
        let bytes = mark.encode();
        disk.run(path, Action::Write { offset: 0, bytes: &bytes }, || file.write_all_at(&bytes, 0))?;
        *is_dirty = true;
        Ok(())
    }

    pub(super) fn sync(&mut self) -> io::Result<()> {
        let Self { path, disk, open: Some(file), is_dirty: is_dirty @ true } = self else { return Ok(()) };
        disk.run(path, Action::Sync, || file.sync_data())?;
        *is_dirty = false;
        Ok(())
    }

    /// Forgets, durably, what was marked. Nothing is created where there was no mark.
    pub(super) fn erase(&mut self) -> io::Result<()> {
        if self.open.is_none() && self.read()?.is_none() {
            return Ok(());
        }
        self.write(&Mark::default())?;
        self.sync()
    }

    fn file(&mut self) -> io::Result<()> {
        if self.open.is_none() {
            let mut options = OpenOptions::new();
            options.read(true).write(true).mode(0o600);
            let file = match options.open(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let create = || options.create(true).open(&self.path);
                    self.disk.run(&self.path, Action::Create, create)?
                }
                opened => opened?,
            };
            self.open = Some(file);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_reads_back_and_a_damaged_one_says_nothing() {
        let mark = Mark { salts: *b"saltsalt", frame_count: 7, checksum: *b"checksum" };
        let bytes = mark.encode();
        assert_eq!(Mark::decode(&bytes), Some(mark));
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Mark::decode(&bytes), None);
        }
        assert_eq!(Mark::decode(&bytes[..31]), None);
        assert_eq!(Mark::decode(&[]), None);
    }

    #[test]
    fn an_erased_mark_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("kv.db-wal");
        let mut file = MarkFile::beside(&log, Tapped::default());
        file.erase().unwrap();
        assert!(!dir.path().join("kv.db-mark").exists());
        let mark = Mark { frame_count: 3, ..Mark::default() };
        file.write(&mark).unwrap();
        assert_eq!(file.read().unwrap(), Some(mark));
        file.erase().unwrap();
        assert_eq!(file.read().unwrap(), Some(Mark::default()));
    }
}

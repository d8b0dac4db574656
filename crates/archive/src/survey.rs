//! The passes over an archive, and `inspect`, which makes them and writes nothing.
//!
//! First every header is read: names, kinds, limits, the agreement of central and local, the places. Only when all of
//! that stands are contents inflated, so that an archive that lies about its layout costs no time there.

use crate::content::{Reader, Sink};
use crate::ending::{self, Directory};
use crate::entry::{CentralHeader, Entry, Kind};
use crate::error::{ArchiveError, EntryFlaw, StructureFlaw};
use crate::limits::{LINK_TARGET_BYTES_MAX, Limits};
use crate::local::{self, Place};
use crate::source::{Nearby, Source, Window};
use crate::tree::Tree;

/// What an accepted archive holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    pub archive_bytes: u64,
    /// Sum of the contents of all files and links.
    pub unzipped_bytes: u64,
    pub file_count: u32,
    /// Entries that are directories; those that only appear in other names are not counted.
    pub directory_count: u32,
    pub link_count: u32,
}

/// Reads the whole archive, inflating every byte, and tells what it holds or why it is refused. What this accepts,
/// `unpack` extracts.
pub fn inspect(source: &dyn Source, limits: &Limits) -> Result<Summary, ArchiveError> {
    let archive = Archive::open(source, limits)?;
    let summary = archive.survey()?;
    archive.read_contents()?;
    Ok(summary)
}

/// An archive whose end has been found.
pub(crate) struct Archive<'a> {
    source: &'a dyn Source,
    limits: &'a Limits,
    directory: Directory,
}

impl<'a> Archive<'a> {
    pub fn open(source: &'a dyn Source, limits: &'a Limits) -> Result<Self, ArchiveError> {
        let directory = ending::find(source, limits)?;
        Ok(Self { source, limits, directory })
    }

    /// The first pass: everything but the contents.
    pub fn survey(&self) -> Result<Summary, ArchiveError> {
        let mut summary =
            Summary { archive_bytes: self.source.size_bytes().map_err(ArchiveError::Read)?, ..Summary::default() };
        let mut tree = Tree::new();
        let mut places = Vec::new();
        let mut covered_bytes: u64 = 0;
        let mut entries = self.entries();
        while let Some(entry) = entries.next()? {
            tree.insert(&entry.path, entry.kind == Kind::Directory)
                .map_err(|flaw| ArchiveError::entry(entry.index, flaw))?;
            if u32::try_from(tree.len()).is_ok_and(|nodes| nodes > self.limits.entries_max) {
                return Err(ArchiveError::TooManyEntries { max: self.limits.entries_max });
            }
            let place = entries.locate(&entry)?;
            // Places that do not overlap fit before the directory together. Asking at every step keeps the cost of
            // reading headers that lie within each other to the size of the archive.
            covered_bytes = covered_bytes.saturating_add(place.end.saturating_sub(place.start));
            if covered_bytes > self.directory.start {
                return Err(StructureFlaw::Overlap.into());
            }
            places.push(place);
            let count = match entry.kind {
                Kind::File { .. } => &mut summary.file_count,
                Kind::Directory => &mut summary.directory_count,
                Kind::Link => &mut summary.link_count,
            };
            *count = count.saturating_add(1);
        }
        summary.unzipped_bytes = entries.unzipped_bytes;
        places.sort_unstable_by_key(|place| place.start);
        match places.windows(2).any(|pair| matches!(pair, [one, next] if one.end > next.start)) {
            true => Err(StructureFlaw::Overlap.into()),
            false => Ok(summary),
        }
    }

    /// The second pass: inflates and checks everything.
    fn read_contents(&self) -> Result<(), ArchiveError> {
        let mut reader = Reader::new();
        let mut entries = self.entries();
        while let Some(entry) = entries.next()? {
            match entry.kind {
                Kind::Link => {
                    entries.read_target(&entry, &mut reader)?;
                }
                _ => entries.read(&entry, &mut reader, &mut |_| Ok(()))?,
            }
        }
        Ok(())
    }

    /// Reads the central directory from its start. Each pass checks limits again and so relies on no earlier one.
    pub fn entries(&self) -> Entries<'_> {
        let Directory { start, bytes, entry_count, shift_bytes } = self.directory;
        Entries {
            source: self.source,
            window: Window::new(self.source, start, bytes),
            entry_count,
            index: 0,
            shift_bytes,
            nearby: Nearby::new(self.source, start),
            data_end: start,
            unzipped_bytes: 0,
            unzipped_bytes_max: self.limits.unzipped_bytes_max,
        }
    }
}

/// A walk through the central directory.
pub(crate) struct Entries<'a> {
    source: &'a dyn Source,
    window: Window<'a>,
    entry_count: u32,
    index: u32,
    nearby: Nearby<'a>,
    shift_bytes: u64,
    data_end: u64,
    /// Of the entries so far.
    unzipped_bytes: u64,
    unzipped_bytes_max: u64,
}

impl Entries<'_> {
    /// The next entry. After the last, the directory must be at its end.
    pub fn next(&mut self) -> Result<Option<Entry>, ArchiveError> {
        if self.index == self.entry_count {
            return if self.window.is_empty() { Ok(None) } else { Err(StructureFlaw::DirectoryEntries.into()) };
        }
        let index = self.index;
        let refuse = |flaw| ArchiveError::entry(index, flaw);
        let header = self.take(CentralHeader::BYTES)?;
        let header = CentralHeader::parse(header).ok_or_else(|| refuse(EntryFlaw::CentralHeader))?;
        let name = self.take(header.name_bytes)?.to_vec();
        let extra = self.take(header.extra_bytes)?;
        let entry = header.entry(index, name, extra).map_err(refuse)?;
        self.take(header.comment_bytes)?;
        self.index = index.saturating_add(1);
        self.unzipped_bytes = self.unzipped_bytes.saturating_add(entry.unpacked_bytes);
        if self.unzipped_bytes > self.unzipped_bytes_max {
            return Err(ArchiveError::UnzippedTooLarge { max: self.unzipped_bytes_max });
        }
        Ok(Some(entry))
    }

    /// Reads and checks the local header of `entry`.
    pub fn locate(&mut self, entry: &Entry) -> Result<Place, ArchiveError> {
        local::locate(&mut self.nearby, entry, self.shift_bytes, self.data_end)
    }

    /// Passes the contents of `entry` to `sink`.
    pub fn read(&mut self, entry: &Entry, reader: &mut Reader, sink: &mut Sink<'_>) -> Result<(), ArchiveError> {
        let place = self.locate(entry)?;
        reader.read(self.source, entry, place.data_start, sink)
    }

    /// The target of a link, which leads nowhere that it must not.
    pub fn read_target(&mut self, entry: &Entry, reader: &mut Reader) -> Result<Vec<u8>, ArchiveError> {
        let mut target = Vec::with_capacity(usize::try_from(LINK_TARGET_BYTES_MAX).unwrap_or_default());
        self.read(entry, reader, &mut |bytes| {
            target.extend_from_slice(bytes);
            Ok(())
        })?;
        entry.path.check_target(&target).map_err(|flaw| ArchiveError::entry(entry.index, flaw))?;
        Ok(target)
    }

    fn take(&mut self, count: u16) -> Result<&[u8], ArchiveError> {
        let taken = self.window.take(count).map_err(ArchiveError::Read)?;
        taken.ok_or_else(|| StructureFlaw::DirectoryEntries.into())
    }
}

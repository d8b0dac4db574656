//! The records at the end of an archive, which say where its central directory is.
//!
//! Readers search for the end record from the back and differ in what they accept. Here it is the last thing in the
//! file, its comment reaching the last byte, and nothing else may pass for it. Bytes before the first entry are
//! accepted, as every widespread reader does (a self-extracting stub, a shebang line), with offsets that count them or
//! not; as the central directory ends where the end records begin, there is only one way to read either.

use crate::error::{ArchiveError, StructureFlaw};
use crate::fields::Fields;
use crate::limits::Limits;
use crate::source::Source;

/// Where the central directory lies, all of it within the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Directory {
    pub start: u64,
    pub bytes: u64,
    pub entry_count: u32,
    /// Added to every offset that the archive states.
    pub shift_bytes: u64,
}

const END_SIGNATURE: [u8; 4] = *b"PK\x05\x06";
const END_BYTES: u64 = 22;
const LOCATOR_SIGNATURE: u32 = u32::from_le_bytes(*b"PK\x06\x07");
const LOCATOR_BYTES: u64 = 20;
const ZIP64_SIGNATURE: u32 = u32::from_le_bytes(*b"PK\x06\x06");
const ZIP64_BYTES: u64 = 56;
/// What the record says of its own size: it does not count its first twelve bytes.
const ZIP64_STATED_BYTES: u64 = ZIP64_BYTES - 12;

/// What an end record says, narrow or wide.
struct End {
    disk: u64,
    directory_disk: u64,
    disk_entries: u64,
    entries: u64,
    directory_bytes: u64,
    directory_offset: u64,
}

pub(crate) fn find(source: &dyn Source, limits: &Limits) -> Result<Directory, ArchiveError> {
    let size = source.size_bytes().map_err(ArchiveError::Read)?;
    if size > limits.archive_bytes_max {
        return Err(ArchiveError::ArchiveTooLarge { bytes: size, max: limits.archive_bytes_max });
    }
    let tail_bytes = size.min(END_BYTES.saturating_add(u64::from(u16::MAX)));
    let tail_offset = size.saturating_sub(tail_bytes);
    let tail = read(source, tail_offset, tail_bytes)?;
    let position = end_position(&tail)?;
    let record = tail.get(position..).unwrap_or_default();
    let narrow = parse_end(record).ok_or(StructureFlaw::NoEnd)?;
    let end_offset = tail_offset.saturating_add(u64::try_from(position).unwrap_or(u64::MAX));

    let (end, end_offset, located) = match zip64(source, end_offset)? {
        Some((wide, wide_offset, located)) => (reconcile(&narrow, wide)?, wide_offset, Some(located)),
        None => (narrow, end_offset, None),
    };
    if end.disk != 0 || end.directory_disk != 0 || end.disk_entries != end.entries {
        return Err(StructureFlaw::MultiDisk.into());
    }
    if end.entries == 0 && end.directory_bytes == 0 {
        return Err(ArchiveError::Empty);
    }
    let entry_count = u32::try_from(end.entries)
        .ok()
        .filter(|count| *count <= limits.entries_max)
        .ok_or(ArchiveError::TooManyEntries { max: limits.entries_max })?;
    let start = end_offset.checked_sub(end.directory_bytes).ok_or(StructureFlaw::DirectoryBounds)?;
    let shift_bytes = start.checked_sub(end.directory_offset).ok_or(StructureFlaw::DirectoryBounds)?;
    if located.is_some_and(|located| located.checked_add(shift_bytes) != Some(end_offset)) {
        return Err(StructureFlaw::Zip64End.into());
    }
    Ok(Directory { start, bytes: end.directory_bytes, entry_count, shift_bytes })
}

/// Finds the one end record whose comment reaches the last byte; it must also be the last thing that looks like one.
fn end_position(tail: &[u8]) -> Result<usize, StructureFlaw> {
    let mut reaching = None;
    for (position, _) in tail.windows(END_SIGNATURE.len()).enumerate().filter(|(_, bytes)| *bytes == END_SIGNATURE) {
        if reaching.is_some() {
            // A signature within the comment: readers that stop at the first match from the back would stop here.
            return Err(StructureFlaw::AmbiguousEnd);
        }
        if parse_end(tail.get(position..).unwrap_or_default()).is_some() {
            reaching = Some(position);
        }
    }
    reaching.ok_or(StructureFlaw::NoEnd)
}

/// The record, if it and its comment fill `bytes` exactly.
fn parse_end(bytes: &[u8]) -> Option<End> {
    let mut fields = Fields::new(bytes);
    fields.bytes(END_SIGNATURE.len())?;
    let end = End {
        disk: fields.u16()?.into(),
        directory_disk: fields.u16()?.into(),
        disk_entries: fields.u16()?.into(),
        entries: fields.u16()?.into(),
        directory_bytes: fields.u32()?.into(),
        directory_offset: fields.u32()?.into(),
    };
    let comment_bytes = fields.u16()?;
    (fields.len() == usize::from(comment_bytes)).then_some(end)
}

/// The zip64 end record, its offset in the source, and the offset that its locator states. It lies directly before its
/// locator, and that directly before the end record.
fn zip64(source: &dyn Source, end_offset: u64) -> Result<Option<(End, u64, u64)>, ArchiveError> {
    let Some(locator_offset) = end_offset.checked_sub(LOCATOR_BYTES) else { return Ok(None) };
    let locator = read(source, locator_offset, LOCATOR_BYTES)?;
    let mut fields = Fields::new(&locator);
    if fields.u32() != Some(LOCATOR_SIGNATURE) {
        return Ok(None);
    }
    let (disk, located, disks) = (fields.u32(), fields.u64(), fields.u32());
    if disk != Some(0) || disks.is_none_or(|disks| disks > 1) {
        return Err(StructureFlaw::MultiDisk.into());
    }
    let offset = locator_offset.checked_sub(ZIP64_BYTES).ok_or(StructureFlaw::Zip64End)?;
    let record = read(source, offset, ZIP64_BYTES)?;
    let end = parse_zip64(&record).ok_or(StructureFlaw::Zip64End)?;
    Ok(Some((end, offset, located.ok_or(StructureFlaw::Zip64End)?)))
}

fn parse_zip64(bytes: &[u8]) -> Option<End> {
    let mut fields = Fields::new(bytes);
    if fields.u32()? != ZIP64_SIGNATURE || fields.u64()? != ZIP64_STATED_BYTES {
        return None;
    }
    let _made_by_and_needed = fields.u32()?;
    Some(End {
        disk: fields.u32()?.into(),
        directory_disk: fields.u32()?.into(),
        disk_entries: fields.u64()?,
        entries: fields.u64()?,
        directory_bytes: fields.u64()?,
        directory_offset: fields.u64()?,
    })
}

/// The wide record, if every narrow field either points to it by being all ones, or says the same.
fn reconcile(narrow: &End, wide: End) -> Result<End, StructureFlaw> {
    let short = u64::from(u16::MAX);
    let long = u64::from(u32::MAX);
    let agree = [
        (narrow.disk, wide.disk, short),
        (narrow.directory_disk, wide.directory_disk, short),
        (narrow.disk_entries, wide.disk_entries, short),
        (narrow.entries, wide.entries, short),
        (narrow.directory_bytes, wide.directory_bytes, long),
        (narrow.directory_offset, wide.directory_offset, long),
    ]
    .iter()
    .all(|(narrow, wide, unset)| narrow == wide || narrow == unset);
    if agree { Ok(wide) } else { Err(StructureFlaw::Zip64Disagrees) }
}

fn read(source: &dyn Source, offset: u64, bytes: u64) -> Result<Vec<u8>, ArchiveError> {
    let mut buffer = vec![0; usize::try_from(bytes).unwrap_or_default()];
    source.read_exact_at(&mut buffer, offset).map_err(ArchiveError::Read)?;
    Ok(buffer)
}

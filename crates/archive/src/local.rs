//! The local header before an entry's data and the descriptor behind it, held against the central directory.

use crate::entry::{Entry, Flags, Method};
use crate::error::{ArchiveError, EntryFlaw};
use crate::extra::Extra;
use crate::fields::Fields;
use crate::source::Nearby;

/// Where an entry lies in the source, from its local header to its descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub start: u64,
    pub data_start: u64,
    pub end: u64,
}

/// The part of a local header that has a fixed size.
struct LocalHeader {
    flags: u16,
    method: u16,
    checksum: u32,
    packed: u32,
    unpacked: u32,
    name_bytes: u16,
    extra_bytes: u16,
}

const HEADER_BYTES: u8 = 30;
const SIGNATURE: u32 = u32::from_le_bytes(*b"PK\x03\x04");
const DESCRIPTOR_SIGNATURE: u32 = u32::from_le_bytes(*b"PK\x07\x08");
const DESCRIPTOR_BYTES_MAX: u64 = 24;

/// Reads what the archive says of `entry` at the place itself. Everything must lie before `end`, where the central
/// directory starts, and agree with it.
pub(crate) fn locate(
    nearby: &mut Nearby<'_>,
    entry: &Entry,
    shift_bytes: u64,
    end: u64,
) -> Result<Place, ArchiveError> {
    let refuse = |flaw| ArchiveError::entry(entry.index, flaw);
    let bounded = |from: u64, bytes: u64| {
        from.checked_add(bytes).filter(|to| *to <= end).ok_or_else(|| refuse(EntryFlaw::Bounds))
    };
    let start = bounded(entry.offset, shift_bytes)?;
    let header_end = bounded(start, u64::from(HEADER_BYTES))?;
    let header = nearby.read(start, HEADER_BYTES.into()).map_err(ArchiveError::Read)?;
    let header = LocalHeader::parse(header).ok_or_else(|| refuse(EntryFlaw::LocalHeader))?;

    let (name_bytes, extra_bytes) = (usize::from(header.name_bytes), usize::from(header.extra_bytes));
    let name_end = bounded(header_end, header.name_bytes.into())?;
    let data_start = bounded(name_end, header.extra_bytes.into())?;
    let data_end = bounded(data_start, entry.packed_bytes)?;
    let variable = nearby.read(header_end, name_bytes.saturating_add(extra_bytes)).map_err(ArchiveError::Read)?;
    let (name, extra) = variable.split_at_checked(name_bytes).unwrap_or_default();
    header.check(entry, name, extra).map_err(refuse)?;

    if !entry.flags.has_descriptor() {
        return Ok(Place { start, data_start, end: data_end });
    }
    let found_bytes = DESCRIPTOR_BYTES_MAX.min(end.saturating_sub(data_end));
    let found = nearby.read(data_end, usize::try_from(found_bytes).unwrap_or_default()).map_err(ArchiveError::Read)?;
    let descriptor_bytes = descriptor_bytes(found, entry).ok_or_else(|| refuse(EntryFlaw::Descriptor))?;
    Ok(Place { start, data_start, end: bounded(data_end, descriptor_bytes)? })
}

impl LocalHeader {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(bytes);
        fields.u32().filter(|signature| *signature == SIGNATURE)?;
        let _needed = fields.u16()?;
        let (flags, method) = (fields.u16()?, fields.u16()?);
        let _modified = fields.u32()?;
        Some(Self {
            flags,
            method,
            checksum: fields.u32()?,
            packed: fields.u32()?,
            unpacked: fields.u32()?,
            name_bytes: fields.u16()?,
            extra_bytes: fields.u16()?,
        })
    }

    fn check(&self, entry: &Entry, name: &[u8], extra: &[u8]) -> Result<(), EntryFlaw> {
        if name != entry.name {
            return Err(EntryFlaw::LocalName);
        }
        if Method::new(self.method) != Ok(entry.method) {
            return Err(EntryFlaw::LocalMethod);
        }
        if Flags::new(self.flags) != entry.flags {
            return Err(EntryFlaw::LocalFlags);
        }
        // With a descriptor to come, a writer that could not know puts zero.
        let later = entry.flags.has_descriptor();
        if self.checksum != entry.checksum && !(later && self.checksum == 0) {
            return Err(EntryFlaw::LocalChecksum);
        }
        let [unpacked, packed] = Extra::parse(extra)?.widen_local([self.unpacked, self.packed])?;
        let agrees = |local, central| local == central || (later && local == 0);
        if agrees(unpacked, entry.unpacked_bytes) && agrees(packed, entry.packed_bytes) {
            Ok(())
        } else {
            Err(EntryFlaw::LocalSizes)
        }
    }
}

/// Length of the descriptor that `bytes` begins with, in any of the four forms that are in use (signature or none, sizes
/// of four bytes or eight), if one of them says what the central directory says.
fn descriptor_bytes(bytes: &[u8], entry: &Entry) -> Option<u64> {
    let agrees = |signed: bool, wide: bool| {
        let mut fields = Fields::new(bytes);
        if signed && fields.u32()? != DESCRIPTOR_SIGNATURE {
            return None;
        }
        let checksum = fields.u32()?;
        let mut size = || if wide { fields.u64() } else { fields.u32().map(u64::from) };
        let (packed, unpacked) = (size()?, size()?);
        (checksum == entry.checksum && packed == entry.packed_bytes && unpacked == entry.unpacked_bytes).then_some(())
    };
    let forms = [(true, false, 16), (true, true, 24), (false, false, 12), (false, true, 20)];
    forms.into_iter().find(|(signed, wide, _)| agrees(*signed, *wide).is_some()).map(|(_, _, length)| length)
}

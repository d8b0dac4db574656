//! One entry, as the central directory describes it.

use time::{Date, Month, Time, UtcDateTime};

use crate::error::EntryFlaw;
use crate::extra::Extra;
use crate::fields::Fields;
use crate::limits::LINK_TARGET_BYTES_MAX;
use crate::name::EntryPath;

/// An entry whose own description holds no contradiction. Whether its local header agrees is `local`'s to say.
#[derive(Debug)]
pub(crate) struct Entry {
    pub index: u32,
    /// As the header has it, to compare.
    pub name: Vec<u8>,
    pub path: EntryPath,
    pub kind: Kind,
    pub method: Method,
    pub flags: Flags,
    pub checksum: u32,
    pub packed_bytes: u64,
    pub unpacked_bytes: u64,
    /// Of the local header, as the archive states it.
    pub offset: u64,
    /// Of the last change, in seconds since 1970, and kept as Lambda keeps it: Python compares it with what a compiled
    /// file next to it noted.
    pub modified_secs: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File { executable: bool },
    Directory,
    Link,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Stored,
    Deflate,
}

/// The bits that change how an entry is read. The others tell how hard its writer tried, or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flags(u16);

impl Flags {
    const ENCRYPTED: u16 = 1 << 0 | 1 << 6 | 1 << 13;
    const DESCRIPTOR: u16 = 1 << 3;
    const PATCH: u16 = 1 << 5;
    const UTF8: u16 = 1 << 11;

    pub fn new(bits: u16) -> Self {
        Self(bits & (Self::ENCRYPTED | Self::DESCRIPTOR | Self::PATCH | Self::UTF8))
    }

    /// Whether sizes and checksum follow the data.
    pub fn has_descriptor(self) -> bool {
        self.0 & Self::DESCRIPTOR != 0
    }

    fn check(self) -> Result<(), EntryFlaw> {
        match self.0 {
            bits if bits & Self::ENCRYPTED != 0 => Err(EntryFlaw::Encrypted),
            bits if bits & Self::PATCH != 0 => Err(EntryFlaw::Patch),
            _ => Ok(()),
        }
    }
}

impl Method {
    pub fn new(code: u16) -> Result<Self, EntryFlaw> {
        match code {
            0 => Ok(Self::Stored),
            8 => Ok(Self::Deflate),
            other => Err(EntryFlaw::Method(other)),
        }
    }
}

/// The part of a central header that has a fixed size.
#[derive(Debug)]
pub(crate) struct CentralHeader {
    made_by: u16,
    flags: u16,
    method: u16,
    modified_time: u16,
    modified_date: u16,
    checksum: u32,
    packed: u32,
    unpacked: u32,
    pub name_bytes: u16,
    pub extra_bytes: u16,
    pub comment_bytes: u16,
    disk: u16,
    attributes: u32,
    offset: u32,
}

impl CentralHeader {
    pub const BYTES: u16 = 46;
    const SIGNATURE: u32 = u32::from_le_bytes(*b"PK\x01\x02");

    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(bytes);
        fields.u32().filter(|signature| *signature == Self::SIGNATURE)?;
        let made_by = fields.u16()?;
        let _needed = fields.u16()?;
        let (flags, method, modified_time, modified_date) =
            (fields.u16()?, fields.u16()?, fields.u16()?, fields.u16()?);
        let (checksum, packed, unpacked) = (fields.u32()?, fields.u32()?, fields.u32()?);
        let (name_bytes, extra_bytes, comment_bytes) = (fields.u16()?, fields.u16()?, fields.u16()?);
        let disk = fields.u16()?;
        let _internal_attributes = fields.u16()?;
        let (attributes, offset) = (fields.u32()?, fields.u32()?);
        Some(Self {
            made_by,
            flags,
            method,
            modified_time,
            modified_date,
            checksum,
            packed,
            unpacked,
            name_bytes,
            extra_bytes,
            comment_bytes,
            disk,
            attributes,
            offset,
        })
    }

    /// The whole entry, its name and extra field having been read.
    pub fn entry(&self, index: u32, name: Vec<u8>, extra: &[u8]) -> Result<Entry, EntryFlaw> {
        let flags = Flags::new(self.flags);
        flags.check()?;
        let method = Method::new(self.method)?;
        if self.disk != 0 {
            return Err(EntryFlaw::MultiDisk);
        }
        let extra = Extra::parse(extra)?;
        let modified_secs = extra.modified_secs.unwrap_or_else(|| self.dos_secs());
        let [unpacked_bytes, packed_bytes, offset] = extra.widen_central([self.unpacked, self.packed, self.offset])?;
        let (path, directory) = EntryPath::parse(&name)?;
        let kind = self.kind(directory)?;
        match kind {
            Kind::Directory if unpacked_bytes != 0 => return Err(EntryFlaw::DirectoryWithContents),
            Kind::Link if unpacked_bytes == 0 || unpacked_bytes > LINK_TARGET_BYTES_MAX => {
                return Err(EntryFlaw::LinkLength);
            }
            _ if method == Method::Stored && packed_bytes != unpacked_bytes => return Err(EntryFlaw::StoredSizes),
            _ => {}
        }
        let checksum = self.checksum;
        Ok(Entry {
            index,
            name,
            path,
            kind,
            method,
            flags,
            checksum,
            packed_bytes,
            unpacked_bytes,
            offset,
            modified_secs,
        })
    }

    /// Only writers that call themselves Unix have a mode in the upper half of the attributes; from all others a file
    /// is not executable, which is why functions zipped on Windows by hand fail on Lambda too.
    fn kind(&self, named_directory: bool) -> Result<Kind, EntryFlaw> {
        const HOST_UNIX: u16 = 3;
        const HOST_DARWIN: u16 = 19;
        const TYPE: u32 = 0o170_000;
        const DIRECTORY: u32 = 0o040_000;
        const REGULAR: u32 = 0o100_000;
        const LINK: u32 = 0o120_000;
        const ANY_EXECUTES: u32 = 0o111;

        let unix = matches!(self.made_by >> 8, HOST_UNIX | HOST_DARWIN);
        let mode = if unix { self.attributes >> 16 } else { 0 };
        let executable = mode & ANY_EXECUTES != 0;
        match (mode & TYPE, named_directory) {
            (0 | DIRECTORY, true) => Ok(Kind::Directory),
            (0 | REGULAR, false) => Ok(Kind::File { executable }),
            (LINK, false) => Ok(Kind::Link),
            (DIRECTORY, false) | (REGULAR | LINK, true) => Err(EntryFlaw::KindMismatch),
            _ => Err(EntryFlaw::SpecialFile),
        }
    }

    /// The old time field, which knows no zone: read as UTC, so that one archive unpacks alike everywhere. What is no
    /// date is the format's first day.
    fn dos_secs(&self) -> i64 {
        const FIRST_DAY_SECS: i64 = 315_532_800;
        let bits = |field: u16, from: u32, mask: u8| u8::try_from(field >> from & u16::from(mask)).unwrap_or_default();
        let year = i32::from(bits(self.modified_date, 9, 0x7f)).saturating_add(1980);
        let day = bits(self.modified_date, 0, 0x1f);
        let second = bits(self.modified_time, 0, 0x1f).saturating_mul(2);
        let moment = Month::try_from(bits(self.modified_date, 5, 0x0f))
            .and_then(|month| Date::from_calendar_date(year, month, day))
            .and_then(|date| {
                let time =
                    Time::from_hms(bits(self.modified_time, 11, 0x1f), bits(self.modified_time, 5, 0x3f), second)?;
                Ok(UtcDateTime::new(date, time))
            });
        moment.map_or(FIRST_DAY_SECS, UtcDateTime::unix_timestamp)
    }
}

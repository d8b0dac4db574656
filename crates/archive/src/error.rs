//! Why an archive was refused.
//!
//! The variants are what a service has to tell apart: AWS has one message for what is too large unzipped, one for an
//! empty archive, one for everything that could not be unzipped. The flaws beneath are for the log and for tests.

use std::io;

#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("read the archive")]
    Read(#[source] io::Error),
    #[error("accept an archive of {bytes} bytes, {max} being the limit")]
    ArchiveTooLarge { bytes: u64, max: u64 },
    #[error("accept an archive that unzips to more than {max} bytes")]
    UnzippedTooLarge { max: u64 },
    #[error("accept an archive of more than {max} files and directories")]
    TooManyEntries { max: u32 },
    #[error("accept an archive without entries")]
    Empty,
    #[error("read the archive's structure: {0}")]
    Malformed(StructureFlaw),
    /// `index` counts from zero in the order of the central directory. Names of entries are the uploader's and stay
    /// out of the log.
    #[error("accept entry {index}: {flaw}")]
    Entry { index: u32, flaw: EntryFlaw },
    #[error("unpack into a directory that is not empty")]
    NotEmpty,
    /// The disk is full, or someone else changes the directory that is being unpacked into.
    #[error("{step}")]
    Write {
        step: &'static str,
        #[source]
        source: io::Error,
    },
}

/// What is wrong with the records that hold an archive together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StructureFlaw {
    #[error("no end record, or bytes after it")]
    NoEnd,
    #[error("two end records could be meant")]
    AmbiguousEnd,
    #[error("the archive spans several disks")]
    MultiDisk,
    #[error("the zip64 end record is missing, misplaced or not of the known form")]
    Zip64End,
    #[error("the zip64 end record contradicts the end record")]
    Zip64Disagrees,
    #[error("the central directory lies outside the archive")]
    DirectoryBounds,
    #[error("the central directory does not hold the entries that it announces")]
    DirectoryEntries,
    #[error("entries overlap")]
    Overlap,
}

/// What is wrong with one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EntryFlaw {
    #[error("its central header is cut short or has no signature")]
    CentralHeader,
    #[error("it is encrypted")]
    Encrypted,
    #[error("it is a patch")]
    Patch,
    #[error("compression method {0} is not supported")]
    Method(u16),
    #[error("it lies on another disk")]
    MultiDisk,
    #[error("its extra field is damaged")]
    ExtraField,
    #[error("its zip64 sizes are missing or superfluous")]
    Zip64Sizes,

    #[error("its name is empty")]
    NameEmpty,
    #[error("its name is not UTF-8")]
    NameEncoding,
    #[error("its name holds a NUL")]
    NameNul,
    #[error("its name is absolute")]
    NameAbsolute,
    #[error("its name holds `..`")]
    NameParent,
    #[error("its name holds an empty component")]
    NameEmptyComponent,
    #[error("its name is too long")]
    NameTooLong,
    #[error("a component of its name is too long")]
    ComponentTooLong,
    #[error("it lies too deep")]
    TooDeep,
    #[error("its name was there before")]
    Duplicate,
    #[error("it is both a directory and none")]
    DirectoryConflict,
    #[error("it lies below a file or a link")]
    BelowFile,

    #[error("it is neither file, directory nor symbolic link")]
    SpecialFile,
    #[error("its name and its attributes differ on whether it is a directory")]
    KindMismatch,
    #[error("it is a directory with contents")]
    DirectoryWithContents,
    #[error("it is stored, yet its sizes differ")]
    StoredSizes,
    #[error("the target of the link is empty or too long")]
    LinkLength,
    #[error("the target of the link is no text or holds a NUL")]
    LinkEncoding,
    #[error("the link leads out of the archive")]
    LinkEscapes,

    #[error("it lies outside the archive")]
    Bounds,
    #[error("its local header has no signature")]
    LocalHeader,
    #[error("its local header has another name")]
    LocalName,
    #[error("its local header has another method")]
    LocalMethod,
    #[error("its local header has other flags")]
    LocalFlags,
    #[error("its local header has another checksum")]
    LocalChecksum,
    #[error("its local header has other sizes")]
    LocalSizes,
    #[error("its data descriptor is missing or different")]
    Descriptor,

    #[error("its data is no deflate stream")]
    Deflate,
    #[error("its data ends early")]
    Truncated,
    #[error("its data goes on after the end of its stream")]
    TrailingData,
    #[error("it unzips to another size than it says")]
    Size,
    #[error("its checksum is wrong")]
    Checksum,
}

impl ArchiveError {
    pub(crate) fn entry(index: u32, flaw: EntryFlaw) -> Self {
        Self::Entry { index, flaw }
    }

    /// For `map_err` behind a call whose errno says it all.
    pub(crate) fn write<E: Into<io::Error>>(step: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Write { step, source: source.into() }
    }
}

impl From<StructureFlaw> for ArchiveError {
    fn from(flaw: StructureFlaw) -> Self {
        Self::Malformed(flaw)
    }
}

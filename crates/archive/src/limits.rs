//! Every bound on an archive: those that a caller chooses, with AWS's values, and those that are the same for all.

/// What one upload may cost. The default is what Lambda takes in the body of `CreateFunction`; code that comes from S3
/// may be as large zipped as unzipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Size of the archive itself.
    pub archive_bytes_max: u64,
    /// Sum of all contents, directories counting nothing.
    pub unzipped_bytes_max: u64,
    /// Entries, and, counted for themselves, the files, links and directories that they make: an entry `a/b/c` alone
    /// makes three.
    pub entries_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { archive_bytes_max: ARCHIVE_BYTES_MAX, unzipped_bytes_max: UNZIPPED_BYTES_MAX, entries_max: ENTRIES_MAX }
    }
}

/// Lambda's 50 MB for a zip in a request.
pub const ARCHIVE_BYTES_MAX: u64 = 50 * 1024 * 1024;

/// Lambda's 250 MB for function and layers together, the number in its message.
pub const UNZIPPED_BYTES_MAX: u64 = 262_144_000;

/// Ours; AWS publishes none. The largest real trees (a web framework's `node_modules`) have some 60,000 files. A
/// fingerprint and a range of each entry are kept, so this bounds memory to about 9 MB.
pub const ENTRIES_MAX: u32 = 131_072;

/// Path below the root, so that it fits the kernel's `PATH_MAX` (4,096 with its NUL) behind `/var/task/`.
pub const NAME_BYTES_MAX: usize = 4_085;

/// One component of a path: what every Linux file system takes.
pub const COMPONENT_BYTES_MAX: usize = 255;

/// Directories above a file. Deeper trees are no code, and whoever deletes one may hold a descriptor for each level.
pub const DEPTH_MAX: usize = 128;

/// Target of a symbolic link: `PATH_MAX` without its NUL.
pub const LINK_TARGET_BYTES_MAX: u64 = 4_095;

/// Where an absolute symbolic link may lead: the directories that a function's own code and its layers appear in.
pub const LINK_ROOTS: [&str; 2] = ["/opt", "/var/task"];

/// The buffers that contents and the central directory pass through, each.
pub(crate) const BUFFER_BYTES: usize = 64 * 1024;

/// How much is read where a header is wanted: some forty headers of small files lie that near, and no more is wasted on
/// an archive whose headers are all far apart.
pub(crate) const NEARBY_BYTES: usize = 4 * 1024;

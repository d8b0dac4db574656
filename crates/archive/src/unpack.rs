//! Extracts an archive below a directory, and only there.
//!
//! Every path is resolved by the kernel from the directory that the caller opened (`openat2`, beneath, no symbolic link
//! followed, no mount crossed), and every file is created, never reopened. Links come last, when nothing is written any
//! more. So neither the archive nor another process that renames things or plants links below meanwhile can direct a
//! write elsewhere; the latter can only make unpacking fail. Whoever moves a directory out of the destination while
//! something is made in it takes that along: the destination is for the caller alone.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, AtFlags, Dir, Mode, OFlags, ResolveFlags, Timespec, Timestamps};
use rustix::io::{Errno, Result as SysResult};

use crate::content::Reader;
use crate::entry::{Entry, Kind};
use crate::error::ArchiveError;
use crate::limits::Limits;
use crate::name::EntryPath;
use crate::source::Source;
use crate::survey::{Archive, Entries, Summary};

/// Extracts `source` below `destination`, an empty directory opened for reading.
///
/// Directories and executable files get mode 0755, other files 0644, whatever the archive or the umask says; files get
/// the archive's times, everything belongs to the caller. On an error found in the headers nothing has been written; on
/// any other, such as a wrong checksum, part of the tree is there, and the caller deletes it. Nothing is synced.
pub fn unpack(source: &dyn Source, destination: BorrowedFd<'_>, limits: &Limits) -> Result<Summary, ArchiveError> {
    let archive = Archive::open(source, limits)?;
    let summary = archive.survey()?;
    let root = Root { directory: destination };
    root.check_empty()?;
    let mut reader = Reader::new();
    let mut entries = archive.entries();
    while let Some(entry) = entries.next()? {
        match entry.kind {
            Kind::File { executable } => root.write_file(&entry, executable, &mut entries, &mut reader)?,
            Kind::Directory => {
                // Whatever its few packed bytes are, they must unpack to nothing.
                entries.read(&entry, &mut reader, &mut |_| Ok(()))?;
                root.make_directories(entry.path.as_str()).map_err(ArchiveError::write("make a directory"))?;
            }
            Kind::Link => {}
        }
    }
    if summary.link_count > 0 {
        root.make_links(archive.entries(), &mut reader)?;
    }
    Ok(summary)
}

const SECURE: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);
const OPEN_DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
const CREATE_FILE: OFlags = OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::CLOEXEC);
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o755);
const PROGRAM_MODE: Mode = Mode::from_raw_mode(0o755);
const FILE_MODE: Mode = Mode::from_raw_mode(0o644);
const UNFINISHED_FILE_MODE: Mode = Mode::from_raw_mode(0o600);
/// The kernel asks to try again when a rename elsewhere kept it from proving that a path stays beneath.
const ATTEMPTS_MAX: u32 = 64;

/// The directory that is unpacked into. Paths are relative to it; the empty one is the directory itself.
struct Root<'d> {
    directory: BorrowedFd<'d>,
}

impl Root<'_> {
    fn check_empty(&self) -> Result<(), ArchiveError> {
        let listing = Dir::read_from(self.directory).map_err(ArchiveError::write("list the destination"))?;
        for found in listing {
            let found = found.map_err(ArchiveError::write("list the destination"))?;
            if !matches!(found.file_name().to_bytes(), b"." | b"..") {
                return Err(ArchiveError::NotEmpty);
            }
        }
        Ok(())
    }

    fn write_file(
        &self,
        entry: &Entry,
        executable: bool,
        entries: &mut Entries<'_>,
        reader: &mut Reader,
    ) -> Result<(), ArchiveError> {
        let mut file = File::from(self.create_file(&entry.path).map_err(ArchiveError::write("create a file"))?);
        entries.read(entry, reader, &mut |bytes| file.write_all(bytes).map_err(ArchiveError::write("write a file")))?;
        let mode = if executable { PROGRAM_MODE } else { FILE_MODE };
        let modified = Timespec { tv_sec: entry.modified_secs, tv_nsec: 0 };
        fs::fchmod(&file, mode)
            .and_then(|()| fs::futimens(&file, &Timestamps { last_access: modified, last_modification: modified }))
            .map_err(ArchiveError::write("set mode and time of a file"))
    }

    /// Most archives name a directory before its files or have it from the file before, so the directories are made
    /// only when they turn out to be missing.
    fn create_file(&self, path: &EntryPath) -> SysResult<OwnedFd> {
        match open(self.directory, path.as_str(), CREATE_FILE, UNFINISHED_FILE_MODE) {
            Err(Errno::NOENT) => {
                self.make_directories(path.split().0)?;
                open(self.directory, path.as_str(), CREATE_FILE, UNFINISHED_FILE_MODE)
            }
            other => other,
        }
    }

    /// Makes those directories on the way to `path` that are missing, and `path` itself.
    fn make_directories(&self, path: &str) -> SysResult<()> {
        let mut parent: Option<OwnedFd> = None;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let within = parent.as_ref().map_or(self.directory, AsFd::as_fd);
            // Neither call follows a link at `name`: `mkdirat` finds it taken, and opening it then fails.
            let made = fs::mkdirat(within, name, DIRECTORY_MODE);
            if let Err(errno) = made
                && errno != Errno::EXIST
            {
                return Err(errno);
            }
            let opened = open(within, name, OPEN_DIRECTORY, Mode::empty())?;
            if made.is_ok() {
                fs::fchmod(&opened, DIRECTORY_MODE)?;
            }
            parent = Some(opened);
        }
        Ok(())
    }

    fn make_links(&self, mut entries: Entries<'_>, reader: &mut Reader) -> Result<(), ArchiveError> {
        while let Some(entry) = entries.next()? {
            if entry.kind == Kind::Link {
                let target = entries.read_target(&entry, reader)?;
                self.make_link(&entry, &target).map_err(ArchiveError::write("make a link"))?;
            }
        }
        Ok(())
    }

    fn make_link(&self, entry: &Entry, target: &[u8]) -> SysResult<()> {
        let (parent, name) = entry.path.split();
        // As no entry lies below a link, the way to one that was just made is never the way to another.
        self.make_directories(parent)?;
        let opened = match parent {
            "" => None,
            _ => Some(open(self.directory, parent, OPEN_DIRECTORY, Mode::empty())?),
        };
        let within = opened.as_ref().map_or(self.directory, AsFd::as_fd);
        fs::symlinkat(target, within, name)?;
        let modified = Timespec { tv_sec: entry.modified_secs, tv_nsec: 0 };
        let times = Timestamps { last_access: modified, last_modification: modified };
        fs::utimensat(within, name, &times, AtFlags::SYMLINK_NOFOLLOW)
    }
}

fn open(directory: BorrowedFd<'_>, path: &str, flags: OFlags, mode: Mode) -> SysResult<OwnedFd> {
    let mut attempts = 0;
    loop {
        match fs::openat2(directory, path, flags, mode, SECURE) {
            Err(Errno::AGAIN | Errno::INTR) if attempts < ATTEMPTS_MAX => attempts = attempts.saturating_add(1),
            other => return other,
        }
    }
}

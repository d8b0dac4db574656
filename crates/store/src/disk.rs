//! Files that are still there after a power cut: what blobs, keys and backups need of the file system.
//!
//! Invariant: when one of these returns `Ok`, content and directory entry are synced. All of it blocks; async callers
//! go through [`blocking`].

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Readable by its owner only.
pub(crate) const MODE_PRIVATE_FILE: u32 = 0o600;
pub(crate) const MODE_PRIVATE_DIR: u32 = 0o700;

/// A step on a file that failed.
#[derive(Debug, thiserror::Error)]
#[error("{step} {}", path.display())]
pub struct DiskError {
    step: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl DiskError {
    /// For `map_err`: names what was being done, and to which file.
    pub(crate) fn at(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { step, path: path.to_owned(), source }
    }

    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }

    /// Whether a sync failed. Then nobody knows what is on disk, and another try would report a success that is none.
    pub(crate) fn is_failed_sync(&self) -> bool {
        self.step.starts_with("sync") && !self.is_full()
    }

    /// Whether the same may succeed once somebody makes room.
    pub fn is_full(&self) -> bool {
        matches!(self.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

/// Runs `work` where it may block. A panic in it comes back as an error.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)
}

/// Makes the entries of `dir` durable: creations, renames and removals.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), DiskError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(DiskError::at("sync directory", dir))
}

/// Creates `dir`, whose parent exists, unless it is there.
pub(crate) fn create_dir(dir: &Path) -> Result<(), DiskError> {
    match DirBuilder::new().mode(MODE_PRIVATE_DIR).create(dir) {
        Ok(()) => dir.parent().map_or(Ok(()), sync_dir),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(DiskError::at("create directory", dir)(error)),
    }
}

/// Replaces `path` with `bytes`, all or nothing, readable by its owner only.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    let temp = path.with_added_extension("new");
    // A leftover of a crash may have been made with another mode.
    fs::remove_file(&temp).ok();
    let written = OpenOptions::new().write(true).create_new(true).mode(MODE_PRIVATE_FILE).open(&temp);
    let synced = written.and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    synced.map_err(DiskError::at("write", &temp))?;
    fs::rename(&temp, path).map_err(DiskError::at("rename", &temp))?;
    path.parent().map_or(Ok(()), sync_dir)
}

//! Where things are in a data directory.
//!
//! ```text
//! lock       locked (flock) by the process that has the directory; holds its id
//! format     the number of the format that everything in the directory is in
//! store.db   the database, with `-wal`, `-shm` and `-mark` beside it
//! blobs/     content by its hash
//! keys/      the master key and others, readable by their owner only; in no backup
//! ```

use std::path::{Path, PathBuf};

pub(crate) const DATABASE: &str = "store.db";

/// Whether `dir` is a data directory, of whatever format.
pub fn exists(dir: &Path) -> bool {
    format(dir).exists()
}

pub fn blobs(dir: &Path) -> PathBuf {
    dir.join("blobs")
}

pub fn keys(dir: &Path) -> PathBuf {
    dir.join("keys")
}

/// The file of the master keys.
pub fn master_key(dir: &Path) -> PathBuf {
    keys(dir).join("master.json")
}

pub(crate) fn database(dir: &Path) -> PathBuf {
    dir.join(DATABASE)
}

pub(crate) fn format(dir: &Path) -> PathBuf {
    dir.join("format")
}

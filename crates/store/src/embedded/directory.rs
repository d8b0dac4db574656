//! The data directory: who has it, and which format it is in.
//!
//! What is where is in `data_dir.rs`. The lock ends with the process, however it ends; a stale `lock` file is harmless.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::data_dir;
use crate::disk::{self, DiskError, MODE_PRIVATE_FILE};
use crate::embedded::vfs::{LogError, RegisterError};
use crate::error::Cause;

/// The newest format that this program knows, and the one that it writes.
///
/// It rises when an older program would misread the directory; records carry versions of their own.
pub(crate) const FORMAT: u32 = 1;

/// What is read of `lock` and `format` at most.
const TEXT_BYTES_MAX: u64 = 64;

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "open the data directory {}: {} has it open; stop that one, or choose another directory",
        dir.display(),
        pid.map_or("another process".to_owned(), |pid| format!("process {pid}"))
    )]
    Held { dir: PathBuf, pid: Option<u32> },
    #[error(
        "open the data directory {}: a newer version of this program wrote it (format {found}; this one knows up to \
         {known}); run that version, or restore a backup from before it",
        dir.display()
    )]
    Newer { dir: PathBuf, found: u32, known: u32 },
    #[error(
        "open the data directory {}: its file `format` is missing or unreadable, so it is not one, or it is damaged; \
         choose another directory, or restore a backup",
        dir.display()
    )]
    Format { dir: PathBuf },
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Files(#[from] RegisterError),
    #[error("{step} {}", path.display())]
    Database { step: &'static str, path: PathBuf, source: Cause },
    #[error("start the thread {name}")]
    Thread { name: &'static str, source: std::io::Error },
}

/// A data directory that is ours until this is dropped.
pub(crate) struct Directory {
    dir: PathBuf,
    lock: File,
}

/// Closing alone would not do: a program that is just being started may hold a copy of the file until it runs.
impl Drop for Directory {
    fn drop(&mut self) {
        flock(&self.lock, FlockOperation::Unlock).ok();
    }
}

impl Directory {
    /// Makes the directory if it is not there, locks it, and makes sure of its format.
    pub fn take(dir: &Path) -> Result<Self, OpenError> {
        let directory = Self::take_unfinished(dir)?;
        directory.check_format()?;
        Ok(directory)
    }

    /// As [`Self::take`], but asks for no format: for a copy, which gets its own when it is complete.
    pub fn take_unfinished(dir: &Path) -> Result<Self, OpenError> {
        create_with_parents(dir)?;
        Ok(Self { dir: dir.to_owned(), lock: lock(dir)? })
    }

    pub fn database(&self) -> PathBuf {
        data_dir::database(&self.dir)
    }

    /// Makes new files in the directory durable.
    pub fn sync(&self) -> Result<(), DiskError> {
        disk::sync_dir(&self.dir)
    }

    fn is_new(&self) -> bool {
        !self.database().exists() && !data_dir::blobs(&self.dir).exists()
    }

    fn check_format(&self) -> Result<(), OpenError> {
        let path = data_dir::format(&self.dir);
        let unreadable = || OpenError::Format { dir: self.dir.clone() };
        match File::open(&path) {
            Ok(file) => {
                let text = read_text(&file).map_err(DiskError::at("read", &path))?;
                match text.trim().parse().map_err(|_| unreadable())? {
                    FORMAT => Ok(()),
                    found if found > FORMAT => Err(OpenError::Newer { dir: self.dir.clone(), found, known: FORMAT }),
                    _ => Err(unreadable()),
                }
            }
            // In a new directory the format comes first, in a copy last: what has content and no format is not whole.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && self.is_new() => Ok(write_format(&self.dir)?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(unreadable()),
            Err(error) => Err(DiskError::at("open", &path)(error).into()),
        }
    }
}

/// Declares `dir` to be a data directory of this program's format. Before that nothing opens it once it has content.
pub(crate) fn write_format(dir: &Path) -> Result<(), DiskError> {
    disk::write_private(&data_dir::format(dir), format!("{FORMAT}\n").as_bytes())
}

pub(crate) fn create_with_parents(dir: &Path) -> Result<(), DiskError> {
    let missing: Vec<_> = dir.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists()).collect();
    missing.into_iter().rev().try_for_each(disk::create_dir)
}

fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join("lock");
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(MODE_PRIVATE_FILE);
    let mut file = options.open(&path).map_err(DiskError::at("open", &path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let pid = read_text(&file).ok().and_then(|text| text.trim().parse().ok());
            return Err(OpenError::Held { dir: dir.to_owned(), pid });
        }
        Err(error) => return Err(DiskError::at("lock", &path)(error.into()).into()),
    }
    // The id only helps whoever finds the directory held; it need not survive anything.
    let noted = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    noted.map_err(DiskError::at("write", &path))?;
    Ok(file)
}

fn read_text(file: &File) -> std::io::Result<String> {
    let mut text = String::new();
    file.take(TEXT_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_directory_has_one_owner_and_a_known_format() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("a/b");
        let first = Directory::take(&dir).map_err(|e| e.to_string()).unwrap();
        let second = Directory::take(&dir).err().unwrap();
        assert!(matches!(&second, OpenError::Held { pid: Some(pid), .. } if *pid == std::process::id()), "{second}");
        // As a program has it that was being started meanwhile.
        let _copy = first.lock.try_clone().unwrap();
        drop(first);
        for (text, newer) in [("2\n", true), ("0", false), ("", false), ("\u{fffd}", false)] {
            fs::write(dir.join("format"), text).unwrap();
            let refused = Directory::take(&dir).err().unwrap();
            assert_eq!(matches!(refused, OpenError::Newer { found: 2, .. }), newer, "{refused}");
        }
        fs::remove_file(dir.join("format")).unwrap();
        fs::write(dir.join("store.db"), "somebody else's").unwrap();
        assert!(matches!(Directory::take(&dir), Err(OpenError::Format { .. })));
        fs::remove_file(dir.join("store.db")).unwrap();
        fs::create_dir(dir.join("blobs")).unwrap();
        assert!(matches!(Directory::take(&dir), Err(OpenError::Format { .. })));
    }
}

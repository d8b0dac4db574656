//! Files that only their owner can read: keys.
//!
//! Invariants: a private file is never there in part, and what [`write`] answered for is still there after a power cut.
//! [`read`] refuses a file that others could have read or replaced, for its content is then no secret.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use base::Secret;

use crate::disk::{self, DiskError};

#[derive(Debug, thiserror::Error)]
pub enum PrivateFileError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(
        "trust {}: its mode is {mode:03o}, so that others can reach the key; if nobody has, run `chmod {wanted:03o} {}`",
        path.display(), path.display()
    )]
    Exposed { path: PathBuf, mode: u32, wanted: u32 },
    #[error("read {}: it is longer than {bytes_max} bytes; put the original back from your copy", path.display())]
    TooLong { path: PathBuf, bytes_max: u64 },
}

/// The content of `path`, at most `bytes_max`; `None` if there is no such file. Blocks.
pub fn read(path: &Path, bytes_max: u64) -> Result<Option<Secret<Vec<u8>>>, PrivateFileError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(DiskError::at("open", path))?,
    };
    let mode = file.metadata().map_err(DiskError::at("inspect", path))?.mode();
    refuse_exposed(path, mode, disk::MODE_PRIVATE_FILE)?;
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        let mode = fs::metadata(dir).map_err(DiskError::at("inspect", dir))?.mode();
        refuse_exposed(dir, mode, disk::MODE_PRIVATE_DIR)?;
    }
    let mut content = Vec::new();
    let read = file.take(bytes_max.saturating_add(1)).read_to_end(&mut content);
    let content = Secret::new(content);
    match read.map_err(DiskError::at("read", path))? as u64 > bytes_max {
        true => Err(PrivateFileError::TooLong { path: path.to_owned(), bytes_max }),
        false => Ok(Some(content)),
    }
}

/// Replaces `path` with `content`, all at once. Its directory is made if need be. Blocks until all is synced.
pub fn write(path: &Path, content: &[u8]) -> Result<(), PrivateFileError> {
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        disk::create_dir(dir)?;
    }
    Ok(disk::write_private(path, content)?)
}

fn refuse_exposed(path: &Path, mode: u32, wanted: u32) -> Result<(), PrivateFileError> {
    let mode = mode & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(PrivateFileError::Exposed { path: path.to_owned(), mode, wanted })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_written_reads_back_while_it_is_private() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("keys").join("a.key");
        assert!(read(&path, 100).unwrap().is_none());
        // A leftover that others can read does not lend its mode to the file.
        for content in [&b"secret"[..], b"another"] {
            write(&path, content).unwrap();
            fs::write(temp.path().join("keys").join("a.key.new"), "torn").unwrap();
            assert_eq!(read(&path, 7).unwrap().unwrap().expose(), content);
        }
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(matches!(read(&path, 6), Err(PrivateFileError::TooLong { bytes_max: 6, .. })));
        for (exposed, mode) in [(path.as_path(), 0o604), (path.parent().unwrap(), 0o710)] {
            let before = fs::metadata(exposed).unwrap().permissions();
            fs::set_permissions(exposed, fs::Permissions::from_mode(mode)).unwrap();
            let refused = read(&path, 100).unwrap_err();
            assert!(matches!(&refused, PrivateFileError::Exposed { mode: found, .. } if *found == mode), "{refused}");
            fs::set_permissions(exposed, before).unwrap();
        }
        // Two files whose names differ in their ends only do not share what is half-written.
        write(&path.with_extension("pem"), b"pem").unwrap();
        assert_eq!(read(&path, 100).unwrap().unwrap().expose(), b"another");
    }
}

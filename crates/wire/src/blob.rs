//! Bytes of a request that may be too many to hold: in memory while small, in an unlinked file beyond that.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;

/// A blob as a handler receives it. Cloning is cheap.
#[derive(Debug, Clone)]
pub enum Blob {
    Inline(Bytes),
    Spooled(Arc<Spool>),
}

/// An unlinked file: it goes with the last reference, also when the process is killed.
#[derive(Debug)]
pub struct Spool {
    pub file: File,
    pub len: u64,
}

impl Blob {
    pub fn len(&self) -> u64 {
        match self {
            Self::Inline(bytes) => bytes.len() as u64,
            Self::Spooled(spool) => spool.len,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The whole content in memory. The caller has checked `len` against what it is willing to hold.
    pub fn read_all(&self) -> io::Result<Bytes> {
        match self {
            Self::Inline(bytes) => Ok(bytes.clone()),
            Self::Spooled(spool) => {
                let len = usize::try_from(spool.len).map_err(|_| io::ErrorKind::FileTooLarge)?;
                let mut bytes = vec![0; len];
                spool.file.read_exact_at(&mut bytes, 0)?;
                Ok(bytes.into())
            }
        }
    }
}

impl Default for Blob {
    fn default() -> Self {
        Self::Inline(Bytes::new())
    }
}

impl From<Bytes> for Blob {
    fn from(bytes: Bytes) -> Self {
        Self::Inline(bytes)
    }
}

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Inline(bytes.into())
    }
}

/// Same bytes; a spool that cannot be read equals nothing.
impl PartialEq for Blob {
    fn eq(&self, other: &Self) -> bool {
        match (self.read_all(), other.read_all()) {
            (Ok(ours), Ok(theirs)) => ours == theirs,
            _ => false,
        }
    }
}

//! Bytes of a request that may be too many to hold: in memory while small, in an unlinked file beyond that.

use std::fs::File;
use std::io::{self, Read};
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

    /// The content from its start, for whoever takes it piece by piece. Reading a spooled one may block.
    pub fn reader(&self) -> impl Read + Send + use<> {
        Reader { blob: self.clone(), at: 0 }
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

/// Reads a blob from its start, leaving a file's own position alone: others may read it too.
struct Reader {
    blob: Blob,
    at: u64,
}

impl Read for Reader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = match &self.blob {
            Blob::Inline(bytes) => {
                let at = usize::try_from(self.at).unwrap_or(usize::MAX);
                bytes.get(at..).unwrap_or_default().read(into)?
            }
            Blob::Spooled(spool) => spool.file.read_at(into, self.at)?,
        };
        self.at = self.at.saturating_add(read as u64);
        Ok(read)
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

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};

    use super::*;

    #[test]
    fn readers_of_one_blob_do_not_disturb_each_other() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"lamplight").unwrap();
        file.rewind().unwrap();
        let spool = Arc::new(Spool { file, len: 9 });
        for blob in [Blob::Inline(Bytes::from_static(b"lamplight")), Blob::Spooled(spool)] {
            let (mut one, mut other) = (blob.reader(), blob.reader());
            let mut start = [0; 4];
            one.read_exact(&mut start).unwrap();
            let mut whole = String::new();
            other.read_to_string(&mut whole).unwrap();
            let mut rest = String::new();
            one.read_to_string(&mut rest).unwrap();
            assert_eq!((&start, whole.as_str(), rest.as_str()), (b"lamp", "lamplight", "light"));
        }
    }
}

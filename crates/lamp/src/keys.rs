//! The key that signs what the server hands out and takes back: pagination tokens and links to code. It outlives the
//! process, so that they do.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base::Chance;
use ring::hmac;

const FILE: &str = "tokens.key";

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("keep the key of tokens in {path}")]
    File { path: PathBuf, source: io::Error },
    #[error("use the key of tokens in {path}: it has not 32 bytes; remove the file to have a new one made")]
    Malformed { path: PathBuf },
}

/// The folder of all keys, readable by its owner only.
pub fn dir(data_dir: &Path) -> io::Result<PathBuf> {
    let dir = data_dir.join("keys");
    fs::DirBuilder::new().mode(0o700).recursive(true).create(&dir)?;
    Ok(dir)
}

/// The key of tokens below `dir`, made if it is not there.
pub struct TokenKey([u8; 32]);

impl TokenKey {
    pub fn open(dir: &Path, chance: &dyn Chance) -> Result<Self, KeyError> {
        let path = dir.join(FILE);
        match fs::read(&path) {
            Ok(bytes) => match bytes.try_into() {
                Ok(key) => Ok(Self(key)),
                Err(_) => Err(KeyError::Malformed { path }),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut key = [0; 32];
                chance.fill(&mut key);
                write_secret(dir, FILE, &key).map_err(|source| KeyError::File { path, source })?;
                Ok(Self(key))
            }
            Err(source) => Err(KeyError::File { path, source }),
        }
    }

    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A key of its own for links, so that no token can be taken for one.
    pub fn links(&self) -> hmac::Key {
        let derived = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &self.0), b"links");
        hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref())
    }
}

/// Writes a file that only its owner can read, whole or not at all: half a file would stop the next start.
pub fn write_secret(dir: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let fresh = dir.join(format!("{name}.new"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&fresh, dir.join(name))?;
    fs::File::open(dir)?.sync_all()
}

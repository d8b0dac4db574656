//! The key that signs what the server hands out and takes back: pagination tokens and links to code. It outlives the
//! process, so that they do.

use std::path::{Path, PathBuf};

use base::Chance;
use ring::hmac;
use store::private_file::{self, PrivateFileError};

const FILE: &str = "tokens.key";
const BYTES: usize = 32;

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("keep the key of tokens")]
    File(#[from] PrivateFileError),
    #[error("use the key of tokens in {path}: it has not {BYTES} bytes; remove the file to have a new one made")]
    Malformed { path: PathBuf },
}

/// The key of tokens below a folder of keys, made if it is not there.
pub struct TokenKey([u8; BYTES]);

impl TokenKey {
    pub fn open(keys_dir: &Path, chance: &dyn Chance) -> Result<Self, KeyError> {
        let path = keys_dir.join(FILE);
        match private_file::read(&path, BYTES as u64)? {
            Some(bytes) => match bytes.expose().as_slice().try_into() {
                Ok(key) => Ok(Self(key)),
                Err(_) => Err(KeyError::Malformed { path }),
            },
            None => {
                let mut key = [0; BYTES];
                chance.fill(&mut key);
                private_file::write(&path, &key)?;
                Ok(Self(key))
            }
        }
    }

    pub fn bytes(&self) -> &[u8; BYTES] {
        &self.0
    }

    /// A key of its own for links, so that no token can be taken for one.
    pub fn links(&self) -> hmac::Key {
        let derived = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &self.0), b"links");
        hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref())
    }
}

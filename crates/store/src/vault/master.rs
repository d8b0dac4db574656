//! The master keys: who may read them, how they are kept, which one wraps.
//!
//! They are in one file, `keys/master.json` of the data directory, made at the first start. It holds one key, and two
//! while a rotation is under way. Invariant: the file on the disk always holds every key that wraps a row of the store.

use std::path::{Path, PathBuf};

use base::{Chance, Secret};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use super::cipher::{Cipher, KEY_BYTES};
use crate::limits::VAULT_KEY_FILE_BYTES_MAX;
use crate::private_file::{self, PrivateFileError};

const FORMAT: u32 = 1;

#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    #[error(transparent)]
    File(#[from] PrivateFileError),
    #[error("read {}: {reason}; put the original back from your copy", path.display())]
    Invalid { path: PathBuf, reason: &'static str },
}

/// Names a master key without telling anything of it: the start of a hash of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct MasterId(pub [u8; 8]);

pub(super) struct MasterKey {
    pub id: MasterId,
    pub cipher: Cipher,
    bytes: Secret<[u8; KEY_BYTES]>,
}

/// The keys, the current one last. Never empty.
pub(super) struct KeyRing(Vec<std::sync::Arc<MasterKey>>);

#[derive(Serialize, Deserialize)]
struct KeyFile {
    format: u32,
    /// In base64, the current one last.
    keys: Vec<String>,
}

impl MasterKey {
    fn new(bytes: Secret<[u8; KEY_BYTES]>) -> Option<Self> {
        let mut named = ring::digest::Context::new(&ring::digest::SHA256);
        named.update(b"lamp master key id");
        named.update(bytes.expose());
        let id = MasterId(*named.finish().as_ref().first_chunk()?);
        Some(Self { id, cipher: Cipher::new(&bytes).ok()?, bytes })
    }

    fn random(chance: &dyn Chance) -> Option<Self> {
        let mut bytes = [0; KEY_BYTES];
        chance.fill(&mut bytes);
        Self::new(Secret::new(bytes))
    }
}

impl KeyRing {
    /// One fresh key.
    pub(super) fn random(chance: &dyn Chance) -> Option<Self> {
        Some(Self(vec![MasterKey::random(chance)?.into()]))
    }

    /// These keys, and a fresh one that is current.
    pub(super) fn with_fresh(&self, chance: &dyn Chance) -> Option<Self> {
        let mut keys = self.0.clone();
        keys.push(MasterKey::random(chance)?.into());
        Some(Self(keys))
    }

    /// The current key alone.
    pub(super) fn without_old(&self) -> Self {
        Self(self.0.last().cloned().into_iter().collect())
    }

    pub(super) fn current(&self) -> Option<&MasterKey> {
        self.0.last().map(|key| &**key)
    }

    pub(super) fn get(&self, id: MasterId) -> Option<&MasterKey> {
        self.0.iter().find(|key| key.id == id).map(|key| &**key)
    }

    pub(super) fn is_rotating(&self) -> bool {
        self.0.len() > 1
    }

    /// Reads the key file; `None` if there is none.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, KeyFileError> {
        let Some(text) = private_file::read(path, VAULT_KEY_FILE_BYTES_MAX)? else { return Ok(None) };
        let invalid = |reason| KeyFileError::Invalid { path: path.to_owned(), reason };
        Self::parse(text.expose()).map(Some).map_err(invalid)
    }

    fn parse(text: &[u8]) -> Result<Self, &'static str> {
        // The parser's own message could quote a key.
        let file: KeyFile = serde_json::from_slice(text).map_err(|_| "it is no JSON of the right shape")?;
        if file.format != FORMAT {
            return Err("this version of lamp does not know its format");
        }
        let key = |text: &String| {
            let bytes = BASE64_STANDARD.decode(text).ok()?;
            MasterKey::new(Secret::new(bytes.try_into().ok()?)).map(Into::into)
        };
        let keys: Option<Vec<_>> = file.keys.iter().map(key).collect();
        match keys {
            Some(keys) if !keys.is_empty() => Ok(Self(keys)),
            _ => Err("a key in it is not 32 bytes in base64"),
        }
    }

    /// Replaces the key file, durably and all at once. Its directory is made if need be.
    pub(super) fn write(&self, path: &Path) -> Result<(), KeyFileError> {
        let keys = self.0.iter().map(|key| BASE64_STANDARD.encode(key.bytes.expose())).collect();
        let text = serde_json::to_vec_pretty(&KeyFile { format: FORMAT, keys });
        let invalid = |_| KeyFileError::Invalid { path: path.to_owned(), reason: "its keys do not print" };
        let text = Secret::new(text.map_err(invalid)?);
        Ok(private_file::write(path, text.expose())?)
    }
}

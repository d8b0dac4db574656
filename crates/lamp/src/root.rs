//! The root credentials: made at first start, shown once, kept where only the owner can read them.
//!
//! Until IAM is there, they are the only key that the server knows.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::ports::{Authority, Credential};
use base::{AccountId, AwsError, BoxFuture, Chance, Principal, Secret};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::keys::write_secret;

const FILE: &str = "root.json";

#[derive(Debug, thiserror::Error)]
pub enum RootError {
    #[error("keep the root credentials in {path}")]
    File { path: PathBuf, source: io::Error },
    #[error("trust the root credentials in {path}: others can read the file; run `chmod 600 {path}`")]
    Exposed { path: PathBuf },
    #[error(
        "understand the root credentials in {path}: {reason}; restore the file, or remove it to have new ones made"
    )]
    Malformed { path: PathBuf, reason: String },
}

/// The file, in the words of the AWS SDKs.
#[derive(Serialize, Deserialize)]
struct Stored {
    account: AccountId,
    access_key_id: String,
    secret_access_key: String,
}

/// The account's own key, and the authority that knows it.
pub struct Root {
    pub access_key_id: String,
    pub secret_access_key: Secret<String>,
    /// Made by this start: to be shown now and never again.
    pub is_new: bool,
    pub path: PathBuf,
    principal: Arc<Principal>,
}

impl Root {
    /// Reads the credentials below `keys_dir`, or makes them.
    pub fn open(keys_dir: &Path, chance: &dyn Chance) -> Result<Self, RootError> {
        let path = keys_dir.join(FILE);
        let failed = |source| RootError::File { path: path.clone(), source };
        let (stored, is_new) = match fs::metadata(&path) {
            Ok(metadata) if metadata.mode() & 0o077 != 0 => return Err(RootError::Exposed { path }),
            Ok(_) => (read(&path)?, false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let stored = Stored::make(chance);
                let json = serde_json::to_vec_pretty(&stored).map_err(|error| failed(error.into()))?;
                write_secret(keys_dir, FILE, &json).map_err(failed)?;
                (stored, true)
            }
            Err(source) => return Err(failed(source)),
        };
        let principal = Principal {
            account: stored.account,
            arn: format!("arn:aws:iam::{}:root", stored.account),
            user_id: stored.account.to_string(),
            access_key_id: Some(stored.access_key_id.clone()),
        };
        Ok(Self {
            access_key_id: stored.access_key_id,
            secret_access_key: Secret::new(stored.secret_access_key),
            is_new,
            path,
            principal: Arc::new(principal),
        })
    }
}

impl Authority for Root {
    fn credential<'a>(&'a self, access_key_id: &'a str) -> BoxFuture<'a, Result<Option<Credential>, AwsError>> {
        let known = (access_key_id == self.access_key_id).then(|| Credential {
            secret_access_key: self.secret_access_key.clone(),
            session_token: None,
            principal: self.principal.clone(),
        });
        Box::pin(std::future::ready(Ok(known)))
    }
}

impl Stored {
    fn make(chance: &dyn Chance) -> Self {
        const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        let mut id = [0; 16];
        chance.fill(&mut id);
        let id: String = id.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect();
        let mut secret = [0; 30];
        chance.fill(&mut secret);
        Self {
            account: AccountId::ZERO,
            access_key_id: format!("AKIA{id}"),
            secret_access_key: STANDARD.encode(secret),
        }
    }
}

fn read(path: &Path) -> Result<Stored, RootError> {
    let bytes = fs::read(path).map_err(|source| RootError::File { path: path.into(), source })?;
    serde_json::from_slice(&bytes)
        .map_err(|error| RootError::Malformed { path: path.into(), reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use base::{Seeded, SystemChance};

    use super::*;

    #[test]
    fn credentials_are_made_once_and_look_like_aws() {
        let dir = tempfile::tempdir().unwrap();
        let made = Root::open(dir.path(), &SystemChance::default()).unwrap();
        let again = Root::open(dir.path(), &SystemChance::default()).unwrap();
        assert!(made.is_new && !again.is_new);
        assert_eq!(made.access_key_id, again.access_key_id);
        assert_eq!(made.secret_access_key, again.secret_access_key);
        assert_eq!((made.access_key_id.len(), made.secret_access_key.expose().len()), (20, 40));
        assert_eq!(fs::metadata(&made.path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = Root::open(dir.path(), &Seeded::new(1)).unwrap().path;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(Root::open(dir.path(), &Seeded::new(1)), Err(RootError::Exposed { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "{").unwrap();
        assert!(matches!(Root::open(dir.path(), &Seeded::new(1)), Err(RootError::Malformed { .. })));
    }
}

//! The root credentials: made at first start, shown once, kept where only the owner can read them.
//!
//! Until IAM is there, they are the only key that the server knows.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::ports::{Authority, Credential};
use base::{AccountId, AwsError, BoxFuture, Chance, Principal, Secret};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;
use store::private_file::{self, PrivateFileError};

const FILE: &str = "root.json";
const FILE_BYTES_MAX: u64 = 4096;

#[derive(Debug, thiserror::Error)]
pub enum RootError {
    #[error("keep the root credentials")]
    File(#[from] PrivateFileError),
    #[error(
        "understand the root credentials in {path}: {reason}; restore the file, or remove it to have new ones made"
    )]
    Malformed { path: PathBuf, reason: String },
}

/// The file, in the words of the AWS SDKs.
#[derive(Deserialize)]
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
        let (stored, is_new) = match private_file::read(&path, FILE_BYTES_MAX)? {
            Some(bytes) => (Stored::parse(&path, bytes.expose())?, false),
            None => {
                let stored = Stored::make(chance);
                private_file::write(&path, stored.json().as_bytes())?;
                (stored, true)
            }
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
    fn parse(path: &Path, json: &[u8]) -> Result<Self, RootError> {
        let malformed = |reason: String| RootError::Malformed { path: path.to_owned(), reason };
        let stored: Self = serde_json::from_slice(json).map_err(|error| malformed(error.to_string()))?;
        match stored.access_key_id.is_empty() || stored.secret_access_key.is_empty() {
            true => Err(malformed("a part is empty".into())),
            false => Ok(stored),
        }
    }

    fn json(&self) -> String {
        let Self { account, access_key_id, secret_access_key } = self;
        let (account, id, secret) = (account.as_str(), access_key_id.as_str(), secret_access_key.as_str());
        json!({ "account": account, "access_key_id": id, "secret_access_key": secret }).to_string()
    }

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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use base::{Seeded, SystemChance};

    use super::*;

    fn keys_dir() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        dir
    }

    #[test]
    fn credentials_are_made_once_and_look_like_aws() {
        let dir = keys_dir();
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
        let dir = keys_dir();
        let path = Root::open(dir.path(), &Seeded::new(1)).unwrap().path;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(
            Root::open(dir.path(), &Seeded::new(1)),
            Err(RootError::File(PrivateFileError::Exposed { .. }))
        ));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let empty = r#"{"account":"000000000000","access_key_id":"A","secret_access_key":""}"#;
        for malformed in ["{", empty] {
            fs::write(&path, malformed).unwrap();
            assert!(matches!(Root::open(dir.path(), &Seeded::new(1)), Err(RootError::Malformed { .. })));
        }
    }
}

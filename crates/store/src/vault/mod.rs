//! Secrets at rest, such as environment variables and secret access keys, sealed with AES-256-GCM.
//!
//! Every owner (a function, a user) has a random data key; it lies in the store, wrapped by a master key that lies in
//! a file beside it and in no backup. A sealed secret opens only for the owner and in the context that it was sealed
//! for, so a row copied elsewhere is worthless. Records embed [`Sealed`].
//!
//! Invariants: no secret and no unwrapped key reaches the store or the log. A data key is committed with the first
//! record that it seals for and deleted with the record that ends its owner, so none is there without an owner. A
//! master key that wraps a row is in the key file; if the file is gone, nothing takes its place.
//!
//! Not here: secrets of a running process. They live in its memory, unwiped.

mod cache;
mod cipher;
mod master;
mod rotate;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::{AwsError, Chance, Secret};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::RwLock;

use self::cache::Cache;
use self::cipher::{Cipher, KEY_BYTES, OVERHEAD_BYTES, belonging};
use self::master::{KeyRing, MasterId, MasterKey};
use crate::batch::Write;
use crate::disk::blocking;
use crate::error::detail;
use crate::limits::{VAULT_OWNER_BYTES_MAX, VAULT_SECRET_BYTES_MAX};
use crate::{Batch, Expect, Found, Range, Read, Space, Store, envelope};

pub use cipher::Refused;
pub use master::KeyFileError;

/// Owner -> version byte, id of the master key, wrapped data key.
const DATA_KEYS: Space = Space::new("vault_data_keys");
const WRAPPED_VERSION: u8 = 1;
/// [`ROTATION`] -> id of the master key that the last rotation made current. Absent before the first.
///
/// Each rotation writes it when the fresh master key is current and before it looks for data keys, and a batch that
/// brings a data key expects it unchanged: so no data key that an old master key wraps appears behind a rotation.
const ROTATIONS: Space = Space::new("vault_rotations");
const ROTATION: &str = "last";
const SEALED_VERSION: u8 = 1;

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    #[error(
        "find the master key {}: the store holds secrets that only it opens; put the file back from your copy",
        .0.display()
    )]
    Missing(PathBuf),
    #[error(
        "open the store's secrets with {}: they were sealed under another master key; put the right file back",
        .0.display()
    )]
    Foreign(PathBuf),
    #[error("read the vault's keys")]
    Store(#[from] crate::Error),
    #[error("make a master key")]
    Key,
    #[error("finish work on the master key")]
    Interrupted(#[source] std::io::Error),
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("seal a secret of {bytes} bytes")]
    TooLarge { bytes: usize },
    #[error("seal a secret for an owner whose name has {bytes} bytes")]
    OwnerTooLong { bytes: usize },
    /// Not for this owner or context, or not as it was sealed.
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("find the key of a sealed secret's owner")]
    NoDataKey,
    #[error("unwrap the key of {owner}: it is not as it was written, or under a master key that is not here")]
    BadDataKey { owner: String },
    #[error("agree with others who change the same keys")]
    Contended,
    #[error("read or write the vault's keys")]
    Store(#[from] crate::Error),
    #[error("keep the new master key")]
    KeyFile(#[from] KeyFileError),
    #[error("make a master key")]
    Key,
    #[error("finish work on the master key")]
    Interrupted(#[source] std::io::Error),
}

impl From<Error> for AwsError {
    fn from(error: Error) -> Self {
        match error {
            Error::Store(store) => store.into(),
            Error::Contended => Self::unavailable(detail(&error)),
            other => Self::internal(detail(&other)),
        }
    }
}

/// A secret as records hold it; base64 where they are text.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed(Vec<u8>);

impl Sealed {
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[sealed]")
    }
}

impl Serialize for Sealed {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Sealed {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64_STANDARD.decode(text).map(Self).map_err(|_| serde::de::Error::custom("a sealed secret is not base64"))
    }
}

/// Seals and unseals; cheap to clone.
#[derive(Clone)]
pub struct Vault(Arc<Inner>);

struct Inner {
    store: Store,
    chance: Arc<dyn Chance>,
    /// Where the master keys are kept; a twin for tests keeps them nowhere.
    key_file: Option<PathBuf>,
    /// Read from before a row is read until it is unwrapped or its like is wrapped, written when the master keys
    /// change: so every row is looked at with the keys of its time.
    ring: RwLock<KeyRing>,
    /// Data keys in use.
    cache: Mutex<Cache>,
    /// One rotation at a time.
    rotating: Arc<tokio::sync::Mutex<()>>,
}

impl Vault {
    /// Opens the vault of a store whose master keys are in `key_file`. A store without a sealed secret and without a
    /// key file gets a fresh key. `chance` must be fit for secrets.
    pub async fn open(store: &Store, key_file: &Path, chance: Arc<dyn Chance>) -> Result<Self, OpenError> {
        let first = store.range(Range::under(DATA_KEYS, Bytes::new(), 1)).await?.rows.pop();
        let path = key_file.to_owned();
        let found = blocking(move || KeyRing::read(&path)).await.map_err(OpenError::Interrupted)??;
        let ring = match (found, &first) {
            (Some(ring), _) => ring,
            (None, Some(_)) => return Err(OpenError::Missing(key_file.to_owned())),
            (None, None) => {
                let ring = KeyRing::random(&*chance).ok_or(OpenError::Key)?;
                let path = key_file.to_owned();
                let write = move || ring.write(&path).map(|()| ring);
                blocking(write).await.map_err(OpenError::Interrupted)??
            }
        };
        // One row tells whether file and store belong together.
        if let Some(row) = first
            && unwrap_key(&ring, &row.key, &row.value).is_err()
        {
            return Err(OpenError::Foreign(key_file.to_owned()));
        }
        Ok(Self::with(store, ring, Some(key_file.to_owned()), chance))
    }

    /// A vault whose master key is forgotten with it: the twin for the in-memory store.
    #[cfg(any(test, feature = "testing"))]
    pub fn ephemeral(store: &Store, chance: Arc<dyn Chance>) -> Result<Self, OpenError> {
        let ring = KeyRing::random(&*chance).ok_or(OpenError::Key)?;
        Ok(Self::with(store, ring, None, chance))
    }

    fn with(store: &Store, ring: KeyRing, key_file: Option<PathBuf>, chance: Arc<dyn Chance>) -> Self {
        Self(Arc::new(Inner {
            store: store.clone(),
            chance,
            key_file,
            ring: RwLock::new(ring),
            cache: Mutex::new(Cache::new(store.watch(DATA_KEYS, Bytes::new()))),
            rotating: Arc::default(),
        }))
    }

    /// Seals `secret` so that it opens only for this owner (a resource and its incarnation) and context (the place
    /// that it is stored in, such as a version and a member).
    ///
    /// What is sealed opens once `batch`, to which the caller adds the record that embeds it, is committed: an owner's
    /// first secret brings its key along. The batch conflicts if another was first, if the owner is forgotten, or if a
    /// rotation began meanwhile; the caller then begins again with another batch, and seals again.
    pub async fn seal_with(
        &self,
        batch: Batch,
        owner: &str,
        context: &str,
        secret: &[u8],
    ) -> Result<(Batch, Sealed), Error> {
        if secret.len() > VAULT_SECRET_BYTES_MAX {
            return Err(Error::TooLarge { bytes: secret.len() });
        }
        let (batch, cipher) = self.with_data_key(batch, owner).await?;
        let mut sealed = vec![SEALED_VERSION];
        sealed.extend(cipher.seal(&*self.0.chance, &secret_belonging(owner, context), secret)?);
        Ok((batch, Sealed(sealed)))
    }

    /// Seals for a record that the test does not have.
    #[cfg(any(test, feature = "testing"))]
    pub async fn seal(&self, owner: &str, context: &str, secret: &[u8]) -> Result<Sealed, Error> {
        for _ in 0..crate::limits::VAULT_ATTEMPTS_MAX {
            let (batch, sealed) = self.seal_with(Batch::new(), owner, context, secret).await?;
            if self.0.store.commit(batch).await?.is_committed() {
                return Ok(sealed);
            }
        }
        Err(Error::Contended)
    }

    pub async fn unseal(&self, owner: &str, context: &str, sealed: &Sealed) -> Result<Secret<Vec<u8>>, Error> {
        let Some((&SEALED_VERSION, sealed)) = sealed.0.split_first() else { return Err(Refused.into()) };
        let cipher = self.data_key(owner).await?.ok_or(Error::NoDataKey)?;
        Ok(cipher.open(&secret_belonging(owner, context), sealed)?)
    }

    /// Destroys an owner's key as `batch` commits, and with it whatever was sealed for the owner, wherever it is. The
    /// owner must be gone for good: one that comes back does so as another incarnation.
    pub fn forget_with(&self, batch: Batch, owner: &str) -> Result<Batch, Error> {
        Ok(batch.delete_raw(DATA_KEYS, owner_key(owner)?))
    }

    async fn data_key(&self, owner: &str) -> Result<Option<Arc<Cipher>>, Error> {
        let seen = match self.0.cache.lock().look_up(owner) {
            Ok(cipher) => return Ok(Some(cipher)),
            Err(seen) => seen,
        };
        let key = owner_key(owner)?;
        let ring = self.0.ring.read().await;
        let Some(row) = self.0.store.get(DATA_KEYS, key.clone()).await? else { return Ok(None) };
        let cipher = Arc::new(Cipher::new(&unwrap_key(&ring, &key, &row.value)?)?);
        self.0.cache.lock().insert(owner, cipher.clone(), seen);
        Ok(Some(cipher))
    }

    /// The owner's data key, which is there if `batch` commits: because it expects it, or because it brings it.
    async fn with_data_key(&self, batch: Batch, owner: &str) -> Result<(Batch, Arc<Cipher>), Error> {
        let key = owner_key(owner)?;
        let ring = self.0.ring.read().await;
        if let Some(brought) = put_by(&batch, &key)? {
            return Ok((batch, Arc::new(Cipher::new(&unwrap_key(&ring, &key, &brought)?)?)));
        }
        if let Ok(cipher) = self.0.cache.lock().look_up(owner) {
            return Ok((batch.expect_raw(DATA_KEYS, key, Expect::Present), cipher));
        }
        let reads = vec![
            Read::Get { space: DATA_KEYS, key: key.clone() },
            Read::Get { space: ROTATIONS, key: ROTATION.into() },
        ];
        let mut found = self.0.store.read(reads).await?.into_iter().map(Found::into_value);
        let (row, rotation) = (found.next().flatten(), found.next().flatten());
        if let Some(row) = row {
            let cipher = Cipher::new(&unwrap_key(&ring, &key, &row.value)?)?;
            return Ok((batch.expect_raw(DATA_KEYS, key, Expect::Present), Arc::new(cipher)));
        }
        let mut bytes = [0; KEY_BYTES];
        self.0.chance.fill(&mut bytes);
        let data_key = Secret::new(bytes);
        let wrapped = wrap_key(ring.current().ok_or(Error::Key)?, &*self.0.chance, &key, &data_key)?;
        let unrotated = rotation.map_or(Expect::Absent, |row| Expect::Version(row.version));
        let batch = batch
            .expect_raw(DATA_KEYS, key.clone(), Expect::Absent)
            .expect_raw(ROTATIONS, ROTATION, unrotated)
            .put_raw(DATA_KEYS, key, &wrapped);
        // Whether the batch commits is not known here, so the cache gets the key when somebody reads it.
        Ok((batch, Arc::new(Cipher::new(&data_key)?)))
    }
}

/// The row that `batch` puts for an owner who has none yet.
fn put_by(batch: &Batch, owner: &Bytes) -> Result<Option<Bytes>, Error> {
    let put = batch.writes.iter().rev().find_map(|write| match write {
        Write::Put { space: DATA_KEYS, key, value } if key == owner => Some(value),
        _ => None,
    });
    Ok(put.map(|value| envelope::open(DATA_KEYS, owner, value)).transpose()?)
}

fn owner_key(owner: &str) -> Result<Bytes, Error> {
    match owner.len() {
        0..=VAULT_OWNER_BYTES_MAX => Ok(Bytes::copy_from_slice(owner.as_bytes())),
        bytes => Err(Error::OwnerTooLong { bytes }),
    }
}

fn secret_belonging(owner: &str, context: &str) -> Vec<u8> {
    belonging("lamp secret", &[owner.as_bytes(), context.as_bytes()])
}

fn wrap_key(
    master: &MasterKey,
    chance: &dyn Chance,
    owner: &[u8],
    data_key: &Secret<[u8; KEY_BYTES]>,
) -> Result<Vec<u8>, Refused> {
    let wrapped = master.cipher.seal(chance, &belonging("lamp data key", &[owner]), data_key.expose())?;
    Ok([&[WRAPPED_VERSION], master.id.0.as_slice(), &wrapped].concat())
}

fn unwrap_key(ring: &KeyRing, owner: &[u8], row: &[u8]) -> Result<Secret<[u8; KEY_BYTES]>, Error> {
    let unwrapped = || {
        let (id, wrapped) = split_wrapped(row)?;
        let opened = ring.get(id)?.cipher.open(&belonging("lamp data key", &[owner]), wrapped).ok()?;
        opened.into_exposed().try_into().map(Secret::new).ok()
    };
    unwrapped().ok_or_else(|| Error::BadDataKey { owner: String::from_utf8_lossy(owner).into_owned() })
}

/// Which master key wraps a row, and what.
fn split_wrapped(row: &[u8]) -> Option<(MasterId, &[u8])> {
    let (version, rest) = row.split_first()?;
    let (id, wrapped) = rest.split_first_chunk()?;
    (*version == WRAPPED_VERSION && wrapped.len() == KEY_BYTES + OVERHEAD_BYTES).then_some((MasterId(*id), wrapped))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use base::{ManualClock, SystemChance};

    use super::*;

    fn chance() -> Arc<dyn Chance> {
        Arc::new(SystemChance::default())
    }

    fn store() -> Store {
        Store::memory(Arc::new(ManualClock::default()))
    }

    fn vault() -> Vault {
        Vault::ephemeral(&store(), chance()).unwrap()
    }

    #[tokio::test]
    async fn a_secret_opens_for_its_owner_in_its_context_only() {
        let vault = vault();
        let sealed = vault.seal("function a", "1/env", b"hunter2").await.unwrap();
        vault.seal("function b", "1/env", b"other").await.unwrap();
        assert_eq!(vault.unseal("function a", "1/env", &sealed).await.unwrap().expose(), b"hunter2");
        assert!(matches!(vault.unseal("function a", "2/env", &sealed).await, Err(Error::Refused(_))));
        assert!(matches!(vault.unseal("function b", "1/env", &sealed).await, Err(Error::Refused(_))));
        assert!(matches!(vault.unseal("function c", "1/env", &sealed).await, Err(Error::NoDataKey)));
        for at in 0..sealed.0.len() {
            let mut bent = sealed.clone();
            bent.0[at] ^= 1;
            assert!(matches!(vault.unseal("function a", "1/env", &bent).await, Err(Error::Refused(_))), "byte {at}");
            let cut = Sealed::from_bytes(sealed.0[..at].to_vec());
            assert!(matches!(vault.unseal("function a", "1/env", &cut).await, Err(Error::Refused(_))), "cut at {at}");
        }
    }

    #[tokio::test]
    async fn equal_secrets_do_not_look_equal() {
        let vault = vault();
        assert_ne!(vault.seal("a", "c", b"same").await.unwrap(), vault.seal("a", "c", b"same").await.unwrap());
    }

    #[tokio::test]
    async fn sealed_secrets_travel_in_records_and_print_nothing() {
        let vault = vault();
        let sealed = vault.seal("a", "c", b"hunter2").await.unwrap();
        let text = serde_json::to_string(&sealed).unwrap();
        assert_eq!(serde_json::from_str::<Sealed>(&text).unwrap(), sealed);
        assert!(serde_json::from_str::<Sealed>("\"no base64!\"").is_err());
        let opened = vault.unseal("a", "c", &sealed).await.unwrap();
        assert_eq!(format!("{sealed:?} {opened:?}"), "[sealed] [secret]");
    }

    #[tokio::test]
    async fn a_row_moved_to_another_owner_does_not_unwrap() {
        let vault = vault();
        vault.seal("a", "c", b"hunter2").await.unwrap();
        let row = vault.0.store.get(DATA_KEYS, "a").await.unwrap().unwrap();
        vault.0.store.commit(Batch::new().put_raw(DATA_KEYS, "b", &row.value)).await.unwrap();
        assert!(matches!(vault.seal("b", "c", b"x").await, Err(Error::BadDataKey { owner }) if owner == "b"));
        vault.0.store.commit(Batch::new().put_raw(DATA_KEYS, "b", b"noise")).await.unwrap();
        assert!(matches!(vault.seal("b", "c", b"x").await, Err(Error::BadDataKey { .. })));
    }

    #[tokio::test]
    async fn what_is_forgotten_opens_no_more() {
        let vault = vault();
        let sealed = vault.seal("a", "c", b"hunter2").await.unwrap();
        vault.unseal("a", "c", &sealed).await.unwrap();
        let (late, _) = vault.seal_with(Batch::new(), "a", "c", b"late").await.unwrap();
        let batch = vault.forget_with(Batch::new(), "a").unwrap();
        vault.unseal("a", "c", &sealed).await.unwrap();
        assert!(vault.0.store.commit(batch).await.unwrap().is_committed());
        assert!(matches!(vault.unseal("a", "c", &sealed).await, Err(Error::NoDataKey)));
        assert!(!vault.0.store.commit(late).await.unwrap().is_committed(), "a secret whose key is gone was committed");
        vault.seal("a", "c", b"again").await.unwrap();
        assert!(matches!(vault.unseal("a", "c", &sealed).await, Err(Error::Refused(_))));
    }

    #[tokio::test]
    async fn what_is_not_committed_leaves_no_key_behind() {
        let vault = vault();
        let (abandoned, sealed) = vault.seal_with(Batch::new(), "a", "c", b"x").await.unwrap();
        assert!(matches!(vault.unseal("a", "c", &sealed).await, Err(Error::NoDataKey)));
        assert!(vault.0.store.range(Range::under(DATA_KEYS, "", 1)).await.unwrap().rows.is_empty());
        // Two who seal first: the one that commits later does not replace the other's key.
        let first = vault.seal("a", "c", b"first").await.unwrap();
        assert!(!vault.0.store.commit(abandoned).await.unwrap().is_committed());
        assert_eq!(vault.unseal("a", "c", &first).await.unwrap().expose(), b"first");
    }

    #[tokio::test]
    async fn two_secrets_of_one_batch_have_one_key() {
        let vault = vault();
        let (batch, one) = vault.seal_with(Batch::new(), "a", "1", b"one").await.unwrap();
        let (batch, other) = vault.seal_with(batch, "b", "1", b"other").await.unwrap();
        let (batch, two) = vault.seal_with(batch, "a", "2", b"two").await.unwrap();
        assert!(vault.0.store.commit(batch).await.unwrap().is_committed());
        assert_eq!(vault.unseal("a", "1", &one).await.unwrap().expose(), b"one");
        assert_eq!(vault.unseal("a", "2", &two).await.unwrap().expose(), b"two");
        assert_eq!(vault.unseal("b", "1", &other).await.unwrap().expose(), b"other");
    }

    #[tokio::test]
    async fn limits_are_refused_by_name() {
        let vault = vault();
        let long = "o".repeat(VAULT_OWNER_BYTES_MAX + 1);
        assert!(matches!(vault.seal(&long, "c", b"x").await, Err(Error::OwnerTooLong { .. })));
        let sealed = vault.seal(&long[1..], "c", &[7; VAULT_SECRET_BYTES_MAX]).await.unwrap();
        assert_eq!(vault.unseal(&long[1..], "c", &sealed).await.unwrap().expose().len(), VAULT_SECRET_BYTES_MAX);
        assert!(matches!(vault.seal("o", "c", &[7; VAULT_SECRET_BYTES_MAX + 1]).await, Err(Error::TooLarge { .. })));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn all_who_seal_first_agree_on_one_key() {
        let vault = vault();
        let mut seals = tokio::task::JoinSet::new();
        for _ in 0..32 {
            let vault = vault.clone();
            seals.spawn(async move { vault.seal("a", "c", b"x").await.unwrap() });
        }
        while let Some(sealed) = seals.join_next().await {
            vault.0.cache.lock().clear();
            vault.unseal("a", "c", &sealed.unwrap()).await.unwrap();
        }
    }

    #[tokio::test]
    async fn the_key_file_is_made_once_and_is_its_owners_alone() {
        let (store, dir) = (store(), tempfile::tempdir().unwrap());
        let path = dir.path().join("keys").join("master.json");
        let sealed = Vault::open(&store, &path, chance()).await.unwrap().seal("a", "c", b"x").await.unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        let text = fs::read(&path).unwrap();
        Vault::open(&store, &path, chance()).await.unwrap().unseal("a", "c", &sealed).await.unwrap();
        assert_eq!(fs::read(&path).unwrap(), text);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn a_key_file_that_others_can_read_is_refused_with_the_remedy() {
        let (store, dir) = (store(), tempfile::tempdir().unwrap());
        let path = dir.path().join("keys").join("master.json");
        Vault::open(&store, &path, chance()).await.unwrap();
        for (target, mode, remedy) in
            [(path.clone(), 0o640, "chmod 600"), (dir.path().join("keys"), 0o755, "chmod 700")]
        {
            let before = fs::metadata(&target).unwrap().permissions();
            fs::set_permissions(&target, fs::Permissions::from_mode(mode)).unwrap();
            let error = Vault::open(&store, &path, chance()).await.err().unwrap().to_string();
            assert!(error.contains(remedy) && error.contains(&format!("{mode:o}")), "{error}");
            fs::set_permissions(&target, before).unwrap();
        }
        Vault::open(&store, &path, chance()).await.unwrap();
    }

    #[tokio::test]
    async fn a_lost_or_foreign_key_file_is_never_replaced() {
        let (store, dir) = (store(), tempfile::tempdir().unwrap());
        let path = dir.path().join("keys").join("master.json");
        Vault::open(&store, &path, chance()).await.unwrap().seal("a", "c", b"x").await.unwrap();
        fs::remove_file(&path).unwrap();
        assert!(matches!(Vault::open(&store, &path, chance()).await.err(), Some(OpenError::Missing(_))));
        assert!(!path.exists());
        // The file of another store.
        Vault::open(&self::store(), &path, chance()).await.unwrap();
        assert!(matches!(Vault::open(&store, &path, chance()).await.err(), Some(OpenError::Foreign(_))));
    }

    #[tokio::test]
    async fn a_damaged_key_file_is_refused_without_quoting_it() {
        let (store, dir) = (store(), tempfile::tempdir().unwrap());
        let path = dir.path().join("keys").join("master.json");
        Vault::open(&store, &path, chance()).await.unwrap();
        let good = fs::read_to_string(&path).unwrap();
        let key = serde_json::from_str::<serde_json::Value>(&good).unwrap()["keys"][0].as_str().unwrap().to_owned();
        let endless = format!("{good}{}", " ".repeat(20_000));
        let bad = ["", "{", "[]", &good.replace("\"format\": 1", "\"format\": 2"), &good.replace(&key, &key[4..])];
        for bad in bad {
            fs::write(&path, bad).unwrap();
            let error = Vault::open(&store, &path, chance()).await.err().unwrap();
            assert!(matches!(error, OpenError::KeyFile(KeyFileError::Invalid { .. })), "{bad}: {error}");
            assert!(!format!("{error} {error:?}").contains(&key[4..20]));
        }
        fs::write(&path, endless).unwrap();
        let error = Vault::open(&store, &path, chance()).await.err().unwrap();
        let too_long = crate::PrivateFileError::TooLong { path, bytes_max: crate::limits::VAULT_KEY_FILE_BYTES_MAX };
        assert_eq!(error.to_string(), too_long.to_string());
    }
}

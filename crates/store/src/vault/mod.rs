//! Secrets at rest, such as environment variables and secret access keys, sealed with AES-256-GCM.
//!
//! Every owner (a function, a user) has a random data key; it lies in the store, wrapped by a master key that lies in
//! a file beside it and in no backup. A sealed secret opens only for the owner and in the context that it was sealed
//! for, so a row copied elsewhere is worthless. Records embed [`Sealed`].
//!
//! Invariants: no secret and no unwrapped key reaches the store or the log. A data key is durable before anything is
//! sealed with it. A master key that wraps a row is in the key file; if the file is gone, nothing takes its place.
//!
//! Not here: secrets of a running process. They live in its memory, unwiped.

mod cipher;
mod master;
mod rotate;

use std::collections::{HashMap, VecDeque};
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

use self::cipher::{Cipher, KEY_BYTES, OVERHEAD_BYTES, belonging};
use self::master::{KeyRing, MasterId, MasterKey};
use crate::disk::blocking;
use crate::limits::{VAULT_ATTEMPTS_MAX, VAULT_CACHED_KEYS_MAX, VAULT_OWNER_BYTES_MAX, VAULT_SECRET_BYTES_MAX};
use crate::{Batch, Expect, Range, Space, Store};

pub use cipher::Refused;
pub use master::KeyFileError;

/// Owner -> version byte, id of the master key, wrapped data key.
const DATA_KEYS: Space = Space::new("vault_data_keys");
const WRAPPED_VERSION: u8 = 1;
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
            Error::Contended => Self::unavailable(error),
            other => Self::internal(other),
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
    /// Read while a data key is wrapped *and committed*, written when the current master key changes: so no data key
    /// appears under an old one afterwards.
    ring: RwLock<KeyRing>,
    /// Data keys in use. They outlive a rotation, which changes only how they are wrapped.
    cache: Mutex<Cache>,
    /// One rotation at a time.
    rotating: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Cache {
    keys: HashMap<String, Arc<Cipher>>,
    /// The oldest goes first.
    order: VecDeque<String>,
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
            cache: Mutex::default(),
            rotating: tokio::sync::Mutex::default(),
        }))
    }

    /// Seals `secret` so that it opens only for this owner (a resource and its incarnation) and context (the place
    /// that it is stored in, such as a version and a member).
    pub async fn seal(&self, owner: &str, context: &str, secret: &[u8]) -> Result<Sealed, Error> {
        if secret.len() > VAULT_SECRET_BYTES_MAX {
            return Err(Error::TooLarge { bytes: secret.len() });
        }
        let cipher = match self.data_key(owner).await? {
            Some(cipher) => cipher,
            None => self.make_data_key(owner).await?,
        };
        let mut sealed = vec![SEALED_VERSION];
        sealed.extend(cipher.seal(&*self.0.chance, &secret_belonging(owner, context), secret)?);
        Ok(Sealed(sealed))
    }

    pub async fn unseal(&self, owner: &str, context: &str, sealed: &Sealed) -> Result<Secret<Vec<u8>>, Error> {
        let Some((&SEALED_VERSION, sealed)) = sealed.0.split_first() else { return Err(Refused.into()) };
        let cipher = self.data_key(owner).await?.ok_or(Error::NoDataKey)?;
        Ok(cipher.open(&secret_belonging(owner, context), sealed)?)
    }

    /// Destroys an owner's key, and with it whatever was sealed for the owner, wherever it is. The owner must be gone
    /// for good: one that comes back does so as another incarnation.
    pub async fn forget(&self, owner: &str) -> Result<(), Error> {
        self.0.store.commit(Batch::new().delete_raw(DATA_KEYS, owner_key(owner)?)).await?;
        self.0.cache.lock().remove(owner);
        Ok(())
    }

    async fn data_key(&self, owner: &str) -> Result<Option<Arc<Cipher>>, Error> {
        if let Some(cipher) = self.0.cache.lock().keys.get(owner) {
            return Ok(Some(cipher.clone()));
        }
        let key = owner_key(owner)?;
        // A rotation ends with dropping the old master key: the row must be read and unwrapped on one side of that.
        let ring = self.0.ring.read().await;
        let Some(row) = self.0.store.get(DATA_KEYS, key.clone()).await? else { return Ok(None) };
        let cipher = Arc::new(Cipher::new(&unwrap_key(&ring, &key, &row.value)?)?);
        self.0.cache.lock().insert(owner, cipher.clone());
        Ok(Some(cipher))
    }

    async fn make_data_key(&self, owner: &str) -> Result<Arc<Cipher>, Error> {
        let key = owner_key(owner)?;
        for _ in 0..VAULT_ATTEMPTS_MAX {
            let mut bytes = [0; KEY_BYTES];
            self.0.chance.fill(&mut bytes);
            let data_key = Secret::new(bytes);
            let committed = {
                let ring = self.0.ring.read().await;
                let master = ring.current().ok_or(Error::Key)?;
                let wrapped = wrap_key(master, &*self.0.chance, &key, &data_key)?;
                let batch = Batch::new().expect_raw(DATA_KEYS, key.clone(), Expect::Absent);
                self.0.store.commit(batch.put_raw(DATA_KEYS, key.clone(), &wrapped)).await?.is_committed()
            };
            if committed {
                let cipher = Arc::new(Cipher::new(&data_key)?);
                self.0.cache.lock().insert(owner, cipher.clone());
                return Ok(cipher);
            }
            // Somebody was faster; theirs is the key.
            if let Some(cipher) = self.data_key(owner).await? {
                return Ok(cipher);
            }
        }
        Err(Error::Contended)
    }
}

impl Cache {
    fn insert(&mut self, owner: &str, cipher: Arc<Cipher>) {
        if self.keys.insert(owner.to_owned(), cipher).is_none() {
            self.order.push_back(owner.to_owned());
        }
        while self.keys.len() > VAULT_CACHED_KEYS_MAX {
            let Some(oldest) = self.order.pop_front() else { break };
            self.keys.remove(&oldest);
        }
    }

    fn remove(&mut self, owner: &str) {
        if self.keys.remove(owner).is_some() {
            self.order.retain(|cached| cached != owner);
        }
    }
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
        vault.forget("a").await.unwrap();
        assert!(matches!(vault.unseal("a", "c", &sealed).await, Err(Error::NoDataKey)));
        vault.seal("a", "c", b"again").await.unwrap();
        assert!(matches!(vault.unseal("a", "c", &sealed).await, Err(Error::Refused(_))));
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
            *vault.0.cache.lock() = Cache::default();
            vault.unseal("a", "c", &sealed.unwrap()).await.unwrap();
        }
    }

    #[test]
    fn the_cache_keeps_its_bound() {
        let cipher = Arc::new(Cipher::new(&Secret::new([0; KEY_BYTES])).unwrap());
        let mut cache = Cache::default();
        for number in 0..VAULT_CACHED_KEYS_MAX + 10 {
            cache.insert(&number.to_string(), cipher.clone());
            cache.insert(&number.to_string(), cipher.clone());
        }
        assert_eq!((cache.keys.len(), cache.order.len()), (VAULT_CACHED_KEYS_MAX, VAULT_CACHED_KEYS_MAX));
        assert!(!cache.keys.contains_key("9") && cache.keys.contains_key("10"));
        cache.remove("10");
        assert_eq!((cache.keys.len(), cache.order.len()), (VAULT_CACHED_KEYS_MAX - 1, VAULT_CACHED_KEYS_MAX - 1));
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
        let bad =
            ["", "{", "[]", &good.replace("\"format\": 1", "\"format\": 2"), &good.replace(&key, &key[4..]), &endless];
        for bad in bad {
            fs::write(&path, bad).unwrap();
            let error = Vault::open(&store, &path, chance()).await.err().unwrap();
            assert!(matches!(error, OpenError::KeyFile(KeyFileError::Invalid { .. })), "{bad}: {error}");
            assert!(!format!("{error} {error:?}").contains(&key[4..20]));
        }
    }
}

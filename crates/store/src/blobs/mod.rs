//! Blobs: content too large for a value, such as function code and S3 objects, kept once under its SHA-256.
//!
//! A blob is a file `ab/<hash>` below the data directory's `blobs`. It is written beside, hashed on the way, synced,
//! renamed and its directory synced before [`Blobs::put`] answers, so a batch that names it never commits first. The
//! record that points at a blob commits together with a reference (`Blobs::retain`); a file that nothing refers to is
//! deleted by the collector ([`Blobs::collect`]) after a grace period.
//!
//! Invariants: a file under a hash was complete and synced before it got that name. A blob is never collected while a
//! [`Staged`] of it lives, nor while a reference to it is committed. What [`Blobs::read_verified`] returns has the
//! hash that was asked for.
//!
//! One process owns the directory: the data directory's lock sees to it. Not here yet: blobs in a bucket elsewhere.

mod collect;
mod hash;

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use base::{AwsError, Clock};
use bytes::Bytes;
use parking_lot::Mutex;
use ring::digest;
use serde::{Deserialize, Serialize};

use crate::Store;
use crate::disk::{self, DiskError, blocking};
use crate::error::detail;
use crate::limits::BLOB_COPY_BYTES;

pub use collect::Collected;
pub(crate) use collect::{REFERENCES, list_shard, referenced};
pub use hash::{BlobHash, BlobHashError};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("read the content of a new blob")]
    Source(#[source] io::Error),
    #[error("store a blob of more than {bytes_max} bytes")]
    TooLarge { bytes_max: u64 },
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("find blob {0}")]
    Missing(BlobHash),
    #[error("read blob {0}: its content is damaged")]
    Corrupt(BlobHash),
    #[error("refer to a blob by a name of {bytes} bytes")]
    ReferrerTooLong { bytes: usize },
    #[error("read the references to blobs")]
    Store(#[from] crate::Error),
    #[error("finish work on a blob")]
    Interrupted(#[source] io::Error),
}

impl From<Error> for AwsError {
    fn from(error: Error) -> Self {
        match error {
            Error::Disk(disk) if disk.is_full() => Self::unavailable(detail(&disk)),
            Error::Store(store) => store.into(),
            other => Self::internal(detail(&other)),
        }
    }
}

/// Names some content, and says how long it is. Records embed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Blob {
    pub hash: BlobHash,
    pub size_bytes: u64,
}

/// The blobs of one data directory; cheap to clone.
#[derive(Clone)]
pub struct Blobs(Arc<Inner>);

struct Inner {
    store: Store,
    dir: PathBuf,
    clock: Arc<dyn Clock>,
    /// Numbers the temporary files of this process; those of earlier ones are removed at start.
    temp_next: AtomicU64,
    ledger: Mutex<Ledger>,
    /// The shards whose directory is known to be durable.
    shards_synced: Mutex<BTreeSet<u8>>,
    /// Removes the directory with the last handle, where it is a temporary one.
    #[cfg(any(test, feature = "testing"))]
    _temporary: Option<tempfile::TempDir>,
}

/// What keeps files from being deleted, and what does not. Held only for as long as a look-up or an `unlink` takes.
#[derive(Default)]
struct Ledger {
    /// How many `Staged` there are of each blob.
    pins: HashMap<BlobHash, usize>,
    /// Blobs that a collection is about to delete, with the number of its step. Pinning one acquits it.
    condemned: HashMap<BlobHash, u64>,
    /// The number of the last step.
    condemnations: u64,
    /// How many `Hold`s suspend all deletion.
    holds: usize,
}

/// Proof that a blob is stored and synced, which keeps it from being collected: hold it until the batch that refers
/// to the blob has committed.
#[must_use = "an unreferenced blob may be collected as soon as this is dropped"]
pub struct Staged {
    blobs: Blobs,
    blob: Blob,
}

/// Keeps every blob, referenced or not, while it lives.
#[must_use = "collection goes on as soon as this is dropped"]
pub(crate) struct Hold(Blobs);

impl Blobs {
    /// Opens, or begins, the blobs in `dir`, whose parent exists. What a crash left half-written is removed.
    pub fn open(store: &Store, dir: &Path, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        disk::create_dir(dir)?;
        let temp_dir = dir.join(TEMP_DIR);
        match fs::remove_dir_all(&temp_dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(DiskError::at("clear directory", &temp_dir)(error).into());
            }
            // It need not survive a power cut, so it costs the start no sync.
            _ => fs::create_dir(&temp_dir).map_err(DiskError::at("create directory", &temp_dir))?,
        }
        Ok(Self(Arc::new(Inner {
            store: store.clone(),
            dir: dir.to_owned(),
            clock,
            temp_next: AtomicU64::new(0),
            ledger: Mutex::default(),
            shards_synced: Mutex::default(),
            #[cfg(any(test, feature = "testing"))]
            _temporary: None,
        })))
    }

    /// Blobs in a directory that goes with the last handle: the twin for the in-memory store.
    #[cfg(any(test, feature = "testing"))]
    pub fn temporary(store: &Store, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let temporary = tempfile::tempdir().map_err(DiskError::at("create directory in", &std::env::temp_dir()))?;
        let mut blobs = Self::open(store, &temporary.path().join("blobs"), clock)?;
        if let Some(inner) = Arc::get_mut(&mut blobs.0) {
            inner._temporary = Some(temporary);
        }
        Ok(blobs)
    }

    /// Stores what `source` yields, up to `bytes_max`. When this answers, the content is durable.
    pub async fn put(&self, source: impl Read + Send + 'static, bytes_max: u64) -> Result<Staged, Error> {
        let blobs = self.clone();
        blocking(move || blobs.put_blocking(source, bytes_max)).await.map_err(Error::Interrupted)?
    }

    /// Takes hold of a stored blob, so that another record can refer to it.
    pub async fn pin(&self, blob: &Blob) -> Result<Staged, Error> {
        let (blobs, blob) = (self.clone(), *blob);
        let pinned = move || {
            // First pinned, then looked for: what is found now stays.
            let staged = blobs.stage(blob);
            blobs.open_blocking(&blob).map(|_| staged)
        };
        blocking(pinned).await.map_err(Error::Interrupted)?
    }

    /// The file of a blob, its length checked. Whoever must not see a flipped bit uses `read_verified`.
    pub async fn file(&self, blob: &Blob) -> Result<File, Error> {
        let (blobs, blob) = (self.clone(), *blob);
        blocking(move || blobs.open_blocking(&blob)).await.map_err(Error::Interrupted)?
    }

    /// The whole content of a blob of at most `bytes_max`, its hash checked.
    pub async fn read_verified(&self, blob: &Blob, bytes_max: u64) -> Result<Bytes, Error> {
        if blob.size_bytes > bytes_max {
            return Err(Error::TooLarge { bytes_max });
        }
        let (blobs, blob) = (self.clone(), *blob);
        let read = move || {
            let mut content = Vec::new();
            let file = blobs.open_blocking(&blob)?;
            let read = file.take(blob.size_bytes).read_to_end(&mut content);
            read.map_err(DiskError::at("read", &blobs.path(&blob.hash)))?;
            if BlobHash::of(&content) == blob.hash { Ok(content.into()) } else { Err(Error::Corrupt(blob.hash)) }
        };
        blocking(read).await.map_err(Error::Interrupted)?
    }

    /// Reads a blob of any size through, and checks its length and hash.
    pub async fn verify(&self, blob: &Blob) -> Result<(), Error> {
        let (blobs, blob) = (self.clone(), *blob);
        let verify = move || blobs.copy_verified(&blob, &mut io::sink());
        blocking(verify).await.map_err(Error::Interrupted)?
    }

    /// Copies a blob's content to `target`, and fails if it was not what its hash says. Blocks.
    pub(crate) fn copy_verified(&self, blob: &Blob, target: &mut impl Write) -> Result<(), Error> {
        let path = self.path(&blob.hash);
        let source = self.open_blocking(blob)?;
        match copy_hashed(source, target, blob.size_bytes) {
            Ok(copied) if copied == *blob => Ok(()),
            Ok(_) | Err(CopyError::TooLarge) => Err(Error::Corrupt(blob.hash)),
            Err(CopyError::Read(error)) => Err(DiskError::at("read", &path)(error).into()),
            Err(CopyError::Write(error)) => Err(DiskError::at("copy", &path)(error).into()),
        }
    }

    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        self.0.clock.clone()
    }

    /// Suspends collection.
    pub(crate) fn hold(&self) -> Hold {
        let mut ledger = self.0.ledger.lock();
        ledger.holds = ledger.holds.saturating_add(1);
        Hold(self.clone())
    }

    fn put_blocking(&self, source: impl Read, bytes_max: u64) -> Result<Staged, Error> {
        let put = self.write(source, bytes_max);
        if let Err(Error::Disk(error)) = &put
            && error.is_failed_sync()
        {
            self.0.store.fail(&base::with_causes(error));
        }
        put
    }

    fn write(&self, source: impl Read, bytes_max: u64) -> Result<Staged, Error> {
        let number = self.0.temp_next.fetch_add(1, Ordering::Relaxed);
        let temp = Temp(self.0.dir.join(TEMP_DIR).join(number.to_string()));
        let made = OpenOptions::new().write(true).create_new(true).mode(disk::MODE_PRIVATE_FILE).open(&temp.0);
        let mut file = made.map_err(DiskError::at("create", &temp.0))?;
        let blob = copy_hashed(source, &mut file, bytes_max).map_err(|error| match error {
            CopyError::Read(error) => Error::Source(error),
            CopyError::Write(error) => DiskError::at("write", &temp.0)(error).into(),
            CopyError::TooLarge => Error::TooLarge { bytes_max },
        })?;
        // The collector goes by it.
        let now = Duration::from_micros(u64::try_from(self.0.clock.now().as_micros()).unwrap_or(0));
        let dated = file.set_modified(SystemTime::UNIX_EPOCH + now);
        dated.and_then(|()| file.sync_all()).map_err(DiskError::at("sync", &temp.0))?;
        self.publish(temp, blob)
    }

    /// Gives a synced file its name. A file that had the name is replaced by its equal, which mends one that has been
    /// damaged since, and makes the directory sync below cover this name whatever became of an earlier one.
    fn publish(&self, temp: Temp, blob: Blob) -> Result<Staged, Error> {
        let path = self.path(&blob.hash);
        let shard = self.durable_shard(blob.hash.shard())?;
        // From here the collector leaves the name alone.
        let staged = self.stage(blob);
        fs::rename(&temp.0, &path).map_err(DiskError::at("rename", &temp.0))?;
        disk::sync_dir(&shard)?;
        Ok(staged)
    }

    fn stage(&self, blob: Blob) -> Staged {
        let mut ledger = self.0.ledger.lock();
        let pins = ledger.pins.entry(blob.hash).or_default();
        *pins = pins.saturating_add(1);
        ledger.condemned.remove(&blob.hash);
        Staged { blobs: self.clone(), blob }
    }

    fn open_blocking(&self, blob: &Blob) -> Result<File, Error> {
        let path = self.path(&blob.hash);
        let file = File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::Missing(blob.hash),
            _ => DiskError::at("open", &path)(error).into(),
        })?;
        let size_bytes = file.metadata().map_err(DiskError::at("measure", &path))?.len();
        if size_bytes == blob.size_bytes { Ok(file) } else { Err(Error::Corrupt(blob.hash)) }
    }

    fn path(&self, hash: &BlobHash) -> PathBuf {
        path_below(&self.0.dir, hash)
    }

    /// A shard's directory, made if need be. A directory that is there may be the work of another thread, or of a
    /// process that was killed, before it was synced: nobody goes on until this process has synced its entry once.
    fn durable_shard(&self, shard: u8) -> Result<PathBuf, DiskError> {
        let dir = shard_below(&self.0.dir, shard);
        let mut shards = self.0.shards_synced.lock();
        if !shards.contains(&shard) {
            disk::create_dir(&dir)?;
            disk::sync_dir(&self.0.dir)?;
            shards.insert(shard);
        }
        Ok(dir)
    }
}

/// Where half-written files are. No shard has a name like it.
const TEMP_DIR: &str = "tmp";

fn shard_below(dir: &Path, shard: u8) -> PathBuf {
    dir.join(format!("{shard:02x}"))
}

/// Where the blob `hash` is in the directory of blobs `dir`.
pub(crate) fn path_below(dir: &Path, hash: &BlobHash) -> PathBuf {
    shard_below(dir, hash.shard()).join(hash.to_string())
}

impl Staged {
    pub fn blob(&self) -> Blob {
        self.blob
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        let mut ledger = self.blobs.0.ledger.lock();
        if let Some(pins) = ledger.pins.get_mut(&self.blob.hash) {
            *pins = pins.saturating_sub(1);
            if *pins == 0 {
                ledger.pins.remove(&self.blob.hash);
            }
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut ledger = self.0.0.ledger.lock();
        ledger.holds = ledger.holds.saturating_sub(1);
    }
}

/// A file that is removed unless it was renamed.
struct Temp(PathBuf);

impl Drop for Temp {
    fn drop(&mut self) {
        // What cannot be removed now is removed at the next start.
        fs::remove_file(&self.0).ok();
    }
}

pub(crate) enum CopyError {
    Read(io::Error),
    Write(io::Error),
    TooLarge,
}

/// Copies at most `bytes_max` and says what it was.
pub(crate) fn copy_hashed(mut source: impl Read, target: &mut impl Write, bytes_max: u64) -> Result<Blob, CopyError> {
    let mut buffer = vec![0; BLOB_COPY_BYTES];
    let mut digest = digest::Context::new(&digest::SHA256);
    let mut size_bytes: u64 = 0;
    loop {
        let count = match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(CopyError::Read(error)),
        };
        let piece = buffer.get(..count).unwrap_or_default();
        size_bytes = size_bytes.saturating_add(piece.len() as u64);
        if size_bytes > bytes_max {
            return Err(CopyError::TooLarge);
        }
        digest.update(piece);
        target.write_all(piece).map_err(CopyError::Write)?;
    }
    Ok(Blob { hash: BlobHash::from_digest(&digest.finish()), size_bytes })
}

#[cfg(test)]
mod tests {
    use base::ManualClock;
    use proptest::prelude::*;

    use super::*;

    fn blobs() -> Blobs {
        let clock = Arc::new(ManualClock::default());
        Blobs::temporary(&Store::memory(clock.clone()), clock).unwrap()
    }

    #[tokio::test]
    async fn content_is_stored_once_under_its_hash_and_reads_back() {
        let blobs = blobs();
        let one = blobs.put(&b"abc"[..], 3).await.unwrap();
        let two = blobs.put(&b"abc"[..], 3).await.unwrap();
        assert_eq!(one.blob(), two.blob());
        assert_eq!(one.blob(), Blob { hash: BlobHash::of(b"abc"), size_bytes: 3 });
        assert_eq!(blobs.read_verified(&one.blob(), 3).await.unwrap(), &b"abc"[..]);
        let mut content = String::new();
        blobs.file(&one.blob()).await.unwrap().read_to_string(&mut content).unwrap();
        assert_eq!(content, "abc");
        blobs.verify(&one.blob()).await.unwrap();
        assert_eq!(fs::read_dir(blobs.0.dir.join(TEMP_DIR)).unwrap().count(), 0);
        assert_eq!(fs::read_dir(blobs.path(&one.blob().hash).parent().unwrap()).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn limits_hold_on_the_way_in_and_out_and_leave_nothing_behind() {
        let blobs = blobs();
        assert!(matches!(blobs.put(&b"abcd"[..], 3).await, Err(Error::TooLarge { bytes_max: 3 })));
        let endless = blobs.put(io::repeat(7), 1_000_000).await;
        assert!(matches!(endless, Err(Error::TooLarge { .. })));
        assert_eq!(fs::read_dir(blobs.0.dir.join(TEMP_DIR)).unwrap().count(), 0);
        let staged = blobs.put(&b"abc"[..], 3).await.unwrap();
        assert!(matches!(blobs.read_verified(&staged.blob(), 2).await, Err(Error::TooLarge { bytes_max: 2 })));
    }

    /// Yields a little, then fails, as a client that hangs up does.
    struct Broken(bool);

    impl Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match std::mem::replace(&mut self.0, true) {
                false => (&b"half"[..]).read(buffer),
                true => Err(io::ErrorKind::ConnectionReset.into()),
            }
        }
    }

    #[tokio::test]
    async fn a_source_that_fails_leaves_nothing_behind() {
        let blobs = blobs();
        assert!(matches!(blobs.put(Broken(false), 100).await, Err(Error::Source(_))));
        let half = Blob { hash: BlobHash::of(b"half"), size_bytes: 4 };
        assert!(matches!(blobs.file(&half).await, Err(Error::Missing(_))));
        assert!(matches!(blobs.pin(&half).await, Err(Error::Missing(_))));
        assert_eq!(fs::read_dir(blobs.0.dir.join(TEMP_DIR)).unwrap().count(), 0);
        assert!(blobs.0.ledger.lock().pins.is_empty());
    }

    #[tokio::test]
    async fn what_a_crash_left_is_cleared_and_what_was_stored_is_there() {
        let clock = Arc::new(ManualClock::default());
        let store = Store::memory(clock.clone());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("blobs");
        let blob = {
            let blobs = Blobs::open(&store, &path, clock.clone()).unwrap();
            fs::write(path.join(TEMP_DIR).join("0"), "torn").unwrap();
            fs::write(path.join(TEMP_DIR).join("77"), "torn").unwrap();
            // The name of the first temporary file is taken: that is an error, and no content is mixed up.
            assert!(blobs.put(&b"abc"[..], 3).await.is_err());
            blobs.put(&b"abc"[..], 3).await.unwrap().blob()
        };
        let blobs = Blobs::open(&store, &path, clock).unwrap();
        assert_eq!(fs::read_dir(path.join(TEMP_DIR)).unwrap().count(), 0);
        assert_eq!(blobs.read_verified(&blob, 3).await.unwrap(), &b"abc"[..]);
    }

    #[tokio::test]
    async fn putting_damaged_content_again_mends_it() {
        let blobs = blobs();
        let blob = blobs.put(&b"abc"[..], 3).await.unwrap().blob();
        fs::write(blobs.path(&blob.hash), "abd").unwrap();
        assert!(matches!(blobs.read_verified(&blob, 3).await, Err(Error::Corrupt(_))));
        drop(blobs.put(&b"abc"[..], 3).await.unwrap());
        assert_eq!(blobs.read_verified(&blob, 3).await.unwrap(), &b"abc"[..]);
    }

    async fn damage_is_found(content: Vec<u8>, at: prop::sample::Index, bit: u8, cut: bool) {
        let blobs = blobs();
        let blob = blobs.put(io::Cursor::new(content.clone()), 1_000).await.unwrap().blob();
        let mut damaged = content;
        let at = at.index(damaged.len());
        if cut {
            damaged.truncate(at)
        } else {
            damaged[at] ^= 1 << bit
        }
        fs::write(blobs.path(&blob.hash), damaged).unwrap();
        assert!(matches!(blobs.read_verified(&blob, 1_000).await, Err(Error::Corrupt(_))));
        assert!(matches!(blobs.verify(&blob).await, Err(Error::Corrupt(_))));
        assert_eq!(blobs.file(&blob).await.is_err(), cut, "the length is checked in any case");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn every_flipped_bit_and_every_cut_is_found(
            content in prop::collection::vec(any::<u8>(), 1..200), at: prop::sample::Index, bit in 0..8u8, cut: bool,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(damage_is_found(content, at, bit, cut));
        }
    }

    #[tokio::test]
    async fn many_at_once_store_the_same_content_once() {
        let blobs = blobs();
        let mut puts = tokio::task::JoinSet::new();
        for number in 0..32_u8 {
            let blobs = blobs.clone();
            puts.spawn(async move { blobs.put(io::Cursor::new(vec![number % 4; 300_000]), 300_000).await.map(drop) });
        }
        while let Some(put) = puts.join_next().await {
            put.unwrap().unwrap();
        }
        assert_eq!(blobs.collect(std::time::Duration::ZERO).await.unwrap().examined_count, 4);
        assert!(blobs.0.ledger.lock().pins.is_empty());
    }
}

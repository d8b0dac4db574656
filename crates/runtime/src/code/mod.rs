//! The code cache: zips unpacked once, as directories that sandboxes see read-only.
//!
//! ```text
//! <cache>/<boot>/trees/<name>.<n>.<bytes>   one unpacked zip (`z-<hash>`), layers laid over each other (`l-<hash of
//!                                           hashes>`), or what was prepared for a version (`p-<hash>`); `n` tells it from one of the same name that is being deleted
//! <cache>/<boot>/tmp/<n>                    what is being made, or being deleted
//! ```
//!
//! A tree is made in `tmp` and renamed, so a name under `trees` means that it is whole. Nothing is synced: what a power
//! cut may have torn is below another boot's name and is deleted at the next start.
//!
//! Invariants: many who want one tree at once have it made once. A tree that somebody holds a `Lease` of stays. What
//! nobody holds goes, least recently wanted first, when all trees together are larger than `CODE_CACHE_BYTES`; what was
//! prepared has `PREPARED_CACHE_BYTES` to itself (`prepared`). A zip's hash is checked before it is unpacked.

mod merge;
mod prepared;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use archive::ArchiveError;
use base::hex;
use base::ports::CodeRef;
use parking_lot::Mutex;
use store::{Blob, Blobs};
use tokio::sync::OnceCell;

use crate::limits::{CODE_CACHE_BYTES, PREPARED_CACHE_BYTES, READ_ZIP_BYTES};
use prepared::Rejected;

pub use merge::copy_over;
pub use prepared::{PREPARED, Prepared, PreparedName, SHARED};

#[derive(Debug, thiserror::Error)]
pub enum CodeError {
    #[error("read a function's zip")]
    Blob(#[source] store::BlobsError),
    #[error("unpack a function's zip")]
    Archive(#[source] ArchiveError),
    #[error("{step} in the code cache")]
    Disk {
        step: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("finish unpacking a function's zip")]
    Interrupted(#[source] tokio::task::JoinError),
    #[error("prepare a version's code")]
    Prepare(#[source] Box<dyn std::error::Error + Send + Sync>),
}

fn disk(step: &'static str) -> impl FnOnce(io::Error) -> CodeError {
    move |source| CodeError::Disk { step, source }
}

/// Cheap to clone.
#[derive(Clone)]
pub struct CodeCache(Arc<Inner>);

struct Inner {
    blobs: Blobs,
    budgets: Budgets,
    trees_dir: PathBuf,
    temp_dir: PathBuf,
    next: AtomicU64,
    table: Mutex<Table>,
}

/// What may be kept that nobody uses.
#[derive(Debug, Clone, Copy)]
struct Budgets {
    code: u64,
    prepared: u64,
}

#[derive(Default)]
struct Table {
    trees: BTreeMap<String, Arc<Tree>>,
    rejected: Rejected,
    /// Counts the wants, so that the oldest is known.
    wants: u64,
}

struct Tree {
    made: OnceCell<Made>,
    wanted: AtomicU64,
}

struct Made {
    path: PathBuf,
    bytes: u64,
}

/// Keeps a tree while it lives.
#[derive(Clone)]
pub struct Lease(Arc<Tree>);

impl Lease {
    /// A directory that everybody may read.
    pub fn path(&self) -> &Path {
        // A lease is handed out when its tree is made.
        self.0.made.get().map_or(Path::new("/nonexistent"), |made| made.path.as_path())
    }
}

impl CodeCache {
    /// Opens the cache below `dir`, and deletes what is no good any more. To be called within the event loop.
    pub fn open(blobs: Blobs, dir: &Path) -> io::Result<CodeCache> {
        CodeCache::open_with(blobs, dir, Budgets { code: CODE_CACHE_BYTES, prepared: PREPARED_CACHE_BYTES })
    }

    fn open_with(blobs: Blobs, dir: &Path, budgets: Budgets) -> io::Result<CodeCache> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let boot = boot.trim().trim_matches('/');
        let ours = dir.join(if boot.is_empty() { "boot" } else { boot });
        make_dir(dir)?;
        make_dir(&ours)?;
        let others: Vec<PathBuf> =
            fs::read_dir(dir)?.flatten().map(|other| other.path()).filter(|other| *other != ours).collect();
        if !others.is_empty() {
            tokio::task::spawn_blocking(move || others.iter().for_each(|other| remove(other)));
        }
        let (trees_dir, temp_dir) = (ours.join("trees"), ours.join("tmp"));
        remove(&temp_dir);
        make_dir(&temp_dir)?;
        make_dir(&trees_dir)?;
        let mut table = Table::default();
        let mut next = 0;
        for found in fs::read_dir(&trees_dir)?.flatten() {
            let name = found.file_name();
            let mut parts = name.to_str().unwrap_or_default().split('.');
            let (Some(name), Some(number), Some(bytes)) = (parts.next(), parts.next(), parts.next()) else { continue };
            let (Ok(number), Ok(bytes)) = (number.parse::<u64>(), bytes.parse()) else { continue };
            next = next.max(number.saturating_add(1));
            let made = Made { path: found.path(), bytes };
            let tree = Tree { made: OnceCell::new_with(Some(made)), wanted: AtomicU64::new(0) };
            table.trees.insert(name.to_owned(), Arc::new(tree));
        }
        Ok(CodeCache(Arc::new(Inner {
            blobs,
            budgets,
            trees_dir,
            temp_dir,
            next: AtomicU64::new(next),
            table: Mutex::new(table),
        })))
    }

    /// A function's code, unpacked.
    pub async fn code(&self, code: CodeRef) -> Result<Lease, CodeError> {
        let name = format!("z-{}", hex::encode(&code.hash));
        self.lease(&name, || self.unpack(&name, code)).await
    }

    /// Layers laid over each other in their order; `None` without any.
    pub async fn layers(&self, layers: &[CodeRef]) -> Result<Option<Lease>, CodeError> {
        match layers {
            [] => return Ok(None),
            [only] => return self.code(*only).await.map(Some),
            _ => {}
        }
        let all: Vec<u8> = layers.iter().flat_map(|layer| layer.hash).collect();
        let digest = ring::digest::digest(&ring::digest::SHA256, &all);
        let name = format!("l-{}", hex::encode(digest.as_ref()));
        self.lease(&name, || self.merge(&name, layers)).await.map(Some)
    }

    async fn lease<M: Future<Output = Result<Made, CodeError>>>(
        &self,
        name: &str,
        make: impl FnOnce() -> M,
    ) -> Result<Lease, CodeError> {
        let lease = self.want(name.to_owned());
        let made = lease.0.made.get_or_try_init(make).await.map(|_| ());
        if let Err(error) = made {
            drop(lease);
            let mut table = self.0.table.lock();
            // What cannot be made takes no room.
            if table.trees.get(name).is_some_and(|tree| Arc::strong_count(tree) == 1) {
                table.trees.remove(name);
            }
            return Err(error);
        }
        self.evict();
        Ok(lease)
    }

    fn want(&self, name: String) -> Lease {
        let mut table = self.0.table.lock();
        table.wants = table.wants.saturating_add(1);
        let wants = table.wants;
        let tree = table
            .trees
            .entry(name)
            .or_insert_with(|| Arc::new(Tree { made: OnceCell::new(), wanted: AtomicU64::new(wants) }));
        tree.wanted.store(wants, Ordering::Relaxed);
        Lease(Arc::clone(tree))
    }

    async fn unpack(&self, name: &str, code: CodeRef) -> Result<Made, CodeError> {
        let blob = Blob { hash: code.hash.into(), size_bytes: code.size_bytes };
        let limits = archive::Limits { archive_bytes_max: u64::MAX, ..archive::Limits::default() };
        // Small ones are read once for both the hash and the content.
        let source: Box<dyn archive::Source + Send> = if code.size_bytes <= READ_ZIP_BYTES {
            let bytes = self.0.blobs.read_verified(&blob, READ_ZIP_BYTES).await.map_err(CodeError::Blob)?;
            Box::new(Zip(bytes))
        } else {
            self.0.blobs.verify(&blob).await.map_err(CodeError::Blob)?;
            Box::new(self.0.blobs.file(&blob).await.map_err(CodeError::Blob)?)
        };
        self.make(name, move |dir| {
            let opened = fs::File::open(dir).map_err(disk("open a directory"))?;
            let unpacked = archive::unpack(&*source, std::os::fd::AsFd::as_fd(&opened), &limits);
            unpacked.map(|_| ()).map_err(CodeError::Archive)
        })
        .await
    }

    async fn merge(&self, name: &str, layers: &[CodeRef]) -> Result<Made, CodeError> {
        let mut leases = Vec::new();
        for layer in layers {
            leases.push(self.code(*layer).await?);
        }
        self.make(name, move |dir| {
            leases.iter().try_for_each(|lease| merge::lay_over(lease.path(), dir).map_err(disk("lay layers over")))
        })
        .await
    }

    /// Makes a tree beside, and gives it its name when it is whole.
    async fn make(
        &self,
        name: &str,
        fill: impl FnOnce(&Path) -> Result<(), CodeError> + Send + 'static,
    ) -> Result<Made, CodeError> {
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        let temp = self.0.temp_dir.join(number.to_string());
        let path = self.0.trees_dir.join(format!("{name}.{number}"));
        let made = tokio::task::spawn_blocking(move || {
            make_dir(&temp).map_err(disk("make a directory"))?;
            let filled = fill(&temp).and_then(|()| {
                let bytes = merge::size(&temp).map_err(disk("measure a directory"))?;
                let path = path.with_added_extension(bytes.to_string());
                fs::rename(&temp, &path).map_err(disk("rename a directory"))?;
                Ok(Made { path, bytes })
            });
            if filled.is_err() {
                remove(&temp);
            }
            filled
        });
        made.await.map_err(CodeError::Interrupted)?
    }

    /// Deletes what is too much and in nobody's use.
    fn evict(&self) {
        let mut gone = Vec::new();
        let mut table = self.0.table.lock();
        table.take_excess(self.0.budgets.code, prepared::is_code, &mut gone);
        table.take_excess(self.0.budgets.prepared, prepared::is_prepared, &mut gone);
        table.take_excess(0, prepared::is_bad, &mut gone);
        drop(table);
        if gone.is_empty() {
            return;
        }
        let cache = self.clone();
        tokio::task::spawn_blocking(move || {
            for tree in gone {
                let number = cache.0.next.fetch_add(1, Ordering::Relaxed);
                let temp = cache.0.temp_dir.join(number.to_string());
                if let Some(made) = tree.made.get()
                    && fs::rename(&made.path, &temp).is_ok()
                {
                    remove(&temp);
                }
            }
        });
    }
}

impl Table {
    /// Takes out what is in nobody's use, the oldest first, until the trees of a kind are no more than `bytes_max`.
    fn take_excess(&mut self, bytes_max: u64, is_one: impl Fn(&str) -> bool, gone: &mut Vec<Arc<Tree>>) {
        let bytes = |name: &str, tree: &Tree| tree.made.get().map_or(0, |made| prepared::cost(name, made.bytes));
        let ours = self.trees.iter().filter(|(name, _)| is_one(name));
        let mut total = ours.fold(0_u64, |sum, (name, tree)| sum.saturating_add(bytes(name, tree)));
        while total > bytes_max {
            // Only the table holds it, so nobody can come to hold it before the lock is released.
            let unused = self.trees.iter().filter(|(name, tree)| is_one(name) && Arc::strong_count(tree) == 1);
            let oldest =
                unused.min_by_key(|(_, tree)| tree.wanted.load(Ordering::Relaxed)).map(|(name, _)| name.clone());
            let Some((name, tree)) = oldest.and_then(|name| self.trees.remove_entry(&name)) else { break };
            total = total.saturating_sub(bytes(&name, &tree));
            gone.push(tree);
        }
    }
}

/// A zip in memory.
struct Zip(bytes::Bytes);

impl archive::Source for Zip {
    fn size_bytes(&self) -> io::Result<u64> {
        self.0.as_ref().size_bytes()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.as_ref().read_exact_at(buffer, offset)
    }
}

/// A directory that everybody may read, whatever the umask.
pub fn make_dir(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))
}

fn remove(path: &Path) {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "failed to delete from the code cache");
        }
        _ => {}
    }
}

#[cfg(test)]
#[path = "../../tests/it/zip.rs"]
mod zip;

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use base::{Clock, SystemClock};
    use store::Store;

    use super::zip::zip;
    use super::*;

    fn blobs() -> Blobs {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        Blobs::temporary(&Store::memory(clock.clone()), clock).unwrap()
    }

    async fn code(blobs: &Blobs, text: &str) -> CodeRef {
        let blob = blobs.put(Cursor::new(zip(&[("folder/file", text)])), u64::MAX).await.unwrap().blob();
        CodeRef { hash: *blob.hash.as_bytes(), size_bytes: blob.size_bytes }
    }

    fn count(dir: &Path) -> usize {
        fs::read_dir(dir).unwrap().count()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn many_who_want_a_tree_have_it_made_once_and_a_restart_keeps_it() {
        let (blobs, dir) = (blobs(), tempfile::tempdir().unwrap());
        let one = code(&blobs, "one").await;
        let cache = CodeCache::open(blobs.clone(), dir.path()).unwrap();
        let mut wants = tokio::task::JoinSet::new();
        for _ in 0..16 {
            let cache = cache.clone();
            wants.spawn(async move { cache.code(one).await.unwrap() });
        }
        let leases = wants.join_all().await;
        let path = leases[0].path().to_owned();
        assert!(leases.iter().all(|lease| lease.path() == path));
        assert_eq!(fs::read_to_string(path.join("folder/file")).unwrap(), "one");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o755);
        assert_eq!((count(&cache.0.trees_dir), count(&cache.0.temp_dir)), (1, 0));
        fs::create_dir(cache.0.temp_dir.join("7")).unwrap();
        fs::create_dir(dir.path().join("another boot")).unwrap();
        let again = CodeCache::open(blobs, dir.path()).unwrap();
        assert_eq!(count(&again.0.temp_dir), 0);
        while count(dir.path()) > 1 {
            tokio::task::yield_now().await;
        }
        assert_eq!(again.code(one).await.unwrap().path(), path);
    }

    #[tokio::test]
    async fn what_is_in_nobody_s_use_goes_oldest_first_and_comes_again() {
        let (blobs, dir) = (blobs(), tempfile::tempdir().unwrap());
        let [one, two, three] = [code(&blobs, "one").await, code(&blobs, "two").await, code(&blobs, "3").await];
        let cache = CodeCache::open_with(blobs, dir.path(), Budgets { code: 7, prepared: 0 }).unwrap();
        let held = cache.code(one).await.unwrap();
        let gone = cache.code(two).await.unwrap().path().to_owned();
        let kept = cache.code(three).await.unwrap();
        assert_eq!(cache.0.table.lock().trees.len(), 3, "they just fit");
        drop(cache.layers(&[one, three]).await.unwrap());
        while gone.exists() {
            tokio::task::yield_now().await;
        }
        assert!(held.path().exists() && kept.path().exists());
        assert_eq!(fs::read_to_string(cache.code(two).await.unwrap().path().join("folder/file")).unwrap(), "two");
    }

    #[tokio::test]
    async fn what_is_no_zip_or_damaged_leaves_nothing() {
        let (blobs, dir) = (blobs(), tempfile::tempdir().unwrap());
        let cache = CodeCache::open(blobs.clone(), dir.path()).unwrap();
        let blob = blobs.put(Cursor::new(b"no zip".to_vec()), u64::MAX).await.unwrap().blob();
        let no_zip = CodeRef { hash: *blob.hash.as_bytes(), size_bytes: blob.size_bytes };
        assert!(matches!(cache.code(no_zip).await, Err(CodeError::Archive(_))));
        let missing = CodeRef { hash: [1; 32], size_bytes: 5 };
        assert!(matches!(cache.code(missing).await, Err(CodeError::Blob(_))));
        assert_eq!((count(&cache.0.trees_dir), count(&cache.0.temp_dir)), (0, 0));
        assert!(cache.0.table.lock().trees.is_empty());
    }
}

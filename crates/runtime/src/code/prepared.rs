//! What was prepared of versions' code: one file a name, in the cache beside the code, under a budget of its own.
//!
//! It is a courtesy that may turn out bad: torn by the disk, or made by who meant harm to its own version. A release that
//! failed with it does without from then on, and the file goes once nobody uses it; others of the same name have it made
//! again.
//!
//! Names begin with `p-`; with `x-` what was found bad and is still in use.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::Ordering;

use base::Uuid;

use super::{CodeCache, CodeError, Lease, disk};
use crate::limits::{PREPARED_FILE_BYTES, REJECTED_MAX};

/// The file in its folder.
pub const PREPARED: &str = "code";

/// How a file's name begins that has nothing of any version in it, so that no version can have made it bad.
pub const SHARED: &str = "p-shared-";

/// What is prepared, and for whom.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PreparedName {
    /// Which releases that share a file have in common.
    pub file: String,
    pub release: Uuid,
}

/// What there is under a name.
pub enum Prepared {
    Nothing,
    /// It has been tried, and is of no use to this release.
    Without,
    /// A folder with the file `PREPARED`.
    Ready(Lease),
}

/// Who does without.
#[derive(Default)]
pub(super) struct Rejected {
    since: HashMap<PreparedName, u64>,
    count: u64,
}

impl Rejected {
    fn has(&self, name: &PreparedName) -> bool {
        self.since.contains_key(name)
    }

    fn add(&mut self, name: PreparedName) {
        if self.since.len() >= REJECTED_MAX {
            let oldest = self.since.iter().min_by_key(|(_, since)| **since).map(|(name, _)| name.clone());
            oldest.and_then(|oldest| self.since.remove(&oldest));
        }
        self.count = self.count.saturating_add(1);
        self.since.insert(name, self.count);
    }
}

impl CodeCache {
    pub fn prepared(&self, name: &PreparedName) -> Prepared {
        let is_made = {
            let table = self.0.table.lock();
            if table.rejected.has(name) {
                return Prepared::Without;
            }
            table.trees.get(&name.file).is_some_and(|tree| tree.made.initialized())
        };
        let lease = is_made.then(|| self.want(name.file.clone()));
        match lease.as_ref().and_then(|lease| lease.0.made.get()).map(|made| made.bytes) {
            None => Prepared::Nothing,
            Some(0) => Prepared::Without,
            Some(_) => lease.map_or(Prepared::Nothing, Prepared::Ready),
        }
    }

    /// Keeps what `make` prepares, which runs once for a name, however many want it. Nothing, if it is of no use to
    /// anybody to try again.
    pub async fn prepare<E: std::error::Error + Send + Sync + 'static>(
        &self,
        name: &PreparedName,
        make: impl Future<Output = Result<Vec<u8>, E>>,
    ) -> Result<(), CodeError> {
        let file = name.file.as_str();
        let make = async || {
            let prepared = make.await.map_err(|error| CodeError::Prepare(Box::new(error)))?;
            let write = move |dir: &Path| {
                let path = dir.join(PREPARED);
                fs::write(&path, prepared).map_err(disk("write what was prepared"))?;
                fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).map_err(disk("open a file to all"))
            };
            self.make(file, write).await
        };
        self.lease(file, make).await.map(drop)
    }

    /// Has a release do without. Who has the file before them keeps it as long as they need it, and what all share stays.
    pub fn reject(&self, name: &PreparedName) {
        let mut table = self.0.table.lock();
        table.rejected.add(name.clone());
        let is_made = table.trees.get(&name.file).is_some_and(|tree| tree.made.initialized());
        if is_made
            && !name.file.starts_with(SHARED)
            && let Some(tree) = table.trees.remove(&name.file)
        {
            let number = self.0.next.fetch_add(1, Ordering::Relaxed);
            table.trees.insert(format!("x-{number}"), tree);
        }
        drop(table);
        self.evict();
    }
}

pub(super) fn is_code(name: &str) -> bool {
    !is_prepared(name) && !is_bad(name)
}

pub(super) fn is_prepared(name: &str) -> bool {
    name.starts_with("p-")
}

pub(super) fn is_bad(name: &str) -> bool {
    name.starts_with("x-")
}

/// What a tree counts of its budget. Also the smallest file has to go one day.
pub(super) fn cost(name: &str, bytes: u64) -> u64 {
    if is_code(name) { bytes } else { bytes.saturating_add(PREPARED_FILE_BYTES) }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;

    use base::{Clock, SystemClock};
    use store::{Blobs, Store};

    use super::super::Budgets;
    use super::*;

    fn cache(prepared: u64) -> (CodeCache, tempfile::TempDir) {
        let (clock, dir): (Arc<dyn Clock>, _) = (Arc::new(SystemClock), tempfile::tempdir().unwrap());
        let blobs = Blobs::temporary(&Store::memory(clock.clone()), clock).unwrap();
        (CodeCache::open_with(blobs, dir.path(), Budgets { code: u64::MAX, prepared }).unwrap(), dir)
    }

    fn name(file: &str, release: u8) -> PreparedName {
        PreparedName { file: format!("p-{file}"), release: Uuid::from_bytes([release; 16]) }
    }

    async fn keep(cache: &CodeCache, name: &PreparedName, bytes: &[u8]) {
        let bytes = bytes.to_vec();
        cache.prepare(name, async { Ok::<_, Infallible>(bytes) }).await.unwrap();
    }

    fn ready(cache: &CodeCache, name: &PreparedName) -> Option<Lease> {
        match cache.prepared(name) {
            Prepared::Ready(lease) => Some(lease),
            Prepared::Nothing | Prepared::Without => None,
        }
    }

    async fn until_gone(path: &Path) {
        while path.exists() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn what_is_prepared_has_a_budget_of_its_own_and_small_files_count() {
        let (cache, _dir) = cache(3 * PREPARED_FILE_BYTES);
        let names: Vec<PreparedName> = (0..8).map(|number| name(&number.to_string(), number)).collect();
        let mut paths = Vec::new();
        for name in &names {
            keep(&cache, name, b"").await;
            assert!(matches!(cache.prepared(name), Prepared::Without), "it was tried");
        }
        for name in &names {
            keep(&cache, name, b"bytes").await;
            let lease = ready(&cache, name);
            // The oldest are gone, the empty ones among them.
            paths.extend(lease.map(|lease| lease.path().to_owned()));
        }
        let kept = names.iter().filter(|name| !matches!(cache.prepared(name), Prepared::Nothing)).count();
        assert!(kept <= 3, "{kept}");
        until_gone(&paths[0]).await;
    }

    #[tokio::test]
    async fn a_release_that_failed_with_it_does_without_and_others_have_it_made_again() {
        let (cache, _dir) = cache(u64::MAX);
        let (one, other) = (name("same", 1), name("same", 2));
        keep(&cache, &one, b"bad").await;
        let held = ready(&cache, &other).unwrap();
        cache.reject(&one);
        assert!(matches!(cache.prepared(&one), Prepared::Without));
        assert!(matches!(cache.prepared(&other), Prepared::Nothing));
        let bad = held.path().to_owned();
        assert_eq!(fs::read(bad.join(PREPARED)).unwrap(), b"bad", "who has it keeps it");
        keep(&cache, &other, b"good").await;
        assert_eq!(fs::read(ready(&cache, &other).unwrap().path().join(PREPARED)).unwrap(), b"good");
        assert!(matches!(cache.prepared(&one), Prepared::Without), "for good");
        drop(held);
        keep(&cache, &name("third", 3), b"else").await;
        until_gone(&bad).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn many_who_prepare_one_name_have_it_made_once() {
        let (cache, _dir) = cache(u64::MAX);
        let made = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let (cache, made) = (cache.clone(), Arc::clone(&made));
            all.spawn(async move {
                let make = async move {
                    made.fetch_add(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                    Ok::<_, Infallible>(b"made".to_vec())
                };
                cache.prepare(&name("one", 1), make).await.unwrap();
            });
        }
        all.join_all().await;
        assert_eq!(made.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn what_all_share_outlives_a_release_that_fails_with_it() {
        let (cache, _dir) = cache(u64::MAX);
        let file = format!("{SHARED}1");
        let name = |release: u8| PreparedName { file: file.clone(), release: Uuid::from_bytes([release; 16]) };
        keep(&cache, &name(1), b"all's").await;
        cache.reject(&name(1));
        assert!(matches!(cache.prepared(&name(1)), Prepared::Without));
        assert!(ready(&cache, &name(2)).is_some());
    }

    #[test]
    fn only_so_many_are_remembered() {
        let mut rejected = Rejected::default();
        for number in 0..=REJECTED_MAX {
            rejected.add(PreparedName { file: number.to_string(), release: Uuid::NIL });
        }
        let has = |number: usize| rejected.has(&PreparedName { file: number.to_string(), release: Uuid::NIL });
        assert!(!has(0) && has(1) && has(REJECTED_MAX));
        assert_eq!(rejected.since.len(), REJECTED_MAX);
    }
}

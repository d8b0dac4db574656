//! Changing the master key while sealing goes on.
//!
//! A rotation adds a fresh key to the key file, wraps every data key anew with it, page by page, and takes the old one
//! out of the file. It may be cut off anywhere: until its end the file holds both keys, and the next rotation, or
//! [`Vault::finish_rotation`] at start-up, goes on where it stopped.

use bytes::Bytes;
use tokio::sync::OwnedMutexGuard;

use super::{DATA_KEYS, Error, ROTATION, ROTATIONS, Vault, split_wrapped, unwrap_key, wrap_key};
use crate::disk::blocking;
use crate::limits::{VAULT_ATTEMPTS_MAX, VAULT_ROTATE_STEP};
use crate::vault::master::KeyRing;
use crate::{Batch, Expect, Range};

/// One rotation at a time: held until the last write of the key file that it began has ended, even if whoever asked
/// for the rotation is gone.
type Alone = OwnedMutexGuard<()>;

impl Vault {
    /// Replaces the master key; answers how many data keys were wrapped anew. When it is done, the old key opens
    /// nothing but older backups.
    pub async fn rotate(&self) -> Result<u64, Error> {
        let alone = self.0.rotating.clone().lock_owned().await;
        let (alone, finished_count) = self.wrap_all_anew(alone).await?;
        let fresh = self.0.ring.read().await.with_fresh(&*self.0.chance).ok_or(Error::Key)?;
        let alone = self.adopt(alone, fresh).await?;
        let (_, wrapped_count) = self.wrap_all_anew(alone).await?;
        Ok(finished_count.saturating_add(wrapped_count))
    }

    /// Completes a rotation that was cut off; does nothing if none was. Call it after each start.
    pub async fn finish_rotation(&self) -> Result<u64, Error> {
        let alone = self.0.rotating.clone().lock_owned().await;
        Ok(self.wrap_all_anew(alone).await?.1)
    }

    /// Brings all data keys under the current master key, then drops the others.
    async fn wrap_all_anew(&self, alone: Alone) -> Result<(Alone, u64), Error> {
        if !self.0.ring.read().await.is_rotating() {
            return Ok((alone, 0));
        }
        self.refuse_old_wraps().await?;
        let mut wrapped_count: u64 = 0;
        let mut from = Some(Bytes::new());
        while let Some(page) = from {
            let (count, next) = self.wrap_page_anew(page).await?;
            wrapped_count = wrapped_count.saturating_add(count);
            from = next;
        }
        let current_alone = self.0.ring.read().await.without_old();
        Ok((self.adopt(alone, current_alone).await?, wrapped_count))
    }

    /// Makes every batch conflict that brings a data key under an older master key and is not committed yet, whoever
    /// waits for it or has ceased to: those that are committed are found by the search that follows.
    async fn refuse_old_wraps(&self) -> Result<(), Error> {
        let id = self.0.ring.read().await.current().ok_or(Error::Key)?.id;
        self.0.store.commit(Batch::new().put_raw(ROTATIONS, ROTATION, &id.0)).await?;
        Ok(())
    }

    /// One page of [`Self::wrap_all_anew`]: how many rows it changed, and where the next page begins.
    async fn wrap_page_anew(&self, from: Bytes) -> Result<(u64, Option<Bytes>), Error> {
        for _ in 0..VAULT_ATTEMPTS_MAX {
            let range =
                Range { space: DATA_KEYS, from: from.clone(), to: None, limit: VAULT_ROTATE_STEP, reverse: false };
            let page = self.0.store.range(range).await?;
            let mut batch = Batch::new();
            let mut count: u64 = 0;
            {
                let ring = self.0.ring.read().await;
                let current = ring.current().ok_or(Error::Key)?;
                for row in &page.rows {
                    if split_wrapped(&row.value).is_some_and(|(id, _)| id == current.id) {
                        continue;
                    }
                    let data_key = unwrap_key(&ring, &row.key, &row.value)?;
                    let wrapped = wrap_key(current, &*self.0.chance, &row.key, &data_key)?;
                    batch = batch.expect_raw(DATA_KEYS, row.key.clone(), Expect::Version(row.version)).put_raw(
                        DATA_KEYS,
                        row.key.clone(),
                        &wrapped,
                    );
                    count = count.saturating_add(1);
                }
            }
            // A conflict means that an owner of the page was forgotten meanwhile.
            if count == 0 || self.0.store.commit(batch).await?.is_committed() {
                let last = page.rows.last().filter(|_| page.more);
                return Ok((count, last.map(|row| [&row.key, &b"\0"[..]].concat().into())));
            }
        }
        Err(Error::Contended)
    }

    /// Makes `ring` the keys of this vault: in the file first, so that no row is ever wrapped by a key that only
    /// memory holds. Both happen, or neither, even if the caller is gone meanwhile.
    async fn adopt(&self, alone: Alone, ring: KeyRing) -> Result<Alone, Error> {
        let vault = self.clone();
        let adopt = move || {
            if let Some(path) = &vault.0.key_file {
                ring.write(path)?;
            }
            *vault.0.ring.blocking_write() = ring;
            Ok(alone)
        };
        blocking(adopt).await.map_err(Error::Interrupted)?
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use base::{Chance, ManualClock, SystemChance};

    use super::*;
    use crate::Store;
    use crate::vault::Sealed;

    fn store() -> Store {
        Store::memory(Arc::new(ManualClock::default()))
    }

    async fn open(store: &Store, dir: &tempfile::TempDir) -> Vault {
        let key_file = dir.path().join("keys").join("master.json");
        Vault::open(store, &key_file, Arc::new(SystemChance::default())).await.unwrap()
    }

    async fn seal_all(vault: &Vault, owner_count: usize) -> BTreeMap<String, Sealed> {
        let mut sealed = BTreeMap::new();
        for number in 0..owner_count {
            let owner = format!("function {number}");
            sealed.insert(owner.clone(), vault.seal(&owner, "v1", owner.as_bytes()).await.unwrap());
        }
        sealed
    }

    async fn check_all(vault: &Vault, sealed: &BTreeMap<String, Sealed>) {
        for (owner, sealed) in sealed {
            assert_eq!(vault.unseal(owner, "v1", sealed).await.unwrap().expose(), owner.as_bytes());
        }
    }

    #[tokio::test]
    async fn the_old_master_key_opens_nothing_after_a_rotation() {
        let (store, dir) = (store(), tempfile::tempdir().unwrap());
        let vault = open(&store, &dir).await;
        let sealed = seal_all(&vault, VAULT_ROTATE_STEP + 10).await;
        let key_file = dir.path().join("keys").join("master.json");
        let old = std::fs::read(&key_file).unwrap();
        assert_eq!(vault.rotate().await.unwrap(), sealed.len() as u64);
        assert_eq!(vault.finish_rotation().await.unwrap(), 0);
        assert_ne!(std::fs::read(&key_file).unwrap(), old);
        check_all(&open(&store, &dir).await, &sealed).await;
        std::fs::write(&key_file, old).unwrap();
        let opened = Vault::open(&store, &key_file, Arc::new(SystemChance::default())).await;
        assert!(matches!(opened.err(), Some(crate::vault::OpenError::Foreign(_))));
    }

    async fn alone(vault: &Vault) -> Alone {
        vault.0.rotating.clone().lock_owned().await
    }

    /// Batches that bring a data key and are committed late: as when the caller that sealed is gone, and the batch is
    /// still in the store's queue while a rotation looks for data keys.
    #[tokio::test]
    async fn a_key_that_an_old_master_key_wraps_is_not_committed_behind_a_rotation() {
        let (store, dir) = (store(), tempfile::tempdir().unwrap());
        let vault = open(&store, &dir).await;
        for round in 0..3 {
            let (owner, in_time) = (format!("late {round}"), format!("in time {round}"));
            let (late, _) = vault.seal_with(Batch::new(), &owner, "v1", b"x").await.unwrap();
            let both = vault.0.ring.read().await.with_fresh(&*vault.0.chance).unwrap();
            let (early, sealed) = vault.seal_with(Batch::new(), &in_time, "v1", b"x").await.unwrap();
            let alone = vault.adopt(alone(&vault).await, both).await.unwrap();
            // Under the old key, but before the search; then under the new one, which stays.
            assert!(store.commit(early).await.unwrap().is_committed());
            let (fresh, _) = vault.seal_with(Batch::new(), &owner, "v1", b"x").await.unwrap();
            let (alone, wrapped_count) = vault.wrap_all_anew(alone).await.unwrap();
            assert!(wrapped_count > 0 && !vault.0.ring.read().await.is_rotating());
            assert!(!store.commit(late).await.unwrap().is_committed());
            // It conflicts although its master key is the new one: it was read before the rotation was marked.
            assert!(!store.commit(fresh).await.unwrap().is_committed());
            drop(alone);
            vault.seal(&owner, "v1", b"x").await.unwrap();
            let vault = open(&store, &dir).await;
            vault.unseal(&in_time, "v1", &sealed).await.unwrap();
        }
    }

    /// Drops rotations and seals at every await, and lets what they began finish when it likes.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_cancelled_call_leaves_a_row_that_nothing_opens() {
        let (dir, chance) = (tempfile::tempdir().unwrap(), SystemChance::default());
        let clock = Arc::new(ManualClock::default());
        let store = Store::open(&dir.path().join("data"), clock, crate::Options::default()).unwrap();
        let vault = open(&store, &dir).await;
        let sealed = seal_all(&vault, 20).await;
        let mut load = tokio::task::JoinSet::new();
        for number in 0..300_u64 {
            let vault = vault.clone();
            let polls_max = chance.random_u64() % 12;
            load.spawn(async move {
                let owner = format!("new {number}");
                let work = async {
                    match number % 5 {
                        0 => vault.rotate().await.map(drop),
                        _ => vault.seal(&owner, "v1", b"x").await.map(drop),
                    }
                };
                let mut work = std::pin::pin!(work);
                let mut polls_left = polls_max;
                std::future::poll_fn(|cx| match polls_left.checked_sub(1) {
                    None => std::task::Poll::Ready(()),
                    Some(left) => {
                        polls_left = left;
                        work.as_mut().poll(cx).map(Result::unwrap)
                    }
                })
                .await;
            });
        }
        load.join_all().await;
        vault.finish_rotation().await.unwrap();
        let vault = open(&store, &dir).await;
        let rows = store.range(Range::under(DATA_KEYS, "", 1_000)).await.unwrap().rows;
        assert!(rows.len() > sealed.len());
        for row in rows {
            let owner = std::str::from_utf8(&row.key).unwrap();
            assert!(vault.data_key(owner).await.unwrap().is_some());
        }
        check_all(&vault, &sealed).await;
    }

    /// Cuts a rotation off after each of its steps, as a crash would, and opens the vault again.
    #[tokio::test]
    async fn a_rotation_that_was_cut_off_is_finished_later() {
        for pages in 0..3 {
            let (store, dir) = (store(), tempfile::tempdir().unwrap());
            let vault = open(&store, &dir).await;
            let sealed = seal_all(&vault, VAULT_ROTATE_STEP + 10).await;
            let both = vault.0.ring.read().await.with_fresh(&*vault.0.chance).unwrap();
            vault.adopt(alone(&vault).await, both).await.unwrap();
            let mut from = Some(Bytes::new());
            for _ in 0..pages {
                from = vault.wrap_page_anew(from.unwrap_or_default()).await.unwrap().1;
            }
            let vault = open(&store, &dir).await;
            check_all(&vault, &sealed).await;
            let left = sealed.len().saturating_sub(pages * VAULT_ROTATE_STEP);
            assert_eq!(vault.finish_rotation().await.unwrap(), left as u64);
            assert!(!vault.0.ring.read().await.is_rotating());
            check_all(&open(&store, &dir).await, &sealed).await;
        }
    }

    /// A rotation of many owners while others seal for old and new ones, unseal, and forget.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn sealing_goes_on_through_a_rotation() {
        let (store, dir) = (store(), tempfile::tempdir().unwrap());
        let vault = open(&store, &dir).await;
        let sealed = Arc::new(seal_all(&vault, 1_500).await);
        let mut load = tokio::task::JoinSet::new();
        for worker in 0..4 {
            let (vault, sealed) = (vault.clone(), sealed.clone());
            load.spawn(async move {
                let mut fresh = BTreeMap::new();
                for round in 0..150 {
                    let owner = format!("new {worker} {round}");
                    fresh.insert(owner.clone(), vault.seal(&owner, "v1", owner.as_bytes()).await.unwrap());
                    let gone = format!("gone {worker} {round}");
                    vault.seal(&gone, "v1", b"x").await.unwrap();
                    let batch = vault.forget_with(Batch::new(), &gone).unwrap();
                    assert!(vault.0.store.commit(batch).await.unwrap().is_committed());
                    let (owner, old) = sealed.iter().nth((worker * 331 + round * 7) % sealed.len()).unwrap();
                    // Past the cache, so that rows are unwrapped while they change.
                    vault.0.cache.lock().clear();
                    assert_eq!(vault.unseal(owner, "v1", old).await.unwrap().expose(), owner.as_bytes());
                }
                fresh
            });
        }
        for _ in 0..3 {
            assert!(vault.rotate().await.unwrap() >= sealed.len() as u64);
        }
        let mut all = (*sealed).clone();
        while let Some(fresh) = load.join_next().await {
            all.extend(fresh.unwrap());
        }
        check_all(&open(&store, &dir).await, &all).await;
    }
}

//! Changing the master key while sealing goes on.
//!
//! A rotation adds a fresh key to the key file, wraps every data key anew with it, page by page, and takes the old one
//! out of the file. It may be cut off anywhere: until its end the file holds both keys, and the next rotation, or
//! [`Vault::finish_rotation`] at start-up, goes on where it stopped.

use bytes::Bytes;

use super::{DATA_KEYS, Error, Vault, split_wrapped, unwrap_key, wrap_key};
use crate::disk::blocking;
use crate::limits::{VAULT_ATTEMPTS_MAX, VAULT_ROTATE_STEP};
use crate::vault::master::KeyRing;
use crate::{Batch, Expect, Range};

impl Vault {
    /// Replaces the master key; answers how many data keys were wrapped anew. When it is done, the old key opens
    /// nothing but older backups.
    pub async fn rotate(&self) -> Result<u64, Error> {
        let _alone = self.0.rotating.lock().await;
        let finished_count = self.wrap_all_anew().await?;
        let fresh = self.0.ring.read().await.with_fresh(&*self.0.chance).ok_or(Error::Key)?;
        self.adopt(fresh).await?;
        Ok(finished_count.saturating_add(self.wrap_all_anew().await?))
    }

    /// Completes a rotation that was cut off; does nothing if none was. Call it after each start.
    pub async fn finish_rotation(&self) -> Result<u64, Error> {
        let _alone = self.0.rotating.lock().await;
        self.wrap_all_anew().await
    }

    /// Brings all data keys under the current master key, then drops the others.
    async fn wrap_all_anew(&self) -> Result<u64, Error> {
        if !self.0.ring.read().await.is_rotating() {
            return Ok(0);
        }
        let mut wrapped_count: u64 = 0;
        let mut from = Some(Bytes::new());
        while let Some(page) = from {
            let (count, next) = self.wrap_page_anew(page).await?;
            wrapped_count = wrapped_count.saturating_add(count);
            from = next;
        }
        let current_alone = self.0.ring.read().await.without_old();
        self.adopt(current_alone).await?;
        Ok(wrapped_count)
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
    /// memory holds.
    async fn adopt(&self, ring: KeyRing) -> Result<(), Error> {
        let ring = match self.0.key_file.clone() {
            None => ring,
            Some(path) => {
                let write = move || ring.write(&path).map(|()| ring);
                blocking(write).await.map_err(Error::Interrupted)??
            }
        };
        *self.0.ring.write().await = ring;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use base::{ManualClock, SystemChance};

    use super::*;
    use crate::Store;
    use crate::vault::{Cache, Sealed};

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

    /// Cuts a rotation off after each of its steps, as a crash would, and opens the vault again.
    #[tokio::test]
    async fn a_rotation_that_was_cut_off_is_finished_later() {
        for pages in 0..3 {
            let (store, dir) = (store(), tempfile::tempdir().unwrap());
            let vault = open(&store, &dir).await;
            let sealed = seal_all(&vault, VAULT_ROTATE_STEP + 10).await;
            let both = vault.0.ring.read().await.with_fresh(&*vault.0.chance).unwrap();
            vault.adopt(both).await.unwrap();
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
                    vault.forget(&gone).await.unwrap();
                    let (owner, old) = sealed.iter().nth((worker * 331 + round * 7) % sealed.len()).unwrap();
                    // Past the cache, so that rows are unwrapped while they change.
                    *vault.0.cache.lock() = Cache::default();
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

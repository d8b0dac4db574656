//! Unwrapped data keys in memory.
//!
//! Invariant: when a commit that changed or deleted an owner's key has been answered, the key is here no more. The
//! cache watches the keys' rows and looks at what has changed before it answers.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::cipher::Cipher;
use crate::Watch;
use crate::limits::VAULT_CACHED_KEYS_MAX;
use crate::watch::Change;

pub(super) struct Cache {
    changes: Watch,
    /// How often something had changed.
    change_count: u64,
    keys: HashMap<String, Arc<Cipher>>,
    /// The oldest goes first.
    order: VecDeque<String>,
}

/// Up to where a cache had seen changes, at a look-up in vain.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen(u64);

impl Cache {
    /// `changes` sees all rows of data keys.
    pub(super) fn new(changes: Watch) -> Self {
        Self { changes, change_count: 0, keys: HashMap::new(), order: VecDeque::new() }
    }

    pub(super) fn look_up(&mut self, owner: &str) -> Result<Arc<Cipher>, Seen> {
        let seen = self.catch_up();
        self.keys.get(owner).cloned().ok_or(seen)
    }

    /// Keeps what was read after the look-up that answered `seen`; if something has changed since, it may be old.
    pub(super) fn insert(&mut self, owner: &str, cipher: Arc<Cipher>, seen: Seen) {
        if self.catch_up() != seen {
            return;
        }
        if self.keys.insert(owner.to_owned(), cipher).is_none() {
            self.order.push_back(owner.to_owned());
        }
        while self.keys.len() > VAULT_CACHED_KEYS_MAX {
            let Some(oldest) = self.order.pop_front() else { break };
            self.keys.remove(&oldest);
        }
    }

    pub(super) fn clear(&mut self) {
        self.keys.clear();
        self.order.clear();
    }

    fn catch_up(&mut self) -> Seen {
        match self.changes.try_changed() {
            None => return Seen(self.change_count),
            Some(Change::Many) => self.clear(),
            Some(Change::Keys(changed)) => {
                for owner in changed.iter().filter_map(|key| std::str::from_utf8(key).ok()) {
                    if self.keys.remove(owner).is_some() {
                        self.order.retain(|cached| cached != owner);
                    }
                }
            }
        }
        self.change_count = self.change_count.saturating_add(1);
        Seen(self.change_count)
    }
}

#[cfg(test)]
mod tests {
    use base::{ManualClock, Secret};

    use super::*;
    use crate::limits::WATCH_KEYS_MAX;
    use crate::vault::cipher::KEY_BYTES;
    use crate::{Batch, Space, Store};

    const SPACE: Space = Space::new("keys");

    fn cache() -> (Store, Cache, Arc<Cipher>) {
        let store = Store::memory(Arc::new(ManualClock::default()));
        let cache = Cache::new(store.watch(SPACE, ""));
        (store, cache, Arc::new(Cipher::new(&Secret::new([0; KEY_BYTES])).unwrap()))
    }

    #[test]
    fn the_cache_keeps_its_bound() {
        let (_store, mut cache, cipher) = cache();
        for number in 0..VAULT_CACHED_KEYS_MAX + 10 {
            let seen = cache.look_up(&number.to_string()).err().unwrap();
            cache.insert(&number.to_string(), cipher.clone(), seen);
            cache.insert(&number.to_string(), cipher.clone(), seen);
        }
        assert_eq!((cache.keys.len(), cache.order.len()), (VAULT_CACHED_KEYS_MAX, VAULT_CACHED_KEYS_MAX));
        assert!(cache.look_up("9").is_err() && cache.look_up("10").is_ok());
    }

    #[tokio::test]
    async fn a_key_that_changed_is_forgotten_and_one_read_before_a_change_is_not_kept() {
        let (store, mut cache, cipher) = cache();
        let seen = cache.look_up("a").err().unwrap();
        cache.insert("a", cipher.clone(), seen);
        cache.insert("b", cipher.clone(), seen);
        store.commit(Batch::new().delete_raw(SPACE, "a")).await.unwrap();
        assert!(cache.look_up("a").is_err() && cache.look_up("b").is_ok());
        cache.insert("a", cipher.clone(), seen);
        assert!(cache.look_up("a").is_err());
        assert_eq!(cache.order.len(), 1);
        let seen = cache.look_up("a").err().unwrap();
        let many = (0..=WATCH_KEYS_MAX).fold(Batch::new(), |batch, n| batch.put_raw(SPACE, n.to_string(), b""));
        store.commit(many).await.unwrap();
        cache.insert("a", cipher, seen);
        assert!(cache.look_up("a").is_err() && cache.look_up("b").is_err());
    }
}

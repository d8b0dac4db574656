//! What was sent to a FIFO queue lately, so that what is sent again is not there twice.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base::{Timestamp, Uuid};

use super::Seq;

/// How long AWS knows a message again.
pub const WINDOW: Duration = Duration::from_secs(5 * 60);

/// A message that may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    pub at: Timestamp,
    pub seq: Seq,
    pub id: Uuid,
}

/// By what tells them apart.
pub struct Recent<K> {
    sent: BTreeMap<K, Sent>,
    ages: BTreeSet<(Timestamp, K)>,
}

impl<K> Default for Recent<K> {
    fn default() -> Self {
        Self { sent: BTreeMap::new(), ages: BTreeSet::new() }
    }
}

impl<K: Ord + Copy> Recent<K> {
    pub fn find(&self, now: Timestamp, key: &K) -> Option<Sent> {
        self.sent.get(key).copied().filter(|sent| now < sent.at.plus(WINDOW))
    }

    pub fn remember(&mut self, key: K, sent: Sent) {
        self.forget(&key);
        self.ages.insert((sent.at, key));
        self.sent.insert(key, sent);
    }

    pub fn forget(&mut self, key: &K) {
        if let Some(sent) = self.sent.remove(key) {
            self.ages.remove(&(sent.at, *key));
        }
    }

    /// Takes out what is not recent any more.
    pub fn take_old(&mut self, now: Timestamp, most: usize) -> Vec<K> {
        let old = self.ages.iter().take_while(|(at, _)| at.plus(WINDOW) <= now).take(most);
        let old: Vec<K> = old.map(|(_, key)| *key).collect();
        old.iter().for_each(|key| self.forget(key));
        old
    }
}

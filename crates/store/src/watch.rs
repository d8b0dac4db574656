//! Watches: hints that keys under a prefix have changed, so that caches look again.
//!
//! A hint is given after its commit is durable and readable. It is not a log: a reader that is behind learns only
//! that much has changed, and no commit ever waits for one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::Space;
use crate::batch::Write;
use crate::limits::WATCH_KEYS_MAX;

/// What has changed since the last time that the watch was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// These keys, in the order of their commits; a key may come twice.
    Keys(Vec<Bytes>),
    /// More than the watch keeps: look at everything.
    Many,
}

/// Sees the keys of one space under one prefix, from its creation on. Dropping it ends it.
pub struct Watch(Arc<Mailbox>);

impl Watch {
    /// From now on it hears of rows that are written, and not of those that go: for who waits for what comes.
    pub fn of_puts(self) -> Self {
        self.0.is_of_puts.store(true, Ordering::Relaxed);
        self
    }

    /// Waits until something has changed. Cancelling it loses nothing.
    pub async fn changed(&mut self) -> Change {
        loop {
            if let Some(change) = self.try_changed() {
                return change;
            }
            self.0.arrived.notified().await;
        }
    }

    /// What has changed, if anything has.
    pub fn try_changed(&mut self) -> Option<Change> {
        let mut pending = self.0.pending.lock();
        match &mut *pending {
            Change::Keys(keys) if keys.is_empty() => None,
            change => Some(std::mem::replace(change, Change::Keys(Vec::new()))),
        }
    }
}

struct Mailbox {
    prefix: Bytes,
    is_of_puts: AtomicBool,
    pending: Mutex<Change>,
    arrived: Notify,
}

impl Mailbox {
    fn deliver(&self, write: &Write, key: &Bytes) {
        let is_heard = matches!(write, Write::Put { .. }) || !self.is_of_puts.load(Ordering::Relaxed);
        if !is_heard || !key.starts_with(&self.prefix) {
            return;
        }
        let mut pending = self.pending.lock();
        if let Change::Keys(keys) = &mut *pending {
            if keys.len() < WATCH_KEYS_MAX {
                keys.push(key.clone());
            } else {
                *pending = Change::Many;
            }
        }
        drop(pending);
        self.arrived.notify_one();
    }
}

/// All watches of one backend, which publishes each commit here, in order.
#[derive(Default)]
pub(crate) struct Watches(Mutex<HashMap<Space, Vec<Weak<Mailbox>>>>);

impl Watches {
    pub fn watch(&self, space: Space, prefix: Bytes) -> Watch {
        let pending = Mutex::new(Change::Keys(Vec::new()));
        let is_of_puts = AtomicBool::new(false);
        let mailbox = Arc::new(Mailbox { prefix, is_of_puts, pending, arrived: Notify::new() });
        let mut spaces = self.0.lock();
        let mailboxes = spaces.entry(space).or_default();
        mailboxes.retain(|mailbox| mailbox.strong_count() > 0);
        mailboxes.push(Arc::downgrade(&mailbox));
        Watch(mailbox)
    }

    pub fn publish(&self, writes: &[Write]) {
        let spaces = self.0.lock();
        if spaces.is_empty() {
            return;
        }
        for write in writes {
            let (Write::Put { space, key, .. } | Write::Delete { space, key }) = write else { continue };
            for mailbox in spaces.get(space).into_iter().flatten().filter_map(Weak::upgrade) {
                mailbox.deliver(write, key);
            }
        }
    }
}

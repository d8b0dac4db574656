//! Listeners: who hears of events when they come, and may miss some if it does not keep up.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base::Uuid;
use tokio::sync::mpsc::{self, Receiver, Sender, error::TrySendError};

use crate::limits::LISTENER_EVENTS_MAX;
use crate::{Chronicle, Event, event};

/// Hears of the events of some groups, from its making on.
pub struct Listener {
    /// No event with a lower number is heard. One with this or a greater number may be read already by who reads now.
    pub since: u64,
    heard: Receiver<(Uuid, Event)>,
    missed: Arc<AtomicU64>,
}

impl Listener {
    /// The next event, and the group that it is of.
    pub async fn next(&mut self) -> Option<(Uuid, Event)> {
        self.heard.recv().await
    }

    /// Waits for events, and gives what there is of them, so many at most; `None` if there will be none any more.
    pub async fn next_some(&mut self, most: usize) -> Option<Vec<(Uuid, Event)>> {
        let mut heard = Vec::new();
        self.heard.recv_many(&mut heard, most).await;
        Some(heard).filter(|heard| !heard.is_empty())
    }

    /// How many events there was no room for since this was asked last.
    pub fn take_missed(&self) -> u64 {
        self.missed.swap(0, Ordering::Relaxed)
    }
}

/// The other side of a listener.
pub(crate) struct Listening {
    groups: HashSet<Uuid>,
    heard: Sender<(Uuid, Event)>,
    missed: Arc<AtomicU64>,
}

impl Listening {
    /// Tells of an event; `false` if nobody listens any more.
    pub fn tell(&self, group: Uuid, event: &Event) -> bool {
        if !self.groups.contains(&group) {
            return true;
        }
        match self.heard.try_send((group, event.clone())) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                self.missed.fetch_add(1, Ordering::Relaxed);
                true
            }
            Err(TrySendError::Closed(_)) => false,
        }
    }
}

impl Chronicle {
    pub fn listen(&self, groups: HashSet<Uuid>) -> Listener {
        let (sender, heard) = mpsc::channel(LISTENER_EVENTS_MAX);
        let missed = Arc::new(AtomicU64::new(0));
        let mut held = self.0.held.lock();
        // Who has gone without an event coming since.
        held.listeners.retain(|listening| !listening.heard.is_closed());
        held.listeners.push(Listening { groups, heard: sender, missed: missed.clone() });
        // The follower says how far it is after it has told of it.
        let since = event::number(*self.0.followed.borrow(), 0);
        Listener { since, heard, missed }
    }
}

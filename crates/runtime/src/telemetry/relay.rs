//! The subscribers of one instance, and who gets what is told.
//!
//! Owned by the instance's task, which tells it what `environment` tells, and looks after its timer.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::{Spawn, Timestamp};
use sandbox::Sandbox;
use tokio::sync::{mpsc, watch};

use super::buffer::{Buffer, Dropped};
use super::delivery::{Sent, Way, deliver};
use super::event::{Category, Told};
use super::subscription::Subscription;
use crate::limits::{EXTENSIONS_MAX, INIT_TELEMETRY_BYTES_MAX};

/// A subscription that was granted, and to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub name: String,
    pub subscription: Subscription,
}

pub struct Relay {
    sandbox: Arc<Sandbox>,
    /// Whether who listens is stopped where it stands.
    is_frozen: watch::Receiver<bool>,
    spawn: Arc<dyn Spawn>,
    /// Whether the function's log is JSON.
    is_json: bool,
    /// What this init has told so far, for who subscribes late in it.
    told: Vec<Told>,
    told_bytes: usize,
    /// What of it was too much to keep.
    untold: BTreeMap<Category, Dropped>,
    is_open: bool,
    subscribers: Vec<Subscriber>,
    /// Deliveries end when the receiver goes.
    sent: (mpsc::Sender<Sent>, mpsc::Receiver<Sent>),
}

struct Subscriber {
    subscription: Subscription,
    buffer: Buffer,
    batches: mpsc::Sender<Vec<String>>,
}

impl Relay {
    pub fn new(sandbox: Arc<Sandbox>, is_frozen: watch::Receiver<bool>, spawn: Arc<dyn Spawn>, is_json: bool) -> Relay {
        Relay {
            sandbox,
            is_frozen,
            spawn,
            is_json,
            told: Vec::new(),
            told_bytes: 0,
            untold: BTreeMap::new(),
            is_open: true,
            subscribers: Vec::new(),
            sent: mpsc::channel(EXTENSIONS_MAX),
        }
    }

    pub fn tell(&mut self, now: Timestamp, told: Told) {
        for subscriber in &mut self.subscribers {
            subscriber.tell(now, &told, self.is_json);
        }
        if self.is_open {
            self.keep(told);
        }
        self.pump(now);
    }

    fn keep(&mut self, told: Told) {
        if self.told_bytes < INIT_TELEMETRY_BYTES_MAX {
            self.told_bytes = self.told_bytes.saturating_add(told.size());
            self.told.push(told);
        } else {
            let untold = self.untold.entry(told.category()).or_default();
            *untold = untold.and(Dropped::one(told.size()));
        }
    }

    /// One more of at most one an extension. It gets what was told before, too.
    pub fn subscribe(&mut self, now: Timestamp, wanted: Wanted) {
        let (batches, received) = mpsc::channel(1);
        let Wanted { name, subscription } = wanted;
        let way = Way::new(Arc::clone(&self.sandbox), subscription.destination.clone(), self.is_frozen.clone());
        let task = deliver(way, name, received, self.sent.0.clone(), self.subscribers.len());
        self.spawn.spawn("telemetry", Box::pin(task));
        let buffer = Buffer::new(subscription.buffering);
        let mut subscriber = Subscriber { subscription, buffer, batches };
        for told in &self.told {
            subscriber.tell(now, told, self.is_json);
        }
        let types = &subscriber.subscription.types;
        let untold = self.untold.iter().filter(|(category, _)| types.contains(category));
        untold.for_each(|(_, untold)| subscriber.buffer.missed(*untold));
        self.subscribers.push(subscriber);
    }

    /// Nobody else subscribes in this life of the environment.
    pub fn close(&mut self) {
        self.is_open = false;
        self.told = Vec::new();
        self.told_bytes = 0;
        self.untold = BTreeMap::new();
    }

    /// All who listened are dead.
    pub fn reset(&mut self) {
        self.subscribers.clear();
        self.sent = mpsc::channel(EXTENSIONS_MAX);
        self.close();
        self.is_open = true;
    }

    /// Lets everything go out that is there.
    pub fn flush(&mut self, now: Timestamp) {
        self.subscribers.iter_mut().for_each(|subscriber| subscriber.buffer.flush());
        self.pump(now);
    }

    /// Nothing is kept or on its way.
    pub fn is_idle(&self) -> bool {
        self.subscribers.iter().all(|subscriber| subscriber.buffer.is_empty())
    }

    pub fn deadline(&self) -> Option<Timestamp> {
        self.subscribers.iter().filter_map(|subscriber| subscriber.buffer.deadline()).min()
    }

    /// Sends what is due.
    pub fn pump(&mut self, now: Timestamp) {
        for subscriber in &mut self.subscribers {
            if let Some(batch) = subscriber.buffer.take(now) {
                // There is room: one batch is on its way at a time.
                subscriber.batches.try_send(batch).ok();
            }
        }
    }

    /// Waits until some subscriber is done with a batch. Cancelling it loses nothing.
    pub async fn sent(&mut self) -> Sent {
        match self.sent.1.recv().await {
            Some(sent) => sent,
            None => std::future::pending().await,
        }
    }

    /// What a subscriber that is done with a batch has missed.
    pub fn take_sent(&mut self, now: Timestamp, Sent { subscriber, lost }: Sent) -> Option<Dropped> {
        let dropped = self.subscribers.get_mut(subscriber).and_then(|subscriber| subscriber.buffer.sent(lost));
        self.pump(now);
        dropped
    }
}

impl Subscriber {
    fn tell(&mut self, now: Timestamp, told: &Told, is_json: bool) {
        if self.subscription.types.contains(&told.category())
            && let Some(event) = told.render(self.subscription.schema, is_json)
        {
            self.buffer.push(now, event);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use base::BoxFuture;
    use sandbox::{Spec, Status};

    use super::super::event::What;
    use super::super::subscription::{Buffering, Destination, Schema};
    use super::*;

    struct Nobody;

    impl Spawn for Nobody {
        fn spawn(&self, _name: &'static str, _task: BoxFuture<'static, ()>) {}
    }

    #[tokio::test]
    async fn what_an_init_told_and_nobody_kept_is_counted_for_who_subscribes_late() {
        let sandbox = sandbox::fake(|_| Status::Code(0)).start(Spec::new("telemetry", 1)).await.unwrap();
        let is_frozen = watch::Sender::new(false);
        let mut relay = Relay::new(Arc::new(sandbox), is_frozen.subscribe(), Arc::new(Nobody), false);
        let time = Timestamp::from_secs(1);
        let mut tell = |what| relay.tell(time, Told { time, what });
        tell(What::Function("x".repeat(INIT_TELEMETRY_BYTES_MAX)));
        tell(What::Function("xyz".into()));
        tell(What::Extension("lost".into()));
        tell(What::Function("xy".into()));
        let kinds = [
            (Category::Function, Some(Dropped { records: 2, bytes: 5 })),
            (Category::Extension, Some(Dropped { records: 1, bytes: 4 })),
            (Category::Platform, None),
        ];
        for (subscriber, (category, missed)) in kinds.into_iter().enumerate() {
            let buffering = Buffering { items_max: 10, bytes_max: 10, timeout: Duration::from_secs(1) };
            let destination = Destination::Tcp { port: 1 };
            let schema = Schema::Telemetry20250129;
            let subscription = Subscription { schema, types: vec![category], buffering, destination };
            relay.subscribe(time, Wanted { name: "late".into(), subscription });
            assert_eq!(relay.take_sent(time, Sent { subscriber, lost: Dropped::default() }), missed);
        }
    }
}

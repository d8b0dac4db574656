//! What is derived from the journal: the platform's lines and Lambda's metrics from records, metrics from log events (in
//! themselves, and by metric filters) and from notes.
//!
//! ```text
//! chronicle's follower ── take ─┬─ records ── lambda ────────────────┐
//!                               ├─ events ─── emf, metric filters ───┼─> open points ── settle: one commit
//!                               └─ notes (PutMetricData) ────────────┘                  with how far it came
//! ```
//!
//! Everything is settled in one commit with its place in the journal, so a crash counts nothing twice and loses nothing of
//! what the journal has.

mod embedded;
pub mod lambda;
mod minutes;
pub mod outgoing;
mod rules;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base::record::{Origin, Record};
use base::{Clock, Timestamp, Uuid};
use chronicle::{Derive, Event, Taken, What};
use engine::math::Metric;
use engine::metric::aggregate::Aggregate;
use engine::platform;
use engine::price::Prices;
use metrics::{Datum, Metrics, Unit};
use minutes::Minutes;
use outgoing::Waiting;
use parking_lot::Mutex;
use store::Scope;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::live::Live;
use crate::metric_filter::Point;

pub use rules::Rules;

/// How long a derived point waits at most until it is in the store. It is read before that, too.
const SETTLE_EVERY: Duration = Duration::from_secs(5);
/// Likewise what is sent to subscribers.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// After a failure.
const REST: Duration = Duration::from_secs(1);

pub struct Derived {
    metrics: Metrics,
    rules: Arc<Rules>,
    prices: Prices,
    live: Arc<Live>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// There is too much that is not settled.
    full: Notify,
    /// The journal waits for what is not settled.
    is_hurried: AtomicBool,
}

#[derive(Default)]
struct State {
    minutes: Minutes,
    waiting: Waiting,
}

impl Derived {
    pub fn new(metrics: Metrics, rules: Arc<Rules>, prices: Prices, clock: Arc<dyn Clock>) -> Derived {
        let live = Arc::new(Live::new(clock.now(), prices.clone()));
        Derived {
            metrics,
            rules,
            prices,
            live,
            clock,
            state: Mutex::default(),
            full: Notify::new(),
            is_hurried: AtomicBool::new(false),
        }
    }

    /// What functions do right now.
    pub fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live)
    }

    /// Settles what was derived, until it is cancelled.
    pub async fn run(&self) {
        let mut settled = self.clock.now();
        loop {
            timeout(LOOK_EVERY, self.full.notified()).await.ok();
            let is_hurried = self.is_hurried.swap(false, Ordering::Relaxed);
            let is_due = is_hurried || self.clock.now().since(settled) >= SETTLE_EVERY;
            if !is_due && !self.is_full() && self.state.lock().waiting.is_empty() {
                continue;
            }
            settled = self.clock.now();
            if let Err(error) = self.settle().await {
                tracing::warn!(error = &error as &dyn std::error::Error, "metrics wait: failed to {error}");
                sleep(REST).await;
            }
        }
    }

    /// Settles all that was derived up to now.
    pub async fn settle(&self) -> Result<(), metrics::Error> {
        let over = self.state.lock().minutes.end(self.clock.now());
        self.metrics.add(&over);
        let add = |batch, next| self.state.lock().waiting.add(batch, self.metrics.settled()..next);
        self.metrics.settle(add).await?;
        self.state.lock().waiting.settled(self.metrics.settled());
        Ok(())
    }

    /// What an event adds to metrics, and whether it is to be sent on. Filters may take their time, so nothing is locked meanwhile.
    fn of_event(&self, offset: u64, (scope, group): (&Arc<Scope>, Uuid), event: &Event, data: &mut Vec<Datum>) {
        let Ok(message) = std::str::from_utf8(&event.message) else { return };
        embedded::data(scope, message, data);
        let Some(rules) = self.rules.of(group) else { return };
        for filter in &rules.metrics {
            let point = filter.apply(message);
            data.extend(self.state.lock().minutes.tried(scope, group, filter, (event.time, point.is_some())));
            data.extend(point.map(|point| of_point(scope, event.time, point)));
        }
        for filter in rules.subscribers.iter().filter(|filter| filter.matches(message)) {
            self.state.lock().waiting.push(offset, scope, (group, &filter.name), event);
        }
    }
}

fn of_point(scope: &Scope, time: Timestamp, point: Point) -> Datum {
    let Point { namespace, name, value, unit, dimensions } = point;
    Datum {
        scope: scope.clone(),
        metric: Metric::new(&namespace, &name, dimensions),
        unit: Unit::named(&unit).unwrap_or_default(),
        time,
        resolution_s: 60,
        aggregate: Aggregate::of_values([(value, 1.0)]),
    }
}

impl Derive for Derived {
    fn lines(&self, origin: &Origin, time: Timestamp, record: &Record) -> Vec<String> {
        platform::lines(origin, time, record)
    }

    fn take(&self, taken: Vec<Taken>, next: u64) {
        let settled = self.metrics.settled();
        let (mut sums, mut data) = (lambda::Sums::default(), Vec::new());
        for one in taken.into_iter().filter(|one| one.offset >= settled) {
            match one.what {
                What::Event { scope, group, event } => self.of_event(one.offset, (&scope, group), &event, &mut data),
                What::Record { scope, origin, record, .. } => {
                    if let Record::Ended(ended) = &*record {
                        sums.add(&self.prices, &scope, &origin, ended);
                        self.live.take(&scope, &origin, ended);
                    }
                }
                What::Note(note) => data.extend(metrics::decode(&note).unwrap_or_default()),
            }
        }
        data.extend(sums.into_data());
        self.metrics.take(&data, next);
        if self.is_full() {
            self.full.notify_one();
        }
    }

    fn settled(&self) -> u64 {
        self.metrics.settled()
    }

    fn hurry(&self) {
        self.is_hurried.store(true, Ordering::Relaxed);
        self.full.notify_one();
    }

    fn is_full(&self) -> bool {
        self.metrics.is_full() || self.state.lock().waiting.is_full()
    }
}

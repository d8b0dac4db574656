//! What is derived from the journal: the platform's lines and Lambda's metrics from records, metrics from log events (in
//! themselves, by metric filters, and of what came) and from notes.
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
mod logs;
mod minutes;
pub mod outgoing;
mod rules;
mod shares;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base::record::{Origin, Record};
use base::{Clock, Timestamp, Uuid};
use chronicle::{Derive, Event, Taken, What};
use engine::emf::Malformed;
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
use shares::Shares;

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
    shares: Mutex<Shares>,
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
        let (state, shares) = (Mutex::default(), Mutex::default());
        let is_hurried = AtomicBool::new(false);
        Derived { metrics, rules, prices, live, clock, state, shares, full: Notify::new(), is_hurried }
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

    /// What an event adds to metrics, and whether it is to be sent on; what is wrong with the metrics that it has. Filters may
    /// take their time, so nothing is locked meanwhile.
    fn of_event(
        &self,
        offset: u64,
        (scope, group): (&Arc<Scope>, Uuid),
        event: &Event,
        data: &mut Vec<Datum>,
    ) -> Option<Malformed> {
        let message = std::str::from_utf8(&event.message).ok()?;
        let fault = embedded::data(scope, message, data);
        let begun = self.clock.now();
        let may = self.shares.lock().may(begun, scope.account);
        let Some(rules) = self.rules.of(group).filter(|_| may) else { return fault };
        let mut extracted = rules.extract(message).into_iter();
        for (filter, fields) in rules.metrics.iter().zip(extracted.by_ref()) {
            let point = fields.and_then(|fields| filter.point_of(&fields));
            data.extend(self.state.lock().minutes.tried(scope, group, filter, (event.time, point.is_some())));
            data.extend(point.map(|point| of_point(scope, event.time, point)));
        }
        for (filter, _) in rules.subscribers.iter().zip(extracted).filter(|(_, fields)| fields.is_some()) {
            self.state.lock().waiting.push(offset, scope, (group, &filter.name), event);
        }
        self.shares.lock().spend(scope.account, self.clock.now().since(begun));
        fault
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
        let (mut sums, mut came, mut data) = (lambda::Sums::default(), logs::Sums::default(), Vec::new());
        for one in taken.into_iter().filter(|one| one.offset >= settled) {
            match one.what {
                What::Event { scope, group, group_name, event } => {
                    let fault = self.of_event(one.offset, (&scope, group), &event, &mut data);
                    came.add(&scope, (group, &group_name), &event, fault);
                }
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
        data.extend(came.into_data());
        self.metrics.take(&data, next);
        if self.is_full() {
            self.full.notify_one();
        }
    }

    fn caught_up(&self) {
        let left_out = self.shares.lock().caught_up();
        if left_out > 0 {
            tracing::warn!(
                left_out,
                "metric and subscription filters took so long that they were not tried on some log events"
            );
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

//! What CloudWatch is told of queues: the metrics of `AWS/SQS`, a point a minute, by `QueueName`.
//!
//! What happens to messages is added up in the queue's *meter* once it is written down, and told when the minute is over
//! together with how many messages there are. A queue that is not in memory *rests*: nothing of it is delayed or in
//! flight, so what was counted last holds until somebody asks for it. It is measured while it has messages, and for six
//! hours after it was last in memory, as on AWS. A crash forgets what was added up in its minute.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use base::{AwsError, Timestamp, Uuid};
use engine::math::Metric;
use engine::metric::aggregate::Aggregate;
use engine::metric::retention::Tier;
use engine::queue::Counts;
use metrics::{Datum, Unit};
use parking_lot::Mutex;
use store::{Row, Scan, Scope};
use tokio::time::sleep;

use super::live::Live;
use super::message::PLACES;
use super::queue::QUEUES;
use crate::{Cloud, Post};

const NAMESPACE: &str = "AWS/SQS";
/// How long a queue without messages is measured that nobody uses.
const ACTIVE_FOR: Duration = Duration::from_secs(6 * 3_600);
/// How long the task sleeps at most: the clock may be moved.
const SLEEP_MAX: Duration = Duration::from_secs(5);
/// Points in one note.
const NOTE_DATA_MAX: usize = 500;
/// Rows that are read at once.
const STEP: usize = store::limits::RANGE_ROWS_MAX;

/// Something that happened to a message, or did not.
#[derive(Clone, Copy)]
pub enum Event {
    /// With so many bytes.
    Sent(usize),
    SentAgain,
    Received,
    NothingReceived,
    Deleted,
}

/// The meters of all queues, by scope and name.
#[derive(Default)]
pub struct Meters(Mutex<HashMap<(Scope, String), Arc<Meter>>>);

/// One of them.
pub struct Meter {
    scope: Scope,
    name: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tally: Tally,
    /// Where its messages are, if they are in memory; of a queue that is purged just now, the old ones and the new.
    lives: Vec<Weak<Live>>,
    /// How many there are, and since when the oldest, while they are not.
    rest: (usize, Option<Timestamp>),
    used: Timestamp,
    /// There is no such queue any more.
    is_over: bool,
}

/// What happened in this minute.
#[derive(Default)]
struct Tally {
    sent: Aggregate,
    sent_again: f64,
    received: f64,
    nothing_received: f64,
    deleted: f64,
}

/// What of a queue is there at one time.
#[derive(Default)]
struct Level {
    counts: Counts,
    oldest: Option<Timestamp>,
    groups_in_flight: usize,
}

impl Meters {
    pub fn of(&self, scope: &Scope, name: &str, now: Timestamp) -> Arc<Meter> {
        // Who asks uses the queue, and may still be bringing it into memory when the next minute is over.
        let state = || Mutex::new(State { used: now, ..State::default() });
        let meter = || Meter { scope: scope.clone(), name: name.to_owned(), state: state() };
        self.0.lock().entry((scope.clone(), name.to_owned())).or_insert_with(|| Arc::new(meter())).clone()
    }

    /// The queue is deleted. What happened to it before is told yet.
    pub fn end(&self, scope: &Scope, name: &str) {
        if let Some(meter) = self.0.lock().get(&(scope.clone(), name.to_owned())) {
            meter.state.lock().is_over = true;
        }
    }

    /// Tells of the minute that has begun at a time.
    fn tell(&self, minute: Timestamp, now: Timestamp) -> Vec<Datum> {
        // Who measures looks into queues, and who holds one may be asking for a meter.
        let meters: Vec<_> = self.0.lock().values().cloned().collect();
        let data = meters.iter().flat_map(|meter| meter.tell(minute, now)).collect();
        self.0.lock().retain(|_, meter| meter.is_needed(now));
        data
    }
}

impl Meter {
    pub fn add(&self, event: Event) {
        let tally = &mut self.state.lock().tally;
        match event {
            Event::Sent(bytes) => tally.sent.add(bytes as f64, 1.0),
            Event::SentAgain => tally.sent_again += 1.0,
            Event::Received => tally.received += 1.0,
            Event::NothingReceived => tally.nothing_received += 1.0,
            Event::Deleted => tally.deleted += 1.0,
        }
    }

    /// The queue is made, and has no messages yet.
    pub fn begin(&self, now: Timestamp) {
        let mut state = self.state.lock();
        (state.rest, state.used, state.is_over) = ((0, None), now, false);
    }

    /// Of a line that is no queue's any more.
    pub fn nobodys(scope: &Scope, name: &str) -> Arc<Self> {
        Arc::new(Self { scope: scope.clone(), name: name.to_owned(), state: Mutex::default() })
    }

    /// The queue's messages are in memory from now on.
    pub fn follow(&self, live: &Arc<Live>, now: Timestamp) {
        let mut state = self.state.lock();
        state.lives.retain(|other| other.strong_count() > 0);
        state.lives.push(Arc::downgrade(live));
        (state.used, state.is_over) = (now, false);
    }

    /// These are not any more, and so many of them were waiting.
    pub fn leave(&self, live: &Live, waiting: usize, oldest: Option<Timestamp>) {
        let mut state = self.state.lock();
        let followed = state.lives.len();
        state.lives.retain(|other| !std::ptr::eq(other.as_ptr(), live));
        if state.lives.len() < followed {
            state.rest = (waiting, oldest);
        }
    }

    /// So many wait, as long as nobody brings them into memory.
    pub fn rest(&self, waiting: usize, oldest: Option<Timestamp>) {
        self.state.lock().rest = (waiting, oldest);
    }

    fn tell(&self, minute: Timestamp, now: Timestamp) -> Vec<Datum> {
        let (tally, level) = {
            let mut state = self.state.lock();
            let lives: Vec<Arc<Live>> = state.lives.iter().filter_map(Weak::upgrade).collect();
            if !lives.is_empty() {
                state.used = now;
            }
            let tally = std::mem::take(&mut state.tally);
            let (is_over, rest) = (state.is_over, state.rest);
            drop(state);
            (tally, (!is_over).then(|| Level::of(&lives, rest, now)))
        };
        self.data(&tally, level.as_ref(), minute, now)
    }

    /// Of a queue that is there, also that nothing happened to it.
    fn data(&self, tally: &Tally, level: Option<&Level>, minute: Timestamp, now: Timestamp) -> Vec<Datum> {
        let is_fifo = self.name.ends_with(".fifo");
        let counted = [
            ("NumberOfMessagesSent", tally.sent.count(), true),
            ("NumberOfMessagesReceived", tally.received, true),
            ("NumberOfEmptyReceives", tally.nothing_received, true),
            ("NumberOfMessagesDeleted", tally.deleted, true),
            ("NumberOfDeduplicatedSentMessages", tally.sent_again, is_fifo),
        ];
        let mut data = Vec::new();
        let mut put = |name, unit, aggregate| data.push(self.datum(name, unit, minute, aggregate));
        for (name, count, is_told_of_nothing) in counted {
            match count > 0.0 {
                true => put(name, Unit::COUNT, Aggregate::of_values([(1.0, count)])),
                false if is_told_of_nothing && level.is_some() => put(name, Unit::COUNT, once(0.0)),
                false => {}
            }
        }
        if !tally.sent.is_empty() {
            put("SentMessageSize", Unit::BYTES, tally.sent.clone());
        }
        let Some(Level { counts, oldest, groups_in_flight }) = level else { return data };
        let groups_in_flight = is_fifo.then_some(groups_in_flight);
        put("ApproximateNumberOfMessagesVisible", Unit::COUNT, once(counts.waiting as f64));
        put("ApproximateNumberOfMessagesNotVisible", Unit::COUNT, once(counts.in_flight as f64));
        put("ApproximateNumberOfMessagesDelayed", Unit::COUNT, once(counts.delayed as f64));
        let age = oldest.map_or(Duration::ZERO, |oldest| now.since(oldest));
        put("ApproximateAgeOfOldestMessage", Unit::SECONDS, once(age.as_secs() as f64));
        if let Some(groups) = groups_in_flight {
            put("ApproximateNumberOfGroupsWithInflightMessages", Unit::COUNT, once(*groups as f64));
        }
        data
    }

    fn datum(&self, name: &str, unit: Unit, time: Timestamp, aggregate: Aggregate) -> Datum {
        let dimensions = vec![("QueueName".to_owned(), self.name.clone())];
        let metric = Metric::new(NAMESPACE, name, dimensions);
        Datum { scope: self.scope.clone(), metric, unit, time, resolution_s: 60, aggregate }
    }

    fn is_needed(&self, now: Timestamp) -> bool {
        let state = self.state.lock();
        !state.is_over
            && (state.lives.iter().any(|live| live.strong_count() > 0)
                || state.rest.0 > 0
                || now.since(state.used) < ACTIVE_FOR)
    }
}

impl Level {
    /// Of all that is in memory, or of what rests.
    fn of(lives: &[Arc<Live>], (waiting, oldest): (usize, Option<Timestamp>), now: Timestamp) -> Self {
        if lives.is_empty() {
            return Self { counts: Counts { waiting, ..Counts::default() }, oldest, groups_in_flight: 0 };
        }
        lives.iter().fold(Self::default(), |sum, live| {
            let Counts { waiting, delayed, in_flight } = live.counts(now);
            let counts = Counts {
                waiting: sum.counts.waiting.saturating_add(waiting),
                delayed: sum.counts.delayed.saturating_add(delayed),
                in_flight: sum.counts.in_flight.saturating_add(in_flight),
            };
            let oldest = sum.oldest.into_iter().chain(live.oldest()).min();
            let groups_in_flight = sum.groups_in_flight.saturating_add(live.groups_in_flight());
            Self { counts, oldest, groups_in_flight }
        })
    }
}

fn once(value: f64) -> Aggregate {
    Aggregate::of_values([(value, 1.0)])
}

/// Measures queues for ever.
pub async fn run(post: Post) {
    if let Err(error) = find(&post.cloud, post.clock.now()).await {
        tracing::warn!(%error, "some queues are not measured before somebody uses them");
    }
    let mut minute = Tier::Minute.stamp(post.clock.now());
    loop {
        let now = post.clock.now();
        let next = minute.plus(Duration::from_secs(Tier::Minute.step_s().into()));
        if Tier::Minute.stamp(now) == minute {
            sleep(next.since(now).min(SLEEP_MAX)).await;
            continue;
        }
        note(&post.cloud, minute, now);
        minute = Tier::Minute.stamp(now);
    }
}

/// Tells of the minute that is not over yet: the server ends.
pub fn tell_at_last(cloud: &Cloud, now: Timestamp) {
    note(cloud, Tier::Minute.stamp(now), now);
}

fn note(cloud: &Cloud, minute: Timestamp, now: Timestamp) {
    for data in cloud.memory.live_queues.meters.tell(minute, now).chunks(NOTE_DATA_MAX) {
        cloud.chronicle.note_lazy(&metrics::encode(data));
    }
}

/// Finds the queues that have messages from before the server started.
async fn find(cloud: &Cloud, now: Timestamp) -> Result<(), AwsError> {
    let mut after = None;
    loop {
        let page = QUEUES.scan_all(&cloud.store, after.as_ref(), STEP).await?;
        for Row { key: (scope, _), value: queue, .. } in page.rows {
            match at_rest(cloud, &scope, queue.line, now).await? {
                Some((0, _)) => {}
                Some(rest) => cloud.memory.live_queues.rest(&scope, &queue, now, rest),
                None => drop(cloud.memory.live_queues.get(&cloud.store, &scope, &queue, now).await?),
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

/// How many messages wait under a line, and since when the oldest; `None` if some of them do not wait.
async fn at_rest(
    cloud: &Cloud,
    scope: &Scope,
    line: Uuid,
    now: Timestamp,
) -> Result<Option<(usize, Option<Timestamp>)>, AwsError> {
    let (mut waiting, mut oldest, mut scan) = (0_usize, None, Scan::all(STEP).under::<Uuid>(line));
    loop {
        let page = PLACES.page(&cloud.store, scope, scan.clone()).await?;
        for Row { value: place, .. } in page.rows {
            if place.visible_at > now {
                return Ok(None);
            }
            waiting = waiting.saturating_add(1);
            oldest = Some(oldest.map_or(place.sent, |oldest: Timestamp| oldest.min(place.sent)));
        }
        let Some(next) = page.next else { return Ok(Some((waiting, oldest))) };
        scan = scan.after(next);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use base::{AccountId, World};

    use super::*;

    fn scope() -> Scope {
        Scope { world: World(0), account: AccountId::ZERO, region: None }
    }

    fn sums(data: Vec<Datum>) -> BTreeMap<String, (f64, f64)> {
        data.into_iter().map(|datum| (datum.metric.name, (datum.aggregate.sum(), datum.aggregate.count()))).collect()
    }

    #[test]
    fn what_happens_is_told_once_and_nothing_too() {
        let (meters, at) = (Meters::default(), |seconds| Timestamp::default().plus(Duration::from_secs(seconds)));
        let meter = meters.of(&scope(), "q", at(60));
        for bytes in [10, 20] {
            meter.add(Event::Sent(bytes));
        }
        for event in [Event::Received, Event::NothingReceived, Event::Deleted] {
            meter.add(event);
        }
        meter.rest(3, Some(at(30)));
        let told = meters.tell(at(60), at(120));
        let is_right = |datum: &Datum| {
            let dimensions = [("QueueName".to_owned(), "q".to_owned())];
            datum.metric.namespace == NAMESPACE && datum.metric.dimensions == dimensions && datum.time == at(60)
        };
        assert!(told.iter().all(is_right));
        let happened = sums(told);
        assert_eq!(happened["NumberOfMessagesSent"], (2.0, 2.0));
        assert_eq!(happened["SentMessageSize"], (30.0, 2.0));
        assert_eq!(happened["ApproximateNumberOfMessagesVisible"], (3.0, 1.0));
        assert_eq!(happened["ApproximateAgeOfOldestMessage"], (90.0, 1.0));
        let nothing = sums(meters.tell(at(120), at(180)));
        assert_eq!(nothing["NumberOfMessagesSent"], (0.0, 1.0));
        assert_eq!(nothing["NumberOfMessagesDeleted"], (0.0, 1.0));
        assert!(!nothing.contains_key("SentMessageSize") && !nothing.contains_key("NumberOfDeduplicatedSentMessages"));
        assert_eq!(nothing["ApproximateAgeOfOldestMessage"], (150.0, 1.0));
    }

    #[test]
    fn a_queue_is_measured_while_it_is_active() {
        let (meters, at) =
            (Meters::default(), |hours: u64| Timestamp::default().plus(Duration::from_secs(hours * 3_600)));
        meters.of(&scope(), "full", at(0)).rest(1, None);
        meters.of(&scope(), "empty", at(0)).rest(0, None);
        meters.of(&scope(), "deleted", at(0)).add(Event::Deleted);
        meters.end(&scope(), "deleted");
        let names = |now| {
            let told = meters.tell(now, now).into_iter().map(|datum| datum.metric.dimensions[0].1.clone());
            told.collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>()
        };
        // What happened before a queue was deleted is told, and nothing after that.
        assert_eq!(names(at(5)), ["deleted", "empty", "full"]);
        assert_eq!(names(at(6)), ["empty", "full"]);
        assert_eq!(names(at(7)), ["full"]);
    }
}

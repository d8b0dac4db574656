//! Takes events to their functions: one courier for each function that has events, as long as it has some.
//!
//! A courier runs what is due, oldest first, waits for what is due later, and goes when nothing is left. How much it runs at
//! once is [`Pace`]'s to say. [`retry`](super::retry) decides what becomes of an event after an attempt, and the store
//! hears of it before the next. The store is also how couriers learn of events: by its hints, and at the start by looking.
//!
//! Invariant: one courier a function. What a crash interrupts is attempted again.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::{AwsError, Chance, Clock, Cx, Principal, RequestId, Spawn, Timestamp, Uuid};
use metrics::Unit;
use store::{Batch, Change, Row, Scan, Scope};
use tokio::sync::{Notify, mpsc};

use super::ending::{Answer, Ending, Listeners, Tried};
use super::event::{EVENTS, Event};
use super::pace::{ATTEMPTS_MAX, Pace, REST};
use super::retry::{self, Attempt, Reason, Verdict};
use super::young::Young;
use super::{Begun, check, run, target, whole};
use crate::lambda::event_invoke;
use crate::lambda::function::{FUNCTIONS, Resolved};
use crate::{Cloud, Ctx, deliver};

/// Events read in one step.
const STEP: usize = 16;
/// How long at most a courier sleeps: the world's clock may be moved.
const SLEEP_MAX: Duration = Duration::from_secs(30);

type Key = (Uuid, (Timestamp, Uuid));

/// What couriers stand on.
pub struct Post {
    pub cloud: Arc<Cloud>,
    pub spawn: Arc<dyn Spawn>,
    pub clock: Arc<dyn Clock>,
    pub chance: Arc<dyn Chance>,
}

struct Office {
    post: Post,
    rounds: Mutex<HashMap<Round, Arc<Bell>>>,
}

/// A function's events: where it is, and its incarnation.
type Round = (Scope, Uuid);

/// How a courier is told of events.
#[derive(Default)]
struct Bell {
    /// Of those that it has not heard of yet.
    earliest: Mutex<Option<Key>>,
    rung: Notify,
}

impl Bell {
    fn ring(&self, key: Key) {
        let mut earliest = self.earliest.lock().unwrap_or_else(PoisonError::into_inner);
        *earliest = Some(earliest.map_or(key, |earliest| earliest.min(key)));
        drop(earliest);
        self.rung.notify_one();
    }

    fn heard(&self) -> Option<Key> {
        self.earliest.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Sends couriers for ever.
pub async fn run_all(post: Post) {
    // What couriers have done with is no news.
    let mut hints = EVENTS.watch_all(&post.cloud.store).of_puts();
    let office = Arc::new(Office { post, rounds: Mutex::default() });
    let mut change = Change::Many;
    loop {
        match change {
            Change::Many => {
                while let Err(error) = office.look_everywhere().await {
                    tracing::error!(%error, "failed to look for events");
                    tokio::time::sleep(REST).await;
                }
            }
            Change::Keys(keys) => {
                keys.iter().filter_map(|key| EVENTS.parse_key(key).ok()).for_each(|hint| office.send(hint));
            }
        }
        change = hints.changed().await;
    }
}

impl Office {
    /// Sends a courier to every function that has events.
    async fn look_everywhere(self: &Arc<Self>) -> Result<(), store::Error> {
        let mut after = None;
        loop {
            let page = EVENTS.scan_all(&self.post.cloud.store, after.as_ref(), 1).await?;
            let Some(row) = page.rows.into_iter().next() else { return Ok(()) };
            let (scope, (incarnation, _)) = row.key.clone();
            self.send(row.key);
            // On behind all of its events.
            let last = (Timestamp::from_micros(i64::MAX), Uuid::from_bytes([0xff; 16]));
            after = Some((scope, (incarnation, last)));
        }
    }

    /// Tells a function's courier of an event; sends one, if there is none.
    fn send(self: &Arc<Self>, (scope, key): (Scope, Key)) {
        let round = (scope, key.0);
        let mut rounds = self.rounds.lock().unwrap_or_else(PoisonError::into_inner);
        let bell = rounds.entry(round.clone()).or_insert_with(|| {
            let bell = Arc::new(Bell::default());
            let courier = Courier::new(self.clone(), round, bell.clone());
            self.post.spawn.spawn("courier", Box::pin(courier.run()));
            bell
        });
        bell.ring(key);
    }

    /// Whether a courier that has nothing left may go: nobody has told it of anything meanwhile.
    fn dismiss(&self, round: &Round, bell: &Bell) -> bool {
        // Bells are rung under this lock.
        let mut rounds = self.rounds.lock().unwrap_or_else(PoisonError::into_inner);
        if bell.heard().is_some() {
            return false;
        }
        rounds.remove(round);
        true
    }
}

struct Courier {
    office: Arc<Office>,
    round: Round,
    bell: Arc<Bell>,
    running: BTreeSet<Key>,
    pace: Pace,
    /// Of those that run, so many may have just begun.
    young: Young,
    /// All that is due before this has been started.
    after: Option<Key>,
    /// Behind that nothing is due before then, as far as the courier has been told.
    known: Option<Option<Timestamp>>,
    ended: mpsc::Sender<Ended>,
    ends: mpsc::Receiver<Ended>,
}

/// An attempt's event, and how the attempt ended, if that could be written down.
type Ended = (Key, Option<Attempt>);

/// What a look at the events found.
enum Found {
    /// As many as may run are running.
    Full,
    /// All that is due is running; the next is due then.
    Next(Option<Timestamp>),
    Nothing,
}

/// Tells the courier how an attempt ended, also when it panicked.
struct Report {
    to: mpsc::Sender<Ended>,
    key: Key,
    attempt: Option<Attempt>,
}

impl Drop for Report {
    fn drop(&mut self) {
        // There is room for all that may run.
        self.to.try_send((self.key, self.attempt)).ok();
    }
}

impl Courier {
    fn new(office: Arc<Office>, round: Round, bell: Arc<Bell>) -> Self {
        let (ended, ends) = mpsc::channel(ATTEMPTS_MAX);
        let (running, pace) = (BTreeSet::new(), Pace::new(office.post.clock.now()));
        Self { office, round, bell, running, pace, young: Young::default(), after: None, known: None, ended, ends }
    }

    async fn run(mut self) {
        loop {
            let wake = match self.start_due().await {
                Ok(Found::Nothing) if self.running.is_empty() => {
                    // Once more from the beginning: it must be true of all.
                    if self.after.take().is_none() && self.office.dismiss(&self.round, &self.bell) {
                        return;
                    }
                    continue;
                }
                Ok(Found::Nothing) => None,
                Ok(Found::Full) => {
                    self.pace.full(self.office.post.clock.now());
                    Some(REST)
                }
                Ok(Found::Next(due)) => due.map(|due| due.since(self.office.post.clock.now())),
                Err(error) => {
                    tracing::error!(%error, "failed to read events");
                    Some(REST)
                }
            };
            let sleep = wake.unwrap_or(SLEEP_MAX).min(SLEEP_MAX);
            tokio::select! {
                Some((ended, attempt)) = self.ends.recv() => {
                    self.running.remove(&ended);
                    self.pace.ended(self.office.post.clock.now(), self.running.len(), attempt);
                    if attempt.is_none() {
                        (self.after, self.known) = (None, None);
                    }
                }
                () = self.bell.rung.notified() => {
                    // It may have been received before one that was started already.
                    if self.bell.heard().is_some_and(|key| self.after.is_some_and(|after| key <= after)) {
                        self.after = None;
                    }
                    self.known = None;
                }
                // The world's clock may have been moved.
                () = tokio::time::sleep(sleep) => self.known = None,
            }
        }
    }

    /// Starts attempts of what is due, as many as may run.
    async fn start_due(&mut self) -> Result<Found, store::Error> {
        let (scope, incarnation) = (self.round.0.clone(), self.round.1);
        let now = self.office.post.clock.now();
        let mut is_empty = self.running.is_empty();
        if self.pace.rests_until > now {
            return Ok(Found::Next(Some(self.pace.rests_until)));
        }
        loop {
            // An end of another leaves room, and says nothing new.
            if let Some(next) = self.known.filter(|_| !self.running.is_empty()) {
                return Ok(Found::Next(next));
            }
            let room = self.pace.width.saturating_sub(self.running.len());
            if room == 0 {
                return Ok(Found::Full);
            }
            let mut scan = Scan::all(room.min(STEP)).under::<Uuid>(incarnation);
            if let Some(after) = self.after {
                scan = scan.after(after);
            }
            let page = EVENTS.page(&self.office.post.cloud.store, &scope, scan).await?;
            for row in page.rows {
                is_empty = false;
                let (due, _) = row.key.1;
                if due > now {
                    self.known = Some(Some(due));
                    return Ok(Found::Next(Some(due)));
                }
                self.after = Some(row.key);
                if self.running.insert(row.key) {
                    self.attempt(row);
                }
            }
            if page.next.is_none() {
                self.known = Some(None);
                return Ok(if is_empty { Found::Nothing } else { Found::Next(None) });
            }
        }
    }

    fn attempt(&self, row: Row<Key, Event>) {
        let (office, scope, young) = (self.office.clone(), self.round.0.clone(), self.young.clone());
        let report = Report { to: self.ended.clone(), key: row.key, attempt: None };
        let attempt = async move {
            // Whole, so that it is dropped here and not before.
            let mut report = report;
            match office.post.settle(&scope, row, &young).await {
                Ok(attempt) => report.attempt = Some(attempt),
                Err(error) => tracing::error!(%error, "failed to write down what became of an event"),
            }
        };
        self.office.post.spawn.spawn("an attempt of an event", Box::pin(attempt));
    }
}

impl Post {
    /// Tries an event once, and writes down what becomes of it. Where the store fails, the event is as it was.
    async fn settle(&self, scope: &Scope, row: Row<Key, Event>, young: &Young) -> Result<Attempt, AwsError> {
        let Row { key, value: mut event, .. } = row;
        let (incarnation, (_, id)) = key;
        let batch = Batch::new().delete(&EVENTS, scope, key);
        let found = FUNCTIONS.get_shared(&self.cloud.store, scope, &event.function).await?;
        let found = found.filter(|function| function.incarnation == incarnation).zip(self.context(scope, id));
        let Some((function, ctx)) = found else {
            // It went while this was on its way, and its events with it.
            self.cloud.store.commit(batch).await?;
            return Ok(Attempt::Forbidden);
        };
        let (policy, destinations) = event_invoke::of_events(&ctx, &function, event.qualifier.as_deref()).await?;
        let resolved = target(&ctx, &event.asked()).await;
        let release = resolved.as_ref().map_or(&function.latest, Resolved::release);
        let dead_letters = release.settings.dead_letter.as_ref().and_then(|config| config.target_arn.clone());
        let tried = match function.reserved_concurrency {
            Some(0) => Tried::forbidden(),
            _ => {
                let age = ctx.cx.now().since(event.received);
                event.tell(&ctx, "AsyncEventAge", Unit::MILLISECONDS, age.as_secs_f64() * 1e3);
                young.run(attempt(&ctx, &event, id, resolved)).await
            }
        };
        let (now, attempt) = (ctx.cx.now(), tried.attempt);
        let reason = match retry::decide(policy, now.since(event.received), event.failures, event.hold_ups, attempt) {
            Verdict::Again(wait) => {
                match attempt {
                    Attempt::Failed => (event.failures, event.hold_ups) = (event.failures.saturating_add(1), 0),
                    _ => event.hold_ups = event.hold_ups.saturating_add(1),
                }
                let batch = batch.put(&EVENTS, scope, (incarnation, (now.plus(wait), id)), &event);
                self.cloud.store.commit(batch).await?;
                return Ok(attempt);
            }
            Verdict::Done => None,
            Verdict::GiveUp(reason) => Some(reason),
        };
        let ending = Ending { event: &event, id, tried: &tried, reason, now };
        let parcels = ending.prepare(&ctx, &Listeners { dead_letters, destinations }).await?;
        deliver::commit(&self.cloud, batch, parcels).await?;
        if let Some(reason) = reason {
            tell_given_up(&event, id, reason);
            event.tell(&ctx, "AsyncEventsDropped", Unit::COUNT, 1.0);
        }
        Ok(attempt)
    }

    /// Events run in the name of their function's account. Functions are in regions, all of them.
    pub fn context(&self, scope: &Scope, id: Uuid) -> Option<Ctx> {
        let (account, region) = (scope.account, scope.region.clone()?);
        let arn = format!("arn:{}:iam::{account}:root", region.partition());
        let principal = Principal { account, arn, user_id: account.to_string(), access_key_id: None };
        let (clock, chance) = (self.clock.clone(), self.chance.clone());
        let mut cx = Cx::new(Arc::new(principal), region, RequestId(id), "".into(), clock, chance);
        cx.world = scope.world;
        Some(Ctx { cx, cloud: self.cloud.clone() })
    }
}

fn tell_given_up(event: &Event, id: Uuid, reason: Reason) {
    let (function, reason) = (&event.function, reason.word());
    tracing::warn!(function, %id, reason, "an asynchronous invocation is given up");
}

async fn attempt(ctx: &Ctx, event: &Event, id: Uuid, resolved: Result<Resolved, AwsError>) -> Tried {
    let attempted = async {
        let resolved = resolved?;
        check(ctx, &resolved, event.tenant_id.as_deref()).await?;
        let Begun { invoked, version, trace_header } = run(ctx, &event.asked(), resolved, event.request(id)).await?;
        let (function_error, payload, _) = whole(invoked).await?;
        Ok(Answer { version, function_error, payload, trace_header })
    };
    let outcome = attempted.await;
    if let Err(error) = &outcome {
        tracing::debug!(function = event.function, %error, "an asynchronous invocation is held up");
    }
    Tried::of(outcome)
}

#[cfg(test)]
mod tests;

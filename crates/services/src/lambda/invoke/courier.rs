//! Takes events to their functions: one courier for each function that has events, as long as it has some.
//!
//! A courier runs what is due, waits for what is due later, and goes when nothing is left. From which shard it takes is
//! [`Turns`]' to say, of one shard the oldest comes first; how much it runs at once is [`Pace`]'s. [`retry`] decides what becomes of an event after an attempt, and the store
//! hears of it before the next. The store is also how couriers learn of events: by its hints, and at the start by looking.
//!
//! Invariant: one courier a function. What a crash interrupts is attempted again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::{AwsError, Chance, Clock, Cx, Principal, RequestId, Spawn, Timestamp, Uuid};
use engine::events::pace::{ATTEMPTS_MAX, Pace, REST};
use engine::events::retry::{self, Attempt, Reason, Verdict};
use engine::events::shards::Shard;
use engine::events::turns::{Turn, Turns};
use metrics::Unit;
use store::{Batch, Change, Row, Scan, Scope};
use tokio::sync::{Notify, mpsc};

use super::backlog::Round;
use super::ending::{Answer, Ending, Listeners, Tried};
use super::event::{EVENTS, Event, Key};
use super::young::Young;
use super::{Begun, check, dead, run, target, whole};
use crate::lambda::event_invoke;
use crate::lambda::function::{FUNCTIONS, Resolved};
use crate::under_way::{Kind, Step};
use crate::{Cloud, Ctx, deliver};

/// Events read in one step.
const STEP: usize = 16;
/// How long at most a courier sleeps: the world's clock may be moved.
const SLEEP_MAX: Duration = Duration::from_secs(30);

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

/// How a courier is told of events.
#[derive(Default)]
struct Bell {
    /// The first of each shard, of those that it has not heard of yet.
    earliest: Mutex<BTreeMap<Shard, Key>>,
    rung: Notify,
}

impl Bell {
    fn ring(&self, key: Key) {
        let mut earliest = self.earliest.lock().unwrap_or_else(PoisonError::into_inner);
        let (shard, _) = key.1;
        earliest.entry(shard).and_modify(|earliest| *earliest = key.min(*earliest)).or_insert(key);
        drop(earliest);
        self.rung.notify_one();
    }

    fn heard(&self) -> BTreeMap<Shard, Key> {
        std::mem::take(&mut *self.earliest.lock().unwrap_or_else(PoisonError::into_inner))
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
    /// Sends a courier to every function that has events, and tells it of each shard where there are some.
    async fn look_everywhere(self: &Arc<Self>) -> Result<(), store::Error> {
        let mut after = None;
        loop {
            let page = EVENTS.scan_all(&self.post.cloud.store, after.as_ref(), 1).await?;
            let Some(row) = page.rows.into_iter().next() else { return Ok(()) };
            let (scope, (incarnation, (shard, _))) = row.key.clone();
            self.post.cloud.memory.backlogs.find(&(scope.clone(), incarnation), shard);
            self.send(row.key);
            after = Some((scope, last_of(incarnation, shard)));
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
        if !bell.earliest.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
            return false;
        }
        rounds.remove(round);
        self.post.cloud.memory.backlogs.forget(round);
        true
    }
}

/// Behind all events of a shard.
fn last_of(incarnation: Uuid, shard: Shard) -> Key {
    (incarnation, (shard, (Timestamp::from_micros(i64::MAX), Uuid::from_bytes([0xff; 16]))))
}

struct Courier {
    office: Arc<Office>,
    round: Round,
    bell: Arc<Bell>,
    running: BTreeSet<Key>,
    pace: Pace,
    /// Of those that run, so many may have just begun.
    young: Young,
    turns: Turns,
    /// All of a shard that is due before this has been started.
    after: BTreeMap<Shard, Key>,
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
        let (turns, after) = (Turns::default(), BTreeMap::new());
        Self { office, round, bell, running, pace, young: Young::default(), turns, after, ended, ends }
    }

    async fn run(mut self) {
        self.hear();
        loop {
            let wake = match self.start_due().await {
                Ok(Found::Nothing) => match self.look().await {
                    Ok(true) => continue,
                    Ok(false) if self.office.dismiss(&self.round, &self.bell) => return,
                    Ok(false) => None,
                    Err(error) => Some(failed_to_read(&error)),
                },
                Ok(Found::Full) => {
                    self.pace.full(self.office.post.clock.now());
                    Some(REST)
                }
                Ok(Found::Next(due)) => due.map(|due| due.since(self.office.post.clock.now())),
                Err(error) => Some(failed_to_read(&error)),
            };
            let sleep = wake.unwrap_or(SLEEP_MAX).min(SLEEP_MAX);
            tokio::select! {
                Some((ended, attempt)) = self.ends.recv() => self.ended(ended, attempt),
                () = self.bell.rung.notified() => self.hear(),
                () = tokio::time::sleep(sleep) => {}
            }
        }
    }

    fn ended(&mut self, key: Key, attempt: Option<Attempt>) {
        let (now, shard) = (self.office.post.clock.now(), key.1.0);
        self.running.remove(&key);
        self.turns.ended(shard);
        self.pace.ended(now, self.running.len(), attempt);
        if attempt.is_none() {
            self.after.remove(&shard);
            self.turns.expect(shard, now);
        }
    }

    /// Takes note of what it was told of.
    fn hear(&mut self) {
        for (shard, key) in self.bell.heard() {
            let (due, _) = key.1.1;
            self.turns.expect(shard, due);
            // It may have been received before one that was started already.
            if self.after.get(&shard).is_some_and(|after| key <= *after) {
                self.after.remove(&shard);
            }
        }
    }

    /// Begins anew with every shard that has events. Says whether there is any.
    async fn look(&mut self) -> Result<bool, store::Error> {
        let (scope, incarnation) = (&self.round.0, self.round.1);
        self.after.clear();
        let (mut scan, mut has_some) = (Scan::all(1).under::<Uuid>(incarnation), false);
        loop {
            let page = EVENTS.page(&self.office.post.cloud.store, scope, scan).await?;
            let Some(Row { key: (_, (shard, (due, _))), .. }) = page.rows.into_iter().next() else {
                return Ok(has_some);
            };
            has_some = true;
            self.turns.expect(shard, due);
            scan = Scan::all(1).under::<Uuid>(incarnation).after(last_of(incarnation, shard));
        }
    }

    /// Starts attempts of what is due, as many as may run.
    async fn start_due(&mut self) -> Result<Found, store::Error> {
        let now = self.office.post.clock.now();
        if self.pace.rests_until > now {
            return Ok(Found::Next(Some(self.pace.rests_until)));
        }
        loop {
            match self.turns.next(now, self.pace.width) {
                Turn::Take(shard, most) => self.start_of(now, shard, most.min(STEP)).await?,
                Turn::Full => return Ok(Found::Full),
                Turn::Wait(None) if self.running.is_empty() => return Ok(Found::Nothing),
                Turn::Wait(next) => return Ok(Found::Next(next)),
            }
        }
    }

    /// Starts attempts of what is due in one shard.
    async fn start_of(&mut self, now: Timestamp, shard: Shard, most: usize) -> Result<(), store::Error> {
        let (scope, incarnation) = (&self.round.0, self.round.1);
        let mut scan = Scan::all(most).under::<(Uuid, Shard)>((incarnation, shard));
        if let Some(after) = self.after.get(&shard) {
            scan = scan.after(*after);
        }
        let page = EVENTS.page(&self.office.post.cloud.store, scope, scan).await?;
        for row in page.rows {
            let (due, _) = row.key.1.1;
            if due > now {
                self.turns.taken(shard, Some(due));
                return Ok(());
            }
            self.after.insert(shard, row.key);
            if self.running.insert(row.key) {
                self.turns.started(shard);
                self.attempt(row);
            }
        }
        if page.next.is_none() {
            self.turns.taken(shard, None);
            self.office.post.cloud.memory.backlogs.count(&self.round, shard, self.turns.running_of(shard));
        }
        Ok(())
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

fn failed_to_read(error: &store::Error) -> Duration {
    tracing::error!(%error, "failed to read events");
    REST
}

impl Post {
    /// Tries an event once, and writes down what becomes of it. Where the store fails, the event is as it was.
    async fn settle(&self, scope: &Scope, row: Row<Key, Event>, young: &Young) -> Result<Attempt, AwsError> {
        let Row { key, value: mut event, .. } = row;
        let (incarnation, (shard, (_, id))) = key;
        // Until whatever comes of it is there.
        let (name, trace_header) = (event.function.as_str().into(), event.trace_header.clone());
        let step = Step { scope: scope.clone(), kind: Kind::Attempt(id), name, trace_header };
        let _going = self.cloud.memory.under_way.begin(step);
        let batch = Batch::new().delete(&EVENTS, scope, key);
        let found = FUNCTIONS.get_shared(&self.cloud.store, scope, &event.function).await?;
        let found = found.filter(|function| function.incarnation == incarnation).zip(self.context(scope, id));
        let Some((function, ctx)) = found else {
            // It went while this was on its way, and its events with it.
            self.cloud.store.commit(batch).await?;
            if let Some(ctx) = self.context(scope, id) {
                event.tell(&ctx, "AsyncEventsDropped", Unit::COUNT, 1.0);
            }
            self.cloud.memory.backlogs.leave(&(scope.clone(), incarnation), shard);
            return Ok(Attempt::Forbidden);
        };
        let (policy, destinations) = event_invoke::of_events(&ctx, &function, event.qualifier.as_deref()).await?;
        let resolved = target(&ctx, &event.asked()).await;
        let release = resolved.as_ref().map_or(&function.latest, Resolved::release);
        let dead_letters = release.settings.dead_letter.as_ref().and_then(|config| config.target_arn.clone());
        let tried = match function.reserved_concurrency {
            Some(0) => Tried::forbidden(),
            _ if retry::is_too_old(policy, ctx.cx.now().since(event.received)) => Tried::too_late(),
            _ => {
                let age = ctx.cx.now().since(event.received);
                event.tell(&ctx, "AsyncEventAge", Unit::MILLISECONDS, age.as_secs_f64() * 1e3);
                young.run(attempt(&ctx, &event, id, resolved)).await
            }
        };
        let (now, attempt) = (ctx.cx.now(), tried.attempt);
        event.last_error = tried.last_error(event.last_error);
        let reason = match retry::decide(policy, now.since(event.received), event.failures, event.hold_ups, attempt) {
            Verdict::Again(wait) => {
                match attempt {
                    Attempt::Failed => (event.failures, event.hold_ups) = (event.failures.saturating_add(1), 0),
                    _ => event.hold_ups = event.hold_ups.saturating_add(1),
                }
                let batch = batch.put(&EVENTS, scope, (incarnation, (shard, (now.plus(wait), id))), &event);
                self.cloud.store.commit(batch).await?;
                return Ok(attempt);
            }
            Verdict::Done => None,
            Verdict::GiveUp(reason) => Some(reason),
        };
        let batch = match reason {
            Some(reason) => dead::keep(batch, scope, (incarnation, (now, id)), &event, (reason, attempt)),
            None => batch,
        };
        let ending = Ending { event: &event, id, tried: &tried, reason, now };
        let parcels = ending.prepare(&ctx, &Listeners { dead_letters, destinations }).await?;
        deliver::commit(&self.cloud, batch, parcels).await?;
        self.cloud.memory.backlogs.leave(&(scope.clone(), incarnation), shard);
        if let Some(reason) = reason {
            tell_given_up(&ctx, &event, id, reason);
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

fn tell_given_up(ctx: &Ctx, event: &Event, id: Uuid, reason: Reason) {
    let (function, reason) = (&event.function, reason.word());
    tracing::warn!(function, %id, reason, "an asynchronous invocation is given up");
    event.tell(ctx, "AsyncEventsDropped", Unit::COUNT, 1.0);
}

async fn attempt(ctx: &Ctx, event: &Event, id: Uuid, resolved: Result<Resolved, AwsError>) -> Tried {
    let attempted = async {
        let resolved = resolved?;
        check(ctx, &resolved, event.tenant_id.as_deref()).await?;
        let begun = run(ctx, &event.asked(), resolved, event.request(id)).await?;
        let Begun { invoked, version, trace_header, going: _going } = begun;
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

//! Reads sources for functions: one poller for each mapping that is enabled.
//!
//! A poller waits until its source has something, gathers a batch, and calls the function with it. How much it gathers and
//! how many calls run at once is decided by `engine::poller`. What the function is done with is done with at the source;
//! everything else the source gives again when its time there is over, also what a crash interrupts.
//!
//! When a mapping changes, its poller ends and another begins. Calls that run go on, and count as its own.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use base::{AwsError, BoxFuture, Timestamp, Uuid};
use engine::pattern::{self, Pattern, Set};
use engine::poller::{BATCH_BYTES_MAX, CALLS_MAX, Gather, Limits, Scale};
use parking_lot::Mutex;
use serde_json::Value;
use store::{Change, Row, Scope};
use tokio::sync::{mpsc, watch};

use super::batch::{Batch, End, Held, News, give_back};
use super::settings::FilterCriteria;
use super::{MAPPINGS, Mapping};
use crate::lambda::invoke;
use crate::lambda::invoke::young::Young;
use crate::source::{self, Event, Source};
use crate::under_way::{Going, Kind, Step};
use crate::{Ctx, Post};

/// How long a poller rests when its source or the store fails, and how long it waits for its source before it looks again.
const RESTS: Duration = Duration::from_secs(5);
const RESTS_MAX: Duration = Duration::from_secs(60);
const WAITS: Duration = Duration::from_secs(20);
/// How long it waits where all calls run that may.
const WAITS_FULL: Duration = Duration::from_secs(1);
/// How long before its time is over what was gathered goes to the function.
const MARGIN: Duration = Duration::from_secs(1);
/// The field of a record that is matched as what it holds.
const BODY: &str = "body";
/// Mappings that are looked at in one step.
const STEP: usize = 100;

type Key = (Scope, Uuid);

/// What is wrong with mappings, by their UUIDs. In memory only: a poller finds out again.
#[derive(Default)]
pub struct Troubles(Mutex<HashMap<Uuid, Trouble>>);

#[derive(Debug, Clone)]
pub enum Trouble {
    /// Nothing is read, for that reason.
    NothingIsRead(String),
    /// The last that the function was called with failed.
    FunctionFails(String),
}

impl Troubles {
    pub fn of(&self, uuid: Uuid) -> Option<Trouble> {
        self.0.lock().get(&uuid).cloned()
    }

    pub fn nothing_is_read(&self, uuid: Uuid, error: &AwsError) {
        self.0.lock().insert(uuid, Trouble::NothingIsRead(format!("PROBLEM: {}", error.message)));
    }

    /// How a call ended.
    pub fn called(&self, uuid: Uuid, error: Option<String>) {
        match error {
            Some(error) => self.0.lock().insert(uuid, Trouble::FunctionFails(error)),
            None => self.0.lock().remove(&uuid),
        };
    }

    fn clear(&self, uuid: Uuid) {
        self.0.lock().remove(&uuid);
    }
}

/// All pollers of this server.
struct Pollers {
    post: Arc<Post>,
    /// What each reads by, and how it is told to end.
    running: HashMap<Key, (Mapping, watch::Sender<bool>)>,
    /// Of which there is one for each call of a mapping's poller, and one for the poller.
    calls: HashMap<Key, Weak<()>>,
}

/// Keeps a poller for every mapping until it is to leave; then returns when all have given back what they had gathered.
pub async fn run_all(post: Post, mut leaves: BoxFuture<'static, ()>) {
    let mut hints = MAPPINGS.watch_all(&post.cloud.store);
    let mut pollers = Pollers { post: Arc::new(post), running: HashMap::new(), calls: HashMap::new() };
    let mut change = Change::Many;
    loop {
        let looked = match &change {
            Change::Many => pollers.look_everywhere().await,
            Change::Keys(keys) => {
                let keys = keys.iter().filter_map(|key| MAPPINGS.parse_key(key).ok()).collect();
                pollers.look_at(keys).await
            }
        };
        change = match looked {
            Ok(()) => tokio::select! {
                change = hints.changed() => change,
                () = &mut leaves => break,
            },
            Err(error) => {
                tracing::error!(%error, "failed to look for event source mappings");
                tokio::select! {
                    () = tokio::time::sleep(RESTS) => Change::Many,
                    () = &mut leaves => break,
                }
            }
        };
    }
    let stops: Vec<_> = pollers.running.into_values().map(|(_, stop)| stop).collect();
    for stop in &stops {
        stop.send(true).ok();
    }
    for stop in stops {
        stop.closed().await;
    }
}

impl Pollers {
    async fn look_everywhere(&mut self) -> Result<(), AwsError> {
        let (mut after, mut gone): (_, HashSet<Key>) = (None, self.running.keys().cloned().collect());
        let mut looked = Ok(());
        loop {
            let page = MAPPINGS.scan_all(&self.post.cloud.store, after.as_ref(), STEP).await?;
            for Row { key, value, .. } in page.rows {
                gone.remove(&key);
                let uuid = key.1;
                if let Err(error) = self.settle(key, Some(value)).await {
                    tracing::error!(%uuid, %error, "failed to read an event source mapping");
                    looked = Err(error);
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        gone.into_iter().for_each(|key| self.stop(&key));
        looked
    }

    async fn look_at(&mut self, keys: Vec<Key>) -> Result<(), AwsError> {
        for (scope, uuid) in keys {
            let row = MAPPINGS.get(&self.post.cloud.store, &scope, uuid).await?;
            self.settle((scope, uuid), row.map(|row| row.value)).await?;
        }
        Ok(())
    }

    /// Sees to it that a mapping as it is now has its poller, or none.
    async fn settle(&mut self, key: Key, mapping: Option<Mapping>) -> Result<(), AwsError> {
        let Some(mapping) = mapping.filter(|mapping| mapping.enabled && !mapping.is_frozen) else {
            self.stop(&key);
            self.calls.retain(|_, calls| calls.strong_count() > 0);
            return Ok(());
        };
        if self.running.get(&key).is_some_and(|(known, _)| known.reads_as(&mapping)) {
            return Ok(());
        }
        self.stop(&key);
        let arn = mapping.source.event_source_arn.clone().filter(|arn| source::is_built(arn));
        let (Some(arn), Some(ctx)) = (arn, self.post.context(&key.0, key.1)) else { return Ok(()) };
        let opened = mapping.clone().opened(&ctx).await?;
        let (stop, stopped) = watch::channel(false);
        // Patterns are checked before a mapping is made.
        let criteria = opened.settings.filter_criteria.iter().flat_map(FilterCriteria::patterns);
        let parsed = criteria.filter_map(|pattern| Pattern::parse(pattern).ok());
        let filters = parsed.map(|pattern| (pattern.goes_into(BODY), pattern)).collect();
        let (post, scope) = (self.post.clone(), key.0.clone());
        let calls = self.calls.get(&key).and_then(Weak::upgrade).unwrap_or_default();
        self.calls.insert(key.clone(), Arc::downgrade(&calls));
        let name = opened.target.name.as_str().into();
        let (opened, young) = (Arc::new(opened), Young::default());
        let poller = Poller { post, scope, arn, mapping: opened, filters, young, stopped, calls, name };
        self.post.spawn.spawn("poller", Box::pin(poller.run()));
        self.running.insert(key, (mapping, stop));
        Ok(())
    }

    fn stop(&mut self, key: &Key) {
        self.post.cloud.memory.troubles.clear(key.1);
        if let Some((_, stop)) = self.running.remove(key) {
            // It may have ended by itself.
            stop.send(true).ok();
        }
    }
}

struct Poller {
    post: Arc<Post>,
    scope: Scope,
    arn: String,
    mapping: Arc<Mapping>,
    /// Of which an event must match one, if there are any; whether each goes into the body.
    filters: Set<bool>,
    young: Young,
    stopped: watch::Receiver<bool>,
    /// Each call has one of these, also those of the poller that was there before the mapping changed.
    calls: Arc<()>,
    /// The function's.
    name: Arc<str>,
}

/// What a poller has under way.
struct Work<'a> {
    scale: Scale,
    gather: Gather<Held>,
    running: usize,
    reading: Reading<'a>,
}

/// How far a poller is with reading its source, which goes on while it calls the function.
enum Reading<'a> {
    Not,
    /// Until there may be something.
    Waits(BoxFuture<'a, Result<(), AwsError>>),
    Takes(BoxFuture<'a, Result<Vec<Held>, AwsError>>),
}

impl Reading<'_> {
    /// What was taken; nothing if it has but waited. To be told what it does next.
    async fn done(&mut self) -> Result<Option<Vec<Held>>, AwsError> {
        match self {
            Self::Not => std::future::pending().await,
            Self::Waits(waits) => waits.await.map(|()| None),
            Self::Takes(takes) => takes.await.map(Some),
        }
    }
}

impl Poller {
    async fn run(self) {
        let (mut stopped, mut rest) = (self.stopped.clone(), RESTS);
        while let Err(error) = self.read().await {
            tracing::warn!(source = self.arn, %error, "a poller could not read its source: it will try again");
            self.post.cloud.memory.troubles.nothing_is_read(self.mapping.uuid, &error);
            rest = rest.saturating_mul(2).min(RESTS_MAX);
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                _ = stopped.wait_for(|stopped| *stopped) => return,
            }
        }
    }

    /// Reads until it is told to stop, or fails. What was gathered and not given to the function goes back.
    async fn read(&self) -> Result<(), AwsError> {
        let Some(ctx) = self.context() else { return Ok(()) };
        let Some(source) = source::find(&ctx, &self.arn).await? else {
            return Err(AwsError::client(404, "ResourceNotFoundException", "The source does not exist."));
        };
        self.check_function().await?;
        self.post.cloud.memory.troubles.clear(self.mapping.uuid);
        let source: Arc<dyn Source> = source.into();
        let now = self.post.clock.now();
        let scale = Scale::new(now, self.mapping.settings.concurrency_max());
        let mut work = Work { scale, gather: Gather::new(self.limits()), running: 0, reading: Reading::Not };
        let (tell, mut told) = mpsc::channel(CALLS_MAX);
        let mut stopped = self.stopped.clone();
        let ended = loop {
            if *stopped.borrow() {
                break Ok(());
            }
            if let Err(error) = self.turn(&source, &mut work, &tell, &mut told, &mut stopped).await {
                break Err(error);
            }
        };
        let mut left = work.gather.take_all();
        // Whom nobody waits for would be nobody's until their time is over.
        if let Reading::Takes(takes) = work.reading {
            left.extend(takes.await.unwrap_or_default());
        }
        give_back(&source, left).await?;
        ended
    }

    /// Calls the function if it is time to, else waits for whatever comes first.
    async fn turn<'a>(
        &'a self,
        source: &'a Arc<dyn Source>,
        work: &mut Work<'a>,
        tell: &mpsc::Sender<News>,
        told: &mut mpsc::Receiver<News>,
        stopped: &mut watch::Receiver<bool>,
    ) -> Result<(), AwsError> {
        let now = self.post.clock.now();
        let calls = Arc::strong_count(&self.calls).saturating_sub(1);
        let max = self.mapping.settings.concurrency_max().unwrap_or(CALLS_MAX);
        let has_room = work.running < work.scale.width && calls < max;
        let rests = work.scale.rests_until > now;
        let may_call = has_room && !rests;
        // What is others' again when its time is over goes before that.
        let ours_until = work.gather.events().map(|event| event.ours_until).min();
        let due = work.gather.due().map(|due| ours_until.map_or(due, |until| due.min(until.minus(MARGIN))));
        if may_call && due.is_some_and(|due| due <= now) {
            self.call(source.clone(), work.gather.take(), tell.clone());
            work.running = work.running.saturating_add(1);
            if !self.is_ordered() {
                return Ok(());
            }
            // What comes behind waits for how that ends.
            return give_back(source, work.gather.take_all()).await;
        }
        if !has_room {
            work.scale.full(now);
        }
        if work.gather.is_stale(now) {
            work.scale.is_late();
            return give_back(source, work.gather.take_all()).await;
        }
        let free = if may_call { work.scale.width.saturating_sub(work.running) } else { 0 };
        let room = if rests { 0 } else { work.scale.room(&work.gather, free, self.is_ordered()) };
        match work.reading {
            Reading::Not if room > 0 => work.reading = Reading::Waits(source.wait(WAITS)),
            Reading::Waits(_) if room == 0 => work.reading = Reading::Not,
            _ => {}
        }
        let at_most = match due {
            _ if rests => work.scale.rests_until.since(now),
            Some(due) if may_call => due.since(now),
            _ if may_call => WAITS,
            _ => WAITS_FULL,
        };
        tokio::select! {
            Some(news) = told.recv() => work.hear(self.post.clock.now(), &news),
            _ = stopped.wait_for(|stopped| *stopped) => {}
            read = work.reading.done() => {
                work.reading = Reading::Not;
                match read? {
                    None => work.reading = Reading::Takes(Box::pin(self.take(source, room))),
                    Some(events) => work.add(self.post.clock.now(), events),
                }
            }
            () = tokio::time::sleep(at_most) => {}
        }
        Ok(())
    }

    /// Takes what there is, for all calls that may begin, and leaves of it what the mapping wants: one taking, and so one
    /// sync, for many batches.
    async fn take(&self, source: &Arc<dyn Source>, most: usize) -> Result<Vec<Held>, AwsError> {
        // What nobody can take stays where it is.
        if let Err(error) = self.check_function().await {
            source.pass_on().await?;
            return Err(error);
        }
        // Nothing is nobody's between the source and here.
        let _taking = self.hold(Kind::Taking, None);
        let events = source.take(most).await?;
        let held = |event: Event| {
            let going = self.hold(Kind::Batch, event.trace_header.clone());
            Held::new(event, going)
        };
        let (wanted, others): (Vec<Held>, Vec<Held>) = events.into_iter().map(held).partition(|held| self.wants(held));
        if !others.is_empty() {
            source.done(others.iter().map(|held| held.token).collect()).await?;
        }
        Ok(wanted)
    }

    async fn check_function(&self) -> Result<(), AwsError> {
        let (Some(ctx), target) = (self.context(), &self.mapping.target) else { return Ok(()) };
        invoke::check_there(&ctx, &target.name, target.qualifier.as_deref()).await
    }

    /// Whether its events come one after the other.
    fn is_ordered(&self) -> bool {
        self.arn.ends_with(".fifo")
    }

    /// Whether the function is to see an event. What is JSON in a body is matched as what it is, other bodies as texts.
    fn wants(&self, event: &Event) -> bool {
        if self.filters.is_empty() {
            return true;
        }
        let mut seen: Value = serde_json::from_str(&event.record).unwrap_or_default();
        if let Some(body) = seen.get_mut(BODY)
            && let Value::String(text) = body
        {
            *body = pattern::content(text);
        }
        let has_fields = matches!(seen.get(BODY), Some(Value::Object(_) | Value::Array(_)));
        self.filters.matching(&seen).any(|goes_into| has_fields || !goes_into)
    }

    fn limits(&self) -> Limits {
        let settings = &self.mapping.settings;
        Limits { events: settings.batch_size(), bytes: BATCH_BYTES_MAX, window: settings.window() }
    }

    /// Says that something of this mapping is under way.
    fn hold(&self, kind: Kind, trace_header: Option<String>) -> Going {
        let (scope, name) = (self.scope.clone(), self.name.clone());
        self.post.cloud.memory.under_way.begin(Step { scope, kind, name, trace_header })
    }

    /// A request of its own, in the name of the mapping's account.
    fn context(&self) -> Option<Ctx> {
        self.post.context(&self.scope, self.post.chance.uuid())
    }

    /// Begins to call the function with a batch.
    fn call(&self, source: Arc<dyn Source>, events: Vec<Held>, tell: mpsc::Sender<News>) {
        let Some(ctx) = self.context() else { return };
        let (mapping, stopped, call) = (self.mapping.clone(), self.stopped.clone(), Some(self.calls.clone()));
        let young = self.young.clone();
        let batch = Batch { ctx, source, events, mapping, young, tell, stopped, call };
        self.post.spawn.spawn("a batch of a poller", Box::pin(batch.run()));
    }
}

impl Work<'_> {
    fn add(&mut self, now: Timestamp, events: Vec<Held>) {
        for event in events {
            let bytes = event.record.len();
            self.gather.add(now, event, bytes);
        }
    }

    fn hear(&mut self, now: Timestamp, news: &News) {
        match news {
            News::Refused => self.scale.refused(now, self.running.saturating_sub(1)),
            News::Ended(end, took) => {
                self.scale.took(*took);
                self.running = self.running.saturating_sub(1);
                match end {
                    End::Taken => self.scale.taken(),
                    End::Failed => self.scale.failed(),
                    End::Refused => {}
                }
            }
        }
    }
}

//! Reads sources for functions: one poller for each mapping that is enabled.
//!
//! A poller waits until its source has something, gathers a batch, and calls the function with it. How much it gathers and
//! how many calls run at once is decided by `engine::poller`. What the function is done with is done with at the source;
//! everything else the source gives again when its time there is over, also what a crash interrupts.
//!
//! When a mapping changes, its poller ends and another begins. Calls that run go on.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use base::{AwsError, RequestId, Timestamp};
use engine::pattern::{self, Pattern};
use engine::poller::{BATCH_BYTES_MAX, CALLS_MAX, Gather, Limits, Scale};
use serde_json::Value;
use store::{Change, Row, Scope};
use tokio::sync::{mpsc, watch};

use super::settings::FilterCriteria;
use super::{MAPPINGS, Mapping, report};
use crate::lambda::invoke::young::Young;
use crate::lambda::invoke::{self, Called, chain};
use crate::source::{self, Event, Source, Token};
use crate::{Ctx, Post};

/// How long a poller rests when its source or the store fails, and how long it waits for its source before it looks again.
const RESTS: Duration = Duration::from_secs(5);
const RESTS_MAX: Duration = Duration::from_secs(60);
const WAITS: Duration = Duration::from_secs(20);
/// How long after a refusal a batch is tried again, at first and at most.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(30);
/// How long before its time is over what was gathered goes to the function.
const MARGIN: Duration = Duration::from_secs(1);
/// Mappings that are looked at in one step.
const STEP: usize = 100;

type Key = (Scope, base::Uuid);

/// All pollers of this server.
struct Pollers {
    post: Arc<Post>,
    /// What each reads by, and how it is told to end.
    running: HashMap<Key, (Mapping, watch::Sender<bool>)>,
}

/// Keeps a poller for every mapping, for ever.
pub async fn run_all(post: Post) {
    let mut hints = MAPPINGS.watch_all(&post.cloud.store);
    let mut pollers = Pollers { post: Arc::new(post), running: HashMap::new() };
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
            Ok(()) => hints.changed().await,
            Err(error) => {
                tracing::error!(%error, "failed to look for event source mappings");
                tokio::time::sleep(RESTS).await;
                Change::Many
            }
        };
    }
}

impl Pollers {
    async fn look_everywhere(&mut self) -> Result<(), AwsError> {
        let (mut after, mut gone): (_, HashSet<Key>) = (None, self.running.keys().cloned().collect());
        loop {
            let page = MAPPINGS.scan_all(&self.post.cloud.store, after.as_ref(), STEP).await?;
            for Row { key, value, .. } in page.rows {
                gone.remove(&key);
                let uuid = key.1;
                if let Err(error) = self.settle(key, Some(value)).await {
                    tracing::error!(%uuid, %error, "failed to read an event source mapping");
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        gone.into_iter().for_each(|key| self.stop(&key));
        Ok(())
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
        let Some(mapping) = mapping.filter(|mapping| mapping.enabled) else {
            self.stop(&key);
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
        let filters = criteria.filter_map(|pattern| Pattern::parse(pattern).ok()).collect();
        let (post, scope) = (self.post.clone(), key.0.clone());
        let (opened, young) = (Arc::new(opened), Young::default());
        let poller = Poller { post, scope, arn, mapping: opened, filters, young, stopped };
        self.post.spawn.spawn("poller", Box::pin(poller.run()));
        self.running.insert(key, (mapping, stop));
        Ok(())
    }

    fn stop(&mut self, key: &Key) {
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
    /// Of which an event must match one, if there are any.
    filters: Vec<Pattern>,
    young: Young,
    stopped: watch::Receiver<bool>,
}

/// How a call stands.
enum News {
    /// The function did not take it; it will be tried again.
    Refused,
    /// It is over; whether the function took it.
    Ended { taken: bool },
}

/// What a poller has under way.
struct Work {
    scale: Scale,
    gather: Gather<Event>,
    /// Batches that are full and wait until one more call may run.
    full: VecDeque<Vec<Event>>,
    running: usize,
}

impl Poller {
    async fn run(self) {
        let (mut stopped, mut rest) = (self.stopped.clone(), RESTS);
        while let Err(error) = self.read().await {
            tracing::warn!(source = self.arn, %error, "a poller could not read its source: it will try again");
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
            return Err(AwsError::client(404, "ResourceNotFoundException", "The source is not there."));
        };
        let source: Arc<dyn Source> = source.into();
        let now = self.post.clock.now();
        let mut work = Work {
            scale: Scale::new(now, self.mapping.settings.concurrency_max()),
            gather: Gather::new(self.limits()),
            full: VecDeque::new(),
            running: 0,
        };
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
        let left = work.full.into_iter().flatten().chain(work.gather.take());
        let left: Vec<Token> = left.map(|event| event.token).collect();
        if !left.is_empty() {
            source.give_back(left).await?;
        }
        ended
    }

    /// Calls the function if it is time to, else waits for whatever comes first.
    async fn turn(
        &self,
        source: &Arc<dyn Source>,
        work: &mut Work,
        tell: &mpsc::Sender<News>,
        told: &mut mpsc::Receiver<News>,
        stopped: &mut watch::Receiver<bool>,
    ) -> Result<(), AwsError> {
        let now = self.post.clock.now();
        let has_room = work.running < work.scale.width;
        let rests = work.scale.rests_until > now;
        let due = work.due(now);
        if has_room && !rests && due.is_some_and(|due| due <= now) {
            self.call(source.clone(), work.next(), tell.clone());
            work.running = work.running.saturating_add(1);
            return Ok(());
        }
        if !has_room {
            work.scale.full(now);
        }
        let may_read = has_room && !rests && work.full.is_empty() && work.gather.room() > 0;
        let at_most = match (rests, due) {
            (true, _) => work.scale.rests_until.since(now),
            (false, Some(due)) if has_room => due.since(now),
            _ if has_room => WAITS,
            _ => AGAIN_AFTER,
        };
        let waits = async {
            match may_read {
                true => source.wait(at_most).await,
                false => {
                    tokio::time::sleep(at_most).await;
                    Ok(())
                }
            }
        };
        tokio::select! {
            Some(news) = told.recv() => {
                work.hear(self.post.clock.now(), &news);
                return Ok(());
            }
            _ = stopped.wait_for(|stopped| *stopped) => return Ok(()),
            waited = waits => waited?,
        }
        if may_read { self.take(source, work).await } else { Ok(()) }
    }

    /// Takes what there is, for all calls that may begin, and gathers what the mapping wants of it: one taking, and so one
    /// sync, for many batches.
    async fn take(&self, source: &Arc<dyn Source>, work: &mut Work) -> Result<(), AwsError> {
        let events = source.take(self.most(work)).await?;
        let now = self.post.clock.now();
        let (wanted, others): (Vec<Event>, Vec<Event>) = events.into_iter().partition(|event| self.wants(event));
        if !others.is_empty() {
            source.done(others.iter().map(|event| event.token).collect()).await?;
        }
        let mut wanted = wanted.into_iter();
        while let Some(event) = wanted.next() {
            let bytes = event.record.len();
            if work.gather.room() == 0 || !work.gather.fits(bytes) {
                work.full.push_back(work.gather.take());
                if self.is_ordered() {
                    // What comes behind waits for how that ends.
                    let rest = std::iter::once(event).chain(wanted).map(|event| event.token).collect();
                    return source.give_back(rest).await;
                }
            }
            work.gather.add(now, event, bytes);
        }
        Ok(())
    }

    /// How many events fill the batches of all calls that may begin. What comes in order comes batch by batch.
    fn most(&self, work: &Work) -> usize {
        let others = match self.is_ordered() {
            true => 0,
            false => work.scale.width.saturating_sub(work.running).saturating_sub(1),
        };
        work.gather.room().saturating_add(self.limits().events.saturating_mul(others))
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
        if let Some(body) = seen.get_mut("body")
            && let Value::String(text) = body
        {
            *body = pattern::content(text);
        }
        self.filters.iter().any(|filter| filter.matches(&seen))
    }

    fn limits(&self) -> Limits {
        let settings = &self.mapping.settings;
        Limits { events: settings.batch_size(), bytes: BATCH_BYTES_MAX, window: settings.window() }
    }

    /// A request of its own, in the name of the mapping's account.
    fn context(&self) -> Option<Ctx> {
        self.post.context(&self.scope, self.post.chance.uuid())
    }

    /// Begins to call the function with a batch.
    fn call(&self, source: Arc<dyn Source>, events: Vec<Event>, tell: mpsc::Sender<News>) {
        let Some(ctx) = self.context() else { return };
        let now = self.post.clock.now();
        // The others may be somebody else's by now.
        let events = events.into_iter().filter(|event| event.ours_until > now).collect();
        let batch = Batch {
            ctx,
            source,
            events,
            mapping: self.mapping.clone(),
            young: self.young.clone(),
            tell,
            stopped: self.stopped.clone(),
        };
        self.post.spawn.spawn("a batch of a poller", Box::pin(batch.run()));
    }
}

impl Work {
    /// When the next batch goes to the function; nothing is there to go if there is no such time.
    fn due(&self, now: Timestamp) -> Option<Timestamp> {
        if !self.full.is_empty() {
            return Some(now);
        }
        // What is others' again when its time is over goes before that.
        let ours_until = self.gather.events().iter().map(|event| event.ours_until).min();
        self.gather.due().map(|due| ours_until.map_or(due, |until| due.min(until.minus(MARGIN))))
    }

    fn next(&mut self) -> Vec<Event> {
        self.full.pop_front().unwrap_or_else(|| self.gather.take())
    }

    fn hear(&mut self, now: Timestamp, news: &News) {
        match news {
            News::Refused => self.scale.refused(now, self.running.saturating_sub(1)),
            News::Ended { taken } => {
                self.running = self.running.saturating_sub(1);
                if *taken {
                    self.scale.taken();
                }
            }
        }
    }
}

/// Events on their way to the function.
struct Batch {
    ctx: Ctx,
    source: Arc<dyn Source>,
    events: Vec<Event>,
    mapping: Arc<Mapping>,
    young: Young,
    tell: mpsc::Sender<News>,
    stopped: watch::Receiver<bool>,
}

impl Batch {
    async fn run(mut self) {
        if let Err(error) = self.refuse_looped().await {
            tracing::error!(%error, "failed to take a loop's events from their source");
        }
        let answer = self.ask().await;
        let taken = answer.is_some();
        let done = answer.map(|called| self.done(&called)).unwrap_or_default();
        if !done.is_empty()
            && let Err(error) = self.source.done(done).await
        {
            tracing::error!(%error, "failed to take from its source what a function is done with");
        }
        // The poller may have ended.
        self.tell.send(News::Ended { taken }).await.ok();
    }

    /// Takes out what the function may not be given: what comes of a chain that has invoked it too often. What was taken
    /// out and could not be refused at the source is given again by it.
    async fn refuse_looped(&mut self) -> Result<(), AwsError> {
        let (ctx, target) = (&self.ctx, &self.mapping.target);
        let is_loop = |header: &String| chain::is_loop(ctx, &target.name, header);
        let loops = |event: &Event| event.trace_header.as_ref().is_some_and(is_loop);
        if !self.events.iter().any(loops) || chain::may_loop(ctx, &target.name).await? {
            return Ok(());
        }
        let (looped, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.events).into_iter().partition(loops);
        self.events = rest;
        chain::tell_stopped(ctx, (&target.name, target.qualifier.as_deref()), looped.len());
        self.source.refuse(looped.iter().map(|event| event.token).collect()).await
    }

    /// The header of the event whose chain has invoked the function most often: a loop is none the less one because other
    /// events come with it.
    fn trace_header(&self) -> Option<String> {
        let headers = self.events.iter().rev().filter_map(|event| event.trace_header.as_ref());
        headers.max_by_key(|header| chain::invocations(&self.ctx, &self.mapping.target.name, header)).cloned()
    }

    /// Calls the function until it takes the batch, as long as nobody else is given these events.
    async fn ask(&self) -> Option<Called> {
        let ours_until = self.events.iter().map(|event| event.ours_until).min()?;
        let records: Vec<&str> = self.events.iter().map(|event| event.record.as_str()).collect();
        let payload = format!(r#"{{"Records":[{}]}}"#, records.join(",")).into_bytes();
        let trace_header = self.trace_header();
        let target = &self.mapping.target;
        let mut rest = AGAIN_AFTER;
        loop {
            let mut ctx = self.ctx.clone();
            ctx.cx.request_id = RequestId(ctx.cx.id());
            let call =
                invoke::call(&ctx, &target.name, target.qualifier.as_deref(), payload.clone(), trace_header.clone());
            match self.young.run(call).await {
                Ok(called) => return Some(called),
                Err(error) => tracing::debug!(function = target.name, %error, "a batch was refused"),
            }
            self.tell.send(News::Refused).await.ok();
            tokio::time::sleep(rest).await;
            if *self.stopped.borrow() || self.ctx.cx.now().plus(rest) >= ours_until {
                return None;
            }
            rest = rest.saturating_mul(2).min(AGAIN_AFTER_MAX);
        }
    }

    /// What the function is done with.
    fn done(&self, called: &Called) -> Vec<Token> {
        if called.function_error.is_some() {
            return Vec::new();
        }
        let given: BTreeSet<&str> = self.events.iter().map(|event| event.id.as_str()).collect();
        let failed = match self.mapping.settings.reports_failures() {
            false => Some(BTreeSet::new()),
            true => report::failed(&called.payload, &given),
        };
        let Some(failed) = failed else { return Vec::new() };
        self.events.iter().filter(|event| !failed.contains(event.id.as_str())).map(|event| event.token).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use base::{BoxFuture, ManualClock, Seeded};
    use wire::server::Tasks;

    use super::super::source::Kind;
    use super::*;
    use crate::cloud::testing::{self, NoFunctions};

    /// Gives as many events of a megabyte as it is asked for.
    #[derive(Default)]
    struct Endless(Mutex<Vec<usize>>);

    impl Source for Endless {
        fn wait(&self, _: Duration) -> BoxFuture<'_, Result<(), AwsError>> {
            Box::pin(async { Ok(()) })
        }

        fn take(&self, most: usize) -> BoxFuture<'_, Result<Vec<Event>, AwsError>> {
            self.0.lock().unwrap().push(most);
            let event = |seq| Event {
                token: Token { seq, receives: 1 },
                id: seq.to_string(),
                record: "x".repeat(1 << 20),
                trace_header: None,
                ours_until: Timestamp::from_secs(2_000),
            };
            Box::pin(async move { Ok((0..most.min(32) as u64).map(event).collect()) })
        }

        fn done(&self, _: Vec<Token>) -> BoxFuture<'_, Result<(), AwsError>> {
            Box::pin(async { Ok(()) })
        }

        fn give_back(&self, _: Vec<Token>) -> BoxFuture<'_, Result<(), AwsError>> {
            Box::pin(async { Ok(()) })
        }
    }

    async fn poller(dir: &std::path::Path, settings: Value) -> (Poller, Work) {
        let clock = Arc::new(ManualClock::at(Timestamp::from_secs(1_000)));
        let ctx = testing::ctx(dir, clock.clone(), Arc::new(NoFunctions)).await;
        let mapping = Mapping {
            uuid: base::Uuid::NIL,
            kind: Kind::Sqs,
            source: Default::default(),
            target: serde_json::from_value(serde_json::json!({"name": "f", "qualifier": null})).unwrap(),
            settings: serde_json::from_value(settings).unwrap(),
            sealed_filters: None,
            enabled: true,
            tags: Default::default(),
            last_modified: Timestamp::default(),
        };
        let (scope, chance) = (ctx.scope(), Arc::new(Seeded::new(2)));
        let post = Post { cloud: ctx.cloud, spawn: Arc::new(Tasks::default()), clock, chance };
        let poller = Poller {
            post: Arc::new(post),
            scope,
            arn: "arn:aws:sqs:us-east-1:000000000000:q".into(),
            mapping: Arc::new(mapping),
            filters: Vec::new(),
            young: Young::default(),
            stopped: watch::channel(false).1,
        };
        let scale = Scale::new(Timestamp::from_secs(1_000), poller.mapping.settings.concurrency_max());
        let gather = Gather::new(poller.limits());
        (poller, Work { scale, gather, full: VecDeque::new(), running: 0 })
    }

    #[tokio::test]
    async fn what_is_taken_for_many_batches_waits_until_so_many_calls_may_run() {
        let dir = tempfile::tempdir().unwrap();
        let settings = serde_json::json!({"BatchSize": 20, "ScalingConfig": {"MaximumConcurrency": 2}});
        let (poller, mut work) = poller(dir.path(), settings).await;
        let endless = Arc::new(Endless::default());
        let source: Arc<dyn Source> = endless.clone();
        poller.take(&source, &mut work).await.unwrap();
        assert_eq!(*endless.0.lock().unwrap(), [40], "for two calls");
        // A batch ends at 6 MB, so these are more than two.
        let batches: Vec<usize> = work.full.iter().map(Vec::len).collect();
        assert_eq!((batches, work.gather.events().len(), work.running), (vec![6; 5], 2, 0));
        let ((tell, mut told), mut stopped) = (mpsc::channel(CALLS_MAX), watch::channel(false).1);
        for _ in 0..2 {
            poller.turn(&source, &mut work, &tell, &mut told, &mut stopped).await.unwrap();
        }
        assert_eq!((work.running, work.full.len()), (2, 3));
        // No third begins, and nothing more is read meanwhile.
        poller.turn(&source, &mut work, &tell, &mut told, &mut stopped).await.unwrap();
        assert_eq!((work.running, work.full.len(), endless.0.lock().unwrap().len()), (2, 3, 1));
    }
}

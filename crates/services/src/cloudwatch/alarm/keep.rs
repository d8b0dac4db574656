//! The task that keeps alarms: evaluates what is due, and tells composite alarms of those that they hang on.
//!
//! One for the process, beside the requests. What it knows is loaded when it starts, and again when it is told of more
//! changes than it can follow; a composite alarm that missed something is seen by its times.

use std::time::Duration;

use base::{AwsError, Timestamp};
use engine::metric::alarm::Standing;
use engine::metric::alarm::composite::Child;
use store::Change;
use tokio::time::sleep;

use super::book::{Book, Id, Ties};
use super::step::{Happened, standings, step};
use super::{ALARMS, Alarm, Composition, KeptStanding, STANDINGS, Watch, Watches, history, points};
use crate::{Ctx, Post};

/// Alarms read in one step.
const STEP: usize = 256;
/// How long at most the task sleeps: the world's clock may be moved.
const SLEEP_MAX: Duration = Duration::from_secs(10);
/// How long to wait before the store is asked again.
const REST: Duration = Duration::from_secs(1);
/// How often old history is looked for.
const FORGET_EVERY: Duration = Duration::from_secs(3_600);

/// What woke the task.
enum Woken {
    Alarms(Change),
    Standings(Change),
    Time,
}

struct Keeper {
    post: Post,
    book: Book,
    forgets_at: Timestamp,
}

/// Keeps alarms for ever.
pub async fn run(post: Post) {
    let store = &post.cloud.store;
    let (mut alarms, mut standings) = (ALARMS.watch_all(store), STANDINGS.watch_all(store));
    let mut keeper = Keeper::new(post);
    keeper.load_all().await;
    loop {
        let wait = keeper.wait();
        let woken = tokio::select! {
            change = alarms.changed() => Woken::Alarms(change),
            change = standings.changed() => Woken::Standings(change),
            () = sleep(wait) => Woken::Time,
        };
        // First, for what is heard may put off what is due now.
        keeper.run_due().await;
        keeper.hear(woken).await;
        keeper.forget().await;
    }
}

impl Keeper {
    fn new(post: Post) -> Keeper {
        let forgets_at = post.clock.now();
        Keeper { post, book: Book::default(), forgets_at }
    }

    async fn hear(&mut self, woken: Woken) {
        match woken {
            Woken::Time => {}
            Woken::Alarms(Change::Keys(keys)) => {
                for (scope, name) in keys.iter().filter_map(|key| ALARMS.parse_key(key).ok()) {
                    self.look(&Id { scope, name }).await;
                }
            }
            Woken::Standings(Change::Keys(keys)) => {
                for (scope, name) in keys.iter().filter_map(|key| STANDINGS.parse_key(key).ok()) {
                    self.tell_parents(&Id { scope, name }).await;
                }
            }
            Woken::Alarms(Change::Many) | Woken::Standings(Change::Many) => self.load_all().await,
        }
    }

    fn wait(&self) -> Duration {
        let due = self.book.next().map_or(SLEEP_MAX, |at| at.since(self.post.clock.now()));
        due.min(SLEEP_MAX)
    }

    /// Looks at every alarm that there is, until the store lets it.
    async fn load_all(&mut self) {
        while let Err(error) = self.load().await {
            tracing::error!(%error, "failed to load alarms");
            sleep(REST).await;
        }
    }

    async fn load(&mut self) -> Result<(), AwsError> {
        let mut book = Book::default();
        std::mem::swap(&mut book, &mut self.book);
        let (mut after, mut all) = (None, Vec::new());
        loop {
            let page = ALARMS.scan_all(&self.post.cloud.store, after.as_ref(), STEP).await?;
            let is_last = page.rows.len() < STEP;
            for row in &page.rows {
                let (scope, name) = row.key.clone();
                let id = Id { scope, name };
                self.enter(&id, &row.value);
                all.push(id);
            }
            after = page.rows.into_iter().last().map(|row| row.key);
            if is_last {
                break;
            }
        }
        // All are known now, so that a circle is seen.
        for id in all {
            self.look(&id).await;
        }
        Ok(())
    }

    /// Takes an alarm into the book; what it hangs on is known then.
    fn enter(&mut self, id: &Id, alarm: &Alarm) {
        let ties = match (&alarm.watches, self.context(id)) {
            (Watches::Alarms(composition), Some(ctx)) => ties(&ctx, composition),
            _ => Ties::default(),
        };
        self.book.put(id, ties);
    }

    fn context(&self, id: &Id) -> Option<Ctx> {
        self.post.context(&id.scope, self.post.chance.uuid())
    }

    /// Looks at an alarm that may be new, another one, or gone.
    async fn look(&mut self, id: &Id) {
        if let Err(error) = self.try_look(id).await {
            tracing::error!(alarm = id.name, %error, "failed to look at an alarm");
            self.book.wake(id, Some(self.post.clock.now().plus(REST)));
        }
    }

    async fn try_look(&mut self, id: &Id) -> Result<(), AwsError> {
        let Some(ctx) = self.context(id) else { return Ok(()) };
        let Some(alarm) = ALARMS.get_shared(&ctx.cloud.store, &id.scope, &id.name).await? else {
            self.book.remove(id);
            return Ok(());
        };
        self.enter(id, &alarm);
        match &alarm.watches {
            Watches::Metric(watch) => {
                let next = watch.condition().map(|condition| condition.next_evaluation(ctx.cx.now()));
                self.book.wake(id, next);
                Ok(())
            }
            Watches::Alarms(composition) => self.catch_up(&ctx, id, &alarm, composition).await,
        }
    }

    /// Steps a composite alarm with what it has not heard of yet, if anything.
    async fn catch_up(&mut self, ctx: &Ctx, id: &Id, alarm: &Alarm, composition: &Composition) -> Result<(), AwsError> {
        if self.book.depends_on_itself(id) {
            return Ok(());
        }
        let Some(standing) = STANDINGS.get(&ctx.cloud.store, &id.scope, &id.name).await? else { return Ok(()) };
        let children = standings(ctx, composition.rule()?.children()).await?;
        let newest = children.into_values().max_by_key(|child| child.since);
        if let Some(happened) = unheard(alarm, &standing.value, newest) {
            step(ctx, &id.name, &happened).await?;
        }
        step(ctx, &id.name, &Happened::Tick).await?;
        self.plan_release(ctx, id).await
    }

    /// Wakes when actions that are held back are let go.
    async fn plan_release(&mut self, ctx: &Ctx, id: &Id) -> Result<(), AwsError> {
        let standing = STANDINGS.get(&ctx.cloud.store, &id.scope, &id.name).await?;
        let until = standing.and_then(|row| row.value.suppressed).and_then(|(_, until)| until);
        self.book.wake(id, until);
        Ok(())
    }

    /// An alarm is in another state: those that hang on it are stepped.
    async fn tell_parents(&mut self, id: &Id) {
        for (parent, ties) in self.book.parents(id) {
            if let Err(error) = self.tell(id, &parent, &ties).await {
                tracing::error!(alarm = parent.name, %error, "failed to evaluate a composite alarm");
                self.book.wake(&parent, Some(self.post.clock.now().plus(REST)));
            }
        }
    }

    async fn tell(&mut self, id: &Id, parent: &Id, ties: &Ties) -> Result<(), AwsError> {
        let Some(ctx) = self.context(id) else { return Ok(()) };
        if self.book.depends_on_itself(parent) {
            return Ok(());
        }
        let Some(standing) = STANDINGS.get(&ctx.cloud.store, &id.scope, &id.name).await? else { return Ok(()) };
        if ties.children.contains(&id.name) {
            let (state, since) = (standing.value.state(), standing.value.transitioned);
            let child = Child { arn: super::arn(&ctx, &id.name), state, since };
            step(&ctx, &parent.name, &Happened::Changed(child)).await?;
        }
        if ties.suppressor.as_ref() == Some(&id.name) {
            step(&ctx, &parent.name, &Happened::Tick).await?;
        }
        self.plan_release(&ctx, parent).await
    }

    async fn run_due(&mut self) {
        let now = self.post.clock.now();
        while let Some(id) = self.book.take_due(now) {
            if let Err(error) = self.run_one(&id).await {
                tracing::error!(alarm = id.name, %error, "failed to evaluate an alarm");
                self.book.wake(&id, Some(now.plus(REST)));
            }
        }
    }

    async fn run_one(&mut self, id: &Id) -> Result<(), AwsError> {
        let Some(ctx) = self.context(id) else { return Ok(()) };
        let Some(alarm) = ALARMS.get_shared(&ctx.cloud.store, &id.scope, &id.name).await? else {
            self.book.remove(id);
            return Ok(());
        };
        match &alarm.watches {
            Watches::Metric(watch) => self.evaluate(&ctx, id, &alarm, watch).await,
            Watches::Alarms(_) => self.try_look(id).await,
        }
    }

    async fn evaluate(&mut self, ctx: &Ctx, id: &Id, alarm: &Alarm, watch: &Watch) -> Result<(), AwsError> {
        let Some(condition) = watch.condition() else { return Ok(()) };
        let now = ctx.cx.now();
        let points = points::read(ctx, watch, &condition.range(now)).await?;
        step(ctx, &id.name, &Happened::Read { configured: alarm.configured, points }).await?;
        self.book.wake(id, Some(condition.next_evaluation(now)));
        Ok(())
    }

    async fn forget(&mut self) {
        let now = self.post.clock.now();
        if now < self.forgets_at {
            return;
        }
        self.forgets_at = now.plus(FORGET_EVERY);
        if let Err(error) = history::forget(&self.post.cloud.store, now).await {
            tracing::warn!(%error, "failed to forget old history of alarms");
        }
    }
}

fn ties(ctx: &Ctx, composition: &Composition) -> Ties {
    // A rule that cannot be read was never put.
    Ties { children: composition.children(ctx).unwrap_or_default(), suppressor: composition.suppressed_by(ctx) }
}

/// What a composite alarm has not been evaluated for yet.
fn unheard(alarm: &Alarm, standing: &KeptStanding, newest: Option<Child>) -> Option<Happened> {
    if *standing == KeptStanding::of(&Standing::new(standing.updated)) {
        return Some(Happened::Created);
    }
    let changed = newest.filter(|child| child.since > standing.updated && child.since > alarm.configured);
    match changed {
        Some(child) => Some(Happened::Changed(child)),
        // Alarms are configured at whole milliseconds.
        None => (alarm.configured >= standing.updated.trunc_millis()).then_some(Happened::Updated),
    }
}

#[cfg(test)]
mod tests;

//! A batch of events on its way to a mapping's function.
//!
//! What the function is done with is done with at the source. The rest the source gives again when its time there is over.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use base::{AwsError, RequestId, Timestamp};
use engine::poller::{Refused, report};
use tokio::sync::{mpsc, watch};

use super::Mapping;
use crate::Ctx;
use crate::lambda::invoke::young::Young;
use crate::lambda::invoke::{self, Called, chain};
use crate::source::{Event, Source, Token};
use crate::under_way::Going;

/// An event that was taken and is not settled.
pub struct Held {
    event: Event,
    _going: Going,
}

impl Held {
    /// It is under way as that.
    pub fn new(event: Event, going: Going) -> Self {
        Self { event, _going: going }
    }
}

impl Deref for Held {
    type Target = Event;

    fn deref(&self) -> &Event {
        &self.event
    }
}

/// How a call stands.
pub enum News {
    /// The function did not take it; it will be tried again.
    Refused,
    /// It is over, and took so long.
    Ended(End, Duration),
}

/// How a call ended.
#[derive(Clone, Copy)]
pub enum End {
    Taken,
    /// The function failed with all of it.
    Failed,
    /// The function did not take it as long as it could be tried.
    Refused,
}

/// Events on their way to the function.
pub struct Batch {
    pub ctx: Ctx,
    pub source: Arc<dyn Source>,
    pub events: Vec<Held>,
    pub mapping: Arc<Mapping>,
    pub young: Young,
    pub tell: mpsc::Sender<News>,
    pub stopped: watch::Receiver<bool>,
    /// As long as it runs.
    pub call: Option<Arc<()>>,
}

impl Batch {
    pub async fn run(mut self) {
        if let Err(error) = self.refuse_looped().await {
            tracing::error!(%error, "failed to take a loop's events from their source");
        }
        let began = self.ctx.cx.now();
        let answer = self.ask().await;
        let took = self.ctx.cx.now().since(began);
        if answer.is_none() && *self.stopped.borrow() {
            // Nobody has seen them.
            give_back(&self.source, std::mem::take(&mut self.events)).await.unwrap_or_else(|error| {
                tracing::error!(%error, "failed to give back what a function has not taken");
            });
        }
        let end = match &answer {
            None => End::Refused,
            Some(Called { function_error: Some(_), .. }) => End::Failed,
            Some(_) => End::Taken,
        };
        // The next call need not wait until this is written down. The poller may have ended.
        drop(self.call.take());
        self.tell.send(News::Ended(end, took)).await.ok();
        let done = answer.map(|called| self.done(&called)).unwrap_or_default();
        if !done.is_empty()
            && let Err(error) = self.source.done(done).await
        {
            tracing::error!(%error, "failed to take from its source what a function is done with");
        }
    }

    /// Takes out what the function may not be given: what comes of a chain that has invoked it too often. What was taken
    /// out and could not be refused at the source is given again by it.
    async fn refuse_looped(&mut self) -> Result<(), AwsError> {
        let (ctx, target) = (&self.ctx, &self.mapping.target);
        let is_loop = |header: &String| chain::is_loop(ctx, &target.name, header);
        let loops = |event: &Held| event.trace_header.as_ref().is_some_and(is_loop);
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
    async fn ask(&mut self) -> Option<Called> {
        let ours_until = self.events.iter().map(|event| event.ours_until).min()?;
        let mapping = self.mapping.clone();
        let (target, mut stopped) = (&mapping.target, self.stopped.clone());
        let mut refused = Refused::default();
        loop {
            self.keep().await;
            let records: Vec<&str> = self.events.iter().map(|event| event.record.as_str()).collect();
            if records.is_empty() {
                return None;
            }
            let payload = format!(r#"{{"Records":[{}]}}"#, records.join(",")).into_bytes();
            let trace_header = self.trace_header();
            let mut ctx = self.ctx.clone();
            ctx.cx.request_id = RequestId(ctx.cx.id());
            let call = invoke::call(&ctx, &target.name, target.qualifier.as_deref(), payload, trace_header);
            match self.young.run(call).await {
                Ok(called) => {
                    ctx.cloud.memory.troubles.called(self.mapping.uuid, called.error());
                    return Some(called);
                }
                Err(error) => {
                    tracing::debug!(function = target.name, %error, "a batch was refused");
                    ctx.cloud.memory.troubles.nothing_is_read(self.mapping.uuid, &error);
                }
            }
            self.tell.send(News::Refused).await.ok();
            tokio::select! {
                () = tokio::time::sleep(refused.again_after(self.ctx.cx.now(), ours_until)?) => {}
                _ = stopped.wait_for(|stopped| *stopped) => return None,
            }
        }
    }

    /// Leaves out what is somebody else's by now. What is not known to be nobody's else is given to nobody.
    async fn keep(&mut self) {
        let lent = self.events.iter().map(|event| (event.token, event.ours_until)).collect();
        let kept: BTreeMap<Token, Timestamp> = match self.source.keep(lent).await {
            Ok(kept) => kept.into_iter().collect(),
            Err(error) => {
                tracing::error!(%error, "failed to keep a batch's events hidden");
                BTreeMap::new()
            }
        };
        self.events.retain_mut(|held| {
            let until = kept.get(&held.token);
            held.event.ours_until = until.copied().unwrap_or_default();
            until.is_some()
        });
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

/// Gives events back that no call was given. They are under way until that has happened.
pub async fn give_back(source: &Arc<dyn Source>, events: Vec<Held>) -> Result<(), AwsError> {
    if events.is_empty() {
        return Ok(());
    }
    source.give_back(events.iter().map(|event| event.token).collect()).await
}

//! What operators see of a function's events, and do with them beside AWS's API.

use std::collections::BTreeSet;

use base::{AwsError, Timestamp, Uuid};
use serde::Serialize;
use store::{Row, Scan};

use super::dead::{self, DEATHS};
use super::event::{EVENTS, Event};
use crate::lambda::function::{FUNCTIONS, arn as function_arn};
use crate::under_way::{self, Kind};
use crate::{Ctx, lambda::errors};

/// Events that are counted, at most: each is read for it.
const COUNTED_MAX: usize = 10_000;
/// Events that are read in one step; they may be of 1 MiB each.
const STEP: usize = 50;

/// A function's events: how many there are in each state, and the first of them.
#[derive(Debug, Default, Serialize)]
pub struct EventsSeen {
    pub function: String,
    pub waiting: usize,
    pub running: usize,
    pub retrying: usize,
    pub dead: usize,
    /// There are more than were counted.
    pub is_cut: bool,
    pub events: Vec<EventSeen>,
}

#[derive(Debug, Serialize)]
pub struct EventSeen {
    pub id: String,
    /// `waiting`, `running`, `retrying` or `dead`.
    pub state: &'static str,
    pub received: String,
    pub age_seconds: f64,
    /// How often the function ran for it.
    pub attempts: u32,
    /// When it is tried next.
    pub next: Option<String>,
    pub last_error: Option<String>,
    /// Why it was given up.
    pub reason: Option<String>,
    pub bytes: usize,
    pub trace_header: Option<String>,
}

/// A function's events, those that are due first before others, and the dead at the end; `most` of each in full.
pub async fn events(ctx: &Ctx, function: &str, most: usize) -> Result<EventsSeen, AwsError> {
    let (scope, now) = (ctx.scope(), ctx.cx.now());
    let incarnation = incarnation(ctx, function).await?;
    let running = running(ctx, function);
    let mut seen = EventsSeen { function: function.to_owned(), ..EventsSeen::default() };
    let mut scan = Scan::all(STEP).under::<Uuid>(incarnation);
    let mut counted = 0;
    loop {
        let page = EVENTS.page(&ctx.cloud.store, &scope, scan.clone()).await?;
        for Row { key: (_, (_, (due, id))), value, .. } in page.rows {
            counted += 1;
            let event = EventSeen::waiting(now, id, due, &value, running.contains(&id));
            *seen.count_of(event.state) += 1;
            if seen.events.len() < most {
                seen.events.push(event);
            }
        }
        match page.next {
            Some(next) if counted < COUNTED_MAX => scan = scan.after(next),
            next => break seen.is_cut = next.is_some(),
        }
    }
    let mut scan = Scan::all(store::limits::RANGE_ROWS_MAX).under::<Uuid>(incarnation).reversed();
    let shown = seen.events.len();
    loop {
        let page = DEATHS.page(&ctx.cloud.store, &scope, scan.clone()).await?;
        for Row { key: (_, (died, id)), value, .. } in page.rows {
            seen.dead += 1;
            if seen.events.len().saturating_sub(shown) < most {
                seen.events.push(EventSeen::dead(died, id, value));
            }
        }
        match page.next {
            Some(next) => scan = scan.after(next),
            None => return Ok(seen),
        }
    }
}

async fn incarnation(ctx: &Ctx, function: &str) -> Result<Uuid, AwsError> {
    let found = FUNCTIONS.get_shared(&ctx.cloud.store, &ctx.scope(), function).await?;
    Ok(found.ok_or_else(|| errors::function_not_found(&function_arn(ctx, function)))?.incarnation)
}

/// The ids of the events that the function runs for now.
fn running(ctx: &Ctx, function: &str) -> BTreeSet<Uuid> {
    let scope = ctx.scope();
    let steps = ctx.cloud.memory.under_way.steps(|step| step.scope == scope && &*step.name == function);
    let attempt = |kind| match kind {
        Kind::Attempt(id) => Some(id),
        _ => None,
    };
    steps.into_iter().filter_map(|step| attempt(step.kind)).collect()
}

impl EventsSeen {
    fn count_of(&mut self, state: &str) -> &mut usize {
        match state {
            "running" => &mut self.running,
            "retrying" => &mut self.retrying,
            _ => &mut self.waiting,
        }
    }
}

impl EventSeen {
    fn waiting(now: Timestamp, id: Uuid, due: Timestamp, event: &Event, is_running: bool) -> Self {
        let was_tried = event.failures > 0 || event.hold_ups > 0;
        let state = match (is_running, was_tried) {
            (true, _) => "running",
            (false, true) => "retrying",
            (false, false) => "waiting",
        };
        Self {
            id: id.to_string(),
            state,
            received: event.received.iso8601_millis(),
            age_seconds: now.since(event.received).as_secs_f64(),
            attempts: event.failures.saturating_add(u32::from(is_running)),
            next: (!is_running).then(|| due.iso8601_millis()),
            last_error: event.last_error.clone(),
            reason: None,
            bytes: event.payload.len(),
            trace_header: event.trace_header.clone(),
        }
    }

    fn dead(died: Timestamp, id: Uuid, death: dead::Death) -> Self {
        Self {
            id: id.to_string(),
            state: "dead",
            received: death.received.iso8601_millis(),
            age_seconds: died.since(death.received).as_secs_f64(),
            attempts: death.attempts,
            next: None,
            last_error: death.last_error,
            reason: Some(death.reason),
            bytes: death.bytes,
            trace_header: death.trace_header,
        }
    }
}

/// Has a function's dead events tried once more, all or some. Says how many.
pub async fn redrive(ctx: &Ctx, function: &str, ids: &[Uuid]) -> Result<usize, AwsError> {
    let incarnation = incarnation(ctx, function).await?;
    dead::redrive(&ctx.cloud, &ctx.scope(), incarnation, ids, ctx.cx.now()).await
}

/// One event that is still to be tried, of those in the cloud that are meant: its function, and when, if it is to be tried again.
pub async fn any_waiting(
    cloud: &crate::Cloud,
    is_meant: impl Fn(&store::Scope) -> bool,
    trace: Option<&str>,
    due_before: Option<Timestamp>,
) -> Result<Option<(String, Option<Timestamp>)>, AwsError> {
    let mut after = None;
    loop {
        let page = EVENTS.scan_all(&cloud.store, after.as_ref(), STEP).await?;
        for Row { key: (scope, (_, (_, (due, _)))), value: event, .. } in page.rows {
            let again = (event.failures > 0 || event.hold_ups > 0).then_some(due);
            let is_later = due_before.zip(again).is_some_and(|(before, due)| due > before);
            let is_traced = trace.is_none_or(|root| under_way::is_of(event.trace_header.as_deref(), root));
            if is_meant(&scope) && is_traced && !is_later {
                return Ok(Some((event.function, again)));
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(None);
        }
    }
}

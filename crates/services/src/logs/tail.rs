//! Live tail: a session that tells every second what has come since.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use base::{AwsError, Uuid};
use chronicle::{Event, Listener, Test};
use serde::{Deserialize, Serialize};
use tokio::time::{Interval, interval};
use wire::{Events, Value};

use super::{errors, filter, name};
use crate::{Ctx, Service};

const UPDATE_EVERY: Duration = Duration::from_secs(1);
/// A session lasts three hours.
const UPDATES_MAX: u32 = 3 * 60 * 60;
/// Events of one update. Of more, the first are told, and that there were more.
const RESULTS_MAX: usize = 500;
/// Events that are tried at once.
const HEARD_MAX: usize = 500;
/// Streams whose names a session remembers.
const NAMES_MAX: usize = 10_000;

#[derive(Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StartLiveTail {
    log_group_identifiers: Vec<String>,
    log_stream_names: Option<Vec<String>>,
    log_stream_name_prefixes: Option<Vec<String>>,
    log_event_filter_pattern: Option<String>,
}

#[derive(Serialize)]
pub struct Started {}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Told {
    SessionStart(SessionStart),
    SessionUpdate(SessionUpdate),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SessionStart {
    request_id: String,
    session_id: String,
    #[serde(flatten)]
    asked: StartLiveTail,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SessionUpdate {
    session_metadata: Metadata,
    session_results: Vec<Shown>,
}

#[derive(Serialize)]
struct Metadata {
    sampled: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    log_stream_name: String,
    log_group_identifier: String,
    message: String,
    timestamp: i64,
    ingestion_time: i64,
}

struct Session {
    ctx: Ctx,
    asked: StartLiveTail,
    listener: Listener,
    /// What the groups are called here.
    groups: HashMap<Uuid, String>,
    names: BTreeMap<u64, String>,
    test: Option<Arc<dyn Test>>,
    is_started: bool,
    updates: Interval,
    updates_left: u32,
}

pub fn operations(service: Service) -> Service {
    service.streaming_operation("StartLiveTail", start)
}

async fn start(ctx: Ctx, asked: StartLiveTail) -> Result<(Started, Option<Events>), AwsError> {
    let has_streams = asked.log_stream_names.is_some() || asked.log_stream_name_prefixes.is_some();
    if asked.log_stream_names.is_some() && asked.log_stream_name_prefixes.is_some() {
        return Err(errors::names_and_prefix());
    }
    if has_streams && asked.log_group_identifiers.len() > 1 {
        return Err(errors::invalid_parameter("Log streams can be chosen in one log group only."));
    }
    let pattern = asked.log_event_filter_pattern.as_deref().unwrap_or_default();
    let test = filter::parse(pattern).map_err(|error| filter::in_live_tail(&error))?;
    let mut groups = HashMap::new();
    for identifier in &asked.log_group_identifiers {
        let found = name::find(&ctx, None, Some(identifier.clone())).await?;
        groups.insert(found.group.id, format!("{}:{}", ctx.cx.account.as_str(), found.name));
    }
    let listener = ctx.cloud.chronicle.listen(groups.keys().copied().collect::<HashSet<_>>());
    let (names, is_started, updates_left) = (BTreeMap::new(), false, UPDATES_MAX);
    let mut updates = interval(UPDATE_EVERY);
    // The first is at once, before anything could have come.
    updates.tick().await;
    let session = Session { ctx, asked, listener, groups, names, test, is_started, updates, updates_left };
    Ok((Started {}, Some(Events::unfold(Some(session), next))))
}

/// What is told next. A session that has ended says so, and nothing more.
async fn next(session: Option<Session>) -> Option<(Result<Value, AwsError>, Option<Session>)> {
    let mut session = session?;
    if !session.is_started {
        session.is_started = true;
        let start = SessionStart {
            request_id: session.ctx.cx.request_id.to_string(),
            session_id: session.ctx.cx.id().to_string(),
            asked: session.asked.clone(),
        };
        return Some((value(&Told::SessionStart(start)), Some(session)));
    }
    let Some(left) = session.updates_left.checked_sub(1) else {
        return Some((Err(errors::session_timed_out()), None));
    };
    session.updates_left = left;
    match session.update().await {
        Ok(update) => Some((value(&Told::SessionUpdate(update)), Some(session))),
        Err(error) => Some((Err(error), None)),
    }
}

impl Session {
    /// Waits until the next update is due, and tells what came before that.
    async fn update(&mut self) -> Result<SessionUpdate, AwsError> {
        let (mut came, mut sampled) = (Vec::new(), false);
        loop {
            let heard = tokio::select! {
                _ = self.updates.tick() => break,
                Some(heard) = self.listener.next_some(HEARD_MAX) => self.admitted(heard).await?,
            };
            let room = RESULTS_MAX.saturating_sub(came.len());
            sampled |= heard.len() > room;
            came.extend(heard.into_iter().take(room));
        }
        sampled |= self.listener.take_missed() > 0;
        self.learn_names(&came).await?;
        let session_results = came.iter().filter_map(|(group, event)| self.show(*group, event)).collect();
        Ok(SessionUpdate { session_metadata: Metadata { sampled }, session_results })
    }

    /// Those that match. A pattern may take its time, which is not to be that of who serves requests.
    async fn admitted(&self, mut heard: Vec<(Uuid, Event)>) -> Result<Vec<(Uuid, Event)>, AwsError> {
        let Some(test) = self.test.clone() else { return Ok(heard) };
        let admit = move || {
            heard.retain(|(_, event)| test.admits(&event.text()));
            heard
        };
        Ok(self.ctx.cloud.chronicle.look(self.ctx.cx.account, admit).await?)
    }

    async fn learn_names(&mut self, came: &[(Uuid, Event)]) -> Result<(), AwsError> {
        if self.names.len() > NAMES_MAX {
            self.names.clear();
        }
        let streams = came.iter().map(|(_, event)| event.stream);
        let unknown: BTreeSet<u64> = streams.filter(|stream| !self.names.contains_key(stream)).collect();
        if !unknown.is_empty() {
            self.names.extend(self.ctx.cloud.chronicle.names(&unknown).await?);
        }
        Ok(())
    }

    /// The event, if it is of a stream that was asked for.
    fn show(&self, group: Uuid, event: &Event) -> Option<Shown> {
        let stream = self.names.get(&event.stream)?;
        let is_named = self.asked.log_stream_names.as_ref().is_none_or(|names| names.contains(stream));
        let begins = |prefixes: &Vec<String>| prefixes.iter().any(|prefix| stream.starts_with(prefix));
        let is_wanted = is_named && self.asked.log_stream_name_prefixes.as_ref().is_none_or(begins);
        is_wanted.then(|| Shown {
            log_stream_name: stream.clone(),
            log_group_identifier: self.groups.get(&group).cloned().unwrap_or_default(),
            message: event.text().into_owned(),
            timestamp: event.time.as_millis(),
            ingestion_time: event.ingested.as_millis(),
        })
    }
}

fn value(told: &Told) -> Result<Value, AwsError> {
    Ok(Value::of(told)?)
}

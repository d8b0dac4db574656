//! What subscribers of log groups are sent: events that a subscription filter matched, from the journal to an invocation
//! that nobody waits for.
//!
//! They are stored in the commit that settles the journal. From there they are taken, those of one stream together, into an
//! event for the function, in one commit again: so each reaches the function's queue once.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use base::{AwsError, Timestamp, Uuid};
use chronicle::Event;
use metrics::Datum;
use serde::{Deserialize, Serialize};
use store::{Batch, Record, Row, Scope, Table};
use tokio::time::{sleep, timeout};

use super::logs::{self, Sent};
use crate::Trigger;
use crate::subscription_filter::{self, Parsed};
use crate::{Cloud, Ctx, Post};

/// What waits in memory.
pub const WAITING_BYTES_MAX: usize = 4 * 1024 * 1024;
const WAITING_EVENTS_MAX: usize = 10_000;
/// What one invocation gets. Packed and in base64 it is less than an event may be, whatever it is.
const MESSAGE_BYTES_MAX: usize = 512 * 1024;
const MESSAGE_EVENTS_MAX: usize = 1_000;
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// After a failure.
const REST: Duration = Duration::from_secs(1);

/// A matched event that is to be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outgoing {
    time: Timestamp,
    ingested: Timestamp,
    message: String,
}

impl Record for Outgoing {
    const VERSION: u8 = 1;
}

/// The group's id and the filter's name; the event's stream and number.
type Key = (Uuid, (String, (u64, u64)));

pub static OUTGOING: Table<Key, Outgoing> = Table::large("log_outgoing");

/// Matched events that no commit has yet.
#[derive(Default)]
pub struct Waiting {
    events: Vec<(u64, Arc<Scope>, Key, Outgoing)>,
    bytes: usize,
}

impl Waiting {
    /// Takes an event that a filter matched, which is at this offset of the journal.
    pub fn push(&mut self, offset: u64, scope: &Arc<Scope>, (group, filter): (Uuid, &str), event: &Event) {
        let outgoing = Outgoing { time: event.time, ingested: event.ingested, message: event.text().into_owned() };
        self.bytes = self.bytes.saturating_add(event.bytes());
        let key = (group, (filter.to_owned(), (event.stream, event.number)));
        self.events.push((offset, Arc::clone(scope), key, outgoing));
    }

    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    pub fn is_full(&self) -> bool {
        self.bytes > WAITING_BYTES_MAX || self.events.len() > WAITING_EVENTS_MAX
    }

    /// Adds those to a commit that lie there in the journal. They stay until they are [settled](Waiting::settled).
    pub fn add(&self, batch: Batch, between: Range<u64>) -> Batch {
        let due = self.events.iter().filter(|(offset, ..)| between.contains(offset));
        due.fold(batch, |batch, (_, scope, key, outgoing)| {
            let (group, (filter, at)) = key;
            batch.put(&OUTGOING, scope, (*group, (filter.as_str(), *at)), outgoing)
        })
    }

    /// Those before an offset are in the store.
    pub fn settled(&mut self, before: u64) {
        self.events.retain(|(offset, ..)| *offset >= before);
        self.bytes = self.events.iter().map(|(.., outgoing)| outgoing.message.len()).sum();
    }
}

/// A filter whose subscriber has not been sent all that was logged so far, if there is one.
pub async fn any_waiting(cloud: &Cloud, is_meant: impl Fn(&Scope) -> bool) -> Result<Option<String>, AwsError> {
    if !cloud.rules.have_subscribers() {
        return Ok(None);
    }
    cloud.chronicle.settled().await?;
    let mut after = None;
    loop {
        let page = OUTGOING.scan_all(&cloud.store, after.as_ref(), MESSAGE_EVENTS_MAX).await?;
        if let Some(row) = page.rows.iter().find(|row| is_meant(&row.key.0)) {
            let (_, (_, (filter, _))) = &row.key;
            return Ok(Some(filter.clone()));
        }
        after = page.next;
        if after.is_none() {
            return Ok(None);
        }
    }
}

/// Sends what is stored, for ever.
pub async fn run(post: Post) {
    let mut hints = OUTGOING.watch_all(&post.cloud.store).of_puts();
    loop {
        match post.cloud.clone().send_all(&post).await {
            Ok(()) => drop(timeout(LOOK_EVERY, hints.changed()).await),
            Err(error) => {
                tracing::warn!(%error, "log events wait for their subscribers");
                sleep(REST).await;
            }
        }
    }
}

impl Cloud {
    /// A message of each stream in turn, again and again until there is nothing: one that has always more, such as that of a function
    /// which is sent what it says itself, keeps nobody waiting.
    async fn send_all(&self, post: &Post) -> Result<(), AwsError> {
        let mut behind: Option<(Scope, Key)> = None;
        loop {
            let page = OUTGOING.scan_all(&self.store, behind.as_ref(), MESSAGE_EVENTS_MAX).await?;
            let Some(first) = page.rows.first() else {
                match behind.take() {
                    Some(_) => continue,
                    None => return Ok(()),
                }
            };
            let (scope, (group, (filter, (stream, _)))) = first.key.clone();
            let is_of = |row: &Row<(Scope, Key), Outgoing>| {
                let (other, (id, (name, (of, _)))) = &row.key;
                *other == scope && *id == group && *name == filter && *of == stream
            };
            let mut bytes = 0_usize;
            let fits = |row: &&Row<(Scope, Key), Outgoing>| {
                let is_first = bytes == 0;
                bytes = bytes.saturating_add(row.value.message.len().saturating_add(1));
                is_of(row) && (is_first || bytes <= MESSAGE_BYTES_MAX)
            };
            let rows: Vec<_> = page.rows.iter().take_while(fits).collect();
            let batch = rows.iter().fold(Batch::new(), |batch, row| {
                let (scope, (group, (filter, at))) = &row.key;
                batch.delete(&OUTGOING, scope, (*group, (filter.as_str(), *at)))
            });
            let events: Vec<Event> = rows.iter().map(|row| event(row)).collect();
            behind = Some((scope.clone(), (group, (filter.clone(), (stream, u64::MAX)))));
            let Some(ctx) = post.context(&scope, post.chance.uuid()) else {
                self.store.commit(batch).await?;
                continue;
            };
            let (batch, told) = self.message(&ctx, (group, &filter, stream), &events, batch).await?;
            self.store.commit(batch).await?;
            if !told.is_empty() {
                self.chronicle.note_lazy(&metrics::encode(&told));
            }
        }
    }

    /// Adds to a batch that these events are sent to the filter's function, and gives what metrics say of that. Where there is none
    /// any more that may be invoked, nobody gets them, as on AWS.
    async fn message(
        &self,
        ctx: &Ctx,
        (group, filter, stream): (Uuid, &str, u64),
        events: &[Event],
        batch: Batch,
    ) -> Result<(Batch, Vec<Datum>), AwsError> {
        let filters = subscription_filter::of_group(&self.store, &ctx.scope(), group).await?;
        let streams = self.chronicle.names(&BTreeSet::from([stream])).await?;
        let Some((filter, stream)) = filters.iter().find(|parsed| parsed.name == filter).zip(streams.get(&stream))
        else {
            return Ok((batch, Vec::new()));
        };
        let owner = ctx.cx.account;
        let (payload, packed_bytes) =
            subscription_filter::message(owner.as_str(), &filter.group, stream, filter, events);
        let tell = |sent| logs::sent(&ctx.scope(), (&filter.group, &filter.name), sent, ctx.cx.now());
        let events = events.len();
        let trigger = Trigger { principal: "logs.amazonaws.com", source: &source(ctx, filter) };
        match trigger.event(ctx, &filter.destination, payload).await {
            Ok(due) => Ok((due.add(batch), tell(Sent::Forwarded { events, packed_bytes }))),
            Err(error) if error.status < 500 => {
                let (name, destination) = (&filter.name, &filter.destination);
                tracing::warn!(filter = name, destination, %error, "log events were not sent to their subscriber");
                Ok((batch, tell(Sent::Refused { events })))
            }
            Err(error) => Err(error),
        }
    }
}

fn source(ctx: &Ctx, filter: &Parsed) -> String {
    ctx.cx.arn("logs", &format!("log-group:{}:*", filter.group))
}

fn event(row: &Row<(Scope, Key), Outgoing>) -> Event {
    let (_, (_, (_, (stream, number)))) = &row.key;
    let Outgoing { time, ingested, message } = row.value.clone();
    Event { number: *number, stream: *stream, time, ingested, message: message.into() }
}

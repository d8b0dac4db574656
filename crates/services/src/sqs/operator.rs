//! What operators see of queues without receiving anything, and do with them beside AWS's API.

use base::{AwsError, Timestamp};
use engine::queue::{Counts, Seq};
use serde::Serialize;
use store::{Row, Scan};
use tokio::sync::broadcast;

use super::message::{self, Key, MESSAGES, Message, PLACES, Place};
use super::move_task::{self, Shown as MoveSeen};
use super::name::{self, Address};
use super::queue::{Found, QUEUES};
use super::redrive::queue_of_arn;
use super::{errors, freeze};
use crate::Ctx;

const ACTION: &str = "sqs:GetQueueAttributes";
/// Queues that are told of, at most.
const QUEUES_MAX: usize = 1_000;
/// Messages that are looked at in one step; they may be of 1 MiB each.
const STEP: usize = 16;
/// What is shown at once: then no more, however many were asked for.
const SEEN_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A queue, and how much is in it.
#[derive(Debug, Serialize)]
pub struct QueueSeen {
    pub name: String,
    pub arn: String,
    pub waiting: usize,
    pub delayed: usize,
    pub in_flight: usize,
    /// When the oldest message in it was sent.
    pub oldest: Option<String>,
    pub is_frozen: bool,
    pub dead_letters_to: Option<String>,
    pub receives_max: Option<u32>,
}

/// A message, which nobody receives by its being seen.
#[derive(Debug, Serialize)]
pub struct MessageSeen {
    pub id: String,
    /// Its place in the queue: what comes later has a greater one.
    pub sequence: Seq,
    pub state: &'static str,
    pub sent: String,
    /// When it can be received, if it cannot be now.
    pub visible_at: Option<String>,
    pub receives: u32,
    pub group: Option<String>,
    pub trace_header: Option<String>,
    pub attributes: serde_json::Map<String, serde_json::Value>,
    pub body: String,
}

pub async fn queues(ctx: &Ctx) -> Result<Vec<QueueSeen>, AwsError> {
    let mut seen = Vec::new();
    let mut scan = Scan::all(QUEUES_MAX.min(store::limits::RANGE_ROWS_MAX));
    loop {
        let page = QUEUES.page(&ctx.cloud.store, &ctx.scope(), scan.clone()).await?;
        for row in page.rows {
            let found = Found { ctx: ctx.clone(), queue: row.value.into() };
            seen.push(see(&found).await?);
            if seen.len() == QUEUES_MAX {
                return Ok(seen);
            }
        }
        match page.next {
            None => return Ok(seen),
            Some(next) => scan = scan.after(&next),
        }
    }
}

pub async fn find(ctx: &Ctx, queue: &str) -> Result<Found, AwsError> {
    Found::of(ctx, &Address { account: ctx.cx.account, name: queue }, ACTION).await
}

pub async fn see(found: &Found) -> Result<QueueSeen, AwsError> {
    let (now, live, queue) = (found.ctx.cx.now(), found.live().await?, &found.queue);
    live.expire(&found.ctx.cloud, now, queue).await?;
    let (counts, redrive) = (live.counts(now), queue.settings.redrive.as_ref());
    Ok(QueueSeen {
        name: queue.name.clone(),
        arn: name::arn(&found.ctx, &queue.name),
        waiting: counts.waiting,
        delayed: counts.delayed,
        in_flight: counts.in_flight,
        oldest: live.oldest().map(Timestamp::iso8601_millis),
        is_frozen: queue.frost.is_on(),
        dead_letters_to: redrive.map(|redrive| redrive.dead_letter_target_arn.clone()),
        receives_max: redrive.map(|redrive| redrive.max_receive_count),
    })
}

/// The messages behind a place in a queue, the earliest first, as far as they are not too much at once; and whether they were.
pub async fn messages(found: &Found, after: Option<Seq>, most: usize) -> Result<(Vec<MessageSeen>, bool), AwsError> {
    let (ctx, line, now) = (&found.ctx, found.queue.line, found.ctx.cx.now());
    let mut seen = Vec::new();
    let mut after = after.map(|seq| (line, seq));
    let mut bytes = 0_usize;
    while seen.len() < most {
        let mut scan = Scan::all(STEP.min(most.saturating_sub(seen.len()))).under::<base::Uuid>(line);
        if let Some(after) = after {
            scan = scan.after(after);
        }
        let page = PLACES.page(&ctx.cloud.store, &ctx.scope(), scan).await?;
        let keys: Vec<Key> = page.rows.iter().map(|row| row.key).collect();
        let messages = MESSAGES.get_many(&ctx.cloud.store, &ctx.scope(), &keys).await?;
        let with = |(place, message): (Row<Key, Place>, Option<Row<Key, Message>>)| {
            // It may have gone meanwhile.
            Some(MessageSeen::new(now, place.key.1, &place.value, message?.value))
        };
        for message in page.rows.into_iter().zip(messages).filter_map(with) {
            bytes = bytes.saturating_add(message.body.len());
            if bytes > SEEN_BYTES_MAX {
                return Ok((seen, true));
            }
            seen.push(message);
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    Ok((seen, false))
}

impl MessageSeen {
    fn new(now: Timestamp, sequence: Seq, place: &Place, message: Message) -> Self {
        let is_hidden = place.visible_at > now;
        let state = match (is_hidden, place.receives) {
            (false, _) => "waiting",
            (true, 0) => "delayed",
            (true, _) => "in flight",
        };
        let attribute = |(name, attribute): (String, message::Attribute)| match attribute.value {
            message::Value::Text(value) | message::Value::Binary(value) => (name, value.into()),
        };
        Self {
            id: message.id.to_string(),
            sequence,
            state,
            sent: place.sent.iso8601_millis(),
            visible_at: is_hidden.then(|| place.visible_at.iso8601_millis()),
            receives: place.receives,
            group: message.group,
            trace_header: message.trace_header,
            attributes: message.attributes.into_iter().map(attribute).collect(),
            body: message.body,
        }
    }
}

/// What comes to a queue from now on.
pub struct Tail {
    found: Found,
    messages: broadcast::Receiver<super::live::Told>,
}

impl Tail {
    pub async fn of(found: Found) -> Result<Self, AwsError> {
        let messages = found.live().await?.tap();
        Ok(Self { found, messages })
    }

    /// The next message, and how many were missed before it by not keeping up. None comes any more where the queue is gone.
    pub async fn next(&mut self) -> Result<Option<(MessageSeen, u64)>, AwsError> {
        let mut missed = 0_u64;
        loop {
            match self.messages.recv().await {
                Ok(told) => {
                    let (seq, place, message) = &*told;
                    return Ok(Some((MessageSeen::new(self.found.ctx.cx.now(), *seq, place, message.clone()), missed)));
                }
                Err(broadcast::error::RecvError::Lagged(count)) => missed = missed.saturating_add(count),
                // It was purged or deleted.
                Err(broadcast::error::RecvError::Closed) => match find(&self.found.ctx, &self.found.queue.name).await {
                    Ok(found) => *self = Self::of(found).await?,
                    Err(error) if error.code == errors::no_such_queue().code => return Ok(None),
                    Err(error) => return Err(error),
                },
            }
        }
    }
}

/// A move of messages that was begun, or has ended: what `ListMessageMoveTasks` shows of the latest.
pub async fn latest_move(found: &Found) -> Result<Option<MoveSeen>, AwsError> {
    Ok(move_task::latest(found, 1).await?.into_iter().next())
}

/// Begins to move dead letters to where they came from, or to another queue of the account.
pub async fn redrive(found: &Found, to: Option<&str>) -> Result<(), AwsError> {
    if found.queue.frost.is_on() {
        return Err(errors::invalid("The queue is frozen: it gives nothing before it is thawed."));
    }
    let to = match to {
        Some(to) => Some(find(&found.ctx, to).await?),
        None => None,
    };
    move_task::start_from(found, to.as_ref(), None).await.map(drop)
}

pub async fn purge(found: &Found) -> Result<(), AwsError> {
    found.purge().await
}

pub async fn freeze(found: &Found, is_frozen: bool) -> Result<(), AwsError> {
    freeze::set(found, is_frozen).await
}

/// Whether a queue has something in it that somebody will do something with, of one trace or of all.
pub async fn is_busy(ctx: &Ctx, arn: &str, trace: Option<&str>, also_later: bool) -> Result<bool, AwsError> {
    let found = match queue_of_arn(ctx, arn, ACTION).await? {
        Some(found) if !found.queue.frost.is_on() => found,
        _ => return Ok(false),
    };
    let (now, live) = (found.ctx.cx.now(), found.live().await?);
    live.expire(&ctx.cloud, now, &found.queue).await?;
    let counts = live.counts(now);
    // What waits behind others of its group that failed is later, too.
    let is_empty = if also_later { counts == Counts::default() } else { !live.has_next() };
    let Some(root) = trace.filter(|_| !is_empty) else { return Ok(!is_empty) };
    has_trace(&found, root, also_later).await
}

/// Whether a message of a trace is there. Reads what was sent, so it costs what the queue is long.
async fn has_trace(found: &Found, root: &str, also_later: bool) -> Result<bool, AwsError> {
    let mut after = None;
    loop {
        let (messages, _) = messages(found, after, STEP).await?;
        let is_meant = |message: &MessageSeen| {
            (also_later || message.state == "waiting") && crate::under_way::is_of(message.trace_header.as_deref(), root)
        };
        if messages.iter().any(is_meant) {
            return Ok(true);
        }
        match messages.last() {
            None => return Ok(false),
            Some(last) => after = Some(last.sequence),
        }
    }
}

//! `ReceiveMessage`: short polling and long.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use base::{AwsError, Timestamp};
use engine::queue::{self, Seq, Terms};
use serde::{Deserialize, Serialize};
use store::Row;

use super::live::{Closed, Live};
use super::message::{self, AttributeValue, Key, MESSAGES, Message};
use super::meter::Event;
use super::queue::Found;
use super::settings::{HIDDEN_SECONDS_MAX, seconds};
use super::write::Write;
use super::{errors, receipt, redrive};
use crate::{Ctx, Service};

const RECEIVED_MAX: i64 = 10;
const WAIT_SECONDS_MAX: i64 = 20;
const ACTION: &str = "sqs:ReceiveMessage";
/// Looks at a queue in which only dead letters are found, one after the other.
const LOOKS_MAX: u32 = 100;
/// Where nothing is hidden. The world's clock may be moved.
const LOOKS_AGAIN_AFTER: Duration = Duration::from_secs(20);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ReceiveMessage {
    queue_url: String,
    attribute_names: Option<BTreeSet<String>>,
    message_system_attribute_names: Option<BTreeSet<String>>,
    message_attribute_names: Option<Vec<String>>,
    max_number_of_messages: Option<i64>,
    visibility_timeout: Option<i64>,
    wait_time_seconds: Option<i64>,
    receive_request_attempt_id: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Received {
    messages: Option<Vec<Shown>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Shown {
    message_id: String,
    receipt_handle: String,
    #[serde(rename = "MD5OfBody")]
    md5_of_body: String,
    body: String,
    attributes: Option<BTreeMap<&'static str, String>>,
    #[serde(rename = "MD5OfMessageAttributes")]
    md5_of_message_attributes: Option<String>,
    message_attributes: Option<BTreeMap<String, AttributeValue>>,
}

/// How much is received, and for how long.
pub struct Wanted {
    pub most: usize,
    pub hidden_for: Option<Duration>,
    pub wait: Option<Duration>,
    pub attempt: Option<String>,
}

/// What was received: where it stands, and what it says.
pub struct Got {
    pub seq: Seq,
    pub place: queue::Message,
    pub message: Message,
}

pub fn operations(service: Service) -> Service {
    service.operation("ReceiveMessage", receive)
}

pub async fn receive(ctx: Ctx, input: ReceiveMessage) -> Result<Received, AwsError> {
    let most = number(input.max_number_of_messages, "MaxNumberOfMessages", 1..=RECEIVED_MAX, || {
        format!("Must be between 1 and {RECEIVED_MAX}, if provided.")
    })?;
    let wait = number(input.wait_time_seconds, "WaitTimeSeconds", 0..=WAIT_SECONDS_MAX, || {
        format!("Must be >= 0 and <= {WAIT_SECONDS_MAX}, if provided.")
    })?;
    let hidden_for = number(input.visibility_timeout, "VisibilityTimeout", 0..=HIDDEN_SECONDS_MAX.into(), || {
        format!("Must be between 0 and {HIDDEN_SECONDS_MAX}, if provided.")
    })?;
    let wanted = Wanted {
        most: most.map_or(1, |most| most as usize),
        hidden_for: hidden_for.map(seconds),
        wait: wait.map(seconds),
        attempt: input.receive_request_attempt_id.map(attempt_id).transpose()?,
    };
    let shows = Shows {
        system: input.attribute_names.into_iter().chain(input.message_system_attribute_names).flatten().collect(),
        own: input.message_attribute_names.unwrap_or_default(),
    };
    let (found, got) = wanted.receive(&ctx, &input.queue_url).await?;
    let messages: Vec<Shown> = got.into_iter().map(|got| shows.show(&found, got)).collect();
    Ok(Received { messages: Some(messages).filter(|messages| !messages.is_empty()) })
}

fn attempt_id(id: String) -> Result<String, AwsError> {
    match (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(id),
        false => {
            let reason =
                "ReceiveRequestAttemptId can only include alphanumeric and punctuation characters. 1 to 128 in length.";
            Err(errors::invalid_value(id, "ReceiveRequestAttemptId", reason))
        }
    }
}

fn number(
    value: Option<i64>,
    parameter: &str,
    range: std::ops::RangeInclusive<i64>,
    reason: impl Fn() -> String,
) -> Result<Option<u32>, AwsError> {
    let Some(value) = value else { return Ok(None) };
    let number = u32::try_from(value).ok().filter(|_| range.contains(&value));
    number.map(Some).ok_or_else(|| errors::invalid_value(value, parameter, &reason()))
}

impl Wanted {
    /// Receives what there is, or what comes while there is time.
    pub async fn receive(&self, ctx: &Ctx, url: &str) -> Result<(Found, Vec<Got>), AwsError> {
        let began = ctx.cx.now();
        loop {
            let found = Found::at(ctx, url, ACTION).await?;
            let wait = self.wait.unwrap_or_else(|| seconds(found.queue.settings.wait_seconds));
            if let Ok(received) = self.receive_from(url, found, began.plus(wait)).await? {
                return Ok(received);
            }
        }
    }

    async fn receive_from(
        &self,
        url: &str,
        mut found: Found,
        until: Timestamp,
    ) -> Result<Result<(Found, Vec<Got>), Closed>, AwsError> {
        let (live, ctx) = (found.live().await?, found.ctx.clone());
        if let Some(got) = self.repeat(&found).await? {
            return Ok(Ok((found, got)));
        }
        let _passes_on = live.passes_on();
        // Dead letters that were in the way make room for others, which may be dead too.
        let mut looks_left = LOOKS_MAX;
        let is_long = !until.since(found.ctx.cx.now()).is_zero();
        loop {
            let arrived = live.arrived();
            let taken = match take(&found, &live, self.most, self.hidden_for).await {
                // As on AWS, who waits is not told that too many are in flight.
                Err(error) if is_long && error.code == errors::OVER_LIMIT => Ok(Taken::NOTHING),
                taken => taken?,
            };
            let Ok(Taken { got, may_have_more, next }) = taken else { return Ok(Err(Closed)) };
            let left = until.since(found.ctx.cx.now());
            if may_have_more && got.is_empty() && looks_left > 0 {
                looks_left -= 1;
                continue;
            }
            if !got.is_empty() || left.is_zero() || found.ctx.cloud.memory.live_queues.is_ending() {
                if got.is_empty() {
                    live.meter.add(Event::NothingReceived);
                }
                self.remember(&found, &live, &got);
                return Ok(Ok((found, got)));
            }
            tokio::select! {
                () = arrived => {}
                () = tokio::time::sleep(left.min(next)) => {}
                // What would be given to nobody is left to others.
                () = ctx.cx.listener.gone() => return Ok(Ok((found, Vec::new()))),
            }
            // It may have changed; its messages are where they were, or this line is closed.
            found = Found::at(&ctx, url, ACTION).await?;
        }
    }

    fn remember(&self, found: &Found, live: &Live, got: &[Got]) {
        if let Some(name) = self.attempt.as_ref().filter(|_| !got.is_empty() && found.queue.settings.fifo.is_some()) {
            let mut gave: Vec<_> = got.iter().map(|got| (got.seq, got.place.receives)).collect();
            // Whoever claims many does so in one order, and so waits for nobody who waits for him.
            gave.sort_unstable();
            live.remember_attempt(found.ctx.cx.now(), name.clone(), gave);
        }
    }

    /// Gives once more what was given by this name, for as long again, if nothing has become of it since.
    async fn repeat(&self, found: &Found) -> Result<Option<Vec<Got>>, AwsError> {
        let live = found.live().await?;
        let now = found.ctx.cx.now();
        let is_fifo = found.queue.settings.fifo.is_some();
        let gave = self.attempt.as_ref().filter(|_| is_fifo).and_then(|name| live.attempted(now, name));
        let Some(gave) = gave.filter(|gave| !gave.is_empty()) else { return Ok(None) };
        let until = now.plus(terms(found, self.hidden_for).await?.hidden_for);
        // All or nothing: what is claimed before one that is another's by now is left as it is.
        let (mut write, mut places) = (Write::default(), Vec::new());
        for (seq, receives) in gave {
            let Some(place) = live.claim(now, seq).await else { return Ok(None) };
            if place.receives != receives || place.visible_at <= now {
                live.give_back(seq);
                return Ok(None);
            }
            let place = queue::Message { visible_at: until, ..place };
            write = write.hide(&live, seq, &place.clone().into());
            places.push((seq, place));
        }
        write.commit(&found.ctx.cloud).await?;
        let mut got = Vec::new();
        for (seq, place) in places {
            let row = MESSAGES.get(&found.ctx.cloud.store, live.scope(), live.key(seq)).await?;
            got.extend(row.map(|row| Got { seq, place, message: row.value }));
        }
        Ok(Some(got))
    }
}

/// What one look at a queue gave.
pub struct Taken {
    pub got: Vec<Got>,
    /// Some were in the way that are not any more.
    pub may_have_more: bool,
    /// How long it takes until something can be received that could not now, unless somebody hears of it.
    pub next: Duration,
}

impl Taken {
    const NOTHING: Taken = Taken { got: Vec::new(), may_have_more: false, next: LOOKS_AGAIN_AFTER };
}

/// Receives what can be received now.
pub async fn take(
    found: &Found,
    live: &Arc<Live>,
    most: usize,
    hidden_for: Option<Duration>,
) -> Result<Result<Taken, Closed>, AwsError> {
    let (now, terms) = (found.ctx.cx.now(), terms(found, hidden_for).await?);
    if found.queue.frost.is_on() {
        return Ok(Ok(Taken::NOTHING));
    }
    live.expire(&found.ctx.cloud, now, &found.queue).await?;
    let (taken, next) = match live.take(now, most, terms) {
        Ok(taken) => taken?,
        Err(Closed) => return Ok(Err(Closed)),
    };
    let (got, moved) = tokio::join!(keep(found, live, taken.received), redrive::give_up(found, live, taken.dead));
    let got = got?;
    let may_have_more = match moved {
        Ok(moved) => moved,
        Err(error) => {
            tracing::error!(%error, "failed to move dead letters: they stay where they are");
            // Whoever got nothing else would be back at them at once.
            if got.is_empty() {
                return Err(error);
            }
            false
        }
    };
    let next = next.map_or(LOOKS_AGAIN_AFTER, |next| next.since(now));
    Ok(Ok(Taken { got, may_have_more, next }))
}

async fn terms(found: &Found, hidden_for: Option<Duration>) -> Result<Terms, AwsError> {
    let hidden_for = hidden_for.unwrap_or_else(|| seconds(found.queue.settings.visibility_seconds));
    Ok(Terms { hidden_for, receives_max: redrive::receives_max(found).await? })
}

/// Writes down that messages were received, and reads what they say.
async fn keep(found: &Found, live: &Arc<Live>, taken: Vec<(Seq, queue::Message)>) -> Result<Vec<Got>, AwsError> {
    if taken.is_empty() {
        return Ok(Vec::new());
    }
    let mut write = Write::default();
    for (seq, place) in &taken {
        write = write.receive(live, *seq, &place.clone().into()).measured(Event::Received);
    }
    let keys: Vec<Key> = taken.iter().map(|(seq, _)| live.key(*seq)).collect();
    let read = MESSAGES.get_many(&found.ctx.cloud.store, live.scope(), &keys);
    let (written, read) = tokio::join!(write.commit(&found.ctx.cloud), read);
    written?;
    let with = |((seq, place), row): ((Seq, queue::Message), Option<Row<Key, Message>>)| {
        Some(Got { seq, place, message: row?.value })
    };
    Ok(taken.into_iter().zip(read?).filter_map(with).collect())
}

/// What of a message its receiver wants to know.
struct Shows {
    system: BTreeSet<String>,
    own: Vec<String>,
}

impl Shows {
    fn show(&self, found: &Found, got: Got) -> Shown {
        let attributes: BTreeMap<&'static str, String> = system_attributes(found, &got)
            .into_iter()
            .filter(|(name, _)| self.system.contains("All") || self.system.contains(*name))
            .collect();
        let Message { id, body, attributes: own, .. } = got.message;
        let own: message::Attributes = own.into_iter().filter(|(name, _)| self.wants(name)).collect();
        Shown {
            message_id: id.to_string(),
            receipt_handle: receipt::seal(found, got.seq, got.place.receives),
            md5_of_body: message::md5_of(body.as_bytes()),
            body,
            attributes: Some(attributes).filter(|attributes| !attributes.is_empty()),
            md5_of_message_attributes: message::md5_of_attributes(&own),
            message_attributes: (!own.is_empty())
                .then(|| own.into_iter().map(|(name, value)| (name, value.into())).collect()),
        }
    }

    fn wants(&self, name: &str) -> bool {
        self.own.iter().any(|wanted| match wanted.strip_suffix(".*") {
            Some(start) => name.starts_with(start) && (start.is_empty() || name.get(start.len()..).is_some()),
            None => wanted == "All" || wanted == "*" || wanted == name,
        })
    }
}

/// What SQS itself says of a message.
pub fn system_attributes(found: &Found, got: &Got) -> BTreeMap<&'static str, String> {
    let Got { seq, place, message } = got;
    let millis = |time: Timestamp| time.as_millis().to_string();
    let is_fifo = found.queue.settings.fifo.is_some();
    let all = [
        ("SenderId", Some(message.sender.clone())),
        ("SentTimestamp", Some(millis(place.sent))),
        ("ApproximateReceiveCount", Some(place.receives.to_string())),
        ("ApproximateFirstReceiveTimestamp", place.first_received.map(millis)),
        ("SequenceNumber", is_fifo.then(|| message::sequence_number(*seq))),
        ("MessageDeduplicationId", message.deduplication_id.clone()),
        ("MessageGroupId", message.group.clone()),
        ("AWSTraceHeader", message.trace_header.clone()),
        ("DeadLetterQueueSourceArn", message.dead_letter_source.clone()),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

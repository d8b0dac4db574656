//! A queue as mappings read it for functions.

use std::time::Duration;

use base::{AwsError, BoxFuture};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::live::Write;
use super::message::{self, Attribute, Place, md5_of, md5_of_attributes};
use super::queue::Found;
use super::receive::{self, Got, Taken};
use super::redrive::{self, queue_of_arn};
use super::{errors, receipt};
use crate::Ctx;
use crate::source::{Event, Source, Token};

const ACTION: &str = "sqs:ReceiveMessage";
/// Messages that are taken at once; they may be of 1 MiB each.
const TAKEN_MAX: usize = 32;

/// A queue by its ARN: what it is, is looked up each time.
pub struct Queue {
    ctx: Ctx,
    arn: String,
}

pub async fn find(ctx: &Ctx, arn: &str) -> Result<Option<Queue>, AwsError> {
    let found = queue_of_arn(ctx, arn, ACTION).await?;
    Ok(found.map(|_| Queue { ctx: ctx.clone(), arn: arn.to_owned() }))
}

impl Queue {
    async fn found(&self) -> Result<Found, AwsError> {
        queue_of_arn(&self.ctx, &self.arn, ACTION).await?.ok_or_else(errors::no_such_queue)
    }

    /// Waits until somebody rings, or until something is not hidden any more.
    async fn wait_for(&self, at_most: Duration) -> Result<(), AwsError> {
        let found = self.found().await?;
        let live = found.live().await?;
        let arrived = live.arrived();
        let now = found.ctx.cx.now();
        let is_frozen = found.queue.frost.is_on();
        if !is_frozen && live.counts(now).waiting > 0 && live.has_next() {
            return Ok(());
        }
        let next = live.next_visible().filter(|_| !is_frozen).map_or(at_most, |next| next.since(now));
        tokio::select! {
            () = arrived => {}
            () = tokio::time::sleep(next.min(at_most)) => {}
        }
        Ok(())
    }

    async fn take_now(&self, most: usize) -> Result<Vec<Event>, AwsError> {
        let found = self.found().await?;
        let live = found.live().await?;
        match receive::take(&found, &live, most.min(TAKEN_MAX), None).await? {
            Ok(Taken { got, .. }) => Ok(got.into_iter().map(|got| event(&found, &self.arn, got)).collect()),
            // It was purged or deleted just now; the next look finds out.
            Err(super::live::Closed) => Ok(Vec::new()),
        }
    }

    /// Settles each by itself; they share a sync.
    async fn settle(&self, events: Vec<Token>, removes: bool) -> Result<(), AwsError> {
        let found = self.found().await?;
        let (live, now) = (found.live().await?, found.ctx.cx.now());
        let is_fifo = found.queue.settings.fifo.is_some();
        let mut begun = Vec::with_capacity(events.len());
        for Token { seq, receives } in events {
            let Some(message) = live.claim(now, seq).await else { continue };
            // It is somebody else's by now.
            let is_ours = message.receives == receives;
            if !is_ours && (is_fifo || !removes) {
                live.give_back(seq);
                continue;
            }
            let write = Write::default();
            let write = match removes {
                true => write.remove(&live, seq),
                false => {
                    let place = Place { visible_at: now, ..message.into() };
                    write.hide(&live, seq, &place)
                }
            };
            begun.push(write.begin(&found.ctx.cloud));
        }
        for written in begun {
            written.done().await?;
        }
        Ok(())
    }

    /// To where the queue's dead letters go; where there is no such queue, away.
    async fn refuse_all(&self, events: Vec<Token>) -> Result<(), AwsError> {
        let found = self.found().await?;
        let live = found.live().await?;
        for token in events {
            let Some(message) = live.claim(found.ctx.cx.now(), token.seq).await else { continue };
            if message.receives != token.receives {
                live.give_back(token.seq);
            } else if !redrive::give_up(&found, &live, vec![(token.seq, message)]).await? {
                self.settle(vec![token], true).await?;
            }
        }
        Ok(())
    }
}

impl Source for Queue {
    fn wait(&self, at_most: Duration) -> BoxFuture<'_, Result<(), AwsError>> {
        Box::pin(self.wait_for(at_most))
    }

    fn take(&self, most: usize) -> BoxFuture<'_, Result<Vec<Event>, AwsError>> {
        Box::pin(self.take_now(most))
    }

    fn done(&self, events: Vec<Token>) -> BoxFuture<'_, Result<(), AwsError>> {
        Box::pin(self.settle(events, true))
    }

    fn refuse(&self, events: Vec<Token>) -> BoxFuture<'_, Result<(), AwsError>> {
        Box::pin(self.refuse_all(events))
    }

    fn give_back(&self, events: Vec<Token>) -> BoxFuture<'_, Result<(), AwsError>> {
        Box::pin(self.settle(events, false))
    }
}

/// A message as a function sees it.
fn event(found: &Found, arn: &str, got: Got) -> Event {
    let attributes: Map<String, Value> = receive::system_attributes(found, &got)
        .into_iter()
        .map(|(name, value)| (name.to_owned(), Value::String(value)))
        .collect();
    let id = got.message.id.to_string();
    let token = Token { seq: got.seq, receives: got.place.receives };
    let own: Map<String, Value> =
        got.message.attributes.iter().map(|(name, attribute)| (name.clone(), shown(attribute))).collect();
    let mut record = Map::new();
    let mut put = |name: &str, value: Value| drop(record.insert(name.to_owned(), value));
    put("messageId", id.clone().into());
    put("receiptHandle", receipt::seal(found, got.seq, got.place.receives).into());
    put("body", got.message.body.clone().into());
    put("attributes", attributes.into());
    put("messageAttributes", own.into());
    if let Some(sum) = md5_of_attributes(&got.message.attributes) {
        put("md5OfMessageAttributes", sum.into());
    }
    put("md5OfBody", md5_of(got.message.body.as_bytes()).into());
    put("eventSource", "aws:sqs".into());
    put("eventSourceARN", arn.into());
    put("awsRegion", found.ctx.cx.region.as_str().into());
    Event { token, id, record, trace_header: got.message.trace_header, ours_until: got.place.visible_at }
}

fn shown(attribute: &Attribute) -> Value {
    let lists = |value: Value| {
        let mut value = value;
        if let Value::Object(members) = &mut value {
            members.insert("stringListValues".into(), json!([]));
            members.insert("binaryListValues".into(), json!([]));
            members.insert("dataType".into(), attribute.data_type.clone().into());
        }
        value
    };
    match &attribute.value {
        message::Value::Text(text) => lists(json!({"stringValue": text})),
        message::Value::Binary(_) => lists(json!({"binaryValue": STANDARD.encode(attribute.value.bytes())})),
    }
}

/// Whether a queue gives a function the time that it takes; in the words of mappings.
pub async fn check(ctx: &Ctx, arn: &str, timeout_seconds: u32) -> Result<Option<String>, AwsError> {
    const LOOKING: &str = "Error occurred while ReceiveMessage. SQS Error Code: \
                           AWS.SimpleQueueService.NonExistentQueue. SQS Error Message: The specified queue does not exist.";
    let Some(found) = queue_of_arn(ctx, arn, ACTION).await? else { return Ok(Some(LOOKING.into())) };
    let hidden = found.queue.settings.visibility_seconds;
    Ok((hidden < timeout_seconds).then(|| {
        format!("Queue visibility timeout: {hidden} seconds is less than Function timeout: {timeout_seconds} seconds")
    }))
}

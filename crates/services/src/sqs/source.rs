//! A queue as mappings read it for functions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base::{AwsError, BoxFuture, Timestamp};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use engine::queue::{self, Claim};
use serde::Serialize;

use super::live::Live;
use super::message::{self, Attribute, Place, md5_of, md5_of_attributes};
use super::meter::Event as Measured;
use super::queue::Found;
use super::receive::{self, Got, Taken};
use super::redrive::{self, queue_of_arn};
use super::write::Write;
use super::{errors, receipt};
use crate::Ctx;
use crate::source::{Event, Lent, Source, Token};

const ACTION: &str = "sqs:ReceiveMessage";
/// Messages that are taken at once: so many at first, as they may be of 1 MiB each; then as many as come to so many bytes,
/// if they are like those before.
const TAKEN_FIRST: usize = 32;
const TAKEN_MAX: usize = 128;
const TAKEN_BYTES: usize = 8 * 1024 * 1024;
/// Nobody could be given what is not hidden at all.
const HIDDEN_FOR_MIN: Duration = Duration::from_secs(2);
/// Messages that are settled in one commit.
const SETTLED_STEP: usize = 100;

/// A queue by its ARN: what it is, is looked up each time.
pub struct Queue {
    ctx: Ctx,
    arn: String,
    /// How many are taken at once.
    taken_max: AtomicUsize,
}

pub async fn find(ctx: &Ctx, arn: &str) -> Result<Option<Queue>, AwsError> {
    let found = queue_of_arn(ctx, arn, ACTION).await?;
    let taken_max = AtomicUsize::new(TAKEN_FIRST);
    Ok(found.map(|_| Queue { ctx: ctx.clone(), arn: arn.to_owned(), taken_max }))
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

    /// Who was woken and takes nothing leaves it to another.
    async fn pass(&self) -> Result<(), AwsError> {
        let live = self.found().await?.live().await?;
        drop(live.passes_on());
        Ok(())
    }

    async fn take_now(&self, most: usize) -> Result<Vec<Event>, AwsError> {
        let found = self.found().await?;
        let live = found.live().await?;
        let most = most.min(self.taken_max.load(Ordering::Relaxed));
        match receive::take(&found, &live, most, Some(hidden_for(&found))).await? {
            Ok(Taken { got, .. }) => {
                let events: Vec<Event> =
                    got.into_iter().map(|got| event(&found, &self.arn, got)).collect::<Result<_, _>>()?;
                self.learn(&events);
                Ok(events)
            }
            // It was purged or deleted just now; the next look finds out.
            Err(super::live::Closed) => Ok(Vec::new()),
        }
    }

    /// The longer messages are, the fewer are taken next time.
    fn learn(&self, events: &[Event]) {
        let bytes = events.iter().map(|event| event.record.len()).fold(0, usize::saturating_add);
        let Some(mean) = bytes.checked_div(events.len()) else { return };
        let most = TAKEN_BYTES.checked_div(mean).unwrap_or(TAKEN_MAX).clamp(1, TAKEN_MAX);
        self.taken_max.store(most, Ordering::Relaxed);
    }

    /// Hides messages anew when half of their time is over for one of them.
    async fn keep_all(&self, mut events: Vec<Lent>) -> Result<Vec<Lent>, AwsError> {
        let found = self.found().await?;
        let (now, hidden_for) = (found.ctx.cx.now(), hidden_for(&found));
        if events.iter().all(|(_, until)| until.since(now).saturating_mul(2) >= hidden_for) {
            return Ok(events);
        }
        let (live, until) = (found.live().await?, now.plus(hidden_for));
        // Whoever claims many does so in one order, and so waits for nobody who waits for him.
        events.sort_unstable();
        let (mut write, mut kept) = (Write::default(), Vec::with_capacity(events.len()));
        for (token, _) in events {
            let Some(message) = live.claim(now, token.seq).await else { continue };
            if message.receives == token.receives {
                let place = Place { visible_at: until, ..message.into() };
                write = write.hide(&live, token.seq, &place);
                kept.push((token, until));
            } else {
                live.give_back(token.seq);
            }
        }
        if !write.is_empty() {
            write.commit(&found.ctx.cloud).await?;
        }
        Ok(kept)
    }

    /// Settles many in one commit. Those that somebody else decides of just now come later, each by itself, so that none is
    /// held while another is waited for.
    async fn settle(&self, events: Vec<Token>, removes: bool) -> Result<(), AwsError> {
        let found = self.found().await?;
        let (live, now) = (found.live().await?, found.ctx.cx.now());
        let settling = Settling { found: &found, live: &live, now, removes };
        let (mut begun, mut busy) = (Vec::new(), Vec::new());
        for step in events.chunks(SETTLED_STEP) {
            let mut write = Write::default();
            for token in step {
                match live.try_claim(now, token.seq) {
                    Claim::Gone => {}
                    Claim::Busy => busy.push(*token),
                    Claim::Granted(message) => write = settling.add(write, *token, message),
                }
            }
            if !write.is_empty() {
                begun.push(write.begin(&found.ctx.cloud));
            }
        }
        for token in busy {
            let Some(message) = live.claim(now, token.seq).await else { continue };
            let write = settling.add(Write::default(), token, message);
            if !write.is_empty() {
                begun.push(write.begin(&found.ctx.cloud));
            }
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

    fn pass_on(&self) -> BoxFuture<'_, Result<(), AwsError>> {
        Box::pin(self.pass())
    }

    fn take(&self, most: usize) -> BoxFuture<'_, Result<Vec<Event>, AwsError>> {
        Box::pin(self.take_now(most))
    }

    fn keep(&self, events: Vec<Lent>) -> BoxFuture<'_, Result<Vec<Lent>, AwsError>> {
        Box::pin(self.keep_all(events))
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

/// How long what a mapping takes is hidden from others.
fn hidden_for(found: &Found) -> Duration {
    Duration::from_secs(found.queue.settings.visibility_seconds.into()).max(HIDDEN_FOR_MIN)
}

/// How messages that were given to a function are settled: removed, or given back.
struct Settling<'a> {
    found: &'a Found,
    live: &'a Arc<Live>,
    now: Timestamp,
    removes: bool,
}

impl Settling<'_> {
    /// Adds a claimed message to a write, unless it is somebody else's by now.
    fn add(&self, write: Write, Token { seq, receives }: Token, message: queue::Message) -> Write {
        let is_fifo = self.found.queue.settings.fifo.is_some();
        if message.receives != receives && (is_fifo || !self.removes) {
            self.live.give_back(seq);
            return write;
        }
        if self.removes {
            return write.remove(self.live, seq).measured(Measured::Deleted);
        }
        write.unseen(self.live, self.now, seq, message)
    }
}

/// A message as a function sees it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a> {
    message_id: &'a str,
    receipt_handle: String,
    body: &'a str,
    attributes: BTreeMap<&'static str, String>,
    message_attributes: BTreeMap<&'a str, Shown<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    md5_of_message_attributes: Option<String>,
    md5_of_body: String,
    event_source: &'static str,
    #[serde(rename = "eventSourceARN")]
    event_source_arn: &'a str,
    aws_region: &'a str,
}

fn event(found: &Found, arn: &str, got: Got) -> Result<Event, AwsError> {
    let message = &got.message;
    let id = message.id.to_string();
    let record = Record {
        message_id: &id,
        receipt_handle: receipt::seal(found, got.seq, got.place.receives),
        body: &message.body,
        attributes: receive::system_attributes(found, &got),
        message_attributes: message.attributes.iter().map(|(name, value)| (name.as_str(), Shown::of(value))).collect(),
        md5_of_message_attributes: md5_of_attributes(&message.attributes),
        md5_of_body: md5_of(message.body.as_bytes()),
        event_source: "aws:sqs",
        event_source_arn: arn,
        aws_region: found.ctx.cx.region.as_str(),
    };
    let record = serde_json::to_string(&record).map_err(AwsError::internal)?;
    let token = Token { seq: got.seq, receives: got.place.receives };
    Ok(Event { token, id, record, trace_header: got.message.trace_header, ours_until: got.place.visible_at })
}

/// An attribute of a message as a function sees it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    string_value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    binary_value: Option<String>,
    /// What AWS has kept for lists, of which there are none.
    string_list_values: [(); 0],
    binary_list_values: [(); 0],
    data_type: &'a str,
}

impl<'a> Shown<'a> {
    fn of(Attribute { data_type, value }: &'a Attribute) -> Self {
        let (string_value, binary_value) = match value {
            message::Value::Text(text) => (Some(text.as_str()), None),
            message::Value::Binary(_) => (None, Some(STANDARD.encode(value.bytes()))),
        };
        Self { string_value, binary_value, string_list_values: [], binary_list_values: [], data_type }
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

//! `SendMessage` and `SendMessageBatch`.

use std::collections::BTreeMap;

use base::AwsError;
use engine::queue::Seq;
use serde::{Deserialize, Serialize};

use super::batch::{self, Failed};
use super::contents::Wanted;
use super::errors;
use super::live::{Admitted, Closed, New};
use super::message::{self, AttributeValue};
use super::meter::Event;
use super::queue::Found;
use super::settings::MESSAGE_BYTES_MAX;
use super::write::Write;
use crate::{Ctx, Service};

/// A message of 1 MiB, with escapes, and what is said of it.
const BODY_BYTES_MAX: u64 = 8 * 1024 * 1024;
const ACTION: &str = "sqs:SendMessage";

type Given = Option<BTreeMap<String, AttributeValue>>;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct SendMessage {
    queue_url: String,
    message_body: String,
    delay_seconds: Option<i64>,
    message_attributes: Given,
    message_system_attributes: Given,
    message_deduplication_id: Option<String>,
    message_group_id: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Sent {
    #[serde(rename = "MD5OfMessageBody")]
    md5_of_message_body: String,
    #[serde(rename = "MD5OfMessageAttributes")]
    md5_of_message_attributes: Option<String>,
    #[serde(rename = "MD5OfMessageSystemAttributes")]
    md5_of_message_system_attributes: Option<String>,
    message_id: String,
    sequence_number: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct SendMessageBatch {
    queue_url: String,
    entries: Vec<SendEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct SendEntry {
    id: String,
    message_body: String,
    delay_seconds: Option<i64>,
    message_attributes: Given,
    message_system_attributes: Given,
    message_deduplication_id: Option<String>,
    message_group_id: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SentBatch {
    successful: Vec<SentEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failed: Vec<Failed>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SentEntry {
    id: String,
    #[serde(flatten)]
    sent: Sent,
}

pub fn operations(service: Service) -> Service {
    service
        .operation("SendMessage", send)
        .operation("SendMessageBatch", send_batch)
        .body_bytes_max("SendMessage", BODY_BYTES_MAX)
        .body_bytes_max("SendMessageBatch", BODY_BYTES_MAX)
}

pub async fn send(ctx: Ctx, input: SendMessage) -> Result<Sent, AwsError> {
    let wanted = Wanted {
        body: input.message_body,
        delay_seconds: input.delay_seconds,
        attributes: list(input.message_attributes),
        system_attributes: list(input.message_system_attributes),
        deduplication_id: input.message_deduplication_id,
        group_id: input.message_group_id,
    };
    let found = Found::at(&ctx, &input.queue_url, ACTION).await?;
    let (new, _) = wanted.check(&ctx.cx, &found.queue)?;
    let sent = keep(&ctx, &input.queue_url, vec![new]).await?;
    sent.into_iter().next().ok_or_else(|| AwsError::internal("a message was neither kept nor refused"))
}

pub async fn send_batch(ctx: Ctx, input: SendMessageBatch) -> Result<SentBatch, AwsError> {
    let found = Found::at(&ctx, &input.queue_url, ACTION).await?;
    batch::check(input.entries.iter().map(|entry| entry.id.as_str()), "SendMessageBatchRequestEntry")?;
    let is_fifo = found.queue.settings.fifo.is_some();
    let (mut ids, mut news, mut failed, mut bytes) = (Vec::new(), Vec::new(), Vec::new(), 0_usize);
    for entry in input.entries {
        let id = entry.id.clone();
        bytes = bytes.saturating_add(entry.message_body.len());
        match entry.wanted().check(&ctx.cx, &found.queue) {
            Ok((new, length)) => {
                bytes = bytes.saturating_add(length.saturating_sub(new.message.body.len()));
                ids.push(id);
                news.push(new);
            }
            // Of a FIFO queue's batch AWS says so of the whole.
            Err(error) if is_fifo && batch::is_of_whole(&error) => return Err(batch::of_whole(error)),
            Err(error) => failed.push(Failed::new(id, error)),
        }
    }
    if bytes > MESSAGE_BYTES_MAX as usize {
        return Err(errors::batch_too_long(MESSAGE_BYTES_MAX as usize, bytes));
    }
    let sent = keep(&ctx, &input.queue_url, news).await?;
    let successful = ids.into_iter().zip(sent).map(|(id, sent)| SentEntry { id, sent }).collect();
    Ok(SentBatch { successful, failed })
}

impl SendEntry {
    fn wanted(self) -> Wanted {
        Wanted {
            body: self.message_body,
            delay_seconds: self.delay_seconds,
            attributes: list(self.message_attributes),
            system_attributes: list(self.message_system_attributes),
            deduplication_id: self.message_deduplication_id,
            group_id: self.message_group_id,
        }
    }
}

fn list(given: Given) -> Vec<(String, AttributeValue)> {
    given.unwrap_or_default().into_iter().collect()
}

/// Keeps messages, and says so when they are on the disk.
async fn keep(ctx: &Ctx, url: &str, news: Vec<New>) -> Result<Vec<Sent>, AwsError> {
    loop {
        let found = Found::at(ctx, url, ACTION).await?;
        if let Ok(sent) = try_keep(&found, &news).await? {
            return Ok(sent);
        }
    }
}

async fn try_keep(found: &Found, news: &[New]) -> Result<Result<Vec<Sent>, Closed>, AwsError> {
    let (ctx, live) = (&found.ctx, found.live().await?);
    let (now, is_fifo) = (ctx.cx.now(), found.queue.settings.fifo.is_some());
    let Ok(admitted) = live.admit(now, news) else { return Ok(Err(Closed)) };
    let (mut write, mut sent, mut known) = (Write::default(), Vec::with_capacity(news.len()), Vec::new());
    for (new, admitted) in news.iter().zip(admitted) {
        let (id, seq) = match admitted {
            Admitted::New(seq) => {
                write = write.add(&live, now, seq, new).measured(Event::Sent(new.message.length()));
                (new.message.id, seq)
            }
            Admitted::Known(before) => {
                live.meter.add(Event::SentAgain);
                known.push((before.seq, new.twin));
                (before.id, before.seq)
            }
        };
        sent.push(shown(new, id, is_fifo.then_some(seq)));
    }
    if !write.is_empty() {
        write.commit(&ctx.cloud).await?;
    }
    for (seq, twin) in known {
        live.written(seq).await;
        if !live.knows(now, twin) {
            return Err(AwsError::unavailable("what was sent before was not kept"));
        }
    }
    Ok(Ok(sent))
}

fn shown(new: &New, id: base::Uuid, seq: Option<Seq>) -> Sent {
    let system = new.message.trace_header.as_ref().map(|header| {
        let value = message::Value::Text(header.clone());
        message::Attributes::from([("AWSTraceHeader".into(), message::Attribute { data_type: "String".into(), value })])
    });
    Sent {
        md5_of_message_body: message::md5_of(new.message.body.as_bytes()),
        md5_of_message_attributes: message::md5_of_attributes(&new.message.attributes),
        md5_of_message_system_attributes: system.as_ref().and_then(message::md5_of_attributes),
        message_id: id.to_string(),
        sequence_number: seq.map(message::sequence_number),
    }
}

//! What becomes of messages that were received: `DeleteMessage`, `ChangeMessageVisibility`, and both in batches.

use std::time::Duration;

use base::AwsError;
use engine::queue;
use serde::{Deserialize, Serialize};

use super::batch::{self, Failed};
use super::errors;
use super::message::Place;
use super::meter::Event;
use super::queue::Found;
use super::receipt::{self, Receipt};
use super::settings::{HIDDEN_SECONDS_MAX, seconds};
use super::write::{Write, Written};
use crate::{Ctx, Service};

const DELETE: &str = "sqs:DeleteMessage";
const CHANGE: &str = "sqs:ChangeMessageVisibility";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct DeleteMessage {
    queue_url: String,
    receipt_handle: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ChangeVisibility {
    queue_url: String,
    receipt_handle: String,
    visibility_timeout: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct DeleteBatch {
    queue_url: String,
    entries: Vec<DeleteEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct DeleteEntry {
    id: String,
    receipt_handle: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ChangeBatch {
    queue_url: String,
    entries: Vec<ChangeEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct ChangeEntry {
    id: String,
    receipt_handle: String,
    visibility_timeout: Option<i64>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Done {
    successful: Vec<DoneEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failed: Vec<Failed>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DoneEntry {
    id: String,
}

/// What is to become of a message.
#[derive(Clone, Copy)]
enum Wish {
    Delete,
    Hide(Duration),
}

pub fn operations(service: Service) -> Service {
    service
        .operation("ChangeMessageVisibility", change)
        .operation("ChangeMessageVisibilityBatch", change_batch)
        .operation("DeleteMessage", delete)
        .operation("DeleteMessageBatch", delete_batch)
}

pub async fn delete(ctx: Ctx, input: DeleteMessage) -> Result<(), AwsError> {
    let found = Found::at(&ctx, &input.queue_url, DELETE).await?;
    Wish::Delete.grant(&found, &input.receipt_handle).await
}

pub async fn change(ctx: Ctx, input: ChangeVisibility) -> Result<(), AwsError> {
    let found = Found::at(&ctx, &input.queue_url, CHANGE).await?;
    Wish::hide(input.visibility_timeout)?.grant(&found, &input.receipt_handle).await
}

pub async fn delete_batch(ctx: Ctx, input: DeleteBatch) -> Result<Done, AwsError> {
    let found = Found::at(&ctx, &input.queue_url, DELETE).await?;
    batch::check(input.entries.iter().map(|entry| entry.id.as_str()), "DeleteMessageBatchRequestEntry")?;
    let wishes = input.entries.into_iter().map(|entry| (entry.id, entry.receipt_handle, Ok(Wish::Delete)));
    Ok(grant_all(&found, wishes).await)
}

pub async fn change_batch(ctx: Ctx, input: ChangeBatch) -> Result<Done, AwsError> {
    let found = Found::at(&ctx, &input.queue_url, CHANGE).await?;
    batch::check(input.entries.iter().map(|entry| entry.id.as_str()), "ChangeMessageVisibilityBatchRequestEntry")?;
    let wishes = input.entries.into_iter().map(|entry| {
        let wish = entry.visibility_timeout.ok_or_else(|| errors::missing("VisibilityTimeout")).and_then(Wish::hide);
        (entry.id, entry.receipt_handle, wish)
    });
    Ok(grant_all(&found, wishes).await)
}

/// Each by itself, so that none waits for another while it holds one; they share a sync all the same.
async fn grant_all(found: &Found, wishes: impl Iterator<Item = (String, String, Result<Wish, AwsError>)>) -> Done {
    let mut started = Vec::new();
    for (id, handle, wish) in wishes {
        let begun = match wish {
            Ok(wish) => wish.begin(found, &handle).await,
            Err(error) => Err(error),
        };
        started.push((id, begun));
    }
    let mut done = Done { successful: Vec::new(), failed: Vec::new() };
    for (id, begun) in started {
        let granted = match begun {
            Ok(written) => written.done().await,
            Err(error) => Err(error),
        };
        match granted {
            Ok(()) => done.successful.push(DoneEntry { id }),
            Err(error) => done.failed.push(Failed::new(id, error)),
        }
    }
    done
}

impl Wish {
    fn hide(seconds_wanted: i64) -> Result<Self, AwsError> {
        let wanted = u32::try_from(seconds_wanted).ok().filter(|wanted| *wanted <= HIDDEN_SECONDS_MAX);
        let reason = format!("Must be between 0 and {HIDDEN_SECONDS_MAX}.");
        let wanted = wanted.ok_or_else(|| errors::invalid_value(seconds_wanted, "VisibilityTimeout", &reason))?;
        Ok(Self::Hide(seconds(wanted)))
    }

    async fn grant(self, found: &Found, handle: &str) -> Result<(), AwsError> {
        self.begin(found, handle).await?.done().await
    }

    /// Decides, and begins to write it down.
    async fn begin(self, found: &Found, handle: &str) -> Result<Written, AwsError> {
        let receipt = receipt::open(found, handle).ok_or_else(|| errors::invalid_receipt(handle))?;
        let (live, now) = (found.live().await?, found.ctx.cx.now());
        let Some(message) = live.claim(now, receipt.seq).await else {
            return match self {
                Self::Delete => Ok(Written::nothing()),
                Self::Hide(_) => Err(errors::not_in_flight(handle)),
            };
        };
        if let Self::Hide(_) = self
            && message.visible_at <= now
            && found.queue.settings.fifo.is_none()
        {
            // Its time is over: it is anybody's again, and this changes nothing, as on AWS.
            live.give_back(receipt.seq);
            return Ok(Written::nothing());
        }
        let write = match self.check(found, handle, &receipt, &message) {
            Err(error) => {
                live.give_back(receipt.seq);
                return Err(error);
            }
            Ok(()) => match self {
                Self::Delete => Write::default().remove(&live, receipt.seq).measured(Event::Deleted),
                Self::Hide(wanted) => {
                    let visible_at = now.plus(wanted);
                    let place = Place::from(queue::Message { visible_at, ..message });
                    Write::default().hide(&live, receipt.seq, &place)
                }
            },
        };
        Ok(write.begin(&found.ctx.cloud))
    }

    /// A standard queue takes any receipt of a message, a FIFO queue the last while it lasts.
    fn check(self, found: &Found, handle: &str, receipt: &Receipt, message: &queue::Message) -> Result<(), AwsError> {
        let now = found.ctx.cx.now();
        let is_last = receipt.receives == message.receives && now < message.visible_at;
        if found.queue.settings.fifo.is_some() && !is_last {
            return Err(match self {
                Self::Delete => errors::receipt_expired(handle),
                Self::Hide(_) => errors::not_in_flight(handle),
            });
        }
        match self {
            // Twelve hours are counted from when it was received, which the time that it is hidden for lets us know only
            // for the first time.
            Self::Hide(wanted) if receipt.receives == 1 && message.receives == 1 => {
                let received = message.first_received.unwrap_or(now);
                let total = now.plus(wanted).since(received);
                if total > seconds(HIDDEN_SECONDS_MAX) { Err(errors::hidden_too_long()) } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }
}

//! Dead letters: what was received too often goes to the queue that its own names.

use std::sync::Arc;

use base::{Arn, AwsError};
use engine::queue::{self, Seq};

use super::errors;
use super::live::{Admitted, Closed, Live, New};
use super::message::{Key, MESSAGES};
use super::name::{self, Address};
use super::queue::{Found, QUEUES};
use super::write::Write;
use crate::under_way::{Kind, Step};

/// How often a message may be received before it is given up. Where the queue for dead letters has gone, they stay.
pub async fn receives_max(found: &Found) -> Result<Option<u32>, AwsError> {
    let Some(redrive) = &found.queue.settings.redrive else { return Ok(None) };
    let is_there = target(found, &redrive.dead_letter_target_arn).await?.is_some();
    Ok(is_there.then_some(redrive.max_receive_count))
}

/// The queue that an ARN names, of the same account as this one. A queue may name itself, as on AWS; its messages stay then.
async fn target(found: &Found, arn: &str) -> Result<Option<Found>, AwsError> {
    let ctx = &found.ctx;
    let resource = arn.parse::<Arn>().ok().map(|arn| arn.resource);
    let Some(resource) = resource.filter(|resource| *resource != found.queue.name) else { return Ok(None) };
    let queue = QUEUES.get_shared(&ctx.cloud.store, &ctx.scope(), &resource).await?;
    Ok(queue.map(|queue| Found { ctx: ctx.clone(), queue }))
}

/// Moves dead messages, which are busy, to where dead letters go. Says whether there were any.
pub async fn give_up(found: &Found, live: &Arc<Live>, dead: Vec<(Seq, queue::Message)>) -> Result<bool, AwsError> {
    // Held from the beginning, so that they are given back should the caller go away. Each by itself, as together they may be
    // too much for one commit; those that are begun at once are synced at once.
    let hold = |(seq, place)| (Write::default().remove(live, seq), seq, place);
    let dead: Vec<(Write, Seq, queue::Message)> = dead.into_iter().map(hold).collect();
    let Some(redrive) = found.queue.settings.redrive.as_ref().filter(|_| !dead.is_empty()) else { return Ok(false) };
    let Some(target) = target(found, &redrive.dead_letter_target_arn).await? else { return Ok(false) };
    let name = found.queue.name.as_str().into();
    let step = Step { scope: found.ctx.scope(), kind: Kind::Move, name, trace_header: None };
    let _going = found.ctx.cloud.memory.under_way.begin(step.clone());
    let source = name::arn(&found.ctx, &found.queue.name);
    let mut begun = Vec::with_capacity(dead.len());
    for (write, seq, place) in dead {
        let write = write.under_way(found.ctx.cloud.memory.under_way.begin(step.clone()));
        let write = transfer(write, live.key(seq), place, &target, Some(&source)).await?;
        begun.push(write.begin(&found.ctx.cloud));
    }
    for written in begun {
        written.done().await?;
    }
    Ok(true)
}

/// Adds a message to another queue in the write that removes it from its own. Dead letters, which have a source, stay what
/// they were and show how often they were received, and in a standard queue their age is counted from when they were first sent; others are new.
pub async fn transfer(
    write: Write,
    key: Key,
    place: queue::Message,
    target: &Found,
    source: Option<&str>,
) -> Result<Write, AwsError> {
    let (ctx, there) = (&target.ctx, target.live().await?);
    let now = ctx.cx.now();
    let Some(row) = MESSAGES.get(&ctx.cloud.store, &ctx.scope(), key).await? else { return Ok(write) };
    let mut message = row.value;
    message.dead_letter_source = source.map(Into::into);
    let place = queue::Message { visible_at: now, forgiven: place.receives, ..place };
    let place = match source {
        Some(_) if target.queue.settings.fifo.is_none() => place,
        Some(_) => queue::Message { sent: now, ..place },
        None => {
            message.id = ctx.cx.id();
            queue::Message { sent: now, receives: 0, forgiven: 0, first_received: None, ..place }
        }
    };
    if target.queue.settings.fifo.is_some() {
        message.deduplication_id = Some(message.id.to_string());
    }
    let new = New { message, place: place.into(), twin: None };
    let admitted = there.admit(now, std::slice::from_ref(&new)).map_err(|Closed| errors::no_such_queue())?;
    Ok(admitted.into_iter().fold(write, |write, admitted| match admitted {
        Admitted::New(seq) => write.add(&there, now, seq, &new),
        Admitted::Known(_) => write,
    }))
}

/// The queue of an ARN, if it is there and this caller's.
pub async fn queue_of_arn(ctx: &crate::Ctx, arn: &str, action: &str) -> Result<Option<Found>, AwsError> {
    let Some((account, name)) = name::of_arn(ctx, arn) else { return Ok(None) };
    match Found::of(ctx, &Address { account, name: &name }, action).await {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.code == "QueueDoesNotExist" => Ok(None),
        Err(error) => Err(error),
    }
}

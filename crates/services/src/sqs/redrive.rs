//! Dead letters: what was received too often goes to the queue that its own names.

use std::sync::Arc;

use base::{Arn, AwsError};
use engine::queue::{self, Seq};
use tokio::sync::oneshot;

use super::live::{Admitted, Closed, Live, New, Write};
use super::message::{Key, MESSAGES};
use super::name::{self, Address};
use super::queue::{Found, QUEUES};

/// How often a message may be received before it is given up. Where the queue for dead letters has gone, they stay.
pub async fn receives_max(found: &Found) -> Result<Option<u32>, AwsError> {
    let Some(redrive) = &found.queue.settings.redrive else { return Ok(None) };
    let is_there = target(found, &redrive.dead_letter_target_arn).await?.is_some();
    Ok(is_there.then_some(redrive.max_receive_count))
}

/// The queue that an ARN names, of the same account as this one.
async fn target(found: &Found, arn: &str) -> Result<Option<Found>, AwsError> {
    let ctx = &found.ctx;
    let Some(resource) = arn.parse::<Arn>().ok().map(|arn| arn.resource) else { return Ok(None) };
    let queue = QUEUES.get_shared(&ctx.cloud.store, &ctx.scope(), &resource).await?;
    Ok(queue.map(|queue| Found { ctx: ctx.clone(), queue }))
}

/// Moves dead messages, which are busy, to where dead letters go. It begins at once, and goes on whatever becomes of the
/// caller. Says whether there were any.
pub fn give_up(found: &Found, dead: Vec<(Seq, queue::Message)>) -> impl Future<Output = Result<bool, AwsError>> {
    let (tell, told) = oneshot::channel();
    let has_dead = !dead.is_empty();
    if has_dead {
        let found = Found { ctx: found.ctx.clone(), queue: found.queue.clone() };
        let spawn = found.ctx.cloud.spawn.clone();
        let moves = async move {
            // Nobody may be there to hear it.
            tell.send(give_up_all(&found, dead).await).ok();
        };
        spawn.spawn("dead letters", Box::pin(moves));
    }
    async move {
        match has_dead {
            true => told.await.map_err(|_| AwsError::unavailable("the server ends"))?.map(|()| true),
            false => Ok(false),
        }
    }
}

async fn give_up_all(found: &Found, dead: Vec<(Seq, queue::Message)>) -> Result<(), AwsError> {
    let live = found.live().await?;
    let moved = try_give_up(found, &live, &dead).await;
    match &moved {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(Closed)) => {}
        Err(error) => tracing::error!(%error, "failed to move dead letters"),
    }
    dead.iter().for_each(|(seq, _)| live.give_back(*seq));
    moved.map(drop)
}

async fn try_give_up(
    found: &Found,
    live: &Arc<Live>,
    dead: &[(Seq, queue::Message)],
) -> Result<Result<(), Closed>, AwsError> {
    let Some(redrive) = &found.queue.settings.redrive else { return Ok(Err(Closed)) };
    let Some(target) = target(found, &redrive.dead_letter_target_arn).await? else { return Ok(Err(Closed)) };
    let source = name::arn(&found.ctx, &found.queue.name);
    transfer(found, live, dead, &target, Some(source)).await
}

/// Moves busy messages to another queue, in one commit. The time of a message counts from when it was first sent, but in
/// a FIFO queue.
pub async fn transfer(
    found: &Found,
    live: &Arc<Live>,
    messages: &[(Seq, queue::Message)],
    target: &Found,
    source: Option<String>,
) -> Result<Result<(), Closed>, AwsError> {
    let (cloud, now) = (&found.ctx.cloud, found.ctx.cx.now());
    let there = target.live().await?;
    let keys: Vec<Key> = messages.iter().map(|(seq, _)| live.key(*seq)).collect();
    let rows = MESSAGES.get_many(&cloud.store, live.scope(), &keys).await?;
    let is_fifo = target.queue.settings.fifo.is_some();
    let mut news = Vec::new();
    let mut write = Write::default();
    for ((seq, place), row) in messages.iter().zip(rows) {
        write = write.remove(live, *seq);
        let Some(row) = row else { continue };
        let mut message = row.value;
        message.dead_letter_source = source.clone();
        let sent = if is_fifo { now } else { place.sent };
        let place = queue::Message { sent, visible_at: now, ..place.clone() };
        news.push(New { message, place: place.into(), twin: None });
    }
    let Ok(admitted) = there.admit(now, &news) else { return Ok(Err(Closed)) };
    for (new, admitted) in news.iter().zip(admitted) {
        if let Admitted::New(seq) = admitted {
            write = write.add(&there, now, seq, new);
        }
    }
    write.commit(cloud).await?;
    Ok(Ok(()))
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

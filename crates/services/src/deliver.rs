//! Handing an event on to what an ARN names, in the very commit that ends what made it: nothing is lost between the two,
//! nothing arrives twice, and there is no table of what is still to be sent.
//!
//! ```text
//! prepare (the target finds room for it) ── add to a batch ── commit ── settled (the target knows what became of it)
//! ```
//!
//! Not there yet: topics, event buses and buckets.

use base::{AwsError, BoxFuture, Cause};
use store::{Batch, Outcome};
use tokio::sync::oneshot;

use crate::lambda::invoke::event;
use crate::{Cloud, Ctx, sqs};

/// What is handed on.
#[derive(Debug, Clone)]
pub struct Parcel {
    pub body: String,
    /// What a message says beside its body, for targets that have messages.
    pub attributes: Vec<Attribute>,
    /// Of what made it, so that its chain goes on.
    pub trace_header: Option<String>,
    pub cause: Cause,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    pub name: &'static str,
    /// As SQS and SNS have it, such as `Number`.
    pub data_type: &'static str,
    pub value: String,
}

/// Something for which there is room at its target. Dropped before it is settled, it never was.
pub trait Prepared: Send {
    /// Once this batch has happened, the target has it. To be called once.
    fn add(&mut self, batch: Batch) -> Batch;

    /// The batch has happened, or never will.
    fn settled(self: Box<Self>, is_written: bool);
}

/// Finds room at the target that `to` names, which may be another account's. A fault of the client's means that it cannot
/// be delivered, now or later.
pub async fn prepare(ctx: &Ctx, to: &str, parcel: Parcel) -> Result<Box<dyn Prepared>, AwsError> {
    match to.split(':').nth(2) {
        Some("sqs") => Ok(Box::new(sqs::target::prepare(ctx, to, parcel).await?)),
        Some("lambda") => Ok(Box::new(event::prepare(ctx, to, parcel).await?)),
        _ => Err(AwsError::not_built("the sending of events to topics, event buses and buckets")),
    }
}

/// Commits a batch with what is handed on in it. Once begun it goes on, whatever becomes of the caller.
pub async fn commit(cloud: &Cloud, batch: Batch, mut parcels: Vec<Box<dyn Prepared>>) -> Result<Outcome, AwsError> {
    if parcels.is_empty() {
        return Ok(cloud.store.commit(batch).await?);
    }
    let batch = parcels.iter_mut().fold(batch, |batch, parcel| parcel.add(batch));
    let (tell, told) = oneshot::channel();
    let store = cloud.store.clone();
    let commit: BoxFuture<'static, ()> = Box::pin(async move {
        let outcome = store.commit(batch).await;
        let is_written = outcome.as_ref().is_ok_and(Outcome::is_committed);
        parcels.into_iter().for_each(|parcel| parcel.settled(is_written));
        // Nobody may be there to hear it.
        tell.send(outcome).ok();
    });
    cloud.spawn.spawn("a delivery", commit);
    Ok(told.await.map_err(|_| AwsError::unavailable("the server ends"))??)
}

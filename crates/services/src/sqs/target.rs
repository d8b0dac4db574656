//! A queue as others send to it: a message that is written in the commit of what it tells of.

use base::AwsError;
use store::Batch;

use super::contents::{Wanted, is_allowed};
use super::errors;
use super::live::{Admitted, Closed};
use super::message::AttributeValue;
use super::meter::Event;
use super::redrive::queue_of_arn;
use super::write::Write;
use crate::Ctx;
use crate::deliver::{Attribute, Parcel, Prepared};

const ACTION: &str = "sqs:SendMessage";

/// A message that has its place, and is not written yet.
pub struct Sending(Write);

impl Prepared for Sending {
    fn add(&mut self, batch: Batch) -> Batch {
        batch.and(self.0.take_batch())
    }

    fn settled(self: Box<Self>, is_written: bool) {
        self.0.settled(is_written);
    }
}

/// Gives a message its place in the queue of an ARN.
pub async fn prepare(ctx: &Ctx, arn: &str, parcel: Parcel) -> Result<Sending, AwsError> {
    let mut ctx = ctx.clone();
    ctx.cx.trace_header = parcel.trace_header.map(Into::into);
    let wanted = Wanted {
        body: parcel.body,
        delay_seconds: None,
        attributes: parcel.attributes.into_iter().map(attribute).collect(),
        system_attributes: Vec::new(),
        deduplication_id: None,
        group_id: None,
    };
    let mut found = find(&ctx, arn).await?;
    let (new, _) = wanted.check(&ctx.cx, &found.queue)?;
    loop {
        let (live, now) = (found.live().await?, ctx.cx.now());
        match live.admit(now, std::slice::from_ref(&new)) {
            Ok(admitted) => {
                let add = |write: Write, admitted| match admitted {
                    Admitted::New(seq) => write.add(&live, now, seq, &new).measured(Event::Sent(new.message.length())),
                    Admitted::Known(_) => write,
                };
                return Ok(Sending(admitted.into_iter().fold(Write::default(), add)));
            }
            // It was purged or deleted just now.
            Err(Closed) => found = find(&ctx, arn).await?,
        }
    }
}

async fn find(ctx: &Ctx, arn: &str) -> Result<super::queue::Found, AwsError> {
    queue_of_arn(ctx, arn, ACTION).await?.ok_or_else(errors::no_such_queue)
}

/// A queue takes no control characters, which what a function says of its failure may have.
fn attribute(Attribute { name, data_type, value }: Attribute) -> (String, AttributeValue) {
    let shown = |c: char| if is_allowed(c) { c } else { char::REPLACEMENT_CHARACTER };
    let value = AttributeValue {
        data_type: data_type.to_owned(),
        string_value: Some(value.chars().map(shown).collect()),
        binary_value: None,
        string_list_values: None,
        binary_list_values: None,
    };
    (name.to_owned(), value)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use base::{Cause, ManualClock, Timestamp};
    use store::Outcome;
    use wire::server::Tasks;

    use super::super::queue::{self, QUEUES};
    use super::*;
    use crate::cloud::testing::{self, NoFunctions};
    use crate::deliver;

    const ARN: &str = "arn:aws:sqs:us-east-1:000000000000:q";

    fn parcel() -> Parcel {
        let attributes = vec![Attribute { name: "Why", data_type: "String", value: "\u{1b}x".into() }];
        Parcel {
            body: "{}".into(),
            attributes,
            trace_header: Some("Root=1".into()),
            cause: Cause::origin(base::Uuid::NIL),
        }
    }

    async fn count(ctx: &Ctx) -> u64 {
        find(ctx, ARN).await.unwrap().live().await.unwrap().counts(ctx.cx.now()).waiting as u64
    }

    #[tokio::test]
    async fn a_message_is_there_if_and_only_if_the_commit_happened() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(Timestamp::from_secs(1_000)));
        let mut ctx = testing::ctx(dir.path(), clock, Arc::new(NoFunctions)).await;
        Arc::get_mut(&mut ctx.cloud).unwrap().spawn = Arc::new(Tasks::default());
        let gone = prepare(&ctx, ARN, parcel()).await.err().unwrap();
        assert_eq!((gone.code.as_str(), gone.fault), ("QueueDoesNotExist", base::Fault::Client));
        let named = serde_json::json!({"QueueName": "q"});
        queue::create(ctx.clone(), serde_json::from_value(named).unwrap()).await.unwrap();

        let wants = |batch: Batch, parcels| deliver::commit(&ctx.cloud, batch, parcels);
        let prepared = async || deliver::prepare(&ctx, ARN, parcel()).await.unwrap();
        drop(prepared().await);
        assert_eq!(count(&ctx).await, 0);
        let fails = Batch::new().expect_absent(&QUEUES, &ctx.scope(), "q");
        let outcome = wants(fails, vec![prepared().await]).await.unwrap();
        assert!(!outcome.is_committed());
        assert_eq!(count(&ctx).await, 0);
        let happens = Batch::new().expect_present(&QUEUES, &ctx.scope(), "q");
        let outcome = wants(happens, vec![prepared().await, prepared().await]).await.unwrap();
        assert!(matches!(outcome, Outcome::Committed(_)));
        assert_eq!(count(&ctx).await, 2);
        // What memory knows is what the store has.
        let (queues, now) = (&ctx.cloud.memory.live_queues, ctx.cx.now());
        let before = find(&ctx, ARN).await.unwrap().live().await.unwrap();
        let line = find(&ctx, ARN).await.unwrap().queue.line;
        let known = Arc::downgrade(&before);
        drop(before);
        queues.let_go(now, now.plus(std::time::Duration::from_secs(1)));
        assert!(known.upgrade().is_none(), "it went");
        assert_eq!(count(&ctx).await, 2);
        // Who comes to a line that was closed finds nothing there, and its queue is not said to have it.
        queues.close(line);
        assert_eq!(count(&ctx).await, 0);
        assert!(find(&ctx, ARN).await.unwrap().live().await.unwrap().admit(now, &[]).is_err());
    }
}

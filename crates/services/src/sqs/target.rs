//! A queue as others send to it: a message that is written in the commit of what it tells of.

use base::AwsError;
use store::Batch;

use super::contents::{Wanted, is_allowed};
use super::errors;
use super::live::{Admitted, Closed, Write};
use super::message::AttributeValue;
use super::redrive::queue_of_arn;
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
                    Admitted::New(seq) => write.add(&live, now, seq, &new),
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

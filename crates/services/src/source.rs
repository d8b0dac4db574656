//! What mappings read for functions, whatever service it is of.

use std::time::Duration;

use base::{AwsError, BoxFuture, Timestamp};

use crate::Ctx;

/// A source whose events are each done with by themselves, such as a queue.
pub trait Source: Send + Sync {
    /// Waits until there may be something to take, so long at most. It may be dropped.
    fn wait(&self, at_most: Duration) -> BoxFuture<'_, Result<(), AwsError>>;

    /// Whoever waited and will not take lets others who wait do so.
    fn pass_on(&self) -> BoxFuture<'_, Result<(), AwsError>> {
        Box::pin(async { Ok(()) })
    }

    /// What can be taken now; nobody else is given it for a while.
    fn take(&self, most: usize) -> BoxFuture<'_, Result<Vec<Event>, AwsError>>;

    /// Sees to it that these are nobody else's for long enough to be worked on, and says until when. Those that are gone or
    /// somebody else's by now are left out.
    fn keep(&self, events: Vec<Lent>) -> BoxFuture<'_, Result<Vec<Lent>, AwsError>> {
        Box::pin(async { Ok(events) })
    }

    /// These are done with.
    fn done(&self, events: Vec<Token>) -> BoxFuture<'_, Result<(), AwsError>>;

    /// Nobody is to be given these again: they go to where dead letters go, or are done with where they go nowhere.
    fn refuse(&self, events: Vec<Token>) -> BoxFuture<'_, Result<(), AwsError>> {
        self.done(events)
    }

    /// Others may take these again, at once.
    fn give_back(&self, events: Vec<Token>) -> BoxFuture<'_, Result<(), AwsError>>;
}

/// What a source knows one of its events by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token {
    pub seq: u64,
    pub receives: u32,
}

/// An event, and until when nobody else is given it.
pub type Lent = (Token, Timestamp);

/// An event as its source gives it.
#[derive(Debug, Clone)]
pub struct Event {
    pub token: Token,
    /// What a report of failures calls it.
    pub id: String,
    /// As a function sees it, in JSON.
    pub record: String,
    /// The header that came with it.
    pub trace_header: Option<String>,
    /// Nobody else is given it before.
    pub ours_until: Timestamp,
}

/// Whether sources like this one are built.
pub fn is_built(arn: &str) -> bool {
    arn.split(':').nth(2) == Some("sqs")
}

/// The source that an ARN names, as its account's own.
pub async fn find(ctx: &Ctx, arn: &str) -> Result<Option<Box<dyn Source>>, AwsError> {
    match arn.split(':').nth(2) {
        Some("sqs") => Ok(crate::sqs::source::find(ctx, arn).await?.map(|queue| Box::new(queue) as Box<dyn Source>)),
        _ => Ok(None),
    }
}

/// Why a function that takes so many seconds cannot be given what this source has, in AWS's words; nothing if it can.
pub async fn refusal(ctx: &Ctx, arn: &str, timeout_seconds: u32) -> Result<Option<String>, AwsError> {
    match arn.split(':').nth(2) {
        Some("sqs") => crate::sqs::source::check(ctx, arn, timeout_seconds).await,
        _ => Ok(None),
    }
}

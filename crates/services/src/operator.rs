//! What the operator of a server sees and steers, beside AWS's API: queues, mappings, events, and whether all is over.

use std::sync::Arc;

use base::{AwsError, Timestamp, Uuid};
use store::Scope;

pub use crate::idle::{Busy, Question};
pub use crate::lambda::event_source_mapping::operator::MappingSeen;
pub use crate::lambda::invoke::operator::{EventSeen, EventsSeen};
pub use crate::sqs::move_task::Shown as MoveSeen;
pub use crate::sqs::operator::{MessageSeen, QueueSeen, Tail};

use crate::lambda::event_source_mapping::operator as mappings;
use crate::lambda::invoke::operator as events;
use crate::sqs::operator as queues;
use crate::{Ctx, Post};

/// Acts in the name of any account.
#[derive(Clone)]
pub struct Operator {
    post: Arc<Post>,
}

impl Operator {
    pub fn new(post: Post) -> Self {
        Self { post: Arc::new(post) }
    }

    fn ctx(&self, scope: &Scope) -> Result<Ctx, AwsError> {
        let ctx = self.post.context(scope, self.post.chance.uuid());
        ctx.ok_or_else(|| AwsError::client(400, "InvalidParameterValue", "A region is needed."))
    }

    pub async fn queues(&self, scope: &Scope) -> Result<Vec<QueueSeen>, AwsError> {
        queues::queues(&self.ctx(scope)?).await
    }

    /// The messages of a queue behind a place in it, without receiving them; and whether more would have been too much at once.
    pub async fn messages(
        &self,
        scope: &Scope,
        queue: &str,
        after: Option<u64>,
        most: usize,
    ) -> Result<(Vec<MessageSeen>, bool), AwsError> {
        queues::messages(&queues::find(&self.ctx(scope)?, queue).await?, after, most).await
    }

    /// What comes to a queue from now on.
    pub async fn tail(&self, scope: &Scope, queue: &str) -> Result<Tail, AwsError> {
        Tail::of(queues::find(&self.ctx(scope)?, queue).await?).await
    }

    pub async fn purge(&self, scope: &Scope, queue: &str) -> Result<(), AwsError> {
        queues::purge(&queues::find(&self.ctx(scope)?, queue).await?).await
    }

    /// Begins to move a queue's dead letters to where they came from, or to another queue.
    pub async fn redrive(&self, scope: &Scope, queue: &str, to: Option<&str>) -> Result<Option<MoveSeen>, AwsError> {
        let found = queues::find(&self.ctx(scope)?, queue).await?;
        queues::redrive(&found, to).await?;
        queues::latest_move(&found).await
    }

    /// How the latest move of a queue's dead letters stands.
    pub async fn latest_move(&self, scope: &Scope, queue: &str) -> Result<Option<MoveSeen>, AwsError> {
        queues::latest_move(&queues::find(&self.ctx(scope)?, queue).await?).await
    }

    /// Stops a queue's delivery, or lets it go on.
    pub async fn freeze_queue(&self, scope: &Scope, queue: &str, is_frozen: bool) -> Result<QueueSeen, AwsError> {
        let ctx = self.ctx(scope)?;
        queues::freeze(&queues::find(&ctx, queue).await?, is_frozen).await?;
        queues::see(&queues::find(&ctx, queue).await?).await
    }

    pub async fn mappings(&self, scope: &Scope) -> Result<Vec<MappingSeen>, AwsError> {
        mappings::mappings(&self.ctx(scope)?).await
    }

    /// Lets a mapping read nothing, or go on.
    pub async fn freeze_mapping(&self, scope: &Scope, uuid: &str, is_frozen: bool) -> Result<MappingSeen, AwsError> {
        mappings::freeze(&self.ctx(scope)?, uuid, is_frozen).await
    }

    pub async fn events(&self, scope: &Scope, function: &str, most: usize) -> Result<EventsSeen, AwsError> {
        events::events(&self.ctx(scope)?, function, most).await
    }

    /// Has dead events of a function tried once more: those with these ids, or all. Says how many.
    pub async fn redrive_events(&self, scope: &Scope, function: &str, ids: &[Uuid]) -> Result<usize, AwsError> {
        events::redrive(&self.ctx(scope)?, function, ids).await
    }

    /// Waits until all that is meant is over, or until a time. Says what was not.
    pub async fn wait(&self, question: &Question, until: Timestamp) -> Result<Option<Busy>, AwsError> {
        question.wait(&self.post, until).await
    }
}

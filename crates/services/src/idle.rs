//! Whether everything that was caused by a request, or by anything, has come to its end.
//!
//! What is under way is in memory, what waits for its time lies in the store, and between the two things move on while
//! somebody looks. But whatever moves from one place to the next is under way from before until after that. So a look saw
//! the truth that first found nothing under way, then nothing that waits, and during which nothing began.
//!
//! Messages count where a mapping reads them for a function. What lies in other queues waits for programs that nobody
//! knows of here.

use std::time::Duration;

use base::{AccountId, AwsError, Region, Timestamp};
use serde::{Deserialize, Serialize};
use store::Scope;

use crate::derived::outgoing;
use crate::under_way::{self, Kind, Step};
use crate::{Cloud, Post, lambda, sqs};

/// How often it is looked, at first and at most.
const LOOKS_AFTER: Duration = Duration::from_millis(10);
const LOOKS_AFTER_MAX: Duration = Duration::from_millis(250);
/// A look may last so long at least, also where nobody wants to wait.
const LOOKS_FOR_MIN: Duration = Duration::from_secs(1);
/// How often it is looked again at once where something began meanwhile.
const LOOKS: usize = 3;

/// What is asked to be idle.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Of all accounts and regions, if none is said.
    pub account: Option<AccountId>,
    pub region: Option<Region>,
    /// The root of a trace, or the id of the request with which it began; else all is meant.
    pub trace: Option<String>,
    /// What is to happen later does not count: retries and delayed messages.
    pub skips_later: bool,
}

/// Something that is not over.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Busy {
    /// `invocation`, `event`, `messages`, `batch`, `move`, `log events`, or `look` where there was too much to look at.
    pub what: &'static str,
    /// The function; of `messages` and `move` the queue, of `log events` the subscription filter that they matched.
    pub name: String,
    /// When an event is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Busy {
    fn new(what: &'static str, name: impl Into<String>) -> Self {
        Self { what, name: name.into(), next: None }
    }
}

impl Question {
    fn means(&self, scope: &Scope) -> bool {
        self.account.is_none_or(|account| account == scope.account)
            && self.region.as_ref().is_none_or(|region| scope.region.as_ref() == Some(region))
    }

    fn is_about(&self, step: &Step) -> bool {
        let is_meant = match step.kind {
            // What is taken counts as a message until it is held, but for those who count no message that is in flight.
            Kind::Taking => self.skips_later,
            // Whose messages are moved is not looked at.
            Kind::Move => true,
            _ => self.trace.as_ref().is_none_or(|trace| step.is_of(trace)),
        };
        is_meant && self.means(&step.scope)
    }

    /// A question of one trace knows it by its root, or by the request with which it began.
    fn checked(&self) -> Result<Self, AwsError> {
        let known = |trace: &String| {
            let wanted = "a trace is a request's id, a root such as 1-5759e988-bd862e3fe1be46a994272793, or a header that has one";
            under_way::trace_of(trace).ok_or_else(|| AwsError::client(400, "InvalidParameterValue", wanted))
        };
        Ok(Self { trace: self.trace.as_ref().map(known).transpose()?, ..self.clone() })
    }

    /// Waits until all that is meant is over, or until a time. Says what was not.
    pub async fn wait(&self, post: &Post, until: Timestamp) -> Result<Option<Busy>, AwsError> {
        self.checked()?.wait_checked(post, until).await
    }

    async fn wait_checked(&self, post: &Post, until: Timestamp) -> Result<Option<Busy>, AwsError> {
        let mut rest = LOOKS_AFTER;
        loop {
            let began = post.clock.now();
            // A look at much takes its time, and ends with it.
            let left = until.since(began).max(LOOKS_FOR_MIN);
            let busy = match tokio::time::timeout(left, self.look(post, began)).await {
                Ok(looked) => looked?,
                Err(_) => return Ok(Some(Busy::new("look", "too much"))),
            };
            let now = post.clock.now();
            if busy.is_none() || now >= until {
                return Ok(busy);
            }
            // A look may have much to read; others want to work meanwhile.
            tokio::time::sleep(rest.max(now.since(began)).min(until.since(now))).await;
            rest = rest.saturating_mul(2).min(LOOKS_AFTER_MAX);
        }
    }

    /// Something that is not over; nothing if everything is.
    pub async fn look(&self, post: &Post, now: Timestamp) -> Result<Option<Busy>, AwsError> {
        let cloud = &post.cloud;
        for _ in 0..LOOKS {
            let begun = cloud.memory.under_way.begun();
            if let Some(busy) = self.look_once(post, now).await? {
                return Ok(Some(busy));
            }
            if !cloud.memory.under_way.began_since(begun, |step| self.is_about(step)) {
                return Ok(None);
            }
        }
        Ok(Some(Busy::new("invocation", "some function")))
    }

    async fn look_once(&self, post: &Post, now: Timestamp) -> Result<Option<Busy>, AwsError> {
        if let Some(busy) = self.running(&post.cloud) {
            return Ok(Some(busy));
        }
        if self.trace.is_none()
            && let Some(name) = outgoing::any_waiting(&post.cloud, |scope| self.means(scope)).await?
        {
            return Ok(Some(Busy::new("log events", name)));
        }
        let due_before = self.skips_later.then_some(now);
        let is_meant = |scope: &Scope| self.means(scope);
        let waiting = lambda::invoke::operator::any_waiting(&post.cloud, is_meant, self.trace.as_deref(), due_before);
        if let Some((name, again)) = waiting.await? {
            let next = again.map(Timestamp::iso8601_millis);
            return Ok(Some(Busy { next, ..Busy::new("event", name) }));
        }
        for (scope, arn) in lambda::event_source_mapping::operator::sources_read(&post.cloud).await? {
            let Some(ctx) = post.context(&scope, post.chance.uuid()).filter(|_| self.means(&scope)) else { continue };
            if sqs::operator::is_busy(&ctx, &arn, self.trace.as_deref(), !self.skips_later).await? {
                let name = arn.rsplit(':').next().unwrap_or_default().to_owned();
                return Ok(Some(Busy::new("messages", name)));
            }
        }
        Ok(None)
    }

    fn running(&self, cloud: &Cloud) -> Option<Busy> {
        let step = cloud.memory.under_way.steps(|step| self.is_about(step)).into_iter().next()?;
        let what = match step.kind {
            Kind::Invocation | Kind::Attempt(_) => "invocation",
            Kind::Batch | Kind::Taking => "batch",
            Kind::Move => "move",
        };
        Some(Busy::new(what, &*step.name))
    }
}

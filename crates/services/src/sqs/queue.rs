//! Queues: the record, where it is kept, and what is done to a queue as a whole.
//!
//! A queue's messages lie under its *line*, an id that a purge replaces. What lies under a line that is no queue's any
//! more is cleared away by [`sweep`](super::sweep).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base::{AwsError, Timestamp, Uuid};
use serde::{Deserialize, Serialize};
use store::{Batch, Record, Scan, Table};

use super::freeze::Frost;
use super::live::Live;
use super::name::{self, Address};
use super::settings::{ATTRIBUTES, Attributes, Settings};
use super::{errors, grant, sweep};
use crate::{Ctx, Service};

pub static QUEUES: Table<String, Queue> = Table::new("sqs_queues");

/// When a queue of this name was deleted last.
static DELETED: Table<String, Deletion> = Table::new("sqs_deleted_queues");

const LISTED_MAX: usize = 1_000;
const TAGS_MAX: usize = 50;
/// Rows that a page of a search looks at.
const STEP: usize = 500;
/// How long AWS takes to forget a queue, and to purge one.
const SETTLING: Duration = Duration::from_secs(60);

/// What no policy lets other accounts do.
const OWNERS_ALONE: [&str; 11] = [
    "sqs:AddPermission",
    "sqs:CancelMessageMoveTask",
    "sqs:CreateQueue",
    "sqs:DeleteQueue",
    "sqs:ListMessageMoveTasks",
    "sqs:ListQueueTags",
    "sqs:RemovePermission",
    "sqs:SetQueueAttributes",
    "sqs:StartMessageMoveTask",
    "sqs:TagQueue",
    "sqs:UntagQueue",
];

/// A queue as stored, under its name.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Queue {
    pub name: String,
    /// Tells this queue from an earlier one of the same name.
    pub incarnation: Uuid,
    /// What its messages lie under.
    pub line: Uuid,
    pub created: Timestamp,
    pub modified: Timestamp,
    pub purged: Option<Timestamp>,
    #[serde(default)]
    pub frost: Frost,
    pub settings: Settings,
    pub tags: BTreeMap<String, String>,
}

impl Record for Queue {
    const VERSION: u8 = 1;
}

#[derive(Serialize, Deserialize)]
struct Deletion {
    at: Timestamp,
}

impl Record for Deletion {
    const VERSION: u8 = 1;
}

/// A queue that a request is about.
pub struct Found {
    /// The request's, but in the account of the queue.
    pub ctx: Ctx,
    pub queue: Arc<Queue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct CreateQueue {
    queue_name: String,
    attributes: Option<Attributes>,
    #[serde(rename = "tags")]
    tags: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct GetQueueUrl {
    queue_name: String,
    #[serde(rename = "QueueOwnerAWSAccountId")]
    owner: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct QueueUrl {
    queue_url: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Named {
    queue_url: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ListQueues {
    queue_name_prefix: Option<String>,
    next_token: Option<String>,
    max_results: Option<i64>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Listed {
    queue_urls: Option<Vec<String>>,
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ListSources {
    queue_url: String,
    next_token: Option<String>,
    max_results: Option<i64>,
}

#[derive(Serialize)]
pub struct Sources {
    #[serde(rename = "queueUrls")]
    queue_urls: Vec<String>,
    #[serde(rename = "NextToken")]
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct GetAttributes {
    queue_url: String,
    attribute_names: Option<Vec<String>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Shown {
    attributes: Option<Attributes>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct SetAttributes {
    queue_url: String,
    attributes: Attributes,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct TagQueue {
    queue_url: String,
    tags: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct UntagQueue {
    queue_url: String,
    tag_keys: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Tags {
    tags: Option<BTreeMap<String, String>>,
}

pub fn operations(service: Service) -> Service {
    service
        .operation("CreateQueue", create)
        .operation("DeleteQueue", delete)
        .operation("GetQueueAttributes", attributes)
        .operation("GetQueueUrl", get_url)
        .operation("ListDeadLetterSourceQueues", list_sources)
        .operation("ListQueueTags", list_tags)
        .operation("ListQueues", list)
        .operation("PurgeQueue", purge)
        .operation("SetQueueAttributes", set_attributes)
        .operation("TagQueue", tag)
        .operation("UntagQueue", untag)
}

impl Found {
    /// Removes all messages.
    pub async fn purge(&self) -> Result<(), AwsError> {
        let (now, next, scope) = (self.ctx.cx.now(), self.ctx.cx.id(), self.ctx.scope());
        let mut line = self.queue.line;
        edit(self, |queue, batch| {
            if queue.purged.is_some_and(|purged| now < purged.plus(SETTLING)) {
                return Err(errors::purge_in_progress(&queue.name));
            }
            line = std::mem::replace(&mut queue.line, next);
            queue.purged = Some(now);
            Ok(sweep::leave(batch, &scope, line))
        })
        .await?;
        let queues = &self.ctx.cloud.memory.live_queues;
        queues.close(line);
        queues.meters.of(&scope, &self.queue.name, now).rest(0, None);
        Ok(())
    }

    /// The queue that a URL names, if the caller may do `action` with it.
    pub async fn at(ctx: &Ctx, url: &str, action: &str) -> Result<Self, AwsError> {
        let by_name = || name::is_name(url).then_some(Address { account: ctx.cx.account, name: url });
        let address = Address::parse(url).or_else(by_name).ok_or_else(|| errors::invalid_address(url))?;
        Self::of(ctx, &address, action).await
    }

    pub async fn of(ctx: &Ctx, address: &Address<'_>, action: &str) -> Result<Self, AwsError> {
        let caller = ctx.cx.account;
        let mut ctx = ctx.clone();
        ctx.cx.account = address.account;
        let queue = QUEUES.get_shared(&ctx.cloud.store, &ctx.scope(), address.name).await?;
        let queue = queue.ok_or_else(errors::no_such_queue)?;
        if caller != address.account && (OWNERS_ALONE.contains(&action) || !grant::lets(&ctx, &queue, action)) {
            return Err(errors::access_denied(&ctx.cx.principal.arn, action, &name::arn(&ctx, &queue.name)));
        }
        Ok(Self { ctx, queue })
    }

    pub async fn live(&self) -> Result<Arc<Live>, AwsError> {
        let Self { ctx, queue } = self;
        ctx.cloud.memory.live_queues.get(&ctx.cloud.store, &ctx.scope(), queue, ctx.cx.now()).await
    }
}

/// Changes a queue that must be there.
pub async fn edit(
    found: &Found,
    mut change: impl FnMut(&mut Queue, Batch) -> Result<Batch, AwsError>,
) -> Result<(), AwsError> {
    let (ctx, name) = (&found.ctx, found.queue.name.as_str());
    let scope = ctx.scope();
    let mut edit = ctx.edit(&QUEUES, &scope, name).await;
    loop {
        let (queue, batch) = edit.read().await?;
        let mut queue = queue.ok_or_else(errors::no_such_queue)?;
        let batch = change(&mut queue, batch)?;
        if edit.commit(batch.put(&QUEUES, &scope, name, &queue)).await? {
            return Ok(());
        }
    }
}

pub async fn create(ctx: Ctx, input: CreateQueue) -> Result<QueueUrl, AwsError> {
    let wanted = input.attributes.unwrap_or_default();
    let settings = settings_of(&input.queue_name, &wanted)?;
    let (name, tags) = (input.queue_name, input.tags.unwrap_or_default());
    check_tags(&tags)?;
    let (scope, now) = (ctx.scope(), ctx.cx.now());
    check_dead_letters(&ctx, &name, &settings).await?;
    let mut edit = ctx.edit(&QUEUES, &scope, &name).await;
    loop {
        let (queue, batch) = edit.read().await?;
        if let Some(queue) = queue {
            check_same(&queue, &wanted)?;
            break;
        }
        let deleted = DELETED.get(&ctx.cloud.store, &scope, &name).await?;
        if deleted.is_some_and(|deleted| now < deleted.value.at.plus(SETTLING)) {
            return Err(errors::queue_deleted_recently());
        }
        let queue = Queue {
            name: name.clone(),
            incarnation: ctx.cx.id(),
            line: ctx.cx.id(),
            created: now,
            modified: now,
            purged: None,
            frost: Frost::default(),
            settings: settings.clone(),
            tags: tags.clone(),
        };
        let batch = batch.put(&QUEUES, &scope, &name, &queue).delete(&DELETED, &scope, &name);
        if edit.commit(batch).await? {
            ctx.cloud.memory.live_queues.meters.of(&scope, &name, now).begin(now);
            break;
        }
    }
    Ok(QueueUrl { queue_url: name::url(&ctx, &name) })
}

/// What is said of a queue that is to be made.
fn settings_of(queue_name: &str, wanted: &Attributes) -> Result<Settings, AwsError> {
    let wants_fifo = wanted.get("FifoQueue").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let is_fifo = name::is_fifo(queue_name);
    if wants_fifo && !(is_fifo && name::is_name(queue_name)) {
        return Err(errors::invalid(
            "The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, must end with \
             .fifo suffix and be 1 to 80 in length.",
        ));
    }
    if is_fifo && !wants_fifo || !name::is_name(queue_name) {
        return Err(errors::invalid(
            "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length",
        ));
    }
    let mut settings = Settings::new(wants_fifo);
    wanted.iter().try_for_each(|(name, value)| settings.set(name, value))?;
    Ok(settings)
}

/// A queue that is made again must be wanted as it is.
fn check_same(queue: &Queue, wanted: &Attributes) -> Result<(), AwsError> {
    let is = queue.settings.shown();
    for (name, value) in wanted {
        let mut other = queue.settings.clone();
        other.set(name, value)?;
        if other.shown().get(name) != is.get(name) {
            return Err(errors::queue_exists(name));
        }
    }
    Ok(())
}

/// Dead letters go to a queue that is there, is of the same kind, and takes them.
async fn check_dead_letters(ctx: &Ctx, source: &str, settings: &Settings) -> Result<(), AwsError> {
    let Some(redrive) = &settings.redrive else { return Ok(()) };
    let target = redrive.dead_letter_target_arn.as_str();
    let wrong = |reason: &str| {
        let value = serde_json::to_string(redrive).unwrap_or_default();
        errors::invalid_value(value, "RedrivePolicy", reason)
    };
    let found = match name::of_arn(ctx, target) {
        Some((account, name)) if account == ctx.cx.account => {
            QUEUES.get_shared(&ctx.cloud.store, &ctx.scope(), &name).await?
        }
        _ => None,
    };
    let Some(target) = found else { return Err(wrong("Dead letter target does not exist.")) };
    if target.settings.fifo.is_some() != settings.fifo.is_some() {
        return Err(wrong("Dead-letter queue must be same type of queue as the source."));
    }
    let source = name::arn(ctx, source);
    match &target.settings.redrive_allow {
        Some(allow) if !allow.takes_from(&source) => Err(wrong("The target does not take its dead letters.")),
        _ => Ok(()),
    }
}

pub async fn delete(ctx: Ctx, input: Named) -> Result<(), AwsError> {
    let found = Found::at(&ctx, &input.queue_url, "sqs:DeleteQueue").await?;
    let (ctx, name, now) = (&found.ctx, found.queue.name.as_str(), ctx.cx.now());
    let scope = ctx.scope();
    let mut edit = ctx.edit(&QUEUES, &scope, name).await;
    loop {
        let (queue, batch) = edit.read().await?;
        let queue = queue.ok_or_else(errors::no_such_queue)?;
        let batch = sweep::leave(batch.delete(&QUEUES, &scope, name), &scope, queue.line);
        if edit.commit(batch.put(&DELETED, &scope, name, &Deletion { at: now })).await? {
            ctx.cloud.memory.live_queues.close(queue.line);
            ctx.cloud.memory.live_queues.meters.end(&scope, name);
            return Ok(());
        }
    }
}

pub async fn purge(ctx: Ctx, input: Named) -> Result<(), AwsError> {
    Found::at(&ctx, &input.queue_url, "sqs:PurgeQueue").await?.purge().await
}

pub async fn get_url(ctx: Ctx, input: GetQueueUrl) -> Result<QueueUrl, AwsError> {
    let account = match &input.owner {
        Some(owner) => owner.parse().map_err(|_| errors::no_such_queue())?,
        None => ctx.cx.account,
    };
    let address = Address { account, name: &input.queue_name };
    let found = Found::of(&ctx, &address, "sqs:GetQueueUrl").await?;
    Ok(QueueUrl { queue_url: name::url(&found.ctx, &found.queue.name) })
}

pub async fn list(ctx: Ctx, input: ListQueues) -> Result<Listed, AwsError> {
    let prefix = input.queue_name_prefix.unwrap_or_default();
    let page = Page { operation: "sqs:ListQueues", token: input.next_token, max: input.max_results };
    let (queue_urls, next_token) = page.search(&ctx, &prefix, |_| true).await?;
    Ok(Listed { queue_urls: Some(queue_urls).filter(|urls| !urls.is_empty()), next_token })
}

pub async fn list_sources(ctx: Ctx, input: ListSources) -> Result<Sources, AwsError> {
    let found = Found::at(&ctx, &input.queue_url, "sqs:ListDeadLetterSourceQueues").await?;
    let target = name::arn(&found.ctx, &found.queue.name);
    let is_source =
        |queue: &Queue| queue.settings.redrive.as_ref().is_some_and(|it| it.dead_letter_target_arn == target);
    let page = Page { operation: "sqs:ListDeadLetterSourceQueues", token: input.next_token, max: input.max_results };
    let (queue_urls, next_token) = page.search(&found.ctx, "", is_source).await?;
    Ok(Sources { queue_urls, next_token })
}

/// Which part of a list is wanted.
struct Page {
    operation: &'static str,
    token: Option<String>,
    max: Option<i64>,
}

impl Page {
    /// The URLs of the queues that are wanted, and where to go on if not all were asked for.
    async fn search(
        self,
        ctx: &Ctx,
        prefix: &str,
        is_wanted: impl Fn(&Queue) -> bool,
    ) -> Result<(Vec<String>, Option<String>), AwsError> {
        let most = match self.max.map(usize::try_from) {
            None => LISTED_MAX,
            Some(Ok(max)) if (1..=LISTED_MAX).contains(&max) => max,
            Some(_) => {
                return Err(errors::invalid(
                    "Value for parameter MaxResults is invalid. Reason: Must be between 1 and 1000.",
                ));
            }
        };
        let scan = Scan::all(STEP).starting_with(prefix);
        let mut scan = ctx
            .resume(self.operation, scan, self.token.as_deref())
            .ok_or_else(|| errors::invalid("Invalid or expired next token."))?;
        let (mut urls, mut last) = (Vec::new(), None);
        loop {
            let page = QUEUES.page(&ctx.cloud.store, &ctx.scope(), scan.clone()).await?;
            for row in page.rows {
                if !is_wanted(&row.value) {
                    continue;
                }
                if urls.len() == most {
                    // Who did not ask for pages gets none.
                    let marker = self.max.and_then(|_| ctx.marker(self.operation, last.as_ref()));
                    return Ok((urls, marker));
                }
                urls.push(name::url(ctx, &row.key));
                last = Some(row.key);
            }
            match page.next {
                None => return Ok((urls, None)),
                Some(next) => scan = scan.after(&next),
            }
        }
    }
}

pub async fn attributes(ctx: Ctx, input: GetAttributes) -> Result<Shown, AwsError> {
    let names = input.attribute_names.unwrap_or_default();
    let found = Found::at(&ctx, &input.queue_url, "sqs:GetQueueAttributes").await?;
    if let Some(unknown) = names.iter().find(|name| !ATTRIBUTES.contains(&name.as_str())) {
        return Err(errors::unknown_attribute(unknown));
    }
    let mut all = found.queue.settings.shown();
    let (live, now) = (found.live().await?, ctx.cx.now());
    live.expire(&ctx.cloud, now, &found.queue).await?;
    let counts = live.counts(now);
    let of_queue = [
        ("QueueArn", name::arn(&found.ctx, &found.queue.name)),
        ("CreatedTimestamp", found.queue.created.as_secs().to_string()),
        ("LastModifiedTimestamp", found.queue.modified.as_secs().to_string()),
        ("ApproximateNumberOfMessages", counts.waiting.to_string()),
        ("ApproximateNumberOfMessagesNotVisible", counts.in_flight.to_string()),
        ("ApproximateNumberOfMessagesDelayed", counts.delayed.to_string()),
    ];
    all.extend(of_queue.map(|(name, value)| (name.to_owned(), value)));
    if !names.iter().any(|name| name == "All") {
        all.retain(|name, _| names.contains(name));
    }
    Ok(Shown { attributes: Some(all).filter(|all| !all.is_empty()) })
}

pub async fn set_attributes(ctx: Ctx, input: SetAttributes) -> Result<(), AwsError> {
    let found = Found::at(&ctx, &input.queue_url, "sqs:SetQueueAttributes").await?;
    let mut settings = found.queue.settings.clone();
    settings.change(&input.attributes, ctx.cx.now())?;
    if input.attributes.contains_key("RedrivePolicy") {
        check_dead_letters(&found.ctx, &found.queue.name, &settings).await?;
    }
    let now = ctx.cx.now();
    edit(&found, |queue, batch| {
        queue.settings.change(&input.attributes, now)?;
        queue.modified = now;
        Ok(batch)
    })
    .await?;
    // Who waits for messages may find some by the new terms.
    found.live().await?.ring();
    Ok(())
}

fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), AwsError> {
    if tags.len() > TAGS_MAX {
        return Err(errors::invalid(format!("Too many tags added for queue. Maximum is {TAGS_MAX}.")));
    }
    let is_key = |key: &str| (1..=128).contains(&key.chars().count());
    let is_text = |text: &str| !text.chars().any(char::is_control);
    match tags.iter().all(|(key, value)| is_key(key) && value.chars().count() <= 256 && is_text(key) && is_text(value))
    {
        true => Ok(()),
        false => Err(errors::invalid(
            "Tag keys have 1 to 128 characters, and their values 256 at most; none is a control character.",
        )),
    }
}

pub async fn tag(ctx: Ctx, input: TagQueue) -> Result<(), AwsError> {
    let found = Found::at(&ctx, &input.queue_url, "sqs:TagQueue").await?;
    edit(&found, |queue, batch| {
        queue.tags.extend(input.tags.clone());
        check_tags(&queue.tags)?;
        Ok(batch)
    })
    .await
}

pub async fn untag(ctx: Ctx, input: UntagQueue) -> Result<(), AwsError> {
    let found = Found::at(&ctx, &input.queue_url, "sqs:UntagQueue").await?;
    edit(&found, |queue, batch| {
        queue.tags.retain(|key, _| !input.tag_keys.contains(key));
        Ok(batch)
    })
    .await
}

pub async fn list_tags(ctx: Ctx, input: Named) -> Result<Tags, AwsError> {
    let found = Found::at(&ctx, &input.queue_url, "sqs:ListQueueTags").await?;
    Ok(Tags { tags: Some(found.queue.tags.clone()).filter(|tags| !tags.is_empty()) })
}

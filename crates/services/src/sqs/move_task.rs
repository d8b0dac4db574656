//! Moving dead letters back: `StartMessageMoveTask`, `ListMessageMoveTasks`, `CancelMessageMoveTask`.
//!
//! A task is a record, and goes on after a restart where it was. A message is moved in one commit; how many were is counted
//! in the next, so a crash may leave one step uncounted.

use std::time::Duration;

use base::{AwsError, Timestamp, Uuid};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use engine::queue::Terms;
use serde::{Deserialize, Serialize};
use store::{Record, Row, Scan, Table};

use super::live::Closed;
use super::message::MESSAGES;
use super::queue::{Found, QUEUES};
use super::redrive::{self, queue_of_arn};
use super::write::Write;
use super::{errors, name};
use crate::under_way::{Going, Kind, Step};
use crate::{Ctx, Post, Service};

/// By the source's incarnation and when it began.
static TASKS: Table<(Uuid, (Timestamp, Uuid)), Task> = Table::new("sqs_move_tasks");

/// Messages that are moved in one commit.
const STEP: usize = 10;
/// What AWS lets be asked for.
const RATE_MAX: i64 = 500;
const LISTED_MAX: i64 = 10;
/// Tasks of a queue that are remembered.
const REMEMBERED_MAX: usize = 10;
/// How long what is being moved is hidden, should it stay.
const HIDDEN_FOR: Duration = Duration::from_secs(30);
/// When a frozen queue is looked at again.
const FROZEN_FOR: Duration = Duration::from_millis(500);
const ROWS: usize = 500;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Task {
    id: Uuid,
    source_name: String,
    destination_arn: Option<String>,
    per_second: Option<u32>,
    status: Status,
    failure: Option<String>,
    moved: u64,
    to_move: u64,
}

impl Record for Task {
    const VERSION: u8 = 1;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Status {
    Running,
    Completed,
    Cancelled,
    Failed,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Start {
    source_arn: String,
    destination_arn: Option<String>,
    max_number_of_messages_per_second: Option<i64>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Started {
    task_handle: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct List {
    source_arn: String,
    max_results: Option<i64>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Listed {
    results: Vec<Shown>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Shown {
    task_handle: Option<String>,
    status: Status,
    source_arn: String,
    destination_arn: Option<String>,
    max_number_of_messages_per_second: Option<u32>,
    approximate_number_of_messages_moved: u64,
    approximate_number_of_messages_to_move: u64,
    failure_reason: Option<String>,
    started_timestamp: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Cancel {
    task_handle: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Cancelled {
    approximate_number_of_messages_moved: u64,
}

/// What a handle says: it is AWS's form, which tools take apart.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Handle {
    task_id: String,
    source_arn: String,
}

pub fn operations(service: Service) -> Service {
    service
        .operation("CancelMessageMoveTask", cancel)
        .operation("ListMessageMoveTasks", list)
        .operation("StartMessageMoveTask", start)
}

pub async fn start(ctx: Ctx, input: Start) -> Result<Started, AwsError> {
    const ACTION: &str = "sqs:StartMessageMoveTask";
    let per_second = match input.max_number_of_messages_per_second {
        None => None,
        Some(rate) if (1..=RATE_MAX).contains(&rate) => u32::try_from(rate).ok(),
        Some(rate) => {
            let reason = format!("Must be between 1 and {RATE_MAX}, if provided.");
            return Err(errors::invalid_value(rate, "MaxNumberOfMessagesPerSecond", &reason));
        }
    };
    let source = queue_of_arn(&ctx, &input.source_arn, ACTION).await?.ok_or_else(|| no_queue("SourceArn"))?;
    let destination = match &input.destination_arn {
        Some(arn) => Some(queue_of_arn(&ctx, arn, ACTION).await?.ok_or_else(|| no_queue("DestinationArn"))?),
        None => None,
    };
    start_from(&source, destination.as_ref(), per_second).await
}

/// Begins to move a queue's messages to where they came from, or all to one queue.
pub async fn start_from(
    source: &Found,
    destination: Option<&Found>,
    per_second: Option<u32>,
) -> Result<Started, AwsError> {
    if let Some(there) = destination {
        if there.queue.incarnation == source.queue.incarnation {
            return Err(errors::invalid("The source and the destination must be different queues."));
        }
        if there.queue.settings.fifo.is_some() != source.queue.settings.fifo.is_some() {
            return Err(errors::invalid("The source and the destination must be queues of the same type."));
        }
    }
    if !takes_dead_letters(source).await? {
        return Err(errors::invalid("Source queue must be configured as a Dead Letter Queue."));
    }
    let (now, id) = (source.ctx.cx.now(), source.ctx.cx.id());
    let task = Task {
        id,
        source_name: source.queue.name.clone(),
        destination_arn: destination.map(|there| name::arn(&there.ctx, &there.queue.name)),
        per_second,
        status: Status::Running,
        failure: None,
        moved: 0,
        to_move: source.live().await?.counts(now).waiting as u64,
    };
    let key = (source.queue.incarnation, (now, id));
    keep(source, key, &task).await?;
    let task_handle = handle(source, &task)?;
    let going = begin(&source.ctx, &task);
    source.ctx.cloud.spawn.spawn("a move of messages", Box::pin(run(source.ctx.clone(), key, going)));
    Ok(Started { task_handle })
}

/// Keeps a new task, if none of its queue runs. The oldest go that nobody is shown any more.
async fn keep(source: &Found, key: (Uuid, (Timestamp, Uuid)), task: &Task) -> Result<(), AwsError> {
    let (ctx, scope) = (&source.ctx, source.ctx.scope());
    // One at a time, by the queue that they are of.
    let mut edit = ctx.edit(&QUEUES, &scope, &source.queue.name).await;
    loop {
        let (queue, batch) = edit.read().await?;
        let queue = queue.ok_or_else(errors::no_such_queue)?;
        let tasks = of_queue(source).await?;
        if tasks.iter().any(|row| row.value.status == Status::Running) {
            return Err(errors::invalid(
                "There is already a task running. Only one active task is allowed for a source queue arn at a given time.",
            ));
        }
        let mut batch = batch.put(&QUEUES, &scope, &source.queue.name, &queue).put(&TASKS, &scope, key, task);
        for old in tasks.iter().skip(REMEMBERED_MAX.saturating_sub(1)) {
            batch = batch.delete(&TASKS, &scope, old.key);
        }
        if edit.commit(batch).await? {
            return Ok(());
        }
    }
}

pub async fn list(ctx: Ctx, input: List) -> Result<Listed, AwsError> {
    let most = match input.max_results.unwrap_or(1) {
        most if (1..=LISTED_MAX).contains(&most) => usize::try_from(most).unwrap_or(1),
        most => {
            let reason = format!("Must be between 1 and {LISTED_MAX}, if provided.");
            return Err(errors::invalid_value(most, "MaxResults", &reason));
        }
    };
    let source = queue_of_arn(&ctx, &input.source_arn, "sqs:ListMessageMoveTasks").await?;
    let source = source.ok_or_else(|| no_queue("SourceArn"))?;
    Ok(Listed { results: latest(&source, most).await? })
}

/// The tasks of a queue as they are shown, the latest first.
pub async fn latest(source: &Found, most: usize) -> Result<Vec<Shown>, AwsError> {
    let shown = |row: Row<(Uuid, (Timestamp, Uuid)), Task>| {
        let (task, (started, _)) = (row.value, row.key.1);
        let is_running = task.status == Status::Running;
        Ok(Shown {
            task_handle: is_running.then(|| handle(source, &task)).transpose()?,
            status: task.status,
            source_arn: name::arn(&source.ctx, &source.queue.name),
            destination_arn: task.destination_arn,
            max_number_of_messages_per_second: task.per_second,
            approximate_number_of_messages_moved: task.moved,
            approximate_number_of_messages_to_move: task.to_move,
            failure_reason: task.failure,
            started_timestamp: started.as_millis(),
        })
    };
    of_queue(source).await?.into_iter().take(most).map(shown).collect()
}

fn handle(source: &Found, task: &Task) -> Result<String, AwsError> {
    let source_arn = name::arn(&source.ctx, &source.queue.name);
    let handle = Handle { task_id: task.id.to_string(), source_arn };
    Ok(STANDARD.encode(serde_json::to_string(&handle).map_err(AwsError::internal)?))
}

pub async fn cancel(ctx: Ctx, input: Cancel) -> Result<Cancelled, AwsError> {
    let read = || -> Option<(Handle, Uuid)> {
        let handle: Handle = serde_json::from_slice(&STANDARD.decode(&input.task_handle).ok()?).ok()?;
        let id = handle.task_id.parse().ok()?;
        Some((handle, id))
    };
    let (handle, id) = read().ok_or_else(|| errors::invalid("Value for parameter TaskHandle is invalid."))?;
    let source = queue_of_arn(&ctx, &handle.source_arn, "sqs:CancelMessageMoveTask").await?;
    let source = source.ok_or_else(|| no_queue("SourceArn"))?;
    let found = of_queue(&source).await?.into_iter().find(|row| row.value.id == id);
    let key = found.ok_or_else(|| errors::not_found("Task does not exist."))?.key;
    let scope = source.ctx.scope();
    let mut edit = source.ctx.edit(&TASKS, &scope, key).await;
    loop {
        let (task, batch) = edit.read().await?;
        let mut task = task.ok_or_else(|| errors::not_found("Task does not exist."))?;
        if task.status != Status::Running {
            return Err(errors::invalid("Only active tasks can be cancelled."));
        }
        task.status = Status::Cancelled;
        if edit.commit(batch.put(&TASKS, &scope, key, &task)).await? {
            return Ok(Cancelled { approximate_number_of_messages_moved: task.moved });
        }
    }
}

fn no_queue(parameter: &str) -> AwsError {
    errors::not_found(format!("The resource that you specified for the {parameter} parameter doesn't exist."))
}

/// The tasks of a queue, the latest first.
async fn of_queue(source: &Found) -> Result<Vec<Row<(Uuid, (Timestamp, Uuid)), Task>>, AwsError> {
    let scan = Scan::all(ROWS).under::<Uuid>(source.queue.incarnation).reversed();
    Ok(TASKS.page(&source.ctx.cloud.store, &source.ctx.scope(), scan).await?.rows)
}

/// Whether some queue gives its dead letters to this one.
async fn takes_dead_letters(target: &Found) -> Result<bool, AwsError> {
    let arn = name::arn(&target.ctx, &target.queue.name);
    let mut scan = Scan::all(ROWS);
    loop {
        let page = QUEUES.page(&target.ctx.cloud.store, &target.ctx.scope(), scan.clone()).await?;
        let is_source = |row: &Row<String, super::queue::Queue>| {
            row.value.settings.redrive.as_ref().is_some_and(|redrive| redrive.dead_letter_target_arn == arn)
        };
        if page.rows.iter().any(is_source) {
            return Ok(true);
        }
        match page.next {
            None => return Ok(false),
            Some(next) => scan = scan.after(&next),
        }
    }
}

/// Goes on with the tasks that ran when the server ended.
pub async fn resume(post: Post) {
    let mut after = None;
    loop {
        let page = match TASKS.scan_all(&post.cloud.store, after.as_ref(), ROWS).await {
            Ok(page) => page,
            Err(error) => return tracing::error!(%error, "failed to find moves of messages that were under way"),
        };
        for row in page.rows.into_iter().filter(|row| row.value.status == Status::Running) {
            let (scope, key) = row.key;
            if let Some(ctx) = post.context(&scope, row.value.id) {
                let going = begin(&ctx, &row.value);
                post.spawn.spawn("a move of messages", Box::pin(run(ctx, key, going)));
            }
        }
        after = page.next;
        if after.is_none() {
            return;
        }
    }
}

/// Says that a task is under way.
fn begin(ctx: &Ctx, task: &Task) -> Going {
    let name = task.source_name.as_str().into();
    ctx.cloud.memory.under_way.begin(Step { scope: ctx.scope(), kind: Kind::Move, name, trace_header: None })
}

/// Moves what there is, as fast as it may.
async fn run(ctx: Ctx, key: (Uuid, (Timestamp, Uuid)), going: Going) {
    let mut going = Some(going);
    loop {
        match step(&ctx, key, &mut going).await {
            Ok(Some(rest)) => tokio::time::sleep(rest).await,
            Ok(None) => return,
            Err(error) => {
                tracing::error!(%error, "a move of messages failed");
                let (status, failure) = (Status::Failed, Some(old_code(&error)));
                return end(&ctx, key, |task| (task.status, task.failure) = (status, failure.clone())).await;
            }
        }
    }
}

/// The code that AWS shows of why it failed.
fn old_code(error: &AwsError) -> String {
    match error.code.as_str() {
        "QueueDoesNotExist" => "AWS.SimpleQueueService.NonExistentQueue".into(),
        code => code.into(),
    }
}

/// Moves some messages, and says how long to rest then; nothing if the task has ended.
async fn step(
    ctx: &Ctx,
    key: (Uuid, (Timestamp, Uuid)),
    going: &mut Option<Going>,
) -> Result<Option<Duration>, AwsError> {
    let (scope, now) = (ctx.scope(), ctx.cx.now());
    let Some(row) = TASKS.get(&ctx.cloud.store, &scope, key).await? else { return Ok(None) };
    let task = row.value;
    if task.status != Status::Running {
        return Ok(None);
    }
    let address = name::Address { account: ctx.cx.account, name: &task.source_name };
    let source = Found::of(ctx, &address, "sqs:ReceiveMessage").await?;
    if source.queue.frost.is_on() {
        // Nobody waits for what is frozen.
        *going = None;
        return Ok(Some(FROZEN_FOR));
    }
    going.get_or_insert_with(|| begin(ctx, &task));
    let live = source.live().await?;
    live.expire(&ctx.cloud, now, &source.queue).await?;
    let left = usize::try_from(task.to_move.saturating_sub(task.moved)).unwrap_or(usize::MAX);
    let most = task.per_second.map_or(STEP, |rate| STEP.min(rate as usize)).min(left);
    let terms = Terms { hidden_for: HIDDEN_FOR, receives_max: None };
    let taken = match live.take(now, most, terms) {
        Ok(taken) => taken?.0.received,
        Err(Closed) => Vec::new(),
    };
    if taken.is_empty() {
        end(ctx, key, |task| {
            if task.status == Status::Running {
                task.status = Status::Completed;
            }
        })
        .await;
        return Ok(None);
    }
    let count = taken.len();
    // Each by itself, as together they may be too much for one commit.
    let hold = |(seq, place)| (Write::default().remove_taken(&live, seq), seq, place);
    let held: Vec<_> = taken.into_iter().map(hold).collect();
    let mut begun = Vec::with_capacity(count);
    for (write, seq, place) in held {
        let target = destination(&source, &task, live.key(seq)).await?;
        let write = redrive::transfer(write, live.key(seq), place, &target, None).await?;
        begun.push(write.begin(&ctx.cloud));
    }
    for written in begun {
        written.done().await?;
    }
    end(ctx, key, |task| task.moved = task.moved.saturating_add(count as u64)).await;
    let per_message = task.per_second.map_or(Duration::ZERO, |rate| Duration::from_secs(1) / rate.max(1));
    Ok(Some(per_message.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX))))
}

/// Where a message goes: where its task says, or where it came from.
async fn destination(source: &Found, task: &Task, key: super::message::Key) -> Result<Found, AwsError> {
    let arn = match &task.destination_arn {
        Some(arn) => Some(arn.clone()),
        None => {
            let row = MESSAGES.get(&source.ctx.cloud.store, &source.ctx.scope(), key).await?;
            row.and_then(|row| row.value.dead_letter_source)
        }
    };
    let unknown =
        || AwsError::client(400, "CouldNotDetermineMessageSource", "Where the message came from is not known.");
    let arn = arn.ok_or_else(unknown)?;
    queue_of_arn(&source.ctx, &arn, "sqs:SendMessage").await?.ok_or_else(errors::no_such_queue)
}

/// Changes a task's record.
async fn end(ctx: &Ctx, key: (Uuid, (Timestamp, Uuid)), change: impl Fn(&mut Task)) {
    let scope = ctx.scope();
    let changed = async {
        let mut edit = ctx.edit(&TASKS, &scope, key).await;
        loop {
            let (task, batch) = edit.read().await?;
            let Some(mut task) = task else { return Ok(()) };
            change(&mut task);
            if edit.commit(batch.put(&TASKS, &scope, key, &task)).await? {
                return Ok::<(), AwsError>(());
            }
        }
    };
    if let Err(error) = changed.await {
        tracing::error!(%error, "failed to write down how a move of messages stands");
    }
}

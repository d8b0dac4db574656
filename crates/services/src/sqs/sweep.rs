//! What goes by itself: messages of queues that are no more, messages that are too old, queues in memory that nobody
//! uses.

use std::sync::Arc;
use std::time::Duration;

use base::{AwsError, Timestamp, Uuid};
use serde::{Deserialize, Serialize};
use store::{Batch, Record, Row, Scan, Scope, Table};

use super::message::{self, PLACES, RECENT};
use super::queue::{QUEUES, Queue};
use crate::Cloud;

/// Lines that are nobody's any more.
static LEFT: Table<Uuid, Left> = Table::new("sqs_left_lines");

/// Rows that are looked at, or cleared away, at once.
const STEP: usize = 500;
/// How long a queue that nobody uses stays in memory.
const UNUSED_MAX: Duration = Duration::from_secs(10 * 60);

#[derive(Serialize, Deserialize)]
struct Left {}

impl Record for Left {
    const VERSION: u8 = 1;
}

/// Notes that a line is nobody's any more.
pub fn leave(batch: Batch, scope: &Scope, line: Uuid) -> Batch {
    batch.put(&LEFT, scope, line, &Left {})
}

/// Once round. To be called from time to time.
pub async fn run(cloud: &Arc<Cloud>, now: Timestamp) -> Result<(), AwsError> {
    clear_lines(cloud).await?;
    expire(cloud, now).await?;
    cloud.memory.live_queues.let_go(now, now.minus(UNUSED_MAX));
    Ok(())
}

async fn clear_lines(cloud: &Cloud) -> Result<(), AwsError> {
    loop {
        let page = LEFT.scan_all(&cloud.store, None, STEP).await?;
        for Row { key: (scope, line), .. } in &page.rows {
            clear_line(cloud, scope, *line).await?;
        }
        if page.rows.is_empty() {
            return Ok(());
        }
    }
}

/// Clears away what lies under a line, and at last the note that it is to be.
async fn clear_line(cloud: &Cloud, scope: &Scope, line: Uuid) -> Result<(), AwsError> {
    loop {
        let places = PLACES.page(&cloud.store, scope, Scan::all(STEP).under::<Uuid>(line)).await?;
        let recent = RECENT.page(&cloud.store, scope, Scan::all(STEP).under::<Uuid>(line)).await?;
        let is_last = places.next.is_none() && recent.next.is_none();
        let mut batch = Batch::new();
        for row in places.rows {
            batch = message::remove(batch, scope, row.key);
        }
        for row in recent.rows {
            batch = batch.delete(&RECENT, scope, row.key);
        }
        if is_last {
            batch = batch.delete(&LEFT, scope, line);
        }
        cloud.store.commit(batch).await?;
        if is_last {
            return Ok(());
        }
    }
}

/// Removes messages that are too old from queues that nobody may ask for.
async fn expire(cloud: &Arc<Cloud>, now: Timestamp) -> Result<(), AwsError> {
    let mut after = None;
    loop {
        let page = QUEUES.scan_all(&cloud.store, after.as_ref(), STEP).await?;
        for Row { key: (scope, _), value: queue, .. } in page.rows {
            expire_one(cloud, &scope, &queue, now).await?;
        }
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

async fn expire_one(cloud: &Arc<Cloud>, scope: &Scope, queue: &Queue, now: Timestamp) -> Result<(), AwsError> {
    let Some(sent_before) = queue.expires_before(now) else { return Ok(()) };
    // The first is the oldest, but for dead letters, which go when somebody next asks.
    let first = PLACES.page(&cloud.store, scope, Scan::all(1).under::<Uuid>(queue.line)).await?;
    if first.rows.iter().any(|row| row.value.sent < sent_before) {
        let live = cloud.memory.live_queues.get(&cloud.store, scope, queue, now).await?;
        live.expire(cloud, now, queue).await?;
    }
    Ok(())
}

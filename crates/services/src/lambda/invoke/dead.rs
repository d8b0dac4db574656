//! Events that were given up: kept for their function's operator to look at, and to have them tried once more.
//!
//! Whoever hears of a failure by dead letters or a destination hears of it all the same. An event lies apart from the note
//! of its death, so that many can be looked at without reading them.

use std::collections::HashMap;
use std::time::Duration;

use base::{AwsError, Timestamp, Uuid};
use engine::events::retry::{Attempt, Reason};
use serde::{Deserialize, Serialize};
use store::{Batch, Outcome, Record, Row, Scan, Scope, Table};

use super::event::{EVENTS, Event};
use crate::Cloud;

/// By the function's incarnation, when it was given up, and the id of its request.
pub static DEATHS: Table<Key, Death> = Table::new("lambda_event_deaths");
/// By the function's incarnation and the id of its request.
pub static DEAD: Table<(Uuid, Uuid), Event> = Table::large("lambda_dead_events");

/// How many are kept of a function, and how long.
const KEPT_MAX: usize = 1_000;
const KEPT_FOR: Duration = Duration::from_secs(14 * 24 * 60 * 60);
/// Rows that are looked at in one step.
const STEP: usize = 500;

type Key = (Uuid, (Timestamp, Uuid));

/// What is said of an event that was given up.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Death {
    pub received: Timestamp,
    /// How often the function ran for it.
    pub attempts: u32,
    pub reason: String,
    pub last_error: Option<String>,
    pub bytes: usize,
    pub trace_header: Option<String>,
}

impl Record for Death {
    const VERSION: u8 = 1;
}

/// Once this batch has happened, the event is dead.
pub fn keep(batch: Batch, scope: &Scope, key: Key, event: &Event, (reason, last): (Reason, Attempt)) -> Batch {
    let ran = u32::from(last == Attempt::Failed);
    let death = Death {
        received: event.received,
        attempts: event.failures.saturating_add(ran),
        reason: reason.word().to_owned(),
        last_error: event.last_error.clone(),
        bytes: event.payload.len(),
        trace_header: event.trace_header.clone(),
    };
    let (incarnation, (_, id)) = key;
    batch.put(&DEATHS, scope, key, &death).put(&DEAD, scope, (incarnation, id), event)
}

/// Has events tried once more, as if they had just come: all of a function's that are dead, or those with these ids. Says
/// how many.
pub async fn redrive(
    cloud: &Cloud,
    scope: &Scope,
    incarnation: Uuid,
    ids: &[Uuid],
    now: Timestamp,
) -> Result<usize, AwsError> {
    let (mut count, mut scan) = (0_usize, Scan::all(STEP).under::<Uuid>(incarnation));
    loop {
        let page = DEATHS.page(&cloud.store, scope, scan.clone()).await?;
        for Row { key, .. } in page.rows {
            let (died, id) = key.1;
            // Of those that this has tried again and that are dead once more there is no end.
            if died > now {
                return Ok(count);
            }
            if (ids.is_empty() || ids.contains(&id)) && revive(cloud, scope, key, now).await? {
                count = count.saturating_add(1);
            }
        }
        match page.next {
            None => return Ok(count),
            Some(next) => scan = scan.after(next),
        }
    }
}

/// Whether it was still dead.
async fn revive(cloud: &Cloud, scope: &Scope, key: Key, now: Timestamp) -> Result<bool, AwsError> {
    let (incarnation, (_, id)) = key;
    let Some(row) = DEAD.get(&cloud.store, scope, (incarnation, id)).await? else { return Ok(false) };
    let event = Event { received: now, failures: 0, hold_ups: 0, last_error: None, ..row.value };
    let batch = bury(Batch::new().expect_present(&DEATHS, scope, key), scope, key);
    let shard = cloud.memory.backlogs.enter((scope.clone(), incarnation), event.tenant_id.as_deref());
    let key = (incarnation, (shard, (now, id)));
    let outcome = cloud.store.commit(batch.put(&EVENTS, scope, key, &event)).await?;
    Ok(matches!(outcome, Outcome::Committed(_)))
}

/// Once this batch has happened, nothing is kept of a dead event.
fn bury(batch: Batch, scope: &Scope, key: Key) -> Batch {
    let (incarnation, (_, id)) = key;
    batch.delete(&DEATHS, scope, key).delete(&DEAD, scope, (incarnation, id))
}

/// Buries what is too old, and of each function what is too many. To be called from time to time.
pub async fn bury_old(cloud: &Cloud, now: Timestamp) -> Result<(), AwsError> {
    let mut counts: HashMap<(Scope, Uuid), usize> = HashMap::new();
    let mut after = None;
    loop {
        let page = DEATHS.scan_all(&cloud.store, after.as_ref(), STEP).await?;
        for Row { key: (scope, key), .. } in &page.rows {
            let count = counts.entry((scope.clone(), key.0)).or_default();
            *count = count.saturating_add(1);
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    for ((scope, incarnation), count) in counts {
        bury_of(cloud, (&scope, incarnation), count.saturating_sub(KEPT_MAX), now.minus(KEPT_FOR)).await?;
    }
    Ok(())
}

/// Buries the first so many of a function's, and those that died before a time.
async fn bury_of(
    cloud: &Cloud,
    (scope, incarnation): (&Scope, Uuid),
    mut too_many: usize,
    before: Timestamp,
) -> Result<(), AwsError> {
    loop {
        let page = DEATHS.page(&cloud.store, scope, Scan::all(STEP).under::<Uuid>(incarnation)).await?;
        let (mut batch, mut is_done) = (Batch::new(), page.next.is_none());
        for Row { key, .. } in page.rows {
            if too_many == 0 && key.1.0 >= before {
                is_done = true;
                break;
            }
            too_many = too_many.saturating_sub(1);
            batch = bury(batch, scope, key);
        }
        cloud.store.commit(batch).await?;
        if is_done {
            return Ok(());
        }
    }
}

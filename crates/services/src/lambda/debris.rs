//! What belonged to a function that is gone, until it is cleared away.
//!
//! A function's versions, aliases and configurations may be many, so its deletion commits only that it is gone, and a
//! note of what it leaves. Nothing of that can be reached any more: it lies under an incarnation that no function has.
//! The deletion then clears it away step by step before it answers; what a crash or a failure left is cleared later, beside the requests.

use std::collections::{BTreeMap, HashSet};

use base::ports::Deleted;
use base::{AwsError, Timestamp, Uuid};
use metrics::Unit;
use serde::{Deserialize, Serialize};
use store::{Batch, Record, Row, Scan, Scope, Table, TableKey};

use super::alias::ALIASES;
use super::capacity_provider;
use super::event_invoke::EVENT_INVOKES;
use super::function::Function;
use super::invoke::dead::{DEAD, DEATHS};
use super::invoke::event::EVENTS;
use super::permission::POLICIES;
use super::provisioned::PROVISIONED;
use super::runtime_management::RUNTIME_UPDATES;
use super::scaling::SCALING;
use super::snap_start::SNAPSHOTS;
use super::url::URLS;
use super::version::{self, VERSIONS};
use crate::under_way::{Kind, Step};
use crate::{Cloud, Ctx, derived};

/// Rows that are read and cleared in one commit. Some are as long as an event may be.
const STEP: usize = 100;

/// By incarnation.
static DEBRIS: Table<Uuid, Debris> = Table::new("lambda_debris");

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Debris {
    /// Who held the function's code; its versions' owners are made from this.
    owner: String,
}

impl Record for Debris {
    const VERSION: u8 = 1;
}

/// Notes in the batch that deletes `function` what is left of it.
pub fn leave(batch: Batch, scope: &Scope, function: &Function, owner: String) -> Batch {
    batch.put(&DEBRIS, scope, function.incarnation, &Debris { owner })
}

/// Lets `batch` remove what hangs on one version or alias of `function`, which it rewrites. An alias's URL stays.
pub async fn forget_qualifier(
    ctx: &Ctx,
    batch: Batch,
    function: &mut Function,
    qualifier: &str,
) -> Result<Batch, AwsError> {
    let (scope, key) = (ctx.scope(), (function.incarnation, qualifier));
    if let Some(row) = PROVISIONED.get(&ctx.cloud.store, &scope, key).await? {
        function.provisioned_concurrency = function.provisioned_concurrency.saturating_sub(row.value.executions);
    }
    Ok(batch
        .delete(&EVENT_INVOKES, &scope, key)
        .delete(&POLICIES, &scope, key)
        .delete(&PROVISIONED, &scope, key)
        .delete(&RUNTIME_UPDATES, &scope, key)
        .delete(&SCALING, &scope, key))
}

/// Nobody will ask for the function again, or for this version of it: what was made ahead of its calls goes.
pub fn forget_made_ahead(ctx: &Ctx, name: &str, version: Option<&str>) {
    let (world, account, region) = (ctx.cx.world, ctx.cx.account, ctx.cx.region.clone());
    let (function, version) = (name.to_owned(), version.map(str::to_owned));
    ctx.cloud.functions.forget(Deleted { world, account, region, function, version });
}

/// Clears away what a deleted function left.
pub async fn clear(cloud: &Cloud, scope: &Scope, incarnation: Uuid, now: Timestamp) -> Result<(), AwsError> {
    let Some(row) = DEBRIS.get(&cloud.store, scope, incarnation).await? else { return Ok(()) };
    let owner = &row.value.owner;
    clear_with(cloud, scope, &VERSIONS, incarnation, |batch, version| {
        let (release, number) = (&version.value, version.key.1);
        let batch = capacity_provider::detach(batch, scope, release, incarnation, &number.to_string());
        release.let_go(cloud, batch, &version::owner(owner, number))
    })
    .await?;
    clear_with(cloud, scope, &URLS, incarnation, |batch, url| Ok(url.value.forget_target(batch, scope))).await?;
    clear_table(cloud, scope, &ALIASES, incarnation).await?;
    clear_table(cloud, scope, &POLICIES, incarnation).await?;
    clear_table(cloud, scope, &PROVISIONED, incarnation).await?;
    clear_table(cloud, scope, &RUNTIME_UPDATES, incarnation).await?;
    clear_table(cloud, scope, &SCALING, incarnation).await?;
    clear_table(cloud, scope, &SNAPSHOTS, incarnation).await?;
    clear_table(cloud, scope, &EVENT_INVOKES, incarnation).await?;
    drop_events(cloud, scope, incarnation, now).await?;
    clear_table(cloud, scope, &DEATHS, incarnation).await?;
    clear_table(cloud, scope, &DEAD, incarnation).await?;
    cloud.store.commit(Batch::new().delete(&DEBRIS, scope, incarnation)).await?;
    Ok(())
}

/// Events that wait for a function go with it, and are counted as those that were given up. What runs already ends by itself.
async fn drop_events(cloud: &Cloud, scope: &Scope, incarnation: Uuid, now: Timestamp) -> Result<(), AwsError> {
    let attempt_of = |step: &Step| match step.kind {
        Kind::Attempt(id) => Some(id),
        _ => None,
    };
    let running = cloud.memory.under_way.steps(|step| step.scope == *scope);
    let running: HashSet<Uuid> = running.iter().filter_map(|step| attempt_of(step)).collect();
    let mut dropped: BTreeMap<(String, Option<String>), u32> = BTreeMap::new();
    clear_with(cloud, scope, &EVENTS, incarnation, |batch, Row { key, value: event, .. }| {
        let (_, (_, (_, id))) = key;
        if running.contains(id) {
            return Ok(batch);
        }
        let count = dropped.entry((event.function.clone(), event.qualifier.clone())).or_default();
        *count = count.saturating_add(1);
        Ok(batch)
    })
    .await?;
    for ((function, qualifier), count) in dropped {
        tracing::warn!(function, qualifier, count, "asynchronous invocations waited for a function that was deleted");
        let sample = ("AsyncEventsDropped", Unit::COUNT, f64::from(count));
        derived::lambda::tell(cloud, scope, (&function, qualifier.as_deref()), sample, now);
    }
    Ok(())
}

/// Clears the rows of a table that are under an incarnation.
async fn clear_table<K: TableKey, V: Record>(
    cloud: &Cloud,
    scope: &Scope,
    table: &Table<(Uuid, K), V>,
    incarnation: Uuid,
) -> Result<(), AwsError> {
    clear_with(cloud, scope, table, incarnation, |batch, _| Ok(batch)).await
}

/// As [`clear_table`]; with each row goes, in the same commit, what `release` adds to the batch.
async fn clear_with<K: TableKey, V: Record>(
    cloud: &Cloud,
    scope: &Scope,
    table: &Table<(Uuid, K), V>,
    incarnation: Uuid,
    mut release: impl FnMut(Batch, &Row<(Uuid, K), V>) -> Result<Batch, AwsError>,
) -> Result<(), AwsError> {
    loop {
        let page = table.page(&cloud.store, scope, Scan::all(STEP).under::<Uuid>(incarnation)).await?;
        let mut batch = Batch::new();
        for row in &page.rows {
            batch = release(batch, row)?.delete(table, scope, row.key.as_key());
        }
        cloud.store.commit(batch).await?;
        if page.next.is_none() {
            return Ok(());
        }
    }
}

/// Clears away what deletions left that a crash or a failure cut short. What fails again is left for the next time, and
/// keeps nothing else from being cleared; the last failure is told.
pub async fn clear_all(cloud: &Cloud, now: Timestamp) -> Result<(), AwsError> {
    let (mut after, mut outcome) = (None, Ok(()));
    loop {
        let page = DEBRIS.scan_all(&cloud.store, after.as_ref(), STEP).await?;
        for row in &page.rows {
            if let Err(error) = clear(cloud, &row.key.0, row.key.1, now).await {
                outcome = Err(error);
            }
        }
        after = page.next;
        if after.is_none() {
            return outcome;
        }
    }
}

//! Filters of groups, of either kind: rows under their group's id and their own name.
//!
//! Whoever writes one rewrites the group's row in the same commit, so that none outlives its group, and has what is made of the
//! group's events read again.

use base::{AwsError, Timestamp, Uuid};
use chronicle::GROUPS;
use engine::filter::Filter;
use store::{Batch, Record, Row, Scan, Scope, Store, Table};

use super::errors;
use crate::Ctx;

/// Filters of a group, of both kinds together, whose patterns have regular expressions: AWS's quota.
const REGEX_FILTERS_MAX: usize = 5;

pub type Rows<F> = Vec<Row<(Uuid, String), F>>;

pub trait GroupFilter: Record {
    const TABLE: Table<(Uuid, String), Self>;
    /// AWS's quota of a group.
    const FILTERS_MAX: usize;
    /// The other kind.
    type Other: GroupFilter;

    fn pattern(&self) -> &str;
    fn created(&self) -> Timestamp;
    fn missing() -> AwsError;

    /// What is put beside it.
    fn put_more(batch: Batch, _scope: &Scope, _key: (Uuid, &str)) -> Batch {
        batch
    }

    /// Takes that back.
    fn delete_more(batch: Batch, _scope: &Scope, _key: (Uuid, &str)) -> Batch {
        batch
    }
}

/// Puts a filter of a group: what `make` makes with the time when it was put first.
pub async fn put<F: GroupFilter>(
    ctx: &Ctx,
    (group_name, filter_name): (&str, &str),
    make: impl Fn(Timestamp) -> F,
) -> Result<(), AwsError> {
    let (scope, now) = (ctx.scope(), ctx.cx.now().trunc_millis());
    let mut edit = ctx.edit(&GROUPS, &scope, group_name).await;
    loop {
        let (found, batch) = edit.read().await?;
        let group = found.ok_or_else(errors::no_group)?;
        let (before, others): (Rows<F>, Rows<F>) = of_id(&ctx.cloud.store, &scope, group.id)
            .await?
            .into_iter()
            .partition(|row: &Row<_, F>| row.key.1 == filter_name);
        if before.is_empty() && others.len() >= F::FILTERS_MAX {
            return Err(errors::limit_exceeded());
        }
        let filter = make(before.first().map_or(now, |row| row.value.created()));
        if has_regex(filter.pattern()) {
            let other_kind = of_id::<F::Other>(&ctx.cloud.store, &scope, group.id).await?;
            if regexes(&others).saturating_add(regexes(&other_kind)) >= REGEX_FILTERS_MAX {
                return Err(errors::limit_exceeded());
            }
        }
        let key = (group.id, filter_name);
        let batch = F::put_more(batch.put(&F::TABLE, &scope, key, &filter), &scope, key);
        if edit.commit(batch.put(&GROUPS, &scope, group_name, &group)).await? {
            return ctx.cloud.rules.refresh(&scope, group.id).await;
        }
    }
}

pub async fn delete<F: GroupFilter>(ctx: &Ctx, (group_name, filter_name): (&str, &str)) -> Result<(), AwsError> {
    let scope = ctx.scope();
    let mut edit = ctx.edit(&GROUPS, &scope, group_name).await;
    loop {
        let (found, batch) = edit.read().await?;
        let group = found.ok_or_else(errors::no_group)?;
        let key = (group.id, filter_name);
        F::TABLE.get(&ctx.cloud.store, &scope, key).await?.ok_or_else(F::missing)?;
        let batch = without::<F>(batch, &scope, key).put(&GROUPS, &scope, group_name, &group);
        if edit.commit(batch).await? {
            return ctx.cloud.rules.refresh(&scope, group.id).await;
        }
    }
}

/// Adds to a batch that a group has none any more.
pub async fn clear<F: GroupFilter>(ctx: &Ctx, group: Uuid, batch: Batch) -> Result<Batch, AwsError> {
    let scope = ctx.scope();
    let rows = of_id::<F>(&ctx.cloud.store, &scope, group).await?;
    Ok(rows.iter().fold(batch, |batch, row| without::<F>(batch, &scope, (group, &row.key.1))))
}

/// A group's filters, in order of their names.
pub async fn of_id<F: GroupFilter>(store: &Store, scope: &Scope, group: Uuid) -> Result<Rows<F>, AwsError> {
    // There are no more than a page holds.
    let scan = Scan::all(store::limits::RANGE_ROWS_MAX).under::<Uuid>(group);
    Ok(F::TABLE.page(store, scope, scan).await?.rows)
}

fn without<F: GroupFilter>(batch: Batch, scope: &Scope, key: (Uuid, &str)) -> Batch {
    F::delete_more(batch.delete(&F::TABLE, scope, key), scope, key)
}

fn has_regex(pattern: &str) -> bool {
    Filter::parse(pattern).is_ok_and(|filter| filter.regex_count() > 0)
}

fn regexes<F: GroupFilter>(rows: &Rows<F>) -> usize {
    rows.iter().filter(|row| has_regex(row.value.pattern())).count()
}

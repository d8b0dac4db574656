//! Rows by name, as those nouns have them that are no more than what somebody said of them.

use base::AwsError;
use serde_json::Value;
use store::{Record, Row, Scan, Table};

use super::errors;
use crate::Ctx;

/// Rows that one page of a search looks at.
const STEP: usize = 200;
const STEPS_MAX: usize = 20;

pub type Rows<V> = Table<String, V>;

/// Puts what `make` makes of the row that is there, if there is one.
pub async fn put<V: Record + Clone>(
    ctx: &Ctx,
    table: &Rows<V>,
    name: &str,
    make: impl Fn(Option<V>) -> Result<V, AwsError>,
) -> Result<V, AwsError> {
    let scope = ctx.scope();
    let mut edit = ctx.edit(table, &scope, name).await;
    loop {
        let (found, batch) = edit.read().await?;
        let value = make(found)?;
        if edit.commit(batch.put(table, &scope, name, &value)).await? {
            return Ok(value);
        }
    }
}

pub async fn get<V: Record>(ctx: &Ctx, table: &Rows<V>, name: &str) -> Result<Option<V>, AwsError> {
    Ok(table.get(&ctx.cloud.store, &ctx.scope(), name).await?.map(|row| row.value))
}

/// Deletes the row, which must be there.
pub async fn delete<V: Record>(
    ctx: &Ctx,
    table: &Rows<V>,
    name: &str,
    missing: impl Fn() -> AwsError,
) -> Result<(), AwsError> {
    let scope = ctx.scope();
    let mut edit = ctx.edit(table, &scope, name).await;
    loop {
        let (found, batch) = edit.read().await?;
        found.ok_or_else(&missing)?;
        if edit.commit(batch.delete(table, &scope, name)).await? {
            return Ok(());
        }
    }
}

/// Puts a row, unless it is a new one and there are as many below `prefix` as there may be.
pub async fn put_among<V: Record + Clone>(
    ctx: &Ctx,
    table: &Rows<V>,
    (prefix, most): (&str, usize),
    (name, value): (&str, V),
) -> Result<V, AwsError> {
    let scan = Scan::all(most).starting_with(prefix);
    let count = table.page(&ctx.cloud.store, &ctx.scope(), scan).await?.rows.len();
    put(ctx, table, name, |before| match before {
        None if count >= most => Err(errors::limit_exceeded()),
        _ => Ok(value.clone()),
    })
    .await
}

/// What a listing asks for.
pub struct Asked<'a> {
    pub operation: &'a str,
    pub prefix: &'a str,
    pub token: Option<&'a str>,
    pub limit: usize,
}

/// A page of the rows that are wanted, in order of their names, and where to go on. A page that has looked at enough ends,
/// full or not.
pub async fn page<V: Record>(
    ctx: &Ctx,
    table: &Rows<V>,
    asked: Asked<'_>,
    wants: impl Fn(&Row<String, V>) -> bool,
) -> Result<(Vec<Row<String, V>>, Option<String>), AwsError> {
    let Asked { operation, prefix, token, limit } = asked;
    let scan = Scan::all(STEP).starting_with(prefix);
    let mut scan = ctx.resume(operation, scan, token).ok_or_else(errors::invalid_token)?;
    let (mut found, mut last): (Vec<Row<String, V>>, Option<String>) = (Vec::new(), None);
    for _ in 0..STEPS_MAX {
        let page = table.page(&ctx.cloud.store, &ctx.scope(), scan.clone()).await?;
        for row in page.rows {
            if found.len() >= limit {
                return Ok((found, ctx.marker(operation, last.as_ref())));
            }
            last = Some(row.key.clone());
            if wants(&row) {
                found.push(row);
            }
        }
        match page.next {
            None => return Ok((found, None)),
            Some(next) => scan = scan.after(&next),
        }
    }
    Ok((found, ctx.marker(operation, last.as_ref())))
}

/// Refuses what is no policy.
pub fn check_document(document: &str) -> Result<(), AwsError> {
    match serde_json::from_str(document) {
        Ok(Value::Object(_)) => Ok(()),
        _ => Err(errors::invalid_policy()),
    }
}

/// Refuses a longer one than there may be, too.
pub fn check_policy(document: &str, chars_max: usize) -> Result<(), AwsError> {
    check_document(document)?;
    if document.chars().count() > chars_max {
        return Err(errors::policy_too_long(chars_max));
    }
    Ok(())
}

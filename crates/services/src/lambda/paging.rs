//! Lists, a page at a time: fifty rows at most, and a marker that leads on.

use base::AwsError;
use store::{Record, Row, Scan, Table, TableKey};

use super::errors;
use crate::Ctx;

const PAGE_MAX: usize = 50;

/// How many rows a caller gets who asked for `max_items`.
pub fn size(max_items: Option<usize>) -> usize {
    max_items.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX)
}

/// The rows of a page of `scan`, and the marker under which `operation` goes on behind them.
pub async fn page<K: TableKey, V: Record>(
    ctx: &Ctx,
    operation: &str,
    table: &Table<K, V>,
    scan: Scan<K>,
    marker: Option<&str>,
) -> Result<(Vec<Row<K, V>>, Option<String>), AwsError> {
    let scan = ctx.resume(operation, scan, marker).ok_or_else(errors::invalid_marker)?;
    let page = table.page(&ctx.cloud.store, &ctx.scope(), scan).await?;
    Ok((page.rows, ctx.marker(operation, page.next.as_ref())))
}

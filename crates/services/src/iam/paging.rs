//! Lists in pages: `MaxItems` and `Marker` in, `IsTruncated` and `Marker` out.

use base::AwsError;
use serde::{Deserialize, Serialize};
use store::{Record, Row, Scan, Scope, Table, TableKey};

use super::errors;
use crate::Ctx;

const ITEMS_DEFAULT: usize = 100;
const ITEMS_MAX: usize = 1_000;
/// Reads that one request makes for what it asks for, of [`ITEMS_MAX`] rows. A list that ends there goes on at its
/// marker, as AWS's may too.
const STEPS_MAX: usize = 10;

/// The members of every list's input.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Paging {
    marker: Option<String>,
    max_items: Option<usize>,
}

/// The members of every list's output.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct End {
    is_truncated: bool,
    marker: Option<String>,
}

impl End {
    /// The list goes on at `marker`, if there is one.
    pub fn new(marker: Option<String>) -> Self {
        Self { is_truncated: marker.is_some(), marker }
    }
}

impl Paging {
    pub fn size(&self) -> usize {
        self.max_items.unwrap_or(ITEMS_DEFAULT).clamp(1, ITEMS_MAX)
    }

    /// Where the list goes on, if it is not its beginning.
    pub fn position<K: TableKey>(&self, ctx: &Ctx, operation: &str) -> Result<Option<K>, AwsError> {
        let Some(marker) = &self.marker else { return Ok(None) };
        ctx.position(operation, marker).map(Some).ok_or_else(errors::invalid_marker)
    }

    /// A page of what one record holds. The marker counts items, so one that goes between two pages moves the rest.
    pub fn cut<T>(
        &self,
        ctx: &Ctx,
        operation: &str,
        items: impl IntoIterator<Item = T>,
    ) -> Result<(Vec<T>, End), AwsError> {
        let start = self.position::<u32>(ctx, operation)?.unwrap_or(0);
        let mut rest = items.into_iter().skip(usize::try_from(start).unwrap_or(usize::MAX));
        let page: Vec<T> = rest.by_ref().take(self.size()).collect();
        let next = start.saturating_add(u32::try_from(page.len()).unwrap_or(u32::MAX));
        Ok((page, End::new(rest.next().and_then(|_| ctx.marker(operation, Some(&next))))))
    }

    /// A page of those rows under `scan` that are to be `kept`.
    pub async fn rows<K: TableKey + Clone, V: Record>(
        &self,
        ctx: &Ctx,
        operation: &str,
        table: &Table<K, V>,
        scan: impl Fn(usize) -> Scan<K>,
        kept: impl Fn(&V) -> bool,
    ) -> Result<(Vec<Row<K, V>>, End), AwsError> {
        let scope = Scope::global(&ctx.cx);
        let size = self.size();
        // One row more tells whether the list goes on.
        let mut step = (size + 1).min(ITEMS_MAX);
        let mut at = self.position::<K>(ctx, operation)?;
        let mut found: Vec<Row<K, V>> = Vec::new();
        for _ in 0..STEPS_MAX {
            let scan = match &at {
                None => scan(step),
                Some(key) => scan(step).after(key.as_key()),
            };
            let page = table.page(&ctx.cloud.store, &scope, scan).await?;
            for row in page.rows.into_iter().filter(|row| kept(&row.value)) {
                if found.len() == size {
                    let marker = ctx.marker(operation, found.last().map(|row| &row.key));
                    return Ok((found, End::new(marker)));
                }
                found.push(row);
            }
            if page.next.is_none() {
                return Ok((found, End::new(None)));
            }
            at = page.next;
            step = ITEMS_MAX;
        }
        Ok((found, End::new(ctx.marker(operation, at.as_ref()))))
    }
}

//! What an account has in use in a region, against its quotas.
//!
//! One record, changed in the same commits as what it counts: code held by functions, versions and layers, the number
//! of functions, the concurrency that they reserve. Whoever changes it takes the account's [`turn`] for its edit.

use archive::limits::{ARCHIVE_BYTES_MAX, UNZIPPED_BYTES_MAX};
use base::AwsError;
use serde::{Deserialize, Serialize};
use store::{Batch, Record, Table};

use super::errors;
use super::function::Function;
use crate::{Ctx, Service};

/// Code that an account may store, zipped: AWS's 75 GB.
pub const CODE_BYTES_MAX: u64 = 75 * 1024 * 1024 * 1024;
/// Executions at the same time, over all functions, where the operator has not said otherwise.
pub const CONCURRENCY_DEFAULT: u32 = 1_000;
/// As many of them no function may reserve.
pub const UNRESERVED_CONCURRENCY_MIN: u32 = 100;

static USAGE: Table<(), Usage> = Table::new("lambda_usage");

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    pub function_count: u64,
    pub code_bytes: u64,
    pub reserved_concurrency: u32,
    /// Provisioned by functions that reserve nothing. Of one that does, it comes out of what it reserves.
    pub provisioned_concurrency: u32,
}

impl Record for Usage {
    const VERSION: u8 = 1;
}

/// What one function takes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Share {
    function_count: u64,
    code_bytes: u64,
    reserved_concurrency: u32,
    provisioned_concurrency: u32,
}

impl Share {
    pub fn of(function: &Function) -> Self {
        let reserved = function.reserved_concurrency;
        Self {
            function_count: 1,
            code_bytes: function.code_bytes,
            reserved_concurrency: reserved.unwrap_or(0),
            provisioned_concurrency: if reserved.is_none() { function.provisioned_concurrency } else { 0 },
        }
    }
}

impl Usage {
    /// What AWS calls unreserved, of `limit` for the account.
    pub fn unreserved_concurrency(&self, limit: u32) -> u32 {
        limit.saturating_sub(self.reserved_concurrency)
    }

    /// What can still be set aside, and what must stay, together.
    pub fn free_concurrency(&self, limit: u32) -> u32 {
        self.unreserved_concurrency(limit).saturating_sub(self.provisioned_concurrency)
    }

    /// Counts code that is to be stored.
    pub fn store_code(&mut self, bytes: u64) -> Result<(), AwsError> {
        let code_bytes = self.code_bytes.saturating_add(bytes);
        if bytes > 0 && code_bytes > CODE_BYTES_MAX {
            return Err(errors::code_storage_exceeded());
        }
        self.code_bytes = code_bytes;
        Ok(())
    }

    pub fn drop_code(&mut self, bytes: u64) {
        self.code_bytes = self.code_bytes.saturating_sub(bytes);
    }

    /// Counts a function that took `before` and now takes `after`.
    pub fn recount(&mut self, before: Share, after: Share) -> Result<(), AwsError> {
        let change = |sum: u32, before: u32, after: u32| sum.saturating_sub(before).saturating_add(after);
        self.function_count =
            self.function_count.saturating_sub(before.function_count).saturating_add(after.function_count);
        self.reserved_concurrency =
            change(self.reserved_concurrency, before.reserved_concurrency, after.reserved_concurrency);
        self.provisioned_concurrency =
            change(self.provisioned_concurrency, before.provisioned_concurrency, after.provisioned_concurrency);
        self.drop_code(before.code_bytes.saturating_sub(after.code_bytes));
        self.store_code(after.code_bytes.saturating_sub(before.code_bytes))
    }
}

/// In whose turn the usage is changed, for [`Ctx::edit_with`].
pub fn turn(ctx: &Ctx) -> Vec<u8> {
    USAGE.row_key(&ctx.scope(), ())
}

pub fn operations(service: Service) -> Service {
    service.operation("GetAccountSettings", get_settings)
}

/// As [`charge`], for a function that took `before` and now takes `after`.
pub async fn recount(ctx: &Ctx, batch: Batch, before: Share, after: Share) -> Result<Batch, AwsError> {
    if before == after {
        return Ok(batch);
    }
    charge(ctx, batch, |usage| usage.recount(before, after)).await
}

pub async fn usage(ctx: &Ctx) -> Result<Usage, AwsError> {
    Ok(USAGE.get(&ctx.cloud.store, &ctx.scope(), ()).await?.map(|row| row.value).unwrap_or_default())
}

/// How many of the functions that reserve nothing may run at once, on instances that nobody has provisioned.
pub async fn free_concurrency(ctx: &Ctx) -> Result<u32, AwsError> {
    let limit = ctx.cloud.concurrency_max;
    let usage = USAGE.get_shared(&ctx.cloud.store, &ctx.scope(), ()).await?;
    Ok(usage.map_or(limit, |usage| usage.free_concurrency(limit)))
}

/// What functions have reserved, and what is provisioned beside.
pub async fn allocated_concurrency(ctx: &Ctx) -> Result<u32, AwsError> {
    let usage = USAGE.get_shared(&ctx.cloud.store, &ctx.scope(), ()).await?;
    Ok(usage.map_or(0, |usage| usage.reserved_concurrency.saturating_add(usage.provisioned_concurrency)))
}

/// Lets `batch` change the usage too; it holds only while nobody else changes it.
pub async fn charge(
    ctx: &Ctx,
    batch: Batch,
    change: impl FnOnce(&mut Usage) -> Result<(), AwsError>,
) -> Result<Batch, AwsError> {
    let scope = ctx.scope();
    let (mut usage, batch) = match USAGE.get(&ctx.cloud.store, &scope, ()).await? {
        None => (Usage::default(), batch.expect_absent(&USAGE, &scope, ())),
        Some(row) => (row.value, batch.expect_version(&USAGE, &scope, (), row.version)),
    };
    change(&mut usage)?;
    Ok(batch.put(&USAGE, &scope, (), &usage))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GetAccountSettings {}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AccountSettings {
    account_limit: AccountLimit,
    account_usage: AccountUsage,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct AccountLimit {
    total_code_size: u64,
    code_size_unzipped: u64,
    code_size_zipped: u64,
    concurrent_executions: u32,
    unreserved_concurrent_executions: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct AccountUsage {
    total_code_size: u64,
    function_count: u64,
}

pub async fn get_settings(ctx: Ctx, _: GetAccountSettings) -> Result<AccountSettings, AwsError> {
    let (usage, limit) = (usage(&ctx).await?, ctx.cloud.concurrency_max);
    Ok(AccountSettings {
        account_limit: AccountLimit {
            total_code_size: CODE_BYTES_MAX,
            code_size_unzipped: UNZIPPED_BYTES_MAX,
            code_size_zipped: ARCHIVE_BYTES_MAX,
            concurrent_executions: limit,
            unreserved_concurrent_executions: usage.unreserved_concurrency(limit),
        },
        account_usage: AccountUsage { total_code_size: usage.code_bytes, function_count: usage.function_count },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_function_took_is_given_back() {
        let share = |code_bytes, reserved_concurrency, provisioned_concurrency| Share {
            function_count: 1,
            code_bytes,
            reserved_concurrency,
            provisioned_concurrency,
        };
        let mut usage = Usage::default();
        usage.recount(Share::default(), share(10, 0, 5)).unwrap();
        usage.recount(Share::default(), share(20, 600, 0)).unwrap();
        assert_eq!((usage.function_count, usage.code_bytes, usage.free_concurrency(1_000)), (2, 30, 395));
        usage.recount(share(10, 0, 5), share(30, 100, 0)).unwrap();
        assert_eq!((usage.code_bytes, usage.free_concurrency(1_000)), (50, 300));
        assert!(usage.clone().recount(Share::default(), share(CODE_BYTES_MAX, 0, 0)).is_err());
        usage.recount(share(30, 100, 0), Share::default()).unwrap();
        usage.recount(share(20, 600, 0), Share::default()).unwrap();
        assert_eq!(usage, Usage::default());
    }
}

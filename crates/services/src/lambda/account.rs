//! What an account has in use in a region, against its quotas.
//!
//! One record, changed in the same commits as what it counts: code held by functions, versions and layers, the number
//! of functions, the concurrency that they reserve. Whoever changes it takes the account's [`turn`] for its edit.

use archive::limits::{ARCHIVE_BYTES_MAX, UNZIPPED_BYTES_MAX};
use base::AwsError;
use serde::{Deserialize, Serialize};
use store::{Batch, Record, Table};

use super::errors;
use crate::{Ctx, Service};

/// Code that an account may store, zipped: AWS's 75 GB.
pub const CODE_BYTES_MAX: u64 = 75 * 1024 * 1024 * 1024;
/// Executions at the same time, over all functions.
pub const CONCURRENCY_MAX: u32 = 1_000;
/// As many of them no function may reserve.
pub const UNRESERVED_CONCURRENCY_MIN: u32 = 100;

static USAGE: Table<(), Usage> = Table::new("lambda_usage");

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    pub function_count: u64,
    pub code_bytes: u64,
    pub reserved_concurrency: u32,
}

impl Record for Usage {
    const VERSION: u8 = 1;
}

impl Usage {
    pub fn unreserved_concurrency(&self) -> u32 {
        CONCURRENCY_MAX.saturating_sub(self.reserved_concurrency)
    }

    /// Counts code that is to be stored.
    pub fn store_code(&mut self, bytes: u64) -> Result<(), AwsError> {
        let code_bytes = self.code_bytes.saturating_add(bytes);
        if code_bytes > CODE_BYTES_MAX {
            return Err(errors::code_storage_exceeded());
        }
        self.code_bytes = code_bytes;
        Ok(())
    }

    /// Counts code of a function that held `before` and now holds `after`.
    pub fn recount_code(&mut self, before: u64, after: u64) -> Result<(), AwsError> {
        self.drop_code(before.saturating_sub(after));
        self.store_code(after.saturating_sub(before))
    }

    pub fn drop_code(&mut self, bytes: u64) {
        self.code_bytes = self.code_bytes.saturating_sub(bytes);
    }
}

/// In whose turn the usage is changed, for [`Ctx::edit_in_turn`].
pub fn turn(ctx: &Ctx) -> Vec<u8> {
    USAGE.row_key(&ctx.scope(), ())
}

pub fn operations(service: Service) -> Service {
    service.operation("GetAccountSettings", get_settings)
}

pub async fn usage(ctx: &Ctx) -> Result<Usage, AwsError> {
    Ok(USAGE.get(&ctx.cloud.store, &ctx.scope(), ()).await?.map(|row| row.value).unwrap_or_default())
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
    let usage = usage(&ctx).await?;
    Ok(AccountSettings {
        account_limit: AccountLimit {
            total_code_size: CODE_BYTES_MAX,
            code_size_unzipped: UNZIPPED_BYTES_MAX,
            code_size_zipped: ARCHIVE_BYTES_MAX,
            concurrent_executions: CONCURRENCY_MAX,
            unreserved_concurrent_executions: usage.unreserved_concurrency(),
        },
        account_usage: AccountUsage { total_code_size: usage.code_bytes, function_count: usage.function_count },
    })
}

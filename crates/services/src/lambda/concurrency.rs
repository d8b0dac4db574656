//! Concurrency that is reserved for a function. It is in the function's own record; what all of an account reserve is in its
//! [usage](super::account).

use base::AwsError;
use serde::Deserialize;

use super::account::{self, Share, UNRESERVED_CONCURRENCY_MIN};
use super::errors;
use super::function::{self, Concurrency, FUNCTIONS, Function};
use super::name::FunctionRef;
use crate::{Ctx, Service};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct PutReserved {
    function_name: String,
    reserved_concurrent_executions: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct OfFunction {
    function_name: String,
}

pub fn operations(service: Service) -> Service {
    service
        .operation("DeleteFunctionConcurrency", delete_reserved)
        .operation("GetFunctionConcurrency", get_reserved)
        .operation("PutFunctionConcurrency", put_reserved)
}

pub async fn put_reserved(ctx: Ctx, input: PutReserved) -> Result<Concurrency, AwsError> {
    let wanted = input.reserved_concurrent_executions;
    set_reserved(ctx, "PutFunctionConcurrency", &input.function_name, Some(wanted)).await?;
    Ok(Concurrency { reserved_concurrent_executions: Some(wanted) })
}

pub async fn delete_reserved(ctx: Ctx, input: OfFunction) -> Result<(), AwsError> {
    set_reserved(ctx, "DeleteFunctionConcurrency", &input.function_name, None).await
}

pub async fn get_reserved(ctx: Ctx, input: OfFunction) -> Result<Concurrency, AwsError> {
    let (ctx, FunctionRef { name, .. }) =
        FunctionRef::locate_whole(ctx, "GetFunctionConcurrency", &input.function_name).await?;
    let function = function::find(&ctx, &name).await?;
    Ok(Concurrency { reserved_concurrent_executions: function.reserved_concurrency })
}

async fn set_reserved(ctx: Ctx, operation: &str, function: &str, wanted: Option<u32>) -> Result<(), AwsError> {
    let (ctx, asked) = FunctionRef::locate_whole(ctx, operation, function).await?;
    let name = asked.whole()?;
    let scope = ctx.scope();
    let mut edit = ctx.edit_with(vec![account::turn(&ctx)], &FUNCTIONS, &scope, &name).await;
    loop {
        let (found, batch) = edit.read().await?;
        let latest = || errors::function_not_found(&format!("{}:$LATEST", function::arn(&ctx, &name)));
        let function = found.ok_or_else(latest)?;
        let provisioned = function.provisioned_concurrency;
        if let Some(wanted) = wanted.filter(|wanted| *wanted < provisioned) {
            return Err(errors::untyped_invalid_parameter(format!(
                " ReservedConcurrentExecutions  {wanted} should not be lower than function's total provisioned \
                 concurrency [{provisioned}]."
            )));
        }
        let mut after = function.clone();
        after.reserved_concurrency = wanted;
        let batch = account::charge(&ctx, batch, |usage| {
            check_reservation(usage.free_concurrency(ctx.cloud.concurrency_max), &function, wanted)?;
            usage.recount(Share::of(&function), Share::of(&after))
        });
        let batch = batch.await?.put(&FUNCTIONS, &scope, &name, &after);
        if edit.commit(batch).await? {
            return Ok(());
        }
    }
}

/// Whether a function may reserve so much where `free` is left. It gives back what it has set aside now.
fn check_reservation(free: u32, function: &Function, wanted: Option<u32>) -> Result<(), AwsError> {
    let has = function.reserved_concurrency.unwrap_or(function.provisioned_concurrency);
    let wanted = wanted.unwrap_or(0);
    if wanted > has && free.saturating_add(has) < wanted.saturating_add(UNRESERVED_CONCURRENCY_MIN) {
        return Err(errors::untyped_invalid_parameter(format!(
            "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution \
             below its minimum value of [{UNRESERVED_CONCURRENCY_MIN}]."
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_executions_stay_for_those_who_reserve_nothing() {
        let function = |reserved_concurrency, provisioned_concurrency| Function {
            reserved_concurrency,
            provisioned_concurrency,
            ..function::testing::function()
        };
        assert!(check_reservation(400, &function(None, 0), Some(300)).is_ok());
        assert!(check_reservation(400, &function(None, 0), Some(301)).is_err());
        assert!(check_reservation(200, &function(None, 0), Some(101)).is_err());
        assert!(check_reservation(1_000, &function(None, 0), Some(u32::MAX)).is_err());
        // What it has itself does not count against it.
        assert!(check_reservation(100, &function(Some(600), 0), Some(600)).is_ok());
        assert!(check_reservation(100, &function(None, 900), Some(900)).is_ok());
    }
}

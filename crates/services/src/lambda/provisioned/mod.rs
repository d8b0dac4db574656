//! Concurrency that is provisioned for a version or an alias: instances that are ready before anybody calls.
//!
//! A row each under the function's incarnation; what they come to is in the function's own record and in its account's
//! [usage](super::account). `keep` tells whoever runs functions what is to be ready, and the operations here show what has
//! come of that.

mod charge;
pub mod keep;

use base::ports::{Provided, ProvisionId};
use base::{AwsError, Timestamp, Uuid};
use serde::{Deserialize, Serialize};
use store::{Record, Row, Scan, Table};

use super::account::{self, CONCURRENCY_DEFAULT, Share, UNRESERVED_CONCURRENCY_MIN};
use super::alias::{self, Alias};
use super::function::{self, FUNCTIONS, Found, Function};
use super::name::FunctionRef;
use super::{errors, paging};
use crate::{Ctx, Service};

/// Configurations of one function that are looked at. More it cannot have unless the operator has raised the limit: each
/// takes one of the account's executions at least.
const CONFIGS_MAX: usize = CONCURRENCY_DEFAULT as usize;

/// By the function's incarnation and the number of the version or the name of the alias.
pub static PROVISIONED: Table<(Uuid, String), Provisioned> = Table::new("lambda_provisioned");

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Provisioned {
    /// The function's name.
    pub function: String,
    pub executions: u32,
    pub last_modified: Timestamp,
}

impl Record for Provisioned {
    const VERSION: u8 = 1;
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct PutProvisioned {
    function_name: String,
    qualifier: String,
    provisioned_concurrent_executions: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct OfQualifier {
    function_name: String,
    qualifier: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ListProvisioned {
    function_name: String,
    marker: Option<String>,
    max_items: Option<usize>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ProvisionedConfig {
    function_arn: Option<String>,
    requested_provisioned_concurrent_executions: u32,
    available_provisioned_concurrent_executions: u32,
    allocated_provisioned_concurrent_executions: u32,
    status: &'static str,
    status_reason: Option<String>,
    last_modified: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ProvisionedList {
    provisioned_concurrency_configs: Vec<ProvisionedConfig>,
    next_marker: Option<String>,
}

pub fn operations(service: Service) -> Service {
    service
        .operation("DeleteProvisionedConcurrencyConfig", delete)
        .operation("GetProvisionedConcurrencyConfig", get)
        .operation("ListProvisionedConcurrencyConfigs", list)
        .operation("PutProvisionedConcurrencyConfig", put)
}

pub async fn put(ctx: Ctx, input: PutProvisioned) -> Result<ProvisionedConfig, AwsError> {
    const ON_LATEST: &str = "Provisioned Concurrency Configs cannot be applied to unpublished function versions.";
    let asked = qualified(&ctx, "PutProvisionedConcurrencyConfig", &input.function_name, &input.qualifier, ON_LATEST)?;
    let provisioned = Provisioned {
        function: asked.name.clone(),
        executions: input.provisioned_concurrent_executions,
        last_modified: ctx.cx.now(),
    };
    let scope = ctx.scope();
    let mut edit = ctx.edit_with(vec![account::turn(&ctx)], &FUNCTIONS, &scope, &asked.name).await;
    loop {
        let (found, batch) = edit.read().await?;
        let function = found.ok_or_else(|| asked.missing(&ctx))?;
        check_target(&ctx, &function, &asked, &input.qualifier).await?;
        check_weights(&ctx, &function, &input.qualifier).await?;
        check_snap_start(&ctx, &function, &input.qualifier).await?;
        let others: Vec<_> =
            all(&ctx, &function).await?.into_iter().filter(|row| row.key.1 != input.qualifier).collect();
        let target = alias::get_shared(&ctx, &function, &input.qualifier).await?;
        check_overlap(&ctx, &function, &input.qualifier, target.as_deref(), &others).await?;
        let sum = others.iter().map(|row| row.value.executions).fold(provisioned.executions, u32::saturating_add);
        let mut after = function.clone();
        after.provisioned_concurrency = sum;
        let batch = account::charge(&ctx, batch, |usage| {
            check_sum(&function, provisioned.executions, sum, usage.free_concurrency(ctx.cloud.concurrency_max))?;
            usage.recount(Share::of(&function), Share::of(&after))
        });
        let key = (function.incarnation, input.qualifier.as_str());
        let batch = batch.await?.put(&PROVISIONED, &scope, key, &provisioned);
        let batch = batch.put(&FUNCTIONS, &scope, &asked.name, &after);
        if edit.commit(batch).await? {
            return Ok(provisioned.show(None, &Provided::default()));
        }
    }
}

pub async fn get(ctx: Ctx, input: OfQualifier) -> Result<ProvisionedConfig, AwsError> {
    let (asked, function) = existing(&ctx, "GetProvisionedConcurrencyConfig", &input).await?;
    check_target(&ctx, &function, &asked, &input.qualifier).await?;
    let key = (function.incarnation, input.qualifier.as_str());
    let found = PROVISIONED.get(&ctx.cloud.store, &ctx.scope(), key).await?;
    Ok(found.ok_or_else(errors::nothing_provisioned)?.value.show(None, &provided(&ctx, key)))
}

pub async fn delete(ctx: Ctx, input: OfQualifier) -> Result<(), AwsError> {
    const OPERATION: &str = "DeleteProvisionedConcurrencyConfig";
    let (asked, _) = existing(&ctx, OPERATION, &input).await?;
    let scope = ctx.scope();
    let mut edit = ctx.edit_with(vec![account::turn(&ctx)], &FUNCTIONS, &scope, &asked.name).await;
    loop {
        let (found, batch) = edit.read().await?;
        let mut function = found.ok_or_else(|| asked.missing(&ctx))?;
        check_target(&ctx, &function, &asked, &input.qualifier).await?;
        let key = (function.incarnation, input.qualifier.as_str());
        let Some(row) = PROVISIONED.get(&ctx.cloud.store, &scope, key).await? else { return Ok(()) };
        let before = Share::of(&function);
        function.provisioned_concurrency = function.provisioned_concurrency.saturating_sub(row.value.executions);
        let batch = account::recount(&ctx, batch, before, Share::of(&function)).await?;
        let batch = batch.delete(&PROVISIONED, &scope, key).put(&FUNCTIONS, &scope, &asked.name, &function);
        if edit.commit(batch).await? {
            return Ok(());
        }
    }
}

pub async fn list(ctx: Ctx, input: ListProvisioned) -> Result<ProvisionedList, AwsError> {
    const OPERATION: &str = "lambda:ListProvisionedConcurrencyConfigs";
    let name = FunctionRef::parse(&ctx, "ListProvisionedConcurrencyConfigs", &input.function_name, None)?.name;
    let function = function::find(&ctx, &name).await?;
    let scan = Scan::all(paging::size(input.max_items)).under::<Uuid>(function.incarnation);
    let (rows, next_marker) = paging::page(&ctx, OPERATION, &PROVISIONED, scan, input.marker.as_deref()).await?;
    let show = |row: &Row<(Uuid, String), Provisioned>| {
        let (incarnation, qualifier) = (row.key.0, row.key.1.as_str());
        let arn = format!("{}:{qualifier}", function.arn(&ctx));
        row.value.show(Some(arn), &provided(&ctx, (incarnation, qualifier)))
    };
    Ok(ProvisionedList { provisioned_concurrency_configs: rows.iter().map(show).collect(), next_marker })
}

impl Provisioned {
    /// With what has come of it. Who runs functions may not have heard of the last change yet.
    fn show(&self, function_arn: Option<String>, provided: &Provided) -> ProvisionedConfig {
        let is_heard = provided.wanted_at == Some(self.last_modified);
        let (available, allocated) = if is_heard { (provided.available, provided.allocated) } else { (0, 0) };
        let (status, status_reason) = match &provided.failure {
            Some(failure) if is_heard => ("FAILED", Some(failure.clone())),
            None if is_heard && provided.available >= self.executions => ("READY", None),
            _ => ("IN_PROGRESS", None),
        };
        ProvisionedConfig {
            function_arn,
            requested_provisioned_concurrent_executions: self.executions,
            available_provisioned_concurrent_executions: available,
            allocated_provisioned_concurrent_executions: allocated,
            status,
            status_reason,
            last_modified: self.last_modified.lambda(),
        }
    }
}

fn provided(ctx: &Ctx, (function, qualifier): (Uuid, &str)) -> Provided {
    ctx.cloud.functions.provided(&ProvisionId { function, qualifier: qualifier.to_owned() })
}

/// The version or alias that a request names. `on_latest` is what AWS says when it is `$LATEST`.
fn qualified(
    ctx: &Ctx,
    operation: &str,
    name: &str,
    qualifier: &str,
    on_latest: &str,
) -> Result<FunctionRef, AwsError> {
    let asked = FunctionRef::parse(ctx, operation, name, Some(qualifier))?;
    if qualifier.starts_with('$') {
        return Err(errors::invalid_parameter(on_latest));
    }
    Ok(asked)
}

async fn existing(
    ctx: &Ctx,
    operation: &str,
    input: &OfQualifier,
) -> Result<(FunctionRef, std::sync::Arc<Function>), AwsError> {
    const ON_LATEST: &str = "The function resource provided must be an alias or a published version.";
    let asked = qualified(ctx, operation, &input.function_name, &input.qualifier, ON_LATEST)?;
    let found = FUNCTIONS.get_shared(&ctx.cloud.store, &ctx.scope(), &asked.name).await?;
    let function = found.ok_or_else(|| asked.missing(ctx))?;
    Ok((asked, function))
}

async fn check_target(ctx: &Ctx, function: &Function, asked: &FunctionRef, qualifier: &str) -> Result<(), AwsError> {
    match function::qualified(ctx, function, qualifier).await? {
        Some(_) => Ok(()),
        None => Err(asked.missing(ctx)),
    }
}

/// An alias that shares its calls out has no one version to provide for.
async fn check_weights(ctx: &Ctx, function: &Function, qualifier: &str) -> Result<(), AwsError> {
    match function::qualified(ctx, function, qualifier).await? {
        Some(Found::Alias(alias)) if !alias.weights.is_empty() => {
            Err(errors::invalid_parameter("Alias with weights can not be used with Provisioned Concurrency"))
        }
        _ => Ok(()),
    }
}

/// What begins with a snapshot is not also kept ready.
async fn check_snap_start(ctx: &Ctx, function: &Function, qualifier: &str) -> Result<(), AwsError> {
    let found = match function::qualified(ctx, function, qualifier).await? {
        Some(Found::Alias(alias)) => function::qualified(ctx, function, &alias.version).await?,
        found => found,
    };
    match found {
        Some(Found::Version(_, release)) if release.settings.snap_start.is_on() => {
            Err(errors::invalid_parameter("Provisioned Concurrency is not supported for SnapStart enabled functions."))
        }
        _ => Ok(()),
    }
}

/// A version gets its provisioned concurrency under one name: its number, or that of one alias, which `target` is.
async fn check_overlap(
    ctx: &Ctx,
    function: &Function,
    qualifier: &str,
    target: Option<&Alias>,
    others: &[Row<(Uuid, String), Provisioned>],
) -> Result<(), AwsError> {
    const ON_PROVISIONED: &str =
        "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version";
    for row in others {
        let other = &row.key.1;
        match (target, alias::get_shared(ctx, function, other).await?) {
            (Some(alias), None) if alias.version == *other => return Err(errors::resource_conflict(ON_PROVISIONED)),
            (Some(alias), Some(other)) if alias.version == other.version => {
                return Err(errors::resource_conflict(ON_PROVISIONED));
            }
            (None, Some(other)) if other.sends_to(qualifier) => {
                return Err(errors::resource_conflict("Version is pointed by a Provisioned Concurrency alias"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// An alias takes its provisioned concurrency along to a version that may have some and has none under another name: what is
/// wanted from now on, of which nobody who runs functions has heard. AWS documents the refusals of
/// `PutProvisionedConcurrencyConfig` alone; it is the same states that must not come about.
pub async fn moved(ctx: &Ctx, function: &Function, alias: &Alias) -> Result<Option<Provisioned>, AwsError> {
    let (own, others): (Vec<_>, Vec<_>) =
        all(ctx, function).await?.into_iter().partition(|row| row.key.1 == alias.name);
    let Some(own) = own.into_iter().next() else { return Ok(None) };
    check_snap_start(ctx, function, &alias.version).await?;
    check_overlap(ctx, function, &alias.name, Some(alias), &others).await?;
    Ok(Some(Provisioned { last_modified: ctx.cx.now(), ..own.value }))
}

/// What a function provisions in all, `sum`, comes out of what it reserves, or out of what is `free`.
fn check_sum(function: &Function, wanted: u32, sum: u32, free: u32) -> Result<(), AwsError> {
    if let Some(reserved) = function.reserved_concurrency {
        if sum > reserved {
            return Err(errors::invalid_parameter(
                "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for \
                 function",
            ));
        }
        return Ok(());
    }
    let unreserved = free.saturating_add(function.provisioned_concurrency);
    if wanted > unreserved {
        return Err(errors::untyped_invalid_parameter(format!(
            "Specified ConcurrentExecutions for function is greater than account's unreserved concurrency \
             [{unreserved}]."
        )));
    }
    if unreserved < sum.saturating_add(UNRESERVED_CONCURRENCY_MIN) {
        return Err(errors::untyped_invalid_parameter(format!(
            "Specified ConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its \
             minimum value of [{UNRESERVED_CONCURRENCY_MIN}]."
        )));
    }
    Ok(())
}

/// All provisioned concurrency of a function.
async fn all(ctx: &Ctx, function: &Function) -> Result<Vec<Row<(Uuid, String), Provisioned>>, AwsError> {
    let scan = Scan::all(CONFIGS_MAX).under::<Uuid>(function.incarnation);
    Ok(PROVISIONED.page(&ctx.cloud.store, &ctx.scope(), scan).await?.rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_provisioned_comes_out_of_what_is_there() {
        let function = |reserved_concurrency, provisioned_concurrency| Function {
            reserved_concurrency,
            provisioned_concurrency,
            ..function::testing::function()
        };
        assert!(check_sum(&function(None, 0), 900, 900, 1_000).is_ok());
        assert!(check_sum(&function(None, 0), 901, 901, 1_000).is_err());
        assert!(check_sum(&function(None, 0), 1, 1, 100).is_err());
        assert!(check_sum(&function(Some(5), 0), 6, 6, 995).is_err());
    }
}

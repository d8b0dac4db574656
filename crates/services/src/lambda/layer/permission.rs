//! Who else may use a layer version: the operations on its policy, which lies in the version's record.

use base::AwsError;
use serde::{Deserialize, Serialize};

use super::{LayerRef, LayerVersion, NamedVersion, VERSIONS, find, newest_first, number};
use crate::Ctx;
use crate::lambda::errors;
use crate::lambda::policy::{Conditions, Policy, Principal, Statement};

/// What AWS tells those to call whose revision is stale.
const REVISION_API: &str = "GetLayerPolicy";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct AddLayerVersionPermission {
    layer_name: String,
    version_number: i64,
    statement_id: String,
    action: String,
    principal: String,
    organization_id: Option<String>,
    revision_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct RemoveLayerVersionPermission {
    layer_name: String,
    version_number: i64,
    statement_id: String,
    revision_id: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Added {
    statement: String,
    revision_id: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PolicyShown {
    policy: String,
    revision_id: String,
}

pub async fn add(ctx: Ctx, input: AddLayerVersionPermission) -> Result<Added, AwsError> {
    let (layer, number) = own(&ctx, "AddLayerVersionPermission", &input.layer_name, input.version_number)?;
    let principal = Principal::parse(&input.principal, ctx.cx.region.partition())?;
    let conditions = Conditions { principal_org_id: input.organization_id, ..Conditions::default() };
    let resource = layer.version_arn(number);
    let statement = Statement::allow(&input.statement_id, principal, &input.action, &resource, conditions);
    let revision_id = change(&ctx, &layer, number, |version| {
        let revision = ctx.cx.id();
        version.check_revision(input.revision_id.as_deref())?;
        version.policy = Some(Policy::with(version.policy.take(), statement.clone(), revision)?);
        Ok(revision.to_string())
    });
    Ok(Added { revision_id: revision_id.await?, statement: statement.to_json() })
}

pub async fn remove(ctx: Ctx, input: RemoveLayerVersionPermission) -> Result<(), AwsError> {
    let (layer, number) = own(&ctx, "RemoveLayerVersionPermission", &input.layer_name, input.version_number)?;
    change(&ctx, &layer, number, |version| {
        version.check_revision(input.revision_id.as_deref())?;
        let policy = version.policy.take().ok_or_else(errors::no_policy)?;
        version.policy = policy.without(&input.statement_id, ctx.cx.id())?;
        Ok(())
    })
    .await
}

pub async fn get(ctx: Ctx, input: NamedVersion) -> Result<PolicyShown, AwsError> {
    let (layer, number) = own(&ctx, "GetLayerVersionPolicy", &input.layer_name, input.version_number)?;
    let version = find(&ctx, &layer, number).await?.ok_or_else(|| missing(&layer, number))?;
    let policy = version.policy.as_ref().ok_or_else(errors::no_policy)?;
    Ok(PolicyShown { policy: policy.to_json(), revision_id: policy.revision.to_string() })
}

/// The version that a request names, if it is the caller's.
fn own(ctx: &Ctx, operation: &str, name: &str, given: i64) -> Result<(LayerRef, u64), AwsError> {
    let layer = LayerRef::parse(ctx, name)?;
    let number = number(given)?;
    layer.check_own(ctx, operation, &layer.version_arn(number))?;
    Ok((layer, number))
}

fn missing(layer: &LayerRef, number: u64) -> AwsError {
    errors::resource_not_found(errors::layer_version_missing(&layer.version_arn(number)))
}

/// Changes a version's record in one commit.
async fn change<T>(
    ctx: &Ctx,
    layer: &LayerRef,
    number: u64,
    change: impl Fn(&mut LayerVersion) -> Result<T, AwsError>,
) -> Result<T, AwsError> {
    let scope = layer.scope(ctx);
    let key = (layer.name.as_str(), newest_first(number));
    let mut edit = ctx.edit(&VERSIONS, &scope, key).await;
    loop {
        let (found, batch) = edit.read().await?;
        let mut version = found.ok_or_else(|| missing(layer, number))?;
        let outcome = change(&mut version)?;
        if edit.commit(batch.put(&VERSIONS, &scope, key, &version)).await? {
            return Ok(outcome);
        }
    }
}

impl LayerVersion {
    fn check_revision(&self, wanted: Option<&str>) -> Result<(), AwsError> {
        let current = self.policy.as_ref().map(|policy| policy.revision.to_string());
        match wanted {
            Some(wanted) if current.as_deref() != Some(wanted) => Err(errors::policy_revision_mismatch(REVISION_API)),
            _ => Ok(()),
        }
    }
}

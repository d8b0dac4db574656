//! Who else may use a function, a version or an alias: the operations on their policies.
//!
//! Each has a policy of its own, kept under the function's incarnation and the qualifier, empty for the function as
//! a whole; `$LATEST` has none. A policy has revisions of its own, which no other change moves. Where there is no
//! policy yet, the revision of the function, version or alias itself stands for it.

use base::{AwsError, Uuid};
use serde::{Deserialize, Serialize};
use store::{Record, Table};

use super::errors;
use super::function::{self, FUNCTIONS, Function};
use super::name::FunctionRef;
use super::policy::{Conditions, Policy, Principal, Source, Statement};
use crate::{Ctx, Service};

/// By the function's incarnation and the qualifier.
pub static POLICIES: Table<(Uuid, String), Policy> = Table::new("lambda_policies");

impl Record for Policy {
    const VERSION: u8 = 1;
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct AddPermission {
    function_name: String,
    qualifier: Option<String>,
    statement_id: String,
    action: String,
    principal: String,
    source_arn: Option<String>,
    source_account: Option<String>,
    #[serde(rename = "PrincipalOrgID")]
    principal_org_id: Option<String>,
    event_source_token: Option<String>,
    function_url_auth_type: Option<String>,
    invoked_via_function_url: Option<bool>,
    revision_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct RemovePermission {
    function_name: String,
    qualifier: Option<String>,
    statement_id: String,
    revision_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct PutResourcePolicy {
    resource_arn: String,
    policy: String,
    revision_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct GetResourcePolicy {
    resource_arn: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct DeleteResourcePolicy {
    resource_arn: String,
    revision_id: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Added {
    statement: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PolicyShown {
    policy: String,
    revision_id: String,
}

/// What a change finds where a policy is or may be.
struct Found {
    policy: Option<Policy>,
    /// Of the function, version or alias.
    revision: Uuid,
}

/// What the revision of a policy is called for, which the refusal of a stale one names.
#[derive(Clone, Copy)]
enum Api {
    GetPolicy,
    GetResourcePolicy,
}

pub fn operations(service: Service) -> Service {
    service
        .operation("AddPermission", add)
        .operation("DeleteResourcePolicy", delete_policy)
        .operation("GetPolicy", get)
        .operation("GetResourcePolicy", get_policy)
        .operation("PutResourcePolicy", put_policy)
        .operation("RemovePermission", remove)
}

pub async fn add(ctx: Ctx, input: AddPermission) -> Result<Added, AwsError> {
    let asked = FunctionRef::parse(&ctx, "AddPermission", &input.function_name, input.qualifier.as_deref())?;
    check_qualifier(&asked)?;
    let revision = input.revision_id.clone();
    let (sid, action, principal) = (input.statement_id.clone(), input.action.clone(), input.principal.clone());
    let resource = asked.arn(&ctx);
    // Whose function it is comes before what is wrong with the grant.
    function::find(&ctx, &asked.name).await?;
    let conditions = input.conditions()?;
    let principal = Principal::parse(&principal, ctx.cx.region.partition())?;
    let statement = Statement::allow(&sid, principal, &action, &resource, conditions);
    change(&ctx, &asked, |found| {
        found.check_revision(Api::GetPolicy, revision.as_deref())?;
        Policy::with(found.policy, statement.clone(), ctx.cx.id()).map(Some)
    })
    .await?;
    Ok(Added { statement: statement.to_json() })
}

pub async fn remove(ctx: Ctx, input: RemovePermission) -> Result<(), AwsError> {
    let asked = FunctionRef::parse(&ctx, "RemovePermission", &input.function_name, input.qualifier.as_deref())?;
    let found = FUNCTIONS.get_shared(&ctx.cloud.store, &ctx.scope(), &asked.name).await?;
    if found.is_none() {
        let arn = function::arn(&ctx, &asked.name);
        return Err(errors::resource_not_found(format!("No policy found for: {arn}")));
    }
    change(&ctx, &asked, |found| {
        if found.policy.is_some() {
            found.check_revision(Api::GetPolicy, input.revision_id.as_deref())?;
        }
        found.policy.ok_or_else(errors::no_policy)?.without(&input.statement_id, ctx.cx.id())
    })
    .await
    .map(drop)
}

pub async fn get(ctx: Ctx, input: function::Named) -> Result<PolicyShown, AwsError> {
    let (ctx, asked) = FunctionRef::locate(ctx, "GetPolicy", &input.function_name, input.qualifier.as_deref()).await?;
    find(&ctx, &asked).await
}

/// Puts a whole policy in the place of the one that is there.
pub async fn put_policy(ctx: Ctx, input: PutResourcePolicy) -> Result<PolicyShown, AwsError> {
    let asked = named_by_arn(&ctx, "PutResourcePolicy", &input.resource_arn)?;
    check_qualifier(&asked)?;
    let function = function::arn(&ctx, &asked.name);
    let policy = change(&ctx, &asked, |found| {
        found.check_revision(Api::GetResourcePolicy, input.revision_id.as_deref())?;
        Policy::parse(&input.policy, &function, ctx.cx.id()).map(Some)
    });
    policy.await?.map(PolicyShown::from).ok_or_else(|| AwsError::internal("a policy that was put is not there"))
}

pub async fn get_policy(ctx: Ctx, input: GetResourcePolicy) -> Result<PolicyShown, AwsError> {
    let asked = named_by_arn(&ctx, "GetResourcePolicy", &input.resource_arn)?;
    find(&ctx, &asked).await
}

pub async fn delete_policy(ctx: Ctx, input: DeleteResourcePolicy) -> Result<(), AwsError> {
    let asked = named_by_arn(&ctx, "DeleteResourcePolicy", &input.resource_arn)?;
    change(&ctx, &asked, |found| {
        if found.policy.is_none() {
            return Err(errors::no_policy());
        }
        found.check_revision(Api::GetResourcePolicy, input.revision_id.as_deref())?;
        Ok(None)
    })
    .await
    .map(drop)
}

/// The policy of a function, a version or an alias. What it is that is not there, AWS does not say.
async fn find(ctx: &Ctx, asked: &FunctionRef) -> Result<PolicyShown, AwsError> {
    let (store, scope) = (&ctx.cloud.store, ctx.scope());
    let function = FUNCTIONS.get_shared(store, &scope, &asked.name).await?;
    let function = function.ok_or_else(errors::requested_resource_not_found)?;
    let key = (function.incarnation, asked.qualifier.as_deref().unwrap_or_default());
    let policy = POLICIES.get(store, &scope, key).await?.ok_or_else(errors::requested_resource_not_found)?;
    Ok(policy.value.into())
}

/// Whether the policy of a function, version or alias lets the caller, who is of another account, do `operation`.
pub async fn grants(owners: &Ctx, asked: &FunctionRef, operation: &str) -> Result<bool, AwsError> {
    let (action, partition) = (format!("lambda:{operation}"), owners.cx.region.partition());
    let resource = asked.arn(owners);
    let policy = policy_of(owners, asked).await?;
    Ok(policy.is_some_and(|policy| policy.grants(&action, &resource, partition, &owners.cx.principal)))
}

/// Whether it lets a service of AWS do `operation`.
pub async fn grants_service(
    owners: &Ctx,
    asked: &FunctionRef,
    operation: &str,
    by: &Source<'_>,
) -> Result<bool, AwsError> {
    let (action, resource) = (format!("lambda:{operation}"), asked.arn(owners));
    let policy = policy_of(owners, asked).await?;
    Ok(policy.is_some_and(|policy| policy.grants_service(&action, &resource, by)))
}

async fn policy_of(owners: &Ctx, asked: &FunctionRef) -> Result<Option<Policy>, AwsError> {
    let (store, scope) = (&owners.cloud.store, owners.scope());
    let Some(function) = FUNCTIONS.get_shared(store, &scope, &asked.name).await? else { return Ok(None) };
    let key = (function.incarnation, asked.qualifier.as_deref().unwrap_or_default());
    Ok(POLICIES.get(store, &scope, key).await?.map(|row| row.value))
}

/// Whether a service may invoke the function, version or alias that an ARN of the caller's account names. One that is not
/// there, nobody may.
pub async fn may_invoke(ctx: &Ctx, arn: &str, by: &Source<'_>) -> Result<bool, AwsError> {
    let Ok(asked) = FunctionRef::parse(ctx, "Invoke", arn, None) else { return Ok(false) };
    let (store, scope) = (&ctx.cloud.store, ctx.scope());
    let Some(function) = FUNCTIONS.get_shared(store, &scope, &asked.name).await? else { return Ok(false) };
    let qualifier = asked.qualifier.as_deref().unwrap_or("$LATEST");
    if function::qualified(ctx, &function, qualifier).await?.is_none() {
        return Ok(false);
    }
    grants_service(ctx, &asked, "InvokeFunction", by).await
}

/// Changes one policy in one commit; what is left of it, if anything, is the answer.
async fn change(
    ctx: &Ctx,
    asked: &FunctionRef,
    change: impl Fn(Found) -> Result<Option<Policy>, AwsError>,
) -> Result<Option<Policy>, AwsError> {
    let scope = ctx.scope();
    let mut edit = ctx.edit(&FUNCTIONS, &scope, &asked.name).await;
    loop {
        let (function, batch) = function::open(ctx, &asked.name, &mut edit).await?;
        let revision = revision_of(ctx, asked, &function).await?;
        let key = (function.incarnation, asked.qualifier.as_deref().unwrap_or_default());
        let policy = POLICIES.get(&ctx.cloud.store, &scope, key).await?.map(|row| row.value);
        let policy = change(Found { policy, revision })?;
        let batch = match &policy {
            Some(policy) => batch.put(&POLICIES, &scope, key, policy),
            None => batch.delete(&POLICIES, &scope, key),
        };
        if edit.commit(batch.put(&FUNCTIONS, &scope, &asked.name, &function)).await? {
            return Ok(policy);
        }
    }
}

/// The revision of what is asked for, or AWS's words for that it is not there.
async fn revision_of(ctx: &Ctx, asked: &FunctionRef, function: &Function) -> Result<Uuid, AwsError> {
    let qualifier = asked.qualifier.as_deref().unwrap_or("$LATEST");
    match function::qualified(ctx, function, qualifier).await? {
        Some(function::Found::Latest) => Ok(function.latest.revision),
        Some(function::Found::Version(_, release)) => Ok(release.revision),
        Some(function::Found::Alias(alias)) => Ok(alias.revision),
        None => Err(asked.missing(ctx)),
    }
}

fn check_qualifier(asked: &FunctionRef) -> Result<(), AwsError> {
    match asked.qualifier.as_deref() {
        Some("$LATEST") => Err(errors::invalid_parameter("We currently do not support adding policies for $LATEST.")),
        _ => Ok(()),
    }
}

/// What an ARN names that has a policy. Runtimes have none here.
fn named_by_arn(ctx: &Ctx, operation: &str, arn: &str) -> Result<FunctionRef, AwsError> {
    let asked = FunctionRef::parse(ctx, operation, arn, None)?;
    match asked.name.contains('/') {
        true => Err(errors::requested_resource_not_found()),
        false => Ok(asked),
    }
}

impl AddPermission {
    /// The conditions, if they go together with each other and with the action.
    fn conditions(self) -> Result<Conditions, AwsError> {
        let only = |member: &str, action: &str| {
            Err(errors::invalid_parameter(format!("{member} is only supported for {action} action")))
        };
        if self.function_url_auth_type.is_some() && self.action != "lambda:InvokeFunctionUrl" {
            return only("FunctionUrlAuthType", "lambda:InvokeFunctionUrl");
        }
        if self.invoked_via_function_url.is_some() && self.action != "lambda:InvokeFunction" {
            return only("InvokedViaFunctionUrl", "lambda:InvokeFunction");
        }
        Ok(Conditions {
            event_source_token: self.event_source_token,
            source_account: self.source_account,
            function_url_auth_type: self.function_url_auth_type,
            principal_org_id: self.principal_org_id,
            invoked_via_function_url: self.invoked_via_function_url,
            source_arn: self.source_arn,
        })
    }
}

impl Found {
    fn check_revision(&self, api: Api, wanted: Option<&str>) -> Result<(), AwsError> {
        let current = self.policy.as_ref().map_or(self.revision, |policy| policy.revision).to_string();
        let api = match api {
            Api::GetPolicy => "GetPolicy",
            Api::GetResourcePolicy => "GetResourcePolicy",
        };
        match wanted {
            Some(wanted) if wanted != current => Err(errors::policy_revision_mismatch(api)),
            _ => Ok(()),
        }
    }
}

impl From<Policy> for PolicyShown {
    fn from(policy: Policy) -> Self {
        Self { policy: policy.to_json(), revision_id: policy.revision.to_string() }
    }
}

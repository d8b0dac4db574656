//! A role's own policies: documents that live and end with the role.
//!
//! The role's record has their names and sizes, and is written whenever one of them is.

use base::AwsError;
use serde::{Deserialize, Serialize};
use store::{Record, Scope, Table};
use wire::value::With;

use super::paging::{End, Paging};
use super::role::{self, Named, ROLES};
use super::{document, errors, name};
use crate::Ctx;

/// All of a role's own policies together, white space left out.
const BYTES_MAX: usize = 10_240;

/// Under the unique id of their role and their name.
pub static ROLE_POLICIES: Table<(String, String), RolePolicy> = Table::large("iam_role_policies");

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RolePolicy {
    pub document: String,
}

impl Record for RolePolicy {
    const VERSION: u8 = 1;
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct PutRolePolicy {
    role_name: String,
    policy_name: String,
    policy_document: String,
}

/// Input of the operations that only name a policy of a role.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct NamedPolicy {
    role_name: String,
    policy_name: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RolePolicyShown {
    role_name: String,
    policy_name: String,
    policy_document: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PolicyNames {
    policy_names: Vec<String>,
    #[serde(flatten)]
    end: End,
}

pub async fn put(ctx: Ctx, input: PutRolePolicy) -> Result<(), AwsError> {
    let PutRolePolicy { role_name, policy_name, policy_document } = input;
    let scope = Scope::global(&ctx.cx);
    let key = name::key(&role_name);
    let mut edit = ctx.edit(&ROLES, &scope, &key).await;
    loop {
        let (found, batch) = edit.read().await?;
        let mut role = found.ok_or_else(|| errors::no_such_role(&role_name))?;
        role::check_unprotected(&role)?;
        document::check_inline(&policy_document)?;
        role.inline.insert(policy_name.clone(), document::measure(&policy_document));
        if role.inline.values().sum::<usize>() > BYTES_MAX {
            return Err(errors::role_policies_too_large(&role.name, BYTES_MAX));
        }
        let policy = RolePolicy { document: policy_document.clone() };
        let batch = batch.put(&ROLE_POLICIES, &scope, (&role.id, &policy_name), &policy);
        if edit.commit(batch.put(&ROLES, &scope, &key, &role)).await? {
            return Ok(());
        }
    }
}

pub async fn get(ctx: Ctx, input: NamedPolicy) -> Result<RolePolicyShown, AwsError> {
    let role = role::find(&ctx, &input.role_name).await?;
    let scope = Scope::global(&ctx.cx);
    let found = ROLE_POLICIES.get(&ctx.cloud.store, &scope, (&role.id, &input.policy_name)).await?;
    let policy = found.ok_or_else(|| errors::no_such_role_policy(&input.policy_name))?.value;
    Ok(RolePolicyShown {
        role_name: role.name,
        policy_name: input.policy_name,
        policy_document: document::encode(&policy.document),
    })
}

pub async fn list(ctx: Ctx, With(input, paging): With<Named, Paging>) -> Result<PolicyNames, AwsError> {
    let role = role::find(&ctx, &input.role_name).await?;
    let (policy_names, end) = paging.cut(&ctx, "iam:ListRolePolicies", role.inline.into_keys())?;
    Ok(PolicyNames { policy_names, end })
}

pub async fn delete(ctx: Ctx, input: NamedPolicy) -> Result<(), AwsError> {
    let scope = Scope::global(&ctx.cx);
    let key = name::key(&input.role_name);
    let mut edit = ctx.edit(&ROLES, &scope, &key).await;
    loop {
        let (found, batch) = edit.read().await?;
        let mut role = found.ok_or_else(|| errors::no_such_role(&input.role_name))?;
        role::check_unprotected(&role)?;
        if role.inline.remove(&input.policy_name).is_none() {
            return Err(errors::no_such_role_policy(&input.policy_name));
        }
        let batch = batch.delete(&ROLE_POLICIES, &scope, (&role.id, &input.policy_name));
        if edit.commit(batch.put(&ROLES, &scope, &key, &role)).await? {
            return Ok(());
        }
    }
}

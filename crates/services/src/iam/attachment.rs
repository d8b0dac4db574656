//! Which roles use which managed policies, attached or as permissions boundary.
//!
//! A role's record says what it uses. [`count`] keeps two views of that from the policies' side, in the same commit as
//! any change of it: how many use a policy, and who. Both go by the policy's unique id, so those of a deleted policy
//! are not taken for those of the next of its name. A policy that somebody uses cannot be deleted: its deletion
//! expects that nothing is counted, an attachment that the policy is as it was found.

use std::collections::BTreeMap;

use base::AwsError;
use serde::{Deserialize, Serialize};
use store::{Batch, Record, Scan, Scope, Table};
use wire::value::With;

use super::managed_policy::{self, Found};
use super::paging::{End, Paging};
use super::role::{self, Named, ROLES, Role};
use super::{errors, name};
use crate::Ctx;
use crate::edit::Edit;

const ATTACHED_MAX: usize = 10;
const ROLE: &str = "role";

/// Under the unique id of their policy; absent where nobody uses it.
static USES: Table<String, Uses> = Table::new("iam_policy_uses");
/// Under the unique id of their policy, their kind and their [key](name::key).
static ENTITIES: Table<(String, String, String), Entity> = Table::new("iam_policy_entities");

/// A managed policy that something uses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PolicyRef {
    pub arn: String,
    pub id: String,
}

/// How many use a policy.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Uses {
    pub attached: u32,
    pub boundary: u32,
}

/// One who uses a policy, and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entity {
    name: String,
    id: String,
    path: String,
    is_attached: bool,
    is_boundary: bool,
}

impl Record for Uses {
    const VERSION: u8 = 1;
}

impl Record for Entity {
    const VERSION: u8 = 1;
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct NamedPolicy {
    role_name: String,
    policy_arn: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct PutBoundary {
    role_name: String,
    permissions_boundary: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ListAttached {
    role_name: String,
    path_prefix: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ListEntities {
    policy_arn: String,
    entity_filter: Option<String>,
    path_prefix: Option<String>,
    policy_usage_filter: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AttachedList {
    attached_policies: Vec<AttachedPolicy>,
    #[serde(flatten)]
    end: End,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct AttachedPolicy {
    policy_name: String,
    policy_arn: String,
}

/// Roles alone use policies: there are no users and groups yet.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct EntityList {
    policy_groups: [(); 0],
    policy_users: [(); 0],
    policy_roles: Vec<PolicyRole>,
    #[serde(flatten)]
    end: End,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PolicyRole {
    role_name: String,
    role_id: String,
}

pub async fn attach(ctx: Ctx, input: NamedPolicy) -> Result<(), AwsError> {
    let arn = &input.policy_arn;
    managed_policy::check_arn(arn)?;
    change(&ctx, &input.role_name, Some(arn), |role, policy| {
        role::check_unprotected(role)?;
        if role.attached.iter().any(|policy| policy.arn == *arn) {
            return Ok(());
        }
        let policy = policy.ok_or_else(|| errors::not_attachable(arn))?;
        if let Found::Aws(policy) = policy
            && policy.is_for_services()
        {
            return Err(errors::service_role_policy());
        }
        if role.attached.len() >= ATTACHED_MAX {
            return Err(errors::quota("PoliciesPerRole", ATTACHED_MAX));
        }
        role.attached.push(policy.reference(&ctx));
        Ok(())
    })
    .await
}

pub async fn detach(ctx: Ctx, input: NamedPolicy) -> Result<(), AwsError> {
    let arn = &input.policy_arn;
    managed_policy::check_arn(arn)?;
    change(&ctx, &input.role_name, None, |role, _| {
        role::check_unprotected(role)?;
        let before = role.attached.len();
        role.attached.retain(|policy| policy.arn != *arn);
        if role.attached.len() == before { Err(errors::no_such_policy(arn)) } else { Ok(()) }
    })
    .await
}

pub async fn list_attached(
    ctx: Ctx,
    With(input, paging): With<ListAttached, Paging>,
) -> Result<AttachedList, AwsError> {
    let role = role::find(&ctx, &input.role_name).await?;
    let prefix = format!(":policy{}", input.path_prefix.as_deref().unwrap_or("/"));
    let under = role.attached.into_iter().filter(|policy| policy.arn.contains(&prefix));
    let (page, end) = paging.cut(&ctx, "iam:ListAttachedRolePolicies", under)?;
    let attached_policies = page
        .into_iter()
        .map(|policy| AttachedPolicy { policy_name: name::last_in(&policy.arn).to_owned(), policy_arn: policy.arn });
    Ok(AttachedList { attached_policies: attached_policies.collect(), end })
}

pub async fn put_boundary(ctx: Ctx, input: PutBoundary) -> Result<(), AwsError> {
    let arn = &input.permissions_boundary;
    check_boundary(arn)?;
    change(&ctx, &input.role_name, Some(arn), |role, policy| {
        role::check_unprotected(role)?;
        role.boundary = Some(policy.ok_or_else(|| errors::no_such_boundary(arn))?.reference(&ctx));
        Ok(())
    })
    .await
}

pub async fn delete_boundary(ctx: Ctx, input: Named) -> Result<(), AwsError> {
    change(&ctx, &input.role_name, None, |role, _| {
        role::check_unprotected(role)?;
        role.boundary = None;
        Ok(())
    })
    .await
}

pub async fn list_entities(ctx: Ctx, With(input, paging): With<ListEntities, Paging>) -> Result<EntityList, AwsError> {
    managed_policy::check_arn(&input.policy_arn)?;
    let policy = managed_policy::find(&ctx, &input.policy_arn).await?.reference(&ctx);
    let of_kind = |limit| Scan::all(limit).under::<String>(&policy.id).under::<String>(ROLE);
    let prefix = input.path_prefix.as_deref().unwrap_or("/");
    let has_roles = input.entity_filter.as_deref().is_none_or(|kind| kind == "Role");
    let kept = |entity: &Entity| {
        let used = match input.policy_usage_filter.as_deref() {
            Some("PermissionsPolicy") => entity.is_attached,
            Some("PermissionsBoundary") => entity.is_boundary,
            _ => true,
        };
        has_roles && used && entity.path.starts_with(prefix)
    };
    let (rows, end) = paging.rows(&ctx, "iam:ListEntitiesForPolicy", &ENTITIES, of_kind, kept).await?;
    let roles = rows.into_iter().map(|row| PolicyRole { role_name: row.value.name, role_id: row.value.id });
    Ok(EntityList { policy_groups: [], policy_users: [], policy_roles: roles.collect(), end })
}

/// Changes what a role uses. `decide` is given the policy of the ARN `wanted`, if that exists; it is still as it was
/// given when the change happens.
async fn change(
    ctx: &Ctx,
    role_name: &str,
    wanted: Option<&str>,
    decide: impl Fn(&mut Role, Option<&Found>) -> Result<(), AwsError>,
) -> Result<(), AwsError> {
    let scope = Scope::global(&ctx.cx);
    let key = name::key(role_name);
    let mut edit = edit(ctx, &scope, &key).await;
    loop {
        let (found, mut batch) = edit.read().await?;
        let before = found.ok_or_else(|| errors::no_such_role(role_name))?;
        let mut role = before.clone();
        let policy = match wanted {
            None => None,
            Some(arn) => managed_policy::lookup(ctx, arn).await?,
        };
        decide(&mut role, policy.as_ref())?;
        if let Some(policy) = policy {
            batch = policy.hold(batch, &scope);
        }
        let batch = count(ctx, &scope, batch, Some(&before), Some(&role)).await?;
        if edit.commit(batch.put(&ROLES, &scope, &key, &role)).await? {
            return Ok(());
        }
    }
}

/// Refuses what cannot be a boundary, whether it exists or not.
pub fn check_boundary(arn: &str) -> Result<(), AwsError> {
    managed_policy::check_arn(arn).map_err(|_| errors::invalid_boundary(arn))
}

/// Begins a change that may count. They go one after the other in an account, as they meet in the counts.
pub async fn edit<'a>(ctx: &'a Ctx, scope: &'a Scope, role_key: &'a str) -> Edit<'a, String, Role> {
    ctx.edit_with(vec![turn(scope)], &ROLES, scope, role_key).await
}

/// In whose turn counts change, for [`Ctx::edit_with`].
pub fn turn(scope: &Scope) -> Vec<u8> {
    USES.row_key(scope, "")
}

/// Adds to `batch` what the change of a role means for the policies that it used and uses.
pub async fn count(
    ctx: &Ctx,
    scope: &Scope,
    mut batch: Batch,
    before: Option<&Role>,
    after: Option<&Role>,
) -> Result<Batch, AwsError> {
    let Some(role) = after.or(before) else { return Ok(batch) };
    let mut changes: BTreeMap<&str, [(bool, bool); 2]> = BTreeMap::new();
    for (side, role) in [before, after].into_iter().enumerate() {
        for policy in role.iter().flat_map(|role| &role.attached) {
            changes.entry(&policy.id).or_default()[side].0 = true;
        }
        for policy in role.iter().flat_map(|role| &role.boundary) {
            changes.entry(&policy.id).or_default()[side].1 = true;
        }
    }
    for (policy, [was, is]) in changes.into_iter().filter(|(_, [was, is])| was != is) {
        let mut uses = match USES.get(&ctx.cloud.store, scope, policy).await? {
            None => {
                batch = batch.expect_absent(&USES, scope, policy);
                Uses::default()
            }
            Some(row) => {
                batch = batch.expect_version(&USES, scope, policy, row.version);
                row.value
            }
        };
        uses.attached = uses.attached.saturating_add(is.0.into()).saturating_sub(was.0.into());
        uses.boundary = uses.boundary.saturating_add(is.1.into()).saturating_sub(was.1.into());
        batch = match uses == Uses::default() {
            true => batch.delete(&USES, scope, policy),
            false => batch.put(&USES, scope, policy, &uses),
        };
        let role_key = name::key(&role.name);
        let key = (policy, ROLE, role_key.as_str());
        batch = if is == (false, false) {
            batch.delete(&ENTITIES, scope, key)
        } else {
            let (name, id, path) = (role.name.clone(), role.id.clone(), role.path.clone());
            batch.put(&ENTITIES, scope, key, &Entity { name, id, path, is_attached: is.0, is_boundary: is.1 })
        };
    }
    Ok(batch)
}

/// How many use each of these policies, in their order.
pub async fn uses(ctx: &Ctx, policy_ids: &[&str]) -> Result<Vec<Uses>, AwsError> {
    let scope = Scope::global(&ctx.cx);
    let mut found = Vec::with_capacity(policy_ids.len());
    for ids in policy_ids.chunks(store::limits::READS_MAX) {
        let rows = USES.get_many(&ctx.cloud.store, &scope, ids).await?;
        found.extend(rows.into_iter().map(|row| row.map(|row| row.value).unwrap_or_default()));
    }
    Ok(found)
}

/// Lets `batch` happen only if nobody uses the policy.
pub fn expect_unused(batch: Batch, scope: &Scope, policy_id: &str) -> Batch {
    batch.expect_absent(&USES, scope, policy_id)
}

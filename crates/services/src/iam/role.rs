//! Roles: the record, where it is kept, and the operations on it.
//!
//! A role's record is the lock of all that hangs on the role: its own policies, the managed ones attached to it, the
//! instance profiles that have it. Whoever changes one of these writes the record in the same commit.
//! Nothing is enforced yet; what enforcing needs is stored.

use std::collections::{BTreeMap, BTreeSet};

use base::{AwsError, Timestamp};
use serde::{Deserialize, Serialize};
use store::{Record, Scan, Scope, Table};
use wire::value::With;

use super::attachment::{self, PolicyRef};
use super::aws_managed::SERVICE_ROLE_PATH;
use super::paging::{End, Paging};
use super::tag::{self, Tag};
use super::{document, errors, managed_policy, name};
use crate::Ctx;

const TRUST_CHARS_MAX: usize = 2_048;
const SESSION_S_DEFAULT: u32 = 3_600;

/// Under their [keys](name::key).
pub static ROLES: Table<String, Role> = Table::large("iam_roles");

/// A role as stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Role {
    pub name: String,
    pub id: String,
    pub path: String,
    /// Who may assume it: a policy document.
    pub trust: String,
    pub description: Option<String>,
    pub session_s_max: u32,
    pub boundary: Option<PolicyRef>,
    pub tags: Vec<Tag>,
    pub created: Timestamp,
    /// In the order in which they were attached.
    pub attached: Vec<PolicyRef>,
    /// Its own policies, and how much of each counts.
    pub inline: BTreeMap<String, usize>,
    /// The keys of the instance profiles that have it.
    pub profiles: BTreeSet<String>,
    /// The service that the role is linked to.
    pub service: Option<String>,
}

impl Record for Role {
    const VERSION: u8 = 1;
}

impl Role {
    /// A role that nothing hangs on yet.
    pub fn new(ctx: &Ctx, name: String, path: String, trust: String) -> Self {
        Self {
            name,
            id: name::fresh_id(ctx, name::ROLE_ID),
            path,
            trust,
            description: None,
            session_s_max: SESSION_S_DEFAULT,
            boundary: None,
            tags: Vec::new(),
            created: name::now(ctx),
            attached: Vec::new(),
            inline: BTreeMap::new(),
            profiles: BTreeSet::new(),
            service: None,
        }
    }

    /// No text is no description.
    fn describe(&mut self, description: &str) {
        self.description = Some(description.to_owned()).filter(|text| !text.is_empty());
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct CreateRole {
    path: Option<String>,
    role_name: String,
    assume_role_policy_document: String,
    description: Option<String>,
    max_session_duration: Option<u32>,
    permissions_boundary: Option<String>,
    #[serde(default)]
    tags: Vec<Tag>,
}

/// Input of the operations that only name a role.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Named {
    pub role_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ListRoles {
    path_prefix: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct UpdateRole {
    role_name: String,
    description: Option<String>,
    max_session_duration: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct UpdateRoleDescription {
    role_name: String,
    description: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct UpdateAssumeRolePolicy {
    role_name: String,
    policy_document: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct TagRole {
    role_name: String,
    tags: Vec<Tag>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct UntagRole {
    role_name: String,
    tag_keys: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct OneRole {
    pub role: RoleShown,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RoleList {
    roles: Vec<RoleShown>,
    #[serde(flatten)]
    end: End,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TagList {
    pub tags: Vec<Tag>,
    #[serde(flatten)]
    pub end: End,
}

/// What an operation answers that has nothing to say.
#[derive(Serialize)]
pub struct Nothing {}

/// A role as AWS shows it; how much of it depends on the operation.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RoleShown {
    path: String,
    role_name: String,
    role_id: String,
    arn: String,
    create_date: Timestamp,
    assume_role_policy_document: String,
    description: Option<String>,
    max_session_duration: Option<u32>,
    permissions_boundary: Option<Boundary>,
    tags: Option<Vec<Tag>>,
    role_last_used: Option<Nothing>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Boundary {
    permissions_boundary_type: &'static str,
    permissions_boundary_arn: String,
}

/// Who asks, and so how much of a role is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    Created,
    Whole,
    Listed,
    /// As a part of what has it.
    Inside,
}

pub async fn create(ctx: Ctx, input: CreateRole) -> Result<OneRole, AwsError> {
    check_trust(&input.assume_role_policy_document)?;
    input.permissions_boundary.as_deref().map_or(Ok(()), attachment::check_boundary)?;
    let mut tags = Vec::new();
    tag::put(&mut tags, &input.tags)?;
    let path = input.path.unwrap_or_else(|| "/".into());
    if path.starts_with(SERVICE_ROLE_PATH) {
        return Err(errors::reserved_path(&path));
    }
    let mut role = Role::new(&ctx, input.role_name, path, input.assume_role_policy_document);
    role.describe(input.description.as_deref().unwrap_or_default());
    role.session_s_max = input.max_session_duration.unwrap_or(role.session_s_max);
    role.tags = tags;
    if !insert(&ctx, &mut role, input.permissions_boundary.as_deref()).await? {
        return Err(errors::role_exists(&role.name));
    }
    Ok(OneRole { role: show(&ctx, role, Shown::Created) })
}

/// Stores a new role, with a boundary if one is named; false if one of that name is there.
pub async fn insert(ctx: &Ctx, role: &mut Role, boundary: Option<&str>) -> Result<bool, AwsError> {
    let scope = Scope::global(&ctx.cx);
    let key = name::key(&role.name);
    let mut edit = attachment::edit(ctx, &scope, &key).await;
    loop {
        let (found, mut batch) = edit.read().await?;
        if found.is_some() {
            return Ok(false);
        }
        if let Some(arn) = boundary {
            let policy = managed_policy::lookup(ctx, arn).await?.ok_or_else(|| errors::no_such_boundary(arn))?;
            role.boundary = Some(policy.reference(ctx));
            batch = policy.hold(batch, &scope);
        }
        let batch = attachment::count(ctx, &scope, batch, None, Some(role)).await?;
        if edit.commit(batch.put(&ROLES, &scope, &key, role)).await? {
            return Ok(true);
        }
    }
}

pub async fn get(ctx: Ctx, input: Named) -> Result<OneRole, AwsError> {
    let role = find(&ctx, &input.role_name).await?;
    Ok(OneRole { role: show(&ctx, role, Shown::Whole) })
}

pub async fn list(ctx: Ctx, With(input, paging): With<ListRoles, Paging>) -> Result<RoleList, AwsError> {
    let prefix = input.path_prefix.as_deref().unwrap_or("/");
    let kept = |role: &Role| role.path.starts_with(prefix);
    let (rows, end) = paging.rows(&ctx, "iam:ListRoles", &ROLES, Scan::all, kept).await?;
    Ok(RoleList { roles: rows.into_iter().map(|row| show(&ctx, row.value, Shown::Listed)).collect(), end })
}

pub async fn update(ctx: Ctx, input: UpdateRole) -> Result<Nothing, AwsError> {
    edit(&ctx, &input.role_name, |role| {
        if input.max_session_duration.is_some() {
            check_unprotected(role)?;
        }
        if let Some(description) = &input.description {
            role.describe(description);
        }
        role.session_s_max = input.max_session_duration.unwrap_or(role.session_s_max);
        Ok(())
    })
    .await?;
    Ok(Nothing {})
}

pub async fn update_description(ctx: Ctx, input: UpdateRoleDescription) -> Result<OneRole, AwsError> {
    let role = edit(&ctx, &input.role_name, |role| {
        role.describe(&input.description);
        Ok(())
    });
    Ok(OneRole { role: show(&ctx, role.await?, Shown::Listed) })
}

pub async fn update_trust(ctx: Ctx, input: UpdateAssumeRolePolicy) -> Result<(), AwsError> {
    find(&ctx, &input.role_name).await?;
    check_trust(&input.policy_document)?;
    let change = |role: &mut Role| {
        check_unprotected(role)?;
        role.trust.clone_from(&input.policy_document);
        Ok(())
    };
    edit(&ctx, &input.role_name, change).await.map(drop)
}

pub async fn delete(ctx: Ctx, input: Named) -> Result<(), AwsError> {
    let scope = Scope::global(&ctx.cx);
    let key = name::key(&input.role_name);
    let mut edit = attachment::edit(&ctx, &scope, &key).await;
    loop {
        let (found, batch) = edit.read().await?;
        let role = found.ok_or_else(|| errors::no_such_role(&input.role_name))?;
        check_unprotected(&role)?;
        if !role.attached.is_empty() {
            return Err(errors::policies_attached());
        }
        if !role.inline.is_empty() {
            return Err(errors::policies_inside());
        }
        if !role.profiles.is_empty() {
            return Err(errors::roles_inside());
        }
        let batch = attachment::count(&ctx, &scope, batch, Some(&role), None).await?;
        if edit.commit(batch.delete(&ROLES, &scope, &key)).await? {
            return Ok(());
        }
    }
}

pub async fn tag(ctx: Ctx, input: TagRole) -> Result<(), AwsError> {
    edit(&ctx, &input.role_name, |role| tag::put(&mut role.tags, &input.tags)).await.map(drop)
}

pub async fn untag(ctx: Ctx, input: UntagRole) -> Result<(), AwsError> {
    let change = |role: &mut Role| {
        tag::remove(&mut role.tags, &input.tag_keys);
        Ok(())
    };
    edit(&ctx, &input.role_name, change).await.map(drop)
}

pub async fn list_tags(ctx: Ctx, With(input, paging): With<Named, Paging>) -> Result<TagList, AwsError> {
    let role = find(&ctx, &input.role_name).await?;
    let (tags, end) = paging.cut(&ctx, "iam:ListRoleTags", tag::sorted(role.tags))?;
    Ok(TagList { tags, end })
}

/// Reads a role, or answers as AWS does where there is none.
pub async fn find(ctx: &Ctx, name: &str) -> Result<Role, AwsError> {
    let row = ROLES.get(&ctx.cloud.store, &Scope::global(&ctx.cx), &name::key(name)).await?;
    row.map(|row| row.value).ok_or_else(|| errors::no_such_role(name))
}

/// Changes what only the role's record holds.
async fn edit(ctx: &Ctx, name: &str, change: impl Fn(&mut Role) -> Result<(), AwsError>) -> Result<Role, AwsError> {
    let scope = Scope::global(&ctx.cx);
    let key = name::key(name);
    let mut edit = ctx.edit(&ROLES, &scope, &key).await;
    loop {
        let (found, batch) = edit.read().await?;
        let mut role = found.ok_or_else(|| errors::no_such_role(name))?;
        change(&mut role)?;
        if edit.commit(batch.put(&ROLES, &scope, &key, &role)).await? {
            return Ok(role);
        }
    }
}

/// Refuses to change a service-linked role.
pub fn check_unprotected(role: &Role) -> Result<(), AwsError> {
    if role.service.is_some() { Err(errors::protected_role(&role.name)) } else { Ok(()) }
}

fn check_trust(text: &str) -> Result<(), AwsError> {
    document::check_trust(text)?;
    if document::measure(text) > TRUST_CHARS_MAX {
        return Err(errors::quota("ACLSizePerRole", TRUST_CHARS_MAX));
    }
    Ok(())
}

pub fn show(ctx: &Ctx, role: Role, shown: Shown) -> RoleShown {
    let is_settled = matches!(shown, Shown::Whole | Shown::Listed);
    let is_own = matches!(shown, Shown::Whole | Shown::Created);
    let boundary = role
        .boundary
        .filter(|_| is_own)
        .map(|policy| Boundary { permissions_boundary_type: "Policy", permissions_boundary_arn: policy.arn });
    RoleShown {
        arn: name::arn(ctx, "role", &role.path, &role.name),
        path: role.path,
        role_name: role.name,
        role_id: role.id,
        create_date: role.created,
        assume_role_policy_document: document::encode(&role.trust),
        description: role.description.filter(|_| is_settled),
        max_session_duration: is_settled.then_some(role.session_s_max),
        permissions_boundary: boundary,
        tags: Some(role.tags).filter(|tags| is_own && !tags.is_empty()),
        role_last_used: (shown == Shown::Whole).then_some(Nothing {}),
    }
}

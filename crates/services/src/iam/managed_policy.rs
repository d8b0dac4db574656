//! Managed policies: documents under an ARN of their own, for many roles to use. The account's are here; those that
//! AWS made are in `aws_managed`.
//!
//! Invariant: a version's document is written and deleted in the same commit as the record that lists the version.

use std::collections::BTreeMap;

use base::{Arn, AwsError, Timestamp};
use serde::{Deserialize, Serialize};
use store::{Batch, Record, Row, Scan, Scope, Table, Version};
use wire::value::With;

use super::attachment::{self, PolicyRef, Uses};
use super::aws_managed::{AwsManaged, OWNER};
use super::paging::{End, Paging};
use super::policy_version::{self, DOCUMENTS, Document};
use super::tag::{self, Tag, TagList};
use super::{errors, name};
use crate::Ctx;

/// Rows that a listing reads at a time, and how many times. One that ends there goes on at its marker.
const STEP_ROWS: usize = store::limits::READS_MAX;
const STEPS_MAX: usize = 40;

/// Under their [keys](name::key).
static POLICIES: Table<String, Policy> = Table::large("iam_policies");

/// A policy of the account's, without its documents.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Policy {
    pub name: String,
    pub id: String,
    pub path: String,
    pub description: Option<String>,
    pub tags: Vec<Tag>,
    pub created: Timestamp,
    pub updated: Timestamp,
    /// When each version was made. Numbers are not used again.
    pub versions: BTreeMap<u32, Timestamp>,
    pub version_last: u32,
    pub version_default: u32,
}

impl Record for Policy {
    const VERSION: u8 = 1;
}

/// What an ARN names.
pub enum Found {
    Aws(&'static AwsManaged),
    Customer(Box<Policy>, Version),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct CreatePolicy {
    policy_name: String,
    path: Option<String>,
    policy_document: String,
    description: Option<String>,
    #[serde(default)]
    tags: Vec<Tag>,
}

/// Input of the operations that only name a policy.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Named {
    pub policy_arn: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ListPolicies {
    scope: Option<String>,
    #[serde(default)]
    only_attached: bool,
    path_prefix: Option<String>,
    policy_usage_filter: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct TagPolicy {
    policy_arn: String,
    tags: Vec<Tag>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct UntagPolicy {
    policy_arn: String,
    tag_keys: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct OnePolicy {
    policy: PolicyShown,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PolicyList {
    policies: Vec<PolicyShown>,
    #[serde(flatten)]
    end: End,
}

/// A policy as AWS shows it. Its description and tags are not in lists.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PolicyShown {
    policy_name: String,
    policy_id: String,
    arn: String,
    path: String,
    default_version_id: String,
    attachment_count: u32,
    permissions_boundary_usage_count: u32,
    is_attachable: bool,
    description: Option<String>,
    create_date: Timestamp,
    update_date: Timestamp,
    tags: Option<Vec<Tag>>,
}

pub async fn create(ctx: Ctx, input: CreatePolicy) -> Result<OnePolicy, AwsError> {
    policy_version::check(&input.policy_document)?;
    let mut tags = Vec::new();
    tag::put(&mut tags, &input.tags)?;
    let now = name::now(&ctx);
    let policy = Policy {
        id: name::fresh_id(&ctx, name::POLICY_ID),
        path: input.path.unwrap_or_else(|| "/".into()),
        description: input.description,
        tags,
        created: now,
        updated: now,
        versions: BTreeMap::from([(1, now)]),
        version_last: 1,
        version_default: 1,
        name: input.policy_name,
    };
    let scope = Scope::global(&ctx.cx);
    let key = name::key(&policy.name);
    let document = Document { text: input.policy_document };
    let mut edit = ctx.edit(&POLICIES, &scope, &key).await;
    loop {
        let (found, batch) = edit.read().await?;
        if found.is_some() {
            return Err(errors::policy_exists(&policy.name));
        }
        let batch = batch.put(&DOCUMENTS, &scope, (&policy.id, 1), &document);
        if edit.commit(batch.put(&POLICIES, &scope, &key, &policy)).await? {
            let mut shown = show(&ctx, &policy, &Uses::default());
            shown.tags = Some(policy.tags).filter(|tags| !tags.is_empty());
            return Ok(OnePolicy { policy: shown });
        }
    }
}

pub async fn get(ctx: Ctx, input: Named) -> Result<OnePolicy, AwsError> {
    let found = find(&ctx, &input.policy_arn).await?;
    let uses = attachment::uses(&ctx, &[&found.reference(&ctx).id]).await?.pop().unwrap_or_default();
    let policy = match found {
        Found::Aws(policy) => PolicyShown { tags: Some(Vec::new()), ..show_aws(&ctx, policy, &uses) },
        Found::Customer(policy, _) => PolicyShown {
            description: policy.description.clone().filter(|text| !text.is_empty()),
            tags: Some(policy.tags.clone()),
            ..show(&ctx, &policy, &uses)
        },
    };
    Ok(OnePolicy { policy })
}

pub async fn delete(ctx: Ctx, input: Named) -> Result<(), AwsError> {
    let scope = Scope::global(&ctx.cx);
    let key = own_key(&input.policy_arn)?;
    let mut edit = ctx.edit_with(vec![attachment::turn(&scope)], &POLICIES, &scope, &key).await;
    loop {
        let (found, batch) = edit.read().await?;
        let policy = own(&ctx, found, &input.policy_arn)?;
        if attachment::uses(&ctx, &[&policy.id]).await?.pop().unwrap_or_default() != Uses::default() {
            return Err(errors::policy_in_use());
        }
        if policy.versions.len() > 1 {
            return Err(errors::versions_left());
        }
        let mut batch = attachment::expect_unused(batch, &scope, &policy.id).delete(&POLICIES, &scope, &key);
        for version in policy.versions.keys() {
            batch = batch.delete(&DOCUMENTS, &scope, (&policy.id, *version));
        }
        if edit.commit(batch).await? {
            return Ok(());
        }
    }
}

pub async fn tag(ctx: Ctx, input: TagPolicy) -> Result<(), AwsError> {
    let put = |policy: &mut Policy, batch| tag::put(&mut policy.tags, &input.tags).map(|()| batch);
    edit(&ctx, &input.policy_arn, put).await.map(drop)
}

pub async fn untag(ctx: Ctx, input: UntagPolicy) -> Result<(), AwsError> {
    let remove = |policy: &mut Policy, batch| {
        tag::remove(&mut policy.tags, &input.tag_keys);
        Ok(batch)
    };
    edit(&ctx, &input.policy_arn, remove).await.map(drop)
}

pub async fn list_tags(ctx: Ctx, With(input, paging): With<Named, Paging>) -> Result<TagList, AwsError> {
    let tags = match find(&ctx, &input.policy_arn).await? {
        Found::Aws(_) => Vec::new(),
        Found::Customer(policy, _) => policy.tags,
    };
    let (tags, end) = paging.cut(&ctx, "iam:ListPolicyTags", tag::sorted(tags))?;
    Ok(TagList { tags, end })
}

/// The account's policies come first, then AWS's.
pub async fn list(ctx: Ctx, With(input, paging): With<ListPolicies, Paging>) -> Result<PolicyList, AwsError> {
    const OPERATION: &str = "iam:ListPolicies";
    let (owner, mut after) = paging.position::<(String, String)>(&ctx, OPERATION)?.unwrap_or_default();
    let end = |owner: &str, key: String| End::new(ctx.marker(OPERATION, Some(&(owner.to_owned(), key))));
    let mut policies = Vec::new();
    if owner != OWNER && input.scope.as_deref() != Some("AWS") {
        let (found, rest) = list_own(&ctx, &input, after, paging.size()).await?;
        policies = found;
        if let Some(key) = rest {
            return Ok(PolicyList { policies, end: end("", key) });
        }
        after = String::new();
    }
    if input.scope.as_deref() != Some("Local") {
        let listed: Vec<_> = AwsManaged::behind(&after).collect();
        let ids: Vec<String> = listed.iter().map(|policy| policy.id()).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let uses = attachment::uses(&ctx, &ids).await?;
        for (policy, uses) in listed.into_iter().zip(uses) {
            let shown = show_aws(&ctx, policy, &uses);
            if !input.admits(&shown) {
                continue;
            }
            if policies.len() == paging.size() {
                return Ok(PolicyList { policies, end: end(OWNER, after) });
            }
            policies.push(shown);
            after = name::key(policy.name);
        }
    }
    Ok(PolicyList { policies, end: End::new(None) })
}

/// A page of the account's own policies behind a key, and the key behind which there are more.
async fn list_own(
    ctx: &Ctx,
    input: &ListPolicies,
    mut after: String,
    size: usize,
) -> Result<(Vec<PolicyShown>, Option<String>), AwsError> {
    let scope = Scope::global(&ctx.cx);
    let mut found: Vec<PolicyShown> = Vec::new();
    for _ in 0..STEPS_MAX {
        let page = POLICIES.page(&ctx.cloud.store, &scope, Scan::all(STEP_ROWS).after(after.as_str())).await?;
        let ids: Vec<&str> = page.rows.iter().map(|row| row.value.id.as_str()).collect();
        let uses = attachment::uses(ctx, &ids).await?;
        for (row, uses) in page.rows.iter().zip(uses) {
            let shown = show(ctx, &row.value, &uses);
            if !input.admits(&shown) {
                continue;
            }
            if let Some(last) = found.last().filter(|_| found.len() == size) {
                let last = name::key(&last.policy_name);
                return Ok((found, Some(last)));
            }
            found.push(shown);
        }
        let Some(next) = page.next else { return Ok((found, None)) };
        after = next;
    }
    Ok((found, Some(after)))
}

impl ListPolicies {
    fn admits(&self, policy: &PolicyShown) -> bool {
        let (attached, boundary) = (policy.attachment_count > 0, policy.permissions_boundary_usage_count > 0);
        let used = match self.policy_usage_filter.as_deref() {
            Some("PermissionsBoundary") => boundary,
            Some("PermissionsPolicy") => attached,
            _ => !self.only_attached || attached,
        };
        used && self.path_prefix.as_deref().is_none_or(|prefix| policy.path.starts_with(prefix))
    }
}

impl Found {
    pub fn reference(&self, ctx: &Ctx) -> PolicyRef {
        match self {
            Self::Aws(policy) => PolicyRef { arn: policy.arn(ctx), id: policy.id() },
            Self::Customer(policy, _) => PolicyRef { arn: arn(ctx, policy), id: policy.id.clone() },
        }
    }

    /// Lets `batch` happen only while the policy is as it was found.
    pub fn hold(&self, batch: Batch, scope: &Scope) -> Batch {
        match self {
            Self::Aws(_) => batch,
            Self::Customer(policy, version) => {
                batch.expect_version(&POLICIES, scope, &name::key(&policy.name), *version)
            }
        }
    }
}

/// Refuses what is no ARN of a policy.
pub fn check_arn(text: &str) -> Result<(), AwsError> {
    let arn: Arn = text.parse().map_err(|_| errors::invalid_arn())?;
    if arn.service == "iam" && arn.region.is_empty() && arn.resource.starts_with("policy/") {
        Ok(())
    } else {
        Err(errors::not_a_policy_arn(text))
    }
}

/// Looks for a policy that the account can use.
pub async fn lookup(ctx: &Ctx, arn_given: &str) -> Result<Option<Found>, AwsError> {
    let found = AwsManaged::named(name::last_in(arn_given)).filter(|policy| policy.arn(ctx) == arn_given);
    if let Some(policy) = found {
        return Ok(Some(Found::Aws(policy)));
    }
    let key = name::key(name::last_in(arn_given));
    let row = POLICIES.get(&ctx.cloud.store, &Scope::global(&ctx.cx), &key).await?;
    let row = row.filter(|row| arn(ctx, &row.value) == arn_given);
    Ok(row.map(|Row { value, version, .. }| Found::Customer(Box::new(value), version)))
}

/// Finds a policy, or answers as AWS does where there is none.
pub async fn find(ctx: &Ctx, arn: &str) -> Result<Found, AwsError> {
    check_arn(arn)?;
    lookup(ctx, arn).await?.ok_or_else(|| errors::no_such_policy(arn))
}

/// Changes a policy of the account's, and what else the change adds to the batch.
pub async fn edit(
    ctx: &Ctx,
    arn: &str,
    change: impl Fn(&mut Policy, Batch) -> Result<Batch, AwsError>,
) -> Result<Policy, AwsError> {
    let scope = Scope::global(&ctx.cx);
    let key = own_key(arn)?;
    let mut edit = ctx.edit(&POLICIES, &scope, &key).await;
    loop {
        let (found, batch) = edit.read().await?;
        let mut policy = own(ctx, found, arn)?;
        let batch = change(&mut policy, batch)?;
        if edit.commit(batch.put(&POLICIES, &scope, &key, &policy)).await? {
            return Ok(policy);
        }
    }
}

/// The key of the policy that the caller means to change; AWS's cannot be.
fn own_key(arn: &str) -> Result<String, AwsError> {
    check_arn(arn)?;
    if arn.split(':').nth(4) == Some(OWNER) {
        return Err(errors::not_yours(arn));
    }
    Ok(name::key(name::last_in(arn)))
}

fn own(ctx: &Ctx, found: Option<Policy>, arn_given: &str) -> Result<Policy, AwsError> {
    found.filter(|policy| arn(ctx, policy) == arn_given).ok_or_else(|| errors::no_such_policy(arn_given))
}

fn arn(ctx: &Ctx, policy: &Policy) -> String {
    name::arn(ctx, "policy", &policy.path, &policy.name)
}

fn show(ctx: &Ctx, policy: &Policy, uses: &Uses) -> PolicyShown {
    PolicyShown {
        policy_name: policy.name.clone(),
        policy_id: policy.id.clone(),
        arn: arn(ctx, policy),
        path: policy.path.clone(),
        default_version_id: policy_version::show_number(policy.version_default),
        attachment_count: uses.attached,
        permissions_boundary_usage_count: uses.boundary,
        is_attachable: true,
        description: None,
        create_date: policy.created,
        update_date: policy.updated,
        tags: None,
    }
}

fn show_aws(ctx: &Ctx, policy: &AwsManaged, uses: &Uses) -> PolicyShown {
    PolicyShown {
        policy_name: policy.name.into(),
        policy_id: policy.id(),
        arn: policy.arn(ctx),
        path: policy.path.into(),
        default_version_id: policy.version.into(),
        attachment_count: uses.attached,
        permissions_boundary_usage_count: uses.boundary,
        is_attachable: true,
        description: None,
        create_date: policy.created,
        update_date: policy.updated,
        tags: None,
    }
}

//! Instance profiles: what would hand a role to a machine. There are no machines here; tools ask for the profiles that
//! a role is in before they delete it, and create them beside roles.
//!
//! A profile has one role at most. The role's record names its profiles and is written in the same commits.

use base::{AwsError, Timestamp};
use serde::{Deserialize, Serialize};
use store::{Record, Scan, Scope, Table};
use wire::value::With;

use super::paging::{End, Paging};
use super::role::{self, Named, ROLES, RoleShown, Shown};
use super::tag::{self, Tag, TagList};
use super::{errors, name};
use crate::Ctx;

/// Roles in a profile.
const ROLES_MAX: usize = 1;
/// Profiles that one role is in; AWS has no more in a whole account.
const PROFILES_MAX: usize = 1_000;

/// Under their [keys](name::key).
static PROFILES: Table<String, InstanceProfile> = Table::large("iam_instance_profiles");

#[derive(Debug, Clone, Serialize, Deserialize)]
struct InstanceProfile {
    name: String,
    id: String,
    path: String,
    tags: Vec<Tag>,
    created: Timestamp,
    /// The key of its role.
    role: Option<String>,
}

impl Record for InstanceProfile {
    const VERSION: u8 = 1;
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct CreateInstanceProfile {
    instance_profile_name: String,
    path: Option<String>,
    #[serde(default)]
    tags: Vec<Tag>,
}

/// Input of the operations that only name a profile.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct NamedProfile {
    instance_profile_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct RoleOfProfile {
    instance_profile_name: String,
    role_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ListInstanceProfiles {
    path_prefix: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct TagInstanceProfile {
    instance_profile_name: String,
    tags: Vec<Tag>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct UntagInstanceProfile {
    instance_profile_name: String,
    tag_keys: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct OneProfile {
    instance_profile: ProfileShown,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ProfileList {
    instance_profiles: Vec<ProfileShown>,
    #[serde(flatten)]
    end: End,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ProfileShown {
    path: String,
    instance_profile_name: String,
    instance_profile_id: String,
    arn: String,
    create_date: Timestamp,
    roles: Vec<RoleShown>,
    tags: Option<Vec<Tag>>,
}

pub async fn create(ctx: Ctx, input: CreateInstanceProfile) -> Result<OneProfile, AwsError> {
    let mut tags = Vec::new();
    tag::put(&mut tags, &input.tags)?;
    let profile = InstanceProfile {
        name: input.instance_profile_name,
        id: name::fresh_id(&ctx, name::PROFILE_ID),
        path: input.path.unwrap_or_else(|| "/".into()),
        tags,
        created: name::now(&ctx),
        role: None,
    };
    let scope = Scope::global(&ctx.cx);
    let key = name::key(&profile.name);
    let mut edit = ctx.edit(&PROFILES, &scope, &key).await;
    loop {
        let (found, batch) = edit.read().await?;
        if found.is_some() {
            return Err(errors::profile_exists(&profile.name));
        }
        if edit.commit(batch.put(&PROFILES, &scope, &key, &profile)).await? {
            return Ok(OneProfile { instance_profile: show(&ctx, profile).await? });
        }
    }
}

pub async fn get(ctx: Ctx, input: NamedProfile) -> Result<OneProfile, AwsError> {
    let profile = find(&ctx, &input.instance_profile_name).await?;
    Ok(OneProfile { instance_profile: show(&ctx, profile).await? })
}

pub async fn list(ctx: Ctx, With(input, paging): With<ListInstanceProfiles, Paging>) -> Result<ProfileList, AwsError> {
    let prefix = input.path_prefix.as_deref().unwrap_or("/");
    let kept = |profile: &InstanceProfile| profile.path.starts_with(prefix);
    let (rows, end) = paging.rows(&ctx, "iam:ListInstanceProfiles", &PROFILES, Scan::all, kept).await?;
    let mut instance_profiles = Vec::with_capacity(rows.len());
    for row in rows {
        instance_profiles.push(ProfileShown { tags: None, ..show(&ctx, row.value).await? });
    }
    Ok(ProfileList { instance_profiles, end })
}

pub async fn list_for_role(ctx: Ctx, With(input, paging): With<Named, Paging>) -> Result<ProfileList, AwsError> {
    let role = role::find(&ctx, &input.role_name).await?;
    let (keys, end) = paging.cut(&ctx, "iam:ListInstanceProfilesForRole", role.profiles)?;
    let scope = Scope::global(&ctx.cx);
    let mut instance_profiles = Vec::with_capacity(keys.len());
    for key in keys {
        // One that is gone by now is not shown.
        if let Some(row) = PROFILES.get(&ctx.cloud.store, &scope, &key).await? {
            instance_profiles.push(ProfileShown { tags: None, ..show(&ctx, row.value).await? });
        }
    }
    Ok(ProfileList { instance_profiles, end })
}

pub async fn delete(ctx: Ctx, input: NamedProfile) -> Result<(), AwsError> {
    let name = &input.instance_profile_name;
    let scope = Scope::global(&ctx.cx);
    let key = name::key(name);
    let mut edit = ctx.edit(&PROFILES, &scope, &key).await;
    loop {
        let (found, batch) = edit.read().await?;
        if found.ok_or_else(|| errors::no_such_profile(name))?.role.is_some() {
            return Err(errors::roles_inside());
        }
        if edit.commit(batch.delete(&PROFILES, &scope, &key)).await? {
            return Ok(());
        }
    }
}

pub async fn add_role(ctx: Ctx, input: RoleOfProfile) -> Result<(), AwsError> {
    change_role(&ctx, &input, |profile, role_key| {
        if profile.role.is_some() {
            return Err(errors::quota("InstanceSessionsPerInstanceProfile", ROLES_MAX));
        }
        profile.role = Some(role_key.to_owned());
        Ok(())
    })
    .await
}

pub async fn remove_role(ctx: Ctx, input: RoleOfProfile) -> Result<(), AwsError> {
    change_role(&ctx, &input, |profile, role_key| {
        let removed = profile.role.take_if(|role| role == role_key);
        removed.map(drop).ok_or_else(|| errors::no_such_role(&input.role_name))
    })
    .await
}

/// Changes which role a profile has, and the role with it.
async fn change_role(
    ctx: &Ctx,
    input: &RoleOfProfile,
    change: impl Fn(&mut InstanceProfile, &str) -> Result<(), AwsError>,
) -> Result<(), AwsError> {
    let scope = Scope::global(&ctx.cx);
    let key = name::key(&input.instance_profile_name);
    let role_key = name::key(&input.role_name);
    let mut edit = ctx.edit_with(vec![ROLES.row_key(&scope, &role_key)], &PROFILES, &scope, &key).await;
    loop {
        let (found, batch) = edit.read().await?;
        let mut profile = found.ok_or_else(|| errors::no_such_profile(&input.instance_profile_name))?;
        let row = ROLES.get(&ctx.cloud.store, &scope, &role_key).await?;
        let row = row.ok_or_else(|| errors::no_such_role(&input.role_name))?;
        let mut role = row.value;
        role::check_unprotected(&role)?;
        change(&mut profile, &role_key)?;
        match &profile.role {
            Some(_) => role.profiles.insert(key.clone()),
            None => role.profiles.remove(&key),
        };
        if role.profiles.len() > PROFILES_MAX {
            return Err(errors::quota("InstanceProfilesPerAccount", PROFILES_MAX));
        }
        let batch = batch.expect_version(&ROLES, &scope, &role_key, row.version);
        let batch = batch.put(&ROLES, &scope, &role_key, &role).put(&PROFILES, &scope, &key, &profile);
        if edit.commit(batch).await? {
            return Ok(());
        }
    }
}

pub async fn tag(ctx: Ctx, input: TagInstanceProfile) -> Result<(), AwsError> {
    edit_tags(&ctx, &input.instance_profile_name, |tags| tag::put(tags, &input.tags)).await
}

pub async fn untag(ctx: Ctx, input: UntagInstanceProfile) -> Result<(), AwsError> {
    let remove = |tags: &mut Vec<Tag>| {
        tag::remove(tags, &input.tag_keys);
        Ok(())
    };
    edit_tags(&ctx, &input.instance_profile_name, remove).await
}

pub async fn list_tags(ctx: Ctx, With(input, paging): With<NamedProfile, Paging>) -> Result<TagList, AwsError> {
    let profile = find(&ctx, &input.instance_profile_name).await?;
    let (tags, end) = paging.cut(&ctx, "iam:ListInstanceProfileTags", tag::sorted(profile.tags))?;
    Ok(TagList { tags, end })
}

async fn edit_tags(
    ctx: &Ctx,
    name: &str,
    change: impl Fn(&mut Vec<Tag>) -> Result<(), AwsError>,
) -> Result<(), AwsError> {
    let scope = Scope::global(&ctx.cx);
    let key = name::key(name);
    let mut edit = ctx.edit(&PROFILES, &scope, &key).await;
    loop {
        let (found, batch) = edit.read().await?;
        let mut profile = found.ok_or_else(|| errors::no_such_profile(name))?;
        change(&mut profile.tags)?;
        if edit.commit(batch.put(&PROFILES, &scope, &key, &profile)).await? {
            return Ok(());
        }
    }
}

async fn find(ctx: &Ctx, name: &str) -> Result<InstanceProfile, AwsError> {
    let row = PROFILES.get(&ctx.cloud.store, &Scope::global(&ctx.cx), &name::key(name)).await?;
    row.map(|row| row.value).ok_or_else(|| errors::no_such_profile(name))
}

async fn show(ctx: &Ctx, profile: InstanceProfile) -> Result<ProfileShown, AwsError> {
    let role = match &profile.role {
        None => None,
        Some(key) => ROLES.get(&ctx.cloud.store, &Scope::global(&ctx.cx), key).await?,
    };
    Ok(ProfileShown {
        arn: name::arn(ctx, "instance-profile", &profile.path, &profile.name),
        path: profile.path,
        instance_profile_name: profile.name,
        instance_profile_id: profile.id,
        create_date: profile.created,
        roles: role.into_iter().map(|row| role::show(ctx, row.value, Shown::Inside)).collect(),
        tags: Some(profile.tags).filter(|tags| !tags.is_empty()),
    })
}

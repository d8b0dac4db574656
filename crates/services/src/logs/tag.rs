//! Tags of log groups, by the old operations and the new ones.

use std::collections::BTreeMap;

use base::AwsError;
use chronicle::Group;
use serde::{Deserialize, Serialize};

use super::{errors, group, name};
use crate::{Ctx, Service};

const TAGS_MAX: usize = 50;

pub type Tags = BTreeMap<String, String>;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TagResource {
    resource_arn: String,
    tags: Tags,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UntagResource {
    resource_arn: String,
    tag_keys: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListTags {
    resource_arn: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TagLogGroup {
    log_group_name: String,
    tags: Tags,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UntagLogGroup {
    log_group_name: String,
    tags: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListTagsLogGroup {
    log_group_name: String,
}

#[derive(Serialize)]
pub struct TagList {
    tags: Tags,
}

pub fn operations(service: Service) -> Service {
    service
        .operation("ListTagsForResource", list)
        .operation("ListTagsLogGroup", list_of_group)
        .operation("TagLogGroup", tag_group)
        .operation("TagResource", tag)
        .operation("UntagLogGroup", untag_group)
        .operation("UntagResource", untag)
}

pub async fn tag(ctx: Ctx, input: TagResource) -> Result<(), AwsError> {
    add(&ctx, named(&ctx, &input.resource_arn)?, &input.tags).await
}

pub async fn tag_group(ctx: Ctx, input: TagLogGroup) -> Result<(), AwsError> {
    add(&ctx, &input.log_group_name, &input.tags).await
}

pub async fn untag(ctx: Ctx, input: UntagResource) -> Result<(), AwsError> {
    remove(&ctx, named(&ctx, &input.resource_arn)?, &input.tag_keys).await
}

pub async fn untag_group(ctx: Ctx, input: UntagLogGroup) -> Result<(), AwsError> {
    remove(&ctx, &input.log_group_name, &input.tags).await
}

pub async fn list(ctx: Ctx, input: ListTags) -> Result<TagList, AwsError> {
    let group_name = named(&ctx, &input.resource_arn)?.to_owned();
    Ok(TagList { tags: name::find(&ctx, Some(group_name), None).await?.group.tags.clone() })
}

pub async fn list_of_group(ctx: Ctx, input: ListTagsLogGroup) -> Result<TagList, AwsError> {
    Ok(TagList { tags: name::find(&ctx, Some(input.log_group_name), None).await?.group.tags.clone() })
}

/// The group that an ARN names. Here it has no star behind it.
fn named<'a>(ctx: &Ctx, arn: &'a str) -> Result<&'a str, AwsError> {
    if !arn.starts_with("arn:") || arn.ends_with(":*") {
        return Err(errors::invalid_arn());
    }
    name::in_identifier(ctx, arn).ok_or_else(errors::no_group)
}

async fn add(ctx: &Ctx, group_name: &str, tags: &Tags) -> Result<(), AwsError> {
    let add = |group: &mut Group| {
        group.tags.extend(tags.clone());
        match group.tags.len() <= TAGS_MAX {
            true => Ok(()),
            false => Err(errors::too_many_tags(&name::group_arn(ctx, group_name))),
        }
    };
    group::edit(ctx, group_name, add).await
}

async fn remove(ctx: &Ctx, group_name: &str, keys: &[String]) -> Result<(), AwsError> {
    let remove = |group: &mut Group| {
        group.tags.retain(|key, _| !keys.contains(key));
        Ok(())
    };
    group::edit(ctx, group_name, remove).await
}

//! Tags of functions. They live in the function's record: fifty short pairs at most.

use std::collections::BTreeMap;

use base::{Arn, AwsError};
use serde::{Deserialize, Serialize};

use super::errors;
use super::function::{self, Function};
use crate::Ctx;

const TAGS_MAX: usize = 50;

pub type Tags = BTreeMap<String, String>;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct TagResource {
    resource: String,
    tags: Tags,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct UntagResource {
    resource: String,
    tag_keys: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ListTags {
    resource: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TagList {
    tags: Tags,
}

pub async fn tag(ctx: Ctx, input: TagResource) -> Result<(), AwsError> {
    let name = named(&ctx, "TagResource", &input.resource)?;
    if input.tags.is_empty() {
        return Err(errors::invalid_parameter("An error occurred and the request cannot be processed."));
    }
    let merge = |function: &mut Function| {
        function.tags.extend(input.tags.clone());
        check(&function.tags)
    };
    function::edit(&ctx, &name, merge).await.map(drop)
}

pub async fn untag(ctx: Ctx, input: UntagResource) -> Result<(), AwsError> {
    let name = named(&ctx, "UntagResource", &input.resource)?;
    let remove = |function: &mut Function| {
        function.tags.retain(|key, _| !input.tag_keys.contains(key));
        Ok(())
    };
    function::edit(&ctx, &name, remove).await.map(drop)
}

pub async fn list(ctx: Ctx, input: ListTags) -> Result<TagList, AwsError> {
    let name = named(&ctx, "ListTags", &input.resource)?;
    let function = function::find(&ctx, &name).await?;
    Ok(TagList { tags: function.tags.clone() })
}

/// A set of tags that a function may have.
pub fn check(tags: &Tags) -> Result<(), AwsError> {
    if tags.len() > TAGS_MAX {
        return Err(errors::too_many_tags());
    }
    if tags.keys().any(|key| key.to_ascii_lowercase().starts_with("aws:")) {
        return Err(errors::invalid_parameter("aws: prefixed tag key names are not allowed for external use."));
    }
    Ok(())
}

/// The function that a tag operation's ARN names.
fn named(ctx: &Ctx, operation: &str, resource: &str) -> Result<String, AwsError> {
    let arn: Arn =
        resource.parse().map_err(|_| errors::resource_not_found("The resource you requested does not exist."))?;
    let mut parts = arn.resource.split(':');
    match (parts.next(), parts.next(), parts.next()) {
        _ if arn.account != ctx.cx.account.as_str() => {
            let name = arn.resource.trim_start_matches("function:");
            Err(errors::other_account(ctx, operation, &arn.account, Some(&arn.region), name))
        }
        _ if arn.region != ctx.cx.region.as_str() => Err(errors::other_region(ctx, &arn.region)),
        (Some("function"), Some(_), Some(_)) => Err(errors::tags_need_a_function()),
        (Some("function"), Some(name), None) => Ok(name.to_owned()),
        (Some("event-source-mapping"), ..) => {
            Err(errors::resource_not_found(format!("Event source mapping not found: {resource}")))
        }
        (Some("capacity-provider"), ..) => {
            Err(errors::resource_not_found(format!("Capacity provider not found: {resource}")))
        }
        _ => Err(errors::resource_not_found("The resource you requested does not exist.")),
    }
}

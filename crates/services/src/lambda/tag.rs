//! Tags, of whatever Lambda lets be tagged. They live in the record of what has them: fifty short pairs at most.

use std::collections::BTreeMap;

use base::{Arn, AwsError};
use serde::{Deserialize, Serialize};

use super::function::{self, Function};
use super::name::FunctionRef;
use super::{capacity_provider, code_signing, errors, event_source_mapping};
use crate::{Ctx, Service};

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

/// What a tag operation's ARN names.
enum Tagged<'a> {
    /// By name.
    Function(String),
    /// By UUID.
    EventSourceMapping(&'a str),
    /// By ARN.
    CodeSigningConfig(&'a str),
    /// By name.
    CapacityProvider(&'a str),
}

pub fn operations(service: Service) -> Service {
    service.operation("ListTags", list).operation("TagResource", tag).operation("UntagResource", untag)
}

pub async fn tag(ctx: Ctx, input: TagResource) -> Result<(), AwsError> {
    let (ctx, tagged) = Tagged::find(ctx, "TagResource", &input.resource).await?;
    if input.tags.is_empty() {
        return Err(errors::invalid_parameter("An error occurred and the request cannot be processed."));
    }
    let merge = |tags: &mut Tags| {
        tags.extend(input.tags.clone());
        check(tags)
    };
    tagged.edit(&ctx, merge).await
}

pub async fn untag(ctx: Ctx, input: UntagResource) -> Result<(), AwsError> {
    let (ctx, tagged) = Tagged::find(ctx, "UntagResource", &input.resource).await?;
    let remove = |tags: &mut Tags| {
        tags.retain(|key, _| !input.tag_keys.contains(key));
        Ok(())
    };
    tagged.edit(&ctx, remove).await
}

pub async fn list(ctx: Ctx, input: ListTags) -> Result<TagList, AwsError> {
    let (ctx, tagged) = Tagged::find(ctx, "ListTags", &input.resource).await?;
    let tags = match tagged {
        Tagged::Function(name) => function::find(&ctx, &name).await?.tags.clone(),
        Tagged::EventSourceMapping(uuid) => event_source_mapping::tags(&ctx, uuid).await?,
        Tagged::CodeSigningConfig(arn) => code_signing::tags(&ctx, arn).await?,
        Tagged::CapacityProvider(name) => capacity_provider::tags(&ctx, name).await?,
    };
    Ok(TagList { tags })
}

/// A set of tags that one resource may have.
pub fn check(tags: &Tags) -> Result<(), AwsError> {
    if tags.len() > TAGS_MAX {
        return Err(errors::too_many_tags());
    }
    if tags.keys().any(|key| key.to_ascii_lowercase().starts_with("aws:")) {
        return Err(errors::invalid_parameter("aws: prefixed tag key names are not allowed for external use."));
    }
    Ok(())
}

impl<'a> Tagged<'a> {
    /// What comes back with it is the context in which it is: a function's policy may let other accounts see its tags.
    async fn find(ctx: Ctx, operation: &str, resource: &'a str) -> Result<(Ctx, Self), AwsError> {
        let unknown = || errors::resource_not_found("The resource you requested does not exist.");
        let arn: Arn = resource.parse().map_err(|_| unknown())?;
        // `arn:PARTITION:lambda:REGION:ACCOUNT:KIND:NAME`
        let mut parts = resource.splitn(7, ':').skip(5);
        let (kind, name) = parts.next().zip(parts.next()).ok_or_else(unknown)?;
        if kind == "function" {
            let (ctx, function) = FunctionRef::locate(ctx, operation, resource, None).await?;
            return match function.qualifier {
                None => Ok((ctx, Self::Function(function.name))),
                Some(_) => Err(errors::tags_need_a_function()),
            };
        }
        if arn.account != ctx.cx.account.as_str() {
            return Err(errors::not_authorized(&ctx, operation, resource));
        }
        if arn.region != ctx.cx.region.as_str() {
            return Err(errors::other_region(&ctx, &arn.region));
        }
        let tagged = match kind {
            "event-source-mapping" => Self::EventSourceMapping(name),
            "code-signing-config" => Self::CodeSigningConfig(resource),
            "capacity-provider" => Self::CapacityProvider(name),
            _ => return Err(unknown()),
        };
        Ok((ctx, tagged))
    }

    async fn edit(&self, ctx: &Ctx, change: impl Fn(&mut Tags) -> Result<(), AwsError>) -> Result<(), AwsError> {
        match self {
            Self::Function(name) => {
                // Recorded: tags move the revision of a function.
                let change = |function: &mut Function| {
                    function.latest.revision = ctx.cx.id();
                    change(&mut function.tags)
                };
                function::edit(ctx, name, change).await.map(drop)
            }
            Self::EventSourceMapping(uuid) => event_source_mapping::edit_tags(ctx, uuid, change).await,
            Self::CodeSigningConfig(arn) => code_signing::edit_tags(ctx, arn, change).await,
            Self::CapacityProvider(name) => capacity_provider::edit_tags(ctx, name, change).await,
        }
    }
}

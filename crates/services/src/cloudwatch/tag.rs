//! Tags of alarms and dashboards.

use std::collections::BTreeMap;

use base::{Arn, AwsError};
use serde::{Deserialize, Serialize};

use super::alarm::{ALARMS, Tags};
use super::dashboard::DASHBOARDS;
use crate::{Ctx, Service};

const TAGS_MAX: usize = 50;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Tag {
    pub key: String,
    pub value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct TagResource {
    #[serde(rename = "ResourceARN")]
    resource_arn: String,
    tags: Vec<Tag>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct UntagResource {
    #[serde(rename = "ResourceARN")]
    resource_arn: String,
    tag_keys: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ListTags {
    #[serde(rename = "ResourceARN")]
    resource_arn: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Listed {
    tags: Vec<Tag>,
}

/// What an ARN names that has tags here.
enum Tagged<'a> {
    Alarm(&'a str),
    Dashboard(&'a str),
}

pub fn operations(service: Service) -> Service {
    service.operation("ListTagsForResource", list).operation("TagResource", tag).operation("UntagResource", untag)
}

/// Tags as they are kept; the last of a key counts.
pub fn map(tags: &[Tag]) -> Result<Tags, AwsError> {
    let tags: Tags = tags.iter().map(|tag| (tag.key.clone(), tag.value.clone())).collect();
    if tags.len() > TAGS_MAX { Err(too_many()) } else { Ok(tags) }
}

pub async fn tag(ctx: Ctx, input: TagResource) -> Result<(), AwsError> {
    let more = map(&input.tags)?;
    change(&ctx, &input.resource_arn, |tags| {
        tags.extend(more.clone());
        if tags.len() > TAGS_MAX { Err(too_many()) } else { Ok(()) }
    })
    .await
}

pub async fn untag(ctx: Ctx, input: UntagResource) -> Result<(), AwsError> {
    change(&ctx, &input.resource_arn, |tags| {
        tags.retain(|key, _| !input.tag_keys.contains(key));
        Ok(())
    })
    .await
}

/// What is not there has no tags.
pub async fn list(ctx: Ctx, input: ListTags) -> Result<Listed, AwsError> {
    let (store, arn) = (&ctx.cloud.store, parse(&ctx, &input.resource_arn)?);
    let tags = match tagged(&arn)? {
        Tagged::Alarm(name) => {
            ALARMS.get_shared(store, &ctx.scope(), name).await?.map(|alarm| alarm.tags.clone()).unwrap_or_default()
        }
        Tagged::Dashboard(name) => {
            let found = DASHBOARDS.get(store, &store::Scope::global(&ctx.cx), name).await?;
            found.map(|row| row.value.tags).unwrap_or_default()
        }
    };
    Ok(Listed { tags: tags.into_iter().map(|(key, value)| Tag { key, value }).collect() })
}

/// Changes the tags of what must be there.
async fn change(
    ctx: &Ctx,
    resource: &str,
    change: impl Fn(&mut BTreeMap<String, String>) -> Result<(), AwsError>,
) -> Result<(), AwsError> {
    let arn = parse(ctx, resource)?;
    match tagged(&arn)? {
        Tagged::Alarm(name) => {
            let scope = ctx.scope();
            let mut edit = ctx.edit(&ALARMS, &scope, name).await;
            loop {
                let (found, batch) = edit.read().await?;
                let mut alarm = found.ok_or_else(|| missing("alarm", name))?;
                change(&mut alarm.tags)?;
                if edit.commit(batch.put(&ALARMS, &scope, name, &alarm)).await? {
                    return Ok(());
                }
            }
        }
        Tagged::Dashboard(name) => {
            let scope = store::Scope::global(&ctx.cx);
            let mut edit = ctx.edit(&DASHBOARDS, &scope, name).await;
            loop {
                let (found, batch) = edit.read().await?;
                let mut dashboard = found.ok_or_else(|| missing("dashboard", name))?;
                change(&mut dashboard.tags)?;
                if edit.commit(batch.put(&DASHBOARDS, &scope, name, &dashboard)).await? {
                    return Ok(());
                }
            }
        }
    }
}

/// The ARN of something of the caller's, here; dashboards are in no region.
fn parse(ctx: &Ctx, text: &str) -> Result<Arn, AwsError> {
    let arn = text.parse::<Arn>().ok().filter(|arn| arn.service == "cloudwatch");
    let here = [ctx.cx.region.as_str(), ""];
    arn.filter(|arn| arn.account == ctx.cx.account.as_str() && here.contains(&arn.region.as_str()))
        .ok_or_else(|| invalid(format!("{text} is not a valid ARN of a resource that can be tagged.")))
}

fn tagged(arn: &Arn) -> Result<Tagged<'_>, AwsError> {
    if let Some(name) = arn.resource.strip_prefix("alarm:") {
        return Ok(Tagged::Alarm(name));
    }
    if let Some(name) = arn.resource.strip_prefix("dashboard/") {
        return Ok(Tagged::Dashboard(name));
    }
    Err(invalid(format!("{arn} is not a valid ARN of a resource that can be tagged.")))
}

fn invalid(message: String) -> AwsError {
    AwsError::client(400, "InvalidParameterValueException", message)
}

fn too_many() -> AwsError {
    invalid(format!("A resource can have at most {TAGS_MAX} tags."))
}

fn missing(kind: &'static str, name: &str) -> AwsError {
    AwsError::client(404, "ResourceNotFoundException", "")
        .with_member("ResourceType", kind)
        .with_member("ResourceId", name)
}

//! How callers name groups, and how ARNs name groups and streams.

use std::sync::Arc;

use base::{Arn, AwsError};
use chronicle::{GROUPS, Group, STREAMS, Stream};

use super::errors;
use crate::Ctx;

/// A group as it was found.
pub struct Found {
    pub name: String,
    pub group: Arc<Group>,
}

/// `arn:aws:logs:REGION:ACCOUNT:KIND:NAME`
pub fn arn(ctx: &Ctx, kind: &str, name: &str) -> String {
    let (region, account) = (&ctx.cx.region, ctx.cx.account);
    format!("arn:{}:logs:{}:{}:{kind}:{name}", region.partition(), region.as_str(), account.as_str())
}

pub fn group_arn(ctx: &Ctx, name: &str) -> String {
    arn(ctx, "log-group", name)
}

pub fn stream_arn(ctx: &Ctx, group: &str, stream: &str) -> String {
    format!("{}:log-stream:{stream}", group_arn(ctx, group))
}

/// The group's name in an identifier: the name itself, or its ARN. `None` if it is another account's or region's.
pub fn in_identifier<'i>(ctx: &Ctx, identifier: &'i str) -> Option<&'i str> {
    let Ok(arn) = identifier.parse::<Arn>() else { return Some(identifier) };
    let is_here =
        arn.service == "logs" && arn.region == ctx.cx.region.as_str() && arn.account == ctx.cx.account.as_str();
    // The identifier lives longer than what was parsed of it.
    let at = identifier.len().checked_sub(arn.resource.len()).filter(|_| is_here)?;
    let name = identifier.get(at..)?.strip_prefix("log-group:")?;
    Some(name.strip_suffix(":*").unwrap_or(name))
}

/// The group that a name or an identifier names, of which there must be one.
pub async fn find(ctx: &Ctx, name: Option<String>, identifier: Option<String>) -> Result<Found, AwsError> {
    let name = match (name, identifier) {
        (Some(_), Some(_)) => return Err(errors::name_and_identifier()),
        (None, None) => return Err(errors::neither_name_nor_identifier()),
        (Some(name), None) => name,
        (None, Some(identifier)) => in_identifier(ctx, &identifier).ok_or_else(errors::no_group)?.to_owned(),
    };
    let group = GROUPS.get_shared(&ctx.cloud.store, &ctx.scope(), &name).await?.ok_or_else(errors::no_group)?;
    Ok(Found { name, group })
}

pub async fn find_stream(ctx: &Ctx, group: &Group, name: &str) -> Result<Arc<Stream>, AwsError> {
    let found = STREAMS.get_shared(&ctx.cloud.store, &ctx.scope(), (group.id, name)).await?;
    found.ok_or_else(errors::no_stream)
}

//! Destinations: streams that other accounts may subscribe to logs for. They are kept; there are no streams yet, so nothing
//! is sent to one, and AWS's test of the stream is left out.

use base::{Arn, AwsError, Timestamp};
use serde::{Deserialize, Serialize};
use store::{Record, Row, Table};

use super::row::{self, Asked};
use super::{errors, name, tag};
use crate::{Ctx, Service};

const PAGE_MAX: usize = 50;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Destination {
    target: String,
    role: String,
    policy: Option<String>,
    tags: tag::Tags,
    created: Timestamp,
}

impl Record for Destination {
    const VERSION: u8 = 1;
}

const DESTINATIONS: Table<String, Destination> = Table::large("log_destinations");

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PutDestination {
    destination_name: String,
    target_arn: String,
    role_arn: String,
    tags: Option<tag::Tags>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DescribeDestinations {
    #[serde(rename = "DestinationNamePrefix")]
    prefix: Option<String>,
    next_token: Option<String>,
    limit: Option<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeleteDestination {
    destination_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PutDestinationPolicy {
    destination_name: String,
    access_policy: String,
    #[serde(rename = "forceUpdate")]
    _force_update: Option<bool>,
}

#[derive(Serialize)]
pub struct Put {
    destination: Shown,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Described {
    destinations: Vec<Shown>,
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    destination_name: String,
    target_arn: String,
    role_arn: String,
    access_policy: Option<String>,
    arn: String,
    creation_time: i64,
}

pub fn operations(service: Service) -> Service {
    service
        .operation("DeleteDestination", delete)
        .operation("DescribeDestinations", describe)
        .operation("PutDestination", put)
        .operation("PutDestinationPolicy", put_policy)
}

pub async fn put(ctx: Ctx, input: PutDestination) -> Result<Put, AwsError> {
    let is_stream = |arn: Arn| matches!(arn.service.as_str(), "kinesis" | "firehose");
    if !input.target_arn.parse().is_ok_and(is_stream) {
        return Err(errors::invalid_destination_target(&input.target_arn));
    }
    let now = ctx.cx.now().trunc_millis();
    let made = row::put(&ctx, &DESTINATIONS, &input.destination_name, |before: Option<Destination>| {
        let (policy, created, tags) = match before {
            Some(before) => (before.policy, before.created, before.tags),
            None => (None, now, tag::Tags::default()),
        };
        let tags = input.tags.clone().unwrap_or(tags);
        Ok(Destination { target: input.target_arn.clone(), role: input.role_arn.clone(), policy, tags, created })
    });
    Ok(Put { destination: show(&ctx, input.destination_name.clone(), made.await?) })
}

pub async fn put_policy(ctx: Ctx, input: PutDestinationPolicy) -> Result<(), AwsError> {
    row::check_document(&input.access_policy)?;
    let change = |before: Option<Destination>| {
        let before = before.ok_or_else(errors::no_destination)?;
        Ok(Destination { policy: Some(input.access_policy.clone()), ..before })
    };
    row::put(&ctx, &DESTINATIONS, &input.destination_name, change).await.map(drop)
}

pub async fn delete(ctx: Ctx, input: DeleteDestination) -> Result<(), AwsError> {
    row::delete(&ctx, &DESTINATIONS, &input.destination_name, errors::no_destination).await
}

pub async fn describe(ctx: Ctx, input: DescribeDestinations) -> Result<Described, AwsError> {
    let (prefix, operation) = (input.prefix.unwrap_or_default(), "logs:DescribeDestinations");
    let limit = input.limit.unwrap_or(PAGE_MAX);
    let asked = Asked { operation, prefix: &prefix, token: input.next_token.as_deref(), limit };
    let (rows, next_token) = row::page(&ctx, &DESTINATIONS, asked, |_| true).await?;
    let show = |row: Row<String, Destination>| show(&ctx, row.key, row.value);
    Ok(Described { destinations: rows.into_iter().map(show).collect(), next_token })
}

fn show(ctx: &Ctx, destination_name: String, destination: Destination) -> Shown {
    Shown {
        arn: name::arn(ctx, "destination", &destination_name),
        destination_name,
        target_arn: destination.target,
        role_arn: destination.role,
        access_policy: destination.policy,
        creation_time: destination.created.as_millis(),
    }
}

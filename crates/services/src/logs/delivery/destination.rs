//! Delivery destinations: where logs are to go, and who of other accounts may send them there.

use base::{Arn, AwsError};
use serde::{Deserialize, Serialize};
use store::{Record, Row, Table};

use super::{PAGE_MAX, Tags};
use crate::logs::row::{self, Asked};
use crate::logs::{errors, name};
use crate::{Ctx, Service};

const NOUN: &str = "Delivery Destination";
const RESOURCE: &str = "delivery-destination";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Destination {
    kind: String,
    target: Option<String>,
    format: Option<String>,
    policy: Option<String>,
    tags: Tags,
}

impl Record for Destination {
    const VERSION: u8 = 1;
}

const DESTINATIONS: Table<String, Destination> = Table::large("log_delivery_destinations");

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Configuration {
    destination_resource_arn: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PutDeliveryDestination {
    name: String,
    output_format: Option<String>,
    delivery_destination_configuration: Option<Configuration>,
    delivery_destination_type: Option<String>,
    tags: Option<Tags>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Named {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DescribeDeliveryDestinations {
    next_token: Option<String>,
    limit: Option<usize>,
    names: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PutPolicy {
    delivery_destination_name: String,
    delivery_destination_policy: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NamedByPolicy {
    delivery_destination_name: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct One {
    delivery_destination: Shown,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Described {
    delivery_destinations: Vec<Shown>,
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    name: String,
    arn: String,
    delivery_destination_type: String,
    output_format: Option<String>,
    delivery_destination_configuration: Option<Configuration>,
    tags: Option<Tags>,
}

#[derive(Serialize)]
pub struct OnePolicy {
    policy: Policy,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Policy {
    delivery_destination_policy: Option<String>,
}

pub fn operations(service: Service) -> Service {
    service
        .operation("DeleteDeliveryDestination", delete)
        .operation("DeleteDeliveryDestinationPolicy", delete_policy)
        .operation("DescribeDeliveryDestinations", describe)
        .operation("GetDeliveryDestination", get)
        .operation("GetDeliveryDestinationPolicy", get_policy)
        .operation("PutDeliveryDestination", put)
        .operation("PutDeliveryDestinationPolicy", put_policy)
}

fn missing() -> AwsError {
    errors::no_such_delivery(NOUN)
}

pub async fn put(ctx: Ctx, input: PutDeliveryDestination) -> Result<One, AwsError> {
    let target = input.delivery_destination_configuration.map(|configuration| configuration.destination_resource_arn);
    let kind = kind_of(target.as_deref(), input.delivery_destination_type.as_deref())?;
    let made = row::put(&ctx, &DESTINATIONS, &input.name, |before: Option<Destination>| {
        let (policy, tags) = before.map(|before| (before.policy, before.tags)).unwrap_or_default();
        let (target, format) = (target.clone(), input.output_format.clone());
        let tags = input.tags.clone().unwrap_or(tags);
        Ok(Destination { kind: kind.to_owned(), target, format, policy, tags })
    });
    Ok(One { delivery_destination: show(&ctx, input.name.clone(), made.await?) })
}

/// What kind of destination a resource is; only X-Ray has none.
fn kind_of<'k>(target: Option<&str>, said: Option<&'k str>) -> Result<&'k str, AwsError> {
    let Some(target) = target else {
        return said.filter(|said| *said == "XRAY").ok_or_else(errors::no_delivery_resource);
    };
    let arn: Arn = target.parse().map_err(|_| errors::validation("Invalid destinationResourceArn"))?;
    let kind = match arn.service.as_str() {
        "s3" => "S3",
        "logs" => "CWL",
        "firehose" => "FH",
        _ => return Err(errors::no_delivery_resource()),
    };
    match said {
        Some(said) if said != kind => Err(errors::no_delivery_resource()),
        _ => Ok(kind),
    }
}

/// The kind of the destination that an ARN names.
pub async fn kind(ctx: &Ctx, arn: &str) -> Result<String, AwsError> {
    let name = arn.strip_prefix(&name::arn(ctx, RESOURCE, "")).ok_or_else(missing)?;
    Ok(row::get(ctx, &DESTINATIONS, name).await?.ok_or_else(missing)?.kind)
}

pub async fn get(ctx: Ctx, input: Named) -> Result<One, AwsError> {
    let found = row::get(&ctx, &DESTINATIONS, &input.name).await?.ok_or_else(missing)?;
    Ok(One { delivery_destination: show(&ctx, input.name, found) })
}

pub async fn delete(ctx: Ctx, input: Named) -> Result<(), AwsError> {
    let arn = name::arn(&ctx, RESOURCE, &input.name);
    if super::is_there(&ctx, |row| row.value.destination == arn).await? {
        return Err(errors::conflict("The delivery destination has deliveries: delete them first."));
    }
    row::delete(&ctx, &DESTINATIONS, &input.name, missing).await
}

pub async fn describe(ctx: Ctx, input: DescribeDeliveryDestinations) -> Result<Described, AwsError> {
    let (operation, limit) = ("logs:DescribeDeliveryDestinations", input.limit.unwrap_or(PAGE_MAX));
    let asked = Asked { operation, prefix: "", token: input.next_token.as_deref(), limit };
    let names = input.names;
    let is_wanted = |row: &Row<String, Destination>| names.as_ref().is_none_or(|names| names.contains(&row.key));
    let (rows, next_token) = row::page(&ctx, &DESTINATIONS, asked, is_wanted).await?;
    let show = |row: Row<String, Destination>| show(&ctx, row.key, row.value);
    Ok(Described { delivery_destinations: rows.into_iter().map(show).collect(), next_token })
}

pub async fn put_policy(ctx: Ctx, input: PutPolicy) -> Result<OnePolicy, AwsError> {
    row::check_document(&input.delivery_destination_policy)?;
    change_policy(&ctx, &input.delivery_destination_name, Some(input.delivery_destination_policy)).await
}

pub async fn get_policy(ctx: Ctx, input: NamedByPolicy) -> Result<OnePolicy, AwsError> {
    let found = row::get(&ctx, &DESTINATIONS, &input.delivery_destination_name).await?.ok_or_else(missing)?;
    Ok(OnePolicy { policy: Policy { delivery_destination_policy: found.policy } })
}

pub async fn delete_policy(ctx: Ctx, input: NamedByPolicy) -> Result<(), AwsError> {
    change_policy(&ctx, &input.delivery_destination_name, None).await.map(drop)
}

async fn change_policy(ctx: &Ctx, name: &str, policy: Option<String>) -> Result<OnePolicy, AwsError> {
    let change = |before: Option<Destination>| {
        let before = before.ok_or_else(missing)?;
        Ok(Destination { policy: policy.clone(), ..before })
    };
    let changed = row::put(ctx, &DESTINATIONS, name, change).await?;
    Ok(OnePolicy { policy: Policy { delivery_destination_policy: changed.policy } })
}

fn show(ctx: &Ctx, name: String, destination: Destination) -> Shown {
    let configuration = |destination_resource_arn| Configuration { destination_resource_arn };
    Shown {
        arn: name::arn(ctx, RESOURCE, &name),
        name,
        delivery_destination_type: destination.kind,
        output_format: destination.format,
        delivery_destination_configuration: destination.target.map(configuration),
        tags: Some(destination.tags).filter(|tags| !tags.is_empty()),
    }
}

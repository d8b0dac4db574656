//! Delivery sources: resources whose service writes logs.

use base::{Arn, AwsError};
use serde::{Deserialize, Serialize};
use store::{Record, Row, Table};

use super::{PAGE_MAX, Tags};
use crate::logs::row::{self, Asked};
use crate::logs::{errors, name};
use crate::{Ctx, Service};

const NOUN: &str = "Delivery Source";

/// The services of AWS that write logs which can be delivered so, as PutDeliverySource's documentation lists them.
const SERVICES: [&str; 24] = [
    "amp",
    "bedrock",
    "bedrock-agentcore",
    "cloudfront",
    "codewhisperer",
    "deadline",
    "ec2",
    "eks",
    "elasticloadbalancing",
    "entityresolution",
    "events",
    "mediapackagev2",
    "mediatailor",
    "pcs",
    "q",
    "qapps",
    "qbusiness",
    "route53resolver",
    "rtbfabric",
    "ses",
    "sso",
    "transfer",
    "wisdom",
    "workmail",
];

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    resource: String,
    service: String,
    log_type: String,
    configuration: Tags,
    tags: Tags,
}

impl Record for Source {
    const VERSION: u8 = 1;
}

const SOURCES: Table<String, Source> = Table::new("log_delivery_sources");

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PutDeliverySource {
    name: String,
    resource_arn: String,
    log_type: String,
    tags: Option<Tags>,
    delivery_source_configuration: Option<Tags>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Named {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DescribeDeliverySources {
    next_token: Option<String>,
    limit: Option<usize>,
    resource_arns: Option<Vec<String>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct One {
    delivery_source: Shown,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Described {
    delivery_sources: Vec<Shown>,
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    name: String,
    arn: String,
    resource_arns: [String; 1],
    service: String,
    log_type: String,
    tags: Option<Tags>,
    delivery_source_configuration: Option<Tags>,
}

pub fn operations(service: Service) -> Service {
    service
        .operation("DeleteDeliverySource", delete)
        .operation("DescribeDeliverySources", describe)
        .operation("GetDeliverySource", get)
        .operation("PutDeliverySource", put)
}

pub async fn put(ctx: Ctx, input: PutDeliverySource) -> Result<One, AwsError> {
    let arn: Arn = input.resource_arn.parse().map_err(|_| errors::validation("Invalid resourceArn"))?;
    if !SERVICES.contains(&arn.service.as_str()) {
        return Err(errors::no_service_of_logs());
    }
    let made = row::put(&ctx, &SOURCES, &input.name, |before: Option<Source>| {
        let (tags, configuration) = before.map(|before| (before.tags, before.configuration)).unwrap_or_default();
        Ok(Source {
            resource: input.resource_arn.clone(),
            service: arn.service.clone(),
            log_type: input.log_type.clone(),
            configuration: input.delivery_source_configuration.clone().unwrap_or(configuration),
            tags: input.tags.clone().unwrap_or(tags),
        })
    });
    Ok(One { delivery_source: show(&ctx, input.name.clone(), made.await?) })
}

pub async fn find(ctx: &Ctx, name: &str) -> Result<Source, AwsError> {
    row::get(ctx, &SOURCES, name).await?.ok_or_else(|| errors::no_such_delivery(NOUN))
}

pub async fn get(ctx: Ctx, input: Named) -> Result<One, AwsError> {
    let found = find(&ctx, &input.name).await?;
    Ok(One { delivery_source: show(&ctx, input.name, found) })
}

pub async fn delete(ctx: Ctx, input: Named) -> Result<(), AwsError> {
    find(&ctx, &input.name).await?;
    if super::is_there(&ctx, |row| row.value.source == input.name).await? {
        return Err(errors::conflict("The delivery source has deliveries: delete them first."));
    }
    row::delete(&ctx, &SOURCES, &input.name, || errors::no_such_delivery(NOUN)).await
}

pub async fn describe(ctx: Ctx, input: DescribeDeliverySources) -> Result<Described, AwsError> {
    let (operation, limit) = ("logs:DescribeDeliverySources", input.limit.unwrap_or(PAGE_MAX));
    let asked = Asked { operation, prefix: "", token: input.next_token.as_deref(), limit };
    let arns = input.resource_arns;
    let is_wanted = |row: &Row<String, Source>| arns.as_ref().is_none_or(|arns| arns.contains(&row.value.resource));
    let (rows, next_token) = row::page(&ctx, &SOURCES, asked, is_wanted).await?;
    Ok(Described { delivery_sources: rows.into_iter().map(|row| show(&ctx, row.key, row.value)).collect(), next_token })
}

fn show(ctx: &Ctx, name: String, source: Source) -> Shown {
    let some = |tags: Tags| Some(tags).filter(|tags| !tags.is_empty());
    Shown {
        arn: name::arn(ctx, "delivery-source", &name),
        name,
        resource_arns: [source.resource],
        service: source.service,
        log_type: source.log_type,
        tags: some(source.tags),
        delivery_source_configuration: some(source.configuration),
    }
}

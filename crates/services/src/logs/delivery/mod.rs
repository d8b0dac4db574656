//! Deliveries of logs that AWS's services write: where from, where to, and which of the two go together. All of it is kept
//! as somebody said it; there is no service here yet that would write such logs, so nothing is delivered.
//!
//! Not there yet: tags by TagResource, and the fields that a delivery has if none are named.

mod destination;
mod source;

use std::collections::BTreeMap;

use base::AwsError;
use serde::{Deserialize, Serialize};
use store::{Record, Row, Table};

use super::row::{self, Asked};
use super::{errors, name};
use crate::{Ctx, Service};

const PAGE_MAX: usize = 50;
/// Letters of a delivery's id.
const ID_CHARS: usize = 16;
const NOUN: &str = "Delivery";

type Tags = BTreeMap<String, String>;

/// By its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Delivery {
    source: String,
    destination: String,
    destination_kind: String,
    settings: Settings,
    tags: Tags,
}

/// What may be changed later.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Settings {
    fields: Option<Vec<String>>,
    delimiter: Option<String>,
    s3: Option<S3>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct S3 {
    suffix_path: Option<String>,
    enable_hive_compatible_path: Option<bool>,
}

impl Record for Delivery {
    const VERSION: u8 = 1;
}

const DELIVERIES: Table<String, Delivery> = Table::new("log_deliveries");

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateDelivery {
    delivery_source_name: String,
    delivery_destination_arn: String,
    record_fields: Option<Vec<String>>,
    field_delimiter: Option<String>,
    s3_delivery_configuration: Option<S3>,
    tags: Option<Tags>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UpdateDeliveryConfiguration {
    id: String,
    record_fields: Option<Vec<String>>,
    field_delimiter: Option<String>,
    s3_delivery_configuration: Option<S3>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Named {
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DescribeDeliveries {
    next_token: Option<String>,
    limit: Option<usize>,
    delivery_source_names: Option<Vec<String>>,
}

#[derive(Serialize)]
pub struct One {
    delivery: Shown,
}

#[derive(Serialize)]
pub struct Updated {}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Described {
    deliveries: Vec<Shown>,
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    id: String,
    arn: String,
    delivery_source_name: String,
    delivery_destination_arn: String,
    delivery_destination_type: String,
    record_fields: Option<Vec<String>>,
    field_delimiter: Option<String>,
    s3_delivery_configuration: Option<S3>,
    tags: Option<Tags>,
}

pub fn operations(service: Service) -> Service {
    service
        .operation("CreateDelivery", create)
        .operation("DeleteDelivery", delete)
        .operation("DescribeDeliveries", describe)
        .operation("GetDelivery", get)
        .operation("UpdateDeliveryConfiguration", update)
        .with(destination::operations)
        .with(source::operations)
}

pub async fn create(ctx: Ctx, input: CreateDelivery) -> Result<One, AwsError> {
    source::find(&ctx, &input.delivery_source_name).await?;
    let destination_kind = destination::kind(&ctx, &input.delivery_destination_arn).await?;
    let is_same = |row: &Row<String, Delivery>| {
        row.value.source == input.delivery_source_name && row.value.destination == input.delivery_destination_arn
    };
    if is_there(&ctx, is_same).await? {
        return Err(errors::conflict("This delivery already exists."));
    }
    let id: String = ctx.cx.id().to_string().chars().filter(char::is_ascii_alphanumeric).take(ID_CHARS).collect();
    let settings =
        Settings { fields: input.record_fields, delimiter: input.field_delimiter, s3: input.s3_delivery_configuration };
    let delivery = Delivery {
        source: input.delivery_source_name,
        destination: input.delivery_destination_arn,
        destination_kind,
        settings,
        tags: input.tags.unwrap_or_default(),
    };
    let made = row::put(&ctx, &DELIVERIES, &id, |_| Ok(delivery.clone())).await?;
    Ok(One { delivery: show(&ctx, id, made) })
}

pub async fn update(ctx: Ctx, input: UpdateDeliveryConfiguration) -> Result<Updated, AwsError> {
    let change = |before: Option<Delivery>| {
        let before = before.ok_or_else(|| errors::no_such_delivery(NOUN))?;
        let settings = Settings {
            fields: input.record_fields.clone().or(before.settings.fields),
            delimiter: input.field_delimiter.clone().or(before.settings.delimiter),
            s3: input.s3_delivery_configuration.clone().or(before.settings.s3),
        };
        Ok(Delivery { settings, ..before })
    };
    row::put(&ctx, &DELIVERIES, &input.id, change).await.map(|_| Updated {})
}

pub async fn get(ctx: Ctx, input: Named) -> Result<One, AwsError> {
    let found = row::get(&ctx, &DELIVERIES, &input.id).await?.ok_or_else(|| errors::no_such_delivery(NOUN))?;
    Ok(One { delivery: show(&ctx, input.id, found) })
}

pub async fn delete(ctx: Ctx, input: Named) -> Result<(), AwsError> {
    row::delete(&ctx, &DELIVERIES, &input.id, || errors::no_such_delivery(NOUN)).await
}

pub async fn describe(ctx: Ctx, input: DescribeDeliveries) -> Result<Described, AwsError> {
    let (operation, limit) = ("logs:DescribeDeliveries", input.limit.unwrap_or(PAGE_MAX));
    let asked = Asked { operation, prefix: "", token: input.next_token.as_deref(), limit };
    let sources = input.delivery_source_names;
    let is_wanted =
        |row: &Row<String, Delivery>| sources.as_ref().is_none_or(|sources| sources.contains(&row.value.source));
    let (rows, next_token) = row::page(&ctx, &DELIVERIES, asked, is_wanted).await?;
    Ok(Described { deliveries: rows.into_iter().map(|row| show(&ctx, row.key, row.value)).collect(), next_token })
}

/// Whether there is a delivery of which this is true.
async fn is_there(ctx: &Ctx, wants: impl Fn(&Row<String, Delivery>) -> bool) -> Result<bool, AwsError> {
    let asked = Asked { operation: "", prefix: "", token: None, limit: 1 };
    Ok(!row::page(ctx, &DELIVERIES, asked, wants).await?.0.is_empty())
}

fn show(ctx: &Ctx, id: String, delivery: Delivery) -> Shown {
    Shown {
        arn: name::arn(ctx, "delivery", &id),
        id,
        delivery_source_name: delivery.source,
        delivery_destination_arn: delivery.destination,
        delivery_destination_type: delivery.destination_kind,
        record_fields: delivery.settings.fields,
        field_delimiter: delivery.settings.delimiter,
        s3_delivery_configuration: delivery.settings.s3,
        tags: Some(delivery.tags).filter(|tags| !tags.is_empty()),
    }
}

//! Subscription filters: which of a group's events are sent on to somebody, as they come.
//!
//! They are rows of [`group_filter`](super::group_filter). Here it is said which events are sent ([`of_group`], [`Parsed::matches`]), and how ([`message`]); who
//! follows the journal sends them.
//!
//! Not there yet: destinations that are no functions, transformed logs, and selection by system fields.

use std::io::Write;

use base::{Arn, AwsError, Timestamp, Uuid};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chronicle::Event;
use engine::filter::{Filter, Kind};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use store::{Record, Row, Scan, Scope, Store, Table};

use super::group_filter::{self, GroupFilter};
use super::metric_filter::MetricFilter;
use super::{errors, filter, id, name};
use crate::{Ctx, Service, functions};

const PAGE_MAX: usize = 50;

/// A subscription filter, under its group's id and its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriptionFilter {
    /// The group's name.
    pub group: String,
    pub pattern: String,
    /// The ARN of a function, a version or an alias.
    pub destination: String,
    pub distribution: String,
    pub created: Timestamp,
}

impl Record for SubscriptionFilter {
    const VERSION: u8 = 1;
}

pub const SUBSCRIPTION_FILTERS: Table<(Uuid, String), SubscriptionFilter> = Table::new("log_subscription_filters");

impl GroupFilter for SubscriptionFilter {
    const TABLE: Table<(Uuid, String), SubscriptionFilter> = SUBSCRIPTION_FILTERS;
    const FILTERS_MAX: usize = 2;
    type Other = MetricFilter;

    fn pattern(&self) -> &str {
        &self.pattern
    }

    fn created(&self) -> Timestamp {
        self.created
    }

    fn missing() -> AwsError {
        errors::no_subscription_filter()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PutSubscriptionFilter {
    log_group_name: String,
    filter_name: String,
    filter_pattern: String,
    destination_arn: String,
    role_arn: Option<String>,
    distribution: Option<String>,
    apply_on_transformed_logs: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DescribeSubscriptionFilters {
    log_group_name: String,
    filter_name_prefix: Option<String>,
    next_token: Option<String>,
    limit: Option<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeleteSubscriptionFilter {
    log_group_name: String,
    filter_name: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Described {
    subscription_filters: Vec<Shown>,
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    filter_name: String,
    log_group_name: String,
    filter_pattern: String,
    destination_arn: String,
    distribution: String,
    apply_on_transformed_logs: bool,
    creation_time: i64,
}

pub fn operations(service: Service) -> Service {
    service
        .operation("DeleteSubscriptionFilter", delete)
        .operation("DescribeSubscriptionFilters", describe)
        .operation("PutSubscriptionFilter", put)
}

pub async fn put(ctx: Ctx, input: PutSubscriptionFilter) -> Result<(), AwsError> {
    check_destination(&ctx, &input.destination_arn, input.role_arn.is_some())?;
    if input.apply_on_transformed_logs.unwrap_or_default() {
        return Err(errors::no_transformer());
    }
    name::find(&ctx, Some(input.log_group_name.clone()), None).await?;
    filter::parse(&input.filter_pattern)?;
    let source = format!("{}:*", name::group_arn(&ctx, &input.log_group_name));
    if !functions::may_be_invoked(&ctx, &input.destination_arn, "logs", &source).await? {
        return Err(errors::cannot_invoke());
    }
    let distribution = input.distribution.unwrap_or_else(|| "ByLogStream".to_owned());
    let name = (input.log_group_name.as_str(), input.filter_name.as_str());
    group_filter::put(&ctx, name, |created| SubscriptionFilter {
        group: input.log_group_name.clone(),
        pattern: input.filter_pattern.clone(),
        destination: input.destination_arn.clone(),
        distribution: distribution.clone(),
        created,
    })
    .await
}

/// What is wrong with a destination without looking at what it names.
fn check_destination(ctx: &Ctx, destination: &str, has_role: bool) -> Result<(), AwsError> {
    let arn: Arn = destination.parse().map_err(|_| errors::invalid_destination(destination))?;
    match (arn.service.as_str(), has_role) {
        ("lambda", true) => Err(errors::destination_with_role()),
        ("lambda", false) if arn.account != ctx.cx.account.as_str() => Err(errors::function_of_other_account()),
        ("lambda", false) if arn.region != ctx.cx.region.as_str() => Err(errors::cannot_invoke()),
        ("lambda", false) => Ok(()),
        (vendor @ ("kinesis" | "firehose"), false) => Err(errors::destination_without_role(vendor)),
        // Neither has anything that could be found.
        ("kinesis", true) => Err(errors::cannot_deliver("Kinesis stream")),
        ("firehose", true) => Err(errors::cannot_deliver("Firehose stream")),
        ("logs", _) => Err(AwsError::not_built("subscriptions of destinations of logs")),
        _ => Err(errors::invalid_destination(destination)),
    }
}

pub async fn delete(ctx: Ctx, input: DeleteSubscriptionFilter) -> Result<(), AwsError> {
    group_filter::delete::<SubscriptionFilter>(&ctx, (&input.log_group_name, &input.filter_name)).await
}

pub async fn describe(ctx: Ctx, input: DescribeSubscriptionFilters) -> Result<Described, AwsError> {
    const OPERATION: &str = "logs:DescribeSubscriptionFilters";
    let found = name::find(&ctx, Some(input.log_group_name), None).await?;
    let scan = Scan::all(input.limit.unwrap_or(PAGE_MAX)).under::<Uuid>(found.group.id);
    let scan = scan.starting_with(&input.filter_name_prefix.unwrap_or_default());
    let scan = ctx.resume(OPERATION, scan, input.next_token.as_deref()).ok_or_else(errors::invalid_token)?;
    let page = SUBSCRIPTION_FILTERS.page(&ctx.cloud.store, &ctx.scope(), scan).await?;
    let show = |row: Row<(Uuid, String), SubscriptionFilter>| Shown {
        filter_name: row.key.1,
        log_group_name: found.name.clone(),
        filter_pattern: row.value.pattern,
        destination_arn: row.value.destination,
        distribution: row.value.distribution,
        apply_on_transformed_logs: false,
        creation_time: row.value.created.as_millis(),
    };
    let next_token = ctx.marker(OPERATION, page.next.as_ref());
    Ok(Described { subscription_filters: page.rows.into_iter().map(show).collect(), next_token })
}

/// A subscription filter, ready to be tried.
#[derive(Debug, Clone)]
pub struct Parsed {
    pub name: String,
    /// The name of its group.
    pub group: String,
    /// The ARN of a function, a version or an alias.
    pub destination: String,
    filter: Filter,
}

/// The filters of a group. One that cannot be read any more is left out: nothing matches it.
pub async fn of_group(store: &Store, scope: &Scope, group: Uuid) -> Result<Vec<Parsed>, AwsError> {
    let parse = |row: Row<(Uuid, String), SubscriptionFilter>| {
        let filter = Filter::parse(&row.value.pattern).ok()?;
        Some(Parsed { name: row.key.1, group: row.value.group, destination: row.value.destination, filter })
    };
    Ok(group_filter::of_id(store, scope, group).await?.into_iter().filter_map(parse).collect())
}

impl Parsed {
    pub fn filter(&self) -> &Filter {
        &self.filter
    }

    /// The fields of a message, where the filter's pattern names all that it has.
    fn fields(&self, message: &str) -> Option<Map<String, Value>> {
        if self.filter.kind() != Kind::Delimited {
            return None;
        }
        let named = |(name, value): (String, String)| (name.trim_start_matches('$').to_owned(), value.into());
        Some(self.filter.extract(message)?.into_iter().map(named).collect())
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    message_type: &'static str,
    owner: &'a str,
    log_group: &'a str,
    log_stream: &'a str,
    subscription_filters: [&'a str; 1],
    log_events: Vec<Sent>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Sent {
    id: String,
    timestamp: i64,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    extracted_fields: Option<Map<String, Value>>,
}

/// What a function is sent of events of one stream that a filter matches: `{"awslogs": {"data": …}}`, the data packed by
/// gzip and written in base64; and how many bytes they are packed. What a function takes at once is the caller's to keep to.
pub fn message(owner: &str, group: &str, stream: &str, filter: &Parsed, events: &[Event]) -> (String, usize) {
    let send = |event: &Event| {
        let message = event.text().into_owned();
        let extracted_fields = filter.fields(&message);
        Sent { id: id::of(event), timestamp: event.time.as_millis(), message, extracted_fields }
    };
    let data = Data {
        message_type: "DATA_MESSAGE",
        owner,
        log_group: group,
        log_stream: stream,
        subscription_filters: [&filter.name],
        log_events: events.iter().map(send).collect(),
    };
    // Texts and numbers always write, and so does memory.
    let data = serde_json::to_vec(&data).unwrap_or_default();
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    let packed = packed.write_all(&data).and_then(|()| packed.finish()).unwrap_or_default();
    (format!(r#"{{"awslogs":{{"data":"{}"}}}}"#, STANDARD.encode(&packed)), packed.len())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    fn sent(pattern: &str, message: &str) -> Value {
        let filter = Filter::parse(pattern).unwrap();
        let filter = Parsed { name: "f".into(), group: String::new(), destination: String::new(), filter };
        let event = |number: u64| Event {
            number,
            stream: 1,
            time: Timestamp::from_millis(1_755_892_471_829),
            ingested: Timestamp::from_millis(1_755_892_617_842),
            message: message.to_owned().into(),
        };
        let (whole, packed_bytes) = super::message("000000000000", "g", "s", &filter, &[event(1), event(2)]);
        let whole: Value = serde_json::from_str(&whole).unwrap();
        let packed = STANDARD.decode(whole["awslogs"]["data"].as_str().unwrap()).unwrap();
        assert_eq!(packed.len(), packed_bytes);
        let mut text = String::new();
        GzDecoder::new(packed.as_slice()).read_to_string(&mut text).unwrap();
        assert!(text.starts_with(r#"{"messageType":"DATA_MESSAGE","owner":"000000000000","logGroup":"g","#), "{text}");
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_message_is_what_aws_sends() {
        let data = sent("", "hello \"there\"");
        assert_eq!((data["logStream"].as_str(), data["subscriptionFilters"][0].as_str()), (Some("s"), Some("f")));
        let events = data["logEvents"].as_array().unwrap();
        assert_eq!(events.len(), 2);
        assert_eq!(
            (events[0]["timestamp"].as_i64(), events[0]["id"].as_str().unwrap().len()),
            (Some(1_755_892_471_829), 56)
        );
        assert_eq!(events[0]["message"], "hello \"there\"");
        assert!(events[0]["id"].as_str() < events[1]["id"].as_str() && events[0].get("extractedFields").is_none());
        let fields = &sent("[word, number > 1]", "a 2")["logEvents"][1]["extractedFields"];
        assert_eq!((fields["word"].as_str(), fields["number"].as_str()), (Some("a"), Some("2")));
    }
}

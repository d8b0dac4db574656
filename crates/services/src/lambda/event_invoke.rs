//! What becomes of asynchronous invocations: how often and how long they are tried, and who hears of the end.
//!
//! A configuration belongs to `$LATEST`, a version or an alias. It goes with its version or alias.

use std::fmt;
use std::time::Duration;

use base::{Arn, AwsError, Timestamp, Uuid};
use engine::events::retry::Policy;
use serde::{Deserialize, Serialize};
use store::{Record, Row, Scan, Table};

use super::function::{self, FUNCTIONS, Function, Named};
use super::name::FunctionRef;
use super::{errors, paging};
use crate::{Ctx, Service};

/// By the function's incarnation and the qualifier, `$LATEST` being one.
pub static EVENT_INVOKES: Table<(Uuid, String), EventInvoke> = Table::new("lambda_event_invokes");

/// What nobody has said is absent, and AWS's default.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct EventInvoke {
    retry_attempts_max: Option<u32>,
    event_age_secs_max: Option<u32>,
    on_success: Option<String>,
    on_failure: Option<String>,
    modified: Timestamp,
}

impl Record for EventInvoke {
    const VERSION: u8 = 1;
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ChangeEventInvoke {
    function_name: String,
    qualifier: Option<String>,
    maximum_retry_attempts: Option<u32>,
    maximum_event_age_in_seconds: Option<u32>,
    destination_config: Option<DestinationConfig>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ListEventInvokes {
    function_name: String,
    marker: Option<String>,
    max_items: Option<usize>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
pub struct DestinationConfig {
    on_success: Option<Destination>,
    on_failure: Option<Destination>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
pub struct Destination {
    destination: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct EventInvokeConfig {
    last_modified: Timestamp,
    function_arn: String,
    maximum_retry_attempts: Option<u32>,
    maximum_event_age_in_seconds: Option<u32>,
    destination_config: DestinationConfig,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct EventInvokeList {
    function_event_invoke_configs: Vec<EventInvokeConfig>,
    next_marker: Option<String>,
}

pub fn operations(service: Service) -> Service {
    service
        .operation("DeleteFunctionEventInvokeConfig", delete)
        .operation("GetFunctionEventInvokeConfig", get)
        .operation("ListFunctionEventInvokeConfigs", list)
        .operation("PutFunctionEventInvokeConfig", put)
        .operation("UpdateFunctionEventInvokeConfig", update)
}

/// Replaces the whole configuration.
pub async fn put(ctx: Ctx, input: ChangeEventInvoke) -> Result<EventInvokeConfig, AwsError> {
    change(&ctx, "PutFunctionEventInvokeConfig", &input, false).await
}

/// Changes the members that are given, of a configuration that is there.
pub async fn update(ctx: Ctx, input: ChangeEventInvoke) -> Result<EventInvokeConfig, AwsError> {
    change(&ctx, "UpdateFunctionEventInvokeConfig", &input, true).await
}

async fn change(
    ctx: &Ctx,
    operation: &str,
    input: &ChangeEventInvoke,
    merge: bool,
) -> Result<EventInvokeConfig, AwsError> {
    let asked = FunctionRef::parse(ctx, operation, &input.function_name, input.qualifier.as_deref())?;
    input.check_given()?;
    let (scope, qualifier) = (ctx.scope(), qualifier(&asked));
    let mut edit = ctx.edit(&FUNCTIONS, &scope, &asked.name).await;
    loop {
        let (found, batch) = edit.read().await?;
        let function = found.ok_or_else(errors::no_function_for_events)?;
        if function::qualified(ctx, &function, qualifier).await?.is_none() {
            return Err(errors::no_function_for_events());
        }
        if let Some(destinations) = &input.destination_config {
            destinations.check(ctx, &function).await?;
        }
        let key = (function.incarnation, qualifier);
        let before = match merge {
            false => EventInvoke::default(),
            true => {
                let found = EVENT_INVOKES.get(&ctx.cloud.store, &scope, key).await?;
                found.ok_or_else(|| not_configured(ctx, &asked))?.value
            }
        };
        let config = input.apply(before, ctx.cx.now());
        let batch = batch.put(&EVENT_INVOKES, &scope, key, &config).put(&FUNCTIONS, &scope, &asked.name, &function);
        if edit.commit(batch).await? {
            return Ok(config.show(arn(ctx, &asked.name, qualifier)));
        }
    }
}

pub async fn get(ctx: Ctx, input: Named) -> Result<EventInvokeConfig, AwsError> {
    const OPERATION: &str = "GetFunctionEventInvokeConfig";
    let asked = FunctionRef::parse(&ctx, OPERATION, &input.function_name, input.qualifier.as_deref())?;
    let missing = || not_configured(&ctx, &asked);
    let scope = ctx.scope();
    let function = FUNCTIONS.get_shared(&ctx.cloud.store, &scope, &asked.name).await?.ok_or_else(missing)?;
    let key = (function.incarnation, qualifier(&asked));
    let config = EVENT_INVOKES.get_shared(&ctx.cloud.store, &scope, key).await?.ok_or_else(missing)?;
    Ok(config.show(arn(&ctx, &asked.name, key.1)))
}

pub async fn delete(ctx: Ctx, input: Named) -> Result<(), AwsError> {
    const OPERATION: &str = "DeleteFunctionEventInvokeConfig";
    let asked = FunctionRef::parse(&ctx, OPERATION, &input.function_name, input.qualifier.as_deref())?;
    let missing = || not_configured(&ctx, &asked);
    let scope = ctx.scope();
    let mut edit = ctx.edit(&FUNCTIONS, &scope, &asked.name).await;
    loop {
        let (found, batch) = edit.read().await?;
        let function = found.ok_or_else(missing)?;
        let key = (function.incarnation, qualifier(&asked));
        EVENT_INVOKES.get_shared(&ctx.cloud.store, &scope, key).await?.ok_or_else(missing)?;
        let batch = batch.delete(&EVENT_INVOKES, &scope, key).put(&FUNCTIONS, &scope, &asked.name, &function);
        if edit.commit(batch).await? {
            return Ok(());
        }
    }
}

pub async fn list(ctx: Ctx, input: ListEventInvokes) -> Result<EventInvokeList, AwsError> {
    const OPERATION: &str = "lambda:ListFunctionEventInvokeConfigs";
    let name = FunctionRef::parse(&ctx, "ListFunctionEventInvokeConfigs", &input.function_name, None)?.name;
    let found = FUNCTIONS.get_shared(&ctx.cloud.store, &ctx.scope(), &name).await?;
    let function = found.ok_or_else(errors::no_function_for_events)?;
    let scan = Scan::all(paging::size(input.max_items)).under::<Uuid>(function.incarnation);
    let (rows, next_marker) = paging::page(&ctx, OPERATION, &EVENT_INVOKES, scan, input.marker.as_deref()).await?;
    let show = |row: Row<(Uuid, String), EventInvoke>| row.value.show(arn(&ctx, &name, &row.key.1));
    Ok(EventInvokeList { function_event_invoke_configs: rows.into_iter().map(show).collect(), next_marker })
}

fn qualifier(asked: &FunctionRef) -> &str {
    asked.qualifier.as_deref().unwrap_or("$LATEST")
}

fn arn(ctx: &Ctx, name: &str, qualifier: &str) -> String {
    format!("{}:{qualifier}", function::arn(ctx, name))
}

fn not_configured(ctx: &Ctx, asked: &FunctionRef) -> AwsError {
    errors::event_invoke_not_configured(&arn(ctx, &asked.name, qualifier(asked)))
}

impl ChangeEventInvoke {
    fn check_given(&self) -> Result<(), AwsError> {
        if self.maximum_retry_attempts.is_none()
            && self.maximum_event_age_in_seconds.is_none()
            && self.destination_config.is_none()
        {
            return Err(errors::invalid_parameter(
                "You must specify at least one of error handling or destination setting.",
            ));
        }
        Ok(())
    }

    /// What becomes of a configuration. A destination that is given empty is taken away.
    fn apply(&self, before: EventInvoke, now: Timestamp) -> EventInvoke {
        let destinations = self.destination_config.clone().unwrap_or_default();
        EventInvoke {
            retry_attempts_max: self.maximum_retry_attempts.or(before.retry_attempts_max),
            event_age_secs_max: self.maximum_event_age_in_seconds.or(before.event_age_secs_max),
            on_success: destinations.on_success.map_or(before.on_success, Destination::named),
            on_failure: destinations.on_failure.map_or(before.on_failure, Destination::named),
            modified: now,
        }
    }
}

/// Who hears of an event's end.
#[derive(Debug, Clone, Default)]
pub struct Destinations {
    pub on_success: Option<String>,
    pub on_failure: Option<String>,
}

/// How often and how long events of a version or an alias are tried, and who hears of the end.
pub async fn of_events(
    ctx: &Ctx,
    function: &Function,
    qualifier: Option<&str>,
) -> Result<(Policy, Destinations), AwsError> {
    let key = (function.incarnation, qualifier.unwrap_or("$LATEST"));
    let given = EVENT_INVOKES.get_shared(&ctx.cloud.store, &ctx.scope(), key).await?;
    let default = Policy::default();
    let Some(given) = given else { return Ok((default, Destinations::default())) };
    let policy = Policy {
        retries_max: given.retry_attempts_max.unwrap_or(default.retries_max),
        age_max: given.event_age_secs_max.map_or(default.age_max, |secs| Duration::from_secs(secs.into())),
    };
    let (on_success, on_failure) = (given.on_success.clone(), given.on_failure.clone());
    Ok((policy, Destinations { on_success, on_failure }))
}

impl EventInvoke {
    fn show(&self, function_arn: String) -> EventInvokeConfig {
        EventInvokeConfig {
            last_modified: self.modified.trunc_millis(),
            function_arn,
            maximum_retry_attempts: self.retry_attempts_max,
            maximum_event_age_in_seconds: self.event_age_secs_max,
            destination_config: DestinationConfig {
                on_success: Some(Destination { destination: self.on_success.clone() }),
                on_failure: Some(Destination { destination: self.on_failure.clone() }),
            },
        }
    }
}

impl DestinationConfig {
    /// Whether records of `function`'s invocations may go there.
    async fn check(&self, ctx: &Ctx, function: &Function) -> Result<(), AwsError> {
        let parsed = self
            .parse()
            .ok_or_else(|| errors::invalid_parameter(format!("The provided destination config {self} is invalid.")))?;
        for arn in parsed {
            if !is_destination(ctx, &arn, function).await? {
                return Err(errors::invalid_parameter(format!("The destination ARN {arn} is invalid.")));
            }
        }
        Ok(())
    }

    /// The ARNs that are given, if they are of kinds that can be destinations. A bucket takes failures only.
    fn parse(&self) -> Option<Vec<Arn>> {
        let given = |side: &Option<Destination>| side.clone().and_then(Destination::named);
        let mut arns = Vec::new();
        for (text, takes_bucket) in [(given(&self.on_success), false), (given(&self.on_failure), true)] {
            let Some(text) = text else { continue };
            let arn: Arn = text.parse().ok()?;
            match arn.service.as_str() {
                "sqs" | "sns" | "lambda" | "events" => {}
                "s3" if takes_bucket => {}
                _ => return None,
            }
            arns.push(arn);
        }
        Some(arns)
    }
}

/// Whether an ARN of the right kind is a destination for `function`. Of functions those of the caller's own account and
/// region are looked up; whether there is another account's is not the caller's to know.
async fn is_destination(ctx: &Ctx, arn: &Arn, function: &Function) -> Result<bool, AwsError> {
    match arn.service.as_str() {
        "lambda" => {}
        "events" => {
            let bus = arn.resource.strip_prefix("event-bus/");
            return Ok(bus.is_some_and(|bus| !bus.is_empty() && !bus.starts_with("aws.partner/")));
        }
        "sqs" | "sns" => return Ok(!arn.resource.ends_with(".fifo")),
        _ => return Ok(true),
    }
    let Some(named) = arn.resource.strip_prefix("function:") else { return Ok(false) };
    if arn.account != ctx.cx.account.as_str() || arn.region != ctx.cx.region.as_str() {
        return Ok(true);
    }
    let (name, qualifier) = named.split_once(':').unwrap_or((named, "$LATEST"));
    if name == function.name {
        return Err(errors::invalid_parameter("You can't specify the function as a destination for itself."));
    }
    match FUNCTIONS.get_shared(&ctx.cloud.store, &ctx.scope(), name).await? {
        None => Ok(false),
        Some(found) => Ok(function::qualified(ctx, &found, qualifier).await?.is_some()),
    }
}

impl Destination {
    /// AWS takes an empty text for no destination.
    fn named(self) -> Option<String> {
        self.destination.filter(|destination| !destination.is_empty())
    }
}

/// As AWS prints it in its errors.
impl fmt::Display for DestinationConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |name: &str, side: &Option<Destination>| match side {
            None => "null".to_owned(),
            Some(Destination { destination }) => {
                format!("{name}(destination={})", destination.as_deref().unwrap_or("null"))
            }
        };
        let (on_success, on_failure) = (side("OnSuccess", &self.on_success), side("OnFailure", &self.on_failure));
        write!(f, "DestinationConfig(onSuccess={on_success}, onFailure={on_failure})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUE: &str = "arn:aws:sqs:us-east-1:000000000000:q";
    const BUCKET: &str = "arn:aws:s3:::b";

    fn to(destination: &str) -> Option<Destination> {
        Some(Destination { destination: Some(destination.into()) })
    }

    #[test]
    fn buckets_take_failures_and_other_kinds_take_nothing() {
        let kinds =
            |on_success, on_failure| DestinationConfig { on_success, on_failure }.parse().map(|arns| arns.len());
        assert_eq!(kinds(to(QUEUE), to(BUCKET)), Some(2));
        assert_eq!(kinds(Some(Destination::default()), to("")), Some(0));
        assert_eq!(kinds(to(BUCKET), None), None);
        assert_eq!(kinds(None, to("arn:aws:iam:us-east-1:000000000000:function:f")), None);
        assert_eq!(kinds(None, to("kafka://topic")), None);
    }

    #[test]
    fn a_refused_configuration_is_printed_as_java_prints_it() {
        let config = DestinationConfig { on_success: to(BUCKET), on_failure: None };
        let printed = "DestinationConfig(onSuccess=OnSuccess(destination=arn:aws:s3:::b), onFailure=null)";
        assert_eq!(config.to_string(), printed);
        let config = DestinationConfig { on_success: None, on_failure: Some(Destination::default()) };
        assert_eq!(config.to_string(), "DestinationConfig(onSuccess=null, onFailure=OnFailure(destination=null))");
    }

    #[test]
    fn what_is_not_given_stays_and_what_is_given_empty_goes() {
        let before = EventInvoke {
            retry_attempts_max: Some(0),
            on_success: Some(QUEUE.into()),
            on_failure: Some(BUCKET.into()),
            ..EventInvoke::default()
        };
        let change = ChangeEventInvoke {
            function_name: "f".into(),
            qualifier: None,
            maximum_retry_attempts: None,
            maximum_event_age_in_seconds: Some(60),
            destination_config: Some(DestinationConfig { on_success: to(""), on_failure: None }),
        };
        let after = change.apply(before, Timestamp::from_secs(1));
        assert_eq!((after.retry_attempts_max, after.event_age_secs_max), (Some(0), Some(60)));
        assert_eq!((after.on_success, after.on_failure.as_deref()), (None, Some(BUCKET)));
    }
}

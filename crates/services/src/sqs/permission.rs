//! `AddPermission` and `RemovePermission`: statements of a queue's policy that have a label.

use base::AwsError;
use serde::Deserialize;
use serde_json::{Value, json};

use super::queue::{self, Found};
use super::{errors, name};
use crate::{Ctx, Service};

/// The version of the language of policies that AWS writes here.
const VERSION: &str = "2008-10-17";
const ACTIONS_MAX: usize = 7;
const STATEMENTS_MAX: usize = 20;
const ACTIONS: [&str; 8] = [
    "*",
    "ChangeMessageVisibility",
    "DeleteMessage",
    "GetQueueAttributes",
    "GetQueueUrl",
    "PurgeQueue",
    "ReceiveMessage",
    "SendMessage",
];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct AddPermission {
    queue_url: String,
    label: String,
    #[serde(rename = "AWSAccountIds")]
    accounts: Vec<String>,
    actions: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct RemovePermission {
    queue_url: String,
    label: String,
}

pub fn operations(service: Service) -> Service {
    service.operation("AddPermission", add).operation("RemovePermission", remove)
}

pub async fn add(ctx: Ctx, input: AddPermission) -> Result<(), AwsError> {
    let found = Found::at(&ctx, &input.queue_url, "sqs:AddPermission").await?;
    let arn = name::arn(&found.ctx, &found.queue.name);
    let statement = statement(&found, &arn, &input)?;
    queue::edit(&found, |queue, batch| {
        let empty = || json!({"Version": VERSION, "Id": format!("{arn}/SQSDefaultPolicy"), "Statement": []});
        let mut policy = parse(queue.settings.policy.as_deref()).unwrap_or_else(empty);
        let statements = statements(&mut policy).ok_or_else(|| errors::invalid_attribute("Policy", None))?;
        if statements.iter().any(|other| has_label(other, &input.label)) {
            return Err(errors::invalid_value(&input.label, "Label", "Already exists."));
        }
        if statements.len() >= STATEMENTS_MAX {
            let message = format!("{STATEMENTS_MAX} statements are the most that a queue's policy may have.");
            return Err(AwsError::client(403, "OverLimit", message));
        }
        statements.push(statement.clone());
        queue.settings.policy = Some(policy.to_string());
        Ok(batch)
    })
    .await
}

pub async fn remove(ctx: Ctx, input: RemovePermission) -> Result<(), AwsError> {
    let found = Found::at(&ctx, &input.queue_url, "sqs:RemovePermission").await?;
    queue::edit(&found, |queue, batch| {
        let unknown = || errors::invalid_value(&input.label, "Label", "can't find label.");
        let mut policy = parse(queue.settings.policy.as_deref()).ok_or_else(unknown)?;
        let statements = statements(&mut policy).ok_or_else(unknown)?;
        let before = statements.len();
        statements.retain(|statement| !has_label(statement, &input.label));
        if statements.len() == before {
            return Err(unknown());
        }
        let is_empty = statements.is_empty();
        queue.settings.policy = (!is_empty).then(|| policy.to_string());
        Ok(batch)
    })
    .await
}

fn parse(policy: Option<&str>) -> Option<Value> {
    serde_json::from_str(policy?).ok()
}

/// A policy's statements; where it has one that is not in a list, a list is made of it.
fn statements(policy: &mut Value) -> Option<&mut Vec<Value>> {
    let statements = policy.get_mut("Statement")?;
    if statements.is_object() {
        *statements = Value::Array(vec![statements.take()]);
    }
    statements.as_array_mut()
}

fn has_label(statement: &Value, label: &str) -> bool {
    statement.get("Sid").and_then(Value::as_str) == Some(label)
}

fn statement(found: &Found, arn: &str, input: &AddPermission) -> Result<Value, AwsError> {
    let AddPermission { label, accounts, actions, .. } = input;
    let is_label = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !(1..=80).contains(&label.len()) || !label.bytes().all(is_label) {
        let reason = "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length.";
        return Err(errors::invalid_value(label, "Label", reason));
    }
    if accounts.is_empty() || actions.is_empty() {
        return Err(errors::missing(if accounts.is_empty() { "AWSAccountIds" } else { "Actions" }));
    }
    if actions.len() > ACTIONS_MAX {
        let message = format!("{} Actions were found, maximum allowed is {ACTIONS_MAX}.", actions.len());
        return Err(AwsError::client(403, "OverLimit", message));
    }
    if let Some(unknown) = actions.iter().find(|action| !ACTIONS.contains(&action.as_str())) {
        let reason = "Only the queue owner is allowed to invoke this action.";
        return Err(errors::invalid_value(format!("SQS:{unknown}"), "ActionName", reason));
    }
    if let Some(wrong) = accounts.iter().find(|account| account.parse::<base::AccountId>().is_err()) {
        return Err(errors::invalid_value(wrong, "PrincipalId", "Unable to verify."));
    }
    let partition = found.ctx.cx.region.partition();
    let principals = accounts.iter().map(|account| format!("arn:{partition}:iam::{account}:root"));
    let actions = actions.iter().map(|action| format!("SQS:{action}"));
    Ok(json!({
        "Sid": label,
        "Effect": "Allow",
        "Principal": {"AWS": one_or_more(principals)},
        "Action": one_or_more(actions),
        "Resource": arn,
    }))
}

/// As AWS writes a list: one by itself.
fn one_or_more(texts: impl Iterator<Item = String>) -> Value {
    let mut texts: Vec<Value> = texts.map(Value::String).collect();
    if texts.len() == 1 { texts.remove(0) } else { Value::Array(texts) }
}

//! Resource policies: which services may write logs into the account. They are kept; nothing asks them yet.
//!
//! Not there yet: policies of single log groups (`resourceArn`).

use base::{AwsError, Timestamp};
use serde::{Deserialize, Serialize};
use store::{Record, Row, Table};

use super::errors;
use super::row::{self, Asked};
use crate::{Ctx, Service};

/// AWS's quota of an account and region.
const POLICIES_MAX: usize = 10;
/// AWS's, of a policy of an account.
const DOCUMENT_CHARS_MAX: usize = 5_120;
const PAGE_MAX: usize = 50;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Policy {
    document: String,
    updated: Timestamp,
}

impl Record for Policy {
    const VERSION: u8 = 1;
}

const POLICIES: Table<String, Policy> = Table::new("log_resource_policies");

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PutResourcePolicy {
    policy_name: Option<String>,
    policy_document: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DescribeResourcePolicies {
    next_token: Option<String>,
    limit: Option<usize>,
    policy_scope: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeleteResourcePolicy {
    policy_name: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Put {
    resource_policy: Shown,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Described {
    resource_policies: Vec<Shown>,
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    policy_name: String,
    policy_document: String,
    last_updated_time: i64,
    policy_scope: &'static str,
}

const SCOPE: &str = "ACCOUNT";

pub fn operations(service: Service) -> Service {
    service
        .operation("DeleteResourcePolicy", delete)
        .operation("DescribeResourcePolicies", describe)
        .operation("PutResourcePolicy", put)
}

pub async fn put(ctx: Ctx, input: PutResourcePolicy) -> Result<Put, AwsError> {
    let name = input.policy_name.ok_or_else(|| errors::must_be_given("policyName"))?;
    let document = input.policy_document.ok_or_else(|| errors::must_be_given("policyDocument"))?;
    row::check_policy(&document, DOCUMENT_CHARS_MAX)?;
    let policy = Policy { document, updated: ctx.cx.now().trunc_millis() };
    let policy = row::put_among(&ctx, &POLICIES, ("", POLICIES_MAX), (&name, policy)).await?;
    Ok(Put { resource_policy: show(name, policy) })
}

pub async fn delete(ctx: Ctx, input: DeleteResourcePolicy) -> Result<(), AwsError> {
    let name = input.policy_name.ok_or_else(|| errors::must_be_given("policyName"))?;
    row::delete(&ctx, &POLICIES, &name, || errors::no_policy(&name)).await
}

pub async fn describe(ctx: Ctx, input: DescribeResourcePolicies) -> Result<Described, AwsError> {
    let token = input.next_token.as_deref();
    let operation = "logs:DescribeResourcePolicies";
    let asked = Asked { operation, prefix: "", token, limit: input.limit.unwrap_or(PAGE_MAX) };
    let is_wanted = input.policy_scope.is_none_or(|scope| scope == SCOPE);
    let (rows, next_token) = row::page(&ctx, &POLICIES, asked, |_| is_wanted).await?;
    let show = |row: Row<String, Policy>| show(row.key, row.value);
    Ok(Described { resource_policies: rows.into_iter().map(show).collect(), next_token })
}

fn show(policy_name: String, policy: Policy) -> Shown {
    let last_updated_time = policy.updated.as_millis();
    Shown { policy_name, policy_document: policy.document, last_updated_time, policy_scope: SCOPE }
}

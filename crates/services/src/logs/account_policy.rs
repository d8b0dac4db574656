//! Account policies: what is to hold for many log groups of an account. They are kept; none has an effect yet.
//!
//! Not there yet: dry runs.

use base::{AwsError, Timestamp};
use serde::{Deserialize, Serialize};
use store::{Record, Row, Table};

use super::errors;
use super::row::{self, Asked};
use crate::{Ctx, Service};

const DOCUMENT_CHARS_MAX: usize = 30_720;
const PAGE_MAX: usize = 50;
/// AWS's quotas, by type; of others there may be one.
const POLICIES_MAX: [(&str, usize); 2] = [("FIELD_INDEX_POLICY", 20), ("TRANSFORMER_POLICY", 20)];

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Policy {
    name: String,
    kind: String,
    document: String,
    selection: Option<String>,
    updated: Timestamp,
}

impl Record for Policy {
    const VERSION: u8 = 1;
}

/// By type and name, with a slash between them.
const POLICIES: Table<String, Policy> = Table::new("log_account_policies");

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PutAccountPolicy {
    policy_name: String,
    policy_document: String,
    policy_type: String,
    /// There is one alone.
    #[serde(rename = "scope")]
    _scope: Option<String>,
    selection_criteria: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DescribeAccountPolicies {
    policy_type: String,
    policy_name: Option<String>,
    account_identifiers: Option<Vec<String>>,
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeleteAccountPolicy {
    policy_name: String,
    policy_type: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Put {
    account_policy: Shown,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Described {
    account_policies: Vec<Shown>,
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    policy_name: String,
    policy_document: String,
    last_updated_time: i64,
    policy_type: String,
    scope: &'static str,
    selection_criteria: Option<String>,
    account_id: String,
}

pub fn operations(service: Service) -> Service {
    service
        .operation("DeleteAccountPolicy", delete)
        .operation("DescribeAccountPolicies", describe)
        .operation("PutAccountPolicy", put)
}

fn key(kind: &str, name: &str) -> String {
    format!("{kind}/{name}")
}

pub async fn put(ctx: Ctx, input: PutAccountPolicy) -> Result<Put, AwsError> {
    let PutAccountPolicy { policy_name: name, policy_document: document, policy_type: kind, .. } = input;
    row::check_policy(&document, DOCUMENT_CHARS_MAX)?;
    let most = POLICIES_MAX.iter().find(|(other, _)| *other == kind).map_or(1, |(_, most)| *most);
    let (prefix, place) = (key(&kind, ""), key(&kind, &name));
    let (updated, selection) = (ctx.cx.now().trunc_millis(), input.selection_criteria);
    let policy = Policy { name, kind, document, selection, updated };
    let policy = row::put_among(&ctx, &POLICIES, (&prefix, most), (&place, policy)).await?;
    Ok(Put { account_policy: show(&ctx, policy) })
}

pub async fn delete(ctx: Ctx, input: DeleteAccountPolicy) -> Result<(), AwsError> {
    let key = key(&input.policy_type, &input.policy_name);
    row::delete(&ctx, &POLICIES, &key, || errors::no_policy(&input.policy_name)).await
}

pub async fn describe(ctx: Ctx, input: DescribeAccountPolicies) -> Result<Described, AwsError> {
    let (prefix, account) = (key(&input.policy_type, ""), ctx.cx.account.as_str());
    let operation = "logs:DescribeAccountPolicies";
    let asked = Asked { operation, prefix: &prefix, token: input.next_token.as_deref(), limit: PAGE_MAX };
    let is_here = input.account_identifiers.is_none_or(|accounts| accounts.iter().any(|other| other == account));
    let is_wanted =
        |row: &Row<String, Policy>| is_here && input.policy_name.as_ref().is_none_or(|name| *name == row.value.name);
    let (rows, next_token) = row::page(&ctx, &POLICIES, asked, is_wanted).await?;
    Ok(Described { account_policies: rows.into_iter().map(|row| show(&ctx, row.value)).collect(), next_token })
}

fn show(ctx: &Ctx, policy: Policy) -> Shown {
    Shown {
        policy_name: policy.name,
        policy_document: policy.document,
        last_updated_time: policy.updated.as_millis(),
        policy_type: policy.kind,
        scope: "ALL",
        selection_criteria: policy.selection,
        account_id: ctx.cx.account.as_str().to_owned(),
    }
}

//! Dashboards: documents that consoles draw. An account has them once, in no region.

mod body;

use base::{AwsError, Timestamp};
use serde::{Deserialize, Serialize};
use store::{Batch, Record, Scan, Scope, Table};

use super::alarm::Tags;
use super::tag::{self, Tag};
use crate::{Ctx, Service};
use body::Fault;

const NAME_CHARS_MAX: usize = 255;
const PAGE_MAX: usize = 1_000;
/// Dashboards that go in one request.
const DELETED_MAX: usize = 100;
/// Rows read in one step: they may be long.
const STEP: usize = 100;
const STEPS_MAX: usize = 20;
const OPERATION: &str = "cloudwatch:ListDashboards";

pub static DASHBOARDS: Table<String, Dashboard> = Table::large("cloudwatch_dashboards");

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Dashboard {
    /// JSON, as it was put.
    pub body: String,
    pub modified: Timestamp,
    pub tags: Tags,
}

impl Record for Dashboard {
    const VERSION: u8 = 1;
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct PutDashboard {
    dashboard_name: String,
    dashboard_body: String,
    tags: Option<Vec<Tag>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Put {
    dashboard_validation_messages: Vec<Fault>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct GetDashboard {
    dashboard_name: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Got {
    dashboard_arn: String,
    dashboard_body: String,
    dashboard_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ListDashboards {
    dashboard_name_prefix: Option<String>,
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Listed {
    dashboard_entries: Vec<Entry>,
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    dashboard_name: String,
    dashboard_arn: String,
    last_modified: Timestamp,
    size: usize,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct DeleteDashboards {
    dashboard_names: Vec<String>,
}

#[derive(Serialize)]
pub struct Deleted {}

pub fn operations(service: Service) -> Service {
    service
        .operation("DeleteDashboards", delete)
        .operation("GetDashboard", get)
        .operation("ListDashboards", list)
        .operation("PutDashboard", put)
}

pub async fn put(ctx: Ctx, input: PutDashboard) -> Result<Put, AwsError> {
    let name = &input.dashboard_name;
    check_name(name)?;
    let faults = body::faults(&input.dashboard_body).map_err(|complaint| invalid_input(complaint.to_owned()))?;
    if !faults.is_empty() {
        return Err(invalid_input(body::refusal(&faults)));
    }
    let tags = tag::map(input.tags.as_deref().unwrap_or_default())?;
    let scope = Scope::global(&ctx.cx);
    let mut edit = ctx.edit(&DASHBOARDS, &scope, name).await;
    loop {
        let (found, batch) = edit.read().await?;
        let dashboard = Dashboard {
            body: input.dashboard_body.clone(),
            modified: ctx.cx.now().trunc_millis(),
            tags: found.map_or_else(|| tags.clone(), |found| found.tags),
        };
        if edit.commit(batch.put(&DASHBOARDS, &scope, name, &dashboard)).await? {
            return Ok(Put { dashboard_validation_messages: Vec::new() });
        }
    }
}

pub async fn get(ctx: Ctx, input: GetDashboard) -> Result<Got, AwsError> {
    let name = input.dashboard_name;
    check_name(&name)?;
    let found = DASHBOARDS.get(&ctx.cloud.store, &Scope::global(&ctx.cx), &name).await?;
    let dashboard = found.ok_or_else(|| not_found(format!("Dashboard {name} does not exist")))?;
    Ok(Got { dashboard_arn: arn(&ctx, &name), dashboard_body: dashboard.value.body, dashboard_name: name })
}

pub async fn list(ctx: Ctx, input: ListDashboards) -> Result<Listed, AwsError> {
    let prefix = input.dashboard_name_prefix.unwrap_or_default();
    let scan = Scan::all(STEP).starting_with(&prefix);
    let mut scan = ctx
        .resume(OPERATION, scan, input.next_token.as_deref())
        .ok_or_else(|| invalid_value("The value for field NextToken is invalid.".to_owned()))?;
    let mut entries: Vec<Entry> = Vec::new();
    for _ in 0..STEPS_MAX {
        let page = DASHBOARDS.page(&ctx.cloud.store, &Scope::global(&ctx.cx), scan.clone()).await?;
        entries.extend(page.rows.into_iter().map(|row| Entry {
            dashboard_arn: arn(&ctx, &row.key),
            dashboard_name: row.key,
            last_modified: row.value.modified,
            size: row.value.body.len(),
        }));
        match page.next {
            Some(next) if entries.len() < PAGE_MAX => scan = scan.after(&next),
            next => return Ok(Listed { dashboard_entries: entries, next_token: ctx.marker(OPERATION, next.as_ref()) }),
        }
    }
    let last = entries.last().map(|entry| entry.dashboard_name.clone());
    Ok(Listed { dashboard_entries: entries, next_token: ctx.marker(OPERATION, last.as_ref()) })
}

/// As many as are there go, also where others are not.
pub async fn delete(ctx: Ctx, input: DeleteDashboards) -> Result<Deleted, AwsError> {
    let names = input.dashboard_names;
    if names.len() > DELETED_MAX {
        return Err(invalid_value(format!("The field DashboardNames must not have more than {DELETED_MAX} values.")));
    }
    names.iter().try_for_each(|name| check_name(name))?;
    let (store, scope) = (&ctx.cloud.store, Scope::global(&ctx.cx));
    let keys: Vec<&str> = names.iter().map(String::as_str).collect();
    let found = DASHBOARDS.get_many(store, &scope, &keys).await?;
    let batch = keys.iter().fold(Batch::new(), |batch, name| batch.delete(&DASHBOARDS, &scope, name));
    store.commit(batch).await?;
    let missing: Vec<&str> =
        keys.into_iter().zip(found).filter(|(_, found)| found.is_none()).map(|(name, _)| name).collect();
    match missing.is_empty() {
        true => Ok(Deleted {}),
        false => Err(not_found(format!("The specified dashboard does not exist. [{}]", missing.join(", ")))),
    }
}

/// `arn:aws:cloudwatch::ACCOUNT:dashboard/NAME`
fn arn(ctx: &Ctx, name: &str) -> String {
    format!("arn:{}:cloudwatch::{}:dashboard/{name}", ctx.cx.region.partition(), ctx.cx.account)
}

fn check_name(name: &str) -> Result<(), AwsError> {
    let is_named = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || !name.chars().all(is_named) {
        // With the line's end that AWS's has.
        return Err(invalid_value(
            "The value for field DashboardName contains invalid characters. It can only contain alphanumerics, dash \
             (-) and underscore (_).\n"
                .to_owned(),
        ));
    }
    if name.len() > NAME_CHARS_MAX {
        return Err(invalid_value(format!(
            "The value for field DashboardName must not be longer than {NAME_CHARS_MAX} characters.\n"
        )));
    }
    Ok(())
}

fn invalid_value(message: String) -> AwsError {
    AwsError::client(400, "InvalidParameterValueException", message)
}

fn invalid_input(message: String) -> AwsError {
    AwsError::client(400, "DashboardInvalidInputError", message)
}

fn not_found(message: String) -> AwsError {
    AwsError::client(404, "DashboardNotFoundError", message)
}

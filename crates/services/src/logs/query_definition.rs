//! Query definitions: queries of Logs Insights that somebody keeps by a name.

use base::{AwsError, Timestamp, Uuid};
use serde::{Deserialize, Serialize};
use store::{Record, Row, Scan, Scope, Table};

use super::errors;
use crate::{Ctx, Service};

/// AWS's quota of an account and region. A page of rows holds them all.
const DEFINITIONS_MAX: usize = 1_000;
const LANGUAGE: &str = "CWLI";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Definition {
    name: String,
    language: String,
    text: String,
    groups: Vec<String>,
    parameters: Vec<Parameter>,
    modified: Timestamp,
    /// Of the request that made it: the same one again makes no other.
    token: Option<String>,
}

impl Record for Definition {
    const VERSION: u8 = 1;
}

const DEFINITIONS: Table<Uuid, Definition> = Table::new("log_query_definitions");

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Parameter {
    name: String,
    default_value: Option<String>,
    description: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PutQueryDefinition {
    query_language: Option<String>,
    name: String,
    query_definition_id: Option<String>,
    log_group_names: Option<Vec<String>>,
    query_string: String,
    client_token: Option<String>,
    parameters: Option<Vec<Parameter>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Put {
    query_definition_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DescribeQueryDefinitions {
    query_language: Option<String>,
    query_definition_name_prefix: Option<String>,
    max_results: Option<usize>,
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Described {
    query_definitions: Vec<Shown>,
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    query_language: String,
    query_definition_id: String,
    name: String,
    query_string: String,
    last_modified: i64,
    log_group_names: Vec<String>,
    parameters: Option<Vec<Parameter>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeleteQueryDefinition {
    query_definition_id: String,
}

#[derive(Serialize)]
pub struct Deleted {
    success: bool,
}

pub fn operations(service: Service) -> Service {
    service
        .operation("DeleteQueryDefinition", delete)
        .operation("DescribeQueryDefinitions", describe)
        .operation("PutQueryDefinition", put)
}

pub async fn put(ctx: Ctx, input: PutQueryDefinition) -> Result<Put, AwsError> {
    let scope = ctx.scope();
    let asked = match &input.query_definition_id {
        Some(id) => Some(id.parse::<Uuid>().map_err(|_| errors::no_query_definition())?),
        None => None,
    };
    let all = all(&ctx, &scope).await?;
    let same = all.iter().find(|row| row.value.token.is_some() && row.value.token == input.client_token);
    if let Some(same) = same.filter(|_| asked.is_none()) {
        return Ok(Put { query_definition_id: same.key.to_string() });
    }
    if asked.is_none() && all.len() >= DEFINITIONS_MAX {
        return Err(errors::limit_exceeded());
    }
    let id = asked.unwrap_or_else(|| ctx.cx.id());
    let value = Definition {
        name: input.name,
        language: input.query_language.unwrap_or_else(|| LANGUAGE.to_owned()),
        text: input.query_string,
        groups: input.log_group_names.unwrap_or_default(),
        parameters: input.parameters.unwrap_or_default(),
        modified: ctx.cx.now().trunc_millis(),
        token: input.client_token,
    };
    let mut edit = ctx.edit(&DEFINITIONS, &scope, id).await;
    loop {
        let (found, batch) = edit.read().await?;
        if asked.is_some() && found.is_none() {
            return Err(errors::no_query_definition());
        }
        if edit.commit(batch.put(&DEFINITIONS, &scope, id, &value)).await? {
            return Ok(Put { query_definition_id: id.to_string() });
        }
    }
}

pub async fn delete(ctx: Ctx, input: DeleteQueryDefinition) -> Result<Deleted, AwsError> {
    let scope = ctx.scope();
    let id: Uuid = input.query_definition_id.parse().map_err(|_| errors::no_query_definition())?;
    let mut edit = ctx.edit(&DEFINITIONS, &scope, id).await;
    loop {
        let (found, batch) = edit.read().await?;
        found.ok_or_else(errors::no_query_definition)?;
        if edit.commit(batch.delete(&DEFINITIONS, &scope, id)).await? {
            return Ok(Deleted { success: true });
        }
    }
}

async fn all(ctx: &Ctx, scope: &Scope) -> Result<Vec<Row<Uuid, Definition>>, AwsError> {
    let (mut all, mut scan) = (Vec::new(), Scan::all(store::limits::RANGE_ROWS_MAX));
    // A page may end early when it is large.
    loop {
        let page = DEFINITIONS.page(&ctx.cloud.store, scope, scan.clone()).await?;
        all.extend(page.rows);
        match page.next {
            Some(next) => scan = scan.after(next),
            None => return Ok(all),
        }
    }
}

pub async fn describe(ctx: Ctx, input: DescribeQueryDefinitions) -> Result<Described, AwsError> {
    const OPERATION: &str = "logs:DescribeQueryDefinitions";
    let after = match &input.next_token {
        None => None,
        Some(token) => Some(ctx.position::<(String, Uuid)>(OPERATION, token).ok_or_else(errors::invalid_token)?),
    };
    let mut found = all(&ctx, &ctx.scope()).await?;
    found.retain(|row| {
        after.as_ref().is_none_or(|after| (&row.value.name, row.key) > (&after.0, after.1))
            && input.query_language.as_ref().is_none_or(|language| row.value.language == *language)
            && input.query_definition_name_prefix.as_ref().is_none_or(|prefix| row.value.name.starts_with(prefix))
    });
    found.sort_by(|one, other| (&one.value.name, one.key).cmp(&(&other.value.name, other.key)));
    let limit = input.max_results.unwrap_or(DEFINITIONS_MAX);
    let is_cut = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| is_cut).map(|row| (row.value.name.clone(), row.key));
    let show = |row: Row<Uuid, Definition>| Shown {
        query_language: row.value.language,
        query_definition_id: row.key.to_string(),
        name: row.value.name,
        query_string: row.value.text,
        last_modified: row.value.modified.as_millis(),
        log_group_names: row.value.groups,
        parameters: Some(row.value.parameters).filter(|parameters| !parameters.is_empty()),
    };
    let next_token = ctx.marker(OPERATION, next.as_ref());
    Ok(Described { query_definitions: found.into_iter().map(show).collect(), next_token })
}

//! Queries of Logs Insights: starting one, reading what it found, stopping it, and which there are.
//!
//! A query runs beside the requests ([`work`]) and leaves what it found in memory ([`held`]), so a restart of the server
//! forgets it. Not there yet: the languages SQL and PPL.

mod held;
mod work;

use std::sync::Arc;

use base::{AwsError, Timestamp, Uuid};
use chronicle::Group;
use engine::insights::{self, LIMIT_MAX, Limits, Malformed, Window};
use serde::{Deserialize, Serialize};

use super::{errors, name};
use crate::{Ctx, Service};

pub use held::Queries;
use held::{One, Status};
use work::Work;
pub use work::place;

/// Rows that a query finds if it does not say how many, and that a page of them has.
const ROWS_DEFAULT: usize = 10_000;
const GROUPS_MAX: usize = 50;
const LISTED_MAX: usize = 1_000;
const LANGUAGE: &str = "CWLI";
/// What rows or groups of a query under way may hold.
const RUN_BYTES_MAX: usize = 32 << 20;
const RUN_GROUPS_MAX: usize = 100_000;
/// Greater times are milliseconds, not seconds: AWS takes both.
const SECONDS_MAX: i64 = 100_000_000_000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StartQuery {
    query_language: Option<String>,
    log_group_name: Option<String>,
    log_group_names: Option<Vec<String>>,
    log_group_identifiers: Option<Vec<String>>,
    start_time: i64,
    end_time: i64,
    query_string: String,
    limit: Option<usize>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Started {
    query_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GetQueryResults {
    query_id: String,
    next_token: Option<String>,
    max_items: Option<usize>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Results {
    query_language: &'static str,
    results: Vec<Vec<Cell>>,
    statistics: Statistics,
    status: Status,
    next_token: Option<String>,
}

#[derive(Serialize)]
struct Cell {
    field: String,
    value: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Statistics {
    records_matched: f64,
    records_scanned: f64,
    estimated_records_skipped: f64,
    bytes_scanned: f64,
    estimated_bytes_skipped: f64,
    log_groups_scanned: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StopQuery {
    query_id: String,
}

#[derive(Serialize)]
pub struct Stopped {
    success: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DescribeQueries {
    log_group_name: Option<String>,
    status: Option<String>,
    max_results: Option<usize>,
    next_token: Option<String>,
    query_language: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Described {
    queries: Vec<Shown>,
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    query_language: &'static str,
    query_id: String,
    query_string: String,
    status: Status,
    create_time: i64,
    log_group_name: Option<String>,
}

pub fn operations(service: Service) -> Service {
    service
        .operation("DescribeQueries", describe)
        .operation("GetQueryResults", results)
        .operation("StartQuery", start)
        .operation("StopQuery", stop)
}

pub async fn start(ctx: Ctx, input: StartQuery) -> Result<Started, AwsError> {
    check_language(input.query_language.as_deref())?;
    let (from, to) = between(input.start_time, input.end_time)?;
    let groups = groups(&ctx, &input).await?;
    let text = input.query_string;
    let query = insights::Query::parse(&text).map_err(|malformed| malformed_query(&malformed))?;
    let now = ctx.cx.now();
    let is_late =
        |(_, group): &(String, Arc<Group>)| to < group.created || group.kept_since(now).is_some_and(|since| to < since);
    if groups.iter().all(is_late) {
        return Err(malformed_query(&out_of_range(&text)));
    }
    let names: Vec<String> = groups.iter().map(|(name, _)| name.clone()).collect();
    let one = Arc::new(One::new(ctx.cx.id(), ctx.scope(), now.trunc_millis(), shown(&text, &names, from, to), names));
    ctx.cloud.memory.queries.begin(&one)?;
    let window = Window { now_ms: now.as_millis(), start_ms: from.as_millis(), end_ms: to.as_millis() };
    let rows_max = input.limit.unwrap_or(ROWS_DEFAULT).min(LIMIT_MAX);
    let limits = Limits { rows_max, groups_max: RUN_GROUPS_MAX, bytes_max: RUN_BYTES_MAX };
    let query_id = one.id.to_string();
    let (query, spawn) = (Arc::new(query), ctx.cloud.spawn.clone());
    let work = Work { ctx, one, query, window, limits, groups, from, to };
    spawn.spawn("logs query", Box::pin(work.run()));
    Ok(Started { query_id })
}

fn check_language(language: Option<&str>) -> Result<(), AwsError> {
    match language {
        None | Some(LANGUAGE) => Ok(()),
        Some(other) => Err(AwsError::not_built(format!("queries of logs in {other}"))),
    }
}

/// The first and the last moment that are asked for.
fn between(start: i64, end: i64) -> Result<(Timestamp, Timestamp), AwsError> {
    let millis = |time: i64, more: i64| match time > SECONDS_MAX {
        true => Timestamp::from_millis(time),
        false => Timestamp::from_millis(time.saturating_mul(1_000).saturating_add(more)),
    };
    let (from, to) = (millis(start, 0), millis(end, 999));
    if from > to { Err(errors::query_ends_before_it_starts()) } else { Ok((from, to)) }
}

/// The groups that are asked for, which must be there.
async fn groups(ctx: &Ctx, input: &StartQuery) -> Result<Vec<(String, Arc<Group>)>, AwsError> {
    let asked = match (&input.log_group_name, &input.log_group_names, &input.log_group_identifiers) {
        (Some(one), None, None) => std::slice::from_ref(one),
        (None, Some(many), None) | (None, None, Some(many)) => many.as_slice(),
        _ => return Err(errors::query_names_no_groups()),
    };
    if asked.is_empty() || asked.len() > GROUPS_MAX {
        return Err(errors::query_group_count(GROUPS_MAX));
    }
    let mut groups: Vec<(String, Arc<Group>)> = Vec::new();
    for identifier in asked {
        let missing = |_| errors::no_group_of_query(&ctx.cx, identifier);
        let found = name::find(ctx, None, Some(identifier.clone())).await.map_err(missing)?;
        // What is named twice is read once.
        if groups.iter().all(|(other, _)| *other != found.name) {
            groups.push((found.name, found.group));
        }
    }
    Ok(groups)
}

/// The query as lists of queries show it.
fn shown(text: &str, groups: &[String], from: Timestamp, to: Timestamp) -> String {
    let sources: Vec<String> = groups.iter().map(|group| format!("\"{group}\"")).collect();
    format!("SOURCE {} START={} END={} | {text}", sources.join(" "), from.as_millis(), to.as_millis())
}

fn out_of_range(text: &str) -> Malformed {
    let end = text.chars().count().saturating_sub(1);
    let message = format!(
        "Query's end date and time is either before the log groups creation time or exceeds the log groups log retention \
         settings ([0,{end}])"
    );
    Malformed { message, start: 0, end }
}

fn malformed_query(malformed: &Malformed) -> AwsError {
    let Malformed { message, start, end } = malformed;
    let location = serde_json::json!({ "startCharOffset": start, "endCharOffset": end });
    let error = serde_json::json!({ "location": location, "message": message });
    AwsError::client(400, "MalformedQueryException", message).with_member("queryCompileError", error.to_string())
}

/// The query of the caller's that has this id.
fn find(ctx: &Ctx, id: &str) -> Result<Arc<One>, AwsError> {
    let found = id.parse().ok().and_then(|id: Uuid| ctx.cloud.memory.queries.find(&ctx.scope(), id));
    found.ok_or_else(errors::no_query)
}

pub async fn results(ctx: Ctx, input: GetQueryResults) -> Result<Results, AwsError> {
    const OPERATION: &str = "logs:GetQueryResults";
    let one = find(&ctx, &input.query_id)?;
    let from = match &input.next_token {
        None => 0,
        Some(token) => {
            let at = ctx.position::<(Uuid, u64)>(OPERATION, token).filter(|(id, _)| *id == one.id);
            at.and_then(|(_, at)| usize::try_from(at).ok()).ok_or_else(errors::invalid_token)?
        }
    };
    let limit = input.max_items.filter(|items| *items > 0).unwrap_or(ROWS_DEFAULT);
    let state = one.state();
    let to = from.saturating_add(limit).min(state.rows.len());
    let cells = |row: &Vec<(String, String)>| {
        row.iter().map(|(field, value)| Cell { field: field.clone(), value: value.clone() }).collect()
    };
    let next = (to < state.rows.len()).then_some((one.id, to as u64));
    let found = state.progress;
    Ok(Results {
        query_language: LANGUAGE,
        results: state.rows.get(from..to).unwrap_or_default().iter().map(cells).collect(),
        statistics: Statistics {
            records_matched: found.matched as f64,
            records_scanned: found.swept.events as f64,
            estimated_records_skipped: 0.0,
            bytes_scanned: found.swept.bytes as f64,
            estimated_bytes_skipped: 0.0,
            log_groups_scanned: found.groups as f64,
        },
        status: state.status,
        next_token: ctx.marker(OPERATION, next.as_ref()),
    })
}

pub async fn stop(ctx: Ctx, input: StopQuery) -> Result<Stopped, AwsError> {
    match find(&ctx, &input.query_id)?.stop() {
        true => Ok(Stopped { success: true }),
        false => Err(errors::query_is_over()),
    }
}

pub async fn describe(ctx: Ctx, input: DescribeQueries) -> Result<Described, AwsError> {
    const OPERATION: &str = "logs:DescribeQueries";
    if let Some(group) = &input.log_group_name {
        name::find(&ctx, Some(group.clone()), None).await?;
    }
    let before = match &input.next_token {
        None => None,
        Some(token) => Some(ctx.position::<(Timestamp, Uuid)>(OPERATION, token).ok_or_else(errors::invalid_token)?),
    };
    let show = |one: &Arc<One>| Shown {
        query_language: LANGUAGE,
        query_id: one.id.to_string(),
        query_string: one.shown.clone(),
        status: one.state().status,
        create_time: one.created.as_millis(),
        log_group_name: one.groups.first().filter(|_| one.groups.len() == 1).cloned(),
    };
    let mut all = ctx.cloud.memory.queries.of(&ctx.scope());
    all.sort_by_key(|one| std::cmp::Reverse((one.created, one.id)));
    all.retain(|one| {
        before.is_none_or(|before| (one.created, one.id) < before)
            && input.query_language.as_ref().is_none_or(|language| language == LANGUAGE)
            && input.log_group_name.as_ref().is_none_or(|group| one.groups.contains(group))
            && input.status.as_ref().is_none_or(|status| one.state().status.name() == status)
    });
    let limit = input.max_results.unwrap_or(LISTED_MAX);
    let is_cut = all.len() > limit;
    all.truncate(limit);
    let next = all.last().filter(|_| is_cut).map(|one| (one.created, one.id));
    Ok(Described { queries: all.iter().map(show).collect(), next_token: ctx.marker(OPERATION, next.as_ref()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_or_milliseconds() {
        let millis = |start, end| between(start, end).map(|(from, to)| (from.as_millis(), to.as_millis()));
        assert_eq!(millis(1_700_000_000, 1_700_000_001), Ok((1_700_000_000_000, 1_700_000_001_999)));
        assert_eq!(millis(1_700_000_000_123, 1_700_000_001_456), Ok((1_700_000_000_123, 1_700_000_001_456)));
        assert!(millis(2, 1).is_err());
        assert!(millis(i64::MAX, i64::MAX).is_ok());
    }

    #[test]
    fn what_is_malformed_says_where() {
        let malformed = insights::Query::parse("fields @message | bad").unwrap_err();
        let error = malformed_query(&malformed);
        let (name, member) = error.members.first().unwrap();
        let member: serde_json::Value = serde_json::from_str(member).unwrap();
        assert_eq!((*name, member["location"]["startCharOffset"].as_i64()), ("queryCompileError", Some(18)));
        assert_eq!(member["message"], error.message);
        assert_eq!(out_of_range("abc").message.split(' ').next_back(), Some("([0,2])"));
    }
}

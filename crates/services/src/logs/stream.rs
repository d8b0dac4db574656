//! Log streams: the events of one source each, within a group.

use base::{AwsError, Timestamp, Uuid};
use chronicle::{STREAMS, Stream, StreamSpan};
use serde::{Deserialize, Serialize};
use store::{Row, Scan};

use super::{errors, id, name};
use crate::{Ctx, Service};

const NAME_BYTES_MAX: usize = 512;
const PAGE_MAX: usize = 50;
const STEP: usize = 1_000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NamedStream {
    log_group_name: String,
    log_stream_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DescribeLogStreams {
    log_group_name: Option<String>,
    log_group_identifier: Option<String>,
    log_stream_name_prefix: Option<String>,
    order_by: Option<String>,
    descending: Option<bool>,
    next_token: Option<String>,
    limit: Option<usize>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Described {
    log_streams: Vec<Shown>,
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    log_stream_name: String,
    creation_time: i64,
    first_event_timestamp: Option<i64>,
    last_event_timestamp: Option<i64>,
    last_ingestion_time: Option<i64>,
    upload_sequence_token: Option<String>,
    arn: String,
    stored_bytes: u64,
}

pub fn operations(service: Service) -> Service {
    service
        .operation("CreateLogStream", create)
        .operation("DeleteLogStream", delete)
        .operation("DescribeLogStreams", describe)
}

pub async fn create(ctx: Ctx, input: NamedStream) -> Result<(), AwsError> {
    if input.log_group_name.len() > NAME_BYTES_MAX || input.log_stream_name.len() > NAME_BYTES_MAX {
        return Err(errors::name_too_long());
    }
    let found = name::find(&ctx, Some(input.log_group_name), None).await?;
    let (scope, chronicle) = (ctx.scope(), &ctx.cloud.chronicle);
    if chronicle.create_stream(&scope, (&found.name, &found.group), &input.log_stream_name).await? {
        return Ok(());
    }
    // Either the stream is there, or the group is not any more.
    name::find(&ctx, Some(found.name), None).await?;
    Err(errors::stream_exists())
}

pub async fn delete(ctx: Ctx, input: NamedStream) -> Result<(), AwsError> {
    let found = name::find(&ctx, Some(input.log_group_name), None).await?;
    if found.group.is_protected {
        return Err(errors::protected());
    }
    let (scope, key) = (ctx.scope(), (found.group.id, input.log_stream_name.as_str()));
    loop {
        let row = STREAMS.get(&ctx.cloud.store, &scope, key).await?.ok_or_else(errors::no_stream)?;
        if ctx.cloud.chronicle.delete_stream(&scope, found.group.id, &row).await? {
            return Ok(());
        }
    }
}

pub async fn describe(ctx: Ctx, input: DescribeLogStreams) -> Result<Described, AwsError> {
    let found = name::find(&ctx, input.log_group_name.clone(), input.log_group_identifier.clone()).await?;
    if input.order_by.as_deref() != Some("LastEventTime") {
        return by_name(&ctx, &found, input).await;
    }
    if input.log_stream_name_prefix.is_some() {
        return Err(errors::invalid_parameter("Cannot order by LastEventTime with a logStreamNamePrefix."));
    }
    by_last_event(&ctx, &found, input).await
}

async fn by_name(ctx: &Ctx, found: &name::Found, input: DescribeLogStreams) -> Result<Described, AwsError> {
    const OPERATION: &str = "logs:DescribeLogStreams";
    let scan = Scan::all(input.limit.unwrap_or(PAGE_MAX)).under::<Uuid>(found.group.id);
    let scan = scan.starting_with(&input.log_stream_name_prefix.unwrap_or_default());
    let scan = if input.descending.unwrap_or_default() { scan.reversed() } else { scan };
    let scan = ctx.resume(OPERATION, scan, input.next_token.as_deref()).ok_or_else(errors::invalid_token)?;
    let page = STREAMS.page(&ctx.cloud.store, &ctx.scope(), scan).await?;
    let spans = spans(ctx, found, &page.rows).await?;
    let log_streams = page.rows.into_iter().zip(spans).map(|(row, span)| show(ctx, found, row, span)).collect();
    Ok(Described { log_streams, next_token: ctx.marker(OPERATION, page.next.as_ref()) })
}

/// When a stream's last event was, and its name.
type Key = (Timestamp, String);

/// All streams are looked at: their order changes with each event.
async fn by_last_event(ctx: &Ctx, found: &name::Found, input: DescribeLogStreams) -> Result<Described, AwsError> {
    const OPERATION: &str = "logs:DescribeLogStreams by LastEventTime";
    let after = match &input.next_token {
        None => None,
        Some(token) => Some(ctx.position::<Key>(OPERATION, token).ok_or_else(errors::invalid_token)?),
    };
    let is_descending = input.descending.unwrap_or_default();
    let mut all: Vec<(Key, Row<_, Stream>, Option<StreamSpan>)> = Vec::new();
    let mut scan = Scan::all(STEP).under::<Uuid>(found.group.id);
    loop {
        let page = STREAMS.page(&ctx.cloud.store, &ctx.scope(), scan.clone()).await?;
        let spans = spans(ctx, found, &page.rows).await?;
        for (row, span) in page.rows.into_iter().zip(spans) {
            let key = (span.map(|span| span.last).unwrap_or_default(), row.key.1.clone());
            let is_behind = |after: &Key| if is_descending { key < *after } else { key > *after };
            if after.as_ref().is_none_or(is_behind) {
                all.push((key, row, span));
            }
        }
        match page.next {
            None => break,
            Some((id, name)) => scan = scan.after((id, &name)),
        }
    }
    all.sort_by(|(one, _, _), (other, _, _)| if is_descending { other.cmp(one) } else { one.cmp(other) });
    let limit = input.limit.unwrap_or(PAGE_MAX);
    let next = if all.len() > limit { all.get(limit.saturating_sub(1)).map(|(key, _, _)| key.clone()) } else { None };
    all.truncate(limit);
    let log_streams = all.into_iter().map(|(_, row, span)| show(ctx, found, row, span)).collect();
    Ok(Described { log_streams, next_token: ctx.marker(OPERATION, next.as_ref()) })
}

async fn spans(
    ctx: &Ctx,
    found: &name::Found,
    rows: &[Row<(Uuid, String), Stream>],
) -> Result<Vec<Option<StreamSpan>>, AwsError> {
    let numbers: Vec<u64> = rows.iter().map(|row| row.value.number).collect();
    Ok(ctx.cloud.chronicle.spans(&ctx.scope(), found.group.id, &numbers).await?)
}

fn show(ctx: &Ctx, found: &name::Found, row: Row<(Uuid, String), Stream>, span: Option<StreamSpan>) -> Shown {
    let name = row.key.1;
    let token = |span: StreamSpan| {
        let at = chronicle::Position { time: span.last, number: row.value.number };
        id::encode(at, span.ingested)
    };
    Shown {
        creation_time: row.value.created.as_millis(),
        first_event_timestamp: span.map(|span| span.first.as_millis()),
        last_event_timestamp: span.map(|span| span.last.as_millis()),
        last_ingestion_time: span.map(|span| span.ingested.as_millis()),
        upload_sequence_token: span.map(token),
        arn: name::stream_arn(ctx, &found.name, &name),
        stored_bytes: 0,
        log_stream_name: name,
    }
}

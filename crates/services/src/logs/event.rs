//! Log events: putting them into a stream, reading a stream, searching a group.

use std::collections::{BTreeSet, HashSet};

use std::time::Duration;

use base::{AwsError, Timestamp, Uuid};
use chronicle::{Event, Group, Line, Position, STREAMS, Want};
use serde::{Deserialize, Serialize};
use store::Scan;

use super::id::{self, Way};
use super::{errors, filter, group, name};
use crate::{Ctx, Service};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How old an event may be that is put, and how far ahead.
const AGE_MAX: Duration = Duration::from_secs(14 * 24 * 60 * 60);
const AHEAD_MAX: Duration = Duration::from_secs(2 * 60 * 60);
/// What the events of one request, or of one answer, count.
const BYTES_MAX: usize = 1_048_576;
const EVENT_OVERHEAD_BYTES: usize = chronicle::limits::EVENT_OVERHEAD_BYTES;
const EVENTS_MAX: usize = 10_000;
/// Streams that a prefix may stand for in one search.
const STREAMS_MAX: usize = 10_000;
/// The first moment from which AWS searches backwards: the beginning of 2024.
const BACKWARDS_SINCE: Timestamp = Timestamp::from_secs(1_704_067_200);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PutLogEvents {
    log_group_name: String,
    log_stream_name: String,
    log_events: Vec<InputEvent>,
    #[serde(rename = "sequenceToken")]
    _sequence_token: Option<String>,
    #[serde(rename = "entity")]
    _entity: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct InputEvent {
    timestamp: i64,
    message: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Put {
    next_sequence_token: String,
    rejected_log_events_info: Option<Rejected>,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Rejected {
    too_new_log_event_start_index: Option<usize>,
    too_old_log_event_end_index: Option<usize>,
    expired_log_event_end_index: Option<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GetLogEvents {
    log_group_name: Option<String>,
    log_group_identifier: Option<String>,
    log_stream_name: String,
    start_time: Option<i64>,
    end_time: Option<i64>,
    next_token: Option<String>,
    limit: Option<usize>,
    start_from_head: Option<bool>,
    #[serde(rename = "unmask")]
    _unmask: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Got {
    events: Vec<OutputEvent>,
    next_forward_token: String,
    next_backward_token: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OutputEvent {
    timestamp: i64,
    message: String,
    ingestion_time: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FilterLogEvents {
    log_group_name: Option<String>,
    log_group_identifier: Option<String>,
    log_stream_names: Option<Vec<String>>,
    log_stream_name_prefix: Option<String>,
    start_time: Option<i64>,
    end_time: Option<i64>,
    filter_pattern: Option<String>,
    next_token: Option<String>,
    limit: Option<usize>,
    start_from_head: Option<bool>,
    /// Events of all streams come in order of time in any case.
    #[serde(rename = "interleaved")]
    _interleaved: Option<bool>,
    #[serde(rename = "unmask")]
    _unmask: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Filtered {
    events: Vec<FilteredEvent>,
    /// AWS says nothing here any more.
    searched_log_streams: [(); 0],
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FilteredEvent {
    log_stream_name: String,
    timestamp: i64,
    message: String,
    ingestion_time: i64,
    event_id: String,
}

pub fn operations(service: Service) -> Service {
    service.operation("FilterLogEvents", filter_events).operation("GetLogEvents", get).operation("PutLogEvents", put)
}

pub async fn put(ctx: Ctx, input: PutLogEvents) -> Result<Put, AwsError> {
    check(&input.log_events)?;
    let found = name::find(&ctx, Some(input.log_group_name), None).await?;
    let stream = name::find_stream(&ctx, &found.group, &input.log_stream_name).await?;
    let now = ctx.cx.now();
    let (taken, rejected) = sort_out(&found.group, now, input.log_events);
    if let (Some(first), Some(last)) = (taken.first(), taken.last())
        && last.time.since(first.time) > DAY
    {
        return Err(errors::invalid_parameter(
            "The batch of log events in a single PutLogEvents request cannot span more than 24 hours.",
        ));
    }
    if !taken.is_empty() {
        ctx.cloud.chronicle.put(stream.number, &taken).await?;
    }
    let next = id::encode(Position { time: now, number: stream.number }, now);
    Ok(Put { next_sequence_token: next, rejected_log_events_info: rejected })
}

/// What is wrong with the whole request.
fn check(events: &[InputEvent]) -> Result<(), AwsError> {
    let bytes = |event: &InputEvent| event.message.len().saturating_add(EVENT_OVERHEAD_BYTES);
    if let Some(large) = events.iter().map(bytes).find(|bytes| *bytes > BYTES_MAX) {
        let message = format!("Log event too large: {large} bytes exceeds limit of {BYTES_MAX}");
        return Err(errors::invalid_parameter(message));
    }
    let all: usize = events.iter().map(bytes).sum();
    if all > BYTES_MAX {
        let message = format!("Upload too large: {all} bytes exceeds limit of {BYTES_MAX}");
        return Err(errors::invalid_parameter(message));
    }
    if !events.is_sorted_by_key(|event| event.timestamp) {
        return Err(errors::invalid_parameter(
            "Log events in a single PutLogEvents request must be in chronological order.",
        ));
    }
    Ok(())
}

/// The events that are taken, and which are not, being too old or too new.
fn sort_out(group: &Group, now: Timestamp, events: Vec<InputEvent>) -> (Vec<Line>, Option<Rejected>) {
    let line = |event: InputEvent| Line { time: Timestamp::from_millis(event.timestamp), message: event.message };
    let mut lines: Vec<Line> = events.into_iter().map(line).collect();
    let old = lines.partition_point(|line| line.time < now.minus(AGE_MAX));
    let expired = lines.partition_point(|line| group::is_expired(group, now, line.time));
    let new = lines.partition_point(|line| line.time <= now.plus(AHEAD_MAX));
    let rejected = Rejected {
        too_new_log_event_start_index: (new < lines.len()).then_some(new),
        too_old_log_event_end_index: (old > 0).then_some(old),
        expired_log_event_end_index: (expired > old).then_some(expired),
    };
    lines.truncate(new);
    lines.drain(..old.max(expired).min(lines.len()));
    let is_whole = rejected == Rejected::default();
    (lines, (!is_whole).then_some(rejected))
}

pub async fn get(ctx: Ctx, input: GetLogEvents) -> Result<Got, AwsError> {
    let found = name::find(&ctx, input.log_group_name, input.log_group_identifier).await?;
    let stream = name::find_stream(&ctx, &found.group, &input.log_stream_name).await?;
    let token = match &input.next_token {
        Some(token) => Some(Way::parse(token).ok_or_else(errors::invalid_token)?),
        None => None,
    };
    let way = match token {
        Some((way, _)) => way,
        None if input.start_from_head.unwrap_or_default() => Way::Forward,
        None => Way::Backward,
    };
    // The end is the first moment that is not wanted.
    let end = input.end_time.map_or(i64::MAX, |end| end.saturating_sub(1));
    let (from, to) = between(&ctx, &found.group, input.start_time, Some(end));
    let want = Want {
        group: found.group.id,
        streams: Some(HashSet::from([stream.number])),
        from,
        to,
        after: token.and_then(|(_, id)| id::decode(id)),
        is_backwards: way == Way::Backward,
        events_max: input.limit.unwrap_or(EVENTS_MAX),
        bytes_max: BYTES_MAX,
        test: None,
    };
    let mut events = ctx.cloud.chronicle.read(&ctx.scope(), want).await?.events;
    if way == Way::Backward {
        events.reverse();
    }
    let nowhere = Timestamp::from_millis(input.start_time.unwrap_or_else(|| ctx.cx.now().as_millis()));
    let stay = match token {
        Some((_, id)) => id.to_owned(),
        None => id::encode(Position { time: nowhere, number: 0 }, nowhere),
    };
    let last = events.last().map_or_else(|| stay.clone(), id::of);
    let first = events.first().map_or(stay, id::of);
    Ok(Got {
        events: events.iter().map(show).collect(),
        next_forward_token: Way::Forward.token(&last),
        next_backward_token: Way::Backward.token(&first),
    })
}

pub async fn filter_events(ctx: Ctx, input: FilterLogEvents) -> Result<Filtered, AwsError> {
    const OPERATION: &str = "logs:FilterLogEvents";
    let is_backwards = !input.start_from_head.unwrap_or(true);
    if is_backwards && input.start_time.is_none_or(|start| start < BACKWARDS_SINCE.as_millis()) {
        return Err(errors::invalid_parameter(
            "startTime must be given, and not before 2024-01-01T00:00:00Z, when startFromHead is false.",
        ));
    }
    let found = name::find(&ctx, input.log_group_name, input.log_group_identifier).await?;
    let test = filter::parse(input.filter_pattern.as_deref().unwrap_or_default())?;
    let streams = match (&input.log_stream_names, &input.log_stream_name_prefix) {
        (Some(_), Some(_)) => return Err(errors::names_and_prefix()),
        (Some(names), None) => Some(numbers(&ctx, &found.group, names).await?),
        (None, Some(prefix)) => Some(numbers_under(&ctx, &found.group, prefix).await?),
        (None, None) => None,
    };
    let after = match &input.next_token {
        None => None,
        Some(token) => {
            let at = ctx.position::<(Timestamp, u64)>(OPERATION, token).ok_or_else(errors::invalid_token)?;
            Some(Position { time: at.0, number: at.1 })
        }
    };
    let (from, to) = between(&ctx, &found.group, input.start_time, input.end_time);
    let (events_max, bytes_max) = (input.limit.unwrap_or(EVENTS_MAX), BYTES_MAX);
    let want = Want { group: found.group.id, streams, from, to, after, is_backwards, events_max, bytes_max, test };
    let answer = ctx.cloud.chronicle.read(&ctx.scope(), want).await?;
    let named: BTreeSet<u64> = answer.events.iter().map(|event| event.stream).collect();
    let names = ctx.cloud.chronicle.names(&named).await?;
    let show = |event: &Event| {
        let OutputEvent { timestamp, message, ingestion_time } = show(event);
        let log_stream_name = names.get(&event.stream)?.clone();
        Some(FilteredEvent { log_stream_name, timestamp, message, ingestion_time, event_id: id::of(event) })
    };
    let next = answer.next.map(|next| (next.time, next.number));
    Ok(Filtered {
        events: answer.events.iter().filter_map(show).collect(),
        searched_log_streams: [],
        next_token: ctx.marker(OPERATION, next.as_ref()),
    })
}

/// The first and the last moment that are wanted, of which those that are too old for the group are not shown.
fn between(ctx: &Ctx, group: &Group, start: Option<i64>, end: Option<i64>) -> (Timestamp, Timestamp) {
    let from = Timestamp::from_millis(start.unwrap_or_default());
    let since = group.kept_since(ctx.cx.now()).unwrap_or_default();
    (from.max(since), Timestamp::from_millis(end.unwrap_or(i64::MAX)))
}

async fn numbers(ctx: &Ctx, group: &Group, names: &[String]) -> Result<HashSet<u64>, AwsError> {
    let mut numbers = HashSet::new();
    for stream in names {
        numbers.insert(name::find_stream(ctx, group, stream).await?.number);
    }
    Ok(numbers)
}

async fn numbers_under(ctx: &Ctx, group: &Group, prefix: &str) -> Result<HashSet<u64>, AwsError> {
    let mut numbers = HashSet::new();
    let mut scan = Scan::all(store::limits::RANGE_ROWS_MAX).under::<Uuid>(group.id).starting_with(prefix);
    while numbers.len() < STREAMS_MAX {
        let page = STREAMS.page(&ctx.cloud.store, &ctx.scope(), scan.clone()).await?;
        numbers.extend(page.rows.iter().map(|row| row.value.number));
        match page.next {
            None => break,
            Some((id, name)) => scan = scan.after((id, &name)),
        }
    }
    Ok(numbers)
}

fn show(event: &Event) -> OutputEvent {
    OutputEvent {
        timestamp: event.time.as_millis(),
        message: event.text().into_owned(),
        ingestion_time: event.ingested.as_millis(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_old_or_too_new_is_left_out_and_said() {
        let now = Timestamp::from_secs(100 * 86_400);
        let mut group = Group::new(Uuid::NIL, now);
        let days = |days: &[i64]| -> Vec<InputEvent> {
            let event = |day: &i64| InputEvent { timestamp: day * 86_400_000, message: "m".into() };
            days.iter().map(event).collect()
        };
        let (taken, rejected) = sort_out(&group, now, days(&[99, 100]));
        assert_eq!((taken.len(), rejected), (2, None));
        let (taken, rejected) = sort_out(&group, now, days(&[1, 85, 99, 101, 102]));
        assert_eq!(taken.len(), 1);
        let said = Rejected {
            too_new_log_event_start_index: Some(3),
            too_old_log_event_end_index: Some(2),
            expired_log_event_end_index: None,
        };
        assert_eq!(rejected, Some(said));
        group.retention_days = Some(3);
        let (taken, rejected) = sort_out(&group, now, days(&[1, 90, 96, 98]));
        assert_eq!(taken.len(), 1);
        let said = Rejected {
            too_new_log_event_start_index: None,
            too_old_log_event_end_index: Some(1),
            expired_log_event_end_index: Some(3),
        };
        assert_eq!(rejected, Some(said));
        assert!(sort_out(&group, now, days(&[1, 200])).0.is_empty());
    }
}

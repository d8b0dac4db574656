//! Log records: one event with the fields that are found in it, and the fields that a group's events have.

use std::collections::BTreeMap;
use std::time::Duration;

use base::{AwsError, Timestamp, Uuid};
use chronicle::GROUPS;
use engine::insights::{Event, discover, pointer};
use serde::{Deserialize, Serialize};
use store::Scan;
use tokio::task::spawn_blocking;

use super::{errors, name, query};
use crate::{Ctx, Service};

/// Without a time, fields are looked for in so much of the past; else in so much before and after it.
const PAST: Duration = Duration::from_secs(15 * 60);
const AROUND: Duration = Duration::from_secs(8 * 60);
/// Events that fields are counted in.
const EVENTS_MAX: u64 = 10_000;
/// Fields that are counted and told.
const FIELDS_MAX: usize = 1_000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GetLogRecord {
    log_record_pointer: String,
    #[serde(rename = "unmask")]
    _unmask: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LogRecord {
    log_record: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GetLogGroupFields {
    log_group_name: Option<String>,
    time: Option<i64>,
    log_group_identifier: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fields {
    log_group_fields: Vec<Field>,
}

#[derive(Serialize)]
struct Field {
    name: String,
    percent: u64,
}

/// How many events there were, and how many had a field.
#[derive(Default)]
struct Count {
    events: u64,
    fields: BTreeMap<String, u64>,
}

pub fn operations(service: Service) -> Service {
    service.operation("GetLogGroupFields", fields).operation("GetLogRecord", get)
}

pub async fn get(ctx: Ctx, input: GetLogRecord) -> Result<LogRecord, AwsError> {
    let place = pointer::read(&input.log_record_pointer).ok_or_else(errors::invalid_pointer)?;
    let (number, stream) = query::place(place);
    let found = ctx.cloud.chronicle.find(&ctx.scope(), stream, number).await?;
    let (group, stream, event) = found.ok_or_else(errors::no_record)?;
    let group = group_name(&ctx, group).await?.ok_or_else(errors::no_record)?;
    let all = discover::all(&Event {
        message: &event.text(),
        timestamp_ms: event.time.as_millis(),
        ingestion_ms: event.ingested.as_millis(),
        stream: &stream,
        log: &format!("{}:{group}", ctx.cx.account.as_str()),
        pointer: place,
    });
    Ok(LogRecord { log_record: all.into_iter().collect() })
}

async fn group_name(ctx: &Ctx, id: Uuid) -> Result<Option<String>, AwsError> {
    let mut scan = Scan::all(store::limits::RANGE_ROWS_MAX);
    loop {
        let page = GROUPS.page(&ctx.cloud.store, &ctx.scope(), scan.clone()).await?;
        if let Some(row) = page.rows.into_iter().find(|row| row.value.id == id) {
            return Ok(Some(row.key));
        }
        match page.next {
            Some(next) => scan = scan.after(&next),
            None => return Ok(None),
        }
    }
}

pub async fn fields(ctx: Ctx, input: GetLogGroupFields) -> Result<Fields, AwsError> {
    let found = name::find(&ctx, input.log_group_name, input.log_group_identifier).await?;
    let now = ctx.cx.now();
    let (from, to) = match input.time.map(Timestamp::from_secs) {
        Some(time) => (time.minus(AROUND), time.plus(AROUND)),
        None => (now.minus(PAST), now),
    };
    let from = from.max(found.group.kept_since(now).unwrap_or(from));
    let mut sweep = ctx.cloud.chronicle.sweep(&ctx.scope(), found.group.id, from, to).await?;
    let log = format!("{}:{}", ctx.cx.account.as_str(), found.name);
    let mut count = Count::default();
    while let Some(sheet) = sweep.next().await?.filter(|_| count.events < EVENTS_MAX) {
        let log = log.clone();
        let read = move || sheet.sift(None, |event| count.add(&log, &event)).map(|_| count);
        count = spawn_blocking(read).await.map_err(|_| chronicle::Error::Stopping)??;
    }
    let mut fields: Vec<Field> = count
        .fields
        .into_iter()
        .filter_map(|(name, having)| {
            let percent = having.saturating_mul(100).checked_div(count.events)?;
            Some(Field { name, percent })
        })
        .collect();
    fields.sort_by(|one, other| other.percent.cmp(&one.percent).then_with(|| one.name.cmp(&other.name)));
    Ok(Fields { log_group_fields: fields })
}

impl Count {
    fn add(&mut self, log: &str, event: &chronicle::Event) {
        if self.events >= EVENTS_MAX {
            return;
        }
        self.events = self.events.saturating_add(1);
        let all = discover::all(&Event {
            message: &event.text(),
            timestamp_ms: event.time.as_millis(),
            ingestion_ms: event.ingested.as_millis(),
            // Only whether there is one counts.
            stream: "-",
            log,
            pointer: 0,
        });
        for (name, _) in all {
            let is_full = self.fields.len() >= FIELDS_MAX;
            match self.fields.get_mut(&name) {
                Some(having) => *having = having.saturating_add(1),
                None if is_full => {}
                None => {
                    self.fields.insert(name, 1);
                }
            }
        }
    }
}

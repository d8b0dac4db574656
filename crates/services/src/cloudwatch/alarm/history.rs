//! What happened to alarms: kept by alarm and by time, also when the alarm is gone, and forgotten after thirty days.

use std::time::Duration;

use base::{AwsError, Timestamp, Uuid};
use engine::metric::alarm::history::Item;
use serde::{Deserialize, Serialize};
use store::{Batch, Record, Row, Scan, Scope, Store, Table};

use super::{Alarm, errors};
use crate::{Ctx, Service};

/// AWS's: "the alarm history is saved for 30 days".
pub const RETENTION: Duration = Duration::from_secs(30 * 86_400);
/// Items of a page.
const PAGE_MAX: usize = 100;
/// Items read in one step, and steps of one request: a page that has looked at enough ends, full or not.
const STEP: usize = 100;
const STEPS_MAX: usize = 20;
const OPERATION: &str = "cloudwatch:DescribeAlarmHistory";

/// By the alarm's name and when it was. Items of one commit are a microsecond apart. What functions were told may be
/// long.
static ITEMS: Table<(String, (Timestamp, Uuid)), KeptItem> = Table::large("cloudwatch_alarm_history");
type TimeKey = (Timestamp, (String, Uuid));

/// The same by time.
static TIMES: Table<TimeKey, Kind> = Table::new("cloudwatch_alarm_history_by_time");

#[derive(Debug, Clone, Serialize, Deserialize)]
struct KeptItem {
    alarm_type: String,
    item_type: String,
    summary: String,
    data: String,
}

impl Record for KeptItem {
    const VERSION: u8 = 1;
}

/// What is asked for, so that no other items are read.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Kind {
    alarm_type: String,
    item_type: String,
}

impl Record for Kind {
    const VERSION: u8 = 1;
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct DescribeAlarmHistory {
    alarm_name: Option<String>,
    alarm_types: Option<Vec<String>>,
    history_item_type: Option<String>,
    start_date: Option<Timestamp>,
    end_date: Option<Timestamp>,
    max_records: Option<usize>,
    next_token: Option<String>,
    scan_by: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Described {
    alarm_history_items: Vec<Shown>,
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Shown {
    alarm_name: String,
    alarm_type: String,
    timestamp: Timestamp,
    history_item_type: String,
    history_summary: String,
    history_data: String,
}

pub fn operations(service: Service) -> Service {
    service.operation("DescribeAlarmHistory", describe)
}

/// Adds items in their order, the first of them now.
pub fn add(ctx: &Ctx, mut batch: Batch, name: &str, alarm: &Alarm, items: &[Item]) -> Batch {
    let scope = ctx.scope();
    for (place, item) in (0..).zip(items) {
        let at = item.at.plus(Duration::from_micros(place));
        let kind = Kind { alarm_type: alarm.kind().to_owned(), item_type: item.kind.name().to_owned() };
        let kept = KeptItem {
            alarm_type: kind.alarm_type.clone(),
            item_type: kind.item_type.clone(),
            summary: item.summary.clone(),
            data: item.data.clone(),
        };
        let id = ctx.cx.id();
        batch = batch.put(&ITEMS, &scope, (name, (at, id)), &kept).put(&TIMES, &scope, (at, (name, id)), &kind);
    }
    batch
}

pub async fn describe(ctx: Ctx, input: DescribeAlarmHistory) -> Result<Described, AwsError> {
    let types = input.alarm_types.clone().unwrap_or_else(|| vec!["MetricAlarm".to_owned()]);
    let is_wanted = |at: Timestamp, alarm_type: &str, item_type: &str| {
        types.iter().any(|wanted| wanted == alarm_type)
            && input.history_item_type.as_ref().is_none_or(|wanted| wanted == item_type)
            && input.start_date.is_none_or(|start| at >= start)
            && input.end_date.is_none_or(|end| at <= end)
    };
    match &input.alarm_name {
        Some(name) => of_one(&ctx, &input, name, is_wanted).await,
        None => of_all(&ctx, &input, is_wanted).await,
    }
}

impl DescribeAlarmHistory {
    fn is_reversed(&self) -> bool {
        self.scan_by.as_deref() != Some("TimestampAscending")
    }

    fn limit(&self) -> usize {
        self.max_records.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX)
    }

    /// Whether nothing wanted lies behind a moment, in the direction of the scan.
    fn is_behind(&self, at: Timestamp) -> bool {
        match self.is_reversed() {
            true => self.start_date.is_some_and(|start| at < start),
            false => self.end_date.is_some_and(|end| at > end),
        }
    }

    /// Before the first moment that is wanted, in the direction of the scan.
    fn begins(&self) -> Option<(Timestamp, Uuid)> {
        match self.is_reversed() {
            true => self.end_date.map(|end| (end.plus(Duration::from_micros(1)), Uuid::from_bytes([0; 16]))),
            false => self.start_date.map(|start| (start.minus(Duration::from_micros(1)), Uuid::from_bytes([0xff; 16]))),
        }
    }
}

async fn of_one(
    ctx: &Ctx,
    input: &DescribeAlarmHistory,
    name: &str,
    is_wanted: impl Fn(Timestamp, &str, &str) -> bool,
) -> Result<Described, AwsError> {
    let mut scan = Scan::all(STEP).under::<String>(name);
    if input.is_reversed() {
        scan = scan.reversed();
    }
    if let Some(begins) = input.begins() {
        scan = scan.after((name, begins));
    }
    let mut scan = ctx.resume(OPERATION, scan, input.next_token.as_deref()).ok_or_else(errors::invalid_token)?;
    let (mut found, mut last) = (Vec::new(), None);
    for _ in 0..STEPS_MAX {
        let page = ITEMS.page(&ctx.cloud.store, &ctx.scope(), scan.clone()).await?;
        for row in page.rows {
            let at = row.key.1.0;
            if input.is_behind(at) {
                return Ok(Described { alarm_history_items: found, next_token: None });
            }
            if found.len() >= input.limit() {
                return Ok(Described { alarm_history_items: found, next_token: ctx.marker(OPERATION, last.as_ref()) });
            }
            last = Some(row.key.clone());
            if is_wanted(at, &row.value.alarm_type, &row.value.item_type) {
                found.push(shown(row));
            }
        }
        match page.next {
            None => return Ok(Described { alarm_history_items: found, next_token: None }),
            Some(next) => scan = scan.after((&next.0, next.1)),
        }
    }
    Ok(Described { alarm_history_items: found, next_token: ctx.marker(OPERATION, last.as_ref()) })
}

async fn of_all(
    ctx: &Ctx,
    input: &DescribeAlarmHistory,
    is_wanted: impl Fn(Timestamp, &str, &str) -> bool,
) -> Result<Described, AwsError> {
    let mut scan = Scan::all(STEP);
    if input.is_reversed() {
        scan = scan.reversed();
    }
    if let Some((at, id)) = input.begins() {
        // Behind every name, or before it: none is empty.
        scan = scan.after((at, if input.is_reversed() { ("", id) } else { ("\u{10ffff}", id) }));
    }
    let mut scan = ctx.resume(OPERATION, scan, input.next_token.as_deref()).ok_or_else(errors::invalid_token)?;
    let (mut found, mut last): (Vec<(String, (Timestamp, Uuid))>, _) = (Vec::new(), None);
    let mut goes_on = true;
    'steps: for _ in 0..STEPS_MAX {
        let page = TIMES.page(&ctx.cloud.store, &ctx.scope(), scan.clone()).await?;
        for row in page.rows {
            let (at, (name, id)) = row.key.clone();
            goes_on = !input.is_behind(at);
            if !goes_on || found.len() >= input.limit() {
                break 'steps;
            }
            last = Some(row.key);
            if is_wanted(at, &row.value.alarm_type, &row.value.item_type) {
                found.push((name, (at, id)));
            }
        }
        match page.next {
            None => {
                goes_on = false;
                break;
            }
            Some(next) => scan = scan.after((next.0, (&next.1.0, next.1.1))),
        }
    }
    let keys: Vec<_> = found.iter().map(|(name, when)| (name.as_str(), *when)).collect();
    let rows = ITEMS.get_many(&ctx.cloud.store, &ctx.scope(), &keys).await?;
    let alarm_history_items = rows.into_iter().flatten().map(shown).collect();
    let next_token = if goes_on { ctx.marker(OPERATION, last.as_ref()) } else { None };
    Ok(Described { alarm_history_items, next_token })
}

fn shown(row: Row<(String, (Timestamp, Uuid)), KeptItem>) -> Shown {
    let (alarm_name, (at, _)) = row.key;
    Shown {
        alarm_name,
        alarm_type: row.value.alarm_type,
        timestamp: at.trunc_millis(),
        history_item_type: row.value.item_type,
        history_summary: row.value.summary,
        history_data: row.value.data,
    }
}

/// Forgets what is too old, in all scopes.
pub async fn forget(store: &Store, now: Timestamp) -> Result<(), store::Error> {
    let old = now.minus(RETENTION);
    let mut after: Option<(Scope, TimeKey)> = None;
    loop {
        let page = TIMES.scan_all(store, after.as_ref(), STEP).await?;
        let Some(last) = page.rows.last().map(|row| row.key.clone()) else { return Ok(()) };
        let mut batch = Batch::new();
        let mut young = None;
        for row in &page.rows {
            let (scope, (at, (name, id))) = &row.key;
            if *at >= old {
                young.get_or_insert_with(|| scope.clone());
                continue;
            }
            batch = batch.delete(&TIMES, scope, (*at, (name, *id))).delete(&ITEMS, scope, (name, (*at, *id)));
        }
        store.commit(batch).await?;
        // On behind all of a scope whose oldest is young.
        after = Some(match young {
            Some(scope) => (scope, (Timestamp::from_micros(i64::MAX), (String::new(), Uuid::from_bytes([0xff; 16])))),
            None => last,
        });
    }
}

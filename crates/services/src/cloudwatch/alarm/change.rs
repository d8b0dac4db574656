//! DeleteAlarms, SetAlarmState, EnableAlarmActions and DisableAlarmActions.

use std::collections::BTreeSet;

use base::AwsError;
use engine::metric::alarm::history::Change;
use engine::metric::alarm::{Setting, State};
use serde::Deserialize;
use serde_json::Value;
use store::{Batch, Scan};

use super::put_metric::{record, untie};
use super::step::{Happened, step};
use super::{ALARMS, STANDINGS, TIES, errors};
use crate::{Ctx, Service};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct NamedAlarms {
    alarm_names: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct SetAlarmState {
    alarm_name: String,
    state_value: String,
    state_reason: String,
    state_reason_data: Option<String>,
}

pub fn operations(service: Service) -> Service {
    service
        .operation("DeleteAlarms", delete)
        .operation("DisableAlarmActions", disable)
        .operation("EnableAlarmActions", enable)
        .operation("SetAlarmState", set_state)
}

/// What is not there is passed over. Nothing goes if one of them has a parent that stays.
pub async fn delete(ctx: Ctx, input: NamedAlarms) -> Result<(), AwsError> {
    let wanted: BTreeSet<String> = input.alarm_names.into_iter().collect();
    let mut composites = 0_usize;
    for name in &wanted {
        let found = ALARMS.get_shared(&ctx.cloud.store, &ctx.scope(), name).await?;
        composites =
            composites.saturating_add(usize::from(found.is_some_and(|alarm| alarm.kind() == "CompositeAlarm")));
    }
    if composites > 1 {
        return Err(errors::validation("You can delete at most one composite alarm in a single DeleteAlarms request."));
    }
    let held = held_by_parents(&ctx, &wanted).await?;
    if !held.is_empty() {
        return Err(errors::has_parents(&held));
    }
    for name in &wanted {
        delete_one(&ctx, name).await?;
    }
    Ok(())
}

/// Those of `wanted` that another alarm hangs on, which may be one of them: it goes first on another day.
async fn held_by_parents(ctx: &Ctx, wanted: &BTreeSet<String>) -> Result<Vec<String>, AwsError> {
    let mut held = Vec::new();
    for name in wanted {
        // One may be the alarm itself.
        let page = TIES.page(&ctx.cloud.store, &ctx.scope(), Scan::all(2).under::<String>(name)).await?;
        if page.rows.iter().any(|row| row.key.1 != *name) {
            held.push(name.clone());
        }
    }
    Ok(held)
}

async fn delete_one(ctx: &Ctx, name: &str) -> Result<(), AwsError> {
    let scope = ctx.scope();
    let mut edit = ctx.edit(&ALARMS, &scope, name).await;
    loop {
        let (found, batch) = edit.read().await?;
        let Some(alarm) = found else { return Ok(()) };
        let standing = STANDINGS.get(&ctx.cloud.store, &scope, name).await?.map(|row| row.value);
        let batch = batch.delete(&ALARMS, &scope, name).delete(&STANDINGS, &scope, name);
        let batch = untie(ctx, name, &alarm, batch)?;
        let batch = record(ctx, name, Change::Deleted, &alarm, standing.as_ref(), batch);
        if edit.commit(batch).await? {
            return Ok(());
        }
    }
}

pub async fn set_state(ctx: Ctx, input: SetAlarmState) -> Result<(), AwsError> {
    let state = State::parse(&input.state_value).ok_or_else(|| AwsError::internal("a state that is none"))?;
    let is_json = |data: &String| serde_json::from_str::<Value>(data).is_ok();
    if !input.state_reason_data.as_ref().is_none_or(is_json) {
        return Err(errors::invalid_format("StateReasonData must be valid JSON"));
    }
    let setting = Setting { state, reason: input.state_reason, reason_data: input.state_reason_data };
    match step(&ctx, &input.alarm_name, &Happened::Set(setting)).await? {
        true => Ok(()),
        false => Err(errors::no_alarm()),
    }
}

pub async fn enable(ctx: Ctx, input: NamedAlarms) -> Result<(), AwsError> {
    enable_all(&ctx, &input.alarm_names, true).await
}

pub async fn disable(ctx: Ctx, input: NamedAlarms) -> Result<(), AwsError> {
    enable_all(&ctx, &input.alarm_names, false).await
}

/// What is not there is passed over.
async fn enable_all(ctx: &Ctx, names: &[String], are_enabled: bool) -> Result<(), AwsError> {
    for name in names {
        enable_one(ctx, name, are_enabled).await?;
    }
    Ok(())
}

async fn enable_one(ctx: &Ctx, name: &str, are_enabled: bool) -> Result<(), AwsError> {
    let scope = ctx.scope();
    let mut edit = ctx.edit(&ALARMS, &scope, name).await;
    loop {
        let (found, batch) = edit.read().await?;
        let Some(mut alarm) = found.filter(|alarm| alarm.actions.are_enabled != are_enabled) else { return Ok(()) };
        alarm.actions.are_enabled = are_enabled;
        alarm.configured = ctx.cx.now().trunc_millis();
        let standing = STANDINGS.get(&ctx.cloud.store, &scope, name).await?.map(|row| row.value);
        let batch: Batch = batch.put(&ALARMS, &scope, name, &alarm);
        if edit.commit(record(ctx, name, Change::Updated, &alarm, standing.as_ref(), batch)).await? {
            return Ok(());
        }
    }
}

//! One step of one alarm: the machine is asked, and what it says goes into one commit.

use std::collections::HashMap;

use base::{AwsError, Timestamp};
use engine::metric::alarm::composite::{self, Child, Others};
use engine::metric::alarm::evaluate::Datapoint;
use engine::metric::alarm::history::Item;
use engine::metric::alarm::{Command, Setting, Standing, metric};
use store::Batch;

use super::act::{self, Told};
use super::{ALARMS, Alarm, Composition, KeptStanding, STANDINGS, Watch, Watches, arn, history, named};
use crate::Ctx;

/// What happened to an alarm.
#[derive(Debug, Clone)]
pub enum Happened {
    /// SetAlarmState.
    Set(Setting),
    /// The points were read for an alarm that was configured then.
    Read {
        configured: Timestamp,
        points: Vec<Datapoint>,
    },
    /// To a composite alarm alone, as all that follow.
    Created,
    Updated,
    Changed(Child),
    /// Its suppressor changed, or time has passed.
    Tick,
}

/// Whether there is such an alarm.
pub async fn step(ctx: &Ctx, name: &str, happened: &Happened) -> Result<bool, AwsError> {
    let scope = ctx.scope();
    let mut edit = ctx.edit(&STANDINGS, &scope, name).await;
    loop {
        let (kept, batch) = edit.read().await?;
        let alarm = ALARMS.get(&ctx.cloud.store, &scope, name).await?;
        let (Some(kept), Some(alarm)) = (kept, alarm) else { return Ok(false) };
        let from = kept.machine();
        let commands = match &alarm.value.watches {
            Watches::Metric(watch) => of_metric(ctx, &alarm.value, watch, &from, happened),
            Watches::Alarms(composition) => of_composite(ctx, name, &alarm.value, composition, &from, happened).await?,
        };
        if commands.is_empty() {
            return Ok(true);
        }
        let batch = batch.expect_version(&ALARMS, &scope, name, alarm.version);
        let batch = carry_out(ctx, name, &alarm.value, &from, commands, batch).await?;
        if edit.commit(batch).await? {
            return Ok(true);
        }
    }
}

fn of_metric(ctx: &Ctx, alarm: &Alarm, watch: &Watch, from: &Standing, happened: &Happened) -> Vec<Command> {
    let event = match happened {
        Happened::Set(setting) => metric::Event::Set(setting.clone()),
        Happened::Read { configured, points } if *configured == alarm.configured => {
            metric::Event::Evaluate { points: points.clone() }
        }
        _ => return Vec::new(),
    };
    let Some(condition) = watch.condition() else { return Vec::new() };
    let machine =
        metric::Alarm { condition, source: watch.source(), actions: alarm.actions.machine(), standing: from.clone() };
    machine.step(ctx.cx.now(), event)
}

async fn of_composite(
    ctx: &Ctx,
    name: &str,
    alarm: &Alarm,
    composition: &Composition,
    from: &Standing,
    happened: &Happened,
) -> Result<Vec<Command>, AwsError> {
    let event = match happened.clone() {
        Happened::Set(setting) => composite::Event::Set(setting),
        Happened::Created => composite::Event::Created,
        Happened::Updated => composite::Event::Updated,
        Happened::Changed(child) => composite::Event::Changed(child),
        Happened::Tick => composite::Event::Tick,
        Happened::Read { .. } => return Ok(Vec::new()),
    };
    let rule = composition.rule()?;
    let children = standings(ctx, rule.children()).await?;
    let suppressor = match &composition.suppressor {
        Some(suppressor) => standings(ctx, std::slice::from_ref(&suppressor.alarm)).await?.into_values().next(),
        None => None,
    };
    let machine = composite::Alarm {
        arn: arn(ctx, name),
        rule,
        actions: alarm.actions.machine(),
        suppressor: composition
            .suppressor
            .as_ref()
            .map(|suppressor| composite::Suppressor { wait_s: suppressor.wait_s, extension_s: suppressor.extension_s }),
        standing: from.clone(),
    };
    let child = |name: &str| children.get(name).cloned();
    let others = Others { child: &child, suppressor: suppressor.map(|suppressor| suppressor.state) };
    Ok(machine.step(ctx.cx.now(), event, &others))
}

/// The alarms that are there of those that a rule names, by the names that it has for them.
pub async fn standings(ctx: &Ctx, names: &[String]) -> Result<HashMap<String, Child>, AwsError> {
    let here: Vec<(&String, &str)> = names.iter().filter_map(|name| Some((name, named(ctx, name)?))).collect();
    let keys: Vec<&str> = here.iter().map(|(_, key)| *key).collect();
    let rows = STANDINGS.get_many(&ctx.cloud.store, &ctx.scope(), &keys).await?;
    let found = here.into_iter().zip(rows).filter_map(|((name, key), row)| {
        let standing = row?.value;
        Some((name.clone(), Child { arn: arn(ctx, key), state: standing.state(), since: standing.transitioned }))
    });
    Ok(found.collect())
}

/// Adds all that the machine says to the batch.
async fn carry_out(
    ctx: &Ctx,
    name: &str,
    alarm: &Alarm,
    from: &Standing,
    commands: Vec<Command>,
    mut batch: Batch,
) -> Result<Batch, AwsError> {
    let (mut to, mut items) = (from.clone(), Vec::new());
    let now = ctx.cx.now();
    for command in commands {
        match command {
            Command::Become(standing) => {
                batch = batch.put(&STANDINGS, &ctx.scope(), name, &KeptStanding::of(&standing));
                to = standing;
            }
            Command::Record(item) => items.push(item),
            Command::Act { action } => {
                let told = Told { name, alarm, from, to: &to };
                let (next, outcome) = act::take(ctx, &told, &action, batch).await?;
                batch = next;
                items.push(Item::action(now, to.updated, &action, &outcome));
            }
        }
    }
    Ok(history::add(ctx, batch, name, alarm, &items))
}

//! Alarms: what somebody wants to be told of, and what state that is in.
//!
//! What an alarm is made of and what state it is in are two records: the first is its owner's, the second changes with
//! the metric. What decides is `engine::metric::alarm`; here is what it stands on.
//!
//! | file | concept |
//! |---|---|
//! | `watch` | what a metric alarm watches, as it is stored and shown |
//! | `put_metric`, `put_composite` | making and changing them |
//! | `describe` | finding them |
//! | `change` | deleting, setting a state, actions on and off |
//! | `step` | one change of state: state, history and actions in one commit |
//! | `act`, `event` | what is done about it, and what a function is told |
//! | `history` | what happened, for thirty days |
//! | `keep`, `book` | the task that evaluates what is due |
//! | `points` | the datapoints of an alarm |
//!
//! **Invariants.** An alarm and its standing come and go together. Whoever changes a standing expects the alarm to be
//! as it was read. An action that invokes a function is in the commit of the state that asks for it: none is lost, and
//! none is done twice.
//!
//! Not there yet: anomaly detection, PromQL, wall clock windows, warm-up, mute rules, log alarms; actions other than
//! functions, which fail by name in the history.

mod act;
mod book;
mod change;
mod describe;
mod errors;
mod event;
mod history;
pub(crate) mod keep;
mod points;
mod put_composite;
mod put_metric;
mod step;
pub(super) mod watch;

use std::collections::BTreeMap;

use base::{Arn, AwsError, Timestamp};
use engine::metric::alarm::composite::{SuppressedBy, Suppression};
use engine::metric::alarm::rule::Rule;
use engine::metric::alarm::{self, Standing, State};
use serde::{Deserialize, Serialize};
use store::{Record, Table};

use crate::{Ctx, Service};
use watch::Watch;

/// By name.
pub static ALARMS: Table<String, Alarm> = Table::large("cloudwatch_alarms");
/// By the name of an alarm and that of a composite one that hangs on it.
pub static TIES: Table<(String, String), Tie> = Table::new("cloudwatch_alarm_ties");
pub static STANDINGS: Table<String, KeptStanding> = Table::new("cloudwatch_alarm_standings");

pub type Tags = BTreeMap<String, String>;

/// An alarm as its owner wants it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Alarm {
    pub description: Option<String>,
    pub configured: Timestamp,
    pub actions: Actions,
    pub tags: Tags,
    pub watches: Watches,
}

impl Record for Alarm {
    const VERSION: u8 = 1;
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "nearly all alarms are the large one")]
pub enum Watches {
    Metric(Watch),
    Alarms(Composition),
}

/// What a composite alarm is made of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Composition {
    pub rule: String,
    /// A name or an ARN, and how long it is waited for.
    pub suppressor: Option<Suppressor>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Suppressor {
    pub alarm: String,
    pub wait_s: u32,
    pub extension_s: u32,
}

/// How a composite alarm hangs on another.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Tie {
    /// Or as its suppressor alone.
    pub is_in_rule: bool,
}

impl Record for Tie {
    const VERSION: u8 = 1;
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Actions {
    pub are_enabled: bool,
    pub ok: Vec<String>,
    pub alarm: Vec<String>,
    pub insufficient_data: Vec<String>,
}

/// What an alarm is, as the machine says it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeptStanding {
    pub state: String,
    pub reason: String,
    pub reason_data: Option<String>,
    pub updated: Timestamp,
    pub transitioned: Timestamp,
    /// What holds actions back, and until when.
    pub suppressed: Option<(String, Option<Timestamp>)>,
}

impl Record for KeptStanding {
    const VERSION: u8 = 1;
}

pub fn operations(service: Service) -> Service {
    service
        .with(change::operations)
        .with(describe::operations)
        .with(history::operations)
        .with(put_composite::operations)
        .with(put_metric::operations)
}

impl Alarm {
    /// `AlarmType`.
    pub fn kind(&self) -> &'static str {
        match self.watches {
            Watches::Metric(_) => "MetricAlarm",
            Watches::Alarms(_) => "CompositeAlarm",
        }
    }
}

impl Composition {
    /// It was parsed when it was put.
    pub fn rule(&self) -> Result<Rule, AwsError> {
        Rule::parse(&self.rule).map_err(|error| AwsError::internal(error.0))
    }

    /// What its rule names, of what can be here.
    pub fn children(&self, ctx: &Ctx) -> Result<Vec<String>, AwsError> {
        let rule = self.rule()?;
        Ok(rule.children().iter().filter_map(|name| named(ctx, name)).map(str::to_owned).collect())
    }

    pub fn suppressed_by(&self, ctx: &Ctx) -> Option<String> {
        named(ctx, &self.suppressor.as_ref()?.alarm).map(str::to_owned)
    }
}

impl Alarm {
    /// What it hangs on, and whether its rule says so.
    pub fn ties(&self, ctx: &Ctx) -> Result<BTreeMap<String, Tie>, AwsError> {
        let Watches::Alarms(composition) = &self.watches else { return Ok(BTreeMap::new()) };
        let suppressor = composition.suppressed_by(ctx).map(|name| (name, Tie { is_in_rule: false }));
        let children = composition.children(ctx)?.into_iter().map(|name| (name, Tie { is_in_rule: true }));
        Ok(suppressor.into_iter().chain(children).collect())
    }
}

impl Actions {
    pub fn all(&self) -> impl Iterator<Item = &String> {
        self.ok.iter().chain(&self.alarm).chain(&self.insufficient_data)
    }

    pub fn machine(&self) -> alarm::Actions {
        alarm::Actions {
            are_enabled: self.are_enabled,
            ok: self.ok.clone(),
            alarm: self.alarm.clone(),
            insufficient_data: self.insufficient_data.clone(),
        }
    }
}

impl KeptStanding {
    pub fn of(standing: &Standing) -> KeptStanding {
        KeptStanding {
            state: standing.state.name().to_owned(),
            reason: standing.reason.clone(),
            reason_data: standing.reason_data.clone(),
            updated: standing.updated,
            transitioned: standing.transitioned,
            suppressed: standing.suppressed.map(|held| (held.by.name().to_owned(), held.until)),
        }
    }

    pub fn machine(&self) -> Standing {
        let held = |(by, until): &(String, Option<Timestamp>)| {
            let all = [SuppressedBy::Alarm, SuppressedBy::WaitPeriod, SuppressedBy::ExtensionPeriod];
            let by = all.into_iter().find(|one| one.name() == by)?;
            Some(Suppression { by, until: *until })
        };
        Standing {
            state: self.state(),
            reason: self.reason.clone(),
            reason_data: self.reason_data.clone(),
            updated: self.updated,
            transitioned: self.transitioned,
            suppressed: self.suppressed.as_ref().and_then(held),
        }
    }

    pub fn state(&self) -> State {
        State::parse(&self.state).unwrap_or(State::InsufficientData)
    }
}

/// `arn:aws:cloudwatch:REGION:ACCOUNT:alarm:NAME`
pub fn arn(ctx: &Ctx, name: &str) -> String {
    ctx.cx.arn("cloudwatch", &format!("alarm:{name}"))
}

/// The name of the alarm that a rule or a caller names: as it is, or the ARN of one that is here.
pub fn named<'a>(ctx: &Ctx, text: &'a str) -> Option<&'a str> {
    let Ok(arn) = text.parse::<Arn>() else { return Some(text) };
    let is_here =
        arn.service == "cloudwatch" && arn.region == ctx.cx.region.as_str() && arn.account == ctx.cx.account.as_str();
    // The text lives longer than what was parsed of it.
    let at = text.len().checked_sub(arn.resource.len()).filter(|_| is_here)?;
    text.get(at..)?.strip_prefix("alarm:")
}

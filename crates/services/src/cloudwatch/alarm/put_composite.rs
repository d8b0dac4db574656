//! PutCompositeAlarm. A rule may name itself by way of others, as on AWS; such an alarm is not evaluated.

use base::AwsError;
use engine::metric::alarm::rule::Rule;
use serde::Deserialize;

use super::put_metric::{check_actions, check_name, save};
use super::{ALARMS, Actions, Alarm, Composition, Suppressor, Watches, errors, named};
use crate::cloudwatch::tag::{self, Tag};
use crate::{Ctx, Service};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct PutCompositeAlarm {
    alarm_name: String,
    alarm_rule: String,
    alarm_description: Option<String>,
    actions_enabled: Option<bool>,
    #[serde(rename = "OKActions")]
    ok_actions: Option<Vec<String>>,
    alarm_actions: Option<Vec<String>>,
    insufficient_data_actions: Option<Vec<String>>,
    tags: Option<Vec<Tag>>,
    actions_suppressor: Option<String>,
    actions_suppressor_wait_period: Option<i64>,
    actions_suppressor_extension_period: Option<i64>,
}

pub fn operations(service: Service) -> Service {
    service.operation("PutCompositeAlarm", put)
}

pub async fn put(ctx: Ctx, input: PutCompositeAlarm) -> Result<(), AwsError> {
    check_name(&input.alarm_name)?;
    if input.alarm_rule.trim() != input.alarm_rule {
        return Err(errors::validation("AlarmRule must not contain leading or trailing whitespace or be null"));
    }
    let rule = Rule::parse(&input.alarm_rule).map_err(|error| errors::validation(error.0))?;
    let suppressor = input.suppressor()?;
    let others = rule.children().iter().chain(suppressor.as_ref().map(|suppressor| &suppressor.alarm));
    check_there(&ctx, others.filter(|name| named(&ctx, name) != Some(&input.alarm_name)).collect()).await?;
    let actions = Actions {
        are_enabled: input.actions_enabled.unwrap_or(true),
        ok: input.ok_actions.unwrap_or_default(),
        alarm: input.alarm_actions.unwrap_or_default(),
        insufficient_data: input.insufficient_data_actions.unwrap_or_default(),
    };
    check_actions(&ctx, &actions)?;
    let alarm = Alarm {
        description: input.alarm_description,
        configured: ctx.cx.now().trunc_millis(),
        actions,
        tags: tag::map(input.tags.as_deref().unwrap_or_default())?,
        watches: Watches::Alarms(Composition { rule: input.alarm_rule, suppressor }),
    };
    save(&ctx, &input.alarm_name, alarm).await
}

/// All that a rule names must be there when it is put. Nobody keeps it from going but DeleteAlarms.
async fn check_there(ctx: &Ctx, others: Vec<&String>) -> Result<(), AwsError> {
    let mut missing = Vec::new();
    for other in others {
        let found = match named(ctx, other) {
            Some(name) => ALARMS.get_shared(&ctx.cloud.store, &ctx.scope(), name).await?,
            None => None,
        };
        if found.is_none() {
            missing.push(other.as_str());
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(errors::children_missing(&missing)) }
}

impl PutCompositeAlarm {
    fn suppressor(&self) -> Result<Option<Suppressor>, AwsError> {
        let periods = [
            ("ActionsSuppressorWaitPeriod", self.actions_suppressor_wait_period),
            ("ActionsSuppressorExtensionPeriod", self.actions_suppressor_extension_period),
        ];
        let Some(alarm) = &self.actions_suppressor else {
            return match periods.iter().find(|(_, period)| period.is_some()) {
                Some((member, _)) => {
                    Err(errors::validation(format!("{member} should not be set if ActionsSuppressor is not set")))
                }
                None => Ok(None),
            };
        };
        let seconds = |(member, period): (&str, Option<i64>)| {
            let period = period.ok_or_else(|| errors::must_not_be_null(member))?;
            u32::try_from(period).map_err(|_| errors::validation(format!("{member} must not be negative")))
        };
        let [wait, extension] = periods;
        Ok(Some(Suppressor { alarm: alarm.clone(), wait_s: seconds(wait)?, extension_s: seconds(extension)? }))
    }
}

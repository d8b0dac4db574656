//! Actions: what is done when an alarm has changed. Functions are invoked; what else AWS can do waits for its service.

use base::{Arn, AwsError};
use engine::metric::alarm::Standing;
use engine::metric::alarm::history::Outcome;
use store::Batch;

use super::{Alarm, arn, event};
use crate::{Ctx, Trigger};

/// Who a function's policy must let invoke it.
const PRINCIPAL: &str = "lambda.alarms.cloudwatch.amazonaws.com";

/// A change of state, to those who are told of it.
pub struct Told<'a> {
    pub name: &'a str,
    pub alarm: &'a Alarm,
    pub from: &'a Standing,
    pub to: &'a Standing,
}

/// Adds the action to the commit of the change that asks for it, and says what became of it. An error is ours: the
/// change itself is to be tried again.
pub async fn take(ctx: &Ctx, told: &Told<'_>, action: &str, batch: Batch) -> Result<(Batch, Outcome), AwsError> {
    let service = action.parse::<Arn>().map(|arn| arn.service).unwrap_or_default();
    if service != "lambda" {
        let error = AwsError::not_built(format!("actions of {service}"));
        return Ok((batch, Outcome::Failed { error: error.message }));
    }
    let Told { name, alarm, from, to } = told;
    let message = event::of_change(ctx, name, alarm, from, to, &ctx.cx.id().to_string());
    let trigger = Trigger { principal: PRINCIPAL, source: &arn(ctx, name) };
    match trigger.event(ctx, action, message.clone()).await {
        Ok(event) => Ok((event.add(batch), Outcome::Succeeded { message: Some(message) })),
        Err(error) if error.status == 403 => Ok((batch, Outcome::Failed { error: not_authorized() })),
        Err(error) if error.status < 500 || error.status == 501 => {
            Ok((batch, Outcome::Failed { error: error.message }))
        }
        Err(error) => Err(error),
    }
}

/// As AWS's histories show it.
fn not_authorized() -> String {
    "CloudWatch Alarms is not authorized to perform: lambda:InvokeFunction on the resource because no resource-based \
     policy allows the lambda:InvokeFunction action"
        .to_owned()
}

//! What other services ask of functions: whether they may be sent events.

use base::AwsError;

use crate::Ctx;
use crate::lambda::permission;
use crate::lambda::policy::Source;

/// Whether the service `name` (`logs`) may invoke the function, version or alias that `arn` names, for what `source` is. A
/// function that is not there, nobody may.
pub async fn may_be_invoked(ctx: &Ctx, arn: &str, name: &str, source: &str) -> Result<bool, AwsError> {
    let services = [format!("{name}.amazonaws.com"), format!("{name}.{}.amazonaws.com", ctx.cx.region.as_str())];
    let by = Source { services: &services, arn: source, account: ctx.cx.account.as_str() };
    permission::may_invoke(ctx, arn, &by).await
}

//! Who is calling.

use base::AwsError;
use serde::{Deserialize, Serialize};

use crate::Ctx;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GetCallerIdentity {}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CallerIdentity {
    user_id: String,
    account: String,
    arn: String,
}

pub async fn get_caller_identity(ctx: Ctx, _: GetCallerIdentity) -> Result<CallerIdentity, AwsError> {
    let principal = &ctx.cx.principal;
    Ok(CallerIdentity {
        user_id: principal.user_id.clone(),
        account: principal.account.to_string(),
        arn: principal.arn.clone(),
    })
}

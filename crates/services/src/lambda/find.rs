//! What the operator's commands ask of functions, beside AWS's API.

use base::AwsError;
use store::Scope;

use super::function::FUNCTIONS;
use crate::Cloud;

/// The log group that a function's lines go to; `None` if there is no such function.
pub async fn log_group_of(cloud: &Cloud, scope: &Scope, function: &str) -> Result<Option<String>, AwsError> {
    let found = FUNCTIONS.get_shared(&cloud.store, scope, function).await?;
    let group = |given: &Option<String>| given.clone().unwrap_or_else(|| format!("/aws/lambda/{function}"));
    Ok(found.map(|found| group(&found.latest.settings.logging.log_group)))
}

/// The names of the functions in a scope, the first so many.
pub async fn functions_in(cloud: &Cloud, scope: &Scope, most: usize) -> Result<Vec<String>, AwsError> {
    cloud.names_in(&FUNCTIONS, scope, most).await
}

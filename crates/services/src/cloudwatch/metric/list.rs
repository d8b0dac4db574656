//! ListMetrics: which metrics had points in the last two weeks.

use std::time::Duration;

use base::AwsError;
use metrics::{Find, SeriesKey};
use serde::{Deserialize, Serialize};

use super::refusal::invalid;
use crate::Ctx;

const PAGE_MAX: usize = 500;
/// Calls for one answer, each of which looks at some thousand rows: few answers are found slowly.
const CALLS_MAX: usize = 8;
pub const ACTIVE_MAX: Duration = Duration::from_secs(14 * 24 * 3_600);
const RECENT: Duration = Duration::from_secs(3 * 3_600);
const OPERATION: &str = "cloudwatch:ListMetrics";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ListMetrics {
    namespace: Option<String>,
    metric_name: Option<String>,
    #[serde(default)]
    dimensions: Vec<DimensionFilter>,
    next_token: Option<String>,
    /// `PT3H`: of the last three hours.
    recently_active: Option<String>,
    /// Accounts are not linked here.
    #[serde(rename = "IncludeLinkedAccounts")]
    _include_linked_accounts: Option<bool>,
    owning_account: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct DimensionFilter {
    name: String,
    value: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Listed {
    metrics: Vec<Named>,
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Named {
    namespace: String,
    metric_name: String,
    dimensions: Vec<Dimension>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Dimension {
    name: String,
    value: String,
}

pub async fn list(ctx: Ctx, input: ListMetrics) -> Result<Listed, AwsError> {
    if input.owning_account.is_some_and(|account| account != ctx.cx.account.as_str()) {
        return Ok(Listed { metrics: Vec::new(), next_token: None });
    }
    let after = match input.next_token.as_deref() {
        None => None,
        Some(token) => {
            let position = ctx.position(OPERATION, token);
            Some(SeriesKey::from_parts(position.ok_or_else(|| invalid("Invalid nextToken"))?))
        }
    };
    let dimensions: Vec<(String, Option<String>)> =
        input.dimensions.into_iter().map(|filter| (filter.name, filter.value)).collect();
    let active = if input.recently_active.is_some() { RECENT } else { ACTIVE_MAX };
    let mut find = Find {
        namespace: input.namespace.as_deref(),
        name: input.metric_name.as_deref(),
        dimensions: &dimensions,
        since: Some(ctx.cx.now().minus(active)),
        after,
        max: PAGE_MAX,
    };
    let mut metrics = Vec::new();
    for _ in 0..CALLS_MAX {
        let (found, next) = ctx.cloud.metrics.list(&ctx.scope(), &find).await?;
        metrics.extend(found);
        find.max = PAGE_MAX.saturating_sub(metrics.len());
        find.after = next;
        if find.after.is_none() || find.max == 0 {
            break;
        }
    }
    let named = |metric: engine::math::Metric| Named {
        namespace: metric.namespace,
        metric_name: metric.name,
        dimensions: metric.dimensions.into_iter().map(|(name, value)| Dimension { name, value }).collect(),
    };
    let next_token = ctx.marker(OPERATION, find.after.as_ref().map(SeriesKey::as_parts));
    Ok(Listed { metrics: metrics.into_iter().map(named).collect(), next_token })
}

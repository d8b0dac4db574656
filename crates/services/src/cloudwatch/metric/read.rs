//! The points of a metric in the periods of a request.

use std::collections::BTreeMap;

use base::{AwsError, Timestamp};
use engine::math::Metric;
use engine::metric::aggregate::Aggregate;
use engine::metric::window::Window;
use metrics::Unit;

use crate::Ctx;

pub type Buckets = BTreeMap<Timestamp, Aggregate>;

/// What there is of a metric in each period, by unit. How samples spread is left out where nobody asks for it, since it is most
/// of what there is to hold.
pub async fn buckets(
    ctx: &Ctx,
    metric: &Metric,
    unit: Option<Unit>,
    window: &Window,
    is_spread_needed: bool,
) -> Result<BTreeMap<Unit, Buckets>, AwsError> {
    let mut found: BTreeMap<Unit, Buckets> = BTreeMap::new();
    let mut add = |unit: Unit, stamp: Timestamp, samples: &Aggregate| {
        let Some(bucket) = window.bucket(stamp) else { return };
        let into = found.entry(unit).or_default().entry(bucket).or_default();
        if !is_spread_needed {
            into.forget_spread();
        }
        into.merge(samples);
    };
    ctx.cloud
        .metrics
        .each_point(&ctx.scope(), metric, unit, (window.start, window.end), |unit, stamp, _, samples| {
            add(unit, stamp, samples);
        })
        .await?;
    Ok(found)
}

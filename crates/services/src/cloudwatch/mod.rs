//! Amazon CloudWatch: metrics, alarms and dashboards.
//!
//! Follows the API of 2010-08-01. Whatever is not built is refused in the service's own words.

pub(crate) mod alarm;
mod dashboard;
mod metric;
mod tag;

use crate::Service;

pub fn service() -> Service {
    Service::new("cloudwatch", include_str!("model.json"), include_str!("overlay.json"))
        .with(alarm::operations)
        .with(dashboard::operations)
        .with(metric::operations)
        .with(tag::operations)
}

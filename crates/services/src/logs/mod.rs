//! Amazon CloudWatch Logs: groups and streams of log events, kept by the chronicle.
//!
//! Follows the API of 2014-03-28. Not there yet: metric and subscription filters, Insights, exports, policies,
//! deliveries. Whatever is not built is refused in the service's own words.

mod errors;
mod event;
mod filter;
mod group;
mod id;
pub mod metric_filter;
mod name;
pub mod query;
mod query_definition;
pub mod reading;
mod record;
mod stream;
pub mod subscription_filter;
mod tag;
mod tail;

use crate::Service;

pub fn service() -> Service {
    Service::new("logs", include_str!("model.json"), include_str!("overlay.json"))
        .with(event::operations)
        .with(group::operations)
        .with(metric_filter::operations)
        .with(query::operations)
        .with(query_definition::operations)
        .with(record::operations)
        .with(stream::operations)
        .with(subscription_filter::operations)
        .with(tag::operations)
        .with(tail::operations)
}

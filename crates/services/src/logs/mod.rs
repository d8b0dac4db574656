//! Amazon CloudWatch Logs: groups and streams of log events, kept by the chronicle; what is asked of them, counted in them
//! and sent on.
//!
//! Follows the API of 2014-03-28. Not there yet: exports, transformers, field indexes, data protection, anomalies, scheduled
//! queries, lookup tables, integrations. Whatever is not built is refused in the service's own words.

mod account_policy;
mod delivery;
mod destination;
mod errors;
mod event;
mod filter;
mod group;
mod group_filter;
mod id;
pub mod metric_filter;
mod name;
pub mod query;
mod query_definition;
pub mod reading;
mod record;
mod resource_policy;
mod row;
mod stream;
pub mod subscription_filter;
mod tag;
mod tail;

use crate::Service;

pub fn service() -> Service {
    Service::new("logs", include_str!("model.json"), include_str!("overlay.json"))
        .with(account_policy::operations)
        .with(delivery::operations)
        .with(destination::operations)
        .with(event::operations)
        .with(group::operations)
        .with(metric_filter::operations)
        .with(query::operations)
        .with(query_definition::operations)
        .with(record::operations)
        .with(resource_policy::operations)
        .with(stream::operations)
        .with(subscription_filter::operations)
        .with(tag::operations)
        .with(tail::operations)
}

//! AWS Lambda: functions and their code.
//!
//! Follows the Lambda API of 2015-03-31. Not there yet: polling event sources, destinations, code from S3.

pub(crate) mod account;
mod alias;
mod capacity_provider;
pub(crate) mod code;
mod code_signing;
mod concurrency;
mod create;
pub(crate) mod debris;
mod errors;
mod event_invoke;
pub mod event_source_mapping;
pub mod find;
mod function;
pub(crate) mod invoke;
mod layer;
mod name;
mod paging;
pub(crate) mod permission;
pub(crate) mod policy;
pub(crate) mod provisioned;
mod recursion;
mod release;
mod runtime;
mod runtime_management;
mod scaling;
mod settings;
pub(crate) mod snap_start;
mod tag;
mod update;
mod url;
mod version;

use crate::Service;

/// The largest body of a request that carries a zip of 50 MB in base64.
const CODE_BODY_BYTES_MAX: u64 = 70_167_211;

pub fn service() -> Service {
    Service::new("lambda", include_str!("model.json"), include_str!("overlay.json"))
        .with(account::operations)
        .with(alias::operations)
        .with(capacity_provider::operations)
        .with(code_signing::operations)
        .with(concurrency::operations)
        .with(create::operations)
        .with(event_invoke::operations)
        .with(event_source_mapping::operations)
        .with(function::operations)
        .with(invoke::operations)
        .with(layer::operations)
        .with(permission::operations)
        .with(provisioned::operations)
        .with(recursion::operations)
        .with(runtime_management::operations)
        .with(scaling::operations)
        .with(tag::operations)
        .with(update::operations)
        .with(url::operations)
        .with(version::operations)
}

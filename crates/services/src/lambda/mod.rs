//! AWS Lambda: functions and their code.
//!
//! Follows the Lambda API of 2015-03-31. Not there yet: invoking, also by URL, layers,
//! permissions, concurrency, event source mappings, code from S3 or an image.

mod account;
mod alias;
pub(crate) mod code;
pub(crate) mod debris;
mod errors;
mod event_invoke;
mod function;
mod name;
mod release;
mod runtime;
mod settings;
mod tag;
mod update;
mod url;
mod version;

use crate::Service;

/// The largest body of a request that carries a zip of 50 MB in base64.
const CODE_BODY_BYTES_MAX: u64 = 70_167_211;

pub fn service() -> Service {
    Service::new("lambda", include_str!("model.json"), include_str!("overlay.json"))
        .operation("CreateAlias", alias::create)
        .operation("CreateFunction", function::create)
        .operation("CreateFunctionUrlConfig", url::create)
        .operation("DeleteAlias", alias::delete)
        .operation("DeleteFunction", function::delete)
        .operation("DeleteFunctionEventInvokeConfig", event_invoke::delete)
        .operation("DeleteFunctionUrlConfig", url::delete)
        .operation("GetAlias", alias::get)
        .operation("GetFunction", function::get)
        .operation("GetFunctionConfiguration", function::get_configuration)
        .operation("GetFunctionEventInvokeConfig", event_invoke::get)
        .operation("GetFunctionUrlConfig", url::get)
        .operation("ListAliases", alias::list)
        .operation("ListFunctionEventInvokeConfigs", event_invoke::list)
        .operation("ListFunctionUrlConfigs", url::list)
        .operation("ListFunctions", function::list)
        .operation("ListTags", tag::list)
        .operation("ListVersionsByFunction", version::list)
        .operation("PublishVersion", version::publish_version)
        .operation("PutFunctionEventInvokeConfig", event_invoke::put)
        .operation("TagResource", tag::tag)
        .operation("UntagResource", tag::untag)
        .operation("UpdateAlias", alias::update)
        .operation("UpdateFunctionCode", update::code)
        .operation("UpdateFunctionConfiguration", update::configuration)
        .operation("UpdateFunctionEventInvokeConfig", event_invoke::update)
        .operation("UpdateFunctionUrlConfig", url::update)
        .body_bytes_max("CreateFunction", CODE_BODY_BYTES_MAX)
        .body_bytes_max("UpdateFunctionCode", CODE_BODY_BYTES_MAX)
}

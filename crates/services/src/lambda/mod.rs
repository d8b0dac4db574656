//! AWS Lambda: functions and their code.
//!
//! Follows the Lambda API of 2015-03-31. Not there yet: invoking, versions and aliases, layers, permissions, URLs,
//! concurrency, event source mappings, code from S3 or an image.

mod account;
pub(crate) mod code;
mod errors;
mod function;
mod name;
mod policy;
mod runtime;
mod settings;
mod tag;

use crate::Service;

/// The largest body of a request that carries a zip of 50 MB in base64.
const CODE_BODY_BYTES_MAX: u64 = 70_167_211;

pub fn service() -> Service {
    Service::new("lambda", include_str!("model.json"), include_str!("overlay.json"))
        .operation("CreateFunction", function::create)
        .operation("DeleteFunction", function::delete)
        .operation("GetFunction", function::get)
        .operation("GetFunctionConfiguration", function::get_configuration)
        .operation("ListFunctions", function::list)
        .operation("ListTags", tag::list)
        .operation("TagResource", tag::tag)
        .operation("UntagResource", tag::untag)
        .operation("UpdateFunctionCode", function::update_code)
        .operation("UpdateFunctionConfiguration", function::update_configuration)
        .body_bytes_max("CreateFunction", CODE_BODY_BYTES_MAX)
        .body_bytes_max("UpdateFunctionCode", CODE_BODY_BYTES_MAX)
}

//! AWS Lambda: functions and their code.
//!
//! Follows the Lambda API of 2015-03-31. Not there yet: invoking, URLs, concurrency, event source mappings, code from
//! S3 or an image.

mod account;
mod alias;
pub(crate) mod code;
pub(crate) mod debris;
mod errors;
mod function;
mod layer;
mod name;
mod permission;
mod policy;
mod release;
mod runtime;
mod settings;
mod tag;
mod update;
mod version;

use crate::Service;

/// The largest body of a request that carries a zip of 50 MB in base64.
const CODE_BODY_BYTES_MAX: u64 = 70_167_211;

pub fn service() -> Service {
    Service::new("lambda", include_str!("model.json"), include_str!("overlay.json"))
        .operation("AddLayerVersionPermission", layer::permission::add)
        .operation("AddPermission", permission::add)
        .operation("CreateAlias", alias::create)
        .operation("CreateFunction", function::create)
        .operation("DeleteAlias", alias::delete)
        .operation("DeleteFunction", function::delete)
        .operation("DeleteLayerVersion", layer::delete)
        .operation("DeleteResourcePolicy", permission::delete_policy)
        .operation("GetAlias", alias::get)
        .operation("GetFunction", function::get)
        .operation("GetFunctionConfiguration", function::get_configuration)
        .operation("GetLayerVersion", layer::get)
        .operation("GetLayerVersionByArn", layer::get_by_arn)
        .operation("GetLayerVersionPolicy", layer::permission::get)
        .operation("GetPolicy", permission::get)
        .operation("GetResourcePolicy", permission::get_policy)
        .operation("ListAliases", alias::list)
        .operation("ListFunctions", function::list)
        .operation("ListLayerVersions", layer::list::versions)
        .operation("ListLayers", layer::list::layers)
        .operation("ListTags", tag::list)
        .operation("ListVersionsByFunction", version::list)
        .operation("PublishLayerVersion", layer::publish)
        .operation("PublishVersion", version::publish_version)
        .operation("PutResourcePolicy", permission::put_policy)
        .operation("RemoveLayerVersionPermission", layer::permission::remove)
        .operation("RemovePermission", permission::remove)
        .operation("TagResource", tag::tag)
        .operation("UntagResource", tag::untag)
        .operation("UpdateAlias", alias::update)
        .operation("UpdateFunctionCode", update::code)
        .operation("UpdateFunctionConfiguration", update::configuration)
        .body_bytes_max("CreateFunction", CODE_BODY_BYTES_MAX)
        .body_bytes_max("PublishLayerVersion", CODE_BODY_BYTES_MAX)
        .body_bytes_max("UpdateFunctionCode", CODE_BODY_BYTES_MAX)
}

//! AWS Lambda: functions and their code.
//!
//! Follows the Lambda API of 2015-03-31. Not there yet: invoking, polling event sources, code from S3.

mod account;
mod alias;
mod behavior;
mod capacity_provider;
pub(crate) mod code;
mod code_signing;
mod concurrency;
pub(crate) mod debris;
mod errors;
mod event_invoke;
mod event_source_mapping;
mod function;
mod layer;
mod name;
mod permission;
mod policy;
mod release;
mod runtime;
mod scaling;
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
        .operation("AddLayerVersionPermission", layer::permission::add)
        .operation("AddPermission", permission::add)
        .operation("CreateAlias", alias::create)
        .operation("CreateCapacityProvider", capacity_provider::create)
        .operation("CreateCodeSigningConfig", code_signing::create)
        .operation("CreateEventSourceMapping", event_source_mapping::create)
        .operation("CreateFunction", function::create)
        .operation("CreateFunctionUrlConfig", url::create)
        .operation("DeleteAlias", alias::delete)
        .operation("DeleteCapacityProvider", capacity_provider::delete)
        .operation("DeleteCodeSigningConfig", code_signing::delete)
        .operation("DeleteEventSourceMapping", event_source_mapping::delete)
        .operation("DeleteFunction", function::delete)
        .operation("DeleteFunctionCodeSigningConfig", code_signing::delete_of_function)
        .operation("DeleteFunctionConcurrency", concurrency::delete_reserved)
        .operation("DeleteFunctionEventInvokeConfig", event_invoke::delete)
        .operation("DeleteFunctionUrlConfig", url::delete)
        .operation("DeleteLayerVersion", layer::delete)
        .operation("DeleteProvisionedConcurrencyConfig", concurrency::delete_provisioned)
        .operation("DeleteResourcePolicy", permission::delete_policy)
        .operation("GetAccountSettings", account::get_settings)
        .operation("GetAlias", alias::get)
        .operation("GetCapacityProvider", capacity_provider::get)
        .operation("GetCodeSigningConfig", code_signing::get)
        .operation("GetEventSourceMapping", event_source_mapping::get)
        .operation("GetFunction", function::get)
        .operation("GetFunctionCodeSigningConfig", code_signing::get_of_function)
        .operation("GetFunctionConcurrency", concurrency::get_reserved)
        .operation("GetFunctionConfiguration", function::get_configuration)
        .operation("GetFunctionEventInvokeConfig", event_invoke::get)
        .operation("GetFunctionRecursionConfig", behavior::get_recursion)
        .operation("GetFunctionScalingConfig", scaling::get)
        .operation("GetFunctionUrlConfig", url::get)
        .operation("GetLayerVersion", layer::get)
        .operation("GetLayerVersionByArn", layer::get_by_arn)
        .operation("GetLayerVersionPolicy", layer::permission::get)
        .operation("GetPolicy", permission::get)
        .operation("GetProvisionedConcurrencyConfig", concurrency::get_provisioned)
        .operation("GetResourcePolicy", permission::get_policy)
        .operation("GetRuntimeManagementConfig", behavior::get_runtime_management)
        .operation("ListAliases", alias::list)
        .operation("ListCapacityProviders", capacity_provider::list)
        .operation("ListCodeSigningConfigs", code_signing::list)
        .operation("ListEventSourceMappings", event_source_mapping::list)
        .operation("ListFunctionEventInvokeConfigs", event_invoke::list)
        .operation("ListFunctionUrlConfigs", url::list)
        .operation("ListFunctionVersionsByCapacityProvider", capacity_provider::list_function_versions)
        .operation("ListFunctions", function::list)
        .operation("ListFunctionsByCodeSigningConfig", code_signing::list_functions)
        .operation("ListLayerVersions", layer::list::versions)
        .operation("ListLayers", layer::list::layers)
        .operation("ListProvisionedConcurrencyConfigs", concurrency::list_provisioned)
        .operation("ListTags", tag::list)
        .operation("ListVersionsByFunction", version::list)
        .operation("PublishLayerVersion", layer::publish)
        .operation("PublishVersion", version::publish_version)
        .operation("PutFunctionCodeSigningConfig", code_signing::put_of_function)
        .operation("PutFunctionConcurrency", concurrency::put_reserved)
        .operation("PutFunctionEventInvokeConfig", event_invoke::put)
        .operation("PutFunctionRecursionConfig", behavior::put_recursion)
        .operation("PutFunctionScalingConfig", scaling::put)
        .operation("PutProvisionedConcurrencyConfig", concurrency::put_provisioned)
        .operation("PutResourcePolicy", permission::put_policy)
        .operation("PutRuntimeManagementConfig", behavior::put_runtime_management)
        .operation("RemoveLayerVersionPermission", layer::permission::remove)
        .operation("RemovePermission", permission::remove)
        .operation("TagResource", tag::tag)
        .operation("UntagResource", tag::untag)
        .operation("UpdateAlias", alias::update)
        .operation("UpdateCapacityProvider", capacity_provider::update)
        .operation("UpdateCodeSigningConfig", code_signing::update)
        .operation("UpdateEventSourceMapping", event_source_mapping::update)
        .operation("UpdateFunctionCode", update::code)
        .operation("UpdateFunctionConfiguration", update::configuration)
        .operation("UpdateFunctionEventInvokeConfig", event_invoke::update)
        .operation("UpdateFunctionUrlConfig", url::update)
        .body_bytes_max("CreateFunction", CODE_BODY_BYTES_MAX)
        .body_bytes_max("PublishLayerVersion", CODE_BODY_BYTES_MAX)
        .body_bytes_max("UpdateFunctionCode", CODE_BODY_BYTES_MAX)
}

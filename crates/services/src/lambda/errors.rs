//! Lambda's errors, in AWS's words.

use base::AwsError;

use crate::Ctx;

/// Lambda's own exceptions say whose mistake it was in a member beside the message.
fn user(status: u16, code: &str, message: impl Into<String>) -> AwsError {
    AwsError::client(status, code, message).with_member("Type", "User")
}

pub fn invalid_parameter(message: impl Into<String>) -> AwsError {
    user(400, "InvalidParameterValueException", message)
}

pub fn resource_not_found(message: impl Into<String>) -> AwsError {
    user(404, "ResourceNotFoundException", message)
}

pub fn resource_conflict(message: impl Into<String>) -> AwsError {
    user(409, "ResourceConflictException", message)
}

/// `state` is the version's.
pub fn not_invocable(state: &str) -> AwsError {
    resource_conflict(format!(
        "The operation cannot be performed at this time. The function is currently in the following state: {state}"
    ))
}

pub fn hook_failed() -> AwsError {
    user(
        400,
        "SnapStartException",
        "The afterRestore() runtime hook encountered an error. For more information, check the Amazon CloudWatch logs.",
    )
}

/// What [`recursive`] says.
pub const RECURSIVE: &str = "RecursiveInvocationException";

pub fn recursive() -> AwsError {
    user(
        400,
        RECURSIVE,
        "Lambda has detected your function being invoked in a recursive loop with other Amazon Web Services resources and \
         stopped your function's invocation.",
    )
}

pub fn restored_late() -> AwsError {
    user(408, "SnapStartTimeoutException", "Lambda couldn't restore the snapshot within the timeout limit.")
}

pub fn function_not_found(arn: &str) -> AwsError {
    resource_not_found(format!("Function not found: {arn}"))
}

pub fn function_exists(name: &str) -> AwsError {
    resource_conflict(format!("Function already exist: {name}"))
}

/// One that AWS words without saying whose mistake it was.
pub fn untyped_invalid_parameter(message: impl Into<String>) -> AwsError {
    AwsError::client(400, "InvalidParameterValueException", message)
}

pub fn alias_exists(arn: &str) -> AwsError {
    resource_conflict(format!("Alias already exists: {arn}"))
}

pub fn alias_not_found(arn: &str) -> AwsError {
    resource_not_found(format!("Alias not found: {arn}"))
}

pub fn cannot_find_alias(arn: &str) -> AwsError {
    resource_not_found(format!("Cannot find alias arn: {arn}"))
}

pub fn functions_only() -> AwsError {
    invalid_parameter(
        "This operation is permitted on Lambda functions only. Aliases and versions do not support this operation. \
         Please specify either a function name or an unqualified function ARN.",
    )
}

pub fn nothing_provisioned() -> AwsError {
    user(
        404,
        "ProvisionedConcurrencyConfigNotFoundException",
        "No Provisioned Concurrency Config found for this function",
    )
}

pub fn version_has_aliases(aliases: &[String]) -> AwsError {
    resource_conflict(format!(
        "Unable to delete version because the following aliases reference it: [{}]",
        aliases.join(", ")
    ))
}

pub fn code_differs(wanted: &str, current: &str) -> AwsError {
    invalid_parameter(format!(
        "CodeSHA256 ({wanted}) is different from current CodeSHA256 in $LATEST ({current}). \
         Please try again with the CodeSHA256 in $LATEST."
    ))
}

pub fn code_storage_exceeded() -> AwsError {
    user(400, "CodeStorageExceededException", "Code storage limit exceeded.")
}

pub fn invalid_marker() -> AwsError {
    invalid_parameter("Invalid Marker: the marker is not one that this operation handed out to this account.")
}

pub fn revision_mismatch() -> AwsError {
    user(
        412,
        "PreconditionFailedException",
        "The Revision Id provided does not match the latest Revision Id. \
         Call the GetFunction/GetAlias API to retrieve the latest Revision Id",
    )
}

pub fn qualifiers_differ() -> AwsError {
    invalid_parameter("The derived qualifier from the function name does not match the specified qualifier.")
}

pub fn other_region(ctx: &Ctx, region: &str) -> AwsError {
    resource_not_found(format!("Functions from '{region}' are not reachable in this region ('{}')", ctx.cx.region))
}

pub fn other_account(ctx: &Ctx, operation: &str, account: &str, region: Option<&str>, name: &str) -> AwsError {
    let region = region.unwrap_or(ctx.cx.region.as_str());
    let partition = ctx.cx.region.partition();
    AwsError::client(
        403,
        "AccessDeniedException",
        format!(
            "User: {} is not authorized to perform: lambda:{operation} on resource: \
             arn:{partition}:lambda:{region}:{account}:function:{name} because no resource-based policy allows the \
             lambda:{operation} action",
            ctx.cx.principal.arn
        ),
    )
}

pub fn not_a_zip() -> AwsError {
    invalid_parameter("Could not unzip uploaded file. Please check your file, then try to upload again.")
}

pub fn unzipped_too_large(bytes_max: u64) -> AwsError {
    invalid_parameter(format!("Unzipped size must be smaller than {bytes_max} bytes"))
}

pub fn zipped_too_large(bytes_max: u64) -> AwsError {
    user(413, "RequestEntityTooLargeException", format!("Zipped size must be smaller than {bytes_max} bytes"))
}

pub fn requested_resource_not_found() -> AwsError {
    resource_not_found("The resource you requested does not exist.")
}

pub fn no_function_for_url() -> AwsError {
    resource_not_found("Function does not exist")
}

pub fn url_exists(arn: &str) -> AwsError {
    resource_conflict(format!(
        "Failed to create function url config for [functionArn = {arn}]. \
         Error message:  FunctionUrlConfig exists for this Lambda function"
    ))
}

pub fn no_function_for_events() -> AwsError {
    resource_not_found("The function doesn't exist.")
}

pub fn event_invoke_not_configured(arn: &str) -> AwsError {
    resource_not_found(format!("The function {arn} doesn't have an EventInvokeConfig"))
}

pub fn tags_need_a_function() -> AwsError {
    invalid_parameter("Tags on function aliases and versions are not supported. Please specify a function ARN.")
}

pub fn too_many_tags() -> AwsError {
    invalid_parameter("Number of tags exceeds resource tag limit.")
}

pub fn not_authorized(ctx: &Ctx, operation: &str, resource: &str) -> AwsError {
    AwsError::client(
        403,
        "AccessDeniedException",
        format!(
            "User: {} is not authorized to perform: lambda:{operation} on resource: {resource} because no \
             resource-based policy allows the lambda:{operation} action",
            ctx.cx.principal.arn
        ),
    )
}

pub fn layer_version_missing(arn: &str) -> String {
    format!("Layer version {arn} does not exist.")
}

pub fn statement_exists(sid: &str) -> AwsError {
    resource_conflict(format!(
        "The statement id ({sid}) provided already exists. Please provide a new statement id, or remove the existing \
         statement."
    ))
}

pub fn statement_not_found(sid: &str) -> AwsError {
    resource_not_found(format!("Statement {sid} is not found in resource policy."))
}

pub fn no_policy() -> AwsError {
    resource_not_found("No policy is associated with the given resource.")
}

pub fn policy_too_long(bytes: usize, bytes_max: usize) -> AwsError {
    user(
        400,
        "PolicyLengthExceededException",
        format!("The final policy size ({bytes}) is bigger than the limit ({bytes_max})."),
    )
}

pub fn policy_revision_mismatch(api: &str) -> AwsError {
    user(
        412,
        "PreconditionFailedException",
        format!(
            "The Revision Id provided does not match the latest Revision Id. \
             Call the {api} API to retrieve the latest Revision Id"
        ),
    )
}

pub fn invalid_principal() -> AwsError {
    invalid_parameter("The provided principal was invalid. Please check the principal and try again.")
}

pub fn malformed_policy() -> AwsError {
    invalid_parameter("The provided policy is malformed. Please check the policy and try again.")
}

pub fn policy_of_other_resource(arn: &str) -> AwsError {
    invalid_parameter(format!(
        "The provided policy has a resource other than {arn}. Please check the policy and try again."
    ))
}

pub fn no_such_mapping() -> AwsError {
    resource_not_found("The resource you requested does not exist.")
}

pub fn mapping_not_found(arn: &str) -> AwsError {
    resource_not_found(format!("Event source mapping not found: {arn}"))
}

/// Code signing configurations are missed without saying whose mistake it was.
pub fn code_signing_not_found(arn: &str) -> AwsError {
    AwsError::client(
        404,
        "ResourceNotFoundException",
        format!("The Lambda code signing configuration {arn} can not be found."),
    )
}

/// As [`code_signing_not_found`], where a function is to have it.
pub fn code_signing_config_not_found(arn: &str) -> AwsError {
    user(
        404,
        "CodeSigningConfigNotFoundException",
        format!(
            "The code signing configuration cannot be found. \
             Check that the provided configuration is not deleted: {arn}."
        ),
    )
}

/// AWS documents the refusal; the words are ours.
pub fn code_signing_in_use(arn: &str) -> AwsError {
    resource_conflict(format!("The code signing configuration {arn} cannot be deleted while a function uses it."))
}

/// `function` is as AWS shows it there: the name of one that is made, the ARN of one that is there.
pub fn code_not_signed(function: &str) -> AwsError {
    user(
        400,
        "CodeVerificationFailedException",
        format!(
            "Lambda cannot deploy the function. The function or layer might be signed using a signature that the \
             client is not configured to accept. Check the provided signature for {function}."
        ),
    )
}

pub fn capacity_provider_not_found(arn: &str) -> AwsError {
    resource_not_found(format!("Capacity provider not found: {arn}"))
}

/// AWS documents the refusals; the words of this and the next are ours.
pub fn capacity_provider_exists(name: &str) -> AwsError {
    resource_conflict(format!("Capacity provider already exists: {name}"))
}

pub fn capacity_provider_in_use(arn: &str) -> AwsError {
    resource_conflict(format!("The capacity provider {arn} cannot be deleted while function versions use it."))
}

pub fn too_many_capacity_providers(max: usize) -> AwsError {
    user(
        400,
        "CapacityProviderLimitExceededException",
        format!("The maximum number of capacity providers ({max}) for your account has been exceeded."),
    )
}

pub fn invalid_request_content(message: impl Into<String>) -> AwsError {
    user(400, "InvalidRequestContentException", message)
}

/// An event that is no JSON; `complaint` says where it is not.
pub fn no_json(complaint: &str) -> AwsError {
    invalid_request_content(format!(
        "Could not parse request body into json: Could not parse payload into json: {complaint}"
    ))
}

/// This server cannot run it; `why` is a sentence for its owner.
pub fn cannot_run(why: impl Into<String>) -> AwsError {
    AwsError::client(501, "NotImplementedException", why)
}

pub fn event_too_large(bytes_max: usize) -> AwsError {
    let message = format!("Request must be smaller than {bytes_max} bytes for the InvokeFunction operation");
    AwsError::client(413, "RequestEntityTooLargeException", message)
}

pub fn tenant_wanted() -> AwsError {
    invalid_parameter(
        "The invoked function is enabled with tenancy configuration. Add a valid tenant ID in your request and try again.",
    )
}

/// In words of ours: nobody has recorded AWS's.
pub fn tenant_unwanted() -> AwsError {
    invalid_parameter(
        "The invoked function is not enabled with tenancy configuration. Remove the tenant ID from your request and try again.",
    )
}

/// Too many run already; `reason` is AWS's word for what there are too many of.
pub fn rate_exceeded(reason: &str) -> AwsError {
    user(429, "TooManyRequestsException", "Rate Exceeded.").with_member("Reason", reason)
}

//! CloudWatch Logs' errors, in AWS's words.

use base::{AwsError, Cx};

pub fn invalid_parameter(message: impl Into<String>) -> AwsError {
    AwsError::client(400, "InvalidParameterException", message)
}

pub fn validation(message: impl Into<String>) -> AwsError {
    AwsError::client(400, "ValidationException", message)
}

fn not_found(message: impl Into<String>) -> AwsError {
    AwsError::client(400, "ResourceNotFoundException", message)
}

fn exists(message: impl Into<String>) -> AwsError {
    AwsError::client(400, "ResourceAlreadyExistsException", message)
}

pub fn no_group() -> AwsError {
    not_found("The specified log group does not exist.")
}

pub fn no_stream() -> AwsError {
    not_found("The specified log stream does not exist.")
}

pub fn group_exists() -> AwsError {
    exists("The specified log group already exists")
}

pub fn stream_exists() -> AwsError {
    exists("The specified log stream already exists")
}

pub fn invalid_token() -> AwsError {
    invalid_parameter("The specified nextToken is invalid.")
}

pub fn name_too_long() -> AwsError {
    invalid_parameter("Invalid LogGroup or LogStream, both must have length less than or equal to 512.")
}

pub fn reserved_name() -> AwsError {
    invalid_parameter("Log groups starting with AWS/ are reserved for AWS.")
}

pub fn name_and_identifier() -> AwsError {
    validation("LogGroup name and LogGroup ARN are mutually exclusive parameters.")
}

pub fn neither_name_nor_identifier() -> AwsError {
    validation("Either LogGroup name or LogGroup ARN must be given.")
}

pub fn prefix_and_pattern() -> AwsError {
    invalid_parameter("LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.")
}

/// AWS's words for it are not known.
pub fn protected() -> AwsError {
    validation("The log group has deletion protection: disable it first with PutLogGroupDeletionProtection.")
}

pub fn too_many_tags(arn: &str) -> AwsError {
    AwsError::client(400, "TooManyTagsException", "The resource can have no more than 50 tags.")
        .with_member("resourceName", arn)
}

pub fn invalid_arn() -> AwsError {
    validation("Invalid resourceArn")
}

/// AWS's words for it are not known.
pub fn names_and_prefix() -> AwsError {
    invalid_parameter("logStreamNames and logStreamNamePrefix are mutually exclusive parameters.")
}

pub fn session_timed_out() -> AwsError {
    AwsError::client(400, "SessionTimeoutException", "The session has timed out.")
}

pub fn limit_exceeded() -> AwsError {
    AwsError::client(400, "LimitExceededException", "Resource limit exceeded.")
}

pub fn no_metric_filter() -> AwsError {
    not_found("The specified metric filter does not exist.")
}

pub fn no_transformation() -> AwsError {
    invalid_parameter("A metric filter has one metric transformation.")
}

/// AWS's words for it are not known.
pub fn no_transformer() -> AwsError {
    invalid_parameter("applyOnTransformedLogs is valid only for log groups that have an active log transformer.")
}

/// AWS's words for it are not known.
pub fn name_without_namespace() -> AwsError {
    invalid_parameter("metricName and metricNamespace must be given together.")
}

pub fn too_many_queries(max: usize) -> AwsError {
    let message = format!("Account maximum query concurrency limit of [{max}] reached.");
    AwsError::client(400, "LimitExceededException", message)
}

pub fn no_group_of_query(cx: &Cx, name: &str) -> AwsError {
    not_found(format!(
        "Log group '{name}' does not exist for account ID '{}' (Service: AWSLogs; Status Code: 400; Error Code: \
         ResourceNotFoundException; Request ID: {}; Proxy: null)",
        cx.account.as_str(),
        cx.request_id
    ))
}

/// AWS's words for these are not known.
pub fn query_names_no_groups() -> AwsError {
    invalid_parameter("Exactly one of logGroupName, logGroupNames and logGroupIdentifiers must be given.")
}

pub fn query_group_count(max: usize) -> AwsError {
    invalid_parameter(format!("A query is of 1 to {max} log groups."))
}

pub fn query_ends_before_it_starts() -> AwsError {
    invalid_parameter("The end time of a query must not be before its start time.")
}

pub fn no_query() -> AwsError {
    not_found("The specified query does not exist.")
}

pub fn query_is_over() -> AwsError {
    invalid_parameter("The specified query is not running.")
}

pub fn no_query_definition() -> AwsError {
    not_found("The specified query definition does not exist.")
}

pub fn invalid_pointer() -> AwsError {
    invalid_parameter("The specified logRecordPointer is invalid.")
}

pub fn no_record() -> AwsError {
    not_found("The specified log record does not exist.")
}

pub fn no_subscription_filter() -> AwsError {
    not_found("The specified subscription filter does not exist.")
}

/// Also of a function that is not there.
pub fn cannot_invoke() -> AwsError {
    invalid_parameter(
        "Could not execute the lambda function. Make sure you have given CloudWatch Logs permission to execute your \
         function.",
    )
}

pub fn function_of_other_account() -> AwsError {
    AwsError::client(
        400,
        "AccessDeniedException",
        "Cross-account lambda invocation passing is not allowed. You must use DestinationPolicies to create cross \
         account lambda triggers.",
    )
}

pub fn destination_without_role(vendor: &str) -> AwsError {
    invalid_parameter(format!("destinationArn for vendor {vendor} cannot be used without roleArn"))
}

pub fn destination_with_role() -> AwsError {
    invalid_parameter("destinationArn for vendor lambda cannot be used with roleArn")
}

pub fn cannot_deliver(kind: &str) -> AwsError {
    invalid_parameter(format!(
        "Could not deliver test message to specified {kind}. Check if the given {} is in ACTIVE state.",
        kind.replace("Kinesis", "kinesis")
    ))
}

/// AWS's words for it are not known.
pub fn invalid_destination(arn: &str) -> AwsError {
    invalid_parameter(format!("Invalid destinationArn: {arn}"))
}

pub fn no_policy(name: &str) -> AwsError {
    not_found(format!("Policy with name [{name}] does not exist."))
}

/// AWS's words for these are not known.
pub fn must_be_given(member: &str) -> AwsError {
    invalid_parameter(format!("{member} must be given."))
}

pub fn invalid_policy() -> AwsError {
    invalid_parameter("The policy document is no valid JSON.")
}

pub fn policy_too_long(max: usize) -> AwsError {
    invalid_parameter(format!("The policy document has more than {max} characters."))
}

pub fn no_destination() -> AwsError {
    not_found("The specified destination does not exist.")
}

pub fn invalid_destination_target(arn: &str) -> AwsError {
    invalid_parameter(format!("Invalid targetArn: {arn}"))
}

pub fn conflict(message: &str) -> AwsError {
    AwsError::client(400, "ConflictException", message)
}

pub fn no_delivery_resource() -> AwsError {
    validation(
        "destinationResourceArn must name a bucket, a log group or a Firehose stream, of the type that is given.",
    )
}

/// `noun` is what AWS calls a delivery, its source or its destination.
pub fn no_such_delivery(noun: &str) -> AwsError {
    not_found(format!("Requested {noun} does not exist in this account."))
}

pub fn no_service_of_logs() -> AwsError {
    not_found("Cannot access provided service.")
}

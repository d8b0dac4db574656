//! The errors of alarms, in AWS's words.

use base::AwsError;

/// The code that AWS's common errors have; clients of JSON and CBOR see `ValidationException` beside it.
pub fn validation(message: impl Into<String>) -> AwsError {
    AwsError::client(400, "ValidationError", message)
}

/// AWS says nothing beyond the code.
pub fn no_alarm() -> AwsError {
    AwsError::client(404, "ResourceNotFound", "")
}

pub fn invalid_token() -> AwsError {
    AwsError::client(400, "InvalidNextToken", "The next token specified is invalid.")
}

pub fn invalid_format(message: impl Into<String>) -> AwsError {
    AwsError::client(400, "InvalidFormat", message)
}

pub fn must_not_be_null(member: &str) -> AwsError {
    validation(format!("{member} must not be null"))
}

pub fn not_supported(value: &str, parameter: &str) -> AwsError {
    validation(format!("The value {value} for parameter {parameter} is not supported."))
}

pub fn set_beside_metrics(member: &str) -> AwsError {
    validation(format!("{member} should not be set if list of Metrics is set."))
}

pub fn children_missing(names: &[&str]) -> AwsError {
    let names = names.join(", ");
    validation(format!("Could not save the composite alarm as alarms [{names}] in the alarm rule do not exist"))
}

/// `names` have parents.
pub fn has_parents(names: &[String]) -> AwsError {
    let it = if names.len() == 1 { "it" } else { "them" };
    validation(format!("Cannot delete {} as there are composite alarm(s) depending on {it}.", names.join(",")))
}

//! What SQS says of bad input, in its own words where they are on record.

use base::AwsError;

pub const OVER_LIMIT: &str = "OverLimit";

pub fn no_such_queue() -> AwsError {
    AwsError::client(400, "QueueDoesNotExist", "The specified queue does not exist.")
}

pub fn invalid_address(url: &str) -> AwsError {
    AwsError::client(404, "InvalidAddress", format!("The address {url} is not valid for this endpoint."))
}

pub fn access_denied(caller: &str, action: &str, resource: &str) -> AwsError {
    let action = action.to_ascii_lowercase();
    let message = format!(
        "User: {caller} is not authorized to perform: {action} on resource: {resource} because no resource-based policy \
         allows the {action} action"
    );
    AwsError::client(403, "AccessDeniedException", message)
}

pub fn queue_exists(attribute: &str) -> AwsError {
    let message = format!("A queue already exists with the same name and a different value for attribute {attribute}");
    AwsError::client(400, "QueueNameExists", message)
}

pub fn queue_deleted_recently() -> AwsError {
    let message = "You must wait 60 seconds after deleting a queue before you can create another with the same name.";
    AwsError::client(400, "QueueDeletedRecently", message)
}

pub fn purge_in_progress(name: &str) -> AwsError {
    let message = format!("Only one PurgeQueue operation on {name} is allowed every 60 seconds.");
    AwsError::client(403, "PurgeQueueInProgress", message)
}

pub fn invalid(message: impl Into<String>) -> AwsError {
    AwsError::client(400, "InvalidParameterValueException", message)
}

pub fn invalid_value(value: impl std::fmt::Display, parameter: &str, reason: &str) -> AwsError {
    invalid(format!("Value {value} for parameter {parameter} is invalid. Reason: {reason}"))
}

pub fn missing(parameter: &str) -> AwsError {
    let message = format!("The request must contain the parameter {parameter}.");
    AwsError::client(400, "MissingRequiredParameterException", message)
}

pub fn unknown_attribute(name: &str) -> AwsError {
    AwsError::client(400, "InvalidAttributeName", format!("Unknown Attribute {name}."))
}

pub fn fifo_only_attribute(name: &str) -> AwsError {
    let message = format!("You can specify the {name} only when FifoQueue is set to true.");
    AwsError::client(400, "InvalidAttributeName", message)
}

pub fn invalid_attribute(name: &str, reason: Option<&str>) -> AwsError {
    let reason = reason.map(|reason| format!(" Reason: {reason}")).unwrap_or_default();
    AwsError::client(400, "InvalidAttributeValue", format!("Invalid value for the parameter {name}.{reason}"))
}

pub fn invalid_receipt(receipt: &str) -> AwsError {
    let message = format!("The input receipt handle \"{receipt}\" is not a valid receipt handle.");
    AwsError::client(404, "ReceiptHandleIsInvalid", message)
}

pub fn receipt_expired(receipt: &str) -> AwsError {
    invalid_value(receipt, "ReceiptHandle", "The receipt handle has expired.")
}

pub fn not_in_flight(receipt: &str) -> AwsError {
    let reason = "Message does not exist or is not available for visibility timeout change.";
    invalid_value(receipt, "ReceiptHandle", reason)
}

pub fn hidden_too_long() -> AwsError {
    let reason = "Total VisibilityTimeout for the message is beyond the limit [43200 seconds]";
    invalid(format!("Value for parameter VisibilityTimeout is invalid. Reason: {reason}"))
}

pub const INVALID_CHARACTERS: &str = "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to \
                                      #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF.";

pub fn invalid_trace_header() -> AwsError {
    invalid(
        "The value of message system attribute 'AWSTraceHeader' must be a String that is an AWS X-Ray trace header.",
    )
}

pub fn invalid_contents() -> AwsError {
    AwsError::client(400, "InvalidMessageContents", INVALID_CHARACTERS)
}

pub fn too_long(bytes_max: u32) -> AwsError {
    invalid(format!("One or more parameters are invalid. Reason: Message must be shorter than {bytes_max} bytes."))
}

pub fn not_for_this_kind(value: impl std::fmt::Display, parameter: &str) -> AwsError {
    invalid_value(value, parameter, "The request include parameter that is not valid for this queue type.")
}

pub fn no_deduplication_id() -> AwsError {
    invalid(
        "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly",
    )
}

pub fn too_many_in_flight() -> AwsError {
    let message = "Too many messages in flight: delete some that were received, or wait until their time is over.";
    AwsError::client(403, OVER_LIMIT, message)
}

pub fn empty_batch(entry: &str) -> AwsError {
    let message = format!("There should be at least one {entry} in the request.");
    AwsError::client(400, "EmptyBatchRequest", message)
}

pub fn too_many_entries(max: usize, sent: usize) -> AwsError {
    let message = format!("Maximum number of entries per request are {max}. You have sent {sent}.");
    AwsError::client(400, "TooManyEntriesInBatchRequest", message)
}

pub fn invalid_entry_id() -> AwsError {
    let message = "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most 80 \
                   letters long.";
    AwsError::client(400, "InvalidBatchEntryId", message)
}

pub fn ids_not_distinct(id: &str) -> AwsError {
    AwsError::client(400, "BatchEntryIdsNotDistinct", format!("Id {id} repeated."))
}

pub fn batch_too_long(max: usize, sent: usize) -> AwsError {
    let message = format!("Batch requests cannot be longer than {max} bytes. You have sent {sent} bytes.");
    AwsError::client(400, "BatchRequestTooLong", message)
}

pub fn not_found(message: impl Into<String>) -> AwsError {
    AwsError::client(404, "ResourceNotFoundException", message)
}

//! What the operations on several messages at once have in common.

use std::collections::BTreeSet;

use base::{AwsError, Fault};
use serde::Serialize;

use super::errors;

pub const ENTRIES_MAX: usize = 10;
const ID_CHARS_MAX: usize = 80;

/// One that failed, while others did not.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Failed {
    id: String,
    sender_fault: bool,
    code: String,
    message: String,
}

impl Failed {
    pub fn new(id: String, error: AwsError) -> Self {
        Self { id, sender_fault: error.fault == Fault::Client, code: old_code(&error.code), message: error.message }
    }
}

/// Entries of batches have the codes of the Query protocol.
fn old_code(code: &str) -> String {
    match code {
        "InvalidParameterValueException" => "InvalidParameterValue".into(),
        "MissingRequiredParameterException" => "MissingParameter".into(),
        code => code.into(),
    }
}

/// Whether AWS refuses a batch to a FIFO queue for this in one of its entries.
pub fn is_of_whole(error: &AwsError) -> bool {
    error.code == "MissingRequiredParameterException" || *error == errors::no_deduplication_id()
}

/// Such an error, as AWS says it of the batch.
pub fn of_whole(error: AwsError) -> AwsError {
    errors::invalid(error.message)
}

/// Whether a batch is one at all, by the ids of its entries. `entry` is what the API calls them.
pub fn check<'a>(ids: impl ExactSizeIterator<Item = &'a str>, entry: &str) -> Result<(), AwsError> {
    match ids.len() {
        0 => return Err(errors::empty_batch(entry)),
        1..=ENTRIES_MAX => {}
        sent => return Err(errors::too_many_entries(ENTRIES_MAX, sent)),
    }
    let mut known = BTreeSet::new();
    for id in ids {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if !(1..=ID_CHARS_MAX).contains(&id.len()) || !id.bytes().all(is_allowed) {
            return Err(errors::invalid_entry_id());
        }
        if !known.insert(id) {
            return Err(errors::ids_not_distinct(id));
        }
    }
    Ok(())
}

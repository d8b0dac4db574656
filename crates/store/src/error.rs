//! What may go wrong in the store, and what a client of AWS hears of it.

use std::error::Error as StdError;
use std::sync::Arc;

use base::AwsError;

use crate::Space;

/// The cause below an [`Error`], shared by all batches that it struck.
pub type Cause = Arc<dyn StdError + Send + Sync>;

#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The caller passed a limit of `limits.rs`. Services check theirs before, so this is a mistake of ours.
    #[error("store a {what} of {size}: at most {max} are allowed")]
    TooLarge { what: &'static str, size: usize, max: usize },
    /// The bytes of a row are not those that were written. They are never served.
    #[error("read key {key:?} of {space}: its checksum does not match")]
    Corrupt { space: Space, key: bytes::Bytes },
    /// A page of the database, or its structure, is not what was written.
    #[error("read the database: it is damaged")]
    Damaged(#[source] Cause),
    #[error("read key {key:?} of {space}: it is not a key of this table")]
    Key { space: Space, key: bytes::Bytes },
    #[error("read the record under key {key:?} of {space}")]
    Decode { space: Space, key: bytes::Bytes, source: RecordError },
    #[error("encode a record of {space}")]
    Encode { space: Space, source: RecordError },
    /// Nothing was done; the same call may succeed later.
    #[error("reach the store: {reason}")]
    Unavailable { reason: &'static str, source: Option<Cause> },
    /// Whether the batch was committed is not known: ask with an expectation before trying again.
    #[error("learn whether the batch was committed")]
    Unanswered,
    /// A write or sync failed. Whether the batch was committed is not known, nothing more is taken, and the process
    /// must end: what the kernel holds in memory may differ from the disk, so only reading it anew tells.
    #[error("commit: the store stopped after a failed write ({0})")]
    Failed(Arc<str>),
    /// The engine refused a step that should not fail.
    #[error("{step}")]
    Engine { step: &'static str, source: Cause },
}

/// Why the bytes of a record are not a record.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RecordError {
    #[error("understand version {found} of the record: this program knows up to {known}; run the newer one")]
    Newer { found: u8, known: u8 },
    #[error("understand version {0} of the record: no migration from it is known")]
    Unknown(u8),
    #[error("find the parts of the record")]
    Parts,
    #[error("read or write the record as JSON")]
    Json(#[source] Arc<serde_json::Error>),
}

impl From<serde_json::Error> for RecordError {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(Arc::new(error))
    }
}

impl From<Error> for AwsError {
    fn from(error: Error) -> Self {
        let detail = detail(&error);
        match error {
            Error::Unavailable { .. } => Self::unavailable(detail),
            _ => Self::internal(detail),
        }
    }
}

/// What the log says of an error that a caller is not told of.
pub(crate) fn detail(error: &dyn StdError) -> String {
    format!("failed to {}", base::with_causes(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_hears_whether_to_come_back_and_the_log_hears_why() {
        let cause: Cause = Arc::new(std::io::Error::other("no room"));
        let full = AwsError::from(Error::Unavailable { reason: "the disk is full", source: Some(cause) });
        assert_eq!(full.status, 503);
        assert_eq!(full.detail.as_deref(), Some("failed to reach the store: the disk is full: no room"));
        let damaged = AwsError::from(Error::Corrupt { space: Space::new("s"), key: "k".into() });
        assert_eq!(damaged.status, 500);
        assert!(!damaged.message.contains("checksum"), "{}", damaged.message);
    }
}

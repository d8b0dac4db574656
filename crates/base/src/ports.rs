//! The six ports through which crates that must not see each other meet; `lamp` plugs them together.
//!
//! `Authority` is here. `Invoke`, `Deliver`, `Source`, `Telemetry` and `Desired` come with the first code that
//! fills them. A seventh needs a decision record.

use std::sync::Arc;

use crate::{AwsError, BoxFuture, Principal, Secret};

/// A key that may sign requests.
#[derive(Debug, Clone)]
pub struct Credential {
    pub secret_access_key: Secret<String>,
    /// The token that must come with a temporary key.
    pub session_token: Option<Secret<String>>,
    pub principal: Arc<Principal>,
}

/// Who may sign, and what they may do.
pub trait Authority: Send + Sync {
    /// The credential behind an access key id; `None` when nobody has it.
    fn credential<'a>(&'a self, access_key_id: &'a str) -> BoxFuture<'a, Result<Option<Credential>, AwsError>>;
}

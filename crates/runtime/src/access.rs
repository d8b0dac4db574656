//! As whom an instance calls the platform: with a key of its own or its template's, which it finds in its environment, or under
//! SnapStart asks for.

use std::sync::Arc;

use base::ports::FunctionSpec;
use base::{Uuid, hex};

use crate::environment::Beginning;
use crate::http::Credentials;
use crate::limits::{KEY_EXPIRES, SNAPSHOT_KEY_EXPIRES};
use crate::runtime::{Inner, Key};
use crate::template::Template;

pub async fn key(
    inner: &Inner,
    function: &FunctionSpec,
    number: Uuid,
    template: Option<&Template>,
) -> Result<Key, String> {
    match template.and_then(Template::key) {
        Some(key) => Ok(key),
        None => inner.parts.host.issue_key(function, number).await,
    }
}

/// With which a function under SnapStart asks for its key: its snapshot's, which may have it in its memory.
pub fn token(inner: &Inner, function: &FunctionSpec, template: Option<&Template>) -> Option<String> {
    let known = template.and_then(Template::token).map(str::to_owned);
    function.is_snap_start.then(|| known.unwrap_or_else(|| hex::encode(inner.parts.chance.uuid().as_bytes())))
}

pub fn credentials(inner: &Inner, token: String, key: &Key, beginning: Beginning) -> Credentials {
    Credentials {
        token,
        access_key_id: key.access_key_id.clone(),
        secret_access_key: key.secret_access_key.clone(),
        session_token: key.session_token.clone(),
        expires: if beginning == Beginning::Snapshot { SNAPSHOT_KEY_EXPIRES } else { KEY_EXPIRES },
        clock: Arc::clone(&inner.parts.clock),
    }
}

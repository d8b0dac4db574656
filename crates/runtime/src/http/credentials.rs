//! The credentials that a function under SnapStart asks for instead of finding them in its environment, as AWS's SDKs ask
//! a container's host: what began with a snapshot has a key of its own, and clients made before ask for it when theirs
//! has expired.

use std::sync::Arc;
use std::time::Duration;

use ::http::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE};
use ::http::{HeaderMap, HeaderValue, Response, StatusCode};
use base::{Clock, Secret};
use bytes::Bytes;
use serde_json::json;

use super::Reply;

pub const PATH: &str = "/2021-04-23/credentials";

pub struct Credentials {
    /// Who asks shows that it was told by the function's environment.
    pub token: String,
    pub access_key_id: String,
    pub secret_access_key: Secret<String>,
    pub session_token: Option<Secret<String>>,
    /// When whoever has them is to ask again.
    pub expires: Duration,
    pub clock: Arc<dyn Clock>,
}

impl Credentials {
    pub fn reply(&self, headers: &HeaderMap) -> Reply {
        if headers.get(AUTHORIZATION).is_none_or(|given| given.as_bytes() != self.token.as_bytes()) {
            let body = json!({ "code": "Unauthorized", "message": "Bad session token or header key" });
            return reply(StatusCode::UNAUTHORIZED, &body);
        }
        let body = json!({
            "AccessKeyId": self.access_key_id,
            "SecretAccessKey": self.secret_access_key.expose(),
            "Token": self.session_token.as_ref().map(Secret::expose),
            "Expiration": self.clock.now().plus(self.expires).iso8601_millis(),
        });
        reply(StatusCode::OK, &body)
    }
}

fn reply(status: StatusCode, body: &serde_json::Value) -> Reply {
    let mut reply = Response::new(Bytes::from(body.to_string()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // Who keeps its connection open has no image.
    reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    reply
}

#[cfg(test)]
mod tests {
    use base::ManualClock;

    use super::*;

    #[test]
    fn who_was_told_the_token_has_the_key_for_a_while() {
        let credentials = Credentials {
            token: "token".into(),
            access_key_id: "ASIA".into(),
            secret_access_key: Secret::new("secret".into()),
            session_token: None,
            expires: Duration::from_secs(300),
            clock: Arc::new(ManualClock::default()),
        };
        let ask = |token: Option<&'static str>| {
            let given = token.map(|token| (AUTHORIZATION, HeaderValue::from_static(token)));
            credentials.reply(&given.into_iter().collect())
        };
        assert_eq!(ask(Some("token")).status(), StatusCode::OK);
        let body = String::from_utf8(ask(Some("token")).into_body().to_vec()).unwrap();
        assert!(body.contains("\"ASIA\"") && body.contains("1970-01-01T00:05:00.000Z"), "{body}");
        for wrong in [None, Some("tok"), Some("Bearer token")] {
            assert_eq!(ask(wrong).status(), StatusCode::UNAUTHORIZED);
        }
    }
}

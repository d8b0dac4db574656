//! Signs requests of our own: presigned URLs that we hand out, and calls that we make.

use std::time::Duration;

use base::{Secret, Timestamp, hex};
use http::header::{HeaderMap, HeaderName, HeaderValue, InvalidHeaderValue};

use super::canonical::Request;
use super::key::SigningKey;
use super::verify::string_to_sign;
use super::{ALGORITHM, EMPTY_SHA256, Head, Scope, UNSIGNED_PAYLOAD, is_s3};
use crate::percent;

/// Who signs, for which service and when.
#[derive(Debug, Clone, Copy)]
pub struct Signer<'a> {
    pub access_key_id: &'a str,
    pub secret_access_key: &'a Secret<String>,
    pub session_token: Option<&'a Secret<String>>,
    pub region: &'a str,
    pub service: &'a str,
    pub now: Timestamp,
}

impl Signer<'_> {
    fn scope(&self) -> Scope {
        let day = self.now.basic();
        Scope::new(self.access_key_id, day.get(..8).unwrap_or_default(), self.region, self.service)
    }

    fn signature(&self, scope: &Scope, request: &Request<'_>) -> String {
        let text = string_to_sign(&self.now.basic(), scope, &request.write());
        SigningKey::derive(self.secret_access_key.expose(), scope).sign_hex(text.as_bytes())
    }
}

/// The headers that sign the request which `head` describes: those of `head` and the date, token and authorisation.
/// `payload` is the hash of the body in hex, or a declaration such as `UNSIGNED-PAYLOAD` for S3.
pub fn sign(signer: &Signer<'_>, head: &Head<'_>, payload: &str) -> Result<HeaderMap, InvalidHeaderValue> {
    let mut headers = head.headers.clone();
    headers.insert("x-amz-date", HeaderValue::from_str(&signer.now.basic())?);
    if let Some(token) = signer.session_token {
        headers.insert("x-amz-security-token", HeaderValue::from_str(token.expose())?);
    }
    if is_s3(signer.service) {
        headers.insert("x-amz-content-sha256", HeaderValue::from_str(payload)?);
    }
    let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).filter(|name| *name != "authorization").collect();
    names.push("host");
    names.sort_unstable();
    names.dedup();
    let signed_headers = names.join(";");
    let scope = signer.scope();
    let signature = signer.signature(
        &scope,
        &Request {
            head: Head { headers: &headers, ..*head },
            signed_headers: &signed_headers,
            payload,
            raw_path: is_s3(signer.service),
            presigned: false,
        },
    );
    let authorization =
        format!("{ALGORITHM} Credential={}, SignedHeaders={signed_headers}, Signature={signature}", scope.as_str());
    headers.insert("authorization", HeaderValue::from_str(&authorization)?);
    Ok(headers)
}

/// The query of a presigned URL for the method, host, path and query of `head`, whose headers do not count. The body,
/// if there is one, is not signed for S3 and has to be empty for all others.
pub fn presign(signer: &Signer<'_>, head: &Head<'_>, expires: Duration) -> String {
    let scope = signer.scope();
    let mut query = head.query.to_owned();
    let mut push = |name: &str, value: &str| {
        let mut encoded = Vec::new();
        percent::encode(value.as_bytes(), &mut encoded);
        if !query.is_empty() {
            query.push('&');
        }
        query.push_str(name);
        query.push('=');
        query.push_str(&String::from_utf8_lossy(&encoded));
    };
    push("X-Amz-Algorithm", ALGORITHM);
    push("X-Amz-Credential", scope.as_str());
    push("X-Amz-Date", &signer.now.basic());
    push("X-Amz-Expires", &expires.as_secs().to_string());
    push("X-Amz-SignedHeaders", "host");
    if let Some(token) = signer.session_token {
        push("X-Amz-Security-Token", token.expose());
    }
    let empty = hex::encode(&EMPTY_SHA256);
    let signature = signer.signature(
        &scope,
        &Request {
            head: Head { query: &query, ..*head },
            signed_headers: "host",
            payload: if is_s3(signer.service) { UNSIGNED_PAYLOAD } else { &empty },
            raw_path: is_s3(signer.service),
            presigned: true,
        },
    );
    query + "&X-Amz-Signature=" + &signature
}

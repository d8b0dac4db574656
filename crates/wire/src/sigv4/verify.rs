//! Checks a [`Claim`] against the request, the credential and the clock.

use base::ports::Credential;
use base::{Region, Timestamp, hex};
use ring::digest;

use super::canonical::Request;
use super::error::{Mismatch, ScopeFault};
use super::key::{KeyCache, SigningKey};
use super::{
    ALGORITHM, AuthError, Claim, EMPTY_SHA256, Form, Head, Payload, Scope, Streaming, TERMINATOR, UNSIGNED_PAYLOAD,
    is_s3,
};
use crate::limits::SIGNATURE_SKEW_MAX;

/// Headers that need no signature of their own: the first is the last line of every canonical request that it
/// declares, the second is compared with the token that belongs to the key. Some clients add them after signing.
const BOUND_OTHERWISE: [&str; 2] = ["x-amz-content-sha256", "x-amz-security-token"];

/// What the server knows of the body when it checks the signature.
#[derive(Debug, Clone, Copy)]
pub enum Body {
    /// The hash of all of it.
    Sha256([u8; 32]),
    /// It is yet to come, in chunks or events that prove themselves. Only for [`Payload::Streaming`].
    Streamed,
}

impl Body {
    /// Of a request without a body.
    pub const EMPTY: Self = Self::Sha256(EMPTY_SHA256);
}

/// What the claim has to fit.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// The signing name of the service that the request goes to.
    pub service: &'a str,
    /// By the machine's clock.
    pub now: Timestamp,
}

/// A head whose signature is right: what the chunks of its body are checked with.
#[derive(Debug, Clone)]
pub struct Verified {
    pub(super) key: SigningKey,
    pub(super) scope: Scope,
    pub(super) signed_at_text: String,
    pub(super) signature: String,
}

/// Verifies signatures, and keeps the signing keys that it derived. One a server.
#[derive(Default)]
pub struct Verifier {
    keys: KeyCache,
}

impl Verifier {
    /// Whether `claim` holds for the request. `credential` is what the claimed key id stands for, `None` if for
    /// nothing. Of several faults the first in AWS's order is answered: time, signed headers, scope, key, signature,
    /// body, session token.
    pub fn verify(
        &self,
        claim: &Claim,
        head: &Head<'_>,
        body: Body,
        credential: Option<&Credential>,
        rules: &Rules<'_>,
    ) -> Result<Verified, AuthError> {
        check_time(claim, rules.now)?;
        check_signed_headers(claim, head)?;
        check_scope(claim, rules)?;
        let Some(credential) = credential else {
            return Err(AuthError::UnknownKey(claim.scope.access_key_id().into()));
        };
        let payload = payload_line(claim, body)?;
        let key = self.check_signature(claim, head, payload.as_ref(), credential)?;
        check_body(claim, body)?;
        check_token(claim, credential)?;
        Ok(Verified {
            key,
            scope: claim.scope.clone(),
            signed_at_text: claim.signed_at_text.clone(),
            signature: claim.signature.clone(),
        })
    }

    fn check_signature(
        &self,
        claim: &Claim,
        head: &Head<'_>,
        payload: &str,
        credential: &Credential,
    ) -> Result<SigningKey, AuthError> {
        let canonical = Request {
            head: *head,
            signed_headers: &claim.signed_headers,
            payload,
            raw_path: is_s3(claim.scope.service()),
            presigned: matches!(claim.form, Form::Query { .. }),
        }
        .write();
        let text = string_to_sign(&claim.signed_at_text, &claim.scope, &canonical);
        let secret = credential.secret_access_key.expose();
        let (key, kept) = self.keys.key(secret, &claim.scope);
        if !key.verify(text.as_bytes(), &claim.signature) {
            return Err(AuthError::Mismatch(Box::new(Mismatch {
                access_key_id: claim.scope.access_key_id().into(),
                signature: claim.signature.clone(),
                canonical_request: String::from_utf8_lossy(&canonical).into_owned(),
                string_to_sign: text,
            })));
        }
        if !kept {
            self.keys.keep(secret, &claim.scope, &key);
        }
        Ok(key)
    }
}

pub(super) fn string_to_sign(signed_at: &str, scope: &Scope, canonical: &[u8]) -> String {
    let mut text = String::with_capacity(160);
    for line in [ALGORITHM, signed_at, scope.tail()] {
        text.push_str(line);
        text.push('\n');
    }
    hex::push(digest::digest(&digest::SHA256, canonical).as_ref(), &mut text);
    text
}

fn check_time(claim: &Claim, now: Timestamp) -> Result<(), AuthError> {
    let signed_at = claim.signed_at;
    let presigned = matches!(claim.form, Form::Query { .. });
    if signed_at > now.plus(SIGNATURE_SKEW_MAX) {
        return Err(AuthError::NotYetCurrent { signed_at, now, presigned });
    }
    match claim.form {
        Form::Header if signed_at < now.minus(SIGNATURE_SKEW_MAX) => Err(AuthError::Expired { signed_at, now }),
        Form::Query { expires } if signed_at.plus(expires) < now => {
            Err(AuthError::PresignedExpired { signed_at, expires, now })
        }
        _ => Ok(()),
    }
}

/// The host and every `x-amz-` header have to be signed: they say what is asked, and of whom.
fn check_signed_headers(claim: &Claim, head: &Head<'_>) -> Result<(), AuthError> {
    let signed = |name: &str| claim.signed_headers.split(';').any(|signed| signed == name);
    if !signed("host") && !signed(":authority") {
        return Err(AuthError::HostUnsigned);
    }
    let unsigned = |name: &&str| name.starts_with("x-amz-") && !BOUND_OTHERWISE.contains(name) && !signed(name);
    let unsigned: Vec<_> = head.headers.keys().map(|name| name.as_str()).filter(unsigned).map(str::to_owned).collect();
    if unsigned.is_empty() { Ok(()) } else { Err(AuthError::HeadersUnsigned(unsigned)) }
}

/// Any region will do, as long as it could be one.
fn check_scope(claim: &Claim, rules: &Rules<'_>) -> Result<(), AuthError> {
    let scope = &claim.scope;
    let time = &claim.signed_at_text;
    let day = time.get(..8).unwrap_or_default();
    let region_valid = scope.region().parse::<Region>().is_ok();
    if region_valid && scope.service() == rules.service && scope.terminator() == TERMINATOR && scope.date() == day {
        return Ok(());
    }
    let wrong = |given: &str, right: bool| (!right).then(|| given.to_owned());
    Err(AuthError::Scope(Box::new(ScopeFault {
        region: wrong(scope.region(), region_valid),
        service: wrong(scope.service(), scope.service() == rules.service).map(|given| (rules.service.into(), given)),
        terminator: wrong(scope.terminator(), scope.terminator() == TERMINATOR),
        date: wrong(scope.date(), scope.date() == day).map(|date| (date, day.into(), time.clone())),
        query: matches!(claim.form, Form::Query { .. }),
    })))
}

/// The last line of the canonical request. S3 signs what the client declares; all others sign the body itself, so
/// that there a declaration changes nothing.
fn payload_line(claim: &Claim, body: Body) -> Result<Box<str>, AuthError> {
    let s3 = is_s3(claim.scope.service());
    let presigned = matches!(claim.form, Form::Query { .. });
    match (claim.payload, body) {
        (Payload::Streaming(streaming), Body::Streamed) if s3 || streaming == Streaming::Events => {
            Ok(streaming.as_str().into())
        }
        (_, Body::Streamed) => Err(AuthError::PayloadUndeclared),
        (Payload::Sha256(hash), _) if s3 => Ok(hex::encode(&hash).into()),
        (Payload::Unsigned, _) if s3 => Ok(UNSIGNED_PAYLOAD.into()),
        (Payload::Undeclared, _) if s3 && presigned => Ok(UNSIGNED_PAYLOAD.into()),
        // In chunks by declaration, but taken as a whole: the chunks would go unchecked.
        (Payload::Undeclared | Payload::Streaming(_), _) if s3 => Err(AuthError::PayloadUndeclared),
        (_, Body::Sha256(hash)) => Ok(hex::encode(&hash).into()),
    }
}

fn check_body(claim: &Claim, body: Body) -> Result<(), AuthError> {
    match (claim.payload, body) {
        (Payload::Sha256(declared), Body::Sha256(actual)) if declared != actual => {
            Err(AuthError::BodyHash { declared: hex::encode(&declared), actual: hex::encode(&actual) })
        }
        _ => Ok(()),
    }
}

/// A temporary key comes with its token and no other; a permanent key comes with none.
fn check_token(claim: &Claim, credential: &Credential) -> Result<(), AuthError> {
    match (&claim.session_token, &credential.session_token) {
        (None, None) => Ok(()),
        (Some(given), Some(right)) if same(given.expose().as_bytes(), right.expose().as_bytes()) => Ok(()),
        _ => Err(AuthError::Token),
    }
}

/// Equality that takes the same time wherever two texts of one length differ. `black_box` keeps the compiler from
/// leaving the loop early.
fn same(a: &[u8], b: &[u8]) -> bool {
    let differing = a.iter().zip(b).fold(0, |bits, (a, b)| std::hint::black_box(bits | (a ^ b)));
    a.len() == b.len() && differing == 0
}

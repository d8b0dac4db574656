//! Signature V4: who signed a request, and whether the signature is right.
//!
//! Pure: no I/O, no clock; the pipeline gives the head of the request, the hash of its body, the credential and the
//! time. It goes
//!
//! 1. [`parse`]: finds the authorisation in header or query and gives a [`Claim`], or `None` for an unsigned request;
//! 2. [`Verifier::verify`]: date, scope, signed headers, body hash, signature, session token, in the order in which
//!    AWS answers when several are wrong;
//! 3. the operation is looked up by the [`normalised_path`], for that is what was signed;
//! 4. for `aws-chunked` bodies [`chunked::Decoder`], which goes on from the [`Verified`] head.
//!
//! An [`AuthError`] becomes AWS's words by [`AuthError::answer`], one table for all families of services.
//!
//! Follows "Signature Version 4 signing process" of the IAM user guide and, for S3, "Authenticating Requests" of its
//! API reference. Not there yet: S3's POST policies and the asymmetric SigV4a.

mod canonical;
pub mod checksum;
pub mod chunked;
mod error;
pub mod event;
mod key;
mod parse;
mod sign;
#[cfg(test)]
mod vectors;
mod verify;

use std::time::Duration;

use base::{Secret, Timestamp};
use http::HeaderMap;

pub use canonical::normalised_path;
pub use error::{AuthError, Family, ScopeFault};
pub use key::SigningKey;
pub use parse::parse;
pub use sign::{Signer, presign, sign};
pub use verify::{Body, Rules, Verified, Verifier};

pub(crate) const ALGORITHM: &str = "AWS4-HMAC-SHA256";
pub(crate) const TERMINATOR: &str = "aws4_request";
/// SHA-256 of nothing.
const EMPTY_SHA256: [u8; 32] = [
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27, 0xae, 0x41,
    0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
];
pub(crate) const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// What a signature covers of a request, as it came off the wire: nothing decoded, nothing normalised.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    pub method: &'a str,
    pub path: &'a str,
    /// Without the question mark.
    pub query: &'a str,
    /// The `:authority` of HTTP/2 or the `Host` header.
    pub host: &'a str,
    pub headers: &'a HeaderMap,
}

impl<'a> Head<'a> {
    /// The head of a request as hyper delivers it.
    pub fn of(parts: &'a http::request::Parts) -> Self {
        let header = || parts.headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
        Self {
            method: parts.method.as_str(),
            path: parts.uri.path(),
            query: parts.uri.query().unwrap_or_default(),
            host: parts.uri.authority().map(|authority| authority.as_str()).or_else(header).unwrap_or_default(),
            headers: &parts.headers,
        }
    }
}

/// What a request says about who signed it. Nothing in it has been verified.
#[derive(Debug, Clone)]
pub struct Claim {
    pub form: Form,
    pub scope: Scope,
    pub signed_at: Timestamp,
    /// The same as `20260101T000000Z`, which is part of what is signed.
    pub signed_at_text: String,
    /// `;`-separated lower-case names, each once, in the client's order.
    pub signed_headers: String,
    /// Lower-case hex, if the client kept to the form.
    pub signature: String,
    pub session_token: Option<Secret<String>>,
    pub payload: Payload,
}

/// Where the authorisation stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Header,
    /// A presigned URL.
    Query {
        expires: Duration,
    },
}

/// `KEY-ID/YYYYMMDD/REGION/SERVICE/aws4_request`: which key, and for what.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scope(String);

impl Scope {
    pub fn new(access_key_id: &str, date: &str, region: &str, service: &str) -> Self {
        Self(format!("{access_key_id}/{date}/{region}/{service}/{TERMINATOR}"))
    }

    pub fn access_key_id(&self) -> &str {
        self.part(0)
    }

    pub fn date(&self) -> &str {
        self.part(1)
    }

    pub fn region(&self) -> &str {
        self.part(2)
    }

    pub fn service(&self) -> &str {
        self.part(3)
    }

    /// The scope without the key id, as the string to sign has it.
    pub fn tail(&self) -> &str {
        self.0.split_once('/').map_or("", |(_, tail)| tail)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn terminator(&self) -> &str {
        self.part(4)
    }

    /// The parser admits exactly five parts.
    fn part(&self, index: usize) -> &str {
        self.0.split('/').nth(index).unwrap_or_default()
    }
}

/// What the request declares about its body (`x-amz-content-sha256`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// No declaration: the signature covers the hash of the body that arrives.
    Undeclared,
    Sha256([u8; 32]),
    /// `UNSIGNED-PAYLOAD`
    Unsigned,
    /// A body in chunks: `STREAMING-…`
    Streaming(Streaming),
}

/// How a body in chunks proves itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Streaming {
    /// `STREAMING-AWS4-HMAC-SHA256-PAYLOAD`: a signature a chunk.
    Signed,
    /// `STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER`: the same, and a signed trailer.
    SignedTrailer,
    /// `STREAMING-UNSIGNED-PAYLOAD-TRAILER`: no signatures, a checksum in the trailer.
    UnsignedTrailer,
    /// `STREAMING-AWS4-HMAC-SHA256-EVENTS`: an event stream, a signature an event ([`event`]).
    Events,
}

impl Streaming {
    /// The value of `x-amz-content-sha256`, which is also the payload line of the canonical request.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Signed => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
            Self::SignedTrailer => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
            Self::UnsignedTrailer => "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
            Self::Events => "STREAMING-AWS4-HMAC-SHA256-EVENTS",
        }
    }

    const ALL: [Self; 4] = [Self::Signed, Self::SignedTrailer, Self::UnsignedTrailer, Self::Events];
}

/// The services whose paths are signed as they stand, encoded once, and whose payload line is what the client
/// declared. All others normalise and encode twice, and sign the hash of the body.
pub(crate) fn is_s3(service: &str) -> bool {
    matches!(service, "s3" | "s3express" | "s3-object-lambda" | "s3-outposts")
}

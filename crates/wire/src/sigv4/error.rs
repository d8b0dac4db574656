//! What is wrong with an authorisation, and how each family of services says so.
//!
//! Codes, statuses and wording are those that clients of AWS have published. Where a request is wrong in several ways
//! the first in the order of [`super::Verifier::verify`] answers.

use std::time::Duration;

use base::{AwsError, Timestamp};

use super::{ALGORITHM, TERMINATOR};
use crate::limits::{PRESIGNED_LIFETIME_MAX, QUOTED_BYTES_MAX, SHOWN_CANONICAL_BYTES_MAX, SIGNATURE_SKEW_MAX};

/// Services that answer alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// JSON 1.0 and 1.1, and RPC-v2-CBOR: codes end in `Exception`, the status is 400.
    Json,
    /// REST-JSON, such as Lambda: the same codes with 403.
    RestJson,
    /// Query, such as STS: codes without `Exception`.
    Query,
    S3,
}

/// Why a request does not count as signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    #[error("find a signature in the request")]
    Missing,
    #[error("choose between a signature in the header and one in the query")]
    BothForms,
    #[error("read an authorisation of a scheme that is not supported")]
    Scheme,
    #[error("find {missing:?} in the authorization header {header:?}")]
    HeaderIncomplete { missing: Vec<&'static str>, date_missing: bool, header: String },
    #[error("read {part:?} of the authorization header {header:?} as key=value")]
    NotKeyValue { part: String, header: String },
    #[error("find {missing:?} in the query")]
    QueryIncomplete { missing: Vec<&'static str> },
    #[error("accept {0:?} more than once")]
    Duplicate(String),
    #[error("read the signed headers: {0}")]
    SignedHeaders(&'static str),
    #[error("use the algorithm {algorithm:?}")]
    Algorithm { algorithm: String, query: bool },
    #[error("read the credential {credential:?}")]
    Credential { credential: String, query: bool },
    #[error("read the date {date:?}")]
    Date { date: String, query: bool },
    #[error("read the expiry: {0:?}")]
    Expires(ExpiresFault),
    #[error("read the payload declaration {0:?}")]
    PayloadDeclaration(String),
    #[error("find the payload declaration")]
    PayloadUndeclared,
    #[error("accept a signature of {signed_at:?} at {now:?}")]
    Expired { signed_at: Timestamp, now: Timestamp },
    #[error("accept a signature of the future: {signed_at:?} at {now:?}")]
    NotYetCurrent { signed_at: Timestamp, now: Timestamp, presigned: bool },
    #[error("accept a presigned URL of {signed_at:?} at {now:?}")]
    PresignedExpired { signed_at: Timestamp, expires: Duration, now: Timestamp },
    #[error("find the host among the signed headers")]
    HostUnsigned,
    #[error("accept the unsigned headers {0:?}")]
    HeadersUnsigned(Vec<String>),
    #[error("accept the scope of the signature: {0:?}")]
    Scope(Box<ScopeFault>),
    #[error("find the access key {0:?}")]
    UnknownKey(String),
    #[error("accept the session token")]
    Token,
    #[error("accept the session token: it has expired")]
    TokenExpired,
    #[error("match the signature")]
    Mismatch(Box<Mismatch>),
    #[error("match the declared hash of the body")]
    BodyHash { declared: String, actual: String },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpiresFault {
    NotANumber,
    Negative,
    OverAWeek,
}

/// The parts of a scope that are wrong; `None` where one is right.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ScopeFault {
    pub region: Option<String>,
    /// The service that the scope should have named, and the one that it did.
    pub service: Option<(String, String)>,
    pub terminator: Option<String>,
    /// The scope's date, the day of the signature, and its time.
    pub date: Option<(String, String, String)>,
    pub query: bool,
}

/// What we signed, for the client to compare with what it did. Holds nothing that the client did not send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    pub access_key_id: String,
    pub signature: String,
    pub canonical_request: String,
    pub string_to_sign: String,
}

/// The codes of one kind of failure. The JSON families add `Exception`.
struct Code {
    json: &'static str,
    query: &'static str,
    query_status: u16,
    s3: &'static str,
    s3_status: u16,
}

const fn code(json: &'static str, query: &'static str, query_status: u16, s3: &'static str, s3_status: u16) -> Code {
    Code { json, query, query_status, s3, s3_status }
}

impl AuthError {
    /// The failure as a service of `family` words it.
    pub fn answer(&self, family: Family) -> AwsError {
        let code = self.code();
        match family {
            Family::Json => AwsError::client(400, code.json, self.message()),
            Family::RestJson => AwsError::client(403, code.json, self.message()),
            Family::Query => AwsError::client(code.query_status, code.query, self.message()),
            Family::S3 => self.answer_s3(&code),
        }
        .with_detail(self)
    }

    fn code(&self) -> Code {
        const INCOMPLETE: (&str, &str, u16) = ("IncompleteSignatureException", "IncompleteSignature", 400);
        const INVALID: (&str, &str, u16) = ("InvalidSignatureException", "SignatureDoesNotMatch", 403);
        const UNKNOWN: (&str, &str, u16) = ("UnrecognizedClientException", "InvalidClientTokenId", 403);
        const HEADER: &str = "AuthorizationHeaderMalformed";
        const QUERY: &str = "AuthorizationQueryParametersError";
        let with = |(json, query, status), s3, s3_status| code(json, query, status, s3, s3_status);
        let place = |query| if query { QUERY } else { HEADER };
        match self {
            Self::Missing => {
                code("MissingAuthenticationTokenException", "MissingAuthenticationToken", 403, "AccessDenied", 403)
            }
            Self::Scheme => {
                code("MissingAuthenticationTokenException", "MissingAuthenticationToken", 403, "InvalidRequest", 400)
            }
            Self::BothForms => with(INVALID, "InvalidArgument", 400),
            Self::HeaderIncomplete { date_missing: true, missing, .. } if missing.is_empty() => {
                with(INCOMPLETE, "AccessDenied", 403)
            }
            Self::HeaderIncomplete { .. } | Self::NotKeyValue { .. } => with(INCOMPLETE, HEADER, 400),
            Self::QueryIncomplete { .. } | Self::Expires(_) => with(INCOMPLETE, QUERY, 400),
            Self::Duplicate(_) | Self::SignedHeaders(_) => with(INCOMPLETE, "InvalidArgument", 400),
            Self::Algorithm { query, .. } | Self::Credential { query, .. } => with(INCOMPLETE, place(*query), 400),
            Self::Date { query: true, .. } => with(INCOMPLETE, QUERY, 400),
            Self::Date { query: false, .. } => with(INCOMPLETE, "AccessDenied", 403),
            Self::PayloadDeclaration(_) => with(INVALID, "InvalidArgument", 400),
            Self::PayloadUndeclared => with(INVALID, "InvalidRequest", 400),
            Self::NotYetCurrent { presigned: true, .. } => with(INVALID, "AccessDenied", 403),
            Self::Expired { .. } | Self::NotYetCurrent { .. } => with(INVALID, "RequestTimeTooSkewed", 403),
            Self::PresignedExpired { .. } | Self::HeadersUnsigned(_) => with(INVALID, "AccessDenied", 403),
            Self::HostUnsigned => with(INVALID, "AccessDenied", 403),
            Self::Scope(fault) => with(INVALID, place(fault.query), 400),
            Self::UnknownKey(_) => with(UNKNOWN, "InvalidAccessKeyId", 403),
            Self::Token => with(UNKNOWN, "InvalidToken", 400),
            Self::TokenExpired => code("ExpiredTokenException", "ExpiredToken", 403, "ExpiredToken", 400),
            Self::Mismatch(_) => with(INVALID, "SignatureDoesNotMatch", 403),
            Self::BodyHash { .. } => with(INVALID, "XAmzContentSHA256Mismatch", 400),
        }
    }
}

// ---- the words of all families but S3

const MISMATCH: &str = "The request signature we calculated does not match the signature you provided. Check your AWS \
                        Secret Access Key and signing method. Consult the service documentation for details.";
const TOKEN_INVALID: &str = "The security token included in the request is invalid.";
const SKEW_MINUTES: u64 = SIGNATURE_SKEW_MAX.as_secs() / 60;

impl AuthError {
    fn message(&self) -> String {
        match self {
            Self::Missing | Self::Scheme => "Request is missing Authentication Token".into(),
            Self::BothForms => {
                "Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header.".into()
            }
            Self::HeaderIncomplete { missing, date_missing, header } => {
                header_incomplete(missing, *date_missing) + "Authorization=" + header
            }
            Self::NotKeyValue { part, header } => {
                format!("'{part}' not a valid key=value pair (missing equal-sign) in Authorization header: '{header}'.")
            }
            Self::QueryIncomplete { missing } => query_incomplete(missing),
            Self::Duplicate(name) => format!("'{name}' must not be given more than once."),
            Self::SignedHeaders(fault) => format!("Signed headers cannot be read: {fault}."),
            Self::Algorithm { algorithm, .. } => {
                format!("Unsupported AWS 'algorithm': '{algorithm}' (only {ALGORITHM} for now). ")
            }
            Self::Credential { credential, .. } => format!(
                "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got \
                 '{credential}'"
            ),
            Self::Date { date, .. } => format!(
                "Date must be in ISO-8601 'basic format'. Got '{date}'. See http://en.wikipedia.org/wiki/ISO_8601"
            ),
            Self::Expires(fault) => fault.message().into(),
            Self::PayloadDeclaration(_) | Self::PayloadUndeclared | Self::BodyHash { .. } => MISMATCH.into(),
            Self::Expired { signed_at, now } => {
                let (signed, limit, now) = (signed_at.basic(), now.minus(SIGNATURE_SKEW_MAX).basic(), now.basic());
                format!("Signature expired: {signed} is now earlier than {limit} ({now} - {SKEW_MINUTES} min.)")
            }
            Self::NotYetCurrent { signed_at, now, .. } => {
                let (signed, limit, now) = (signed_at.basic(), now.plus(SIGNATURE_SKEW_MAX).basic(), now.basic());
                format!("Signature not yet current: {signed} is still later than {limit} ({now} + {SKEW_MINUTES} min.)")
            }
            Self::PresignedExpired { signed_at, expires, now } => {
                let (signed, limit, now) = (signed_at.basic(), now.minus(*expires).basic(), now.basic());
                let (life, unit) = match expires.as_secs() {
                    secs if secs % 60 == 0 => (secs / 60, "min"),
                    secs => (secs, "sec"),
                };
                format!("Signature expired: {signed} is now earlier than {limit} ({now} - {life} {unit}.)")
            }
            Self::HostUnsigned => "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.".into(),
            Self::HeadersUnsigned(names) => {
                let names: Vec<_> = names.iter().map(|name| format!("'{name}'")).collect();
                format!("{} must be a 'SignedHeader' in the AWS Authorization.", names.join(", "))
            }
            Self::Scope(fault) => fault.message(),
            Self::UnknownKey(_) | Self::Token => TOKEN_INVALID.into(),
            Self::TokenExpired => "The security token included in the request is expired".into(),
            Self::Mismatch(mismatch) => mismatch.message(),
        }
    }
}

fn header_incomplete(missing: &[&str], date_missing: bool) -> String {
    let mut text = String::new();
    for parameter in missing {
        text += &format!("Authorization header requires '{parameter}' parameter. ");
    }
    if date_missing {
        text += "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ";
    }
    text
}

fn query_incomplete(missing: &[&str]) -> String {
    let mut text = String::new();
    for parameter in missing {
        text += &format!("AWS query-string parameters must include '{parameter}'. ");
    }
    text + "Re-examine the query-string parameters."
}

impl ExpiresFault {
    const fn message(self) -> &'static str {
        match self {
            Self::NotANumber => "X-Amz-Expires should be a number",
            Self::Negative => "X-Amz-Expires must be non-negative",
            Self::OverAWeek => {
                "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less \
                 than 604800 seconds"
            }
        }
    }
}

impl ScopeFault {
    pub fn is_empty(&self) -> bool {
        self.region.is_none() && self.service.is_none() && self.terminator.is_none() && self.date.is_none()
    }

    fn message(&self) -> String {
        let mut text = String::new();
        if let Some(region) = &self.region {
            text += &format!("Credential should be scoped to a valid region, not '{region}'. ");
        }
        if let Some((service, _)) = &self.service {
            text += &format!("Credential should be scoped to correct service: '{service}'. ");
        }
        if let Some(terminator) = &self.terminator {
            text +=
                &format!("Credential should be scoped with a valid terminator: '{TERMINATOR}', not '{terminator}'. ");
        }
        if let Some((date, day, time)) = &self.date {
            text += &format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{date}' \
                 != '{day}', from '{time}'."
            );
        }
        text
    }

    fn message_s3(&self) -> String {
        let what = match self {
            Self { date: Some((date, day, _)), .. } => {
                format!("Invalid credential date \"{date}\". This date is not the same as X-Amz-Date: \"{day}\".")
            }
            Self { region: Some(region), .. } => format!("the region '{region}' is wrong"),
            Self { service: Some((service, given)), .. } => {
                format!("incorrect service \"{given}\". This endpoint belongs to \"{service}\".")
            }
            Self { terminator, .. } => {
                let terminator = terminator.as_deref().unwrap_or_default();
                format!("incorrect terminal \"{terminator}\". This endpoint uses \"{TERMINATOR}\".")
            }
        };
        if self.query {
            format!("Error parsing the X-Amz-Credential parameter; {what}")
        } else {
            format!("The authorization header is malformed; {what}")
        }
    }
}

impl Mismatch {
    /// AWS shows what it signed; so do we, unless it is long. A session token within it would travel into logs, so
    /// those requests get the sentence alone.
    fn message(&self) -> String {
        if !self.may_be_shown() {
            return MISMATCH.into();
        }
        let Self { canonical_request, string_to_sign, .. } = self;
        format!(
            "{MISMATCH}\n\nThe Canonical String for this request should have been\n'{canonical_request}'\n\nThe \
             String-to-Sign should have been\n'{string_to_sign}'\n"
        )
    }

    fn may_be_shown(&self) -> bool {
        self.canonical_request.len() <= SHOWN_CANONICAL_BYTES_MAX
            && !self.canonical_request.to_ascii_lowercase().contains("x-amz-security-token")
    }
}

// ---- S3's own words

pub(super) const MISMATCH_S3: &str = "The request signature we calculated does not match the signature you provided. \
                                      Check your key and signing method.";
const NO_DATE_S3: &str = "AWS authentication requires a valid Date or x-amz-date header";

impl AuthError {
    fn answer_s3(&self, code: &Code) -> AwsError {
        let error = AwsError::client(code.s3_status, code.s3, self.message_s3());
        match self {
            Self::NotYetCurrent { presigned: true, .. } => error,
            Self::Expired { signed_at, now } | Self::NotYetCurrent { signed_at, now, .. } => error
                .with_member("RequestTime", signed_at.basic())
                .with_member("ServerTime", now.iso8601())
                .with_member("MaxAllowedSkewMilliseconds", SIGNATURE_SKEW_MAX.as_millis().to_string()),
            Self::PresignedExpired { signed_at, expires, now } => error
                .with_member("X-Amz-Expires", expires.as_secs().to_string())
                .with_member("Expires", signed_at.plus(*expires).iso8601())
                .with_member("ServerTime", now.iso8601()),
            Self::HeadersUnsigned(names) => error.with_member("HeadersNotSigned", names.join(", ")),
            Self::UnknownKey(key) => error.with_member("AWSAccessKeyId", key),
            Self::BodyHash { declared, actual } => error
                .with_member("ClientComputedContentSHA256", declared)
                .with_member("S3ComputedContentSHA256", actual),
            Self::PayloadDeclaration(value) => {
                error.with_member("ArgumentName", "x-amz-content-sha256").with_member("ArgumentValue", value)
            }
            Self::Mismatch(mismatch) => {
                let error = error
                    .with_member("AWSAccessKeyId", &mismatch.access_key_id)
                    .with_member("SignatureProvided", &mismatch.signature);
                match mismatch.may_be_shown() {
                    true => error
                        .with_member("StringToSign", &mismatch.string_to_sign)
                        .with_member("CanonicalRequest", &mismatch.canonical_request),
                    false => error,
                }
            }
            _ => error,
        }
    }

    fn message_s3(&self) -> String {
        match self {
            Self::Missing => "Access Denied".into(),
            Self::Scheme | Self::Algorithm { query: false, .. } => {
                format!("The authorization mechanism you have provided is not supported. Please use {ALGORITHM}.")
            }
            Self::BothForms => "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature \
                                query string parameter or the Authorization header should be specified"
                .into(),
            Self::Date { query: false, .. } => NO_DATE_S3.into(),
            Self::HeaderIncomplete { date_missing: true, missing, .. } if missing.is_empty() => NO_DATE_S3.into(),
            Self::HeaderIncomplete { .. } | Self::NotKeyValue { .. } | Self::Credential { query: false, .. } => {
                format!("The authorization header is malformed; {}", self.malformed_s3())
            }
            Self::Credential { query: true, .. } => {
                format!("Error parsing the X-Amz-Credential parameter; {}", self.malformed_s3())
            }
            Self::QueryIncomplete { .. } | Self::Algorithm { query: true, .. } | Self::Date { query: true, .. } => {
                self.malformed_s3()
            }
            Self::PayloadDeclaration(_) => {
                "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, \
                 STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 \
                 value."
                    .into()
            }
            Self::PayloadUndeclared => "Missing required header for this request: x-amz-content-sha256".into(),
            Self::NotYetCurrent { presigned: true, .. } => "Request is not valid yet".into(),
            Self::Expired { .. } | Self::NotYetCurrent { .. } => {
                "The difference between the request time and the current time is too large.".into()
            }
            Self::PresignedExpired { .. } => "Request has expired".into(),
            Self::HostUnsigned | Self::HeadersUnsigned(_) => {
                "There were headers present in the request which were not signed".into()
            }
            Self::Scope(fault) => fault.message_s3(),
            Self::UnknownKey(_) => "The AWS Access Key Id you provided does not exist in our records.".into(),
            Self::Token => "The provided token is malformed or otherwise invalid.".into(),
            Self::TokenExpired => "The provided token has expired.".into(),
            Self::Mismatch(_) => MISMATCH_S3.into(),
            Self::BodyHash { .. } => {
                "The provided 'x-amz-content-sha256' header does not match what was computed.".into()
            }
            Self::Duplicate(_) | Self::SignedHeaders(_) | Self::Expires(_) => self.message(),
        }
    }

    /// What cannot be read of the authorisation.
    fn malformed_s3(&self) -> String {
        match self {
            Self::HeaderIncomplete { missing, .. } => {
                let first = missing.first().copied().unwrap_or_default();
                format!("the authorization component \"{first}\" is missing.")
            }
            Self::NotKeyValue { part, .. } => format!("the authorization component \"{part}\" is malformed."),
            Self::Credential { .. } => {
                "the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".".into()
            }
            Self::Algorithm { .. } => format!("X-Amz-Algorithm only supports \"{ALGORITHM}\""),
            Self::Date { .. } => "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"".into(),
            _ => "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, \
                  X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters."
                .into(),
        }
    }
}

/// Text of the caller's, cut to what an error may repeat.
pub(super) fn quoted(text: &[u8]) -> String {
    String::from_utf8_lossy(text.get(..QUOTED_BYTES_MAX).unwrap_or(text)).into_owned()
}

/// A week, as [`ExpiresFault::OverAWeek`] words it.
const _: () = assert!(PRESIGNED_LIFETIME_MAX.as_secs() == 604_800);

//! Finds the authorisation of a request and takes it apart: the `Authorization` header, or the query of a presigned
//! URL. Nothing is believed here; [`super::Verifier`] does the checking.

use std::borrow::Cow;
use std::time::Duration;

use base::{Secret, Timestamp, hex};
use http::HeaderMap;

use super::error::{ExpiresFault, quoted};
use super::{ALGORITHM, AuthError, Claim, Form, Head, Payload, Scope, Streaming, UNSIGNED_PAYLOAD, is_s3};
use crate::limits::{CREDENTIAL_BYTES_MAX, PRESIGNED_LIFETIME_MAX, SIGNATURE_SKEW_MAX, SIGNED_HEADERS_MAX};
use crate::percent::{Plus, decode};

/// Who says to have signed the request; `None` if nobody does. An `Authorization` header of another kind than AWS's,
/// such as `Bearer`, is no signature.
pub fn parse(head: &Head<'_>) -> Result<Option<Claim>, AuthError> {
    let header = single(head.headers, "authorization")?;
    let query = Query::of(head.query)?;
    match (header, query.is_present()) {
        (Some(_), true) => Err(AuthError::BothForms),
        (Some(header), false) => parse_header(head, &header),
        (None, true) => query.into_claim(head).map(Some),
        (None, false) => Ok(None),
    }
}

/// Case-insensitive scheme, then `key=value` pairs between commas, blanks or both.
fn parse_header(head: &Head<'_>, header: &str) -> Result<Option<Claim>, AuthError> {
    let header = header.trim();
    let (algorithm, parameters) = header.split_once([' ', '\t', ',']).unwrap_or((header, ""));
    match algorithm {
        _ if algorithm.starts_with("AWS4-") => {}
        _ if algorithm.starts_with("AWS") => return Err(AuthError::Scheme),
        _ => return Ok(None),
    }
    let parts = HeaderParts::read(header, parameters)?;
    let x_amz_date = single(head.headers, "x-amz-date")?;
    let date = match x_amz_date {
        Some(date) => Some(date),
        None => single(head.headers, "date")?,
    };
    let (Some(credential), Some(signed_headers), Some(signature), Some(date)) =
        (parts.credential, parts.signed_headers, parts.signature, &date)
    else {
        return Err(parts.incomplete(header, date.is_none()));
    };
    let (signed_at, signed_at_text) = parse_date(date, false)?;
    if algorithm != ALGORITHM {
        return Err(AuthError::Algorithm { algorithm: quoted(algorithm.as_bytes()), query: false });
    }
    let scope = parse_scope(credential, false)?;
    Ok(Some(Claim {
        form: Form::Header,
        payload: declared_payload(head.headers, None, &scope)?,
        session_token: single(head.headers, "x-amz-security-token")?.map(|token| Secret::new(token.into_owned())),
        signed_headers: parse_signed_headers(signed_headers)?,
        signature: quoted(signature.as_bytes()),
        scope,
        signed_at,
        signed_at_text,
    }))
}

#[derive(Default, Clone, Copy)]
struct HeaderParts<'a> {
    credential: Option<&'a str>,
    signed_headers: Option<&'a str>,
    signature: Option<&'a str>,
}

impl<'a> HeaderParts<'a> {
    fn read(header: &str, parameters: &'a str) -> Result<Self, AuthError> {
        let mut parts = Self::default();
        for part in parameters.split([',', ' ', '\t']).filter(|part| !part.is_empty()) {
            let Some((key, value)) = part.split_once('=') else {
                return Err(AuthError::NotKeyValue {
                    part: quoted(part.as_bytes()),
                    header: quoted(header.as_bytes()),
                });
            };
            let place = match key {
                "Credential" => &mut parts.credential,
                "SignedHeaders" => &mut parts.signed_headers,
                "Signature" => &mut parts.signature,
                _ => continue,
            };
            if place.replace(value).is_some() {
                return Err(AuthError::Duplicate(key.into()));
            }
        }
        Ok(parts)
    }

    fn incomplete(self, header: &str, date_missing: bool) -> AuthError {
        let missing = [
            ("Credential", self.credential.is_none()),
            ("Signature", self.signature.is_none()),
            ("SignedHeaders", self.signed_headers.is_none()),
        ];
        let missing = missing.into_iter().filter_map(|(name, missing)| missing.then_some(name)).collect();
        AuthError::HeaderIncomplete { missing, date_missing, header: quoted(header.as_bytes()) }
    }
}

/// The parameters of a presigned URL, decoded. AWS's names are case-sensitive.
#[derive(Default)]
struct Query<'a> {
    algorithm: Option<Cow<'a, str>>,
    credential: Option<Cow<'a, str>>,
    date: Option<Cow<'a, str>>,
    expires: Option<Cow<'a, str>>,
    signed_headers: Option<Cow<'a, str>>,
    signature: Option<Cow<'a, str>>,
    security_token: Option<Cow<'a, str>>,
    content_sha256: Option<Cow<'a, str>>,
}

impl<'a> Query<'a> {
    fn of(query: &'a str) -> Result<Self, AuthError> {
        let mut found = Self::default();
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name.as_bytes(), Plus::Space);
            let place = match &*name {
                b"X-Amz-Algorithm" => &mut found.algorithm,
                b"X-Amz-Credential" => &mut found.credential,
                b"X-Amz-Date" => &mut found.date,
                b"X-Amz-Expires" => &mut found.expires,
                b"X-Amz-SignedHeaders" => &mut found.signed_headers,
                b"X-Amz-Signature" => &mut found.signature,
                b"X-Amz-Security-Token" => &mut found.security_token,
                b"X-Amz-Content-Sha256" => &mut found.content_sha256,
                _ => continue,
            };
            let value = match decode(value.as_bytes(), Plus::Space) {
                Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
                Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
            };
            if place.replace(value).is_some() {
                return Err(AuthError::Duplicate(quoted(&name)));
            }
        }
        Ok(found)
    }

    fn is_present(&self) -> bool {
        self.algorithm.is_some() || self.credential.is_some() || self.signature.is_some()
    }

    fn into_claim(self, head: &Head<'_>) -> Result<Claim, AuthError> {
        let (Some(algorithm), Some(credential), Some(signature), Some(signed_headers), Some(date)) = (
            given(&self.algorithm),
            given(&self.credential),
            given(&self.signature),
            given(&self.signed_headers),
            given(&self.date),
        ) else {
            return Err(self.incomplete());
        };
        let (signed_at, signed_at_text) = parse_date(date, true)?;
        if algorithm != ALGORITHM {
            return Err(AuthError::Algorithm { algorithm: quoted(algorithm.as_bytes()), query: true });
        }
        let scope = parse_scope(credential, true)?;
        let expires = match given(&self.expires) {
            Some(expires) => parse_expires(expires)?,
            None if is_s3(scope.service()) => return Err(self.incomplete()),
            None => SIGNATURE_SKEW_MAX,
        };
        Ok(Claim {
            form: Form::Query { expires },
            signed_headers: parse_signed_headers(signed_headers)?,
            signature: quoted(signature.as_bytes()),
            payload: declared_payload(head.headers, self.content_sha256.as_deref(), &scope)?,
            session_token: match self.security_token {
                Some(token) => Some(Secret::new(token.into_owned())),
                None => single(head.headers, "x-amz-security-token")?.map(|token| Secret::new(token.into_owned())),
            },
            scope,
            signed_at,
            signed_at_text,
        })
    }

    fn incomplete(&self) -> AuthError {
        let missing = [
            ("X-Amz-Algorithm", &self.algorithm),
            ("X-Amz-Credential", &self.credential),
            ("X-Amz-Signature", &self.signature),
            ("X-Amz-SignedHeaders", &self.signed_headers),
            ("X-Amz-Date", &self.date),
            ("X-Amz-Expires", &self.expires),
        ];
        let missing = missing.into_iter().filter(|(_, value)| given(value).is_none()).map(|(name, _)| name);
        AuthError::QueryIncomplete { missing: missing.collect() }
    }
}

/// An empty parameter counts as missing.
fn given<'a>(value: &'a Option<Cow<'_, str>>) -> Option<&'a str> {
    value.as_deref().filter(|value| !value.is_empty())
}

/// The one value of a header. Two would leave it open which of them counts.
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<Cow<'a, str>>, AuthError> {
    let mut values = headers.get_all(name).into_iter();
    match (values.next(), values.next()) {
        (Some(_), Some(_)) => Err(AuthError::Duplicate(name.into())),
        (value, _) => Ok(value.map(|value| String::from_utf8_lossy(value.as_bytes()))),
    }
}

/// `20260101T000000Z`, or an HTTP date where the header is `Date`. Also gives it in the first form.
fn parse_date(date: &str, query: bool) -> Result<(Timestamp, String), AuthError> {
    let date = date.trim();
    match Timestamp::parse_basic(date) {
        Ok(moment) if date.len() == 16 => Ok((moment, date.into())),
        _ if query => Err(AuthError::Date { date: quoted(date.as_bytes()), query }),
        _ => match Timestamp::parse_http_date(date) {
            Ok(moment) => Ok((moment, moment.basic())),
            Err(_) => Err(AuthError::Date { date: quoted(date.as_bytes()), query }),
        },
    }
}

fn parse_scope(credential: &str, query: bool) -> Result<Scope, AuthError> {
    let credential = credential.trim_end_matches('/');
    let parts = credential.split('/').count();
    if parts != 5 || credential.len() > CREDENTIAL_BYTES_MAX || credential.split('/').any(str::is_empty) {
        return Err(AuthError::Credential { credential: quoted(credential.as_bytes()), query });
    }
    Ok(Scope(credential.into()))
}

fn parse_expires(expires: &str) -> Result<Duration, AuthError> {
    let fault = match expires.parse::<i64>() {
        Ok(secs) => match u64::try_from(secs).map(Duration::from_secs) {
            Ok(expires) if expires <= PRESIGNED_LIFETIME_MAX => return Ok(expires),
            Ok(_) => ExpiresFault::OverAWeek,
            Err(_) => ExpiresFault::Negative,
        },
        Err(_) => ExpiresFault::NotANumber,
    };
    Err(AuthError::Expires(fault))
}

/// Each name once: a list that repeats a long header would make a small request expensive to check.
fn parse_signed_headers(list: &str) -> Result<String, AuthError> {
    let list = list.trim().to_ascii_lowercase();
    let names: Vec<_> = list.split(';').collect();
    if names.len() > SIGNED_HEADERS_MAX {
        return Err(AuthError::SignedHeaders("too many names"));
    }
    // Line breaks and the like would forge the lines of the canonical request.
    if !names.iter().all(|name| name.bytes().all(|byte| byte.is_ascii_graphic())) {
        return Err(AuthError::SignedHeaders("not a header's name"));
    }
    let ascending = names.is_sorted_by(|a, b| a < b);
    let repeated = |(index, name): (usize, &&str)| names.iter().take(index).any(|earlier| earlier == name);
    if !ascending && names.iter().enumerate().any(repeated) {
        return Err(AuthError::SignedHeaders("a name appears twice"));
    }
    Ok(list)
}

/// Only S3 answers a declaration that it does not know; for the others it is one header among many.
fn declared_payload(headers: &HeaderMap, query: Option<&str>, scope: &Scope) -> Result<Payload, AuthError> {
    let header = single(headers, "x-amz-content-sha256")?;
    let Some(declared) = header.as_deref().or(query) else {
        return Ok(Payload::Undeclared);
    };
    if declared == UNSIGNED_PAYLOAD {
        return Ok(Payload::Unsigned);
    }
    if let Some(streaming) = Streaming::ALL.into_iter().find(|streaming| streaming.as_str() == declared) {
        return Ok(Payload::Streaming(streaming));
    }
    match hex::decode(declared.as_bytes()) {
        Some(hash) => Ok(Payload::Sha256(hash)),
        None if is_s3(scope.service()) => Err(AuthError::PayloadDeclaration(quoted(declared.as_bytes()))),
        None => Ok(Payload::Undeclared),
    }
}

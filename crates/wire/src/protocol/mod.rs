//! One codec for every operation of every service, over the tables of [`schema`](crate::schema).
//!
//! The pipeline calls [`decode`] with a request whose operation is known, and [`encode`] or [`encode_error`] with what
//! came of it. A protocol is a file: `rest` holds what both REST ones share (labels, query string, headers, status) and
//! hands the body to `json` or `xml`; `query` reads forms and answers in XML, or in JSON; `cbor` is RPC-v2-CBOR.
//!
//! Invariant: nothing here trusts a length, a depth or a count that a client sent; the bounds are in
//! [`limits`](crate::limits). Bytes of a request are held twice at most: as sent and as decoded.
//! Constraints (required members, patterns, ranges) are not judged here; validation does, on the decoded value.

mod base64;
mod budget;
mod cbor;
mod error;
mod form;
mod json;
mod query;
mod rest;
#[cfg(test)]
mod tests;
mod text;
mod xml;

use std::fs::File;
use std::io;

use base::{AwsError, RequestId};
use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_TYPE, HeaderValue};

use crate::eventstream::{FrameError, stream_member};
use crate::schema::{Kind, Member, Model, Operation, Protocol, ShapeId, Structure};
use crate::{Blob, Value};

pub use error::{encode_ec2_error, encode_error};

/// A request whose operation is known.
pub struct Request<'a> {
    /// The path's labels by their names in the operation's `uri` (a greedy one without its `+`), decoded.
    pub labels: &'a [(&'static str, String)],
    /// What follows the `?`, still percent-encoded.
    pub query: &'a str,
    pub headers: &'a HeaderMap,
    pub body: &'a Blob,
    /// Makes an unlinked file, for a decoded blob that is too large to hold.
    pub spool: &'a dyn Fn() -> io::Result<File>,
}

/// Who is answered.
#[derive(Debug, Clone, Copy)]
pub struct Recipient {
    pub request_id: RequestId,
    /// Would rather have JSON where the protocol leaves a choice.
    pub prefers_json: bool,
}

impl Recipient {
    pub fn of(request_id: RequestId, headers: &HeaderMap) -> Self {
        Self { request_id, prefers_json: query::prefers_json(headers) }
    }
}

/// The content type of a stream of events.
pub const EVENT_STREAM: &str = "application/vnd.amazon.eventstream";

pub type Response = http::Response<Blob>;

/// A request that does not follow its protocol, in AWS's words where they are known.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not even the syntax is right.
    #[error("{0}")]
    Malformed(String),
    /// Right syntax, wrong type or value.
    #[error("{0}")]
    Mismatch(String),
    #[error("{0}")]
    TooLarge(&'static str),
    #[error("read a spooled body")]
    Read(#[source] io::Error),
    #[error("write a decoded blob")]
    Spool(#[source] io::Error),
}

/// What a handler answered does not fit the model: a mistake of ours, never the caller's.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    #[error("encode {shape}: it has no member {member}")]
    UnknownMember { shape: &'static str, member: String },
    #[error("encode {shape}: found {}", found.kind())]
    Misfit { shape: &'static str, found: Value },
    #[error("encode header {name}")]
    Header {
        name: String,
        #[source]
        source: http::Error,
    },
    #[error("read a spooled blob")]
    Read(#[source] io::Error),
    #[error("frame an event")]
    Frame(#[source] FrameError),
}

/// Reads the operation's input out of a request.
pub fn decode(
    model: &Model,
    operation: &Operation,
    protocol: Protocol,
    request: &Request<'_>,
) -> Result<Value, AwsError> {
    let decoded = match (operation.input, protocol) {
        (None, _) => Ok(Value::EMPTY),
        (Some(input), Protocol::RestJson | Protocol::RestXml) => {
            rest::decode(model, operation, input, protocol, request)
        }
        (Some(input), Protocol::Json10 | Protocol::Json11) => json::decode(model, input, request),
        (Some(input), Protocol::Query) => query::decode(model, input, request),
        (Some(input), Protocol::Cbor) => cbor::decode(model, input, request),
    };
    decoded.map_err(|error| error::refusal(model, protocol, &error))
}

/// Writes an operation's answer. `status` overrides the model's. For an operation whose output is an event stream this
/// is the head of the answer; the events follow through [`eventstream`](crate::eventstream).
pub fn encode(
    model: &Model,
    operation: &Operation,
    protocol: Protocol,
    output: &Value,
    status: Option<u16>,
    recipient: Recipient,
) -> Result<Response, AwsError> {
    let rest = matches!(protocol, Protocol::RestJson | Protocol::RestXml);
    let mut response = match protocol {
        _ if !rest && stream_member(model, operation).is_some() => Ok(stream_head(protocol)),
        Protocol::RestJson | Protocol::RestXml => rest::encode(model, operation, protocol, output),
        Protocol::Json10 | Protocol::Json11 => json::encode(model, operation, protocol, output),
        Protocol::Query => query::encode(model, operation, output, recipient),
        Protocol::Cbor => cbor::encode(model, operation, output),
    }
    .map_err(AwsError::internal)?;
    if let Some(status) = status.and_then(|status| http::StatusCode::from_u16(status).ok()) {
        *response.status_mut() = status;
    }
    identify(response.headers_mut(), protocol, recipient.request_id);
    Ok(response)
}

/// The head of a stream of events in an RPC protocol, whose output travels in the first of them.
fn stream_head(protocol: Protocol) -> Response {
    let mut response = Response::default();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM));
    if protocol == Protocol::Cbor {
        cbor::mark(response.headers_mut());
    }
    response
}

/// A value as a document of its own, with the type of its content: the payload of an event.
pub(crate) fn encode_document(
    model: &Model,
    protocol: Protocol,
    shape: ShapeId,
    value: &Value,
) -> Result<(&'static str, Bytes), EncodeError> {
    Ok(match protocol {
        Protocol::RestJson => ("application/json", json::encode_body(model, shape, value, true)?.into()),
        Protocol::Json10 | Protocol::Json11 => {
            ("application/json", json::encode_body(model, shape, value, false)?.into())
        }
        Protocol::Cbor => ("application/cbor", cbor::encode_value(model, shape, value)?.into()),
        Protocol::RestXml | Protocol::Query => ("text/xml", xml::encode_document(model, shape, value)?.into()),
    })
}

/// The reverse; only the request's body counts.
pub(crate) fn decode_document(
    model: &Model,
    protocol: Protocol,
    shape: ShapeId,
    request: &Request<'_>,
) -> Result<Value, DecodeError> {
    match protocol {
        Protocol::RestJson => json::decode_body(model, shape, request, true),
        Protocol::Json10 | Protocol::Json11 => json::decode_body(model, shape, request, false),
        Protocol::Cbor => cbor::decode(model, shape, request),
        Protocol::RestXml | Protocol::Query => xml::decode_body(model, shape, request),
    }
}

/// The request id, under the name that clients of the protocol look for.
fn identify(headers: &mut HeaderMap, protocol: Protocol, request_id: RequestId) {
    let Ok(value) = HeaderValue::try_from(request_id.to_string()) else { return };
    if protocol == Protocol::RestXml {
        // S3's second id names the host; clients show both.
        headers.insert("x-amz-id-2", value.clone());
        headers.insert("x-amz-request-id", value);
    } else {
        headers.insert("x-amzn-requestid", value);
    }
}

/// The member that `named` knows. Members mostly come in the model's order, so the search starts behind the last one
/// found.
fn find_member<'a>(
    structure: &'a Structure,
    cursor: &mut usize,
    named: impl Fn(&Member) -> bool,
) -> Option<&'a Member> {
    let (before, after) = structure.members.split_at_checked(*cursor)?;
    let found = after.iter().position(&named).map(|place| place.saturating_add(*cursor));
    let found = found.or_else(|| before.iter().position(&named))?;
    *cursor = found.saturating_add(1);
    structure.members.get(found)
}

/// Whether this output member is a stream of events.
fn is_event_stream(model: &Model, shape: ShapeId) -> bool {
    matches!(&model.shape(shape).kind, Kind::Structure(structure) if structure.event_stream)
}

//! AWS JSON 1.0 and 1.1, and the bodies of REST-JSON.

mod decode;
mod encode;
mod reader;

use std::io::BufReader;

use http::HeaderValue;
use http::header::CONTENT_TYPE;

use super::budget::Budget;
use super::error::Fields;
use super::{DecodeError, EncodeError, Request, Response};
use crate::schema::{Location, Model, Operation, Protocol, ShapeId};
use crate::{Blob, Value};

pub use decode::last_wins;
pub use encode::{Encoder, write_string, write_unix_seconds};

/// How much of a spooled body is in memory at a time.
const WINDOW_BYTES: usize = 64 << 10;

/// Reads the input out of the body.
pub fn decode(model: &Model, input: ShapeId, request: &Request<'_>) -> Result<Value, DecodeError> {
    // Nothing is an input without members, as an empty body is.
    decode_body(model, input, request, false).map(|input| if input == Value::Null { Value::EMPTY } else { input })
}

/// Reads a value of `shape` out of the body; an empty body is a structure without members.
pub fn decode_body(
    model: &Model,
    shape: ShapeId,
    request: &Request<'_>,
    wire_names: bool,
) -> Result<Value, DecodeError> {
    let budget = Budget::new(request.spool);
    match request.body {
        body if body.is_empty() => Ok(Value::EMPTY),
        Blob::Inline(bytes) => {
            let reader = reader::Reader::new(bytes.as_ref(), budget);
            decode::Decoder { model, wire_names, reader }.document(shape)
        }
        body @ Blob::Spooled(_) => {
            let input = BufReader::with_capacity(WINDOW_BYTES, body.reader());
            let reader = reader::Reader::new(input, budget);
            decode::Decoder { model, wire_names, reader }.document(shape)
        }
    }
}

pub fn encode(
    model: &Model,
    operation: &Operation,
    protocol: Protocol,
    output: &Value,
) -> Result<Response, EncodeError> {
    let body = match operation.output {
        Some(shape) => encode_body(model, shape, output, false)?,
        None => Vec::new(),
    };
    let mut response = Response::new(body.into());
    response.headers_mut().insert(CONTENT_TYPE, content_type(protocol));
    Ok(response)
}

pub fn encode_body(model: &Model, shape: ShapeId, value: &Value, wire_names: bool) -> Result<Vec<u8>, EncodeError> {
    let mut encoder = encode::Encoder { model, wire_names, out: Vec::with_capacity(1 << 10) };
    match value {
        Value::Null => encoder.value(shape, &Value::EMPTY, None)?,
        value => encoder.value(shape, value, None)?,
    }
    Ok(encoder.out)
}

pub fn content_type(protocol: Protocol) -> HeaderValue {
    HeaderValue::from_static(match protocol {
        Protocol::Json10 => "application/x-amz-json-1.0",
        Protocol::Json11 => "application/x-amz-json-1.1",
        _ => "application/json",
    })
}

/// Reads a value of ours that was written as JSON, such as a member of an error.
pub fn decode_text(model: &Model, shape: ShapeId, text: &str) -> Result<Value, DecodeError> {
    let budget = Budget::new(&|| Err(std::io::ErrorKind::Unsupported.into()));
    let reader = reader::Reader::new(text.as_bytes(), budget);
    decode::Decoder { model, wire_names: false, reader }.document(shape)
}

/// The body of an error, with its type where the protocol puts it there.
pub fn encode_error(model: Option<&Model>, fields: &Fields<'_>, wire_names: bool) -> Vec<u8> {
    let mut out = vec![b'{'];
    if !wire_names {
        write_string(&mut out, "__type");
        out.push(b':');
        write_string(&mut out, &fields.shape_name);
    }
    for (name, value) in &fields.members {
        let member = fields.structure().and_then(|structure| structure.member(name));
        if wire_names && member.is_some_and(|member| member.location != Location::Body) {
            continue;
        }
        let before = out.len();
        if out.len() > 1 {
            out.push(b',');
        }
        write_string(&mut out, member.filter(|_| wire_names).map_or(name, |member| member.wire()));
        out.push(b':');
        match (model, member) {
            (Some(model), Some(member)) => {
                let mut encoder = encode::Encoder { model, wire_names, out };
                let written = encoder.value(member.shape, value, member.timestamp_format);
                out = encoder.out;
                if written.is_err() {
                    // A member that does not fit is less than the error that it belongs to.
                    out.truncate(before);
                }
            }
            _ => write_string(&mut out, value.as_str().unwrap_or_default()),
        }
    }
    out.push(b'}');
    out
}

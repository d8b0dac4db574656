//! Errors, as each protocol writes them.
//!
//! The model decides the spelling: of the message member, of the code (a shape's name, or the code that its error
//! trait gives), and which members travel in headers. An error that the model does not know is written all the same.

use base::{AwsError, Fault, RequestId};
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::{DecodeError, Recipient, Response, cbor, identify, json, query, rest, text, xml};
use crate::Value;
use crate::limits::BODY_TEXT_BYTES_MAX;
use crate::schema::{Kind, Location, Model, Operation, Protocol, Shape, Structure, TimestampFormat};
use crate::value::Name;

/// The caller's answer to a request that could not be decoded.
pub fn refusal(model: &Model, protocol: Protocol, error: &DecodeError) -> AwsError {
    let (code, message) = match (error, protocol) {
        (DecodeError::Read(source), _) => return AwsError::internal(format_args!("failed to {error}: {source}")),
        // No room on the disk or no file descriptor left: that passes.
        (DecodeError::Spool(source), _) => return AwsError::unavailable(format_args!("failed to {error}: {source}")),
        (DecodeError::Malformed(_) | DecodeError::TooLarge(_), Protocol::RestXml) => (
            "MalformedXML",
            "The XML you provided was not well-formed or did not validate against our published schema".into(),
        ),
        (DecodeError::Mismatch(_), Protocol::RestXml) => ("InvalidArgument", error.to_string()),
        (_, Protocol::Query) => ("MalformedInput", error.to_string()),
        (DecodeError::Malformed(_), Protocol::RestJson) if find(model, None, LAMBDA_MALFORMED).is_some() => {
            (LAMBDA_MALFORMED, format!("Could not parse request body into json: {error}"))
        }
        _ => ("SerializationException", error.to_string()),
    };
    AwsError::client(400, code, message)
}

/// Lambda has an error of its own for a body that is no JSON.
const LAMBDA_MALFORMED: &str = "InvalidRequestContentException";

/// Writes an error. Without a model (the service is not known) it is still in the protocol's form.
pub fn encode_error(
    model: Option<&Model>,
    operation: Option<&Operation>,
    protocol: Protocol,
    error: &AwsError,
    recipient: Recipient,
) -> Response {
    let known = model.and_then(|model| Some((model, find(model, operation, &error.code)?)));
    let mut fields = Fields::of(known, error);
    if protocol == Protocol::Query
        && let Some((words, query)) = fields.structure.and_then(|structure| structure.error.as_ref()?.query_message)
        && fields.message == words
    {
        fields.message = query;
    }
    let mut response = match protocol {
        Protocol::RestJson | Protocol::Json10 | Protocol::Json11 => json_error(model, protocol, &fields),
        Protocol::Query => query::encode_error(model, &fields, recipient),
        Protocol::RestXml => xml::encode_error(model, &fields, recipient.request_id),
        Protocol::Cbor => cbor::encode_error(model, &fields),
    };
    *response.status_mut() = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    if let Some((model, _)) = known {
        for (member, value) in fields.headers() {
            // A header that cannot be written is less than the error that it belongs to.
            rest::encode_header(model, member, value, headers).ok();
        }
    }
    if !matches!(protocol, Protocol::Query | Protocol::RestXml) {
        insert(headers, "x-amzn-errortype", &fields.shape_name);
    }
    if model.is_some_and(|model| model.query_compatible) && !matches!(protocol, Protocol::Query) {
        let side = if fields.sender { "Sender" } else { "Receiver" };
        insert(headers, "x-amzn-query-error", &format!("{};{side}", fields.code));
    }
    identify(headers, protocol, recipient.request_id);
    response
}

/// Writes an error of EC2, whose clients read a form of their own. EC2 itself is not here.
pub fn encode_ec2_error(error: &AwsError, request_id: RequestId) -> Response {
    let mut response = query::encode_ec2_error(error, request_id);
    *response.status_mut() = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    identify(response.headers_mut(), Protocol::Query, request_id);
    response
}

fn insert(headers: &mut HeaderMap, name: &'static str, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

/// The error's shape: by its name or by the code that stands for it, the operation's own first.
fn find<'a>(model: &'a Model, operation: Option<&Operation>, code: &str) -> Option<(&'a Shape, &'a Structure)> {
    let as_error = |shape: &'a Shape| match &shape.kind {
        Kind::Structure(structure) => {
            let own = structure.error.as_ref()?;
            (shape.name == code || own.code == Some(code)).then_some((shape, structure))
        }
        _ => None,
    };
    let listed = operation.map_or(&[][..], |operation| operation.errors.as_slice());
    let mut listed = listed.iter().map(|id| model.shape(*id));
    listed.find_map(as_error).or_else(|| model.shapes.iter().find_map(as_error))
}

/// An error taken apart for writing.
pub struct Fields<'a> {
    /// What the JSON protocols and CBOR call it.
    pub shape_name: String,
    /// What the XML ones do.
    pub code: String,
    pub sender: bool,
    pub message: &'a str,
    /// Members by the model's names, the message among them.
    pub members: Vec<(Name, Value)>,
    structure: Option<&'a Structure>,
}

impl<'a> Fields<'a> {
    fn of(known: Option<(&'a Model, (&'a Shape, &'a Structure))>, error: &'a AwsError) -> Self {
        let sender = error.fault == Fault::Client;
        let Some((model, (shape, structure))) = known else {
            let members = error.members.iter().map(|(name, text)| ((*name).into(), Value::String(text.clone())));
            let message = (Name::Borrowed("message"), Value::String(error.message.clone()));
            return Self {
                shape_name: error.code.clone(),
                code: error.code.clone(),
                sender,
                message: &error.message,
                members: members.chain([message]).collect(),
                structure: None,
            };
        };
        let code = structure.error.as_ref().and_then(|own| own.code).unwrap_or(shape.name);
        let mut members = Vec::with_capacity(structure.members.len());
        for member in &structure.members {
            let given = error.members.iter().find(|(name, _)| *name == member.name);
            let value = match given {
                Some((_, text)) => typed(model, member.shape, text),
                // Where the model has a place for words, none are no member.
                None if member.name.eq_ignore_ascii_case("message") => {
                    Some(Value::String(error.message.clone())).filter(|_| !error.message.is_empty())
                }
                None => None,
            };
            members.extend(value.map(|value| (Name::Borrowed(member.name), value)));
        }
        if !structure.members.iter().any(|member| member.name.eq_ignore_ascii_case("message")) {
            // Many shapes name no message, and AWS sends one all the same.
            members.push((Name::Borrowed("message"), Value::String(error.message.clone())));
        }
        Self {
            shape_name: shape.name.into(),
            code: code.into(),
            sender,
            message: &error.message,
            members,
            structure: Some(structure),
        }
    }

    pub fn structure(&self) -> Option<&'a Structure> {
        self.structure
    }

    fn headers(&self) -> impl Iterator<Item = (&'a crate::schema::Member, &Value)> {
        let located = |(name, value)| {
            let member = self.structure?.member(name).filter(|member| member.location == Location::Header)?;
            Some((member, value))
        };
        self.members.iter().map(|(name, value)| (name.as_ref(), value)).filter_map(located)
    }
}

/// An error's members are texts; the model tells what they are. What is no scalar is given as JSON.
fn typed(model: &Model, shape: crate::schema::ShapeId, given: &str) -> Option<Value> {
    match &model.shape(shape).kind {
        Kind::Structure(_) | Kind::List { .. } | Kind::Map { .. } => json::decode_text(model, shape, given).ok(),
        Kind::Timestamp(_) => text::parse(model.shape(shape), given, TimestampFormat::Iso8601).ok(),
        _ => text::parse(model.shape(shape), given, TimestampFormat::UnixSeconds).ok(),
    }
    .filter(|_| given.len() <= BODY_TEXT_BYTES_MAX)
}

fn json_error(model: Option<&Model>, protocol: Protocol, fields: &Fields<'_>) -> Response {
    let body = json::encode_error(model, fields, protocol == Protocol::RestJson);
    let mut response = Response::new(body.into());
    response.headers_mut().insert(CONTENT_TYPE, json::content_type(protocol));
    response
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::schema::testing::model;

    #[test]
    fn a_lack_of_descriptors_passes_and_a_broken_file_does_not() {
        let status = |error: DecodeError| refusal(model("lambda"), Protocol::RestJson, &error).status;
        for errno in [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE, rustix::io::Errno::NOSPC] {
            assert_eq!(status(DecodeError::Spool(errno.into())), 503);
        }
        assert_eq!(status(DecodeError::Read(io::ErrorKind::UnexpectedEof.into())), 500);
    }
}

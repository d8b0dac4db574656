//! XML: the bodies of REST-XML (S3), and what Query answers.
//!
//! Documents are small trees read whole (`tree`) and then by shape (`decode`); `encode` writes by shape. Document types
//! and entities of one's own are refused, so there is nothing to expand.

mod decode;
mod encode;
mod tree;

use base::RequestId;
use http::HeaderValue;
use http::header::CONTENT_TYPE;

use super::budget::Budget;
use super::{DecodeError, EncodeError, Request, Response};
use crate::limits::BODY_TEXT_BYTES_MAX;
use crate::schema::{Kind, Member, Model, Operation, ShapeId};
use crate::{Blob, Value};

pub use encode::Writer;

pub const CONTENT: &str = "application/xml";

/// Whose names members go by; the two protocols differ where a service speaks both Query and another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    Wire,
    Query,
}

impl Names {
    pub fn of(self, member: &Member) -> &'static str {
        match self {
            Self::Wire => member.wire(),
            Self::Query => member.query_name.unwrap_or(member.wire()),
        }
    }

    /// The element or segment that a member's value is found under: a flattened list's items may have a name.
    pub fn element(self, model: &Model, member: &Member) -> &'static str {
        match model.shape(member.shape).kind {
            Kind::List { member_name: Some(name), flattened, .. } if flattened || member.flattened => name,
            _ => self.of(member),
        }
    }
}

/// Reads a value of `shape` out of the body; the name of the root says nothing.
pub fn decode_body(model: &Model, shape: ShapeId, request: &Request<'_>) -> Result<Value, DecodeError> {
    if request.body.is_empty() {
        return Ok(Value::EMPTY);
    }
    if request.body.len() > BODY_TEXT_BYTES_MAX as u64 {
        return Err(DecodeError::TooLarge("the document is too large"));
    }
    let body = request.body.read_all().map_err(DecodeError::Read)?;
    let text = std::str::from_utf8(&body).map_err(|_| DecodeError::Malformed("Invalid UTF-8".into()))?;
    let root = tree::parse(text, &mut Budget::new(request.spool))?;
    decode::Decoder { model, names: Names::Wire }.value(shape, None, &root)
}

/// Writes a body of REST-XML. `payload` is the member that is the whole body, where there is one.
pub fn encode_body(
    model: &Model,
    operation: &Operation,
    shape: ShapeId,
    payload: Option<&Member>,
    value: &Value,
) -> Result<Blob, EncodeError> {
    let mut writer = Writer::new(model, Names::Wire);
    writer.declaration();
    // S3's GetBucketLocation answers its one member as the root.
    if let ("GetBucketLocation", Some(structure)) = (operation.name, model.structure(Some(shape)))
        && let [member] = structure.members.as_slice()
    {
        let location = value.get(member.name).and_then(Value::as_str).unwrap_or_default();
        writer.open(member.wire(), model.xml_namespace);
        writer.text(location);
        writer.close(member.wire());
        return Ok(writer.out.into_bytes().into());
    }
    let named = payload.map_or(operation.result_wrapper, |member| member.wire_name);
    let root = named.unwrap_or(model.shape(shape).name);
    writer.root(root, shape, value)?;
    Ok(writer.out.into_bytes().into())
}

/// A value as a document of its own, under its shape's name.
pub fn encode_document(model: &Model, shape: ShapeId, value: &Value) -> Result<Vec<u8>, EncodeError> {
    let mut writer = Writer::new(model, Names::Wire);
    writer.root(model.shape(shape).name, shape, value)?;
    Ok(writer.out.into_bytes())
}

/// Writes `<Error>..</Error>`, as S3 does, without a wrapper.
pub fn encode_error(model: Option<&Model>, fields: &super::error::Fields<'_>, request_id: RequestId) -> Response {
    let mut writer = Writer::untyped();
    writer.declaration();
    writer.open("Error", None);
    writer.error_fields(model, Names::Wire, fields);
    writer.leaf("RequestId", &request_id.to_string());
    writer.leaf("HostId", &request_id.to_string());
    writer.close("Error");
    let mut response = Response::new(writer.out.into_bytes().into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(CONTENT));
    response
}

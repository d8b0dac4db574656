//! A service's API description, in memory: operations, shapes, where members travel, constraints, errors.
//!
//! Read once, on the first request to the service, from the compact `model.json` beside the service with its
//! hand-written `overlay.json` merged in ([`load`]); all text is borrowed from the embedded file. Facts only, no
//! documentation text.

use std::collections::HashMap;

mod file;
mod load;
mod summary;
#[cfg(test)]
pub(crate) mod testing;
pub mod validate;

pub use load::{LoadError, load};
pub use summary::Summary;
use validate::Validation;
pub use validate::validate;

/// Index into [`Model::shapes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ShapeId(pub u32);

#[derive(Debug)]
pub struct Model {
    /// Such as `lambda`, `dynamodbstreams`: the name of the service's folder.
    pub name: &'static str,
    /// Such as `2015-03-31`; Query requests carry it as `Version`.
    pub api_version: &'static str,
    /// Such as `Lambda`; RPC-v2-CBOR puts the model's Smithy name into the path.
    pub service_id: &'static str,
    /// The service in the credential scope of a signature; several services may share one.
    pub signing_name: &'static str,
    /// First label of the AWS host name.
    pub endpoint_prefix: &'static str,
    /// Before the dot in `X-Amz-Target`; also the Smithy service name in the path of RPC-v2-CBOR.
    pub target_prefix: Option<&'static str>,
    pub xml_namespace: Option<&'static str>,
    /// Errors of a Query service may carry codes that differ from the shape's name (`x-amzn-query-error`).
    pub query_compatible: bool,
    /// What the service says of an action that it does not know, with `{action}` in it, where it is not what AWS's
    /// Query services say otherwise.
    pub unknown_action: Option<&'static str>,
    /// The member that the path of a Query request stands for where the form does not have it, as with SQS's queues.
    pub path_member: Option<&'static str>,
    /// Errors of the Query protocol have an empty `Detail`.
    pub error_detail: bool,
    /// All that the service offers, the preferred one first.
    pub protocols: Vec<Protocol>,
    pub operations: Vec<Operation>,
    pub operation_by_name: HashMap<&'static str, usize>,
    pub shapes: Vec<Shape>,
    pub validation: Validation,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    RestJson,
    Json10,
    Json11,
    Query,
    RestXml,
    Cbor,
}

#[derive(Debug)]
pub struct Operation {
    pub name: &'static str,
    pub method: &'static str,
    /// `/2015-03-31/functions/{FunctionName}?list-type=2`; greedy labels end in `+`.
    pub uri: &'static str,
    pub status: u16,
    pub input: Option<ShapeId>,
    pub output: Option<ShapeId>,
    pub errors: Vec<ShapeId>,
    /// Query and REST-XML: the element around the output's members, such as `GetCallerIdentityResult`.
    pub result_wrapper: Option<&'static str>,
    /// REST-XML: the root element of the request body, where the model names one, and its namespace.
    pub input_root: Option<&'static str>,
    pub input_namespace: Option<&'static str>,
    /// `authtype: none`: callers need not sign.
    pub unsigned: bool,
    /// Where a path may stand for a member, it is not asked for at one.
    pub root_only: bool,
}

#[derive(Debug)]
pub struct Shape {
    pub name: &'static str,
    pub kind: Kind,
    /// Length of strings, blobs, lists and maps; value of numbers.
    pub min: Option<f64>,
    pub max: Option<f64>,
    pub sensitive: bool,
}

#[derive(Debug)]
pub enum Kind {
    Structure(Structure),
    List {
        member: ShapeId,
        member_name: Option<&'static str>,
        flattened: bool,
    },
    Map {
        key: ShapeId,
        value: ShapeId,
        key_name: Option<&'static str>,
        value_name: Option<&'static str>,
        flattened: bool,
    },
    String {
        pattern: Option<&'static str>,
        values: Vec<&'static str>,
    },
    Integer,
    Long,
    Float,
    Double,
    Boolean,
    Blob {
        streaming: bool,
    },
    Timestamp(Option<TimestampFormat>),
    /// Any JSON (`document`).
    Document,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampFormat {
    UnixSeconds,
    Iso8601,
    HttpDate,
}

#[derive(Debug, Default)]
pub struct Structure {
    pub members: Vec<Member>,
    /// The member that is the whole body.
    pub payload: Option<usize>,
    pub error: Option<ErrorTrait>,
    /// One member at a time: an event of a stream.
    pub event_stream: bool,
    /// An event within an event stream.
    pub event: bool,
    pub union: bool,
    pub xml_namespace: Option<&'static str>,
}

#[derive(Debug, Default)]
pub struct ErrorTrait {
    /// The code on the wire, where it is not the shape's name.
    pub code: Option<&'static str>,
    pub status: Option<u16>,
    pub sender_fault: bool,
    /// Words of it, and those of the Query protocol for the same.
    pub query_message: Option<(&'static str, &'static str)>,
}

#[derive(Debug)]
pub struct Member {
    pub name: &'static str,
    pub shape: ShapeId,
    pub location: Location,
    /// The name on the wire, where it is not the member's.
    pub wire_name: Option<&'static str>,
    /// The name in the Query protocol, where it is another than [`Member::wire`] (SQS, which speaks JSON and Query).
    pub query_name: Option<&'static str>,
    /// The name in JSON that the Query protocol answers in, where it is not the member's.
    pub query_json_name: Option<&'static str>,
    pub required: bool,
    pub idempotency_token: bool,
    pub streaming: bool,
    pub json_value: bool,
    pub flattened: bool,
    pub xml_attribute: bool,
    pub xml_namespace: Option<(&'static str, Option<&'static str>)>,
    pub timestamp_format: Option<TimestampFormat>,
    pub event_payload: bool,
    pub event_header: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Location {
    #[default]
    Body,
    Uri,
    QueryString,
    Header,
    /// A map spread over headers that share a prefix.
    Headers,
    StatusCode,
}

impl Model {
    pub fn operation(&self, name: &str) -> Option<&Operation> {
        self.operation_by_name.get(name).and_then(|index| self.operations.get(*index))
    }

    /// Ids come from this model's own tables; one from another model yields its shape at that place or the first.
    #[expect(clippy::indexing_slicing, reason = "load() checks every id once, against this very table")]
    pub fn shape(&self, id: ShapeId) -> &Shape {
        &self.shapes[id.0 as usize]
    }

    pub fn structure(&self, id: Option<ShapeId>) -> Option<&Structure> {
        match &self.shape(id?).kind {
            Kind::Structure(structure) => Some(structure),
            _ => None,
        }
    }
}

impl Structure {
    pub fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.name == name)
    }
}

impl Member {
    /// The name on the wire.
    pub fn wire(&self) -> &'static str {
        self.wire_name.unwrap_or(self.name)
    }
}

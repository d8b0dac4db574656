//! The Query protocol: a form in, XML out, or JSON for who would rather have that.
//!
//! A form is a tree written flat: `Filters.member.2.Name=x`. Sorted segment by segment, each subtree is one run of
//! pairs, so the tree is read without being built.

mod json;

use base::RequestId;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};

use super::budget::Budget;
use super::form::Pair;
use super::xml::{self, Names};
use super::{DecodeError, EncodeError, Recipient, Request, Response, form, text};
use crate::Value;
use crate::limits::{BODY_TEXT_BYTES_MAX, FORM_PAIR_COUNT_MAX};
use crate::schema::{Kind, Member, Model, Operation, ShapeId, Structure, TimestampFormat};
use crate::value::Name;

/// Reads the input out of the form: the body of a POST, the query string of a GET.
pub fn decode(model: &Model, input: ShapeId, request: &Request<'_>) -> Result<Value, DecodeError> {
    if request.body.len() > BODY_TEXT_BYTES_MAX as u64 {
        return Err(DecodeError::TooLarge("the form is too large"));
    }
    let body = request.body.read_all().map_err(DecodeError::Read)?;
    let body = std::str::from_utf8(&body).map_err(|_| DecodeError::Malformed("Invalid UTF-8 in the form".into()))?;
    let mut pairs = Vec::new();
    for pair in form::pairs(request.query).chain(form::pairs(body)) {
        if pairs.len() >= FORM_PAIR_COUNT_MAX {
            return Err(DecodeError::TooLarge("the form has too many parameters"));
        }
        pairs.push(pair?);
    }
    // What the path says counts where the form does not say it.
    for (name, value) in request.labels {
        if pairs.iter().all(|(known, _)| known != name) {
            pairs.push(((*name).into(), value.into()));
        }
    }
    // Stable, so that of one name given twice the first counts.
    pairs.sort_by(|(one, _), (other, _)| segmentwise(one).cmp(segmentwise(other)));
    let root = Node { pairs: &pairs, path_bytes: 0 };
    let mut decoder = Decoder { model, budget: Budget::new(request.spool) };
    match model.structure(Some(input)) {
        Some(structure) => decoder.structure(structure, root),
        None => Ok(Value::EMPTY),
    }
}

/// What makes names sort segment by segment: a dot comes before everything else, as the end of a name does.
fn segmentwise(name: &str) -> impl Iterator<Item = u16> {
    name.bytes().map(|byte| if byte == b'.' { 0 } else { u16::from(byte).saturating_add(1) })
}

/// A subtree: the pairs whose names begin with one path.
#[derive(Clone, Copy)]
struct Node<'a> {
    pairs: &'a [Pair<'a>],
    /// The length of that path.
    path_bytes: usize,
}

impl<'a> Node<'a> {
    /// What the path itself is set to; it sorts before everything below it.
    fn value(&self) -> Option<&'a str> {
        self.pairs.first().filter(|(name, _)| name.len() == self.path_bytes).map(|(_, value)| value.as_ref())
    }

    /// What follows the path in a name, up to the next dot.
    fn segment(&self, name: &'a str) -> Option<&'a str> {
        let rest = name.get(self.path_bytes..)?;
        let rest = if self.path_bytes == 0 { rest } else { rest.strip_prefix('.')? };
        rest.split('.').next()
    }

    fn children(self) -> impl Iterator<Item = (&'a str, Node<'a>)> {
        let mut rest = self.pairs;
        std::iter::from_fn(move || {
            loop {
                let (name, _) = rest.first()?;
                let Some(segment) = self.segment(name) else {
                    rest = rest.get(1..)?;
                    continue;
                };
                let run = rest.iter().take_while(|(name, _)| self.segment(name) == Some(segment)).count();
                let (pairs, others) = rest.split_at_checked(run)?;
                rest = others;
                let dot = usize::from(self.path_bytes > 0);
                let path_bytes = self.path_bytes.saturating_add(dot).saturating_add(segment.len());
                return Some((segment, Node { pairs, path_bytes }));
            }
        })
    }

    fn child(self, wanted: &str) -> Option<Node<'a>> {
        self.children().find(|(segment, _)| *segment == wanted).map(|(_, node)| node)
    }

    /// The numbered children in the order of their numbers.
    fn numbered(self) -> Vec<Node<'a>> {
        let number = |(segment, node): (&str, Node<'a>)| Some((segment.parse::<u32>().ok()?, node));
        let mut items: Vec<_> = self.children().filter_map(number).collect();
        items.sort_by_key(|(number, _)| *number);
        items.into_iter().map(|(_, node)| node).collect()
    }
}

struct Decoder<'a> {
    model: &'a Model,
    budget: Budget<'a>,
}

impl Decoder<'_> {
    fn structure(&mut self, structure: &Structure, node: Node<'_>) -> Result<Value, DecodeError> {
        self.budget.descend()?;
        let mut members: Vec<(Name, Value)> = Vec::new();
        for (segment, child) in node.children() {
            let named = |member: &&Member| Names::Query.element(self.model, member) == segment;
            // An empty list goes by the member's own name even where its items go by theirs.
            let empty = |member: &&Member| {
                child.value() == Some("") && Names::Query.of(member) == segment && self.is_list(member)
            };
            let found = structure.members.iter().find(named).or_else(|| structure.members.iter().find(empty));
            let Some(member) = found else { continue };
            if let Some(value) = self.value(member.shape, Some(member), child)? {
                members.push((Name::Borrowed(member.name), value));
            }
        }
        self.budget.ascend();
        Ok(Value::Map(members))
    }

    fn is_list(&self, member: &Member) -> bool {
        matches!(self.model.shape(member.shape).kind, Kind::List { .. })
    }

    fn value(&mut self, shape: ShapeId, member: Option<&Member>, node: Node<'_>) -> Result<Option<Value>, DecodeError> {
        self.budget.charge_elements(1)?;
        let flattened = member.is_some_and(|member| member.flattened);
        let shape = self.model.shape(shape);
        Ok(match &shape.kind {
            Kind::Structure(structure) => Some(self.structure(structure, node)?),
            Kind::List { member: element, member_name, flattened: own } => {
                let items = if flattened || *own { Some(node) } else { node.child(member_name.unwrap_or("member")) };
                Some(self.list(*element, items)?)
            }
            Kind::Map { key, value, key_name, value_name, flattened: own } => {
                let entries = if flattened || *own { Some(node) } else { node.child("entry") };
                let names = (key_name.unwrap_or("key"), value_name.unwrap_or("value"));
                Some(self.map((*key, *value), names, entries)?)
            }
            Kind::Timestamp(format) => {
                let format = member.and_then(|member| member.timestamp_format).or(*format);
                let parse = |text| text::parse(shape, text, format.unwrap_or(TimestampFormat::Iso8601));
                node.value().map(parse).transpose()?
            }
            Kind::String { .. } | Kind::Blob { .. } => {
                let given = node.value();
                self.budget.charge_text(given.map_or(0, str::len))?;
                given.map(|given| text::parse(shape, given, TimestampFormat::Iso8601)).transpose()?
            }
            // `MaxItems=` is as good as nothing.
            _ => {
                let given = node.value().filter(|given| !given.is_empty());
                given.map(|given| text::parse(shape, given, TimestampFormat::Iso8601)).transpose()?
            }
        })
    }

    fn list(&mut self, element: ShapeId, node: Option<Node<'_>>) -> Result<Value, DecodeError> {
        self.budget.descend()?;
        let mut elements = Vec::new();
        for item in node.map(Node::numbered).unwrap_or_default() {
            elements.extend(self.value(element, None, item)?);
        }
        self.budget.ascend();
        Ok(Value::List(elements))
    }

    fn map(
        &mut self,
        (key, value): (ShapeId, ShapeId),
        (key_name, value_name): (&str, &str),
        node: Option<Node<'_>>,
    ) -> Result<Value, DecodeError> {
        self.budget.descend()?;
        let mut entries: Vec<(Name, Value)> = Vec::new();
        for entry in node.map(Node::numbered).unwrap_or_default() {
            self.budget.charge_elements(1)?;
            let (Some(key_node), Some(value_node)) = (entry.child(key_name), entry.child(value_name)) else {
                return Err(DecodeError::Malformed("An entry of a map lacks its key or its value".into()));
            };
            if let (Some(Value::String(key)), Some(value)) =
                (self.value(key, None, key_node)?, self.value(value, None, value_node)?)
            {
                entries.push((key.into(), value));
            }
        }
        self.budget.ascend();
        Ok(Value::Map(super::json::last_wins(entries)))
    }
}

/// Whether the caller would rather be answered in JSON: of what it accepts, the first of those it likes best counts.
pub fn prefers_json(headers: &HeaderMap) -> bool {
    let ranges =
        headers.get_all(ACCEPT).into_iter().filter_map(|value| value.to_str().ok()).flat_map(|all| all.split(','));
    let mut best = (false, 0.0_f32);
    for range in ranges {
        let mut parts = range.split(';').map(str::trim);
        let is_json = match parts.next().unwrap_or_default().to_ascii_lowercase().as_str() {
            "application/json" => true,
            "text/xml" | "application/xml" | "text/*" | "application/*" | "*/*" => false,
            _ => continue,
        };
        let weight = parts.find_map(|parameter| parameter.strip_prefix("q=")?.parse().ok()).unwrap_or(1.0);
        if weight > best.1 {
            best = (is_json, weight);
        }
    }
    best.0
}

/// Writes `<OpResponse><OpResult>..</OpResult><ResponseMetadata>..</ResponseMetadata></OpResponse>`.
pub fn encode(
    model: &Model,
    operation: &Operation,
    output: &Value,
    Recipient { request_id, prefers_json }: Recipient,
) -> Result<Response, EncodeError> {
    if prefers_json {
        return json::encode(model, operation, output, request_id);
    }
    let mut writer = xml::Writer::new(model, Names::Query);
    let root = format!("{}Response", operation.name);
    writer.open(&root, model.xml_namespace);
    if let (Some(shape), Some(structure)) = (operation.output, model.structure(operation.output)) {
        let members = match output {
            Value::Map(members) => members.as_slice(),
            _ => &[],
        };
        if let Some(wrapper) = operation.result_wrapper {
            writer.open(wrapper, None);
        }
        writer.members(model.shape(shape).name, structure, members)?;
        if let Some(wrapper) = operation.result_wrapper {
            writer.close(wrapper);
        }
    }
    writer.open("ResponseMetadata", None);
    writer.leaf("RequestId", &request_id.to_string());
    writer.close("ResponseMetadata");
    writer.close(&root);
    Ok(respond(writer))
}

fn respond(writer: xml::Writer<'_>) -> Response {
    let mut response = Response::new(writer.out.into_bytes().into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/xml"));
    response
}

/// As EC2, alone among the services that take forms, words it:
/// `<Response><Errors><Error>..</Error></Errors><RequestID>..</RequestID></Response>`.
pub fn encode_ec2_error(error: &base::AwsError, request_id: RequestId) -> Response {
    let mut writer = xml::Writer::untyped();
    writer.declaration();
    for name in ["Response", "Errors", "Error"] {
        writer.open(name, None);
    }
    writer.leaf("Code", &error.code);
    writer.leaf("Message", &error.message);
    writer.close("Error");
    writer.close("Errors");
    writer.leaf("RequestID", &request_id.to_string());
    writer.close("Response");
    respond(writer)
}

/// Writes `<ErrorResponse><Error>..</Error><RequestId>..</RequestId></ErrorResponse>`; what is refused before
/// it comes to a service may have but a name, and is nothing else.
pub fn encode_error(
    model: Option<&Model>,
    fields: &super::error::Fields<'_>,
    Recipient { request_id, prefers_json }: Recipient,
) -> Response {
    let mut writer = xml::Writer::untyped();
    if model.is_none() && fields.message.is_empty() {
        writer.leaf(&fields.code, "");
        return respond(writer);
    }
    if prefers_json {
        return json::encode_error(model, fields, request_id);
    }
    writer.open("ErrorResponse", model.and_then(|model| model.xml_namespace));
    writer.open("Error", None);
    writer.leaf("Type", if fields.sender { "Sender" } else { "Receiver" });
    writer.error_fields(model, Names::Query, fields);
    if model.is_some_and(|model| model.error_detail) {
        writer.leaf("Detail", "");
    }
    writer.close("Error");
    writer.leaf("RequestId", &request_id.to_string());
    writer.close("ErrorResponse");
    respond(writer)
}

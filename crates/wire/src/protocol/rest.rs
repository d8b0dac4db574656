//! What both REST protocols share: members bound to the path, the query string, headers and the status.

use std::borrow::Cow;
use std::collections::HashMap;

use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::{
    DecodeError, EVENT_STREAM, EncodeError, Request, Response, base64, form, is_event_stream, json, text, xml,
};
use crate::schema::{Kind, Location, Member, Model, Operation, Protocol, ShapeId, Structure, TimestampFormat};
use crate::value::Name;
use crate::{Blob, Value};

/// Gathers the input from all places.
pub fn decode(
    model: &Model,
    operation: &Operation,
    input: ShapeId,
    protocol: Protocol,
    request: &Request<'_>,
) -> Result<Value, DecodeError> {
    let Some(structure) = model.structure(Some(input)) else { return Ok(Value::EMPTY) };
    let mut head = Head { model, structure, operation, request, pairs: None };
    let mut members = Vec::with_capacity(structure.members.len().min(8));
    let mut in_body = false;
    for member in &structure.members {
        let value = match member.location {
            Location::Uri => head.label(member)?,
            Location::QueryString => head.query(member)?,
            Location::Header => head.header(member)?,
            Location::Headers => head.headers(member),
            Location::StatusCode => None,
            Location::Body => {
                in_body = true;
                None
            }
        };
        members.extend(value.map(|value| (Name::Borrowed(member.name), value)));
    }
    if let Some(payload) = structure.payload.and_then(|index| structure.members.get(index)) {
        members.extend(payload_value(model, payload, protocol, request)?);
    } else if in_body && let Value::Map(body) = body_value(model, input, protocol, request)? {
        // Members that travel elsewhere are not taken from the body, even where a client puts them there.
        members.extend(
            body.into_iter()
                .filter(|(name, _)| structure.member(name).is_some_and(|member| member.location == Location::Body)),
        );
    }
    Ok(Value::Map(members))
}

fn body_value(model: &Model, shape: ShapeId, protocol: Protocol, request: &Request<'_>) -> Result<Value, DecodeError> {
    match protocol {
        Protocol::RestXml => xml::decode_body(model, shape, request),
        _ => json::decode_body(model, shape, request, true),
    }
}

/// The member that is the whole body; an empty body is no member.
fn payload_value(
    model: &Model,
    member: &Member,
    protocol: Protocol,
    request: &Request<'_>,
) -> Result<Option<(Name, Value)>, DecodeError> {
    if request.body.is_empty() || is_event_stream(model, member.shape) {
        return Ok(None);
    }
    let value = match &model.shape(member.shape).kind {
        Kind::Blob { .. } => Value::Blob(request.body.clone()),
        Kind::String { .. } => {
            let content = request.body.read_all().map_err(DecodeError::Read)?;
            let text = String::from_utf8(content.into());
            Value::String(text.map_err(|_| DecodeError::Malformed("Invalid UTF-8 in the body".into()))?)
        }
        _ => body_value(model, member.shape, protocol, request)?,
    };
    Ok((!matches!(value, Value::Null)).then_some((Name::Borrowed(member.name), value)))
}

/// A request without its body.
struct Head<'a> {
    model: &'a Model,
    structure: &'a Structure,
    operation: &'a Operation,
    request: &'a Request<'a>,
    /// The query string, taken apart when the first member asks for it.
    pairs: Option<Vec<form::Pair<'a>>>,
}

impl<'a> Head<'a> {
    fn label(&self, member: &Member) -> Result<Option<Value>, DecodeError> {
        let Some((_, label)) = self.request.labels.iter().find(|(name, _)| *name == member.wire()) else {
            return Ok(None);
        };
        self.scalar(member, label, TimestampFormat::Iso8601).map(Some)
    }

    fn pairs(&mut self) -> Result<&[form::Pair<'a>], DecodeError> {
        if self.pairs.is_none() {
            self.pairs = Some(form::pairs(self.request.query).collect::<Result<_, _>>()?);
        }
        Ok(self.pairs.as_deref().unwrap_or_default())
    }

    fn query(&mut self, member: &Member) -> Result<Option<Value>, DecodeError> {
        if let Kind::Map { value, .. } = self.model.shape(member.shape).kind {
            return self.query_map(value);
        }
        let (model, wire) = (self.model, member.wire());
        let mut found = self.pairs()?.iter().filter(|(name, _)| name == wire).map(|(_, value)| value);
        match model.shape(member.shape).kind {
            Kind::List { member: element, .. } => {
                let format = format_of(model, member, element, TimestampFormat::Iso8601);
                let parse = |text: &Cow<'_, str>| text::parse(model.shape(element), text, format);
                let elements = found.map(parse).collect::<Result<Vec<_>, _>>()?;
                Ok((!elements.is_empty()).then_some(Value::List(elements)))
            }
            ref kind => match found.next() {
                // `?MaxItems=` is as good as nothing; an empty text is a text.
                Some(text) if text.is_empty() && !matches!(kind, Kind::String { .. }) => Ok(None),
                Some(text) => {
                    let format = format_of(model, member, member.shape, TimestampFormat::Iso8601);
                    text::parse(model.shape(member.shape), text, format).map(Some)
                }
                None => Ok(None),
            },
        }
    }

    /// Everything in the query string that neither another member nor the operation's own URI claims.
    fn query_map(&mut self, shape: ShapeId) -> Result<Option<Value>, DecodeError> {
        let (model, structure, operation) = (self.model, self.structure, self.operation);
        let literal = operation.uri.split_once('?').map_or("", |(_, query)| query);
        let claimed = |name: &str| {
            let bound = |member: &Member| member.location == Location::QueryString && member.wire() == name;
            structure.members.iter().any(bound) || literal.split('&').any(|pair| pair.split('=').next() == Some(name))
        };
        let many = matches!(model.shape(shape).kind, Kind::List { .. });
        let mut entries: Vec<(Name, Value)> = Vec::new();
        let mut places = HashMap::new();
        for (name, value) in self.pairs()?.iter().filter(|(name, _)| !claimed(name)) {
            let value = Value::String(value.to_string());
            let place = *places.entry(name.as_ref()).or_insert(entries.len());
            match entries.get_mut(place) {
                Some((_, Value::List(values))) => values.push(value),
                // Of a name given twice the first counts.
                Some(_) => {}
                None if many => entries.push((name.to_string().into(), Value::List(vec![value]))),
                None => entries.push((name.to_string().into(), value)),
            }
        }
        Ok((!entries.is_empty()).then_some(Value::Map(entries)))
    }

    fn header(&self, member: &Member) -> Result<Option<Value>, DecodeError> {
        let mut found = self.request.headers.get_all(member.wire()).iter().map(header_text).peekable();
        if found.peek().is_none() {
            return Ok(None);
        }
        if let Kind::List { member: element, .. } = self.model.shape(member.shape).kind {
            let format = format_of(self.model, member, element, TimestampFormat::HttpDate);
            let shape = self.model.shape(element);
            let dates = matches!(shape.kind, Kind::Timestamp(_)) && format == TimestampFormat::HttpDate;
            let mut elements = Vec::new();
            for line in found {
                for item in split_list(&line, dates) {
                    elements.push(text::parse(shape, &item, format)?);
                }
            }
            return Ok(Some(Value::List(elements)));
        }
        let Some(text) = found.next() else { return Ok(None) };
        if member.json_value {
            let decoded = base64::decode(text.as_bytes())?;
            let decoded = String::from_utf8(decoded);
            let refuse = |_| DecodeError::Malformed(format!("Invalid UTF-8 in {}", member.wire()));
            return decoded.map(|text| Some(Value::String(text))).map_err(refuse);
        }
        self.scalar(member, &text, TimestampFormat::HttpDate).map(Some)
    }

    /// Headers whose names begin alike, as a map of what follows.
    fn headers(&self, member: &Member) -> Option<Value> {
        let prefix = member.wire().to_ascii_lowercase();
        let stripped = |(name, value): (&HeaderName, &HeaderValue)| {
            let key = name.as_str().strip_prefix(&prefix)?.to_owned();
            Some((key.into(), Value::String(header_text(value).into_owned())))
        };
        let entries: Vec<_> = self.request.headers.iter().filter_map(stripped).collect();
        (!entries.is_empty()).then_some(Value::Map(entries))
    }

    fn scalar(&self, member: &Member, text: &str, default: TimestampFormat) -> Result<Value, DecodeError> {
        let format = format_of(self.model, member, member.shape, default);
        text::parse(self.model.shape(member.shape), text, format)
    }
}

/// The member's own format, else its shape's, else the place's.
fn format_of(model: &Model, member: &Member, shape: ShapeId, default: TimestampFormat) -> TimestampFormat {
    let own = match model.shape(shape).kind {
        Kind::Timestamp(own) => own,
        _ => None,
    };
    member.timestamp_format.or(own).unwrap_or(default)
}

/// Headers are UTF-8 where they can be, and Latin-1 otherwise.
fn header_text(value: &HeaderValue) -> Cow<'_, str> {
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => value.as_bytes().iter().map(|byte| char::from(*byte)).collect(),
    }
}

/// The items of a comma-separated header. Items may be quoted, and an HTTP date has a comma of its own.
fn split_list(line: &str, dates: bool) -> Vec<String> {
    let mut items = vec![String::new()];
    let mut quoted = false;
    let mut commas: usize = 0;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        let Some(item) = items.last_mut() else { break };
        match letter {
            '"' if quoted || item.trim().is_empty() => quoted = !quoted,
            '\\' if quoted => item.extend(letters.next()),
            ',' if !quoted => {
                commas = commas.saturating_add(1);
                if dates && !commas.is_multiple_of(2) {
                    item.push(letter);
                } else {
                    items.push(String::new());
                }
            }
            letter => item.push(letter),
        }
    }
    items.into_iter().map(|item| item.trim().to_owned()).collect()
}

/// Spreads the output over status, headers and body.
pub fn encode(
    model: &Model,
    operation: &Operation,
    protocol: Protocol,
    output: &Value,
) -> Result<Response, EncodeError> {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::from_u16(operation.status).unwrap_or_default();
    let (Some(shape), Some(structure)) = (operation.output, model.structure(operation.output)) else {
        return Ok(response);
    };
    let members = match output {
        Value::Map(members) => members.as_slice(),
        _ => &[],
    };
    for (name, value) in members.iter().filter(|(_, value)| !matches!(value, Value::Null)) {
        let Some(member) = structure.member(name) else {
            let (shape, member) = (model.shape(shape).name, name.to_string());
            return Err(EncodeError::UnknownMember { shape, member });
        };
        match (member.location, value) {
            (Location::Header, value) => encode_header(model, member, value, response.headers_mut())?,
            (Location::Headers, Value::Map(entries)) => {
                for (key, value) in entries {
                    let text = value.as_str().unwrap_or_default();
                    insert(response.headers_mut(), &format!("{}{key}", member.wire()), text)?;
                }
            }
            (Location::StatusCode, Value::Integer(status)) => {
                let status = u16::try_from(*status).ok().and_then(|status| StatusCode::from_u16(status).ok());
                *response.status_mut() = status.unwrap_or(*response.status_mut());
            }
            _ => {}
        }
    }
    encode_body(model, operation, protocol, shape, structure, output, &mut response)?;
    Ok(response)
}

fn encode_body(
    model: &Model,
    operation: &Operation,
    protocol: Protocol,
    shape: ShapeId,
    structure: &Structure,
    output: &Value,
    response: &mut Response,
) -> Result<(), EncodeError> {
    let payload = structure.payload.and_then(|index| structure.members.get(index));
    let (body, content_type) = match payload {
        Some(member) => match (&model.shape(member.shape).kind, output.get(member.name)) {
            _ if is_event_stream(model, member.shape) => (Blob::default(), EVENT_STREAM),
            (_, None | Some(Value::Null)) => return Ok(()),
            (Kind::Blob { .. }, Some(Value::Blob(blob))) => (blob.clone(), "application/octet-stream"),
            (Kind::String { .. }, Some(Value::String(text))) => (text.clone().into_bytes().into(), "text/plain"),
            (_, Some(value)) => document(model, operation, protocol, member.shape, Some(member), value)?,
        },
        None if structure.members.iter().any(|member| member.location == Location::Body) => {
            document(model, operation, protocol, shape, None, output)?
        }
        None => return Ok(()),
    };
    *response.body_mut() = body;
    // The model may let the handler choose, as S3's GetObject does.
    response.headers_mut().entry(CONTENT_TYPE).or_insert(HeaderValue::from_static(content_type));
    Ok(())
}

fn document(
    model: &Model,
    operation: &Operation,
    protocol: Protocol,
    shape: ShapeId,
    payload: Option<&Member>,
    value: &Value,
) -> Result<(Blob, &'static str), EncodeError> {
    match protocol {
        Protocol::RestXml => Ok((xml::encode_body(model, operation, shape, payload, value)?, xml::CONTENT)),
        _ => Ok((json::encode_body(model, shape, value, true)?.into(), "application/json")),
    }
}

/// A header member of an output or an error.
pub fn encode_header(
    model: &Model,
    member: &Member,
    value: &Value,
    headers: &mut HeaderMap,
) -> Result<(), EncodeError> {
    let text = match (&model.shape(member.shape).kind, value) {
        (Kind::List { member: element, .. }, Value::List(elements)) => {
            let format = format_of(model, member, *element, TimestampFormat::HttpDate);
            let dates = matches!(model.shape(*element).kind, Kind::Timestamp(_));
            let items = elements.iter().map(|element_value| {
                let item = text::write(model.shape(*element), element_value, format)?;
                let quote = !dates && item.contains([',', '"']);
                Ok(if quote { format!("\"{}\"", item.replace('\\', "\\\\").replace('"', "\\\"")) } else { item })
            });
            items.collect::<Result<Vec<_>, EncodeError>>()?.join(",")
        }
        (_, Value::String(text)) if member.json_value => base64::encode(text.as_bytes()),
        (_, value) => {
            let format = format_of(model, member, member.shape, TimestampFormat::HttpDate);
            text::write(model.shape(member.shape), value, format)?
        }
    };
    insert(headers, member.wire(), &text)
}

fn insert(headers: &mut HeaderMap, name: &str, text: &str) -> Result<(), EncodeError> {
    let refuse = |source: http::Error| EncodeError::Header { name: name.to_owned(), source };
    let key = HeaderName::try_from(name).map_err(|error| refuse(error.into()))?;
    let value = HeaderValue::from_bytes(text.as_bytes()).map_err(|error| refuse(error.into()))?;
    headers.insert(key, value);
    Ok(())
}

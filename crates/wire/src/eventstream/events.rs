//! Events of a union, by schema: which members are headers, which one is the payload, what is an exception.

use base::AwsError;
use bytes::Bytes;
use http::HeaderMap;

use super::{Header, Message};
use crate::protocol::{self, DecodeError, EncodeError, Request};
use crate::schema::{Kind, Member, Model, Operation, Protocol, ShapeId, Structure};
use crate::value::Name;
use crate::{Blob, Value};

/// The output member that is a stream of events.
pub fn stream_member<'a>(model: &'a Model, operation: &Operation) -> Option<&'a Member> {
    let members = &model.structure(operation.output)?.members;
    members.iter().find(|member| model.structure(Some(member.shape)).is_some_and(|union| union.event_stream))
}

/// The frame of an event: a map of one entry, the union's member.
pub fn event(model: &Model, stream: ShapeId, protocol: Protocol, event: &Value) -> Result<Bytes, EncodeError> {
    let union = model.shape(stream);
    let misfit = || EncodeError::Misfit { shape: union.name, found: event.clone() };
    let (Kind::Structure(events), Value::Map(entries)) = (&union.kind, event) else { return Err(misfit()) };
    let [(name, content)] = entries.as_slice() else { return Err(misfit()) };
    let Some(member) = events.member(name) else {
        return Err(EncodeError::UnknownMember { shape: union.name, member: name.to_string() });
    };
    let Some(shape) = model.structure(Some(member.shape)) else { return Err(misfit()) };
    let message = match shape.error {
        Some(_) => {
            Message::default().with_text(":message-type", "exception").with_text(":exception-type", member.wire())
        }
        None => Message::default().with_text(":message-type", "event").with_text(":event-type", member.wire()),
    };
    frame(fill(message, model, member.shape, shape, protocol, content)?)
}

/// Headers and payload from the event's members.
fn fill(
    mut message: Message,
    model: &Model,
    id: ShapeId,
    shape: &Structure,
    protocol: Protocol,
    content: &Value,
) -> Result<Message, EncodeError> {
    let members = match content {
        Value::Map(members) => members.as_slice(),
        _ => &[],
    };
    let mut rest: Vec<(Name, Value)> = Vec::new();
    let mut payload = None;
    for (name, value) in members {
        match shape.member(name) {
            Some(member) if member.event_header => {
                let kind = &model.shape(member.shape).kind;
                message.headers.push((member.wire().into(), header(kind, value)?));
            }
            Some(member) if member.event_payload => payload = Some((member, value)),
            _ => rest.push((name.clone(), value.clone())),
        }
    }
    if let Some(member) = shape.members.iter().find(|member| member.event_payload) {
        let (kind, bytes) = match (&model.shape(member.shape).kind, payload) {
            (Kind::Blob { .. }, Some((_, Value::Blob(blob)))) => {
                ("application/octet-stream", blob.read_all().map_err(EncodeError::Read)?)
            }
            (Kind::String { .. }, Some((_, Value::String(text)))) => ("text/plain", text.clone().into()),
            (_, Some((member, value))) => protocol::encode_document(model, protocol, member.shape, value)?,
            (_, None) => return Ok(message),
        };
        message = message.with_text(":content-type", kind);
        message.payload = bytes;
    } else if shape.members.iter().any(|member| !member.event_header) {
        let (kind, bytes) = protocol::encode_document(model, protocol, id, &Value::Map(rest))?;
        message = message.with_text(":content-type", kind);
        message.payload = bytes;
    }
    Ok(message)
}

fn header(kind: &Kind, value: &Value) -> Result<Header, EncodeError> {
    Ok(match (kind, value) {
        (Kind::Boolean, Value::Bool(flag)) => Header::Bool(*flag),
        (Kind::Integer, Value::Integer(number)) if i32::try_from(*number).is_ok() => Header::Integer(*number as i32),
        (Kind::Long, Value::Integer(number)) => Header::Long(*number),
        (Kind::String { .. }, Value::String(text)) => Header::String(text.clone()),
        (Kind::Blob { .. }, Value::Blob(blob)) => Header::Bytes(blob.read_all().map_err(EncodeError::Read)?),
        (Kind::Timestamp(_), Value::Timestamp(moment)) => Header::Timestamp(*moment),
        (_, found) => return Err(EncodeError::Misfit { shape: "an event's header", found: found.clone() }),
    })
}

fn frame(message: Message) -> Result<Bytes, EncodeError> {
    message.encode().map_err(EncodeError::Frame)
}

/// The frame that ends a stream with an error: an exception if the stream knows it, a bare error otherwise.
pub fn exception(model: &Model, stream: ShapeId, protocol: Protocol, error: &AwsError) -> Result<Bytes, EncodeError> {
    let events = model.structure(Some(stream));
    let named = |member: &&Member| model.shape(member.shape).name == error.code || member.name == error.code;
    let known = events.and_then(|events| events.members.iter().find(named));
    let Some(member) = known else {
        let message = Message::default().with_text(":message-type", "error").with_text(":error-code", &error.code);
        return frame(message.with_text(":error-message", &error.message));
    };
    let shape = model.structure(Some(member.shape));
    let fields = shape.into_iter().flat_map(|shape| &shape.members);
    let spelled = fields.map(|member| member.name).find(|name| name.eq_ignore_ascii_case("message"));
    let content = spelled.map(|name| (Name::Borrowed(name), Value::String(error.message.clone())));
    let content = Value::Map(content.into_iter().collect());
    event(model, stream, protocol, &Value::Map(vec![(Name::Borrowed(member.name), content)]))
}

/// The first frame of an RPC protocol's stream: the output's members that are no stream. `None` for the REST ones,
/// whose head says it all.
pub fn initial_response(
    model: &Model,
    operation: &Operation,
    protocol: Protocol,
    output: &Value,
) -> Result<Option<Bytes>, EncodeError> {
    let rest = matches!(protocol, Protocol::RestJson | Protocol::RestXml);
    let (Some(shape), false) = (operation.output, rest) else { return Ok(None) };
    let message = Message::default().with_text(":message-type", "event").with_text(":event-type", "initial-response");
    let empty = Value::EMPTY;
    let output = if matches!(output, Value::Null) { &empty } else { output };
    let (kind, payload) = protocol::encode_document(model, protocol, shape, output)?;
    let message = Message { payload, ..message.with_text(":content-type", kind) };
    frame(message).map(Some)
}

/// The event in a frame, as a map of one entry; `None` for one that the stream does not know.
pub fn decode_event(
    model: &Model,
    stream: ShapeId,
    protocol: Protocol,
    message: &Message,
) -> Result<Option<Value>, DecodeError> {
    let name = message.text(":event-type").or_else(|| message.text(":exception-type")).unwrap_or_default();
    let events = model.structure(Some(stream));
    let member = events.and_then(|events| events.members.iter().find(|member| member.wire() == name));
    let Some((member, shape)) = member.and_then(|member| Some((member, model.structure(Some(member.shape))?))) else {
        return Ok(None);
    };
    let mut content: Vec<(Name, Value)> = Vec::new();
    for field in shape.members.iter().filter(|field| field.event_header) {
        let value = message.header(field.wire()).map(read_header);
        content.extend(value.map(|value| (Name::Borrowed(field.name), value)));
    }
    let body = Blob::from(message.payload.clone());
    let request = Request {
        labels: &[],
        query: "",
        headers: &HeaderMap::new(),
        body: &body,
        // A frame is smaller than what is worth a file.
        spool: &|| Err(std::io::ErrorKind::Unsupported.into()),
    };
    match shape.members.iter().find(|field| field.event_payload) {
        Some(field) => {
            let value = match model.shape(field.shape).kind {
                Kind::Blob { .. } => Value::Blob(body),
                Kind::String { .. } => match String::from_utf8(message.payload.clone().into()) {
                    Ok(text) => Value::String(text),
                    Err(_) => return Err(DecodeError::Malformed("Invalid UTF-8 in an event".into())),
                },
                _ => protocol::decode_document(model, protocol, field.shape, &request)?,
            };
            content.push((Name::Borrowed(field.name), value));
        }
        None if shape.members.iter().any(|field| !field.event_header) => {
            if let Value::Map(members) = protocol::decode_document(model, protocol, member.shape, &request)? {
                content.extend(members);
            }
        }
        None => {}
    }
    Ok(Some(Value::Map(vec![(Name::Borrowed(member.name), Value::Map(content))])))
}

fn read_header(header: &Header) -> Value {
    match header {
        Header::Bool(flag) => Value::Bool(*flag),
        Header::Byte(number) => Value::Integer((*number).into()),
        Header::Short(number) => Value::Integer((*number).into()),
        Header::Integer(number) => Value::Integer((*number).into()),
        Header::Long(number) => Value::Integer(*number),
        Header::Bytes(bytes) => Value::Blob(bytes.clone().into()),
        Header::String(text) => Value::String(text.clone()),
        Header::Timestamp(moment) => Value::Timestamp(*moment),
        Header::Uuid(uuid) => Value::Blob(Bytes::copy_from_slice(uuid).into()),
    }
}

#[cfg(test)]
mod tests {
    use base::Timestamp;

    use super::*;
    use crate::eventstream::Frames;
    use crate::schema::load;

    const MODEL: &str = r#"{
    "name":"toy","botocore":"0","apiVersion":"2020-01-01","serviceId":"Toy","endpointPrefix":"toy","protocols":["json-1.0"],
    "operations":{"Watch":{"method":"POST","uri":"/","output":"Output"}},
    "shapes":{
     "Output":{"type":"structure","members":{"Id":"String","Stream":"Stream"}},
     "Stream":{"type":"structure","eventstream":true,"members":{"Chunk":"Chunk","Update":"Update","Stop":"Stop","Lost":"Lost"}},
     "Chunk":{"type":"structure","event":true,"members":{
      "Sequence":{"shape":"Long","eventheader":true},"At":{"shape":"Timestamp","eventheader":true},
      "Data":{"shape":"Blob","eventpayload":true}}},
     "Update":{"type":"structure","event":true,"members":{"Text":"String","Count":"Integer"}},
     "Stop":{"type":"structure","event":true,"members":{}},
     "Lost":{"type":"structure","error":{"status":400},"members":{"message":"String"}},
     "String":{"type":"string"},"Integer":{"type":"integer"},"Long":{"type":"long"},"Blob":{"type":"blob"},
     "Timestamp":{"type":"timestamp"}
    }}"#;

    fn map(members: Vec<(&'static str, Value)>) -> Value {
        Value::Map(members.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }

    fn messages(bytes: &[u8]) -> Vec<Message> {
        let mut frames = Frames::default();
        frames.push(bytes);
        std::iter::from_fn(|| frames.next_message().unwrap()).collect()
    }

    #[test]
    fn events_come_back_as_they_went() {
        let model = load("toy", MODEL, "{}").unwrap();
        let stream = stream_member(&model, model.operation("Watch").unwrap()).unwrap().shape;
        let chunk = map(vec![
            ("Sequence", Value::Integer(7)),
            ("At", Value::Timestamp(Timestamp::from_millis(1_500))),
            ("Data", Value::Blob(Blob::from(b"raw".to_vec()))),
        ]);
        let update = map(vec![("Text", Value::String("t".into())), ("Count", Value::Integer(1))]);
        for given in [map(vec![("Chunk", chunk)]), map(vec![("Update", update)]), map(vec![("Stop", Value::EMPTY)])] {
            for protocol in [Protocol::Json10, Protocol::Cbor, Protocol::RestJson, Protocol::RestXml] {
                let frame = event(&model, stream, protocol, &given).unwrap();
                let [message] = messages(&frame).try_into().unwrap();
                assert_eq!(message.text(":message-type"), Some("event"));
                let decoded = decode_event(&model, stream, protocol, &message).unwrap();
                assert_eq!(decoded.as_ref(), Some(&given), "{protocol:?}");
            }
        }
    }

    #[test]
    fn errors_end_a_stream_as_the_stream_knows_them() {
        let model = load("toy", MODEL, "{}").unwrap();
        let operation = model.operation("Watch").unwrap();
        let stream = stream_member(&model, operation).unwrap().shape;
        let write = |code: &str| {
            let error = AwsError::client(400, code, "gone");
            let frame = exception(&model, stream, Protocol::Json10, &error).unwrap();
            let [message] = messages(&frame).try_into().unwrap();
            message
        };
        let known = write("Lost");
        assert_eq!((known.text(":message-type"), known.text(":exception-type")), (Some("exception"), Some("Lost")));
        assert_eq!(known.payload, r#"{"message":"gone"}"#);
        let unknown = write("Other");
        assert_eq!((unknown.text(":message-type"), unknown.text(":error-code")), (Some("error"), Some("Other")));
        assert_eq!(unknown.text(":error-message"), Some("gone"));
    }

    #[test]
    fn an_rpc_stream_begins_with_the_rest_of_the_output() {
        let model = load("toy", MODEL, "{}").unwrap();
        let operation = model.operation("Watch").unwrap();
        let output = map(vec![("Id", Value::String("i".into()))]);
        let first = initial_response(&model, operation, Protocol::Json10, &output).unwrap().unwrap();
        let [message] = messages(&first).try_into().unwrap();
        assert_eq!(message.text(":event-type"), Some("initial-response"));
        assert_eq!(message.payload, r#"{"Id":"i"}"#);
        assert_eq!(initial_response(&model, operation, Protocol::RestJson, &output).unwrap(), None);
    }
}

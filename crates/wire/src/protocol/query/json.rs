//! Answers of the Query protocol in JSON: `{"OpResponse":{"OpResult":{..},"ResponseMetadata":{..}}}`.
//!
//! It is the JSON of what stands behind these services rather than of their descriptions: members come in the order of
//! their names, all of them, and are null where there is nothing; maps whose entries have names are lists of pairs. API
//! Gateway's integrations hand it on, and whoever verifies a presigned GetCallerIdentity reads it.

use std::collections::BTreeMap;

use base::RequestId;
use http::HeaderValue;
use http::header::CONTENT_TYPE;

use crate::Value;
use crate::protocol::error::Fields;
use crate::protocol::{EncodeError, Response, json};
use crate::schema::{Kind, Member, Model, Operation, ShapeId, Structure, TimestampFormat};
use crate::value::Name;

type Result<T> = std::result::Result<T, EncodeError>;

pub fn encode(model: &Model, operation: &Operation, output: &Value, request_id: RequestId) -> Result<Response> {
    let mut parts = vec![("ResponseMetadata", format!("{{\"RequestId\":\"{request_id}\"}}").into_bytes())];
    if let (Some(wrapper), Some(shape), Some(structure)) =
        (operation.result_wrapper, operation.output, model.structure(operation.output))
    {
        let given = match output {
            Value::Map(members) => members.as_slice(),
            _ => &[],
        };
        let mut writer = Writer(json::Encoder { model, wire_names: false, out: Vec::with_capacity(1 << 10) });
        writer.structure(model.shape(shape).name, structure, given)?;
        parts.push((wrapper, writer.0.out));
    }
    parts.sort_by_key(|(name, _)| *name);
    let mut body = format!("{{\"{}Response\":{{", operation.name).into_bytes();
    for (index, (name, part)) in parts.into_iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        body.extend_from_slice(format!("{comma}\"{name}\":").as_bytes());
        body.extend_from_slice(&part);
    }
    body.extend_from_slice(b"}}");
    Ok(respond(body))
}

/// `{"Error":{"Code":..,"Message":..,"Type":..},"RequestId":..}`
pub fn encode_error(model: Option<&Model>, fields: &Fields<'_>, request_id: RequestId) -> Response {
    let message = Some(fields.message).filter(|message| !message.is_empty());
    let side = if fields.sender { "Sender" } else { "Receiver" };
    let mut error: BTreeMap<&str, Option<&str>> =
        BTreeMap::from([("Code", Some(fields.code.as_str())), ("Message", message), ("Type", Some(side))]);
    if model.is_some_and(|model| model.error_detail) {
        error.insert("Detail", None);
    }
    for (name, value) in fields.members.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("message")) {
        error.insert(name, value.as_str());
    }
    let body = serde_json::json!({"Error": error, "RequestId": request_id.to_string()});
    respond(body.to_string().into_bytes())
}

fn respond(body: Vec<u8>) -> Response {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

struct Writer<'a>(json::Encoder<'a>);

impl Writer<'_> {
    fn name(&mut self, name: &str) {
        self.0.string(name);
        self.0.out.push(b':');
    }

    fn structure(&mut self, shape: &'static str, structure: &Structure, given: &[(Name, Value)]) -> Result<()> {
        if let Some((name, _)) = given.iter().find(|(name, _)| structure.member(name).is_none()) {
            return Err(EncodeError::UnknownMember { shape, member: name.to_string() });
        }
        let name = |member: &Member| member.query_json_name.unwrap_or(member.name);
        let mut members: Vec<&Member> = structure.members.iter().collect();
        members.sort_by_key(|member| name(member));
        self.0.out.push(b'{');
        for (index, member) in members.into_iter().enumerate() {
            self.0.separate(index == 0);
            self.name(name(member));
            let value = given.iter().find(|(name, _)| name == member.name).map(|(_, value)| value);
            self.value(member.shape, value.unwrap_or(&Value::Null), member.timestamp_format)?;
        }
        self.0.out.push(b'}');
        Ok(())
    }

    fn value(&mut self, shape: ShapeId, value: &Value, format: Option<TimestampFormat>) -> Result<()> {
        let described = self.0.model.shape(shape);
        match (&described.kind, value) {
            (Kind::Structure(structure), Value::Map(members)) => self.structure(described.name, structure, members),
            (Kind::List { member, .. }, Value::List(items)) => {
                self.0.out.push(b'[');
                for (index, item) in items.iter().enumerate() {
                    self.0.separate(index == 0);
                    self.value(*member, item, None)?;
                }
                self.0.out.push(b']');
                Ok(())
            }
            (
                Kind::Map { value: of, key_name: Some(key_name), value_name: Some(value_name), .. },
                Value::Map(entries),
            ) => {
                self.0.out.push(b'[');
                for (index, (key, value)) in entries.iter().enumerate() {
                    self.0.separate(index == 0);
                    self.0.out.push(b'{');
                    self.name(key_name);
                    self.0.string(key);
                    self.0.out.push(b',');
                    self.name(value_name);
                    self.value(*of, value, None)?;
                    self.0.out.push(b'}');
                }
                self.0.out.push(b']');
                Ok(())
            }
            _ => self.0.value(shape, value, format),
        }
    }
}

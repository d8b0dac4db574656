//! RPC-v2-CBOR: the input in the body of a POST, members by their own names.
//!
//! Lengths in the bytes are never believed: a list or map grows as its items arrive.

use base::Timestamp;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue};
use minicbor::data::{IanaTag, Tag, Type};
use minicbor::decode::Decoder as Bytes;
use minicbor::encode::Encoder;

use super::budget::Budget;
use super::{DecodeError, EncodeError, Request, Response, find_member, json};
use crate::Value;
use crate::limits::BODY_TEXT_BYTES_MAX;
use crate::schema::{Kind, Model, Operation, Shape, ShapeId, Structure};
use crate::value::Name;

pub fn decode(model: &Model, input: ShapeId, request: &Request<'_>) -> Result<Value, DecodeError> {
    if request.body.is_empty() {
        return Ok(Value::EMPTY);
    }
    if request.body.len() > BODY_TEXT_BYTES_MAX as u64 {
        return Err(DecodeError::TooLarge("the body is too large"));
    }
    let body = request.body.read_all().map_err(DecodeError::Read)?;
    decode_bytes(model, input, &body, Budget::new(request.spool))
}

pub fn decode_bytes(model: &Model, shape: ShapeId, bytes: &[u8], budget: Budget<'_>) -> Result<Value, DecodeError> {
    let mut decoder = Decoder { model, bytes: Bytes::new(bytes), budget };
    let value = decoder.value(shape)?;
    if decoder.bytes.position() < bytes.len() {
        return Err(DecodeError::Malformed("Bytes behind the end".into()));
    }
    Ok(value)
}

struct Decoder<'a> {
    model: &'a Model,
    bytes: Bytes<'a>,
    budget: Budget<'a>,
}

fn malformed(error: minicbor::decode::Error) -> DecodeError {
    DecodeError::Malformed(format!("The CBOR is not well-formed: {error}"))
}

fn unexpected(found: Type, wanted: &str) -> DecodeError {
    DecodeError::Mismatch(format!("Found {found} where {wanted} was expected"))
}

fn is_integer(kind: Type) -> bool {
    matches!(
        kind,
        Type::U8 | Type::U16 | Type::U32 | Type::U64 | Type::I8 | Type::I16 | Type::I32 | Type::I64 | Type::Int
    )
}

impl Decoder<'_> {
    fn peek(&self) -> Result<Type, DecodeError> {
        self.bytes.datatype().map_err(malformed)
    }

    fn value(&mut self, shape: ShapeId) -> Result<Value, DecodeError> {
        self.budget.charge_elements(1)?;
        let shape = self.model.shape(shape);
        let found = self.peek()?;
        match (&shape.kind, found) {
            (_, Type::Null | Type::Undefined) => {
                self.bytes.skip().map_err(malformed)?;
                Ok(Value::Null)
            }
            (Kind::Timestamp(_), Type::Tag) => self.timestamp(),
            // Any other tag only comments on the item behind it.
            (_, Type::Tag) => {
                self.bytes.tag().map_err(malformed)?;
                let again = self.peek()?;
                if again == Type::Tag {
                    return Err(unexpected(again, "an item"));
                }
                self.untagged(shape, again)
            }
            _ => self.untagged(shape, found),
        }
    }

    fn untagged(&mut self, shape: &Shape, found: Type) -> Result<Value, DecodeError> {
        match (&shape.kind, found) {
            (Kind::Structure(structure), Type::Map | Type::MapIndef) => self.structure(structure),
            (Kind::Map { value, .. }, Type::Map | Type::MapIndef) => self.map(*value),
            (Kind::List { member, .. }, Type::Array | Type::ArrayIndef) => self.list(*member),
            (Kind::String { .. }, Type::String | Type::StringIndef) => self.text().map(Value::String),
            (Kind::Blob { .. }, Type::Bytes | Type::BytesIndef) => {
                let mut blob = Vec::new();
                for piece in self.bytes.bytes_iter().map_err(malformed)? {
                    let piece = piece.map_err(malformed)?;
                    self.budget.charge_text(piece.len())?;
                    blob.extend_from_slice(piece);
                }
                Ok(Value::Blob(blob.into()))
            }
            (Kind::Boolean, Type::Bool) => self.bytes.bool().map(Value::Bool).map_err(malformed),
            (Kind::Integer, found) if is_integer(found) => match self.integer()? {
                number if i32::try_from(number).is_ok() => Ok(Value::Integer(number)),
                _ => Err(DecodeError::Mismatch("NUMBER_VALUE cannot be converted to Integer".into())),
            },
            (Kind::Long, found) if is_integer(found) => self.integer().map(Value::Integer),
            (Kind::Float | Kind::Double, _) => self.float(found).map(Value::Float),
            (Kind::Timestamp(_), found) => Err(unexpected(found, "a timestamp")),
            (_, found) => Err(unexpected(found, shape.name)),
        }
    }

    fn integer(&mut self) -> Result<i64, DecodeError> {
        let number = self.bytes.int().map_err(malformed)?;
        i64::try_from(number).map_err(|_| DecodeError::Mismatch("NUMBER_VALUE cannot be converted to Long".into()))
    }

    fn float(&mut self, found: Type) -> Result<f64, DecodeError> {
        match found {
            Type::F64 => self.bytes.f64().map_err(malformed),
            Type::F32 => self.bytes.f32().map(f64::from).map_err(malformed),
            Type::F16 => {
                let start = self.bytes.position().saturating_add(1);
                let end = start.saturating_add(2);
                let half = self.bytes.input().get(start..end).and_then(|half| <[u8; 2]>::try_from(half).ok());
                let half = half.ok_or_else(|| malformed(minicbor::decode::Error::end_of_input()))?;
                self.bytes.set_position(end);
                Ok(half_to_double(u16::from_be_bytes(half)))
            }
            // Writers shorten whole numbers.
            found if is_integer(found) => Ok(self.integer()? as f64),
            found => Err(unexpected(found, "a number")),
        }
    }

    fn timestamp(&mut self) -> Result<Value, DecodeError> {
        let tag = self.bytes.tag().map_err(malformed)?;
        if tag != IanaTag::Timestamp.tag() {
            return Err(DecodeError::Mismatch("Found another tag where a timestamp was expected".into()));
        }
        let found = self.peek()?;
        let secs = self.float(found)?;
        let moment = Timestamp::from_secs_f64(secs);
        moment.map(Value::Timestamp).ok_or_else(|| DecodeError::Mismatch("Invalid timestamp".into()))
    }

    fn text(&mut self) -> Result<String, DecodeError> {
        let mut text = String::new();
        for piece in self.bytes.str_iter().map_err(malformed)? {
            let piece = piece.map_err(malformed)?;
            self.budget.charge_text(piece.len())?;
            text.push_str(piece);
        }
        Ok(text)
    }

    /// Whether a container of `left` items (unknown when indefinite) has another.
    fn next(&mut self, left: &mut Option<u64>) -> Result<bool, DecodeError> {
        let more = match left {
            Some(0) => false,
            Some(count) => {
                *count = count.saturating_sub(1);
                return Ok(true);
            }
            None if self.peek()? == Type::Break => {
                self.bytes.skip().map_err(malformed)?;
                false
            }
            None => return Ok(true),
        };
        self.budget.ascend();
        Ok(more)
    }

    fn structure(&mut self, structure: &Structure) -> Result<Value, DecodeError> {
        self.budget.descend()?;
        let mut left = self.bytes.map().map_err(malformed)?;
        let mut members: Vec<(Name, Value)> = Vec::new();
        let mut cursor = 0;
        while self.next(&mut left)? {
            let key = self.text()?;
            let Some(member) = find_member(structure, &mut cursor, |member| member.name == key) else {
                self.skip()?;
                continue;
            };
            let value = self.value(member.shape)?;
            members.retain(|(name, _)| name != member.name);
            if !matches!(value, Value::Null) {
                members.push((Name::Borrowed(member.name), value));
            }
        }
        Ok(Value::Map(members))
    }

    fn map(&mut self, shape: ShapeId) -> Result<Value, DecodeError> {
        self.budget.descend()?;
        let mut left = self.bytes.map().map_err(malformed)?;
        let mut entries: Vec<(Name, Value)> = Vec::new();
        while self.next(&mut left)? {
            self.budget.charge_elements(1)?;
            let key = self.text()?;
            entries.push((key.into(), self.value(shape)?));
        }
        Ok(Value::Map(json::last_wins(entries)))
    }

    fn list(&mut self, shape: ShapeId) -> Result<Value, DecodeError> {
        self.budget.descend()?;
        let mut left = self.bytes.array().map_err(malformed)?;
        let mut elements = Vec::new();
        while self.next(&mut left)? {
            elements.push(self.value(shape)?);
        }
        Ok(Value::List(elements))
    }

    /// Reads over an item of any kind.
    fn skip(&mut self) -> Result<(), DecodeError> {
        match self.peek()? {
            kind @ (Type::Map | Type::MapIndef | Type::Array | Type::ArrayIndef) => {
                self.budget.descend()?;
                let entries = matches!(kind, Type::Map | Type::MapIndef);
                let count = if entries { self.bytes.map() } else { self.bytes.array() };
                let mut left = count.map_err(malformed)?;
                while self.next(&mut left)? {
                    if entries {
                        self.skip()?;
                    }
                    self.skip()?;
                }
                Ok(())
            }
            Type::Tag => {
                self.bytes.tag().map_err(malformed)?;
                self.budget.descend()?;
                self.skip()?;
                self.budget.ascend();
                Ok(())
            }
            found @ (Type::Break | Type::Unknown(_)) => Err(unexpected(found, "an item")),
            _ => self.bytes.skip().map_err(malformed),
        }
    }
}

/// IEEE 754 binary16.
fn half_to_double(half: u16) -> f64 {
    let exponent = i32::from(half >> 10 & 0x1f);
    let fraction = f64::from(half & 0x3ff);
    let magnitude = match exponent {
        0 => fraction * 2_f64.powi(-24),
        0x1f if fraction == 0.0 => f64::INFINITY,
        0x1f => f64::NAN,
        _ => (1.0 + fraction / 1024.0) * 2_f64.powi(exponent.saturating_sub(15)),
    };
    if half & 0x8000 == 0 { magnitude } else { -magnitude }
}

pub fn encode(model: &Model, operation: &Operation, output: &Value) -> Result<Response, EncodeError> {
    let mut response = Response::default();
    if let Some(shape) = operation.output {
        let empty = Value::EMPTY;
        let output = if matches!(output, Value::Null) { &empty } else { output };
        *response.body_mut() = encode_value(model, shape, output)?.into();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/cbor"));
    }
    mark(response.headers_mut());
    Ok(response)
}

pub fn encode_value(model: &Model, shape: ShapeId, value: &Value) -> Result<Vec<u8>, EncodeError> {
    let mut writer = Writer { model, out: Encoder::new(Vec::with_capacity(1 << 10)) };
    writer.value(shape, value)?;
    Ok(writer.out.into_writer())
}

/// Every answer of this protocol says so.
pub fn mark(headers: &mut HeaderMap) {
    headers.insert(HeaderName::from_static("smithy-protocol"), HeaderValue::from_static("rpc-v2-cbor"));
}

pub fn encode_error(model: Option<&Model>, fields: &super::error::Fields<'_>) -> Response {
    let mut out = Encoder::new(Vec::new());
    // Writing into a vector cannot fail.
    out.begin_map().ok();
    out.str("__type").ok();
    out.str(&fields.shape_name).ok();
    for (name, value) in &fields.members {
        let member = model.and_then(|model| Some((model, fields.structure()?.member(name)?)));
        let mut writer = Encoder::new(Vec::new());
        match (member, value) {
            (Some((model, member)), value) => {
                let mut typed = Writer { model, out: writer };
                // A member that does not fit is less than the error that it belongs to.
                if typed.value(member.shape, value).is_err() {
                    continue;
                }
                writer = typed.out;
            }
            (None, value) => {
                writer.str(value.as_str().unwrap_or_default()).ok();
            }
        }
        out.str(name).ok();
        out.writer_mut().extend(writer.into_writer());
    }
    out.end().ok();
    let mut response = Response::new(out.into_writer().into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/cbor"));
    mark(response.headers_mut());
    response
}

struct Writer<'a> {
    model: &'a Model,
    out: Encoder<Vec<u8>>,
}

impl Writer<'_> {
    fn value(&mut self, shape: ShapeId, value: &Value) -> Result<(), EncodeError> {
        let shape = self.model.shape(shape);
        // Writing into a vector cannot fail, so its results say nothing.
        match (&shape.kind, value) {
            (_, Value::Null) => drop(self.out.null()),
            (Kind::Structure(structure), Value::Map(members)) => {
                let present = members.iter().filter(|(_, value)| !matches!(value, Value::Null));
                self.out.map(present.clone().count() as u64).ok();
                let mut cursor = 0;
                for (name, value) in present {
                    let Some(member) = find_member(structure, &mut cursor, |member| member.name == name) else {
                        let (shape, member) = (shape.name, name.to_string());
                        return Err(EncodeError::UnknownMember { shape, member });
                    };
                    self.out.str(member.name).ok();
                    self.value(member.shape, value)?;
                }
            }
            (Kind::Map { value: shape, .. }, Value::Map(entries)) => {
                self.out.map(entries.len() as u64).ok();
                for (key, value) in entries {
                    self.out.str(key).ok();
                    self.value(*shape, value)?;
                }
            }
            (Kind::List { member, .. }, Value::List(elements)) => {
                self.out.array(elements.len() as u64).ok();
                for element in elements {
                    self.value(*member, element)?;
                }
            }
            (Kind::String { .. }, Value::String(text)) => drop(self.out.str(text)),
            (Kind::Boolean, Value::Bool(flag)) => drop(self.out.bool(*flag)),
            (Kind::Integer | Kind::Long, Value::Integer(number)) => drop(self.out.i64(*number)),
            (Kind::Float | Kind::Double, Value::Integer(number)) => drop(self.out.f64(*number as f64)),
            (Kind::Float | Kind::Double, Value::Float(number)) => drop(self.out.f64(*number)),
            (Kind::Blob { .. }, Value::Blob(blob)) => {
                drop(self.out.bytes(&blob.read_all().map_err(EncodeError::Read)?));
            }
            (Kind::Timestamp(_), Value::Timestamp(moment)) => self.timestamp(*moment),
            (_, found) => return Err(EncodeError::Misfit { shape: shape.name, found: found.clone() }),
        }
        Ok(())
    }

    fn timestamp(&mut self, moment: Timestamp) {
        self.out.tag(Tag::from(IanaTag::Timestamp)).ok();
        if moment.as_micros().rem_euclid(1_000_000) == 0 {
            self.out.i64(moment.as_secs()).ok();
        } else {
            self.out.f64(moment.as_secs_f64()).ok();
        }
    }
}

//! Values into JSON, by shape.

use std::io::Write;

use base::Timestamp;

use crate::protocol::{EncodeError, base64, find_member};
use crate::schema::{Kind, Location, Model, ShapeId, Structure, TimestampFormat};
use crate::value::Name;
use crate::{Blob, Value};

type Result<T> = std::result::Result<T, EncodeError>;

pub struct Encoder<'a> {
    pub model: &'a Model,
    pub wire_names: bool,
    pub out: Vec<u8>,
}

impl Encoder<'_> {
    pub fn value(&mut self, shape: ShapeId, value: &Value, format: Option<TimestampFormat>) -> Result<()> {
        let shape = self.model.shape(shape);
        match (&shape.kind, value) {
            (_, Value::Null) => self.out.extend_from_slice(b"null"),
            (Kind::Structure(structure), Value::Map(members)) => self.structure(shape.name, structure, members)?,
            (Kind::Map { value: shape, .. }, Value::Map(entries)) => {
                self.out.push(b'{');
                for (index, (key, value)) in entries.iter().enumerate() {
                    self.separate(index == 0);
                    self.string(key);
                    self.out.push(b':');
                    self.value(*shape, value, None)?;
                }
                self.out.push(b'}');
            }
            (Kind::List { member, .. }, Value::List(elements)) => {
                self.out.push(b'[');
                for (index, element) in elements.iter().enumerate() {
                    self.separate(index == 0);
                    self.value(*member, element, None)?;
                }
                self.out.push(b']');
            }
            (Kind::String { .. }, Value::String(text)) => self.string(text),
            (Kind::Boolean, Value::Bool(flag)) => self.out.extend_from_slice(if *flag { b"true" } else { b"false" }),
            (Kind::Integer | Kind::Long | Kind::Float | Kind::Double, Value::Integer(number)) => self.integer(*number),
            (Kind::Float | Kind::Double, Value::Float(number)) => self.float(*number),
            (Kind::Blob { .. }, Value::Blob(blob)) => self.blob(blob)?,
            (Kind::Timestamp(own), Value::Timestamp(moment)) => self.timestamp(*moment, format.or(*own)),
            (Kind::Document, value) => self.any(value)?,
            (_, found) => return Err(EncodeError::Misfit { shape: shape.name, found: found.clone() }),
        }
        Ok(())
    }

    /// The members that travel in the body.
    pub fn structure(&mut self, name: &'static str, structure: &Structure, members: &[(Name, Value)]) -> Result<()> {
        self.out.push(b'{');
        let mut first = true;
        let mut cursor = 0;
        for (key, value) in members {
            let Some(member) = find_member(structure, &mut cursor, |member| member.name == key) else {
                return Err(EncodeError::UnknownMember { shape: name, member: key.to_string() });
            };
            if matches!(value, Value::Null) || member.location != Location::Body && self.wire_names {
                continue;
            }
            self.separate(first);
            first = false;
            self.string(if self.wire_names { member.wire() } else { member.name });
            self.out.push(b':');
            self.value(member.shape, value, member.timestamp_format)?;
        }
        self.out.push(b'}');
        Ok(())
    }

    pub fn separate(&mut self, first: bool) {
        if !first {
            self.out.push(b',');
        }
    }

    pub fn string(&mut self, text: &str) {
        write_string(&mut self.out, text);
    }

    fn integer(&mut self, number: i64) {
        // Writing into a vector cannot fail.
        write!(self.out, "{number}").ok();
    }

    fn float(&mut self, number: f64) {
        match number {
            _ if number.is_nan() => self.string("NaN"),
            f64::INFINITY => self.string("Infinity"),
            f64::NEG_INFINITY => self.string("-Infinity"),
            _ => drop(serde_json::to_writer(&mut self.out, &number)),
        }
    }

    fn blob(&mut self, blob: &Blob) -> Result<()> {
        let content = blob.read_all().map_err(EncodeError::Read)?;
        self.out.push(b'"');
        base64::encode_into(&content, &mut self.out);
        self.out.push(b'"');
        Ok(())
    }

    fn timestamp(&mut self, moment: Timestamp, format: Option<TimestampFormat>) {
        match format {
            None | Some(TimestampFormat::UnixSeconds) => write_unix_seconds(&mut self.out, moment),
            Some(TimestampFormat::Iso8601) => self.string(&moment.iso8601()),
            Some(TimestampFormat::HttpDate) => self.string(&moment.http_date()),
        }
    }

    /// A value without a schema.
    fn any(&mut self, value: &Value) -> Result<()> {
        match value {
            Value::Null => self.out.extend_from_slice(b"null"),
            Value::Bool(flag) => self.out.extend_from_slice(if *flag { b"true" } else { b"false" }),
            Value::Integer(number) => self.integer(*number),
            Value::Float(number) => self.float(*number),
            Value::String(text) => self.string(text),
            Value::Blob(blob) => self.blob(blob)?,
            Value::Timestamp(moment) => self.timestamp(*moment, None),
            Value::List(elements) => {
                self.out.push(b'[');
                for (index, element) in elements.iter().enumerate() {
                    self.separate(index == 0);
                    self.any(element)?;
                }
                self.out.push(b']');
            }
            Value::Map(entries) => {
                self.out.push(b'{');
                for (index, (key, value)) in entries.iter().enumerate() {
                    self.separate(index == 0);
                    self.string(key);
                    self.out.push(b':');
                    self.any(value)?;
                }
                self.out.push(b'}');
            }
        }
        Ok(())
    }
}

pub fn write_string(out: &mut Vec<u8>, text: &str) {
    // Nearly every text is as it is; all of it is looked at, without a branch a byte, which is far quicker than
    // stopping at the first letter that is not.
    let escapes = |byte: u8| (byte < 0x20) | (byte == b'"') | (byte == b'\\');
    if text.bytes().fold(false, |found, byte| found | escapes(byte)) {
        // Writing text into a vector cannot fail.
        serde_json::to_writer(out, text).ok();
        return;
    }
    out.reserve(text.len().saturating_add(2));
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

/// Seconds with as many decimals as the moment has, without the rounding of a float.
pub fn write_unix_seconds(out: &mut Vec<u8>, moment: Timestamp) {
    let micros = moment.as_micros();
    let sign = if micros < 0 { "-" } else { "" };
    let (whole, fraction) = (micros.unsigned_abs() / 1_000_000, micros.unsigned_abs() % 1_000_000);
    if fraction == 0 {
        write!(out, "{sign}{whole}").ok();
        return;
    }
    let decimals = format!("{fraction:06}");
    write!(out, "{sign}{whole}.{}", decimals.trim_end_matches('0')).ok();
}

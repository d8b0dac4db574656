//! Scalars as text: in labels, query strings, headers, forms and XML.

use base::Timestamp;

use super::{DecodeError, EncodeError, base64};
use crate::Value;
use crate::schema::{Kind, Shape, TimestampFormat};

/// `format` applies to timestamps; the caller has settled it from the member, the shape and the place.
pub fn parse(shape: &Shape, text: &str, format: TimestampFormat) -> Result<Value, DecodeError> {
    let refuse = || DecodeError::Mismatch(format!("Value '{}' is not a valid {}", clip(text), class(&shape.kind)));
    match &shape.kind {
        Kind::String { .. } | Kind::Document => Ok(Value::String(text.to_owned())),
        Kind::Integer => text.trim().parse::<i32>().map(|number| Value::Integer(number.into())).map_err(|_| refuse()),
        Kind::Long => text.trim().parse().map(Value::Integer).map_err(|_| refuse()),
        Kind::Float | Kind::Double => parse_float(text.trim()).map(Value::Float).ok_or_else(refuse),
        Kind::Boolean => match text.trim() {
            "true" | "True" | "TRUE" | "1" => Ok(Value::Bool(true)),
            "false" | "False" | "FALSE" | "0" => Ok(Value::Bool(false)),
            _ => Err(refuse()),
        },
        Kind::Blob { .. } => base64::decode(text.trim().as_bytes()).map(|bytes| Value::Blob(bytes.into())),
        Kind::Timestamp(_) => parse_timestamp(text.trim(), format).map(Value::Timestamp).ok_or_else(refuse),
        Kind::Structure(_) | Kind::List { .. } | Kind::Map { .. } => Err(refuse()),
    }
}

fn parse_float(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        // Rust also reads `inf` and the like, which AWS does not.
        _ if text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')) => {
            text.parse::<f64>().ok().filter(|number| number.is_finite())
        }
        _ => None,
    }
}

fn parse_timestamp(text: &str, format: TimestampFormat) -> Option<Timestamp> {
    match format {
        TimestampFormat::Iso8601 => Timestamp::parse_iso8601(text).ok(),
        TimestampFormat::HttpDate => Timestamp::parse_http_date(text).ok(),
        TimestampFormat::UnixSeconds => parse_float(text).and_then(Timestamp::from_secs_f64),
    }
}

pub fn write(shape: &Shape, value: &Value, format: TimestampFormat) -> Result<String, EncodeError> {
    Ok(match (&shape.kind, value) {
        (Kind::String { .. } | Kind::Document, Value::String(text)) => text.clone(),
        (Kind::Integer | Kind::Long | Kind::Float | Kind::Double, Value::Integer(number)) => number.to_string(),
        (Kind::Float | Kind::Double, Value::Float(number)) => write_float(*number),
        (Kind::Boolean, Value::Bool(flag)) => flag.to_string(),
        (Kind::Blob { .. }, Value::Blob(blob)) => base64::encode(&blob.read_all().map_err(EncodeError::Read)?),
        (Kind::Timestamp(_), Value::Timestamp(moment)) => write_timestamp(*moment, format),
        (_, found) => return Err(EncodeError::Misfit { shape: shape.name, found: found.clone() }),
    })
}

fn write_float(number: f64) -> String {
    match number {
        _ if number.is_nan() => "NaN".into(),
        f64::INFINITY => "Infinity".into(),
        f64::NEG_INFINITY => "-Infinity".into(),
        // JSON's spelling of a number is the shortest that reads back the same.
        _ => serde_json::to_string(&number).unwrap_or_default(),
    }
}

fn write_timestamp(moment: Timestamp, format: TimestampFormat) -> String {
    match format {
        TimestampFormat::Iso8601 => moment.iso8601(),
        TimestampFormat::HttpDate => moment.http_date(),
        TimestampFormat::UnixSeconds => {
            let mut text = Vec::new();
            super::json::write_unix_seconds(&mut text, moment);
            String::from_utf8(text).unwrap_or_default()
        }
    }
}

fn class(kind: &Kind) -> &'static str {
    match kind {
        Kind::Structure(_) => "structure",
        Kind::List { .. } => "list",
        Kind::Map { .. } => "map",
        Kind::String { .. } | Kind::Document => "string",
        Kind::Integer => "integer",
        Kind::Long => "long",
        Kind::Float => "float",
        Kind::Double => "double",
        Kind::Boolean => "boolean",
        Kind::Blob { .. } => "blob",
        Kind::Timestamp(_) => "timestamp",
    }
}

/// Enough of a text to recognise it by.
fn clip(text: &str) -> &str {
    const CLIP_CHARS: usize = 64;
    text.char_indices().nth(CLIP_CHARS).and_then(|(end, _)| text.get(..end)).unwrap_or(text)
}

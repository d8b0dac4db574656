//! JSON into values, by shape.

use std::collections::HashSet;
use std::io::BufRead;

use base::Timestamp;

use super::reader::{Reader, Token};
use crate::Value;
use crate::protocol::{DecodeError, find_member};
use crate::schema::{Kind, Member, Model, ShapeId, Structure, TimestampFormat};
use crate::value::Name;

type Result<T> = std::result::Result<T, DecodeError>;

pub struct Decoder<'a, R> {
    pub model: &'a Model,
    /// REST-JSON spells members by their wire names; the RPC protocols by the members' own.
    pub wire_names: bool,
    pub reader: Reader<'a, R>,
}

impl<R: BufRead> Decoder<'_, R> {
    /// One value and nothing behind it.
    pub fn document(mut self, shape: ShapeId) -> Result<Value> {
        let value = self.value(shape, None)?;
        if !self.reader.at_end()? {
            return Err(DecodeError::Malformed("Expected space separating root-level values".into()));
        }
        Ok(value)
    }

    fn value(&mut self, shape: ShapeId, member: Option<&Member>) -> Result<Value> {
        let token = self.reader.peek()?;
        self.reader.budget.charge_elements(1)?;
        match &self.model.shape(shape).kind {
            _ if token == Token::Null => self.reader.literal(token).map(|()| Value::Null),
            Kind::Structure(structure) => {
                if token != Token::Object {
                    return Err(misplaced(token, "Unexpected field type"));
                }
                self.structure(structure)
            }
            Kind::Map { value, .. } => {
                if token != Token::Object {
                    return Err(misplaced(token, "Unexpected field type"));
                }
                self.map(*value)
            }
            Kind::List { member, .. } => {
                if token != Token::Array {
                    return Err(misplaced(token, "Unexpected field type"));
                }
                self.list(*member)
            }
            Kind::Document => self.any(token),
            Kind::Timestamp(format) => {
                let format = member.and_then(|member| member.timestamp_format).or(*format);
                self.timestamp(token, format.unwrap_or(TimestampFormat::UnixSeconds))
            }
            kind => self.scalar(token, kind),
        }
    }

    fn structure(&mut self, structure: &Structure) -> Result<Value> {
        self.reader.open()?;
        let mut members: Vec<(Name, Value)> = Vec::new();
        let mut cursor = 0;
        let mut first = true;
        while self.reader.next_key(first)? {
            first = false;
            let (wire_names, key) = (self.wire_names, self.reader.key()?);
            let named = |member: &Member| (if wire_names { member.wire() } else { member.name }) == key;
            let Some(member) = find_member(structure, &mut cursor, named) else {
                self.reader.skip()?;
                continue;
            };
            let value = self.value(member.shape, Some(member))?;
            let known = members.iter().position(|(name, _)| name == member.name);
            match (value, known) {
                (Value::Null, None) => {}
                (Value::Null, Some(place)) => drop(members.remove(place)),
                (value, None) => members.push((Name::Borrowed(member.name), value)),
                (value, Some(place)) => {
                    if let Some(slot) = members.get_mut(place) {
                        slot.1 = value;
                    }
                }
            }
        }
        Ok(Value::Map(members))
    }

    fn map(&mut self, shape: ShapeId) -> Result<Value> {
        self.reader.open()?;
        let mut entries: Vec<(Name, Value)> = Vec::new();
        let mut first = true;
        while self.reader.next_key(first)? {
            first = false;
            let key = self.reader.key()?.to_owned();
            self.reader.budget.charge_text(key.len())?;
            self.reader.budget.charge_elements(1)?;
            entries.push((key.into(), self.value(shape, None)?));
        }
        Ok(Value::Map(last_wins(entries)))
    }

    fn list(&mut self, shape: ShapeId) -> Result<Value> {
        self.reader.open()?;
        let mut elements = Vec::new();
        while self.reader.next_element(elements.is_empty())? {
            elements.push(self.value(shape, None)?);
        }
        Ok(Value::List(elements))
    }

    fn scalar(&mut self, token: Token, kind: &Kind) -> Result<Value> {
        match (kind, token) {
            (Kind::String { .. }, Token::String) => self.reader.string().map(Value::String),
            (Kind::Blob { .. }, Token::String) => self.reader.blob().map(Value::Blob),
            (Kind::Boolean, Token::True | Token::False) => {
                self.reader.literal(token).map(|()| Value::Bool(token == Token::True))
            }
            (Kind::Integer, Token::Number) => match integer(self.reader.number()?) {
                Some(number) if i32::try_from(number).is_ok() => Ok(Value::Integer(number)),
                _ => Err(DecodeError::Mismatch("NUMBER_VALUE cannot be converted to Integer".into())),
            },
            (Kind::Long, Token::Number) => match integer(self.reader.number()?) {
                Some(number) => Ok(Value::Integer(number)),
                None => Err(DecodeError::Mismatch("NUMBER_VALUE cannot be converted to Long".into())),
            },
            (Kind::Float | Kind::Double, Token::Number) => float(self.reader.number()?).map(Value::Float),
            (Kind::Float | Kind::Double, Token::String) => match self.reader.string()?.as_str() {
                "NaN" => Ok(Value::Float(f64::NAN)),
                "Infinity" => Ok(Value::Float(f64::INFINITY)),
                "-Infinity" => Ok(Value::Float(f64::NEG_INFINITY)),
                _ => Err(mismatch(token, kind)),
            },
            _ => Err(mismatch(token, kind)),
        }
    }

    fn timestamp(&mut self, token: Token, format: TimestampFormat) -> Result<Value> {
        let parsed = match (format, token) {
            (TimestampFormat::UnixSeconds, Token::Number) => Timestamp::from_secs_f64(float(self.reader.number()?)?),
            (TimestampFormat::Iso8601, Token::String) => Timestamp::parse_iso8601(&self.reader.string()?).ok(),
            (TimestampFormat::HttpDate, Token::String) => Timestamp::parse_http_date(&self.reader.string()?).ok(),
            _ => return Err(mismatch(token, &Kind::Timestamp(None))),
        };
        parsed.map(Value::Timestamp).ok_or_else(|| DecodeError::Mismatch("Invalid timestamp".into()))
    }

    /// A value without a schema.
    fn any(&mut self, token: Token) -> Result<Value> {
        match token {
            Token::String => self.reader.string().map(Value::String),
            Token::Number => {
                let number = self.reader.number()?;
                let spelled_whole = !number.contains(['.', 'e', 'E']);
                match integer(number) {
                    Some(number) if spelled_whole => Ok(Value::Integer(number)),
                    _ => float(number).map(Value::Float),
                }
            }
            Token::Array => {
                self.reader.open()?;
                let mut elements = Vec::new();
                while self.reader.next_element(elements.is_empty())? {
                    self.reader.budget.charge_elements(1)?;
                    let token = self.reader.peek()?;
                    elements.push(self.any(token)?);
                }
                Ok(Value::List(elements))
            }
            Token::Object => {
                self.reader.open()?;
                let mut entries: Vec<(Name, Value)> = Vec::new();
                while self.reader.next_key(entries.is_empty())? {
                    let key = self.reader.key()?.to_owned();
                    self.reader.budget.charge_text(key.len())?;
                    self.reader.budget.charge_elements(2)?;
                    let token = self.reader.peek()?;
                    entries.push((key.into(), self.any(token)?));
                }
                Ok(Value::Map(last_wins(entries)))
            }
            Token::Null => self.reader.literal(token).map(|()| Value::Null),
            Token::True | Token::False => self.reader.literal(token).map(|()| Value::Bool(token == Token::True)),
        }
    }
}

/// Of entries with one key the last stays, as in AWS's parsers.
pub fn last_wins(mut entries: Vec<(Name, Value)>) -> Vec<(Name, Value)> {
    /// Below this, comparing all pairs is faster than hashing.
    const PAIRWISE_MAX: usize = 8;
    let distinct = if entries.len() <= PAIRWISE_MAX {
        let mut rest = entries.iter();
        std::iter::from_fn(|| rest.next().map(|entry| rest.clone().all(|later| later.0 != entry.0)))
            .all(|unique| unique)
    } else {
        let mut keys = HashSet::with_capacity(entries.len());
        entries.iter().all(|(key, _)| keys.insert(key.as_ref()))
    };
    if !distinct {
        let mut keys = HashSet::with_capacity(entries.len());
        entries.reverse();
        entries.retain(|(key, _)| keys.insert(key.clone()));
        entries.reverse();
    }
    entries
}

/// A whole number, also one spelled `1.0` or `1e3`.
fn integer(text: &str) -> Option<i64> {
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    let number: f64 = text.parse().ok().filter(|_| text.contains(['.', 'e', 'E']))?;
    // Up to 2^53 a double holds every whole number exactly.
    (number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0).then_some(number as i64)
}

fn float(text: &str) -> Result<f64> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => Err(DecodeError::Mismatch("NUMBER_VALUE cannot be converted to Double".into())),
    }
}

fn misplaced(token: Token, otherwise: &str) -> DecodeError {
    DecodeError::Mismatch(match token {
        Token::Object => "Start of structure or map found where not expected".into(),
        Token::Array => "Start of list found where not expected".into(),
        _ => otherwise.into(),
    })
}

/// AWS's words for a scalar of the wrong kind.
fn mismatch(token: Token, kind: &Kind) -> DecodeError {
    let (class, name) = match kind {
        Kind::Integer => ("java.lang.Integer", "Integer"),
        Kind::Long => ("java.lang.Long", "Long"),
        Kind::Float => ("java.lang.Float", "Float"),
        Kind::Double => ("java.lang.Double", "Double"),
        Kind::Boolean => ("java.lang.Boolean", "Boolean"),
        Kind::Blob { .. } => ("java.nio.ByteBuffer", "ByteBuffer"),
        Kind::Timestamp(_) => ("java.util.Date", "Date"),
        _ => ("java.lang.String", "String"),
    };
    let found = match token {
        Token::Array => return DecodeError::Mismatch(format!("Unrecognized collection type class {class}")),
        Token::Object => return misplaced(token, ""),
        _ if name == "ByteBuffer" => {
            return DecodeError::Mismatch("only base-64-encoded strings are convertible to bytes".into());
        }
        Token::String if name == "Boolean" => {
            return DecodeError::Mismatch("Unexpected token received from parser".into());
        }
        Token::String => "STRING_VALUE",
        Token::Number => "NUMBER_VALUE",
        Token::True => "TRUE_VALUE",
        Token::False => "FALSE_VALUE",
        Token::Null => "NULL_VALUE",
    };
    DecodeError::Mismatch(format!("{found} cannot be converted to {name}"))
}

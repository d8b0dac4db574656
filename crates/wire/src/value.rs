//! What an operation receives and answers, free of any protocol: the codecs turn wire bytes into this and back.
//!
//! Handlers see typed structures: [`Value::into_typed`] reads one out of a value, [`Value::of`] makes a value of one,
//! both through serde (`de`, `ser`), so a handler declares the members that it implements and no more.
//! `base::Timestamp` and [`Blob`] keep their identity on the way; `bridge` tells how.

mod bridge;
mod de;
mod ser;
mod with;

use std::borrow::Cow;
use std::fmt;

use base::{AwsError, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Blob;

pub use with::With;

/// The name of a structure's member (borrowed from the model) or the key of a map.
pub type Name = Cow<'static, str>;

/// A value of some shape. Structures and maps are both `Map`: members in order, names as the model spells them,
/// absent members left out. `Null` appears only as an element that a client sent as null inside a list or a map;
/// validation refuses it there.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    #[default]
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    String(String),
    Blob(Blob),
    Timestamp(Timestamp),
    List(Vec<Value>),
    Map(Vec<(Name, Value)>),
}

/// A value and a Rust type that do not fit each other.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ValueError {
    #[error("convert between a value and its typed form: {0}")]
    Misfit(String),
    /// A member that the model has and the type, which denies what it does not know, has not.
    #[error("take the member {0}")]
    NotTaken(String),
}

impl Value {
    /// No members, no entries.
    pub const EMPTY: Self = Self::Map(Vec::new());

    pub fn get(&self, name: &str) -> Option<&Value> {
        match self {
            Self::Map(members) => members.iter().find(|(key, _)| key == name).map(|(_, value)| value),
            _ => None,
        }
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// Reads a typed structure out. Members that the type does not name are ignored, or, where the type says
    /// `#[serde(deny_unknown_fields)]`, an error that names them; an integer fits any Rust number
    /// that can hold it; a union is an enum with a variant a member.
    ///
    /// `#[serde(flatten)]` and `#[serde(untagged)]` look at values before the type is known, which loses timestamps
    /// and blobs: use [`With`] and enums instead.
    pub fn into_typed<T: DeserializeOwned>(self) -> Result<T, ValueError> {
        T::deserialize(de::FromValue(self))
    }

    /// The value of a typed structure. Members that are `None` are left out.
    pub fn of<T: Serialize + ?Sized>(typed: &T) -> Result<Self, ValueError> {
        typed.serialize(ser::ToValue)
    }

    /// What this is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a float",
            Self::String(_) => "a string",
            Self::Blob(_) => "a blob",
            Self::Timestamp(_) => "a timestamp",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

impl serde::de::Error for ValueError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Misfit(message.to_string())
    }

    fn unknown_field(field: &str, _: &'static [&'static str]) -> Self {
        Self::NotTaken(field.to_owned())
    }
}

impl serde::ser::Error for ValueError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Misfit(message.to_string())
    }
}

/// The codecs and validation let through only what the model allows, so a misfit is a handler's mistake, and a member
/// that no handler takes is a part of AWS that is not built.
impl From<ValueError> for AwsError {
    fn from(error: ValueError) -> Self {
        match error {
            ValueError::NotTaken(member) => AwsError::not_built(format_args!("the parameter {member}")),
            ValueError::Misfit(_) => AwsError::internal(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use bytes::Bytes;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Alias {
        function_name: String,
        description: Option<String>,
        weights: BTreeMap<String, f64>,
        memory: Option<u32>,
        big: i64,
        small: i8,
        ratio: f32,
        publish: bool,
        code: Option<Code>,
        at: Timestamp,
        seen: Vec<Timestamp>,
        target: Target,
        kind: Kind,
        anything: Value,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Code {
        zip_file: Blob,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Target {
        Arn(String),
        #[serde(rename_all = "PascalCase")]
        Queue {
            url: String,
        },
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Kind {
        Zip,
        #[serde(rename = "java8.al2")]
        Java,
    }

    fn alias() -> Alias {
        Alias {
            function_name: "f".into(),
            description: None,
            weights: BTreeMap::from([("1".into(), 0.5), ("2".into(), 1.0)]),
            memory: Some(u32::MAX),
            big: i64::MIN,
            small: -7,
            ratio: 0.25,
            publish: true,
            code: Some(Code { zip_file: Blob::Inline(Bytes::from_static(b"PK")) }),
            at: Timestamp::from_millis(1_767_225_600_123),
            seen: vec![Timestamp::from_micros(-1)],
            target: Target::Queue { url: "u".into() },
            kind: Kind::Java,
            anything: Value::List(vec![Value::Timestamp(Timestamp::from_secs(1)), Value::Blob(Blob::default())]),
        }
    }

    #[test]
    fn a_typed_structure_goes_to_a_value_and_back() {
        let value = Value::of(&alias()).unwrap();
        assert_eq!(value.get("Description"), None);
        assert_eq!(value.get("At"), Some(&Value::Timestamp(Timestamp::from_millis(1_767_225_600_123))));
        assert_eq!(value.get("Kind").and_then(Value::as_str), Some("java8.al2"));
        let code = value.get("Code").and_then(|code| code.get("ZipFile"));
        assert_eq!(code, Some(&Value::Blob(Blob::Inline(Bytes::from_static(b"PK")))));
        assert_eq!(value.into_typed::<Alias>(), Ok(alias()));
    }

    #[test]
    fn unknown_members_are_ignored_and_missing_ones_named() {
        let value = Value::Map(vec![("ZipFile".into(), Value::Blob(Blob::default())), ("More".into(), Value::Null)]);
        assert!(value.into_typed::<Code>().is_ok());
        let error = Value::EMPTY.into_typed::<Code>().unwrap_err().to_string();
        assert!(error.contains("ZipFile"), "{error}");
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused() {
        let one = |value| Value::Map(vec![("n".into(), value)]);
        assert!(one(Value::Integer(256)).into_typed::<HashMap<String, u8>>().is_err());
        assert!(one(Value::Integer(-1)).into_typed::<HashMap<String, u32>>().is_err());
        assert!(one(Value::Float(1.5)).into_typed::<HashMap<String, i64>>().is_err());
        assert_eq!(one(Value::Integer(3)).into_typed::<HashMap<String, f64>>().unwrap()["n"], 3.0);
        assert!(Value::of(&u64::MAX).is_err());
    }

    #[test]
    fn timestamps_and_blobs_are_not_confused_with_numbers_and_texts() {
        assert!(Value::Integer(1).into_typed::<Timestamp>().is_err());
        assert!(Value::Timestamp(Timestamp::from_secs(1)).into_typed::<i64>().is_err());
        assert!(Value::String("x".into()).into_typed::<Blob>().is_err());
        assert!(Value::Blob(Blob::default()).into_typed::<String>().is_err());
    }

    #[test]
    fn stored_records_may_hold_blobs_in_any_format() {
        let code = Code { zip_file: Blob::Inline(Bytes::from_static(b"PK")) };
        let stored = serde_json::to_string(&code).unwrap();
        assert_eq!(serde_json::from_str::<Code>(&stored).unwrap(), code);
    }
}

//! What an operation receives and answers, free of any protocol: the codecs turn wire bytes into this and back.

use base::Timestamp;

use crate::Blob;

/// A value of some shape. Structures and maps are both `Map`: members in order, names as the model spells them,
/// absent members left out.
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
    Map(Vec<(String, Value)>),
}

impl Value {
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
}

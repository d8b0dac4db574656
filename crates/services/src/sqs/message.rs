//! Messages as they are stored, and the sums that clients check them by.
//!
//! A message's *place* (when it can be received, how often it was) changes and is small; the rest is written once.

use std::collections::BTreeMap;

use base::{Timestamp, Uuid};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use engine::queue::{self, Sent, Seq};
use serde::{Deserialize, Serialize};
use store::{Batch, Record, Scope, Table};
use wire::Blob;

/// By the queue's line.
pub type Key = (Uuid, Seq);

pub static PLACES: Table<Key, Place> = Table::new("sqs_places");
pub static MESSAGES: Table<Key, Message> = Table::large("sqs_messages");
/// What was sent to FIFO queues lately, by line and by what tells it apart.
pub static RECENT: Table<(Uuid, u128), Twin> = Table::new("sqs_recent");

/// Sequence numbers have so many digits, of which the first is this.
const SEQUENCE_START: u128 = 10_u128.pow(19);

/// Where a message stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub sent: Timestamp,
    pub visible_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    #[serde(default, skip_serializing_if = "is_none")]
    pub receives: u32,
    #[serde(default, skip_serializing_if = "is_none")]
    pub forgiven: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_received: Option<Timestamp>,
}

fn is_none(count: &u32) -> bool {
    *count == 0
}

impl Record for Place {
    const VERSION: u8 = 1;
}

/// What was sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Message {
    pub id: Uuid,
    pub body: String,
    pub attributes: Attributes,
    pub sender: String,
    pub trace_header: Option<String>,
    pub group: Option<String>,
    pub deduplication_id: Option<String>,
    /// Of the queue that gave it up.
    pub dead_letter_source: Option<String>,
}

impl Record for Message {
    const VERSION: u8 = 1;
}

impl Message {
    /// In bytes, as AWS counts them.
    pub fn length(&self) -> usize {
        self.body.len().saturating_add(length(&self.attributes))
    }
}

/// Of all attributes of a message, in bytes.
pub fn length(attributes: &Attributes) -> usize {
    attributes
        .iter()
        .map(|(name, attribute)| name.len() + attribute.data_type.len() + attribute.value.bytes().len())
        .fold(0, usize::saturating_add)
}

/// A message that may be sent again.
#[derive(Debug, Serialize, Deserialize)]
pub struct Twin {
    at: Timestamp,
    seq: Seq,
    id: Uuid,
}

impl Record for Twin {
    const VERSION: u8 = 1;
}

pub type Attributes = BTreeMap<String, Attribute>;

/// A typed attribute of a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attribute {
    pub data_type: String,
    pub value: Value,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Value {
    Text(String),
    /// In base64.
    Binary(String),
}

impl Value {
    pub fn binary(bytes: &[u8]) -> Self {
        Self::Binary(STANDARD.encode(bytes))
    }

    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Text(text) => text.as_bytes().to_vec(),
            Self::Binary(coded) => STANDARD.decode(coded).unwrap_or_default(),
        }
    }
}

impl From<Place> for queue::Message {
    fn from(place: Place) -> Self {
        let Place { sent, visible_at, group, receives, forgiven, first_received } = place;
        Self { sent, group: group.map(Into::into), visible_at, receives, forgiven, first_received }
    }
}

impl From<queue::Message> for Place {
    fn from(message: queue::Message) -> Self {
        let queue::Message { sent, group, visible_at, receives, forgiven, first_received } = message;
        let group = group.map(|group| group.to_string());
        Self { sent, visible_at, group, receives, forgiven, first_received }
    }
}

impl From<Twin> for Sent {
    fn from(twin: Twin) -> Self {
        let Twin { at, seq, id } = twin;
        Self { at, seq, id }
    }
}

impl From<Sent> for Twin {
    fn from(sent: Sent) -> Self {
        let Sent { at, seq, id } = sent;
        Self { at, seq, id }
    }
}

/// All that there is of a message goes.
pub fn remove(batch: Batch, scope: &Scope, key: Key) -> Batch {
    batch.delete(&PLACES, scope, key).delete(&MESSAGES, scope, key)
}

/// A sequence number as AWS writes it: twenty digits.
pub fn sequence_number(seq: Seq) -> String {
    SEQUENCE_START.saturating_add(seq.into()).to_string()
}

pub fn md5_of(body: &[u8]) -> String {
    format!("{:x}", md5::compute(body))
}

/// The sum over names, types and values in the order of the names, each behind its length; `None` of nothing.
pub fn md5_of_attributes<'a>(attributes: impl IntoIterator<Item = (&'a String, &'a Attribute)>) -> Option<String> {
    let mut sorted: Vec<_> = attributes.into_iter().collect();
    sorted.sort_by_key(|(name, _)| *name);
    let mut summed = md5::Context::new();
    let part = |summed: &mut md5::Context, bytes: &[u8]| {
        summed.consume(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
        summed.consume(bytes);
    };
    for (name, attribute) in &sorted {
        part(&mut summed, name.as_bytes());
        part(&mut summed, attribute.data_type.as_bytes());
        let kind: u8 = if matches!(attribute.value, Value::Text(_)) { 1 } else { 2 };
        summed.consume([kind]);
        part(&mut summed, &attribute.value.bytes());
    }
    (!sorted.is_empty()).then(|| format!("{:x}", summed.finalize()))
}

/// As clients send and get it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct AttributeValue {
    pub data_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub string_value: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binary_value: Option<Blob>,
    #[serde(default, skip_serializing)]
    pub string_list_values: Option<Vec<String>>,
    #[serde(default, skip_serializing)]
    pub binary_list_values: Option<Vec<Blob>>,
}

impl From<Attribute> for AttributeValue {
    fn from(attribute: Attribute) -> Self {
        let bytes = attribute.value.bytes();
        let (string_value, binary_value) = match attribute.value {
            Value::Text(text) => (Some(text), None),
            Value::Binary(_) => (None, Some(Blob::from(bytes))),
        };
        let (string_list_values, binary_list_values) = (None, None);
        Self { data_type: attribute.data_type, string_value, binary_value, string_list_values, binary_list_values }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_that_clients_make() {
        assert_eq!(md5_of(b"foobar"), "3858f62230ac3c915f300c664312c63f");
        let attribute = |data_type: &str, value| Attribute { data_type: data_type.into(), value };
        let attributes = Attributes::from([("Foo".to_owned(), attribute("String", Value::Text("Bar".into())))]);
        assert_eq!(md5_of_attributes(&attributes).as_deref(), Some("ae7155c6026991b6d54b11589678bf9c"));
        assert_eq!(md5_of_attributes(&Attributes::new()), None);
    }

    #[test]
    fn sequence_numbers_have_twenty_digits() {
        assert_eq!(sequence_number(7), "10000000000000000007");
        assert_eq!(sequence_number(u64::MAX).len(), 20);
    }
}

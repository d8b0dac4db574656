//! The layout of `model.json` and `overlay.json`: what the files may say, and how one is laid over the other.
//!
//! Everything is optional in an overlay, so both files are read into the same types. Keys are botocore's own where it
//! has the fact. An unknown key is an error: both files are written by this project.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::validate::Policy;
use super::{LoadError, Location, Protocol, TimestampFormat};

/// Text that lives as long as the process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Text(pub(super) &'static str);

impl<'de: 'static> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de: 'static> Visitor<'de> for TextVisitor {
            type Value = Text;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text, E> {
                Ok(Text(text))
            }
            fn visit_str<E>(self, text: &str) -> Result<Text, E> {
                Ok(Text(Box::leak(text.into())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

/// A JSON object in the order of the file.
#[derive(Debug)]
pub(super) struct Named<T>(pub(super) Vec<(&'static str, T)>);

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de: 'static, T: Deserialize<'de>> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NamedVisitor<T>(PhantomData<T>);
        impl<'de: 'static, T: Deserialize<'de>> Visitor<'de> for NamedVisitor<T> {
            type Value = Named<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Named<T>, A::Error> {
                let mut entries = Vec::new();
                while let Some((Text(name), value)) = map.next_entry()? {
                    entries.push((name, value));
                }
                Ok(Named(entries))
            }
        }
        deserializer.deserialize_map(NamedVisitor(PhantomData))
    }
}

#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "'de: 'static"), rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawModel {
    pub(super) name: Text,
    /// The version that the file was derived from; for the reader of the file.
    #[serde(rename = "botocore")]
    _botocore: Text,
    pub(super) api_version: Text,
    pub(super) service_id: Text,
    pub(super) signing_name: Option<Text>,
    pub(super) endpoint_prefix: Text,
    pub(super) target_prefix: Option<Text>,
    pub(super) xml_namespace: Option<Text>,
    #[serde(default)]
    pub(super) query_compatible: bool,
    /// Overlay only.
    pub(super) unknown_action: Option<Text>,
    /// Overlay only.
    pub(super) path_member: Option<Text>,
    /// Overlay only.
    pub(super) error_detail: Option<bool>,
    pub(super) protocols: Vec<RawProtocol>,
    pub(super) operations: Named<RawOperation>,
    pub(super) shapes: Named<RawShape>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) enum RawProtocol {
    #[serde(rename = "rest-json")]
    RestJson,
    #[serde(rename = "json-1.0")]
    Json10,
    #[serde(rename = "json-1.1")]
    Json11,
    #[serde(rename = "query")]
    Query,
    #[serde(rename = "rest-xml")]
    RestXml,
    #[serde(rename = "rpc-v2-cbor")]
    Cbor,
}

#[derive(Debug, Default, Deserialize)]
#[serde(bound(deserialize = "'de: 'static"), rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawOperation {
    pub(super) method: Option<Text>,
    pub(super) uri: Option<Text>,
    pub(super) status: Option<u16>,
    pub(super) input: Option<Text>,
    pub(super) output: Option<Text>,
    pub(super) input_root: Option<Text>,
    pub(super) input_namespace: Option<Text>,
    pub(super) result_wrapper: Option<Text>,
    pub(super) unsigned: Option<bool>,
    /// Overlay only.
    pub(super) root_only: Option<bool>,
    pub(super) errors: Option<Vec<Text>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(bound(deserialize = "'de: 'static"), rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawShape {
    pub(super) r#type: Option<RawType>,
    pub(super) required: Option<Vec<Text>>,
    pub(super) payload: Option<Text>,
    pub(super) union: Option<bool>,
    pub(super) event: Option<bool>,
    pub(super) eventstream: Option<bool>,
    pub(super) streaming: Option<bool>,
    pub(super) flattened: Option<bool>,
    pub(super) document: Option<bool>,
    pub(super) min: Option<f64>,
    pub(super) max: Option<f64>,
    pub(super) pattern: Option<Text>,
    /// Overlay only: how to match `pattern` where Rust's regular expressions cannot, see [`Pattern`].
    pub(super) matches: Option<Text>,
    pub(super) unless: Option<Text>,
    pub(super) r#enum: Option<Vec<Text>>,
    /// Overlay only: the enum's values in the order of messages, see `validate::Rules`.
    pub(super) enum_shown: Option<Vec<Text>>,
    pub(super) sensitive: Option<bool>,
    pub(super) timestamp_format: Option<RawTimestampFormat>,
    pub(super) xml_namespace: Option<Text>,
    pub(super) error: Option<RawError>,
    pub(super) member: Option<RawMember>,
    pub(super) key: Option<RawMember>,
    pub(super) value: Option<RawMember>,
    #[serde(default)]
    pub(super) members: Named<RawMember>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawType {
    Structure,
    List,
    Map,
    String,
    Integer,
    Long,
    Float,
    Double,
    Boolean,
    Blob,
    Timestamp,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) enum RawTimestampFormat {
    #[serde(rename = "unixTimestamp")]
    UnixSeconds,
    #[serde(rename = "iso8601")]
    Iso8601,
    #[serde(rename = "rfc822")]
    HttpDate,
}

#[derive(Debug, Default, Deserialize)]
#[serde(bound(deserialize = "'de: 'static"), rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawError {
    pub(super) code: Option<Text>,
    pub(super) status: Option<u16>,
    pub(super) sender_fault: Option<bool>,
    /// Overlay only: its words, and those of the Query protocol for them.
    pub(super) query_message: Option<(Text, Text)>,
}

#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "'de: 'static"), deny_unknown_fields)]
pub(super) struct RawNamespace {
    pub(super) uri: Text,
    pub(super) prefix: Option<Text>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) enum RawLocation {
    #[serde(rename = "uri")]
    Uri,
    #[serde(rename = "querystring")]
    QueryString,
    #[serde(rename = "header")]
    Header,
    #[serde(rename = "headers")]
    Headers,
    #[serde(rename = "statusCode")]
    StatusCode,
}

/// A member, an item, a key or a value. In the file, one with nothing to say but its shape is that shape's name.
#[derive(Debug, Default, Deserialize)]
#[serde(bound(deserialize = "'de: 'static"), rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct MemberFields {
    pub(super) shape: Option<Text>,
    pub(super) location: Option<RawLocation>,
    pub(super) location_name: Option<Text>,
    pub(super) query_name: Option<Text>,
    /// Overlay only.
    pub(super) query_json_name: Option<Text>,
    pub(super) idempotency_token: Option<bool>,
    pub(super) streaming: Option<bool>,
    pub(super) jsonvalue: Option<bool>,
    pub(super) flattened: Option<bool>,
    pub(super) xml_attribute: Option<bool>,
    pub(super) xml_namespace: Option<RawNamespace>,
    pub(super) timestamp_format: Option<RawTimestampFormat>,
    pub(super) eventpayload: Option<bool>,
    pub(super) eventheader: Option<bool>,
}

#[derive(Debug, Default)]
pub(super) struct RawMember(pub(super) MemberFields);

impl<'de: 'static> Deserialize<'de> for RawMember {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MemberVisitor;
        impl<'de: 'static> Visitor<'de> for MemberVisitor {
            type Value = RawMember;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a shape, or an object")
            }
            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<RawMember, E> {
                Ok(RawMember(MemberFields { shape: Some(Text(name)), ..MemberFields::default() }))
            }
            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<RawMember, E> {
                Err(E::invalid_value(serde::de::Unexpected::Str(name), &self))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawMember, A::Error> {
                MemberFields::deserialize(serde::de::value::MapAccessDeserializer::new(map)).map(RawMember)
            }
        }
        deserializer.deserialize_any(MemberVisitor)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(bound(deserialize = "'de: 'static"), deny_unknown_fields)]
pub(super) struct Overlay {
    pub(super) validation: Option<RawPolicy>,
    #[serde(default)]
    pub(super) corrections: Vec<Correction>,
}

/// Facts that differ from the model's, and how we know.
#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "'de: 'static"), deny_unknown_fields)]
pub(super) struct Correction {
    #[serde(rename = "source")]
    _source: Text,
    #[serde(default)]
    pub(super) service: ServiceFields,
    #[serde(default)]
    pub(super) operations: Named<RawOperation>,
    #[serde(default)]
    pub(super) shapes: Named<RawShape>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(bound(deserialize = "'de: 'static"), rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ServiceFields {
    pub(super) unknown_action: Option<Text>,
    pub(super) path_member: Option<Text>,
    pub(super) error_detail: Option<bool>,
    pub(super) xml_namespace: Option<Text>,
    pub(super) protocols: Option<Vec<RawProtocol>>,
}

/// How the service reports violations; see [`Policy`].
#[derive(Debug, Default, Deserialize)]
#[serde(bound(deserialize = "'de: 'static"), rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawPolicy {
    #[serde(rename = "source")]
    _source: Option<Text>,
    pub(super) code: Option<Text>,
    pub(super) query_code: Option<Text>,
    pub(super) code_where_listed: Option<Text>,
    pub(super) checked: Option<bool>,
    pub(super) echoed: Option<bool>,
    pub(super) items_not_null: Option<bool>,
    pub(super) input_prefix: Option<bool>,
    pub(super) missing: Option<RawMissing>,
}

#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "'de: 'static"), deny_unknown_fields)]
pub(super) struct RawMissing {
    pub(super) code: Text,
    pub(super) message: Text,
}

/// Takes over every named field that `$from` sets.
macro_rules! overlay {
    ($into:expr, $from:expr, [$($field:ident),* $(,)?]) => {
        $(if $from.$field.is_some() { $into.$field = $from.$field; })*
    };
}

impl Correction {
    pub(super) fn apply(self, service: &'static str, model: &mut RawModel) -> Result<(), LoadError> {
        let missing = |what: String| LoadError::OverlayTarget { service, what };
        overlay!(model, self.service, [xml_namespace, unknown_action, path_member, error_detail]);
        if let Some(protocols) = self.service.protocols {
            model.protocols = protocols;
        }
        for (name, operation) in self.operations.0 {
            let target = model.operations.0.iter_mut().find(|(known, _)| *known == name);
            target.ok_or_else(|| missing(format!("the operation {name}")))?.1.overlay(operation);
        }
        for (name, shape) in self.shapes.0 {
            match model.shapes.0.iter_mut().find(|(known, _)| *known == name) {
                Some((_, target)) => target.overlay(shape).map_err(|member| missing(format!("{name}${member}")))?,
                None if shape.r#type.is_some() => model.shapes.0.push((name, shape)),
                None => return Err(missing(format!("the shape {name}"))),
            }
        }
        Ok(())
    }
}

impl RawOperation {
    fn overlay(&mut self, from: Self) {
        overlay!(self, from, [method, uri, status, input, output, input_root, input_namespace]);
        overlay!(self, from, [result_wrapper, unsigned, root_only, errors]);
    }
}

impl RawShape {
    /// Fails with the name of a member that is neither known nor given a shape.
    fn overlay(&mut self, from: Self) -> Result<(), &'static str> {
        overlay!(self, from, [r#type, required, payload, union, event, eventstream, streaming, flattened, document]);
        overlay!(
            self,
            from,
            [min, max, pattern, matches, unless, r#enum, enum_shown, sensitive, timestamp_format, xml_namespace]
        );
        overlay!(self, from, [error]);
        for (into, from) in [(&mut self.member, from.member), (&mut self.key, from.key), (&mut self.value, from.value)]
        {
            if let Some(from) = from {
                into.get_or_insert_default().0.overlay(from.0);
            }
        }
        for (name, member) in from.members.0 {
            match self.members.0.iter_mut().find(|(known, _)| *known == name) {
                Some((_, target)) => target.0.overlay(member.0),
                None if member.0.shape.is_some() => self.members.0.push((name, member)),
                None => return Err(name),
            }
        }
        Ok(())
    }
}

impl MemberFields {
    fn overlay(&mut self, from: Self) {
        overlay!(
            self,
            from,
            [shape, location, location_name, query_name, query_json_name, idempotency_token, streaming, jsonvalue]
        );
        overlay!(self, from, [flattened, xml_attribute, xml_namespace, timestamp_format, eventpayload, eventheader]);
    }
}

impl From<RawPolicy> for Policy {
    fn from(raw: RawPolicy) -> Self {
        Self {
            code: raw.code.map_or("ValidationException", |text| text.0),
            query_code: raw.query_code.map_or("ValidationError", |text| text.0),
            code_where_listed: raw.code_where_listed.map(|text| text.0),
            checked: raw.checked.unwrap_or(true),
            echoed: raw.echoed.unwrap_or(true),
            items_not_null: raw.items_not_null.unwrap_or(false),
            input_prefix: raw.input_prefix.unwrap_or(false),
            missing: raw.missing.map(|missing| (missing.code.0, missing.message.0)),
        }
    }
}

impl From<RawProtocol> for Protocol {
    fn from(raw: RawProtocol) -> Self {
        match raw {
            RawProtocol::RestJson => Self::RestJson,
            RawProtocol::Json10 => Self::Json10,
            RawProtocol::Json11 => Self::Json11,
            RawProtocol::Query => Self::Query,
            RawProtocol::RestXml => Self::RestXml,
            RawProtocol::Cbor => Self::Cbor,
        }
    }
}

impl From<RawTimestampFormat> for TimestampFormat {
    fn from(raw: RawTimestampFormat) -> Self {
        match raw {
            RawTimestampFormat::UnixSeconds => Self::UnixSeconds,
            RawTimestampFormat::Iso8601 => Self::Iso8601,
            RawTimestampFormat::HttpDate => Self::HttpDate,
        }
    }
}

impl From<RawLocation> for Location {
    fn from(raw: RawLocation) -> Self {
        match raw {
            RawLocation::Uri => Self::Uri,
            RawLocation::QueryString => Self::QueryString,
            RawLocation::Header => Self::Header,
            RawLocation::Headers => Self::Headers,
            RawLocation::StatusCode => Self::StatusCode,
        }
    }
}

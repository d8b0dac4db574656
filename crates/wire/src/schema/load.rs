//! Reading a service's `model.json` and laying its `overlay.json` over it.
//!
//! The model is what `cargo xtask gen` derives from botocore and nobody edits; the overlay holds what AWS does
//! otherwise, each correction with its source. An overlay entry names a shape, member or operation and the facts that
//! differ; an entry for something that the model does not have is refused unless it describes a whole new shape, so a
//! correction cannot outlive what it corrects. Called once a service, on its first request: text without escapes is
//! borrowed from the embedded file, text with escapes (patterns, mostly) is leaked, once.

use std::collections::HashMap;

use super::file::{Overlay, RawMember, RawModel, RawOperation, RawPolicy, RawShape, RawType, Text};
use super::validate::{Pattern, Rules, Validation};
use super::{ErrorTrait, Kind, Location, Member, Model, Operation, Shape, ShapeId, Structure};

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("parse the model of {service}")]
    Model { service: &'static str, source: serde_json::Error },
    #[error("parse the overlay of {service}")]
    Overlay { service: &'static str, source: serde_json::Error },
    #[error("lay the overlay of {service} over {what}, which the model does not have")]
    OverlayTarget { service: &'static str, what: String },
    #[error("find the shape {target:?} that {owner} of {service} refers to")]
    UnknownShape { service: &'static str, owner: String, target: &'static str },
    #[error("read {owner} of {service}: {what}")]
    Malformed { service: &'static str, owner: String, what: &'static str },
}

/// Builds the description of `service`; an overlay without corrections is `{}`.
pub fn load(service: &'static str, model_json: &'static str, overlay_json: &'static str) -> Result<Model, LoadError> {
    let mut raw: RawModel = serde_json::from_str(model_json).map_err(|source| LoadError::Model { service, source })?;
    let overlay: Overlay =
        serde_json::from_str(overlay_json).map_err(|source| LoadError::Overlay { service, source })?;
    for correction in overlay.corrections {
        correction.apply(service, &mut raw)?;
    }
    Builder::new(service, &raw)?.build(&raw, overlay.validation.unwrap_or_default())
}

/// Turns names into ids.
struct Builder {
    service: &'static str,
    ids: HashMap<&'static str, ShapeId>,
}

impl Builder {
    fn new(service: &'static str, raw: &RawModel) -> Result<Self, LoadError> {
        let mut ids = HashMap::with_capacity(raw.shapes.0.len());
        for (id, (name, _)) in (0..).zip(&raw.shapes.0) {
            if ids.insert(*name, ShapeId(id)).is_some() {
                return Err(Self { service, ids }.malformed(name, "it is there twice"));
            }
        }
        Ok(Self { service, ids })
    }

    fn build(&self, raw: &RawModel, policy: RawPolicy) -> Result<Model, LoadError> {
        let mut operations = Vec::with_capacity(raw.operations.0.len());
        for (name, operation) in &raw.operations.0 {
            operations.push(self.operation(name, operation)?);
        }
        let mut shapes = Vec::with_capacity(raw.shapes.0.len());
        let mut rules = Vec::with_capacity(raw.shapes.0.len());
        for (name, shape) in &raw.shapes.0 {
            shapes.push(self.shape(name, shape)?);
            let text = |text: Option<Text>| text.map(|Text(text)| text);
            rules.push(Rules {
                pattern: shape
                    .pattern
                    .map(|Text(shown)| Pattern::new(shown, text(shape.matches), text(shape.unless), shape.max)),
                shown: shape.enum_shown.as_ref().map(|values| values.iter().map(|Text(value)| *value).collect()),
            });
        }
        let operation_by_name = operations.iter().enumerate().map(|(at, operation)| (operation.name, at)).collect();
        Ok(Model {
            name: raw.name.0,
            api_version: raw.api_version.0,
            service_id: raw.service_id.0,
            signing_name: raw.signing_name.unwrap_or(raw.endpoint_prefix).0,
            endpoint_prefix: raw.endpoint_prefix.0,
            target_prefix: raw.target_prefix.map(|text| text.0),
            xml_namespace: raw.xml_namespace.map(|text| text.0),
            query_compatible: raw.query_compatible,
            protocols: raw.protocols.iter().map(|protocol| (*protocol).into()).collect(),
            operations,
            operation_by_name,
            shapes,
            unknown_action: raw.unknown_action.map(|text| text.0),
            path_member: raw.path_member.map(|text| text.0),
            error_detail: raw.error_detail.unwrap_or(false),
            validation: Validation { policy: policy.into(), rules },
        })
    }

    fn malformed(&self, owner: &str, what: &'static str) -> LoadError {
        LoadError::Malformed { service: self.service, owner: owner.to_owned(), what }
    }

    fn id(&self, owner: &str, Text(target): Text) -> Result<ShapeId, LoadError> {
        let found = self.ids.get(target).copied();
        found.ok_or_else(|| LoadError::UnknownShape { service: self.service, owner: owner.to_owned(), target })
    }

    fn operation(&self, name: &'static str, raw: &RawOperation) -> Result<Operation, LoadError> {
        Ok(Operation {
            name,
            method: raw.method.map_or("POST", |text| text.0),
            uri: raw.uri.map_or("/", |text| text.0),
            status: raw.status.unwrap_or(200),
            input: raw.input.map(|text| self.id(name, text)).transpose()?,
            output: raw.output.map(|text| self.id(name, text)).transpose()?,
            errors: raw.errors.iter().flatten().map(|text| self.id(name, *text)).collect::<Result<_, _>>()?,
            result_wrapper: raw.result_wrapper.map(|text| text.0),
            input_root: raw.input_root.map(|text| text.0),
            input_namespace: raw.input_namespace.map(|text| text.0),
            unsigned: raw.unsigned.unwrap_or(false),
            root_only: raw.root_only.unwrap_or(false),
        })
    }

    fn shape(&self, name: &'static str, raw: &RawShape) -> Result<Shape, LoadError> {
        let kind = match raw.r#type.ok_or_else(|| self.malformed(name, "it has no type"))? {
            RawType::Structure if raw.document == Some(true) => Kind::Document,
            RawType::Structure => Kind::Structure(self.structure(name, raw)?),
            RawType::List => {
                let (member, member_name) = self.part(name, raw.member.as_ref())?;
                Kind::List { member, member_name, flattened: raw.flattened.unwrap_or(false) }
            }
            RawType::Map => {
                let (key, key_name) = self.part(name, raw.key.as_ref())?;
                let (value, value_name) = self.part(name, raw.value.as_ref())?;
                Kind::Map { key, value, key_name, value_name, flattened: raw.flattened.unwrap_or(false) }
            }
            RawType::String => Kind::String {
                pattern: raw.pattern.map(|text| text.0),
                values: raw.r#enum.iter().flatten().map(|text| text.0).collect(),
            },
            RawType::Integer => Kind::Integer,
            RawType::Long => Kind::Long,
            RawType::Float => Kind::Float,
            RawType::Double => Kind::Double,
            RawType::Boolean => Kind::Boolean,
            RawType::Blob => Kind::Blob { streaming: raw.streaming.unwrap_or(false) },
            RawType::Timestamp => Kind::Timestamp(raw.timestamp_format.map(Into::into)),
        };
        Ok(Shape { name, kind, min: raw.min, max: raw.max, sensitive: raw.sensitive.unwrap_or(false) })
    }

    /// The item of a list, or the key or value of a map.
    fn part(&self, name: &str, part: Option<&RawMember>) -> Result<(ShapeId, Option<&'static str>), LoadError> {
        let RawMember(part) = part.ok_or_else(|| self.malformed(name, "it does not say of what it is made"))?;
        let target = part.shape.ok_or_else(|| self.malformed(name, "it does not say of what it is made"))?;
        Ok((self.id(name, target)?, part.location_name.map(|text| text.0)))
    }

    fn structure(&self, name: &'static str, raw: &RawShape) -> Result<Structure, LoadError> {
        let required: &[Text] = raw.required.as_deref().unwrap_or_default();
        let mut members = Vec::with_capacity(raw.members.0.len());
        for (member_name, RawMember(member)) in &raw.members.0 {
            let target = member.shape.ok_or_else(|| self.malformed(name, "a member has no shape"))?;
            members.push(Member {
                name: member_name,
                shape: self.id(name, target)?,
                location: member.location.map_or(Location::Body, Into::into),
                wire_name: member.location_name.map(|text| text.0).filter(|wire| wire != member_name),
                query_name: member.query_name.map(|text| text.0),
                query_json_name: member.query_json_name.map(|text| text.0),
                required: required.iter().any(|text| text.0 == *member_name),
                idempotency_token: member.idempotency_token.unwrap_or(false),
                streaming: member.streaming.unwrap_or(false),
                json_value: member.jsonvalue.unwrap_or(false),
                flattened: member.flattened.unwrap_or(false),
                xml_attribute: member.xml_attribute.unwrap_or(false),
                xml_namespace: member.xml_namespace.as_ref().map(|xml| (xml.uri.0, xml.prefix.map(|text| text.0))),
                timestamp_format: member.timestamp_format.map(Into::into),
                event_payload: member.eventpayload.unwrap_or(false),
                event_header: member.eventheader.unwrap_or(false),
            });
        }
        let place = |wanted: Text| members.iter().position(|member| member.name == wanted.0);
        if required.iter().any(|wanted| place(*wanted).is_none()) {
            return Err(self.malformed(name, "a required member is not there"));
        }
        let payload = match raw.payload {
            Some(wanted) => Some(place(wanted).ok_or_else(|| self.malformed(name, "its payload is not there"))?),
            None => None,
        };
        Ok(Structure {
            payload,
            error: raw.error.as_ref().map(|error| ErrorTrait {
                code: error.code.map(|text| text.0),
                status: error.status,
                sender_fault: error.sender_fault.unwrap_or(false),
                query_message: error.query_message.map(|(words, query)| (words.0, query.0)),
            }),
            event_stream: raw.eventstream.unwrap_or(false),
            event: raw.event.unwrap_or(false),
            union: raw.union.unwrap_or(false),
            xml_namespace: raw.xml_namespace.map(|text| text.0),
            members,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Protocol;
    use crate::schema::testing::ALL;

    const MODEL: &str = r#"{"name":"e","botocore":"1","apiVersion":"2020-01-01","serviceId":"E","endpointPrefix":"ep",
        "protocols":["json-1.1","query"],
        "operations":{"Do":{"input":"In","errors":["Bad"]}},
        "shapes":{"In":{"type":"structure","required":["A"],"payload":"B","members":{"A":"S","B":{"shape":"L",
            "locationName":"b"}}},
          "S":{"type":"string","max":3,"pattern":"\\d+"},
          "L":{"type":"list","member":{"shape":"S","locationName":"item"},"flattened":true},
          "Bad":{"type":"structure","error":{"status":404,"senderFault":true},"members":{}}}}"#;

    #[test]
    fn a_model_is_read_with_its_overlay_on_top() {
        let overlay = r#"{"corrections":[{"source":"seen","operations":{"Do":{"resultWrapper":"DoResult"}},
            "shapes":{"S":{"max":5,"enum":["x"]},"In":{"members":{"A":{"queryName":"a"}}},"Bad":{"error":{"code":"B"}}}}]}"#;
        let model = load("e", MODEL, overlay).unwrap();
        assert_eq!(
            (model.signing_name, model.protocols.as_slice()),
            ("ep", [Protocol::Json11, Protocol::Query].as_slice())
        );
        let operation = model.operation("Do").unwrap();
        assert_eq!((operation.method, operation.uri, operation.result_wrapper), ("POST", "/", Some("DoResult")));
        let input = model.structure(operation.input).unwrap();
        assert_eq!(input.payload, Some(1));
        let [a, b] = input.members.as_slice() else { panic!("two members") };
        assert!(a.required && !b.required);
        assert_eq!((a.query_name, b.wire(), model.shape(a.shape).max), (Some("a"), "b", Some(5.0)));
        assert!(
            matches!(&model.shape(a.shape).kind, Kind::String { pattern: Some(r"\d+"), values } if values == &["x"])
        );
        assert!(matches!(model.shape(b.shape).kind, Kind::List { member_name: Some("item"), flattened: true, .. }));
        let error = model.structure(operation.errors.first().copied()).unwrap().error.as_ref().unwrap();
        assert_eq!((error.code, error.status), (Some("B"), None));
    }

    #[test]
    fn a_model_or_overlay_that_does_not_hold_together_is_refused() {
        let broken = |model: String, overlay: &'static str| load("e", model.leak(), overlay).unwrap_err().to_string();
        let replaced = |from, to| MODEL.replacen(from, to, 1);
        assert_eq!(
            broken(replaced(r#"["Bad"]"#, r#"["Gone"]"#), "{}"),
            r#"find the shape "Gone" that Do of e refers to"#
        );
        assert_eq!(
            broken(replaced(r#""payload":"B""#, r#""payload":"C""#), "{}"),
            "read In of e: its payload is not there"
        );
        assert_eq!(broken(replaced(r#"["A"]"#, r#"["Z"]"#), "{}"), "read In of e: a required member is not there");
        assert_eq!(broken(replaced(r#""L":"#, r#""S":"#), "{}"), "read S of e: it is there twice");
        assert_eq!(
            broken(replaced(r#"{"shape":"S","locationName":"item"}"#, "{}"), "{}"),
            "read L of e: it does not say of what it is made"
        );
        assert_eq!(broken(replaced("json-1.1", "json-9"), "{}"), "parse the model of e");
        assert_eq!(broken(MODEL.into(), r#"{"corrections":[{}]}"#), "parse the overlay of e");
        for (overlay, what) in [
            (r#"{"corrections":[{"source":"x","shapes":{"Gone":{"max":1}}}]}"#, "the shape Gone"),
            (r#"{"corrections":[{"source":"x","shapes":{"In":{"members":{"Q":{"flattened":true}}}}}]}"#, "In$Q"),
            (r#"{"corrections":[{"source":"x","operations":{"Gone":{}}}]}"#, "the operation Gone"),
        ] {
            assert_eq!(
                broken(MODEL.into(), overlay),
                format!("lay the overlay of e over {what}, which the model does not have")
            );
        }
    }

    #[test]
    fn every_service_loads_with_all_its_operations() {
        let operations: usize = ALL.iter().map(|model| model.operations.len()).sum();
        assert!(operations > 1_400, "{operations}");
        for model in ALL.iter() {
            assert!(
                model.operations.iter().all(|operation| model.operation(operation.name).unwrap().uri == operation.uri)
            );
        }
    }
}

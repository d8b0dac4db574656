//! A tree into values, by shape.

use super::Names;
use super::tree::Element;
use crate::Value;
use crate::protocol::{DecodeError, find_member, json, text};
use crate::schema::{Kind, Location, Member, Model, ShapeId, Structure, TimestampFormat};
use crate::value::Name;

type Result<T> = std::result::Result<T, DecodeError>;

pub struct Decoder<'a> {
    pub model: &'a Model,
    pub names: Names,
}

impl Decoder<'_> {
    pub fn value(&self, shape: ShapeId, member: Option<&Member>, element: &Element) -> Result<Value> {
        let shape = self.model.shape(shape);
        match &shape.kind {
            Kind::Structure(structure) => self.structure(structure, element),
            Kind::List { member: item, member_name, .. } => {
                let name = member_name.unwrap_or("member");
                let items = element.children.iter().filter(|child| child.name == name);
                items.map(|child| self.value(*item, None, child)).collect::<Result<_>>().map(Value::List)
            }
            Kind::Map { .. } => {
                let entries = element.children.iter().filter(|child| child.name == "entry");
                self.map(&shape.kind, entries)
            }
            Kind::Timestamp(own) => {
                let format = member.and_then(|member| member.timestamp_format).or(*own);
                text::parse(shape, &element.text, format.unwrap_or(TimestampFormat::Iso8601))
            }
            _ => text::parse(shape, &element.text, TimestampFormat::Iso8601),
        }
    }

    fn structure(&self, structure: &Structure, element: &Element) -> Result<Value> {
        let mut members: Vec<(Name, Value)> = Vec::new();
        for member in structure.members.iter().filter(|member| member.xml_attribute) {
            if let Some((_, given)) = element.attributes.iter().find(|(name, _)| name == member.wire()) {
                let value = text::parse(self.model.shape(member.shape), given, TimestampFormat::Iso8601)?;
                members.push((Name::Borrowed(member.name), value));
            }
        }
        let mut cursor = 0;
        for child in &element.children {
            let named = |member: &Member| {
                member.location == Location::Body
                    && !member.xml_attribute
                    && self.names.element(self.model, member) == child.name
            };
            let Some(member) = find_member(structure, &mut cursor, named) else { continue };
            let known = members.iter_mut().find(|(name, _)| name == member.name).map(|(_, value)| value);
            match (self.flattened(member), known) {
                (Some(Kind::List { member: item, .. }), known) => {
                    let value = self.value(*item, None, child)?;
                    match known {
                        Some(Value::List(items)) => items.push(value),
                        _ => members.push((Name::Borrowed(member.name), Value::List(vec![value]))),
                    }
                }
                (Some(kind), known) => match (self.map(kind, [child])?, known) {
                    (Value::Map(entry), Some(Value::Map(entries))) => entries.extend(entry),
                    (value, _) => members.push((Name::Borrowed(member.name), value)),
                },
                (None, Some(known)) => *known = self.value(member.shape, Some(member), child)?,
                (None, None) => {
                    members.push((Name::Borrowed(member.name), self.value(member.shape, Some(member), child)?));
                }
            }
        }
        Ok(Value::Map(members))
    }

    /// The kind of a list or map whose items stand directly in the structure.
    fn flattened(&self, member: &Member) -> Option<&Kind> {
        let kind = &self.model.shape(member.shape).kind;
        let own = match kind {
            Kind::List { flattened, .. } | Kind::Map { flattened, .. } => *flattened,
            _ => return None,
        };
        (own || member.flattened).then_some(kind)
    }

    fn map<'e>(&self, kind: &Kind, elements: impl IntoIterator<Item = &'e Element>) -> Result<Value> {
        let Kind::Map { key, value, key_name, value_name, .. } = kind else { return Ok(Value::EMPTY) };
        let (key_name, value_name) = (key_name.unwrap_or("key"), value_name.unwrap_or("value"));
        let mut entries: Vec<(Name, Value)> = Vec::new();
        for element in elements {
            let child = |name: &str| element.children.iter().find(|child| child.name == name);
            let (Some(key_element), Some(value_element)) = (child(key_name), child(value_name)) else {
                return Err(DecodeError::Malformed("An entry of a map lacks its key or its value".into()));
            };
            if let Value::String(key) = self.value(*key, None, key_element)? {
                entries.push((key.into(), self.value(*value, None, value_element)?));
            }
        }
        Ok(Value::Map(json::last_wins(entries)))
    }
}

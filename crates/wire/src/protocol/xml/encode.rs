//! Values into XML, by shape.

use super::Names;
use crate::Value;
use crate::protocol::error::Fields;
use crate::protocol::{EncodeError, text};
use crate::schema::{Kind, Location, Member, Model, ShapeId, Structure, TimestampFormat};
use crate::value::Name;

type Result<T> = std::result::Result<T, EncodeError>;

pub struct Writer<'a> {
    model: Option<&'a Model>,
    names: Names,
    pub out: String,
    /// Where the content of the element begins that was opened last.
    content: usize,
}

impl<'a> Writer<'a> {
    pub fn new(model: &'a Model, names: Names) -> Self {
        Self { model: Some(model), names, out: String::with_capacity(1 << 10), content: 0 }
    }

    /// For documents that no shape describes.
    pub fn untyped() -> Self {
        Self { model: None, names: Names::Wire, out: String::new(), content: 0 }
    }

    pub fn declaration(&mut self) {
        self.out.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    }

    pub fn open(&mut self, name: &str, namespace: Option<&str>) {
        self.out.push('<');
        self.out.push_str(name);
        if let Some(namespace) = namespace {
            self.attribute("xmlns", namespace);
        }
        self.out.push('>');
        self.content = self.out.len();
    }

    fn attribute(&mut self, name: &str, value: &str) {
        self.out.push(' ');
        self.out.push_str(name);
        self.out.push_str("=\"");
        self.text(value);
        self.out.push('"');
    }

    /// The Query protocol's services close what is empty where it begins.
    pub fn close(&mut self, name: &str) {
        if self.names == Names::Query && self.out.len() == self.content {
            self.out.pop();
            self.out.push_str("/>");
            return;
        }
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push('>');
    }

    pub fn leaf(&mut self, name: &str, content: &str) {
        self.open(name, None);
        self.text(content);
        self.close(name);
    }

    /// Text or an attribute's value. Control characters go as references, as AWS writes them: XML 1.0 has no form for
    /// them, and a parser that refuses them is right.
    pub fn text(&mut self, content: &str) {
        for letter in content.chars() {
            match letter {
                '&' => self.out.push_str("&amp;"),
                '<' => self.out.push_str("&lt;"),
                '>' => self.out.push_str("&gt;"),
                '"' => self.out.push_str("&quot;"),
                '\n' | '\t' => self.out.push(letter),
                '\0'..='\u{1f}' => self.out.push_str(&format!("&#x{:X};", u32::from(letter))),
                letter => self.out.push(letter),
            }
        }
    }

    /// The root of a document, in the service's namespace.
    pub fn root(&mut self, name: &str, shape: ShapeId, value: &Value) -> Result<()> {
        let Some(model) = self.model else { return Ok(()) };
        let shape = model.shape(shape);
        let (Kind::Structure(structure), Value::Map(members)) = (&shape.kind, value) else {
            return Err(misfit(shape.name, value));
        };
        self.open(name, structure.xml_namespace.or(model.xml_namespace));
        self.members(shape.name, structure, members)?;
        self.close(name);
        Ok(())
    }

    /// The members that travel in the body, an element each.
    pub fn members(&mut self, name: &'static str, structure: &Structure, members: &[(Name, Value)]) -> Result<()> {
        let Some(model) = self.model else { return Ok(()) };
        for (key, value) in members {
            let Some(member) = structure.member(key) else {
                return Err(EncodeError::UnknownMember { shape: name, member: key.to_string() });
            };
            let elsewhere = member.location != Location::Body && self.names == Names::Wire;
            if elsewhere || member.xml_attribute || matches!(value, Value::Null) {
                continue;
            }
            let element = self.names.element(model, member);
            match (&model.shape(member.shape).kind, value) {
                (Kind::List { member: item, flattened, .. }, Value::List(items)) if *flattened || member.flattened => {
                    for value in items {
                        self.value(element, *item, None, value)?;
                    }
                }
                (kind @ Kind::Map { flattened, .. }, Value::Map(entries)) if *flattened || member.flattened => {
                    self.entries(element, kind, entries)?;
                }
                _ => self.value(element, member.shape, Some(member), value)?,
            }
        }
        Ok(())
    }

    fn value(&mut self, name: &str, shape: ShapeId, member: Option<&Member>, value: &Value) -> Result<()> {
        let Some(model) = self.model else { return Ok(()) };
        let shape = model.shape(shape);
        match (&shape.kind, value) {
            (_, Value::Null) => {}
            (Kind::Structure(structure), Value::Map(members)) => {
                self.start(name, member, structure, members)?;
                self.members(shape.name, structure, members)?;
                self.close(name);
            }
            (Kind::List { member: item, member_name, .. }, Value::List(items)) => {
                self.open(name, None);
                for value in items {
                    self.value(member_name.unwrap_or("member"), *item, None, value)?;
                }
                self.close(name);
            }
            (kind @ Kind::Map { .. }, Value::Map(entries)) => {
                self.open(name, None);
                self.entries("entry", kind, entries)?;
                self.close(name);
            }
            (kind, value) => {
                let format = match kind {
                    Kind::Timestamp(own) => member.and_then(|member| member.timestamp_format).or(*own),
                    _ => None,
                };
                self.leaf(name, &text::write(shape, value, format.unwrap_or(TimestampFormat::Iso8601))?);
            }
        }
        Ok(())
    }

    /// A structure's opening tag, with its namespace and attributes.
    fn start(
        &mut self,
        name: &str,
        member: Option<&Member>,
        structure: &Structure,
        members: &[(Name, Value)],
    ) -> Result<()> {
        self.out.push('<');
        self.out.push_str(name);
        if let Some((uri, prefix)) = member.and_then(|member| member.xml_namespace) {
            match prefix {
                Some(prefix) => self.attribute(&format!("xmlns:{prefix}"), uri),
                None => self.attribute("xmlns", uri),
            }
        }
        for (key, value) in members {
            let attribute = structure.member(key).filter(|member| member.xml_attribute);
            if let (Some(member), Some(model)) = (attribute, self.model) {
                let content = text::write(model.shape(member.shape), value, TimestampFormat::Iso8601)?;
                self.attribute(member.wire(), &content);
            }
        }
        self.out.push('>');
        self.content = self.out.len();
        Ok(())
    }

    fn entries(&mut self, element: &str, kind: &Kind, entries: &[(Name, Value)]) -> Result<()> {
        let Kind::Map { value: shape, key_name, value_name, .. } = kind else { return Ok(()) };
        for (key, value) in entries {
            self.open(element, None);
            self.leaf(key_name.unwrap_or("key"), key);
            self.value(value_name.unwrap_or("value"), *shape, None, value)?;
            self.close(element);
        }
        Ok(())
    }

    /// Code, message and further members of an error.
    pub fn error_fields(&mut self, model: Option<&'a Model>, names: Names, fields: &Fields<'_>) {
        self.leaf("Code", &fields.code);
        // Where AWS has no words, it has no member for them.
        if !fields.message.is_empty() {
            self.leaf("Message", fields.message);
        }
        let Some(structure) = fields.structure() else {
            for (name, value) in fields.members.iter().filter(|(name, _)| name != "message") {
                self.leaf(name, value.as_str().unwrap_or_default());
            }
            return;
        };
        (self.model, self.names) = (model, names);
        for member in fields.members.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("message")) {
            let written = self.out.len();
            // A member that does not fit is less than the error that it belongs to.
            if self.members("error", structure, std::slice::from_ref(member)).is_err() {
                self.out.truncate(written);
            }
        }
    }
}

fn misfit(shape: &'static str, found: &Value) -> EncodeError {
    EncodeError::Misfit { shape, found: found.clone() }
}

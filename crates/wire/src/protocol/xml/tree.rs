//! A document as a tree, bounded in depth, in elements and in text.

use quick_xml::Reader;
use quick_xml::escape::unescape;
use quick_xml::events::{BytesStart, Event};

use crate::limits::XML_ATTRIBUTE_COUNT_MAX;
use crate::protocol::DecodeError;
use crate::protocol::budget::Budget;

#[derive(Debug, Default)]
pub struct Element {
    /// Without its prefix.
    pub name: String,
    /// With their prefixes: `xsi:type`.
    pub attributes: Vec<(String, String)>,
    pub children: Vec<Element>,
    /// All text directly inside.
    pub text: String,
}

/// Reads the root element.
pub fn parse(text: &str, budget: &mut Budget<'_>) -> Result<Element, DecodeError> {
    let mut reader = Reader::from_str(text);
    let mut root = None;
    let mut open: Vec<Element> = Vec::new();
    loop {
        match reader.read_event().map_err(malformed)? {
            Event::Start(start) if root.is_none() => {
                budget.descend()?;
                open.push(element(&start, budget)?);
            }
            Event::Empty(start) if root.is_none() => {
                let element = element(&start, budget)?;
                close(element, &mut open, &mut root);
            }
            Event::End(_) => {
                budget.ascend();
                if let Some(element) = open.pop() {
                    close(element, &mut open, &mut root);
                }
            }
            Event::Text(text) => append(&mut open, &text.xml10_content(), budget)?,
            Event::CData(text) => append(&mut open, &text.xml10_content(), budget)?,
            Event::GeneralRef(reference) => {
                let known = match reference.resolve_char_ref().map_err(malformed)? {
                    Some(letter) => Some(letter),
                    None => predefined(&reference),
                };
                let letter = known.ok_or_else(|| malformed("an entity that XML does not define"))?;
                append(&mut open, letter.encode_utf8(&mut [0; 4]), budget)?;
            }
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::DocType(_) => return Err(malformed("a document type")),
            Event::Start(_) | Event::Empty(_) => return Err(malformed("a second root")),
            Event::Eof => break,
        }
    }
    match root {
        Some(root) if open.is_empty() => Ok(root),
        _ => Err(malformed("an unexpected end")),
    }
}

fn malformed(what: impl std::fmt::Display) -> DecodeError {
    DecodeError::Malformed(format!("The XML is not well-formed: {what}"))
}

fn predefined(name: &str) -> Option<char> {
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        _ => return None,
    })
}

fn element(start: &BytesStart<'_>, budget: &mut Budget<'_>) -> Result<Element, DecodeError> {
    budget.charge_elements(2)?;
    let name = start.local_name().as_ref().to_owned();
    budget.charge_text(name.len())?;
    let mut attributes = Vec::new();
    // The reader's own check for duplicates takes quadratic time; the count is small after this one.
    for attribute in start.attributes().with_checks(false) {
        let attribute = attribute.map_err(malformed)?;
        if attributes.len() >= XML_ATTRIBUTE_COUNT_MAX {
            return Err(malformed("an element with too many attributes"));
        }
        let value = unescape(&attribute.value).map_err(malformed)?.into_owned();
        budget.charge_text(value.len())?;
        attributes.push((attribute.key.as_ref().to_owned(), value));
    }
    Ok(Element { name, attributes, ..Element::default() })
}

fn close(element: Element, open: &mut [Element], root: &mut Option<Element>) {
    match open.last_mut() {
        Some(parent) => parent.children.push(element),
        None => *root = Some(element),
    }
}

fn append(open: &mut [Element], text: &str, budget: &mut Budget<'_>) -> Result<(), DecodeError> {
    budget.charge_text(text.len())?;
    match open.last_mut() {
        Some(element) => element.text.push_str(text),
        None if text.trim_matches(['\u{feff}', ' ', '\t', '\r', '\n']).is_empty() => {}
        None => return Err(malformed("text outside of the root")),
    }
    Ok(())
}

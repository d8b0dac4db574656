//! What a message may say, and what is made of it.

use base::{AwsError, Cx, Timestamp, trace};
use ring::digest::{SHA256, digest};

use super::errors;
use super::live::New;
use super::message::{Attribute, AttributeValue, Attributes, Message, Place, Value, length};
use super::queue::Queue;
use super::settings::seconds;

const ATTRIBUTES_MAX: usize = 10;
const ATTRIBUTE_NAME_MAX: usize = 256;
const DELAY_SECONDS_MAX: i64 = 900;
const TRACE_HEADER: &str = "AWSTraceHeader";

/// A message as it is asked for, by itself or in a batch.
pub struct Wanted {
    pub body: String,
    pub delay_seconds: Option<i64>,
    pub attributes: Vec<(String, AttributeValue)>,
    pub system_attributes: Vec<(String, AttributeValue)>,
    pub deduplication_id: Option<String>,
    pub group_id: Option<String>,
}

impl Wanted {
    /// The message that it makes in a queue, and its length as AWS counts it.
    pub fn check(self, cx: &Cx, queue: &Queue) -> Result<(New, usize), AwsError> {
        if self.body.is_empty() {
            return Err(errors::missing("MessageBody"));
        }
        if !self.body.chars().all(is_allowed) {
            return Err(errors::invalid_contents());
        }
        let attributes = attributes(self.attributes, "user")?;
        let bytes = self.body.len().saturating_add(length(&attributes));
        if bytes > queue.settings.message_bytes_max as usize {
            return Err(errors::too_long(queue.settings.message_bytes_max));
        }
        let mut system = self::attributes(self.system_attributes, "system")?;
        let trace_header = system.remove(TRACE_HEADER);
        if let Some(other) = system.into_keys().next() {
            return Err(errors::invalid(format!("Message system attribute name '{other}' is invalid.")));
        }
        let trace_header = trace_header.map(|attribute| match &attribute.value {
            Value::Text(text) => trace::sent(text).ok_or_else(errors::invalid_trace_header),
            Value::Binary(_) => Err(errors::invalid_trace_header()),
        });
        let trace_header = trace_header.transpose()?;
        // The one of the message goes before the one of the request.
        let trace_header = trace_header.or_else(|| cx.trace_header.as_deref().map(Into::into));
        let delay = delay(queue, self.delay_seconds)?;
        let group = group(queue, self.group_id)?;
        let (deduplication_id, twin) =
            twin((queue, cx.now()), self.deduplication_id, group.as_deref(), self.body.as_bytes())?;
        let now = cx.now();
        let place = Place {
            sent: now,
            visible_at: now.plus(delay),
            group: group.clone(),
            receives: 0,
            forgiven: 0,
            first_received: None,
        };
        let message = Message {
            id: cx.id(),
            body: self.body,
            attributes,
            sender: cx.principal.user_id.clone(),
            trace_header,
            group,
            deduplication_id,
            dead_letter_source: None,
        };
        Ok((New { message, place, twin }, bytes))
    }
}

/// XML 1.0 can say these.
pub fn is_allowed(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..='\u{10ffff}')
}

fn delay(queue: &Queue, wanted: Option<i64>) -> Result<std::time::Duration, AwsError> {
    let wanted = match wanted {
        // A FIFO queue takes none but its own, which zero stands for.
        Some(0) if queue.settings.fifo.is_some() => None,
        Some(wanted) if queue.settings.fifo.is_some() => {
            return Err(errors::not_for_this_kind(wanted, "DelaySeconds"));
        }
        wanted => wanted,
    };
    match wanted {
        None => Ok(seconds(queue.settings.delay_seconds)),
        Some(wanted) if (0..=DELAY_SECONDS_MAX).contains(&wanted) => Ok(seconds(wanted.try_into().unwrap_or_default())),
        Some(wanted) => Err(errors::invalid_value(wanted, "DelaySeconds", "DelaySeconds must be >= 0 and <= 900.")),
    }
}

fn group(queue: &Queue, wanted: Option<String>) -> Result<Option<String>, AwsError> {
    match wanted {
        None if queue.settings.fifo.is_some() => Err(errors::missing("MessageGroupId")),
        None => Ok(None),
        Some(group) => identifier(group, "MessageGroupId").map(Some),
    }
}

/// What tells a message of a FIFO queue apart, as its sender says it and as it is looked up.
fn twin(
    (queue, now): (&Queue, Timestamp),
    wanted: Option<String>,
    group: Option<&str>,
    body: &[u8],
) -> Result<(Option<String>, Option<u128>), AwsError> {
    let Some(fifo) = &queue.settings.fifo else {
        return match wanted {
            None => Ok((None, None)),
            Some(id) => Err(errors::not_for_this_kind(id, "MessageDeduplicationId")),
        };
    };
    let id = match wanted {
        Some(id) => identifier(id, "MessageDeduplicationId")?,
        None if fifo.is_deduplicated_by_content => base::hex::encode(digest(&SHA256, body).as_ref()),
        None => return Err(errors::no_deduplication_id()),
    };
    let group = group.filter(|_| !queue.settings.is_deduplicated_by_queue(now)).unwrap_or_default();
    let hash = digest(&SHA256, format!("{group}\n{id}").as_bytes());
    let twin = hash.as_ref().first_chunk().map(|bytes| u128::from_be_bytes(*bytes));
    Ok((Some(id), twin))
}

fn identifier(value: String, parameter: &str) -> Result<String, AwsError> {
    match (1..=128).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(value),
        false => {
            let reason =
                format!("{parameter} can only include alphanumeric and punctuation characters. 1 to 128 in length.");
            Err(errors::invalid_value(value, parameter, &reason))
        }
    }
}

/// Attributes as they are kept. `whose` is AWS's word for their kind.
fn attributes(given: Vec<(String, AttributeValue)>, whose: &str) -> Result<Attributes, AwsError> {
    if given.len() > ATTRIBUTES_MAX {
        let count = given.len();
        return Err(errors::invalid(format!(
            "Number of message attributes [{count}] exceeds the allowed maximum [{ATTRIBUTES_MAX}]."
        )));
    }
    given.into_iter().map(|(name, value)| Ok((name.clone(), attribute(&name, value, whose)?))).collect()
}

fn attribute(name: &str, given: AttributeValue, whose: &str) -> Result<Attribute, AwsError> {
    let AttributeValue { data_type, string_value, binary_value, string_list_values, binary_list_values } = given;
    let wrong = |what: String| errors::invalid(format!("Message ({whose}) attribute '{name}' {what}"));
    if !is_attribute_name(name) {
        return Err(errors::invalid(format!(
            "Message ({whose}) attribute name '{name}' is invalid: it has 1 to 256 alphanumeric characters, hyphens, \
             underscores and periods, no period first, last or twice in a row, and does not begin with AWS. or Amazon."
        )));
    }
    if string_list_values.is_some_and(|values| !values.is_empty())
        || binary_list_values.is_some_and(|values| !values.is_empty())
    {
        return Err(AwsError::client(400, "UnsupportedOperation", "Message attribute list values are not supported."));
    }
    if data_type.len() > ATTRIBUTE_NAME_MAX || !data_type.chars().all(is_allowed) {
        return Err(wrong("has an invalid message attribute type: it has 256 characters at most.".into()));
    }
    let kind = data_type.split('.').next().unwrap_or_default().to_owned();
    let empty = || wrong(format!("must contain a non-empty value of type '{kind}'."));
    let value = match kind.as_str() {
        "String" | "Number" => Value::Text(string_value.filter(|text| !text.is_empty()).ok_or_else(empty)?),
        "Binary" => {
            let bytes = binary_value.and_then(|blob| blob.read_all().ok()).filter(|bytes| !bytes.is_empty());
            Value::binary(&bytes.ok_or_else(empty)?)
        }
        _ if data_type.is_empty() => return Err(wrong("must contain a non-empty attribute type.".into())),
        _ => {
            return Err(wrong(
                "has an invalid message attribute type, the set of supported type prefixes is Binary, Number, and String."
                    .into(),
            ));
        }
    };
    match &value {
        Value::Text(text) if kind == "Number" && !is_number(text) => {
            Err(errors::invalid(format!("Can't cast the value of message ({whose}) attribute '{name}' to a number.")))
        }
        Value::Text(text) if !text.chars().all(is_allowed) => Err(errors::invalid(errors::INVALID_CHARACTERS)),
        _ => Ok(Attribute { data_type, value }),
    }
}

/// Digits, a point, a sign, an exponent; no words for what is none.
fn is_number(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E');
    text.bytes().all(is_allowed) && text.parse::<f64>().is_ok_and(f64::is_finite)
}

fn is_attribute_name(name: &str) -> bool {
    let is_allowed = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    let start = name.to_ascii_lowercase();
    (1..=ATTRIBUTE_NAME_MAX).contains(&name.chars().count())
        && name.chars().all(is_allowed)
        && !name.starts_with('.')
        && !name.ends_with('.')
        && !name.contains("..")
        && (name == TRACE_HEADER || !start.starts_with("aws.") && !start.starts_with("amazon."))
}

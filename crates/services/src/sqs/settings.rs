//! What a queue's owner has set: the attributes of `CreateQueue` and `SetQueueAttributes`, one line each.

use std::collections::BTreeMap;
use std::time::Duration;

use base::{AwsError, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::errors;

pub const MESSAGE_BYTES_MAX: u32 = 1024 * 1024;
pub const HIDDEN_SECONDS_MAX: u32 = 43_200;
const FOURTEEN_DAYS: u32 = 1_209_600;
/// Queues that may use one for their dead letters, by name.
const SOURCES_MAX: usize = 10;
const RECEIVES_MAX: u32 = 1_000;
/// What messages of a queue in use are told apart by changes so long after it was set, as AWS says of attributes.
const SCOPE_CHANGES_AFTER: Duration = Duration::from_secs(60);

/// As they are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    pub visibility_seconds: u32,
    pub retention_seconds: u32,
    pub message_bytes_max: u32,
    pub delay_seconds: u32,
    pub wait_seconds: u32,
    pub policy: Option<String>,
    pub redrive: Option<Redrive>,
    pub redrive_allow: Option<RedriveAllow>,
    pub encryption: Encryption,
    /// Of FIFO queues alone.
    pub fifo: Option<Fifo>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fifo {
    pub is_deduplicated_by_content: bool,
    /// `queue` or `messageGroup`.
    pub scope: String,
    /// The one before it, which holds until then.
    #[serde(default)]
    pub scope_before: Option<(String, Timestamp)>,
    /// `perQueue` or `perMessageGroupId`.
    pub throughput: String,
}

/// Where messages go that were received too often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Redrive {
    pub dead_letter_target_arn: String,
    pub max_receive_count: u32,
}

/// Whose dead letters a queue takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RedriveAllow {
    pub redrive_permission: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub source_queue_arns: Vec<String>,
}

/// Said of a queue, and kept; all of it is on the disk of whoever runs the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encryption {
    pub key: Option<String>,
    pub reuse_seconds: Option<u32>,
    pub is_managed: bool,
}

/// All that may be asked for.
pub const ATTRIBUTES: [&str; 22] = [
    "All",
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesDelayed",
    "ApproximateNumberOfMessagesNotVisible",
    "ContentBasedDeduplication",
    "CreatedTimestamp",
    "DeduplicationScope",
    "DelaySeconds",
    "FifoQueue",
    "FifoThroughputLimit",
    "KmsDataKeyReusePeriodSeconds",
    "KmsMasterKeyId",
    "LastModifiedTimestamp",
    "MaximumMessageSize",
    "MessageRetentionPeriod",
    "Policy",
    "QueueArn",
    "ReceiveMessageWaitTimeSeconds",
    "RedriveAllowPolicy",
    "RedrivePolicy",
    "SqsManagedSseEnabled",
    "VisibilityTimeout",
];

pub type Attributes = BTreeMap<String, String>;

impl Settings {
    pub fn new(is_fifo: bool) -> Self {
        let fifo = Fifo {
            is_deduplicated_by_content: false,
            scope: "queue".into(),
            scope_before: None,
            throughput: "perQueue".into(),
        };
        Self {
            visibility_seconds: 30,
            retention_seconds: 345_600,
            message_bytes_max: MESSAGE_BYTES_MAX,
            delay_seconds: 0,
            wait_seconds: 0,
            policy: None,
            redrive: None,
            redrive_allow: None,
            encryption: Encryption { key: None, reuse_seconds: None, is_managed: true },
            fifo: is_fifo.then_some(fifo),
        }
    }

    /// Sets attributes of a queue that is in use.
    pub fn change(&mut self, attributes: &Attributes, now: Timestamp) -> Result<(), AwsError> {
        let before = self.fifo.clone();
        attributes.iter().try_for_each(|(name, value)| self.set(name, value))?;
        if let (Some(fifo), Some(before)) = (&mut self.fifo, before)
            && fifo.scope != before.scope
        {
            let held = before.scope_at(now).to_owned();
            fifo.scope_before = Some((held, now.plus(SCOPE_CHANGES_AFTER)));
        }
        Ok(())
    }

    /// Sets one attribute. An empty text takes back what has no value by default.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), AwsError> {
        match name {
            "VisibilityTimeout" => self.visibility_seconds = number(name, value, 0, HIDDEN_SECONDS_MAX)?,
            "MessageRetentionPeriod" => self.retention_seconds = number(name, value, 60, FOURTEEN_DAYS)?,
            "MaximumMessageSize" => self.message_bytes_max = number(name, value, 1_024, MESSAGE_BYTES_MAX)?,
            "DelaySeconds" => self.delay_seconds = number(name, value, 0, 900)?,
            "ReceiveMessageWaitTimeSeconds" => self.wait_seconds = number(name, value, 0, 20)?,
            "Policy" => self.policy = policy(value)?,
            "RedrivePolicy" => self.redrive = redrive(value)?,
            "RedriveAllowPolicy" => self.redrive_allow = redrive_allow(value)?,
            "KmsMasterKeyId" => {
                self.encryption.key = Some(value.to_owned()).filter(|key| !key.is_empty());
                self.encryption.is_managed &= self.encryption.key.is_none();
            }
            "KmsDataKeyReusePeriodSeconds" => self.encryption.reuse_seconds = Some(number(name, value, 60, 86_400)?),
            "SqsManagedSseEnabled" => {
                self.encryption.is_managed = truth(name, value)?;
                self.encryption.key = self.encryption.key.take().filter(|_| !self.encryption.is_managed);
            }
            // A standard queue has no such attribute, not even with the value that it would have.
            "FifoQueue" if self.fifo.is_none() => return Err(errors::unknown_attribute(name)),
            "FifoQueue" if !truth(name, value)? => {
                return Err(errors::invalid_attribute(name, Some("Modifying queue type is not supported.")));
            }
            "FifoQueue" => {}
            _ => return self.set_fifo(name, value),
        }
        Ok(())
    }

    fn set_fifo(&mut self, name: &str, value: &str) -> Result<(), AwsError> {
        match (name, &mut self.fifo) {
            ("ContentBasedDeduplication", Some(fifo)) => fifo.is_deduplicated_by_content = truth(name, value)?,
            ("ContentBasedDeduplication", None) => return Err(errors::unknown_attribute(name)),
            ("DeduplicationScope", Some(fifo)) => fifo.scope = one_of(name, value, &["queue", "messageGroup"])?,
            ("FifoThroughputLimit", Some(fifo)) => {
                fifo.throughput = one_of(name, value, &["perQueue", "perMessageGroupId"])?;
            }
            ("DeduplicationScope" | "FifoThroughputLimit", None) => return Err(errors::fifo_only_attribute(name)),
            _ => return Err(errors::unknown_attribute(name)),
        }
        Ok(())
    }

    /// All attributes that have a value, as AWS shows them.
    pub fn shown(&self) -> Attributes {
        let Self { encryption, .. } = self;
        let json = |value: Option<Value>| value.map(|value| value.to_string());
        let mut shown = vec![
            ("VisibilityTimeout", Some(self.visibility_seconds.to_string())),
            ("MessageRetentionPeriod", Some(self.retention_seconds.to_string())),
            ("MaximumMessageSize", Some(self.message_bytes_max.to_string())),
            ("DelaySeconds", Some(self.delay_seconds.to_string())),
            ("ReceiveMessageWaitTimeSeconds", Some(self.wait_seconds.to_string())),
            ("Policy", self.policy.clone()),
            ("RedrivePolicy", json(serde_json::to_value(&self.redrive).ok().filter(|value| !value.is_null()))),
            (
                "RedriveAllowPolicy",
                json(serde_json::to_value(&self.redrive_allow).ok().filter(|value| !value.is_null())),
            ),
            ("KmsMasterKeyId", encryption.key.clone()),
            (
                "KmsDataKeyReusePeriodSeconds",
                encryption.reuse_seconds.filter(|_| encryption.key.is_some()).map(|seconds| seconds.to_string()),
            ),
            ("SqsManagedSseEnabled", Some(encryption.is_managed.to_string())),
        ];
        if let Some(fifo) = &self.fifo {
            shown.extend([
                ("FifoQueue", Some("true".into())),
                ("ContentBasedDeduplication", Some(fifo.is_deduplicated_by_content.to_string())),
                ("DeduplicationScope", Some(fifo.scope.clone())),
                ("FifoThroughputLimit", Some(fifo.throughput.clone())),
            ]);
        }
        shown.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }

    pub fn retention(&self) -> Duration {
        seconds(self.retention_seconds)
    }

    /// Whether what is sent twice is one message for all groups together.
    pub fn is_deduplicated_by_queue(&self, now: Timestamp) -> bool {
        self.fifo.as_ref().is_some_and(|fifo| fifo.scope_at(now) == "queue")
    }
}

impl Fifo {
    /// By what messages are told apart now.
    fn scope_at(&self, now: Timestamp) -> &str {
        let before = self.scope_before.as_ref().filter(|(_, until)| now < *until);
        before.map_or(&self.scope, |(scope, _)| scope)
    }
}

impl RedriveAllow {
    /// Whether it takes what a queue gives up.
    pub fn takes_from(&self, source: &str) -> bool {
        match self.redrive_permission.as_str() {
            "allowAll" => true,
            "byQueue" => self.source_queue_arns.iter().any(|arn| arn == source),
            _ => false,
        }
    }
}

pub fn seconds(count: u32) -> Duration {
    Duration::from_secs(count.into())
}

fn number(name: &str, value: &str, min: u32, max: u32) -> Result<u32, AwsError> {
    let number = value.parse().ok().filter(|number| (min..=max).contains(number));
    number.ok_or_else(|| errors::invalid_attribute(name, None))
}

fn truth(name: &str, value: &str) -> Result<bool, AwsError> {
    match value.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(errors::invalid_attribute(name, None)),
    }
}

fn one_of(name: &str, value: &str, known: &[&str]) -> Result<String, AwsError> {
    known.contains(&value).then(|| value.to_owned()).ok_or_else(|| errors::invalid_attribute(name, None))
}

fn policy(value: &str) -> Result<Option<String>, AwsError> {
    if value.is_empty() {
        return Ok(None);
    }
    let has_statement = |policy: Value| policy.get("Statement").is_some_and(|it| it.is_array() || it.is_object());
    match serde_json::from_str(value).map(has_statement) {
        Ok(true) => Ok(Some(value.to_owned())),
        _ => Err(errors::invalid_attribute("Policy", None)),
    }
}

fn redrive(value: &str) -> Result<Option<Redrive>, AwsError> {
    if value.is_empty() {
        return Ok(None);
    }
    let wrong = |reason: &str| {
        errors::invalid(format!("Value {value} for parameter RedrivePolicy is invalid. Reason: {reason}"))
    };
    let Ok(Value::Object(members)) = serde_json::from_str(value) else {
        return Err(wrong("Redrive policy is not a valid JSON map."));
    };
    let Some(target) = members.get("deadLetterTargetArn") else {
        return Err(wrong("Redrive policy does not contain mandatory attribute: deadLetterTargetArn."));
    };
    let Some(count) = members.get("maxReceiveCount") else {
        return Err(wrong("Redrive policy does not contain mandatory attribute: maxReceiveCount."));
    };
    if members.len() > 2 {
        return Err(wrong("Only following attributes are supported: [deadLetterTargetArn, maxReceiveCount]."));
    }
    // Clients write it as a number or as a text.
    let count = count.as_u64().or_else(|| count.as_str()?.parse().ok()).and_then(|count| u32::try_from(count).ok());
    let Some(max_receive_count) = count.filter(|count| (1..=RECEIVES_MAX).contains(count)) else {
        return Err(wrong("Invalid value for maxReceiveCount: it is a number from 1 to 1000."));
    };
    match target.as_str().filter(|arn| arn.parse::<base::Arn>().is_ok_and(|arn| arn.service == "sqs")) {
        Some(arn) => Ok(Some(Redrive { dead_letter_target_arn: arn.to_owned(), max_receive_count })),
        None => Err(wrong("Invalid value for deadLetterTargetArn.")),
    }
}

fn redrive_allow(value: &str) -> Result<Option<RedriveAllow>, AwsError> {
    if value.is_empty() {
        return Ok(None);
    }
    let wrong = || {
        errors::invalid(format!(
            "Value {value} for parameter RedriveAllowPolicy is invalid. Reason: it is no such policy."
        ))
    };
    let allow: RedriveAllow = serde_json::from_str(value).map_err(|_| wrong())?;
    let sources = allow.source_queue_arns.len();
    let is_right = match allow.redrive_permission.as_str() {
        "allowAll" | "denyAll" => sources == 0,
        "byQueue" => (1..=SOURCES_MAX).contains(&sources),
        _ => false,
    };
    if is_right { Ok(Some(allow)) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tells_messages_apart_changes_a_minute_later() {
        let at = |seconds| Timestamp::default().plus(Duration::from_secs(seconds));
        let by = |scope: &str| Attributes::from([("DeduplicationScope".into(), scope.into())]);
        let mut settings = Settings::new(true);
        settings.change(&by("messageGroup"), at(100)).unwrap();
        assert_eq!(settings.shown()["DeduplicationScope"], "messageGroup");
        // Said again, it is not put off.
        settings.change(&by("messageGroup"), at(150)).unwrap();
        assert!(settings.is_deduplicated_by_queue(at(159)));
        assert!(!settings.is_deduplicated_by_queue(at(160)));
        // What never came to hold is as if it had not been said.
        settings.change(&by("queue"), at(170)).unwrap();
        settings.change(&by("messageGroup"), at(180)).unwrap();
        assert!(!settings.is_deduplicated_by_queue(at(185)) && !settings.is_deduplicated_by_queue(at(300)));
        // Other attributes leave it alone.
        settings.change(&by("queue"), at(400)).unwrap();
        settings.change(&Attributes::from([("DelaySeconds".into(), "3".into())]), at(450)).unwrap();
        assert!(!settings.is_deduplicated_by_queue(at(459)) && settings.is_deduplicated_by_queue(at(460)));
    }
}

//! Where a mapping's events come from: the kinds of sources, how an ARN or an address tells them apart, and where
//! reading begins. None of it changes once a mapping is made.
//!
//! The words of refusals differ by the part of AWS that answers: SQS, Kinesis and DynamoDB write `Unsupported
//! DestinationConfig parameter …`, the newer sources `Unsupported 'destinationConfig' parameter …`.

use std::collections::BTreeMap;

use base::{Arn, AwsError, Timestamp};
use serde::{Deserialize, Serialize};

use super::super::errors;
use crate::{Ctx, source};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    Sqs,
    Kinesis,
    DynamoDb,
    Msk,
    SelfManagedKafka,
    Mq,
    DocumentDb,
}

/// The source as a request names it and as answers show it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
pub struct Source {
    pub event_source_arn: Option<String>,
    self_managed_event_source: Option<SelfManagedEventSource>,
    topics: Option<Vec<String>>,
    queues: Option<Vec<String>>,
    starting_position: Option<String>,
    starting_position_timestamp: Option<Timestamp>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
pub struct SelfManagedEventSource {
    endpoints: BTreeMap<String, Vec<String>>,
}

/// What only one mapping of a function may read: a queue, a stream, or one topic of one cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claim {
    /// An ARN, or the address of a server.
    pub of: String,
    /// The topic or queue within it; empty where there is none to choose.
    pub part: String,
}

impl Kind {
    pub fn is_stream(self) -> bool {
        matches!(self, Self::Kinesis | Self::DynamoDb)
    }

    pub fn is_kafka(self) -> bool {
        matches!(self, Self::Msk | Self::SelfManagedKafka)
    }

    /// Who is said to have changed a mapping last. Nothing but its user changes one before there is polling.
    pub fn transition_reason(self) -> &'static str {
        if self.is_stream() { "User action" } else { "USER_INITIATED" }
    }

    /// What is said of a mapping that has read nothing yet. Mappings of queues in SQS say nothing.
    pub fn first_result(self) -> Option<&'static str> {
        (self != Self::Sqs).then_some("No records processed")
    }

    /// The refusal of a member, such as `destinationConfig`, that sources of this kind do not have.
    pub fn unsupported(self, member: &str) -> AwsError {
        let shown = match self {
            Self::Sqs | Self::Kinesis | Self::DynamoDb => upper_first(member),
            Self::Msk | Self::SelfManagedKafka | Self::Mq | Self::DocumentDb => format!("'{member}'"),
        };
        errors::invalid_parameter(format!("Unsupported {shown} parameter for given event source mapping type."))
    }

    fn of_arn(arn: &Arn) -> Option<Self> {
        let starts = |prefix: &str| arn.resource.strip_prefix(prefix).is_some_and(|name| !name.is_empty());
        match arn.service.as_str() {
            "sqs" => Some(Self::Sqs),
            "kinesis" if starts("stream/") => Some(Self::Kinesis),
            "dynamodb" if starts("table/") && arn.resource.contains("/stream/") => Some(Self::DynamoDb),
            "kafka" if starts("cluster/") || starts("vpc-connection/") => Some(Self::Msk),
            "mq" if starts("broker:") => Some(Self::Mq),
            "rds" if starts("cluster:") => Some(Self::DocumentDb),
            _ => None,
        }
    }
}

impl Source {
    /// The kind of what is named, if it names one source and Lambda reads from such.
    pub fn kind(&self) -> Result<Kind, AwsError> {
        let arn: Option<Arn> = self.event_source_arn.as_deref().and_then(|arn| arn.parse().ok());
        let kind = match (arn, &self.self_managed_event_source) {
            (Some(arn), None) => Kind::of_arn(&arn),
            (None, Some(servers)) if self.event_source_arn.is_none() && !servers.endpoints.is_empty() => {
                Some(Kind::SelfManagedKafka)
            }
            _ => None,
        };
        kind.ok_or_else(|| errors::invalid_parameter("Unrecognized event source."))
    }

    /// Checks what sources of this `kind` have and need, and puts defaults in place.
    pub fn settle(mut self, kind: Kind, now: Timestamp) -> Result<Self, AwsError> {
        match (&self.topics, kind.is_kafka()) {
            (None, true) => return Err(missing("topics")),
            (Some(_), false) => return Err(kind.unsupported("topics")),
            _ => {}
        }
        match (&self.queues, kind) {
            (None, Kind::Mq) => return Err(missing("queues")),
            (Some(_), kind) if kind != Kind::Mq => return Err(kind.unsupported("queues")),
            _ => {}
        }
        self.check_position(kind, now)?;
        if kind.is_kafka() || kind == Kind::DocumentDb {
            self.starting_position.get_or_insert_with(|| "TRIM_HORIZON".into());
        }
        Ok(self)
    }

    fn check_position(&self, kind: Kind, now: Timestamp) -> Result<(), AwsError> {
        let position = self.starting_position.as_deref();
        match (kind, position) {
            (Kind::Sqs, Some(_)) => {
                Err(errors::invalid_parameter("StartingPosition is not valid for SQS event sources."))
            }
            (Kind::Mq, Some(_)) => Err(kind.unsupported("startingPosition")),
            (Kind::Kinesis | Kind::DynamoDb, None) => Err(errors::invalid_parameter(
                "1 validation error detected: Value null at 'startingPosition' failed to satisfy constraint: \
                 Member must not be null.",
            )),
            (Kind::DynamoDb, Some("AT_TIMESTAMP")) => Err(errors::invalid_parameter(format!(
                "Unsupported starting position for arn type: {}",
                self.event_source_arn.as_deref().unwrap_or_default()
            ))),
            (_, Some("AT_TIMESTAMP")) => match self.starting_position_timestamp {
                None => Err(errors::invalid_parameter("Need to specify a timestamp")),
                // AWS documents that it refuses this; the words are ours.
                Some(from) if from > now => {
                    Err(errors::invalid_parameter("StartingPositionTimestamp cannot be in the future."))
                }
                Some(_) => Ok(()),
            },
            _ => Ok(()),
        }
    }

    pub fn is_fifo(&self) -> bool {
        self.event_source_arn.as_deref().is_some_and(|arn| arn.ends_with(".fifo"))
    }

    /// Whether the source is there, and gives a function that takes so many seconds the time that it takes.
    pub async fn check_can_be_read(&self, ctx: &Ctx, timeout_seconds: u32) -> Result<(), AwsError> {
        let Some(arn) = &self.event_source_arn else { return Ok(()) };
        match source::refusal(ctx, arn, timeout_seconds).await? {
            None => Ok(()),
            Some(refusal) => Err(errors::invalid_parameter(refusal)),
        }
    }

    /// In no order that matters, and never empty for a source that has a kind.
    pub fn claims(&self) -> Vec<Claim> {
        let part = self.topics.iter().chain(&self.queues).flatten().next().cloned().unwrap_or_default();
        self.addresses().into_iter().map(|of| Claim { of, part: part.clone() }).collect()
    }

    fn addresses(&self) -> Vec<String> {
        let servers = self.self_managed_event_source.iter().flat_map(|source| source.endpoints.values()).flatten();
        let mut addresses: Vec<String> = self.event_source_arn.iter().chain(servers).cloned().collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }

    /// The refusal of a second mapping of a function to this source, beside the one of `uuid`.
    pub fn conflict(&self, kind: Kind, function: &str, function_arn: &str, uuid: &str) -> AwsError {
        let source = self.addresses().join(",");
        let existing = format!("already exists. Please update or delete the existing mapping with UUID {uuid}");
        errors::resource_conflict(match kind {
            Kind::Sqs => format!(
                "An event source mapping with SQS arn (\" {source} \") and function (\" {function} \") {existing}"
            ),
            Kind::Kinesis | Kind::DynamoDb => format!(
                "The event source arn (\" {source} \") and function (\" {function} \") provided mapping {existing}"
            ),
            Kind::Msk | Kind::SelfManagedKafka | Kind::Mq | Kind::DocumentDb => {
                let parts = |name: &str, parts: &Option<Vec<String>>| {
                    let parts = parts.as_deref().map(|parts| parts.join(","));
                    parts.map(|parts| format!(", {name} (\"{parts}\")")).unwrap_or_default()
                };
                let (topics, queues) = (parts("topics", &self.topics), parts("queues", &self.queues));
                format!(
                    "An event source mapping with event source (\"{source}\"), function (\"{function_arn}\")\
                     {topics}{queues} {existing}"
                )
            }
        })
    }
}

/// The refusal of a request that lacks a member that its kind of source needs.
pub fn missing(member: &str) -> AwsError {
    errors::invalid_parameter(format!("Required '{member}' parameter is missing."))
}

fn upper_first(member: &str) -> String {
    let mut letters = member.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(arn: &str) -> Source {
        Source { event_source_arn: Some(arn.into()), ..Source::default() }
    }

    fn kafka(servers: &[&str], topic: &str) -> Source {
        let servers = servers.iter().map(|server| (*server).to_owned()).collect();
        Source {
            self_managed_event_source: Some(SelfManagedEventSource {
                endpoints: BTreeMap::from([("KAFKA_BOOTSTRAP_SERVERS".into(), servers)]),
            }),
            topics: Some(vec![topic.into()]),
            ..Source::default()
        }
    }

    #[test]
    fn an_arn_tells_the_kind() {
        let kind = |arn| source(arn).kind().ok();
        assert_eq!(kind("arn:aws:sqs:eu-west-1:000000000000:q"), Some(Kind::Sqs));
        assert_eq!(kind("arn:aws:kinesis:eu-west-1:000000000000:stream/s/consumer/c:1"), Some(Kind::Kinesis));
        assert_eq!(kind("arn:aws:dynamodb:eu-west-1:000000000000:table/t/stream/2026"), Some(Kind::DynamoDb));
        assert_eq!(kind("arn:aws:dynamodb:eu-west-1:000000000000:table/t"), None);
        assert_eq!(kind("arn:aws:kafka:eu-west-1:000000000000:cluster/c/u-1"), Some(Kind::Msk));
        assert_eq!(kind("arn:aws:mq:eu-west-1:000000000000:broker:b:b-1"), Some(Kind::Mq));
        assert_eq!(kind("arn:aws:rds:eu-west-1:000000000000:cluster:c"), Some(Kind::DocumentDb));
        assert_eq!(kind("arn:aws:sns:eu-west-1:000000000000:t"), None);
        assert_eq!(kafka(&["k:1"], "t").kind().ok(), Some(Kind::SelfManagedKafka));
        assert!(Source::default().kind().is_err());
        let both = Source { event_source_arn: Some("arn:aws:sqs:eu-west-1:0:q".into()), ..kafka(&["k:1"], "t") };
        assert_eq!(both.kind().unwrap_err().message, "Unrecognized event source.");
    }

    #[test]
    fn where_reading_begins_depends_on_the_kind() {
        let now = Timestamp::from_secs(100);
        let at = |kind, position: Option<&str>, timestamp| {
            let arn = Some("arn:aws:x:::y".to_owned());
            let topics = Kind::is_kafka(kind).then(|| vec!["t".into()]);
            let source = Source { event_source_arn: arn, topics, ..Source::default() };
            let starting_position = position.map(str::to_owned);
            Source { starting_position, starting_position_timestamp: timestamp, ..source }.settle(kind, now)
        };
        let refused = |settled: Result<Source, AwsError>| settled.unwrap_err().message;
        assert!(at(Kind::Sqs, None, None).unwrap().starting_position.is_none());
        assert_eq!(
            refused(at(Kind::Sqs, Some("LATEST"), None)),
            "StartingPosition is not valid for SQS event sources."
        );
        assert!(refused(at(Kind::Kinesis, None, None)).contains("Value null at 'startingPosition'"));
        assert_eq!(refused(at(Kind::Kinesis, Some("AT_TIMESTAMP"), None)), "Need to specify a timestamp");
        assert!(at(Kind::Kinesis, Some("AT_TIMESTAMP"), Some(Timestamp::from_secs(100))).is_ok());
        assert!(at(Kind::Kinesis, Some("AT_TIMESTAMP"), Some(Timestamp::from_secs(101))).is_err());
        assert_eq!(
            refused(at(Kind::DynamoDb, Some("AT_TIMESTAMP"), Some(now))),
            "Unsupported starting position for arn type: arn:aws:x:::y"
        );
        assert_eq!(at(Kind::Msk, None, None).unwrap().starting_position.as_deref(), Some("TRIM_HORIZON"));
    }

    #[test]
    fn each_family_refuses_in_its_own_words() {
        assert_eq!(
            Kind::Sqs.unsupported("destinationConfig").message,
            "Unsupported DestinationConfig parameter for given event source mapping type."
        );
        assert_eq!(
            Kind::Mq.unsupported("destinationConfig").message,
            "Unsupported 'destinationConfig' parameter for given event source mapping type."
        );
    }

    #[test]
    fn a_topic_on_any_of_the_same_servers_is_the_same_claim() {
        let (one, both) = (kafka(&["k:1000"], "t").claims(), kafka(&["k:2000", "k:1000", "k:1000"], "t").claims());
        assert_eq!(both.len(), 2);
        assert!(both.contains(&one[0]));
        assert!(!both.contains(&kafka(&["k:1000"], "u").claims()[0]));
        let conflict = kafka(&["k:1000", "k:2000"], "t").conflict(Kind::SelfManagedKafka, "f", "arn:f", "id");
        assert_eq!(
            conflict.message,
            "An event source mapping with event source (\"k:1000,k:2000\"), function (\"arn:f\"), topics (\"t\") \
             already exists. Please update or delete the existing mapping with UUID id"
        );
    }
}

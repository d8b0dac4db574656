//! What can be set of a mapping, and which kinds of sources have which settings.
//!
//! One type for what a request gives and for what a mapping has: a member that is there is shown, and one that its
//! kind of source does not have never gets there. Where AWS refuses a combination in words that nobody recorded, the
//! words are ours; those that are quoted from AWS are in the tests.

use std::time::Duration;

use base::AwsError;
use engine::pattern::Pattern;
use serde::{Deserialize, Serialize};

use super::super::errors;
use super::source::{Kind, missing};

/// As many filters as AWS gives an account that did not ask for more.
const FILTERS_MAX: usize = 5;
/// A larger batch from a queue needs a window to gather it in.
const UNGATHERED_BATCH_MAX: u32 = 10;
/// Records may be dropped for their age after a minute, not sooner.
const RECORD_AGE_S_MIN: i32 = 60;
/// What a schema registry may list of each kind; AWS's own bound is not documented.
const REGISTRY_ENTRIES_MAX: usize = 16;
/// With which a poller configuration is completed.
const POLLERS_MAX_DEFAULT: u32 = 200;
const QUEUE_POLLERS_MIN: u32 = 2;
const KAFKA_POLLERS_MAX: u32 = 2_000;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
pub struct Settings {
    batch_size: Option<u32>,
    pub filter_criteria: Option<FilterCriteria>,
    #[serde(rename = "KMSKeyArn")]
    pub kms_key_arn: Option<String>,
    metrics_config: Option<MetricsConfig>,
    logging_config: Option<LoggingConfig>,
    scaling_config: Option<ScalingConfig>,
    maximum_batching_window_in_seconds: Option<u32>,
    parallelization_factor: Option<u32>,
    destination_config: Option<DestinationConfig>,
    maximum_record_age_in_seconds: Option<i32>,
    bisect_batch_on_function_error: Option<bool>,
    maximum_retry_attempts: Option<i32>,
    tumbling_window_in_seconds: Option<u32>,
    source_access_configurations: Option<Vec<SourceAccessConfiguration>>,
    function_response_types: Option<Vec<String>>,
    amazon_managed_kafka_event_source_config: Option<KafkaConfig>,
    self_managed_kafka_event_source_config: Option<KafkaConfig>,
    #[serde(rename = "DocumentDBEventSourceConfig")]
    document_db_event_source_config: Option<DocumentDbConfig>,
    provisioned_poller_config: Option<ProvisionedPollerConfig>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
pub struct FilterCriteria {
    filters: Vec<Filter>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
struct Filter {
    pattern: String,
}

impl FilterCriteria {
    pub fn of(patterns: Vec<String>) -> Self {
        Self { filters: patterns.into_iter().map(|pattern| Filter { pattern }).collect() }
    }

    pub fn patterns(&self) -> impl Iterator<Item = &str> {
        self.filters.iter().map(|filter| filter.pattern.as_str())
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
struct MetricsConfig {
    metrics: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
struct LoggingConfig {
    system_log_level: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
struct ScalingConfig {
    maximum_concurrency: Option<u32>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
struct DestinationConfig {
    on_success: Option<Destination>,
    on_failure: Option<Destination>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
struct Destination {
    destination: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
struct SourceAccessConfiguration {
    r#type: Option<String>,
    #[serde(rename = "URI")]
    uri: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
struct KafkaConfig {
    consumer_group_id: Option<String>,
    schema_registry_config: Option<SchemaRegistryConfig>,
    consumption_mode: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
struct SchemaRegistryConfig {
    #[serde(rename = "SchemaRegistryURI")]
    schema_registry_uri: Option<String>,
    event_record_format: Option<String>,
    access_configs: Option<Vec<SourceAccessConfiguration>>,
    schema_validation_configs: Option<Vec<SchemaValidation>>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
struct SchemaValidation {
    attribute: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
struct DocumentDbConfig {
    database_name: Option<String>,
    collection_name: Option<String>,
    full_document: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
struct ProvisionedPollerConfig {
    minimum_pollers: Option<u32>,
    maximum_pollers: Option<u32>,
    poller_group_name: Option<String>,
}

impl Settings {
    /// What one call is given at most.
    pub fn batch_size(&self) -> usize {
        self.batch_size.unwrap_or(1).max(1) as usize
    }

    /// How long a batch is gathered.
    pub fn window(&self) -> Duration {
        Duration::from_secs(self.maximum_batching_window_in_seconds.unwrap_or_default().into())
    }

    /// How many calls may run at once, if that was said.
    pub fn concurrency_max(&self) -> Option<usize> {
        self.scaling_config.as_ref()?.maximum_concurrency.map(|max| max as usize)
    }

    /// Whether the function says which events of a batch it has failed with.
    pub fn reports_failures(&self) -> bool {
        self.function_response_types.iter().flatten().any(|kind| kind == "ReportBatchItemFailures")
    }

    /// What a new mapping has if nothing is given. `uuid` is its own: Kafka knows its consumers by it.
    pub fn new(kind: Kind, uuid: &str) -> Self {
        let kafka = || Some(KafkaConfig { consumer_group_id: Some(uuid.to_owned()), ..KafkaConfig::default() });
        let stream = Self {
            batch_size: Some(100),
            maximum_batching_window_in_seconds: Some(0),
            parallelization_factor: Some(1),
            destination_config: Some(DestinationConfig::nowhere()),
            maximum_record_age_in_seconds: Some(-1),
            bisect_batch_on_function_error: Some(false),
            maximum_retry_attempts: Some(-1),
            tumbling_window_in_seconds: Some(0),
            function_response_types: Some(Vec::new()),
            ..Self::default()
        };
        // The window of the others is half a second, which has no form in whole ones.
        let polled = Self { batch_size: Some(100), ..Self::default() };
        match kind {
            Kind::Sqs => Self {
                batch_size: Some(10),
                maximum_batching_window_in_seconds: Some(0),
                function_response_types: Some(Vec::new()),
                ..Self::default()
            },
            Kind::Kinesis | Kind::DynamoDb => stream,
            Kind::Msk => Self { amazon_managed_kafka_event_source_config: kafka(), ..polled },
            Kind::SelfManagedKafka => Self { self_managed_kafka_event_source_config: kafka(), ..polled },
            Kind::Mq | Kind::DocumentDb => polled,
        }
    }

    /// Refuses the change of what a mapping keeps for good: of a document database, what is read.
    pub fn check_fixed(&self, given: &Self) -> Result<(), AwsError> {
        let Some(given) = &given.document_db_event_source_config else { return Ok(()) };
        let ours = self.document_db_event_source_config.clone().unwrap_or_default();
        let differs = |given: &Option<String>, ours: &Option<String>| given.is_some() && given != ours;
        let fixed = [
            ("collectionName", differs(&given.collection_name, &ours.collection_name)),
            ("databaseName", differs(&given.database_name, &ours.database_name)),
        ];
        let changed: Vec<&str> = fixed.iter().filter(|(_, differs)| *differs).map(|(name, _)| *name).collect();
        match changed.is_empty() {
            true => Ok(()),
            false => Err(errors::invalid_parameter(format!("Invalid parameters: {}", changed.join(", ")))),
        }
    }

    /// These settings with what a request gives in their place. Something empty takes away what was there.
    pub fn with(self, given: Self, kind: Kind) -> Self {
        let destination = given.destination_config.map(DestinationConfig::settled).or(self.destination_config);
        Self {
            batch_size: given.batch_size.or(self.batch_size),
            filter_criteria: given.filter_criteria.or(self.filter_criteria).filter(|given| !given.filters.is_empty()),
            kms_key_arn: given.kms_key_arn.or(self.kms_key_arn).filter(|arn| !arn.is_empty()),
            metrics_config: given.metrics_config.or(self.metrics_config).filter(|given| !given.metrics.is_empty()),
            logging_config: given
                .logging_config
                .filter(|given| given.system_log_level.is_some())
                .or(self.logging_config),
            scaling_config: given
                .scaling_config
                .or(self.scaling_config)
                .filter(|given| given.maximum_concurrency.is_some()),
            maximum_batching_window_in_seconds: given
                .maximum_batching_window_in_seconds
                .or(self.maximum_batching_window_in_seconds),
            parallelization_factor: given.parallelization_factor.or(self.parallelization_factor),
            destination_config: destination.filter(|config| kind.is_stream() || config.failure().is_some()),
            maximum_record_age_in_seconds: given.maximum_record_age_in_seconds.or(self.maximum_record_age_in_seconds),
            bisect_batch_on_function_error: given
                .bisect_batch_on_function_error
                .or(self.bisect_batch_on_function_error),
            maximum_retry_attempts: given.maximum_retry_attempts.or(self.maximum_retry_attempts),
            tumbling_window_in_seconds: given.tumbling_window_in_seconds.or(self.tumbling_window_in_seconds),
            source_access_configurations: given
                .source_access_configurations
                .or(self.source_access_configurations)
                .filter(|given| !given.is_empty()),
            function_response_types: given.function_response_types.or(self.function_response_types),
            amazon_managed_kafka_event_source_config: KafkaConfig::merge(
                self.amazon_managed_kafka_event_source_config,
                given.amazon_managed_kafka_event_source_config,
            ),
            self_managed_kafka_event_source_config: KafkaConfig::merge(
                self.self_managed_kafka_event_source_config,
                given.self_managed_kafka_event_source_config,
            ),
            document_db_event_source_config: DocumentDbConfig::merge(
                self.document_db_event_source_config,
                given.document_db_event_source_config,
            ),
            provisioned_poller_config: match given.provisioned_poller_config {
                Some(given) if given == ProvisionedPollerConfig::default() => None,
                Some(given) => Some(given.completed(self.provisioned_poller_config, kind)),
                None => self.provisioned_poller_config,
            },
        }
    }

    /// Refuses what sources of this kind do not have. For what a request gives.
    pub fn check_given(&self, kind: Kind) -> Result<(), AwsError> {
        use Kind::{DocumentDb, DynamoDb, Kinesis, Mq, Msk, SelfManagedKafka, Sqs};
        const STREAMS: &[Kind] = &[Kinesis, DynamoDb];
        const KAFKA: &[Kind] = &[Msk, SelfManagedKafka];
        const STREAMS_AND_KAFKA: &[Kind] = &[Kinesis, DynamoDb, Msk, SelfManagedKafka];
        let members: [(&str, bool, &[Kind]); 14] = [
            ("destinationConfig", self.destination_config.is_some(), STREAMS_AND_KAFKA),
            ("scalingConfig", self.scaling_config.is_some(), &[Sqs]),
            ("loggingConfig", self.logging_config.is_some(), KAFKA),
            ("parallelizationFactor", self.parallelization_factor.is_some(), STREAMS),
            ("tumblingWindowInSeconds", self.tumbling_window_in_seconds.is_some(), STREAMS),
            ("maximumRecordAgeInSeconds", self.maximum_record_age_in_seconds.is_some(), STREAMS_AND_KAFKA),
            ("maximumRetryAttempts", self.maximum_retry_attempts.is_some(), STREAMS_AND_KAFKA),
            ("bisectBatchOnFunctionError", self.bisect_batch_on_function_error.is_some(), STREAMS_AND_KAFKA),
            (
                "sourceAccessConfigurations",
                self.source_access_configurations.is_some(),
                &[Msk, SelfManagedKafka, Mq, DocumentDb],
            ),
            (
                "functionResponseTypes",
                self.function_response_types.is_some(),
                &[Sqs, Kinesis, DynamoDb, Msk, SelfManagedKafka],
            ),
            ("amazonManagedKafkaEventSourceConfig", self.amazon_managed_kafka_event_source_config.is_some(), &[Msk]),
            (
                "selfManagedKafkaEventSourceConfig",
                self.self_managed_kafka_event_source_config.is_some(),
                &[SelfManagedKafka],
            ),
            ("documentDBEventSourceConfig", self.document_db_event_source_config.is_some(), &[DocumentDb]),
            ("provisionedPollerConfig", self.provisioned_poller_config.is_some(), &[Sqs, Msk, SelfManagedKafka]),
        ];
        match members.iter().find(|(_, given, kinds)| *given && !kinds.contains(&kind)) {
            Some((member, ..)) => Err(kind.unsupported(member)),
            None => self.check_parts(kind),
        }
    }

    /// The same for what is inside of members.
    fn check_parts(&self, kind: Kind) -> Result<(), AwsError> {
        if self.destination_config.as_ref().is_some_and(|config| config.on_success.is_some()) {
            return Err(kind.unsupported("destinationConfig"));
        }
        // The description has it, AWS took it for no mapping yet (2026).
        if self.self_managed_kafka_event_source_config.as_ref().is_some_and(|config| config.consumption_mode.is_some())
        {
            return Err(kind.unsupported("ConsumptionMode"));
        }
        let of_kafka = |metric: &String| metric != "EventCount";
        if !kind.is_kafka() && self.metrics_config.iter().flat_map(|config| &config.metrics).any(of_kafka) {
            return Err(kind.unsupported("metricsConfig"));
        }
        Ok(())
    }

    /// Refuses what cannot be changed once a mapping is made.
    pub fn check_changeable(&self, kind: Kind) -> Result<(), AwsError> {
        let of =
            |config: &Option<KafkaConfig>| config.as_ref().is_some_and(|config| config.consumer_group_id.is_some());
        if of(&self.amazon_managed_kafka_event_source_config) {
            return Err(kind.unsupported("amazonManagedKafkaEventSourceConfig.consumerGroupId"));
        }
        if of(&self.self_managed_kafka_event_source_config) {
            return Err(kind.unsupported("selfManagedKafkaEventSourceConfig.consumerGroupId"));
        }
        Ok(())
    }

    /// What the description cannot say of the whole.
    pub fn check(&self, kind: Kind, is_fifo: bool) -> Result<(), AwsError> {
        self.check_batches(kind, is_fifo)?;
        self.check_filters()?;
        if let Some(destination) = self.destination_config.as_ref().and_then(DestinationConfig::failure) {
            check_destination(destination, kind)?;
        }
        if let Some(age @ 0..RECORD_AGE_S_MIN) = self.maximum_record_age_in_seconds {
            return Err(errors::invalid_parameter(format!(
                "1 validation error detected: Value '{age}' at 'maximumRecordAgeInSeconds' failed to satisfy \
                 constraint: Member must have value greater than or equal to {RECORD_AGE_S_MIN}"
            )));
        }
        let authenticated = matches!(kind, Kind::SelfManagedKafka | Kind::Mq | Kind::DocumentDb);
        if authenticated && self.source_access_configurations.is_none() {
            return Err(missing("sourceAccessConfigurations"));
        }
        if kind == Kind::DocumentDb {
            let config = self.document_db_event_source_config.as_ref();
            config.and_then(|config| config.database_name.as_ref()).ok_or_else(|| {
                missing(if config.is_some() {
                    "documentDBEventSourceConfig.databaseName"
                } else {
                    "documentDBEventSourceConfig"
                })
            })?;
        }
        self.check_pollers(kind)
    }

    fn check_batches(&self, kind: Kind, is_fifo: bool) -> Result<(), AwsError> {
        let window = self.maximum_batching_window_in_seconds.unwrap_or(0);
        if kind != Kind::Sqs {
            return Ok(());
        }
        if is_fifo && window > 0 {
            return Err(errors::invalid_parameter("Batching window is not supported for FIFO queues"));
        }
        if self.batch_size.is_some_and(|size| size > UNGATHERED_BATCH_MAX) && window == 0 {
            return Err(errors::invalid_parameter(format!(
                "Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than \
                 {UNGATHERED_BATCH_MAX}"
            )));
        }
        Ok(())
    }

    fn check_filters(&self) -> Result<(), AwsError> {
        let Some(criteria) = &self.filter_criteria else { return Ok(()) };
        if criteria.filters.len() > FILTERS_MAX {
            return Err(errors::invalid_parameter(format!("Number of filters cannot be greater than {FILTERS_MAX}.")));
        }
        if !criteria.patterns().all(|pattern| Pattern::parse(pattern).is_ok()) {
            return Err(errors::invalid_parameter("Invalid filter pattern definition."));
        }
        Ok(())
    }

    fn check_pollers(&self, kind: Kind) -> Result<(), AwsError> {
        let kafka = self.self_managed_kafka_event_source_config.as_ref();
        let kafka = kafka.or(self.amazon_managed_kafka_event_source_config.as_ref());
        let registry = kafka.and_then(|config| config.schema_registry_config.as_ref());
        if registry.is_some_and(SchemaRegistryConfig::is_too_long) {
            return Err(errors::invalid_parameter(format!(
                "SchemaRegistryConfig lists more than {REGISTRY_ENTRIES_MAX} entries."
            )));
        }
        let Some(pollers) = &self.provisioned_poller_config else {
            return match registry {
                Some(_) => Err(errors::invalid_parameter(
                    "SchemaRegistryConfig is only available for event source mappings with provisioned mode enabled.",
                )),
                None => Ok(()),
            };
        };
        if registry.is_some_and(|registry| registry.schema_validation_configs.iter().flatten().next().is_none()) {
            return Err(missing("schemaRegistryConfig.schemaValidationConfigs"));
        }
        if self.scaling_config.is_some() {
            return Err(errors::invalid_parameter(
                "ScalingConfig and ProvisionedPollerConfig cannot be used together. Please specify only one of them.",
            ));
        }
        pollers.check(kind)
    }
}

impl DestinationConfig {
    /// As shown where none was given.
    fn nowhere() -> Self {
        Self { on_success: None, on_failure: Some(Destination::default()) }
    }

    fn failure(&self) -> Option<&str> {
        self.on_failure.as_ref()?.destination.as_deref()
    }

    fn settled(self) -> Self {
        let destination = self.on_failure.and_then(|failure| failure.destination).filter(|arn| !arn.is_empty());
        Self { on_success: None, on_failure: Some(Destination { destination }) }
    }
}

/// Discarded batches go to queues, topics and buckets, and those of Kafka to a topic of the same cluster too.
fn check_destination(destination: &str, kind: Kind) -> Result<(), AwsError> {
    let service = destination.split(':').nth(2);
    let fits = match service {
        Some("sqs" | "sns" | "s3") => true,
        _ => kind.is_kafka() && destination.starts_with("kafka://"),
    };
    if fits { Ok(()) } else { Err(errors::invalid_parameter(format!("The destination ARN {destination} is invalid."))) }
}

impl KafkaConfig {
    fn merge(ours: Option<Self>, given: Option<Self>) -> Option<Self> {
        let Some(given) = given else { return ours };
        let ours = ours.unwrap_or_default();
        Some(Self {
            consumer_group_id: given.consumer_group_id.or(ours.consumer_group_id),
            schema_registry_config: given
                .schema_registry_config
                .or(ours.schema_registry_config)
                .filter(|config| *config != SchemaRegistryConfig::default()),
            consumption_mode: None,
        })
    }
}

impl SchemaRegistryConfig {
    fn is_too_long(&self) -> bool {
        self.access_configs.as_ref().is_some_and(|configs| configs.len() > REGISTRY_ENTRIES_MAX)
            || self.schema_validation_configs.as_ref().is_some_and(|configs| configs.len() > REGISTRY_ENTRIES_MAX)
    }
}

impl DocumentDbConfig {
    fn merge(ours: Option<Self>, given: Option<Self>) -> Option<Self> {
        let Some(given) = given else { return ours };
        let ours = ours.unwrap_or_default();
        Some(Self {
            database_name: given.database_name.or(ours.database_name),
            collection_name: given.collection_name.or(ours.collection_name),
            full_document: given.full_document.or(ours.full_document).or_else(|| Some("Default".into())),
        })
    }
}

impl ProvisionedPollerConfig {
    fn completed(self, ours: Option<Self>, kind: Kind) -> Self {
        let ours = ours.unwrap_or_default();
        let fewest = if kind == Kind::Sqs { QUEUE_POLLERS_MIN } else { 1 };
        Self {
            minimum_pollers: self.minimum_pollers.or(ours.minimum_pollers).or(Some(fewest)),
            maximum_pollers: self.maximum_pollers.or(ours.maximum_pollers).or(Some(POLLERS_MAX_DEFAULT)),
            poller_group_name: self.poller_group_name.or(ours.poller_group_name).filter(|name| !name.is_empty()),
        }
    }

    fn check(&self, kind: Kind) -> Result<(), AwsError> {
        let (minimum, maximum) = (self.minimum_pollers.unwrap_or(1), self.maximum_pollers.unwrap_or(u32::MAX));
        let out_of_range = |member: &str, value: u32, constraint: &str, bound: u32| {
            errors::invalid_parameter(format!(
                "1 validation error detected: Value '{value}' at 'provisionedPollerConfig.{member}' failed to \
                 satisfy constraint: Member must have value {constraint} than or equal to {bound}"
            ))
        };
        if kind == Kind::Sqs && minimum < QUEUE_POLLERS_MIN {
            return Err(out_of_range("minimumPollers", minimum, "greater", QUEUE_POLLERS_MIN));
        }
        if kind.is_kafka() && maximum > KAFKA_POLLERS_MAX {
            return Err(out_of_range("maximumPollers", maximum, "less", KAFKA_POLLERS_MAX));
        }
        if minimum > maximum {
            return Err(out_of_range("maximumPollers", maximum, "greater", minimum));
        }
        if !kind.is_kafka() && self.poller_group_name.is_some() {
            return Err(kind.unsupported("provisionedPollerConfig.pollerGroupName"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

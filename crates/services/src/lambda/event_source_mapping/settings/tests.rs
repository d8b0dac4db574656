//! Rules of settings, by source.

use super::*;

const PATTERN: &str = r#"{"body": {"k": ["v"]}}"#;

fn fresh(kind: Kind) -> Settings {
    Settings::new(kind, "u-1")
}

/// A mapping of `kind` to which `given` is given; what is required otherwise is there.
fn made(kind: Kind, given: Settings) -> Result<Settings, String> {
    let required = Settings {
        source_access_configurations: matches!(kind, Kind::SelfManagedKafka | Kind::Mq | Kind::DocumentDb)
            .then(|| vec![SourceAccessConfiguration::default()]),
        document_db_event_source_config: (kind == Kind::DocumentDb)
            .then(|| DocumentDbConfig { database_name: Some("d".into()), ..DocumentDbConfig::default() }),
        ..Settings::default()
    };
    given.check_given(kind).map_err(|error| error.message)?;
    let settings = fresh(kind).with(required, kind).with(given, kind);
    settings.check(kind, false).map_err(|error| error.message)?;
    Ok(settings)
}

fn destination(to: Option<&str>) -> Option<DestinationConfig> {
    let destination = to.map(str::to_owned);
    Some(DestinationConfig { on_success: None, on_failure: Some(Destination { destination }) })
}

#[test]
fn a_setting_that_a_source_does_not_have_is_refused() {
    let scaling =
        || Settings { scaling_config: Some(ScalingConfig { maximum_concurrency: Some(2) }), ..Settings::default() };
    assert!(made(Kind::Sqs, scaling()).is_ok());
    assert_eq!(
        made(Kind::Kinesis, scaling()).unwrap_err(),
        "Unsupported ScalingConfig parameter for given event source mapping type."
    );
    assert_eq!(
        made(Kind::Msk, scaling()).unwrap_err(),
        "Unsupported 'scalingConfig' parameter for given event source mapping type."
    );
    let factor = || Settings { parallelization_factor: Some(2), ..Settings::default() };
    assert!(made(Kind::DynamoDb, factor()).is_ok());
    assert!(made(Kind::Sqs, factor()).is_err());
    // Recorded: a queue has no destinations.
    let given = Settings { destination_config: destination(Some("arn:aws:sqs:::q")), ..Settings::default() };
    assert_eq!(
        made(Kind::Sqs, given).unwrap_err(),
        "Unsupported DestinationConfig parameter for given event source mapping type."
    );
}

#[test]
fn larger_batches_from_a_queue_need_a_window() {
    let batch = |size, window| Settings {
        batch_size: Some(size),
        maximum_batching_window_in_seconds: window,
        ..Settings::default()
    };
    assert!(made(Kind::Sqs, batch(10, None)).is_ok());
    assert_eq!(
        made(Kind::Sqs, batch(11, None)).unwrap_err(),
        "Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than 10"
    );
    assert!(made(Kind::Sqs, batch(10_000, Some(1))).is_ok());
    assert!(made(Kind::Kinesis, batch(10_000, None)).is_ok());
    let fifo = fresh(Kind::Sqs).with(batch(10, Some(1)), Kind::Sqs).check(Kind::Sqs, true);
    assert_eq!(fifo.unwrap_err().message, "Batching window is not supported for FIFO queues");
    assert!(fresh(Kind::Sqs).with(batch(10, Some(0)), Kind::Sqs).check(Kind::Sqs, true).is_ok());
}

#[test]
fn something_empty_takes_away_what_was_there() {
    let set = Settings {
        filter_criteria: Some(FilterCriteria::of(vec![PATTERN.into()])),
        kms_key_arn: Some("arn:aws:kms:::key/k".into()),
        destination_config: destination(Some("arn:aws:sqs:eu-west-1:000000000000:q")),
        function_response_types: Some(vec!["ReportBatchItemFailures".into()]),
        metrics_config: Some(MetricsConfig { metrics: vec!["EventCount".into()] }),
        ..Settings::default()
    };
    let set = made(Kind::Kinesis, set).unwrap();
    let cleared = set.with(
        Settings {
            filter_criteria: Some(FilterCriteria::default()),
            kms_key_arn: Some(String::new()),
            destination_config: Some(DestinationConfig::default()),
            function_response_types: Some(Vec::new()),
            metrics_config: Some(MetricsConfig::default()),
            ..Settings::default()
        },
        Kind::Kinesis,
    );
    assert_eq!(cleared, fresh(Kind::Kinesis));
    let pollers = Some(ProvisionedPollerConfig { maximum_pollers: Some(9), ..ProvisionedPollerConfig::default() });
    let set = made(Kind::Sqs, Settings { provisioned_poller_config: pollers, ..Settings::default() }).unwrap();
    let pollers = set.provisioned_poller_config.clone().unwrap();
    assert_eq!((pollers.minimum_pollers, pollers.maximum_pollers), (Some(2), Some(9)));
    let empty = Some(ProvisionedPollerConfig::default());
    let cleared = set.with(Settings { provisioned_poller_config: empty, ..Settings::default() }, Kind::Sqs);
    assert_eq!(cleared, fresh(Kind::Sqs));
}

#[test]
fn what_nobody_gives_stays() {
    let set = made(Kind::Kinesis, Settings { batch_size: Some(7), ..Settings::default() }).unwrap();
    assert_eq!(set.clone().with(Settings::default(), Kind::Kinesis), set);
}

#[test]
fn records_are_dropped_after_a_minute_at_the_earliest() {
    let age = |age| Settings { maximum_record_age_in_seconds: Some(age), ..Settings::default() };
    for (given, taken) in [(-1, true), (0, false), (59, false), (60, true)] {
        assert_eq!(made(Kind::DynamoDb, age(given)).is_ok(), taken, "{given}");
    }
}

#[test]
fn failures_go_to_queues_topics_buckets_and_topics_of_kafka() {
    let to = |kind, to: &str| {
        made(kind, Settings { destination_config: destination(Some(to)), ..Settings::default() }).is_ok()
    };
    for arn in ["arn:aws:sqs:eu-west-1:0:q", "arn:aws:sns:eu-west-1:0:t", "arn:aws:s3:::b"] {
        assert!(to(Kind::Kinesis, arn) && to(Kind::Msk, arn), "{arn}");
    }
    assert!(!to(Kind::Kinesis, "arn:aws:lambda:eu-west-1:0:function:f"));
    assert!(!to(Kind::Kinesis, "kafka://t"));
    assert!(to(Kind::SelfManagedKafka, "kafka://t"));
}

#[test]
fn sources_with_a_login_need_it() {
    let refused = fresh(Kind::SelfManagedKafka).check(Kind::SelfManagedKafka, false).unwrap_err();
    assert_eq!(refused.message, "Required 'sourceAccessConfigurations' parameter is missing.");
    assert!(fresh(Kind::Msk).check(Kind::Msk, false).is_ok());
    assert!(made(Kind::DocumentDb, Settings::default()).is_ok());
}

#[test]
fn a_consumer_group_is_the_mapping_itself_and_stays() {
    let group = |settings: &Settings| settings.amazon_managed_kafka_event_source_config.clone();
    assert_eq!(group(&fresh(Kind::Msk)).unwrap().consumer_group_id.as_deref(), Some("u-1"));
    let given = Settings {
        amazon_managed_kafka_event_source_config: Some(KafkaConfig {
            consumer_group_id: Some("g".into()),
            ..KafkaConfig::default()
        }),
        ..Settings::default()
    };
    assert_eq!(group(&made(Kind::Msk, given.clone()).unwrap()).unwrap().consumer_group_id.as_deref(), Some("g"));
    assert!(given.check_changeable(Kind::Msk).unwrap_err().message.contains("consumerGroupId"));
}

#[test]
fn filters_are_checked_and_counted() {
    let filters = |patterns: &[&str]| Settings {
        filter_criteria: Some(FilterCriteria::of(patterns.iter().map(|pattern| (*pattern).to_owned()).collect())),
        ..Settings::default()
    };
    assert!(made(Kind::Sqs, filters(&[PATTERN; 5])).is_ok());
    assert!(made(Kind::Sqs, filters(&[PATTERN; 6])).is_err());
    assert_eq!(made(Kind::Sqs, filters(&[PATTERN, "null"])).unwrap_err(), "Invalid filter pattern definition.");
    assert_eq!(made(Kind::Sqs, filters(&[])).unwrap(), fresh(Kind::Sqs));
}

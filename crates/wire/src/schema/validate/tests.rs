//! AWS's messages, word for word, and what the validator does with values of any form.

use proptest::prelude::*;

use super::*;
use crate::schema::testing::{ALL, model};
use crate::value::Name;

fn map<const N: usize>(members: [(&'static str, Value); N]) -> Value {
    Value::Map(members.into_iter().map(|(name, value)| (Name::Borrowed(name), value)).collect())
}

fn text(text: &str) -> Value {
    Value::String(text.into())
}

fn texts(texts: &[&str]) -> Value {
    Value::List(texts.iter().map(|one| text(one)).collect())
}

/// `code: message` of the violations, or nothing.
fn outcome(service: &str, operation: &str, input: &Value) -> String {
    let model = model(service);
    let operation = model.operation(operation).unwrap();
    match validate(model, operation, *model.protocols.first().unwrap(), input) {
        Ok(()) => String::new(),
        Err(error) => {
            assert_eq!(error.status, 400);
            format!("{}: {}", error.code, error.message)
        }
    }
}

/// CreateFunction's input with what every case needs, and more.
fn create_function<const N: usize>(members: [(&'static str, Value); N]) -> Value {
    let mut all = vec![
        (Name::Borrowed("FunctionName"), text("f")),
        (Name::Borrowed("Role"), text("arn:aws:iam::123456789012:role/r")),
        (Name::Borrowed("Code"), map([])),
    ];
    all.retain(|(name, _)| members.iter().all(|(other, _)| name != other));
    all.extend(members.into_iter().map(|(name, value)| (Name::Borrowed(name), value)));
    Value::Map(all)
}

#[test]
fn lambda_says_what_lambda_says() {
    let create = |input: Value| outcome("lambda", "CreateFunction", &input);
    assert_eq!(create(create_function([])), "");
    for (member, value, shown_and_constraint) in [
        ("Role", Value::Null, "null at 'role' failed to satisfy constraint: Member must not be null"),
        (
            "Role",
            text("admin"),
            "'admin' at 'role' failed to satisfy constraint: Member must satisfy regular expression pattern: \
             arn:(aws[a-zA-Z-]*)?:iam::\\d{12}:role/?[a-zA-Z_0-9+=,.@\\-_/]+",
        ),
        (
            "Timeout",
            Value::Integer(0),
            "'0' at 'timeout' failed to satisfy constraint: Member must have value greater than or equal to 1",
        ),
        (
            "PackageType",
            text("Tar"),
            "'Tar' at 'packageType' failed to satisfy constraint: Member must satisfy enum value set: [Zip, Image]",
        ),
        (
            "Architectures",
            texts(&["x86"]),
            "'[x86]' at 'architectures' failed to satisfy constraint: Member must satisfy constraint: [Member must \
             satisfy enum value set: [x86_64, arm64], Member must not be null]",
        ),
        (
            "Architectures",
            texts(&["x86_64", "arm64"]),
            "'[x86_64, arm64]' at 'architectures' failed to satisfy constraint: Member must have length less than or \
             equal to 1",
        ),
        (
            "Environment",
            map([("Variables", map([("1", text("secret"))]))]),
            "at 'environment.variables' failed to satisfy constraint: Map keys must satisfy constraint: [Member must \
             satisfy regular expression pattern: [a-zA-Z]([a-zA-Z0-9_])+]",
        ),
        (
            "VpcConfig",
            map([("SubnetIds", texts(&["subnet-1", "net"]))]),
            "'[subnet-1, net]' at 'vpcConfig.subnetIds' failed to satisfy constraint: Member must satisfy constraint: \
             [Member must have length less than or equal to 1024, Member must have length greater than or equal to 0, \
             Member must satisfy regular expression pattern: subnet-[0-9a-z]*, Member must not be null]",
        ),
    ] {
        let expected = format!("ValidationException: 1 validation error detected: Value {shown_and_constraint}");
        assert_eq!(create(create_function([(member, value)])), expected);
    }
}

#[test]
fn lists_of_constraints_are_those_that_aws_showed() {
    let cors = |methods: &[&str]| {
        let input = [
            ("FunctionName", text("f")),
            ("AuthType", text("NONE")),
            ("Cors", map([("AllowMethods", texts(methods))])),
        ];
        outcome("lambda", "CreateFunctionUrlConfig", &map(input))
    };
    assert_eq!(cors(&["GET", "POST"]), "");
    assert_eq!(
        cors(&["GET", "POST", "OPTIONS"]),
        "ValidationException: 1 validation error detected: Value '[GET, POST, OPTIONS]' at 'cors.allowMethods' failed \
         to satisfy constraint: Member must satisfy constraint: [Member must have length less than or equal to 6, \
         Member must have length greater than or equal to 0, Member must satisfy regular expression pattern: .*, \
         Member must not be null]"
    );
    let weights = map([
        ("FunctionName", text("f")),
        ("Name", text("live")),
        ("FunctionVersion", text("1")),
        ("RoutingConfig", map([("AdditionalVersionWeights", map([("2", Value::Float(2.0))]))])),
    ]);
    assert_eq!(
        outcome("lambda", "CreateAlias", &weights),
        "ValidationException: 1 validation error detected: Value '{2=2.0}' at \
         'routingConfig.additionalVersionWeights' failed to satisfy constraint: Map value must satisfy constraint: \
         [Member must have value less than or equal to 1.0, Member must have value greater than or equal to 0.0, \
         Member must not be null]"
    );
}

#[test]
fn several_violations_come_in_one_message_and_in_javas_order() {
    let throughput = map([
        ("TableName", text("table")),
        ("AttributeDefinitions", Value::List(vec![])),
        ("KeySchema", Value::List(vec![map([("AttributeName", text("a")), ("KeyType", text("HASH"))])])),
        ("ProvisionedThroughput", map([])),
    ]);
    assert_eq!(
        outcome("dynamodb", "CreateTable", &throughput),
        "ValidationException: 2 validation errors detected: Value null at \
         'provisionedThroughput.writeCapacityUnits' failed to satisfy constraint: Member must not be null; Value null \
         at 'provisionedThroughput.readCapacityUnits' failed to satisfy constraint: Member must not be null"
    );
    let many: Vec<Value> = (0..30).map(|_| map([])).collect();
    let tags = map([
        ("Resource", text("arn:aws:dynamodb:us-east-1:1:table/t")),
        ("ResourceArn", text("a")),
        ("Tags", Value::List(many)),
    ]);
    let message = outcome("dynamodb", "TagResource", &tags);
    assert!(message.starts_with("ValidationException: 10 validation errors detected: "), "{message}");
    assert!(message.contains("Value null at 'tags.1.member.value' failed"), "{message}");
    assert_eq!(message.matches("; ").count(), 9);
}

#[test]
fn what_lies_in_maps_and_lists_is_named_by_its_place() {
    let batch = map([("RequestItems", map([("table", Value::List(vec![map([("PutRequest", map([]))])]))]))]);
    assert_eq!(
        outcome("dynamodb", "BatchWriteItem", &batch),
        "ValidationException: 1 validation error detected: Value null at \
         'requestItems.table.member.1.member.putRequest.item' failed to satisfy constraint: Member must not be null"
    );
    let empty = map([("RequestItems", map([("table", Value::List(vec![]))]))]);
    assert_eq!(
        outcome("dynamodb", "BatchWriteItem", &empty),
        "ValidationException: 1 validation error detected: Value '{table=[]}' at 'requestItems' failed to satisfy \
         constraint: Map value must satisfy constraint: [Member must have length less than or equal to 25, Member \
         must have length greater than or equal to 1]"
    );
}

#[test]
fn no_input_lacks_what_is_required() {
    let expected = "ValidationException: 1 validation error detected: Value null at 'functionName' failed to satisfy \
                    constraint: Member must not be null";
    assert_eq!(outcome("lambda", "GetFunction", &Value::Null), expected);
}

#[test]
fn a_list_may_show_other_values_than_it_takes() {
    let runtimes = |runtimes: &[&str]| {
        let content = ("Content", map([]));
        let input = map([("LayerName", text("l")), content, ("CompatibleRuntimes", texts(runtimes))]);
        outcome("lambda", "PublishLayerVersion", &input)
    };
    assert_eq!(runtimes(&["python2.7"]), "");
    let refused = runtimes(&["python2.7", "cobol"]);
    assert!(
        refused.starts_with(
            "ValidationException: 1 validation error detected: Value '[python2.7, cobol]' at 'compatibleRuntimes' \
             failed to satisfy constraint: Member must satisfy enum value set: [nodejs20.x, python3.14, "
        ),
        "{refused}"
    );
    assert_eq!(refused.matches("python2.7").count(), 1, "{refused}");
}

#[test]
fn nulls_within_lists_are_refused() {
    let input = create_function([("Layers", Value::List(vec![Value::Null]))]);
    let message = outcome("lambda", "CreateFunction", &input);
    assert!(message.contains("Value '[null]' at 'layers' failed"), "{message}");
    assert!(message.ends_with("Member must not be null]"), "{message}");
}

#[test]
fn secrets_are_not_echoed() {
    let input = map([("Name", text("n")), ("SecretString", text(&"s3cret".repeat(20_000)))]);
    let message = outcome("secretsmanager", "CreateSecret", &input);
    assert!(
        message.contains("Value at 'secretString' failed to satisfy constraint: Member must have length"),
        "{message}"
    );
    assert!(!message.contains("s3cret"));
}

#[test]
fn each_service_answers_in_its_own_way() {
    let null = "failed to satisfy constraint: Member must not be null";
    assert_eq!(
        outcome("logs", "CreateLogGroup", &map([("logGroupName", text("a b"))])),
        "InvalidParameterException: 1 validation error detected: Value 'a b' at 'logGroupName' failed to satisfy \
         constraint: Member must satisfy regular expression pattern: [\\.\\-_/#A-Za-z0-9]+"
    );
    assert_eq!(
        outcome("iam", "GetRole", &map([])),
        format!("ValidationError: 1 validation error detected: Value at 'roleName' {null}")
    );
    assert_eq!(
        outcome(
            "sts",
            "AssumeRole",
            &map([("RoleArn", text("arn:aws:iam::123456789012:role/r")), ("RoleSessionName", text("a b"))])
        ),
        "ValidationError: 1 validation error detected: Value 'a b' at 'roleSessionName' failed to satisfy constraint: \
         Member must satisfy regular expression pattern: [\\w+=,.@-]*"
    );
    assert_eq!(
        outcome("sqs", "SendMessage", &map([("QueueUrl", text("u"))])),
        "MissingParameter: The request must contain the parameter MessageBody."
    );
    assert_eq!(
        outcome("sqs", "GetQueueAttributes", &map([("QueueUrl", text("u")), ("AttributeNames", texts(&["Own"]))])),
        ""
    );
    assert_eq!(
        outcome(
            "apigateway",
            "PutIntegration",
            &map([("restApiId", text("a")), ("resourceId", text("b")), ("httpMethod", text("GET"))])
        ),
        format!("ValidationException: 1 validation error detected: Value null at 'putIntegrationInput.type' {null}")
    );
    assert_eq!(outcome("s3", "GetObject", &map([])), "");
}

#[test]
fn strings_count_in_characters_and_blobs_in_bytes() {
    let describe = |description: String| {
        let message =
            outcome("lambda", "CreateFunction", &create_function([("Description", Value::String(description))]));
        message.is_empty()
    };
    assert!(describe("𝄞".repeat(256)) && !describe("𝄞".repeat(257)));
    let zip = |len: usize| create_function([("Code", map([("ZipFile", Value::Blob(vec![0; len].into()))]))]);
    assert_eq!(outcome("lambda", "CreateFunction", &zip(300_000)), "");
    let model = model("kinesis");
    let data = model.structure(model.operation("PutRecord").unwrap().input).unwrap().member("Data").unwrap();
    let max = model.shape(data.shape).max.unwrap() as usize;
    let record =
        |len| map([("StreamName", text("s")), ("PartitionKey", text("k")), ("Data", Value::Blob(vec![0; len].into()))]);
    assert_eq!(outcome("kinesis", "PutRecord", &record(max)), "");
    assert!(outcome("kinesis", "PutRecord", &record(max + 1)).contains("Value at 'data' failed"));
}

#[test]
fn no_message_is_longer_than_its_bounds() {
    let tags = |keys: Vec<String>, value: Value| {
        let tags = keys.into_iter().map(|key| (Name::Owned(key), value.clone())).collect();
        outcome("lambda", "CreateFunction", &create_function([("Tags", Value::Map(tags))]))
    };
    let long = "é".repeat(1 << 20);
    let role = outcome("lambda", "CreateFunction", &create_function([("Role", text(&long))]));
    let layers = create_function([("Layers", texts(&vec!["x"; 190_000]))]);
    let layers = outcome("lambda", "CreateFunction", &layers);
    let one_key = tags(vec![long.clone()], text(""));
    let keys = tags((0..99_000).map(|number| format!("key{number}")).collect(), Value::Null);
    for message in [role, layers, one_key, keys] {
        assert!(message.contains("failed to satisfy constraint"), "{message:.100}");
        assert!(message.len() < 2 * limits::SHOWN_VALUE_BYTES_MAX + 1_000, "{}", message.len());
    }
    // A key that is part of the path, in every one of as many violations as are reported.
    let requests = vec![map([("PutRequest", map([]))]); 25];
    let batch = Value::Map(vec![(Name::Owned(long.clone()), Value::List(requests))]);
    let message = outcome("dynamodb", "BatchWriteItem", &map([("RequestItems", batch)]));
    assert!(message.contains("10 validation errors") && message.contains(".member.2.member.putRequest.item'"));
    assert!(message.len() < limits::VIOLATIONS_BYTES_MAX, "{}", message.len());
    // Ten long values.
    let members = ["Role", "Handler", "Runtime", "Description", "PackageType", "KMSKeyArn", "FunctionName"];
    let members = members.map(|member| (member, text(&long)));
    let message = outcome("lambda", "CreateFunction", &create_function(members));
    assert!(message.len() <= limits::VIOLATIONS_BYTES_MAX + "ValidationException: ".len(), "{}", message.len());
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Integer),
        any::<f64>().prop_map(Value::Float),
        "[ -~é𝄞\\n]{0,12}".prop_map(Value::String),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let name = prop_oneof![
            "[A-Z][a-z]{0,6}",
            Just("FunctionName".into()),
            Just("RequestItems".into()),
            Just("Tags".into())
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
            prop::collection::vec((name.prop_map(Name::Owned), inner), 0..4).prop_map(Value::Map),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever a codec might let through, the validator only ever says yes or a client's error.
    #[test]
    fn any_value_is_judged(value in any_value()) {
        for model in ALL.iter() {
            for operation in model.operations.iter().step_by(7) {
                if let Err(error) = validate(model, operation, Protocol::Query, &value) {
                    prop_assert_eq!(error.status, 400);
                }
            }
        }
    }
}

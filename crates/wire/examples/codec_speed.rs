//! How long the codec takes: decoding a CreateAlias, encoding a GetFunction, and both through the typed structures of
//! a handler. `cargo run --release -p wire --example codec_speed crates/services/src/lambda`

#![expect(clippy::expect_used, clippy::disallowed_methods, reason = "a measurement: it reads the machine's clock")]

use std::hint::black_box;
use std::path::PathBuf;
use std::time::Instant;

use base::{RequestId, Timestamp, Uuid};
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use wire::protocol::{self, Recipient, Request};
use wire::schema::{self, Protocol};
use wire::{Blob, Value};

const ROUNDS: u32 = 200_000;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CreateAlias {
    function_name: String,
    name: String,
    function_version: String,
    description: Option<String>,
    routing_config: Option<Routing>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Routing {
    additional_version_weights: std::collections::BTreeMap<String, f64>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct GetFunction<'a> {
    configuration: Configuration<'a>,
    code: Code<'a>,
    tags: std::collections::BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Code<'a> {
    repository_type: &'a str,
    location: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Configuration<'a> {
    function_name: &'a str,
    function_arn: &'a str,
    runtime: &'a str,
    role: &'a str,
    handler: &'a str,
    code_size: u64,
    description: &'a str,
    timeout: u32,
    memory_size: u32,
    last_modified: String,
    #[serde(rename = "CodeSha256")]
    code_sha256: &'a str,
    version: &'a str,
    revision_id: &'a str,
    state: &'a str,
    package_type: &'a str,
    architectures: Vec<&'a str>,
    ephemeral_storage: Storage,
    vpc_config: Option<()>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Storage {
    size: u32,
}

fn main() {
    let folder = PathBuf::from(std::env::args().nth(1).expect("the folder of Lambda's description"));
    let read =
        |file: &str| -> &'static str { std::fs::read_to_string(folder.join(file)).expect("a description").leak() };
    let model = schema::load("lambda", read("model.json"), read("overlay.json")).expect("a model");
    let create = model.operation("CreateAlias").expect("an operation");
    let get = model.operation("GetFunction").expect("an operation");
    let json = format!(
        r#"{{"Name":"live","FunctionVersion":"$LATEST","Description":"{}","RoutingConfig":{{"AdditionalVersionWeights":{{"1":0.25,"2":0.125}}}}}}"#,
        "The one that customers see. ".repeat(7),
    );
    let body = Blob::from(json.clone().into_bytes());
    let labels = [("FunctionName", "orders".to_owned())];
    let request =
        Request { labels: &labels, query: "", headers: &HeaderMap::new(), body: &body, spool: &tempfile::tempfile };
    let decode = || protocol::decode(&model, create, Protocol::RestJson, &request).expect("a value");
    println!("CreateAlias, {} bytes of JSON", json.len());
    measure("decode", || drop(black_box(decode())));
    measure("decode, and into a typed structure", || {
        let input: CreateAlias = decode().into_typed().expect("a typed value");
        black_box((&input.function_name, &input.name, &input.function_version, &input.description));
        black_box(input.routing_config.map(|routing| routing.additional_version_weights));
    });
    let output = Value::of(&get_function()).expect("a value");
    let recipient = Recipient { request_id: RequestId(Uuid::NIL), prefers_json: false };
    let encode =
        |value: &Value| protocol::encode(&model, get, Protocol::RestJson, value, None, recipient).expect("a response");
    println!("GetFunction, {} bytes of JSON", encode(&output).body().len());
    measure("encode", || drop(black_box(encode(&output))));
    measure("from a typed structure, and encode", || {
        drop(black_box(encode(&Value::of(&get_function()).expect("a value"))));
    });
}

fn get_function() -> GetFunction<'static> {
    GetFunction {
        configuration: Configuration {
            function_name: "orders",
            function_arn: "arn:aws:lambda:us-east-1:000000000000:function:orders",
            runtime: "python3.13",
            role: "arn:aws:iam::000000000000:role/orders",
            handler: "app.handler",
            code_size: 123_456,
            description: "Takes orders, and hands them on.",
            timeout: 3,
            memory_size: 128,
            last_modified: Timestamp::from_secs(1_767_225_600).lambda(),
            code_sha256: "uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek=",
            version: "$LATEST",
            revision_id: "00000000-0000-4000-8000-000000000000",
            state: "Active",
            package_type: "Zip",
            architectures: vec!["x86_64"],
            ephemeral_storage: Storage { size: 512 },
            vpc_config: None,
        },
        code: Code { repository_type: "S3", location: "http://localhost:4566/_lamp/code/0123456789abcdef" },
        tags: std::collections::BTreeMap::new(),
    }
}

fn measure(what: &str, mut run: impl FnMut()) {
    (0..ROUNDS / 10).for_each(|_| run());
    let began = Instant::now();
    (0..ROUNDS).for_each(|_| run());
    println!("  {:>6} ns  {what}", began.elapsed().as_nanos() / u128::from(ROUNDS));
}

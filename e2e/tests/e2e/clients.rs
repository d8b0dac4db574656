//! Each client walks the same way: who am I, create, get, list, update, tag, download the code, delete, and a few
//! errors whose type and words the client must recognise.

use std::path::Path;
use std::process::Command;

use aws_sdk_lambda::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_lambda::error::ProvideErrorMetadata;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::{FunctionCode, Runtime, State};
use e2e::{Lamp, Terraform, aws_cli, client, clients, python, run, tools};

#[test]
fn boto3() {
    let lamp = Lamp::start();
    let mut command = client(&lamp, &python());
    command.arg(clients().join("python/functions.py"));
    run(command);
}

#[test]
fn boto3_layers() {
    let lamp = Lamp::start();
    let mut command = client(&lamp, &python());
    command.arg(clients().join("python/layers.py"));
    run(command);
}

#[test]
fn boto3_permissions() {
    let lamp = Lamp::start();
    let mut command = client(&lamp, &python());
    command.arg(clients().join("python/permissions.py"));
    run(command);
}

#[test]
fn boto3_versions_and_aliases() {
    let lamp = Lamp::start();
    let mut command = client(&lamp, &python());
    command.arg(clients().join("python/versions.py"));
    run(command);
}

#[test]
fn boto3_urls_and_asynchronous_invocations() {
    let lamp = Lamp::start();
    let mut command = client(&lamp, &python());
    command.arg(clients().join("python/urls.py"));
    run(command);
}

#[test]
fn boto3_event_source_mappings() {
    let lamp = Lamp::start();
    let mut command = client(&lamp, &python());
    command.arg(clients().join("python/event_source_mappings.py"));
    run(command);
}

#[test]
fn boto3_code_signing_and_capacity_providers() {
    let lamp = Lamp::start();
    let mut command = client(&lamp, &python());
    command.arg(clients().join("python/code_signing.py"));
    run(command);
}

#[test]
fn boto3_over_tls() {
    let lamp = Lamp::start_with(&["--tls-self-signed"]);
    let mut command = client(&lamp, &python());
    command
        .arg(clients().join("python/identity.py"))
        .env("AWS_ENDPOINT_URL", format!("https://localhost:{}", lamp.port))
        .env("AWS_CA_BUNDLE", lamp.dir.join("tls/certificate.pem"));
    run(command);
}

#[test]
fn aws_cli_v1() {
    let lamp = Lamp::start();
    let mut command = client(&lamp, Path::new("bash"));
    command.arg(clients().join("cli/functions.sh")).env("AWS", aws_cli());
    run(command);
}

#[test]
fn javascript_sdk() {
    let lamp = Lamp::start();
    let mut command = client(&lamp, Path::new("node"));
    command.arg(clients().join("node/functions.cjs")).env("NODE_PATH", tools().join("node/node_modules"));
    run(command);
}

#[test]
fn javascript_sdk_logs() {
    let lamp = Lamp::start();
    let mut command = client(&lamp, Path::new("node"));
    command.arg(clients().join("node/logs.cjs")).env("NODE_PATH", tools().join("node/node_modules"));
    run(command);
}

#[test]
fn go_sdk() {
    let lamp = Lamp::start();
    run(client(&lamp, &tools().join("go/client")));
}

#[test]
fn terraform() {
    let lamp = Lamp::start();
    let Some(terraform) = Terraform::open(&lamp, "main.tf") else { return };
    terraform.run("apply", &["-auto-approve"]);
    assert_eq!(terraform.output("arn"), "arn:aws:iam::000000000000:root");
    assert!(terraform.run("plan", &[]).contains("No changes"));
}

/// The documentation's examples are commands; they run as they stand.
#[test]
fn the_examples_of_the_documentation() {
    let lamp = Lamp::start();
    let mut command = client(&lamp, &python());
    command
        .arg(clients().join("python/documentation.py"))
        .arg(clients().join("../.."))
        .env("AWS", aws_cli())
        .env("LAMP_DATA_DIR", &lamp.dir);
    run(command);
}

#[tokio::test]
async fn rust_sdk() {
    let lamp = Lamp::start();
    let config = aws_sdk_lambda::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .endpoint_url(lamp.endpoint())
        .credentials_provider(Credentials::new("123456789012", "secret", None, None, "test"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    let lambda = aws_sdk_lambda::Client::from_conf(config);
    let zip = a_zip();

    let created = lambda
        .create_function()
        .function_name("from-rust")
        .runtime(Runtime::Python313)
        .handler("app.handler")
        .role("arn:aws:iam::123456789012:role/r")
        .code(FunctionCode::builder().zip_file(Blob::new(zip.clone())).build())
        .tags("team", "lamp")
        .send()
        .await
        .unwrap();
    assert_eq!(created.state(), Some(&State::Pending));
    assert_eq!(created.function_arn(), Some("arn:aws:lambda:eu-central-1:123456789012:function:from-rust"));
    assert_eq!(created.code_size(), zip.len() as i64);

    let got = lambda.get_function().function_name("from-rust").send().await.unwrap();
    assert_eq!(got.configuration().and_then(|found| found.state()), Some(&State::Active));
    assert_eq!(got.tags().and_then(|tags| tags.get("team")).map(String::as_str), Some("lamp"));

    let missing = lambda.get_function().function_name("nobody").send().await.unwrap_err().into_service_error();
    assert!(missing.is_resource_not_found_exception());
    assert_eq!(missing.message(), Some("Function not found: arn:aws:lambda:eu-central-1:123456789012:function:nobody"));

    lambda.delete_function().function_name("from-rust").send().await.unwrap();
    let listed = lambda.list_functions().into_paginator().items().send().collect::<Result<Vec<_>, _>>().await.unwrap();
    assert!(listed.is_empty());
}

fn a_zip() -> Vec<u8> {
    let code = "import io,sys,zipfile;b=io.BytesIO();z=zipfile.ZipFile(b,'w');z.writestr('app.py','def handler(e,c): return e');z.close();sys.stdout.buffer.write(b.getvalue())";
    Command::new(python()).args(["-c", code]).output().expect("run python").stdout
}

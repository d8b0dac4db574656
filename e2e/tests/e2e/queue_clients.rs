//! SQS by the programs that people use it with: the AWS CLI, SDKs of other languages, and what is built on them.

use std::path::Path;

use e2e::{Lamp, aws_cli, client, clients, run, tools};

#[test]
fn aws_cli_queues() {
    let lamp = Lamp::start();
    let mut command = client(&lamp, Path::new("bash"));
    command.arg(clients().join("cli/queues.sh")).env("AWS", aws_cli());
    run(command);
}

/// With `sqs-producer` and `sqs-consumer`.
#[test]
fn javascript_queues() {
    let lamp = Lamp::start();
    let mut command = client(&lamp, Path::new("node"));
    command.arg(clients().join("node/queues.cjs")).env("NODE_PATH", tools().join("node/node_modules"));
    run(command);
}

#[test]
fn go_queues() {
    let lamp = Lamp::start();
    let mut command = client(&lamp, &tools().join("go/client"));
    command.arg("queues");
    run(command);
}

/// A worker that does tasks, and kombu below it.
#[test]
fn celery_and_kombu() {
    let lamp = Lamp::start();
    let mut command = client(&lamp, &tools().join("celery/bin/python"));
    command.arg(clients().join("celery/run.py"));
    run(command);
}

/// An application of Spring Boot with listeners.
#[test]
fn spring_cloud_aws() {
    let spring = tools().join("spring");
    if !spring.join(".pins").exists() {
        eprintln!("skipped: the application of Spring was left out when tools were prepared");
        return;
    }
    let lamp = Lamp::start();
    let mut command = client(&lamp, Path::new("java"));
    command.args(["-XX:TieredStopAtLevel=1", "-cp"]);
    command.arg(format!("{0}/classes:{0}/lib/*", spring.display())).arg("app.Shop");
    command.arg(format!("--spring.cloud.aws.endpoint={}", lamp.endpoint()));
    run(command);
}

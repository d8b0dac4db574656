//! The server itself: how it starts, whom it lets in, what it says of itself, and how it leaves.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use e2e::{Lamp, binary, client, clients, python, run, wait_for};
use serde_json::Value;

/// Sends one HTTP/1.1 request as written and reads the answer to its end.
fn ask(lamp: &Lamp, request: &str) -> String {
    let mut stream = lamp.connect();
    let request = request.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn get(lamp: &Lamp, path: &str, headers: &str) -> String {
    ask(lamp, &format!("GET {path} HTTP/1.1\r\nHost: localhost:{}\r\n{headers}\r\n", lamp.port))
}

fn body(answer: &str) -> Value {
    let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("an answer has a body: {answer}"));
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("no status: {answer}"))
}

#[test]
fn health_tells_version_and_services() {
    let lamp = Lamp::start();
    let health = body(&get(&lamp, "/_lamp/health", ""));
    assert_eq!(health["status"], "ok");
    assert_eq!(health["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(health["services"]["lambda"], "available");
    let localstack = body(&get(&lamp, "/_localstack/health", ""));
    assert_eq!(localstack["services"]["sts"], "available");
    assert!(body(&get(&lamp, "/_localstack/info", ""))["version"].is_string());
}

#[test]
fn metrics_are_openmetrics_and_count_requests() {
    let lamp = Lamp::start();
    let mut command = client(&lamp, &python());
    command.arg(clients().join("python/identity.py"));
    run(command);
    let metrics = get(&lamp, "/_lamp/metrics", "");
    assert!(metrics.contains("application/openmetrics-text"), "{metrics}");
    assert!(metrics.lines().any(|line| line.contains("GetCallerIdentity") && line.ends_with(" 1")), "{metrics}");
    assert!(metrics.trim_end().ends_with("# EOF"), "{metrics}");
}

#[test]
fn a_data_directory_has_one_server() {
    let lamp = Lamp::start();
    let second = Command::new(binary())
        .args(["start", "--port", "0", "--data-dir"])
        .arg(&lamp.dir)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(!second.status.success());
    assert!(said.contains(&lamp.pid().to_string()) && said.contains("choose another directory"), "{said}");
}

#[test]
fn a_relative_data_directory_is_made_where_the_server_starts() {
    let work = tempfile::tempdir().unwrap();
    let mut lamp = Command::new(binary())
        .args(["start", "--port", "0", "--data-dir", "lamp-data"])
        .current_dir(work.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait_for("the data directory is there", || work.path().join("lamp-data/control.sock").exists().then_some(()));
    lamp.kill().unwrap();
    lamp.wait().unwrap();
}

#[test]
fn data_of_a_newer_version_is_refused_with_advice() {
    let mut lamp = Lamp::start();
    assert!(lamp.stop());
    std::fs::write(lamp.dir.join("format"), "9999\n").unwrap();
    let refused = Command::new(binary()).args(["start", "--port", "0", "--data-dir"]).arg(&lamp.dir).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success());
    assert!(said.contains("9999") && said.contains("newer"), "{said}");
}

#[test]
fn a_port_that_is_taken_is_told_as_such() {
    let lamp = Lamp::start();
    let dir = tempfile::tempdir().unwrap();
    let refused = Command::new(binary())
        .args(["start", "--port", &lamp.port.to_string(), "--data-dir"])
        .arg(dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success());
    assert!(said.contains("--port"), "{said}");
}

#[test]
fn sigterm_drains_and_leaves() {
    let mut lamp = Lamp::start();
    // A request that is under way when the signal comes is answered: its body is half there.
    let mut stream = lamp.connect();
    let head =
        format!("POST /2015-03-31/functions HTTP/1.1\r\nHost: localhost:{}\r\nContent-Length: 2\r\n\r\n{{", lamp.port);
    stream.write_all(head.as_bytes()).unwrap();
    wait_for("the request is under way", || {
        get(&lamp, "/_lamp/metrics", "").contains("lamp_requests_in_flight 2").then_some(())
    });
    assert!(Command::new("kill").args(["-TERM", &lamp.pid().to_string()]).status().unwrap().success());
    wait_for("nothing is accepted any more", || TcpStream::connect(("127.0.0.1", lamp.port)).is_err().then_some(()));
    stream.write_all(b"}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(status(&answer), 400, "{answer}");
    assert!(answer.contains("validation error"), "{answer}");
    let status = wait_for("the server leaves", || lamp.exited());
    assert_eq!(status.code(), Some(0));
}

#[test]
fn only_names_that_are_ours_are_answered() {
    let lamp = Lamp::start_with(&["--name", "lamp.example.org"]);
    let with_host = |host: &str| status(&ask(&lamp, &format!("GET /_lamp/health HTTP/1.1\r\nHost: {host}\r\n\r\n")));
    for ours in [
        "localhost",
        "localhost:4566",
        "127.0.0.1",
        "[::1]:4566",
        "lambda.localhost",
        "s3.localhost.localstack.cloud:4566",
        "lambda.us-east-1.amazonaws.com",
        "lamp.example.org",
    ] {
        assert_eq!(with_host(ours), 200, "{ours}");
    }
    for foreign in ["evil.example", "localhost.evil.example", "amazonaws.com.evil.example", "lamp.example.org.evil"] {
        assert_eq!(with_host(foreign), 403, "{foreign}");
    }
}

#[test]
fn a_web_page_of_another_origin_drives_nothing() {
    let lamp = Lamp::start();
    let from = |origin: &str| {
        let request = format!(
            "POST / HTTP/1.1\r\nHost: localhost:{}\r\n{origin}Content-Type: text/plain\r\n\
             X-Amz-Target: AmazonSQS.ListQueues\r\nContent-Length: 2\r\n\r\n{{}}",
            lamp.port
        );
        status(&ask(&lamp, &request))
    };
    assert_eq!(from("Origin: https://evil.example\r\n"), 403);
    assert_eq!(from("Origin: null\r\n"), 403);
    assert_eq!(from("Sec-Fetch-Site: cross-site\r\n"), 403);
    assert_ne!(from(""), 403);
    let image = get(&lamp, "/2015-03-31/functions/", "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n");
    assert_eq!(status(&image), 403);
}

#[test]
fn strict_mode_takes_only_the_root_key() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let lamp = Lamp::start_on(&data, &["--auth", "strict"]);
    let mut credentials = Command::new(binary());
    credentials.args(["credentials", "--data-dir"]).arg(&data);
    let exports = run(credentials);
    let export = |name: &str| {
        let line = exports.lines().find_map(|line| line.strip_prefix("export ")?.strip_prefix(name)?.strip_prefix('='));
        line.unwrap_or_else(|| panic!("{name} is exported: {exports}")).to_owned()
    };
    assert_eq!(export("AWS_ENDPOINT_URL"), lamp.endpoint());

    let identity = |key: &str, secret: &str| {
        let mut command = client(&lamp, &python());
        command
            .arg(clients().join("python/identity.py"))
            .env("AWS_ACCESS_KEY_ID", key)
            .env("AWS_SECRET_ACCESS_KEY", secret)
            .output()
            .unwrap()
    };
    let (key, secret) = (&export("AWS_ACCESS_KEY_ID"), &export("AWS_SECRET_ACCESS_KEY"));
    let known = identity(key, secret);
    assert!(known.status.success(), "{}", String::from_utf8_lossy(&known.stderr));
    assert_eq!(String::from_utf8_lossy(&known.stdout).trim(), "arn:aws:iam::000000000000:root");
    let said = |output: std::process::Output| String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said(identity("test", "test")).contains("InvalidClientTokenId"));
    assert!(said(identity(key, "wrong")).contains("SignatureDoesNotMatch"));
    let unsigned = get(&lamp, "/2015-03-31/functions/", "");
    assert_eq!(status(&unsigned), 403, "{unsigned}");
}

#[test]
fn an_operator_who_says_nothing_keeps_nobody_waiting() {
    let lamp = Lamp::start();
    let socket = lamp.dir.join("control.sock");
    let _silent = std::os::unix::net::UnixStream::connect(&socket).unwrap();
    let mut credentials = Command::new(binary());
    credentials.args(["credentials", "--data-dir"]).arg(&lamp.dir);
    assert!(run(credentials).contains("AWS_ENDPOINT_URL"));
}

#[test]
fn a_key_that_the_server_knows_must_sign_right_in_dev_mode_too() {
    let lamp = Lamp::start();
    let root: Value = serde_json::from_slice(&std::fs::read(lamp.dir.join("keys/root.json")).unwrap()).unwrap();
    let mut command = client(&lamp, &python());
    command
        .arg(clients().join("python/identity.py"))
        .env("AWS_ACCESS_KEY_ID", root["access_key_id"].as_str().unwrap())
        .env("AWS_SECRET_ACCESS_KEY", "wrong");
    let refused = command.output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("SignatureDoesNotMatch"));
}

//! Operators look into queues, mappings and events and steer them, by `lamp` and at `/_lamp/`.

use std::io::Write;

use e2e::{Lamp, answer, client, clients, python, run, send};

#[test]
fn operators_see_and_steer_what_waits() {
    let lamp = Lamp::start();
    let mut command = client(&lamp, &python());
    command.arg(clients().join("python/steering.py")).env("LAMP_DATA_DIR", &lamp.dir);
    run(command);
}

#[test]
fn what_the_console_asks_is_answered() {
    let lamp = Lamp::start();
    let json = |response: &str| -> serde_json::Value {
        assert!(response.starts_with("HTTP/1.1 200 OK"), "{response}");
        serde_json::from_str(response.split_once("\r\n\r\n").unwrap().1).unwrap()
    };
    let get = |path: &str| send(&lamp, "GET", path, "");
    let post = |path: &str| send(&lamp, "POST", path, "");
    assert_eq!(json(&get("/_lamp/queues"))["queues"].as_array().map(Vec::len), Some(0));
    for (operation, input) in [
        ("CreateQueue", r#"{"QueueName": "q"}"#),
        ("SendMessage", r#"{"QueueUrl": "http://localhost/000000000000/q", "MessageBody": "hello"}"#),
    ] {
        let mut stream = lamp.connect();
        let kind = format!("Content-Type: application/x-amz-json-1.0\r\nX-Amz-Target: AmazonSQS.{operation}");
        let head = format!("POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{kind}");
        write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{input}", input.len()).unwrap();
        let answer = answer(stream);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let seen = json(&get("/_lamp/queues/q/messages?limit=5"));
    assert_eq!(seen["messages"][0]["body"], "hello");
    let sequence = &seen["messages"][0]["sequence"];
    let later = json(&get(&format!("/_lamp/queues/q/messages?after={sequence}")));
    assert_eq!(later["messages"].as_array().map(Vec::len), Some(0));
    assert_eq!(json(&post("/_lamp/queues/q/freeze"))["is_frozen"], true);
    assert_eq!(json(&post("/_lamp/queues/q/thaw"))["is_frozen"], false);
    json(&post("/_lamp/queues/q/purge"));
    assert_eq!(json(&get("/_lamp/queues"))["queues"][0]["waiting"], 0);
    assert_eq!(json(&get("/_lamp/mappings"))["mappings"].as_array().map(Vec::len), Some(0));
    assert_eq!(json(&get("/_lamp/idle?timeout=1s"))["is_idle"], true);
    for (response, status, says) in [
        (get("/_lamp/events/none"), "404", "failed to find the function"),
        (post("/_lamp/queues/r/purge"), "404", "did you mean q?"),
        (get("/_lamp/queues?limit=x"), "400", "failed to understand limit=x"),
        (get("/_lamp/queues/q/purge"), "405", "it takes POST"),
        (get("/_lamp/queues/q/nothing"), "404", "failed to find that"),
        (post("/_lamp/mappings/x/freeze"), "404", "failed to find the mapping"),
        (post("/_lamp/queues"), "405", ""),
    ] {
        assert!(response.starts_with(&format!("HTTP/1.1 {status}")) && response.contains(says), "{response}");
    }
}

#[test]
fn a_strict_server_is_steered_with_the_roots_key_alone() {
    let dir = tempfile::tempdir().unwrap();
    let lamp = Lamp::start_on(&dir.path().join("data"), &["--auth", "strict"]);
    let root = std::fs::read_to_string(lamp.dir.join("keys/root.json")).unwrap();
    let root: serde_json::Value = serde_json::from_str(&root).unwrap();
    let key = |name: &str| root[name].as_str().unwrap();
    let ask = |credentials: &str| {
        let coded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, credentials);
        let mut stream = lamp.connect();
        let head = format!("GET /_lamp/queues HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {coded}\r\n");
        write!(stream, "{head}Connection: close\r\n\r\n").unwrap();
        answer(stream)
    };
    let right = format!("{}:{}", key("access_key_id"), key("secret_access_key"));
    assert!(ask(&right).starts_with("HTTP/1.1 200"));
    for wrong in ["", ":", &right[..right.len() - 1], &format!("{right} ")] {
        assert!(ask(wrong).starts_with("HTTP/1.1 401"), "{wrong}");
    }
    let unknown = send(&lamp, "POST", "/_lamp/queues/q/purge", "");
    assert!(unknown.starts_with("HTTP/1.1 401") && unknown.contains("the root's key is needed"), "{unknown}");
}

//! Custom runtimes, through the HTTP Runtime API.

use std::time::Duration;

use serde_json::{Value, json};

use crate::bed::{Bed, call};

/// AWS's tutorial, near enough.
const BASH: &str = r#"#!/bin/bash
set -u
echo starting
api="http://${AWS_LAMBDA_RUNTIME_API}/2018-06-01/runtime"
while true; do
  headers=$(mktemp)
  event=$(curl -sS -LD "$headers" "$api/invocation/next")
  id=$(grep -Fi Lambda-Runtime-Aws-Request-Id "$headers" | tr -d '[:space:]' | cut -d: -f2)
  echo "got $event"
  if [ "$event" = '"fail"' ]; then
    curl -sS -o /dev/null -X POST "$api/invocation/$id/error" -H 'Lambda-Runtime-Function-Error-Type: Function.Asked' -d '{"errorType":"Mine","errorMessage":"as asked"}'
  else
    curl -sS -o /dev/null -X POST "$api/invocation/$id/response" -d "{\"echo\":$event,\"handler\":\"$_HANDLER\"}"
  fi
done
"#;

#[tokio::test]
async fn a_bash_runtime_answers() {
    let bed = Bed::new().await;
    let function = bed.function("provided.al2023", "own.handler", &[("bootstrap", BASH)]).await;
    for _ in 0..2 {
        let answer = bed.invoke(&function, r#"{"a": 1}"#).await;
        let found: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(found, json!({"echo": {"a": 1}, "handler": "own.handler"}));
        assert!(answer.tail.unwrap().contains("\ngot {\"a\": 1}\nEND "));
    }
    let answer = bed.invoke(&function, "\"fail\"").await;
    assert_eq!(answer.failed, Some("Unhandled"));
    assert_eq!(answer.body, r#"{"errorType":"Mine","errorMessage":"as asked"}"#);
    assert!(bed.log().starts_with("INIT_START Runtime Version: provided:al2023.v"));
}

#[tokio::test]
async fn a_bootstrap_may_be_in_a_layer_and_must_be_somewhere() {
    let bed = Bed::new().await;
    let mut function = bed.function("provided.al2", "h", &[("data", "")]).await;
    let answer = bed.invoke(&function, "{}").await;
    let words = "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]";
    assert!(answer.body.contains("Runtime.InvalidEntrypoint") && answer.body.contains(words), "{}", answer.body);
    function.layers = vec![bed.code(&[("bootstrap", BASH)]).await];
    function.release = base::Uuid::NIL;
    assert_eq!(bed.invoke(&function, "1").await.failed, None);
    let function = bed.function("provided.al2", "h", &[("bootstrap", "\u{7f}ELF no program")]).await;
    let answer = bed.invoke(&function, "{}").await;
    assert!(answer.body.contains("fork/exec /var/task/bootstrap: permission denied"), "{}", answer.body);
}

#[tokio::test]
async fn an_ordinary_user_runs_functions_too() {
    let bed = Bed::as_user().await;
    let function = bed.function("provided.al2023", "h", &[("bootstrap", BASH)]).await;
    assert_eq!(bed.invoke(&function, "1").await.failed, None);
    let code = "exports.handler = async (event) => process.getuid()";
    let mut function = bed.function("nodejs20.x", "app.handler", &[("app.js", code)]).await;
    function.timeout = Duration::from_secs(10);
    assert_eq!(bed.invoke(&function, "{}").await.body, "993");
}

/// A runtime in Python that asks the API what an event tells it to, and returns what it was answered.
const PROBE: &str = r#"#!/usr/bin/python3
import http.client, json, os
api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
def ask(method, path, body=None, headers={}):
    api.request(method, "/2018-06-01/runtime/" + path, body, headers)
    reply = api.getresponse()
    return reply.status, dict((k.lower(), v) for k, v in reply.getheaders()), reply.read().decode()
last = None
while True:
    status, headers, event = ask("GET", "invocation/next")
    event = json.loads(event)
    id = headers["lambda-runtime-aws-request-id"]
    told = [[status, headers]]
    for method, path, body, more in event:
        status, _, text = ask(method, path.replace("{id}", id).replace("{last}", last or ""), body, more)
        told.append([status, text])
    ask("POST", "invocation/%s/response" % id, json.dumps(told), {"Content-Type": "application/json"})
    last = id
"#;

#[tokio::test]
async fn the_runtime_api_answers_in_aws_s_words() {
    let bed = Bed::new().await;
    let function = bed.function("provided.al2023", "h", &[("bootstrap", PROBE)]).await;
    bed.invoke(&function, "[]").await;
    let event = json!([
        ["POST", "invocation/00000000-0000-0000-0000-000000000000/response", "{}", {}],
        ["POST", "invocation/{last}/response", "{}", {}],
        ["POST", "init/error", "{}", {}],
        ["GET", "invocation/next", null, {}],
        ["GET", "restore/next", null, {}],
        ["POST", "invocation/next", "{}", {}],
    ]);
    let mut asked = call(&event.to_string());
    asked.client_context = Some("{\n\"custom\":{\"a\":\"ü\"}}".into());
    asked.trace_header = Some("Root=1-2-3".into());
    asked.tenant_id = None;
    let id = asked.request_id.to_string();
    let body = bed.call(&function, asked).await.unwrap().body;
    assert!(body.starts_with("[["), "{body}\n{}", bed.log());
    let answer: Value = serde_json::from_str(&body).unwrap();
    let headers = &answer[0][1];
    assert_eq!(headers["lambda-runtime-aws-request-id"], json!(id));
    assert_eq!(headers["lambda-runtime-trace-id"], "Root=1-2-3");
    assert_eq!(headers["content-type"], "application/json");
    assert!(headers["lambda-runtime-client-context"].as_str().unwrap().starts_with("{ \"custom\""));
    assert!(headers["lambda-runtime-aws-tenant-id"].is_null());
    let invalid = "{\"errorMessage\":\"Invalid request ID\",\"errorType\":\"InvalidRequestID\"}\n";
    let transition = |to: &str| {
        format!(
            "{{\"errorMessage\":\"State transition from Running to {to} failed for runtime. Error: State transition is not \
             allowed\",\"errorType\":\"InvalidStateTransition\"}}\n"
        )
    };
    let told: Vec<(u64, &str)> = answer.as_array().unwrap()[1..]
        .iter()
        .map(|told| (told[0].as_u64().unwrap(), told[1].as_str().unwrap()))
        .collect();
    assert_eq!(
        told,
        [
            (400, invalid),
            (400, invalid),
            (403, transition("InitError").as_str()),
            (403, transition("Ready").as_str()),
            (404, "404 page not found\n"),
            (404, "404 page not found\n"),
        ]
    );
}

/// Streams, and breaks off or fails in the trailers if it is told to.
const STREAMING: &str = r#"#!/usr/bin/python3
import base64, json, os, socket, urllib.request
api = os.environ["AWS_LAMBDA_RUNTIME_API"]
host, port = api.split(":")
while True:
    with urllib.request.urlopen("http://%s/2018-06-01/runtime/invocation/next" % api) as reply:
        id, event = reply.headers["Lambda-Runtime-Aws-Request-Id"], json.load(reply)
    s = socket.create_connection((host, int(port)))
    head = "POST /2018-06-01/runtime/invocation/%s/response HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Type: text/x\r\n%sTrailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\r\n\r\n"
    mode = event.get("mode", "streaming")
    s.sendall((head % (id, mode and "Lambda-Runtime-Function-Response-Mode: %s\r\n" % mode)).encode())
    try:
        for _ in range(event["pieces"]):
            s.sendall(b"186a0\r\n" + b"x" * 100000 + b"\r\n")
        if event.get("end") == "fail":
            body = base64.b64encode(b'{"errorType":"Mine"}').decode()
            s.sendall(("0\r\nLambda-Runtime-Function-Error-Type: Function.Mine\r\nLambda-Runtime-Function-Error-Body: %s\r\n\r\n" % body).encode())
        elif event.get("end") != "break":
            s.sendall(b"0\r\n\r\n")
        if event.get("end") != "break":
            print(s.recv(100).split(b"\r\n")[0].decode(), flush=True)
    except OSError:
        pass
    s.close()
"#;

#[tokio::test]
async fn a_custom_runtime_streams() {
    let bed = Bed::new().await;
    let function = bed.function("provided.al2023", "h", &[("bootstrap", STREAMING)]).await;
    let streamed = |event: &str| {
        let mut streamed = call(event);
        streamed.is_streamed = true;
        streamed
    };
    let answer = bed.call(&function, streamed(r#"{"pieces": 20}"#)).await.unwrap();
    assert_eq!((answer.body.len(), answer.error), (2_000_000, None));
    assert!(answer.tail.unwrap().contains("HTTP/1.1 202 Accepted"));
    let answer = bed.call(&function, streamed(r#"{"pieces": 1, "end": "fail"}"#)).await.unwrap();
    assert_eq!(answer.error, Some(("Function.Mine".into(), r#"{"errorType":"Mine"}"#.into())));
    let answer = bed.call(&function, streamed(r#"{"pieces": 1, "end": "break"}"#)).await.unwrap();
    assert_eq!(answer.error.map(|(kind, _)| kind).as_deref(), Some("Runtime.TruncatedResponse"));
    // aws-lambda-go never says that it streams: what the caller asked for decides.
    let answer = bed.call(&function, streamed(r#"{"pieces": 70, "mode": ""}"#)).await.unwrap();
    assert_eq!((answer.body.len(), answer.error), (7_000_000, None));
    let answer = bed.call(&function, streamed(r#"{"pieces": 1, "mode": "", "end": "fail"}"#)).await.unwrap();
    assert_eq!(answer.error, Some(("Function.Mine".into(), r#"{"errorType":"Mine"}"#.into())));
    for mode in ["streaming", ""] {
        let whole = bed.invoke(&function, &format!(r#"{{"pieces": 2, "mode": "{mode}"}}"#)).await;
        assert_eq!((whole.body.len(), whole.failed), (200_000, None));
    }
    let answer = bed.invoke(&function, r#"{"pieces": 70, "mode": ""}"#).await;
    assert!(answer.body.contains("Function.ResponseSizeTooLarge"), "{}", answer.body);
    let answer = bed.invoke(&function, r#"{"pieces": 70}"#).await;
    assert!(answer.body.contains("Function.ResponseSizeTooLarge"), "{}", answer.body);
    let answer = bed.invoke(&function, r#"{"pieces": 1, "mode": "odd"}"#).await;
    assert!(answer.body.contains("Runtime.InvalidResponseModeHeader"), "{}", answer.body);
}

#[tokio::test]
async fn a_runtime_that_never_asks_times_out_and_one_that_exits_is_told() {
    let bed = Bed::new().await;
    let mut function = bed.function("provided.al2023", "h", &[("bootstrap", "#!/bin/sh\nexit 3\n")]).await;
    function.timeout = Duration::from_secs(1);
    let answer = bed.invoke(&function, "{}").await;
    assert!(answer.body.contains("Runtime exited with error: exit status 3"), "{}", answer.body);
    let fails = "#!/bin/sh\ncurl -s -X POST http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/init/error -H 'Lambda-Runtime-Function-Error-Type: Runtime.Mine' -d '{\"errorType\":\"Mine\"}'\nexit 1\n";
    let function = bed.function("provided.al2023", "h", &[("bootstrap", fails)]).await;
    assert_eq!(bed.invoke(&function, "{}").await.body, r#"{"errorType":"Mine"}"#);
    assert!(bed.log().contains("\tPhase: init\tStatus: error\tError Type: Runtime.Mine\n"));
}

/// A runtime whose first process leaves a second one behind that asks for events too, and dies.
#[tokio::test]
async fn what_a_killed_process_asked_is_not_answered_to_its_successor() {
    let bed = Bed::new().await;
    let code = r#"#!/usr/bin/python3
import os, socket, sys, time
host, port = os.environ["AWS_LAMBDA_RUNTIME_API"].split(":")
ask = b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n"
def connect():
    s = socket.create_connection((host, int(port)))
    s.sendall(ask)
    return s
if not os.path.exists("/tmp/second"):
    open("/tmp/second", "w").close()
    kept = [connect() for _ in range(50)]
    if os.fork() == 0:
        while True:
            try:
                kept.append(connect())
            except OSError:
                time.sleep(60)
    time.sleep(0.2)
    sys.exit(1)
while True:
    s = connect()
    data = b""
    while b"\r\n\r\n" not in data:
        data += s.recv(65536)
    id = [line.split(b": ")[1] for line in data.split(b"\r\n") if line.lower().startswith(b"lambda-runtime-aws-request-id")][0].decode()
    s.sendall(("POST /2018-06-01/runtime/invocation/%s/response HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\n\"second\"" % id).encode())
    s.recv(65536)
    s.close()
"#;
    let function = bed.function("provided.al2023", "h", &[("bootstrap", code)]).await;
    let first = bed.invoke(&function, "{}").await;
    assert_eq!(first.failed, Some("Unhandled"), "{first:?}");
    for _ in 0..3 {
        assert_eq!(bed.invoke(&function, "{}").await.body, "\"second\"");
    }
}

//! Extensions, external and internal, as their authors write them: over HTTP, from inside a sandbox.

use std::time::Duration;

use base::ports::FunctionSpec;
use serde_json::{Value, json};

use crate::bed::{Bed, call, error};

/// A library for extensions of these tests: `ask` speaks to the APIs, `main` registers and follows the events.
const LIBRARY: &str = r#"
import http.client, json, os, socket, sys, threading, time
from http.server import BaseHTTPRequestHandler, HTTPServer

def ask(method, path, body=None, **headers):
    api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    headers = {"Lambda-Extension-" + name.replace("_", "-"): value for name, value in headers.items()}
    api.request(method, path, body if body is None or isinstance(body, str) else json.dumps(body), headers)
    reply = api.getresponse()
    return reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read().decode()

def register(name, events, **headers):
    status, headers, body = ask("POST", "/2020-01-01/extension/register", {"events": events}, Name=name, **headers)
    assert status == 200, body
    return headers["lambda-extension-identifier"], json.loads(body)

def following(id):
    while True:
        status, headers, body = ask("GET", "/2020-01-01/extension/event/next", Identifier=id)
        assert status == 200 and len(headers["lambda-extension-event-identifier"]) == 36, body
        yield json.loads(body)

def subscribe(id, destination, types=["platform", "function", "extension"], path="/2022-07-01/telemetry", **more):
    body = {"schemaVersion": "2022-12-13", "types": types, "buffering": {"timeoutMs": 25}, "destination": destination}
    return ask("PUT", path, {**body, **more}, Identifier=id)

def hear(event):
    with open("/tmp/heard", "a") as file:
        file.write(json.dumps(event) + "\n")

def listen():
    "Over HTTP; the URI at which it listens."
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            for event in json.loads(self.rfile.read(int(self.headers["Content-Length"]))):
                hear(event)
            self.send_response(200)
            self.end_headers()
        def log_message(self, *_):
            pass
    server = HTTPServer(("sandbox.localdomain", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return {"protocol": "HTTP", "URI": "http://sandbox.localdomain:%d/in" % server.server_port}

def listen_tcp():
    listener = socket.create_server(("127.0.0.1", 0))
    def serve():
        with listener.accept()[0].makefile() as lines:
            for line in lines:
                hear(json.loads(line))
    threading.Thread(target=serve, daemon=True).start()
    return {"protocol": "TCP", "port": listener.getsockname()[1]}
"#;

/// Tells what an extension has heard, up to some event.
const FUNCTION: &str = r#"
import json, os, time
print("function loads")
def handler(event, context):
    print("function runs")
    event = event or {}
    heard = []
    until, pause = event.get("until"), 0.01
    while until:
        # What is much takes long to read, and whoever writes it needs the time too.
        time.sleep(pause)
        pause = min(2 * pause, 0.32)
        heard = [json.loads(line) for line in open("/tmp/heard")] if os.path.exists("/tmp/heard") else []
        if sum(told["type"] == until[0] for told in heard) >= until[1]:
            break
    return {"heard": heard, "request": context.aws_request_id}
"#;

/// A function with an extension of this source, under this name, in a layer.
async fn with_extension(bed: &Bed, name: &str, source: &str, function: &str) -> FunctionSpec {
    let mut spec = bed.function("python3.13", "app.handler", &[("app.py", function)]).await;
    let source =
        format!("#!/usr/bin/python3 -u\nimport sys; sys.path.insert(0, '/opt/python')\nfrom kit import *\n{source}");
    let path = format!("extensions/{name}");
    spec.layers = vec![bed.code(&[(path.as_str(), source.as_str()), ("python/kit.py", LIBRARY)]).await];
    spec.timeout = Duration::from_secs(10);
    spec
}

async fn until_logged(bed: &Bed, text: &str) -> String {
    loop {
        let log = bed.log();
        if log.contains(text) {
            return log;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn an_external_extension_hears_of_everything_to_the_end() {
    let bed = Bed::new().await;
    let source = r#"
id, told = register("watcher", ["INVOKE", "SHUTDOWN"], Accept_Feature="accountId")
print("told", json.dumps(told))
print("subscribed", subscribe(id, listen())[::2])
print("env", json.dumps(sorted(os.environ)))
for event in following(id):
    print("event", json.dumps(event))
    if event["eventType"] == "SHUTDOWN":
        sys.exit(0)
"#;
    let function = with_extension(&bed, "watcher", source, FUNCTION).await;
    let mut asked = call(r#"{"until": ["platform.start", 1]}"#);
    asked.trace_header = Some("Root=1-2-3;Parent=4;Sampled=1".into());
    let answer = bed.call(&function, asked).await.unwrap();
    assert_eq!(answer.failed, None, "{answer:?}\n{}", bed.log());
    let answer: Value =
        serde_json::from_str(&bed.invoke(&function, r#"{"until": ["platform.report", 1]}"#).await.body).unwrap();
    let heard = answer["heard"].as_array().unwrap();
    let types: Vec<&str> = heard.iter().map(|told| told["type"].as_str().unwrap()).collect();
    let platform: Vec<&str> = types.iter().filter_map(|kind| kind.strip_prefix("platform.")).collect();
    assert_eq!(
        platform[..8],
        [
            "initStart",
            "telemetrySubscription",
            "initRuntimeDone",
            "extension",
            "initReport",
            "start",
            "runtimeDone",
            "report"
        ]
    );
    let record = |kind: &str| &heard.iter().find(|told| told["type"] == kind).unwrap()["record"];
    assert_eq!(record("function"), &json!("function loads\n"));
    assert_eq!(
        record("platform.extension"),
        &json!({"name": "watcher", "state": "Ready", "events": ["INVOKE", "SHUTDOWN"]})
    );
    let spans: Vec<&str> = record("platform.runtimeDone")["spans"]
        .as_array()
        .unwrap()
        .iter()
        .map(|span| span["name"].as_str().unwrap())
        .collect();
    assert_eq!(spans, ["responseLatency", "responseDuration", "runtimeOverhead"]);
    assert_eq!(record("platform.report")["spans"][0]["name"], "extensionOverhead");
    assert!(record("platform.start")["tracing"]["value"].as_str().unwrap().starts_with("Root=1-2-3;Parent="));
    assert_eq!(record("platform.initStart")["functionName"], "probe");
    assert!(types.contains(&"extension"));
    bed.runtime.drain().await;
    let log = bed.log();
    for expected in [
        "told {\"accountId\": \"000000000000\", \"functionName\": \"probe\", \"functionVersion\": \"$LATEST\", \"handler\": \"app.handler\"}\n",
        "subscribed (200, '\"OK\"')\n",
        "TELEMETRY\tName: watcher\tState: Subscribed\tTypes: [Platform, Function, Extension]\n",
        "EXTENSION\tName: watcher\tState: Ready\tEvents: [INVOKE,SHUTDOWN]\n",
        "\"tracing\": {\"type\": \"X-Amzn-Trace-Id\", \"value\": \"Root=1-2-3;Parent=",
        "\nXRAY TraceId: 1-2-3\tSegmentId: ",
        "\"shutdownReason\": \"spindown\"",
    ] {
        assert!(log.contains(expected), "{expected}\n{log}");
    }
    let env = log.lines().find_map(|line| line.strip_prefix("env ")).unwrap();
    let env: Vec<String> = serde_json::from_str(env).unwrap();
    assert!(env.contains(&"AWS_ACCESS_KEY_ID".to_owned()) && env.contains(&"AWS_LAMBDA_FUNCTION_NAME".to_owned()));
    for hidden in
        ["_HANDLER", "AWS_EXECUTION_ENV", "LAMBDA_TASK_ROOT", "AWS_XRAY_DAEMON_ADDRESS", "AWS_LAMBDA_LOG_GROUP_NAME"]
    {
        assert!(!env.contains(&hidden.to_owned()), "{hidden}");
    }
}

#[tokio::test]
async fn an_internal_extension_registers_from_a_framed_runtime_and_hears_over_tcp() {
    let bed = Bed::new().await;
    let app = format!(
        r#"{LIBRARY}
id, _ = register("inside", ["INVOKE"])
refused = [
    ask("POST", "/2020-01-01/extension/register", {{"events": ["SHUTDOWN"]}}, Name="other")[2],
    ask("GET", "/2018-06-01/runtime/invocation/next")[2],
    ask("PUT", "/2022-07-01/telemetry", {{"types": []}}, Identifier=id)[2],
]
assert subscribe(id, listen_tcp(), types=["platform"], schemaVersion="2021-03-18", path="/2020-08-15/logs")[0] == 200
threading.Thread(target=lambda: [hear({{"type": e["eventType"]}}) for e in following(id)], daemon=True).start()
{FUNCTION}
inner = handler
def handler(event, context):
    return {{**inner(event, context), "refused": refused, "late": [
        subscribe(id, {{"protocol": "TCP", "port": 1}})[2],
        ask("POST", "/2020-01-01/extension/register", {{"events": []}}, Name="late")[2],
    ]}}
"#
    );
    let mut function = bed.function("python3.13", "app.handler", &[("app.py", app)]).await;
    function.timeout = Duration::from_secs(10);
    assert_eq!(bed.invoke(&function, r#"{"until": ["INVOKE", 1]}"#).await.failed, None, "{}", bed.log());
    let answer = bed.invoke(&function, r#"{"until": ["platform.report", 1]}"#).await;
    let answer: Value = serde_json::from_str(&answer.body).unwrap();
    let types: Vec<&str> =
        answer["heard"].as_array().unwrap().iter().map(|told| told["type"].as_str().unwrap()).collect();
    for expected in ["platform.logsSubscription", "platform.extension", "platform.end", "platform.runtimeDone"] {
        assert!(types.contains(&expected), "{expected} {types:?}");
    }
    assert!(!types.contains(&"platform.initStart"));
    assert!(bed.log().contains("LOGS\tName: inside\tState: Subscribed\tTypes: [Platform]\n"));
    assert!(bed.log().contains("EXTENSION\tName: inside\tState: Ready\tEvents: [INVOKE]\n"));
    let texts = |of: &str| -> Vec<String> {
        answer[of].as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let refused = |kind: &str, message: &str| format!("{}\n", json!({"errorMessage": message, "errorType": kind}));
    assert_eq!(
        texts("refused"),
        [
            refused("Extension.InvalidEventType", "SHUTDOWN: ShutdownEventNotSupportedForInternalExtension"),
            refused(
                "InvalidStateTransition",
                "State transition from Running to Ready failed for runtime. Error: State transition is not allowed"
            ),
            refused(
                "ValidationError",
                "schemaVersion is not provided; types should not be empty; destination is not provided"
            ),
        ]
    );
    assert_eq!(
        texts("late"),
        [
            refused("Telemetry.SubscriptionClosed", "Telemetry API subscription is closed"),
            refused("Extension.RegistrationClosed", "Extension registration closed already"),
        ]
    );
}

#[tokio::test]
async fn a_slow_extension_holds_the_invocation_and_not_the_response() {
    let bed = Bed::new().await;
    let source = r#"
id, _ = register("slow", ["INVOKE"])
for event in following(id):
    while not os.path.exists("/tmp/go"):
        time.sleep(0.01)
"#;
    let function = "import os\ndef handler(event, context):\n    return os.environ['AWS_LAMBDA_LOG_STREAM_NAME']";
    let mut function = with_extension(&bed, "slow", source, function).await;
    function.timeout = Duration::from_secs(1);
    let mut quick = call("{}");
    quick.wants_log_tail = false;
    let first = bed.call(&function, quick.clone()).await.unwrap();
    assert_eq!(first.failed, None, "{first:?}");
    assert!(!bed.log().contains("END RequestId"), "{}", bed.log());
    // Its instance is not free, so another one runs this.
    assert_ne!(bed.call(&function, quick).await.unwrap().body, first.body);
    // And the function's timeout runs on.
    let log = until_logged(&bed, "Status: timeout").await;
    assert!(log.contains("\tDuration: 1000.00 ms\t"), "{log}");
}

#[tokio::test]
async fn an_extension_that_crashes_resets_the_environment() {
    let bed = Bed::new().await;
    let source = r#"
id, _ = register("weak", ["INVOKE"])
for event in following(id):
    if os.path.exists("/tmp/crashed"):
        continue
    open("/tmp/crashed", "w").close()
    sys.exit(7)
"#;
    // The first one lasts until the extension is gone, the second finds what the first left.
    let function = "import os, time
def handler(event, context):
    if not os.path.exists('/tmp/first'):
        open('/tmp/first', 'w').close()
        time.sleep(60)
    return 'fine'";
    let mut function = with_extension(&bed, "weak", source, function).await;
    function.timeout = Duration::from_secs(90);
    let answer = bed.invoke(&function, "{}").await;
    assert_eq!(error(&answer), ("Extension.Crash".into(), "exit status 7".into()));
    assert!(answer.tail.unwrap().ends_with("\tStatus: error\tError Type: Extension.Crash\n"));
    assert_eq!(bed.invoke(&function, "{}").await.body, "\"fine\"");

    // In init, and never better.
    let function = with_extension(&bed, "gone", "print('no more')", "def handler(e, c): pass").await;
    assert_eq!(error(&bed.invoke(&function, "{}").await), ("Extension.Crash".into(), "exit code 0".into()));
    let log = bed.log();
    assert!(log.contains("EXTENSION\tName: gone\tState: Started\tEvents: []\n"), "{log}");
    assert!(log.contains("\tPhase: init\tStatus: error\tError Type: Extension.Crash\n"), "{log}");

    // By its own word.
    let source = r#"
id, _ = register("honest", [])
print(ask("POST", "/2020-01-01/extension/init/error", "", Identifier=id)[2])
print(ask("POST", "/2020-01-01/extension/init/error", "", Identifier=id, Function_Error_Type="Extension.NoConfig")[::2])
sys.exit(3)
"#;
    let function = with_extension(&bed, "honest", source, "def handler(e, c): pass").await;
    assert_eq!(error(&bed.invoke(&function, "{}").await), ("Extension.NoConfig".into(), "exit status 3".into()));
    let log = bed.log();
    assert!(log.contains("\"errorType\":\"Extension.MissingHeader\""), "{log}");
    assert!(log.contains("(202, '{\"status\":\"OK\"}\\n')"), "{log}");
    assert!(
        log.contains("EXTENSION\tName: honest\tState: InitError\tEvents: []\tError Type: Extension.NoConfig\n"),
        "{log}"
    );
}

#[tokio::test]
async fn what_cannot_be_launched_is_told() {
    let bed = Bed::new().await;
    let mut function = bed.function("python3.13", "app.handler", &[("app.py", "def handler(e, c): pass")]).await;
    function.layers = vec![bed.code(&[("extensions/broken", "\u{7f}ELF no program")]).await];
    let (kind, message) = error(&bed.invoke(&function, "{}").await);
    assert_eq!(kind, "Extension.LaunchError");
    assert!(message.starts_with("fork/exec /opt/extensions/broken: "), "{message}");
    assert!(bed.log().contains("EXTENSION\tName: broken\tState: LaunchError\tEvents: []\tError Type: "));
    let files: Vec<(String, &str)> =
        (0..11).map(|n| (format!("extensions/x{n:02}"), "#!/bin/sh\nsleep 60\n")).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), *text)).collect();
    function.layers = vec![bed.code(&files).await];
    function.release = base::Uuid::NIL;
    assert_eq!(error(&bed.invoke(&function, "{}").await).0, "Extension.LaunchError");
    assert!(
        bed.log().contains("EXTENSION\tName: x10\tState: LaunchError\tEvents: []\tError Type: TooManyExtensions\n")
    );
}

#[tokio::test]
async fn a_timeout_tells_extensions_why() {
    let bed = Bed::new().await;
    let source = r#"
id, _ = register("told", ["SHUTDOWN"])
for event in following(id):
    print("reason", event["shutdownReason"], 0 < event["deadlineMs"] / 1000 - time.time() <= 2)
    sys.exit(0)
"#;
    let function = "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: (print('asked to go', flush=True), sys.exit(0)))\n\
                    def handler(event, context):\n    time.sleep(event.get('sleep', 0))\n    return 'fine'";
    let mut function = with_extension(&bed, "told", source, function).await;
    function.timeout = Duration::from_secs(1);
    let answer = bed.invoke(&function, r#"{"sleep": 60}"#).await;
    assert_eq!(error(&answer).0, "Sandbox.Timedout");
    let log = until_logged(&bed, "reason ").await;
    assert!(log.contains("asked to go\n") && log.contains("reason timeout True\n"), "{log}");
}

#[tokio::test]
async fn what_ended_is_told_before_the_end() {
    let bed = Bed::new().await;
    // Nothing is due by time: only what is flushed arrives.
    let source = r#"
id, _ = register("last", ["SHUTDOWN"])
subscribe(id, listen(), buffering={"timeoutMs": 30000})
for event in following(id):
    heard = [json.loads(line) for line in open("/tmp/heard")]
    print("heard", [told["record"]["status"] for told in heard if told["type"] in ("platform.runtimeDone", "platform.report")])
    print("words", [told["record"] for told in heard if told["type"] == "function" and "going" in told["record"]])
    sys.exit(0)
"#;
    let function = "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: (print('going', flush=True), sys.exit(0)))\n\
                    def handler(event, context):\n    time.sleep(60)";
    let mut function = with_extension(&bed, "last", source, function).await;
    function.timeout = Duration::from_secs(1);
    assert_eq!(error(&bed.invoke(&function, "{}").await).0, "Sandbox.Timedout");
    let log = until_logged(&bed, "words ").await;
    assert!(log.contains("heard ['timeout', 'timeout']\n") && log.contains("words ['going\\n']\n"), "{log}");
}

#[tokio::test]
async fn who_is_too_slow_is_told_what_it_missed_and_holds_nobody_back() {
    let bed = Bed::new().await;
    let source = r#"
id, _ = register("slow", ["INVOKE"])
destination = listen()
inner = BaseHTTPRequestHandler.send_response
def send_response(self, *arguments):
    while not os.path.exists("/tmp/go"):
        time.sleep(0.01)
    inner(self, *arguments)
BaseHTTPRequestHandler.send_response = send_response
subscribe(id, destination, types=["platform", "function"])
for event in following(id):
    pass
"#;
    let function = format!(
        "{FUNCTION}
inner = handler
def handler(event, context):
    if event.get('flood'):
        for _ in range(3000):
            print('x' * 1000)
        return
    if event.get('go'):
        open('/tmp/go', 'w').close()
    return {{'heard': [told for told in inner(event, context)['heard'] if told['type'] != 'function']}}
"
    );
    let mut function = with_extension(&bed, "slow", source, &function).await;
    function.timeout = Duration::from_secs(20);
    assert_eq!(bed.invoke(&function, r#"{"flood": true}"#).await.failed, None);
    let answer = bed.invoke(&function, r#"{"go": true, "until": ["platform.logsDropped", 1]}"#).await;
    let answer: Value = serde_json::from_str(&answer.body).unwrap();
    let dropped =
        answer["heard"].as_array().unwrap().iter().find(|told| told["type"] == "platform.logsDropped").unwrap();
    let record = &dropped["record"];
    let reason = "Some logs were dropped because the downstream consumer is slower than the logs production rate";
    assert_eq!(record["reason"], reason);
    let (records, bytes) = (record["droppedRecords"].as_u64().unwrap(), record["droppedBytes"].as_u64().unwrap());
    assert!((1_000..3_000).contains(&records) && bytes > records * 1_000, "{record}");
    assert_eq!(bed.log().matches(&"x".repeat(1_000)).count(), 3_000, "the log has everything");
}

#[tokio::test]
async fn a_custom_runtime_has_extensions_too() {
    let bed = Bed::as_user().await;
    let runtime = r#"#!/bin/bash
api="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation"
while true; do
    curl -sS -o /dev/null -D /tmp/head "$api/next"
    id=$(grep -i lambda-runtime-aws-request-id /tmp/head | tr -d '\r' | cut -d' ' -f2)
    curl -sS -o /dev/null "$api/$id/response" -d '"done"'
done
"#;
    let extension = r#"#!/bin/bash
api="http://$AWS_LAMBDA_RUNTIME_API/2020-01-01/extension"
id=$(curl -sS -D - -o /dev/null "$api/register" -H "Lambda-Extension-Name: shell" -d '{"events": ["INVOKE"]}' |
    grep -i lambda-extension-identifier | tr -d '\r' | cut -d' ' -f2)
while curl -sS "$api/event/next" -H "Lambda-Extension-Identifier: $id" > /tmp/event; do
    echo "seen $(grep -o '"eventType":"[A-Z]*"' /tmp/event)"
done
"#;
    let mut function = bed.function("provided.al2023", "h", &[("bootstrap", runtime)]).await;
    function.layers = vec![bed.code(&[("extensions/shell", extension)]).await];
    for count in 1..=3 {
        let answer = bed.invoke(&function, "{}").await;
        assert_eq!(answer.body, "\"done\"", "{answer:?}\n{}", bed.log());
        assert!(answer.tail.unwrap().contains("seen \"eventType\":\"INVOKE\"\n"));
        assert_eq!(bed.log().matches("seen ").count(), count);
    }
}

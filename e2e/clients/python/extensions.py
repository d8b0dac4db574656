"""boto3 runs functions with extensions: one in Python that subscribes to telemetry over HTTP, one in Bash, one within the
function that subscribes over TCP. They hold invocations, break, and hear of the end."""

import base64
import io
import json
import sys
import time
import zipfile

import boto3
import botocore.exceptions
from botocore.config import Config

ROLE = "arn:aws:iam::000000000000:role/r"
ARN = "arn:aws:lambda:us-east-1:000000000000:function"
awslambda = boto3.client("lambda", config=Config(retries={"total_max_attempts": 1}))


def a_zip(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            entry = zipfile.ZipInfo(name)
            entry.create_system, entry.external_attr = 3, 0o100755 << 16
            archive.writestr(entry, text)
    return buffer.getvalue()


def layer(name, **extensions):
    files = {f"extensions/{file}": text for file, text in extensions.items()}
    return awslambda.publish_layer_version(LayerName=name, Content={"ZipFile": a_zip(files)})["LayerVersionArn"]


def make(name, code, *layers, **more):
    awslambda.create_function(
        FunctionName=name, Runtime="python3.13", Handler="app.handler", Role=ROLE, Timeout=10,
        Code={"ZipFile": a_zip({"app.py": code})}, Layers=list(layers), **more
    )


def call(name, event=None, tail=True):
    answer = awslambda.invoke(FunctionName=name, Payload=json.dumps(event), LogType="Tail" if tail else "None")
    log = base64.b64decode(answer.get("LogResult", "")).decode()
    return answer, json.loads(answer["Payload"].read()), log


def eventually(what, poll):
    for _ in range(1000):
        found = poll()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError(f"gave up waiting: {what}")


# An external extension writes down all that it hears, where the function can read it. At the end it tags the function,
# through the platform's own API.
WATCHER = """#!/usr/bin/python3 -u
import json, os, threading, urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
api = "http://" + os.environ["AWS_LAMBDA_RUNTIME_API"]
def ask(method, path, body=None, **headers):
    headers = {"Lambda-Extension-" + name: value for name, value in headers.items()}
    data = None if body is None else json.dumps(body).encode()
    reply = urllib.request.urlopen(urllib.request.Request(api + path, data, headers, method=method))
    return reply.headers, json.load(reply)
def note(event):
    with open("/tmp/heard", "a") as file:
        file.write(json.dumps(event) + "\\n")
class Listener(BaseHTTPRequestHandler):
    def do_POST(self):
        for event in json.loads(self.rfile.read(int(self.headers["Content-Length"]))):
            note(event)
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass
server = HTTPServer(("sandbox.localdomain", 8080), Listener)
threading.Thread(target=server.serve_forever, daemon=True).start()
headers, told = ask("POST", "/2020-01-01/extension/register", {"events": ["INVOKE", "SHUTDOWN"]}, Name="watcher")
id = headers["Lambda-Extension-Identifier"]
ask("PUT", "/2022-07-01/telemetry", {
    "schemaVersion": "2022-12-13", "types": ["platform", "function", "extension"], "buffering": {"timeoutMs": 25},
    "destination": {"protocol": "HTTP", "URI": "http://sandbox.localdomain:8080"},
}, Identifier=id)
print("watching", told["functionName"])
while True:
    event = ask("GET", "/2020-01-01/extension/event/next", Identifier=id)[1]
    note({"type": event["eventType"], **event})
    if event["eventType"] == "SHUTDOWN":
        url = os.environ["AWS_ENDPOINT_URL"] + "/2017-03-31/tags/ARN:" + told["functionName"]
        urllib.request.urlopen(url, json.dumps({"Tags": {event["shutdownReason"]: "heard"}}).encode())
        break
""".replace("ARN", ARN)
FUNCTION = """
import json, os, time
print("loaded")
def handler(event, context):
    print("handled")
    def heard():
        return [json.loads(line) for line in open("/tmp/heard")] if os.path.exists("/tmp/heard") else []
    while event.get("until") and event["until"] not in [told["type"] for told in heard()]:
        time.sleep(0.01)
    time.sleep(event.get("sleep", 0))
    return heard()
"""
watcher = layer("watcher", watcher=WATCHER)
make("watched", FUNCTION, watcher)
try:
    answer, heard, log = call("watched", {"until": "INVOKE"})
except botocore.exceptions.ClientError as error:
    # A host without namespaces runs no functions, and says so. Whatever else it says is a fault.
    if "running functions on this machine" not in str(error):
        raise
    print("skipped: this host lends no sandboxes")
    sys.exit(0)
first = answer["ResponseMetadata"]["RequestId"]
invoked = [told for told in heard if told["type"] == "INVOKE"]
assert [told["requestId"] for told in invoked] == [first], heard
assert invoked[0]["invokedFunctionArn"] == f"{ARN}:watched" and invoked[0]["deadlineMs"] > time.time() * 1000, invoked
answer, heard, log = call("watched", {"until": "platform.report"})
records = {told["type"]: told.get("record") for told in heard}
for kind in ["initStart", "initRuntimeDone", "initReport", "extension", "telemetrySubscription", "start", "runtimeDone"]:
    assert f"platform.{kind}" in records, (kind, heard)
report = records["platform.report"]
assert report["requestId"] == first and report["status"] == "success" and report["metrics"]["memorySizeMB"] == 128, report
assert [span["name"] for span in report["spans"]] == ["extensionOverhead"], report
lines = [(told["type"], told["record"]) for told in heard if told["type"] in ("function", "extension")]
assert ("function", "loaded\n") in lines and ("function", "handled\n") in lines, lines
assert ("extension", "watching watched\n") in lines, lines

# It hears why it ends: a call of what was changed ends what is idle, and what takes too long is ended.
awslambda.update_function_configuration(FunctionName="watched", Timeout=1)
assert call("watched", {"sleep": 60})[1]["errorType"] == "Sandbox.Timedout"
eventually("two ends", lambda: len(awslambda.list_tags(Resource=f"{ARN}:watched")["Tags"]) == 2)
assert awslambda.list_tags(Resource=f"{ARN}:watched")["Tags"].keys() == {"spindown", "timeout"}

# One in Bash holds its invocation, and not its response; its time is the function's.
KEEPER = """#!/bin/bash
api="http://$AWS_LAMBDA_RUNTIME_API/2020-01-01/extension"
id=$(curl -sS -D - -o /dev/null "$api/register" -H "Lambda-Extension-Name: $(basename $0)" -d '{"events": ["INVOKE"]}' |
    grep -i lambda-extension-identifier | tr -d '\\r' | cut -d' ' -f2)
while curl -sS "$api/event/next" -H "Lambda-Extension-Identifier: $id" > /tmp/event; do
    echo "keeping $(grep -c INVOKE /tmp/event)"
    sleep 0.5
done
"""
make("kept", "def handler(event, context): return 'there'", layer("keeper", keeper=KEEPER))
assert call("kept", tail=False)[1] == "there"
answer, result, log = call("kept")
assert result == "there" and "keeping 1\n" in log, log
duration = float(log.split("\tDuration: ")[1].split(" ms")[0])
assert 500 <= duration < 10_000, log
SLEEPER = KEEPER.replace("sleep 0.5", "sleep 60")
make("overdone", "def handler(event, context): return 'there'", layer("sleeper", sleeper=SLEEPER), MemorySize=256)
awslambda.update_function_configuration(FunctionName="overdone", Timeout=1)
answer, result, log = call("overdone")
assert result == "there" and "FunctionError" not in answer and log.endswith("\tStatus: timeout\n"), (answer, log)

# What breaks is told.
crash = WATCHER.replace("while True:", "ask('GET', '/2020-01-01/extension/event/next', Identifier=id)\nos._exit(7)\nwhile True:")
make("crashed", "import time\ndef handler(event, context): time.sleep(5)", layer("crash", watcher=crash))
answer, result, log = call("crashed")
assert result["errorType"] == "Extension.Crash" and result["errorMessage"].endswith("Error: exit status 7"), result
assert log.endswith("\tStatus: error\tError Type: Extension.Crash\n"), log
make("unnamed", "def handler(event, context): pass", layer("unnamed", other=WATCHER.replace("Name=", "Name='' and ")))
result = call("unnamed")[1]
assert result["errorType"] == "Extension.Crash", result

# One within the function registers from its runtime, and is refused what only others may.
INSIDE = """
import http.client, json, os, socket, threading
def ask(method, path, body, **headers):
    api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    headers = {"Lambda-Extension-" + name: value for name, value in headers.items()}
    api.request(method, path, json.dumps(body) if body is not None else None, headers)
    reply = api.getresponse()
    return reply.status, reply.headers, json.loads(reply.read())
heard = []
listener = socket.create_server(("127.0.0.1", 0))
def listen():
    for line in listener.accept()[0].makefile():
        heard.append(json.loads(line))
threading.Thread(target=listen, daemon=True).start()
REGISTER, EVENTS = "/2020-01-01/extension/register", {"events": ["INVOKE"]}
id = ask("POST", REGISTER, EVENTS, Name="inside")[1]["Lambda-Extension-Identifier"]
refused = [ask(*request, **headers)[::2] for request, headers in [
    (("POST", REGISTER, EVENTS), {}),
    (("POST", REGISTER, EVENTS), {"Name": "inside"}),
    (("POST", REGISTER, {"events": ["SHUTDOWN"]}), {"Name": "other"}),
    (("POST", REGISTER, {"events": ["NONE"]}), {"Name": "other"}),
    (("GET", "/2020-01-01/extension/event/next", None), {}),
    (("GET", "/2020-01-01/extension/event/next", None), {"Identifier": "none"}),
    (("POST", "/2020-01-01/extension/exit/error", None), {"Identifier": id}),
    (("PUT", "/2022-07-01/telemetry", {"schemaVersion": "2022-07-01", "types": ["platform"]}), {"Identifier": id}),
]]
subscription = {"types": ["platform", "function"], "schemaVersion": "2022-07-01", "buffering": {"timeoutMs": 25},
                "destination": {"protocol": "TCP", "port": listener.getsockname()[1]}}
assert ask("PUT", "/2022-07-01/telemetry", subscription, Identifier=id)[2] == "OK"
def follow():
    while True:
        ask("GET", "/2020-01-01/extension/event/next", None, Identifier=id)
threading.Thread(target=follow, daemon=True).start()
def handler(event, context):
    return {"heard": heard, "refused": refused}
"""
make("inside", INSIDE)
answer, result, log = call("inside")
assert [(status, error["errorType"]) for status, error in result["refused"]] == [
    (403, "Extension.InvalidExtensionName"), (403, "Extension.InvalidExtensionState"), (403, "Extension.InvalidEventType"),
    (403, "Extension.InvalidEventType"), (403, "Extension.MissingExtensionIdentifier"),
    (403, "Extension.InvalidExtensionIdentifier"), (403, "Extension.MissingHeader"), (400, "ValidationError"),
], result["refused"]


def reports():
    return [told for told in call("inside")[1]["heard"] if told["type"] == "platform.report"]


assert eventually("telemetry over TCP", reports)[0]["record"]["requestId"] == answer["ResponseMetadata"]["RequestId"]

# Traces are told, and sampled where the function says so.
make("traced", "import os\ndef handler(event, context): return os.environ['_X_AMZN_TRACE_ID']", TracingConfig={"Mode": "Active"})
answer, header, log = call("traced")
fields = dict(field.split("=") for field in header.split(";"))
assert fields["Sampled"] == "1", header
assert f"\nXRAY TraceId: {fields['Root']}\tSegmentId: {fields['Parent']}\tSampled: true\t\n" in log, log

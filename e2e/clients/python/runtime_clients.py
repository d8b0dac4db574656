"""An official runtime client on `provided.al2023`, unmodified: `runtime_clients.py CLIENT FOLDER`.

The folder is the function, and its handlers do what the event asks for.
"""

import base64
import json
import sys
import time

from calling import ARN, awslambda, fail, make, succeed, zipped

client, folder = sys.argv[1:]
HANDLERS = {"python": "client.answer", "node": "client.answer", "java": "app.Client"}
# What the client makes of an error, of one in init, and of an exit.
ERRORS = {
    "bash": "Asked", "python": "ValueError", "node": "TypeError", "java": "java.lang.IllegalArgumentException",
    "go": "errorString", "rust": "&alloc::boxed::Box<dyn core::error::Error + core::marker::Send + core::marker::Sync>",
}  # fmt: skip
INIT_ERRORS = {
    "bash": ("Asked", "no init"), "python": ("RuntimeError", "no init"), "node": ("Error", "no init"),
    "java": ("java.lang.IllegalStateException", "no init"), "go": ("Runtime.ExitError", "exit status 2"),
    "rust": ("Runtime.ExitError", "exit status 1"),
}  # fmt: skip
STREAMS = ("go", "rust", "node")

code = zipped({}, folder)
handler = HANDLERS.get(client, "none")
make("probe", "provided.al2023", handler, code, Timeout=30)
# After a timeout a runtime starts anew within the function's time, and Java takes what it takes.
make("short", "provided.al2023", handler, code, Timeout=8 if client == "java" else 3)
make("broken", "provided.al2023", handler, code, Environment={"Variables": {"FAIL_INIT": "1"}}, Timeout=30)

# Echo: what comes back is what went in, whatever it is, cold and warm.
for event in ({"grüße": [1, None, {"a": "\u2028\"\\"}]}, [], "text", 0, None):
    assert succeed("probe", event)[0] == event, event

# The context is the invocation's.
told = base64.b64encode(json.dumps({"custom": {"color": "blüe"}}).encode()).decode()
before = time.time() * 1000
response = awslambda.invoke(FunctionName="probe", Payload=b'{"do": "context"}', ClientContext=told)
seen = json.load(response["Payload"])
assert seen["request"] == response["ResponseMetadata"]["RequestId"], seen
assert (seen["arn"], seen["function"], seen["version"]) == (f"{ARN}:probe", "probe", "$LATEST"), seen
assert int(seen["memory"]) == 128 and seen["client"]["custom"] == {"color": "blüe"}, seen
assert before + 29_000 < seen["deadline"] < time.time() * 1000 + 30_000, seen

# Large payloads, both ways; one that is too large is refused, and the function lives on.
assert succeed("probe", "é" + "x" * 6_000_000)[0] == "é" + "x" * 6_000_000
assert len(succeed("probe", {"do": "big", "bytes": 6_000_000})[0]) == 6_000_000
result, _ = fail("probe", {"do": "big", "bytes": 7_000_000})
assert result["errorType"] == "Function.ResponseSizeTooLarge", result
assert succeed("probe", 1)[0] == 1

# Errors reach the caller as the client made them.
result, log = fail("probe", {"do": "fail"})
assert result["errorType"] == ERRORS[client] and "as asked" in result["errorMessage"], result
assert "START RequestId: " in log and "REPORT RequestId: " in log, log
result, _ = fail("probe", {"do": "exit"})
assert result["errorType"] == "Runtime.ExitError" and result["errorMessage"].endswith("exit status 3"), result
assert succeed("probe", 2)[0] == 2
for _ in range(2):
    result, log = fail("broken", 1)
    kind, words = INIT_ERRORS[client]
    assert result["errorType"] == kind and words in result["errorMessage"], result
result, log = fail("short", {"do": "sleep"})
assert result["errorType"] == "Sandbox.Timedout" and "Status: timeout" in log, (result, log)
assert succeed("short", 3)[0] == 3

if client in STREAMS:
    make("stream", "provided.al2023", handler.replace("answer", "stream").replace("none", "stream"), code, Timeout=30)
    # The Rust client opens every stream with what an HTTP answer begins with: status and headers, and eight NUL bytes.
    def told(response):
        return response.split(b"\0" * 8)[-1]

    response = awslambda.invoke(FunctionName="stream", Payload=b'{"do": "stream"}')
    body = response["Payload"].read()
    assert (told(body), response.get("FunctionError")) == (b"one,two,three", None), (body, response)
    response = awslambda.invoke_with_response_stream(FunctionName="stream", Payload=b'{"do": "stream"}')
    events = list(response["EventStream"])
    body = b"".join(event["PayloadChunk"]["Payload"] for event in events[:-1])
    assert told(body) == b"one,two,three" and "ErrorCode" not in events[-1]["InvokeComplete"], events
    response = awslambda.invoke_with_response_stream(FunctionName="stream", Payload=b'{"do": "fail"}')
    events = list(response["EventStream"])
    if client == "rust":
        # It writes what would be trailers into the body, and AWS passes that on too.
        assert b"Lambda-Runtime-Function-Error-Type: Runtime.StreamError" in events[-2]["PayloadChunk"]["Payload"], events
    else:
        complete = events[-1]["InvokeComplete"]
        assert complete["ErrorCode"] and "as asked" in complete["ErrorDetails"], events

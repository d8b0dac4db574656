"""boto3 takes responses as functions write them: streamed by Node.js and by a custom runtime, buffered by Python."""

import base64
import json
import os
import time
import urllib.request

from calling import ARN, awslambda, check_that_functions_run, refused, write

check_that_functions_run()


def events(name, event=None, **more):
    answer = awslambda.invoke_with_response_stream(FunctionName=name, Payload=json.dumps(event), **more)
    return answer, answer["EventStream"]


def whole(name, event=None, **more):
    answer, stream = events(name, event, **more)
    found = list(stream)
    pieces = [found["PayloadChunk"]["Payload"] for found in found if "PayloadChunk" in found]
    assert "InvokeComplete" in found[-1] and len(pieces) == len(found) - 1, found
    return answer, b"".join(pieces), found[-1]["InvokeComplete"]


NODE = """
exports.handler = awslambda.streamifyResponse(async (event, stream, context) => {
  console.log("streaming", event.what);
  if (event.what === "steps") {
    stream.write("first,");
    await new Promise((resolve) => setTimeout(resolve, event.pause));
    stream.write("second");
  }
  if (event.what === "much") {
    const piece = Buffer.alloc(64 * 1024, "x");
    for (let at = 0; at < event.pieces; at += 1) {
      if (!stream.write(piece)) await new Promise((resolve) => stream.once("drain", resolve));
    }
  }
  if (event.what === "early") throw new TypeError("before anything");
  if (event.what === "late") {
    stream.write("so far");
    await new Promise((resolve) => setTimeout(resolve, 50));
    throw new TypeError("in the middle");
  }
  stream.end();
});
"""
write("node", "nodejs20.x", "index.handler", "index.js", NODE, Timeout=30, MemorySize=512)

# What is written is there before what is not written yet.
answer, stream = events("node", {"what": "steps", "pause": 1000})
assert answer["StatusCode"] == 200 and answer["ExecutedVersion"] == "$LATEST", answer
assert answer["ResponseStreamContentType"] == "application/vnd.amazon.eventstream", answer
came = [(event, time.monotonic()) for event in stream]
(first, at_first), (second, at_second) = came[0], came[-2]
assert first["PayloadChunk"]["Payload"] == b"first," and second["PayloadChunk"]["Payload"] == b"second", came
assert at_second - at_first > 0.5, came
assert came[-1][0]["InvokeComplete"] == {}, came

# Whoever goes away in the middle misses the rest; the function goes on, and counts as long as it does.
_, stream = events("node", {"what": "steps", "pause": 3000})
assert next(iter(stream))["PayloadChunk"]["Payload"] == b"first,"
stream.close()
left = time.monotonic()


def is_idle(timeout):
    with urllib.request.urlopen(f"{os.environ['AWS_ENDPOINT_URL']}/_lamp/idle?timeout={timeout}") as answer:
        return json.load(answer)["is_idle"]


assert not is_idle("0s") and is_idle("20s") and time.monotonic() - left > 1.5, time.monotonic() - left

# More than a buffered response may have, and the log with the end.
answer, body, end = whole("node", {"what": "much", "pieces": 160}, LogType="Tail")
assert len(body) == 160 * 64 * 1024 and set(body) == {ord("x")}
log = base64.b64decode(end["LogResult"]).decode()
assert "streaming much" in log and "REPORT RequestId: " in log, log

# Errors, before the response has begun and after.
_, body, end = whole("node", {"what": "early"})
assert body == b"" and end["ErrorCode"] == "Unhandled" and json.loads(end["ErrorDetails"])["errorMessage"] == "before anything", end
_, body, end = whole("node", {"what": "late"})
assert body == b"so far" and end["ErrorCode"] == "Unhandled", (body, end)
assert json.loads(end["ErrorDetails"])["errorType"] == "TypeError", end

# Who goes away in the middle costs nothing: the function ends, and the next call is served.
_, stream = events("node", {"what": "much", "pieces": 160})
next(iter(stream))
stream.close()
assert whole("node", {"what": "steps", "pause": 0})[1] == b"first,second"

# The same function by an ordinary call.
answer = awslambda.invoke(FunctionName="node", Payload=json.dumps({"what": "steps", "pause": 0}))
assert answer["Payload"].read() == b"first,second"

# Functions that do not stream answer in pieces too.
write("py", "python3.13", "app.handler", "app.py", "def handler(event, context):\n    return event['a'] * event['times']\n")
_, body, end = whole("py", {"a": "a", "times": 3})
assert (body, end) == (b'"aaa"', {}), (body, end)
_, body, end = whole("py", {})
assert body == b"" and json.loads(end["ErrorDetails"])["errorType"] == "KeyError", end
_, body, end = whole("py", {"a": "a", "times": 7 * 1024 * 1024})
assert "Function.ResponseSizeTooLarge" in end["ErrorDetails"], end

# Dry runs, and what is refused.
answer, stream = events("py", InvocationType="DryRun")
assert answer["StatusCode"] == 204 and list(stream) == [], answer
stream = awslambda.invoke_with_response_stream
refused("ResourceNotFoundException", f"Function not found: {ARN}:none:$LATEST", stream, FunctionName="none")
refused("InvalidRequestContentException", "Could not parse request body into json", stream, FunctionName="py", Payload=b"\x99")

# A tenant's instances are its own, and who it is must be said.
write("shared", "python3.13", "app.handler", "app.py", """
import uuid
me = str(uuid.uuid4())
def handler(event, context):
    return [me, context.tenant_id]
""", TenancyConfig={"TenantIsolationMode": "PER_TENANT"})
seen = {}
for tenant in ["blue", "green", "blue"]:
    me, said = json.loads(whole("shared", TenantId=tenant)[1])
    assert said == tenant and seen.setdefault(tenant, me) == me, (tenant, me, seen)
assert seen["blue"] != seen["green"], seen
invoke = awslambda.invoke
refused("InvalidParameterValueException", "Add a valid tenant ID", invoke, FunctionName="shared")
refused("InvalidParameterValueException", "Remove the tenant ID", invoke, FunctionName="py", TenantId="blue")
print("done")

"""boto3 runs functions: Python and Node.js by our own runtimes, a shell script by the Runtime API."""

import json
import os
import zipfile

from calling import (
    ARN, ROLE, awslambda, call, check_that_functions_reach_the_platform, check_that_functions_run, refused, write, zipped,
)

check_that_functions_run()

# A function sees its event, its context, its variables; what it prints is in its log, between AWS's lines.
PYTHON = """
import os
runs = 0
def handler(event, context):
    global runs
    runs += 1
    print("seen", event)
    return {
        "event": event, "runs": runs, "stage": os.environ["STAGE"], "request": context.aws_request_id,
        "arn": context.invoked_function_arn, "version": context.function_version, "memory": context.memory_limit_in_mb,
        "left": context.get_remaining_time_in_millis(), "uid": os.getuid(), "home": os.path.exists("/root"),
        "role": os.environ["AWS_ACCESS_KEY_ID"][:4],
    }
"""
write("py", "python3.13", "app.handler", "app.py", PYTHON, Environment={"Variables": {"STAGE": "one"}}, Publish=True)
answer, result, log = call("py", {"grüße": [1, None]})
assert answer["StatusCode"] == 200 and "FunctionError" not in answer, answer
assert answer["ExecutedVersion"] == "$LATEST", answer
request = answer["ResponseMetadata"]["RequestId"]
assert result["event"] == {"grüße": [1, None]} and result["stage"] == "one" and result["request"] == request, result
assert result["arn"] == f"{ARN}:py" and (result["version"], result["memory"]) == ("$LATEST", "128"), result
assert 0 < result["left"] <= 3000 and result["role"] == "ASIA", result
assert result["uid"] not in (0, 1000) and not result["home"], result
assert f"START RequestId: {request} Version: $LATEST\n" in log and "seen {'grüße': [1, None]}\n" in log, log
assert f"END RequestId: {request}\n" in log and "Memory Size: 128 MB" in log, log

# It stays warm; a version and an alias have instances of their own; a new configuration has too.
assert call("py")[1]["runs"] == 2
awslambda.create_alias(FunctionName="py", Name="live", FunctionVersion="1")
answer, result, _ = call("py", Qualifier="live")
assert (answer["ExecutedVersion"], result["runs"], result["arn"]) == ("1", 1, f"{ARN}:py:live"), (answer, result)
awslambda.update_function_configuration(FunctionName="py", Environment={"Variables": {"STAGE": "two"}})
assert [call("py")[1]["stage"], call("py", Qualifier="1")[1]["stage"]] == ["two", "one"]

# Failures are answers.
write("raises", "python3.13", "app.handler", "app.py", "def handler(event, context): raise ValueError('no')")
answer, result, log = call("raises")
assert answer["FunctionError"] == "Unhandled" and (result["errorType"], result["errorMessage"]) == ("ValueError", "no"), result
assert "[ERROR] ValueError: no" in log, log
write("sleeps", "python3.13", "app.handler", "app.py", "import time\ndef handler(event, context): time.sleep(60)", Timeout=1)
answer, result, log = call("sleeps")
assert result["errorType"] == "Sandbox.Timedout" and result["errorMessage"].endswith("Task timed out after 1.00 seconds"), result
assert "Status: timeout" in log, log
write("exits", "python3.13", "app.handler", "app.py", "import os\ndef handler(event, context): os._exit(3)")
for _ in range(2):
    answer, result, _ = call("exits")
    assert result["errorType"] == "Runtime.ExitError" and result["errorMessage"].endswith("exit status 3"), result
write("missing", "python3.13", "nowhere.handler", "app.py", "")
assert call("missing")[1]["errorType"] == "Runtime.ImportModuleError"

# Another language, and none.
write("js", "nodejs22.x", "index.handler", "index.js", "exports.handler = async (event) => ({ doubled: event.n * 2 });")
assert call("js", {"n": 21})[1] == {"doubled": 42}
SHELL = """#!/bin/bash
api="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation"
while true; do
    event=$(curl -sS -D /tmp/head "$api/next")
    id=$(grep -i lambda-runtime-aws-request-id /tmp/head | tr -d '\\r' | cut -d' ' -f2)
    curl -sS "$api/$id/response" -d "{\\"shell\\": $event}" > /dev/null
done
"""
write("sh", "provided.al2023", "none", "bootstrap", SHELL)
assert [call("sh", n)[1] for n in (1, 2)] == [{"shell": 1}, {"shell": 2}]

# A function calls another through the platform's own API, with the key that it was given.
check_that_functions_reach_the_platform(os.environ["AWS_ENDPOINT_URL"])

# What is refused runs nothing.
refused("ResourceNotFoundException", f"Function not found: {ARN}:nobody:$LATEST", awslambda.invoke, FunctionName="nobody")
refused("InvalidRequestContentException", "Could not parse request body into json", awslambda.invoke,
        FunctionName="py", Payload=b"{")
assert awslambda.invoke(FunctionName="py", InvocationType="DryRun")["StatusCode"] == 204
awslambda.put_function_concurrency(FunctionName="py", ReservedConcurrentExecutions=0)
refused("TooManyRequestsException", "Rate Exceeded.", awslambda.invoke, FunctionName="py")
refused("RequestEntityTooLargeException", "Request must be smaller than 6291456 bytes for the InvokeFunction operation",
        awslambda.invoke, FunctionName="py", Payload=b'"' + b"x" * 6291456 + b'"')

# A caller's trace goes on in the function, under a segment of its own; whether it is sampled stays the caller's decision.
TRACE = """
import os
def handler(event, context):
    return os.environ["_X_AMZN_TRACE_ID"]
"""
write("trace", "python3.13", "app.handler", "app.py", TRACE)
sent = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
awslambda.meta.events.register("before-send.lambda.Invoke", lambda request, **_: request.headers.update({"X-Amzn-Trace-Id": sent}))
root, parent, sampled, lineage = call("trace")[1].split(";")
assert (root, sampled) == ("Root=1-5759e988-bd862e3fe1be46a994272793", "Sampled=1"), (root, sampled)
assert lineage.startswith("Lineage=") and lineage.endswith(":0"), lineage
assert parent.startswith("Parent=") and parent != "Parent=53995c3f42cd8ad8", parent

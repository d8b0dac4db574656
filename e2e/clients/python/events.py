"""boto3 sends events and does not wait: `send` leaves some that a kill interrupts, `seen` finds that all have run."""

import json
import sys
import time

from calling import ARN, awslambda, check_that_functions_run, refused, write

# What has run shows in tags that the function gives itself, through the platform's own API.
MARKER = """
import json, os, time, urllib.request
def handler(event, context):
    if event.get("hang"):
        time.sleep(600)
    url = os.environ["AWS_ENDPOINT_URL"] + "/2017-03-31/tags/" + context.invoked_function_arn
    tags = json.dumps({"Tags": {event["id"]: context.aws_request_id}}).encode()
    urllib.request.urlopen(urllib.request.Request(url, tags, {"Content-Type": "application/json"})).read()
    if event.get("fail"):
        raise ValueError("after it was seen")
"""


def send(name, event, **more):
    answer = awslambda.invoke(FunctionName=name, InvocationType="Event", Payload=json.dumps(event), **more)
    assert answer["StatusCode"] == 202 and answer["Payload"].read() == b"" and "ExecutedVersion" not in answer, answer
    return answer["ResponseMetadata"]["RequestId"]


def tags(name):
    return awslambda.list_tags(Resource=f"{ARN}:{name}")["Tags"]


def wait_for(name, wanted):
    deadline = time.monotonic() + 60
    while not wanted.items() <= (found := tags(name)).items():
        assert time.monotonic() < deadline, (wanted, found)
        time.sleep(0.05)


if sys.argv[1] == "send":
    check_that_functions_run()
    write("marker", "python3.13", "app.handler", "app.py", MARKER, Timeout=900)
    awslambda.invoke(FunctionName="marker", Payload=json.dumps({"id": "sync"}))
    sent = {f"e{at}": send("marker", {"id": f"e{at}"}) for at in range(20)}
    sent["failed"] = send("marker", {"id": "failed", "fail": True}, LogType="Tail")
    wait_for("marker", sent)
    # The operation of old, and what is too long.
    answer = awslambda.invoke_async(FunctionName="marker", InvokeArgs=json.dumps({"id": "async"}))
    assert answer["Status"] == 202, answer
    wait_for("marker", {"async": answer["ResponseMetadata"]["RequestId"]})
    long = json.dumps({"id": "x" * 1024 * 1024})
    event = {"FunctionName": "marker", "InvocationType": "Event"}
    refused("RequestEntityTooLargeException", "1048576 bytes for the InvokeFunction", awslambda.invoke, Payload=long, **event)
    refused("InvalidRequestContentException", "parse", awslambda.invoke, Payload=b"{", **event)
    refused("ResourceNotFoundException", "$LATEST", awslambda.invoke, FunctionName="none", InvocationType="Event")
    # A function without concurrency gets nothing, and one that is gone neither.
    write("closed", "python3.13", "app.handler", "app.py", MARKER)
    awslambda.put_function_concurrency(FunctionName="closed", ReservedConcurrentExecutions=0)
    send("closed", {"id": "never"})
    write("gone", "python3.13", "app.handler", "app.py", MARKER, Timeout=900)
    send("gone", {"id": "hangs", "hang": True})
    awslambda.delete_function(FunctionName="gone")
    # These wait behind reserved concurrency that one event holds, until the server is killed.
    write("late", "python3.13", "app.handler", "app.py", MARKER, Timeout=900)
    awslambda.put_function_concurrency(FunctionName="late", ReservedConcurrentExecutions=1)
    send("late", {"id": "hangs", "hang": True})
    late = {f"l{at}": send("late", {"id": f"l{at}"}) for at in range(5)}
    print(json.dumps(late))
else:
    awslambda.delete_function_concurrency(FunctionName="late")
    wait_for("late", json.loads(sys.argv[2]))
    assert tags("closed") == {} and "sync" in tags("marker")
    print("done")

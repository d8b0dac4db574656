"""What becomes of asynchronous invocations is told: to queues, to functions, to dead letters, and once each. Loops end.

`all` looks at everything; `send` leaves events that a kill interrupts, `seen` finds one record of each.
"""

import io
import json
import os
import sys
import time
import zipfile
from datetime import UTC, datetime, timedelta

import boto3
import botocore
import dateutil
import jmespath
import s3transfer
import six
import urllib3
from calling import ARN, awslambda, check_that_functions_run, make, write
from refusal import refused

sqs, logs, cloudwatch = boto3.client("sqs"), boto3.client("logs"), boto3.client("cloudwatch")
QUEUES = "arn:aws:sqs:us-east-1:000000000000:"

WORKER = """
import time
def handler(event, context):
    time.sleep(event.get("sleep", 0))
    if "fail" in event:
        raise ValueError(event["fail"])
    return {"did": event}
"""
LISTENER = """
import json
def handler(event, context):
    print("heard", json.dumps(event))
"""
# These call on by their SDK alone, which sends on what the function was told of its trace.
CHAIN = """
import boto3, os
def handler(event, context):
    if "NEXT" in os.environ:
        boto3.client("lambda").invoke(FunctionName=os.environ["NEXT"], InvocationType="Event", Payload=b"{}")
    else:
        boto3.client("sqs").send_message(QueueUrl=os.environ["END"], MessageBody="arrived")
"""
ITSELF = """
import boto3, json
awslambda = boto3.client("lambda")
def handler(event, context):
    awslambda.invoke(FunctionName=context.function_name, InvocationType="Event", Payload=json.dumps({"n": event["n"] + 1}))
"""
ROUND = """
import boto3, os
sqs = boto3.client("sqs")
def handler(event, context):
    for record in event["Records"]:
        print("given", record["body"])
        sqs.send_message(QueueUrl=os.environ["QUEUE"], MessageBody=str(int(record["body"]) + 1))
"""


def bundle(code):
    """A function that bundles boto3, with what that knows of the services that are called here."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("app.py", code)
        archive.write(six.__file__, "six.py")
        for module in [boto3, botocore, dateutil, jmespath, s3transfer, urllib3]:
            root = os.path.dirname(module.__file__)
            for place, folders, names in os.walk(root):
                folders[:] = [name for name in folders if name != "__pycache__"]
                if place == os.path.join(root, "data"):
                    folders[:] = [name for name in folders if name in ("lambda", "sqs")]
                for name in names:
                    path = os.path.join(place, name)
                    archive.write(path, os.path.relpath(path, os.path.dirname(root)))
    return buffer.getvalue()


def queue(name, **attributes):
    return sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]


def until(what, told, seconds=60):
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, told()
        time.sleep(0.2)
    return found


def received(url, count, seconds=60):
    """So many messages, taken out of their queue."""
    messages, end = [], time.monotonic() + seconds
    while len(messages) < count:
        assert time.monotonic() < end, (url, messages)
        answer = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1, AttributeNames=["All"], MessageAttributeNames=["All"])
        for message in answer.get("Messages", []):
            messages.append(message)
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return messages


def record(url):
    (message,) = received(url, 1)
    return json.loads(message["Body"])


def count(url):
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    return sum(int(attributes["ApproximateNumberOfMessages" + end]) for end in ["", "NotVisible", "Delayed"])


def send(name, event):
    text = event if isinstance(event, str) else json.dumps(event)
    return awslambda.invoke(FunctionName=name, InvocationType="Event", Payload=text)["ResponseMetadata"]["RequestId"]


def measured(function, metric):
    now = datetime.now(UTC)
    answer = cloudwatch.get_metric_statistics(
        Namespace="AWS/Lambda", MetricName=metric, Dimensions=[{"Name": "FunctionName", "Value": function}],
        StartTime=now - timedelta(hours=1), EndTime=now + timedelta(hours=1), Period=3600, Statistics=["Sum"],
    )
    return sum(point["Sum"] for point in answer["Datapoints"])


def measures(function, metric, value):
    until(lambda: measured(function, metric) == value, lambda: (function, metric, measured(function, metric)))


def said(function, word):
    """What a function printed behind a word, in order."""
    pages = logs.get_paginator("filter_log_events").paginate(logGroupName=f"/aws/lambda/{function}", filterPattern=word)
    try:
        events = [event["message"] for page in pages for event in page["events"]]
    except logs.exceptions.ResourceNotFoundException:
        return []  # it has said nothing yet
    return [message.split(word, 1)[1].strip() for message in events]


def told_to(function, **destinations):
    config = {name: {"Destination": arn} for name, arn in destinations.items()}
    awslambda.put_function_event_invoke_config(FunctionName=function, MaximumRetryAttempts=0, DestinationConfig=config)


def queues_are_told():
    told, dead = queue("told"), queue("dead")
    write("worker", "python3.13", "app.handler", "app.py", WORKER, DeadLetterConfig={"TargetArn": QUEUES + "dead"})
    told_to("worker", OnSuccess=QUEUES + "told", OnFailure=QUEUES + "told")
    id, event = send("worker", {"a": 1.50, "é": []}), {"a": 1.50, "é": []}
    found = record(told)
    datetime.strptime(found.pop("timestamp"), "%Y-%m-%dT%H:%M:%S.%fZ")
    context = {"requestId": id, "functionArn": f"{ARN}:worker:$LATEST", "condition": "Success", "approximateInvokeCount": 1}
    assert found == {
        "version": "1.0", "requestContext": context, "requestPayload": event,
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST"}, "responsePayload": {"did": event},
    }, found
    assert count(dead) == 0

    # A failure is told to the destination, and the event itself is a dead letter.
    body = json.dumps({"fail": "x\x1b" + "é" * 1000})
    id = send("worker", body)
    (message,) = received(told, 1)
    found = json.loads(message["Body"])
    assert found["requestContext"] == {**context, "requestId": id, "condition": "RetriesExhausted"}, found
    assert found["requestPayload"] == json.loads(body) and found["responsePayload"]["errorType"] == "ValueError", found
    assert found["responseContext"] == {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"}, found
    assert "Lineage=" in message["Attributes"]["AWSTraceHeader"], message
    (letter,) = received(dead, 1)
    assert letter["Body"] == body, letter
    assert letter["MessageAttributes"] == {
        "RequestID": {"DataType": "String", "StringValue": id},
        "ErrorCode": {"DataType": "Number", "StringValue": "200"},
        "ErrorMessage": {"DataType": "String", "StringValue": "x\ufffd" + "é" * 511},
    }, letter
    measures("worker", "AsyncEventsDropped", 1)

    # A function without concurrency: at once, and it did not run.
    awslambda.put_function_concurrency(FunctionName="worker", ReservedConcurrentExecutions=0)
    id = send("worker", {"never": True})
    found = record(told)
    assert found["requestContext"]["condition"] == "ZeroReservedConcurrency", found
    assert found["requestContext"]["approximateInvokeCount"] == 0 and "responseContext" not in found and "responsePayload" not in found, found
    assert received(dead, 1)[0]["MessageAttributes"]["ErrorCode"]["StringValue"] == "429"
    awslambda.delete_function_concurrency(FunctionName="worker")

    # What cannot be delivered is counted: a queue that is too small, one that is gone, a topic.
    queue("small", MaximumMessageSize="1024")
    told_to("worker", OnSuccess=QUEUES + "small", OnFailure="arn:aws:sns:us-east-1:000000000000:topic")
    send("worker", {"long": "x" * 2000})
    measures("worker", "DestinationDeliveryFailures", 1)
    sqs.delete_queue(QueueUrl=dead)
    send("worker", {"fail": "nobody hears it"})
    measures("worker", "DestinationDeliveryFailures", 2)
    measures("worker", "DeadLetterErrors", 1)
    measures("worker", "AsyncEventsDropped", 3)
    assert measured("worker", "AsyncEventsReceived") == 5

    # What waits for a function that is deleted goes with it, and is counted.
    write("leaves", "python3.13", "app.handler", "app.py", "import time\ndef handler(event, context): time.sleep(5)")
    awslambda.put_function_concurrency(FunctionName="leaves", ReservedConcurrentExecutions=1)
    for number in range(4):
        send("leaves", {"n": number})
    until(lambda: measured("leaves", "AsyncEventAge") > 0, lambda: "none has begun")
    awslambda.delete_function(FunctionName="leaves")
    measures("leaves", "AsyncEventsDropped", 3)


def functions_are_told():
    write("listener", "python3.13", "app.handler", "app.py", LISTENER)
    write("speaker", "python3.13", "app.handler", "app.py", WORKER)
    told_to("speaker", OnSuccess=f"{ARN}:listener", OnFailure=f"{ARN}:listener")
    ids = [send("speaker", {"n": 1}), send("speaker", {"fail": "no"})]
    until(lambda: len(said("listener", "heard")) == 2, lambda: said("listener", "heard"))
    heard = [json.loads(text) for text in said("listener", "heard")]
    assert {told["requestContext"]["requestId"]: told["requestContext"]["condition"] for told in heard} == dict(zip(ids, ["Success", "RetriesExhausted"])), heard


def chains_run_and_loops_end():
    # Twenty functions after each other are no loop.
    end, chain = queue("end"), bundle(CHAIN)
    for at in range(20):
        variables = {"NEXT": f"link{at + 1}"} if at < 19 else {"END": end}
        make(f"link{at}", "python3.13", "app.handler", chain, Environment={"Variables": variables}, Timeout=60, MemorySize=512)
    send("link0", {})
    (message,) = received(end, 1, seconds=120)
    lineage = message["Attributes"]["AWSTraceHeader"].split("Lineage=")[1]
    assert [entry.split(":")[1] for entry in lineage.split("|")] == ["0"] * 20, message

    # One that invokes itself is given up after sixteen times.
    stopped = queue("stopped")
    make("itself", "python3.13", "app.handler", bundle(ITSELF), Timeout=60, MemorySize=512, TracingConfig={"Mode": "Active"})
    told_to("itself", OnFailure=QUEUES + "stopped")
    send("itself", {"n": 1})
    (message,) = received(stopped, 1, seconds=120)
    found = json.loads(message["Body"])
    assert found["requestPayload"] == {"n": 17} and "responsePayload" not in found, found
    assert found["requestContext"]["approximateInvokeCount"] == 0, found
    measures("itself", "RecursiveInvocationsDropped", 1)
    measures("itself", "AsyncEventsDropped", 1)
    # Who waits is told so.
    def with_header(params, **_):
        params["headers"]["X-Amzn-Trace-Id"] = message["Attributes"]["AWSTraceHeader"]
    awslambda.meta.events.register("before-call.lambda.Invoke", with_header)
    refused("RecursiveInvocationException", "recursive loop", awslambda.invoke, FunctionName="itself", Payload=b'{"n": 1}')
    awslambda.meta.events.unregister("before-call.lambda.Invoke", with_header)

    # One that sends to its own queue, likewise: the message goes to the queue's dead letters.
    dead = queue("round-dead")
    redrive = json.dumps({"deadLetterTargetArn": QUEUES + "round-dead", "maxReceiveCount": 5})
    around = queue("round", VisibilityTimeout="60", RedrivePolicy=redrive)
    make("round", "python3.13", "app.handler", bundle(ROUND), Timeout=60, MemorySize=512, Environment={"Variables": {"QUEUE": around}})
    mapping = awslambda.create_event_source_mapping(EventSourceArn=QUEUES + "round", FunctionName="round")["UUID"]
    sqs.send_message(QueueUrl=around, MessageBody="1")
    (message,) = received(dead, 1, seconds=120)
    assert message["Body"] == "17", message
    until(lambda: count(around) == 0, lambda: count(around))
    until(lambda: len(said("round", "given")) == 16, lambda: said("round", "given"))
    measures("round", "RecursiveInvocationsDropped", 1)
    # Where there is no such queue, it goes away.
    sqs.set_queue_attributes(QueueUrl=around, Attributes={"RedrivePolicy": ""})
    sqs.send_message(QueueUrl=around, MessageBody="101")
    measures("round", "RecursiveInvocationsDropped", 2)
    until(lambda: count(around) == 0, lambda: count(around))
    # Unless it may.
    awslambda.put_function_recursion_config(FunctionName="round", RecursiveLoop="Allow")
    sqs.send_message(QueueUrl=around, MessageBody="1001")
    until(lambda: "1020" in said("round", "given"), lambda: said("round", "given"))
    awslambda.delete_event_source_mapping(UUID=mapping)
    assert measured("round", "RecursiveInvocationsDropped") == 2


if sys.argv[1] == "all":
    check_that_functions_run()
    queues_are_told()
    functions_are_told()
    chains_run_and_loops_end()
elif sys.argv[1] == "send":
    check_that_functions_run()
    queue("told")
    write("worker", "python3.13", "app.handler", "app.py", WORKER)
    told_to("worker", OnSuccess=QUEUES + "told", OnFailure=QUEUES + "told")
    print(json.dumps([send("worker", {"sleep": 0.05} if at % 2 else {"sleep": 0.05, "fail": "no"}) for at in range(150)]))
elif sys.argv[1] == "seen":
    sent, url = json.loads(sys.argv[2]), queue("told")
    ids = [json.loads(message["Body"])["requestContext"]["requestId"] for message in received(url, len(sent), seconds=120)]
    time.sleep(2)
    assert sorted(ids) == sorted(sent) and count(url) == 0, (len(ids), len(set(ids)), len(sent), count(url))

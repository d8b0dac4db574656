"""A queue's messages reach a function by an event source mapping: in batches, in order, again when it fails, and to the dead
letters at last."""

import json
import time

import boto3
from calling import write
from refusal import refused

sqs, awslambda, logs = boto3.client("sqs"), boto3.client("lambda"), boto3.client("logs")
ARN = "arn:aws:sqs:us-east-1:000000000000:"

# Fails with what says so: with all of it, or with single messages; writes down what it was given in a queue of its own.
CODE = """
import json, os, urllib.request, time

def handler(event, context):
    records = event["Records"]
    print("given", json.dumps([record["body"][:20] for record in records]))
    failed = [record for record in records if record["body"].startswith("bad")]
    if any(record["body"] == "worst" for record in records):
        raise ValueError("worst")
    return {"batchItemFailures": [{"itemIdentifier": record["messageId"]} for record in failed]}
"""


def counts(url):
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    return tuple(int(found["ApproximateNumberOfMessages" + end]) for end in ["", "NotVisible", "Delayed"])


def given(function):
    """What each call was given, in order."""
    pages = logs.get_paginator("filter_log_events").paginate(logGroupName=f"/aws/lambda/{function}", filterPattern="given")
    events = [event for page in pages for event in page["events"]]
    return [json.loads(event["message"].split("given", 1)[1]) for event in events]


def until(what, told, seconds=60):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, told()
        time.sleep(0.2)


def given_in_all(function, count, wanted=lambda body: True):
    """The calls, once their log tells of so many messages: it follows within a second."""

    def told():
        return [call for call in given(function) if wanted(call[0])]

    until(lambda: sum(map(len, told())) >= count, lambda: told())
    return told()


def queue(name, **attributes):
    return sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "3", **attributes})["QueueUrl"]


write("worker", "python3.13", "app.handler", "app.py", CODE, Timeout=3)

# What cannot be read is refused.
refused("InvalidParameterValueException", "NonExistentQueue", awslambda.create_event_source_mapping, EventSourceArn=ARN + "none", FunctionName="worker")
sqs.create_queue(QueueName="hasty", Attributes={"VisibilityTimeout": "2"})
refused("InvalidParameterValueException", "less than Function timeout: 3 seconds", awslambda.create_event_source_mapping, EventSourceArn=ARN + "hasty", FunctionName="worker")

# Messages come, and go when the function is done with them; a function that reports failures keeps those.
dead = queue("dead")
redrive = json.dumps({"deadLetterTargetArn": ARN + "dead", "maxReceiveCount": 2})
jobs = queue("jobs", RedrivePolicy=redrive)
for body in ["a", "b", "bad c"]:
    sqs.send_message(QueueUrl=jobs, MessageBody=body, MessageAttributes={"n": {"DataType": "Number", "StringValue": "1"}})
mapping = awslambda.create_event_source_mapping(EventSourceArn=ARN + "jobs", FunctionName="worker", FunctionResponseTypes=["ReportBatchItemFailures"])
until(lambda: counts(jobs) == (0, 0, 0), lambda: (counts(jobs), given("worker")))
assert counts(dead)[0] == 1, counts(dead)
calls = given_in_all("worker", 4)
assert sorted(body for call in calls for body in call) == ["a", "b", "bad c", "bad c"], calls
assert calls[-1] == ["bad c"], calls
# A message that comes later wakes it.
began = time.monotonic()
sqs.send_message(QueueUrl=jobs, MessageBody="later")
until(lambda: counts(jobs) == (0, 0, 0), lambda: counts(jobs))
assert time.monotonic() - began < 15

# What fails as a whole comes again as a whole.
sqs.send_message(QueueUrl=jobs, MessageBody="worst")
until(lambda: counts(dead)[0] == 2, lambda: (counts(jobs), counts(dead)))
assert given_in_all("worker", 2, lambda body: body == "worst") == [["worst"]] * 2

# A disabled mapping reads nothing; an enabled one goes on.
awslambda.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
until(lambda: awslambda.get_event_source_mapping(UUID=mapping["UUID"])["State"] == "Disabled", lambda: "it is not disabled")
time.sleep(1)
sqs.send_message(QueueUrl=jobs, MessageBody="waits")
time.sleep(2)
assert counts(jobs) == (1, 0, 0), counts(jobs)
awslambda.update_event_source_mapping(UUID=mapping["UUID"], Enabled=True, BatchSize=100, MaximumBatchingWindowInSeconds=2)
until(lambda: counts(jobs) == (0, 0, 0), lambda: counts(jobs))

# Many are gathered while there is time.
for start in range(0, 60, 10):
    sqs.send_message_batch(QueueUrl=jobs, Entries=[{"Id": str(n), "MessageBody": f"m{n}"} for n in range(start, start + 10)])
until(lambda: counts(jobs) == (0, 0, 0), lambda: counts(jobs))
sizes = [len(call) for call in given_in_all("worker", 60, lambda body: body.startswith("m"))]
assert sum(sizes) == 60 and len(sizes) < 10, sizes
awslambda.delete_event_source_mapping(UUID=mapping["UUID"])

# A filter lets through what it matches; the rest goes.
orders = queue("orders")
pattern = json.dumps({"body": {"total": [{"numeric": [">", 100]}]}, "messageAttributes": {"kind": {"stringValue": ["order"]}}})
# What has no fields lacks none.
absent = json.dumps({"body": {"total": [{"exists": False}]}})
filters = {"Filters": [{"Pattern": pattern}, {"Pattern": absent}]}
awslambda.create_event_source_mapping(EventSourceArn=ARN + "orders", FunctionName="worker", FilterCriteria=filters)
kind = {"kind": {"DataType": "String", "StringValue": "order"}}
bodies = [('{"total": 7}', kind), ('{"total": 170}', kind), ('{"total": 180}', {}), ("[total]", kind), ('"no total"', {}), ('{"totals": 0}', {})]
for body, attributes in bodies:
    sqs.send_message(QueueUrl=orders, MessageBody=body, MessageAttributes=attributes)
until(lambda: counts(orders) == (0, 0, 0), lambda: counts(orders))
calls = given_in_all("worker", 2, lambda body: "total" in body)
assert sorted(body for call in calls for body in call) == ['{"total": 170}', '{"totals": 0}'], calls

# What a queue does not hide is given to the function all the same.
open_queue = queue("open")
awslambda.create_event_source_mapping(EventSourceArn=ARN + "open", FunctionName="worker")
sqs.set_queue_attributes(QueueUrl=open_queue, Attributes={"VisibilityTimeout": "0"})
sqs.send_message(QueueUrl=open_queue, MessageBody="unhidden")
until(lambda: counts(open_queue) == (0, 0, 0), lambda: counts(open_queue))
assert given_in_all("worker", 1, lambda body: body == "unhidden") == [["unhidden"]]

# What is gathered for longer than it is hidden is given once.
write("patient", "python3.13", "app.handler", "app.py", CODE.replace("    return", "    time.sleep(1.5)\n    return"), Timeout=3)
gathered = queue("gathered")
window = {"MaximumBatchingWindowInSeconds": 6, "BatchSize": 100}
awslambda.create_event_source_mapping(EventSourceArn=ARN + "gathered", FunctionName="patient", **window)
sqs.send_message(QueueUrl=gathered, MessageBody="patience")
until(lambda: counts(gathered) == (0, 0, 0), lambda: counts(gathered))
patient = time.monotonic() + 7

# Order holds in a FIFO queue's groups, calls at once and failures or not.
steps = queue("steps.fifo", FifoQueue="true", ContentBasedDeduplication="true")
for number in range(12):
    for group in "xyz":
        sqs.send_message(QueueUrl=steps, MessageBody=f"{group}{number}", MessageGroupId=group)
write("ordered", "python3.13", "app.handler", "app.py", CODE, Timeout=3)
awslambda.create_event_source_mapping(EventSourceArn=ARN + "steps.fifo", FunctionName="ordered", BatchSize=3)
until(lambda: counts(steps) == (0, 0, 0), lambda: counts(steps))
bodies = [body for call in given_in_all("ordered", 36) for body in call]
for group in "xyz":
    assert [body for body in bodies if body[0] == group] == [f"{group}{number}" for number in range(12)], bodies

# What does not fit in the 6 MB of a call is given back, and that it was taken does not count against it.
dead_longs = queue("dead-longs.fifo", FifoQueue="true")
once = json.dumps({"deadLetterTargetArn": ARN + "dead-longs.fifo", "maxReceiveCount": 1})
longs = queue("longs.fifo", FifoQueue="true", ContentBasedDeduplication="true", RedrivePolicy=once)
for number in range(10, 23):
    sqs.send_message(QueueUrl=longs, MessageBody=f"long{number}".ljust(1_000_000), MessageGroupId="one")
awslambda.create_event_source_mapping(EventSourceArn=ARN + "longs.fifo", FunctionName="ordered", BatchSize=10)
until(lambda: counts(longs) == (0, 0, 0), lambda: counts(longs))
calls = given_in_all("ordered", 13, lambda body: body.startswith("long"))
assert [body.strip() for call in calls for body in call] == [f"long{number}" for number in range(10, 23)], calls
assert max(map(len, calls)) < 7 and counts(dead_longs) == (0, 0, 0), counts(dead_longs)
time.sleep(max(patient - time.monotonic(), 0))
assert given("patient") == [["patience"]], given("patient")
print("queues feed functions")

"""AWS Powertools' batch processing behind event source mappings, of a standard and of a FIFO queue: `batches.py RUNTIME MODULE FOLDER`."""

import json
import sys
import time

import boto3
from calling import awslambda, make, zipped

runtime, module, folder = sys.argv[1:]
sqs, logs = boto3.client("sqs"), boto3.client("logs")
ARN = "arn:aws:sqs:us-east-1:000000000000:"


def counts(url):
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    return tuple(int(found["ApproximateNumberOfMessages" + end]) for end in ["", "NotVisible", "Delayed"])


def did(function):
    """What was done with success, in order."""
    pages = logs.get_paginator("filter_log_events").paginate(
        logGroupName=f"/aws/lambda/{function}", filterPattern='{ $.message = "did" }'
    )
    try:
        return [json.loads(event["message"])["body"] for page in pages for event in page["events"]]
    except logs.exceptions.ResourceNotFoundException:  # before the first call
        return []


def until(what, told, seconds=60):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, told()
        time.sleep(0.1)


def queue(name, dead, **attributes):
    sqs.create_queue(QueueName=dead, Attributes=attributes)
    redrive = json.dumps({"deadLetterTargetArn": ARN + dead, "maxReceiveCount": 2})
    hidden = {"VisibilityTimeout": "5", "RedrivePolicy": redrive}
    return sqs.create_queue(QueueName=name, Attributes={**hidden, **attributes})["QueueUrl"]


def read(function, name, **more):
    awslambda.create_event_source_mapping(
        EventSourceArn=ARN + name, FunctionName=function, FunctionResponseTypes=["ReportBatchItemFailures"], **more
    )


jobs = queue("jobs", "dead")
fifo = {"FifoQueue": "true", "ContentBasedDeduplication": "true"}
steps = queue("steps.fifo", "dead.fifo", **fifo)
code = zipped({}, folder)
for name in ("batch", "steps"):
    make(name, runtime, f"{module}.{name}", code, Timeout=5, MemorySize=256)
for body in ["one", "bad", "flaky", "two"]:
    sqs.send_message(QueueUrl=jobs, MessageBody=body)
for body in ["x1", "flaky x2", "x3", "y1", "y2"]:
    sqs.send_message(QueueUrl=steps, MessageBody=body, MessageGroupId=body.removeprefix("flaky ")[0])
read("batch", "jobs", MaximumBatchingWindowInSeconds=1)
read("steps", "steps.fifo")

# What succeeded is not done again; what failed came again, alone, and what always fails is a dead letter.
until(lambda: len(did("batch")) >= 3, lambda: (counts(jobs), did("batch")))
until(lambda: counts(jobs) == (0, 0, 0), lambda: counts(jobs))
assert sorted(did("batch")) == ["flaky", "one", "two"], did("batch")
(letter,) = sqs.receive_message(QueueUrl=sqs.get_queue_url(QueueName="dead")["QueueUrl"], WaitTimeSeconds=5)["Messages"]
assert letter["Body"] == "bad", letter

# What follows a failure in its group waited for it; the other group went on meanwhile.
until(lambda: len(did("steps")) >= 5, lambda: (counts(steps), did("steps")))
until(lambda: counts(steps) == (0, 0, 0), lambda: counts(steps))
order = did("steps")
assert [body for body in order if body[-2] == "x"] == ["x1", "flaky x2", "x3"], order
assert [body for body in order if body[-2] == "y"] == ["y1", "y2"], order
assert order.index("y2") < order.index("flaky x2"), order
print("batches: all as it should be")

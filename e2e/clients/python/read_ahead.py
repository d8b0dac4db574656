"""A quick function finds its next messages read already. When it becomes slow, what was read for it is left to others."""

import time

import boto3
from calling import awslambda, check_that_functions_run, write

check_that_functions_run()
sqs = boto3.client("sqs")
url = sqs.create_queue(QueueName="jobs", Attributes={"VisibilityTimeout": "300"})["QueueUrl"]
CODE = """
import time
def handler(event, context):
    for record in event["Records"]:
        time.sleep(float(record["body"]))
"""
write("works", "python3.13", "app.handler", "app.py", CODE, Timeout=60, MemorySize=256)
mapping = awslambda.create_event_source_mapping(
    EventSourceArn="arn:aws:sqs:us-east-1:000000000000:jobs",
    FunctionName="works",
    BatchSize=1,
    ScalingConfig={"MaximumConcurrency": 2},
)


def counts():
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return tuple(int(found[name]) for name in names)


def until(what, holds):
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, (what, counts())
        time.sleep(0.05)


def send(count, seconds):
    for at in range(0, count, 10):
        entries = [{"Id": str(n), "MessageBody": str(seconds)} for n in range(at, min(at + 10, count))]
        sqs.send_message_batch(QueueUrl=url, Entries=entries)


send(200, 0)
until("quick ones are done", lambda: counts() == (0, 0))
send(8, 20)
# Two are with the function, which has them for long. All others are there for whoever asks, not when their time is over.
until("what waits is left to others", lambda: counts() == (6, 2))
got = []
until("others get it", lambda: got.extend(sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])) or len(got) == 6)
for message in got:
    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
until("the function ends its own", lambda: counts() == (0, 0))

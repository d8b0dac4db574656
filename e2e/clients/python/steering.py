"""What operators see and steer: queues looked into and frozen, mappings frozen, events that die and live again, and waiting
until all that was caused is over. `lamp` is asked at the machine, boto3 does what programs do."""

import json
import os
import subprocess
import threading
import time
import uuid

import boto3
from calling import call, write, zipped

sqs, awslambda, logs = boto3.client("sqs"), boto3.client("lambda"), boto3.client("logs")
ARN = "arn:aws:sqs:us-east-1:000000000000:"

# Fails when it is told to; hands on what it is told to, and how late.
CODE = """
import json, os, time, urllib.request

def send(url, body, delay):
    message = {"QueueUrl": url, "MessageBody": body, "DelaySeconds": delay}
    headers = {"X-Amzn-Trace-Id": os.environ["_X_AMZN_TRACE_ID"], "X-Amz-Target": "AmazonSQS.SendMessage"}
    headers["Content-Type"] = "application/x-amz-json-1.0"
    request = urllib.request.Request(os.environ["AWS_ENDPOINT_URL"], json.dumps(message).encode(), headers)
    urllib.request.urlopen(request).read()

def handler(event, context):
    if "Records" in event:
        event = json.loads(event["Records"][0]["body"])
    if "awslogs" in event:
        event = {"next": os.environ["HEARD"], "then": {}}
    time.sleep(event.get("takes", 0))
    if event.get("next"):
        send(event["next"], json.dumps(event["then"]), event.get("delay", 0))
    if event.get("by") == 0:
        raise ValueError("by nothing")
"""


def lamp(*arguments, fails=False):
    done = subprocess.run([os.environ["LAMP_BIN"], *arguments], capture_output=True, text=True, timeout=60)
    assert (done.returncode != 0) == fails, (arguments, done.stdout, done.stderr)
    return done.stderr if fails else done.stdout


def told(*arguments):
    return json.loads(lamp(*arguments, "--json"))


def queue_told(name):
    return next(queue for queue in told("queue", "ls")["queues"] if queue["name"] == name)


def bodies(name):
    return [message["body"] for message in told("queue", "peek", name)["messages"]]


# Messages are seen without being received.
dead = sqs.create_queue(QueueName="dead")["QueueUrl"]
redrive = json.dumps({"deadLetterTargetArn": ARN + "dead", "maxReceiveCount": 1})
jobs = sqs.create_queue(QueueName="jobs", Attributes={"VisibilityTimeout": "2", "RedrivePolicy": redrive})["QueueUrl"]
with subprocess.Popen([os.environ["LAMP_BIN"], "queue", "tail", "jobs", "--json"], stdout=subprocess.PIPE, text=True) as tail:
    seen = []
    threading.Thread(target=lambda: seen.extend(map(json.loads, tail.stdout)), daemon=True).start()
    end = time.monotonic() + 30
    while not seen:
        # Until it listens.
        assert time.monotonic() < end, "nothing was seen of what was sent"
        sqs.send_message(QueueUrl=jobs, MessageBody="early")
        time.sleep(0.1)
    sqs.send_message(QueueUrl=jobs, MessageBody="last\x09\u202e")
    while seen[-1]["body"] != "last\x09\u202e":
        assert time.monotonic() < end, seen
        time.sleep(0.05)
    tail.kill()
assert bodies("jobs")[-1] == "last\t\u202e" and all(message["receives"] == 0 for message in seen)
assert "\u202e" not in lamp("queue", "peek", "jobs", "--limit", "100")
lamp("queue", "purge", "jobs")
assert bodies("jobs") == [] and "jobs is empty." in lamp("queue", "peek", "jobs")
assert "did you mean jobs?" in lamp("queue", "peek", "jops", fails=True)
assert "purge" in lamp("queue", "purge", "jobs", fails=True).lower()

# A frozen queue takes messages and gives none, also to who waits already; thawed it gives them at once.
got = []
sqs.send_message(QueueUrl=jobs, MessageBody="cold")
lamp("queue", "freeze", "jobs")
waits = threading.Thread(target=lambda: got.extend(sqs.receive_message(QueueUrl=jobs, WaitTimeSeconds=20)["Messages"]))
waits.start()
time.sleep(0.5)
assert not got and queue_told("jobs")["is_frozen"] and queue_told("jobs")["waiting"] == 1
began = time.monotonic()
lamp("queue", "thaw", "jobs")
waits.join()
assert [message["Body"] for message in got] == ["cold"] and time.monotonic() - began < 15
assert not queue_told("jobs")["is_frozen"]

# It is not deleted: it becomes a dead letter, and comes back by a redrive.
end = time.monotonic() + 30
while bodies("dead") != ["cold"]:
    assert time.monotonic() < end, bodies("jobs")
    sqs.receive_message(QueueUrl=jobs)
    time.sleep(0.2)
assert "1 message of dead moved." in lamp("queue", "redrive", "dead")
assert (bodies("dead"), bodies("jobs")) == ([], ["cold"])
assert "must be configured as a Dead Letter Queue" in lamp("queue", "redrive", "jobs", fails=True)
sqs.delete_message(QueueUrl=jobs, ReceiptHandle=sqs.receive_message(QueueUrl=jobs)["Messages"][0]["ReceiptHandle"])

# A move rests while the queue is frozen.
parked = sqs.create_queue(QueueName="parked")["QueueUrl"]
for start in range(0, 60, 10):
    sqs.send_message_batch(QueueUrl=dead, Entries=[{"Id": str(n), "MessageBody": "old"} for n in range(start, start + 10)])
sqs.start_message_move_task(SourceArn=ARN + "dead", DestinationArn=ARN + "parked", MaxNumberOfMessagesPerSecond=20)
lamp("queue", "freeze", "dead")
time.sleep(0.5)
left = queue_told("dead")["waiting"]
time.sleep(1.5)
assert queue_told("dead")["waiting"] == left > 1, left
lamp("wait", "--until-idle", "--timeout", "10s")
lamp("queue", "thaw", "dead")
while queue_told("dead")["waiting"]:
    time.sleep(0.1)
sqs.delete_queue(QueueUrl=parked)

write("worker", "python3.13", "app.handler", "app.py", CODE, Timeout=10)
call("worker")
slow = sqs.create_queue(QueueName="slow", Attributes={"VisibilityTimeout": "10"})["QueueUrl"]
mapping = awslambda.create_event_source_mapping(EventSourceArn=ARN + "slow", FunctionName="worker")["UUID"]
lamp("wait", "--until-idle")

# A chain of an event, a delayed message and an invocation is over when its last is.
began = time.monotonic()
event = {"next": slow, "delay": 2, "then": {"takes": 1}}
answer = awslambda.invoke(FunctionName="worker", InvocationType="Event", Payload=json.dumps(event))
trace = answer["ResponseMetadata"]["HTTPHeaders"]["x-amzn-trace-id"].split("=")[1].split(";")[0]
assert "worker" in lamp("wait", "--until-idle", "--timeout", "0s", fails=True)
assert told("wait", "--until-idle", "--trace", "1-00000000-000000000000000000000000")["is_idle"]
lamp("wait", "--until-idle", "--trace", trace)
assert time.monotonic() - began > 2.9, "it ended too early"
lamp("wait", "--until-idle", "--trace", answer["ResponseMetadata"]["RequestId"])
lamp("wait", "--until-idle", "--trace", answer["ResponseMetadata"]["HTTPHeaders"]["x-amzn-trace-id"])
assert "a trace is" in lamp("wait", "--until-idle", "--trace", "nonsense", fails=True)
# Nor is it over before those are told who hear of what is logged.
logs.create_log_group(logGroupName="shop")
logs.create_log_stream(logGroupName="shop", logStreamName="till")
heard = sqs.create_queue(QueueName="heard")["QueueUrl"]
worker = awslambda.update_function_configuration(FunctionName="worker", Environment={"Variables": {"HEARD": heard}})
awslambda.add_permission(
    FunctionName="worker", StatementId="logs", Action="lambda:InvokeFunction", Principal="logs.amazonaws.com",
    SourceArn="arn:aws:logs:us-east-1:000000000000:log-group:shop:*",
)
logs.put_subscription_filter(
    logGroupName="shop", filterName="paid", filterPattern="paid", destinationArn=worker["FunctionArn"]
)
for times in range(1, 6):
    event = {"timestamp": round(time.time() * 1000), "message": f"paid {times}"}
    logs.put_log_events(logGroupName="shop", logStreamName="till", logEvents=[event])
    lamp("wait", "--until-idle")
    assert queue_told("heard")["waiting"] == times
logs.delete_log_group(logGroupName="shop")

# What is to happen later can be left out.
sqs.send_message(QueueUrl=slow, MessageBody="{}", DelaySeconds=900)
lamp("wait", "--until-idle", "--skip-later")
assert "messages of slow are not done with" in lamp("wait", "--until-idle", "--timeout", "1s", fails=True)
lamp("queue", "freeze", "slow")
lamp("wait", "--until-idle")
lamp("queue", "thaw", "slow")
lamp("queue", "purge", "slow")

# A frozen mapping reads nothing, says so, and goes on when it is thawed.
lamp("mapping", "freeze", mapping)
assert awslambda.get_event_source_mapping(UUID=mapping)["LastProcessingResult"] == "Frozen by the operator"
sqs.send_message(QueueUrl=slow, MessageBody="{}")
time.sleep(1)
assert queue_told("slow")["waiting"] == 1
lamp("mapping", "thaw", mapping)
lamp("wait", "--until-idle")
assert queue_told("slow")["waiting"] == 0 and "LastProcessingResult" not in awslambda.get_event_source_mapping(UUID=mapping)

# One whose function fails says with what, until it does no more.
def last_error():
    return told("mapping", "ls")["mappings"][0]["last_error"]


sqs.send_message(QueueUrl=slow, MessageBody='{"by": 0}')
end = time.monotonic() + 30
while last_error() != "by nothing":
    assert time.monotonic() < end, told("mapping", "ls")
    time.sleep(0.1)
assert "the function fails: by nothing" in lamp("mapping", "ls")
assert "`lamp mapping ls` shows" in lamp("mapping", "freeze", "1234", fails=True)

# Events that fail wait, die, and live again.
for _ in range(2):
    awslambda.invoke(FunctionName="worker", InvocationType="Event", Payload=json.dumps({"by": 0}))
lamp("wait", "--until-idle", "--skip-later")
events = told("events", "worker")
assert (events["retrying"], events["dead"], events["waiting"]) == (2, 0, 0), events
assert {(event["state"], event["attempts"], event["last_error"]) for event in events["events"]} == {("retrying", 1, "by nothing")}
assert all(event["next"] for event in events["events"])
assert "to be tried again at" in lamp("wait", "--until-idle", "--timeout", "1", fails=True)
awslambda.put_function_event_invoke_config(FunctionName="worker", MaximumRetryAttempts=0)
ids = [
    awslambda.invoke(FunctionName="worker", InvocationType="Event", Payload=json.dumps({"by": 0}))["ResponseMetadata"]["RequestId"]
    for _ in range(3)
]
lamp("wait", "--until-idle", "--skip-later")
events = told("events", "worker")
dead_ids = [event["id"] for event in events["events"] if event["state"] == "dead"]
assert events["dead"] == 3 and sorted(dead_ids) == sorted(ids), events
assert "RetriesExhausted: by nothing" in lamp("events", "worker")
assert told("events", "worker", "--redrive", "--id", ids[0]) == {"redriven": 1}
lamp("wait", "--until-idle", "--skip-later")
assert told("events", "worker")["dead"] == 3, "it failed again"
assert "None of these events is dead" in lamp("events", "worker", "--redrive", "--id", str(uuid.uuid4()), fails=True)
fixed = CODE.replace("raise ValueError", "str")
awslambda.update_function_code(FunctionName="worker", ZipFile=zipped({"app.py": fixed}))
assert "Tried again: 3 dead events of worker." in lamp("events", "worker", "--redrive")
lamp("wait", "--until-idle", "--skip-later")
assert told("events", "worker")["dead"] == 0
lamp("wait", "--until-idle", "--timeout", "5m")
assert last_error() is None
assert "did you mean worker?" in lamp("events", "workr", fails=True)

# Those that die again at once are tried again once.
write("doomed", "python3.13", "app.handler", "app.py", CODE)
awslambda.put_function_concurrency(FunctionName="doomed", ReservedConcurrentExecutions=0)
for _ in range(600):
    awslambda.invoke(FunctionName="doomed", InvocationType="Event", Payload=b"{}")
lamp("wait", "--until-idle")
assert told("events", "doomed")["dead"] == 600
assert "Tried again: 600 dead events of doomed." in lamp("events", "doomed", "--redrive")
lamp("wait", "--until-idle")
assert told("events", "doomed")["dead"] == 600

# A mapping whose function is gone keeps nobody else from what comes,
got = []
waits = threading.Thread(target=lambda: got.extend(boto3.client("sqs").receive_message(QueueUrl=slow, WaitTimeSeconds=20).get("Messages", [])))
waits.start()
time.sleep(0.5)
awslambda.delete_function(FunctionName="worker")
began = time.monotonic()
sqs.send_message(QueueUrl=slow, MessageBody="{}")
waits.join()
assert got and time.monotonic() - began < 10, "nobody was woken"
sqs.delete_message(QueueUrl=slow, ReceiptHandle=got[0]["ReceiptHandle"])

# says so, and takes nothing.
end = time.monotonic() + 40
while "not found" not in awslambda.get_event_source_mapping(UUID=mapping).get("LastProcessingResult", ""):
    assert time.monotonic() < end, told("mapping", "ls")
    time.sleep(0.5)
sqs.send_message(QueueUrl=slow, MessageBody="{}")
time.sleep(1)
assert [message["receives"] for message in told("queue", "peek", "slow")["messages"]] == [0]

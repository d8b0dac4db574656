"""boto3 makes queues of SQS, sends, receives, hides and deletes messages, in standard and FIFO queues."""

import hashlib
import json
import socket
import threading
import time
import urllib.parse
import urllib.request
import xml.etree.ElementTree as ElementTree

import boto3
from botocore.config import Config
from refusal import refused

sqs = boto3.client("sqs", config=Config(retries={"total_max_attempts": 1}))
ARN = "arn:aws:sqs:us-east-1:000000000000:"
connections = []


def attributes(url, *names):
    return sqs.get_queue_attributes(QueueUrl=url, AttributeNames=list(names or ["All"])).get("Attributes", {})


def counts(url):
    found = attributes(url)
    return tuple(int(found["ApproximateNumberOfMessages" + end]) for end in ["", "NotVisible", "Delayed"])


def receive(url, most=10, **options):
    return sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=most, **options).get("Messages", [])


def bodies(messages):
    return [message["Body"] for message in messages]


# Queues and their attributes.
url = sqs.create_queue(QueueName="orders", tags={"team": "lamp"})["QueueUrl"]
assert url.endswith("/000000000000/orders") and sqs.get_queue_url(QueueName="orders")["QueueUrl"] == url, url
assert sqs.create_queue(QueueName="orders")["QueueUrl"] == url
assert sqs.create_queue(QueueName="orders", Attributes={"VisibilityTimeout": "30"})["QueueUrl"] == url
refused("QueueAlreadyExists", "different value for attribute DelaySeconds", sqs.create_queue, QueueName="orders", Attributes={"DelaySeconds": "1"})
for name, told in [("a b", "alphanumeric"), ("x" * 81, "1 to 80"), ("a.fifo", "alphanumeric"), ("", "1 to 80")]:
    refused("InvalidParameterValue", told, sqs.create_queue, QueueName=name)
refused("InvalidParameterValue", "must end with", sqs.create_queue, QueueName="a", Attributes={"FifoQueue": "true"})
refused("InvalidAttributeName", "Unknown Attribute Foo.", sqs.create_queue, QueueName="a", Attributes={"Foo": "1"})
for name, value in [("VisibilityTimeout", "43201"), ("DelaySeconds", "-1"), ("MessageRetentionPeriod", "59"), ("Policy", "{")]:
    refused("InvalidAttributeValue", f"Invalid value for the parameter {name}.", sqs.set_queue_attributes, QueueUrl=url, Attributes={name: value})
    assert attributes(url)["VisibilityTimeout"] == "30"
refused("AWS.SimpleQueueService.NonExistentQueue", "does not exist", sqs.get_queue_url, QueueName="none")
refused("AWS.SimpleQueueService.NonExistentQueue", "does not exist", sqs.send_message, QueueUrl=url + "x", MessageBody="x")
assert sqs.list_queue_tags(QueueUrl=url)["Tags"] == {"team": "lamp"}
sqs.tag_queue(QueueUrl=url, Tags={"stage": "test"})
sqs.untag_queue(QueueUrl=url, TagKeys=["team"])
refused("InvalidParameterValue", "control character", sqs.tag_queue, QueueUrl=url, Tags={"a\x01": "b"})
assert sqs.list_queue_tags(QueueUrl=url)["Tags"] == {"stage": "test"}
for number in range(3):
    sqs.create_queue(QueueName=f"many-{number}")
pages = sqs.get_paginator("list_queues").paginate(QueueNamePrefix="many-", PaginationConfig={"PageSize": 2})
assert [[url.rsplit("-")[-1] for url in page["QueueUrls"]] for page in pages] == [["0", "1"], ["2"]]

# A message: what is said of it, its sums, and its life.
sent = sqs.send_message(
    QueueUrl=url,
    MessageBody="hello",
    MessageAttributes={"n": {"DataType": "Number", "StringValue": "7"}, "b": {"DataType": "Binary.png", "BinaryValue": b"\0\1"}},
)
assert sent["MD5OfMessageBody"] == hashlib.md5(b"hello").hexdigest() and "SequenceNumber" not in sent, sent
assert counts(url) == (1, 0, 0)
(got,) = receive(url, MessageAttributeNames=["All"], MessageSystemAttributeNames=["All"])
assert got["MessageId"] == sent["MessageId"] and got["MD5OfMessageAttributes"] == sent["MD5OfMessageAttributes"], got
assert got["MessageAttributes"]["b"]["BinaryValue"] == b"\0\1" and got["Attributes"]["ApproximateReceiveCount"] == "1", got
assert receive(url) == [] and counts(url) == (0, 1, 0)
sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=got["ReceiptHandle"], VisibilityTimeout=0)
(again,) = receive(url, AttributeNames=["ApproximateReceiveCount"])
assert again["Attributes"] == {"ApproximateReceiveCount": "2"} and again["ReceiptHandle"] != got["ReceiptHandle"]
sqs.delete_message(QueueUrl=url, ReceiptHandle=again["ReceiptHandle"])
sqs.delete_message(QueueUrl=url, ReceiptHandle=again["ReceiptHandle"])
refused("InvalidParameterValue", "Message does not exist", sqs.change_message_visibility, QueueUrl=url, ReceiptHandle=again["ReceiptHandle"], VisibilityTimeout=1)
refused("ReceiptHandleIsInvalid", "not a valid receipt handle", sqs.delete_message, QueueUrl=url, ReceiptHandle="nonsense")
assert counts(url) == (0, 0, 0)

# What a message may not be.
refused("MissingParameter", "MessageBody", sqs.send_message, QueueUrl=url, MessageBody="")
refused("InvalidMessageContents", "Invalid characters", sqs.send_message, QueueUrl=url, MessageBody="\x01")
refused("InvalidParameterValue", "must be shorter than 1048576 bytes", sqs.send_message, QueueUrl=url, MessageBody="x" * (1024 * 1024 + 1))
refused("InvalidParameterValue", "DelaySeconds", sqs.send_message, QueueUrl=url, MessageBody="x", DelaySeconds=901)
refused("InvalidParameterValue", "MessageDeduplicationId", sqs.send_message, QueueUrl=url, MessageBody="x", MessageDeduplicationId="1")
refused("InvalidParameterValue", "Must be between 1 and 10", sqs.receive_message, QueueUrl=url, MaxNumberOfMessages=11)
refused("InvalidParameterValue", "exceeds the allowed maximum", sqs.send_message, QueueUrl=url, MessageBody="x", MessageAttributes={f"a{n}": {"DataType": "String", "StringValue": "x"} for n in range(11)})
big = "x" * (1024 * 1024)
sqs.send_message(QueueUrl=url, MessageBody=big)
(got,) = receive(url)
assert got["Body"] == big
sqs.delete_message(QueueUrl=url, ReceiptHandle=got["ReceiptHandle"])

# Batches: some of it may fail.
batch = sqs.send_message_batch(QueueUrl=url, Entries=[{"Id": str(n), "MessageBody": "\x01" if n == 3 else f"b{n}"} for n in range(10)])
assert len(batch["Successful"]) == 9 and [(entry["Id"], entry["Code"]) for entry in batch["Failed"]] == [("3", "InvalidMessageContents")], batch
refused("AWS.SimpleQueueService.EmptyBatchRequest", "at least one", sqs.send_message_batch, QueueUrl=url, Entries=[])
refused("AWS.SimpleQueueService.BatchEntryIdsNotDistinct", "Id 1 repeated", sqs.delete_message_batch, QueueUrl=url, Entries=[{"Id": "1", "ReceiptHandle": "x"}] * 2)
got = receive(url)
assert len(got) == 9
entries = [{"Id": str(n), "ReceiptHandle": one["ReceiptHandle"]} for n, one in enumerate(got)]
changed = sqs.change_message_visibility_batch(QueueUrl=url, Entries=[dict(entry, VisibilityTimeout=600) for entry in entries])
assert len(changed["Successful"]) == 9
deleted = sqs.delete_message_batch(QueueUrl=url, Entries=entries[:8] + [{"Id": "bad", "ReceiptHandle": "x"}])
assert len(deleted["Successful"]) == 8 and [entry["Code"] for entry in deleted["Failed"]] == ["ReceiptHandleIsInvalid"], deleted
assert counts(url) == (0, 1, 0)

# Delays, and receiving that waits.
waiting = sqs.create_queue(QueueName="waiting", Attributes={"ReceiveMessageWaitTimeSeconds": "20"})["QueueUrl"]
sqs.send_message(QueueUrl=waiting, MessageBody="later", DelaySeconds=1)
assert counts(waiting) == (0, 0, 1) and receive(waiting, WaitTimeSeconds=0) == []
assert bodies(receive(waiting)) == ["later"]
threading.Timer(0.5, lambda: boto3.client("sqs").send_message(QueueUrl=waiting, MessageBody="now")).start()
began = time.monotonic()
assert bodies(receive(waiting)) == ["now"]
assert time.monotonic() - began < 10, "it heard of it"

# The header of a trace is one.
for header in ["Root=" + "1" * 3_000, "Root=\t"]:
    system = {"AWSTraceHeader": {"DataType": "String", "StringValue": header}}
    refused("InvalidParameterValue", "X-Ray trace header", sqs.send_message, QueueUrl=waiting, MessageBody="x", MessageSystemAttributes=system)

# Order, and what is sent twice.
fifo = sqs.create_queue(QueueName="steps.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
refused("MissingParameter", "MessageGroupId", sqs.send_message, QueueUrl=fifo, MessageBody="x")
refused("InvalidParameterValue", "ContentBasedDeduplication", sqs.send_message, QueueUrl=fifo, MessageBody="x", MessageGroupId="a")


def step(body, group, token=None):
    return sqs.send_message(QueueUrl=fifo, MessageBody=body, MessageGroupId=group, MessageDeduplicationId=token or body)


first, second = step("a1", "a"), step("a2", "a")
step("b1", "b")
assert step("other", "a", "a1")["MessageId"] == first["MessageId"] and first["SequenceNumber"] < second["SequenceNumber"]
one = receive(fifo, 1, ReceiveRequestAttemptId="first")
assert bodies(one) == ["a1"] and receive(fifo, 1, ReceiveRequestAttemptId="first")[0]["ReceiptHandle"] == one[0]["ReceiptHandle"]
assert bodies(receive(fifo)) == ["b1"], "a2 waits for a1"
sqs.delete_message(QueueUrl=fifo, ReceiptHandle=one[0]["ReceiptHandle"])
assert bodies(receive(fifo, VisibilityTimeout=1)) == ["a2"]
assert bodies(receive(fifo, WaitTimeSeconds=5)) == ["a2"], "it came back"

# Dead letters, and back again.
dead = sqs.create_queue(QueueName="dead")["QueueUrl"]
redrive = json.dumps({"deadLetterTargetArn": ARN + "dead", "maxReceiveCount": 2})
source = sqs.create_queue(QueueName="source", Attributes={"RedrivePolicy": redrive, "VisibilityTimeout": "0"})["QueueUrl"]
for target, told in [("none", "does not exist"), ("steps.fifo", "same type")]:
    policy = json.dumps({"deadLetterTargetArn": ARN + target, "maxReceiveCount": 2})
    refused("InvalidParameterValue", told, sqs.set_queue_attributes, QueueUrl=source, Attributes={"RedrivePolicy": policy})
sqs.send_message(QueueUrl=source, MessageBody="poison")
assert [len(receive(source)) for _ in range(3)] == [1, 1, 0]
assert sqs.list_dead_letter_source_queues(QueueUrl=dead)["queueUrls"] == [source]
(letter,) = receive(dead, VisibilityTimeout=0, AttributeNames=["All"])
assert letter["Attributes"]["DeadLetterQueueSourceArn"] == ARN + "source" and letter["Attributes"]["ApproximateReceiveCount"] == "3", letter
sqs.start_message_move_task(SourceArn=ARN + "dead")
assert bodies(receive(source, WaitTimeSeconds=10)) == ["poison"]
task = sqs.list_message_move_tasks(SourceArn=ARN + "dead")["Results"][0]
assert (task["ApproximateNumberOfMessagesToMove"], receive(dead)) == (1, []), task

# Dead letters have a new chance where they come to.
for name, next_one in [("third", None), ("second", "third"), ("first", "second")]:
    once = json.dumps({"deadLetterTargetArn": ARN + str(next_one), "maxReceiveCount": 1})
    redriven = {"RedrivePolicy": once} if next_one else {}
    sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "0", **redriven})
first, second, third = (sqs.get_queue_url(QueueName=name)["QueueUrl"] for name in ["first", "second", "third"])
sqs.send_message(QueueUrl=first, MessageBody="twice dead")
assert [bodies(receive(url)) for url in [first, first, second, second, third]] == [["twice dead"], [], ["twice dead"], [], ["twice dead"]]

# Also those that are too long for one commit together.
for _ in range(10):
    sqs.send_message(QueueUrl=first, MessageBody='"' * 1_048_576)
assert len(receive(first)) == 10 and receive(first) == [] and counts(second) == (10, 0, 0)

# A queue that is its own dead-letter queue keeps its messages.
own = json.dumps({"deadLetterTargetArn": ARN + "itself", "maxReceiveCount": 1})
itself = sqs.create_queue(QueueName="itself", Attributes={"VisibilityTimeout": "0"})["QueueUrl"]
sqs.set_queue_attributes(QueueUrl=itself, Attributes={"RedrivePolicy": own})
sqs.send_message(QueueUrl=itself, MessageBody="stays")
assert [bodies(receive(itself)) for _ in range(4)] == [["stays"]] * 4

# Purges, policies, deletion.
sqs.send_message(QueueUrl=source, MessageBody="gone")
sqs.purge_queue(QueueUrl=source)
assert receive(source) == [] and counts(source) == (0, 0, 0)
refused("AWS.SimpleQueueService.PurgeQueueInProgress", "every 60 seconds", sqs.purge_queue, QueueUrl=source)
sqs.send_message(QueueUrl=source, MessageBody="kept")
assert bodies(receive(source)) == ["kept"]
refused("InvalidParameterValue", "different queues", sqs.start_message_move_task, SourceArn=ARN + "dead", DestinationArn=ARN + "dead")
everything = {"Effect": "Allow", "Principal": "*", "Action": "sqs:*", "Resource": ARN + "dead"}
sqs.set_queue_attributes(QueueUrl=dead, Attributes={"Policy": json.dumps({"Version": "2012-10-17", "Statement": [everything]})})
other = boto3.client("sqs", aws_access_key_id="111111111111", aws_secret_access_key="x")
assert other.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"] == ARN + "dead"
refused("AccessDenied", "sqs:deletequeue", other.delete_queue, QueueUrl=dead)
sqs.set_queue_attributes(QueueUrl=dead, Attributes={"Policy": ""})
sqs.add_permission(QueueUrl=dead, Label="send", AWSAccountIds=["111111111111"], Actions=["SendMessage"])
other.send_message(QueueUrl=dead, MessageBody="from elsewhere")
refused("AccessDenied", "is not authorized to perform: sqs:", other.receive_message, QueueUrl=dead)
sqs.remove_permission(QueueUrl=dead, Label="send")
refused("AccessDenied", "is not authorized to perform: sqs:", other.send_message, QueueUrl=dead, MessageBody="x")
threading.Timer(0.5, lambda: boto3.client("sqs").delete_queue(QueueUrl=waiting)).start()
refused("AWS.SimpleQueueService.NonExistentQueue", "does not exist", sqs.receive_message, QueueUrl=waiting)
refused("AWS.SimpleQueueService.QueueDeletedRecently", "60 seconds", sqs.create_queue, QueueName="waiting")

# The Query protocol, at a queue's own URL.
def ask(url, headers, **parameters):
    form = urllib.parse.urlencode(dict(parameters, Version="2012-11-05")).encode()
    try:
        return urllib.request.urlopen(urllib.request.Request(url, form, headers))
    except urllib.error.HTTPError as error:
        return error


def query(url, **parameters):
    answer = ask(url, {}, **parameters)
    return {element.tag.split("}")[-1]: element.text for element in ElementTree.fromstring(answer.read()).iter()}


sent = query(source, Action="SendMessage", MessageBody="by form")
assert sent["MD5OfMessageBody"] == hashlib.md5(b"by form").hexdigest(), sent
sqs.set_queue_attributes(QueueUrl=source, Attributes={"VisibilityTimeout": "30"})
assert "by form" in [query(source, Action="ReceiveMessage").get("Body") for _ in range(2)]
refusal = query(source + "x", Action="SendMessage", MessageBody="x")
assert (refusal["Code"], refusal["Type"]) == ("AWS.SimpleQueueService.NonExistentQueue", "Sender"), refusal
assert query(source, Action="ListQueues")["Code"] == "InvalidAction"


# The same in JSON, as integrations of API Gateway ask for it.
def query_json(url, **parameters):
    answer = ask(url, {"Accept": "application/json, text/plain, */*"}, **parameters)
    assert answer.headers["Content-Type"] == "application/json", answer.headers
    return json.load(answer)


fresh = sqs.create_queue(QueueName="json.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
told = query_json(fresh, Action="SendMessage", MessageBody="by form", MessageGroupId="json", MessageDeduplicationId="json")
result = told["SendMessageResponse"]["SendMessageResult"]
assert result["MD5OfMessageBody"] == hashlib.md5(b"by form").hexdigest() and result["MD5OfMessageAttributes"] is None, told
assert list(told["SendMessageResponse"]) == ["ResponseMetadata", "SendMessageResult"], told
told = query_json(fresh, Action="ReceiveMessage", **{"AttributeName.1": "MessageGroupId", "MaxNumberOfMessages": "10"})
messages = told["ReceiveMessageResponse"]["ReceiveMessageResult"]["messages"]
assert ("by form", [{"Name": "MessageGroupId", "Value": "json"}]) in [(m["Body"], m["Attributes"]) for m in messages], told
told = query_json(fresh, Action="ReceiveMessage")
assert told["ReceiveMessageResponse"]["ReceiveMessageResult"] == {"messages": None}, told
told = query_json(source.rsplit("/", 2)[0], Action="ListQueues", QueueNamePrefix="many-0")
assert told["ListQueuesResponse"]["ListQueuesResult"]["queueUrls"][0].endswith("many-0"), told
error = query_json(source + "x", Action="SendMessage", MessageBody="x")["Error"]
assert (error["Code"], error["Type"]) == ("AWS.SimpleQueueService.NonExistentQueue", "Sender"), error

# Whoever waits and goes away takes nothing along, and a server that ends lets nobody wait.
for _ in range(20):
    address = urllib.parse.urlsplit(source)
    connection = socket.create_connection((address.hostname, address.port))
    form = b"Action=ReceiveMessage&WaitTimeSeconds=20&Version=2012-11-05"
    head = f"POST {address.path} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    connection.sendall(head.encode() + f"Content-Length: {len(form)}\r\n\r\n".encode() + form)
    connections.append(connection)
time.sleep(0.5)
for connection in connections:
    connection.close()
time.sleep(0.5)
sqs.send_message(QueueUrl=source, MessageBody="for who is there")
assert "for who is there" in bodies(receive(source)), "nobody else has it"
print("queues: all as it should be")

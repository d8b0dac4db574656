"""boto3 uses queues, and finds in CloudWatch how much happened to them; also of a queue that nobody has used since a restart."""

import datetime
import sys
import time

import boto3

sqs, cloudwatch = boto3.client("sqs"), boto3.client("cloudwatch")
COUNTS = ["NumberOfMessagesSent", "NumberOfMessagesReceived", "NumberOfEmptyReceives", "NumberOfMessagesDeleted"]


def use():
    orders = sqs.create_queue(QueueName="orders")["QueueUrl"]
    sqs.send_message(QueueUrl=orders, MessageBody="x" * 100)
    sqs.send_message_batch(QueueUrl=orders, Entries=[{"Id": str(n), "MessageBody": "y" * 50} for n in range(2)])
    sqs.send_message(QueueUrl=orders, MessageBody="later", DelaySeconds=900)
    got = sqs.receive_message(QueueUrl=orders, MaxNumberOfMessages=2)["Messages"]
    assert len(got) == 2, got
    sqs.delete_message(QueueUrl=orders, ReceiptHandle=got[0]["ReceiptHandle"])
    sqs.create_queue(QueueName="unused")
    empty = sqs.create_queue(QueueName="empty")["QueueUrl"]
    assert "Messages" not in sqs.receive_message(QueueUrl=empty)
    steps = sqs.create_queue(QueueName="steps.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
    for _ in range(2):
        sqs.send_message(QueueUrl=steps, MessageBody="s", MessageGroupId="g", MessageDeduplicationId="d")
    assert "Messages" in sqs.receive_message(QueueUrl=steps)
    rests = sqs.create_queue(QueueName="rests")["QueueUrl"]
    sqs.send_message(QueueUrl=rests, MessageBody="r")
    gone = sqs.create_queue(QueueName="gone")["QueueUrl"]
    sqs.send_message(QueueUrl=gone, MessageBody="g")
    sqs.delete_queue(QueueUrl=gone)


def statistics(queue, metric):
    now = datetime.datetime.now(datetime.timezone.utc)
    points = cloudwatch.get_metric_statistics(
        Namespace="AWS/SQS",
        MetricName=metric,
        Dimensions=[{"Name": "QueueName", "Value": queue}],
        StartTime=now - datetime.timedelta(hours=1),
        EndTime=now + datetime.timedelta(minutes=1),
        Period=7200,
        Statistics=["SampleCount", "Sum", "Maximum"],
    )["Datapoints"]
    return (sum(p["SampleCount"] for p in points), sum(p["Sum"] for p in points), max((p["Maximum"] for p in points), default=0))


def look():
    assert [statistics("orders", metric)[1] for metric in COUNTS] == [4, 2, 0, 1]
    assert statistics("orders", "SentMessageSize")[1:] == (205, 100)
    levels = [statistics("orders", "ApproximateNumberOfMessages" + end)[2] for end in ["Visible", "NotVisible", "Delayed"]]
    assert levels == [1, 1, 1], levels
    assert statistics("orders", "ApproximateAgeOfOldestMessage")[0] > 0
    assert statistics("empty", "NumberOfEmptyReceives")[1] == 1
    assert statistics("steps.fifo", "NumberOfDeduplicatedSentMessages")[1] == 1
    assert statistics("steps.fifo", "ApproximateNumberOfGroupsWithInflightMessages")[2] == 1
    assert statistics("gone", "NumberOfMessagesSent")[1] == 1
    assert statistics("unused", "ApproximateNumberOfMessagesVisible")[0] >= 1
    # Whoever sends nothing has sent nothing, as often as that was told.
    told, sent, _ = statistics("empty", "NumberOfMessagesSent")
    assert told >= 1 and sent == 0, (told, sent)
    # Nobody has asked for this one since the server started again.
    told, _, most = statistics("rests", "ApproximateNumberOfMessagesVisible")
    assert told >= 2 and most == 1, (told, most)


if sys.argv[1] == "use":
    use()
elif sys.argv[1] == "wait":
    # What was there before is found soon after the start, and listing queues is not using them.
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        assert len(sqs.list_queues()["QueueUrls"]) == 5
        time.sleep(0.2)
else:
    look()

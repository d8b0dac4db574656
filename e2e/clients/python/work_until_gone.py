"""A sender or a receiver of a queue, which says what it was told, until the server is gone.

    send QUEUE NAME       prints the body of each message that was taken
    work QUEUE            prints, of each message that it was given, when, its body, how often it was received until then, and
                          `deleted` once its deletion was answered; some are left alone when they come first
    drain QUEUE           works until nothing is left
"""

import sys
import time

import boto3
from botocore.config import Config

sqs = boto3.client("sqs", config=Config(retries={"total_max_attempts": 1}, read_timeout=30))
what, queue = sys.argv[1:3]
url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
number = 0
try:
    while True:
        number += 1
        if what == "send":
            body = f"{sys.argv[3]}-{number}"
            fifo = {"MessageGroupId": sys.argv[3], "MessageDeduplicationId": body} if queue.endswith(".fifo") else {}
            sqs.send_message(QueueUrl=url, MessageBody=body, **fifo)
            print(body, flush=True)
            continue
        if what == "drain":
            counts = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
            if not any(int(counts["ApproximateNumberOfMessages" + end]) for end in ["", "NotVisible", "Delayed"]):
                break
        answer = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=3, WaitTimeSeconds=1, AttributeNames=["All"])
        for message in answer.get("Messages", []):
            body, received = message["Body"], message["Attributes"]["ApproximateReceiveCount"]
            print("got", time.time(), body, received, flush=True)
            # A message that is left alone holds up its group.
            is_left = int(body.rsplit("-")[-1]) % (20 if queue.endswith(".fifo") else 3) == 0 and received == "1"
            if not is_left:
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
                print("deleted", time.time(), body, received, flush=True)
except Exception as error:
    print(type(error).__name__, error, file=sys.stderr)

"""Celery's worker does tasks off queues: now, later, again, and again after a kill. Kombu uses queues by itself."""

import collections
import os
import signal
import subprocess
import sys
import tempfile
import time

import boto3
import kombu

sqs = boto3.client("sqs")
work = tempfile.TemporaryDirectory()
os.environ.update(DONE=os.path.join(work.name, "done"), HIDDEN="3")
open(os.environ["DONE"], "w").close()

import tasks  # noqa: E402, which reads the variables


def done():
    """What tasks did, with when."""
    told = collections.defaultdict(list)
    with open(os.environ["DONE"]) as lines:
        for line in lines:
            at, name, rest = line.rstrip("\n").split(" ", 2)
            told[name].append((float(at), rest))
    return told


def until(what, told, seconds=30):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, told()
        time.sleep(0.05)


def counts(name):
    url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    return tuple(int(found["ApproximateNumberOfMessages" + end]) for end in ["", "NotVisible", "Delayed"])


def worker(label):
    log = open(os.path.join(work.name, label), "w")
    arguments = ["-A", "tasks", "worker", "--queues", "jobs,urgent", "--concurrency", "2", "--loglevel", "INFO", "--hostname", label]
    return subprocess.Popen(
        [sys.executable, "-m", "celery", *arguments], cwd=os.path.dirname(__file__), stdout=log, stderr=log, start_new_session=True
    )


def said(label):
    with open(os.path.join(work.name, label)) as log:
        return done(), log.read()


def celery():
    first = worker("first")
    try:
        for number in range(20):
            tasks.add.delay(number, 100)
        tasks.urgent.delay("Grüße")
        sent = time.time()
        tasks.add.apply_async((0, 0), countdown=2)
        tasks.flaky.delay()
        until(lambda: len(done()["add"]) == 21 and len(done()["flaky"]) == 3, lambda: said("first"))
        told = done()
        assert sorted(int(sum) for _, sum in told["add"]) == [0, *range(100, 120)], told
        (later,) = [at for at, sum in told["add"] if sum == "0"]
        assert later - sent >= 2, later - sent
        assert [retries for _, retries in told["flaky"]] == ["0", "1", "2"], told
        assert told["flaky"][1][0] - told["flaky"][0][0] >= 0.4, told
        assert [text for _, text in told["urgent"]] == ["Grüße"], told
        until(lambda: counts("shop-jobs") == (0, 0, 0) and counts("shop-urgent") == (0, 0, 0), lambda: (counts("shop-jobs"), said("first")))
        # One that waits is woken by a task: it does not come with the next polling.
        time.sleep(0.5)
        began = time.time()
        tasks.add.delay(1, 1)
        until(lambda: len(done()["add"]) == 22, lambda: said("first"))
        assert done()["add"][-1][0] - began < 2, done()["add"][-1][0] - began
        # A task whose worker is killed before its end is another worker's, when its time is over.
        tasks.long.delay(1)
        until(lambda: done()["long"], lambda: said("first"))
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
    assert [word for _, word in done()["long"]] == ["begins"], done()
    second = worker("second")
    try:
        until(lambda: len(done()["long"]) == 3, lambda: said("second"))
        assert [word for _, word in done()["long"]] == ["begins", "begins", "ends"], done()
        assert done()["long"][1][0] - done()["long"][0][0] > 2, "it was hidden"
        until(lambda: counts("shop-jobs") == (0, 0, 0), lambda: (counts("shop-jobs"), said("second")))
        second.send_signal(signal.SIGTERM)
        assert second.wait(timeout=30) == 0, said("second")
    finally:
        if second.poll() is None:
            os.killpg(second.pid, signal.SIGKILL)


def drain(connection, queue, count, answer, **more):
    """Receives so many messages, and answers each."""
    got = []

    def take(body, message):
        got.append((body, message))
        answer(message)

    with connection.Consumer(queue, callbacks=[take], **more):
        while len(got) < count:
            connection.drain_events(timeout=10)
    return got


def by_kombu():
    options = {"region": "us-east-1", "is_secure": False, "visibility_timeout": 2, "wait_time_seconds": 2, "fetch_message_attributes": {
        "MessageSystemAttributeNames": ["All"], "MessageAttributeNames": ["All"]}}
    url = tasks.app.conf.broker_url
    with kombu.Connection(url, transport_options=options) as connection:
        plain = kombu.Queue("plain.v1", kombu.Exchange("plain.v1"), routing_key="plain.v1")
        producer = connection.Producer()

        def publish(body, queue=plain, **more):
            producer.publish(body, exchange=queue.exchange, routing_key=queue.routing_key, declare=[queue], **more)

        publish({"n": 1})
        publish({"n": 2}, DelaySeconds=1)
        # Names are made such as queues may have.
        assert counts("plain-v1") == (1, 0, 1), counts("plain-v1")
        # Acknowledged is gone; what is put back comes at once, what is forgotten comes when its time is over.
        assert [body for body, _ in drain(connection, plain, 1, lambda message: message.requeue())] == [{"n": 1}]
        found = drain(connection, plain, 2, lambda message: message.ack())
        assert sorted(body["n"] for body, _ in found) == [1, 2], found
        assert counts("plain-v1") == (0, 0, 0), counts("plain-v1")
        publish({"n": 3}, message_attributes={"kind": {"DataType": "String", "StringValue": "x"}})
        drain(connection, plain, 1, lambda message: None)
        connection.default_channel.qos._delivered.clear()
        (again,) = drain(connection, plain, 1, lambda message: message.ack())
        assert again[0] == {"n": 3}, again
        publish({"n": 4})
        assert plain(connection.default_channel).queue_declare(passive=False).message_count == 1
        plain(connection.default_channel).purge()
        assert counts("plain-v1") == (0, 0, 0), counts("plain-v1")

        steps = kombu.Queue("steps.fifo", kombu.Exchange("steps.fifo"), routing_key="steps.fifo")
        for number in range(5):
            publish({"n": number}, steps, MessageGroupId="g", MessageDeduplicationId=str(number % 4))
        found = drain(connection, steps, 4, lambda message: message.ack())
        assert [body["n"] for body, _ in found] == [0, 1, 2, 3], found
        plain(connection.default_channel).delete()

    # Queues that are there already, by their URLs.
    there = sqs.create_queue(QueueName="there")["QueueUrl"]
    defined = {"there": {"url": there, "access_key_id": "test", "secret_access_key": "test"}}
    with kombu.Connection(url, transport_options={**options, "predefined_queues": defined}) as connection:
        with connection.SimpleQueue("there") as queue:
            queue.put({"simple": True})
            message = queue.get(timeout=10)
            assert message.payload == {"simple": True}, message
            message.ack()
        assert counts("there") == (0, 0, 0), counts("there")


by_kombu()
celery()
print("celery and kombu: all as it should be")

"""A Celery application as its documentation has it, on queues. What its tasks do is written to the file in $DONE."""

import os
import time
import urllib.parse

from celery import Celery

endpoint = urllib.parse.urlsplit(os.environ["AWS_ENDPOINT_URL"])
app = Celery("tasks", broker=f"sqs://test:test@{endpoint.netloc}//")
app.conf.update(
    broker_transport_options={
        "region": "us-east-1",
        "is_secure": False,
        "queue_name_prefix": "shop-",
        "visibility_timeout": int(os.environ.get("HIDDEN", "30")),
        "wait_time_seconds": 10,
        "polling_interval": 0.1,
    },
    task_default_queue="jobs",
    task_routes={"tasks.urgent": {"queue": "urgent"}},
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
)


def write(*words):
    with open(os.environ["DONE"], "a") as done:
        done.write(f"{time.time()} {' '.join(map(str, words))}\n")


@app.task
def add(one, other):
    write("add", one + other)


@app.task
def urgent(text):
    write("urgent", text)


@app.task(bind=True, max_retries=3)
def flaky(self):
    write("flaky", self.request.retries)
    if self.request.retries < 2:
        raise self.retry(countdown=0.5)


@app.task(acks_late=True)
def long(seconds):
    write("long", "begins")
    time.sleep(seconds)
    write("long", "ends")

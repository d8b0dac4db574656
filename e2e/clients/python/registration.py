"""The example of user registration, by the commands of its README, and then by what became of its users.

`registration.py all FOLDER`, or `register`, which says who did, and after a kill `seen USERS`; `removed FOLDER` in the end.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

import boto3
from calling import fail, succeed

what, *given = sys.argv[1:]
logs, sqs = boto3.client("logs"), boto3.client("sqs")
DELAY = 2


def said(group, pattern):
    events = logs.filter_log_events(logGroupName=group, filterPattern=pattern)["events"]
    return [(event["timestamp"], event["message"].strip()) for event in events]


def until(what, told, seconds=60):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, told()
        time.sleep(0.1)


def ledger(user):
    found = [(at, json.loads(message)) for at, message in said("/registration/ledger", '{ $.user = "%s" }' % user)]
    return [(at, fact["kind"]) for at, fact in found]


def heard():
    return sorted(message for _, message in said("/aws/lambda/registration-welcome", "welcome"))


def check(users):
    """Each is registered, then activated in time, then welcome."""
    for user in users:
        until(lambda: len(ledger(user["user"])) == 2, lambda: (user, ledger(user["user"])))
        (registered, first), (activated, second) = ledger(user["user"])
        assert (first, second) == ("registered", "activated"), user
        assert activated - registered >= DELAY * 1000, (registered, activated)


def register(name, numbers):
    return [
        succeed("registration-register", {"name": f"{name} {number}", "email": f"{number}@example.org"})[0] for number in numbers
    ]


def counts(name):
    found = sqs.get_queue_attributes(QueueUrl=sqs.get_queue_url(QueueName=name)["QueueUrl"], AttributeNames=["All"])["Attributes"]
    return [int(found["ApproximateNumberOfMessages" + end]) for end in ["", "NotVisible", "Delayed"]]


def by_the_readme(example):
    """Runs what it says, and gives the user whom it registers."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", (example / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    with tempfile.TemporaryDirectory() as work:
        work = shutil.copytree(example, os.path.join(work, "example"))
        path = f"{pathlib.Path(os.environ['AWS']).parent}:{pathlib.Path(os.environ['LAMP_BIN']).parent}:{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "ACTIVATION_DELAY_SECONDS": str(DELAY)}
        script = "set -euo pipefail\n" + "\n".join(blocks)
        done = subprocess.run(["bash", "-c", script], cwd=work, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return json.loads(pathlib.Path(work, "answer.json").read_text())


def everything(example):
    ada = by_the_readme(example)
    assert ada["state"] == "registered", ada
    result, _ = fail("registration-register", {"name": "nobody", "email": "nowhere"})
    assert result["errorType"] == "ValueError", result
    check([ada, *register("user", range(4))])
    until(lambda: len(heard()) >= 5, heard)
    assert heard() == ["welcome Ada <ada@example.org>", *(f"welcome user {number} <{number}@example.org>" for number in range(4))], heard()
    # A message that comes twice changes nothing.
    activations = sqs.get_queue_url(QueueName="registration-activations")["QueueUrl"]
    sqs.send_message(QueueUrl=activations, MessageBody=json.dumps({"user": ada["user"]}))
    until(lambda: counts("registration-activations") == [0, 0, 0], lambda: counts("registration-activations"))
    assert len(ledger(ada["user"])) == 2 and counts("registration-dead") == [0, 0, 0]


def seen(users):
    """Twice is allowed: whoever was killed between two steps takes them again."""
    check(users)
    wanted = {f"welcome late {number} <{number}@example.org>" for number in range(len(users))}
    until(lambda: wanted <= set(heard()), heard)


def removed(example):
    """Nothing is left, and nobody minds that nothing is there."""
    environment = {**os.environ, "PATH": f"{pathlib.Path(os.environ['AWS']).parent}:{os.environ['PATH']}"}
    for _ in range(2):
        subprocess.run([example / "remove.sh"], env=environment, check=True, capture_output=True)
        left = [boto3.client("lambda").list_functions()["Functions"], sqs.list_queues().get("QueueUrls", [])]
        left += [boto3.client("lambda").list_event_source_mappings()["EventSourceMappings"]]
        left += [logs.describe_log_groups()["logGroups"], boto3.client("iam").list_roles()["Roles"]]
        assert left == [[]] * 5, left


if what == "all":
    everything(pathlib.Path(given[0]))
elif what == "register":
    # What a kill interrupts comes again soon.
    activations = sqs.get_queue_url(QueueName="registration-activations")["QueueUrl"]
    sqs.set_queue_attributes(QueueUrl=activations, Attributes={"VisibilityTimeout": "15"})
    print(json.dumps(register("late", range(2))))
elif what == "removed":
    removed(pathlib.Path(given[0]))
else:
    seen(json.loads(given[0]))

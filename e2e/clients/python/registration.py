"""The example of user registration, by the commands of its README, and then by what became of its users: `registration.py FOLDER`."""

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

example = pathlib.Path(sys.argv[1])
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


blocks = re.findall(r"^```sh\n(.*?)^```$", (example / "README.md").read_text(), re.MULTILINE | re.DOTALL)
with tempfile.TemporaryDirectory() as work:
    work = shutil.copytree(example, os.path.join(work, "example"))
    path = f"{pathlib.Path(os.environ['AWS']).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "ACTIVATION_DELAY_SECONDS": str(DELAY)}
    script = "set -euo pipefail\n" + "\n".join(blocks)
    done = subprocess.run(["bash", "-c", script], cwd=work, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    ada = json.loads(pathlib.Path(work, "answer.json").read_text())
assert ada["state"] == "registered", (ada, done.stdout)

# Others, and one that is none.
users = [succeed("registration-register", {"name": f"user {number}", "email": f"{number}@example.org"})[0] for number in range(4)]
result, _ = fail("registration-register", {"name": "nobody", "email": "nowhere"})
assert result["errorType"] == "ValueError", result
for user in [ada, *users]:
    until(lambda: len(ledger(user["user"])) == 2, lambda: (user, ledger(user["user"])))
    (registered, first), (activated, second) = ledger(user["user"])
    assert (first, second) == ("registered", "activated"), user
    assert activated - registered >= DELAY * 1000, (registered, activated)
until(lambda: len(said("/aws/lambda/registration-welcome", "welcome")) >= 5, lambda: said("/aws/lambda/registration-welcome", ""))
heard = sorted(message for _, message in said("/aws/lambda/registration-welcome", "welcome"))
assert heard == ["welcome Ada <ada@example.org>", *(f"welcome user {number} <{number}@example.org>" for number in range(4))], heard


def counts(name):
    found = sqs.get_queue_attributes(QueueUrl=sqs.get_queue_url(QueueName=name)["QueueUrl"], AttributeNames=["All"])["Attributes"]
    return [int(found["ApproximateNumberOfMessages" + end]) for end in ["", "NotVisible", "Delayed"]]


# A message that comes twice changes nothing.
activations = sqs.get_queue_url(QueueName="registration-activations")["QueueUrl"]
sqs.send_message(QueueUrl=activations, MessageBody=json.dumps({"user": ada["user"]}))
until(lambda: counts("registration-activations") == [0, 0, 0], lambda: counts("registration-activations"))
assert len(ledger(ada["user"])) == 2 and counts("registration-dead") == [0, 0, 0]
print("registration: all as it should be")

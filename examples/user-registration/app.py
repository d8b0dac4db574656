"""User registration: three functions, one queue, one ledger. See README.md."""

import json
import os
import time

import boto3

logs, sqs, functions = boto3.client("logs"), boto3.client("sqs"), boto3.client("lambda")
STREAM = {"logGroupName": os.environ["LEDGER"], "logStreamName": "users"}


def write(kind, **facts):
    """Appends a fact to the ledger. It is on the disk when this returns."""
    event = {"timestamp": time.time_ns() // 1_000_000, "message": json.dumps({"kind": kind, **facts})}
    logs.put_log_events(**STREAM, logEvents=[event])


def facts(user):
    """What the ledger knows of a user, oldest first."""
    pages = logs.get_paginator("filter_log_events").paginate(
        logGroupName=STREAM["logGroupName"], filterPattern='{ $.user = "%s" }' % user
    )
    return [json.loads(event["message"]) for page in pages for event in page["events"]]


def register(event, context):
    """Writes the user, and sends the message that will activate it."""
    name, email = event["name"].strip(), event["email"].strip()
    if not name or "@" not in email:
        raise ValueError("a user has a name and an email address")
    # Retries of one invocation have one id, so that they register one user.
    user = context.aws_request_id
    if not facts(user):
        write("registered", user=user, name=name, email=email)
    sqs.send_message(
        QueueUrl=os.environ["QUEUE_URL"],
        MessageBody=json.dumps({"user": user}),
        DelaySeconds=int(os.environ["ACTIVATION_DELAY_SECONDS"]),
    )
    return {"user": user, "state": "registered"}


def activate(event, context):
    """Activates whom the messages name, and tells whoever listens. A message that comes twice changes nothing."""
    for record in event["Records"]:
        user = json.loads(record["body"])["user"]
        known = facts(user)
        if any(fact["kind"] == "activated" for fact in known):
            continue
        confirmation = {"user": user, "name": known[0]["name"], "email": known[0]["email"]}
        functions.invoke(
            FunctionName=os.environ["LISTENER"], InvocationType="Event", Payload=json.dumps({"confirmed": confirmation})
        )
        write("activated", user=user)


def welcome(event, context):
    """Hears of confirmed users. A real one would send a mail."""
    user = event["confirmed"]
    print(f"welcome {user['name']} <{user['email']}>")

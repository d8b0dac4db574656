"""SnapStart as a user sees it: a version is pending until its snapshot is made, its instances begin there, and its hooks run."""

import base64
import json
import sys
import threading
import time

from calling import awslambda, check_that_functions_run, refused, write

SNAP = {"ApplyOn": "PublishedVersions"}
CODE = """
import os, random, secrets, ssl, time, uuid
from snapshot_restore_py import register_after_restore, register_before_snapshot

told = []
AT_IMPORT = str(uuid.uuid4())
print("loading")
register_before_snapshot(told.append, "before 1")

@register_before_snapshot
def second():
    told.append("before 2")

register_after_restore(told.append, "after 1")

@register_after_restore
def last():
    told.append("after 2")

calls = []

def handler(event, context):
    calls.append(event)
    time.sleep(event.get("sleep", 0))
    draws = [os.urandom(8).hex(), str(uuid.uuid4()), secrets.token_hex(8), repr(random.random()), ssl.RAND_bytes(8).hex()]
    return {
        "type": os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"], "told": told, "draws": draws, "import": AT_IMPORT,
        "env": sorted(name for name in os.environ if "KEY" in name or "LOG" in name or "CREDENTIALS" in name),
        "calls": len(calls),
    }
"""


def invoke(name, qualifier, **event):
    answer = awslambda.invoke(FunctionName=name, Qualifier=qualifier, Payload=json.dumps(event), LogType="Tail")
    payload = json.load(answer["Payload"])
    assert "FunctionError" not in answer, payload
    return payload, base64.b64decode(answer["LogResult"]).decode()


def publish(name):
    shown = awslambda.publish_version(FunctionName=name)
    assert (shown["State"], shown["StateReasonCode"], shown["SnapStart"]["OptimizationStatus"]) == ("Pending", "Creating", "Off"), shown
    return shown["Version"]


def settled(name, version):
    for _ in range(3_000):
        shown = awslambda.get_function_configuration(FunctionName=name, Qualifier=version)
        if shown["State"] != "Pending":
            return shown
        time.sleep(0.01)
    sys.exit(f"{name} stays pending")


def active(name, version):
    shown = settled(name, version)
    assert shown["State"] == "Active" and shown["SnapStart"] == dict(SNAP, OptimizationStatus="On"), shown
    assert shown["LastUpdateStatus"] == "Successful" and "StateReason" not in shown, shown


def failed(name, version):
    shown = settled(name, version)
    assert (shown["State"], shown["StateReasonCode"]) == ("Failed", "FunctionError"), shown
    assert shown["SnapStart"]["OptimizationStatus"] == "Off", shown
    refused("ResourceConflictException", "following state: Failed", awslambda.invoke, FunctionName=name, Qualifier=version)


def restored(name, qualifier, **event):
    answer, log = invoke(name, qualifier, **event)
    assert "Restore Duration: " in log and "Billed Restore Duration: " in log and "Init Duration" not in log, log
    return answer, log


def check_life():
    write("f", "python3.13", "app.handler", "app.py", CODE, SnapStart=SNAP, Timeout=30)
    latest = awslambda.get_function_configuration(FunctionName="f")
    assert latest["SnapStart"] == dict(SNAP, OptimizationStatus="Off") and latest["State"] == "Active", latest
    version = publish("f")
    awslambda.get_waiter("published_version_active").wait(FunctionName="f", Qualifier=version)
    active("f", version)
    awslambda.get_waiter("function_active_v2").wait(FunctionName="f", Qualifier=version)
    awslambda.create_alias(FunctionName="f", Name="live", FunctionVersion=version)
    answer, log = restored("f", version)
    assert answer["type"] == "snap-start", answer
    assert answer["told"] == ["before 2", "before 1", "after 1", "after 2"], answer
    assert answer["env"] == ["AWS_CONTAINER_CREDENTIALS_FULL_URI"], answer
    assert "loading" not in log, log
    again, log = invoke("f", "live")
    assert again["import"] == answer["import"] and "Restore Duration" not in log, log
    plain, _ = invoke("f", "$LATEST")
    assert plain["type"] == "on-demand" and plain["told"] == [], plain


def check_chance(count):
    answers = []
    sleep = 2 + count / 10
    calls = [threading.Thread(target=lambda: answers.append(invoke("f", "live", sleep=sleep)[0])) for _ in range(count)]
    [call.start() for call in calls]
    [call.join() for call in calls]
    assert len(answers) == count, len(answers)
    # One was warm.
    assert sum(answer["calls"] == 1 for answer in answers) >= count - 1, "they are instances of their own"
    assert len({answer["import"] for answer in answers}) == 1, "they are copies"
    for draws in zip(*(answer["draws"] for answer in answers)):
        assert len(set(draws)) == count, draws


def begin():
    """Leaves one version whose snapshot is made, and one whose snapshot is being made."""
    check_that_functions_run()
    write("f", "python3.13", "app.handler", "app.py", CODE, SnapStart=SNAP)
    active("f", publish("f"))
    write("slow", "python3.13", "app.handler", "app.py", "import time; time.sleep(6)\n" + CODE, SnapStart=SNAP)
    publish("slow")


def go_on():
    """In another life of the server: what was due is made, and what was made is made again beside the first calls."""
    assert awslambda.get_function_configuration(FunctionName="slow", Qualifier="1")["State"] == "Pending"
    active("slow", "1")
    restored("slow", "1")
    active("f", "1")
    restored("f", "1")
    awslambda.create_alias(FunctionName="f", Name="live", FunctionVersion="1")
    for count in range(2, 20):
        answers = []
        calls = [threading.Thread(target=lambda: answers.append(invoke("f", "live", sleep=0.5)[0])) for _ in range(count)]
        [call.start() for call in calls]
        [call.join() for call in calls]
        # The first were no copies.
        if len({answer["import"] for answer in answers}) < count:
            return
    sys.exit(f"there is no snapshot: {answers}")


if __name__ == "__main__":
    what = sys.argv[1:] or ["12"]
    if what == ["begin"]:
        begin()
    elif what == ["go on"]:
        go_on()
    else:
        check_that_functions_run()
        check_life()
        check_chance(int(what[0]))

"""What goes wrong under SnapStart, and what is said of it: inits, hooks, what no snapshot can be taken of, what is not supported."""

import json
import os
import sys
import time

import boto3
from calling import awslambda, check_that_functions_run, make, refused, write, zipped
from snap_start import SNAP, active, failed, invoke, publish, restored

HEAD = "import os, sys, threading, time\nfrom snapshot_restore_py import *\ndef handler(event, context): return list(sys.argv) and told\ntold = []\n"


def snap(name, text, **more):
    write(name, "python3.13", "app.handler", "app.py", HEAD + text, SnapStart=SNAP, **more)
    return publish(name)


def check_inits_that_fail():
    for name, text in {
        "raises": "raise Exception('no')",
        "exits": "sys.exit(0)",
        "hook-raises": "@register_before_snapshot\ndef f(): raise Exception('no')",
        "hook-exits": "register_before_snapshot(os._exit, 3)",
    }.items():
        failed(name, snap(name, text))


def check_hooks_after():
    version = snap("after", "@register_after_restore\ndef f(): raise Exception('no')")
    active("after", version)
    refused("SnapStartException", "The afterRestore() runtime hook encountered an error.", awslambda.invoke, FunctionName="after", Qualifier=version)
    refused("SnapStartException", "afterRestore", awslambda.invoke, FunctionName="after", Qualifier=version)
    version = snap("late", "register_after_restore(time.sleep, 60)")
    active("late", version)
    began = time.monotonic()
    refused("SnapStartTimeoutException", "Lambda couldn't restore the snapshot within the timeout limit.", awslambda.invoke, FunctionName="late", Qualifier=version)
    assert 9 < time.monotonic() - began < 20


def check_what_has_no_image():
    """Each has all of its init when it would be restored, and its hooks in their order."""
    hooks = "\nregister_before_snapshot(told.append, 'before')\nregister_after_restore(told.append, 'after')\n"
    for name, text in {
        "thread": "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
        "socket": "import socket\nkept = socket.create_server(('127.0.0.1', 0))",
        "file": "open('/tmp/kept', 'w').write('kept')",
        "child": "import subprocess\nkept = subprocess.Popen(['/bin/sleep', '60'])",
        "fork": "@register_before_snapshot\ndef f():\n    if os.fork() == 0: time.sleep(60)",
    }.items():
        version = snap(name, text + hooks)
        active(name, version)
        answer, log = restored(name, version)
        assert answer == ["before", "after"], (name, answer)


def check_no_second_life():
    version = snap("dies", "def handler(event, context):\n    told.append(event)\n    if event.get('die'): os._exit(3)\n    return [len(told), os.environ['AWS_LAMBDA_INITIALIZATION_TYPE']]\n")
    active("dies", version)
    assert restored("dies", version)[0] == [1, "snap-start"]
    assert invoke("dies", version)[0] == [2, "snap-start"]
    answer = awslambda.invoke(FunctionName="dies", Qualifier=version, Payload=json.dumps({"die": True}))
    assert answer["FunctionError"] == "Unhandled" and b"Runtime.ExitError" in answer["Payload"].read()
    assert restored("dies", version)[0] == [1, "snap-start"], "it is restored anew"


def check_credentials():
    text = """
import json, urllib.request
def ask(token=None):
    request = urllib.request.Request(os.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"])
    request.add_header("Authorization", token or os.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN"])
    try:
        return json.load(urllib.request.urlopen(request))
    except urllib.error.HTTPError as error:
        return error.code
AT_INIT = ask()
def handler(event, context):
    return [AT_INIT, ask(), ask("other")]
"""
    version = snap("asks", text)
    active("asks", version)
    (before, now, other), _ = restored("asks", version)
    assert now["SecretAccessKey"] and now["Token"] and other == 401, (now, other)
    assert ("anew" in sys.argv) == (before["AccessKeyId"] == now["AccessKeyId"]), "a copy has a key of its own"
    assert "anew" in sys.argv or before["Expiration"] < now["Expiration"], (before, now)


def check_clients():
    """A client that was made at import, and has called, calls as its instance after the restore."""
    code = """
import boto3
sts = boto3.client("sts")
sts.get_caller_identity()
def key():
    return sts._request_signer._credentials.get_frozen_credentials().access_key
AT_INIT = key()
def handler(event, context):
    return [AT_INIT, key(), sts.get_caller_identity()["Arn"]]
"""
    folder = os.path.dirname(os.path.dirname(boto3.__file__))
    files = {"app.py": code}
    for package in ["boto3", "botocore", "s3transfer", "jmespath", "dateutil", "urllib3", "six.py"]:
        for place, _, names in os.walk(os.path.join(folder, package)):
            for name in names:
                path = os.path.join(place, name)
                # Of the descriptions of services, which are large, only what is called.
                if "/data/" not in path or "/data/sts/" in path or place.endswith("/data"):
                    files[os.path.relpath(path, folder)] = open(path, "rb").read()
    files["six.py"] = open(os.path.join(folder, "six.py"), "rb").read()
    make("client", "python3.13", "app.handler", zipped(files), SnapStart=SNAP, MemorySize=512, Timeout=30)
    version = publish("client")
    active("client", version)
    (before, now, arn), _ = restored("client", version)
    assert "/r/" in arn and ("anew" in sys.argv) == (before == now), (before, now, arn)


def check_what_is_not_supported():
    say = "is not supported for SnapStart enabled functions."
    zip = zipped({"app.py": HEAD})
    for runtime, more, words in [
        ("python3.11", {}, "python3.11"),
        ("nodejs22.x", {}, "nodejs22.x"),
        ("java8.al2", {}, "java8.al2"),
        ("python3.13", {"EphemeralStorage": {"Size": 513}}, "Ephemeral storage greater than 512 MB"),
    ]:
        refused("InvalidParameterValueException", words + " " + say, make, name="x", runtime=runtime, handler="app.handler", zip=zip, SnapStart=SNAP, **more)
    refused(
        "InvalidParameterValueException", "Provisioned Concurrency " + say, awslambda.put_provisioned_concurrency_config,
        FunctionName="dies", Qualifier="1", ProvisionedConcurrentExecutions=1,
    )  # fmt: skip


def check_deletions():
    """Of versions and functions whose snapshot is being made."""
    write("gone", "python3.13", "app.handler", "app.py", HEAD + "time.sleep(3)", SnapStart=SNAP, Publish=True)
    refused("ResourceConflictException", "following state: Pending", awslambda.invoke, FunctionName="gone", Qualifier="1")
    awslambda.delete_function(FunctionName="gone", Qualifier="1")
    refused("ResourceNotFoundException", "not found", awslambda.get_function_configuration, FunctionName="gone", Qualifier="1")
    awslambda.delete_function(FunctionName="gone")
    write("gone", "python3.13", "app.handler", "app.py", HEAD, SnapStart=SNAP)
    active("gone", publish("gone"))


if __name__ == "__main__":
    check_that_functions_run()
    check_inits_that_fail()
    check_hooks_after()
    check_what_has_no_image()
    check_no_second_life()
    check_credentials()
    check_clients()
    check_what_is_not_supported()
    check_deletions()

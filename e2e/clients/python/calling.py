"""What the scripts that run functions share: folders become zips, zips become functions, functions are called."""

import base64
import io
import json
import os
import sys
import zipfile

import boto3
import botocore.exceptions
from botocore.config import Config
from refusal import refused

ROLE = "arn:aws:iam::000000000000:role/r"
ARN = "arn:aws:lambda:us-east-1:000000000000:function"
awslambda = boto3.client("lambda", config=Config(retries={"total_max_attempts": 1}, read_timeout=60))


def zipped(files, *folders):
    """A zip of files (name to text) and of all that folders hold, with their modes. Little effort goes into making it small."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for folder in folders:
            for place, _, names in os.walk(folder):
                for name in names:
                    path = os.path.join(place, name)
                    archive.write(path, os.path.relpath(path, folder))
        for name, text in files.items():
            entry = zipfile.ZipInfo(name)
            entry.create_system, entry.external_attr = 3, 0o100755 << 16
            archive.writestr(entry, text)
    return buffer.getvalue()


def make(name, runtime, handler, zip, **more):
    awslambda.create_function(
        FunctionName=name, Runtime=runtime, Handler=handler, Role=ROLE, Code={"ZipFile": zip}, **more
    )


def write(name, runtime, handler, file, text, **more):
    """A function that is one file."""
    make(name, runtime, handler, zipped({file: text}), **more)


def check_that_functions_run():
    write("probe", "python3.13", "app.handler", "app.py", "def handler(event, context): pass")
    call("probe")


CALLS = """
import http.client, os
def handler(event, context):
    endpoint = os.environ["AWS_ENDPOINT_URL"]
    connection = http.client.HTTPConnection(endpoint.removeprefix("http://"), timeout=5)
    connection.request("GET", "/_lamp/health")
    return [endpoint, connection.getresponse().status]
"""


def check_that_functions_reach_the_platform(endpoint):
    """The platform's own API, where functions are told that it is."""
    write("calls", "python3.13", "app.handler", "app.py", CALLS)
    found, log = succeed("calls")
    assert found == [endpoint, 200], (found, log)


def call(name, event=None, **more):
    """The answer, its payload, and the end of its log."""
    try:
        answer = awslambda.invoke(FunctionName=name, Payload=json.dumps(event, ensure_ascii=False), LogType="Tail", **more)
    except botocore.exceptions.ClientError as error:
        # A host without namespaces runs no functions, and says so. Whatever else it says is a fault.
        if "running functions on this machine" not in str(error):
            raise
        print("skipped: this host lends no sandboxes")
        sys.exit(0)
    log = base64.b64decode(answer["LogResult"]).decode()
    payload = answer["Payload"].read().decode()
    try:
        return answer, json.loads(payload), log
    except ValueError:  # a stream's, whole
        return answer, payload, log


def succeed(name, event=None, **more):
    """What a function answers that must not fail, and its log."""
    answer, result, log = call(name, event, **more)
    assert "FunctionError" not in answer, (result, log)
    return result, log


def fail(name, event=None, **more):
    """What a function answers that must fail, and its log."""
    answer, result, log = call(name, event, **more)
    assert answer.get("FunctionError") == "Unhandled", (answer, result, log)
    return result, log

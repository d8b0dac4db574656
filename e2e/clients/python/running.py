"""What scripts that run functions share: a client that tries once, functions out of a text, calls with their log."""

import base64
import io
import json
import sys
import zipfile

import boto3
import botocore.exceptions
from botocore.config import Config

ROLE = "arn:aws:iam::000000000000:role/r"
ARN = "arn:aws:lambda:us-east-1:000000000000:function"
awslambda = boto3.client("lambda", config=Config(retries={"total_max_attempts": 1}))


def a_zip(name, text):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        entry = zipfile.ZipInfo(name)
        entry.create_system, entry.external_attr = 3, 0o100755 << 16
        archive.writestr(entry, text)
    return buffer.getvalue()


def make(name, runtime, handler, file, text, **more):
    awslambda.create_function(
        FunctionName=name, Runtime=runtime, Handler=handler, Role=ROLE, Code={"ZipFile": a_zip(file, text)}, **more
    )


def call(name, event=None, **more):
    answer = awslambda.invoke(FunctionName=name, Payload=json.dumps(event), LogType="Tail", **more)
    log = base64.b64decode(answer["LogResult"]).decode()
    return answer, json.loads(answer["Payload"].read()), log


def refused(code, words, run, **arguments):
    try:
        run(**arguments)
    except botocore.exceptions.ClientError as error:
        assert error.response["Error"]["Code"] == code, error
        assert words in error.response["Error"]["Message"], error
        return
    raise AssertionError(f"{code} expected")


def check_that_functions_run():
    """A host without namespaces runs no functions, and says so. Whatever else it says is a fault."""
    make("probe", "python3.13", "app.handler", "app.py", "def handler(event, context): pass")
    try:
        call("probe")
    except botocore.exceptions.ClientError as error:
        if "running functions on this machine" not in str(error):
            raise
        print("skipped: this host lends no sandboxes")
        sys.exit(0)

"""boto3 walks through the life of a function, with the waiters, paginators and exceptions of the SDK."""

import base64
import hashlib
import io
import os
import time
import urllib.error
import urllib.request
import zipfile

import boto3
import botocore.exceptions
from botocore.config import Config

ROLE = "arn:aws:iam::000000000000:role/r"


def a_zip(**files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name.replace("_dot_", "."), content)
    return buffer.getvalue()


def refused(code, call, **arguments):
    try:
        call(**arguments)
    except botocore.exceptions.ClientError as error:
        assert error.response["Error"]["Code"] == code, error
        return error.response
    raise AssertionError(f"{code} expected")


config = Config(retries={"total_max_attempts": 1}, parameter_validation=False)
awslambda = boto3.client("lambda", config=config)
sts = boto3.client("sts", config=config)

# Who am I?
identity = sts.get_caller_identity()
assert identity["Account"] == "000000000000", identity
assert identity["Arn"] == "arn:aws:iam::000000000000:root", identity

# Create. The answer says Pending; the waiter sees Active.
code = a_zip(app_dot_py="def handler(event, context): return event")
created = awslambda.create_function(
    FunctionName="f", Runtime="python3.13", Handler="app.handler", Role=ROLE, Code={"ZipFile": code},
    Environment={"Variables": {"GREETING": "grüße", "EMPTY": ""}}, Tags={"team": "lamp"}, Timeout=7,
)
assert created["ResponseMetadata"]["HTTPStatusCode"] == 201
assert created["State"] == "Pending" and created["StateReasonCode"] == "Creating", created
assert "LastUpdateStatus" not in created
assert created["CodeSha256"] == base64.b64encode(hashlib.sha256(code).digest()).decode()
assert (created["Timeout"], created["MemorySize"], created["EphemeralStorage"]) == (7, 128, {"Size": 512})
for waiter in ("function_exists", "function_active", "function_active_v2", "function_updated", "function_updated_v2"):
    awslambda.get_waiter(waiter).wait(FunctionName="f")

# Get, by every form of the name.
arn = created["FunctionArn"]
for name in ["f", "function:f", "000000000000:function:f", arn]:
    got = awslambda.get_function(FunctionName=name)
    assert got["Configuration"]["FunctionArn"] == arn, got
assert got["Configuration"]["State"] == "Active" and got["Tags"] == {"team": "lamp"}
assert got["Configuration"]["Environment"] == {"Variables": {"GREETING": "grüße", "EMPTY": ""}}
assert awslambda.get_function(FunctionName="f", Qualifier="$LATEST")["Configuration"]["FunctionArn"] == arn + ":$LATEST"

# The code can be fetched by whoever has the link, and only under that link.
location = got["Code"]["Location"]
assert urllib.request.urlopen(location).read() == code
try:
    urllib.request.urlopen(location[:-4] + "AAAA")
    raise AssertionError("a bent link was served")
except urllib.error.HTTPError as error:
    assert error.code == 403, error

# Change configuration and code.
updated = awslambda.update_function_configuration(FunctionName="f", Description="changed", MemorySize=256)
assert updated["LastUpdateStatus"] == "InProgress" and updated["State"] == "Active"
awslambda.get_waiter("function_updated_v2").wait(FunctionName="f")
settled = awslambda.get_function_configuration(FunctionName="f")
assert (settled["Description"], settled["MemorySize"], settled["Timeout"]) == ("changed", 256, 7)
other = a_zip(app_dot_py="def handler(event, context): return 2")
assert awslambda.update_function_code(FunctionName="f", ZipFile=other, DryRun=True)["CodeSha256"] != settled["CodeSha256"]
assert awslambda.get_function_configuration(FunctionName="f")["CodeSha256"] == settled["CodeSha256"]
awslambda.update_function_code(FunctionName="f", ZipFile=other, RevisionId=settled["RevisionId"])
stale = refused(
    "PreconditionFailedException", awslambda.update_function_code,
    FunctionName="f", ZipFile=other, RevisionId=settled["RevisionId"],
)
assert stale["Type"] == "User" and stale["ResponseMetadata"]["HTTPStatusCode"] == 412, stale

# Tags.
awslambda.tag_resource(Resource=arn, Tags={"a": "1", "b": "2"})
awslambda.untag_resource(Resource=arn, TagKeys=["a", "team"])
assert awslambda.list_tags(Resource=arn)["Tags"] == {"b": "2"}

# Lists come in pages; a page's marker is worth nothing to another account.
for number in range(7):
    awslambda.create_function(
        FunctionName=f"g{number}", Runtime="nodejs22.x", Handler="index.handler", Role=ROLE, Code={"ZipFile": code}
    )
pages = awslambda.get_paginator("list_functions").paginate(PaginationConfig={"PageSize": 3})
names = [function["FunctionName"] for page in pages for function in page["Functions"]]
assert names == ["f"] + [f"g{number}" for number in range(7)], names
marker = awslambda.list_functions(MaxItems=3)["NextMarker"]
stranger = boto3.client("lambda", config=config, aws_access_key_id="111111111111",
                        aws_secret_access_key="x")
refused("InvalidParameterValueException", stranger.list_functions, Marker=marker)
assert stranger.list_functions()["Functions"] == []
elsewhere = boto3.client("lambda", config=config, region_name="ap-southeast-2")
assert elsewhere.list_functions()["Functions"] == []

# Errors, in AWS's words.
missing = refused("ResourceNotFoundException", awslambda.get_function, FunctionName="nobody")
assert missing["Message"] == "Function not found: arn:aws:lambda:us-east-1:000000000000:function:nobody", missing
assert missing["ResponseMetadata"]["HTTPStatusCode"] == 404
refused("ResourceConflictException", awslambda.create_function, FunctionName="f", Runtime="python3.13",
        Handler="app.handler", Role=ROLE, Code={"ZipFile": code})
bad = refused("ValidationException", awslambda.create_function, FunctionName="x", Runtime="python3.13",
              Handler="app.handler", Role="r1", Code={"ZipFile": code})
assert bad["Error"]["Message"].startswith(
    "1 validation error detected: Value 'r1' at 'role' failed to satisfy constraint: "
    "Member must satisfy regular expression pattern: arn:"
), bad
refused("InvalidParameterValueException", awslambda.create_function, FunctionName="x", Runtime="python3.13",
        Handler="app.handler", Role=ROLE, Code={"ZipFile": b"this is no zip"})
not_built = refused("NotImplementedException", awslambda.list_durable_executions_by_function, FunctionName="f")
assert not_built["ResponseMetadata"]["HTTPStatusCode"] == 501
assert "ListDurableExecutionsByFunction" in not_built["Error"]["Message"], not_built

refused_parameter = refused(
    "NotImplementedException", awslambda.create_function, FunctionName="x", Runtime="python3.13", Handler="app.handler",
    Role=ROLE, Code={"ZipFile": code}, Publish=True, PublishTo="LATEST_PUBLISHED",
)
assert "PublishTo" in refused_parameter["Error"]["Message"], refused_parameter

# A zip of nearly 50 MB: 67 MB of JSON.
large = io.BytesIO()
with zipfile.ZipFile(large, "w", zipfile.ZIP_STORED) as archive:
    archive.writestr("app.py", "def handler(event, context): return event")
    archive.writestr("model.bin", os.urandom(52_000_000))
started = time.monotonic()
big = awslambda.create_function(FunctionName="big", Runtime="python3.13", Handler="app.handler", Role=ROLE,
                                Code={"ZipFile": large.getvalue()})
print(f"50 MB created in {time.monotonic() - started:.2f} s")
assert big["CodeSize"] == len(large.getvalue())
location = awslambda.get_function(FunctionName="big")["Code"]["Location"]
assert hashlib.sha256(urllib.request.urlopen(location).read()).digest() == hashlib.sha256(large.getvalue()).digest()

# Delete.
for name in names + ["big"]:
    awslambda.delete_function(FunctionName=name)
refused("ResourceNotFoundException", awslambda.delete_function, FunctionName="f")
assert awslambda.list_functions()["Functions"] == []
print("ok")

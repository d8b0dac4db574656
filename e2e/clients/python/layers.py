"""boto3 publishes layers, reads and lists them, grants them to others and deletes them."""

import base64
import hashlib
import io
import json
import urllib.request
import zipfile

import boto3
import botocore.exceptions
from botocore.config import Config

US = "arn:aws:lambda:us-east-1:000000000000"
MISSING = "The resource you requested does not exist."


def a_zip(name, content):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def refused(code, call, **arguments):
    try:
        call(**arguments)
    except botocore.exceptions.ClientError as error:
        assert error.response["Error"]["Code"] == code, error
        return error.response["Error"]["Message"]
    raise AssertionError(f"{code} expected")


config = Config(retries={"total_max_attempts": 1}, parameter_validation=False)
awslambda = boto3.client("lambda", config=config)
stranger = boto3.client("lambda", config=config, aws_access_key_id="111111111111", aws_secret_access_key="x")
third = boto3.client("lambda", config=config, aws_access_key_id="222222222222", aws_secret_access_key="x")
elsewhere = boto3.client("lambda", config=config, region_name="eu-west-1")

# Publish. What is not given is not shown, but for the description.
code = a_zip("python/lib.py", "answer = 42")
first = awslambda.publish_layer_version(LayerName="l", Content={"ZipFile": code})
assert first["ResponseMetadata"]["HTTPStatusCode"] == 201
assert (first["LayerArn"], first["LayerVersionArn"]) == (f"{US}:layer:l", f"{US}:layer:l:1"), first
assert (first["Version"], first["Description"]) == (1, ""), first
assert not {"CompatibleRuntimes", "CompatibleArchitectures", "LicenseInfo"} & first.keys(), first
assert first["CreatedDate"].endswith("+0000"), first
assert first["Content"]["CodeSize"] == len(code)
assert first["Content"]["CodeSha256"] == base64.b64encode(hashlib.sha256(code).digest()).decode()
assert urllib.request.urlopen(first["Content"]["Location"]).read() == code

# The same again is a version of its own, and the name may be an ARN.
second = awslambda.publish_layer_version(
    LayerName=f"{US}:layer:l", Content={"ZipFile": code}, Description="d", LicenseInfo="MIT",
    CompatibleRuntimes=["python3.13", "python2.7"], CompatibleArchitectures=["arm64", "x86_64"],
)
third_version = awslambda.publish_layer_version(
    LayerName="l", Content={"ZipFile": code}, CompatibleRuntimes=["nodejs22.x"], CompatibleArchitectures=[],
)
assert (second["Version"], third_version["Version"]) == (2, 3)

# Get, by number and by ARN.
def plain(version):
    return {key: value for key, value in version.items() if key not in ("ResponseMetadata", "Content")}


for got in [
    awslambda.get_layer_version(LayerName="l", VersionNumber=2),
    awslambda.get_layer_version(LayerName=f"{US}:layer:l", VersionNumber=2),
    awslambda.get_layer_version_by_arn(Arn=f"{US}:layer:l:2"),
]:
    assert plain(got) == plain(second), got
    assert urllib.request.urlopen(got["Content"]["Location"]).read() == code
assert got["CompatibleRuntimes"] == ["python3.13", "python2.7"] and got["LicenseInfo"] == "MIT", got
assert awslambda.get_layer_version(LayerName="l", VersionNumber=3)["CompatibleArchitectures"] == []
for wrong in (0, -1):
    message = refused("InvalidParameterValueException", awslambda.get_layer_version, LayerName="l", VersionNumber=wrong)
    assert message == "Layer Version Cannot be less than 1", message
assert refused("ResourceNotFoundException", awslambda.get_layer_version, LayerName="l", VersionNumber=9) == MISSING
assert refused("ResourceNotFoundException", awslambda.get_layer_version, LayerName="no", VersionNumber=1) == MISSING
assert refused("ResourceNotFoundException", awslambda.get_layer_version_by_arn, Arn=f"{US}:layer:no:1") == MISSING
assert refused("ResourceNotFoundException", elsewhere.get_layer_version_by_arn, Arn=f"{US}:layer:l:1") == MISSING
refused("ValidationException", awslambda.get_layer_version_by_arn, Arn=f"{US}:layer:l")

# What is not code is refused, and nothing is counted for it.
refused("InvalidParameterValueException", awslambda.publish_layer_version, LayerName="l", Content={"ZipFile": b"no"})
refused("InvalidParameterValueException", awslambda.publish_layer_version, LayerName="l", Content={})
refused("NotImplementedException", awslambda.publish_layer_version, LayerName="l",
        Content={"S3Bucket": "bucket", "S3Key": "key"})

# Lists: the newest first, through filters, page by page.
def numbers(**filters):
    pages = awslambda.get_paginator("list_layer_versions").paginate(LayerName="l", **filters)
    return [version["Version"] for page in pages for version in page["LayerVersions"]]


def latest(**filters):
    pages = awslambda.get_paginator("list_layers").paginate(**filters)
    found = [layer for page in pages for layer in page["Layers"]]
    return [(layer["LayerName"], layer["LatestMatchingVersion"]["Version"]) for layer in found]


for name in ("a", "m", "z"):
    for _ in range(2):
        awslambda.publish_layer_version(LayerName=name, Content={"ZipFile": code}, CompatibleRuntimes=["python3.13"])
for size in (1, 2, 50):
    paging = {"PageSize": size}
    assert numbers(PaginationConfig=paging) == [3, 2, 1]
    assert numbers(PaginationConfig=paging, CompatibleRuntime="python3.13") == [2]
    assert numbers(PaginationConfig=paging, CompatibleArchitecture="arm64") == [2]
    assert numbers(PaginationConfig=paging, CompatibleRuntime="nodejs22.x", CompatibleArchitecture="arm64") == []
    assert latest(PaginationConfig=paging) == [("a", 2), ("l", 3), ("m", 2), ("z", 2)]
    assert latest(PaginationConfig=paging, CompatibleRuntime="python2.7") == [("l", 2)]
    assert latest(PaginationConfig=paging, CompatibleRuntime="python3.13") == [("a", 2), ("l", 2), ("m", 2), ("z", 2)]
item = awslambda.list_layers(MaxItems=1, CompatibleRuntime="python2.7")["Layers"][0]
assert (item["LayerArn"], item["LatestMatchingVersion"]["Description"]) == (f"{US}:layer:l", "d"), item
assert "NextMarker" not in awslambda.list_layers(MaxItems=4)
assert awslambda.list_layer_versions(LayerName="no")["LayerVersions"] == []
assert elsewhere.list_layers()["Layers"] == [] and stranger.list_layers()["Layers"] == []
refused("InvalidParameterValueException", awslambda.list_layers, Marker="no marker")
refused("ValidationException", awslambda.list_layers, CompatibleRuntime="cobol")

# Others may do nothing, until the version's policy says so, and then only what it says.
denied = refused("AccessDeniedException", stranger.get_layer_version_by_arn, Arn=f"{US}:layer:l:1")
assert denied == (
    "User: arn:aws:iam::111111111111:root is not authorized to perform: lambda:GetLayerVersion on resource: "
    f"{US}:layer:l:1 because no resource-based policy allows the lambda:GetLayerVersion action"
), denied
version = {"LayerName": "l", "VersionNumber": 1}
statement = {"Action": "lambda:GetLayerVersion", "Principal": "111111111111", "StatementId": "one"}
none = refused("ResourceNotFoundException", awslambda.get_layer_version_policy, **version)
assert none == "No policy is associated with the given resource.", none
added = awslambda.add_layer_version_permission(**version, **statement)
assert json.loads(added["Statement"]) == {
    "Sid": "one", "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::111111111111:root"},
    "Action": "lambda:GetLayerVersion", "Resource": f"{US}:layer:l:1",
}, added
assert stranger.get_layer_version_by_arn(Arn=f"{US}:layer:l:1")["Version"] == 1
refused("AccessDeniedException", third.get_layer_version_by_arn, Arn=f"{US}:layer:l:1")
refused("AccessDeniedException", stranger.get_layer_version_by_arn, Arn=f"{US}:layer:l:2")
refused("AccessDeniedException", stranger.get_layer_version_policy, LayerName=f"{US}:layer:l", VersionNumber=1)
refused("AccessDeniedException", stranger.delete_layer_version, LayerName=f"{US}:layer:l", VersionNumber=1)
refused("AccessDeniedException", stranger.list_layer_versions, LayerName=f"{US}:layer:l")
refused("AccessDeniedException", stranger.publish_layer_version, LayerName=f"{US}:layer:l", Content={"ZipFile": code})
refused("ResourceConflictException", awslambda.add_layer_version_permission, **version, **statement)
stale = refused("PreconditionFailedException", awslambda.add_layer_version_permission, **version,
                **statement | {"StatementId": "all"}, RevisionId="stale")
assert stale.endswith("Call the GetLayerPolicy API to retrieve the latest Revision Id"), stale
everybody = awslambda.add_layer_version_permission(
    **version, **statement | {"StatementId": "all", "Principal": "*"}, RevisionId=added["RevisionId"],
)
assert third.get_layer_version_by_arn(Arn=f"{US}:layer:l:1")["Version"] == 1
policy = awslambda.get_layer_version_policy(**version)
assert policy["RevisionId"] == everybody["RevisionId"] != added["RevisionId"]
document = json.loads(policy["Policy"])
assert (document["Version"], document["Id"]) == ("2012-10-17", "default"), document
assert [statement["Sid"] for statement in document["Statement"]] == ["one", "all"], document
missing = refused("ResourceNotFoundException", awslambda.remove_layer_version_permission, **version, StatementId="no")
assert missing == "Statement no is not found in resource policy.", missing
awslambda.remove_layer_version_permission(**version, StatementId="all", RevisionId=policy["RevisionId"])
refused("AccessDeniedException", third.get_layer_version_by_arn, Arn=f"{US}:layer:l:1")
awslambda.remove_layer_version_permission(**version, StatementId="one")
refused("ResourceNotFoundException", awslambda.get_layer_version_policy, **version)
missing = refused("ResourceNotFoundException", awslambda.add_layer_version_permission,
                  LayerName="l", VersionNumber=9, **statement)
assert missing == f"Layer version {US}:layer:l:9 does not exist.", missing

# Functions use layers, as they were when they were told to.
def function(call=awslambda.create_function, name="f", **arguments):
    if call == awslambda.create_function:
        arguments |= {"Runtime": "python3.13", "Handler": "app.handler", "Role": "arn:aws:iam::000000000000:role/r",
                      "Code": {"ZipFile": a_zip("app.py", "import lib")}}
    return call(FunctionName=name, **arguments)


def refused_layers(*arns, code="InvalidParameterValueException"):
    return refused(code, awslambda.update_function_configuration, FunctionName="f", Layers=list(arns))


used = [f"{US}:layer:m:1", f"{US}:layer:l:3"]
shown = [{"Arn": arn, "CodeSize": len(code)} for arn in used]
assert function(Layers=used)["Layers"] == shown
one = function(awslambda.publish_version)
assert one["Layers"] == shown
assert function(awslambda.publish_version)["Version"] == "1"
assert function(awslambda.update_function_configuration, Layers=used[:1])["Layers"] == shown[:1]
assert function(awslambda.publish_version)["Version"] == "2"
assert "Layers" not in function(awslambda.update_function_configuration, Layers=[])
assert function(awslambda.update_function_configuration, Description="d").get("Layers") is None
assert function(awslambda.update_function_configuration, Layers=used)["Layers"] == shown
six = [f"{US}:layer:{number}:1" for number in range(6)]
assert refused_layers(*six) == "Cannot reference more than 5 layers."
assert refused_layers(f"{US}:layer:l:9") == f"Layer version {US}:layer:l:9 does not exist."
own = "arn:aws:lambda:::awslayer:AmazonLinux1703"
assert refused_layers(own) == f"Layer version {own} does not exist."
assert refused_layers(f"{US}:layer:l:1", f"{US}:layer:m:1", f"{US}:layer:l:2") == (
    "Two different versions of the same layer are not allowed to be referenced in the same function. "
    f"{US}:layer:l:1 and {US}:layer:l:2 are versions of the same layer."
)
elsewhere.publish_layer_version(LayerName="l", Content={"ZipFile": code})
assert refused_layers("arn:aws:lambda:eu-west-1:000000000000:layer:l:1") == (
    "Layers are not in the same region as the function. Layers are expected to be in region us-east-1."
)
refused("InvalidParameterValueException", function, Layers=["arn:aws:lambda:eu-west-1:000000000000:layer:l:1"])
theirs = stranger.publish_layer_version(LayerName="theirs", Content={"ZipFile": code})["LayerVersionArn"]
denied = refused_layers(theirs, code="AccessDeniedException")
assert f"lambda:GetLayerVersion on resource: {theirs} because" in denied, denied
stranger.add_layer_version_permission(LayerName="theirs", VersionNumber=1, StatementId="s", Principal="*",
                                      Action="lambda:GetLayerVersion")
assert function(awslambda.update_function_configuration, Layers=[theirs])["Layers"][0]["Arn"] == theirs

# All together may be 250 MB unzipped, and zeros take little space.
huge = a_zip("zeros", bytes(200 * 1024 * 1024))
large = [awslambda.publish_layer_version(LayerName=name, Content={"ZipFile": huge})["LayerVersionArn"]
         for name in ("large", "larger")]
assert refused_layers(*large) == "Layers consume more than the available size of 262144000 bytes"
function(awslambda.update_function_configuration, Layers=large[:1])
together = refused("InvalidParameterValueException", awslambda.update_function_code, FunctionName="f", ZipFile=huge)
assert together == (
    "Function code combined with layers exceeds the maximum allowed size of 262144000 bytes. "
    f"The actual size is {2 * 200 * 1024 * 1024} bytes."
), together

# Deleting again is no error. A number is never given twice.
for number in (3, 2, 1, 1):
    deleted = awslambda.delete_layer_version(LayerName="l", VersionNumber=number)
    assert deleted["ResponseMetadata"]["HTTPStatusCode"] == 204
assert numbers() == [] and [name for name, _ in latest()] == ["a", "large", "larger", "m", "z"]
assert awslambda.publish_layer_version(LayerName="l", Content={"ZipFile": code})["Version"] == 4

# Functions keep what they use of the deleted ones, and versions of them can still be published.
assert refused_layers(f"{US}:layer:l:3") == f"Layer version {US}:layer:l:3 does not exist."
assert awslambda.get_function_configuration(FunctionName="f", Qualifier="1")["Layers"] == shown
stranger.delete_layer_version(LayerName="theirs", VersionNumber=1)
function(awslambda.delete_function, Qualifier="2")
function(awslambda.delete_function)
print("ok")

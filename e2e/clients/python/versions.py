"""boto3 publishes versions, points aliases at them, sets concurrency aside, and deletes in every order that AWS allows."""

import io
import zipfile

import boto3
from botocore.config import Config
from refusal import refused

ROLE = "arn:aws:iam::000000000000:role/r"
ARN = "arn:aws:lambda:us-east-1:000000000000:function:f"
awslambda = boto3.client("lambda", config=Config(retries={"total_max_attempts": 1}))


def a_zip(text):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("app.py", text)
    return buffer.getvalue()


def all_of(operation, key, **arguments):
    pages = awslambda.get_paginator(operation).paginate(PaginationConfig={"PageSize": 1}, **arguments)
    return [item for page in pages for item in page.get(key, [])]


def code_stored():
    return awslambda.get_account_settings()["AccountUsage"]["TotalCodeSize"]


# A function that is published as it is made shows its first version under its own name.
first = a_zip("first")
created = awslambda.create_function(
    FunctionName="f", Runtime="python3.13", Handler="app.handler", Role=ROLE, Code={"ZipFile": first}, Publish=True,
    Environment={"Variables": {"STAGE": "one"}}, Description="made",
)
assert (created["Version"], created["FunctionArn"], created["State"]) == ("1", ARN, "Pending"), created
assert code_stored() == 2 * len(first)
awslambda.get_waiter("published_version_active").wait(FunctionName="f", Qualifier="1")

# Publishing what has not changed is no new version; neither is setting what is already set.
assert awslambda.publish_version(FunctionName="f", Description="again")["Version"] == "1"
awslambda.update_function_configuration(FunctionName="f", Environment={"Variables": {"STAGE": "one"}})
assert awslambda.publish_version(FunctionName="f")["Version"] == "1"

# A version keeps what it was.
awslambda.update_function_configuration(FunctionName="f", Environment={"Variables": {"STAGE": "two"}})
awslambda.get_waiter("function_updated_v2").wait(FunctionName="f")
second = awslambda.publish_version(FunctionName="f", Description="second")
assert (second["Version"], second["FunctionArn"], second["Description"]) == ("2", f"{ARN}:2", "second"), second
assert (second["State"], second["LastUpdateStatus"]) == ("Active", "Successful"), second
third = awslambda.update_function_code(FunctionName="f", ZipFile=a_zip("third"), Publish=True)
assert (third["Version"], third["FunctionArn"], third["State"]) == ("3", f"{ARN}:3", "Pending"), third
for version, stage, sha in [("1", "one", created), ("2", "two", created), ("3", "two", third)]:
    shown = awslambda.get_function(FunctionName="f", Qualifier=version)["Configuration"]
    assert shown["Environment"]["Variables"] == {"STAGE": stage}, shown
    assert shown["CodeSha256"] == sha["CodeSha256"], shown
assert awslambda.get_function_configuration(FunctionName=f"{ARN}:2")["Description"] == "second"

# Preconditions of publishing.
latest = awslambda.get_function_configuration(FunctionName="f")
stale = "00000000-0000-0000-0000-000000000000"
refused("PreconditionFailedException", "Revision Id", awslambda.publish_version, FunctionName="f", RevisionId=stale)
refused("InvalidParameterValueException", "is different from current CodeSHA256", awslambda.publish_version,
        FunctionName="f", CodeSha256=created["CodeSha256"])
awslambda.publish_version(FunctionName="f", CodeSha256=latest["CodeSha256"], RevisionId=latest["RevisionId"])

# Lists, page by page.
assert [v["Version"] for v in all_of("list_versions_by_function", "Versions", FunctionName="f")] == ["$LATEST", "1", "2", "3"]
awslambda.create_function(
    FunctionName="g", Runtime="python3.13", Handler="app.handler", Role=ROLE, Code={"ZipFile": first},
)
everything = [v["FunctionArn"].rsplit(":function:")[1] for v in all_of("list_functions", "Functions", FunctionVersion="ALL")]
assert everything == ["f:$LATEST", "f:1", "f:2", "f:3", "g:$LATEST"], everything
assert [v["FunctionName"] for v in all_of("list_functions", "Functions")] == ["f", "g"]

# Aliases: names for a version, or for two.
live = awslambda.create_alias(
    FunctionName="f", Name="live", FunctionVersion="1", RoutingConfig={"AdditionalVersionWeights": {"2": 0.25}}
)
assert live["AliasArn"] == f"{ARN}:live" and live["RoutingConfig"] == {"AdditionalVersionWeights": {"2": 0.25}}, live
through = awslambda.get_function(FunctionName="f:live")["Configuration"]
assert (through["FunctionArn"], through["Version"]) == (f"{ARN}:live", "1"), through
refused("ResourceConflictException", f"Alias already exists: {ARN}:live", awslambda.create_alias,
        FunctionName="f", Name="live", FunctionVersion="1")
refused("ResourceNotFoundException", f"Function not found: {ARN}:9", awslambda.create_alias,
        FunctionName="f", Name="new", FunctionVersion="9")
refused("PreconditionFailedException", "Revision Id", awslambda.update_alias,
        FunctionName="f", Name="live", FunctionVersion="2", RevisionId=stale)
for version in ("1", "2"):
    refused("ResourceConflictException", "the following aliases reference it: [live]", awslambda.delete_function,
            FunctionName="f", Qualifier=version)
moved = awslambda.update_alias(
    FunctionName="f", Name="live", FunctionVersion="3", RoutingConfig={}, RevisionId=live["RevisionId"]
)
assert moved["FunctionVersion"] == "3" and "RoutingConfig" not in moved, moved
awslambda.create_alias(FunctionName="f", Name="newest", FunctionVersion="$LATEST")
assert [a["Name"] for a in all_of("list_aliases", "Aliases", FunctionName="f")] == ["live", "newest"]
assert [a["Name"] for a in awslambda.list_aliases(FunctionName="f", FunctionVersion="3")["Aliases"]] == ["live"]

# Numbers are never given again.
awslambda.delete_alias(FunctionName="f", Name="live")
awslambda.delete_alias(FunctionName="f", Name="live")
for version in ("1", "3", "3", "77"):
    awslambda.delete_function(FunctionName="f", Qualifier=version)
assert awslambda.publish_version(FunctionName="f")["Version"] == "4"
refused("InvalidParameterValueException", "$LATEST version cannot be deleted", awslambda.delete_function,
        FunctionName="f", Qualifier="$LATEST")
refused("InvalidParameterValueException", "Deletion of aliases", awslambda.delete_function,
        FunctionName="f", Qualifier="newest")

# Concurrency: what one function sets aside, the others cannot have.
assert awslambda.put_function_concurrency(FunctionName="f", ReservedConcurrentExecutions=800)
refused("InvalidParameterValueException", "below its minimum value of [100]", awslambda.put_function_concurrency,
        FunctionName="g", ReservedConcurrentExecutions=101)
assert awslambda.get_function(FunctionName="f")["Concurrency"] == {"ReservedConcurrentExecutions": 800}
put = awslambda.put_provisioned_concurrency_config(FunctionName="f", Qualifier="4", ProvisionedConcurrentExecutions=3)
assert put["Status"] == "IN_PROGRESS", put
got = awslambda.get_provisioned_concurrency_config(FunctionName="f", Qualifier="4")
# What comes of it is another script's: provisioned.py.
assert got["RequestedProvisionedConcurrentExecutions"] == 3, got
refused("InvalidParameterValueException", "should not be lower", awslambda.put_function_concurrency,
        FunctionName="f", ReservedConcurrentExecutions=2)
awslambda.delete_function(FunctionName="f", Qualifier="4")
assert awslambda.list_provisioned_concurrency_configs(FunctionName="f")["ProvisionedConcurrencyConfigs"] == []

# What a function reserved and stored is given back when it goes, and nothing of it comes back under its name.
awslambda.delete_function(FunctionName="f")
awslambda.delete_function(FunctionName="g")
settings = awslambda.get_account_settings()
assert settings["AccountUsage"] == {"TotalCodeSize": 0, "FunctionCount": 0}, settings
assert settings["AccountLimit"]["UnreservedConcurrentExecutions"] == 1000, settings
awslambda.create_function(
    FunctionName="f", Runtime="python3.13", Handler="app.handler", Role=ROLE, Code={"ZipFile": first},
)
assert awslambda.list_aliases(FunctionName="f")["Aliases"] == []
assert [v["Version"] for v in all_of("list_versions_by_function", "Versions", FunctionName="f")] == ["$LATEST"]
assert awslambda.publish_version(FunctionName="f")["Version"] == "5"

# Variables that are emptied are gone.
awslambda.update_function_configuration(FunctionName="f", Environment={"Variables": {"STAGE": "one"}})
assert "Environment" in awslambda.get_function_configuration(FunctionName="f")
awslambda.update_function_configuration(FunctionName="f", Environment={"Variables": {}})
assert "Environment" not in awslambda.get_function_configuration(FunctionName="f")

# A number is written in one way, and a change of $LATEST names nothing else.
refused("ResourceNotFoundException", f"{ARN}:05", awslambda.create_alias,
        FunctionName="f", Name="padded", FunctionVersion="05")
refused("ResourceNotFoundException", f"{ARN}:05", awslambda.delete_function, FunctionName="f", Qualifier="05")
refused("InvalidParameterValueException", "permitted on Lambda functions only", awslambda.update_function_configuration,
        FunctionName="f:5", Description="new")

# What is longer than a row is kept too, and what one function provisions another cannot reserve.
many = {f"key{n:02}" + "\U00020000" * 122: "\U00020000" * 256 for n in range(50)}
awslambda.tag_resource(Resource=ARN, Tags=many)
assert awslambda.list_tags(Resource=ARN)["Tags"] == many
for begin in range(0, 40, 5):
    awslambda.untag_resource(Resource=ARN, TagKeys=list(many)[begin:begin + 5])
assert len(awslambda.get_function(FunctionName="f")["Tags"]) == 10
awslambda.put_provisioned_concurrency_config(FunctionName="f", Qualifier="5", ProvisionedConcurrentExecutions=500)
refused("InvalidParameterValueException", "below its minimum value of [100]", awslambda.put_provisioned_concurrency_config,
        FunctionName="f", Qualifier="5", ProvisionedConcurrentExecutions=901)
awslambda.create_function(
    FunctionName="other", Runtime="python3.13", Handler="app.handler", Role=ROLE, Code={"ZipFile": first},
)
refused("InvalidParameterValueException", "below its minimum value of [100]", awslambda.put_function_concurrency,
        FunctionName="other", ReservedConcurrentExecutions=401)
awslambda.delete_provisioned_concurrency_config(FunctionName="f", Qualifier="5")
awslambda.put_function_concurrency(FunctionName="other", ReservedConcurrentExecutions=900)
awslambda.delete_function(FunctionName="other")

# A marker goes on with the listing that gave it, and with no other.
for name in ("a", "b"):
    awslambda.create_alias(FunctionName="f", Name=name, FunctionVersion="5")
marker = awslambda.list_aliases(FunctionName="f", MaxItems=1)["NextMarker"]
awslambda.create_function(
    FunctionName="g", Runtime="python3.13", Handler="app.handler", Role=ROLE, Code={"ZipFile": first},
)
refused("InvalidParameterValueException", "Invalid Marker", awslambda.list_aliases, FunctionName="g", Marker=marker)
for name in ("a", "b"):
    awslambda.delete_alias(FunctionName="f", Name=name)
awslambda.delete_function(FunctionName="g")

# Functions from images are kept as named.
image = "123456789012.dkr.ecr.us-east-1.amazonaws.com/app"
made = awslambda.create_function(
    FunctionName="i", Role=ROLE, PackageType="Image", Code={"ImageUri": f"{image}:1"}, ImageConfig={"Command": ["app.handler"]}
)
assert made["PackageType"] == "Image" and made["ImageConfigResponse"] == {"ImageConfig": {"Command": ["app.handler"]}}, made
assert awslambda.get_function(FunctionName="i")["Code"] == {"RepositoryType": "ECR", "ImageUri": f"{image}:1"}
refused("InvalidParameterValueException", "Please provide ImageUri when updating", awslambda.update_function_code,
        FunctionName="i", ZipFile=first)
refused("InvalidParameterValueException", "Please don't provide ImageUri when updating", awslambda.update_function_code,
        FunctionName="f", ImageUri=f"{image}:2")
refused("InvalidParameterValueException", "PackageType is Image", awslambda.update_function_configuration,
        FunctionName="i", Handler="app.handler")

"""boto3 gives functions code signing configurations and takes them away, and makes capacity providers."""

import concurrent.futures
import io
import re
import zipfile

import boto3
from botocore.config import Config
from refusal import refused

ROLE = "arn:aws:iam::000000000000:role/r"
PUBLISHERS = {"SigningProfileVersionArns": ["arn:aws:signer:us-east-1:000000000000:/signing-profiles/test"]}
awslambda = boto3.client("lambda", config=Config(retries={"total_max_attempts": 1}, parameter_validation=False))


code = io.BytesIO()
with zipfile.ZipFile(code, "w") as archive:
    archive.writestr("app.py", "")


def function(name, **arguments):
    return awslambda.create_function(FunctionName=name, Runtime="python3.13", Handler="app.handler", Role=ROLE,
                                     Code={"ZipFile": code.getvalue()}, **arguments)["FunctionArn"]


def config(**arguments):
    return awslambda.create_code_signing_config(AllowedPublishers=PUBLISHERS, **arguments)["CodeSigningConfig"]


function_arn = function("f")

# A configuration, its parts one by one.
made = config(Description="d", CodeSigningPolicies={"UntrustedArtifactOnDeployment": "Enforce"}, Tags={"a": "1"})
arn = made["CodeSigningConfigArn"]
assert re.fullmatch(r"csc-0[0-9a-f]{16}", made["CodeSigningConfigId"]), made
assert arn == f"arn:aws:lambda:us-east-1:000000000000:code-signing-config:{made['CodeSigningConfigId']}"
assert (made["AllowedPublishers"], made["Description"]) == (PUBLISHERS, "d")
warn = {"UntrustedArtifactOnDeployment": "Warn"}
changed = awslambda.update_code_signing_config(CodeSigningConfigArn=arn, CodeSigningPolicies=warn)["CodeSigningConfig"]
assert (changed["CodeSigningPolicies"], changed["Description"]) == (warn, "d")
got = awslambda.get_code_signing_config(CodeSigningConfigArn=arn)["CodeSigningConfig"]
assert got == changed == awslambda.list_code_signing_configs()["CodeSigningConfigs"][-1]
assert config()["CodeSigningPolicies"] == warn
assert len(awslambda.list_code_signing_configs()["CodeSigningConfigs"]) == 2

# One that is not there.
unknown = arn[:-1] + "x"
words = f"The Lambda code signing configuration {unknown} can not be found."
for call in [awslambda.get_code_signing_config, awslambda.update_code_signing_config,
             awslambda.delete_code_signing_config, awslambda.list_functions_by_code_signing_config]:
    assert "Type" not in refused("ResourceNotFoundException", words, call, CodeSigningConfigArn=unknown)
put, take = awslambda.put_function_code_signing_config, awslambda.delete_function_code_signing_config
for name in ["f", "nobody"]:
    refused("CodeSigningConfigNotFoundException", f"Check that the provided configuration is not deleted: {unknown}.",
            put, FunctionName=name, CodeSigningConfigArn=unknown)
refused("ResourceNotFoundException", "Function not found:", put, FunctionName="nobody", CodeSigningConfigArn=arn)
refused("ResourceNotFoundException", "Function not found:", take, FunctionName="nobody")
refused("InvalidParameterValueException", "This operation is permitted on Lambda functions only.", put,
        FunctionName="f:$LATEST", CodeSigningConfigArn=arn)

# A function has one or none.
chosen = awslambda.get_function_code_signing_config
assert "CodeSigningConfigArn" not in chosen(FunctionName="f")
take(FunctionName="f")
given = put(FunctionName=function_arn, CodeSigningConfigArn=arn)
assert (given["FunctionName"], given["CodeSigningConfigArn"]) == ("f", arn)
assert chosen(FunctionName="f")["CodeSigningConfigArn"] == arn
users = lambda of: awslambda.list_functions_by_code_signing_config(CodeSigningConfigArn=of)["FunctionArns"]
assert users(arn) == [function_arn]
refused("ResourceConflictException", arn, awslambda.delete_code_signing_config, CodeSigningConfigArn=arn)
second = config()["CodeSigningConfigArn"]
put(FunctionName="f", CodeSigningConfigArn=second)
assert (users(arn), users(second)) == ([], [function_arn])

# A function that is deleted lets go of it, and the next of its name has none.
awslambda.delete_function(FunctionName="f")
assert users(second) == []
function("f")
assert "CodeSigningConfigArn" not in chosen(FunctionName="f")
awslambda.delete_code_signing_config(CodeSigningConfigArn=second)

# Code that nobody signed is let through or refused, when a function is made and when it gets other code.
enforce = {"UntrustedArtifactOnDeployment": "Enforce"}
words = "The function or layer might be signed using a signature that the client is not configured to accept. " \
        "Check the provided signature for "
strict = config(CodeSigningPolicies=enforce)["CodeSigningConfigArn"]
refused("CodeVerificationFailedException", words + "g.", function, name="g", CodeSigningConfigArn=strict)
refused("CodeSigningConfigNotFoundException", unknown, function, name="g", CodeSigningConfigArn=unknown)
lax = config()["CodeSigningConfigArn"]
function_arn = function("g", CodeSigningConfigArn=lax)
assert (chosen(FunctionName="g")["CodeSigningConfigArn"], users(lax)) == (lax, [function_arn])
deploy = lambda: awslambda.update_function_code(FunctionName="g", ZipFile=code.getvalue())
deploy()
awslambda.update_code_signing_config(CodeSigningConfigArn=lax, CodeSigningPolicies=enforce)
refused("CodeVerificationFailedException", words + function_arn, deploy)
take(FunctionName="g")
deploy()

# Images are not signed.
awslambda.create_function(FunctionName="i", PackageType="Image", Role=ROLE,
                          Code={"ImageUri": "000000000000.dkr.ecr.us-east-1.amazonaws.com/i:1"})
for call, more in [(chosen, {}), (put, {"CodeSigningConfigArn": arn}), (take, {})]:
    refused("InvalidParameterValueException", "Code signing is not supported for functions created with container images.",
            call, FunctionName="i", **more)

# No function gets one that is deleted at the same time.
def race(number):
    contested = config()["CodeSigningConfigArn"]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(put, FunctionName="f", CodeSigningConfigArn=contested),
                 pool.submit(awslambda.delete_code_signing_config, CodeSigningConfigArn=contested)]
    given, gone = [call.exception() is None for call in calls]
    assert given != gone, [call.exception() for call in calls]
    assert (chosen(FunctionName="f").get("CodeSigningConfigArn") == contested) == given
    return given


for number in range(20):
    race(number)

# Tags.
awslambda.tag_resource(Resource=arn, Tags={"b": "2"})
awslambda.untag_resource(Resource=arn, TagKeys=["a"])
assert awslambda.list_tags(Resource=arn)["Tags"] == {"b": "2"}
refused("ResourceNotFoundException", unknown, awslambda.list_tags, Resource=unknown)

# Capacity providers.
needed = {"VpcConfig": {"SubnetIds": ["subnet-1"], "SecurityGroupIds": ["sg-1"]},
          "PermissionsConfig": {"CapacityProviderOperatorRoleArn": ROLE}}
response = awslambda.create_capacity_provider(CapacityProviderName="p", Tags={"a": "1"}, **needed)
assert response["ResponseMetadata"]["HTTPStatusCode"] == 202
provider = response["CapacityProvider"]
arn = provider["CapacityProviderArn"]
assert arn == "arn:aws:lambda:us-east-1:000000000000:capacity-provider:p"
assert provider["State"] == "Pending" and provider["VpcConfig"] == needed["VpcConfig"], provider
assert provider["InstanceRequirements"] == {"Architectures": ["x86_64"]}
for name in ["p", arn]:
    got = awslambda.get_capacity_provider(CapacityProviderName=name)["CapacityProvider"]
    assert got == {**provider, "State": "Active"}, got
refused("ResourceConflictException", "already exists", awslambda.create_capacity_provider, CapacityProviderName="p", **needed)
scaled = awslambda.update_capacity_provider(CapacityProviderName="p", CapacityProviderScalingConfig={"MaxVCpuCount": 64})
scaling = scaled["CapacityProvider"]["CapacityProviderScalingConfig"]
assert scaling == {"MaxVCpuCount": 64, "ScalingMode": "Auto"}, scaling
awslambda.create_capacity_provider(CapacityProviderName="o", **needed)
pages = awslambda.get_paginator("list_capacity_providers").paginate(PaginationConfig={"PageSize": 1})
assert [p["CapacityProviderArn"][-1] for page in pages for p in page["CapacityProviders"]] == ["o", "p"]
assert awslambda.list_capacity_providers(State="Failed")["CapacityProviders"] == []
assert awslambda.list_function_versions_by_capacity_provider(CapacityProviderName="p")["FunctionVersions"] == []
awslambda.tag_resource(Resource=arn, Tags={"b": "2"})
assert awslambda.list_tags(Resource=arn)["Tags"] == {"a": "1", "b": "2"}
assert awslambda.delete_capacity_provider(CapacityProviderName="p")["CapacityProvider"]["State"] == "Deleting"
for call in [awslambda.get_capacity_provider, awslambda.update_capacity_provider, awslambda.delete_capacity_provider]:
    refused("ResourceNotFoundException", f"Capacity provider not found: {arn}", call, CapacityProviderName="p")
refused("ResourceNotFoundException", f"Capacity provider not found: {arn}", awslambda.list_tags, Resource=arn)
print("ok")

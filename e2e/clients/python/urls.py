"""boto3 gives a function and its alias URLs, says what becomes of asynchronous invocations, and takes it all away."""

import io
import re
import zipfile

import boto3
from botocore.config import Config
from refusal import refused

ROLE = "arn:aws:iam::000000000000:role/r"
ARN = "arn:aws:lambda:us-east-1:000000000000:function:f"
QUEUE = "arn:aws:sqs:us-east-1:000000000000:q"
BUCKET = "arn:aws:s3:::b"
config = Config(retries={"total_max_attempts": 1}, parameter_validation=False)
awslambda = boto3.client("lambda", config=config)


def make(name):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("app.py", "def handler(event, context): return event")
    awslambda.create_function(
        FunctionName=name, Runtime="python3.13", Handler="app.handler", Role=ROLE,
        Code={"ZipFile": buffer.getvalue()}, Publish=True,
    )


def shown(call, **arguments):
    answer = call(FunctionName="f", **arguments)
    answer.pop("ResponseMetadata")
    return answer


def all_of(operation, key):
    pages = awslambda.get_paginator(operation).paginate(FunctionName="f", PaginationConfig={"PageSize": 1})
    return [item["FunctionArn"] for page in pages for item in page[key]]


make("f")
make("other")
awslambda.create_alias(FunctionName="f", Name="live", FunctionVersion="1")

# URLs. A new one shows what was given, and a read what AWS takes for granted too.
create, get = awslambda.create_function_url_config, awslambda.get_function_url_config
update, delete = awslambda.update_function_url_config, awslambda.delete_function_url_config
created = create(FunctionName="f", AuthType="NONE")
assert created["ResponseMetadata"]["HTTPStatusCode"] == 201
assert created["FunctionArn"] == ARN and "InvokeMode" not in created and "LastModifiedTime" not in created, created
port = awslambda.meta.endpoint_url.rsplit(":", 1)[1]
assert re.fullmatch(rf"http://[a-z0-9]{{32}}\.lambda-url\.us-east-1\.localhost:{port}/", created["FunctionUrl"]), created
got = shown(get)
assert got["InvokeMode"] == "BUFFERED" and got["LastModifiedTime"] == got["CreationTime"], got
assert got["FunctionUrl"] == created["FunctionUrl"]
signed = create(FunctionName="f:live", Qualifier="live", AuthType="AWS_IAM", InvokeMode="RESPONSE_STREAM")
assert signed["FunctionArn"] == f"{ARN}:live" and signed["InvokeMode"] == "RESPONSE_STREAM", signed
assert signed["FunctionUrl"] != created["FunctionUrl"]
assert all_of("list_function_url_configs", "FunctionUrlConfigs") == [ARN, f"{ARN}:live"]

# Each is changed alone: what is not given stays, and CORS goes when it is given empty.
cors = {"AllowOrigins": ["https://shop.example"], "AllowCredentials": True, "MaxAge": 60}
assert shown(update, Cors=cors)["Cors"] == cors
changed = shown(update, InvokeMode="RESPONSE_STREAM", AuthType="AWS_IAM")
assert (changed["InvokeMode"], changed["AuthType"], changed["Cors"]) == ("RESPONSE_STREAM", "AWS_IAM", cors), changed
assert changed["FunctionUrl"] == created["FunctionUrl"]
assert "Cors" not in shown(update, Cors={}) and "Cors" not in shown(get)
assert shown(get, Qualifier="live")["AuthType"] == "AWS_IAM"

missing, nothing = "Function does not exist", "The resource you requested does not exist."
refused("ResourceConflictException", f"[functionArn = {ARN}:live]", create, FunctionName="f:live", AuthType="NONE")
refused("InvalidParameterValueException", "AllowOrigins as empty", update, FunctionName="f", Cors={"MaxAge": 1})
refused("ValidationException", "'cors.allowMethods'", update, FunctionName="f", Cors={"AllowMethods": ["OPTIONS"]})
refused("ValidationException", "'qualifier'", create, FunctionName="f", Qualifier="1", AuthType="NONE")
refused("ResourceNotFoundException", missing, create, FunctionName="f", Qualifier="nobody", AuthType="NONE")
refused("ResourceNotFoundException", missing, update, FunctionName="nobody")
refused("ResourceNotFoundException", nothing, update, FunctionName="other")
refused("ResourceNotFoundException", nothing, get, FunctionName="nobody")
refused("ResourceNotFoundException", missing, awslambda.list_function_url_configs, FunctionName="nobody")
delete(FunctionName="f")
refused("ResourceNotFoundException", nothing, delete, FunctionName="f")

# Asynchronous invocations: a put replaces, an update changes what it is given.
put, get_events = awslambda.put_function_event_invoke_config, awslambda.get_function_event_invoke_config
update_events, delete_events = (
    awslambda.update_function_event_invoke_config, awslambda.delete_function_event_invoke_config
)
list_events = awslambda.list_function_event_invoke_configs
put(FunctionName="f", MaximumEventAgeInSeconds=60, DestinationConfig={"OnFailure": {"Destination": BUCKET}})
events = shown(put, MaximumRetryAttempts=0, DestinationConfig={"OnSuccess": {"Destination": QUEUE}})
assert events["FunctionArn"] == f"{ARN}:$LATEST" and "MaximumEventAgeInSeconds" not in events, events
assert events["DestinationConfig"] == {"OnSuccess": {"Destination": QUEUE}, "OnFailure": {}}, events
other = ARN[:-1] + "other"
events = shown(update_events, DestinationConfig={"OnFailure": {"Destination": f"{other}:1"}})
assert events["DestinationConfig"]["OnSuccess"] == {"Destination": QUEUE}, events
assert shown(get_events, Qualifier="$LATEST") == events and events["MaximumRetryAttempts"] == 0
for qualifier in ["1", "live"]:
    put(FunctionName="f", Qualifier=qualifier, MaximumRetryAttempts=1)
arns = [f"{ARN}:{qualifier}" for qualifier in ["$LATEST", "1", "live"]]
assert all_of("list_function_event_invoke_configs", "FunctionEventInvokeConfigs") == arns


def not_to(words, arn, side="OnSuccess"):
    destination = {side: {"Destination": arn}}
    refused("InvalidParameterValueException", words, put, FunctionName="f", DestinationConfig=destination)


refused("InvalidParameterValueException", "at least one of error handling", put, FunctionName="nobody")
refused("ResourceNotFoundException", "The function doesn't exist.", put, FunctionName="f:2", MaximumRetryAttempts=1)
refused("ResourceNotFoundException", "f:2 doesn't have", get_events, FunctionName="f", Qualifier="2")
refused("ResourceNotFoundException", "$LATEST doesn't have", delete_events, FunctionName="nobody")
refused("ResourceNotFoundException", "doesn't have", update_events, FunctionName="other", MaximumRetryAttempts=1)
refused("ValidationException", "'maximumRetryAttempts'", put, FunctionName="f", MaximumRetryAttempts=3)
not_to("as a destination for itself", f"{ARN}:live")
not_to(f"ARN {ARN}2 is invalid", f"{ARN}2")
not_to(f"ARN {other}:2 is invalid", f"{other}:2", "OnFailure")
not_to(f"OnSuccess(destination={BUCKET}), onFailure=null) is invalid", BUCKET)

# A configuration goes with its alias or version. An alias's URL stays, and is the next one's.
awslambda.delete_alias(FunctionName="f", Name="live")
awslambda.delete_function(FunctionName="f", Qualifier="1")
assert all_of("list_function_event_invoke_configs", "FunctionEventInvokeConfigs") == arns[:1]
assert shown(get, Qualifier="live")["FunctionUrl"] == signed["FunctionUrl"]
refused("ResourceNotFoundException", missing, update, FunctionName="f", Qualifier="live")
awslambda.publish_version(FunctionName="f", Description="next")
awslambda.create_alias(FunctionName="f", Name="live", FunctionVersion="2")
assert shown(update, Qualifier="live")["FunctionUrl"] == signed["FunctionUrl"]

# Everything goes with the function; the next one of its name has none of it.
awslambda.delete_function(FunctionName="f")
refused("ResourceNotFoundException", missing, awslambda.list_function_url_configs, FunctionName="f")
refused("ResourceNotFoundException", "The function doesn't exist.", list_events, FunctionName="f")
make("f")
version = awslambda.publish_version(FunctionName="f")["Version"]
awslambda.create_alias(FunctionName="f", Name="live", FunctionVersion=version)
assert all_of("list_function_url_configs", "FunctionUrlConfigs") == []
assert all_of("list_function_event_invoke_configs", "FunctionEventInvokeConfigs") == []
refused("ResourceNotFoundException", nothing, get, FunctionName="f", Qualifier="live")

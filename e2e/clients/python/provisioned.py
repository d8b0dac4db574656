"""Provisioned concurrency as a user sees it: really started, shown with its states, used first, moved with an alias, let go."""

import json
import sys
import threading
import time
from datetime import datetime, timedelta, timezone

import boto3
from calling import awslambda, check_that_functions_run, refused, write

CODE = """
import os, time
def handler(event, context):
    time.sleep(event.get("sleep", 0))
    return os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"]
if "fails" in os.environ and os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"] != "on-demand":
    raise Exception("not so")
"""
cloudwatch = boto3.client("cloudwatch")
NAMESPACES = dict.fromkeys(["Cost", "ProvisionedGBSeconds"], "Lamplight/Usage")
PROVISIONED, ON_DEMAND = "provisioned-concurrency", "on-demand"


def invoke(name, qualifier, **event):
    answer = awslambda.invoke(FunctionName=name, Qualifier=qualifier, Payload=json.dumps(event))
    assert "FunctionError" not in answer, answer["Payload"].read()
    return json.load(answer["Payload"])


def put(name, qualifier, executions):
    shown = awslambda.put_provisioned_concurrency_config(
        FunctionName=name, Qualifier=qualifier, ProvisionedConcurrentExecutions=executions
    )
    assert shown["Status"] == "IN_PROGRESS" and shown["AllocatedProvisionedConcurrentExecutions"] == 0, shown


def until(name, qualifier, status):
    for _ in range(2_000):
        shown = awslambda.get_provisioned_concurrency_config(FunctionName=name, Qualifier=qualifier)
        if shown["Status"] == status:
            return shown
        time.sleep(0.01)
    sys.exit(f"{name} is not {status}: {shown}")


def ready(name, qualifier, executions):
    shown = until(name, qualifier, "READY")
    counts = ["Requested", "Available", "Allocated"]
    assert [shown[count + "ProvisionedConcurrentExecutions"] for count in counts] == [executions] * 3, shown
    assert "StatusReason" not in shown, shown


check_that_functions_run()
write("f", "python3.13", "app.handler", "app.py", CODE, Publish=True)
assert invoke("f", "1") == ON_DEMAND
put("f", "1", 2)
ready("f", "1", 2)
assert invoke("f", "1") == PROVISIONED and invoke("f", "$LATEST") == ON_DEMAND

# What they cannot take runs on demand.
answers = []
slow = [threading.Thread(target=lambda: answers.append(invoke("f", "1", sleep=1))) for _ in range(3)]
[thread.start() for thread in slow]
[thread.join() for thread in slow]
assert sorted(answers) == [ON_DEMAND, PROVISIONED, PROVISIONED], answers

# Metrics tell of all that.
def told(name, kind, **dimensions):
    now = datetime.now(timezone.utc)
    points = cloudwatch.get_metric_statistics(
        Namespace=NAMESPACES.get(name, "AWS/Lambda"), MetricName=name, StartTime=now - timedelta(hours=1),
        EndTime=now + timedelta(hours=1), Period=7200, Statistics=[kind],
        Dimensions=[{"Name": name, "Value": value} for name, value in dimensions.items()],
    )["Datapoints"]
    return points[0][kind] if points else None


OF_VERSION = {"FunctionName": "f", "Resource": "f:1"}
for _ in range(1_000):
    if told("Invocations", "Sum", **OF_VERSION) == 5:
        break
    time.sleep(0.01)
for name, kind, value in [
    ("ProvisionedConcurrencyInvocations", "Sum", 3), ("ProvisionedConcurrencySpilloverInvocations", "Sum", 1),
    ("ProvisionedConcurrentExecutions", "Maximum", 2), ("ProvisionedConcurrencyUtilization", "Maximum", 1),
]:
    for dimensions in (OF_VERSION, {"FunctionName": "f"}):
        assert told(name, kind, **dimensions) == value, (name, dimensions, told(name, kind, **dimensions))
assert told("ProvisionedConcurrentExecutions", "Maximum") == 2
assert told("UnreservedConcurrentExecutions", "Maximum") == 1 and told("ClaimedAccountConcurrency", "Maximum") == 3
listed = cloudwatch.list_metrics(Namespace="AWS/Lambda", MetricName="ProvisionedConcurrencyUtilization")["Metrics"]
assert all(metric["Dimensions"] for metric in listed) and len(listed) == 2, listed
# And what it costs, called or not: five minutes at least.
paid = told("ProvisionedGBSeconds", "Sum", FunctionName="f")
assert paid == 2 * 128 / 1024 * 300, paid
assert told("Cost", "Sum", FunctionName="f") > paid * 0.0000041667

# All that is reserved is provisioned: nothing is left for others.
awslambda.put_function_concurrency(FunctionName="f", ReservedConcurrentExecutions=2)
limit = "Rate Exceeded."
refused("TooManyRequestsException", limit, awslambda.invoke, FunctionName="f", Qualifier="$LATEST")
assert invoke("f", "1") == PROVISIONED
awslambda.delete_function_concurrency(FunctionName="f")
awslambda.delete_provisioned_concurrency_config(FunctionName="f", Qualifier="1")
for _ in range(500):
    if invoke("f", "1") == ON_DEMAND:
        break
    time.sleep(0.01)
else:
    sys.exit("what is provisioned no more is used")

# An alias takes it along to another version.
awslambda.create_alias(FunctionName="f", Name="live", FunctionVersion="1")
put("f", "live", 1)
ready("f", "live", 1)
assert invoke("f", "live") == invoke("f", "1") == PROVISIONED
awslambda.update_function_configuration(FunctionName="f", Timeout=20)
awslambda.publish_version(FunctionName="f")
weights = {"AdditionalVersionWeights": {"2": 0.5}}
awslambda.create_alias(FunctionName="f", Name="split", FunctionVersion="1", RoutingConfig=weights)
refused(
    "InvalidParameterValueException", "Alias with weights can not be used with Provisioned Concurrency",
    awslambda.put_provisioned_concurrency_config,
    FunctionName="f", Qualifier="split", ProvisionedConcurrentExecutions=1,
)
awslambda.delete_alias(FunctionName="f", Name="split")
# Not to a version that has its own, nor to one that has another alias's.
OVERLAP = "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version"
awslambda.create_alias(FunctionName="f", Name="next", FunctionVersion="2")
for other in ["2", "next"]:
    put("f", other, 1)
    refused("ResourceConflictException", OVERLAP, awslambda.update_alias, FunctionName="f", Name="live", FunctionVersion="2")
    awslambda.update_alias(FunctionName="f", Name="live", Description="where it was")
    assert awslambda.get_alias(FunctionName="f", Name="live")["FunctionVersion"] == "1"
    awslambda.delete_provisioned_concurrency_config(FunctionName="f", Qualifier=other)
# Nor to one that begins with a snapshot.
awslambda.update_function_configuration(FunctionName="f", SnapStart={"ApplyOn": "PublishedVersions"})
snapped = awslambda.publish_version(FunctionName="f")["Version"]
refused(
    "InvalidParameterValueException", "Provisioned Concurrency is not supported for SnapStart enabled functions.",
    awslambda.update_alias, FunctionName="f", Name="live", FunctionVersion=snapped,
)
awslambda.update_function_configuration(FunctionName="f", SnapStart={"ApplyOn": "None"})
# What is ready is of the version before.
awslambda.update_alias(FunctionName="f", Name="live", FunctionVersion="2")
shown = awslambda.get_provisioned_concurrency_config(FunctionName="f", Qualifier="live")
assert (shown["Status"], shown["AvailableProvisionedConcurrentExecutions"]) == ("IN_PROGRESS", 0), shown
for _ in range(1_000):
    if invoke("f", "live") == PROVISIONED:
        break
    time.sleep(0.01)
else:
    sys.exit("the alias did not take its provisioned concurrency along")
ready("f", "live", 1)

# A function that does not load is told, and runs on demand.
write("broken", "python3.13", "app.handler", "app.py", CODE, Publish=True, Environment={"Variables": {"fails": "1"}})
put("broken", "1", 1)
shown = until("broken", "1", "FAILED")
assert shown["StatusReason"] == "FUNCTION_ERROR_INIT_FAILURE" and shown["AvailableProvisionedConcurrentExecutions"] == 0, shown
assert invoke("broken", "1") == ON_DEMAND

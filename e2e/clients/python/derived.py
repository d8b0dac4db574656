"""boto3 finds what functions did in metrics, what their logs count, and that subscribers are sent what they asked for."""

import io
import json
import time
import zipfile
from datetime import datetime, timedelta, timezone

import boto3

logs = boto3.client("logs")
cloudwatch = boto3.client("cloudwatch")
awslambda = boto3.client("lambda")
ROLE = "arn:aws:iam::000000000000:role/r"

SAYS = """
import json, time

def handler(event, context):
    print(json.dumps({
        "_aws": {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [
            {"Namespace": "Shop", "Dimensions": [["kind"]], "Metrics": [{"Name": "Weight", "Unit": "Kilobytes"}]}]},
        "kind": event["kind"], "Weight": [1, 2.5],
    }))
    print("paid", event["amount"])
    if event["amount"] < 0:
        raise ValueError("no")
    return "ok"
"""
HEARS = """
import base64, gzip, json

def handler(event, context):
    said = json.loads(gzip.decompress(base64.b64decode(event["awslogs"]["data"])))
    print("heard", json.dumps(said))
"""


def wait_for(what, look):
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if found := look():
            return found
        time.sleep(0.2)
    raise AssertionError(what)


def make(name, code):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("main.py", code)
    awslambda.create_function(
        FunctionName=name, Runtime="python3.13", Handler="main.handler", Role=ROLE, Code={"ZipFile": archive.getvalue()}
    )
    awslambda.get_waiter("function_active_v2").wait(FunctionName=name)


def statistic(name, namespace="AWS/Lambda", kind="Sum", dimensions=None, **more):
    dimensions = dimensions or more
    now = datetime.now(timezone.utc)
    points = cloudwatch.get_metric_statistics(
        Namespace=namespace, MetricName=name, StartTime=now - timedelta(hours=1), EndTime=now + timedelta(hours=1),
        Period=7200, Statistics=[kind], Dimensions=[{"Name": name, "Value": value} for name, value in dimensions.items()],
    )["Datapoints"]
    return sum(point[kind] for point in points)


make("says", SAYS)
make("hears", HEARS)
awslambda.publish_version(FunctionName="says")
awslambda.create_alias(FunctionName="says", Name="live", FunctionVersion="1")
logs.create_log_group(logGroupName="/aws/lambda/says")
logs.put_metric_filter(
    logGroupName="/aws/lambda/says", filterName="paid", filterPattern="[word=paid, amount]",
    metricTransformations=[{"metricName": "Paid", "metricNamespace": "Shop", "metricValue": "$amount"}],
)
awslambda.add_permission(
    FunctionName="hears", StatementId="logs", Action="lambda:InvokeFunction", Principal="logs.amazonaws.com",
    SourceArn="arn:aws:logs:us-east-1:000000000000:log-group:/aws/lambda/says:*",
)
hears = awslambda.get_function(FunctionName="hears")["Configuration"]["FunctionArn"]
logs.put_subscription_filter(
    logGroupName="/aws/lambda/says", filterName="to hears", filterPattern="paid", destinationArn=hears
)

for amount in (5, 7.5, -1):
    awslambda.invoke(FunctionName="says", Payload=json.dumps({"amount": amount, "kind": "book"}))
awslambda.invoke(FunctionName="says", Qualifier="live", Payload=json.dumps({"amount": 1, "kind": "pen"}))
awslambda.invoke(FunctionName="says", InvocationType="Event", Payload=json.dumps({"amount": 2, "kind": "pen"}))

# What functions did.
wait_for("five invocations", lambda: statistic("Invocations", FunctionName="says") == 5)
assert statistic("Errors", FunctionName="says") == 1
assert statistic("Invocations", FunctionName="says", Resource="says:live") == 1
assert statistic("Invocations", FunctionName="says", Resource="says:live", ExecutedVersion="1") == 1
assert statistic("Invocations", FunctionName="says", Resource="says") == 4
assert statistic("Duration", kind="SampleCount", FunctionName="says") == 5
assert 0 < statistic("Duration", kind="Average", FunctionName="says") < 60_000
assert statistic("ConcurrentExecutions", kind="Maximum", FunctionName="says") >= 1
assert statistic("AsyncEventsReceived", FunctionName="says") == 1
assert statistic("Cost", "Lamplight/Usage", FunctionName="says") > 0
billed = statistic("BilledDuration", "Lamplight/Usage", FunctionName="says")
reports = [
    event["message"]
    for event in logs.filter_log_events(logGroupName="/aws/lambda/says", filterPattern="REPORT")["events"]
]
assert len(reports) == 5, reports
assert billed == sum(float(report.split("Billed Duration: ")[1].split()[0]) for report in reports), (billed, reports)

# What their logs count.
wait_for("what was paid", lambda: statistic("Paid", "Shop") == 14.5)
assert statistic("Weight", "Shop", dimensions={"kind": "book"}) == 10.5
assert statistic("Weight", "Shop", dimensions={"kind": "pen"}, kind="Maximum") == 2.5


# What subscribers hear, each event once.
def heard():
    if not logs.describe_log_groups(logGroupNamePrefix="/aws/lambda/hears")["logGroups"]:
        return None
    events = logs.filter_log_events(logGroupName="/aws/lambda/hears", filterPattern='"heard"')["events"]
    said = [json.loads(event["message"].removeprefix("heard ")) for event in events]
    return said if sum(len(one["logEvents"]) for one in said) >= 5 else None


said = wait_for("what hears has heard", heard)
assert all(one["messageType"] == "DATA_MESSAGE" and one["logGroup"] == "/aws/lambda/says" for one in said), said
assert all(one["subscriptionFilters"] == ["to hears"] and one["owner"] == "000000000000" for one in said), said
events = [event for one in said for event in one["logEvents"]]
assert sorted(event["message"].strip() for event in events) == ["paid -1", "paid 1", "paid 2", "paid 5", "paid 7.5"], said
known = {event["eventId"] for event in logs.filter_log_events(logGroupName="/aws/lambda/says")["events"]}
assert {event["id"] for event in events} <= known

# What came into the group, and what was sent on of it.
IN = {"LogGroupName": "/aws/lambda/says"}
TO = {**IN, "DestinationType": "Lambda", "FilterName": "to hears"}


def came():
    return logs.filter_log_events(logGroupName="/aws/lambda/says")["events"]


def incoming(name):
    return statistic(name, "AWS/Logs", dimensions=IN)


wait_for("what came in", lambda: incoming("IncomingLogEvents") == len(came()))
assert incoming("IncomingBytes") == sum(len(event["message"].encode()) + 26 for event in came())
assert statistic("IncomingLogEvents", "AWS/Logs") > incoming("IncomingLogEvents")
wait_for("what was sent on", lambda: statistic("ForwardedLogEvents", "AWS/Logs", dimensions=TO) == 5)
assert statistic("ForwardedBytes", "AWS/Logs", dimensions=TO) > 100
assert statistic("DeliveryErrors", "AWS/Logs", dimensions=TO) == statistic("EMFParsingErrors", "AWS/Logs") == 0
awslambda.remove_permission(FunctionName="hears", StatementId="logs")
logs.create_log_stream(logGroupName="/aws/lambda/says", logStreamName="by hand")
messages = ["paid 3", "paid 4", '{"_aws": {}', '{"_aws": {"Timestamp": "soon"}}']
logs.put_log_events(
    logGroupName="/aws/lambda/says", logStreamName="by hand",
    logEvents=[{"timestamp": int(time.time() * 1000), "message": message} for message in messages],
)
wait_for("what could not be sent on", lambda: statistic("DeliveryErrors", "AWS/Logs", dimensions=TO) == 2)
assert statistic("ForwardedLogEvents", "AWS/Logs", dimensions=TO) == 5
assert (incoming("EMFParsingErrors"), incoming("EMFValidationErrors")) == (1, 1)
listed = cloudwatch.list_metrics(Namespace="AWS/Logs", MetricName="IncomingBytes")["Metrics"]
sets = [{one["Name"]: one["Value"] for one in metric["Dimensions"]} for metric in listed]
assert {} in sets and IN in sets, sets

# A function that is sent what it says itself goes on for ever, as on AWS; others hear of theirs meanwhile.
make("loops", "handler = lambda event, context: print('again')")
own = "/aws/lambda/loops"
logs.create_log_group(logGroupName=own)
awslambda.add_permission(
    FunctionName="loops", StatementId="logs", Action="lambda:InvokeFunction", Principal="logs.amazonaws.com"
)
loops = awslambda.get_function(FunctionName="loops")["Configuration"]["FunctionArn"]
logs.put_subscription_filter(logGroupName=own, filterName="own", filterPattern="again", destinationArn=loops)
awslambda.invoke(FunctionName="loops")
wait_for("a loop", lambda: statistic("Invocations", FunctionName="loops") >= 3)
awslambda.add_permission(
    FunctionName="hears", StatementId="logs", Action="lambda:InvokeFunction", Principal="logs.amazonaws.com",
    SourceArn="arn:aws:logs:us-east-1:000000000000:log-group:/aws/lambda/says:*",
)
awslambda.invoke(FunctionName="says", Payload=json.dumps({"amount": 9, "kind": "pen"}))
wait_for("who is beside the loop", lambda: statistic("ForwardedLogEvents", "AWS/Logs", dimensions=TO) == 6)

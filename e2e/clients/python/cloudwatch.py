"""boto3 puts metric data and reads it: statistics, percentiles, math, SEARCH, Metrics Insights, pages, refusals.

It does so in the protocol that it is told, of those that clients have had over the years."""

import datetime
import gzip
import json
import os
import sys
import urllib.error
import urllib.parse
import urllib.request

import boto3
import botocore.auth
import botocore.awsrequest
import botocore.model
from botocore.config import Config
from refusal import refused

PROTOCOL = sys.argv[1]
botocore.model.PRIORITY_ORDERED_SUPPORTED_PROTOCOLS = [PROTOCOL]
cloudwatch = boto3.client("cloudwatch", config=Config(retries={"total_max_attempts": 1}))
assert cloudwatch.meta.service_model.resolved_protocol == PROTOCOL
MINUTE = datetime.timedelta(minutes=1)
NOW = datetime.datetime.now(datetime.timezone.utc).replace(second=0, microsecond=0) - 2 * MINUTE
HOUR = {"StartTime": NOW - 30 * MINUTE, "EndTime": NOW + 5 * MINUTE}


def put(namespace, *data):
    cloudwatch.put_metric_data(Namespace=namespace, MetricData=[{"Timestamp": NOW, **datum} for datum in data])


def dimensions(**named):
    return [{"Name": name, "Value": value} for name, value in named.items()]


def metric(id, name, stat, namespace="shop", period=60, unit=None, named=(), **more):
    of = {"Namespace": namespace, "MetricName": name, "Dimensions": dimensions(**dict(named))}
    stat = {"Metric": of, "Period": period, "Stat": stat, **({"Unit": unit} if unit else {})}
    return {"Id": id, "MetricStat": stat, **more}


def math(id, expression, **more):
    return {"Id": id, "Expression": expression, **more}


def ask(*queries, **more):
    return cloudwatch.get_metric_data(MetricDataQueries=list(queries), **{**HOUR, **more})


def values(answer):
    return {one["Label"]: one["Values"] for one in answer["MetricDataResults"]}


def statistics(name, namespace="shop", named=(), **more):
    asked = {"Period": 60, **HOUR, **more}
    found = cloudwatch.get_metric_statistics(
        Namespace=namespace, MetricName=name, Dimensions=dimensions(**dict(named)), **asked
    )
    assert found["Label"] == name, found
    return found["Datapoints"]


# What was put is read at once.
put(
    "shop",
    {"MetricName": "latency", "Values": [float(value) for value in range(1, 101)], "Unit": "Milliseconds"},
    {"MetricName": "orders", "Value": 4.0, "Timestamp": NOW - MINUTE},
    {"MetricName": "orders", "Value": 6.5},
    {"MetricName": "orders", "Values": [1, 10], "Counts": [2, 4], "Dimensions": dimensions(shop="north")},
    {"MetricName": "orders", "Value": 3, "Dimensions": dimensions(shop="south")},
    {
        "MetricName": "set",
        "StatisticValues": {"SampleCount": 10, "Sum": 55, "Minimum": 1, "Maximum": 10},
        "Unit": "Count",
    },
    {"MetricName": "set", "Value": 11, "Unit": "Count"},
)
[point] = statistics("latency", Statistics=["SampleCount", "Average", "Sum", "Minimum", "Maximum"])
assert point == {
    "Timestamp": NOW,
    "SampleCount": 100.0,
    "Average": 50.5,
    "Sum": 5050.0,
    "Minimum": 1.0,
    "Maximum": 100.0,
    "Unit": "Milliseconds",
}, point
[point] = statistics("latency", ExtendedStatistics=["p50", "p90", "p100", "tm90", "PR(:50)"])
extended = point["ExtendedStatistics"]
assert extended["p100"] == 100.0 and abs(extended["p50"] - 50) < 1.5 and abs(extended["p90"] - 90) < 2, extended
assert abs(extended["tm90"] - 45.5) < 1 and abs(extended["PR(:50)"] - 50) <= 1, extended
points = statistics("orders", Statistics=["Sum"])
assert [(point["Timestamp"], point["Sum"]) for point in points] == [(NOW - MINUTE, 4.0), (NOW, 6.5)], points
assert [point["Sum"] for point in statistics("orders", Statistics=["Sum"], Period=3600, StartTime=NOW - 60 * MINUTE)]
[point] = statistics("set", Statistics=["SampleCount", "Sum", "Maximum"])
assert (point["SampleCount"], point["Sum"], point["Maximum"]) == (11.0, 66.0, 11.0), point
assert statistics("set", ExtendedStatistics=["p50"]) == [], "how a set spreads is not known"
assert statistics("set", Statistics=["Sum"], Unit="Bytes") == []
assert statistics("none", Statistics=["Sum"]) == []

# Fine points.
SECOND = datetime.timedelta(seconds=1)
put("fine", *({"MetricName": "m", "Value": at, "Timestamp": NOW + at * SECOND, "StorageResolution": 1} for at in range(30)))
found = values(ask(metric("a", "m", "Sum", "fine", period=10), metric("b", "m", "Sum", "fine", period=60), ScanBy="TimestampAscending"))
assert found == {"m 10": [45.0, 145.0, 245.0], "m 60": [435.0]}, found

# Metrics, math and searches, many at once.
answer = ask(
    metric("latest", "orders", "Sum"),
    metric("north", "orders", "Sum", named={"shop": "north"}, ReturnData=False),
    metric("south", "orders", "Sum", named={"shop": "south"}, ReturnData=False),
    math("both", "north + south", Label="both shops"),
    math("share", "100 * north / (north + south)", Label="${LABEL} at most ${MAX}"),
    math("found", "SEARCH('{shop,shop} orders', 'Sum', 60)"),
    math("best", "SELECT SUM(orders) FROM shop GROUP BY shop ORDER BY SUM() DESC", Period=60),
)
found = values(answer)
assert found["orders"] == [6.5, 4.0], "the latest comes first"
assert found["both shops"] == [45.0], found
assert any(label.startswith("share at most 93.3") for label in found), found
assert found["north"] == [42.0] and found["south"] == [3.0], found
best = [one["Label"] for one in answer["MetricDataResults"] if one["Id"] == "best"]
assert len(best) == 3 and "north" in best[0] and "Other" in " ".join(best), best
assert all(one["StatusCode"] == "Complete" for one in answer["MetricDataResults"]), answer
assert answer["Messages"] == [], answer

# Of several units the first of AWS's is taken, and it says so.
put("units", *({"MetricName": "m", "Value": value, "Unit": unit} for value, unit in [(60000, "Milliseconds"), (60, "Seconds")]))
[one] = ask(metric("m1", "m", "Sum", "units"))["MetricDataResults"]
assert one["Values"] == [60000.0], one
assert one["Messages"] == [{"Code": "MultipleUnits", "Value": "Multiple units returned: '[Milliseconds, Seconds]'"}], one
[one] = ask(metric("m1", "m", "Sum", "units", unit="Seconds"))["MetricDataResults"]
assert one["Values"] == [60.0] and "Messages" not in one, one
assert {point["Unit"] for point in statistics("m", "units", Statistics=["Sum"])} == {"Milliseconds", "Seconds"}

# Pages: each point is on one of them.
put("many", *({"MetricName": "m", "Value": at, "Timestamp": NOW - at * MINUTE} for at in range(25)))
pages = list(
    cloudwatch.get_paginator("get_metric_data").paginate(
        MetricDataQueries=[metric("a", "m", "Sum", "many"), metric("b", "m", "Maximum", "many")], **HOUR, MaxDatapoints=7
    )
)
merged = {"a": [], "b": []}
for page in pages:
    assert sum(len(one["Values"]) for one in page["MetricDataResults"]) <= 7
    for one in page["MetricDataResults"]:
        merged[one["Id"]] += one["Values"]
assert merged == {"a": [float(at) for at in range(25)], "b": [float(at) for at in range(25)]}, merged
assert len(pages) == 8 and pages[0]["MetricDataResults"][0]["StatusCode"] == "PartialData"

# Which metrics there are.
put("list", *({"MetricName": f"m{at:03}", "Value": 1, "Dimensions": dimensions(at=str(at % 2), all="x")} for at in range(501)))
first = cloudwatch.list_metrics(Namespace="list")
assert len(first["Metrics"]) == 500 and first["NextToken"], first
rest = cloudwatch.list_metrics(Namespace="list", NextToken=first["NextToken"])
assert len(rest["Metrics"]) == 1 and "NextToken" not in rest, rest


def listed(**filters):
    pages = cloudwatch.get_paginator("list_metrics").paginate(**filters)
    return [one for page in pages for one in page["Metrics"]]


assert len(listed(Namespace="list", Dimensions=[{"Name": "at", "Value": "1"}, {"Name": "all"}])) == 250
assert listed(Namespace="list", MetricName="m007", RecentlyActive="PT3H") == [
    {"Namespace": "list", "MetricName": "m007", "Dimensions": dimensions(all="x", at="1")}
]
assert listed(Namespace="list", Dimensions=[{"Name": "none"}]) == []
put("old", {"MetricName": "m", "Value": 1, "Timestamp": NOW - datetime.timedelta(days=3)})
assert len(listed(Namespace="old")) == 1 and listed(Namespace="old", RecentlyActive="PT3H") == []
found = cloudwatch.get_metric_statistics(
    Namespace="old", MetricName="m", StartTime=NOW - datetime.timedelta(days=4), EndTime=NOW, Period=3600, Statistics=["Sum"]
)
assert [point["Sum"] for point in found["Datapoints"]] == [1.0], found

# Data with entities.
cloudwatch.put_metric_data(
    Namespace="entities",
    EntityMetricData=[
        {
            "Entity": {"KeyAttributes": {"Type": "Service", "Name": "shop"}},
            "MetricData": [{"MetricName": "m", "Value": 2, "Timestamp": NOW}],
        }
    ],
)
assert [point["Sum"] for point in statistics("m", "entities", Statistics=["Sum"])] == [2.0]

# Refusals.
invalid, together, missing = "InvalidParameterValue", "InvalidParameterCombination", "MissingParameter"
data = cloudwatch.put_metric_data
for code, words, namespace, datum in [
    (invalid, "The value AWS/ for parameter Namespace is invalid.", "AWS/Lambda", {"Value": 1}),
    (invalid, "The value NaN for parameter MetricData.member.1.Value is invalid.", "n", {"Value": float("nan")}),
    (invalid, "The value ∞ for parameter MetricData.member.1.Value is invalid.", "n", {"Value": float("inf")}),
    (invalid, "The value 0 for parameter MetricData.member.1.Values.member.2 is", "n", {"Values": [1.0, 1e-200]}),
    (invalid, "The collection MetricData.member.1.Values must not have a size greater than 150.", "n", {"Values": [1.0] * 151}),
    (invalid, "MetricData.member.1.Counts must be of the same size.", "n", {"Values": [1.0, 2.0], "Counts": [1.0]}),
    (invalid, "StorageResolution must be a value in the set [ 1, 60 ].", "n", {"Value": 1, "StorageResolution": 5}),
    (invalid, "within the past two weeks.", "n", {"Value": 1, "Timestamp": NOW - datetime.timedelta(days=15)}),
    (invalid, "no more than two hours in the future.", "n", {"Value": 1, "Timestamp": NOW + datetime.timedelta(hours=3)}),
    (invalid, "Unit must be a value in the set [ Megabits,", "n", {"Value": 1, "Unit": "Parsecs"}),
    (together, "mutually exclusive and you have specified both.", "n", {"Value": 1.0, "Values": [1.0]}),
    (missing, "must be specified.", "n", {}),
]:
    refused(code, words, data, Namespace=namespace, MetricData=[{"MetricName": "m", **datum}])
refused(missing, "The parameter MetricData is required.", data, Namespace="n", MetricData=[])
refused(invalid, "MetricData must not have a size greater than 1000.", data, Namespace="n", MetricData=[{"MetricName": "m", "Value": 1}] * 1001)
refused(together, "exceeds the limit of 1440", statistics, name="m", Statistics=["Sum"], Period=1)
refused(invalid, "The parameter StartTime must be less than", statistics, name="m", Statistics=["Sum"], StartTime=NOW, EndTime=NOW)
refused(invalid, "Period must be a multiple of 60.", statistics, name="m", Statistics=["Sum"], Period=61)
refused(together, "Statistics and ExtendedStatistics", statistics, name="m", Statistics=["Sum"], ExtendedStatistics=["p9"])
refused(invalid, "must be a value in the set [ Minimum,", statistics, name="m", Statistics=["p50"])


def asked(code, words, *queries, **more):
    refused(code, words, cloudwatch.get_metric_data, MetricDataQueries=list(queries), **{**HOUR, **more})


asked("InvalidNextToken", "", metric("a", "m", "Sum"), NextToken="x")
asked("ValidationError", "is not matching the expected pattern ^[a-z][a-zA-Z0-9_]*$.", metric("A", "m", "Sum"))
asked("ValidationError", "member.2.MetricStat.Stat is not a valid statistic.", metric("a", "m", "Sum"), metric("b", "m", "None"))
asked("ValidationError", "are not unique", metric("a", "m", "Sum"), metric("a", "m", "Sum"))
asked("ValidationError", "Error in expression 'e'", math("e", "1 +"))
asked("ValidationError", "StartTime must not equal parameter EndTime.", metric("a", "m", "Sum"), StartTime=NOW, EndTime=NOW)

# By hand: compressed forms, and what another protocol put.
ENDPOINT = os.environ["AWS_ENDPOINT_URL"]


def send(body, headers):
    request = botocore.awsrequest.AWSRequest("POST", ENDPOINT + headers.pop("path", "/"), headers, body)
    credentials = boto3.Session().get_credentials()
    botocore.auth.SigV4Auth(credentials, "monitoring", cloudwatch.meta.region_name).add_auth(request)
    sent = urllib.request.Request(request.url, body, dict(request.headers), method="POST")
    return urllib.request.urlopen(sent).read()


form = {"Action": "PutMetricData", "Version": "2010-08-01", "Namespace": "form", "MetricData.member.1.MetricName": "m"}
form |= {"MetricData.member.1.Values.member.1": "1.5", "MetricData.member.1.Values.member.2": "2.5"}
packed = gzip.compress(urllib.parse.urlencode(form).encode())
send(packed, {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8", "Content-Encoding": "gzip"})
bomb = gzip.compress(b"Action=PutMetricData&Version=2010-08-01&Namespace=" + bytes(64 << 20))
try:
    send(bomb, {"Content-Type": "application/x-www-form-urlencoded", "Content-Encoding": "gzip"})
    raise AssertionError("it is too much")
except urllib.error.HTTPError as error:
    assert error.code == 413, error
TARGET = "GraniteServiceVersion20100801."
body = {"Namespace": "form", "MetricData": [{"MetricName": "m", "Value": 4}]}
send(
    json.dumps(body).encode(), {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": TARGET + "PutMetricData"}
)
query = {"Namespace": "form", "MetricName": "m", "Period": 300, "Statistics": ["Sum", "SampleCount"]}
query |= {"StartTime": (NOW - 10 * MINUTE).timestamp(), "EndTime": (NOW + 10 * MINUTE).timestamp()}
answer = json.loads(
    send(
        json.dumps(query).encode(),
        {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": TARGET + "GetMetricStatistics"},
    )
)
points = answer["Datapoints"]
assert (sum(point["Sum"] for point in points), sum(point["SampleCount"] for point in points)) == (8.0, 3.0), answer
form = {"Action": "ListMetrics", "Version": "2010-08-01", "Namespace": "form"}
answer = send(urllib.parse.urlencode(form).encode(), {"Content-Type": "application/x-www-form-urlencoded"})
assert b"<MetricName>m</MetricName>" in answer and b"<Namespace>form</Namespace>" in answer, answer

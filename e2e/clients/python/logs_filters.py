"""boto3 makes metric and subscription filters, tries their patterns, and finds and deletes them."""

import io
import zipfile

import boto3
from botocore.config import Config
from refusal import refused

logs = boto3.client("logs", config=Config(retries={"total_max_attempts": 1}))


def transformation(**more):
    return [{"metricNamespace": "shop", "metricName": "errors", "metricValue": "1"} | more]


def names(**asked):
    pages = logs.get_paginator("describe_metric_filters").paginate(**asked, PaginationConfig={"PageSize": 2})
    return [(found["logGroupName"], found["filterName"]) for page in pages for found in page["metricFilters"]]


# Metric filters.
for group in ["orders", "users"]:
    logs.create_log_group(logGroupName=group)
put = dict(logGroupName="orders", filterName="errors", filterPattern="ERROR")
logs.put_metric_filter(**put, metricTransformations=transformation(defaultValue=0, unit="Count"))
found = logs.describe_metric_filters(logGroupName="orders")["metricFilters"]
created = found[0].pop("creationTime")
assert found == [{
    "filterName": "errors", "filterPattern": "ERROR", "logGroupName": "orders", "applyOnTransformedLogs": False,
    "metricTransformations": transformation(defaultValue=0.0, unit="Count"),
}], found
logs.put_metric_filter(**put | {"filterPattern": '{ $.level = "ERROR" }'}, metricTransformations=transformation(dimensions={"Code": "$.code"}))
found = logs.describe_metric_filters(logGroupName="orders", filterNamePrefix="err")["metricFilters"]
assert len(found) == 1 and found[0]["creationTime"] == created, found
assert found[0]["metricTransformations"] == transformation(dimensions={"Code": "$.code"}), found
assert logs.describe_log_groups(logGroupNamePrefix="orders")["logGroups"][0]["metricFilterCount"] == 1
for group, name in [("users", "errors"), ("orders", "b"), ("users", "a"), ("orders", "c")]:
    logs.put_metric_filter(
        logGroupName=group, filterName=name, filterPattern=" ",
        metricTransformations=transformation(metricName=name, metricNamespace="A.B-c_d/1#2:special"),
    )
assert names(logGroupName="orders") == [("orders", "b"), ("orders", "c"), ("orders", "errors")]
assert [name for _, name in names()] == ["a", "b", "c", "errors", "errors"]
assert sorted(names(filterNamePrefix="err")) == [("orders", "errors"), ("users", "errors")]
assert names(metricName="a", metricNamespace="A.B-c_d/1#2:special") == [("users", "a")]
assert names(metricName="a", metricNamespace="shop") == []
refused("InvalidParameterException", "together", logs.describe_metric_filters, metricName="a")
refused("ResourceNotFoundException", "log group does not exist", logs.describe_metric_filters, logGroupName="no")
refused("InvalidParameterException", "nextToken is invalid", logs.describe_metric_filters, nextToken="x")
refused("ResourceNotFoundException", "log group does not exist", logs.put_metric_filter, **put | {"logGroupName": "no"}, metricTransformations=transformation())
refused("InvalidParameterException", "'filterName'", logs.put_metric_filter, **put | {"filterName": "x" * 513}, metricTransformations=transformation())
refused("InvalidParameterException", "'metricTransformations'", logs.put_metric_filter, **put, metricTransformations=transformation() * 2)
refused("InvalidParameterException", "Invalid metric filter pattern", logs.put_metric_filter, **put | {"filterPattern": "{ $.a = }"}, metricTransformations=transformation())
refused("InvalidParameterException", "must be a valid number", logs.put_metric_filter, **put, metricTransformations=transformation(metricValue="one"))
refused("InvalidParameterException", "does not support dimensions", logs.put_metric_filter, **put, metricTransformations=transformation(dimensions={"A": "$.a"}))
refused("InvalidParameterException", "mutually exclusive", logs.put_metric_filter, **put, metricTransformations=transformation(dimensions={"A": "$.a"}, defaultValue=1))
refused("InvalidParameterException", "active log transformer", logs.put_metric_filter, **put, metricTransformations=transformation(), applyOnTransformedLogs=True)
for number in range(5):
    logs.put_metric_filter(logGroupName="users", filterName=f"regex{number}", filterPattern="%ERR[0-9]%", metricTransformations=transformation())
refused("LimitExceededException", "Resource limit exceeded.", logs.put_metric_filter, logGroupName="users", filterName="regex5", filterPattern="%a%", metricTransformations=transformation())
logs.put_metric_filter(logGroupName="users", filterName="regex4", filterPattern="%a%", metricTransformations=transformation())
for number in range(93):
    logs.put_metric_filter(logGroupName="users", filterName=f"many{number}", filterPattern="a", metricTransformations=transformation())
assert len(names(logGroupName="users")) == 100
refused("LimitExceededException", "Resource limit exceeded.", logs.put_metric_filter, logGroupName="users", filterName="more", filterPattern="a", metricTransformations=transformation())
logs.delete_metric_filter(logGroupName="orders", filterName="b")
refused("ResourceNotFoundException", "metric filter does not exist", logs.delete_metric_filter, logGroupName="orders", filterName="b")
assert names(filterNamePrefix="b") == []

# What a pattern finds.
matches = logs.test_metric_filter(filterPattern="ERROR", logEventMessages=["[ERROR] 400", "[INFO] 200", "[ERROR] 500"])["matches"]
assert matches == [
    {"eventNumber": 1, "eventMessage": "[ERROR] 400", "extractedValues": {}},
    {"eventNumber": 3, "eventMessage": "[ERROR] 500", "extractedValues": {}},
], matches
matches = logs.test_metric_filter(
    filterPattern="[ip, id, user, timestamp, request, status_code, size]",
    logEventMessages=['127.0.0.1 - frank [10/Oct/2000:13:25:15 -0700] "GET /apache_pb.gif HTTP/1.0" 200 1534'],
)["matches"]
assert matches[0]["extractedValues"] == {
    "$ip": "127.0.0.1", "$id": "-", "$user": "frank", "$timestamp": "10/Oct/2000:13:25:15 -0700",
    "$request": "GET /apache_pb.gif HTTP/1.0", "$status_code": "200", "$size": "1534",
}, matches
matches = logs.test_metric_filter(filterPattern="{ $.took > 5 }", logEventMessages=['{"took": 4}', '{"took": 6}'])["matches"]
assert [(match["eventNumber"], match["extractedValues"]) for match in matches] == [(2, {"$.took": "6"})], matches
refused("InvalidParameterException", "must end with '}'", logs.test_metric_filter, filterPattern="{ $.a", logEventMessages=["a"])

# Subscription filters. Who is to be sent events must be there, and have said so.
awslambda = boto3.client("lambda")
buffer = io.BytesIO()
with zipfile.ZipFile(buffer, "w") as archive:
    archive.writestr("app.py", "def handler(event, context):\n    return event\n")
function = awslambda.create_function(
    FunctionName="reader", Runtime="python3.13", Handler="app.handler", Role="arn:aws:iam::000000000000:role/r",
    Code={"ZipFile": buffer.getvalue()},
)["FunctionArn"]
put = dict(logGroupName="orders", filterName="all", filterPattern="", destinationArn=function)
cannot = "Could not execute the lambda function. Make sure you have given CloudWatch Logs permission to execute your function."
refused("InvalidParameterException", cannot, logs.put_subscription_filter, **put)
group = "arn:aws:logs:us-east-1:000000000000:log-group:orders"
grant = dict(FunctionName="reader", Action="lambda:InvokeFunction", Principal="logs.us-east-1.amazonaws.com", SourceAccount="000000000000")
awslambda.add_permission(**grant, StatementId="without-star", SourceArn=group)
refused("InvalidParameterException", cannot, logs.put_subscription_filter, **put)
awslambda.add_permission(**grant, StatementId="with-star", SourceArn=group + ":*")
logs.put_subscription_filter(**put)
found = logs.describe_subscription_filters(logGroupName="orders")["subscriptionFilters"]
created = found[0].pop("creationTime")
assert found == [put | {"distribution": "ByLogStream", "applyOnTransformedLogs": False}], found
logs.put_subscription_filter(**put | {"filterPattern": "[]", "distribution": "Random"})
found = logs.describe_subscription_filters(logGroupName="orders", filterNamePrefix="al")["subscriptionFilters"]
assert (found[0]["filterPattern"], found[0]["distribution"], found[0]["creationTime"]) == ("[]", "Random", created), found
refused("InvalidParameterException", cannot, logs.put_subscription_filter, **put | {"logGroupName": "users"})
refused("InvalidParameterException", cannot, logs.put_subscription_filter, **put | {"destinationArn": function + "2"})
refused("InvalidParameterException", cannot, logs.put_subscription_filter, **put | {"destinationArn": function + ":live"})
refused("AccessDeniedException", "Cross-account lambda invocation passing is not allowed", logs.put_subscription_filter, **put | {"destinationArn": function.replace("0" * 12, "1" * 12)})
role = "arn:aws:iam::000000000000:role/r"
refused("InvalidParameterException", "vendor lambda cannot be used with roleArn", logs.put_subscription_filter, **put, roleArn=role)
stream = "arn:aws:kinesis:us-east-1:000000000000:stream/s"
refused("InvalidParameterException", "vendor kinesis cannot be used without roleArn", logs.put_subscription_filter, **put | {"destinationArn": stream})
refused("InvalidParameterException", "Could not deliver test message to specified Kinesis stream", logs.put_subscription_filter, **put | {"destinationArn": stream}, roleArn=role)
refused("InvalidParameterException", "Invalid destinationArn", logs.put_subscription_filter, **put | {"destinationArn": "x"})
refused("InvalidParameterException", "must end with ']'", logs.put_subscription_filter, **put | {"filterPattern": "[a"})
refused("ResourceNotFoundException", "log group does not exist", logs.put_subscription_filter, **put | {"logGroupName": "no"})
logs.put_subscription_filter(**put | {"filterName": "more"})
refused("LimitExceededException", "Resource limit exceeded.", logs.put_subscription_filter, **put | {"filterName": "most"})
page = logs.describe_subscription_filters(logGroupName="orders", limit=1)
assert [found["filterName"] for found in page["subscriptionFilters"]] == ["all"], page
page = logs.describe_subscription_filters(logGroupName="orders", nextToken=page["nextToken"])
assert [found["filterName"] for found in page["subscriptionFilters"]] == ["more"], page
logs.delete_subscription_filter(logGroupName="orders", filterName="more")
refused("ResourceNotFoundException", "The specified subscription filter does not exist.", logs.delete_subscription_filter, logGroupName="orders", filterName="more")
refused("ResourceNotFoundException", "log group does not exist", logs.describe_subscription_filters, logGroupName="no")

# A group's filters go with it.
logs.delete_log_group(logGroupName="users")
logs.create_log_group(logGroupName="users")
assert names() == [("orders", "c"), ("orders", "errors")], names()
logs.delete_log_group(logGroupName="orders")
logs.create_log_group(logGroupName="orders")
assert names() == [] and logs.describe_subscription_filters(logGroupName="orders")["subscriptionFilters"] == []

"""Libraries that we did not write, in functions of the managed runtimes: `libraries.py LIBRARY FOLDER`."""

import io
import json
import os
import sys
import time
import zipfile
from datetime import datetime, timedelta, timezone

import boto3
from calling import awslambda, fail, make, succeed, zipped

library, folder = sys.argv[1:]
PYTHON = "python%d.%d" % sys.version_info[:2]


def log_lines(log):
    """The lines of a log that are JSON."""
    return [json.loads(line) for line in log.splitlines() if line.startswith("{")]


def http_event(path, query=None):
    http = {"method": "GET", "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "test"}
    return {
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "kind=" + query if query else "",
        "headers": {"host": "example.org", "accept": "*/*"},
        "requestContext": {"http": http, "stage": "$default", "requestId": "r", "domainName": "example.org"},
        "isBase64Encoded": False, **({"queryStringParameters": {"kind": query}} if query else {}),
    }  # fmt: skip


def sqs_event(*bodies):
    record = {"receiptHandle": "h", "attributes": {}, "messageAttributes": {}, "eventSource": "aws:sqs",
              "md5OfBody": "", "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:q", "awsRegion": "us-east-1"}  # fmt: skip
    return {"Records": [dict(record, messageId=str(number), body=body) for number, body in enumerate(bodies)]}


def check_http(name):
    """A route of Powertools, its logger and its metrics: what it prints is JSON with the request's id."""
    result, log = succeed(name, http_event("/orders/7", "new"))
    assert result["statusCode"] == 200 and json.loads(result["body"]) == {"order": "7", "kind": "new"}, result
    request = log.split("START RequestId: ")[1].split(" ")[0]
    logged = [line for line in log_lines(log) if "level" in line]
    assert [line["message"] for line in logged if line.get("order") == "7"] == ["looked up"], log
    assert all(line["function_request_id"] == request and line["cold_start"] for line in logged), log
    orders = [line for line in log_lines(log) if "Orders" in line]
    assert [line["_aws"]["CloudWatchMetrics"][0]["Namespace"] for line in orders] == ["Shop"], log
    assert any("ColdStart" in line for line in log_lines(log)), log
    result, log = succeed(name, http_event("/orders/0"))
    assert result["statusCode"] == 404 and "no order" in result["body"], result
    assert not any("ColdStart" in line for line in log_lines(log)), log
    assert succeed(name, http_event("/nowhere"))[0]["statusCode"] == 404
    check_metrics(name)


def check_metrics(name):
    """What was logged in the embedded metric format is in CloudWatch's metrics."""
    now = datetime.now(timezone.utc)
    cloudwatch = boto3.client("cloudwatch")

    def total(metric, **dimensions):
        points = cloudwatch.get_metric_statistics(
            Namespace="Shop", MetricName=metric, StartTime=now - timedelta(hours=1), EndTime=now + timedelta(hours=1),
            Period=7200, Statistics=["Sum"], Dimensions=[{"Name": key, "Value": value} for key, value in dimensions.items()],
        )["Datapoints"]  # fmt: skip
        return sum(point["Sum"] for point in points)

    until = time.monotonic() + 30
    while (total("Orders", service="orders"), total("ColdStart", service="orders", function_name=name)) != (1, 1):
        assert time.monotonic() < until, cloudwatch.list_metrics(Namespace="Shop")["Metrics"]
        time.sleep(0.1)


def check_batch(name):
    assert succeed(name, sqs_event("good", "bad", "good"))[0] == {"batchItemFailures": [{"itemIdentifier": "1"}]}
    assert succeed(name, sqs_event("good"))[0] == {"batchItemFailures": []}
    fail(name, sqs_event("bad"))


def powertools_for_python():
    code = zipped({}, folder)
    for part in ("http", "batch"):
        make(part, PYTHON, f"powertools.{part}", code, Timeout=20, MemorySize=256)
    check_http("http")
    result, _ = succeed("http", http_event("/plain"))
    assert (result["statusCode"], result["body"], result["headers"]["Content-Type"]) == (201, "plain", "text/plain"), result
    check_batch("batch")


def powertools_for_typescript_and_middy():
    code = zipped({}, folder)
    for part in ("http", "batch", "order"):
        make(part, "nodejs20.x", f"libraries.{part}", code, Timeout=20, MemorySize=256)
    check_http("http")
    check_batch("batch")
    parsed = {"headers": {"content-type": "application/json"}, "body": '{"number": 21}'}
    assert json.loads(succeed("order", parsed)[0]["body"]) == {"doubled": 42}
    assert succeed("order", dict(parsed, body="{"))[0]["statusCode"] == 415
    parsed["headers"] = {"content-type": "text/plain"}
    assert succeed("order", parsed)[0]["statusCode"] == 415


def numpy_and_pillow():
    code = zipped({}, folder)
    with zipfile.ZipFile(io.BytesIO(code)) as archive:
        assert sum(entry.file_size for entry in archive.infolist()) >= 50 << 20
    make("heavy", PYTHON, "heavy.handler", code, Timeout=60, MemorySize=512)
    result, _ = succeed("heavy", {"size": 64})
    assert result["solution"] == [2.0, 3.0] and result["pixel"] == [0, 255, 0] and result["bytes"] > 50, result


def sdk_for_javascript():
    make("sdk", "nodejs20.x", "index.handler", zipped({}, folder), Timeout=30, MemorySize=256)
    result, _ = succeed("sdk")
    assert result["functions"] == ["sdk"] and result["account"] == "000000000000", result
    assert ":assumed-role/r/sdk" in result["arn"], result
    # S3 answers as S3 does, if only that it is not there yet.
    assert "Buckets" in result["buckets"] or result["buckets"]["status"] == 501, result


def jackson():
    order = {"number": "7", "lines": [{"article": "lamp", "how_many": 2}, {"article": "oil", "how_many": 3}]}
    with open(os.path.join(folder, "fat.jar"), "rb") as file:
        jars = {"fat": file.read(), "apart": zipped({}, os.path.join(folder, "apart"))}
    for name, code in jars.items():
        make(name, "java17", "app.Orders", code, Timeout=30, MemorySize=512)
        result, log = succeed(name, order)
        assert result["order"] == order and f"RequestId: {result['request']}" in log and "order 7\n" in log, (result, log)
        result, _ = fail(name, {"unknown": 1})
        assert result["errorType"].endswith("UnrecognizedPropertyException"), result
    make("total", "java17", "app.Orders::total", jars["apart"], Timeout=30, MemorySize=512)
    event = {"lines": [{"article": "lamp", "count": 2}, {"article": "oil", "count": 3}], "unknown": 1}
    assert succeed("total", event)[0] == 5


CHECKS = {check.__name__: check for check in (powertools_for_python, powertools_for_typescript_and_middy,
                                              numpy_and_pillow, sdk_for_javascript, jackson)}  # fmt: skip
CHECKS[library]()

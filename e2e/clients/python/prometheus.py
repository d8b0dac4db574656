"""Prometheus's own parser reads the server's metrics; what functions did is among them, and counters only rise."""

import os
import time
import urllib.request

import boto3
from prometheus_client.openmetrics.parser import text_string_to_metric_families

awslambda = boto3.client("lambda")


def scrape():
    with urllib.request.urlopen(os.environ["AWS_ENDPOINT_URL"] + "/_lamp/metrics") as answer:
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text"), answer.headers
        families = text_string_to_metric_families(answer.read().decode())
        return {
            (sample.name, *sorted(sample.labels.items())): sample.value for family in families for sample in family.samples
        }


def of_speaker(metrics, name, **labels):
    labels = {"account": "000000000000", "region": "us-east-1", "function": "speaker", **labels}
    return metrics.get((name, *sorted(labels.items())), 0)


def until(condition):
    for _ in range(100):
        metrics = scrape()
        if condition(metrics):
            return metrics
        time.sleep(0.1)
    raise AssertionError({key: value for key, value in metrics.items() if key[0].startswith("lamp_function")})


def call(count, event=b'{"n": 1}'):
    for _ in range(count):
        awslambda.invoke(FunctionName="speaker", Payload=event)


before = scrape()
assert of_speaker(before, "lamp_function_invocations_total") == 0, before
call(5)
call(2, b"{}")
first = until(lambda metrics: of_speaker(metrics, "lamp_function_invocations_total") == 7)
assert of_speaker(first, "lamp_function_errors_total") == 2, first
assert of_speaker(first, "lamp_function_cold_starts_total") >= 1, first
assert of_speaker(first, "lamp_function_duration_seconds_count") == 7, first
assert of_speaker(first, "lamp_function_duration_seconds_bucket", le="+Inf") == 7, first
assert of_speaker(first, "lamp_function_cost_dollars_total") > 7 * 0.0000002, first
assert of_speaker(first, "lamp_function_gb_seconds_total") > 0, first
assert of_speaker(first, "lamp_function_memory_configured_bytes") == 128 * 1024 * 1024, first
assert of_speaker(first, "lamp_function_concurrency") >= 1, first
assert first[("lamp_function_log_lost_bytes_total",)] == 0, first

awslambda.put_function_concurrency(FunctionName="speaker", ReservedConcurrentExecutions=0)
try:
    call(1)
    raise AssertionError("it may not run")
except awslambda.exceptions.TooManyRequestsException:
    pass
awslambda.delete_function_concurrency(FunctionName="speaker")
call(3)
second = until(lambda metrics: of_speaker(metrics, "lamp_function_invocations_total") == 10)
assert of_speaker(second, "lamp_function_throttles_total") >= 1, second
fell = {key: (value, second.get(key)) for key, value in first.items() if key[0].endswith("_total") and second[key] < value}
assert not fell, fell

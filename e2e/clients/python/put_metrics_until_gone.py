"""Puts metric data one after the other until the server is gone, and says how much was taken."""

import sys

import boto3
from botocore.config import Config

cloudwatch = boto3.client("cloudwatch", config=Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=5))
who, label = sys.argv[1:]
named = [{"Name": "who", "Value": who}, {"Name": "round", "Value": label}]
taken = 0
try:
    while True:
        data = [{"MetricName": f"m{at}", "Value": 1, "Dimensions": named} for at in range(3)]
        cloudwatch.put_metric_data(Namespace="kept", MetricData=data)
        taken += 1
        print(taken, flush=True)
except Exception:
    pass

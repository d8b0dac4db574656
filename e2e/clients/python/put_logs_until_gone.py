"""Puts log events one after the other until the server is gone, and says which were taken."""

import sys
import time

import boto3
from botocore.config import Config

logs = boto3.client("logs", config=Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=5))
stream, label = sys.argv[1:]
number = 0
try:
    while True:
        events = [{"timestamp": int(time.time() * 1000), "message": f"{stream} {label} {number + at}"} for at in range(3)]
        logs.put_log_events(logGroupName="kept", logStreamName=stream, logEvents=events)
        number += 3
        print(number, flush=True)
except Exception:
    pass

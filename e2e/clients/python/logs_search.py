"""boto3 searches a group of many chunks: all is found, in order, and one account's queries do not hold up another's."""

import random
import time

import boto3
from botocore.config import Config

config = Config(retries={"total_max_attempts": 1})
logs = boto3.client("logs", config=config)
other = boto3.client("logs", config=config, aws_access_key_id="111122223333", aws_secret_access_key="test")

EVENTS, BATCH = 12_000, 1_000
now = int(time.time() * 1_000)
between = dict(startTime=now // 1_000 - 3_600, endTime=now // 1_000 + 300)
chance = random.Random(7)


def message(number):
    return f'{{"number": {number}, "kind": "{"rare" if number % 1_000 == 3 else "usual"}", "filling": "{chance.randbytes(250).hex()}"}}'


def begin(client, text):
    return client.start_query(logGroupName="many", queryString=text, **between)["queryId"]


def finished(client, query_id):
    for _ in range(600):
        found = client.get_query_results(queryId=query_id)
        if found["status"] not in ("Scheduled", "Running"):
            assert found["status"] == "Complete", found
            return found
        time.sleep(0.05)
    raise AssertionError("the query does not end")


for client in (logs, other):
    client.create_log_group(logGroupName="many")
    client.create_log_stream(logGroupName="many", logStreamName="s")
# Late events make chunks that overlap in time.
numbers = list(range(EVENTS))
for start in range(0, EVENTS, BATCH):
    some = numbers[start : start + BATCH] if start % (2 * BATCH) else numbers[start : start + BATCH : 2] + numbers[start + 1 : start + BATCH : 2]
    batch = [dict(timestamp=now - (EVENTS - number) * 10, message=message(number)) for number in some]
    logs.put_log_events(logGroupName="many", logStreamName="s", logEvents=sorted(batch, key=lambda event: event["timestamp"]))
other.put_log_events(logGroupName="many", logStreamName="s", logEvents=[dict(timestamp=now, message='{"number": 1}')])


def searched(pattern, **more):
    pages = logs.get_paginator("filter_log_events").paginate(logGroupName="many", filterPattern=pattern, **more)
    return [event for page in pages for event in page["events"]]


for more in ({}, dict(startFromHead=False, startTime=now - 3_600_000)):
    every = searched("", **more)
    times = [event["timestamp"] for event in every]
    assert times == sorted(times, reverse=bool(more)) and len({event["eventId"] for event in every}) == EVENTS
    rare = searched('{ $.kind = "rare" }', **more)
    assert [event["eventId"] for event in rare] == [event["eventId"] for event in every if '"rare"' in event["message"]]
    assert len(rare) == EVENTS // 1_000

# An account with many queries: the other one's is done long before the last of them.
begun = [begin(logs, "stats count(*) as n, sum(number) as total by kind | sort n") for _ in range(12)]
answer = finished(other, begin(other, "stats sum(number) as total"))
left = sum(logs.get_query_results(queryId=query_id)["status"] in ("Scheduled", "Running") for query_id in begun)
assert answer["results"][0][0]["value"] == "1" and left > 4, (answer, left)

answers = [finished(logs, query_id) for query_id in begun]
rows = [[{cell["field"]: cell["value"] for cell in row} for row in answer["results"]] for answer in answers]
of = lambda is_rare: [number for number in numbers if (number % 1_000 == 3) == is_rare]
expected = [dict(kind=kind, n=str(len(of(is_rare))), total=str(sum(of(is_rare)))) for kind, is_rare in (("rare", True), ("usual", False))]
assert all(found == expected for found in rows), rows
assert all(answer["statistics"]["recordsScanned"] == EVENTS for answer in answers), answers
first = finished(logs, begin(logs, "fields number | sort number | limit 5"))["results"]
assert [row[0]["value"] for row in first] == ["0", "1", "2", "3", "4"], first

"""boto3 makes log groups and streams, puts events, reads and searches them, and finds what a function said."""

import io
import time
import zipfile

import boto3
from botocore.config import Config
from refusal import refused

logs = boto3.client("logs", config=Config(retries={"total_max_attempts": 1}))
awslambda = boto3.client("lambda")
ARN = "arn:aws:logs:us-east-1:000000000000:log-group:"


def now():
    return int(time.time() * 1000)


def messages(answer):
    return [event["message"] for event in answer["events"]]


# Groups.
for name in ["shop/orders", "shop/users", "other"]:
    logs.create_log_group(logGroupName=name, **({"tags": {"team": "lamp"}} if name == "other" else {}))
refused("ResourceAlreadyExistsException", "already exists", logs.create_log_group, logGroupName="other")
refused("InvalidParameterException", "less than or equal to 512", logs.create_log_group, logGroupName="x" * 513)
refused("InvalidParameterException", "reserved for AWS", logs.create_log_group, logGroupName="aws/x")
refused("InvalidParameterException", "Value '!' at 'logGroupName'", logs.create_log_group, logGroupName="!")
found = logs.describe_log_groups(logGroupNamePrefix="shop/")["logGroups"]
assert [group["logGroupName"] for group in found] == ["shop/orders", "shop/users"], found
assert found[0]["arn"] == ARN + "shop/orders:*" and found[0]["logGroupArn"] == ARN + "shop/orders", found
assert found[0]["storedBytes"] == 0 and "retentionInDays" not in found[0], found
found = logs.describe_log_groups(logGroupNamePattern="der")["logGroups"]
assert [group["logGroupName"] for group in found] == ["shop/orders"], found
pages = logs.get_paginator("describe_log_groups").paginate(PaginationConfig={"PageSize": 1})
assert [group["logGroupName"] for page in pages for group in page["logGroups"]] == ["other", "shop/orders", "shop/users"]
assert len(logs.list_log_groups(logGroupNamePattern="^shop|other")["logGroups"]) == 3
logs.put_retention_policy(logGroupName="other", retentionInDays=7)
assert logs.describe_log_groups(logGroupNamePrefix="other")["logGroups"][0]["retentionInDays"] == 7
refused("InvalidParameterException", "'retentionInDays'", logs.put_retention_policy, logGroupName="other", retentionInDays=2)
logs.delete_retention_policy(logGroupName="other")
assert logs.list_tags_for_resource(resourceArn=ARN + "other")["tags"] == {"team": "lamp"}
logs.tag_resource(resourceArn=ARN + "other", tags={"stage": "test"})
logs.untag_log_group(logGroupName="other", tags=["team"])
assert logs.list_tags_log_group(logGroupName="other")["tags"] == {"stage": "test"}
logs.put_log_group_deletion_protection(logGroupIdentifier="other", deletionProtectionEnabled=True)
refused("ValidationException", "deletion protection", logs.delete_log_group, logGroupName="other")
logs.put_log_group_deletion_protection(logGroupIdentifier="other", deletionProtectionEnabled=False)
logs.delete_log_group(logGroupName="other")
refused("ResourceNotFoundException", "log group does not exist", logs.delete_log_group, logGroupName="other")

# Streams and events.
group = "shop/orders"
for name in ["a", "b"]:
    logs.create_log_stream(logGroupName=group, logStreamName=name)
refused("ResourceAlreadyExistsException", "log stream already exists", logs.create_log_stream, logGroupName=group, logStreamName="a")
refused("ResourceNotFoundException", "log group does not exist", logs.create_log_stream, logGroupName="no", logStreamName="a")
start = now() - 60_000
put = logs.put_log_events(
    logGroupName=group, logStreamName="a",
    logEvents=[{"timestamp": start + at * 10, "message": f"order {at} {'late' if at % 3 == 0 else 'in time'}"} for at in range(10)],
)
assert len(put["nextSequenceToken"]) == 56 and "rejectedLogEventsInfo" not in put, put
logs.put_log_events(logGroupName=group, logStreamName="b", logEvents=[{"timestamp": start + 5, "message": '{"level": "ERROR", "took": 7.5}'}])
old = logs.put_log_events(logGroupName=group, logStreamName="b", logEvents=[{"timestamp": 1, "message": "old"}])
assert old["rejectedLogEventsInfo"] == {"tooOldLogEventEndIndex": 1}, old
refused(
    "InvalidParameterException", "chronological order", logs.put_log_events, logGroupName=group, logStreamName="a",
    logEvents=[{"timestamp": start, "message": "x"}, {"timestamp": start - 1, "message": "y"}],
)
refused("ResourceNotFoundException", "log stream does not exist", logs.put_log_events, logGroupName=group, logStreamName="c", logEvents=[{"timestamp": start, "message": "x"}])

# Reading a stream: to its end and back again, page by page.
seen, token = [], None
while True:
    more = {"nextToken": token} if token else {}
    page = logs.get_log_events(logGroupName=group, logStreamName="a", startFromHead=True, limit=3, **more)
    if page["nextForwardToken"] == token:
        assert page["events"] == [], page
        break
    seen += messages(page)
    token = page["nextForwardToken"]
assert [int(message.split()[1]) for message in seen] == list(range(10)), seen
page = logs.get_log_events(logGroupName=group, logStreamName="a", limit=4)
assert [message.split()[1] for message in messages(page)] == ["6", "7", "8", "9"], page
page = logs.get_log_events(logGroupName=group, logStreamName="a", limit=4, nextToken=page["nextBackwardToken"])
assert [message.split()[1] for message in messages(page)] == ["2", "3", "4", "5"], page
page = logs.get_log_events(logGroupName=group, logStreamName="a", startTime=start + 20, endTime=start + 40, startFromHead=True)
assert [message.split()[1] for message in messages(page)] == ["2", "3"], page
refused("InvalidParameterException", "nextToken is invalid", logs.get_log_events, logGroupName=group, logStreamName="a", nextToken="x")
refused(
    "InvalidParameterException", "Value '10001' at 'limit'", logs.get_log_events, logGroupName=group, logStreamName="a", limit=10_001,
)
streams = logs.describe_log_streams(logGroupName=group, orderBy="LastEventTime", descending=True)["logStreams"]
assert [stream["logStreamName"] for stream in streams] == ["a", "b"], streams
assert streams[0]["firstEventTimestamp"] == start and streams[0]["lastEventTimestamp"] == start + 90, streams
assert streams[0]["arn"] == ARN + group + ":log-stream:a", streams
pages = logs.get_paginator("describe_log_streams").paginate(logGroupName=group, PaginationConfig={"PageSize": 1})
assert [stream["logStreamName"] for page in pages for stream in page["logStreams"]] == ["a", "b"]

# Searching a group.
found = logs.filter_log_events(logGroupName=group)["events"]
assert [event["timestamp"] for event in found] == sorted(event["timestamp"] for event in found) and len(found) == 11, found
assert len({event["eventId"] for event in found}) == 11 and found[1]["logStreamName"] == "b", found
assert len(logs.filter_log_events(logGroupName=group, filterPattern="order late")["events"]) == 4
assert len(logs.filter_log_events(logGroupName=group, filterPattern='"in time" -4')["events"]) == 5
assert len(logs.filter_log_events(logGroupName=group, filterPattern="[word, number >= 7, ...]")["events"]) == 3
assert len(logs.filter_log_events(logGroupName=group, filterPattern='{ $.level = "ERR*" && $.took > 7 }')["events"]) == 1
assert len(logs.filter_log_events(logGroupName=group, logStreamNames=["b"])["events"]) == 1
assert len(logs.filter_log_events(logGroupIdentifier=ARN + group, logStreamNamePrefix="a")["events"]) == 10
refused("InvalidParameterException", "must end with '}'", logs.filter_log_events, logGroupName=group, filterPattern="{ $.a = 1")
pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group, filterPattern="late", PaginationConfig={"PageSize": 1})
assert [event["message"].split()[1] for page in pages for event in page["events"]] == ["0", "3", "6", "9"]
assert logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"][0]["storedBytes"] > 0
# As `aws logs tail --follow` asks: from the last event on, again and again.
tail = dict(logGroupName=group, interleaved=True, startTime=found[-1]["timestamp"])
assert [event["eventId"] for event in logs.filter_log_events(**tail)["events"]] == [found[-1]["eventId"]]
logs.put_log_events(logGroupName=group, logStreamName="a", logEvents=[{"timestamp": now(), "message": "next"}])
assert messages(logs.filter_log_events(**tail))[1:] == ["next"]

# Live tail tells every second what has come, and nothing that came before.
tailing = boto3.client("logs", config=Config(inject_host_prefix=False))
session = tailing.start_live_tail(
    logGroupIdentifiers=[ARN + group], logStreamNames=["a"], logEventFilterPattern="live",
)["responseStream"]
told = iter(session)
assert next(told)["sessionStart"]["logGroupIdentifiers"] == [ARN + group]
for stream, message in [("a", "live one"), ("a", "another"), ("b", "live elsewhere"), ("a", "live two")]:
    logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=[{"timestamp": now(), "message": message}])
came = []
for update in told:
    came += update["sessionUpdate"]["sessionResults"]
    assert not update["sessionUpdate"]["sessionMetadata"]["sampled"], update
    if len(came) >= 2:
        break
session.close()
assert [event["message"] for event in came] == ["live one", "live two"], came
assert came[0]["logStreamName"] == "a" and came[0]["logGroupIdentifier"] == "000000000000:" + group, came
refused(
    "InvalidParameterException", "Invalid filter pattern", tailing.start_live_tail, logGroupIdentifiers=[ARN + group],
    logEventFilterPattern="{ $.a = 1",
)

# What is deleted is gone, and what has its name begins with nothing.
logs.delete_log_stream(logGroupName=group, logStreamName="b")
assert len(logs.filter_log_events(logGroupName=group)["events"]) == 14
logs.create_log_stream(logGroupName=group, logStreamName="b")
assert logs.get_log_events(logGroupName=group, logStreamName="b")["events"] == []
logs.delete_log_group(logGroupName=group)
refused("ResourceNotFoundException", "log group does not exist", logs.filter_log_events, logGroupName=group)
logs.create_log_group(logGroupName=group)
assert logs.filter_log_events(logGroupName=group)["events"] == []

# What a function says is there within a second, in AWS's lines.
buffer = io.BytesIO()
with zipfile.ZipFile(buffer, "w") as archive:
    archive.writestr("app.py", "def handler(event, context):\n    print('heard', event['n'])\n    return event\n")
awslambda.create_function(
    FunctionName="speaker", Runtime="python3.13", Handler="app.handler", Role="arn:aws:iam::000000000000:role/r",
    Code={"ZipFile": buffer.getvalue()},
)
awslambda.get_waiter("function_active_v2").wait(FunctionName="speaker")
refused("ResourceNotFoundException", "log group does not exist", logs.describe_log_streams, logGroupName="/aws/lambda/speaker")
for number in range(3):
    awslambda.invoke(FunctionName="speaker", Payload=b'{"n": %d}' % number)
time.sleep(1)
streams = logs.describe_log_streams(logGroupName="/aws/lambda/speaker")["logStreams"]
assert len(streams) == 1 and "[$LATEST]" in streams[0]["logStreamName"], streams
said = messages(logs.get_log_events(logGroupName="/aws/lambda/speaker", logStreamName=streams[0]["logStreamName"], startFromHead=True))
assert [line.split(" ")[0] for line in said] == ["INIT_START", *["START", "heard", "END", "REPORT"] * 3], said
assert said[2] == "heard 0\n" and "Billed Duration:" in said[4], said
assert len(logs.filter_log_events(logGroupName="/aws/lambda/speaker", filterPattern="REPORT")["events"]) == 3
# Its group is gone; the next thing that it says makes another.
logs.delete_log_group(logGroupName="/aws/lambda/speaker")
awslambda.invoke(FunctionName="speaker", Payload=b'{"n": 9}')
time.sleep(1)
assert any(line == "heard 9\n" for line in messages(logs.filter_log_events(logGroupName="/aws/lambda/speaker")))

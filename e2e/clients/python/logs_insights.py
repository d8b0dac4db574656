"""boto3 runs queries of Logs Insights, keeps definitions of them, and reads single records."""

import json
import time

import boto3
from botocore.config import Config
from refusal import refused

logs = boto3.client("logs", config=Config(retries={"total_max_attempts": 1}))
ARN = "arn:aws:logs:us-east-1:000000000000:log-group:"


now = int(time.time())
between = dict(startTime=now - 3_600, endTime=now + 300)


def finished(query_id, **more):
    for _ in range(500):
        found = logs.get_query_results(queryId=query_id, **more)
        if found["status"] not in ("Scheduled", "Running"):
            assert found["status"] == "Complete", found
            return found
        time.sleep(0.02)
    raise AssertionError("the query does not end")


def rows(found):
    return [{cell["field"]: cell["value"] for cell in row} for row in found["results"]]


def ask(text, group="shop", **more):
    of = {"logGroupName": group} if group else {}
    return finished(logs.start_query(**of, queryString=text, **between | more)["queryId"])


# A thousand events in two streams, and some in another group.
for group in ["shop", "other"]:
    logs.create_log_group(logGroupName=group)
for stream in ["a", "b"]:
    logs.create_log_stream(logGroupName="shop", logStreamName=stream)
logs.create_log_stream(logGroupName="other", logStreamName="c")
at = (now - 600) * 1_000


def put(group, stream, messages):
    events = [{"timestamp": at + number, "message": message} for number, message in messages]
    logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)


def order(number):
    level = "ERROR" if number % 10 == 0 else "INFO"
    return number, json.dumps({"level": level, "took": number, "user": {"id": f"u{number % 7}"}})


put("shop", "a", [order(number) for number in range(0, 500)])
put("shop", "b", [order(number) for number in range(500, 1_000)])
put("other", "c", [(5, "order 5 took 7 ms"), (6, "order 6 took 8 ms"), (7, "nothing")])

# What is newest comes first, and each row says where it is.
found = ask("fields @timestamp, @message, @logStream, @log | limit 3")
assert found["queryLanguage"] == "CWLI" and len(found["results"]) == 3, found
first = rows(found)[0]
assert json.loads(first["@message"])["took"] == 999 and first["@logStream"] == "b", first
assert first["@log"] == "000000000000:shop" and first["@timestamp"].startswith("20") and "@ptr" in first, first
statistics = found["statistics"]
assert statistics["recordsScanned"] == 1_000 and statistics["recordsMatched"] == 1_000, statistics
assert statistics["bytesScanned"] > 40_000 and statistics["logGroupsScanned"] == 1, statistics
assert len(ask("fields @message")["results"]) == 1_000
assert len(ask("fields @message", limit=7)["results"]) == 7

# Filters, counts, parts of messages; a group by its ARN, several groups, a narrow range.
found = ask('filter level = "ERROR" and took >= 900 | fields took | sort took asc')
assert [row["took"] for row in rows(found)] == [str(number) for number in range(900, 1_000, 10)], found
assert found["statistics"]["recordsMatched"] == 10 and found["statistics"]["recordsScanned"] == 1_000, found["statistics"]
found = ask("stats count(*) as n, max(took) as most by level | sort n desc")
assert rows(found) == [{"level": "INFO", "n": "900", "most": "999"}, {"level": "ERROR", "n": "100", "most": "990"}], found
found = ask('parse @message "order * took * ms" as number, took | filter took > 7 | display number, took', group=None, logGroupIdentifiers=[ARN + "other"])
assert [(row["number"], row["took"]) for row in rows(found)] == [("6", "8")], found
found = ask("stats count(*) as n by @log", group=None, logGroupNames=["shop", "other"])
assert sorted((row["@log"], row["n"]) for row in rows(found)) == [("000000000000:other", "3"), ("000000000000:shop", "1000")], found
assert found["statistics"]["logGroupsScanned"] == 2, found
assert ask("fields @message", startTime=now - 10)["results"] == []
# Times may be in milliseconds.
assert len(ask("fields @message", startTime=at + 995, endTime=(now + 300) * 1_000)["results"]) == 5

# Page by page.
query_id = logs.start_query(logGroupName="shop", queryString="fields took | sort took asc", **between)["queryId"]
found = finished(query_id, maxItems=400)
pages = [rows(found)]
while "nextToken" in found:
    found = logs.get_query_results(queryId=query_id, maxItems=400, nextToken=found["nextToken"])
    pages.append(rows(found))
assert [len(page) for page in pages] == [400, 400, 200], [len(page) for page in pages]
assert [int(row["took"]) for page in pages for row in page] == list(range(1_000))

# A record, and the fields of a group.
record = logs.get_log_record(logRecordPointer=first["@ptr"])["logRecord"]
assert record["@message"] == first["@message"] and record["user.id"] == "u5" and record["@logStream"] == "b", record
assert record["@log"] == first["@log"] and record["@timestamp"] == str(at + 999) and record["@ptr"] == first["@ptr"], record
refused("InvalidParameterException", "logRecordPointer is invalid", logs.get_log_record, logRecordPointer="x")
fields = {field["name"]: field["percent"] for field in logs.get_log_group_fields(logGroupName="shop", time=now - 600)["logGroupFields"]}
assert fields["@message"] == 100 and fields["user.id"] == 100 and fields["@logStream"] == 100, fields
assert logs.get_log_group_fields(logGroupIdentifier="shop", time=now - 6_000)["logGroupFields"] == []

# What is refused.
error = refused("MalformedQueryException", "unexpected symbol found", logs.start_query, logGroupName="shop", queryString="fields @message | bad", **between)
assert error["queryCompileError"]["location"] == {"startCharOffset": 18, "endCharOffset": 20}, error
assert error["queryCompileError"]["message"] == error["Error"]["Message"], error
asked = dict(logGroupName="shop", queryString="fields @message")
refused("MalformedQueryException", "end date and time is either before the log groups creation time", logs.start_query, **asked, startTime=now - 9_000, endTime=now - 8_000)
refused("InvalidParameterException", "end time", logs.start_query, **asked, startTime=now, endTime=now - 1)
refused("InvalidParameterException", "Exactly one", logs.start_query, queryString="fields @message", **between)
refused("InvalidParameterException", "Exactly one", logs.start_query, **asked, logGroupNames=["shop"], **between)
refused("ResourceNotFoundException", "Log group 'no' does not exist for account ID '000000000000'", logs.start_query, logGroupName="no", queryString="fields @message", **between)
refused("ResourceNotFoundException", "query does not exist", logs.get_query_results, queryId="0" * 8)
refused("InvalidParameterException", "not running", logs.stop_query, queryId=query_id)
refused("InvalidParameterException", "nextToken is invalid", logs.get_query_results, queryId=query_id, nextToken="x")

# Which there are, the newest first.
queries = logs.describe_queries(logGroupName="other")["queries"]
assert len(queries) == 2 and queries[0].get("logGroupName") is None and queries[1]["logGroupName"] == "other", queries
queries = logs.describe_queries(logGroupName="shop", status="Complete", maxResults=1)
assert len(queries["queries"]) == 1 and "nextToken" in queries, queries
newest = queries["queries"][0]
assert newest["queryId"] == query_id and newest["queryLanguage"] == "CWLI" and newest["status"] == "Complete", newest
assert newest["queryString"] == f'SOURCE "shop" START={between["startTime"]}000 END={between["endTime"]}999 | fields took | sort took asc', newest
rest = logs.describe_queries(logGroupName="shop", nextToken=queries["nextToken"])["queries"]
assert query_id not in [query["queryId"] for query in rest] and len(rest) > 5, rest
assert logs.describe_queries(status="Scheduled")["queries"] == []
refused("ResourceNotFoundException", "log group does not exist", logs.describe_queries, logGroupName="no")

# Definitions.
ids = [
    logs.put_query_definition(name=name, queryString="fields @message", logGroupNames=["shop"])["queryDefinitionId"]
    for name in ["errors", "slow/a", "slow/b"]
]
assert logs.put_query_definition(name="late", queryString="fields @message", queryDefinitionId=ids[0])["queryDefinitionId"] == ids[0]
found = logs.describe_query_definitions()["queryDefinitions"]
assert [definition["name"] for definition in found] == ["late", "slow/a", "slow/b"] and found[1]["logGroupNames"] == ["shop"], found
page = logs.describe_query_definitions(queryDefinitionNamePrefix="slow", maxResults=1)
assert [definition["queryDefinitionId"] for definition in page["queryDefinitions"]] == [ids[1]], page
page = logs.describe_query_definitions(queryDefinitionNamePrefix="slow", nextToken=page["nextToken"])
assert [definition["queryDefinitionId"] for definition in page["queryDefinitions"]] == [ids[2]], page
assert logs.delete_query_definition(queryDefinitionId=ids[0])["success"]
refused("ResourceNotFoundException", "query definition does not exist", logs.delete_query_definition, queryDefinitionId=ids[0])
refused("ResourceNotFoundException", "query definition does not exist", logs.put_query_definition, name="x", queryString="y", queryDefinitionId=ids[0])
token = "t" * 36
twice = [logs.put_query_definition(name="once", queryString="fields a", clientToken=token)["queryDefinitionId"] for _ in range(2)]
assert twice[0] == twice[1], twice

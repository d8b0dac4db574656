"""boto3 maps sources to functions, in every form of their names, and is refused as AWS refuses."""

import concurrent.futures
import io
import json
import zipfile

import boto3
from botocore.config import Config
from refusal import refused

ROLE = "arn:aws:iam::000000000000:role/r"
FUNCTION = "arn:aws:lambda:us-east-1:000000000000:function:f"
QUEUE = "arn:aws:sqs:us-east-1:000000000000:q"
STREAM = "arn:aws:kinesis:us-east-1:000000000000:stream/s"
TABLE = "arn:aws:dynamodb:us-east-1:000000000000:table/t/stream/2026-01-01T00:00:00.000"
awslambda = boto3.client("lambda", config=Config(retries={"total_max_attempts": 1}, parameter_validation=False))


def invalid(words, **arguments):
    given = {"FunctionName": "f", **arguments}
    refused("InvalidParameterValueException", words, awslambda.create_event_source_mapping, **given)


def create(**arguments):
    made = awslambda.create_event_source_mapping(**{"FunctionName": "f", **arguments})
    assert made.pop("ResponseMetadata")["HTTPStatusCode"] == 202
    return made


def get(uuid):
    got = awslambda.get_event_source_mapping(UUID=uuid)
    del got["ResponseMetadata"]
    return got


def delete(uuid):
    assert awslambda.delete_event_source_mapping(UUID=uuid)["State"] == "Deleting"
    refused("ResourceNotFoundException", "The resource you requested does not exist.", get, uuid=uuid)


def update(uuid, **arguments):
    return awslambda.update_event_source_mapping(UUID=uuid, **arguments)


def listed(**filters):
    pages = awslambda.get_paginator("list_event_source_mappings").paginate(PaginationConfig={"PageSize": 2}, **filters)
    return {mapping["UUID"]: mapping for page in pages for mapping in page["EventSourceMappings"]}


code = io.BytesIO()
with zipfile.ZipFile(code, "w") as archive:
    archive.writestr("app.py", "")
for name in ["f", "g"]:
    awslambda.create_function(FunctionName=name, Runtime="python3.13", Handler="app.handler", Role=ROLE,
                              Code={"ZipFile": code.getvalue()}, Publish=True)
awslambda.create_alias(FunctionName="f", Name="live", FunctionVersion="1")
for name, fifo in [("q", {}), ("q.fifo", {"FifoQueue": "true"})]:
    boto3.client("sqs").create_queue(QueueName=name, Attributes=fifo)

# A queue: what is shown, and no more.
queue = create(EventSourceArn=QUEUE, Tags={"team": "lamp"})
uuid, modified = queue["UUID"], queue["LastModified"]
assert queue == {
    "UUID": uuid, "LastModified": modified, "EventSourceArn": QUEUE, "FunctionArn": FUNCTION, "BatchSize": 10,
    "EventSourceMappingArn": f"arn:aws:lambda:us-east-1:000000000000:event-source-mapping:{uuid}",
    "FunctionResponseTypes": [], "MaximumBatchingWindowInSeconds": 0, "State": "Creating",
    "StateTransitionReason": "USER_INITIATED",
}, queue
assert get(uuid) == {**queue, "State": "Enabled"}

# A stream has settings of its own, and says what became of its records.
stream = create(EventSourceArn=TABLE, StartingPosition="TRIM_HORIZON", FilterCriteria={"Filters": []})
defaults = {
    "BatchSize": 100, "BisectBatchOnFunctionError": False, "DestinationConfig": {"OnFailure": {}},
    "LastProcessingResult": "No records processed", "MaximumRecordAgeInSeconds": -1, "MaximumRetryAttempts": -1,
    "ParallelizationFactor": 1, "TumblingWindowInSeconds": 0, "StateTransitionReason": "User action",
}
assert defaults.items() <= stream.items() and "FilterCriteria" not in stream, stream

# Kafka that nobody manages has no ARN. Its consumers are known by the mapping's id.
kafka = {
    "Topics": ["topic"], "SelfManagedEventSource": {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["kafka:1000"]}},
    "SourceAccessConfigurations": [{"Type": "BASIC_AUTH", "URI": "arn:aws:secretsmanager:us-east-1:000000000000:secret:s"}],
}
cluster = create(**kafka)
assert cluster["SelfManagedKafkaEventSourceConfig"] == {"ConsumerGroupId": cluster["UUID"]}, cluster
assert (cluster["StartingPosition"], cluster["BatchSize"]) == ("TRIM_HORIZON", 100)
assert "EventSourceArn" not in cluster and "DestinationConfig" not in cluster

# The same again is refused in the words of its kind.
words = f'An event source mapping with SQS arn (" {QUEUE} ") and function (" f ") already exists. Please update or ' \
        f"delete the existing mapping with UUID {uuid}"
for name in ["f", "f:$LATEST", FUNCTION, "000000000000:function:f"]:
    refused("ResourceConflictException", words, create, EventSourceArn=QUEUE, FunctionName=name)
refused("ResourceConflictException", f'The event source arn (" {TABLE} ") and function (" f ") provided mapping already',
        create, EventSourceArn=TABLE, StartingPosition="LATEST")
servers = {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["kafka:1000", "kafka:2000"]}}
refused("ResourceConflictException", f'An event source mapping with event source ("kafka:1000,kafka:2000"), function '
        f'("{FUNCTION}"), topics ("topic") already exists.', create, **{**kafka, "SelfManagedEventSource": servers})

# A version, an alias and another function are others.
version = create(EventSourceArn=QUEUE, FunctionName="f:1")
alias = create(EventSourceArn=QUEUE, FunctionName=f"{FUNCTION}:live")
other = create(EventSourceArn=QUEUE, FunctionName="g", Enabled=False)
assert (version["FunctionArn"], alias["FunctionArn"]) == (FUNCTION + ":1", FUNCTION + ":live")
assert other["State"] == "Disabled" == get(other["UUID"])["State"]

# Lists, by function and by source, page by page.
everything = {m["UUID"] for m in [queue, stream, cluster, version, alias, other]}
assert set(listed()) == everything
assert set(listed(EventSourceArn=QUEUE)) == {m["UUID"] for m in [queue, version, alias, other]}
assert set(listed(FunctionName=FUNCTION)) == {m["UUID"] for m in [queue, stream, cluster]}
assert set(listed(FunctionName="f:live")) == {alias["UUID"]}
assert set(listed(FunctionName="f", EventSourceArn=QUEUE)) == {uuid}
assert listed(FunctionName="nobody") == {} == listed(EventSourceArn=STREAM)
refused("InvalidParameterValueException", "Invalid Marker", awslambda.list_event_source_mappings, Marker="x")

# What cannot be.
refused("ResourceNotFoundException", "The resource you requested does not exist.", update, uuid=uuid[:-1] + "~", BatchSize=1)
invalid("Unrecognized event source.")
invalid("Unrecognized event source.", EventSourceArn="arn:aws:sns:us-east-1:000000000000:t")
invalid("Function does not exist", EventSourceArn=QUEUE, FunctionName="nobody")
invalid("Function does not exist", EventSourceArn=QUEUE, FunctionName="f:7")
invalid("Unsupported DestinationConfig parameter for given event source mapping type.", FunctionName="nobody",
        EventSourceArn=QUEUE, DestinationConfig={"OnSuccess": {"Destination": QUEUE}})
invalid("StartingPosition is not valid for SQS event sources.", EventSourceArn=QUEUE, StartingPosition="LATEST")
invalid("Value null at 'startingPosition'", EventSourceArn=STREAM)
invalid("Need to specify a timestamp", EventSourceArn=STREAM, StartingPosition="AT_TIMESTAMP")
invalid(f"Unsupported starting position for arn type: {TABLE}", EventSourceArn=TABLE, StartingPosition="AT_TIMESTAMP",
        StartingPositionTimestamp=1741010802)
invalid("Maximum batch window in seconds must be greater than 0", EventSourceArn=QUEUE, BatchSize=11)
invalid("Batching window is not supported for FIFO queues", EventSourceArn=QUEUE + ".fifo",
        MaximumBatchingWindowInSeconds=1)
invalid("Required 'sourceAccessConfigurations' parameter is missing.", Topics=["other"], SelfManagedEventSource=servers)
for pattern in ["null", "simple string", '{"eventSource": "aws:sqs"}', '{"eventSource": []}']:
    invalid("Invalid filter pattern definition.", EventSourceArn=QUEUE, FilterCriteria={"Filters": [{"Pattern": pattern}]})
refused("ValidationException", "Member must satisfy enum value set: [LATEST, AT_TIMESTAMP, TRIM_HORIZON]", create,
        EventSourceArn=STREAM, StartingPosition="invalid")

# Changes. What is empty takes away; what is not said stays.
pattern = json.dumps({"body": {"k": [{"prefix": "v"}]}})
changed = update(uuid, BatchSize=20, MaximumBatchingWindowInSeconds=5, ScalingConfig={"MaximumConcurrency": 2},
                 FilterCriteria={"Filters": [{"Pattern": pattern}]}, KMSKeyArn="arn:aws:kms:us-east-1:000000000000:key/k")
assert changed["State"] == "Updating" and changed["ResponseMetadata"]["HTTPStatusCode"] == 202
settled = get(uuid)
assert (settled["BatchSize"], settled["ScalingConfig"]) == (20, {"MaximumConcurrency": 2}), settled
assert settled["FilterCriteria"] == {"Filters": [{"Pattern": pattern}]}
assert "FilterCriteria" not in listed()[uuid], "filters that are sealed are not in lists"
refused("InvalidParameterValueException", "Maximum batch window", update, uuid=uuid, MaximumBatchingWindowInSeconds=0)
cleared = update(uuid, FilterCriteria={}, ScalingConfig={}, KMSKeyArn="", BatchSize=10, MaximumBatchingWindowInSeconds=0)
assert {**get(uuid), "LastModified": 0} == {**queue, "State": "Enabled", "LastModified": 0}
assert [update(uuid, Enabled=enabled)["State"] for enabled in [False, False, True]] == ["Disabling", "Updating", "Enabling"]

# To another function, unless that one has the source already; what was let go is free.
refused("ResourceConflictException", "already exists", update, uuid=uuid, FunctionName="g")
delete(other["UUID"])
assert update(uuid, FunctionName="g:1")["FunctionArn"].endswith(":function:g:1")
assert uuid in listed(FunctionName="g:1") and uuid not in listed(FunctionName="f")
delete(create(EventSourceArn=QUEUE)["UUID"])

# Of many at once, one gets the source.
def attempt(_):
    try:
        return create(EventSourceArn=STREAM, StartingPosition="LATEST")["UUID"]
    except awslambda.exceptions.ResourceConflictException as error:
        return error


with concurrent.futures.ThreadPoolExecutor(8) as pool:
    outcomes = list(pool.map(attempt, range(16)))
(won,) = [outcome for outcome in outcomes if isinstance(outcome, str)]
assert all(won in str(outcome) for outcome in outcomes), outcomes

# Tags.
arn = queue["EventSourceMappingArn"]
awslambda.tag_resource(Resource=arn, Tags={"a": "1", "b": "2"})
awslambda.untag_resource(Resource=arn, TagKeys=["team", "a"])
assert awslambda.list_tags(Resource=arn)["Tags"] == {"b": "2"}
unknown = arn[:-12] + "000000000000"
for call, more in [(awslambda.tag_resource, {"Tags": {"a": "b"}}), (awslambda.untag_resource, {"TagKeys": ["a"]}),
                   (awslambda.list_tags, {})]:
    refused("ResourceNotFoundException", f"Event source mapping not found: {unknown}", call, Resource=unknown, **more)

# A mapping outlives its function.
awslambda.delete_function(FunctionName="f")
assert get(stream["UUID"])["State"] == "Enabled"
for left in listed():
    delete(left)
print("ok")

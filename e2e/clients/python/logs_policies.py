"""boto3 keeps policies, destinations and deliveries of CloudWatch Logs."""

import json

import boto3
from botocore.config import Config
from refusal import refused

logs = boto3.client("logs", config=Config(retries={"total_max_attempts": 1}))
ARN = "arn:aws:logs:us-east-1:000000000000:"
POLICY = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "route53.amazonaws.com"}, "Action": "logs:PutLogEvents", "Resource": "*"}]})


# Resource policies: ten of them.
for number in range(10):
    put = logs.put_resource_policy(policyName=f"policy{number}", policyDocument=POLICY)["resourcePolicy"]
    assert (put["policyName"], put["policyDocument"], put["policyScope"]) == (f"policy{number}", POLICY, "ACCOUNT"), put
refused("LimitExceededException", "Resource limit exceeded.", logs.put_resource_policy, policyName="more", policyDocument=POLICY)
assert logs.put_resource_policy(policyName="policy1", policyDocument='{"Statement":[]}')["resourcePolicy"]["policyDocument"] == '{"Statement":[]}'
page = logs.describe_resource_policies(limit=9)
assert len(page["resourcePolicies"]) == 9, page
page = logs.describe_resource_policies(nextToken=page["nextToken"])
assert [policy["policyName"] for policy in page["resourcePolicies"]] == ["policy9"] and "nextToken" not in page, page
refused("InvalidParameterException", "no valid JSON", logs.put_resource_policy, policyName="policy1", policyDocument="x")
logs.delete_resource_policy(policyName="policy9")
refused("ResourceNotFoundException", "Policy with name [policy9] does not exist.", logs.delete_resource_policy, policyName="policy9")

# Account policies: one of a type, or twenty.
index = dict(policyName="index", policyType="FIELD_INDEX_POLICY", policyDocument='{"Fields": ["RequestId"]}')
put = logs.put_account_policy(**index, selectionCriteria='LogGroupNamePrefix IN ["/aws/lambda/"]')["accountPolicy"]
assert (put["scope"], put["accountId"], put["policyDocument"]) == ("ALL", "000000000000", index["policyDocument"]), put
logs.put_account_policy(**index | {"policyName": "other"})
subscription = dict(policyName="all", policyType="SUBSCRIPTION_FILTER_POLICY", policyDocument="{}")
logs.put_account_policy(**subscription)
refused("LimitExceededException", "Resource limit exceeded.", logs.put_account_policy, **subscription | {"policyName": "two"})
found = logs.describe_account_policies(policyType="FIELD_INDEX_POLICY")["accountPolicies"]
assert [policy["policyName"] for policy in found] == ["index", "other"], found
found = logs.describe_account_policies(policyType="FIELD_INDEX_POLICY", policyName="other")["accountPolicies"]
assert [policy["policyName"] for policy in found] == ["other"], found
logs.delete_account_policy(policyName="all", policyType="SUBSCRIPTION_FILTER_POLICY")
refused("ResourceNotFoundException", "does not exist", logs.delete_account_policy, policyName="all", policyType="SUBSCRIPTION_FILTER_POLICY")

# Destinations.
assert logs.describe_destinations()["destinations"] == []
role = "arn:aws:iam::000000000000:role/r"
target = dict(destinationName="there", targetArn="arn:aws:kinesis:us-east-1:000000000000:stream/s", roleArn=role)
made = logs.put_destination(**target)["destination"]
assert made["arn"] == ARN + "destination:there" and "accessPolicy" not in made, made
logs.put_destination_policy(destinationName="there", accessPolicy=POLICY)
changed = logs.put_destination(**target | {"roleArn": role + "2"})["destination"]
assert changed["creationTime"] == made["creationTime"] and changed["accessPolicy"] == POLICY, changed
assert logs.describe_destinations(DestinationNamePrefix="th")["destinations"] == [changed]
assert logs.describe_destinations(DestinationNamePrefix="x")["destinations"] == []
refused("InvalidParameterException", "Invalid targetArn", logs.put_destination, **target | {"targetArn": "x"})
refused("ResourceNotFoundException", "destination does not exist", logs.put_destination_policy, destinationName="no", accessPolicy=POLICY)
logs.delete_destination(destinationName="there")
refused("ResourceNotFoundException", "destination does not exist", logs.delete_destination, destinationName="there")

# Deliveries, from a source to a destination.
resource = "arn:aws:cloudfront::000000000000:distribution/E1Q5F5862X9VJ5"
source = logs.put_delivery_source(name="source", resourceArn=resource, logType="ACCESS_LOGS", tags={"a": "b"})["deliverySource"]
assert source == {
    "name": "source", "arn": ARN + "delivery-source:source", "resourceArns": [resource], "service": "cloudfront",
    "logType": "ACCESS_LOGS", "tags": {"a": "b"},
}, source
assert logs.get_delivery_source(name="source")["deliverySource"] == source
assert logs.describe_delivery_sources()["deliverySources"] == [source]
refused("ResourceNotFoundException", "Cannot access provided service.", logs.put_delivery_source, name="x", resourceArn="arn:aws:s3:::b", logType="ACCESS_LOGS")
refused("ResourceNotFoundException", "Requested Delivery Source does not exist in this account.", logs.get_delivery_source, name="no")
bucket = {"destinationResourceArn": "arn:aws:s3:::bucket"}
destination = logs.put_delivery_destination(name="bucket", outputFormat="json", deliveryDestinationConfiguration=bucket)["deliveryDestination"]
assert destination == {
    "name": "bucket", "arn": ARN + "delivery-destination:bucket", "deliveryDestinationType": "S3", "outputFormat": "json",
    "deliveryDestinationConfiguration": bucket,
}, destination
assert logs.get_delivery_destination(name="bucket")["deliveryDestination"] == destination
assert logs.describe_delivery_destinations(names=["bucket"])["deliveryDestinations"] == [destination]
assert logs.put_delivery_destination_policy(deliveryDestinationName="bucket", deliveryDestinationPolicy=POLICY)["policy"] == {"deliveryDestinationPolicy": POLICY}
assert logs.get_delivery_destination_policy(deliveryDestinationName="bucket")["policy"] == {"deliveryDestinationPolicy": POLICY}
logs.delete_delivery_destination_policy(deliveryDestinationName="bucket")
assert logs.get_delivery_destination_policy(deliveryDestinationName="bucket")["policy"] == {}
refused("ResourceNotFoundException", "Requested Delivery Destination does not exist in this account.", logs.delete_delivery_destination, name="no")
both = dict(deliverySourceName="source", deliveryDestinationArn=destination["arn"])
refused("ResourceNotFoundException", "Requested Delivery Destination does not exist", logs.create_delivery, **both | {"deliveryDestinationArn": destination["arn"] + "2"})
delivery = logs.create_delivery(**both, recordFields=["date"], fieldDelimiter=",", s3DeliveryConfiguration={"suffixPath": "a/"})["delivery"]
assert delivery["arn"] == ARN + "delivery:" + delivery["id"] and delivery["deliveryDestinationType"] == "S3", delivery
refused("ConflictException", "already exists", logs.create_delivery, **both)
logs.update_delivery_configuration(id=delivery["id"], recordFields=["date", "time"])
assert logs.get_delivery(id=delivery["id"])["delivery"] == delivery | {"recordFields": ["date", "time"]}
assert len(logs.describe_deliveries(deliverySourceNames=["source"])["deliveries"]) == 1
refused("ConflictException", "has deliveries", logs.delete_delivery_source, name="source")
refused("ConflictException", "has deliveries", logs.delete_delivery_destination, name="bucket")
logs.delete_delivery(id=delivery["id"])
refused("ResourceNotFoundException", "Requested Delivery does not exist in this account.", logs.get_delivery, id=delivery["id"])
logs.delete_delivery_source(name="source")
logs.delete_delivery_destination(name="bucket")
assert logs.describe_deliveries()["deliveries"] == [] and logs.describe_delivery_sources()["deliverySources"] == []
formats = "Value 'pdf' at 'outputFormat' failed to satisfy constraint: Member must satisfy enum value set: [w3c, raw, json, plain, parquet]"
refused("ValidationException", formats, logs.put_delivery_destination, name="x", outputFormat="pdf", deliveryDestinationConfiguration=bucket)

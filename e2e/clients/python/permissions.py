"""boto3 grants and revokes permissions of functions, versions and aliases, and puts whole policies."""

import io
import json
import zipfile

import boto3
import botocore.exceptions
from botocore.config import Config

ARN = "arn:aws:lambda:us-east-1:000000000000:function:f"
BUCKET = "arn:aws:s3:::bucket"
MISSING = "The resource you requested does not exist."
STALE = (
    "The Revision Id provided does not match the latest Revision Id. "
    "Call the GetPolicy API to retrieve the latest Revision Id"
)


def refused(code, call, **arguments):
    try:
        call(**arguments)
    except botocore.exceptions.ClientError as error:
        assert error.response["Error"]["Code"] == code, error
        return error.response["Error"]["Message"]
    raise AssertionError(f"{code} expected")


def grant(**arguments):
    defaults = {"FunctionName": "f", "StatementId": "s3", "Action": "lambda:InvokeFunction",
                "Principal": "s3.amazonaws.com"}
    return json.loads(awslambda.add_permission(**defaults | arguments)["Statement"])


def policy(**arguments):
    shown = awslambda.get_policy(**{"FunctionName": "f"} | arguments)
    document = json.loads(shown["Policy"])
    assert (document["Version"], document["Id"]) == ("2012-10-17", "default"), document
    return [statement["Sid"] for statement in document["Statement"]], shown["RevisionId"]


awslambda = boto3.client("lambda", config=Config(retries={"total_max_attempts": 1}, parameter_validation=False))
buffer = io.BytesIO()
with zipfile.ZipFile(buffer, "w") as archive:
    archive.writestr("app.py", "def handler(event, context): return event")


def create():
    awslambda.create_function(
        FunctionName="f", Runtime="python3.13", Handler="app.handler", Role="arn:aws:iam::000000000000:role/r",
        Code={"ZipFile": buffer.getvalue()},
    )


create()
awslambda.publish_version(FunctionName="f")
alias = awslambda.create_alias(FunctionName="f", Name="live", FunctionVersion="1")

# A statement is answered, and stored, as AWS writes it.
assert refused("ResourceNotFoundException", awslambda.get_policy, FunctionName="f") == MISSING
statement = grant(SourceArn=BUCKET)
assert list(statement.items()) == [
    ("Sid", "s3"), ("Effect", "Allow"), ("Principal", {"Service": "s3.amazonaws.com"}),
    ("Action", "lambda:InvokeFunction"), ("Resource", ARN), ("Condition", {"ArnLike": {"AWS:SourceArn": BUCKET}}),
], statement
assert json.loads(awslambda.get_policy(FunctionName=ARN)["Policy"])["Statement"] == [statement]
url = grant(StatementId="url", Action="lambda:InvokeFunctionUrl", Principal="*", FunctionUrlAuthType="NONE",
            SourceAccount="111111111111", PrincipalOrgID="o-1234567890")
assert url["Principal"] == "*" and list(url["Condition"]["StringEquals"]) == [
    "AWS:SourceAccount", "lambda:FunctionUrlAuthType", "aws:PrincipalOrgID",
], url
via_url = grant(StatementId="via", Principal="*", InvokedViaFunctionUrl=True)
assert via_url["Condition"] == {"Bool": {"lambda:InvokedViaFunctionUrl": "true"}}, via_url
account = grant(StatementId="account", Principal="111111111111")
assert account["Principal"] == {"AWS": "arn:aws:iam::111111111111:root"} and "Condition" not in account, account
assert policy()[0] == ["s3", "url", "via", "account"]

# Versions and aliases have policies of their own, with the ARN that was asked for.
assert refused("ResourceNotFoundException", awslambda.get_policy, FunctionName="f", Qualifier="1") == MISSING
assert grant(FunctionName="f:1", Qualifier="1")["Resource"] == ARN + ":1"
assert refused("PreconditionFailedException", grant, Qualifier="live", RevisionId="wrong") == STALE
assert grant(FunctionName="f:live", RevisionId=alias["RevisionId"])["Resource"] == ARN + ":live"
assert policy(Qualifier="1")[0] == policy(Qualifier="live")[0] == ["s3"]

# Revisions move with the policy alone.
_, revision = policy()
awslambda.update_function_configuration(FunctionName="f", Description="changed")
assert policy()[1] == revision
grant(StatementId="next", RevisionId=revision)
assert policy()[1] != revision
assert refused("PreconditionFailedException", grant, StatementId="other", RevisionId=revision) == STALE
assert refused("PreconditionFailedException", awslambda.remove_permission, FunctionName="f", StatementId="next",
               RevisionId=revision) == STALE

# Refusals, in AWS's words.
taken = refused("ResourceConflictException", grant)
assert taken.startswith("The statement id (s3) provided already exists."), taken
refused("ValidationException", grant, StatementId="example.com")
differ = refused("InvalidParameterValueException", grant, FunctionName="f:live", Qualifier="1")
assert differ == "The derived qualifier from the function name does not match the specified qualifier.", differ
latest = refused("InvalidParameterValueException", grant, Qualifier="$LATEST")
assert latest == "We currently do not support adding policies for $LATEST.", latest
principal = refused("InvalidParameterValueException", grant, StatementId="x", Principal="invalid.nonaws.com")
assert principal == "The provided principal was invalid. Please check the principal and try again.", principal
auth = refused("InvalidParameterValueException", grant, StatementId="x", FunctionUrlAuthType="NONE")
assert auth == "FunctionUrlAuthType is only supported for lambda:InvokeFunctionUrl action", auth
assert refused("ResourceNotFoundException", grant, FunctionName="no") == f"Function not found: {ARN[:-1]}no"
assert refused("ResourceNotFoundException", grant, Qualifier="42") == f"Function not found: {ARN}:42"
assert refused("ResourceNotFoundException", grant, Qualifier="a-$") == f"Function not found: {ARN}:a-$"
assert refused("ResourceNotFoundException", grant, Qualifier="no") == f"Cannot find alias arn: {ARN}:no"
remove = awslambda.remove_permission
missing = refused("ResourceNotFoundException", remove, FunctionName="no", StatementId="s3")
assert missing == f"No policy found for: {ARN[:-1]}no", missing
missing = refused("ResourceNotFoundException", remove, FunctionName="f", StatementId="no")
assert missing == "Statement no is not found in resource policy.", missing
large = refused("PolicyLengthExceededException", lambda: [grant(StatementId=f"{n:0100}") for n in range(200)])
assert large.endswith(" is bigger than the limit (20480)."), large

# The last statement takes the policy with it.
remove(FunctionName="f", StatementId="s3", Qualifier="live")
assert refused("ResourceNotFoundException", awslambda.get_policy, FunctionName="f", Qualifier="live") == MISSING
missing = refused("ResourceNotFoundException", remove, FunctionName="f", StatementId="s3", Qualifier="live")
assert missing == "No policy is associated with the given resource.", missing

# A whole policy takes the place of the one that is there; permissions can be added to it.
document = {
    "Version": "2012-10-17",
    "Statement": [{"Sid": "deny", "Effect": "Deny", "Principal": "*", "Action": "lambda:*", "Resource": ARN,
                   "Condition": {"Bool": {"aws:SecureTransport": "false"}}}],
}
put = awslambda.put_resource_policy(ResourceArn=ARN, Policy=json.dumps(document))
assert json.loads(put["Policy"]) == document, put
got = awslambda.get_resource_policy(ResourceArn=ARN)
assert (got["Policy"], got["RevisionId"]) == (put["Policy"], put["RevisionId"])
grant(RevisionId=put["RevisionId"])
whole = json.loads(awslambda.get_policy(FunctionName="f")["Policy"])
assert [statement["Sid"] for statement in whole["Statement"]] == ["deny", "s3"], whole
refused("PreconditionFailedException", awslambda.delete_resource_policy, ResourceArn=ARN, RevisionId=put["RevisionId"])
for nonsense in ("policy", "{}", json.dumps(document).replace("Deny", "Maybe")):
    refused("InvalidParameterValueException", awslambda.put_resource_policy, ResourceArn=ARN, Policy=nonsense)
awslambda.delete_resource_policy(ResourceArn=ARN)
assert refused("ResourceNotFoundException", awslambda.get_resource_policy, ResourceArn=ARN) == MISSING
refused("ResourceNotFoundException", awslambda.delete_resource_policy, ResourceArn=ARN)

# What is deleted leaves no policy behind for the next of its name.
awslambda.put_resource_policy(ResourceArn=ARN + ":live", Policy=json.dumps(document))
awslambda.delete_alias(FunctionName="f", Name="live")
awslambda.create_alias(FunctionName="f", Name="live", FunctionVersion="1")
assert refused("ResourceNotFoundException", awslambda.get_policy, FunctionName="f", Qualifier="live") == MISSING
grant()
awslambda.delete_function(FunctionName="f")
create()
assert refused("ResourceNotFoundException", awslambda.get_policy, FunctionName="f") == MISSING
awslambda.delete_function(FunctionName="f")
print("ok")

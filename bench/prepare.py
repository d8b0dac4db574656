"""Makes the functions that the benchmark reads and tags, bench0 to bench63; argument: the endpoint."""

import io
import sys
import zipfile

import boto3

settings = dict(
    endpoint_url=sys.argv[1], region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
)
buffer = io.BytesIO()
with zipfile.ZipFile(buffer, "w") as archive:
    archive.writestr("app.py", "def handler(event, context): return event")
try:
    # Some peers want the role to be there.
    boto3.client("iam", **settings).create_role(RoleName="r", AssumeRolePolicyDocument="{}", Path="/")
except Exception:
    pass
account = boto3.client("sts", **settings).get_caller_identity()["Account"]
client = boto3.client("lambda", **settings)
for number in range(64):
    client.create_function(
        FunctionName=f"bench{number}", Runtime="python3.12", Handler="app.handler",
        Role=f"arn:aws:iam::{account}:role/r", Code={"ZipFile": buffer.getvalue()},
        Environment={"Variables": {"ONE": "1", "TWO": "2"}}, Tags={"team": "lamp"},
    )

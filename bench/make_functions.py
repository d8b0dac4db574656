"""Makes functions f{FROM}..f{TO}; arguments: endpoint, from, to."""

import io
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor

import boto3
from botocore.config import Config

endpoint, start, end = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
client = boto3.client(
    "lambda", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test",
    config=Config(max_pool_connections=16),
)
buffer = io.BytesIO()
with zipfile.ZipFile(buffer, "w") as archive:
    archive.writestr("app.py", "def handler(event, context): return event")


def make(number):
    client.create_function(
        FunctionName=f"f{number}", Runtime="python3.12", Handler="app.handler", Role="arn:aws:iam::000000000000:role/r",
        Code={"ZipFile": buffer.getvalue()}, Tags={"number": str(number)},
    )


with ThreadPoolExecutor(16) as pool:
    list(pool.map(make, range(start, end)))

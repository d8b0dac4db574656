"""Flips a bit in a function's code on disk; the link to the code must fail. Argument: the folder of the blobs."""

import io
import pathlib
import sys
import urllib.error
import urllib.request
import zipfile

import boto3

buffer = io.BytesIO()
with zipfile.ZipFile(buffer, "w") as archive:
    archive.writestr("app.py", "def handler(event, context): return event")
client = boto3.client("lambda")
client.create_function(
    FunctionName="f", Runtime="python3.13", Handler="app.handler", Role="arn:aws:iam::000000000000:role/r",
    Code={"ZipFile": buffer.getvalue()},
)
location = client.get_function(FunctionName="f")["Code"]["Location"]
assert urllib.request.urlopen(location).read() == buffer.getvalue()

[blob] = [path for path in pathlib.Path(sys.argv[1]).rglob("*") if path.is_file() and path.parent.name != "tmp"]
blob.chmod(0o600)
content = bytearray(blob.read_bytes())
content[50] ^= 1
blob.write_bytes(content)
try:
    urllib.request.urlopen(location)
    raise AssertionError("damaged code was served")
except urllib.error.HTTPError as error:
    assert error.code == 500, error

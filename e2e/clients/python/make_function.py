"""Creates a Python function: its name, its memory in MB, its time-out in seconds, and a file with its code."""

import io
import sys
import zipfile

import boto3

name, memory, timeout, file = sys.argv[1:]
packed = io.BytesIO()
with zipfile.ZipFile(packed, "w") as archive:
    archive.write(file, "app.py")
function = boto3.client("lambda")
function.create_function(
    FunctionName=name,
    Runtime="python3.11",
    Role="arn:aws:iam::000000000000:role/r",
    Handler="app.handler",
    MemorySize=int(memory),
    Timeout=int(timeout),
    Code={"ZipFile": packed.getvalue()},
)
function.get_waiter("function_active_v2").wait(FunctionName=name)

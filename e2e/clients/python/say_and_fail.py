"""boto3 makes a function that says what it gets and fails with 0, and calls it with 1 and 0."""

import io
import json
import zipfile

import boto3

awslambda = boto3.client("lambda")
code = io.BytesIO()
with zipfile.ZipFile(code, "w") as archive:
    archive.writestr("main.py", "def handler(event, context):\n    print('said', event)\n    return 1 / event\n")
awslambda.create_function(
    FunctionName="told", Runtime="python3.13", Handler="main.handler", Role="arn:aws:iam::000000000000:role/r",
    Code={"ZipFile": code.getvalue()},
)
awslambda.get_waiter("function_active_v2").wait(FunctionName="told")
ids = [
    awslambda.invoke(FunctionName="told", Payload=json.dumps(event))["ResponseMetadata"]["RequestId"]
    for event in (1, 0)
]

"""Functions that bundle no SDK, as most do: `missing` before `lamp runtimes add`, `there` after it. A runtime each call."""

import base64
import io
import json
import sys
import zipfile

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

PYTHON = """
import boto3
def handler(event, context):
    return boto3.client("sts").get_caller_identity()["Arn"]
"""
COMMON = """
const { STSClient, GetCallerIdentityCommand } = require("@aws-sdk/client-sts");
exports.handler = async () => (await new STSClient({}).send(new GetCallerIdentityCommand({}))).Arn;
"""
MODULE = """
import { STSClient, GetCallerIdentityCommand } from "@aws-sdk/client-sts";
export const handler = async () => (await new STSClient({}).send(new GetCallerIdentityCommand({}))).Arn;
"""
# A registry may have a release from before AWS_ENDPOINT_URL.
RUBY = """
require "aws-sdk-core"
def handler(event:, context:) = Aws::STS::Client.new(endpoint: ENV["AWS_ENDPOINT_URL"]).get_caller_identity.arn
"""
# By language: name, file, code, and what the error is when the SDK is missing.
FUNCTIONS = {
    "python": [("py", "app.py", PYTHON, ("Runtime.ImportModuleError", "Unable to import module 'app': No module named 'boto3'"))],
    "nodejs": [
        ("common", "app.js", COMMON, ("Runtime.ImportModuleError", "Error: Cannot find module '@aws-sdk/client-sts'\nRequire stack:\n- /var/task/app.js\n- /var/runtime/index.mjs")),
        ("module", "app.mjs", MODULE, ("Error", "Cannot find package '@aws-sdk/client-sts' imported from /var/task/app.mjs")),
    ],
    "ruby": [("rb", "app.rb", RUBY, ("Init<LoadError>", "cannot load such file -- aws-sdk-core"))],
}

phase, runtime = sys.argv[1:]
awslambda = boto3.client("lambda", config=Config(retries={"total_max_attempts": 1}, read_timeout=60))


def a_zip(name, text):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), text)
    return buffer.getvalue()


for name, file, code, (kind, message) in FUNCTIONS[runtime.rstrip("0123456789.x")]:
    if phase == "missing":
        awslambda.create_function(
            FunctionName=name, Runtime=runtime, Handler="app.handler", Role="arn:aws:iam::000000000000:role/r",
            Code={"ZipFile": a_zip(file, code)}, Timeout=30, MemorySize=512,
        )
    try:
        answer = awslambda.invoke(FunctionName=name, LogType="Tail")
    except ClientError as error:
        # A host without namespaces runs no functions, and says so.
        if "running functions on this machine" not in str(error):
            raise
        print("skipped: this host lends no sandboxes")
        sys.exit(0)
    result, log = json.loads(answer["Payload"].read()), base64.b64decode(answer["LogResult"]).decode()
    if phase == "missing":
        # AWS's own words in the answer; what helps in the log, once.
        assert (result["errorType"], result["errorMessage"].partition("\nDid you mean?")[0]) == (kind, message), result
        advice = [line for line in log.splitlines() if line.startswith("Lamplight: AWS ships")]
        assert len(advice) == 1 and "lamp runtimes add" in advice[0] and f" {runtime}" in advice[0], log
    else:
        assert result == f"arn:aws:sts::000000000000:assumed-role/r/{name}", (result, log)
        assert "Lamplight:" not in log, log

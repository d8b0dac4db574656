"""Reads every function whole: its secrets open, and its code is what its hash says."""

import base64
import hashlib
import urllib.request

import boto3

client = boto3.client("lambda")
for page in client.get_paginator("list_functions").paginate():
    for function in page["Functions"]:
        got = client.get_function(FunctionName=function["FunctionName"])
        configuration = got["Configuration"]
        assert configuration["Environment"]["Variables"] == {"SECRET": "canary-" + configuration["FunctionName"]}, configuration
        code = urllib.request.urlopen(got["Code"]["Location"]).read()
        assert base64.b64encode(hashlib.sha256(code).digest()).decode() == configuration["CodeSha256"], configuration

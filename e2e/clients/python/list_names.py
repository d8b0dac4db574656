"""Prints the name of every function."""

import boto3

for page in boto3.client("lambda").get_paginator("list_functions").paginate():
    for function in page["Functions"]:
        print(function["FunctionName"])

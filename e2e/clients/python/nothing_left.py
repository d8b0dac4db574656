"""Fails with what is there, if anything of Lambda or of roles and policies is."""

import boto3

awslambda, iam = boto3.client("lambda"), boto3.client("iam")

left = {
    "functions": awslambda.list_functions()["Functions"],
    "layers": awslambda.list_layers()["Layers"],
    "mappings": awslambda.list_event_source_mappings()["EventSourceMappings"],
    "signing configurations": awslambda.list_code_signing_configs()["CodeSigningConfigs"],
    "roles": iam.list_roles()["Roles"],
    "policies": iam.list_policies(Scope="Local")["Policies"],
}
assert not any(left.values()), left

usage = awslambda.get_account_settings()["AccountUsage"]
assert usage == {"TotalCodeSize": 0, "FunctionCount": 0}, usage

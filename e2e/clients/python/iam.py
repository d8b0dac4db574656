"""boto3 walks through roles, policies and what binds them, with the waiters, paginators and exceptions of the SDK."""

import json
import re
from concurrent.futures import ThreadPoolExecutor

import boto3
import botocore.exceptions
from botocore.config import Config

config = Config(retries={"total_max_attempts": 1}, parameter_validation=False, max_pool_connections=16)
iam = boto3.client("iam", config=config)

OWN = "arn:aws:iam::000000000000"
BASIC = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"


def document(*statements, **top):
    return json.dumps({"Version": "2012-10-17", **top, "Statement": list(statements)})


def trust(service="lambda.amazonaws.com"):
    return document({"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"})


def allow(action, resource="*"):
    return document({"Effect": "Allow", "Action": action, "Resource": resource})


def refused(code, message, call, **arguments):
    try:
        call(**arguments)
    except botocore.exceptions.ClientError as error:
        found = error.response["Error"]
        assert found["Code"] == code and found["Message"] == message, error
        return
    raise AssertionError(f"{code} expected: {message}")


def malformed(message, call, **arguments):
    refused("MalformedPolicyDocument", message, call, **arguments)


def pages(operation, member, **arguments):
    sizes, items = [], []
    for page in iam.get_paginator(operation).paginate(PaginationConfig={"PageSize": 2}, **arguments):
        sizes.append(len(page[member]))
        items += page[member]
    return sizes, items


def roles():
    created = iam.create_role(
        RoleName="Worker", Path="/team/", AssumeRolePolicyDocument=trust(), Description="works",
        MaxSessionDuration=7200, Tags=[{"Key": "team", "Value": "lamp"}, {"Key": "a", "Value": ""}],
    )["Role"]
    assert re.fullmatch("AROA[A-Z2-7]{17}", created["RoleId"]), created
    assert created["Arn"] == f"{OWN}:role/team/Worker"
    assert created["AssumeRolePolicyDocument"] == json.loads(trust())
    assert "MaxSessionDuration" not in created and "RoleLastUsed" not in created, created
    assert created["CreateDate"].microsecond == 0
    iam.get_waiter("role_exists").wait(RoleName="Worker")

    # Names differ by more than case.
    refused("EntityAlreadyExists", "Role with name worker already exists.", iam.create_role,
            RoleName="worker", AssumeRolePolicyDocument=trust())
    got = iam.get_role(RoleName="worker")["Role"]
    assert (got["MaxSessionDuration"], got["Description"], got["RoleLastUsed"]) == (7200, "works", {}), got
    assert got["Tags"] == [{"Key": "team", "Value": "lamp"}, {"Key": "a", "Value": ""}]
    refused("NoSuchEntity", "The role with name nobody cannot be found.", iam.get_role, RoleName="nobody")

    # Documents come back as they were given.
    spaced = trust().replace("\": ", "\":\n  ")
    iam.update_assume_role_policy(RoleName="Worker", PolicyDocument=spaced)
    assert iam.get_role(RoleName="Worker")["Role"]["AssumeRolePolicyDocument"] == json.loads(trust())

    iam.update_role(RoleName="Worker", MaxSessionDuration=3600)
    assert iam.get_role(RoleName="Worker")["Role"]["Description"] == "works"
    assert iam.update_role_description(RoleName="Worker", Description="rests")["Role"]["Description"] == "rests"
    iam.update_role(RoleName="Worker", Description="")
    assert "Description" not in iam.get_role(RoleName="Worker")["Role"]

    iam.tag_role(RoleName="Worker", Tags=[{"Key": "Team", "Value": "x"}, {"Key": "b", "Value": "y"}])
    assert [tag["Key"] for tag in iam.list_role_tags(RoleName="Worker")["Tags"]] == ["Team", "a", "b"]
    assert pages("list_role_tags", "Tags", RoleName="Worker")[0] == [2, 1]
    iam.untag_role(RoleName="Worker", TagKeys=["team", "nothing"])
    assert len(iam.list_role_tags(RoleName="Worker")["Tags"]) == 2
    refused("LimitExceeded", "The number of tags has reached the maximum limit.", iam.tag_role,
            RoleName="Worker", Tags=[{"Key": f"k{n}", "Value": ""} for n in range(49)])

    for call in [iam.create_role, iam.update_assume_role_policy]:
        name = "AssumeRolePolicyDocument" if call == iam.create_role else "PolicyDocument"
        role = "New" if call == iam.create_role else "Worker"
        malformed("This policy contains invalid Json", call, RoleName=role, **{name: "{,}"})
        malformed("Has prohibited field Resource", call, RoleName=role, **{name: document(
            {"Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole", "Resource": "*"})})
        nobody = f"{OWN}:role/nobody"
        malformed(f'Invalid principal in policy: "AWS":"{nobody}"', call, RoleName=role, **{name: document(
            {"Effect": "Allow", "Principal": {"AWS": nobody}, "Action": "sts:AssumeRole"})})
        refused("LimitExceeded", "Cannot exceed quota for ACLSizePerRole: 2048", call, RoleName=role,
                **{name: trust("x" * 2000 + ".amazonaws.com")})

    itself = document({"Effect": "Allow", "Principal": {"AWS": f"{OWN}:role/team/Worker"}, "Action": "sts:AssumeRole"})
    iam.update_assume_role_policy(RoleName="Worker", PolicyDocument=itself)

    for number in range(4):
        iam.create_role(RoleName=f"many{number}", Path="/many/", AssumeRolePolicyDocument=trust())
    sizes, found = pages("list_roles", "Roles", PathPrefix="/many")
    assert sizes == [2, 2] and [role["RoleName"] for role in found] == [f"many{n}" for n in range(4)]
    assert "Tags" not in found[0] and "RoleLastUsed" not in found[0] and found[0]["MaxSessionDuration"] == 3600
    refused("ValidationError", "Invalid Marker.", iam.list_roles, Marker="made-up")
    for number in range(4):
        iam.delete_role(RoleName=f"many{number}")


def role_policies():
    iam.put_role_policy(RoleName="Worker", PolicyName="objects", PolicyDocument=allow("s3:*"))
    iam.put_role_policy(RoleName="Worker", PolicyName="objects", PolicyDocument=allow("s3:Get*"))
    got = iam.get_role_policy(RoleName="Worker", PolicyName="objects")
    assert got["PolicyDocument"] == json.loads(allow("s3:Get*"))
    iam.put_role_policy(RoleName="Worker", PolicyName="a", PolicyDocument=allow(["sqs:*", "sns:*"]))
    assert iam.list_role_policies(RoleName="Worker")["PolicyNames"] == ["a", "objects"]
    refused("NoSuchEntity", "The role policy with name b cannot be found.", iam.get_role_policy,
            RoleName="Worker", PolicyName="b")
    refused("NoSuchEntity", "The role policy with name b cannot be found.", iam.delete_role_policy,
            RoleName="Worker", PolicyName="b")
    refused("NoSuchEntity", "The role with name nobody cannot be found.", iam.put_role_policy,
            RoleName="nobody", PolicyName="b", PolicyDocument=allow("*"))
    malformed("Syntax errors in policy.", iam.put_role_policy,
              RoleName="Worker", PolicyName="b", PolicyDocument="{}")
    # White space does not count towards the quota.
    iam.put_role_policy(RoleName="Worker", PolicyName="b", PolicyDocument=allow("*") + " " * 70_000)
    assert iam.get_role_policy(RoleName="Worker", PolicyName="b")["PolicyDocument"] == json.loads(allow("*"))
    large = allow("s3:*", [f"arn:aws:s3:::{'b' * 1000}{n}" for n in range(10)])
    refused("LimitExceeded", "Maximum policy size of 10240 bytes exceeded for role Worker", iam.put_role_policy,
            RoleName="Worker", PolicyName="c", PolicyDocument=large)
    refused("DeleteConflict", "Cannot delete entity, must delete policies first.", iam.delete_role, RoleName="Worker")
    for name in ["a", "b", "objects"]:
        iam.delete_role_policy(RoleName="Worker", PolicyName=name)


def managed_policies():
    created = iam.create_policy(PolicyName="Reader", Path="/team/", PolicyDocument=allow("s3:Get*"),
                                Description="reads", Tags=[{"Key": "k", "Value": "v"}])["Policy"]
    arn = created["Arn"]
    assert arn == f"{OWN}:policy/team/Reader" and re.fullmatch("ANPA[A-Z2-7]{17}", created["PolicyId"])
    assert (created["DefaultVersionId"], created["AttachmentCount"], created["IsAttachable"]) == ("v1", 0, True)
    iam.get_waiter("policy_exists").wait(PolicyArn=arn)
    got = iam.get_policy(PolicyArn=arn)["Policy"]
    assert (got["Description"], got["Tags"]) == ("reads", [{"Key": "k", "Value": "v"}])
    refused("EntityAlreadyExists", "A policy called reader already exists. Duplicate names are not allowed.",
            iam.create_policy, PolicyName="reader", PolicyDocument=allow("*"))
    missing = f"{OWN}:policy/Reader"  # not below its path
    refused("NoSuchEntity", f"Policy {missing} was not found.", iam.get_policy, PolicyArn=missing)
    refused("ValidationError", "Invalid ARN:  Could not be parsed!", iam.get_policy, PolicyArn="longpolicynamebutnoarn")
    malformed("Policy document must be version 2012-10-17 or greater.", iam.create_policy,
              PolicyName="old", PolicyDocument=document(json.loads(allow("*"))["Statement"][0], Version="2008-10-17"))
    refused("LimitExceeded", "Cannot exceed quota for PolicySize: 6144", iam.create_policy, PolicyName="large",
            PolicyDocument=allow("s3:*", [f"arn:aws:s3:::{'b' * 1000}{n}" for n in range(6)]))

    version = iam.create_policy_version(PolicyArn=arn, PolicyDocument=allow("s3:*"))["PolicyVersion"]
    assert (version["VersionId"], version["IsDefaultVersion"]) == ("v2", False), version
    iam.set_default_policy_version(PolicyArn=arn, VersionId="v2")
    refused("DeleteConflict", "Cannot delete the default version of a policy.", iam.delete_policy_version,
            PolicyArn=arn, VersionId="v2")
    refused("DeleteConflict", "This policy has more than one version. Before you delete a policy, you must delete the "
            "policy's versions. The default version is deleted with the policy.", iam.delete_policy, PolicyArn=arn)
    iam.delete_policy_version(PolicyArn=arn, VersionId="v1")
    for _ in range(4):
        iam.create_policy_version(PolicyArn=arn, PolicyDocument=allow("s3:*"))
    refused("LimitExceeded", "A managed policy can have up to 5 versions. Before you create a new version, you must "
            "delete an existing version.", iam.create_policy_version, PolicyArn=arn, PolicyDocument=allow("*"))
    sizes, versions = pages("list_policy_versions", "Versions", PolicyArn=arn)
    assert sizes == [2, 2, 1] and [v["VersionId"] for v in versions] == ["v6", "v5", "v4", "v3", "v2"], versions
    assert [v["IsDefaultVersion"] for v in versions] == [False] * 4 + [True]
    assert iam.get_policy_version(PolicyArn=arn, VersionId="v2")["PolicyVersion"]["Document"] == json.loads(allow("s3:*"))
    refused("NoSuchEntity", f"Policy {arn} version v1 does not exist or is not attachable.", iam.get_policy_version,
            PolicyArn=arn, VersionId="v1")
    for number in [3, 4, 5, 6]:
        iam.delete_policy_version(PolicyArn=arn, VersionId=f"v{number}")
    iam.tag_policy(PolicyArn=arn, Tags=[{"Key": "a", "Value": "b"}])
    iam.untag_policy(PolicyArn=arn, TagKeys=["K"])
    assert iam.list_policy_tags(PolicyArn=arn)["Tags"] == [{"Key": "a", "Value": "b"}]
    return arn


def aws_managed():
    got = iam.get_policy(PolicyArn=BASIC)["Policy"]
    assert (got["DefaultVersionId"], got["Path"]) == ("v1", "/service-role/"), got
    logs = iam.get_policy_version(PolicyArn=BASIC, VersionId="v1")["PolicyVersion"]["Document"]
    assert logs["Statement"][0]["Action"] == ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"]
    missing = "arn:aws:iam::aws:policy/NobodyMadeThis"
    refused("NoSuchEntity", f"Policy {missing} was not found.", iam.get_policy, PolicyArn=missing)
    refused("NoSuchEntity", f"Policy {missing} does not exist or is not attachable.", iam.attach_role_policy,
            RoleName="Worker", PolicyArn=missing)
    refused("PolicyNotAttachable", "Cannot attach a Service Role Policy to a Customer Role.", iam.attach_role_policy,
            RoleName="Worker", PolicyArn="arn:aws:iam::aws:policy/aws-service-role/BatchServiceRolePolicy")
    listed = list(iam.get_paginator("list_policies").paginate(Scope="AWS", PaginationConfig={"PageSize": 100}))
    names = [policy["PolicyName"] for page in listed for policy in page["Policies"]]
    assert len(listed) > 1 and len(set(names)) == len(names) and "AWSLambda_FullAccess" in names


def attachments(reader):
    iam.attach_role_policy(RoleName="Worker", PolicyArn=reader)
    iam.attach_role_policy(RoleName="Worker", PolicyArn=reader)  # once more changes nothing
    iam.attach_role_policy(RoleName="Worker", PolicyArn=BASIC)
    attached = iam.list_attached_role_policies(RoleName="Worker")["AttachedPolicies"]
    assert [policy["PolicyName"] for policy in attached] == ["Reader", "AWSLambdaBasicExecutionRole"], attached
    below = iam.list_attached_role_policies(RoleName="Worker", PathPrefix="/service-role/")["AttachedPolicies"]
    assert [policy["PolicyArn"] for policy in below] == [BASIC]
    assert [iam.get_policy(PolicyArn=arn)["Policy"]["AttachmentCount"] for arn in [reader, BASIC]] == [1, 1]
    assert len(iam.list_policies(OnlyAttached=True)["Policies"]) == 2
    assert [p["Arn"] for p in iam.list_policies(OnlyAttached=True, Scope="Local")["Policies"]] == [reader]

    refused("DeleteConflict", "Cannot delete a policy attached to entities.", iam.delete_policy, PolicyArn=reader)
    refused("DeleteConflict", "Cannot delete entity, must detach all policies first.", iam.delete_role, RoleName="Worker")
    own = [iam.create_policy(PolicyName=f"p{n}", PolicyDocument=allow("*"))["Policy"]["Arn"] for n in range(9)]
    for arn in own[:8]:
        iam.attach_role_policy(RoleName="Worker", PolicyArn=arn)
    refused("LimitExceeded", "Cannot exceed quota for PoliciesPerRole: 10", iam.attach_role_policy,
            RoleName="Worker", PolicyArn=own[8])
    sizes, _ = pages("list_attached_role_policies", "AttachedPolicies", RoleName="Worker")
    assert sizes == [2] * 5
    for arn in own[:8]:
        iam.detach_role_policy(RoleName="Worker", PolicyArn=arn)
    refused("NoSuchEntity", f"Policy {own[0]} was not found.", iam.detach_role_policy, RoleName="Worker", PolicyArn=own[0])
    for arn in own:
        iam.delete_policy(PolicyArn=arn)


def boundaries(reader):
    bound = iam.create_role(RoleName="Bound", AssumeRolePolicyDocument=trust(), PermissionsBoundary=reader)["Role"]
    expected = {"PermissionsBoundaryType": "Policy", "PermissionsBoundaryArn": reader}
    assert bound["PermissionsBoundary"] == expected, bound
    iam.put_role_permissions_boundary(RoleName="Worker", PermissionsBoundary=reader)
    policy = iam.get_policy(PolicyArn=reader)["Policy"]
    assert (policy["AttachmentCount"], policy["PermissionsBoundaryUsageCount"]) == (1, 2), policy

    def entities(**filters):
        return [r["RoleName"] for r in iam.list_entities_for_policy(PolicyArn=reader, **filters)["PolicyRoles"]]

    assert entities() == ["Bound", "Worker"] and entities(PathPrefix="/team/") == ["Worker"]
    assert entities(PolicyUsageFilter="PermissionsPolicy") == ["Worker"] and entities(EntityFilter="User") == []
    assert entities(PolicyUsageFilter="PermissionsBoundary") == ["Bound", "Worker"]
    iam.delete_role_permissions_boundary(RoleName="Worker")
    assert "PermissionsBoundary" not in iam.get_role(RoleName="Worker")["Role"]
    iam.detach_role_policy(RoleName="Worker", PolicyArn=reader)
    refused("DeleteConflict", "Cannot delete a policy attached to entities.", iam.delete_policy, PolicyArn=reader)
    iam.delete_role(RoleName="Bound")
    missing = f"{OWN}:policy/missing"
    refused("NoSuchEntity", f"Scope ARN: {missing} does not exist or is not attachable.",
            iam.put_role_permissions_boundary, RoleName="Worker", PermissionsBoundary=missing)
    iam.detach_role_policy(RoleName="Worker", PolicyArn=BASIC)
    iam.delete_policy(PolicyArn=reader)
    refused("NoSuchEntity", f"Policy {reader} was not found.", iam.get_policy, PolicyArn=reader)


def service_linked_roles():
    role = iam.create_service_linked_role(AWSServiceName="batch.amazonaws.com")["Role"]
    assert role["Arn"] == f"{OWN}:role/aws-service-role/batch.amazonaws.com/AWSServiceRoleForBatch", role
    name = role["RoleName"]
    refused("InvalidInput", f"Service role name {name} has been taken in this account, please try a different suffix.",
            iam.create_service_linked_role, AWSServiceName="batch.amazonaws.com")
    refused("InvalidInput", "Custom suffix is not allowed for batch.amazonaws.com", iam.create_service_linked_role,
            AWSServiceName="batch.amazonaws.com", CustomSuffix="x")
    protected = f"Cannot perform the operation on the protected role '{name}' - this role is only modifiable by AWS"
    refused("UnmodifiableEntity", protected, iam.delete_role, RoleName=name)
    refused("UnmodifiableEntity", protected, iam.put_role_policy, RoleName=name, PolicyName="p", PolicyDocument=allow("*"))
    refused("UnmodifiableEntity", protected, iam.attach_role_policy, RoleName=name, PolicyArn=BASIC)
    attached = iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"][0]["PolicyArn"]
    assert iam.get_policy(PolicyArn=attached)["Policy"]["AttachmentCount"] == 1
    task = iam.delete_service_linked_role(RoleName=name)["DeletionTaskId"]
    assert task.startswith("task/aws-service-role/batch.amazonaws.com/AWSServiceRoleForBatch/"), task
    assert iam.get_service_linked_role_deletion_status(DeletionTaskId=task)["Status"] == "SUCCEEDED"
    assert iam.get_policy(PolicyArn=attached)["Policy"]["AttachmentCount"] == 0
    suffixed = iam.create_service_linked_role(AWSServiceName="lexv2.amazonaws.com", CustomSuffix="x")["Role"]
    assert suffixed["RoleName"] == "AWSServiceRoleForLexV2Bots_x"


def instance_profiles():
    profile = iam.create_instance_profile(InstanceProfileName="P", Path="/team/")["InstanceProfile"]
    assert profile["Arn"] == f"{OWN}:instance-profile/team/P" and profile["Roles"] == [], profile
    iam.get_waiter("instance_profile_exists").wait(InstanceProfileName="P")
    refused("EntityAlreadyExists", "Instance Profile P already exists.", iam.create_instance_profile, InstanceProfileName="P")
    assert iam.list_instance_profiles_for_role(RoleName="Worker")["InstanceProfiles"] == []
    iam.add_role_to_instance_profile(InstanceProfileName="P", RoleName="Worker")
    refused("LimitExceeded", "Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1",
            iam.add_role_to_instance_profile, InstanceProfileName="P", RoleName="Worker")
    listed = iam.list_instance_profiles_for_role(RoleName="Worker")["InstanceProfiles"]
    assert [role["RoleName"] for role in listed[0]["Roles"]] == ["Worker"], listed
    inside = "Cannot delete entity, must remove roles from instance profile first."
    refused("DeleteConflict", inside, iam.delete_role, RoleName="Worker")
    refused("DeleteConflict", inside, iam.delete_instance_profile, InstanceProfileName="P")
    iam.remove_role_from_instance_profile(InstanceProfileName="P", RoleName="Worker")
    iam.tag_instance_profile(InstanceProfileName="P", Tags=[{"Key": "k", "Value": "v"}])
    assert iam.get_instance_profile(InstanceProfileName="P")["InstanceProfile"]["Tags"] == [{"Key": "k", "Value": "v"}]
    assert iam.list_instance_profiles(PathPrefix="/other/")["InstanceProfiles"] == []
    iam.delete_instance_profile(InstanceProfileName="P")
    refused("NoSuchEntity", "Instance Profile P cannot be found.", iam.get_instance_profile, InstanceProfileName="P")


def counts_hold_when_many_change_them():
    arn = iam.create_policy(PolicyName="shared", PolicyDocument=allow("*"))["Policy"]["Arn"]
    names = [f"r{n}" for n in range(8)]

    def attempt(call, **arguments):
        try:
            call(**arguments)
        except botocore.exceptions.ClientError as error:
            return error.response["Error"]["Code"]

    with ThreadPoolExecutor(len(names) + 1) as pool:
        make = lambda name: iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust(), PermissionsBoundary=arn)
        list(pool.map(make, names))
        attach = lambda name: attempt(iam.attach_role_policy, RoleName=name, PolicyArn=arn)
        assert set(pool.map(attach, names)) == {None}
        policy = iam.get_policy(PolicyArn=arn)["Policy"]
        assert (policy["AttachmentCount"], policy["PermissionsBoundaryUsageCount"]) == (8, 8), policy
        release = lambda name: iam.delete_role_permissions_boundary(RoleName=name)
        list(pool.map(release, names))
        detach = lambda name: iam.detach_role_policy(RoleName=name, PolicyArn=arn)
        list(pool.map(detach, names))
        # Either it is deleted and nobody has it, or somebody was faster and it is there.
        for _ in range(4):
            deleted = pool.submit(attempt, iam.delete_policy, PolicyArn=arn)
            outcomes = set(pool.map(attach, names))
            if deleted.result() is None:
                assert outcomes <= {None, "NoSuchEntity"}, outcomes
                assert not any(iam.list_attached_role_policies(RoleName=n)["AttachedPolicies"] for n in names)
                iam.create_policy(PolicyName="shared", PolicyDocument=allow("*"))
            else:
                assert deleted.result() == "DeleteConflict" and outcomes == {None}, (deleted.result(), outcomes)
                list(pool.map(detach, names))
        assert iam.get_policy(PolicyArn=arn)["Policy"]["AttachmentCount"] == 0
        list(pool.map(lambda name: iam.delete_role(RoleName=name), names))
    iam.delete_policy(PolicyArn=arn)


roles()
role_policies()
reader = managed_policies()
aws_managed()
attachments(reader)
boundaries(reader)
service_linked_roles()
instance_profiles()
counts_hold_when_many_change_them()
iam.delete_role(RoleName="Worker")

# What one account has, another does not; regions see the same.
abroad = boto3.client("iam", region_name="eu-west-1", config=config)
iam.create_role(RoleName="here", AssumeRolePolicyDocument=trust())
assert abroad.get_role(RoleName="here")["Role"]["Arn"] == f"{OWN}:role/here"
stranger = boto3.client("iam", aws_access_key_id="111111111111", aws_secret_access_key="x", config=config)
refused("NoSuchEntity", "The role with name here cannot be found.", stranger.get_role, RoleName="here")
iam.delete_role(RoleName="here")

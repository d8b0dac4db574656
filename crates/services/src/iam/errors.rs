//! IAM's errors, in AWS's words.

use base::AwsError;

fn no_such_entity(message: impl Into<String>) -> AwsError {
    AwsError::client(404, "NoSuchEntity", message)
}

fn already_exists(message: impl Into<String>) -> AwsError {
    AwsError::client(409, "EntityAlreadyExists", message)
}

fn delete_conflict(message: impl Into<String>) -> AwsError {
    AwsError::client(409, "DeleteConflict", message)
}

fn limit_exceeded(message: impl Into<String>) -> AwsError {
    AwsError::client(409, "LimitExceeded", message)
}

pub fn malformed_document(message: impl Into<String>) -> AwsError {
    AwsError::client(400, "MalformedPolicyDocument", message)
}

pub fn invalid_input(message: impl Into<String>) -> AwsError {
    AwsError::client(400, "InvalidInput", message)
}

pub fn validation(message: impl Into<String>) -> AwsError {
    AwsError::client(400, "ValidationError", message)
}

pub fn invalid_marker() -> AwsError {
    validation("Invalid Marker.")
}

pub fn invalid_arn() -> AwsError {
    validation("Invalid ARN:  Could not be parsed!")
}

pub fn not_a_policy_arn(arn: &str) -> AwsError {
    validation(format!("ARN {arn} is not valid."))
}

pub fn invalid_boundary(arn: &str) -> AwsError {
    validation(format!("Value ({arn}) for parameter PermissionsBoundary is invalid."))
}

/// What AWS made is not the account's to change.
pub fn not_yours(arn: &str) -> AwsError {
    AwsError::client(403, "AccessDenied", format!("Policy {arn} belongs to AWS and cannot be changed by an account."))
}

pub fn no_such_boundary(arn: &str) -> AwsError {
    no_such_entity(format!("Scope ARN: {arn} does not exist or is not attachable."))
}

pub fn no_such_version(arn: &str, version: &str) -> AwsError {
    no_such_entity(format!("Policy {arn} version {version} does not exist or is not attachable."))
}

pub fn default_version() -> AwsError {
    delete_conflict("Cannot delete the default version of a policy.")
}

pub fn too_many_versions(max: usize) -> AwsError {
    limit_exceeded(format!(
        "A managed policy can have up to {max} versions. Before you create a new version, you must delete an existing \
         version."
    ))
}

pub fn no_such_role(name: &str) -> AwsError {
    no_such_entity(format!("The role with name {name} cannot be found."))
}

pub fn no_such_role_policy(name: &str) -> AwsError {
    no_such_entity(format!("The role policy with name {name} cannot be found."))
}

pub fn no_such_policy(arn: &str) -> AwsError {
    no_such_entity(format!("Policy {arn} was not found."))
}

pub fn not_attachable(arn: &str) -> AwsError {
    no_such_entity(format!("Policy {arn} does not exist or is not attachable."))
}

pub fn no_such_profile(name: &str) -> AwsError {
    no_such_entity(format!("Instance Profile {name} cannot be found."))
}

pub fn no_such_deletion(task: &str) -> AwsError {
    no_such_entity(format!("Deletion task {task} cannot be found."))
}

pub fn profile_exists(name: &str) -> AwsError {
    already_exists(format!("Instance Profile {name} already exists."))
}

pub fn role_exists(name: &str) -> AwsError {
    already_exists(format!("Role with name {name} already exists."))
}

pub fn policy_exists(name: &str) -> AwsError {
    already_exists(format!("A policy called {name} already exists. Duplicate names are not allowed."))
}

pub fn policies_attached() -> AwsError {
    delete_conflict("Cannot delete entity, must detach all policies first.")
}

pub fn policies_inside() -> AwsError {
    delete_conflict("Cannot delete entity, must delete policies first.")
}

pub fn roles_inside() -> AwsError {
    delete_conflict("Cannot delete entity, must remove roles from instance profile first.")
}

pub fn policy_in_use() -> AwsError {
    delete_conflict("Cannot delete a policy attached to entities.")
}

pub fn versions_left() -> AwsError {
    delete_conflict(
        "This policy has more than one version. Before you delete a policy, you must delete the policy's versions. \
         The default version is deleted with the policy.",
    )
}

/// The account's quota of that name is used up.
pub fn quota(name: &str, max: usize) -> AwsError {
    limit_exceeded(format!("Cannot exceed quota for {name}: {max}"))
}

pub fn role_policies_too_large(role: &str, bytes_max: usize) -> AwsError {
    limit_exceeded(format!("Maximum policy size of {bytes_max} bytes exceeded for role {role}"))
}

pub fn reserved_path(path: &str) -> AwsError {
    invalid_input(format!("The path {path} is reserved for service-linked roles. Use CreateServiceLinkedRole."))
}

pub fn no_service_linked_role(service: &str) -> AwsError {
    invalid_input(format!("Service principal {service} has no service-linked role."))
}

pub fn no_suffix(service: &str) -> AwsError {
    invalid_input(format!("Custom suffix is not allowed for {service}"))
}

pub fn service_role_taken(name: &str) -> AwsError {
    invalid_input(format!("Service role name {name} has been taken in this account, please try a different suffix."))
}

pub fn too_many_tags() -> AwsError {
    limit_exceeded("The number of tags has reached the maximum limit.")
}

/// Service-linked roles are their service's; only it may change them.
pub fn protected_role(name: &str) -> AwsError {
    AwsError::client(
        400,
        "UnmodifiableEntity",
        format!("Cannot perform the operation on the protected role '{name}' - this role is only modifiable by AWS"),
    )
}

/// What AWS made for service-linked roles is for them alone.
pub fn service_role_policy() -> AwsError {
    AwsError::client(400, "PolicyNotAttachable", "Cannot attach a Service Role Policy to a Customer Role.")
}

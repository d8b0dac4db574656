//! AWS Identity and Access Management: roles, their own policies, managed policies and who uses them.
//!
//! Follows the IAM API of 2010-05-08. IAM is global: everything lives in the account's [global
//! scope](store::Scope::global). Nothing is enforced yet. Not there yet: users, groups, access keys, identity
//! providers, simulation, and the quotas on how many roles and policies an account has.

mod attachment;
mod aws_managed;
mod document;
mod errors;
mod instance_profile;
mod managed_policy;
mod name;
mod paging;
mod policy_version;
mod role;
mod role_policy;
mod service_linked_role;
mod tag;

use crate::Service;

pub fn service() -> Service {
    Service::new("iam", include_str!("model.json"), include_str!("overlay.json"))
        .operation("AddRoleToInstanceProfile", instance_profile::add_role)
        .operation("AttachRolePolicy", attachment::attach)
        .operation("CreateInstanceProfile", instance_profile::create)
        .operation("CreatePolicy", managed_policy::create)
        .operation("CreatePolicyVersion", policy_version::create)
        .operation("CreateRole", role::create)
        .operation("CreateServiceLinkedRole", service_linked_role::create)
        .operation("DeleteInstanceProfile", instance_profile::delete)
        .operation("DeletePolicy", managed_policy::delete)
        .operation("DeletePolicyVersion", policy_version::delete)
        .operation("DeleteRole", role::delete)
        .operation("DeleteRolePermissionsBoundary", attachment::delete_boundary)
        .operation("DeleteRolePolicy", role_policy::delete)
        .operation("DeleteServiceLinkedRole", service_linked_role::delete)
        .operation("DetachRolePolicy", attachment::detach)
        .operation("GetInstanceProfile", instance_profile::get)
        .operation("GetPolicy", managed_policy::get)
        .operation("GetPolicyVersion", policy_version::get)
        .operation("GetRole", role::get)
        .operation("GetRolePolicy", role_policy::get)
        .operation("GetServiceLinkedRoleDeletionStatus", service_linked_role::deletion_status)
        .operation("ListAttachedRolePolicies", attachment::list_attached)
        .operation("ListEntitiesForPolicy", attachment::list_entities)
        .operation("ListInstanceProfileTags", instance_profile::list_tags)
        .operation("ListInstanceProfiles", instance_profile::list)
        .operation("ListInstanceProfilesForRole", instance_profile::list_for_role)
        .operation("ListPolicies", managed_policy::list)
        .operation("ListPolicyTags", managed_policy::list_tags)
        .operation("ListPolicyVersions", policy_version::list)
        .operation("ListRolePolicies", role_policy::list)
        .operation("ListRoleTags", role::list_tags)
        .operation("ListRoles", role::list)
        .operation("PutRolePermissionsBoundary", attachment::put_boundary)
        .operation("PutRolePolicy", role_policy::put)
        .operation("RemoveRoleFromInstanceProfile", instance_profile::remove_role)
        .operation("SetDefaultPolicyVersion", policy_version::set_default)
        .operation("TagInstanceProfile", instance_profile::tag)
        .operation("TagPolicy", managed_policy::tag)
        .operation("TagRole", role::tag)
        .operation("UntagInstanceProfile", instance_profile::untag)
        .operation("UntagPolicy", managed_policy::untag)
        .operation("UntagRole", role::untag)
        .operation("UpdateAssumeRolePolicy", role::update_trust)
        .operation("UpdateRole", role::update)
        .operation("UpdateRoleDescription", role::update_description)
}

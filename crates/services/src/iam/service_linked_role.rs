//! Service-linked roles: roles that a service defines, and that nobody but the service may change.
//!
//! `service_linked_roles.tsv` is a table of facts: service, role, the policy that the role has, whether the caller may
//! add a suffix to the name. A service that it lacks has no such role here. No service is asked whether it still needs
//! its role, so a deletion has succeeded when it is answered.

use base::{AwsError, Uuid};
use serde::{Deserialize, Serialize};
use store::{Record, Scope, Table};

use super::attachment::{self, PolicyRef};
use super::aws_managed::{AwsManaged, SERVICE_ROLE_PATH};
use super::role::{self, Named, OneRole, ROLES, Role, Shown};
use super::{errors, name};
use crate::Ctx;

/// The last deletion of a role of that [key](name::key).
static DELETIONS: Table<String, Deletion> = Table::new("iam_service_role_deletions");

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Deletion {
    task: String,
}

impl Record for Deletion {
    const VERSION: u8 = 1;
}

/// What a service says of its role.
#[derive(Debug, Clone, Copy)]
struct Definition {
    service: &'static str,
    role: &'static str,
    policy: &'static str,
    takes_suffix: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct CreateServiceLinkedRole {
    #[serde(rename = "AWSServiceName")]
    service: String,
    description: Option<String>,
    custom_suffix: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeletionBegun {
    deletion_task_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct GetDeletionStatus {
    deletion_task_id: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeletionStatus {
    status: &'static str,
}

pub async fn create(ctx: Ctx, input: CreateServiceLinkedRole) -> Result<OneRole, AwsError> {
    let CreateServiceLinkedRole { service, description, custom_suffix } = input;
    let definition = Definition::of(&service).ok_or_else(|| errors::no_service_linked_role(&service))?;
    let name = match custom_suffix {
        None => definition.role.to_owned(),
        Some(_) if !definition.takes_suffix => return Err(errors::no_suffix(&service)),
        Some(suffix) => format!("{}_{suffix}", definition.role),
    };
    let policy = AwsManaged::named(definition.policy)
        .ok_or_else(|| AwsError::internal(format_args!("find the policy {}", definition.policy)))?;
    let trust = format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":{{"Service":"{service}"}},"Action":"sts:AssumeRole"}}]}}"#
    );
    let mut role = Role::new(&ctx, name, format!("{SERVICE_ROLE_PATH}{service}/"), trust);
    role.description = description;
    role.attached = vec![PolicyRef { arn: policy.arn(&ctx), id: policy.id() }];
    role.service = Some(service);
    if !role::insert(&ctx, &mut role, None).await? {
        return Err(errors::service_role_taken(&role.name));
    }
    Ok(OneRole { role: role::show(&ctx, role, Shown::Created) })
}

pub async fn delete(ctx: Ctx, input: Named) -> Result<DeletionBegun, AwsError> {
    let scope = Scope::global(&ctx.cx);
    let key = name::key(&input.role_name);
    let mut edit = attachment::edit(&ctx, &scope, &key).await;
    loop {
        let (found, batch) = edit.read().await?;
        let linked = found.and_then(|role| Some((role.service.clone()?, role)));
        let (service, role) = linked.ok_or_else(|| errors::no_such_role(&input.role_name))?;
        let deletion = Deletion { task: task_id(&service, &role.name, ctx.cx.id()) };
        let batch = attachment::count(&ctx, &scope, batch, Some(&role), None).await?;
        let batch = batch.delete(&ROLES, &scope, &key).put(&DELETIONS, &scope, &key, &deletion);
        if edit.commit(batch).await? {
            return Ok(DeletionBegun { deletion_task_id: deletion.task });
        }
    }
}

pub async fn deletion_status(ctx: Ctx, input: GetDeletionStatus) -> Result<DeletionStatus, AwsError> {
    let task = input.deletion_task_id;
    let role_key = task.split('/').nth(3).map(name::key).unwrap_or_default();
    let last = DELETIONS.get(&ctx.cloud.store, &Scope::global(&ctx.cx), &role_key).await?;
    if last.is_none_or(|last| last.value.task != task) {
        return Err(errors::no_such_deletion(&task));
    }
    Ok(DeletionStatus { status: "SUCCEEDED" })
}

fn task_id(service: &str, role: &str, id: Uuid) -> String {
    format!("task{SERVICE_ROLE_PATH}{service}/{role}/{id}")
}

impl Definition {
    fn all() -> impl Iterator<Item = Self> {
        include_str!("service_linked_roles.tsv").lines().filter_map(Self::parse)
    }

    fn of(service: &str) -> Option<Self> {
        Self::all().find(|definition| definition.service == service)
    }

    fn parse(line: &'static str) -> Option<Self> {
        let mut fields = line.split('\t');
        Some(Self {
            service: fields.next()?,
            role: fields.next()?,
            policy: fields.next()?,
            takes_suffix: fields.next()? == "suffix",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_linked_role_has_its_policy() {
        assert_eq!(Definition::all().count(), include_str!("service_linked_roles.tsv").lines().count());
        for definition in Definition::all() {
            let policy = AwsManaged::named(definition.policy);
            assert!(policy.is_some_and(AwsManaged::is_for_services), "{definition:?}");
        }
    }
}

//! Versions of the account's managed policies, and their documents.

use base::{AwsError, Timestamp};
use serde::{Deserialize, Serialize};
use store::{Record, Scope, Table};
use wire::value::With;

use super::managed_policy::{self, Found, Named};
use super::paging::{End, Paging};
use super::{document, errors, name};
use crate::Ctx;

const DOCUMENT_CHARS_MAX: usize = 6_144;
const VERSIONS_MAX: usize = 5;

/// Under the unique id of their policy and the number of their version.
pub static DOCUMENTS: Table<(String, u32), Document> = Table::large("iam_policy_documents");

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Document {
    pub text: String,
}

impl Record for Document {
    const VERSION: u8 = 1;
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct CreatePolicyVersion {
    policy_arn: String,
    policy_document: String,
    #[serde(default)]
    set_as_default: bool,
}

/// Input of the operations that only name a version.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct NamedVersion {
    policy_arn: String,
    version_id: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct OneVersion {
    policy_version: PolicyVersion,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct VersionList {
    versions: Vec<PolicyVersion>,
    #[serde(flatten)]
    end: End,
}

/// The document is shown to those alone who ask for the very version.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PolicyVersion {
    document: Option<String>,
    version_id: String,
    is_default_version: bool,
    create_date: Timestamp,
}

pub async fn create(ctx: Ctx, input: CreatePolicyVersion) -> Result<OneVersion, AwsError> {
    check(&input.policy_document)?;
    let scope = Scope::global(&ctx.cx);
    let now = name::now(&ctx);
    let document = Document { text: input.policy_document };
    let policy = managed_policy::edit(&ctx, &input.policy_arn, |policy, batch| {
        if policy.versions.len() >= VERSIONS_MAX {
            return Err(errors::too_many_versions(VERSIONS_MAX));
        }
        policy.version_last = policy.version_last.saturating_add(1);
        policy.versions.insert(policy.version_last, now);
        policy.updated = now;
        if input.set_as_default {
            policy.version_default = policy.version_last;
        }
        Ok(batch.put(&DOCUMENTS, &scope, (&policy.id, policy.version_last), &document))
    })
    .await?;
    Ok(OneVersion {
        policy_version: PolicyVersion {
            document: None,
            version_id: show_number(policy.version_last),
            is_default_version: input.set_as_default,
            create_date: now,
        },
    })
}

pub async fn get(ctx: Ctx, input: NamedVersion) -> Result<OneVersion, AwsError> {
    let missing = || errors::no_such_version(&input.policy_arn, &input.version_id);
    let policy_version = match managed_policy::find(&ctx, &input.policy_arn).await? {
        Found::Aws(policy) if policy.version == input.version_id => PolicyVersion {
            document: Some(document::encode(policy.document)),
            version_id: input.version_id,
            is_default_version: true,
            create_date: policy.updated,
        },
        Found::Aws(_) => return Err(missing()),
        Found::Customer(policy, _) => {
            let number = number(&input.version_id).ok_or_else(missing)?;
            let create_date = *policy.versions.get(&number).ok_or_else(missing)?;
            let scope = Scope::global(&ctx.cx);
            let found = DOCUMENTS.get(&ctx.cloud.store, &scope, (&policy.id, number)).await?;
            PolicyVersion {
                // It may have been deleted since.
                document: Some(document::encode(&found.ok_or_else(missing)?.value.text)),
                version_id: input.version_id,
                is_default_version: number == policy.version_default,
                create_date,
            }
        }
    };
    Ok(OneVersion { policy_version })
}

/// The newest version comes first.
pub async fn list(ctx: Ctx, With(input, paging): With<Named, Paging>) -> Result<VersionList, AwsError> {
    let versions: Vec<PolicyVersion> = match managed_policy::find(&ctx, &input.policy_arn).await? {
        Found::Aws(policy) => vec![PolicyVersion {
            document: None,
            version_id: policy.version.into(),
            is_default_version: true,
            create_date: policy.updated,
        }],
        Found::Customer(policy, _) => {
            let newest_first = policy.versions.iter().rev();
            let shown = newest_first.map(|(number, created)| PolicyVersion {
                document: None,
                version_id: show_number(*number),
                is_default_version: *number == policy.version_default,
                create_date: *created,
            });
            shown.collect()
        }
    };
    let (versions, end) = paging.cut(&ctx, "iam:ListPolicyVersions", versions)?;
    Ok(VersionList { versions, end })
}

pub async fn set_default(ctx: Ctx, input: NamedVersion) -> Result<(), AwsError> {
    let missing = || errors::no_such_version(&input.policy_arn, &input.version_id);
    let now = name::now(&ctx);
    managed_policy::edit(&ctx, &input.policy_arn, |policy, batch| {
        let number = number(&input.version_id).filter(|number| policy.versions.contains_key(number));
        policy.version_default = number.ok_or_else(missing)?;
        policy.updated = now;
        Ok(batch)
    })
    .await
    .map(drop)
}

pub async fn delete(ctx: Ctx, input: NamedVersion) -> Result<(), AwsError> {
    let missing = || errors::no_such_version(&input.policy_arn, &input.version_id);
    let scope = Scope::global(&ctx.cx);
    managed_policy::edit(&ctx, &input.policy_arn, |policy, batch| {
        let number = number(&input.version_id).ok_or_else(missing)?;
        if number == policy.version_default {
            return Err(errors::default_version());
        }
        policy.versions.remove(&number).ok_or_else(missing)?;
        Ok(batch.delete(&DOCUMENTS, &scope, (&policy.id, number)))
    })
    .await
    .map(drop)
}

/// Checks a document that is to be a version.
pub fn check(text: &str) -> Result<(), AwsError> {
    document::check_managed(text)?;
    if document::measure(text) > DOCUMENT_CHARS_MAX {
        return Err(errors::quota("PolicySize", DOCUMENT_CHARS_MAX));
    }
    Ok(())
}

/// As a version is called: `v1`.
pub fn show_number(number: u32) -> String {
    format!("v{number}")
}

fn number(version_id: &str) -> Option<u32> {
    let number = version_id.strip_prefix('v')?.parse().ok()?;
    (show_number(number) == version_id).then_some(number)
}

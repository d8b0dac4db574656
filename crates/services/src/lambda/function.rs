//! Functions: the record, where it is kept, and what is done to a function as a whole.
//!
//! A function is ready as soon as it is committed: its code is unpacked on first use. AWS settles a new function some
//! seconds later and moves its `RevisionId` once more; here the answer shows `Pending` with a revision of its own, and
//! what is stored is the settled state, so no background work and no second write are needed.
//!
//! Everything that belongs to a function (versions, aliases, policies, URLs and other configurations) lies in tables of
//! its own under the function's incarnation. **Invariant:** whoever changes any of it rewrites the function's row in the
//! same commit, so that the row's version serialises all changes below one function. What the deletion of a function
//! leaves behind is nobody's, and is [`debris`](super::debris).

use std::sync::Arc;

use base::{AwsError, Uuid};
use serde::{Deserialize, Serialize};
use store::{Batch, Record, Scan, Table};

use super::account::Share;
use super::alias::Alias;
use super::code::{self, Code};
use super::name::{FunctionRef, Qualifier};
use super::release::{FunctionConfiguration, Phase, Release};
use super::settings::Settings;
use super::tag::Tags;
use super::{account, alias, capacity_provider, code_signing, debris, errors, paging, version};
use crate::edit::Edit;
use crate::{Ctx, Service};

pub static FUNCTIONS: Table<String, Function> = Table::large("lambda_functions");

/// A function as stored, under its name.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Function {
    pub name: String,
    /// Tells this function from an earlier one of the same name. All that belongs to it is kept under this.
    pub incarnation: Uuid,
    /// What `$LATEST` is.
    pub latest: Release,
    pub tags: Tags,
    /// The number of the last version; numbers are never given again, not even to another function of this name.
    pub last_version: u64,
    /// The fingerprint of `$LATEST` when that version was published.
    pub published: Option<[u8; 32]>,
    /// Code that `$LATEST` and all versions hold together.
    pub code_bytes: u64,
    pub reserved_concurrency: Option<u32>,
    /// Of all its versions and aliases together.
    pub provisioned_concurrency: u32,
    /// Absent while nobody has said what happens to a function that calls itself.
    pub recursive_loop: Option<String>,
}

impl Record for Function {
    const VERSION: u8 = 1;
}

/// Input of the operations that only name a function, a version or an alias.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Named {
    pub function_name: String,
    pub qualifier: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ListFunctions {
    marker: Option<String>,
    max_items: Option<usize>,
    function_version: Option<String>,
    master_region: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct FunctionList {
    functions: Vec<FunctionConfiguration>,
    next_marker: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetFunction {
    configuration: FunctionConfiguration,
    code: CodeLocation,
    tags: Option<Tags>,
    concurrency: Option<Concurrency>,
}

/// The status of the answer is a member of it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Deleted {
    status_code: u16,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CodeLocation {
    repository_type: &'static str,
    location: Option<String>,
    image_uri: Option<String>,
    resolved_image_uri: Option<String>,
    #[serde(rename = "SourceKMSKeyArn")]
    source_kms_key_arn: Option<String>,
}

/// What a function reserves, as AWS shows it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Concurrency {
    pub reserved_concurrent_executions: Option<u32>,
}

/// A function, and the release of it that a qualifier means.
pub struct Resolved {
    pub function: Arc<Function>,
    /// The version and its number; absent for `$LATEST`.
    pub published: Option<(u64, Arc<Release>)>,
}

impl Resolved {
    pub fn latest(function: Arc<Function>) -> Self {
        Self { function, published: None }
    }

    pub fn release(&self) -> &Release {
        self.published.as_ref().map_or(&self.function.latest, |(_, release)| release)
    }

    pub fn version(&self) -> String {
        self.published.as_ref().map_or_else(|| "$LATEST".into(), |(number, _)| number.to_string())
    }
}

impl Function {
    pub fn new(ctx: &Ctx, name: String, settings: Settings, code: Code, tags: Tags) -> Self {
        Self {
            name,
            incarnation: ctx.cx.id(),
            code_bytes: code.size_bytes(),
            latest: Release { settings, code, last_modified: ctx.cx.now(), revision: ctx.cx.id() },
            tags,
            last_version: 0,
            published: None,
            reserved_concurrency: None,
            provisioned_concurrency: 0,
            recursive_loop: None,
        }
    }

    pub fn arn(&self, ctx: &Ctx) -> String {
        arn(ctx, &self.name)
    }

    /// As it was asked for.
    pub fn qualified_arn(&self, ctx: &Ctx, qualifier: Option<&str>) -> String {
        match qualifier {
            Some(qualifier) => format!("{}:{qualifier}", self.arn(ctx)),
            None => self.arn(ctx),
        }
    }

    /// Who holds on to the code of `$LATEST`, and whose key seals the secrets of all releases: this very function, not
    /// the next of its name.
    pub fn owner(&self, ctx: &Ctx) -> String {
        format!("{}/{}/{}", ctx.cx.world.0, self.arn(ctx), self.incarnation)
    }
}

pub fn operations(service: Service) -> Service {
    service
        .operation("DeleteFunction", delete)
        .operation("GetFunction", get)
        .operation("GetFunctionConfiguration", get_configuration)
        .operation("ListFunctions", list)
}

pub async fn get(ctx: Ctx, input: Named) -> Result<GetFunction, AwsError> {
    let (ctx, asked) =
        FunctionRef::locate(ctx, "GetFunction", &input.function_name, input.qualifier.as_deref()).await?;
    let resolved = resolve(&ctx, &asked).await?;
    let version = resolved.version();
    let Resolved { function, published } = resolved;
    let release = published.map_or_else(|| function.latest.clone(), |(_, release)| Arc::unwrap_or_clone(release));
    Ok(GetFunction {
        code: CodeLocation::of(&ctx, &release.code),
        tags: Some(function.tags.clone()).filter(|tags| !tags.is_empty()),
        concurrency: function
            .reserved_concurrency
            .map(|reserved| Concurrency { reserved_concurrent_executions: Some(reserved) }),
        configuration: release.show(&ctx, &function, version, asked.qualifier.as_deref(), Phase::Settled).await?,
    })
}

impl CodeLocation {
    fn of(ctx: &Ctx, code: &Code) -> Self {
        match code {
            Code::Zip { blob, source_kms_key_arn, .. } => Self {
                source_kms_key_arn: source_kms_key_arn.clone(),
                repository_type: "S3",
                location: Some(code::link(ctx, blob)),
                image_uri: None,
                resolved_image_uri: None,
            },
            Code::Image { uri } => Self {
                repository_type: "ECR",
                location: None,
                source_kms_key_arn: None,
                resolved_image_uri: uri.contains("@sha256:").then(|| uri.clone()),
                image_uri: Some(uri.clone()),
            },
        }
    }
}

pub async fn get_configuration(ctx: Ctx, input: Named) -> Result<FunctionConfiguration, AwsError> {
    let (ctx, asked) =
        FunctionRef::locate(ctx, "GetFunctionConfiguration", &input.function_name, input.qualifier.as_deref()).await?;
    let resolved = resolve(&ctx, &asked).await?;
    let (version, release) = (resolved.version(), resolved.release().clone());
    release.show(&ctx, &resolved.function, version, asked.qualifier.as_deref(), Phase::Settled).await
}

pub async fn list(ctx: Ctx, input: ListFunctions) -> Result<FunctionList, AwsError> {
    const OPERATION: &str = "lambda:ListFunctions";
    // Functions replicated from another region exist only for edge locations, which are not there.
    let replicas_of_other_region =
        input.master_region.as_deref().is_some_and(|region| region != "ALL" && region != ctx.cx.region.as_str());
    let limit = paging::size(input.max_items);
    if input.function_version.as_deref() == Some("ALL") {
        return version::list_all(&ctx, limit, input.marker.as_deref(), replicas_of_other_region)
            .await
            .map(|(functions, next_marker)| FunctionList { functions, next_marker });
    }
    let (rows, next_marker) =
        paging::page(&ctx, OPERATION, &FUNCTIONS, Scan::all(limit), input.marker.as_deref()).await?;
    if replicas_of_other_region {
        return Ok(FunctionList { functions: Vec::new(), next_marker: None });
    }
    let mut functions = Vec::with_capacity(rows.len());
    for row in rows {
        let latest = row.value.latest.clone();
        functions.push(latest.show(&ctx, &row.value, "$LATEST".into(), None, Phase::Listed).await?);
    }
    Ok(FunctionList { functions, next_marker })
}

/// Deletes a function with all that belongs to it, or one version of it.
pub async fn delete(ctx: Ctx, input: Named) -> Result<Deleted, AwsError> {
    let (ctx, asked) =
        FunctionRef::locate(ctx, "DeleteFunction", &input.function_name, input.qualifier.as_deref()).await?;
    match asked.qualifier.as_deref() {
        None => delete_whole(&ctx, &asked.name).await?,
        Some("$LATEST") => {
            return Err(errors::invalid_parameter("$LATEST version cannot be deleted without deleting the function."));
        }
        Some(number) if number.bytes().all(|digit| digit.is_ascii_digit()) => {
            version::delete(&ctx, &asked.name, number).await?;
        }
        Some(_) => return Err(errors::invalid_parameter("Deletion of aliases is not currently supported.")),
    }
    Ok(Deleted { status_code: 204 })
}

async fn delete_whole(ctx: &Ctx, name: &str) -> Result<(), AwsError> {
    let scope = ctx.scope();
    let mut edit = ctx.edit_with(vec![account::turn(ctx)], &FUNCTIONS, &scope, name).await;
    let incarnation = loop {
        let (function, batch) = open(ctx, name, &mut edit).await?;
        let owner = function.owner(ctx);
        let batch = batch.delete(&FUNCTIONS, &scope, name);
        let batch = function.latest.let_go(&ctx.cloud, batch, &owner)?;
        // The secrets of a deleted function open for nobody, wherever a copy of them may be.
        let batch = ctx.cloud.vault.forget_with(batch, &owner)?;
        let batch = code_signing::detach(ctx, batch, &function).await?;
        let batch = capacity_provider::detach(batch, &scope, &function.latest, function.incarnation, "$LATEST");
        let batch = debris::leave(batch, &scope, &function, owner);
        let batch = match function.last_version {
            0 => batch,
            last => batch.put(&version::LAST_NUMBERS, &scope, name, &version::LastNumber(last)),
        };
        let batch = account::recount(ctx, batch, Share::of(&function), Share::default());
        if edit.commit(batch.await?).await? {
            break function.incarnation;
        }
    };
    drop(edit);
    debris::forget_made_ahead(ctx, name, None);
    // The function is gone, whatever becomes of this: what is left now is tried again later.
    let _cleared = debris::clear(&ctx.cloud, &scope, incarnation, ctx.cx.now()).await;
    Ok(())
}

/// Reads a function of the caller's, or answers as AWS does where there is none.
pub async fn find(ctx: &Ctx, name: &str) -> Result<Arc<Function>, AwsError> {
    let found = FUNCTIONS.get_shared(&ctx.cloud.store, &ctx.scope(), name).await?;
    found.ok_or_else(|| errors::function_not_found(&arn(ctx, name)))
}

/// A version or an alias of a function, as it is.
pub enum Found {
    Latest,
    Version(u64, Arc<Release>),
    Alias(Arc<Alias>),
}

/// Finds what a qualifier means for a function, if anything.
pub async fn qualified(ctx: &Ctx, function: &Function, qualifier: &str) -> Result<Option<Found>, AwsError> {
    Ok(match Qualifier::of(qualifier) {
        Qualifier::Latest => Some(Found::Latest),
        Qualifier::Version(number) => {
            version::get_shared(ctx, function, number).await?.map(|release| Found::Version(number, release))
        }
        Qualifier::Alias(name) => alias::get_shared(ctx, function, name).await?.map(Found::Alias),
        Qualifier::Nothing => None,
    })
}

/// Finds what a name and a qualifier mean, or answers as AWS does where they mean nothing.
pub async fn resolve(ctx: &Ctx, asked: &FunctionRef) -> Result<Resolved, AwsError> {
    resolve_by(ctx, asked, |alias| alias.version.clone()).await
}

/// As [`resolve`]; `choose` says which version an alias stands for.
pub async fn resolve_by(
    ctx: &Ctx,
    asked: &FunctionRef,
    choose: impl FnOnce(&Alias) -> String,
) -> Result<Resolved, AwsError> {
    let not_found = || errors::function_not_found(&asked.arn(ctx));
    let function = FUNCTIONS.get_shared(&ctx.cloud.store, &ctx.scope(), &asked.name).await?.ok_or_else(not_found)?;
    let mut found = qualified(ctx, &function, asked.qualifier.as_deref().unwrap_or("$LATEST")).await?;
    if let Some(Found::Alias(alias)) = found {
        found = qualified(ctx, &function, &choose(&alias)).await?;
    }
    let published = match found {
        Some(Found::Latest) => None,
        Some(Found::Version(number, release)) => Some((number, release)),
        Some(Found::Alias(_)) | None => return Err(not_found()),
    };
    Ok(Resolved { function, published })
}

/// Reads the function that `edit` is to change, or answers as AWS does where there is none.
pub async fn open(ctx: &Ctx, name: &str, edit: &mut Edit<'_, String, Function>) -> Result<(Function, Batch), AwsError> {
    let (found, batch) = edit.read().await?;
    Ok((found.ok_or_else(|| errors::function_not_found(&arn(ctx, name)))?, batch))
}

/// Changes a function's own record in one commit.
pub async fn edit(
    ctx: &Ctx,
    name: &str,
    change: impl Fn(&mut Function) -> Result<(), AwsError>,
) -> Result<Function, AwsError> {
    let scope = ctx.scope();
    let mut edit = ctx.edit(&FUNCTIONS, &scope, name).await;
    loop {
        let (mut function, batch) = open(ctx, name, &mut edit).await?;
        change(&mut function)?;
        let batch = batch.put(&FUNCTIONS, &scope, name, &function);
        if edit.commit(batch).await? {
            return Ok(function);
        }
    }
}

pub fn check_revision(revision: Uuid, wanted: Option<&str>) -> Result<(), AwsError> {
    match wanted {
        Some(wanted) if wanted != revision.to_string() => Err(errors::revision_mismatch()),
        _ => Ok(()),
    }
}

pub fn arn(ctx: &Ctx, name: &str) -> String {
    ctx.cx.arn("lambda", &format!("function:{name}"))
}

#[cfg(test)]
pub mod testing {
    use store::Blob;
    use store::blobs::BlobHash;

    use base::Timestamp;

    use super::*;
    use crate::lambda::code::PackageType;
    use crate::lambda::settings::Given;

    /// A function that nothing hangs on.
    pub fn function() -> Function {
        let given =
            Given { runtime: Some("python3.13".into()), handler: Some("app.handler".into()), ..Given::default() };
        let (settings, _) = Settings::new("f", given, PackageType::Zip, None).unwrap();
        let blob = Blob { hash: BlobHash::of(b"code"), size_bytes: 4 };
        Function {
            name: "f".into(),
            incarnation: Uuid::NIL,
            latest: Release {
                settings,
                code: Code::Zip { blob, unzipped_bytes: 4, source_kms_key_arn: None },
                last_modified: Timestamp::default(),
                revision: Uuid::NIL,
            },
            tags: Tags::new(),
            last_version: 0,
            published: None,
            code_bytes: 4,
            reserved_concurrency: None,
            provisioned_concurrency: 0,
            recursive_loop: None,
        }
    }
}

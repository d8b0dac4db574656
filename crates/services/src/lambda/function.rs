//! Functions: the record, where it is kept, and the operations on it.
//!
//! A function is ready as soon as it is committed: its code is unpacked on first use. AWS settles a new function some
//! seconds later and moves its `RevisionId` once more; here the answer shows `Pending` with a revision of its own, and
//! what is stored is the settled state, so no background work and no second write are needed.

use std::sync::Arc;

use base::{AwsError, Timestamp, Uuid};
use serde::{Deserialize, Serialize};
use store::blobs::Staged;
use store::{Batch, Blob, Outcome, Record, Row, Scan, Table};
use wire::value::With;

use super::code::{self, CodeInput};
use super::name::FunctionRef;
use super::settings::{
    DeadLetterConfig, EphemeralStorage, FileSystemConfig, Given, LoggingConfig, Settings, TracingConfig, Variables,
    VpcConfig,
};
use super::tag::{self, Tags};
use super::{errors, runtime};
use crate::Ctx;

const PAGE_MAX: usize = 50;
/// How often an edit starts over when others write the same function, before its caller is told to come back.
const EDIT_ATTEMPTS_MAX: usize = 16;

static FUNCTIONS: Table<String, Function> = Table::new("lambda_functions");

/// A function as stored, under its name.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Function {
    pub name: String,
    /// Tells this function from an earlier one of the same name.
    pub incarnation: Uuid,
    pub settings: Settings,
    pub code: Blob,
    pub tags: Tags,
    pub last_modified: Timestamp,
    pub revision: Uuid,
}

impl Record for Function {
    const VERSION: u8 = 1;
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct CreateFunction {
    function_name: String,
    code: CodeInput,
    package_type: Option<String>,
    architectures: Option<Vec<String>>,
    #[serde(default)]
    tags: Tags,
    #[serde(default)]
    publish: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct UpdateFunctionCode {
    function_name: String,
    architectures: Option<Vec<String>>,
    #[serde(default)]
    publish: bool,
    #[serde(default)]
    dry_run: bool,
    revision_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct UpdateFunctionConfiguration {
    function_name: String,
    revision_id: Option<String>,
}

/// Input of the operations that only name a function.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Named {
    function_name: String,
    qualifier: Option<String>,
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
    location: String,
}

/// A function as AWS shows it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct FunctionConfiguration {
    function_name: String,
    function_arn: String,
    runtime: Option<String>,
    role: String,
    handler: Option<String>,
    code_size: u64,
    code_sha256: String,
    description: String,
    timeout: u32,
    memory_size: u32,
    last_modified: String,
    version: &'static str,
    vpc_config: Option<VpcConfig>,
    dead_letter_config: Option<DeadLetterConfig>,
    environment: Option<EnvironmentShown>,
    #[serde(rename = "KMSKeyArn")]
    kms_key_arn: Option<String>,
    tracing_config: TracingConfig,
    revision_id: String,
    state: Option<&'static str>,
    state_reason: Option<&'static str>,
    state_reason_code: Option<&'static str>,
    last_update_status: Option<&'static str>,
    last_update_status_reason: Option<&'static str>,
    last_update_status_reason_code: Option<&'static str>,
    file_system_configs: Option<Vec<FileSystemConfig>>,
    package_type: &'static str,
    architectures: Vec<String>,
    ephemeral_storage: EphemeralStorage,
    snap_start: SnapStartShown,
    runtime_version_config: Option<RuntimeVersion>,
    logging_config: LoggingConfig,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct EnvironmentShown {
    variables: Variables,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SnapStartShown {
    apply_on: String,
    optimization_status: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RuntimeVersion {
    runtime_version_arn: String,
}

/// How far a function has come in the caller's eyes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// In the answer to the call that made it.
    Created,
    /// In the answer to a call that changed it.
    Updated,
    /// Afterwards.
    Settled,
    /// In lists, which tell no state.
    Listed,
}

pub async fn create(
    ctx: Ctx,
    With(input, given): With<CreateFunction, Given>,
) -> Result<FunctionConfiguration, AwsError> {
    let name = FunctionRef::parse_new(&ctx, &input.function_name)?;
    if input.publish {
        return Err(AwsError::not_built("publishing versions"));
    }
    if input.package_type.as_deref() == Some("Image") {
        return Err(AwsError::not_built("functions from container images"));
    }
    tag::check(&input.tags)?;
    if FUNCTIONS.get(&ctx.cloud.store, &ctx.scope(), &name).await?.is_some() {
        return Err(errors::function_exists(&name));
    }
    let incarnation = ctx.cx.id();
    let owner = owner(&ctx, &name, incarnation);
    let (settings, variables) = Settings::new(&name, given, input.architectures)?;
    let code = input.code.take(&ctx).await?;
    let mut function = Function {
        tags: input.tags,
        last_modified: ctx.cx.now(),
        revision: ctx.cx.id(),
        code: code.blob(),
        name,
        incarnation,
        settings,
    };
    for _ in 0..EDIT_ATTEMPTS_MAX {
        // Its expectation is the first. Those of the vault follow: a change of the master key makes them fail.
        let batch = Batch::new().expect_absent(&FUNCTIONS, &ctx.scope(), &function.name);
        let batch = function.settings.seal(&ctx, batch, &owner, variables.as_ref()).await?;
        let batch = batch.put(&FUNCTIONS, &ctx.scope(), &function.name, &function);
        let batch = ctx.cloud.blobs.retain(batch, &code, owner.as_bytes())?;
        match ctx.cloud.store.commit(batch).await? {
            Outcome::Committed(_) => return show(&ctx, function, Shown::Created, false).await,
            Outcome::Conflict(failed) if failed.contains(&0) => return Err(errors::function_exists(&function.name)),
            Outcome::Conflict(_) => {}
        }
    }
    Err(errors::contended(&arn(&ctx, &function.name)))
}

pub async fn get(ctx: Ctx, input: Named) -> Result<GetFunction, AwsError> {
    let (function, qualified) = latest(&ctx, "GetFunction", &input).await?;
    let code = CodeLocation { repository_type: "S3", location: code::link(&ctx, &function.code) };
    let tags = Some(function.tags.clone()).filter(|tags| !tags.is_empty());
    Ok(GetFunction {
        configuration: show(&ctx, Arc::unwrap_or_clone(function), Shown::Settled, qualified).await?,
        code,
        tags,
    })
}

pub async fn get_configuration(ctx: Ctx, input: Named) -> Result<FunctionConfiguration, AwsError> {
    let (function, qualified) = latest(&ctx, "GetFunctionConfiguration", &input).await?;
    show(&ctx, Arc::unwrap_or_clone(function), Shown::Settled, qualified).await
}

pub async fn list(ctx: Ctx, input: ListFunctions) -> Result<FunctionList, AwsError> {
    const OPERATION: &str = "lambda:ListFunctions";
    // Functions replicated from another region exist only for edge locations, which are not there.
    let replicas_of_other_region =
        input.master_region.as_deref().is_some_and(|region| region != "ALL" && region != ctx.cx.region.as_str());
    let mut scan = Scan::all(input.max_items.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX));
    if let Some(marker) = &input.marker {
        let opened = ctx.cloud.pages.open(&ctx.cx, OPERATION, marker).and_then(|bytes| String::from_utf8(bytes).ok());
        scan = scan.after(opened.ok_or_else(invalid_marker)?.as_str());
    }
    if replicas_of_other_region {
        return Ok(FunctionList { functions: Vec::new(), next_marker: None });
    }
    let page = FUNCTIONS.page(&ctx.cloud.store, &ctx.scope(), scan).await?;
    let qualified = input.function_version.as_deref() == Some("ALL");
    let mut functions = Vec::with_capacity(page.rows.len());
    for row in page.rows {
        functions.push(show(&ctx, row.value, Shown::Listed, qualified).await?);
    }
    let next_marker = page.next.and_then(|next| ctx.cloud.pages.seal(&ctx.cx, OPERATION, next.as_bytes()));
    Ok(FunctionList { functions, next_marker })
}

pub async fn delete(ctx: Ctx, input: Named) -> Result<Deleted, AwsError> {
    let function = FunctionRef::parse(&ctx, "DeleteFunction", &input.function_name, input.qualifier.as_deref())?;
    match function.qualifier.as_deref() {
        None => {}
        Some("$LATEST") => {
            return Err(errors::invalid_parameter("$LATEST version cannot be deleted without deleting the function."));
        }
        Some(_) => return Err(not_found(&ctx, &function)),
    }
    let name = &function.name;
    let scope = ctx.scope();
    let mut edit = ctx.edit(&FUNCTIONS, &scope, name).await;
    loop {
        let (found, batch) = edit.read().await?;
        let function = found.ok_or_else(|| errors::function_not_found(&arn(&ctx, name)))?;
        let owner = owner(&ctx, name, function.incarnation);
        let batch = batch.delete(&FUNCTIONS, &scope, name);
        let batch = ctx.cloud.blobs.release(batch, &function.code, owner.as_bytes())?;
        // The secrets of a deleted function open for nobody, wherever a copy of them may be.
        let batch = ctx.cloud.vault.forget_with(batch, &owner)?;
        if edit.commit(batch).await? {
            return Ok(Deleted { status_code: 204 });
        }
    }
}

pub async fn update_code(
    ctx: Ctx,
    With(input, source): With<UpdateFunctionCode, CodeInput>,
) -> Result<FunctionConfiguration, AwsError> {
    let name = FunctionRef::parse(&ctx, "UpdateFunctionCode", &input.function_name, None)?.name;
    if input.publish {
        return Err(AwsError::not_built("publishing versions"));
    }
    let before = find(&ctx, &name).await?;
    check_revision(&before, input.revision_id.as_deref())?;
    let change = |function: &mut Function, code: Blob| {
        check_revision(function, input.revision_id.as_deref())?;
        function.code = code;
        if let Some(architectures) = &input.architectures {
            function.settings.architectures = architectures.clone();
        }
        function.touch(&ctx);
        Ok(())
    };
    if input.dry_run {
        let mut function = before;
        change(&mut function, source.rehearse().await?)?;
        return show(&ctx, function, Shown::Updated, false).await;
    }
    let code = source.take(&ctx).await?;
    let updated = rewrite(&ctx, &name, Some(&code), |function| change(function, code.blob())).await?;
    show(&ctx, updated, Shown::Updated, false).await
}

pub async fn update_configuration(
    ctx: Ctx,
    With(input, given): With<UpdateFunctionConfiguration, Given>,
) -> Result<FunctionConfiguration, AwsError> {
    let name = FunctionRef::parse(&ctx, "UpdateFunctionConfiguration", &input.function_name, None)?.name;
    let _turn = ctx.cloud.turns.of(arn(&ctx, &name).as_bytes()).await;
    for _ in 0..EDIT_ATTEMPTS_MAX {
        let row = fetch(&ctx, &name).await?;
        let mut function = row.value;
        check_revision(&function, input.revision_id.as_deref())?;
        let owner = owner(&ctx, &name, function.incarnation);
        let (settings, variables) = function.settings.with(given.clone())?;
        function.settings = settings;
        let batch = Batch::new().expect_version(&FUNCTIONS, &ctx.scope(), &name, row.version);
        let batch = function.settings.seal(&ctx, batch, &owner, variables.as_ref()).await?;
        function.touch(&ctx);
        let batch = batch.put(&FUNCTIONS, &ctx.scope(), &name, &function);
        if let Outcome::Committed(_) = ctx.cloud.store.commit(batch).await? {
            return show(&ctx, function, Shown::Updated, false).await;
        }
    }
    Err(errors::contended(&arn(&ctx, &name)))
}

/// Reads a function of the caller's, or answers as AWS does where there is none.
pub async fn find(ctx: &Ctx, name: &str) -> Result<Function, AwsError> {
    Ok(fetch(ctx, name).await?.value)
}

async fn fetch(ctx: &Ctx, name: &str) -> Result<Row<String, Function>, AwsError> {
    let row = FUNCTIONS.get(&ctx.cloud.store, &ctx.scope(), name).await?;
    row.ok_or_else(|| errors::function_not_found(&arn(ctx, name)))
}

/// Changes a function's record in one commit; starts over when somebody else was faster.
pub async fn edit(
    ctx: &Ctx,
    name: &str,
    change: impl Fn(&mut Function) -> Result<(), AwsError>,
) -> Result<Function, AwsError> {
    rewrite(ctx, name, None, change).await
}

/// As [`edit`]; `code` is what the change points the function at, if it does.
async fn rewrite(
    ctx: &Ctx,
    name: &str,
    code: Option<&Staged>,
    change: impl Fn(&mut Function) -> Result<(), AwsError>,
) -> Result<Function, AwsError> {
    let _turn = ctx.cloud.turns.of(arn(ctx, name).as_bytes()).await;
    for _ in 0..EDIT_ATTEMPTS_MAX {
        let row = fetch(ctx, name).await?;
        let mut function = row.value.clone();
        change(&mut function)?;
        let mut batch = Batch::new().expect_version(&FUNCTIONS, &ctx.scope(), name, row.version).put(
            &FUNCTIONS,
            &ctx.scope(),
            name,
            &function,
        );
        if let Some(code) = code {
            let owner = owner(ctx, name, function.incarnation);
            batch = ctx.cloud.blobs.release(batch, &row.value.code, owner.as_bytes())?;
            batch = ctx.cloud.blobs.retain(batch, code, owner.as_bytes())?;
        }
        if let Outcome::Committed(_) = ctx.cloud.store.commit(batch).await? {
            return Ok(function);
        }
    }
    Err(errors::contended(&arn(ctx, name)))
}

impl Function {
    fn touch(&mut self, ctx: &Ctx) {
        self.last_modified = ctx.cx.now();
        self.revision = ctx.cx.id();
    }
}

/// The function that a request names, and whether it asked for `$LATEST` in so many words.
async fn latest(ctx: &Ctx, operation: &str, input: &Named) -> Result<(Arc<Function>, bool), AwsError> {
    let function = FunctionRef::parse(ctx, operation, &input.function_name, input.qualifier.as_deref())?;
    if !function.is_latest() {
        return Err(not_found(ctx, &function));
    }
    let found = FUNCTIONS.get_shared(&ctx.cloud.store, &ctx.scope(), &function.name).await?;
    let found = found.ok_or_else(|| errors::function_not_found(&arn(ctx, &function.name)))?;
    Ok((found, function.qualifier.is_some()))
}

fn not_found(ctx: &Ctx, function: &FunctionRef) -> AwsError {
    let qualifier = function.qualifier.as_deref().map(|qualifier| format!(":{qualifier}")).unwrap_or_default();
    errors::function_not_found(&format!("{}{qualifier}", arn(ctx, &function.name)))
}

fn invalid_marker() -> AwsError {
    errors::invalid_parameter("Invalid Marker: the marker is not one that this operation handed out to this account.")
}

fn check_revision(function: &Function, wanted: Option<&str>) -> Result<(), AwsError> {
    match wanted {
        Some(wanted) if wanted != function.revision.to_string() => Err(errors::revision_mismatch()),
        _ => Ok(()),
    }
}

fn arn(ctx: &Ctx, name: &str) -> String {
    ctx.cx.arn("lambda", &format!("function:{name}"))
}

/// Who holds on to a function's code, and whose key seals its secrets: this very function, not the next of its name.
fn owner(ctx: &Ctx, name: &str, incarnation: Uuid) -> String {
    format!("{}/{}/{incarnation}", ctx.cx.world.0, arn(ctx, name))
}

async fn show(ctx: &Ctx, function: Function, shown: Shown, qualified: bool) -> Result<FunctionConfiguration, AwsError> {
    let Function { name, incarnation, settings, code, last_modified, revision, tags: _ } = function;
    let variables = settings.variables(ctx, &owner(ctx, &name, incarnation)).await?;
    let creating = (shown == Shown::Created).then_some(());
    let updating = (shown == Shown::Updated).then_some(());
    // The settled revision is the stored one; the answer to a change shows one that is already history.
    let revision = if creating.or(updating).is_some() { ctx.cx.id() } else { revision };
    let mut function_arn = arn(ctx, &name);
    if qualified {
        function_arn.push_str(":$LATEST");
    }
    Ok(FunctionConfiguration {
        function_arn,
        runtime_version_config: settings
            .runtime
            .as_deref()
            .map(|name| RuntimeVersion { runtime_version_arn: runtime::version_arn(&ctx.cx, name) }),
        function_name: name,
        runtime: settings.runtime,
        role: settings.role,
        handler: settings.handler,
        code_size: code.size_bytes,
        code_sha256: code::sha256(&code),
        description: settings.description,
        timeout: settings.timeout_s,
        memory_size: settings.memory_mb,
        last_modified: last_modified.lambda(),
        version: "$LATEST",
        vpc_config: settings.vpc,
        dead_letter_config: settings.dead_letter.filter(|config| config.target_arn.as_deref() != Some("")),
        environment: variables.map(|variables| EnvironmentShown { variables }),
        kms_key_arn: settings.kms_key_arn,
        tracing_config: settings.tracing,
        revision_id: revision.to_string(),
        state: match shown {
            Shown::Created => Some("Pending"),
            Shown::Updated | Shown::Settled => Some("Active"),
            Shown::Listed => None,
        },
        state_reason: creating.map(|()| "The function is being created."),
        state_reason_code: creating.map(|()| "Creating"),
        last_update_status: match shown {
            Shown::Created | Shown::Listed => None,
            Shown::Updated => Some("InProgress"),
            Shown::Settled => Some("Successful"),
        },
        last_update_status_reason: updating.map(|()| "The function is being created."),
        last_update_status_reason_code: updating.map(|()| "Creating"),
        file_system_configs: Some(settings.file_systems).filter(|systems| !systems.is_empty()),
        package_type: "Zip",
        architectures: settings.architectures,
        ephemeral_storage: settings.ephemeral_storage,
        snap_start: SnapStartShown { apply_on: settings.snap_start.apply_on, optimization_status: "Off" },
        logging_config: settings.logging,
    })
}

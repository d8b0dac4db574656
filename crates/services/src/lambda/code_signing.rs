//! Code signing configurations, and which function has which.
//!
//! Signatures are not verified: no signing service is built, so that no code is signed by anybody a configuration
//! could allow. Under the policy `Enforce` all code is refused as unsigned, under `Warn` all code is let through.
//!
//! **Invariant:** a configuration that a function has is there. Who gives it to a function rewrites its row in the same
//! commit, so that its deletion, which looks for functions first, does not happen beside.

use base::{AwsError, Timestamp, Uuid};
use serde::{Deserialize, Serialize};
use store::{Batch, Record, Scan, Table};

use super::code::PackageType;
use super::function::{self, FUNCTIONS, Function};
use super::name::FunctionRef;
use super::tag::{self, Tags};
use super::{errors, paging};
use crate::{Ctx, Service};

/// How often another id is drawn if one is taken.
const ID_ATTEMPTS_MAX: usize = 8;

/// By id.
static CONFIGS: Table<String, CodeSigning> = Table::large("lambda_code_signing");
/// What a function has, by its incarnation.
static CHOICES: Table<Uuid, Choice> = Table::new("lambda_code_signing_choices");
/// Who has a configuration, by its id and the function's name.
static USERS: Table<(String, String), User> = Table::new("lambda_code_signing_users");

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct CodeSigning {
    id: String,
    description: Option<String>,
    publishers: Vec<String>,
    policy: Policy,
    tags: Tags,
    last_modified: Timestamp,
}

impl Record for CodeSigning {
    const VERSION: u8 = 1;
}

/// What happens to code that nobody allowed has signed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Policy {
    #[default]
    Warn,
    Enforce,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Choice {
    config: String,
}

impl Record for Choice {
    const VERSION: u8 = 1;
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct User {}

impl Record for User {
    const VERSION: u8 = 1;
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct CreateCodeSigningConfig {
    description: Option<String>,
    allowed_publishers: AllowedPublishers,
    #[serde(default)]
    code_signing_policies: CodeSigningPolicies,
    #[serde(default)]
    tags: Tags,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct UpdateCodeSigningConfig {
    code_signing_config_arn: String,
    description: Option<String>,
    allowed_publishers: Option<AllowedPublishers>,
    code_signing_policies: Option<CodeSigningPolicies>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct NamedConfig {
    code_signing_config_arn: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ListCodeSigningConfigs {
    marker: Option<String>,
    max_items: Option<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ListFunctionsByCodeSigningConfig {
    code_signing_config_arn: String,
    marker: Option<String>,
    max_items: Option<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct PutFunctionCodeSigningConfig {
    code_signing_config_arn: String,
    function_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct OfFunction {
    function_name: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct AllowedPublishers {
    signing_profile_version_arns: Vec<String>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
pub struct CodeSigningPolicies {
    untrusted_artifact_on_deployment: Option<Policy>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CodeSigningConfigAnswer {
    code_signing_config: CodeSigningConfig,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CodeSigningConfigList {
    code_signing_configs: Vec<CodeSigningConfig>,
    next_marker: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct FunctionArnList {
    function_arns: Vec<String>,
    next_marker: Option<String>,
}

/// A configuration as AWS shows it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct CodeSigningConfig {
    code_signing_config_id: String,
    code_signing_config_arn: String,
    description: Option<String>,
    allowed_publishers: AllowedPublishers,
    code_signing_policies: CodeSigningPolicies,
    last_modified: String,
}

/// What a function has; empty if it has none.
#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct FunctionCodeSigning {
    code_signing_config_arn: Option<String>,
    function_name: Option<String>,
}

pub fn operations(service: Service) -> Service {
    service
        .operation("CreateCodeSigningConfig", create)
        .operation("DeleteCodeSigningConfig", delete)
        .operation("DeleteFunctionCodeSigningConfig", delete_of_function)
        .operation("GetCodeSigningConfig", get)
        .operation("GetFunctionCodeSigningConfig", get_of_function)
        .operation("ListCodeSigningConfigs", list)
        .operation("ListFunctionsByCodeSigningConfig", list_functions)
        .operation("PutFunctionCodeSigningConfig", put_of_function)
        .operation("UpdateCodeSigningConfig", update)
}

pub async fn create(ctx: Ctx, input: CreateCodeSigningConfig) -> Result<CodeSigningConfigAnswer, AwsError> {
    tag::check(&input.tags)?;
    let mut config = CodeSigning {
        id: String::new(),
        description: input.description,
        publishers: input.allowed_publishers.signing_profile_version_arns,
        policy: input.code_signing_policies.untrusted_artifact_on_deployment.unwrap_or_default(),
        tags: input.tags,
        last_modified: ctx.cx.now(),
    };
    let scope = ctx.scope();
    for _ in 0..ID_ATTEMPTS_MAX {
        config.id = id(config.last_modified, ctx.cx.random().random_u64());
        let batch = Batch::new().expect_absent(&CONFIGS, &scope, &config.id).put(&CONFIGS, &scope, &config.id, &config);
        if ctx.cloud.store.commit(batch).await?.is_committed() {
            return Ok(config.show(&ctx));
        }
    }
    Err(AwsError::unavailable("all ids that were drawn for a code signing configuration are taken"))
}

/// `csc-` and 17 hexadecimal digits, as AWS's are. The time comes first, so that lists are in the order of creation.
fn id(now: Timestamp, random: u64) -> String {
    format!("csc-0{:011x}{:05x}", now.as_millis() & 0xfff_ffff_ffff, random & 0xf_ffff)
}

pub async fn get(ctx: Ctx, input: NamedConfig) -> Result<CodeSigningConfigAnswer, AwsError> {
    let arn = &input.code_signing_config_arn;
    Ok(find(&ctx, arn).await?.ok_or_else(|| errors::code_signing_not_found(arn))?.show(&ctx))
}

pub async fn update(ctx: Ctx, input: UpdateCodeSigningConfig) -> Result<CodeSigningConfigAnswer, AwsError> {
    let policy = input.code_signing_policies.and_then(|policies| policies.untrusted_artifact_on_deployment);
    let changed = edit(&ctx, &input.code_signing_config_arn, |config| {
        config.description = input.description.clone().or(config.description.take());
        if let Some(publishers) = &input.allowed_publishers {
            config.publishers = publishers.signing_profile_version_arns.clone();
        }
        config.policy = policy.unwrap_or(config.policy);
        config.last_modified = ctx.cx.now();
        Ok(())
    });
    Ok(changed.await?.show(&ctx))
}

pub async fn delete(ctx: Ctx, input: NamedConfig) -> Result<(), AwsError> {
    let arn = &input.code_signing_config_arn;
    let missing = || errors::code_signing_not_found(arn);
    let id = id_of(&ctx, arn).ok_or_else(missing)?;
    let scope = ctx.scope();
    let mut edit = ctx.edit(&CONFIGS, &scope, id).await;
    loop {
        let (found, batch) = edit.read().await?;
        found.ok_or_else(missing)?;
        let users = USERS.page(&ctx.cloud.store, &scope, Scan::all(1).under::<String>(id)).await?;
        if !users.rows.is_empty() {
            return Err(errors::code_signing_in_use(arn));
        }
        if edit.commit(batch.delete(&CONFIGS, &scope, id)).await? {
            return Ok(());
        }
    }
}

pub async fn list(ctx: Ctx, input: ListCodeSigningConfigs) -> Result<CodeSigningConfigList, AwsError> {
    const OPERATION: &str = "lambda:ListCodeSigningConfigs";
    let scan = Scan::all(paging::size(input.max_items));
    let (rows, next_marker) = paging::page(&ctx, OPERATION, &CONFIGS, scan, input.marker.as_deref()).await?;
    let code_signing_configs = rows.into_iter().map(|row| row.value.show(&ctx).code_signing_config).collect();
    Ok(CodeSigningConfigList { code_signing_configs, next_marker })
}

pub async fn list_functions(ctx: Ctx, input: ListFunctionsByCodeSigningConfig) -> Result<FunctionArnList, AwsError> {
    const OPERATION: &str = "lambda:ListFunctionsByCodeSigningConfig";
    let arn = &input.code_signing_config_arn;
    let config = find(&ctx, arn).await?.ok_or_else(|| errors::code_signing_not_found(arn))?;
    let scan = Scan::all(paging::size(input.max_items)).under::<String>(&config.id);
    let (rows, next_marker) = paging::page(&ctx, OPERATION, &USERS, scan, input.marker.as_deref()).await?;
    let function_arns = rows.into_iter().map(|row| function::arn(&ctx, &row.key.1)).collect();
    Ok(FunctionArnList { function_arns, next_marker })
}

pub async fn put_of_function(ctx: Ctx, input: PutFunctionCodeSigningConfig) -> Result<FunctionCodeSigning, AwsError> {
    let name = FunctionRef::parse(&ctx, "PutFunctionCodeSigningConfig", &input.function_name, None)?.whole()?;
    let arn = input.code_signing_config_arn;
    // Of two that are missing, AWS names the configuration.
    find(&ctx, &arn).await?.ok_or_else(|| errors::code_signing_config_not_found(&arn))?;
    let scope = ctx.scope();
    let mut edit = ctx.edit_with(turn(&ctx, &arn).into_iter().collect(), &FUNCTIONS, &scope, &name).await;
    loop {
        let (function, batch) = function::open(&ctx, &name, &mut edit).await?;
        let batch = attach(&ctx, batch, &function, &arn).await?.put(&FUNCTIONS, &scope, &name, &function);
        if edit.commit(batch).await? {
            break;
        }
    }
    drop(edit);
    Ok(FunctionCodeSigning { code_signing_config_arn: Some(arn), function_name: Some(name) })
}

pub async fn get_of_function(ctx: Ctx, input: OfFunction) -> Result<FunctionCodeSigning, AwsError> {
    let name = FunctionRef::parse(&ctx, "GetFunctionCodeSigningConfig", &input.function_name, None)?.whole()?;
    let function = function::find(&ctx, &name).await?;
    check_package(&function)?;
    let choice = CHOICES.get(&ctx.cloud.store, &ctx.scope(), function.incarnation).await?;
    Ok(choice.map_or_else(FunctionCodeSigning::default, |row| FunctionCodeSigning {
        code_signing_config_arn: Some(arn(&ctx, &row.value.config)),
        function_name: Some(name),
    }))
}

/// Takes a function's configuration away. That it has none is no error, as on AWS.
pub async fn delete_of_function(ctx: Ctx, input: OfFunction) -> Result<(), AwsError> {
    let name = FunctionRef::parse(&ctx, "DeleteFunctionCodeSigningConfig", &input.function_name, None)?.whole()?;
    let scope = ctx.scope();
    let mut edit = ctx.edit(&FUNCTIONS, &scope, &name).await;
    loop {
        let (function, batch) = function::open(&ctx, &name, &mut edit).await?;
        check_package(&function)?;
        let batch = detach(&ctx, batch, &function).await?.put(&FUNCTIONS, &scope, &name, &function);
        if edit.commit(batch).await? {
            return Ok(());
        }
    }
}

/// In whose turn a function comes to use the configuration.
pub fn turn(ctx: &Ctx, arn: &str) -> Option<Vec<u8>> {
    Some(CONFIGS.row_key(&ctx.scope(), id_of(ctx, arn)?))
}

/// Lets `batch`, which rewrites the function's row, give the function this configuration instead of the one it has.
pub async fn attach(ctx: &Ctx, batch: Batch, function: &Function, arn: &str) -> Result<Batch, AwsError> {
    check_package(function)?;
    let missing = || errors::code_signing_config_not_found(arn);
    let id = id_of(ctx, arn).ok_or_else(missing)?;
    let scope = ctx.scope();
    let config = CONFIGS.get(&ctx.cloud.store, &scope, id).await?.ok_or_else(missing)?;
    let batch = detach(ctx, batch, function).await?;
    Ok(batch
        .expect_version(&CONFIGS, &scope, id, config.version)
        .put(&CONFIGS, &scope, id, &config.value)
        .put(&CHOICES, &scope, function.incarnation, &Choice { config: id.to_owned() })
        .put(&USERS, &scope, (id, &function.name), &User {}))
}

/// Lets `batch`, which rewrites or deletes the function's row, take the function's configuration away.
pub async fn detach(ctx: &Ctx, batch: Batch, function: &Function) -> Result<Batch, AwsError> {
    let scope = ctx.scope();
    let Some(choice) = CHOICES.get(&ctx.cloud.store, &scope, function.incarnation).await? else { return Ok(batch) };
    Ok(batch.delete(&CHOICES, &scope, function.incarnation).delete(
        &USERS,
        &scope,
        (&choice.value.config, &function.name),
    ))
}

fn check_package(function: &Function) -> Result<(), AwsError> {
    match function.latest.code.package_type() {
        PackageType::Zip => Ok(()),
        PackageType::Image => {
            Err(errors::invalid_parameter("Code signing is not supported for functions created with container images."))
        }
    }
}

/// Whether a function that is made with this configuration, if with any, may have code, which is to say unsigned code.
pub async fn check_new_code(ctx: &Ctx, arn: Option<&str>, function: &str) -> Result<(), AwsError> {
    let Some(arn) = arn else { return Ok(()) };
    let config = find(ctx, arn).await?.ok_or_else(|| errors::code_signing_config_not_found(arn))?;
    config.check(function)
}

/// Whether a function may get other code, which is to say unsigned code.
pub async fn check_code(ctx: &Ctx, function: &Function) -> Result<(), AwsError> {
    let scope = ctx.scope();
    let Some(choice) = CHOICES.get(&ctx.cloud.store, &scope, function.incarnation).await? else { return Ok(()) };
    match CONFIGS.get(&ctx.cloud.store, &scope, &choice.value.config).await? {
        Some(config) => config.value.check(&function.arn(ctx)),
        None => Ok(()),
    }
}

pub async fn tags(ctx: &Ctx, arn: &str) -> Result<Tags, AwsError> {
    Ok(find(ctx, arn).await?.ok_or_else(|| errors::code_signing_not_found(arn))?.tags)
}

pub async fn edit_tags(
    ctx: &Ctx,
    arn: &str,
    change: impl Fn(&mut Tags) -> Result<(), AwsError>,
) -> Result<(), AwsError> {
    edit(ctx, arn, |config| change(&mut config.tags)).await.map(drop)
}

async fn edit(
    ctx: &Ctx,
    arn: &str,
    change: impl Fn(&mut CodeSigning) -> Result<(), AwsError>,
) -> Result<CodeSigning, AwsError> {
    let missing = || errors::code_signing_not_found(arn);
    let id = id_of(ctx, arn).ok_or_else(missing)?;
    let scope = ctx.scope();
    let mut edit = ctx.edit(&CONFIGS, &scope, id).await;
    loop {
        let (found, batch) = edit.read().await?;
        let mut config = found.ok_or_else(missing)?;
        change(&mut config)?;
        if edit.commit(batch.put(&CONFIGS, &scope, id, &config)).await? {
            return Ok(config);
        }
    }
}

async fn find(ctx: &Ctx, arn: &str) -> Result<Option<CodeSigning>, AwsError> {
    let Some(id) = id_of(ctx, arn) else { return Ok(None) };
    Ok(CONFIGS.get(&ctx.cloud.store, &ctx.scope(), id).await?.map(|row| row.value))
}

fn arn(ctx: &Ctx, id: &str) -> String {
    ctx.cx.arn("lambda", &format!("code-signing-config:{id}"))
}

/// The id in an ARN of this account and region.
fn id_of<'a>(ctx: &Ctx, arn: &'a str) -> Option<&'a str> {
    arn.strip_prefix(self::arn(ctx, "").as_str())
}

impl CodeSigning {
    fn check(&self, function: &str) -> Result<(), AwsError> {
        match self.policy {
            Policy::Enforce => Err(errors::code_not_signed(function)),
            Policy::Warn => Ok(()),
        }
    }

    fn show(self, ctx: &Ctx) -> CodeSigningConfigAnswer {
        CodeSigningConfigAnswer {
            code_signing_config: CodeSigningConfig {
                code_signing_config_arn: arn(ctx, &self.id),
                code_signing_config_id: self.id,
                description: self.description,
                allowed_publishers: AllowedPublishers { signing_profile_version_arns: self.publishers },
                code_signing_policies: CodeSigningPolicies { untrusted_artifact_on_deployment: Some(self.policy) },
                last_modified: self.last_modified.lambda(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_one_length_and_the_order_of_time() {
        let early = id(Timestamp::from_secs(1_767_225_600), u64::MAX);
        let late = id(Timestamp::from_millis(1_767_225_600_001), 0);
        assert_eq!(early, "csc-019b76daa800fffff");
        assert!(early < late && early.len() == late.len());
        assert_eq!(id(Timestamp::from_micros(i64::MAX), u64::MAX).len(), early.len());
    }
}

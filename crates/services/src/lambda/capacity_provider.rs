//! Capacity providers: where functions on managed instances run.
//!
//! Records only: no instance is started for one. A provider is ready as soon as it is committed; the answer to its
//! creation shows `Pending` as AWS's does, and what is stored is `Active`. Of the combinations that AWS refuses no
//! words were recorded; those here are ours.
//!
//! **Invariant:** a provider that a function version uses is there. Who lets a version use it rewrites its row in the
//! same commit, so that its deletion, which looks for versions first, does not happen beside.

use std::collections::BTreeMap;

use base::{AwsError, Timestamp, Uuid};
use serde::{Deserialize, Serialize};
use store::{Batch, Record, Row, Scan, Scope, Table};
use wire::value::With;

use super::function::{self, Function};
use super::release::Release;
use super::tag::{self, Tags};
use super::{errors, paging};
use crate::{Ctx, Service};

/// As many as AWS gives an account in a region.
const PROVIDERS_MAX: usize = 1_000;
/// What a provider may have if nobody says.
const VCPUS_MAX_DEFAULT: u32 = 400;

/// By name.
static PROVIDERS: Table<String, Provider> = Table::large("lambda_capacity_providers");
/// Who uses a provider: by its name, the function's incarnation, and the version.
static USERS: Table<(String, Uuid, String), User> = Table::new("lambda_capacity_provider_users");

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Provider {
    name: String,
    vpc: VpcConfig,
    permissions: PermissionsConfig,
    requirements: InstanceRequirements,
    kms_key_arn: Option<String>,
    settings: Settings,
    tags: Tags,
    last_modified: Timestamp,
}

impl Record for Provider {
    const VERSION: u8 = 1;
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct User {
    function: String,
}

impl Record for User {
    const VERSION: u8 = 1;
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct CreateCapacityProvider {
    capacity_provider_name: String,
    vpc_config: VpcConfig,
    permissions_config: PermissionsConfig,
    #[serde(default)]
    instance_requirements: InstanceRequirements,
    kms_key_arn: Option<String>,
    #[serde(default)]
    tags: Tags,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct NamedProvider {
    capacity_provider_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ListCapacityProviders {
    state: Option<String>,
    marker: Option<String>,
    max_items: Option<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ListFunctionVersions {
    capacity_provider_name: String,
    marker: Option<String>,
    max_items: Option<usize>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct VpcConfig {
    subnet_ids: Vec<String>,
    security_group_ids: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct PermissionsConfig {
    capacity_provider_operator_role_arn: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
pub struct InstanceRequirements {
    architectures: Option<Vec<String>>,
    allowed_instance_types: Option<Vec<String>>,
    excluded_instance_types: Option<Vec<String>>,
}

/// What can be changed of a provider.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
pub struct Settings {
    capacity_provider_scaling_config: Option<ScalingConfig>,
    propagate_tags: Option<PropagateTags>,
    telemetry_config: Option<TelemetryConfig>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
struct ScalingConfig {
    #[serde(rename = "MaxVCpuCount")]
    max_vcpu_count: Option<u32>,
    scaling_mode: Option<String>,
    scaling_policies: Option<Vec<ScalingPolicy>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct ScalingPolicy {
    predefined_metric_type: String,
    target_value: f64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
struct PropagateTags {
    mode: Option<String>,
    explicit_tags: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
struct TelemetryConfig {
    logging_config: Option<LoggingConfig>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
struct LoggingConfig {
    system_log_level: Option<String>,
    log_group: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CapacityProviderAnswer {
    capacity_provider: CapacityProvider,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CapacityProviderList {
    capacity_providers: Vec<CapacityProvider>,
    next_marker: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct FunctionVersionList {
    capacity_provider_arn: String,
    function_versions: Vec<FunctionVersion>,
    next_marker: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct FunctionVersion {
    function_arn: String,
    state: &'static str,
}

/// A provider as AWS shows it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct CapacityProvider {
    capacity_provider_arn: String,
    state: &'static str,
    vpc_config: VpcConfig,
    permissions_config: PermissionsConfig,
    instance_requirements: InstanceRequirements,
    kms_key_arn: Option<String>,
    #[serde(flatten)]
    settings: Settings,
    last_modified: String,
}

pub fn operations(service: Service) -> Service {
    service
        .operation("CreateCapacityProvider", create)
        .operation("DeleteCapacityProvider", delete)
        .operation("GetCapacityProvider", get)
        .operation("ListCapacityProviders", list)
        .operation("ListFunctionVersionsByCapacityProvider", list_function_versions)
        .operation("UpdateCapacityProvider", update)
}

pub async fn create(
    ctx: Ctx,
    With(input, given): With<CreateCapacityProvider, Settings>,
) -> Result<CapacityProviderAnswer, AwsError> {
    let name = name_of(&ctx, &input.capacity_provider_name)?;
    tag::check(&input.tags)?;
    input.instance_requirements.check()?;
    let settings = Settings::new(&name).with(given);
    settings.check()?;
    let provider = Provider {
        vpc: input.vpc_config,
        permissions: input.permissions_config,
        requirements: input.instance_requirements.settled(),
        kms_key_arn: input.kms_key_arn.filter(|arn| !arn.is_empty()),
        tags: input.tags,
        last_modified: ctx.cx.now(),
        name: name.clone(),
        settings,
    };
    let scope = ctx.scope();
    // One after the other, so that they are counted.
    let turn = PROVIDERS.row_key(&scope, "");
    let mut edit = ctx.edit_with(vec![turn], &PROVIDERS, &scope, &name).await;
    loop {
        let (found, batch) = edit.read().await?;
        if found.is_some() {
            return Err(errors::capacity_provider_exists(&name));
        }
        let others = PROVIDERS.page(&ctx.cloud.store, &scope, Scan::all(PROVIDERS_MAX)).await?;
        if others.rows.len() >= PROVIDERS_MAX {
            return Err(errors::too_many_capacity_providers(PROVIDERS_MAX));
        }
        if edit.commit(batch.put(&PROVIDERS, &scope, &name, &provider)).await? {
            return Ok(provider.answer(&ctx, "Pending"));
        }
    }
}

pub async fn get(ctx: Ctx, input: NamedProvider) -> Result<CapacityProviderAnswer, AwsError> {
    let name = name_of(&ctx, &input.capacity_provider_name)?;
    Ok(find(&ctx, &name).await?.answer(&ctx, "Active"))
}

pub async fn update(
    ctx: Ctx,
    With(input, given): With<NamedProvider, Settings>,
) -> Result<CapacityProviderAnswer, AwsError> {
    let name = name_of(&ctx, &input.capacity_provider_name)?;
    let changed = edit(&ctx, &name, |provider| {
        provider.settings = std::mem::take(&mut provider.settings).with(given.clone());
        provider.last_modified = ctx.cx.now();
        provider.settings.check()
    });
    Ok(changed.await?.answer(&ctx, "Active"))
}

pub async fn delete(ctx: Ctx, input: NamedProvider) -> Result<CapacityProviderAnswer, AwsError> {
    let name = name_of(&ctx, &input.capacity_provider_name)?;
    let scope = ctx.scope();
    let mut edit = ctx.edit(&PROVIDERS, &scope, &name).await;
    loop {
        let (found, batch) = edit.read().await?;
        let provider = found.ok_or_else(|| errors::capacity_provider_not_found(&arn(&ctx, &name)))?;
        let users = USERS.page(&ctx.cloud.store, &scope, Scan::all(1).under::<String>(&name)).await?;
        if !users.rows.is_empty() {
            return Err(errors::capacity_provider_in_use(&arn(&ctx, &name)));
        }
        if edit.commit(batch.delete(&PROVIDERS, &scope, &name)).await? {
            return Ok(provider.answer(&ctx, "Deleting"));
        }
    }
}

pub async fn list(ctx: Ctx, input: ListCapacityProviders) -> Result<CapacityProviderList, AwsError> {
    const OPERATION: &str = "lambda:ListCapacityProviders";
    let scan = Scan::all(paging::size(input.max_items));
    let (rows, next_marker) = paging::page(&ctx, OPERATION, &PROVIDERS, scan, input.marker.as_deref()).await?;
    if input.state.is_some_and(|state| state != "Active") {
        // What is stored is active.
        return Ok(CapacityProviderList { capacity_providers: Vec::new(), next_marker: None });
    }
    let capacity_providers = rows.into_iter().map(|row| row.value.show(&ctx, "Active")).collect();
    Ok(CapacityProviderList { capacity_providers, next_marker })
}

pub async fn list_function_versions(ctx: Ctx, input: ListFunctionVersions) -> Result<FunctionVersionList, AwsError> {
    const OPERATION: &str = "lambda:ListFunctionVersionsByCapacityProvider";
    let name = name_of(&ctx, &input.capacity_provider_name)?;
    find(&ctx, &name).await?;
    let scan = Scan::all(paging::size(input.max_items)).under::<String>(&name);
    let (rows, next_marker) = paging::page(&ctx, OPERATION, &USERS, scan, input.marker.as_deref()).await?;
    let show = |row: Row<(String, Uuid, String), User>| FunctionVersion {
        function_arn: format!("{}:{}", function::arn(&ctx, &row.value.function), row.key.2),
        state: "Active",
    };
    Ok(FunctionVersionList {
        capacity_provider_arn: arn(&ctx, &name),
        function_versions: rows.into_iter().map(show).collect(),
        next_marker,
    })
}

/// In whose turn a function comes to use the provider.
pub fn turn(ctx: &Ctx, arn: &str) -> Option<Vec<u8>> {
    Some(PROVIDERS.row_key(&ctx.scope(), &name_of(ctx, arn).ok()?))
}

/// Lets `batch`, which makes a version of `function` (a number, or `$LATEST`) as its `$LATEST` is, note who uses the
/// provider, if it names one. It fails if there is no such provider.
pub async fn attach(ctx: &Ctx, batch: Batch, function: &Function, version: &str) -> Result<Batch, AwsError> {
    let Some(arn) = function.latest.capacity_provider() else { return Ok(batch) };
    let name = name_of(ctx, arn)?;
    let scope = ctx.scope();
    let missing = || errors::capacity_provider_not_found(arn);
    let provider = PROVIDERS.get(&ctx.cloud.store, &scope, &name).await?.ok_or_else(missing)?;
    let user = User { function: function.name.clone() };
    Ok(batch
        .expect_version(&PROVIDERS, &scope, &name, provider.version)
        .put(&PROVIDERS, &scope, &name, &provider.value)
        .put(&USERS, &scope, (&name, function.incarnation, version), &user))
}

/// Lets `batch`, which deletes or changes such a version, take back the note.
pub fn detach(batch: Batch, scope: &Scope, release: &Release, incarnation: Uuid, version: &str) -> Batch {
    let Some(arn) = release.capacity_provider() else { return batch };
    let name = arn.rsplit(':').next().unwrap_or_default();
    batch.delete(&USERS, scope, (name, incarnation, version))
}

pub async fn tags(ctx: &Ctx, name: &str) -> Result<Tags, AwsError> {
    Ok(find(ctx, name).await?.tags)
}

pub async fn edit_tags(
    ctx: &Ctx,
    name: &str,
    change: impl Fn(&mut Tags) -> Result<(), AwsError>,
) -> Result<(), AwsError> {
    edit(ctx, name, |provider| change(&mut provider.tags)).await.map(drop)
}

async fn edit(
    ctx: &Ctx,
    name: &str,
    change: impl Fn(&mut Provider) -> Result<(), AwsError>,
) -> Result<Provider, AwsError> {
    let scope = ctx.scope();
    let mut edit = ctx.edit(&PROVIDERS, &scope, name).await;
    loop {
        let (found, batch) = edit.read().await?;
        let mut provider = found.ok_or_else(|| errors::capacity_provider_not_found(&arn(ctx, name)))?;
        change(&mut provider)?;
        if edit.commit(batch.put(&PROVIDERS, &scope, name, &provider)).await? {
            return Ok(provider);
        }
    }
}

async fn find(ctx: &Ctx, name: &str) -> Result<Provider, AwsError> {
    let found = PROVIDERS.get(&ctx.cloud.store, &ctx.scope(), name).await?;
    Ok(found.ok_or_else(|| errors::capacity_provider_not_found(&arn(ctx, name)))?.value)
}

fn arn(ctx: &Ctx, name: &str) -> String {
    ctx.cx.arn("lambda", &format!("capacity-provider:{name}"))
}

/// The name, of which a request may write the ARN instead. One of another account or region names nothing here.
fn name_of(ctx: &Ctx, text: &str) -> Result<String, AwsError> {
    if !text.starts_with("arn:") {
        return Ok(text.to_owned());
    }
    let name = text.strip_prefix(arn(ctx, "").as_str());
    name.map(str::to_owned).ok_or_else(|| errors::capacity_provider_not_found(text))
}

impl InstanceRequirements {
    fn check(&self) -> Result<(), AwsError> {
        let names = |types: &Option<Vec<String>>| types.as_ref().is_some_and(|types| !types.is_empty());
        if names(&self.allowed_instance_types) && names(&self.excluded_instance_types) {
            return Err(errors::invalid_parameter(
                "AllowedInstanceTypes and ExcludedInstanceTypes cannot be used together. Please specify only one of \
                 them.",
            ));
        }
        Ok(())
    }

    fn settled(mut self) -> Self {
        self.architectures.get_or_insert_with(|| vec!["x86_64".into()]);
        self
    }
}

impl Settings {
    /// What a new provider has if nothing is given.
    fn new(name: &str) -> Self {
        Self {
            capacity_provider_scaling_config: Some(ScalingConfig {
                max_vcpu_count: Some(VCPUS_MAX_DEFAULT),
                scaling_mode: Some("Auto".into()),
                scaling_policies: None,
            }),
            propagate_tags: None,
            telemetry_config: Some(TelemetryConfig {
                logging_config: Some(LoggingConfig {
                    system_log_level: None,
                    log_group: Some(format!("/aws/lambda/capacity-provider/{name}")),
                }),
            }),
        }
    }

    /// These settings with what a request gives in their place.
    fn with(self, given: Self) -> Self {
        let scaling = match (self.capacity_provider_scaling_config, given.capacity_provider_scaling_config) {
            (ours, None) => ours,
            (ours, Some(given)) => Some(ours.unwrap_or_default().with(given)),
        };
        let ours = self.telemetry_config.and_then(|config| config.logging_config).unwrap_or_default();
        let given_logging = given.telemetry_config.and_then(|config| config.logging_config).unwrap_or_default();
        Self {
            capacity_provider_scaling_config: scaling,
            propagate_tags: given.propagate_tags.or(self.propagate_tags),
            telemetry_config: Some(TelemetryConfig {
                logging_config: Some(LoggingConfig {
                    system_log_level: given_logging.system_log_level.or(ours.system_log_level),
                    log_group: given_logging.log_group.or(ours.log_group),
                }),
            }),
        }
    }

    fn check(&self) -> Result<(), AwsError> {
        let scaling = self.capacity_provider_scaling_config.as_ref();
        let is_manual = scaling.is_some_and(|scaling| scaling.scaling_mode.as_deref() == Some("Manual"));
        if is_manual && scaling.is_some_and(|scaling| scaling.scaling_policies.is_none()) {
            return Err(errors::invalid_parameter("ScalingPolicies are required when ScalingMode is Manual."));
        }
        let Some(propagate) = &self.propagate_tags else { return Ok(()) };
        let tags = propagate.explicit_tags.as_ref();
        match (propagate.mode.as_deref() == Some("Explicit"), tags.is_some_and(|tags| !tags.is_empty())) {
            (true, false) => Err(errors::invalid_parameter("ExplicitTags are required when Mode is Explicit.")),
            (false, true) => Err(errors::invalid_parameter("ExplicitTags are only supported when Mode is Explicit.")),
            _ => Ok(()),
        }
    }
}

impl ScalingConfig {
    /// Policies are of the manual mode and go with it.
    fn with(self, given: Self) -> Self {
        let scaling_mode = given.scaling_mode.or(self.scaling_mode);
        let ours = self.scaling_policies.filter(|_| scaling_mode.as_deref() == Some("Manual"));
        Self {
            max_vcpu_count: given.max_vcpu_count.or(self.max_vcpu_count),
            scaling_policies: given.scaling_policies.or(ours),
            scaling_mode,
        }
    }
}

impl Provider {
    fn answer(self, ctx: &Ctx, state: &'static str) -> CapacityProviderAnswer {
        CapacityProviderAnswer { capacity_provider: self.show(ctx, state) }
    }

    fn show(self, ctx: &Ctx, state: &'static str) -> CapacityProvider {
        CapacityProvider {
            capacity_provider_arn: arn(ctx, &self.name),
            vpc_config: self.vpc,
            permissions_config: self.permissions,
            instance_requirements: self.requirements,
            kms_key_arn: self.kms_key_arn,
            settings: self.settings,
            last_modified: self.last_modified.lambda(),
            state,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scaling(mode: &str, policies: bool) -> Settings {
        let policy = ScalingPolicy {
            predefined_metric_type: "LambdaCapacityProviderAverageCPUUtilization".into(),
            target_value: 70.0,
        };
        let config = ScalingConfig {
            scaling_mode: Some(mode.into()),
            scaling_policies: policies.then(|| vec![policy]),
            ..ScalingConfig::default()
        };
        Settings { capacity_provider_scaling_config: Some(config), ..Settings::default() }
    }

    #[test]
    fn manual_scaling_has_policies_and_loses_them_with_the_mode() {
        assert!(Settings::new("p").with(scaling("Manual", false)).check().is_err());
        let manual = Settings::new("p").with(scaling("Manual", true));
        assert!(manual.check().is_ok());
        assert_eq!(manual.with(scaling("Auto", false)), Settings::new("p"));
    }

    #[test]
    fn tags_are_propagated_in_so_many_words() {
        let propagate = |mode: &str, tags: usize| {
            let tags = (0..tags).map(|tag| (tag.to_string(), String::new())).collect();
            let propagate_tags = Some(PropagateTags { mode: Some(mode.into()), explicit_tags: Some(tags) });
            Settings::new("p").with(Settings { propagate_tags, ..Settings::default() }).check().is_ok()
        };
        assert!(propagate("Explicit", 1) && propagate("None", 0));
        assert!(!propagate("Explicit", 0) && !propagate("None", 1));
    }

    #[test]
    fn instance_types_are_allowed_or_excluded() {
        let requirements = |allowed: &[&str], excluded: &[&str]| {
            let own = |types: &[&str]| Some(types.iter().map(|name| (*name).to_owned()).collect());
            let (allowed, excluded) = (own(allowed), own(excluded));
            InstanceRequirements {
                architectures: None,
                allowed_instance_types: allowed,
                excluded_instance_types: excluded,
            }
            .check()
            .is_ok()
        };
        assert!(requirements(&["m7g.large"], &[]) && requirements(&[], &["m7g.*"]));
        assert!(!requirements(&["m7g.large"], &["m7g.*"]));
    }
}

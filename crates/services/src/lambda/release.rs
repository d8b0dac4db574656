//! Releases: what runs when a function is invoked, and how AWS shows it.
//!
//! A function has one that changes, `$LATEST`, and one that never does for each published version.

use base::{AwsError, Timestamp, Uuid};
use ring::digest;
use serde::{Deserialize, Serialize};
use store::Batch;

use super::code::{Code, Taken};
use super::function::Function;
use super::layer::used::{self, LayerShown};
use super::runtime;
use super::settings::{
    AcceleratorConfig, CapacityProviderConfig, DeadLetterConfig, DurableConfig, EphemeralStorage, FileSystemConfig,
    ImageConfig, LoggingConfig, RuntimeConfig, Settings, SnapStart, TenancyConfig, TracingConfig, Variables, VpcConfig,
};
use super::snap_start::{self, Snap};
use crate::{Cloud, Ctx};

/// Settings and code as they are, or were when they were published.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Release {
    pub settings: Settings,
    pub code: Code,
    pub last_modified: Timestamp,
    pub revision: Uuid,
}

/// The code and the layers of a release, kept from being collected until a batch holds them.
pub struct Pins {
    pub code: Taken,
    pub layers: Vec<used::Pinned>,
}

impl Pins {
    /// Lets `owner` hold all of it from this batch on. To come after [`Release::let_go`] in a batch that has both.
    pub fn hold(&self, ctx: &Ctx, batch: Batch, owner: &str) -> Result<Batch, AwsError> {
        used::retain(ctx, self.code.retain(ctx, batch, owner)?, &self.layers, owner)
    }
}

/// How far a release has come in the caller's eyes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// In the answer to the call that made it.
    Created,
    /// In the answer to a call that changed it.
    Updated,
    /// Afterwards.
    Settled,
    /// In lists, which tell no state.
    Listed,
}

impl Phase {
    fn is_transition(self) -> bool {
        matches!(self, Phase::Created | Phase::Updated)
    }
}

const CREATING: &str = "The function is being created.";

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
    code_sha256: Option<String>,
    description: String,
    timeout: u32,
    memory_size: u32,
    last_modified: String,
    version: String,
    vpc_config: Option<VpcShown>,
    dead_letter_config: Option<DeadLetterConfig>,
    environment: Option<EnvironmentShown>,
    #[serde(rename = "KMSKeyArn")]
    kms_key_arn: Option<String>,
    tracing_config: TracingConfig,
    revision_id: String,
    state: Option<&'static str>,
    state_reason: Option<String>,
    state_reason_code: Option<&'static str>,
    last_update_status: Option<&'static str>,
    last_update_status_reason: Option<String>,
    last_update_status_reason_code: Option<&'static str>,
    layers: Option<Vec<LayerShown>>,
    file_system_configs: Option<Vec<FileSystemConfig>>,
    package_type: &'static str,
    image_config_response: Option<ImageConfigShown>,
    architectures: Vec<String>,
    ephemeral_storage: EphemeralStorage,
    snap_start: SnapStartShown,
    runtime_version_config: Option<RuntimeVersion>,
    logging_config: LoggingConfig,
    tenancy_config: Option<TenancyConfig>,
    capacity_provider_config: Option<CapacityProviderConfig>,
    durable_config: Option<DurableConfig>,
    runtime_config: Option<RuntimeConfig>,
    accelerator_config: Option<AcceleratorConfig>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct EnvironmentShown {
    variables: Variables,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct VpcShown {
    subnet_ids: Vec<String>,
    security_group_ids: Vec<String>,
    /// Empty when the function has left its VPC. While it is in one, only the network knows which.
    vpc_id: Option<&'static str>,
    ipv6_allowed_for_dual_stack: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ImageConfigShown {
    image_config: ImageConfig,
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

/// What a release is in, and why.
struct Status {
    state: Option<&'static str>,
    last_update: Option<&'static str>,
    reason: Option<String>,
    reason_code: Option<&'static str>,
}

impl Status {
    fn of(phase: Phase) -> Self {
        let (state, last_update) = match phase {
            Phase::Created => (Some("Pending"), None),
            Phase::Updated => (Some("Active"), Some("InProgress")),
            Phase::Settled => (Some("Active"), Some("Successful")),
            Phase::Listed => (None, None),
        };
        Self {
            state,
            last_update,
            reason: phase.is_transition().then(|| CREATING.to_owned()),
            reason_code: phase.is_transition().then_some("Creating"),
        }
    }

    /// As it is while there is no snapshot of it.
    fn with(self, snap: &Snap, phase: Phase) -> Self {
        match snap {
            Snap::Pending(_) if phase != Phase::Listed => Status::of(Phase::Created),
            Snap::Failed(reason) if phase != Phase::Listed => Self {
                state: Some("Failed"),
                last_update: Some("Failed"),
                reason: Some(reason.clone()),
                reason_code: Some("FunctionError"),
            },
            _ => self,
        }
    }
}

impl SnapStartShown {
    fn of(given: SnapStart, snap: &Snap) -> Self {
        Self { apply_on: given.apply_on, optimization_status: if *snap == Snap::On { "On" } else { "Off" } }
    }
}

/// The settled revision is the stored one; the answer to a change shows one that is history already.
fn shown_revision(ctx: &Ctx, snap: &Snap, phase: Phase, stored: Uuid) -> Uuid {
    match snap {
        Snap::Pending(while_pending) => *while_pending,
        _ if phase.is_transition() => ctx.cx.id(),
        _ => stored,
    }
}

/// Only such a state, or such an update, has a reason.
fn is_unsettled(state: Option<&str>) -> bool {
    matches!(state, Some("Pending" | "InProgress" | "Failed"))
}

impl Release {
    /// Marks a change: every write moves the revision, one that changes nothing too.
    pub fn touch(&mut self, ctx: &Ctx) {
        self.last_modified = ctx.cx.now();
        self.revision = ctx.cx.id();
    }

    /// The ARN of the capacity provider on whose instances it runs, if it names one.
    pub fn capacity_provider(&self) -> Option<&str> {
        self.settings.capacity_provider.as_ref().map(CapacityProviderConfig::arn)
    }

    /// Pins its code and layers for one owner more.
    pub async fn pin(&self, ctx: &Ctx) -> Result<Pins, AwsError> {
        Ok(Pins { code: self.code.pin(ctx).await?, layers: used::pin(ctx, &self.settings.layers).await? })
    }

    /// Lets `owner` go of its code and layers.
    pub fn let_go(&self, cloud: &Cloud, batch: Batch, owner: &str) -> Result<Batch, AwsError> {
        used::release(cloud, self.code.release(cloud, batch, owner)?, &self.settings.layers, owner)
    }

    /// Tells whether two releases have the same settings and code.
    pub fn fingerprint(&self) -> Result<[u8; 32], AwsError> {
        let text = serde_json::to_vec(&(&self.settings, &self.code)).map_err(AwsError::internal)?;
        digest::digest(&digest::SHA256, &text).as_ref().try_into().map_err(AwsError::internal)
    }

    /// This release of `function`'s as `version`, asked for as `qualifier`.
    pub async fn show(
        self,
        ctx: &Ctx,
        function: &Function,
        version: String,
        qualifier: Option<&str>,
        phase: Phase,
    ) -> Result<FunctionConfiguration, AwsError> {
        let Self { settings, code, last_modified, revision } = self;
        let variables = settings.variables(ctx, &function.owner(ctx)).await?;
        let snap = snap_start::look(ctx, function, &version, &settings).await?;
        let status = Status::of(phase).with(&snap, phase);
        let revision = shown_revision(ctx, &snap, phase, revision);
        Ok(FunctionConfiguration {
            function_name: function.name.clone(),
            function_arn: function.qualified_arn(ctx, qualifier),
            runtime_version_config: (phase != Phase::Listed)
                .then(|| settings.runtime.as_deref().map(|name| runtime::version_arn(&ctx.cx, name)))
                .flatten()
                .map(|runtime_version_arn| RuntimeVersion { runtime_version_arn }),
            runtime: settings.runtime,
            role: settings.role,
            handler: settings.handler,
            code_size: code.size_bytes(),
            code_sha256: code.sha256(),
            description: settings.description,
            timeout: settings.timeout_s,
            memory_size: settings.memory_mb,
            last_modified: last_modified.lambda(),
            version,
            vpc_config: settings.vpc.map(VpcShown::from),
            dead_letter_config: settings.dead_letter,
            environment: variables.map(|variables| EnvironmentShown { variables }),
            kms_key_arn: settings.kms_key_arn,
            tracing_config: settings.tracing,
            revision_id: revision.to_string(),
            state: status.state,
            state_reason: status.reason.clone().filter(|_| is_unsettled(status.state)),
            state_reason_code: status.reason_code.filter(|_| is_unsettled(status.state)),
            last_update_status: status.last_update,
            last_update_status_reason: status.reason.filter(|_| is_unsettled(status.last_update)),
            last_update_status_reason_code: status.reason_code.filter(|_| is_unsettled(status.last_update)),
            layers: used::show(&settings.layers),
            file_system_configs: Some(settings.file_systems).filter(|systems| !systems.is_empty()),
            package_type: code.package_type().as_str(),
            image_config_response: settings.image.map(|image_config| ImageConfigShown { image_config }),
            architectures: settings.architectures,
            ephemeral_storage: settings.ephemeral_storage,
            snap_start: SnapStartShown::of(settings.snap_start, &snap),
            logging_config: settings.logging,
            tenancy_config: settings.tenancy,
            capacity_provider_config: settings.capacity_provider,
            durable_config: settings.durable,
            runtime_config: settings.runtime_build,
            accelerator_config: settings.accelerator,
        })
    }
}

impl From<VpcConfig> for VpcShown {
    fn from(vpc: VpcConfig) -> Self {
        Self {
            vpc_id: vpc.subnet_ids.is_empty().then_some(""),
            subnet_ids: vpc.subnet_ids,
            security_group_ids: vpc.security_group_ids,
            ipv6_allowed_for_dual_stack: vpc.ipv6_allowed_for_dual_stack.unwrap_or(false),
        }
    }
}

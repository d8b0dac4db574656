//! The settings of a function: what a caller may configure, what is stored, and what AWS shows of it.
//!
//! `Given` is what a request brings, `Settings` what a function has (and a published version will freeze), and
//! `Settings::check` holds what the model's constraints cannot say.

use std::collections::BTreeMap;

use base::AwsError;
use serde::{Deserialize, Serialize};
use store::{Batch, Sealed};

use super::code::PackageType;
use super::layer::used::LayerUse;
use super::{errors, runtime};
use crate::Ctx;

const ENVIRONMENT_BYTES_MAX: usize = 4096;
/// As much of one that is too large is shown in its refusal: AWS shows all, but answers must not grow with mistakes.
const ENVIRONMENT_SHOWN_CHARS_MAX: usize = 16 * 1024;
/// Of a function under SnapStart.
const SNAP_START_TMP_MB_MAX: u32 = 512;
/// Of a function that does not run on managed instances.
const MEMORY_MB_MAX: u32 = 10_240;

/// Names that the platform sets and a function may not.
const RESERVED_VARIABLES: &[&str] = &[
    "_HANDLER",
    "_X_AMZN_TRACE_ID",
    "AWS_DEFAULT_REGION",
    "AWS_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SECRET_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_LAMBDA_MAX_CONCURRENCY",
    "LAMBDA_TASK_ROOT",
    "LAMBDA_RUNTIME_DIR",
];

pub type Variables = BTreeMap<String, String>;

/// The settings that a request gives; what it leaves out stays as it is, or takes AWS's default.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
pub struct Given {
    pub runtime: Option<String>,
    pub role: Option<String>,
    pub handler: Option<String>,
    pub description: Option<String>,
    pub timeout: Option<u32>,
    pub memory_size: Option<u32>,
    pub environment: Option<Environment>,
    #[serde(rename = "KMSKeyArn")]
    pub kms_key_arn: Option<String>,
    pub tracing_config: Option<TracingConfig>,
    pub ephemeral_storage: Option<EphemeralStorage>,
    pub snap_start: Option<SnapStart>,
    pub logging_config: Option<LoggingConfig>,
    pub dead_letter_config: Option<DeadLetterConfig>,
    pub vpc_config: Option<VpcConfig>,
    pub file_system_configs: Option<Vec<FileSystemConfig>>,
    pub layers: Option<Vec<String>>,
    pub image_config: Option<ImageConfig>,
    pub tenancy_config: Option<TenancyConfig>,
    pub capacity_provider_config: Option<CapacityProviderConfig>,
    pub durable_config: Option<DurableConfig>,
    pub runtime_config: Option<RuntimeConfig>,
    pub accelerator_config: Option<AcceleratorConfig>,
}

/// What a function has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    pub runtime: Option<String>,
    pub role: String,
    pub handler: Option<String>,
    pub description: String,
    pub timeout_s: u32,
    pub memory_mb: u32,
    /// The variables, sealed; absent when the caller never gave any.
    pub environment: Option<Sealed>,
    pub kms_key_arn: Option<String>,
    pub tracing: TracingConfig,
    pub ephemeral_storage: EphemeralStorage,
    pub snap_start: SnapStart,
    pub logging: LoggingConfig,
    pub dead_letter: Option<DeadLetterConfig>,
    pub vpc: Option<VpcConfig>,
    pub file_systems: Vec<FileSystemConfig>,
    pub architectures: Vec<String>,
    /// In the order in which they are laid over each other.
    pub layers: Vec<LayerUse>,
    pub image: Option<ImageConfig>,
    pub tenancy: Option<TenancyConfig>,
    pub capacity_provider: Option<CapacityProviderConfig>,
    pub durable: Option<DurableConfig>,
    pub runtime_build: Option<RuntimeConfig>,
    pub accelerator: Option<AcceleratorConfig>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
pub struct Environment {
    pub variables: Variables,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct TracingConfig {
    #[serde(default = "pass_through")]
    pub mode: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct EphemeralStorage {
    pub size: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct SnapStart {
    #[serde(default = "none")]
    pub apply_on: String,
}

impl SnapStart {
    pub fn is_on(&self) -> bool {
        self.apply_on != "None"
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
pub struct LoggingConfig {
    pub log_format: Option<String>,
    pub application_log_level: Option<String>,
    pub system_log_level: Option<String>,
    pub log_group: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
pub struct DeadLetterConfig {
    pub target_arn: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
pub struct VpcConfig {
    pub subnet_ids: Vec<String>,
    pub security_group_ids: Vec<String>,
    pub ipv6_allowed_for_dual_stack: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct FileSystemConfig {
    pub arn: String,
    pub local_mount_path: String,
    pub s3_files_config: Option<S3FilesConfig>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct S3FilesConfig {
    #[serde(rename = "DirectS3Read")]
    pub direct_s3_read: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
pub struct ImageConfig {
    pub entry_point: Option<Vec<String>>,
    pub command: Option<Vec<String>>,
    pub working_directory: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct TenancyConfig {
    pub tenant_isolation_mode: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct CapacityProviderConfig {
    pub lambda_managed_instances_capacity_provider_config: ManagedInstances,
}

impl CapacityProviderConfig {
    pub fn arn(&self) -> &str {
        &self.lambda_managed_instances_capacity_provider_config.capacity_provider_arn
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ManagedInstances {
    pub capacity_provider_arn: String,
    pub per_execution_environment_max_concurrency: Option<u32>,
    #[serde(rename = "ExecutionEnvironmentMemoryGiBPerVCpu")]
    pub execution_environment_memory_gib_per_vcpu: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct DurableConfig {
    #[serde(rename = "KMSKeyArn")]
    pub kms_key_arn: Option<String>,
    #[serde(default = "durable_retention")]
    pub retention_period_in_days: u32,
    pub execution_timeout: Option<u32>,
}

/// A build of a runtime that the function's owner names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct RuntimeConfig {
    pub runtime_arn: String,
    pub runtime_alias: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct AcceleratorConfig {
    pub accelerator_memory_size: u32,
}

/// Days for which AWS keeps the history of a durable execution, unless told otherwise.
fn durable_retention() -> u32 {
    14
}

fn pass_through() -> String {
    "PassThrough".into()
}

fn none() -> String {
    "None".into()
}

impl Settings {
    /// A new function's settings: what was given, and AWS's defaults for the rest. Variables are as in [`Self::with`].
    pub fn new(
        name: &str,
        given: Given,
        package: PackageType,
        architectures: Option<Vec<String>>,
    ) -> Result<(Self, Option<Variables>), AwsError> {
        let defaults = Self {
            runtime: None,
            role: String::new(),
            handler: None,
            description: String::new(),
            timeout_s: 3,
            memory_mb: 128,
            environment: None,
            kms_key_arn: None,
            tracing: TracingConfig { mode: pass_through() },
            ephemeral_storage: EphemeralStorage { size: 512 },
            snap_start: SnapStart { apply_on: none() },
            logging: LoggingConfig {
                log_format: Some("Text".into()),
                log_group: Some(format!("/aws/lambda/{name}")),
                ..LoggingConfig::default()
            },
            dead_letter: None,
            vpc: None,
            file_systems: Vec::new(),
            architectures: architectures.unwrap_or_else(|| vec!["x86_64".into()]),
            layers: Vec::new(),
            image: None,
            tenancy: given.tenancy_config.clone(),
            capacity_provider: None,
            durable: None,
            runtime_build: None,
            accelerator: None,
        };
        if package == PackageType::Zip && (given.handler.is_none() || given.runtime.is_none()) {
            return Err(errors::invalid_parameter(
                "Runtime and Handler are mandatory parameters for functions created with deployment packages.",
            ));
        }
        defaults.with(given, package)
    }

    /// These settings with what a request gives put in their place, but for layers, which must be found first. Variables
    /// that it gives come apart, for [`Self::seal`].
    pub fn with(mut self, given: Given, package: PackageType) -> Result<(Self, Option<Variables>), AwsError> {
        given.check(package)?;
        self.runtime = given.runtime.or(self.runtime);
        self.role = given.role.unwrap_or(self.role);
        self.handler = given.handler.or(self.handler);
        self.description = given.description.unwrap_or(self.description);
        self.timeout_s = given.timeout.unwrap_or(self.timeout_s);
        self.memory_mb = given.memory_size.unwrap_or(self.memory_mb);
        self.kms_key_arn = given.kms_key_arn.or(self.kms_key_arn).filter(|arn| !arn.is_empty());
        self.tracing = given.tracing_config.unwrap_or(self.tracing);
        self.ephemeral_storage = given.ephemeral_storage.unwrap_or(self.ephemeral_storage);
        self.snap_start = given.snap_start.unwrap_or(self.snap_start);
        let dead_letter = given.dead_letter_config.or(self.dead_letter);
        self.dead_letter = dead_letter.filter(|config| config.target_arn.as_deref().is_some_and(|arn| !arn.is_empty()));
        self.vpc = given.vpc_config.or(self.vpc);
        self.file_systems = given.file_system_configs.unwrap_or(self.file_systems);
        self.image = given.image_config.or(self.image).filter(|config| *config != ImageConfig::default());
        self.capacity_provider = given.capacity_provider_config.or(self.capacity_provider);
        self.durable = given.durable_config.or(self.durable);
        self.runtime_build = given.runtime_config.or(self.runtime_build);
        self.accelerator = given.accelerator_config.or(self.accelerator);
        if let Some(logging) = given.logging_config {
            self.logging = self.logging.with(logging)?;
        }
        self.check()?;
        Ok((self, given.environment.map(|environment| environment.variables)))
    }

    /// What the model cannot say of the whole.
    fn check(&self) -> Result<(), AwsError> {
        if self.memory_mb > MEMORY_MB_MAX && self.capacity_provider.is_none() {
            return Err(errors::invalid_parameter(format!(
                "'MemorySize' value failed to satisfy constraint: Member must have value less than or equal to \
                 {MEMORY_MB_MAX}"
            )));
        }
        if let Some(FileSystemConfig { arn, .. }) = self.file_systems.first()
            && self.vpc.as_ref().is_none_or(|vpc| vpc.subnet_ids.is_empty())
        {
            return Err(errors::invalid_parameter(format!(
                "Function must be configured to execute in a VPC to reference access point {arn}."
            )));
        }
        match self.without_snap_start() {
            Some(what) if self.snap_start.is_on() => {
                Err(errors::invalid_parameter(format!("{what} is not supported for SnapStart enabled functions.")))
            }
            _ => Ok(()),
        }
    }

    /// What of these settings there is no SnapStart with, if anything.
    fn without_snap_start(&self) -> Option<&str> {
        match self.runtime.as_deref() {
            None => Some("ContainerImage"),
            Some(runtime) if !runtime::can_snap_start(runtime) => Some(runtime),
            _ if !self.file_systems.is_empty() => Some("EFS"),
            _ if self.ephemeral_storage.size > SNAP_START_TMP_MB_MAX => Some("Ephemeral storage greater than 512 MB"),
            _ => None,
        }
    }

    /// Puts the variables in their place, sealed with the key of `owner`; `batch` is to write these settings.
    pub async fn seal(
        &mut self,
        ctx: &Ctx,
        batch: Batch,
        owner: &str,
        variables: Option<&Variables>,
    ) -> Result<Batch, AwsError> {
        let Some(variables) = variables else { return Ok(batch) };
        // What is the same stays sealed as it is, so that settings that did not change can be told by comparing.
        if self.variables(ctx, owner).await?.as_ref() == Some(variables) {
            return Ok(batch);
        }
        let clear = serde_json::to_vec(variables).map_err(AwsError::internal)?;
        let (batch, sealed) = ctx.cloud.vault.seal_with(batch, owner, ENVIRONMENT, &clear).await?;
        self.environment = Some(sealed);
        Ok(batch)
    }

    /// The variables in the clear, for the owner's eyes.
    pub async fn variables(&self, ctx: &Ctx, owner: &str) -> Result<Option<Variables>, AwsError> {
        let Some(sealed) = &self.environment else { return Ok(None) };
        let clear = ctx.cloud.vault.unseal(owner, ENVIRONMENT, sealed).await?;
        serde_json::from_slice(clear.expose()).map(Some).map_err(AwsError::internal)
    }
}

impl Given {
    /// What the model cannot say of the parts.
    fn check(&self, package: PackageType) -> Result<(), AwsError> {
        let of_zip = self.runtime.is_some() || self.handler.is_some() || self.layers.is_some();
        if package == PackageType::Image && of_zip {
            return Err(errors::invalid_parameter(
                "Please don't provide Handler or Runtime or Layer when the intended function PackageType is Image.",
            ));
        }
        if let Some(runtime) = &self.runtime {
            runtime::check(runtime)?;
        }
        if let Some(environment) = &self.environment {
            environment.check()?;
        }
        if package == PackageType::Zip && self.image_config.is_some() {
            return Err(errors::invalid_parameter(
                "ImageConfig is not supported for functions created with deployment packages.",
            ));
        }
        Ok(())
    }
}

impl Environment {
    fn check(&self) -> Result<(), AwsError> {
        const REFUSED: &str = "Lambda was unable to configure your environment variables because the environment \
                               variables you have provided";
        let reserved: Vec<&str> =
            self.variables.keys().map(String::as_str).filter(|name| RESERVED_VARIABLES.contains(name)).collect();
        if !reserved.is_empty() {
            return Err(errors::invalid_parameter(format!(
                "{REFUSED} contains reserved keys that are currently not supported for modification. \
                 Reserved keys used in this request: {}",
                reserved.join(", ")
            )));
        }
        let measured = serde_json::to_string(&self.variables).map_err(AwsError::internal)?;
        if measured.len() > ENVIRONMENT_BYTES_MAX {
            let measured: String = measured.chars().take(ENVIRONMENT_SHOWN_CHARS_MAX).collect();
            return Err(errors::invalid_parameter(format!(
                "{REFUSED} exceeded the 4KB limit. String measured: {measured}"
            )));
        }
        Ok(())
    }
}

impl LoggingConfig {
    /// A change of format resets the levels: JSON has both at INFO, Text has none.
    fn with(self, given: Self) -> Result<Self, AwsError> {
        let levels_given = given.application_log_level.is_some() || given.system_log_level.is_some();
        let log_format = given.log_format.or(self.log_format);
        let is_json = log_format.as_deref() == Some("JSON");
        if levels_given && !is_json {
            return Err(errors::invalid_parameter(
                "LogLevel is not supported when LogFormat is set to \"Text\". \
                 Remove LogLevel from your request or change the LogFormat to \"JSON\" and try again.",
            ));
        }
        let level = |given: Option<String>, ours: Option<String>| {
            is_json.then(|| given.or(ours).unwrap_or_else(|| "INFO".into()))
        };
        Ok(Self {
            application_log_level: level(given.application_log_level, self.application_log_level),
            system_log_level: level(given.system_log_level, self.system_log_level),
            log_group: given.log_group.or(self.log_group),
            log_format,
        })
    }
}

const ENVIRONMENT: &str = "environment";

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str, value: &str) -> Environment {
        Environment { variables: Variables::from([(name.into(), value.into())]) }
    }

    #[test]
    fn an_environment_is_measured_as_json_up_to_and_with_4096_bytes() {
        // {"K":""} is eight bytes.
        assert!(environment("K", &"x".repeat(4088)).check().is_ok());
        let refused = environment("K", &"x".repeat(4089)).check().unwrap_err();
        assert!(refused.message.contains("exceeded the 4KB limit. String measured: {\"K\":\"xx"), "{refused}");
    }

    #[test]
    fn reserved_variables_are_named_in_the_refusal() {
        let refused = environment("AWS_REGION", "x").check().unwrap_err();
        assert!(refused.message.ends_with("Reserved keys used in this request: AWS_REGION"), "{refused}");
        assert!(environment("AWS_LAMBDA_EXEC_WRAPPER", "/opt/w").check().is_ok());
    }

    #[test]
    fn a_change_of_log_format_resets_the_levels() {
        let format = |format: &str| LoggingConfig { log_format: Some(format.into()), ..LoggingConfig::default() };
        let json = format("Text").with(format("JSON")).unwrap();
        assert_eq!(json.application_log_level.as_deref(), Some("INFO"));
        let debug = LoggingConfig { system_log_level: Some("DEBUG".into()), ..LoggingConfig::default() };
        let json = json.with(debug).unwrap();
        assert_eq!((json.system_log_level.as_deref(), json.log_format.as_deref()), (Some("DEBUG"), Some("JSON")));
        let text = json.with(format("Text")).unwrap();
        assert_eq!((text.system_log_level, text.application_log_level), (None, None));
    }
}

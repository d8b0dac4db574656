//! A release as a value, for whoever runs it.
//!
//! Building one opens the function's sealed variables, so those of the releases that run are kept: what a release is
//! never changes, and a changed function is another release.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::ports::{CodeRef, FunctionSpec, Logging};
use base::{AwsError, Secret, Uuid};

use crate::Ctx;
use crate::lambda::code::Code;
use crate::lambda::function::Resolved;
use crate::lambda::release::Release;
use crate::lambda::runtime;

/// Releases that are kept; beyond it all are forgotten and built anew as they are asked for.
const KEPT_MAX: usize = 4_096;

/// Specs by release, and by the version that it is published as. Beside them the releases under SnapStart that are known to
/// have their snapshot.
#[derive(Default)]
pub struct Specs(Mutex<HashMap<(Uuid, String), Arc<FunctionSpec>>>, Mutex<HashSet<Uuid>>);

impl Specs {
    pub async fn of(&self, ctx: &Ctx, resolved: &Resolved) -> Result<Arc<FunctionSpec>, AwsError> {
        let key = (resolved.release().revision, resolved.version());
        let kept = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(spec) = kept().get(&key) {
            return Ok(spec.clone());
        }
        let spec = Arc::new(build(ctx, resolved).await?);
        let mut kept = kept();
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(key, spec.clone());
        Ok(spec)
    }

    pub fn is_settled(&self, release: Uuid) -> bool {
        self.1.lock().unwrap_or_else(PoisonError::into_inner).contains(&release)
    }

    pub fn settle(&self, release: Uuid) {
        let mut settled = self.1.lock().unwrap_or_else(PoisonError::into_inner);
        if settled.len() >= KEPT_MAX {
            settled.clear();
        }
        settled.insert(release);
    }
}

/// The release as a value, of a function that nobody may ever ask for.
pub(super) async fn build(ctx: &Ctx, resolved: &Resolved) -> Result<FunctionSpec, AwsError> {
    let (function, release) = (&resolved.function, resolved.release());
    let Release { settings, code, revision, .. } = release;
    let Code::Zip { blob, .. } = code else {
        return Err(AwsError::not_built("running functions from container images"));
    };
    let reference = |blob: &store::Blob| CodeRef { hash: *blob.hash.as_bytes(), size_bytes: blob.size_bytes };
    let layers = settings.layers.iter().filter_map(|layer| match &layer.code {
        Code::Zip { blob, .. } => Some(reference(blob)),
        Code::Image { .. } => None,
    });
    Ok(FunctionSpec {
        world: ctx.cx.world,
        account: ctx.cx.account,
        region: ctx.cx.region.clone(),
        name: function.name.clone(),
        version: resolved.version(),
        release: *revision,
        runtime: settings.runtime.clone().unwrap_or_default(),
        runtime_version_arn: runtime::version_arn(&ctx.cx, settings.runtime.as_deref().unwrap_or_default()),
        handler: settings.handler.clone().unwrap_or_default(),
        role: settings.role.clone(),
        timeout: Duration::from_secs(settings.timeout_s.into()),
        memory_mb: settings.memory_mb,
        tmp_mb: settings.ephemeral_storage.size,
        environment: Secret::new(settings.variables(ctx, &function.owner(ctx)).await?.unwrap_or_default()),
        code: reference(blob),
        layers: layers.collect(),
        logging: Logging {
            group: settings.logging.log_group.clone().unwrap_or_default(),
            is_json: settings.logging.log_format.as_deref() == Some("JSON"),
            application_level: settings.logging.application_log_level.clone(),
            system_level: settings.logging.system_log_level.clone(),
        },
        is_traced: settings.tracing.mode == "Active",
        is_snap_start: resolved.published.is_some() && settings.snap_start.is_on(),
    })
}

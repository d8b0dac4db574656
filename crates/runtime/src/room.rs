//! Where an instance runs: a clone's room, one that was made ahead, or a new one, in which a runtime begins as a copy if it can.

use std::sync::Arc;
use std::time::Duration;

use base::ports::{FunctionSpec, InvokeError};
use base::with_causes;
use engine::dispatch::Why;
use sandbox::{Cpu, Limits, Mount, Sandbox, Spec};
use tokio::time::{Instant, timeout};

use crate::code::{Lease, Prepared as Found};
use crate::images::{self, Owner};
use crate::languages::{self, Family, Served};
use crate::launch::{Code, LANG, MEGABYTE, OPT, PREPARED_FOLDER, Purpose, RUNTIME, TASK, argv, prepared_name};
use crate::runtime::Inner;
use crate::stock::{self, Held, Kind, Parked, Recipe, Waiting};
use crate::{limits, variables};

/// `suffix` tells it from other rooms of the function.
pub fn spec(inner: &Inner, suffix: &str, function: &FunctionSpec, served: &Served, code: &Code) -> Spec {
    let mut limits = Limits::for_memory(u64::from(function.memory_mb).saturating_mul(MEGABYTE));
    limits.tmp_bytes = u64::from(function.tmp_mb).saturating_mul(MEGABYTE);
    if inner.settings.is_cpu_hard {
        limits.cpu = Cpu::Quota(limits.cpu.millis());
    }
    let name: String =
        function.name.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(limits::NAME_CHARS_MAX).collect();
    let shown = [
        (Some(code.task.path()), TASK),
        (code.opt.as_ref().map(Lease::path), OPT),
        (code.prepared.as_ref().map(Lease::path), PREPARED_FOLDER),
        (served.lang_dir.as_deref(), LANG),
        (served.runtime_dir.as_deref(), RUNTIME),
    ];
    let mounts =
        shown.into_iter().filter_map(|(host, inside)| Some(Mount { host: host?.to_owned(), inside: inside.into() }));
    Spec { mounts: mounts.collect(), ..inner.stock.spec(format!("{name}-{suffix}"), limits) }
}

/// What of the rooms that were made ahead would do.
pub fn kind(inner: &Inner, function: &FunctionSpec, served: &Served) -> Kind {
    let (family, own) = (served.family, function.environment.expose().clone());
    let env = variables::parked(&function.runtime, family, inner.settings.api_port, served.is_relocated);
    let mut given = env.clone();
    given.extend(own);
    if !family.can_wait() || languages::needs_own_process(family, &given, &env) {
        return Kind::Room;
    }
    let mounts = [(&served.lang_dir, LANG), (&served.runtime_dir, RUNTIME)];
    let mounts = mounts.into_iter().filter_map(|(host, inside)| Some((host.clone()?, inside.into())));
    let (mut argv, mut mounts) = (argv(function, served), mounts.collect::<Vec<_>>());
    let (must_be_led, weight) = (family.must_be_led(), family.parked_weight());
    let recipe = |argv: &Vec<String>, mounts: &Vec<_>, archive| {
        let (argv, env, mounts) = (argv.clone(), env.clone(), mounts.clone());
        Kind::Runtime(Arc::new(Recipe { argv, env, mounts, must_be_led, weight, archive: Held(archive) }))
    };
    let without = recipe(&argv, &mounts, None);
    let Some(archive) = archive(inner, function, served) else { return without };
    // Those that were made before there was one.
    inner.stock.forget(&without);
    mounts.push((archive.path().to_owned(), PREPARED_FOLDER.into()));
    languages::use_archive(&mut argv, served, &format!("{PREPARED_FOLDER}/{}", crate::code::PREPARED));
    recipe(&argv, &mounts, Some(archive))
}

/// What all machines of an interpreter begin with, if it is there.
fn archive(inner: &Inner, function: &FunctionSpec, served: &Served) -> Option<Lease> {
    let name = (served.family == Family::Java).then(|| prepared_name(inner, function, served, None)).flatten()?;
    match inner.code.prepared(&name) {
        Found::Ready(archive) => Some(archive),
        Found::Nothing | Found::Without => None,
    }
}

/// A room, and the runtime in it if there is one: it waits for its function, or is a copy that has loaded it.
pub struct Room {
    pub sandbox: Sandbox,
    pub runtime: Option<Waiting>,
    /// It did not wait: so long its runtime took to become a copy.
    pub copied_in: Duration,
}

/// A room for it, and what that shows and is held to.
pub async fn fresh(
    inner: &Inner,
    function: &FunctionSpec,
    tenant: Option<&str>,
    purpose: &Purpose,
    served: &Served,
    code: &Code,
) -> Result<(Room, Option<(Vec<Mount>, Limits)>), InvokeError> {
    let spec = spec(inner, &purpose.name(), function, served, code);
    let shown = (spec.mounts.clone(), spec.limits.clone());
    let kind = kind(inner, function, served);
    let owner = Owner::new(function, tenant, served, &kind);
    Ok((room(inner, spec, &kind, owner.as_ref()).await?, Some(shown)))
}

/// A room in which the function is loaded: one that waits; or one that is made now, where that is quicker than to load the
/// function, or its owner asked for snapshots.
/// Without one the function is loaded. What is provisioned shows that to its function, and is made anew.
pub async fn clone(
    inner: &Inner,
    function: &FunctionSpec,
    served: &Served,
    tenant: Option<&str>,
    purpose: &Purpose,
) -> Option<Room> {
    if matches!(purpose, Purpose::Snapshot | Purpose::Orders(_, Why::Provisioned)) {
        return None;
    }
    let template = inner.templates.of(function, tenant, served)?;
    let runtimes = kind(inner, function, served);
    let (Parked { sandbox, runtime }, copied_in) = match inner.stock.take_clone(&template) {
        Some(parked) => (parked, Duration::ZERO),
        None if function.is_snap_start || template.worth.pays(inner.stock.holds(&runtimes)) => {
            inner.stock.make_clone(&template).await.ok()?
        }
        None => return None,
    };
    // Other versions that begin now find a runtime as before.
    inner.stock.expect(&runtimes);
    match sandbox.limit(template.limits.clone()) {
        Ok(()) => Some(Room { sandbox, runtime, copied_in }),
        Err(error) => {
            tracing::warn!(%error, "failed to use a room that was made ahead; making another");
            None
        }
    }
}

/// A room that was made ahead, if there is one, or a new one. A runtime waits in it, or becomes a copy there of one that does, if
/// its owner has an image of that.
async fn room(inner: &Inner, spec: Spec, kind: &Kind, owner: Option<&Owner>) -> Result<Room, InvokeError> {
    let copied_in = Duration::ZERO;
    let (sandbox, runtime) = match made_ahead(inner, &spec, kind).await {
        Some((sandbox, Some(runtime))) => return Ok(Room { sandbox, runtime: Some(runtime), copied_in }),
        found => {
            owner.into_iter().for_each(|owner| inner.images.want(owner));
            match found {
                Some(room) => room,
                None => (start(inner, spec.clone()).await?, None),
            }
        }
    };
    // One may have been made meanwhile.
    let Some((owner, image)) = owner.and_then(|owner| Some((owner, inner.images.of(owner)?))) else {
        return Ok(Room { sandbox, runtime, copied_in });
    };
    let began = Instant::now();
    match images::begin(owner, &image, &sandbox).await {
        Ok(runtime) => Ok(Room { sandbox, runtime: Some(runtime), copied_in: began.elapsed() }),
        Err(error) => {
            inner.images.failed(owner, &error);
            // That one is gone.
            Ok(Room { sandbox: start(inner, spec).await?, runtime: None, copied_in })
        }
    }
}

async fn made_ahead(inner: &Inner, spec: &Spec, kind: &Kind) -> Option<(Sandbox, Option<Waiting>)> {
    let parked = if stock::fits(&spec.limits) { inner.stock.take(kind) } else { None }?;
    let adopted = adopt(parked, spec, kind).await;
    let failed = |error: &AdoptError| {
        tracing::warn!("failed to use a room that was made ahead: {}; making another", with_causes(error));
    };
    adopted.inspect_err(failed).ok()
}

async fn start(inner: &Inner, spec: Spec) -> Result<Sandbox, InvokeError> {
    let started = timeout(limits::SANDBOX_START_TIMEOUT, inner.parts.isolation.start(spec)).await;
    let started = started.map_err(|_| InvokeError::Internal("starting a sandbox took too long".to_owned()))?;
    started.map_err(|error| {
        InvokeError::CannotRun(format!("Lamplight failed to start a sandbox for it: failed to {}", with_causes(&error)))
    })
}

async fn adopt(parked: Parked, spec: &Spec, kind: &Kind) -> Result<(Sandbox, Option<Waiting>), AdoptError> {
    let Parked { sandbox, runtime } = parked;
    let shown = match (&runtime, kind) {
        (Some(_), Kind::Runtime(recipe)) => recipe.mounts.as_slice(),
        _ => &[],
    };
    let is_shown = |mount: &&Mount| shown.iter().any(|(_, inside)| mount.inside == *inside);
    let mounts = spec.mounts.iter().filter(|mount| !is_shown(mount)).cloned().collect();
    sandbox.limit(spec.limits.clone())?;
    let move_in = async {
        sandbox.mount(mounts).await?;
        match (&runtime, kind) {
            (Some(runtime), Kind::Runtime(recipe)) if recipe.must_be_led => Ok(runtime.lead(&sandbox, TASK).await?),
            _ => Ok(()),
        }
    };
    timeout(limits::SANDBOX_START_TIMEOUT, move_in).await.unwrap_or(Err(AdoptError::Late))?;
    Ok((sandbox, runtime))
}

#[derive(Debug, thiserror::Error)]
enum AdoptError {
    #[error("set its limits, or mount its function's code")]
    Mount(#[from] std::io::Error),
    #[error("lead its runtime to the function's code")]
    Lead(#[from] sandbox::ImageError),
    #[error("do so in time")]
    Late,
}

//! What is made ready for functions that may be asked for: their code is unpacked, a room of their kind is held, and what
//! can be compiled of their code is compiled.
//!
//! One after the other, each while nobody's instance is being started. It is a courtesy: what cannot be made ready, or
//! is one too many, is made when it is asked for, and then says why it cannot be.

use std::io;
use std::sync::{Arc, Weak};

use base::ports::FunctionSpec;
use base::{Spawn, with_causes};
use rustix::pipe::{PipeFlags, pipe_with};
use sandbox::{Cpu, Event, Limits, Mount, Network, Program, Spec, Status};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::code::Lease;
use crate::languages::{self, PREPARED_BYTES_MAX, Preparation, Recipe, Served};
use crate::launch;
use crate::limits::{AHEAD_CPU_MILLIS, EXPECTED_MAX};
use crate::runtime::Inner;

pub struct Preparer(mpsc::Sender<Arc<FunctionSpec>>);

/// What is to be prepared, for the task that does it.
pub type Expected = mpsc::Receiver<Arc<FunctionSpec>>;

#[derive(Debug, thiserror::Error)]
enum CompileError {
    #[error("start a sandbox")]
    Start(#[from] sandbox::StartError),
    #[error("run the compiler")]
    Run(#[from] sandbox::RunError),
    #[error("hear from the compiler")]
    Pipe(#[from] io::Error),
    #[error("compile everything: it ended with {0:?}")]
    Status(Status),
    #[error("be done in time")]
    Late,
    #[error("hold what came of it")]
    TooMuch,
}

impl Preparer {
    pub fn new() -> (Preparer, Expected) {
        let (expect, expected) = mpsc::channel(EXPECTED_MAX);
        (Preparer(expect), expected)
    }

    pub fn expect(&self, function: Arc<FunctionSpec>) {
        // Whoever makes so many at once will not ask for all of them at once.
        self.0.try_send(function).ok();
    }
}

/// Prepares what is expected until the runtime is no more.
pub fn run(inner: Weak<Inner>, mut expected: Expected, spawn: &Arc<dyn Spawn>) {
    let (compile, mut compiled) = mpsc::channel::<Arc<FunctionSpec>>(EXPECTED_MAX);
    let compiling = inner.clone();
    let unpack = async move {
        while let Some(function) = expected.recv().await {
            let Some(inner) = inner.upgrade() else { return };
            inner.stock.wait_for_launches().await;
            prepare(&inner, &function).await;
            // It may take long, and others wait for less.
            compile.try_send(function).ok();
        }
    };
    let compile = async move {
        while let Some(function) = compiled.recv().await {
            let Some(inner) = compiling.upgrade() else { return };
            inner.stock.wait_for_launches().await;
            compile_once(&inner, &function).await;
        }
    };
    spawn.spawn("preparer", Box::pin(unpack));
    spawn.spawn("compiler", Box::pin(compile));
}

async fn prepare(inner: &Inner, function: &FunctionSpec) {
    if let Ok(served) = inner.languages.serve(&function.runtime).await {
        inner.stock.expect(&launch::kind(inner, function, &served));
    }
    if let Err(error) = inner.code.code(function.code).await {
        tracing::debug!(function = function.name, "failed to {}", with_causes(&error));
    }
    if let Err(error) = inner.code.layers(&function.layers).await {
        tracing::debug!(function = function.name, "failed to {}", with_causes(&error));
    }
}

/// Keeps what a program makes of a version's code; nothing, if it fails, which is not tried again.
async fn compile_once(inner: &Inner, function: &FunctionSpec) {
    let Ok(served) = inner.languages.serve(&function.runtime).await else { return };
    let Preparation::Program(recipe) = languages::preparation(&served) else { return };
    let Some(name) = launch::prepared_name(inner, function, &served, None) else { return };
    if inner.code.prepared(&name).is_some() {
        return;
    }
    let (Ok(task), Ok(opt)) = (inner.code.code(function.code).await, inner.code.layers(&function.layers).await) else {
        return;
    };
    let made = timeout(recipe.within, compile(inner, &served, &recipe, &task, opt.as_ref())).await;
    let made = match made.unwrap_or(Err(CompileError::Late)) {
        Ok(made) => made,
        Err(error) => {
            let why = with_causes(&error);
            tracing::info!(function = function.name, "failed to compile its code ahead of time: failed to {why}");
            match error {
                // It would fail again.
                CompileError::Status(Status::Code(_)) | CompileError::TooMuch => Vec::new(),
                _ => return,
            }
        }
    };
    if let Err(error) = inner.code.keep(&name, made).await {
        tracing::warn!("failed to {}", with_causes(&error));
    }
}

async fn compile(
    inner: &Inner,
    served: &Served,
    recipe: &Recipe,
    task: &Lease,
    opt: Option<&Lease>,
) -> Result<Vec<u8>, CompileError> {
    let shown = [
        (Some(task.path()), launch::TASK),
        (opt.map(Lease::path), launch::OPT),
        (served.lang_dir.as_deref(), launch::LANG),
    ];
    let mounts =
        shown.into_iter().filter_map(|(host, inside)| Some(Mount { host: host?.into(), inside: inside.into() }));
    let limits = Limits { cpu: Cpu::Weight(AHEAD_CPU_MILLIS), ..Limits::for_memory(recipe.memory_bytes) };
    let spec = Spec {
        name: "prepare".to_owned(),
        mounts: mounts.collect(),
        limits,
        network: Network::Loopback,
        listen: Vec::new(),
    };
    let sandbox = inner.parts.isolation.start(spec).await?;
    let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC).map_err(io::Error::from)?;
    rustix::io::ioctl_fionbio(&ours, true).map_err(io::Error::from)?;
    let program = Program::new(recipe.argv.iter().cloned()).grant(1, theirs);
    let program = recipe.env.iter().fold(program, |program, (name, value)| program.env(name, value));
    let process = sandbox.run(program).await?;
    let mut made = Vec::new();
    Receiver::from_owned_fd(ours)?.take(PREPARED_BYTES_MAX.saturating_add(1)).read_to_end(&mut made).await?;
    let status = loop {
        match sandbox.event().await {
            Event::Exited { process: exited, exit } if exited == process => break exit.status,
            Event::Exited { .. } => {}
            Event::Gone => break Status::Signal(9),
        }
    };
    sandbox.kill().await;
    match status {
        _ if u64::try_from(made.len()).unwrap_or(u64::MAX) > PREPARED_BYTES_MAX => Err(CompileError::TooMuch),
        Status::Code(0) => Ok(made),
        other => Err(CompileError::Status(other)),
    }
}

//! What is made ready for functions that may be asked for: their code is unpacked, a room of their kind is held, and what
//! can be compiled of their code is compiled.
//!
//! One after the other, each while nobody's instance is being started. It is a courtesy: what cannot be made ready, or
//! is one too many, is made when it is asked for, and then says why it cannot be.

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Weak};

use base::ports::FunctionSpec;
use base::{Spawn, with_causes};
use parking_lot::Mutex;
use rustix::pipe::{PipeFlags, pipe_with};
use sandbox::{Cpu, Event, Limits, Mount, Network, Program, Spec, Status};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;

use crate::code::{CodeCache, Lease, Prepared, PreparedName};
use crate::languages::{self, Family, PREPARED_BYTES_MAX, Preparation, Recipe, Sees, Served};
use crate::launch;
use crate::limits::{AHEAD_CPU_MILLIS, EXPECTED_MAX, HANDOVERS_MAX};
use crate::room;
use crate::runtime::Inner;

pub struct Preparer {
    expect: mpsc::Sender<Arc<FunctionSpec>>,
    /// The files that runtimes are asked for, so that none is asked for twice.
    asked: Arc<Mutex<HashSet<String>>>,
    room: Arc<Semaphore>,
}

/// Leave to ask one runtime for what it has compiled, until it is kept or given up: it is held in the server's memory.
pub struct Handover {
    name: PreparedName,
    asked: Arc<Mutex<HashSet<String>>>,
    _room: OwnedSemaphorePermit,
}

impl Handover {
    pub fn name(&self) -> &PreparedName {
        &self.name
    }
}

impl Drop for Handover {
    fn drop(&mut self) {
        self.asked.lock().remove(&self.name.file);
    }
}

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
        let room = Arc::new(Semaphore::new(HANDOVERS_MAX));
        (Preparer { expect, asked: Arc::default(), room }, expected)
    }

    pub fn expect(&self, function: Arc<FunctionSpec>) {
        // Whoever makes so many at once will not ask for all of them at once.
        self.expect.try_send(function).ok();
    }

    /// None where it is there already, was found to be of no use, or is being handed over; and where too many are.
    pub fn hand_over(&self, code: &CodeCache, name: &PreparedName) -> Option<Handover> {
        if !matches!(code.prepared(name), Prepared::Nothing) {
            return None;
        }
        let room = Arc::clone(&self.room).try_acquire_owned().ok()?;
        let is_first = self.asked.lock().insert(name.file.clone());
        is_first.then(|| Handover { name: name.clone(), asked: Arc::clone(&self.asked), _room: room })
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
            keep_compiled(&inner, &function).await;
        }
    };
    spawn.spawn("preparer", Box::pin(unpack));
    spawn.spawn("compiler", Box::pin(compile));
}

async fn prepare(inner: &Inner, function: &FunctionSpec) {
    if let Ok(served) = inner.languages.serve(&function.runtime).await {
        inner.stock.expect(&room::kind(inner, function, &served));
    }
    if let Err(error) = inner.code.code(function.code).await {
        tracing::debug!(function = function.name, "failed to {}", with_causes(&error));
    }
    if let Err(error) = inner.code.layers(&function.layers).await {
        tracing::debug!(function = function.name, "failed to {}", with_causes(&error));
    }
}

/// Keeps what a program makes of a version's code; nothing, if it would fail again.
async fn keep_compiled(inner: &Inner, function: &FunctionSpec) {
    let Ok(served) = inner.languages.serve(&function.runtime).await else { return };
    let Preparation::Program(recipe) = languages::preparation(&served) else { return };
    let Some(name) = launch::prepared_name(inner, function, &served, None) else { return };
    if !matches!(inner.code.prepared(&name), Prepared::Nothing) {
        return;
    }
    let code = match recipe.sees {
        Sees::Code => (inner.code.code(function.code).await.map(Some), inner.code.layers(&function.layers).await),
        Sees::Runtime => (Ok(None), Ok(None)),
    };
    let (Ok(task), Ok(opt)) = code else { return };
    let make = async {
        let made = timeout(recipe.within, compile(inner, &served, &recipe, task.as_ref(), opt.as_ref())).await;
        made.unwrap_or(Err(CompileError::Late)).or_else(|error| {
            let why = with_causes(&error);
            tracing::info!(function = function.name, "failed to compile its code ahead of time: failed to {why}");
            if matches!(error, CompileError::Status(Status::Code(_)) | CompileError::TooMuch) {
                Ok(Vec::new())
            } else {
                Err(error)
            }
        })
    };
    match inner.code.prepare(&name, make).await {
        // Machines that are parked from now on begin with it.
        Ok(_) if served.family == Family::Java => inner.stock.expect(&room::kind(inner, function, &served)),
        Ok(_) => {}
        Err(error) => tracing::debug!("failed to {}", with_causes(&error)),
    }
}

async fn compile(
    inner: &Inner,
    served: &Served,
    recipe: &Recipe,
    task: Option<&Lease>,
    opt: Option<&Lease>,
) -> Result<Vec<u8>, CompileError> {
    let shown = [
        (task.map(Lease::path), launch::TASK),
        (opt.map(Lease::path), launch::OPT),
        (served.runtime_dir.as_deref().filter(|_| recipe.sees == Sees::Runtime), launch::RUNTIME),
        (served.lang_dir.as_deref(), launch::LANG),
    ];
    let mounts =
        shown.into_iter().filter_map(|(host, inside)| Some(Mount { host: host?.into(), inside: inside.into() }));
    let limits = Limits { cpu: Cpu::Weight(AHEAD_CPU_MILLIS), ..Limits::for_memory(recipe.memory_bytes) };
    let spec = Spec {
        is_ahead: false,
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

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use base::{Clock, SystemClock, Uuid};
    use store::{Blobs, Store};

    use super::*;

    #[tokio::test]
    async fn one_runtime_is_asked_for_a_name_and_so_many_at_once() {
        let (clock, dir): (Arc<dyn Clock>, _) = (Arc::new(SystemClock), tempfile::tempdir().unwrap());
        let blobs = Blobs::temporary(&Store::memory(clock.clone()), clock).unwrap();
        let code = CodeCache::open(blobs, dir.path()).unwrap();
        let (preparer, _expected) = Preparer::new();
        let name = |file: &str| PreparedName { file: format!("p-{file}"), release: Uuid::NIL };
        let ask = |file: &str| preparer.hand_over(&code, &name(file));

        let first = ask("one").unwrap();
        assert!(ask("one").is_none(), "another is being asked for it");
        let others: Vec<Handover> = (1..HANDOVERS_MAX).map(|number| ask(&number.to_string()).unwrap()).collect();
        assert!(ask("more").is_none(), "too many are being asked");
        drop(others);
        drop(ask("more").unwrap());
        drop(first);
        let again = ask("one").unwrap();
        let made = std::future::ready(Ok::<_, Infallible>(b"made".to_vec()));
        code.prepare(again.name(), made).await.unwrap();
        drop(again);
        assert!(ask("one").is_none(), "it is there");
        code.reject(&name("one"));
        assert!(ask("one").is_none(), "it is of no use");
        assert_eq!((preparer.asked.lock().len(), preparer.room.available_permits()), (0, HANDOVERS_MAX));
    }
}

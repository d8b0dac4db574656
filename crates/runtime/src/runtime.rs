//! The crate's front: what it is built from, and `Invoke`.

use std::any::Any;
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base::ports::{Call, FunctionSpec, Invoke, InvokeError, Invoked, Telemetry};
use base::{BoxFuture, Chance, Clock, Secret, Spawn, Uuid};
use sandbox::{Isolation, Network};
use store::Blobs;

use crate::limits;

/// What an operator may choose.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where code is unpacked. May be deleted while no server runs. Sandboxes read below it; nobody else needs to.
    pub cache_dir: PathBuf,
    /// The SDKs that AWS ships in its runtimes: folders named by runtime (`python3.13`) or family (`python`, `nodejs`),
    /// whose content appears in `/var/runtime`.
    pub sdk_dir: PathBuf,
    /// Interpreters that are not where they are looked for: a runtime's name, and the folder that has `bin`.
    pub interpreters: BTreeMap<String, PathBuf>,
    pub runtime_match: Match,
    pub network: Network,
    /// AWS's hard share of the CPU instead of a weight.
    pub is_cpu_hard: bool,
    /// How many invocations may run at once in one account and region.
    pub concurrency_max: u32,
    pub keep_alive: Duration,
    /// The port of 127.0.0.1 at which functions find the platform's own API.
    pub api_port: u16,
}

impl Settings {
    pub fn new(cache_dir: PathBuf, sdk_dir: PathBuf) -> Settings {
        Settings {
            cache_dir,
            sdk_dir,
            interpreters: BTreeMap::new(),
            runtime_match: Match::Nearest,
            network: Network::Loopback,
            is_cpu_hard: false,
            concurrency_max: limits::CONCURRENCY_DEFAULT,
            keep_alive: limits::KEEP_ALIVE_DEFAULT,
            api_port: 4566,
        }
    }
}

/// What happens where this machine lacks the version of a language that a function asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    /// The nearest of its family runs it, with a warning in the function's log.
    Nearest,
    /// It does not run.
    Exact,
}

/// What a `Runtime` stands on.
#[derive(Clone)]
pub struct Parts {
    pub blobs: Blobs,
    pub isolation: Isolation,
    /// The machine's: deadlines are real time.
    pub clock: Arc<dyn Clock>,
    pub chance: Arc<dyn Chance>,
    pub spawn: Arc<dyn Spawn>,
    pub host: Arc<dyn Host>,
    pub telemetry: Arc<dyn Telemetry>,
}

/// What the server does for each instance. `lamp` implements it.
pub trait Host: Send + Sync {
    /// A key that acts as the function's role, good for as long as what is returned lives: the instance keeps it.
    fn issue_key<'a>(&'a self, function: &'a FunctionSpec, instance: Uuid) -> BoxFuture<'a, Result<Key, String>>;

    /// Serves the platform's API on a socket inside the instance's sandbox, until what is returned is dropped. The
    /// listener is non-blocking.
    fn serve_api(&self, function: &FunctionSpec, instance: Uuid, listener: TcpListener) -> Box<dyn Any + Send>;
}

/// An instance's AWS credentials.
pub struct Key {
    pub access_key_id: String,
    pub secret_access_key: Secret<String>,
    pub session_token: Option<Secret<String>>,
    /// Whatever takes the key back when it is dropped.
    pub lease: Box<dyn Any + Send>,
}

#[derive(Debug, thiserror::Error)]
pub enum NewError {
    #[error("prepare the folder {path} for code")]
    Cache {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

/// Runs functions.
pub struct Runtime {
    #[expect(dead_code, reason = "the skeleton of the API")]
    settings: Settings,
    #[expect(dead_code, reason = "the skeleton of the API")]
    parts: Parts,
}

impl Runtime {
    /// Clears what an earlier process left in the cache, and looks for interpreters. Blocks on the disk for a moment.
    pub fn new(settings: Settings, parts: Parts) -> Result<Arc<Runtime>, NewError> {
        Ok(Arc::new(Runtime { settings, parts }))
    }

    /// Takes no more invocations, waits for those that run, and ends every instance. Cancelling it is safe: sandboxes
    /// die with the process anyway.
    pub async fn drain(&self) {}
}

impl Invoke for Runtime {
    fn invoke(&self, _function: Arc<FunctionSpec>, _call: Call) -> BoxFuture<'_, Result<Invoked, InvokeError>> {
        Box::pin(async { Err(InvokeError::CannotRun("This server runs no functions yet.".to_owned())) })
    }
}

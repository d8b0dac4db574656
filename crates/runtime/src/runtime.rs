//! The crate's front: what it is built from, and `Invoke`.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base::ports::{
    Call, Deleted, FunctionSpec, Invoke, InvokeError, Invoked, Provided, Provision, ProvisionId, SnapshotError,
    Telemetry,
};
use base::{AccountId, BoxFuture, Chance, Clock, Region, Secret, Spawn, Uuid};
use engine::dispatch::{Event, InstanceId, KeepAlive, Policy};
use sandbox::{Isolation, Network};
use store::Blobs;
use tokio::sync::{Notify, oneshot};

use crate::books::{self, Books, Due, Refused, Starting};
use crate::code::CodeCache;
use crate::images::{self, Images};
use crate::instance::{Left, Order};
use crate::languages::Languages;
use crate::memory::Scales;
use crate::places::Places;
use crate::prepare::{self, Preparer};
use crate::stock::{self, Stock};
use crate::template::{self, Templates};
use crate::{launch, limits, memory, snapshot};

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
    /// Functions run under users of their own, who read of an interpreter what everybody may.
    pub has_own_users: bool,
    /// How the operator is told to put an SDK in place; a runtime's name goes behind it.
    pub add_sdk: String,
    pub network: Network,
    /// AWS's hard share of the CPU instead of a weight.
    pub is_cpu_hard: bool,
    pub keep_alive: Duration,
    /// What the server and all that it runs may hold together. `None`: all that the host has.
    pub memory_bytes: Option<u64>,
    /// Rooms and runtimes that are held ready, of each kind that was wanted. None: every instance is made from nothing.
    pub parked_per_kind: u32,
    /// Those of all kinds together, unless one kind alone may be more.
    pub parked_max: u32,
    /// What images of templates, and of runtimes that wait, may hold together.
    pub image_bytes_max: u64,
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
            has_own_users: true,
            add_sdk: "lamp runtimes add".to_owned(),
            network: Network::Loopback,
            is_cpu_hard: false,
            keep_alive: limits::KEEP_ALIVE_DEFAULT,
            memory_bytes: None,
            parked_per_kind: limits::PARKED_PER_KIND,
            parked_max: limits::PARKED_MAX,
            image_bytes_max: limits::IMAGES_BYTES_MAX,
            api_port: 4566,
        }
    }

    /// Whether anything is made before it is asked for: rooms, compiled code, templates.
    pub(crate) fn makes_ahead(&self) -> bool {
        self.parked_per_kind > 0
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
pub struct Runtime(Arc<Inner>);

pub(crate) struct Inner {
    pub settings: Settings,
    pub parts: Parts,
    pub code: CodeCache,
    pub languages: Languages,
    pub stock: Arc<Stock>,
    pub preparer: Preparer,
    pub templates: Templates,
    pub images: Images,
    /// Where snapshots are made.
    pub places: Arc<Places>,
    pub books: Books,
    pub memory: Scales,
    /// Told of each instance that ends.
    instance_ended: Notify,
}

/// Lambda's rules, and what the operator may choose of the rest.
fn dispatch_settings(settings: &Settings, isolation: &Isolation) -> engine::dispatch::Settings {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    engine::dispatch::Settings {
        instances_max: limits::INSTANCES_MAX,
        spare_percent: limits::SPARE_PERCENT,
        are_weighed: isolation.held_bytes().is_some(),
        keep_alive: KeepAlive { policy: Policy::Predictive, keep: settings.keep_alive },
        ..engine::dispatch::Settings::new(cores)
    }
}

impl Runtime {
    /// Clears what an earlier process left in the cache. Blocks on the disk for a moment; to be called within the event
    /// loop.
    pub fn new(settings: Settings, parts: Parts) -> Result<Arc<Runtime>, NewError> {
        let cache = |source| NewError::Cache { path: settings.cache_dir.clone(), source };
        let code_dir = settings.cache_dir.join("code");
        let code = CodeCache::open(parts.blobs.clone(), &code_dir).map_err(cache)?;
        let languages_dir = settings.cache_dir.join("languages");
        match std::fs::remove_dir_all(&languages_dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(cache(error)),
            _ => crate::code::make_dir(&languages_dir).map_err(cache)?,
        }
        let parked = stock::Limits {
            per_kind: settings.parked_per_kind,
            per_kind_max: limits::PARKED_PER_KIND_MAX.max(settings.parked_per_kind),
            total_max: memory::parked_max(settings.memory_bytes, settings.parked_max).max(settings.parked_per_kind),
            making_max: limits::PARKED_AT_ONCE,
        };
        let isolation = parts.isolation.clone();
        let (preparer, expected) = Preparer::new();
        let (templates, wishes) = Templates::new(settings.makes_ahead());
        let (images, wishes_for_images) = Images::new(settings.makes_ahead());
        let books = Books::new(dispatch_settings(&settings, &isolation), parts.clock.now());
        let inner = Arc::new(Inner {
            stock: Stock::new(isolation, settings.network, settings.api_port, parked, &parts.spawn),
            preparer,
            templates,
            images,
            places: snapshot::places(),
            code,
            languages: Languages::new(settings.clone(), languages_dir),
            memory: Scales::new(settings.memory_bytes),
            settings,
            parts,
            books,
            instance_ended: Notify::new(),
        });
        prepare::run(Arc::downgrade(&inner), expected, &inner.parts.spawn);
        template::run(Arc::downgrade(&inner), wishes, &inner.parts.spawn);
        images::run(Arc::downgrade(&inner), wishes_for_images, &inner.parts.spawn);
        memory::tell(&inner);
        books::keep_time(Arc::downgrade(&inner), inner.books.nearer(), &*inner.parts.spawn);
        Ok(Arc::new(Runtime(inner)))
    }

    /// How many instances each function has, those that start or end among them.
    pub fn instances(&self) -> HashMap<(AccountId, Region, String), u32> {
        self.0.books.instances()
    }

    /// Takes no more invocations, waits for those that run, and ends every instance. Cancelling it is safe: sandboxes
    /// die with the process anyway.
    pub async fn drain(&self) {
        self.0.templates.close();
        self.0.images.close();
        self.0.stock.close();
        self.0.settle(self.0.books.tell(Event::Drain));
        loop {
            let ended = self.0.instance_ended.notified();
            tokio::pin!(ended);
            // From here on, so that no end is missed between looking and waiting.
            ended.as_mut().enable();
            if self.0.books.are_closed() {
                break;
            }
            ended.await;
        }
        self.0.stock.emptied().await;
    }
}

impl Invoke for Runtime {
    fn invoke(&self, function: Arc<FunctionSpec>, call: Call) -> BoxFuture<'_, Result<Invoked, InvokeError>> {
        let (reply, answer) = oneshot::channel();
        // Sent before anybody waits: who drops the future does not take the invocation back.
        self.0.settle(self.0.books.ask(function, Box::new(call), reply));
        Box::pin(async move {
            // Gone without an answer: it panicked, or the server is stopping.
            answer.await.unwrap_or_else(|_| Err(InvokeError::Internal("the instance is gone".to_owned())))
        })
    }

    fn expect(&self, function: Arc<FunctionSpec>) {
        self.0.preparer.expect(function);
    }

    fn forget(&self, deleted: Deleted) {
        let inner = Arc::clone(&self.0);
        // An image is large: nobody waits until it is given back.
        let forget = async move {
            inner.stock.forget_clones(inner.templates.forget_deleted(&deleted));
        };
        self.0.parts.spawn.spawn("a deleted function's templates", Box::pin(forget));
    }

    fn snapshot(&self, function: Arc<FunctionSpec>) -> BoxFuture<'_, Result<(), SnapshotError>> {
        Box::pin(async move { snapshot::make(&self.0, &function).await })
    }

    fn provide(&self, wanted: Vec<Provision>) {
        self.0.settle(self.0.books.provide(wanted));
    }

    fn provided(&self, id: &ProvisionId) -> Provided {
        self.0.books.provided(id)
    }
}

impl Inner {
    /// Does what the books left to be done.
    pub fn settle(self: &Arc<Self>, due: Due) {
        for Refused { function, call, reply, reason } in due.refused {
            self.parts.telemetry.throttled(&function, &call);
            reply.send(Err(InvokeError::Throttled(reason.as_str()))).ok();
        }
        due.starting.into_iter().for_each(|starting| self.start(starting));
    }

    fn start(self: &Arc<Self>, starting: Starting) {
        let inner = Arc::clone(self);
        let function = Arc::clone(&starting.function);
        // Dropped with the task, however that ends.
        // One that ends in the middle is not replaced at once: perhaps the server is stopping.
        let failure = Some(INTERNAL.to_owned());
        let mut gone = Gone { inner: Arc::clone(self), id: starting.id, failure };
        let task = async move {
            let Left { mut orders, failure, .. } = launch::launch(&inner, starting).await;
            gone.failure = failure;
            drop(gone);
            // It ended by itself while an invocation was on its way: another instance will do.
            while let Ok(order) = orders.try_recv() {
                if let Order::Invoke(_, call, reply) = order {
                    inner.settle(inner.books.ask(Arc::clone(&function), call, reply));
                }
            }
        };
        self.parts.spawn.spawn("instance", Box::pin(task));
    }
}

/// Why a provisioned instance is not there, in AWS's word, if its function is not to blame.
pub(crate) const INTERNAL: &str = "INTERNAL_ERROR";

/// Takes an instance off the books when its task ends.
struct Gone {
    inner: Arc<Inner>,
    id: InstanceId,
    failure: Option<String>,
}

impl Drop for Gone {
    fn drop(&mut self) {
        self.inner.memory.is_over(self.id);
        let due = self.inner.books.ended(self.id, self.failure.take());
        self.inner.settle(due);
        self.inner.instance_ended.notify_waiters();
    }
}

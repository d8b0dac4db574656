//! The crate's front: what it is built from, and `Invoke`.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base::ports::{Call, Concurrency, FunctionSpec, Invoke, InvokeError, Invoked, Telemetry};
use base::{BoxFuture, Chance, Clock, Secret, Spawn, Uuid};
use parking_lot::Mutex;
use sandbox::{Isolation, Network};
use store::Blobs;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::code::CodeCache;
use crate::dispatch::{self, Decision, Dispatch, InstanceId, Wanted};
use crate::instance::{Order, Reply};
use crate::languages::Languages;
use crate::prepare::{self, Preparer};
use crate::stock::{self, Stock};
use crate::{launch, limits};

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
    /// Rooms and runtimes that are held ready, of each kind that was wanted. None: every instance is made from nothing.
    pub parked_per_kind: u32,
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
            parked_per_kind: limits::PARKED_PER_KIND,
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
pub struct Runtime(Arc<Inner>);

pub(crate) struct Inner {
    pub settings: Settings,
    pub parts: Parts,
    pub code: CodeCache,
    pub languages: Languages,
    pub stock: Arc<Stock>,
    preparer: Preparer,
    /// Held for a decision, never across I/O.
    pub books: Mutex<Books>,
    /// Told of each instance that ends.
    instance_ended: Notify,
}

pub(crate) struct Books {
    pub dispatch: Dispatch,
    orders: HashMap<InstanceId, mpsc::Sender<Order>>,
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
        let dispatch = Dispatch::new(dispatch::Limits { instances_max: limits::INSTANCES_MAX });
        let parked = stock::Limits {
            per_kind: settings.parked_per_kind,
            per_kind_max: limits::PARKED_PER_KIND_MAX.max(settings.parked_per_kind),
            total_max: limits::PARKED_MAX.max(settings.parked_per_kind),
        };
        let isolation = parts.isolation.clone();
        let (preparer, expected) = Preparer::new();
        let inner = Arc::new(Inner {
            stock: Stock::new(isolation, settings.network, settings.api_port, parked, &*parts.spawn),
            preparer,
            code,
            languages: Languages::new(settings.clone(), languages_dir),
            settings,
            parts,
            books: Mutex::new(Books { dispatch, orders: HashMap::new() }),
            instance_ended: Notify::new(),
        });
        prepare::run(Arc::downgrade(&inner), expected, &*inner.parts.spawn);
        Ok(Arc::new(Runtime(inner)))
    }

    /// Takes no more invocations, waits for those that run, and ends every instance. Cancelling it is safe: sandboxes
    /// die with the process anyway.
    pub async fn drain(&self) {
        let mut idle = Vec::new();
        self.0.books.lock().dispatch.drain(&mut idle);
        self.0.stock.close();
        self.0.end(&idle);
        loop {
            let ended = self.0.instance_ended.notified();
            tokio::pin!(ended);
            // From here on, so that no end is missed between looking and waiting.
            ended.as_mut().enable();
            if self.0.books.lock().orders.is_empty() {
                return;
            }
            ended.await;
        }
    }
}

impl Invoke for Runtime {
    fn invoke(&self, function: Arc<FunctionSpec>, call: Call) -> BoxFuture<'_, Result<Invoked, InvokeError>> {
        let (reply, answer) = oneshot::channel();
        // Sent before anybody waits: who drops the future does not take the invocation back.
        self.0.send(function, Box::new(call), reply);
        Box::pin(async move {
            // Gone without an answer: it panicked, or the server is stopping.
            answer.await.unwrap_or_else(|_| Err(InvokeError::Internal("the instance is gone".to_owned())))
        })
    }

    fn expect(&self, function: Arc<FunctionSpec>) {
        self.0.preparer.expect(function);
    }
}

impl Inner {
    /// Gives an invocation to an instance, or answers why to none.
    pub fn send(self: &Arc<Self>, function: Arc<FunctionSpec>, call: Box<Call>, reply: Reply) {
        let wanted = Wanted {
            scope: (function.world, function.account, function.region.clone()),
            function: function.name.clone(),
            version: function.version.clone(),
            release: function.release,
            tenant: call.tenant_id.clone(),
        };
        let mut superseded = Vec::new();
        let mut books = self.books.lock();
        let starting = books.assign(&wanted, call.concurrency, Order::Invoke(call, reply), &mut superseded);
        drop(books);
        self.end(&superseded);
        if let Some((id, orders)) = starting {
            self.start(id, function, orders);
        }
    }

    fn start(self: &Arc<Self>, id: InstanceId, function: Arc<FunctionSpec>, orders: mpsc::Receiver<Order>) {
        let inner = Arc::clone(self);
        // Dropped with the task, however that ends.
        let gone = Gone { inner: Arc::clone(self), id };
        let task = async move {
            let gone = gone;
            launch::launch(&inner, id, function, orders).await;
            drop(gone);
        };
        self.parts.spawn.spawn("instance", Box::pin(task));
    }

    /// Ends idle instances that the dispatcher has forgotten.
    fn end(&self, instances: &[InstanceId]) {
        if instances.is_empty() {
            return;
        }
        let books = self.books.lock();
        for orders in instances.iter().filter_map(|id| books.orders.get(id)) {
            orders.try_send(Order::End).ok();
        }
    }
}

impl Books {
    /// Lends an instance for an invocation and gives it the order. One that must be started first is returned, with
    /// where it takes its orders from.
    fn assign(
        &mut self,
        wanted: &Wanted,
        concurrency: Concurrency,
        order: Order,
        ended: &mut Vec<InstanceId>,
    ) -> Option<(InstanceId, mpsc::Receiver<Order>)> {
        loop {
            match self.dispatch.lend(wanted, concurrency, ended) {
                Decision::Throttled(reason) => {
                    order.refuse(InvokeError::Throttled(reason));
                    return None;
                }
                Decision::Start(id) => {
                    // An invocation, and an order to end.
                    let (orders, received) = mpsc::channel(2);
                    orders.try_send(order).ok();
                    self.orders.insert(id, orders);
                    return Some((id, received));
                }
                Decision::Use(id) => match self.orders.get(&id).map(|orders| orders.try_reserve()) {
                    Some(Ok(place)) => {
                        place.send(order);
                        return None;
                    }
                    // It was just ending: another one will do.
                    _ => self.dispatch.ended(id),
                },
            }
        }
    }
}

/// Takes an instance off the books when its task ends.
struct Gone {
    inner: Arc<Inner>,
    id: InstanceId,
}

impl Drop for Gone {
    fn drop(&mut self) {
        let mut books = self.inner.books.lock();
        books.dispatch.ended(self.id);
        books.orders.remove(&self.id);
        drop(books);
        self.inner.instance_ended.notify_waiters();
    }
}

//! Builds the server from its parts. Reads as a table of contents: everything that runs is made here, in order.

use std::error::Error;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use base::ports::{Invoke, Telemetry};
use base::{Chance, Clock, Spawn, SystemChance, SystemClock};
use chronicle::Chronicle;
use metrics::Metrics as Measured;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use services::derived::{Derived, Rules};
use services::{Cloud, Memory, Post};
use store::{Blobs, Store, Vault, data_dir, private_file};
use wire::body::Bodies;
use wire::hosts::Hosts;
use wire::limits::{self, Limits};
use wire::metrics::Metrics;
use wire::page::Pages;
use wire::pipeline::{Mode, Pipeline};
use wire::route::Router;
use wire::server::{Listener, Server, Tasks, Tls};
use wire::sigv4::Verifier;

use crate::cli::AuthMode;
use crate::config::{self, Config};
use crate::control::{Running, Served};
use crate::functions::{self, Keys, Unable};
use crate::keys::TokenKey;
use crate::platform::{self, Platform};
use crate::root::Root;
use crate::sandboxes::{Sandboxes, has_own_users};
use crate::steering::{Desk, Steering};
use crate::usage::Books;

/// What is kept in a data directory, open.
pub struct Data {
    pub store: Store,
    pub blobs: Blobs,
    pub vault: Vault,
    pub clock: Arc<dyn Clock>,
    pub chance: Arc<dyn Chance>,
}

impl Data {
    pub async fn open(dir: &Path) -> Result<Self, Box<dyn Error>> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let chance: Arc<dyn Chance> = Arc::new(SystemChance::default());
        let store = Store::open(dir, clock.clone(), store::Options::default())?;
        let blobs = Blobs::open(&store, &data_dir::blobs(dir), clock.clone())?;
        let vault = Vault::open(&store, &data_dir::master_key(dir), chance.clone()).await?;
        // A rotation that a crash interrupted goes on where it was.
        vault.finish_rotation().await?;
        Ok(Self { store, blobs, vault, clock, chance })
    }
}

impl Data {
    /// What the control socket can be asked about.
    pub fn served(&self, running: Option<Running>) -> Served {
        Served { store: self.store.clone(), blobs: self.blobs.clone(), vault: self.vault.clone(), running }
    }
}

/// A server, listening and ready to run.
pub struct Lamp {
    pub data: Data,
    pub server: Server,
    pub listener: Listener,
    /// Where functions reach it: without TLS, and as long as any runs.
    pub inner: Listener,
    pub root: Arc<Root>,
    pub tasks: Tasks,
    pub cloud: Arc<Cloud>,
    pub functions: Option<Arc<runtime::Runtime>>,
    pub collector: Option<otlp::Exporter>,
    /// What is made of what was said and done.
    pub derived: Arc<Derived>,
    pub books: Books,
    is_tls: bool,
}

impl Lamp {
    /// Where clients on this machine reach it.
    pub fn endpoint(&self) -> String {
        let mut address = self.listener.local_addr();
        if address.ip().is_unspecified() {
            let loopback = if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
            address.set_ip(loopback);
        }
        format!("{}://{address}", if self.is_tls { "https" } else { "http" })
    }

    /// What the operator's commands can ask about.
    pub fn served(&self) -> Served {
        self.data.served(Some(Running {
            endpoint: self.endpoint(),
            cloud: self.cloud.clone(),
            books: self.books.clone(),
            steering: self.steering(),
        }))
    }

    fn steering(&self) -> Steering {
        Steering::new(self.post(), self.data.clock.clone())
    }

    /// What takes events to functions.
    pub fn post(&self) -> Post {
        post(&self.data, &self.cloud, &self.tasks)
    }

    pub async fn build(config: &Config) -> Result<Self, Box<dyn Error>> {
        let data = Data::open(&config.data_dir).await?;
        let listener = Listener::bind(config.listen)
            .map_err(|error| format!("{error}: {}; choose another with --port or --host", error.source))?;
        let keys_dir = data_dir::keys(&config.data_dir);
        let token_key = TokenKey::open(&keys_dir, &*data.chance)?;
        let root = Arc::new(Root::open(&keys_dir, &*data.chance)?);
        let tasks = Tasks::default();
        let spawn: Arc<dyn Spawn> = Arc::new(tasks.clone());
        let keys = Keys::new(root.clone(), data.chance.clone());
        let inner = Listener::bind((Ipv4Addr::LOCALHOST, 0).into())?.without_tls();
        let doors = Doors { outer: listener.local_addr(), inner: inner.local_addr() };
        let metrics = Measured::open(&data.store, data.clock.clone()).await?;
        let rules = Rules::open(&data.store).await?;
        let derived = Arc::new(Derived::new(metrics.clone(), rules.clone(), config.prices.clone(), data.clock.clone()));
        let chronicle = Chronicle::open(&data.store, data.clock.clone(), data.chance.clone(), derived.clone()).await?;
        let collector = config.otlp.clone().map(otlp::Collector::new).transpose()?;
        let collector = collector.map(|collector| otlp::Exporter::new(collector, data.clock.clone()));
        let (live, clock) = (derived.live(), data.clock.clone());
        let logs = functions::Logs { chronicle: chronicle.clone(), collector: collector.clone(), live, clock };
        let functions = runtime(config, &data, doors, keys.clone(), (spawn.clone(), Arc::new(logs))).await?;
        let cloud = Arc::new(Cloud {
            functions: invoked_by(functions.as_ref()),
            store: data.store.clone(),
            blobs: data.blobs.clone(),
            vault: data.vault.clone(),
            chronicle,
            metrics,
            rules,
            pages: Pages::new(token_key.bytes())?,
            memory: Memory::default(),
            spawn,
            concurrency_max: config.functions.concurrency,
            links: token_key.links(),
        });
        let (prices, clock) = (config.prices.clone(), data.clock.clone());
        let (metrics, live) = (cloud.metrics.clone(), derived.live());
        let books = Books { metrics, prices, live, clock, functions: functions.clone() };
        let counted = platform::functions::Functions {
            live: derived.live(),
            clock: data.clock.clone(),
            chronicle: cloud.chronicle.clone(),
            metrics: cloud.metrics.clone(),
            collector: collector.clone(),
        };
        let steering = Steering::new(post(&data, &cloud, &tasks), data.clock.clone());
        let desk = Desk { steering, keys: root.clone(), is_strict: config.auth == AuthMode::Strict };
        let metrics = Metrics::with(vec![Box::new(counted)]);
        let server = serve(config, &data, &cloud, (keys, &tasks, metrics, books.clone(), desk))?;
        let is_tls = config.tls.is_some();
        Ok(Self { data, server, listener, inner, root, tasks, cloud, functions, collector, derived, books, is_tls })
    }
}

fn post(data: &Data, cloud: &Arc<Cloud>, tasks: &Tasks) -> Post {
    let (clock, chance) = (data.clock.clone(), data.chance.clone());
    Post { cloud: cloud.clone(), spawn: Arc::new(tasks.clone()), clock, chance }
}

/// The server: what listens, in front of all services.
fn serve(
    config: &Config,
    data: &Data,
    cloud: &Arc<Cloud>,
    (keys, tasks, metrics, books, desk): (Arc<Keys>, &Tasks, Metrics, Books, Desk),
) -> Result<Server, Box<dyn Error>> {
    let services = services::all(cloud)?;
    let metrics = Arc::new(metrics);
    let platform = Arc::new(Platform {
        cloud: cloud.clone(),
        clock: data.clock.clone(),
        started: data.clock.now(),
        metrics: metrics.clone(),
        books,
        desk,
        services: services.iter().map(|(_, service)| (service.name, !service.handlers.is_empty())).collect(),
    });
    let limits = Limits { connections_max: connections_max(), ..Limits::default() };
    let spool_dir = config.data_dir.join("spool");
    std::fs::create_dir_all(&spool_dir)?;
    let pipeline = Pipeline {
        router: Router::new(services),
        authority: keys,
        mode: match config.auth {
            AuthMode::Dev => Mode::Dev,
            AuthMode::Strict => Mode::Strict,
        },
        hosts: Hosts::new(config.names.clone(), config.origins.clone()),
        bodies: Bodies::new(spool_dir, &limits),
        builtins: platform::builtins(&platform),
        metrics,
        machine_clock: data.clock.clone(),
        clock: data.clock.clone(),
        chance: data.chance.clone(),
        verifier: Verifier::default(),
    };
    Ok(Server::new(Arc::new(pipeline), Arc::new(tasks.clone()), tls(config)?, limits))
}

fn invoked_by(functions: Option<&Arc<runtime::Runtime>>) -> Arc<dyn Invoke> {
    const UNABLE: &str = "Lamplight has no way of running functions on this machine: see what lamp doctor says.";
    match functions {
        Some(runtime) => runtime.clone(),
        None => Arc::new(Unable(UNABLE.to_owned())),
    }
}

/// Where the server listens: for everybody, and for functions alone.
struct Doors {
    outer: SocketAddr,
    inner: SocketAddr,
}

/// What runs functions, in sandboxes of this machine; `None` if it lends none.
async fn runtime(
    config: &Config,
    data: &Data,
    doors: Doors,
    keys: Arc<Keys>,
    (spawn, telemetry): (Arc<dyn Spawn>, Arc<dyn Telemetry>),
) -> Result<Option<Arc<runtime::Runtime>>, Box<dyn Error>> {
    let Some(sandboxes) = Sandboxes::open(&config.functions, spawn.clone()).await? else { return Ok(None) };
    let settings = runtime::Settings {
        network: sandboxes.network,
        has_own_users: has_own_users(&config.functions, &sandboxes.features),
        api_port: doors.outer.port(),
        ..functions::settings(config)
    };
    let parts = runtime::Parts {
        blobs: data.blobs.clone(),
        isolation: sandboxes.isolation,
        clock: data.clock.clone(),
        chance: data.chance.clone(),
        host: Arc::new(functions::Host { keys, api: doors.inner, spawn: spawn.clone() }),
        spawn,
        telemetry,
    };
    Ok(Some(runtime::Runtime::new(settings, parts)?))
}

/// As many connections as the process may have descriptors for, less what everything else needs.
fn connections_max() -> usize {
    let limits = getrlimit(Resource::Nofile);
    // Raised as far as the operator allows; where that fails, the old limit counts.
    let raised = Rlimit { current: limits.maximum, ..limits };
    let allowed = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limits.maximum,
        Err(_) => limits.current,
    };
    let allowed = allowed.and_then(|count| usize::try_from(count).ok()).unwrap_or(usize::MAX);
    allowed.saturating_sub(DESCRIPTORS_RESERVED).clamp(1, limits::CONNECTIONS_MAX)
}

/// Descriptors for the database, spools, blobs and the log.
const DESCRIPTORS_RESERVED: usize = 128;

/// TLS as configured. A self-made certificate is kept, so that clients that trust it go on doing so.
fn tls(config: &Config) -> Result<Option<Tls>, Box<dyn Error>> {
    match &config.tls {
        None => Ok(None),
        Some(config::Tls::Files { certificate, key }) => Ok(Some(Tls::from_files(certificate, key)?)),
        Some(config::Tls::SelfSigned) => {
            let dir = config.data_dir.join("tls");
            let (certificate, key) = (dir.join("certificate.pem"), dir.join("key.pem"));
            if !certificate.exists() {
                let names = [
                    "localhost",
                    "*.localhost",
                    "localhost.localstack.cloud",
                    "*.localhost.localstack.cloud",
                    "127.0.0.1",
                    "::1",
                ];
                let names = names.into_iter().map(str::to_owned).chain(config.names.iter().cloned()).collect();
                let (certificate, key) = Tls::make_self_signed(names)?;
                private_file::write(&dir.join("key.pem"), key.expose().as_bytes())?;
                private_file::write(&dir.join("certificate.pem"), certificate.as_bytes())?;
            }
            Ok(Some(Tls::from_files(&certificate, &key)?))
        }
    }
}

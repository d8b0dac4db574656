//! Sandboxes of real processes: the server's side. It starts the spawner, sends it orders, and speaks with the init of
//! each sandbox.
//!
//! server --orders, reports--> spawner --gives birth--> init --exec--> programs; server --commands, news--> init.
//!
//! Freezing, counting and killing go straight to the kernel, without asking anybody.

mod addresses;
mod bare;
pub mod cgroup;
mod egress;
mod enter;
mod etc;
mod forwarding;
mod gauges;
mod held;
mod helpers;
pub mod image;
mod init;
mod interface;
mod landlock;
mod lent;
mod names;
mod netlink;
mod network;
mod nft;
mod pasta;
mod room;
mod seccomp;
mod spawner;
mod step;
mod template;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitCode, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base::{BoxFuture, Spawn};
use parking_lot::Mutex;
use rustix::net::RecvFlags;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Mutex as AsyncMutex, oneshot, watch};
use tokio::time::Instant;

use crate::features::{EGRESS, Features};
use crate::isolation::{self, Backend, Isolation, StartError};
use crate::limits::{LISTENERS_MAX, MOUNTS_MAX};
use crate::message::{self, Order, Report, Took};
use crate::places::Places;
use crate::process::cgroup::Group;
use crate::process::image::Description;
use crate::process::room::ProcessRoom;
use crate::process::step::Failure;
use crate::spec::{Limits, Mount, Network, Spec};
use crate::sys;

#[cfg(feature = "testing")]
pub use step::fault::Fault;

const SPAWNER: &str = "__spawner";

/// To be called first in `main`, before any thread starts: when this process was started to be the spawner of another,
/// it does that work and gives its exit code.
pub fn take_over() -> Option<ExitCode> {
    (std::env::args_os().nth(1)? == SPAWNER).then(spawner::main)
}

/// How sandboxes are made on this host.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Settings {
    /// The binary whose `main` calls `take_over`: normally this one.
    pub binary: PathBuf,
    /// As root, sandboxes run under uids from here on, one each. Nobody else should have them.
    pub uid_base: u32,
    /// Whether sandboxes may have a way out at all. Then what it takes is put in place at once, where the host can do
    /// it.
    pub has_egress: bool,
    /// Who is asked for the names that sandboxes with egress look up. Empty: whom the host asks.
    pub nameservers: Vec<IpAddr>,
    /// Private networks that sandboxes with egress reach: address and length of the prefix.
    pub allowed_networks: Vec<(Ipv4Addr, u8)>,
    /// For egress, set `net.ipv4.ip_forward` where it is 0, for our sandboxes alone, and set it back at the end.
    pub may_forward: bool,
    /// What all sandboxes together may hold, where control groups can be had.
    pub memory_bytes: Option<u64>,
    /// As root: make sandboxes with the rights of this user only.
    pub as_user: Option<u32>,
    #[cfg(feature = "testing")]
    pub fault: Option<Fault>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            binary: PathBuf::from("/proc/self/exe"),
            // Above what systemd gives to containers and services, below where uids turn negative in old programs.
            uid_base: 1_879_200_000,
            has_egress: true,
            nameservers: Vec::new(),
            allowed_networks: Vec::new(),
            may_forward: false,
            memory_bytes: None,
            as_user: None,
            #[cfg(feature = "testing")]
            fault: None,
        }
    }
}

/// Whether sandboxes have walls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    Confined,
    Bare,
}

impl Kind {
    /// All that the kernel lets a sandbox hold: `/tmp` too, where that is memory (`held`).
    fn memory_bytes(self, limits: &Limits) -> u64 {
        match self {
            Kind::Confined => limits.memory_bytes.saturating_add(limits.tmp_bytes),
            Kind::Bare => limits.memory_bytes,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum IsolationError {
    #[error("start the process that makes sandboxes")]
    Spawner(#[source] io::Error),
    #[error("{step}, to make sandboxes")]
    Refused {
        step: String,
        #[source]
        source: io::Error,
    },
}

impl IsolationError {
    /// What the operator can do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            IsolationError::Refused { step, .. } if step.contains("user namespace") || step.contains("map the uid") => {
                "run lamp as root, or allow user namespaces: sysctl user.max_user_namespaces above 0, and where they \
                 exist kernel.unprivileged_userns_clone=1 and kernel.apparmor_restrict_unprivileged_userns=0"
            }
            IsolationError::Refused { step, .. } if step.contains("/proc") => {
                "mount /proc without anything on top of its folders; containers need it unmasked"
            }
            IsolationError::Refused { .. } => {
                "lamp needs Linux 5.12 or newer, with /proc mounted and namespaces allowed"
            }
            IsolationError::Spawner(_) => "the lamp binary must be readable, and processes and descriptors to be had",
        }
    }
}

/// Isolation by processes, and what of it this host lends.
pub async fn processes(settings: Settings, spawn: Arc<dyn Spawn>) -> Result<(Isolation, Features), IsolationError> {
    begin(settings, Kind::Confined, spawn).await
}

/// No isolation: programs run as plain processes of the server's user, with what of the limits the host lends. For
/// hosts without namespaces; only where the operator has asked for it.
pub async fn bare(settings: Settings, spawn: Arc<dyn Spawn>) -> Result<(Isolation, Features), IsolationError> {
    tracing::warn!(
        "isolation is off: functions run as plain processes of this server's user, and can read, change and kill whatever it can"
    );
    begin(settings, Kind::Bare, spawn).await
}

async fn begin(settings: Settings, kind: Kind, spawn: Arc<dyn Spawn>) -> Result<(Isolation, Features), IsolationError> {
    let (spawner, features) = Spawner::start(settings.clone(), kind, Arc::clone(&spawn)).await?;
    let groups = Mutex::new(spawner.groups.get().cloned());
    let backend =
        Processes { settings, kind, spawner: AsyncMutex::new(spawner), groups, spawn, next: AtomicU64::new(1) };
    Ok((Isolation(Arc::new(backend)), features))
}

struct Processes {
    settings: Settings,
    kind: Kind,
    spawner: AsyncMutex<Arc<Spawner>>,
    /// The group of all sandboxes of that spawner.
    groups: Mutex<Option<Group>>,
    spawn: Arc<dyn Spawn>,
    next: AtomicU64,
}

impl Processes {
    /// The spawner, or a new one in place of one that died, whose sandboxes died with it.
    async fn spawner(&self) -> Result<Arc<Spawner>, StartError> {
        let mut spawner = self.spawner.lock().await;
        if spawner.table.lock().is_gone {
            tracing::error!("the process that makes sandboxes has died; starting another");
            let started = Spawner::start(self.settings.clone(), self.kind, Arc::clone(&self.spawn)).await;
            let (new, _) = started.map_err(|error| {
                tracing::error!("failed to {}", base::with_causes(&error));
                StartError::SpawnerGone
            })?;
            *self.groups.lock() = new.groups.get().cloned();
            *spawner = new;
        }
        Ok(Arc::clone(&spawner))
    }

    async fn start_once(&self, spec: Spec) -> Result<isolation::Started, StartError> {
        let spawner = self.spawner().await?;
        if spec.network == Network::Egress
            && let Some(why) = spawner.no_egress.get().and_then(Option::as_deref)
        {
            return Err(StartError::NoEgress(why.to_owned()));
        }
        let token = self.next.fetch_add(1, Ordering::Relaxed);
        let has_names = spec.network == Network::Egress && self.kind == Kind::Confined;
        let wanted = spec.clone();
        let (answered, answer) = oneshot::channel();
        let (went, gone) = watch::channel(None);
        let began = Instant::now();
        spawner.await_start(token, answered, went)?;
        spawner.order(&Order::Start { token, spec: Box::new(spec) }).await?;
        let mut started = answer.await.map_err(|_| StartError::SpawnerGone)??;
        let (born, took) = (Instant::now(), started.took);
        let listen = |source| StartError::Step { step: "listen inside the sandbox".to_owned(), source };
        if let Some(names) = has_names.then(|| take_two(&mut started.listeners)).flatten() {
            names::serve(names, &self.settings.nameservers, &gone, &self.spawn).map_err(listen)?;
        }
        let listeners: Vec<TcpListener> = started.listeners.drain(..).map(TcpListener::from).collect();
        let places = match &started.folder {
            Some(folder) => places(&wanted, folder, &listeners).map_err(listen)?,
            None => Places::default(),
        };
        let room = ProcessRoom::open(token, started, self.kind, &wanted, places, gone, spawner, &*self.spawn).await?;
        log_steps(&wanted.name, took, born.saturating_duration_since(began), born.elapsed());
        Ok((Box::new(room), listeners))
    }
}

impl Backend for Processes {
    fn start(&self, spec: Spec) -> BoxFuture<'_, Result<isolation::Started, StartError>> {
        Box::pin(async move {
            check(&spec)?;
            match self.start_once(spec.clone()).await {
                // It died under our hands: once more, with the next.
                Err(StartError::SpawnerGone) => self.start_once(spec).await,
                other => other,
            }
        })
    }

    fn held_bytes(&self) -> Option<u64> {
        let groups = self.groups.lock().clone()?;
        groups.held_bytes()
    }
}

/// Where the time of a start went, in microseconds: `waited` is the way to the spawner and back, and its turn there.
fn log_steps(name: &str, took: Took, until_born: Duration, until_up: Duration) {
    let Took { groups, mounts, network, files, birth } = took;
    let steps = [groups, mounts, network, files, birth].into_iter().fold(0, u32::saturating_add);
    let waited = until_born.as_micros().saturating_sub(u128::from(steps));
    let confined = until_up.as_micros();
    tracing::debug!(name, waited, groups, mounts, network, files, birth, confined, "a sandbox was started");
}

/// What a caller may get wrong. The kernel sees the rest.
fn check(spec: &Spec) -> Result<(), StartError> {
    let named = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if spec.name.is_empty() || spec.name.len() > 64 || !spec.name.chars().all(named) {
        return Err(StartError::Spec("a name has 1 to 64 letters, digits and dashes"));
    }
    if spec.mounts.len() > MOUNTS_MAX || spec.listen.len() > LISTENERS_MAX {
        return Err(StartError::Spec("too many mounts or listeners"));
    }
    if !spec.mounts.iter().all(is_mountable) {
        return Err(StartError::Spec("a mount leads from an absolute path to one of the places for it"));
    }
    Ok(())
}

fn is_mountable(mount: &Mount) -> bool {
    mount.host.is_absolute() && template::MOUNT_POINTS.iter().any(|point| mount.inside.as_os_str() == *point)
}

/// Where programs without walls find what they look for inside.
fn places(spec: &Spec, folder: &Path, listeners: &[TcpListener]) -> io::Result<Places> {
    let mut places = Places::default();
    places.folder("/tmp", folder.join(bare::TMP));
    for point in template::MOUNT_POINTS {
        places.folder(point, folder.join(point.trim_start_matches('/')));
    }
    for mount in &spec.mounts {
        places.folder(&mount.inside, &mount.host);
    }
    for (port, listener) in spec.listen.iter().zip(listeners) {
        places.port(*port, listener.local_addr()?.port());
    }
    Ok(places)
}

/// What the spawner hands out.
struct Started {
    control: OwnedFd,
    init: OwnedFd,
    /// With egress, the two for names come first.
    listeners: Vec<OwnedFd>,
    group: Group,
    folder: Option<PathBuf>,
    took: Took,
}

fn take_two(listeners: &mut Vec<OwnedFd>) -> Option<[OwnedFd; 2]> {
    (listeners.len() >= 2).then(|| listeners.drain(..2).collect::<Vec<_>>().try_into().ok())?
}

/// Of an image that was taken, its memory too; nothing of one that was resumed, or of who was led elsewhere.
type Imaged = Option<(Description, Option<OwnedFd>)>;
type ImageAnswer = oneshot::Sender<Result<Imaged, Failure>>;
type StartAnswer = oneshot::Sender<Result<Started, StartError>>;

/// The server's end of the spawner. Dropping it ends the spawner and every sandbox.
struct Spawner {
    socket: AsyncFd<OwnedFd>,
    table: Mutex<Table>,
    no_egress: OnceLock<Option<String>>,
    groups: OnceLock<Group>,
    /// Reaped when it goes.
    child: Mutex<Child>,
}

/// Who waits for what.
#[derive(Default)]
struct Table {
    is_gone: bool,
    starting: HashMap<u64, StartAnswer>,
    mounting: HashMap<u64, oneshot::Sender<i32>>,
    /// Who has a program stopped for an image or the like, and how often that was asked.
    requests: u64,
    imaging: HashMap<u64, ImageAnswer>,
    /// Told when one is gone, with the kills for memory that there were in it.
    living: HashMap<u64, watch::Sender<Option<u64>>>,
}

impl Spawner {
    async fn start(
        settings: Settings,
        kind: Kind,
        spawn: Arc<dyn Spawn>,
    ) -> Result<(Arc<Spawner>, Features), IsolationError> {
        let (ours, theirs) = message::pair().map_err(IsolationError::Spawner)?;
        let child = std::process::Command::new(&settings.binary)
            .arg(SPAWNER)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .spawn()
            .map_err(IsolationError::Spawner)?;
        let socket = sys::register(ours).map_err(IsolationError::Spawner)?;
        let spawner = Arc::new(Spawner {
            socket,
            table: Mutex::default(),
            no_egress: OnceLock::new(),
            groups: OnceLock::new(),
            child: Mutex::new(child),
        });
        let begin = Order::Begin { settings, kind, server: std::process::id() };
        transmit(&spawner.socket, &begin, &[]).await.map_err(IsolationError::Spawner)?;
        let features = match next(&spawner.socket).await.map_err(IsolationError::Spawner)? {
            Some((Report::Ready { features, has_set_switch, groups }, _)) => {
                let _ = spawner.groups.set(groups);
                if has_set_switch {
                    tracing::info!("net.ipv4.ip_forward is 1 now: the host forwards packets, for sandboxes alone");
                }
                features
            }
            Some((Report::Refused { step, errno }, _)) => {
                return Err(IsolationError::Refused { step, source: io::Error::from_raw_os_error(errno) });
            }
            _ => return Err(IsolationError::Spawner(io::ErrorKind::UnexpectedEof.into())),
        };
        let _ = spawner.no_egress.set(features.missing(EGRESS).map(str::to_owned));
        let weak = Arc::downgrade(&spawner);
        // Holds the socket's twin and no owner: when the last room and the isolation are gone, so is the spawner.
        let reader = spawner.socket.get_ref().try_clone().and_then(sys::register).map_err(IsolationError::Spawner)?;
        spawn.spawn(
            "spawner",
            Box::pin(async move {
                while let Ok(Some((report, fds))) = next(&reader).await {
                    let Some(spawner) = weak.upgrade() else { return };
                    spawner.table.lock().take(report, fds);
                }
                if let Some(spawner) = weak.upgrade() {
                    spawner.table.lock().end();
                }
            }),
        );
        Ok((spawner, features))
    }

    async fn order(&self, order: &Order) -> Result<(), StartError> {
        match transmit(&self.socket, order, &[]).await {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Err(StartError::Spec("it is too long")),
            Err(_) => {
                self.table.lock().end();
                Err(StartError::SpawnerGone)
            }
        }
    }

    fn await_start(&self, token: u64, answer: StartAnswer, gone: watch::Sender<Option<u64>>) -> Result<(), StartError> {
        let mut table = self.table.lock();
        if table.is_gone {
            return Err(StartError::SpawnerGone);
        }
        table.starting.insert(token, answer);
        table.living.insert(token, gone);
        Ok(())
    }

    async fn mount(&self, token: u64, mounts: Vec<Mount>) -> io::Result<()> {
        let (answered, answer) = oneshot::channel();
        self.table.lock().mounting.insert(token, answered);
        transmit(&self.socket, &Order::Mount { token, mounts }, &[]).await?;
        match answer.await {
            Ok(0) => Ok(()),
            Ok(errno) => Err(io::Error::from_raw_os_error(errno)),
            Err(_) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

impl Spawner {
    /// Has the spawner stop a program for an image or the like, by the order that is made of a number for the request.
    async fn image(&self, order: impl FnOnce(u64) -> Order, memory: Option<BorrowedFd<'_>>) -> Result<Imaged, Failure> {
        let (answered, answer) = oneshot::channel();
        let request = {
            let mut table = self.table.lock();
            table.requests = table.requests.wrapping_add(1);
            let request = table.requests;
            table.imaging.insert(request, answered);
            request
        };
        let fds: Vec<_> = memory.into_iter().collect();
        let sent = transmit(&self.socket, &order(request), &fds).await;
        sent.map_err(Failure::of("reach the process that starts sandboxes"))?;
        let lost = Failure::of("hear from the process that starts sandboxes");
        answer.await.unwrap_or_else(|_| Err(lost(io::ErrorKind::BrokenPipe.into())))
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        // Otherwise the reader's twin would keep the spawner waiting.
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
        let _ = self.child.lock().wait();
    }
}

impl Table {
    fn take(&mut self, report: Report, fds: Vec<OwnedFd>) {
        match report {
            Report::Started { token, group, folder, took } => {
                if let Some(answer) = self.starting.remove(&token) {
                    let mut fds = fds.into_iter();
                    let started = match (fds.next(), fds.next()) {
                        (Some(control), Some(init)) => {
                            Ok(Started { control, init, listeners: fds.collect(), group, folder, took })
                        }
                        _ => Err(StartError::SpawnerGone),
                    };
                    // A caller that has gone drops the control socket with this, and the sandbox ends.
                    let _ = answer.send(started);
                }
            }
            Report::NotStarted { token, step, errno } => {
                self.living.remove(&token);
                if let Some(answer) = self.starting.remove(&token) {
                    let _ = answer.send(Err(StartError::Step { step, source: io::Error::from_raw_os_error(errno) }));
                }
            }
            Report::Mounted { token, errno } => {
                if let Some(answer) = self.mounting.remove(&token) {
                    let _ = answer.send(errno);
                }
            }
            Report::Taken { request, image } => self.imaged(request, Ok(Some((image, fds.into_iter().next())))),
            Report::Learnt { request, image } => self.imaged(request, Ok(Some((image, None)))),
            Report::Resumed { request } | Report::There { request } => self.imaged(request, Ok(None)),
            Report::NoImage { request, step, errno } => {
                self.imaged(request, Err(Failure { step, source: io::Error::from_raw_os_error(errno) }));
            }
            Report::Gone { token, out_of_memory } => {
                if let Some(gone) = self.living.remove(&token) {
                    gone.send_replace(Some(out_of_memory));
                }
            }
            Report::Ready { .. } | Report::Refused { .. } => {}
        }
    }

    fn imaged(&mut self, request: u64, result: Result<Imaged, Failure>) {
        if let Some(answer) = self.imaging.remove(&request) {
            let _ = answer.send(result);
        }
    }

    /// The spawner is no more, and with it every sandbox.
    fn end(&mut self) {
        self.is_gone = true;
        self.starting.clear();
        self.mounting.clear();
        self.imaging.clear();
        for (_, gone) in self.living.drain() {
            gone.send_replace(Some(0));
        }
    }
}

async fn transmit<T: Serialize>(socket: &AsyncFd<OwnedFd>, message: &T, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    socket.async_io(Interest::WRITABLE, |socket| message::send(socket, message, fds)).await
}

async fn next<T: DeserializeOwned>(socket: &AsyncFd<OwnedFd>) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    socket.async_io(Interest::READABLE, |socket| message::receive(socket, RecvFlags::DONTWAIT)).await
}

/// What one process may hold: memory too, where there is no group for that. A user who has processes besides keeps
/// those.
fn rlimits(limits: &Limits, kind: Kind, has_memory_group: bool) -> message::Rlimits {
    /// AWS's.
    const PROCESSES: u64 = 742;
    message::Rlimits {
        open_files: limits.open_files,
        processes: (kind == Kind::Confined).then_some(PROCESSES),
        data_bytes: (!has_memory_group).then_some(kind.memory_bytes(limits)),
    }
}

#[cfg(feature = "testing")]
pub fn refusal(number: u32) -> Option<i32> {
    match seccomp::action(number) {
        seccomp::Action::Refuse(errno) => Some(errno),
        _ => None,
    }
}

//! Rooms that are made before anybody asks for them: empty ones, and ones in which a language's runtime waits for its
//! function. A cold start that finds one shows it the code, gives it the function's limits and its environment, and is
//! spared the rest.
//!
//! `policy` says how many of which kind. They are made a few at a time, with a small share of the CPU, and not while
//! somebody's instance is being started.
//!
//! Invariants: nothing of any function is in a parked room, where the interpreter and our bootstrap run, unless it is a
//! clone, which is for that version and tenant alone. A room is handed out once, to one instance, and never comes back.

mod policy;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Waker};
use std::time::Duration;

use base::{Spawn, with_causes};
use parking_lot::Mutex;
use sandbox::{Cpu, Image, ImageError, Isolation, Limits as RoomLimits, Mount, Network, ProcessId, Sandbox, Spec};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::code::Lease;
use crate::frames::Connection;
use crate::instance::Start;
use crate::launch::TASK;
use crate::limits::{
    AHEAD_CPU_MILLIS, LEAD_AGAIN_AFTER, LEAD_WITHIN, PARK_AFTER_LAUNCH_MAX, PARK_MEMORY_BYTES, PARKED_LOOKED_AT_EVERY,
    SANDBOX_START_TIMEOUT,
};
use crate::logs::Output;
use crate::template::Template;
use crate::variables::RUNTIME_API_PORT;

pub use policy::Limits;
use policy::{Next, Policy, Shelved};

/// What a parked room can become.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Whatever any function needs.
    Room,
    /// An instance of a function that this runtime serves.
    Runtime(Arc<Recipe>),
    /// An instance of the version that this is a template of.
    Clone(Arc<Template>),
}

/// What may stand in for each other when there are too many kinds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    Room,
    /// All of one of AWS's runtimes, which some start in another way for each size of memory.
    Runtime(Option<String>),
    Clone,
}

impl Shelved for Kind {
    type Group = Group;

    fn group(&self) -> Group {
        match self {
            Kind::Room => Group::Room,
            Kind::Runtime(recipe) => Group::Runtime(recipe.env.get("AWS_EXECUTION_ENV").cloned()),
            Kind::Clone(_) => Group::Clone,
        }
    }

    fn weight(&self) -> u32 {
        match self {
            Kind::Runtime(recipe) => recipe.weight,
            Kind::Room | Kind::Clone(_) => 1,
        }
    }
}

/// How a runtime is started before it is known for which function. Its content is its identity.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Recipe {
    pub argv: Vec<String>,
    /// What the interpreter reads once, when it starts.
    pub env: BTreeMap<String, String>,
    /// Where its files are on the host, and inside.
    pub mounts: Vec<(PathBuf, PathBuf)>,
    /// It cannot go to its function's folder itself.
    pub must_be_led: bool,
    /// How many times what a parked room usually holds it does.
    pub weight: u32,
    /// What is mounted of the code cache.
    pub archive: Held,
}

/// Kept as long as who names its place by other means; it makes nobody another.
#[derive(Clone)]
pub struct Held(pub Option<Lease>);

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Held").field(&self.0.as_ref().map(Lease::path)).finish()
    }
}

impl PartialEq for Held {
    fn eq(&self, _other: &Held) -> bool {
        true
    }
}

impl Eq for Held {}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Held) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Held {
    fn cmp(&self, _other: &Held) -> Ordering {
        Ordering::Equal
    }
}

pub struct Parked {
    pub sandbox: Sandbox,
    pub runtime: Option<Waiting>,
}

/// A runtime that waits for its function.
pub struct Waiting {
    pub process: ProcessId,
    pub connection: Connection,
    pub output: Output,
    /// Whose copy it is: it has loaded its function.
    pub template: Option<Arc<Template>>,
}

pub struct Stock {
    isolation: Isolation,
    network: Network,
    api_port: u16,
    began: Instant,
    table: Mutex<Table>,
    poked: Arc<Notify>,
    launches_over: Notify,
    /// Whether it is. Whoever makes something listens.
    closed: watch::Sender<bool>,
    spawn: Arc<dyn Spawn>,
}

struct Table {
    policy: Policy<Kind>,
    held: BTreeMap<Kind, Vec<Parked>>,
    /// Instances that are being started.
    launches: u32,
    made: u64,
    is_closed: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum ParkError {
    #[error("start a room")]
    Start(#[from] sandbox::StartError),
    #[error(transparent)]
    Wait(#[from] WaitError),
    #[error("stop a program, or make it begin where an image is")]
    Image(#[from] ImageError),
    #[error("do so in time")]
    Late,
}

/// There is no copy of a template.
pub struct Unmade {
    /// The image is to blame, and not the host or the moment.
    pub is_lasting: bool,
}

impl ParkError {
    fn is_lasting(&self) -> bool {
        let ParkError::Image(ImageError::Step { source, .. }) = self else { return false };
        source.kind() != std::io::ErrorKind::OutOfMemory
    }
}

/// Why no runtime waits.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    #[error("open pipes for a runtime")]
    Pipes(#[source] std::io::Error),
    #[error("run a runtime")]
    Run(#[from] sandbox::RunError),
    #[error("hear from a runtime that it waits")]
    Silent,
}

/// An instance that is being started, or loads its function, while it lives.
pub struct Launch {
    stock: Arc<Stock>,
}

impl Stock {
    pub fn new(
        isolation: Isolation,
        network: Network,
        api_port: u16,
        limits: Limits,
        spawn: &Arc<dyn Spawn>,
    ) -> Arc<Stock> {
        let table =
            Table { policy: Policy::new(limits), held: BTreeMap::new(), launches: 0, made: 0, is_closed: false };
        let poked = Arc::new(Notify::new());
        let stock = Arc::new(Stock {
            isolation,
            network,
            api_port,
            began: Instant::now(),
            table: Mutex::new(table),
            poked: Arc::clone(&poked),
            launches_over: Notify::new(),
            closed: watch::Sender::new(false),
            spawn: Arc::clone(spawn),
        });
        spawn.spawn("stock", Box::pin(tend(Arc::downgrade(&stock), poked)));
        stock
    }

    fn holds_any(&self) -> bool {
        !self.table.lock().held.is_empty()
    }

    /// What every room is, but for what it shows.
    pub fn spec(&self, name: String, limits: RoomLimits) -> Spec {
        // The Runtime API also where the runtime speaks frames: an extension within it may not.
        let listen = vec![self.api_port, RUNTIME_API_PORT];
        Spec { name, mounts: Vec::new(), limits, network: self.network, listen, is_ahead: false }
    }

    /// An instance is being started.
    pub fn launch(self: &Arc<Self>) -> Launch {
        let mut table = self.table.lock();
        table.launches = table.launches.saturating_add(1);
        Launch { stock: Arc::clone(self) }
    }

    /// Whether any instance is being started.
    pub fn is_launching(&self) -> bool {
        self.table.lock().launches > 0
    }

    /// How many rooms are held, heavy ones counted several times.
    pub fn parked(&self) -> u32 {
        let table = self.table.lock();
        let of_kind = |(kind, held): (&Kind, &Vec<Parked>)| {
            u32::try_from(held.len()).unwrap_or(u32::MAX).saturating_mul(kind.weight())
        };
        table.held.iter().map(of_kind).fold(0, u32::saturating_add)
    }

    /// A room of this kind, or an empty one.
    pub fn take(&self, kind: &Kind) -> Option<Parked> {
        self.take_only(kind).or_else(|| if *kind == Kind::Room { None } else { self.take_only(&Kind::Room) })
    }

    /// A copy of this template, if one waits.
    pub fn take_clone(&self, template: &Arc<Template>) -> Option<Parked> {
        self.take_only(&Kind::Clone(Arc::clone(template)))
    }

    fn take_only(&self, kind: &Kind) -> Option<Parked> {
        let mut parked = {
            let mut table = self.table.lock();
            let has = table.policy.take(self.began.elapsed(), kind);
            if has { table.pop(kind) } else { None }
        }?;
        while !parked.is_whole() {
            // The other one goes when nobody waits for the table.
            let another = {
                let mut table = self.table.lock();
                let has = table.policy.take_another(kind);
                if has { table.pop(kind) } else { None }
            };
            parked = another?;
        }
        Some(parked)
    }

    /// One of this kind may be asked for soon.
    pub fn expect(&self, kind: &Kind) {
        let mut table = self.table.lock();
        table.policy.expect(self.began.elapsed(), kind);
        drop(table);
        self.poked.notify_one();
    }

    /// Nobody will ask for one of this kind again.
    pub fn forget(&self, kind: &Kind) {
        self.table.lock().policy.forget(kind);
        self.poked.notify_one();
    }

    /// Of templates that are no more.
    pub fn forget_clones(&self, gone: Vec<Arc<Template>>) {
        gone.into_iter().for_each(|template| self.forget(&Kind::Clone(template)));
    }

    /// Holds nothing any more.
    pub fn close(&self) {
        let mut table = self.table.lock();
        table.is_closed = true;
        // A kind may be a template, which holds its image and its key.
        table.policy.clear();
        let (held, gone) = (std::mem::take(&mut table.held), table.policy.take_gone());
        drop(table);
        drop((held, gone));
        self.closed.send_replace(true);
        self.poked.notify_one();
    }

    /// Waits until nothing is being made any more, once it is closed.
    pub async fn emptied(&self) {
        self.closed.closed().await;
    }

    fn next(&self) -> Option<Next<Kind>> {
        let mut table = self.table.lock();
        let dead = table.take_dead();
        let next = (!table.is_closed).then(|| table.policy.next(self.began.elapsed()));
        // A kind may be a template, which holds its image and its key.
        let gone = table.policy.take_gone();
        drop(table);
        drop((dead, gone));
        next
    }

    async fn make(&self, kind: Kind, closed: &mut watch::Receiver<bool>) {
        let park = async {
            self.wait_for_launches().await;
            timeout(SANDBOX_START_TIMEOUT, self.park(&kind)).await.unwrap_or(Err(ParkError::Late))
        };
        let made = tokio::select! {
            made = park => made,
            _ = closed.wait_for(|is_closed| *is_closed) => return,
        };
        let mut table = self.table.lock();
        match made {
            Ok(parked) if !table.is_closed => {
                table.policy.made(&kind);
                table.held.entry(kind).or_default().push(parked);
            }
            Ok(late) => {
                drop(table);
                drop(late);
            }
            Err(error) => {
                table.policy.failed(self.began.elapsed(), &kind);
                drop(table);
                tracing::warn!("failed to make a room ahead of time: failed to {}", with_causes(&error));
            }
        }
    }

    /// Not in the way of a request; but where they do not end, there is all the more need.
    pub async fn wait_for_launches(&self) {
        let over = async {
            loop {
                let over = self.launches_over.notified();
                tokio::pin!(over);
                // From here on, so that no end is missed between looking and waiting.
                over.as_mut().enable();
                if !self.is_launching() {
                    return;
                }
                over.await;
            }
        };
        timeout(PARK_AFTER_LAUNCH_MAX, over).await.ok();
    }

    fn number(&self) -> u64 {
        let mut table = self.table.lock();
        table.made = table.made.saturating_add(1);
        table.made
    }

    /// A copy of this template, made now; and how long that took, but for its room.
    pub async fn make_clone(&self, template: &Arc<Template>) -> Result<(Parked, Duration), Unmade> {
        let spec = self.spec(format!("clone-{}", self.number()), template.limits.clone());
        let made = timeout(SANDBOX_START_TIMEOUT, self.park_clone(spec, template)).await;
        match made.unwrap_or(Err(ParkError::Late)) {
            Ok(made) => Ok(made),
            Err(error) => {
                template.worth.failed();
                tracing::warn!(
                    "failed to begin with a template; loading the function: failed to {}",
                    with_causes(&error)
                );
                Err(Unmade { is_lasting: error.is_lasting() })
            }
        }
    }

    /// Whether one of this kind is held.
    pub fn holds(&self, kind: &Kind) -> bool {
        self.table.lock().held.contains_key(kind)
    }

    async fn park(&self, kind: &Kind) -> Result<Parked, ParkError> {
        let number = self.number();
        // Whoever is asked for goes first.
        let limits = RoomLimits { cpu: Cpu::Weight(AHEAD_CPU_MILLIS), ..RoomLimits::for_memory(PARK_MEMORY_BYTES) };
        let what = if matches!(kind, Kind::Clone(_)) { "clone" } else { "parked" };
        let mut spec = Spec { is_ahead: true, ..self.spec(format!("{what}-{number}"), limits) };
        let recipe = match kind {
            Kind::Room => return Ok(Parked { sandbox: self.isolation.start(spec).await?, runtime: None }),
            Kind::Runtime(recipe) => recipe,
            Kind::Clone(template) => return self.park_clone(spec, template).await.map(|(parked, _)| parked),
        };
        let mounts = recipe.mounts.iter().cloned();
        spec.mounts = mounts.map(|(host, inside)| Mount { host, inside }).collect();
        let sandbox = self.isolation.start(spec).await?;
        let runtime = Waiting::start(&sandbox, &Start::parked(recipe)).await?;
        if recipe.must_be_led {
            // Where it is already: who cannot be led on this host is not kept for that.
            runtime.lead(&sandbox, TASK).await?;
        }
        Ok(Parked { sandbox, runtime: Some(runtime) })
    }

    async fn park_clone(&self, spec: Spec, template: &Arc<Template>) -> Result<(Parked, Duration), ParkError> {
        let limits = RoomLimits { cpu: spec.limits.cpu, ..template.limits.clone() };
        let spec = Spec { mounts: template.mounts.clone(), limits, is_ahead: true, ..spec };
        let began = Instant::now();
        let sandbox = self.isolation.start(spec).await?;
        let room = began.elapsed();
        let runtime = Waiting::begin(&sandbox, &template.start(), &template.image()).await?;
        let runtime = Waiting { template: Some(Arc::clone(template)), ..runtime };
        let copy = began.elapsed().saturating_sub(room);
        template.worth.made(room, copy);
        Ok((Parked { sandbox, runtime: Some(runtime) }, copy))
    }
}

/// Makes and discards what the policy says, until there is no stock any more.
async fn tend(stock: Weak<Stock>, poked: Arc<Notify>) {
    loop {
        let Some(alive) = stock.upgrade() else { return };
        let mut closed = alive.closed.subscribe();
        let wakeup = match alive.next() {
            None => return,
            Some(Next::Make(kind)) => {
                let stock = Arc::clone(&alive);
                let make = async move {
                    stock.make(kind, &mut closed).await;
                    drop(closed);
                    stock.poked.notify_one();
                };
                alive.spawn.spawn("stock's maker", Box::pin(make));
                continue;
            }
            Some(Next::Discard(kind)) => {
                let discarded = alive.table.lock().pop(&kind);
                drop(discarded);
                continue;
            }
            Some(Next::Wait(until)) => {
                let look = Instant::now().checked_add(PARKED_LOOKED_AT_EVERY).filter(|_| alive.holds_any());
                until.and_then(|until| alive.began.checked_add(until)).into_iter().chain(look).min()
            }
        };
        drop(alive);
        match wakeup {
            Some(at) => timeout_at(at, poked.notified()).await.unwrap_or_default(),
            None => poked.notified().await,
        }
    }
}

impl Drop for Stock {
    fn drop(&mut self) {
        self.poked.notify_one();
    }
}

impl Drop for Launch {
    fn drop(&mut self) {
        let mut table = self.stock.table.lock();
        table.launches = table.launches.saturating_sub(1);
        let are_over = table.launches == 0;
        drop(table);
        if are_over {
            self.stock.launches_over.notify_waiters();
        }
        self.stock.poked.notify_one();
    }
}

impl Table {
    /// Takes out what has died, as far as anybody has heard.
    fn take_dead(&mut self) -> Vec<Parked> {
        let mut dead = Vec::new();
        for (kind, held) in &mut self.held {
            for parked in held.extract_if(.., |parked| !parked.is_whole()) {
                self.policy.lost(kind);
                dead.push(parked);
            }
        }
        self.held.retain(|_, held| !held.is_empty());
        dead
    }

    fn pop(&mut self, kind: &Kind) -> Option<Parked> {
        let held = self.held.get_mut(kind)?;
        let parked = held.pop();
        if held.is_empty() {
            self.held.remove(kind);
        }
        parked
    }
}

impl Waiting {
    /// Starts a runtime in a room, and waits until it waits for its function.
    pub async fn start(sandbox: &Sandbox, start: &Start) -> Result<Waiting, WaitError> {
        let mut output = Output::default();
        let (program, connection) = start.runtime(&mut output).map_err(WaitError::Pipes)?;
        let mut connection = connection.ok_or(WaitError::Silent)?;
        let process = sandbox.run(program).await?;
        if connection.parked().await {
            Ok(Waiting { process, connection, output, template: None })
        } else {
            Err(WaitError::Silent)
        }
    }

    /// Has one begin in a room where an image is: that of a runtime that waits, or of a template.
    pub async fn begin(sandbox: &Sandbox, start: &Start, image: &Image) -> Result<Waiting, ParkError> {
        let mut output = Output::default();
        let (program, connection) = start.runtime(&mut output).map_err(WaitError::Pipes)?;
        let connection = connection.ok_or(WaitError::Silent)?;
        let process = sandbox.resume(image, program).await?;
        Ok(Waiting { process, connection, output, template: None })
    }

    /// Leads it to another folder.
    pub async fn lead(&self, sandbox: &Sandbox, folder: &str) -> Result<(), ImageError> {
        let give_up = Instant::now().checked_add(LEAD_WITHIN);
        loop {
            match sandbox.go_to(self.process, Path::new(folder)).await {
                // It is on its way to wait.
                Err(error) if error.is_too_soon() && give_up.is_some_and(|give_up| Instant::now() < give_up) => {
                    sleep(LEAD_AGAIN_AFTER).await;
                }
                other => return other,
            }
        }
    }
}

impl Parked {
    /// Whether all of it is alive, as far as anybody has heard.
    fn is_whole(&self) -> bool {
        let mut happened = pin!(self.sandbox.event());
        happened.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }
}

/// What every room that is made ahead has of limits that cannot change later.
pub fn fits(limits: &RoomLimits) -> bool {
    let parked = RoomLimits::for_memory(PARK_MEMORY_BYTES);
    (limits.tmp_bytes, limits.tmp_inodes) == (parked.tmp_bytes, parked.tmp_inodes)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn an_image_that_does_not_fit_is_to_blame_for_good() {
        let step = |kind: io::ErrorKind| {
            ParkError::Image(ImageError::Step { step: "accept the program".into(), source: kind.into() })
        };
        assert!(step(io::ErrorKind::InvalidData).is_lasting());
        assert!(!step(io::ErrorKind::OutOfMemory).is_lasting());
        assert!(!ParkError::Late.is_lasting());
        assert!(!ParkError::Wait(WaitError::Silent).is_lasting());
    }
}

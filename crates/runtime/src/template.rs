//! Templates: one runtime of a version that has loaded its function, as an image, with which new instances begin.
//!
//! A template is made once an instance of its version has answered, off everybody's path. Its import is watched
//! (`bootstraps/python/watch.py`), and there is a template only if another import would have left the same behind: no random
//! number, moment, descriptor, file, socket or thread. Rooms that begin with its image are a kind of the stock.
//!
//! What the import printed is written to the log of each instance, as each would have printed it. The key is the template's,
//! good for as long as it or one of its instances lives: clients that were made at import have it already. The name
//! of the log stream is the instance's own; an import that read it has no template.
//!
//! A snapshot of a version under SnapStart is a template too (`snapshot`), with fewer cares: nothing is watched, its printed
//! lines are in its own log, and each instance has a key of its own.
//!
//! Where no clone waits, a start makes one for itself if that is quicker than what it would do otherwise (`worth`). With its
//! function, or its version, a template is deleted.
//!
//! Invariants: a template is of one release of one tenant's function, under one interpreter. Each version is tried once.
//! Images are bounded together; the one that was wanted longest ago goes first. `shelf` keeps that.
//!
//! But for snapshots Python alone; on x86-64, behind walls.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering as Order};
use std::sync::{Arc, Weak};
use std::time::Duration;

use base::ports::{Deleted, FunctionSpec};
use base::{AccountId, Region, Spawn, Uuid, World, record, with_causes};
use parking_lot::Mutex;
use sandbox::{Cpu, Image, ImageError, Limits, Mount, ProcessId, Sandbox};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::frames::Connection;
use crate::instance::Start;
use crate::languages::{Family, Served};
use crate::launch::{self, Source};
use crate::limits::{
    AHEAD_CPU_MILLIS, EXPECTED_MAX, SANDBOX_START_TIMEOUT, TEMPLATE_PRINTED_BYTES_MAX, TEMPLATE_TRIES_MAX,
    TEMPLATE_UNWANTED_AFTER, TEMPLATES_KNOWN_MAX,
};
use crate::logs::{Output, Written};
use crate::room;
use crate::runtime::{Inner, Key};
use crate::shelf::Shelf;
use crate::snapshot;
use crate::stock::{Kind, WaitError, Waiting};
use crate::worth::{Spent, Worth};

const WATCH: &str = include_str!("../bootstraps/python/watch.py");

/// What each instance has of its own; what else is in its environment it has in common with its template.
const OWN_VARIABLE: &str = "AWS_LAMBDA_LOG_STREAM_NAME";

pub struct Template {
    /// Its identity.
    number: u64,
    /// Replaced by a better one, once.
    image: Mutex<Image>,
    is_learned: AtomicBool,
    /// What runs in a clone's room for the moment until it is a clone.
    argv: Vec<String>,
    env: BTreeMap<String, String>,
    pub mounts: Vec<Mount>,
    pub limits: Limits,
    identity: Seen,
    /// What loading the function printed.
    pub printed: Vec<Written>,
    pub worth: Worth,
    /// Its code.
    _held: launch::Code,
}

/// As whom its clones show themselves.
enum Seen {
    /// All with the template's key.
    Key(Mutex<Key>),
    /// Each with its own, which it asks for with this.
    Token(String),
}

/// What a program runs in and with, of which a snapshot is taken.
pub struct Shape {
    pub argv: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub mounts: Vec<Mount>,
    pub limits: Limits,
    pub token: String,
}

impl Template {
    pub fn image(&self) -> Image {
        self.image.lock().clone()
    }

    pub fn start(&self) -> Start {
        Start::parked_with(self.argv.clone(), self.env.clone())
    }

    /// Good as long as the template is held.
    pub fn key(&self) -> Option<Key> {
        let Seen::Key(key) = &self.identity else { return None };
        let key = key.lock();
        Some(Key {
            access_key_id: key.access_key_id.clone(),
            secret_access_key: key.secret_access_key.clone(),
            session_token: key.session_token.clone(),
            lease: Box::new(()),
        })
    }

    /// With which its clones ask for their keys.
    pub fn token(&self) -> Option<&str> {
        match &self.identity {
            Seen::Token(token) => Some(token),
            Seen::Key(_) => None,
        }
    }

    /// What of an instance's environment its program does not have yet.
    pub fn own(env: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        env.iter()
            .filter(|(name, _)| *name == OWN_VARIABLE)
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    /// Has later clones begin with the pages that this first one has written to answer, if none has been looked at.
    pub async fn learn(&self, sandbox: &Sandbox, process: ProcessId) {
        if self.is_learned.swap(true, Order::Relaxed) {
            return;
        }
        let image = self.image();
        match timeout(SANDBOX_START_TIMEOUT, sandbox.learn(&image, process)).await {
            Ok(Ok(image)) => *self.image.lock() = image,
            Ok(Err(error)) => tracing::debug!("failed to {}", with_causes(&error)),
            Err(_) => tracing::debug!("failed to learn from a clone in time"),
        }
    }
}

impl PartialEq for Template {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Template {}

impl PartialOrd for Template {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Template {
    fn cmp(&self, other: &Self) -> Ordering {
        self.number.cmp(&other.number)
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Template").field("number", &self.number).finish_non_exhaustive()
    }
}

/// Whose template it is, and nobody else's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Owner {
    scope: (World, AccountId, Region),
    function: String,
    version: String,
    release: Uuid,
    tenant: Option<String>,
    /// The interpreter.
    label: String,
    is_snapshot: bool,
}

impl Owner {
    pub fn new(function: &FunctionSpec, tenant: Option<&str>, served: &Served) -> Owner {
        Owner {
            scope: (function.world, function.account, function.region.clone()),
            function: function.name.clone(),
            version: function.version.clone(),
            release: function.release,
            // Nobody has called a snapshot yet.
            tenant: tenant.filter(|_| !function.is_snap_start).map(str::to_owned),
            label: served.label.clone(),
            is_snapshot: function.is_snap_start,
        }
    }

    fn is_of(&self, deleted: &Deleted) -> bool {
        let Deleted { world, account, region, function, version } = deleted;
        let scope = &self.scope;
        (scope.0, scope.1) == (*world, *account)
            && (&scope.2, &self.function) == (region, function)
            && version.as_ref().is_none_or(|version| *version == self.version)
    }

    pub fn is_snapshot(&self) -> bool {
        self.is_snapshot
    }

    /// Of a version that has another release now. One that is published has one for ever.
    pub fn is_before_or_after(&self, other: &Owner) -> bool {
        let version = |owner: &'_ Owner| (owner.scope.clone(), owner.function.clone(), owner.version.clone());
        self.release != other.release && version(self) == version(other)
    }
}

#[cfg(test)]
impl Owner {
    pub fn of_test(function: &str, is_snapshot: bool) -> Owner {
        Owner {
            scope: (World::default(), AccountId::ZERO, Region::default()),
            function: function.to_owned(),
            version: "1".to_owned(),
            release: Uuid::NIL,
            tenant: None,
            label: String::new(),
            is_snapshot,
        }
    }
}

pub struct Templates {
    table: Mutex<Table>,
    wishes: mpsc::Sender<Wish>,
}

struct Table {
    shelf: Shelf<Template>,
    made: u64,
    /// There is none to be had here.
    is_closed: bool,
}

pub struct Wish {
    function: Arc<FunctionSpec>,
    tenant: Option<String>,
}

pub type Wishes = mpsc::Receiver<Wish>;

#[derive(Debug, thiserror::Error)]
enum TemplateError {
    #[error("accept its import: it {0}")]
    Unfit(String),
    #[error("start a sandbox")]
    Start(#[from] sandbox::StartError),
    #[error(transparent)]
    Wait(#[from] WaitError),
    #[error("get its code or its key: {0}")]
    Parts(String),
    #[error("load it in time")]
    Late,
    #[error("{0}")]
    Image(#[from] ImageError),
}

impl Templates {
    pub fn new(is_wanted: bool) -> (Templates, Wishes) {
        let (wish, wishes) = mpsc::channel(EXPECTED_MAX);
        let is_closed = !is_wanted || !cfg!(target_arch = "x86_64");
        let table = Table { shelf: Shelf::new(TEMPLATES_KNOWN_MAX), made: 0, is_closed };
        (Templates { table: Mutex::new(table), wishes: wish }, wishes)
    }

    /// The template of this version, if there is one.
    pub fn of(&self, function: &FunctionSpec, tenant: Option<&str>, served: &Served) -> Option<Arc<Template>> {
        self.table.lock().shelf.of(&Owner::new(function, tenant, served))
    }

    /// An instance of this version has answered: others may follow.
    pub fn wish(&self, function: &Arc<FunctionSpec>, tenant: Option<&str>) {
        // Whoever wishes too much at once gets it another time.
        let wish = Wish { function: Arc::clone(function), tenant: tenant.map(str::to_owned) };
        self.wishes.try_send(wish).ok();
    }

    pub fn is_closed(&self) -> bool {
        self.table.lock().is_closed
    }

    /// Holds nothing any more.
    pub fn close(&self) {
        let mut table = self.table.lock();
        table.is_closed = true;
        let held = std::mem::replace(&mut table.shelf, Shelf::new(TEMPLATES_KNOWN_MAX));
        drop(table);
        drop(held);
    }

    /// Whether this version is to be tried now, which it is once.
    pub fn begin(&self, owner: &Owner) -> bool {
        let mut table = self.table.lock();
        !table.is_closed && table.shelf.begin(owner)
    }

    fn number(&self) -> u64 {
        let mut table = self.table.lock();
        table.made = table.made.saturating_add(1);
        table.made
    }

    /// Whether it is kept.
    pub fn keep(&self, owner: &Owner, template: Arc<Template>) -> bool {
        self.table.lock().shelf.keep(owner, template)
    }

    /// There is none to be had of this version, now or later.
    pub fn do_without(&self, owner: &Owner) {
        self.table.lock().shelf.do_without(owner);
    }

    /// Lets a version be tried again, if it is still being tried.
    pub fn give_up(&self, owner: &Owner) {
        self.table.lock().shelf.give_up(owner);
    }

    /// A function, or one of its versions, is deleted. Takes out its templates; one that is being made is not kept.
    pub fn forget_deleted(&self, deleted: &Deleted) -> Vec<Arc<Template>> {
        self.table.lock().shelf.forget(|owner| owner.is_of(deleted))
    }

    pub fn of_snapshot(&self, image: Image, shape: Shape, code: launch::Code) -> Template {
        let Shape { argv, env, mounts, limits, token } = shape;
        Template {
            number: self.number(),
            image: Mutex::new(image),
            is_learned: AtomicBool::new(false),
            argv,
            env,
            mounts,
            limits,
            identity: Seen::Token(token),
            printed: Vec::new(),
            // It was asked for.
            worth: Worth::new(Duration::MAX, Duration::MAX),
            _held: code,
        }
    }

    /// What images hold together.
    pub fn image_bytes(&self) -> u64 {
        let table = self.table.lock();
        table.shelf.templates().fold(0, |sum: u64, template| sum.saturating_add(template.image().memory_bytes()))
    }

    /// Takes out what is too much, and what nobody has wanted for long.
    fn clear(&self, bytes_max: u64) -> Vec<Arc<Template>> {
        let mut table = self.table.lock();
        table.shelf.clear(bytes_max, TEMPLATE_UNWANTED_AFTER, |template| template.image().memory_bytes())
    }
}

/// Has those go that are too much, with the clones that wait.
pub fn clear(inner: &Inner) {
    let bytes_max = inner.memory.images_max().min(inner.settings.image_bytes_max);
    inner.stock.forget_clones(inner.templates.clear(bytes_max.saturating_sub(inner.images.bytes())));
}

/// Makes the templates that are wished for, one after the other, until the runtime is no more.
pub fn run(inner: Weak<Inner>, mut wishes: Wishes, spawn: &Arc<dyn Spawn>) {
    let spawning = Arc::clone(spawn);
    let task = async move {
        while let Some(wish) = wishes.recv().await {
            let Some(inner) = inner.upgrade() else { return };
            inner.stock.wait_for_launches().await;
            if wish.function.is_snap_start {
                let (inner, function) = (Arc::clone(&inner), Arc::clone(&wish.function));
                let again = async move { snapshot::make_again(&inner, &function).await };
                // Its init may take minutes.
                spawning.spawn("snapshot", Box::pin(again));
            } else {
                grant(&inner, &wish).await;
            }
            clear(&inner);
        }
    };
    spawn.spawn("templates", Box::pin(task));
}

async fn grant(inner: &Arc<Inner>, wish: &Wish) {
    let Wish { function, tenant } = wish;
    let Ok(served) = inner.languages.serve(&function.runtime).await else { return };
    let Kind::Runtime(recipe) = room::kind(inner, function, &served) else { return };
    if served.family != Family::Python || inner.memory.is_short() {
        return;
    }
    let owner = Owner::new(function, tenant.as_deref(), &served);
    if !inner.templates.begin(&owner) {
        return;
    }
    let making = make(inner, function, &served, Start::parked(&recipe));
    match timeout(SANDBOX_START_TIMEOUT, making).await.unwrap_or(Err(TemplateError::Late)) {
        Ok(template) => {
            let template = Arc::new(template);
            // Its function may be gone by now.
            if inner.templates.keep(&owner, Arc::clone(&template)) {
                inner.stock.expect(&Kind::Clone(template));
            }
        }
        Err(error) => {
            if matches!(&error, TemplateError::Image(error) if error.is_unsupported()) {
                inner.templates.close();
            }
            inner.templates.do_without(&owner);
            tracing::debug!(function = function.name, "failed to make a template: failed to {}", with_causes(&error));
        }
    }
}

async fn make(
    inner: &Arc<Inner>,
    function: &FunctionSpec,
    served: &Served,
    start: Start,
) -> Result<Template, TemplateError> {
    let number = inner.parts.chance.uuid();
    let (code, key) = tokio::join!(launch::unpack(inner, function), inner.parts.host.issue_key(function, number));
    let mut code = code.map_err(|error| TemplateError::Parts(format!("{error:?}")))?;
    let key = key.map_err(TemplateError::Parts)?;
    if !code.extensions().is_empty() {
        return Err(TemplateError::Unfit("has extensions".to_owned()));
    }
    code.find_prepared(inner, launch::prepared_name(inner, function, served, None).as_ref());
    let initialization = record::Kind::OnDemand;
    let log = launch::log_stream(function, initialization, inner.parts.clock.now(), number);
    let env = Source { function, served, code: &code, key: &key, log: &log, initialization, token: None }
        .start(inner.settings.api_port)
        .env;
    let spec = room::spec(inner, "template", function, served, &code);
    let (mounts, limits) = (spec.mounts.clone(), spec.limits.clone());
    let spec = sandbox::Spec { limits: Limits { cpu: Cpu::Weight(AHEAD_CPU_MILLIS), ..limits.clone() }, ..spec };
    let mut sandbox = inner.parts.isolation.start(spec).await?;
    // Nobody answers there: an import that asks for something has no template.
    drop(sandbox.take_listeners());

    let began = Spent::so_far(&sandbox);
    let Waiting { process, mut connection, mut output, .. } = Waiting::start(&sandbox, &start).await?;
    let started = Spent::so_far(&sandbox);
    connection.init_template(&env, code.prepared_path().as_deref(), WATCH);
    let printed = load(&mut connection, &mut output).await?;
    let worth = Worth::new(started.since(&began), Spent::so_far(&sandbox).since(&started));
    let image = take(&sandbox, process).await?;
    let argv = waiting(served.family, &start.argv).unwrap_or_default();
    let (image, is_learned, identity) = (Mutex::new(image), AtomicBool::new(false), Seen::Key(Mutex::new(key)));
    let number = inner.templates.number();
    sandbox.kill().await;
    let env = start.env;
    Ok(Template { number, image, is_learned, argv, env, mounts, limits, identity, printed, worth, _held: code })
}

/// What waits, under the interpreter of `argv`, for an image to be put in its place.
pub fn waiting(family: Family, argv: &[String]) -> Option<Vec<String>> {
    let own: &[&str] = match family {
        Family::Python => &["-I", "-S", "-c", "import signal; signal.pause()"],
        // It runs not one instruction.
        Family::Java => &[],
        _ => return None,
    };
    Some(argv.first().map(String::as_str).into_iter().chain(own.iter().copied()).map(str::to_owned).collect())
}

/// Waits until the function is loaded and may be copied, and gives back what it printed.
async fn load(connection: &mut Connection, output: &mut Output) -> Result<Vec<Written>, TemplateError> {
    let mut printed = Vec::new();
    let verdict = loop {
        if printed.iter().map(|line: &Written| line.text.len()).fold(0, usize::saturating_add)
            > TEMPLATE_PRINTED_BYTES_MAX
        {
            return Err(TemplateError::Unfit("prints too much".to_owned()));
        }
        tokio::select! {
            biased;
            verdict = connection.verdict() => break verdict,
            () = output.next(&mut printed) => {}
        }
    };
    verdict.map_err(TemplateError::Unfit)?;
    output.read_out(&mut printed);
    output.flush(&mut printed);
    Ok(printed)
}

/// It has said that it waits, and is on its way to do so.
pub async fn take(sandbox: &Sandbox, process: ProcessId) -> Result<Image, ImageError> {
    const PAUSE: Duration = Duration::from_millis(2);
    let mut tries = 0..TEMPLATE_TRIES_MAX;
    loop {
        match sandbox.take(process).await {
            Err(error) if error.is_too_soon() && tries.next().is_some() => sleep(PAUSE).await,
            taken => return taken,
        }
    }
}

//! The dispatcher's shell: what it decides is carried out here, and what happens is told to it.
//!
//! One lock over the machine and what goes with its numbers: the release behind a pool, the way to an instance, an
//! invocation that waits. It is held for a decision and never across I/O. Instances are started, and refusals told, when it
//! is released.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use base::ports::{Call, FunctionSpec, Provided, Provision, ProvisionId};
use base::record::AtOnce;
use base::{AccountId, Region, Spawn, Timestamp};
use engine::dispatch::{
    AskId, Command, Dispatch, Event, Freed, InstanceId, PoolId, Reason, Settings, Shape, Wanted, Why,
};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until};

use crate::cores::Cores;
use crate::instance::{Given, Order, Reply};
use crate::languages::Family;
use crate::limits::REFUSALS_TOLD_EVERY;
use crate::runtime::Inner;

pub struct Books {
    ledger: Mutex<Ledger>,
    cores: Cores,
    /// The moment for which the alarm is set has come nearer.
    nearer: Arc<Notify>,
}

struct Ledger {
    dispatch: Dispatch,
    began: (Instant, Timestamp),
    functions: HashMap<PoolId, (Arc<FunctionSpec>, Option<String>)>,
    instances: HashMap<InstanceId, Placed>,
    /// Invocations that wait for an instance.
    waiting: HashMap<AskId, Asked>,
    /// What is provisioned under each name: its pool, which others may share, and when it was asked for.
    provisions: BTreeMap<ProvisionId, (PoolId, Timestamp)>,
    asks: u64,
    /// Of a step; kept for its room.
    commands: Vec<Command>,
    alarm: Option<Timestamp>,
    /// Invocations that this host has no room for since the operator was told, and when that was.
    refusals: (u64, Option<Instant>),
}

/// An instance, from when it is to start until nothing is left of it.
struct Placed {
    function: Arc<FunctionSpec>,
    orders: mpsc::Sender<Order>,
}

struct Asked {
    pool: PoolId,
    function: Arc<FunctionSpec>,
    call: Box<Call>,
    reply: Reply,
}

/// What a decision leaves to be done when the lock is released.
#[derive(Default)]
pub struct Due {
    pub starting: Vec<Starting>,
    pub refused: Vec<Refused>,
}

/// An invocation that may not run.
pub struct Refused {
    pub function: Arc<FunctionSpec>,
    pub call: Box<Call>,
    pub reply: Reply,
    pub reason: Reason,
}

/// An instance that is to be started.
pub struct Starting {
    pub id: InstanceId,
    pub function: Arc<FunctionSpec>,
    pub tenant: Option<String>,
    pub why: Why,
    pub orders: mpsc::Receiver<Order>,
}

impl Books {
    pub fn new(settings: Settings, now: Timestamp) -> Books {
        let ledger = Ledger {
            dispatch: Dispatch::new(settings),
            began: (Instant::now(), now),
            functions: HashMap::new(),
            instances: HashMap::new(),
            waiting: HashMap::new(),
            provisions: BTreeMap::new(),
            asks: 0,
            commands: Vec::new(),
            alarm: None,
            refusals: (0, None),
        };
        Books { ledger: Mutex::new(ledger), cores: Cores::new(settings.cores), nearer: Arc::new(Notify::new()) }
    }

    /// The time by which it is decided.
    pub fn now(&self) -> Timestamp {
        self.ledger.lock().now()
    }

    /// Gives an invocation to an instance, now or in a moment, or answers why to none.
    pub fn ask(&self, function: Arc<FunctionSpec>, call: Box<Call>, reply: Reply) -> Due {
        let cores = self.cores.look();
        self.with(|ledger, due| {
            if let Some(are_full) = cores {
                ledger.step(Event::Cores { are_full }, &mut None, due);
            }
            let pool = ledger.pool(Arc::clone(&function), call.tenant_id.clone());
            ledger.asks = ledger.asks.wrapping_add(1);
            let ask = AskId(ledger.asks);
            ledger.ask(ask, Asked { pool, function, call, reply }, due);
        })
    }

    pub fn tell(&self, event: Event) -> Due {
        self.with(|ledger, due| ledger.step(event, &mut None, due))
    }

    pub fn free(&self, instance: InstanceId, ask: AskId, freed: Freed) -> Due {
        self.tell(Event::Free { instance, ask, freed })
    }

    /// What instances hold by the dispatcher's own books.
    pub fn held_bytes(&self) -> u64 {
        self.ledger.lock().dispatch.held_bytes()
    }

    /// Nothing is left of an instance.
    pub fn ended(&self, instance: InstanceId, failure: Option<String>) -> Due {
        self.with(|ledger, due| {
            ledger.instances.remove(&instance);
            ledger.step(Event::Ended { instance, failure }, &mut None, due);
        })
    }

    pub fn provide(&self, wanted: Vec<Provision>) -> Due {
        self.with(|ledger, due| ledger.provide(wanted, due))
    }

    pub fn provided(&self, id: &ProvisionId) -> Provided {
        let ledger = self.ledger.lock();
        let Some((pool, wanted_at)) = ledger.provisions.get(id) else { return Provided::default() };
        let facts = ledger.dispatch.provided(*pool);
        let (allocated, available) = facts.as_ref().map_or((0, 0), |facts| (facts.allocated, facts.available));
        let failure = facts.and_then(|facts| facts.failure);
        Provided { wanted_at: Some(*wanted_at), allocated, available, failure }
    }

    /// How many instances each function has.
    pub fn instances(&self) -> HashMap<(AccountId, Region, String), u32> {
        // Nobody waits for an instance while names are counted.
        let placed = |placed: &Placed| Arc::clone(&placed.function);
        let functions: Vec<Arc<FunctionSpec>> = self.ledger.lock().instances.values().map(placed).collect();
        let mut counts: HashMap<_, u32> = HashMap::new();
        for function in functions {
            let whose = (function.account, function.region.clone(), function.name.clone());
            let count = counts.entry(whose).or_default();
            *count = count.saturating_add(1);
        }
        counts
    }

    /// Whether no instance is left.
    pub fn are_closed(&self) -> bool {
        self.ledger.lock().instances.is_empty()
    }

    pub fn nearer(&self) -> Arc<Notify> {
        Arc::clone(&self.nearer)
    }

    fn with(&self, work: impl FnOnce(&mut Ledger, &mut Due)) -> Due {
        let mut due = Due::default();
        let mut ledger = self.ledger.lock();
        work(&mut ledger, &mut due);
        self.cores.run_many(ledger.dispatch.runs_many());
        let next = ledger.dispatch.next_wakeup();
        let is_nearer = next.is_some_and(|next| ledger.alarm.is_none_or(|alarm| next < alarm));
        if is_nearer {
            ledger.alarm = next;
        }
        drop(ledger);
        if is_nearer {
            self.nearer.notify_one();
        }
        due
    }

    /// When the alarm rings next.
    fn set_alarm(&self) -> Option<Instant> {
        let mut ledger = self.ledger.lock();
        ledger.alarm = ledger.dispatch.next_wakeup();
        let (instant, began) = ledger.began;
        ledger.alarm.map(|alarm| instant.checked_add(alarm.since(began)).unwrap_or(instant))
    }
}

impl Ledger {
    /// The machine's time, that never goes back.
    fn now(&self) -> Timestamp {
        let (instant, began) = self.began;
        began.plus(instant.elapsed())
    }

    fn pool(&mut self, function: Arc<FunctionSpec>, tenant: Option<String>) -> PoolId {
        let wanted = Wanted {
            scope: (function.world, function.account, function.region.clone()),
            function: function.name.clone(),
            version: function.version.clone(),
            release: function.release,
            tenant,
        };
        let most = u64::from(function.memory_mb).saturating_mul(1024 * 1024);
        let family = Family::of(&function.runtime).map_or(Family::Provided, |(family, _)| family);
        let shape = Shape { slots: 1, bytes: family.bytes_guess().min(most), is_kept: true };
        let pool = self.dispatch.pool(&wanted, shape);
        self.functions.entry(pool).or_insert_with(|| (function, wanted.tenant));
        pool
    }

    fn ask(&mut self, ask: AskId, asked: Asked, due: &mut Due) {
        let (pool, limit, is_async) = (asked.pool, asked.call.concurrency, asked.call.is_async);
        let mut asked = Some(asked);
        self.step(Event::Ask { ask, pool, limit, is_async }, &mut asked, due);
        if let Some(asked) = asked {
            self.waiting.insert(ask, asked);
        }
    }

    /// Callers are told no more of it than on AWS; the operator can do something.
    fn note_refusal(&mut self) {
        let (count, told) = &mut self.refusals;
        *count = count.saturating_add(1);
        if told.is_none_or(|told| told.elapsed() >= REFUSALS_TOLD_EVERY) {
            tracing::warn!(
                refused = *count,
                "this host has no memory for another instance: give functions more (--memory, or a larger host), or let \
                 fewer run at once"
            );
            self.refusals = (0, Some(Instant::now()));
        }
    }

    /// `asked` is what the event asks for; it is taken when that is answered.
    fn step(&mut self, event: Event, asked: &mut Option<Asked>, due: &mut Due) {
        let mut commands = std::mem::take(&mut self.commands);
        let own = if let Event::Ask { ask, .. } = event { Some(ask) } else { None };
        self.dispatch.step(self.now(), event, &mut commands);
        let mut again = Vec::new();
        for command in commands.drain(..) {
            match command {
                Command::Lend { ask, instance } => {
                    let Some(found) = self.take(ask, own, asked) else { continue };
                    if let Some(lost) = self.order(instance, ask, found) {
                        again.push((instance, ask, lost));
                    }
                }
                Command::Start { instance, pool, ask, why } => {
                    let found = ask.and_then(|ask| Some((ask, self.take(ask, own, asked)?)));
                    due.starting.extend(self.start(instance, pool, found, why));
                }
                Command::Throttle { ask, reason } => {
                    if reason == Reason::Host {
                        self.note_refusal();
                    }
                    if let Some(Asked { function, call, reply, .. }) = self.take(ask, own, asked) {
                        due.refused.push(Refused { function, call, reply, reason });
                    }
                }
                Command::End { instance } => {
                    if let Some(placed) = self.instances.get(&instance) {
                        placed.orders.try_send(Order::End).ok();
                    }
                }
                Command::Forget { pool } => {
                    self.functions.remove(&pool);
                }
            }
        }
        self.commands = commands;
        // These were just ending by themselves: another one will do.
        for (instance, ask, mut lost) in again {
            let kept = self.functions.get(&lost.pool).cloned();
            self.step(Event::Ended { instance, failure: None }, &mut None, due);
            // It may have been the pool's last.
            if let Some((function, tenant)) = kept {
                lost.pool = self.pool(function, tenant);
            }
            self.ask(ask, lost, due);
        }
    }

    fn take(&mut self, ask: AskId, own: Option<AskId>, asked: &mut Option<Asked>) -> Option<Asked> {
        if own == Some(ask) { asked.take() } else { self.waiting.remove(&ask) }
    }

    /// Sends an invocation to an instance, or gives it back.
    fn order(&self, instance: InstanceId, ask: AskId, asked: Asked) -> Option<Asked> {
        match self.instances.get(&instance).map(|placed| placed.orders.try_reserve()) {
            Some(Ok(place)) => {
                place.send(self.invoke(ask, asked));
                None
            }
            _ => Some(asked),
        }
    }

    fn invoke(&self, ask: AskId, Asked { pool, call, reply, .. }: Asked) -> Order {
        let at_once = AtOnce { allocated: call.allocated, ..self.dispatch.at_once(pool) };
        Order::Invoke(Given { ask, at_once }, call, reply)
    }

    fn start(&mut self, id: InstanceId, pool: PoolId, asked: Option<(AskId, Asked)>, why: Why) -> Option<Starting> {
        let (function, tenant) = self.functions.get(&pool).cloned()?;
        // An invocation, and an order to end.
        let (orders, received) = mpsc::channel(2);
        let first = match asked {
            Some((ask, asked)) => self.invoke(ask, asked),
            None => Order::Begin,
        };
        orders.try_send(first).ok();
        self.instances.insert(id, Placed { function: Arc::clone(&function), orders });
        Some(Starting { id, function, tenant, why, orders: received })
    }

    fn provide(&mut self, wanted: Vec<Provision>, due: &mut Due) {
        let kept: HashSet<PoolId> =
            wanted.iter().map(|provision| self.pool(Arc::clone(&provision.function), None)).collect();
        let before = std::mem::take(&mut self.provisions);
        for (pool, _) in before.into_values().filter(|(pool, _)| !kept.contains(pool)) {
            self.step(Event::Provide { pool, count: 0 }, &mut None, due);
        }
        let mut counts = BTreeMap::<PoolId, u32>::new();
        for Provision { id, function, instances, wanted_at } in wanted {
            // Not the number of before: that may mean nothing any more.
            let pool = self.pool(function, None);
            self.provisions.insert(id, (pool, wanted_at));
            let count = counts.entry(pool).or_default();
            *count = count.saturating_add(instances);
        }
        for (pool, count) in counts {
            self.step(Event::Provide { pool, count }, &mut None, due);
        }
    }
}

/// Tells the dispatcher when what it waits for has passed, until the runtime is no more.
pub fn keep_time(inner: Weak<Inner>, nearer: Arc<Notify>, spawn: &dyn Spawn) {
    /// How long nothing is waited for: whoever sets the alarm says so.
    const LONG: Duration = Duration::from_secs(24 * 60 * 60);
    let task = async move {
        loop {
            let Some(alive) = inner.upgrade() else { return };
            let at = alive.books.set_alarm().unwrap_or_else(|| Instant::now() + LONG);
            drop(alive);
            tokio::select! {
                () = nearer.notified() => {}
                () = sleep_until(at) => {
                    let Some(alive) = inner.upgrade() else { return };
                    alive.settle(alive.books.tell(Event::Tick));
                }
            }
        }
    };
    spawn.spawn("dispatcher's alarm", Box::pin(task));
}

//! The messages of a queue in memory: their index, and who waits for them.
//!
//! A queue comes into memory when somebody first asks for it, and goes when nobody has for a while. Bodies stay on the
//! disk. What is decided here is written down by a [`Write`].

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base::{AwsError, Timestamp, Uuid};
use engine::queue::{self, Counts, Fate, Order, Recent, Sent, Seq, Taken, Terms};
use parking_lot::Mutex;
use store::{Batch, Scan, Scope, Store};
use tokio::sync::{Notify, OnceCell, broadcast};

use super::errors;
use super::message::{self, Key, PLACES, Place, RECENT};
use super::meter::{Meter, Meters};
use super::queue::Queue;
use super::write::Write;
use crate::Cloud;

/// Rows that are read at once when a queue comes into memory.
const STEP: usize = store::limits::RANGE_ROWS_MAX;
/// Messages whose time is over that are removed at once.
const EXPIRED_STEP: usize = 500;
/// Messages that are known again no more, forgotten at once.
const FORGOTTEN_STEP: usize = 100;
/// How long a receiving is remembered by the name that its caller gave it.
const ATTEMPT_WINDOW: Duration = Duration::from_secs(5 * 60);
const ATTEMPTS_MAX: usize = 10_000;
/// Closed lines that are remembered.
const CLOSED_MAX: usize = 1_000;
/// Messages that wait for one who wants to see what is sent, and is slow.
const TOLD_MAX: usize = 1_024;

/// The queues in memory, by their lines.
#[derive(Default)]
pub struct LiveQueues {
    queues: Mutex<Queues>,
    pub meters: Meters,
    is_ending: AtomicBool,
}

#[derive(Default)]
struct Queues {
    by_line: HashMap<Uuid, Arc<OnceCell<Arc<Live>>>>,
    /// Lines that were closed lately: who looked up their queue before that is told when it comes here.
    closed: VecDeque<Uuid>,
}

/// One of them.
pub struct Live {
    scope: Scope,
    line: Uuid,
    pub meter: Arc<Meter>,
    state: Mutex<State>,
    /// Somebody may find a message now.
    arrived: Notify,
    /// What was busy is not any more.
    written: Notify,
}

struct State {
    queue: queue::Queue,
    /// What was sent to a FIFO queue lately, by what tells it apart.
    recent: Recent<u128>,
    attempts: BTreeMap<String, Attempt>,
    used: Timestamp,
    /// Its line is nobody's any more.
    is_closed: bool,
    /// Of those who want to see what is sent.
    tap: Option<broadcast::Sender<Told>>,
}

/// A receiving that may be asked for again.
struct Attempt {
    at: Timestamp,
    /// What it gave, and how often that had been received then.
    gave: Vec<(Seq, u32)>,
}

/// The queue was purged or deleted meanwhile; look it up again.
#[derive(Debug)]
pub struct Closed;

/// A message that is to be sent.
pub struct New {
    pub message: message::Message,
    pub place: Place,
    /// By this it is known when it is sent again.
    pub twin: Option<u128>,
}

/// What came of sending a message.
pub enum Admitted {
    New(Seq),
    /// It was sent before, as this.
    Known(Sent),
}

/// A message that was sent.
pub type Told = Arc<(Seq, Place, message::Message)>;

impl LiveQueues {
    /// The queue's messages, brought into memory first if need be.
    pub async fn get(
        &self,
        store: &Store,
        scope: &Scope,
        queue: &Queue,
        now: Timestamp,
    ) -> Result<Arc<Live>, AwsError> {
        let (line, order) = (queue.line, if queue.settings.fifo.is_some() { Order::Fifo } else { Order::Standard });
        let cell = {
            let mut queues = self.queues.lock();
            if queues.closed.contains(&line) {
                // Who looked it up before it was closed finds nothing there, and looks again.
                let live = Live::new(scope, line, Meter::nobodys(scope, &queue.name), State::new(order, now));
                live.close();
                return Ok(Arc::new(live));
            }
            queues.by_line.entry(line).or_default().clone()
        };
        let load = async || {
            let state = State::load(store, scope, line, order, now).await?;
            // It may have been closed meanwhile, and whoever closes it next finds it.
            let mut queues = self.queues.lock();
            let is_closed = queues.closed.contains(&line);
            let meter = match is_closed {
                true => Meter::nobodys(scope, &queue.name),
                false => self.meters.of(scope, &queue.name, now),
            };
            let live = Arc::new(Live::new(scope, line, meter, state));
            live.meter.follow(&live, now);
            if is_closed {
                queues.by_line.remove(&line);
                live.close();
            }
            Ok::<_, store::Error>(live)
        };
        Ok(cell.get_or_try_init(load).await?.clone())
    }

    /// So many messages wait in a queue that nobody has asked for yet.
    pub fn rest(&self, scope: &Scope, queue: &Queue, now: Timestamp, (waiting, oldest): (usize, Option<Timestamp>)) {
        let queues = self.queues.lock();
        if !queues.closed.contains(&queue.line) {
            self.meters.of(scope, &queue.name, now).rest(waiting, oldest);
        }
    }

    /// Lets nobody wait any more: the server ends.
    pub fn end(&self) {
        self.is_ending.store(true, Ordering::Relaxed);
        self.queues.lock().by_line.values().filter_map(|cell| cell.get()).for_each(|live| live.ring());
    }

    pub fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::Relaxed)
    }

    /// A line is nobody's any more. Who waits there looks its queue up again.
    pub fn close(&self, line: Uuid) {
        let mut queues = self.queues.lock();
        queues.closed.push_back(line);
        if queues.closed.len() > CLOSED_MAX {
            queues.closed.pop_front();
        }
        // Who is still bringing it into memory closes it then.
        if let Some(live) = queues.by_line.remove(&line).and_then(|cell| cell.get().cloned()) {
            live.close();
        }
    }

    /// Lets those go that nobody has used since, and nobody holds, once all of their messages wait.
    pub fn let_go(&self, now: Timestamp, unused_since: Timestamp) {
        self.queues.lock().by_line.retain(|_, cell| {
            let is_held = Arc::strong_count(cell) > 1;
            if is_held {
                return true;
            }
            let Some(live) = cell.get() else { return false };
            if Arc::strong_count(live) > 1 || live.state.lock().used >= unused_since {
                return true;
            }
            let Counts { waiting, delayed, in_flight } = live.counts(now);
            if delayed > 0 || in_flight > 0 {
                return true;
            }
            live.meter.leave(live, waiting, live.oldest());
            false
        });
    }
}

impl State {
    fn new(order: Order, now: Timestamp) -> Self {
        let (queue, recent) = (queue::Queue::new(order), Recent::default());
        Self { queue, recent, attempts: BTreeMap::new(), used: now, is_closed: false, tap: None }
    }

    async fn load(
        store: &Store,
        scope: &Scope,
        line: Uuid,
        order: Order,
        now: Timestamp,
    ) -> Result<Self, store::Error> {
        let mut state = Self::new(order, now);
        let mut scan = Scan::all(STEP).under::<Uuid>(line);
        loop {
            let page = PLACES.page(store, scope, scan.clone()).await?;
            page.rows.into_iter().for_each(|row| state.queue.restore(row.key.1, row.value.into()));
            let Some(next) = page.next else { break };
            scan = scan.after(next);
        }
        let mut scan = Scan::all(STEP).under::<Uuid>(line);
        loop {
            let page = RECENT.page(store, scope, scan.clone()).await?;
            page.rows.into_iter().for_each(|row| state.recent.remember(row.key.1, row.value.into()));
            let Some(next) = page.next else { break };
            scan = scan.after(next);
        }
        Ok(state)
    }
}

impl Live {
    fn new(scope: &Scope, line: Uuid, meter: Arc<Meter>, state: State) -> Self {
        let (scope, state) = (scope.clone(), Mutex::new(state));
        Self { scope, line, meter, state, arrived: Notify::new(), written: Notify::new() }
    }

    fn close(&self) {
        let mut state = self.state.lock();
        (state.is_closed, state.tap) = (true, None);
        drop(state);
        self.meter.leave(self, 0, None);
        self.arrived.notify_waiters();
    }

    pub fn key(&self, seq: Seq) -> Key {
        (self.line, seq)
    }

    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Those who wait look again.
    pub fn ring(&self) {
        self.arrived.notify_waiters();
    }

    /// Lets the next one who waits look when this one goes, who may have been the only one to know when there is more.
    pub fn passes_on(&self) -> PassesOn<'_> {
        PassesOn(self)
    }

    /// Gives messages their places, but those that were sent before. What tells them apart is remembered from now on.
    pub fn admit(&self, now: Timestamp, news: &[New]) -> Result<Vec<Admitted>, Closed> {
        let mut state = self.state.lock();
        if state.is_closed {
            return Err(Closed);
        }
        state.used = now;
        let mut admit = |new: &New| {
            if let Some(sent) = new.twin.and_then(|key| state.recent.find(now, &key)) {
                return Admitted::Known(sent);
            }
            let seq = state.queue.admit(now, new.place.clone().into());
            if let Some(key) = new.twin {
                state.recent.remember(key, Sent { at: now, seq, id: new.message.id });
            }
            Admitted::New(seq)
        };
        Ok(news.iter().map(&mut admit).collect())
    }

    /// Waits until it is known what became of a message that somebody else was sending.
    pub async fn written(&self, seq: Seq) {
        loop {
            let written = self.written.notified();
            if self.state.lock().queue.is_kept(seq) {
                return;
            }
            written.await;
        }
    }

    /// Whether what is sent again is still known.
    pub fn knows(&self, now: Timestamp, twin: Option<u128>) -> bool {
        twin.is_none_or(|twin| self.state.lock().recent.find(now, &twin).is_some())
    }

    /// Forgets in a batch what need not be known again any more.
    pub fn forget_old(&self, now: Timestamp, mut batch: Batch) -> Batch {
        for key in self.state.lock().recent.take_old(now, FORGOTTEN_STEP) {
            batch = batch.delete(&RECENT, &self.scope, (self.line, key));
        }
        batch
    }

    /// Takes what can be received now, and says when there may be more.
    pub fn take(
        &self,
        now: Timestamp,
        most: usize,
        terms: Terms,
    ) -> Result<Result<(Taken, Option<Timestamp>), AwsError>, Closed> {
        let mut state = self.state.lock();
        if state.is_closed {
            return Err(Closed);
        }
        state.used = now;
        let taken = match state.queue.take(now, most, terms) {
            Ok(taken) => taken,
            // AWS lets those wait who receive from a FIFO queue.
            Err(queue::OverLimit) if state.queue.order() == Order::Fifo => Taken::default(),
            Err(queue::OverLimit) => return Ok(Err(errors::too_many_in_flight())),
        };
        if state.queue.has_waiting() {
            self.arrived.notify_one();
        }
        Ok(Ok((taken, state.queue.next_visible())))
    }

    /// What a receiving gave that had this name, if none of it has been touched since.
    pub fn attempted(&self, now: Timestamp, name: &str) -> Option<Vec<(Seq, u32)>> {
        let state = self.state.lock();
        let attempt = state.attempts.get(name).filter(|attempt| now < attempt.at.plus(ATTEMPT_WINDOW))?;
        Some(attempt.gave.clone())
    }

    pub fn remember_attempt(&self, now: Timestamp, name: String, gave: Vec<(Seq, u32)>) {
        let mut state = self.state.lock();
        state.attempts.retain(|_, attempt| now < attempt.at.plus(ATTEMPT_WINDOW));
        if state.attempts.len() < ATTEMPTS_MAX {
            state.attempts.insert(name, Attempt { at: now, gave });
        }
    }

    /// A message to change or to remove, once nobody else does; `None` if it is not there.
    pub async fn claim(&self, now: Timestamp, seq: Seq) -> Option<queue::Message> {
        loop {
            let written = self.written.notified();
            match self.try_claim(now, seq) {
                queue::Claim::Gone => return None,
                queue::Claim::Granted(message) => return Some(message),
                queue::Claim::Busy => {}
            }
            written.await;
        }
    }

    /// The same without waiting for anybody.
    pub fn try_claim(&self, now: Timestamp, seq: Seq) -> queue::Claim {
        self.state.lock().queue.claim(now, seq)
    }

    /// Gives back what was claimed, as it was.
    pub fn give_back(&self, seq: Seq) {
        self.settle(seq, Fate::Stays);
    }

    /// Something may have become visible: waits until then, or until somebody rings.
    pub fn arrived(&self) -> tokio::sync::futures::Notified<'_> {
        self.arrived.notified()
    }

    /// How many messages there are by now.
    pub fn counts(&self, now: Timestamp) -> Counts {
        self.state.lock().queue.advance(now)
    }

    /// Of how many groups messages are in flight.
    pub fn groups_in_flight(&self) -> usize {
        self.state.lock().queue.groups_in_flight()
    }

    /// When the oldest message was sent.
    pub fn oldest(&self) -> Option<Timestamp> {
        self.state.lock().queue.oldest()
    }

    /// Tells what is sent from now on, once it is written down.
    pub fn tap(&self) -> broadcast::Receiver<Told> {
        let mut state = self.state.lock();
        state.tap.get_or_insert_with(|| broadcast::channel(TOLD_MAX).0).subscribe()
    }

    /// Tells it to those who are there.
    pub fn tell(&self, told: Told) {
        if let Some(tap) = &self.state.lock().tap {
            // They may have gone.
            tap.send(told).ok();
        }
    }

    pub fn is_tapped(&self) -> bool {
        let mut state = self.state.lock();
        state.tap = state.tap.take().filter(|tap| tap.receiver_count() > 0);
        state.tap.is_some()
    }

    /// Whether something could be taken.
    pub fn has_next(&self) -> bool {
        self.state.lock().queue.has_waiting()
    }

    /// When something can be received that cannot be yet.
    pub fn next_visible(&self) -> Option<Timestamp> {
        self.state.lock().queue.next_visible()
    }

    /// Removes what was sent longer ago than its queue keeps it.
    pub async fn expire(self: &Arc<Self>, cloud: &Cloud, now: Timestamp, queue: &Queue) -> Result<(), AwsError> {
        let Some(sent_before) = queue.expires_before(now) else { return Ok(()) };
        loop {
            let expired = self.state.lock().queue.expire(now, sent_before, EXPIRED_STEP);
            if expired.is_empty() {
                return Ok(());
            }
            let write = expired.into_iter().fold(Write::default(), |write, seq| write.remove(self, seq));
            write.commit(cloud).await?;
        }
    }

    /// What was decided of a message is written down, or not.
    pub fn settle(&self, seq: Seq, fate: Fate) {
        self.state.lock().queue.release(seq, fate);
        self.written.notify_waiters();
        // One is enough: who takes something while there is more wakes the next.
        self.arrived.notify_one();
    }

    /// A message that had its place already was not kept.
    pub fn take_back(&self, seq: Seq, twin: Option<u128>) {
        if let Some(twin) = twin {
            self.state.lock().recent.forget(&twin);
        }
        self.settle(seq, Fate::Removed);
    }
}

/// Who waits for messages of a queue.
pub struct PassesOn<'a>(&'a Live);

impl Drop for PassesOn<'_> {
    fn drop(&mut self) {
        self.0.arrived.notify_one();
    }
}

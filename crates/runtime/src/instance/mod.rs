//! One instance as it runs: the task that owns its sandbox, turns what happens there into events of `environment`, and
//! carries out what that commands.
//!
//! Whatever the runtime wrote before it said something is read before that is acted upon, so the log of an invocation
//! is whole when its report is written. A step never waits for the function, nor for the caller: it waits only for the
//! sandbox to start or kill programs, and gives up the sandbox if that takes too long.
//!
//! `programs` starts what runs inside, `transport` hears it, `caller` has the answer's way out, `rest` is for when nothing
//! is in hand.

mod advise;
mod caller;
mod cpu;
mod lines;
mod prepared;
mod programs;
mod progress;
mod record;
mod rest;
mod transport;

use std::any::Any;
use std::collections::VecDeque;
use std::sync::Arc;

use base::ports::{Call, InvokeError, Invoked, LogEvent, LogStream, Telemetry};
use base::record::AtOnce;
use base::{Chance, Clock, Spawn, Timestamp};
use engine::dispatch::{AskId, Freed};
use sandbox::{Event as Happening, Exit, Image, ProcessId, Sandbox};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};

use crate::alarm::Alarm;
use crate::environment::{Command, Environment, Event, Outcome, Said, Who};
use crate::frames::Connection;
use crate::http::{Api, Heard};
use crate::languages::Advice;
use crate::limits::{CLEAR_TIMEOUT, DELIVERY_BEFORE_FREEZE_MAX, FREEZE_AFTER, PREPARE_BEFORE_FREEZE_MAX};
use crate::logs::{Output, Written};
use crate::prepare::Handover;
use crate::stock::{Launch, Waiting};
use crate::telemetry::{Relay, Sent};
use crate::template::Template;
use crate::trace;
use caller::Caller;
use cpu::CpuMeter;
use prepared::Preparing;
use programs::Processes;
use progress::Progress;
use record::Used;
use transport::Transport;

pub use programs::Start;

/// Who waits for an invocation's answer.
pub type Reply = oneshot::Sender<Result<Invoked, InvokeError>>;

/// What the dispatcher sends.
pub enum Order {
    Invoke(Given, Box<Call>, Reply),
    /// Load the function, although nobody calls it yet.
    Begin,
    /// Stop; sent only while idle.
    End,
}

/// What the dispatcher says of an invocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Given {
    pub ask: AskId,
    /// How many there are, itself included.
    pub at_once: AtOnce,
}

impl Order {
    /// Tells who waits for it why it is not carried out.
    pub fn refuse(self, why: InvokeError) {
        if let Order::Invoke(_, _, reply) = self {
            reply.send(Err(why)).ok();
        }
    }
}

/// The dispatcher, as an instance sees it.
pub trait Home: Send + Sync {
    /// Its function is being loaded, and does not compute.
    fn waits(&self);
    /// The function is loaded.
    fn ready(&self);
    /// An invocation is over.
    fn free(&self, ask: AskId, freed: Freed);
    /// It stands still, and holds so much.
    fn weighed(&self, bytes: u64);
    /// Leave to ask its runtime for what later instances of its version start sooner with, if that is missing.
    fn hand_over(&self) -> Option<Handover>;
    /// What its runtime handed over.
    fn keep(&self, handover: Handover, prepared: Vec<u8>);
    /// What was prepared for its version is of no use.
    fn reject_prepared(&self);
}

/// What is left of an instance.
pub struct Left {
    /// Where its orders came from: one may be on its way.
    pub orders: mpsc::Receiver<Order>,
    /// Why its function could not be loaded when nobody had called it, in AWS's word.
    pub failure: Option<String>,
    /// The snapshot that was to be taken of it, if one could be.
    pub snapshot: Option<Image>,
    /// What its init came to, if a snapshot was to be taken of it.
    pub outcome: Outcome,
}

/// AWS's word for provisioned instances whose function does not load.
pub const INIT_FAILURE: &str = "FUNCTION_ERROR_INIT_FAILURE";

/// All that an instance is made of.
pub struct Body {
    pub sandbox: Arc<Sandbox>,
    pub environment: Environment,
    pub start: Start,
    /// Its runtime, where that was started before.
    pub waiting: Option<Waiting>,
    /// Until its first invocation is over.
    pub launch: Launch,
    /// What is spoken on the sandbox's own port.
    pub api: Api,
    pub orders: mpsc::Receiver<Order>,
    pub home: Box<dyn Home>,
    pub clock: Arc<dyn Clock>,
    pub chance: Arc<dyn Chance>,
    pub spawn: Arc<dyn Spawn>,
    pub telemetry: Arc<dyn Telemetry>,
    pub log: Arc<LogStream>,
    /// Whether the log is JSON.
    pub is_json: bool,
    /// For functions that miss what AWS ships.
    pub advice: Advice,
    /// What must live as long as it: code in the cache, its key, the platform's API inside.
    pub held: Vec<Box<dyn Any + Send>>,
}

struct Instance {
    sandbox: Arc<Sandbox>,
    environment: Environment,
    start: Start,
    /// Its runtime, until it is its own.
    waiting: Option<(ProcessId, Connection)>,
    /// Whose copy its runtime is, until something was learned from it.
    template: Option<Arc<Template>>,
    launch: Option<Launch>,
    /// Of its first init.
    progress: Progress,
    cpu: CpuMeter,
    used: Used,
    transport: Transport,
    orders: mpsc::Receiver<Order>,
    home: Box<dyn Home>,
    clock: Arc<dyn Clock>,
    chance: Arc<dyn Chance>,
    telemetry: Arc<dyn Telemetry>,
    log: Arc<LogStream>,
    advice: Advice,
    relay: Relay,
    /// Somebody waits until subscribers have everything.
    is_flushing: bool,
    output: Output,
    processes: Processes,
    caller: Caller,
    /// The invocation in hand, and when the runtime got it.
    ask: Option<(Given, Instant)>,
    is_ready: bool,
    failure: Option<String>,
    snapshot: Option<Image>,
    idle_since: Option<Instant>,
    alarm: Alarm,
    is_frozen: watch::Sender<bool>,
    is_advised: bool,
    preparing: Preparing,
    /// It is loading its function with what was prepared of it.
    trusts_prepared: bool,
    /// It misses what the next instance may find.
    is_outdated: bool,
    /// It takes no more orders.
    is_retiring: bool,
    is_over: bool,
    began: (Instant, Timestamp),
    /// When the invocation in hand began, by a clock that may be set meanwhile.
    since: Timestamp,
    /// When the line that is being written happened.
    line_time: Option<Timestamp>,
    /// When the one before it did.
    line_before: Timestamp,
}

enum Happened {
    Order(Option<Order>),
    Heard(Heard),
    InSandbox(Happening),
    Output,
    Taken(u64),
    /// A subscriber is done with a batch.
    Delivered(Sent),
    /// A timer is due.
    Timer(Timer),
}

#[derive(Clone, Copy)]
enum Timer {
    Deadline,
    HeldLong,
    Telemetry,
    IdleShort,
    Progress,
    PreparesLong,
}

/// Runs an instance to its end, and gives back where its orders come from. When this returns, nothing of it is left on
/// the host.
pub async fn run(body: Body) -> Left {
    let sandbox = body.sandbox;
    let began = (Instant::now(), body.clock.now());
    let is_frozen = watch::Sender::new(false);
    let template = body.waiting.as_ref().and_then(|it| it.template.clone());
    let (waiting, output) = body.waiting.map(|it| ((it.process, it.connection), it.output)).unzip();
    let preparing = if body.start.prepared.is_wanted { Preparing::Wanted } else { Preparing::Over };
    let mut instance = Instance {
        relay: Relay::new(Arc::clone(&sandbox), is_frozen.subscribe(), body.spawn, body.is_json),
        sandbox: Arc::clone(&sandbox),
        environment: body.environment,
        start: body.start,
        waiting,
        template,
        launch: Some(body.launch),
        progress: Progress::default(),
        cpu: CpuMeter::default(),
        used: Used::default(),
        transport: Transport::new(body.api),
        orders: body.orders,
        home: body.home,
        clock: body.clock,
        chance: body.chance,
        telemetry: body.telemetry,
        log: body.log,
        advice: body.advice,
        is_flushing: false,
        output: output.unwrap_or_default(),
        processes: Processes::default(),
        caller: Caller::default(),
        ask: None,
        is_ready: false,
        failure: None,
        snapshot: None,
        idle_since: None,
        alarm: Alarm::default(),
        is_frozen,
        is_advised: false,
        preparing,
        trusts_prepared: false,
        is_outdated: false,
        is_retiring: false,
        is_over: false,
        began,
        since: began.1,
        line_time: None,
        line_before: began.1,
    };
    let mut lines = Vec::new();
    while !instance.is_over {
        let happened = instance.wait(&sandbox, &mut lines).await;
        instance.react(happened, &mut lines).await;
    }
    sandbox.kill().await;
    drop(body.held);
    let outcome = instance.environment.outcome().clone();
    Left { orders: instance.orders, failure: instance.failure, snapshot: instance.snapshot, outcome }
}

impl Instance {
    /// What happens next. Time comes first, then what has been read already, then what the host says: what programs
    /// inside can do without end must not outlast a deadline, nor keep an invocation waiting. Their output comes last.
    async fn wait(&mut self, sandbox: &Sandbox, lines: &mut Vec<Written>) -> Happened {
        loop {
            let timer = self.timer();
            if let Some((at, timer)) = timer
                && at <= Instant::now()
            {
                return Happened::Timer(timer);
            }
            if let Some(heard) = self.transport.heard() {
                return Happened::Heard(heard);
            }
            self.alarm.set(timer.map(|(at, _)| at));
            let (transport, output) = (&mut self.transport, &mut self.output);
            let (caller, relay) = (&self.caller, &mut self.relay);
            tokio::select! {
                biased;
                () = self.alarm.rings() => {}
                happening = sandbox.event() => return Happened::InSandbox(happening),
                order = self.orders.recv(), if !self.is_retiring => return Happened::Order(order),
                heard = transport.next() => return Happened::Heard(heard),
                bytes = caller.taken() => return Happened::Taken(bytes),
                sent = relay.sent() => return Happened::Delivered(sent),
                () = output.next(lines) => return Happened::Output,
            }
        }
    }

    /// The timer that is due first.
    fn timer(&self) -> Option<(Instant, Timer)> {
        let idle = |after| self.idle_since.and_then(|since| since.checked_add(after));
        // Who is to be stopped may have to take what it was told before.
        let freeze_after = match (&self.preparing, self.relay.is_idle()) {
            (Preparing::Asked(..), _) => PREPARE_BEFORE_FREEZE_MAX,
            (_, true) => FREEZE_AFTER,
            (_, false) => DELIVERY_BEFORE_FREEZE_MAX,
        };
        let timers = [
            (self.environment.deadline().map(|deadline| self.instant(deadline)), Timer::Deadline),
            (self.caller.held_until(), Timer::HeldLong),
            (self.relay.deadline().map(|deadline| self.instant(deadline)), Timer::Telemetry),
            (self.progress.due().filter(|_| !self.is_ready), Timer::Progress),
            (self.preparing.until(), Timer::PreparesLong),
            (idle(freeze_after).filter(|_| !*self.is_frozen.borrow()), Timer::IdleShort),
        ];
        let timers = timers.into_iter().filter_map(|(at, timer)| Some((at?, timer)));
        timers.min_by_key(|(at, _)| *at)
    }

    async fn react(&mut self, happened: Happened, lines: &mut Vec<Written>) {
        let event = match happened {
            Happened::Order(Some(Order::Begin)) => Event::Begin,
            Happened::Order(Some(Order::Invoke(given, call, reply))) => {
                self.wake();
                self.ask = Some((given, Instant::now()));
                self.caller.waits(reply);
                Event::Invoke(self.traced(call))
            }
            Happened::Order(Some(Order::End) | None) => self.retire(),
            Happened::Heard(Heard::Said(Said::Prepared(prepared))) => return self.take_prepared(prepared),
            Happened::Heard(heard) => self.heard(heard, lines).await,
            Happened::InSandbox(Happening::Exited { process, exit }) => return self.exited(process, exit, lines).await,
            Happened::InSandbox(Happening::Gone) => Event::Gone,
            Happened::Output => {
                self.write(lines).await;
                // A flood of it must not keep other instances from their turn.
                return tokio::task::yield_now().await;
            }
            Happened::Taken(bytes) => return self.transport.grant(bytes),
            Happened::Delivered(sent) => return self.delivered(sent).await,
            Happened::Timer(Timer::Telemetry) => return self.relay.pump(self.now()),
            Happened::Timer(Timer::Deadline) => {
                self.before_an_end(lines).await;
                Event::Tick
            }
            Happened::Timer(Timer::HeldLong) => return self.answer_held(),
            Happened::Timer(Timer::Progress) => return self.look_at_init(),
            Happened::Timer(Timer::PreparesLong) => return self.forgo(),
            Happened::Timer(Timer::IdleShort) => {
                if !self.prepares() {
                    self.stand_still();
                }
                return;
            }
        };
        self.step(event).await;
        // It may have run since.
        self.used.forget();
    }

    /// What was heard, once all is done that comes before it.
    async fn heard(&mut self, heard: Heard, lines: &mut Vec<Written>) -> Event {
        match heard {
            Heard::Said(said) => {
                if let Said::Bytes(bytes) = &said {
                    self.let_send(bytes.len());
                }
                self.check_prepared(&said);
                if matches!(said, Said::Ready | Said::Loaded | Said::InitError { .. } | Said::Next | Said::Broken(_)) {
                    self.before_an_end(lines).await;
                }
                self.advise(&said, lines).await;
                Event::Said(said)
            }
            Heard::Asked(ticket, ask) => {
                // It may be the end of an invocation, but not of what its function is writing.
                self.output.read_out(lines);
                self.write(lines).await;
                self.note_memory();
                Event::Asked(ticket, ask)
            }
        }
    }

    /// The last that it hears of from outside.
    fn retire(&mut self) -> Event {
        self.is_retiring = true;
        self.idle_since = None;
        Event::Retire
    }

    /// With a segment of its own, if it is sampled.
    fn traced(&self, mut call: Box<Call>) -> Box<Call> {
        let segment = || self.chance.random_u64().to_le_bytes();
        if let Some(header) = call.trace_header.as_deref().and_then(|header| trace::sampled(header, segment)) {
            call.trace_header = Some(header);
        }
        call
    }

    async fn delivered(&mut self, sent: Sent) {
        if let Some(dropped) = self.relay.take_sent(self.now(), sent) {
            self.step(Event::Dropped(dropped)).await;
        }
        if self.is_flushing {
            // What came meanwhile goes out as well.
            self.relay.flush(self.now());
            if self.relay.is_idle() {
                self.is_flushing = false;
                self.step(Event::Flushed).await;
            }
        }
    }

    fn wake(&mut self) {
        self.idle_since = None;
        if self.is_frozen.send_replace(false)
            && let Err(error) = self.sandbox.thaw()
        {
            tracing::warn!(%error, "failed to thaw an instance");
        }
    }

    /// Takes note of what was written and held up to now.
    async fn before_an_end(&mut self, lines: &mut Vec<Written>) {
        self.output.read_out(lines);
        self.output.flush(lines);
        self.write(lines).await;
        self.note_memory();
    }

    fn note_memory(&mut self) {
        self.environment.note_memory(self.sandbox.memory_peak_bytes());
    }

    async fn exited(&mut self, process: ProcessId, exit: Exit, lines: &mut Vec<Written>) {
        // One that waited for its function and died before is nobody's loss: another is started.
        if self.waiting.take_if(|(waiting, _)| *waiting == process).is_some() {
            self.template = None;
        }
        if !self.processes.has(process) {
            return;
        }
        self.transport.read_out();
        while let Some(heard) = self.transport.heard() {
            let event = self.heard(heard, lines).await;
            self.step(event).await;
        }
        self.before_an_end(lines).await;
        // What it said last may have ended its life already, and begun the next one, which has not exited.
        let Some(who) = self.processes.take(process) else { return };
        self.doubt_prepared_after(&who, exit);
        let event = match who {
            Who::Runtime => Event::Exited(exit),
            Who::Extension(name) => Event::ExtensionExited { name, exit },
        };
        self.step(event).await;
        if exit.out_of_memory && self.environment.is_killed_for_others() {
            let (group, stream) = (&self.log.group, &self.log.name);
            tracing::warn!(
                group,
                stream,
                "an instance was killed within its own limit, since all of them hold as much as they may together: give \
                 functions more memory (--memory, or a larger host), or let fewer run at once"
            );
        }
    }

    /// Steps the environment, and carries out its commands and what follows from them.
    async fn step(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        let mut commands = Vec::new();
        while let Some(event) = events.pop_front() {
            self.environment.step(self.now(), event, &mut commands);
            for command in commands.drain(..) {
                self.carry_out(command, &mut events).await;
            }
        }
    }

    async fn carry_out(&mut self, command: Command, events: &mut VecDeque<Event>) {
        match command {
            Command::Start => {
                self.progress.begin(Instant::now());
                events.extend(self.printed());
                events.extend(self.start().await);
            }
            Command::Snapshot => {
                self.snapshot = self.take_snapshot().await;
                events.push_back(self.retire());
            }
            Command::Restore => self.transport.restore(&Template::own(&self.start.env)),
            Command::StartExtension(name) => events.extend(self.start_extension(name).await),
            Command::Hand { call, time_left } => {
                self.ready();
                if let Some((_, handed)) = &mut self.ask {
                    *handed = Instant::now();
                }
                let deadline = self.clock.now().plus(time_left);
                self.transport.invoke(*call, deadline);
            }
            Command::Reply(ticket, reply) => self.transport.reply(ticket, reply),
            Command::Signal(who, signal) => self.signal(&who, signal),
            Command::Answer(answer) => self.caller.answer(answer, self.environment.is_ending()),
            Command::Log(message) => {
                self.telemetry
                    .log(&self.log, LogEvent { time: self.line_time.unwrap_or_else(|| self.clock.now()), message });
            }
            Command::Record(record) => self.keep_record(*record),
            Command::Tell(told) => self.relay.tell(self.now(), told),
            Command::Subscribe(wanted) => self.relay.subscribe(self.now(), wanted),
            Command::CloseTelemetry => self.relay.close(),
            Command::Flush => {
                self.relay.flush(self.now());
                self.is_flushing = !self.relay.is_idle();
                if !self.is_flushing {
                    events.push_back(Event::Flushed);
                }
            }
            Command::Clear => self.clear(events).await,
            Command::Idle => {
                self.launch = None;
                self.idle_since = Some(Instant::now());
                let has_answered = self.ask.is_some();
                events.extend(self.rest());
                self.answer_held();
                if has_answered {
                    self.teach().await;
                }
            }
            Command::End => {
                self.is_over = true;
                self.answer_held();
            }
        }
    }

    fn signal(&mut self, who: &Who, signal: i32) {
        // It may be asked to end where it was stopped.
        self.wake();
        let process = self.processes.of(who);
        if let Some(Err(error)) = process.map(|process| self.sandbox.signal(process, signal)) {
            tracing::debug!(%error, "failed to signal a program");
        }
    }

    async fn clear(&mut self, events: &mut VecDeque<Event>) {
        self.doubt_prepared();
        self.processes.clear();
        (self.waiting, self.template) = (None, None);
        match timeout(CLEAR_TIMEOUT, self.sandbox.clear()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::error!(%error, "failed to kill the processes of an instance");
                return events.push_back(Event::Gone);
            }
            Err(_) => {
                tracing::error!("failed to kill the processes of an instance in time");
                return events.push_back(Event::Gone);
            }
        }
        // The last words of the dead.
        let mut lines = Vec::new();
        let mut output = std::mem::take(&mut self.output);
        output.read_out(&mut lines);
        output.flush(&mut lines);
        events.extend(lines.into_iter().map(|line| Event::Output(line.source, line.text)));
        if timeout(CLEAR_TIMEOUT, self.transport.reset()).await.is_err() {
            tracing::error!("failed to hang up on the processes of an instance in time");
            return events.push_back(Event::Gone);
        }
        self.relay.reset();
        events.push_back(Event::Cleared);
    }

    /// The machine's time, that never goes back while the instance lives.
    fn now(&self) -> Timestamp {
        let (instant, timestamp) = self.began;
        timestamp.plus(instant.elapsed())
    }

    fn instant(&self, moment: Timestamp) -> Instant {
        let (instant, timestamp) = self.began;
        let after = moment.since(timestamp);
        instant.checked_add(after).unwrap_or(instant)
    }
}

//! One instance's life, decided without I/O: what happens, in goes an `Event` with the time, out come `Command`s for
//! the task that owns the sandbox (`instance`).
//!
//! ```text
//!          Begin/Invoke            all ready             Invoke
//!   Cold ───────────────> Starting ─────────> Ready <──────────────> Busy
//!    ^                        │                 │       all quiet      │
//!    │                        └── exit, timeout, Retire ──────────────┘
//!    │                                   │          with extensions
//!    │                                   ├────────────────────────────> Stopping
//!    │                                   v                                 │
//!    ├───────────── Cleared ───────── Clearing <──── all gone, too late ───┘
//!    v
//!   Over
//! ```
//!
//! `Over` follows where there is no other life: after `Retire` and too many starts, and whenever the sandbox is gone.
//!
//! As on AWS: the first init has ten seconds of its own; one that fails is repeated within the invocation that waits
//! for it, under the function's timeout. After a timeout or a crash all processes are killed, `/tmp` and the log stay,
//! and init repeats inside the next invocation. Extensions start before the runtime, which waits until they have
//! registered; init is over when the runtime and all of them ask for an event, an invocation when the runtime and those
//! that were told of it do. A response leaves as soon as it is whole, with the log's end only when the invocation is
//! over.
//!
//! Invariants: each invocation is answered exactly once, to the end. `Idle` is said only when none is in hand, nobody
//! works on one and no process of an earlier life is left running. What comes when it makes no sense breaks the
//! instance, never the server.
//!
//! `events` is what goes in and comes out, `invocation` what is in hand, `extensions` who registered, `shutdown` the
//! end, `snapshot` SnapStart, `telling` when something is told, `lines` and `records` the log's words, `failure` the
//! caller's.

mod events;
mod extensions;
mod failure;
mod invocation;
mod lines;
mod records;
mod shutdown;
mod snapshot;
mod tail;
mod telling;
#[cfg(test)]
mod tests;

use std::time::Duration;

use base::Timestamp;
use base::ports::Call;
use base::record::Kind;
use sandbox::{Exit, Status};

pub use events::{Answer, Command, Event, Said, Source, Who};
pub use extensions::{Ask, Invoke, Reply, Ticket};
pub use failure::{BY_RUNTIMES, Breakage, First, error_json, kind as error_kind};
pub use lines::Writer;
pub use snapshot::{Beginning, Outcome, had_all};

use crate::limits::STARTS_MAX;
use crate::telemetry::{Dropped, Told, What};
use extensions::{Extensions, Reason};
use invocation::Invocation;
use lines::{Line, Phase};
use shutdown::Shutdown;
use telling::runtime_done;

pub struct Environment {
    timeout: Duration,
    writer: Writer,
    beginning: Beginning,
    state: State,
    since: Timestamp,
    deadline: Option<Timestamp>,
    in_hand: Option<Invocation>,
    extensions: Extensions,
    /// Whether the runtime was started in this life.
    is_runtime_started: bool,
    is_runtime_alive: bool,
    /// It asks for an event.
    is_runtime_quiet: bool,
    /// Somebody hears what is told, or may yet.
    is_heard: bool,
    /// After this life there is no other.
    is_last: bool,
    /// How often the environment was started.
    starts: u32,
    /// Before its first init its runtime became a copy of one that was there, which is a part of that.
    copied_in: Duration,
    /// Of the first init, until an invocation's report tells it.
    init: Option<Duration>,
    /// The same of the snapshot that it began with, and the part of that which is billed.
    restored: Option<(Duration, Duration)>,
    /// Its runtime has said so, which it does once.
    is_loaded: bool,
    /// A process of it was killed by a signal that a function has no part in as a rule.
    killed_by: Option<Exit>,
    outcome: Outcome,
    memory_peak_bytes: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Cold,
    Starting(Phase),
    Ready,
    Busy,
    Stopping(Shutdown),
    Clearing,
    Over,
}

impl Environment {
    /// `extensions` are the files of `/opt/extensions`.
    pub fn new(timeout: Duration, writer: Writer, extensions: Vec<String>, beginning: Beginning) -> Self {
        Self {
            timeout,
            writer,
            beginning,
            state: State::Cold,
            since: Timestamp::default(),
            deadline: None,
            in_hand: None,
            extensions: Extensions::new(extensions),
            is_runtime_started: false,
            is_runtime_alive: false,
            is_runtime_quiet: false,
            is_heard: false,
            is_last: false,
            starts: 0,
            copied_in: Duration::ZERO,
            init: None,
            restored: None,
            is_loaded: false,
            killed_by: None,
            outcome: Outcome::Gone,
            memory_peak_bytes: None,
        }
    }

    /// So long its caller waited before, until its runtime was a copy.
    pub fn copied_in(self, copied_in: Duration) -> Self {
        // A restore has it among its beginning.
        let copied_in = if self.beginning == Beginning::Init { copied_in } else { Duration::ZERO };
        Self { copied_in, ..self }
    }

    /// Somebody pays for it to be ready before anybody calls.
    pub fn is_provisioned(&self) -> bool {
        self.writer.origin.kind == Kind::Provisioned
    }

    /// When a `Tick` is due.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.deadline
    }

    /// The function is loaded, and nothing is in hand.
    pub fn is_ready(&self) -> bool {
        self.state == State::Ready
    }

    /// Its processes are being ended; `Idle` or `End` follows within the limits of a shutdown.
    pub fn is_ending(&self) -> bool {
        matches!(self.state, State::Stopping(_) | State::Clearing)
    }

    /// The most memory that the sandbox ever held, to be told before an event that may end an invocation.
    pub fn note_memory(&mut self, peak_bytes: Option<u64>) {
        self.memory_peak_bytes = peak_bytes;
    }

    /// As it was told last.
    pub fn memory_peak_bytes(&self) -> Option<u64> {
        self.memory_peak_bytes
    }

    /// Takes one event and adds what is to be done about it, in order.
    pub fn step(&mut self, now: Timestamp, event: Event, out: &mut Vec<Command>) {
        match event {
            Event::Begin if self.state == State::Cold && self.starts == 0 => self.start(now, self.first_phase(), out),
            Event::Begin => {}
            Event::Invoke(call) => self.invoke(now, call, out),
            Event::NotStarted(why) => {
                self.is_runtime_alive = false;
                self.broke(now, Breakage::NotStarted(why), out);
            }
            Event::Said(said) => self.said(now, said, out),
            Event::Exited(exit) => {
                self.is_runtime_alive = false;
                self.note_exit(exit);
                self.broke(now, Breakage::Exited(exit), out);
            }
            Event::ExtensionNotStarted { name, why, is_forbidden } => {
                self.extensions.not_started(&name, is_forbidden);
                self.broke(now, Breakage::extension("Extension.LaunchError", why), out);
            }
            Event::ExtensionExited { name, exit } => {
                self.extensions.exited(&name);
                self.note_exit(exit);
                self.broke(now, Breakage::crash(exit), out);
            }
            Event::Asked(ticket, ask) => self.asked(now, ticket, ask, out),
            Event::Cleared => self.cleared(now, out),
            Event::Output(source, text) => self.output(now, source, text, out),
            Event::Dropped(Dropped { records, bytes }) => self.log(now, &Line::LogsDropped { records, bytes }, out),
            Event::Flushed => self.flushed(now, out),
            Event::Tick => self.tick(now, out),
            Event::Retire => self.retire(now, out),
            Event::Gone => self.gone(now, out),
        }
    }

    fn tick(&mut self, now: Timestamp, out: &mut Vec<Command>) {
        match self.state {
            _ if self.deadline.is_none_or(|deadline| deadline > now) => {}
            State::Stopping(shutdown) => self.go_on_stopping(now, shutdown, out),
            State::Starting(Phase::Init | Phase::Restore) => {
                self.broke(now, Breakage::Timeout(self.first_timeout()), out);
            }
            _ => self.broke(now, Breakage::Timeout(self.timeout), out),
        }
    }

    fn output(&mut self, now: Timestamp, source: Source, text: String, out: &mut Vec<Command>) {
        if self.is_heard {
            let what = match source {
                Source::Function => What::Function(text.clone()),
                Source::Extension => What::Extension(text.clone()),
            };
            out.push(Command::Tell(Told { time: now, what }));
        }
        if source == Source::Extension || self.writer.admits(&text) {
            self.write(Some(text), out);
        }
    }

    fn asked(&mut self, now: Timestamp, ticket: Ticket, ask: Ask, out: &mut Vec<Command>) {
        let mut replies = Vec::new();
        let wanted = self.extensions.ask(ticket, ask, &mut replies);
        if let Some(wanted) = wanted {
            let (api, types) = (wanted.subscription.schema.api(), wanted.subscription.types.clone());
            let name = wanted.name.clone();
            out.push(Command::Subscribe(wanted));
            self.log(now, &Line::Subscribed { api, name: &name, types: &types }, out);
        }
        reply(replies, out);
        match self.state {
            State::Starting(_) => self.go_on_starting(now, out),
            State::Busy => self.over_if_quiet(now, out),
            State::Stopping(shutdown) => self.go_on_stopping(now, shutdown, out),
            State::Cold | State::Ready | State::Clearing | State::Over => {}
        }
    }

    fn invoke(&mut self, now: Timestamp, call: Box<Call>, out: &mut Vec<Command>) {
        if self.in_hand.is_some() || self.is_last || matches!(self.state, State::Busy | State::Over) {
            out.push(Command::Answer(Answer::Lost));
            return;
        }
        self.in_hand = Some(Invocation::new(call, self.state != State::Ready));
        match self.state {
            State::Cold if self.starts == 0 => self.start(now, self.first_phase(), out),
            State::Cold => self.start_within(now, out),
            State::Ready => self.hand(now, out),
            State::Starting(_) | State::Stopping(_) | State::Clearing | State::Busy | State::Over => {}
        }
    }

    fn start(&mut self, now: Timestamp, phase: Phase, out: &mut Vec<Command>) {
        self.starts = self.starts.saturating_add(1);
        self.state = State::Starting(phase);
        self.since = now;
        (self.is_runtime_started, self.is_runtime_quiet, self.is_heard) = (false, false, true);
        if phase != Phase::Invoke {
            self.deadline = Some(now.plus(self.first_timeout()));
        }
        let line = if phase == Phase::Restore { Line::RestoreStart } else { Line::InitStart { phase } };
        self.log(now, &line, out);
        let (names, is_within_limit) = self.extensions.begin();
        out.extend(names.into_iter().map(Command::StartExtension));
        if !is_within_limit {
            return self.broke(now, Breakage::extension("Extension.LaunchError", "ErrTooManyExtensions".into()), out);
        }
        self.go_on_starting(now, out);
    }

    /// The runtime starts when the extensions have registered, and init is over when all are ready.
    fn go_on_starting(&mut self, now: Timestamp, out: &mut Vec<Command>) {
        if !self.is_runtime_started && self.extensions.are_registered() {
            (self.is_runtime_started, self.is_runtime_alive) = (true, true);
            out.push(Command::Start);
        }
        let State::Starting(phase) = self.state else { return };
        if self.is_runtime_quiet && self.extensions.are_ready() {
            self.ready(now, phase, out);
        }
    }

    /// Init again, silently, on the time of the invocation in hand.
    fn start_within(&mut self, now: Timestamp, out: &mut Vec<Command>) {
        self.begin(now, out);
        self.start(now, Phase::Invoke, out);
    }

    fn begin(&mut self, now: Timestamp, out: &mut Vec<Command>) {
        self.deadline = Some(now.plus(self.timeout));
        if let Some(invocation) = &mut self.in_hand {
            invocation.began = Some(now);
        }
        self.tell_start(now, out);
    }

    /// Gives the invocation in hand to a runtime that is ready, and tells extensions.
    fn hand(&mut self, now: Timestamp, out: &mut Vec<Command>) {
        if self.in_hand.as_ref().is_some_and(|invocation| invocation.began.is_none()) {
            self.begin(now, out);
        }
        self.state = State::Busy;
        self.is_runtime_quiet = false;
        let time_left = self.deadline.map_or(self.timeout, |deadline| deadline.since(now));
        let Some(invocation) = &mut self.in_hand else { return };
        invocation.handed = Some(now);
        let Some(call) = invocation.call.take() else { return };
        if self.extensions.is_any() {
            let (request_id, invoked_arn) = (invocation.request_id.clone(), call.invoked_arn.clone());
            let told = Invoke { request_id, invoked_arn, trace_header: call.trace_header.clone(), time_left };
            let mut replies = Vec::new();
            self.extensions.invoke(&told, &mut replies);
            reply(replies, out);
        }
        out.push(Command::Hand { call, time_left });
    }

    fn said(&mut self, now: Timestamp, said: Said, out: &mut Vec<Command>) {
        match (self.state, said, &mut self.in_hand) {
            (State::Starting(phase), Said::Ready, _) if !self.is_runtime_quiet => self.runtime_ready(now, phase, out),
            (State::Starting(phase), Said::Loaded, _) if !self.is_runtime_quiet => self.loaded(now, phase, out),
            (State::Starting(_), Said::InitError { kind, body }, _) if !self.is_runtime_quiet => {
                self.broke(now, Breakage::InitError { kind, body }, out);
            }
            (_, Said::Prepared(_), _) => {}
            // What it said before it was killed may arrive after.
            (State::Cold | State::Stopping(_) | State::Clearing | State::Over, ..) => {}
            (_, Said::Broken(why), _) => self.broke(now, Breakage::Protocol(why), out),
            (State::Busy, said, Some(invocation)) if !self.is_runtime_quiet => match said {
                Said::Head { content_type, is_streamed } => invocation.head(now, content_type, is_streamed, out),
                Said::Bytes(bytes) => invocation.bytes(now, bytes, out),
                Said::Done => invocation.done(now, out),
                Said::Failed { kind, body } => invocation.failed(now, kind, body, out),
                Said::Next if invocation.is_answered() => self.runtime_done(now, out),
                Said::Next => {
                    let why = "it asked for the next event before it answered this one";
                    self.broke(now, Breakage::Protocol(why), out);
                }
                Said::Ready | Said::Loaded | Said::InitError { .. } | Said::Prepared(_) | Said::Broken(_) => {
                    self.out_of_turn(now, out)
                }
            },
            (State::Starting(_) | State::Ready | State::Busy, ..) => self.out_of_turn(now, out),
        }
    }

    fn out_of_turn(&mut self, now: Timestamp, out: &mut Vec<Command>) {
        self.broke(now, Breakage::Protocol("it said what was not its turn to say"), out);
    }

    fn runtime_ready(&mut self, now: Timestamp, phase: Phase, out: &mut Vec<Command>) {
        self.is_runtime_quiet = true;
        self.extensions.close();
        self.log(now, &runtime_done(phase, None), out);
        self.go_on_starting(now, out);
    }

    fn ready(&mut self, now: Timestamp, phase: Phase, out: &mut Vec<Command>) {
        let mut took = now.since(self.since);
        if phase == Phase::Init {
            took = took.saturating_add(self.copied_in);
            self.init = Some(took);
        }
        self.tell_extensions(now, out);
        let report = self.first_report(phase, took, None);
        self.log(now, &report, out);
        self.extensions.end_init();
        out.push(Command::CloseTelemetry);
        self.is_heard = self.extensions.is_any_subscribed();
        if self.beginning == Beginning::Snapshot {
            return self.wait_for_snapshot(out);
        }
        if self.in_hand.is_some() {
            self.hand(now, out);
        } else {
            self.idle(now, out);
        }
    }

    fn runtime_done(&mut self, now: Timestamp, out: &mut Vec<Command>) {
        self.is_runtime_quiet = true;
        self.tell_runtime_done(now, None, out);
        self.over_if_quiet(now, out);
    }

    fn over_if_quiet(&mut self, now: Timestamp, out: &mut Vec<Command>) {
        if !self.is_runtime_quiet || !self.extensions.are_ready() {
            return;
        }
        self.finish(now, None, out);
        self.idle(now, out);
    }

    /// All are quiet.
    fn idle(&mut self, now: Timestamp, out: &mut Vec<Command>) {
        self.state = State::Ready;
        self.deadline = None;
        if self.is_last {
            return self.shut_down(now, Reason::SpinDown, out);
        }
        if self.is_heard {
            out.push(Command::Flush);
        }
        out.push(Command::Idle);
    }

    /// Something ended what the runtime or an extension was doing.
    fn broke(&mut self, now: Timestamp, breakage: Breakage, out: &mut Vec<Command>) {
        if let Breakage::Protocol(why) = &breakage {
            tracing::debug!(function = self.writer.origin.function, why, "a runtime broke the protocol");
        }
        // What an extension said that it failed by is why the rest broke.
        let breakage = breakage.blamed_on(self.extensions.fatal());
        match self.state {
            State::Stopping(shutdown) => return self.go_on_stopping(now, shutdown, out),
            // Processes that were killed by us.
            State::Cold | State::Clearing | State::Over => return,
            // AWS's runtime interface waits on for one that died of a fault here, until the time is over.
            State::Starting(Phase::Invoke) if is_fault(&breakage) => return,
            State::Starting(phase) => {
                let (took, failure) = (now.since(self.since), breakage.failure());
                let failure = Some(&failure);
                if self.is_runtime_started && !self.is_runtime_quiet {
                    self.log(now, &runtime_done(phase, failure), out);
                }
                self.tell_extensions(now, out);
                let report = self.first_report(phase, took, failure);
                self.log(now, &report, out);
                match phase {
                    Phase::Init if self.beginning == Beginning::Snapshot => {
                        self.outcome = self.failed(&breakage);
                    }
                    Phase::Init => {}
                    Phase::Invoke => self.finish(now, Some(&breakage), out),
                    Phase::Restore => self.not_restored(now, &breakage, out),
                }
            }
            State::Ready => {}
            State::Busy => self.finish(now, Some(&breakage), out),
        }
        let reason = if matches!(breakage, Breakage::Timeout(_)) { Reason::Timeout } else { Reason::Failure };
        self.shut_down(now, reason, out);
    }

    fn cleared(&mut self, now: Timestamp, out: &mut Vec<Command>) {
        if self.state != State::Clearing {
            return;
        }
        self.state = State::Cold;
        self.extensions.end();
        (self.is_runtime_alive, self.is_heard) = (false, false);
        if self.beginning != Beginning::Init {
            self.gone_for_good(out);
        } else if self.in_hand.is_some() {
            self.start_within(now, out);
        } else if self.starts < STARTS_MAX && !self.is_last {
            out.push(Command::Idle);
        } else {
            self.end(out);
        }
    }

    fn retire(&mut self, now: Timestamp, out: &mut Vec<Command>) {
        self.is_last = true;
        match self.state {
            State::Cold => self.end(out),
            State::Ready if !self.extensions.is_any() => self.end(out),
            State::Starting(_) | State::Ready if self.in_hand.is_none() => self.shut_down(now, Reason::SpinDown, out),
            // The end follows from what goes on.
            State::Starting(_) | State::Ready | State::Busy | State::Stopping(_) | State::Clearing | State::Over => {}
        }
    }

    fn end(&mut self, out: &mut Vec<Command>) {
        self.state = State::Over;
        self.deadline = None;
        out.push(Command::End);
    }

    fn gone(&mut self, now: Timestamp, out: &mut Vec<Command>) {
        if self.state == State::Over {
            return;
        }
        let exit = Exit { status: Status::Signal(SIGKILL), out_of_memory: false };
        match self.in_hand.as_ref().map(|invocation| invocation.began.is_some()) {
            Some(true) => self.finish(now, Some(&Breakage::Exited(exit)), out),
            Some(false) => {
                self.in_hand = None;
                out.push(Command::Answer(Answer::Lost));
            }
            None => {}
        }
        self.end(out);
    }
}

fn reply(replies: Vec<extensions::Answered>, out: &mut Vec<Command>) {
    out.extend(replies.into_iter().map(|(ticket, reply)| Command::Reply(ticket, reply)));
}

const SIGTERM: i32 = 15;
const SIGKILL: i32 = 9;
const SIGSEGV: i32 = 11;

fn is_fault(breakage: &Breakage) -> bool {
    matches!(breakage, Breakage::Exited(Exit { status: Status::Signal(SIGSEGV), out_of_memory: false }))
}

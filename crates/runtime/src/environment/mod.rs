//! One instance's life, decided without I/O: what happens, in goes an `Event` with the time, out come `Command`s for the
//! task that owns the sandbox (`instance`).
//!
//! ```text
//!          Begin/Invoke            Ready                Invoke
//!   Cold ───────────────> Starting ─────> Ready <──────────────> Busy
//!    ^                        │             │        Next          │
//!    └──── Cleared ──── Clearing <──────────┴── exit, timeout ─────┘
//! ```
//!
//! As on AWS: the first init has ten seconds of its own; one that fails is repeated within the invocation that waits for
//! it, under the function's timeout. After a timeout or a crash all processes are killed, `/tmp` and the log stay, and
//! init repeats inside the next invocation. A response leaves as soon as it is whole; the invocation is over when the
//! runtime asks for the next event, and only then comes the end of the log.
//!
//! Invariants: each invocation is answered exactly once, to the end. `Idle` is said only when none is in hand and no
//! process of an earlier one is left running. What comes when it makes no sense breaks the instance, never the server.
//!
//! `lines` has the log's words, `failure` the caller's. Not yet: extensions (they hold back `Next`), SnapStart.

mod failure;
mod lines;
mod tail;
#[cfg(test)]
mod tests;

use std::time::Duration;

use base::Timestamp;
use base::ports::Call;
use sandbox::{Exit, Status};

pub use failure::{Breakage, kind as error_kind};
pub use lines::Writer;
use lines::{Failure, Line, Phase};
use tail::Tail;

use crate::limits::{INIT_TIMEOUT, RESPONSE_BYTES_MAX, STARTS_MAX, STREAMED_BYTES_MAX};

#[derive(Debug)]
pub enum Event {
    /// Begin the first init although no invocation waits.
    #[cfg_attr(not(test), expect(dead_code, reason = "for provisioned concurrency, which comes later"))]
    Begin,
    /// One more invocation, which the dispatcher sends only to an instance that is new or said `Idle`.
    Invoke(Box<Call>),
    /// The program that `Start` asked for could not be run; in AWS's words for it.
    NotStarted(String),
    Said(Said),
    /// The runtime's process is gone.
    Exited(Exit),
    /// What `Clear` asked for is done.
    Cleared,
    /// The function wrote something, line end included. It comes before whatever the function said after it.
    Output(String),
    /// `deadline` may have passed.
    Tick,
    /// The sandbox is no more.
    Gone,
}

/// What a runtime says, through whichever transport.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    Ready,
    InitError {
        kind: String,
        body: Vec<u8>,
    },
    /// The response begins. Need not be said before one that is not streamed.
    Head {
        content_type: Option<String>,
        is_streamed: bool,
    },
    Bytes(Vec<u8>),
    /// The response is whole.
    Done,
    /// The handler failed, before or in the middle of its response.
    Failed {
        kind: String,
        body: Vec<u8>,
    },
    /// The invocation is over.
    Next,
    /// It broke the protocol, or hung up.
    Broken(&'static str),
}

#[derive(Debug)]
pub enum Command {
    /// Run the runtime's program.
    Start,
    /// Give the runtime this invocation, to be over in `time_left`.
    Hand {
        call: Box<Call>,
        time_left: Duration,
    },
    /// For whoever waits for the invocation in hand.
    Answer(Answer),
    Log(String),
    /// Kill all processes, then say `Cleared`.
    Clear,
    /// Another invocation may come.
    Idle,
    /// The instance is used up: throw it away.
    End,
}

/// Parts of one answer, in this order: `Whole`, or `Begin`, any number of `Piece`s, and `End`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Whole {
        function_error: Option<&'static str>,
        content_type: Option<String>,
        body: Vec<u8>,
        log_tail: Option<Vec<u8>>,
    },
    Begin {
        content_type: Option<String>,
    },
    Piece(Vec<u8>),
    End {
        log_tail: Option<Vec<u8>>,
        error: Option<(String, String)>,
    },
    /// The invocation never began, as its instance was gone.
    Lost,
}

/// AWS's one word for a function that failed.
const UNHANDLED: &str = "Unhandled";

pub struct Environment {
    timeout: Duration,
    writer: Writer,
    state: State,
    since: Timestamp,
    deadline: Option<Timestamp>,
    in_hand: Option<Invocation>,
    /// How often the runtime was started.
    starts: u32,
    /// Of the first init, until an invocation's report tells it.
    init: Option<Duration>,
    memory_peak_bytes: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Cold,
    Starting(Phase),
    Ready,
    Busy,
    Clearing,
    Over,
}

struct Invocation {
    /// Until it is handed to the runtime.
    call: Option<Box<Call>>,
    request_id: String,
    tenant_id: Option<String>,
    wants_tail: bool,
    is_streamed: bool,
    /// When `START` was written.
    began: Option<Timestamp>,
    response: Response,
    produced_bytes: u64,
    /// The type of the error that the handler answered with.
    handler_error: Option<String>,
    tail: Tail,
}

enum Response {
    None,
    Collecting {
        content_type: Option<String>,
        body: Vec<u8>,
    },
    /// The caller has its beginning. The limit is on all of it.
    Streaming {
        bytes_max: u64,
    },
    /// Whole, and waiting for the end of the log.
    Kept(Answer),
    Told,
}

impl Environment {
    pub fn new(timeout: Duration, writer: Writer) -> Self {
        Self {
            timeout,
            writer,
            state: State::Cold,
            since: Timestamp::default(),
            deadline: None,
            in_hand: None,
            starts: 0,
            init: None,
            memory_peak_bytes: None,
        }
    }

    /// When a `Tick` is due.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.deadline
    }

    /// The most memory that the sandbox ever held, to be told before an event that may end an invocation.
    pub fn note_memory(&mut self, peak_bytes: Option<u64>) {
        self.memory_peak_bytes = peak_bytes;
    }

    /// Takes one event and adds what is to be done about it, in order.
    pub fn step(&mut self, now: Timestamp, event: Event, out: &mut Vec<Command>) {
        match event {
            Event::Begin if self.state == State::Cold && self.starts == 0 => self.start(now, Phase::Init, out),
            Event::Begin => {}
            Event::Invoke(call) => self.invoke(now, call, out),
            Event::NotStarted(why) => self.broke(now, Breakage::NotStarted(why), out),
            Event::Said(said) => self.said(now, said, out),
            Event::Exited(exit) => self.broke(now, Breakage::Exited(exit), out),
            Event::Cleared => self.cleared(now, out),
            Event::Output(text) if !self.writer.admits(&text) => {}
            Event::Output(text) => {
                if let Some(invocation) = self.in_hand.as_mut().filter(|invocation| invocation.began.is_some()) {
                    invocation.tail.push(&text);
                }
                out.push(Command::Log(text));
            }
            Event::Tick => {
                if self.deadline.is_some_and(|deadline| deadline <= now) {
                    let allowed = if self.state == State::Starting(Phase::Init) { INIT_TIMEOUT } else { self.timeout };
                    self.broke(now, Breakage::Timeout(allowed), out);
                }
            }
            Event::Gone => self.gone(now, out),
        }
    }

    fn invoke(&mut self, now: Timestamp, call: Box<Call>, out: &mut Vec<Command>) {
        if self.in_hand.is_some() || matches!(self.state, State::Busy | State::Over) {
            out.push(Command::Answer(Answer::Lost));
            return;
        }
        self.in_hand = Some(Invocation {
            request_id: call.request_id.to_string(),
            tenant_id: call.tenant_id.clone(),
            wants_tail: call.wants_log_tail,
            is_streamed: call.is_streamed,
            call: Some(call),
            began: None,
            response: Response::None,
            produced_bytes: 0,
            handler_error: None,
            tail: Tail::default(),
        });
        match self.state {
            State::Cold if self.starts == 0 => self.start(now, Phase::Init, out),
            State::Cold => self.start_within(now, out),
            State::Ready => self.hand(now, out),
            State::Starting(_) | State::Clearing | State::Busy | State::Over => {}
        }
    }

    fn start(&mut self, now: Timestamp, phase: Phase, out: &mut Vec<Command>) {
        self.starts = self.starts.saturating_add(1);
        self.state = State::Starting(phase);
        self.since = now;
        if phase == Phase::Init {
            self.deadline = Some(now.plus(INIT_TIMEOUT));
            self.log(now, &Line::InitStart, out);
        }
        out.push(Command::Start);
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
            let (request_id, tenant_id) = (invocation.request_id.clone(), invocation.tenant_id.clone());
            self.log(now, &Line::Start { request_id: &request_id, tenant_id: tenant_id.as_deref() }, out);
        }
    }

    /// Gives the invocation in hand to a runtime that is ready.
    fn hand(&mut self, now: Timestamp, out: &mut Vec<Command>) {
        if self.in_hand.as_ref().is_some_and(|invocation| invocation.began.is_none()) {
            self.begin(now, out);
        }
        self.state = State::Busy;
        let time_left = self.deadline.map_or(self.timeout, |deadline| deadline.since(now));
        if let Some(call) = self.in_hand.as_mut().and_then(|invocation| invocation.call.take()) {
            out.push(Command::Hand { call, time_left });
        }
    }

    fn said(&mut self, now: Timestamp, said: Said, out: &mut Vec<Command>) {
        match (self.state, said) {
            (State::Starting(phase), Said::Ready) => self.ready(now, phase, out),
            (State::Starting(_), Said::InitError { kind, body }) => {
                self.broke(now, Breakage::InitError { kind, body }, out);
            }
            (State::Busy, Said::Head { content_type, is_streamed }) => self.head(content_type, is_streamed, out),
            (State::Busy, Said::Bytes(bytes)) => self.bytes(bytes, out),
            (State::Busy, Said::Done) => self.done(out),
            (State::Busy, Said::Failed { kind, body }) => self.failed(kind, body, out),
            (State::Busy, Said::Next) => self.next(now, out),
            // What it said before it was killed may arrive after.
            (State::Cold | State::Clearing | State::Over, _) => {}
            (_, Said::Broken(why)) => self.broke(now, Breakage::Protocol(why), out),
            (State::Starting(_) | State::Ready | State::Busy, _) => {
                self.broke(now, Breakage::Protocol("it said what was not its turn to say"), out);
            }
        }
    }

    fn ready(&mut self, now: Timestamp, phase: Phase, out: &mut Vec<Command>) {
        if phase == Phase::Init {
            self.init = Some(now.since(self.since));
        }
        self.state = State::Ready;
        if self.in_hand.is_some() {
            self.hand(now, out);
        } else {
            self.deadline = None;
            out.push(Command::Idle);
        }
    }

    fn head(&mut self, content_type: Option<String>, is_streamed: bool, out: &mut Vec<Command>) {
        let Some(invocation) = &mut self.in_hand else { return };
        if !matches!(invocation.response, Response::None) {
            return;
        }
        if invocation.is_streamed {
            let bytes_max = if is_streamed { STREAMED_BYTES_MAX } else { RESPONSE_BYTES_MAX };
            invocation.response = Response::Streaming { bytes_max };
            out.push(Command::Answer(Answer::Begin { content_type }));
        } else {
            invocation.response = Response::Collecting { content_type, body: Vec::new() };
        }
    }

    fn bytes(&mut self, bytes: Vec<u8>, out: &mut Vec<Command>) {
        self.head(None, false, out);
        let Some(invocation) = &mut self.in_hand else { return };
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let bytes_max = match &invocation.response {
            Response::Collecting { .. } => RESPONSE_BYTES_MAX,
            Response::Streaming { bytes_max } => *bytes_max,
            // The rest of what was too much already, or followed its own end.
            Response::None | Response::Kept(_) | Response::Told => return,
        };
        invocation.produced_bytes = invocation.produced_bytes.saturating_add(length);
        if invocation.produced_bytes > bytes_max {
            let breakage = Breakage::TooLarge;
            invocation.handler_error = Some(breakage.kind().to_owned());
            let body = breakage.body(&invocation.request_id);
            invocation.fail(breakage.kind(), body, out);
            return;
        }
        match &mut invocation.response {
            Response::Collecting { body, .. } if body.is_empty() => *body = bytes,
            Response::Collecting { body, .. } => body.extend_from_slice(&bytes),
            Response::Streaming { .. } => out.push(Command::Answer(Answer::Piece(bytes))),
            Response::None | Response::Kept(_) | Response::Told => {}
        }
    }

    fn done(&mut self, out: &mut Vec<Command>) {
        self.head(None, false, out);
        let Some(invocation) = &mut self.in_hand else { return };
        match std::mem::replace(&mut invocation.response, Response::Told) {
            Response::Collecting { content_type, body } => {
                let whole = Answer::Whole { function_error: None, content_type, body, log_tail: None };
                invocation.answer(whole, out);
            }
            Response::Streaming { .. } => invocation.answer(Answer::End { log_tail: None, error: None }, out),
            // Answered already: too large.
            before @ (Response::None | Response::Kept(_) | Response::Told) => invocation.response = before,
        }
    }

    fn failed(&mut self, kind: String, body: Vec<u8>, out: &mut Vec<Command>) {
        let Some(invocation) = &mut self.in_hand else { return };
        if matches!(invocation.response, Response::Kept(_) | Response::Told) {
            return;
        }
        let is_too_large = u64::try_from(body.len()).unwrap_or(u64::MAX) > RESPONSE_BYTES_MAX;
        let (kind, body) = match Breakage::TooLarge {
            breakage if is_too_large => (breakage.kind().to_owned(), breakage.body(&invocation.request_id)),
            _ => (kind, body),
        };
        invocation.fail(&kind, body, out);
        invocation.handler_error = Some(kind);
    }

    fn next(&mut self, now: Timestamp, out: &mut Vec<Command>) {
        let response = self.in_hand.as_ref().map(|invocation| &invocation.response);
        if !matches!(response, Some(Response::Kept(_) | Response::Told)) {
            self.broke(now, Breakage::Protocol("it asked for the next event before it answered this one"), out);
            return;
        }
        self.finish(now, None, out);
        self.state = State::Ready;
        self.deadline = None;
        out.push(Command::Idle);
    }

    /// Something ended what the runtime was doing.
    fn broke(&mut self, now: Timestamp, breakage: Breakage, out: &mut Vec<Command>) {
        if let Breakage::Protocol(why) = &breakage {
            tracing::debug!(function = self.writer.function_name, why, "a runtime broke the protocol");
        }
        match self.state {
            // Processes that were killed by us.
            State::Cold | State::Clearing | State::Over => return,
            // AWS's runtime interface waits on for one that died of a fault here, until the time is over.
            State::Starting(Phase::Invoke) if is_fault(&breakage) => return,
            State::Starting(phase) => {
                let took = now.since(self.since);
                self.log(now, &Line::InitReport { phase, took, failure: breakage.failure() }, out);
                if phase == Phase::Invoke {
                    self.finish(now, Some(breakage), out);
                }
            }
            State::Ready => {}
            State::Busy => self.finish(now, Some(breakage), out),
        }
        self.state = State::Clearing;
        self.deadline = None;
        out.push(Command::Clear);
    }

    fn cleared(&mut self, now: Timestamp, out: &mut Vec<Command>) {
        if self.state != State::Clearing {
            return;
        }
        self.state = State::Cold;
        if self.in_hand.is_some() {
            self.start_within(now, out);
        } else if self.starts < STARTS_MAX {
            out.push(Command::Idle);
        } else {
            self.state = State::Over;
            out.push(Command::End);
        }
    }

    fn gone(&mut self, now: Timestamp, out: &mut Vec<Command>) {
        if self.state == State::Over {
            return;
        }
        let exit = Exit { status: Status::Signal(SIGKILL), out_of_memory: false };
        match self.in_hand.as_ref().map(|invocation| invocation.began.is_some()) {
            Some(true) => self.finish(now, Some(Breakage::Exited(exit)), out),
            Some(false) => {
                self.in_hand = None;
                out.push(Command::Answer(Answer::Lost));
            }
            None => {}
        }
        self.state = State::Over;
        self.deadline = None;
        out.push(Command::End);
    }

    /// The invocation in hand is over: its report, and what the caller still has to get.
    fn finish(&mut self, now: Timestamp, breakage: Option<Breakage>, out: &mut Vec<Command>) {
        let Some(mut invocation) = self.in_hand.take() else { return };
        let took = match &breakage {
            // Not by how much the clock was read too late.
            Some(Breakage::Timeout(timeout)) => *timeout,
            _ => invocation.began.map_or(Duration::ZERO, |began| now.since(began)),
        };
        let failure = match (&breakage, &invocation.handler_error) {
            (Some(breakage), _) => Some(breakage.failure()),
            (None, Some(kind)) => Some(Failure::Handler(kind)),
            (None, None) => None,
        };
        let done = Line::RuntimeDone {
            request_id: &invocation.request_id,
            tenant_id: invocation.tenant_id.as_deref(),
            took,
            produced_bytes: invocation.produced_bytes,
            failure,
        };
        let report = Line::Report {
            request_id: &invocation.request_id,
            took,
            init: self.init.take(),
            memory_peak_bytes: self.memory_peak_bytes,
            failure,
        };
        for line in [done, report] {
            if let Some(text) = self.writer.write(now, &line) {
                invocation.tail.push(&text);
                out.push(Command::Log(text));
            }
        }
        if let Some(breakage) = &breakage {
            let body = breakage.body(&invocation.request_id);
            // Nobody waits for the log's end any more: it has been written.
            invocation.fail(breakage.kind(), body, out);
        }
        if let Response::Kept(mut answer) = std::mem::replace(&mut invocation.response, Response::Told) {
            if let Answer::Whole { log_tail, .. } | Answer::End { log_tail, .. } = &mut answer {
                *log_tail = Some(std::mem::take(&mut invocation.tail).into_bytes());
            }
            out.push(Command::Answer(answer));
        }
    }

    fn log(&mut self, now: Timestamp, line: &Line<'_>, out: &mut Vec<Command>) {
        if let Some(text) = self.writer.write(now, line) {
            if let Some(invocation) = self.in_hand.as_mut().filter(|invocation| invocation.began.is_some()) {
                invocation.tail.push(&text);
            }
            out.push(Command::Log(text));
        }
    }
}

impl Invocation {
    /// Answers with an error, unless the answer is whole already.
    fn fail(&mut self, kind: &str, body: Vec<u8>, out: &mut Vec<Command>) {
        let error = |body: Vec<u8>| Some((kind.to_owned(), String::from_utf8_lossy(&body).into_owned()));
        match std::mem::replace(&mut self.response, Response::Told) {
            Response::None | Response::Collecting { .. } if !self.is_streamed => {
                let content_type = Some("application/json".to_owned());
                self.answer(Answer::Whole { function_error: Some(UNHANDLED), content_type, body, log_tail: None }, out);
            }
            Response::None | Response::Collecting { .. } => {
                out.push(Command::Answer(Answer::Begin { content_type: None }));
                self.answer(Answer::End { log_tail: None, error: error(body) }, out);
            }
            Response::Streaming { .. } => self.answer(Answer::End { log_tail: None, error: error(body) }, out),
            before @ (Response::Kept(_) | Response::Told) => self.response = before,
        }
    }

    /// The last part of the answer: at once, or with the end of the log where that is wanted.
    fn answer(&mut self, answer: Answer, out: &mut Vec<Command>) {
        if self.wants_tail {
            self.response = Response::Kept(answer);
        } else {
            self.response = Response::Told;
            out.push(Command::Answer(answer));
        }
    }
}

const SIGKILL: i32 = 9;
const SIGSEGV: i32 = 11;

fn is_fault(breakage: &Breakage) -> bool {
    matches!(breakage, Breakage::Exited(Exit { status: Status::Signal(SIGSEGV), out_of_memory: false }))
}

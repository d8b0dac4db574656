//! One instance as it runs: the task that owns its sandbox, turns what happens there into events of `environment`, and
//! carries out what that commands.
//!
//! Whatever the runtime wrote before it said something is read before that is acted upon, so the log of an invocation is
//! whole when its report is written. A step never waits for the function, nor for the caller: it waits only for the
//! sandbox to start or kill programs, and gives up the sandbox if that takes too long.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base::ports::{Call, InvokeError, Invoked, LogEvent, LogStream, Telemetry};
use base::{Clock, Timestamp};
use sandbox::{Event as Happening, Exit, ProcessId, Program, RunError, Sandbox, Status};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use crate::alarm::Alarm;
use crate::environment::{Answer, Command, Environment, Event, Said};
use crate::frames::Connection;
use crate::http::Session;
use crate::limits::{ANSWER_HELD_MAX, CLEAR_TIMEOUT, FREEZE_AFTER};
use crate::logs::Output;
use crate::response::{Feed, Whole, stream};

/// Who waits for an invocation's answer.
pub type Reply = oneshot::Sender<Result<Invoked, InvokeError>>;

/// What the dispatcher sends.
pub enum Order {
    Invoke(Box<Call>, Reply),
    /// Stop; sent only while idle.
    End,
}

impl Order {
    /// Tells who waits for it why it is not carried out.
    pub fn refuse(self, why: InvokeError) {
        if let Order::Invoke(_, reply) = self {
            reply.send(Err(why)).ok();
        }
    }
}

/// The dispatcher, as an instance sees it.
pub trait Home: Send + Sync {
    /// The instance may take another invocation. Whether it is kept.
    fn free(&self) -> bool;
    /// It has been idle for long. Whether it may go; otherwise an invocation is on its way.
    fn retire(&self) -> bool;
}

/// How the function's program is started.
pub struct Start {
    pub argv: Vec<String>,
    pub env: BTreeMap<String, String>,
    /// It is a bootstrap of ours and speaks frames.
    pub is_framed: bool,
    /// It is given AWS's log pipe.
    pub has_log_pipe: bool,
    /// Why there is no program to run, in AWS's words.
    pub missing: Option<String>,
    /// A wrapper that is not there is, as on AWS, an exit.
    pub is_wrapped: bool,
}

/// All that an instance is made of.
pub struct Body {
    pub sandbox: Sandbox,
    pub environment: Environment,
    pub start: Start,
    /// Where the runtime speaks HTTP.
    pub api: Option<Session>,
    pub orders: mpsc::Receiver<Order>,
    pub home: Box<dyn Home>,
    pub clock: Arc<dyn Clock>,
    pub telemetry: Arc<dyn Telemetry>,
    pub log: Arc<LogStream>,
    pub keep_alive: Duration,
    /// What must live as long as it: code in the cache, its key, the platform's API inside.
    pub held: Vec<Box<dyn Any + Send>>,
}

/// The number under which a bootstrap finds its end of the frames.
const CONTROL_FD: u16 = 3;
/// AWS's number of the log pipe.
const LOG_FD: u16 = 62;

struct Instance {
    sandbox: Arc<Sandbox>,
    environment: Environment,
    start: Start,
    transport: Transport,
    orders: mpsc::Receiver<Order>,
    home: Box<dyn Home>,
    clock: Arc<dyn Clock>,
    telemetry: Arc<dyn Telemetry>,
    log: Arc<LogStream>,
    keep_alive: Duration,
    output: Output,
    process: Option<ProcessId>,
    caller: Caller,
    /// The end of an answer, and how long it may be held back: whoever hears it and calls again finds this instance free.
    held_answer: Option<(Answer, Instant)>,
    idle_since: Option<Instant>,
    alarm: Alarm,
    is_frozen: bool,
    is_over: bool,
    began: (Instant, Timestamp),
}

enum Transport {
    /// Before the first start, and after a kill.
    None,
    Frames(Connection),
    Http(Session),
}

/// Who waits for the answer, and in which way.
enum Caller {
    Nobody,
    Waiting(Reply),
    Taking(Feed),
}

enum Happened {
    Order(Option<Order>),
    Said(Said),
    InSandbox(Happening),
    Output,
    Taken(u64),
    /// A timer is due.
    Timer(Timer),
}

#[derive(Clone, Copy)]
enum Timer {
    Deadline,
    HeldLong,
    IdleLong,
    IdleShort,
}

/// Runs an instance to its end, and gives back where its orders come from. When this returns, nothing of it is left on
/// the host.
pub async fn run(body: Body) -> mpsc::Receiver<Order> {
    let Body { sandbox, environment, start, api, orders, home, clock, telemetry, log, keep_alive, held } = body;
    let sandbox = Arc::new(sandbox);
    let began = (Instant::now(), clock.now());
    let mut instance = Instance {
        sandbox: Arc::clone(&sandbox),
        environment,
        start,
        transport: api.map_or(Transport::None, Transport::Http),
        orders,
        home,
        clock,
        telemetry,
        log,
        keep_alive,
        output: Output::default(),
        process: None,
        caller: Caller::Nobody,
        held_answer: None,
        idle_since: None,
        alarm: Alarm::default(),
        is_frozen: false,
        is_over: false,
        began,
    };
    let mut lines = Vec::new();
    while !instance.is_over {
        let happened = instance.wait(&sandbox, &mut lines).await;
        instance.react(happened, &mut lines).await;
    }
    sandbox.kill().await;
    drop(held);
    instance.orders
}

impl Instance {
    /// What happens next. Time comes first, for what a function can do without end must not outlast its deadline, and
    /// its output last. What was read already waits for nothing.
    async fn wait(&mut self, sandbox: &Sandbox, lines: &mut Vec<String>) -> Happened {
        loop {
            let timer = self.timer();
            if let Some((at, timer)) = timer
                && at <= Instant::now()
            {
                return Happened::Timer(timer);
            }
            if let Some(said) = self.transport.said() {
                return Happened::Said(said);
            }
            self.alarm.set(timer.map(|(at, _)| at));
            let (transport, output, caller) = (&mut self.transport, &mut self.output, &self.caller);
            tokio::select! {
                biased;
                () = self.alarm.rings() => {}
                said = transport.next() => return Happened::Said(said),
                happening = sandbox.event() => return Happened::InSandbox(happening),
                order = self.orders.recv() => return Happened::Order(order),
                bytes = taken(caller) => return Happened::Taken(bytes),
                () = output.next(lines) => return Happened::Output,
            }
        }
    }

    /// The timer that is due first.
    fn timer(&self) -> Option<(Instant, Timer)> {
        let idle = |after| self.idle_since.and_then(|since| since.checked_add(after));
        let timers = [
            (self.environment.deadline().map(|deadline| self.instant(deadline)), Timer::Deadline),
            (self.held_answer.as_ref().map(|(_, until)| *until), Timer::HeldLong),
            (idle(self.keep_alive), Timer::IdleLong),
            (idle(FREEZE_AFTER).filter(|_| !self.is_frozen), Timer::IdleShort),
        ];
        let timers = timers.into_iter().filter_map(|(at, timer)| Some((at?, timer)));
        timers.min_by_key(|(at, _)| *at)
    }

    async fn react(&mut self, happened: Happened, lines: &mut Vec<String>) {
        let event = match happened {
            Happened::Order(Some(Order::Invoke(call, reply))) => {
                self.wake();
                self.caller = Caller::Waiting(reply);
                Event::Invoke(call)
            }
            Happened::Order(Some(Order::End) | None) => {
                self.is_over = true;
                return;
            }
            Happened::Said(said) => {
                if let Said::Bytes(bytes) = &said {
                    self.let_send(bytes.len());
                }
                if matches!(said, Said::Ready | Said::InitError { .. } | Said::Next) {
                    self.before_an_end(lines).await;
                }
                Event::Said(said)
            }
            Happened::InSandbox(Happening::Exited { process, exit }) => return self.exited(process, exit, lines).await,
            Happened::InSandbox(Happening::Gone) => Event::Gone,
            Happened::Output => return self.write(lines).await,
            Happened::Taken(bytes) => return self.transport.grant(bytes),
            Happened::Timer(Timer::Deadline) => {
                self.before_an_end(lines).await;
                Event::Tick
            }
            Happened::Timer(Timer::HeldLong) => return self.answer_held(),
            Happened::Timer(Timer::IdleLong) => {
                self.is_over = self.home.retire();
                // An invocation is on its way otherwise.
                self.idle_since = None;
                return;
            }
            Happened::Timer(Timer::IdleShort) => {
                // Where the host lends no freezer it runs on.
                if let Err(error) = self.sandbox.freeze() {
                    tracing::debug!(%error, "failed to freeze an instance");
                }
                self.is_frozen = true;
                return;
            }
        };
        self.step(event).await;
    }

    fn wake(&mut self) {
        self.idle_since = None;
        if self.is_frozen {
            self.is_frozen = false;
            if let Err(error) = self.sandbox.thaw() {
                tracing::warn!(%error, "failed to thaw an instance");
            }
        }
    }

    /// Takes note of what was written and held up to now.
    async fn before_an_end(&mut self, lines: &mut Vec<String>) {
        self.output.read_out(lines);
        self.write(lines).await;
        self.environment.note_memory(self.sandbox.memory_peak_bytes());
    }

    async fn write(&mut self, lines: &mut Vec<String>) {
        for line in lines.drain(..) {
            self.step(Event::Output(line)).await;
        }
    }

    async fn exited(&mut self, process: ProcessId, exit: Exit, lines: &mut Vec<String>) {
        // Others are of a runtime that was killed before.
        if self.process != Some(process) {
            return;
        }
        self.process = None;
        self.transport.read_out();
        while let Some(said) = self.transport.said() {
            if matches!(said, Said::InitError { .. } | Said::Next) {
                self.before_an_end(lines).await;
            }
            self.step(Event::Said(said)).await;
        }
        self.before_an_end(lines).await;
        self.step(Event::Exited(exit)).await;
    }

    /// A response that nobody takes in pieces is taken as it comes.
    fn let_send(&mut self, bytes: usize) {
        if !matches!(self.caller, Caller::Taking(_)) {
            self.transport.grant(u64::try_from(bytes).unwrap_or(u64::MAX));
        }
    }

    /// Steps the environment, and carries out its commands and what follows from them.
    async fn step(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        let mut commands = Vec::new();
        while let Some(event) = events.pop_front() {
            self.environment.step(self.now(), event, &mut commands);
            for command in commands.drain(..) {
                match command {
                    Command::Start => events.extend(self.start().await),
                    Command::Hand { call, time_left } => {
                        let deadline = self.clock.now().plus(time_left);
                        self.transport.invoke(*call, deadline);
                    }
                    Command::Answer(answer) => self.answer(answer),
                    Command::Log(message) => {
                        self.telemetry.log(&self.log, LogEvent { time: self.clock.now(), message });
                    }
                    Command::Clear => events.push_back(self.clear().await),
                    Command::Idle => {
                        if self.home.free() {
                            self.idle_since = Some(Instant::now());
                        } else {
                            self.is_over = true;
                        }
                        self.answer_held();
                    }
                    Command::End => {
                        self.is_over = true;
                        self.answer_held();
                    }
                }
            }
        }
    }

    async fn start(&mut self) -> Option<Event> {
        if let Some(missing) = &self.start.missing {
            return Some(Event::NotStarted(missing.clone()));
        }
        match self.program() {
            Ok(program) => match timeout(CLEAR_TIMEOUT, self.sandbox.run(program)).await {
                Ok(Ok(process)) => {
                    self.process = Some(process);
                    None
                }
                Ok(Err(error)) => Some(not_started(&self.start, &error)),
                Err(_) => Some(Event::Gone),
            },
            Err(error) => {
                tracing::error!(%error, "failed to open pipes for a function");
                Some(Event::Gone)
            }
        }
    }

    fn program(&mut self) -> std::io::Result<Program> {
        let (output, given) = Output::open()?;
        self.output = output;
        let mut program = Program::new(self.start.argv.iter().cloned()).directory(PathBuf::from("/var/task"));
        for (name, value) in &self.start.env {
            program = program.env(name, value);
        }
        program = program.grant(1, given.output).grant(2, given.error);
        if self.start.has_log_pipe {
            program = program.grant(LOG_FD, given.log).env("_LAMBDA_TELEMETRY_LOG_FD", LOG_FD.to_string());
        }
        if self.start.is_framed {
            let (mut connection, theirs) = Connection::pair()?;
            program = program.grant(CONTROL_FD, theirs).env("_LAMP_CONTROL_FD", CONTROL_FD.to_string());
            connection.init(&self.start.env);
            self.transport = Transport::Frames(connection);
        }
        Ok(program)
    }

    async fn clear(&mut self) -> Event {
        self.process = None;
        if let Transport::Frames(_) = self.transport {
            self.transport = Transport::None;
        }
        match timeout(CLEAR_TIMEOUT, self.sandbox.clear()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::error!(%error, "failed to kill the processes of an instance");
                return Event::Gone;
            }
            Err(_) => {
                tracing::error!("failed to kill the processes of an instance in time");
                return Event::Gone;
            }
        }
        if let Transport::Http(session) = &mut self.transport {
            session.reset().await;
        }
        Event::Cleared
    }

    fn answer(&mut self, answer: Answer) {
        match answer {
            Answer::Whole { .. } | Answer::End { .. } => {
                let now = Instant::now();
                self.held_answer = Some((answer, now.checked_add(ANSWER_HELD_MAX).unwrap_or(now)));
            }
            Answer::Begin { .. } | Answer::Piece(_) | Answer::Lost => self.tell(answer),
        }
    }

    fn answer_held(&mut self) {
        if let Some((answer, _)) = self.held_answer.take() {
            self.tell(answer);
        }
    }

    fn tell(&mut self, answer: Answer) {
        let caller = std::mem::replace(&mut self.caller, Caller::Nobody);
        // A caller that went away hears nothing.
        match (caller, answer) {
            (Caller::Waiting(reply), Answer::Whole { function_error, content_type, body, log_tail }) => {
                let response = Box::new(Whole { body: Some(body), log_tail });
                reply.send(Ok(Invoked { function_error, content_type, response })).ok();
            }
            (Caller::Waiting(reply), Answer::Begin { content_type }) => {
                let (feed, taking) = stream();
                let response = Box::new(taking);
                reply.send(Ok(Invoked { function_error: None, content_type, response })).ok();
                self.caller = Caller::Taking(feed);
            }
            (Caller::Waiting(reply), _) => {
                reply.send(Err(InvokeError::Internal("the instance was gone".to_owned()))).ok();
            }
            (Caller::Taking(feed), Answer::Piece(bytes)) => {
                feed.push(bytes);
                self.caller = Caller::Taking(feed);
            }
            (Caller::Taking(feed), Answer::End { log_tail, error }) => feed.end(log_tail, error),
            (Caller::Taking(_) | Caller::Nobody, _) => {}
        }
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

impl Transport {
    async fn next(&mut self) -> Said {
        match self {
            Transport::None => std::future::pending().await,
            Transport::Frames(connection) => connection.next().await,
            Transport::Http(session) => session.next().await,
        }
    }

    fn said(&mut self) -> Option<Said> {
        match self {
            Transport::None => None,
            Transport::Frames(connection) => connection.said(),
            Transport::Http(session) => session.said(),
        }
    }

    fn read_out(&mut self) {
        match self {
            Transport::None => {}
            Transport::Frames(connection) => connection.read_out(),
            Transport::Http(session) => session.read_out(),
        }
    }

    fn invoke(&mut self, call: Call, deadline: Timestamp) {
        match self {
            Transport::None => {}
            Transport::Frames(connection) => connection.invoke(&call, deadline),
            Transport::Http(session) => session.invoke(call, deadline),
        }
    }

    fn grant(&mut self, bytes: u64) {
        match self {
            Transport::None => {}
            Transport::Frames(connection) => connection.grant(bytes),
            Transport::Http(session) => session.grant(bytes),
        }
    }
}

async fn taken(caller: &Caller) -> u64 {
    match caller {
        Caller::Taking(feed) => feed.taken().await,
        Caller::Nobody | Caller::Waiting(_) => std::future::pending().await,
    }
}

/// A program that does not start, as AWS tells it.
fn not_started(start: &Start, error: &RunError) -> Event {
    let RunError::Exec(source) = error else {
        tracing::error!(%error, "failed to run a function's program");
        return Event::Gone;
    };
    let exit = |code| Event::Exited(Exit { status: Status::Code(code), out_of_memory: false });
    let is_missing = source.kind() == std::io::ErrorKind::NotFound;
    if start.is_wrapped {
        // As the shell that AWS starts it from would say.
        return exit(if is_missing { 127 } else { 126 });
    }
    let program = start.argv.first().map_or("", String::as_str);
    let why = match source.raw_os_error() {
        Some(2) => "no such file or directory".to_owned(),
        Some(8) => "exec format error".to_owned(),
        Some(13) => "permission denied".to_owned(),
        _ => source.to_string(),
    };
    Event::NotStarted(format!("fork/exec {program}: {why}"))
}

//! The extensions of one instance, decided without I/O: who registered, who waits for what, and what the Extensions API
//! 2020-01-01 answers, in AWS's words.
//!
//! ```text
//! Started ── register ──> Registered ── next ──> Ready ── INVOKE, SHUTDOWN ──> Running ── next ──> Ready ..
//! ```
//!
//! An external extension is a program of `/opt/extensions`, known under its file's name before it registers. An
//! internal one registers from the runtime's process, until the runtime is ready. `mod` asks here when an init or an
//! invocation is over: all must be `Ready`.
//!
//! Invariant: a request is answered at once or by a later event of this extension's, at most once.

use std::time::Duration;

use base::Uuid;

use crate::limits::{EXTENSIONS_MAX, SHUTDOWN_EXTERNAL, SHUTDOWN_INTERNAL, SHUTDOWN_RUNTIME};
use crate::telemetry::{Api, Refusal, Subscription, Wanted};

/// Names a request until it is answered.
pub type Ticket = u64;

/// What an extension asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    Register {
        name: String,
        events: Vec<String>,
        /// The identifier that it gets.
        id: Uuid,
        wants_account: bool,
    },
    Next {
        id: Uuid,
    },
    InitError {
        id: Uuid,
        /// Its type, such as `Extension.InitError`.
        kind: String,
    },
    ExitError {
        id: Uuid,
        kind: String,
    },
    Subscribe {
        id: Uuid,
        api: Api,
        body: Vec<u8>,
    },
}

/// What it is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    Registered { id: Uuid, wants_account: bool },
    Invoke(Box<Invoke>),
    Shutdown { reason: Reason, time_left: Duration },
    Accepted,
    Subscribed,
    Refused { status: u16, kind: String, message: String },
}

/// An invocation, as extensions see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invoke {
    pub request_id: String,
    pub invoked_arn: String,
    pub trace_header: Option<String>,
    pub time_left: Duration,
}

/// Why an environment is shut down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    SpinDown,
    Timeout,
    Failure,
}

impl Reason {
    pub fn word(self) -> &'static str {
        match self {
            Reason::SpinDown => "spindown",
            Reason::Timeout => "timeout",
            Reason::Failure => "failure",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Started,
    Registered,
    Ready,
    Running,
    InitError,
    ExitError,
    LaunchError,
}

impl State {
    /// AWS's name.
    fn word(self) -> &'static str {
        match self {
            State::Started => "Started",
            State::Registered => "Registered",
            State::Ready => "Ready",
            State::Running => "Running",
            State::InitError => "InitError",
            State::ExitError => "ExitError",
            State::LaunchError => "LaunchError",
        }
    }
}

const INVOKE: &str = "INVOKE";
const SHUTDOWN: &str = "SHUTDOWN";

struct Extension {
    name: String,
    id: Option<Uuid>,
    is_external: bool,
    /// Its process lives; always false of internal ones.
    is_alive: bool,
    events: Vec<&'static str>,
    state: State,
    /// Its request for the next event.
    waiting: Option<Ticket>,
    subscribed: Option<Api>,
    error_type: Option<String>,
    /// It has heard that the environment ends.
    is_told_end: bool,
}

/// What of an extension the log tells after an init.
pub struct Standing<'a> {
    pub name: &'a str,
    pub state: &'static str,
    pub events: Vec<&'static str>,
    pub error_type: Option<&'a str>,
}

/// From the beginning of a shutdown until the runtime is killed, and until all are.
pub struct ShutdownTime {
    pub runtime: Duration,
    pub all: Duration,
}

pub struct Extensions {
    /// Files of `/opt/extensions`.
    names: Vec<String>,
    list: Vec<Extension>,
    /// Internal ones may still register.
    is_open: bool,
    /// Telemetry may still be subscribed to.
    is_init: bool,
    /// What an extension said first that it failed by.
    fatal: Option<String>,
}

/// An answer, and to whom.
pub type Answered = (Ticket, Reply);

impl Extensions {
    pub fn new(names: Vec<String>) -> Extensions {
        Extensions { names, list: Vec::new(), is_open: false, is_init: false, fatal: None }
    }

    /// An init begins. The programs to start; `false` if there are more than may be.
    pub fn begin(&mut self) -> (Vec<String>, bool) {
        (self.is_open, self.is_init, self.fatal) = (true, true, None);
        self.list = self.names.iter().take(EXTENSIONS_MAX).map(|name| Extension::started(name.clone(), true)).collect();
        let names = self.list.iter().map(|extension| extension.name.clone()).collect();
        let surplus = self.names.get(EXTENSIONS_MAX);
        self.list.extend(surplus.map(|name| {
            let mut extension = Extension::started(name.clone(), true);
            extension.is_alive = false;
            extension.fail(State::LaunchError, "TooManyExtensions");
            extension
        }));
        (names, surplus.is_none())
    }

    /// All are dead, and whoever waits hears no more.
    pub fn end(&mut self) {
        self.list.clear();
        (self.is_open, self.is_init) = (false, false);
    }

    /// The runtime is ready: nobody else registers.
    pub fn close(&mut self) {
        self.is_open = false;
    }

    /// Init is over: nobody else subscribes.
    pub fn end_init(&mut self) {
        self.is_init = false;
    }

    pub fn are_registered(&self) -> bool {
        self.list.iter().all(|extension| extension.state != State::Started)
    }

    pub fn are_ready(&self) -> bool {
        self.list.iter().all(|extension| extension.state == State::Ready)
    }

    pub fn is_any(&self) -> bool {
        !self.list.is_empty()
    }

    pub fn is_any_subscribed(&self) -> bool {
        self.list.iter().any(|extension| extension.subscribed.is_some())
    }

    /// Somebody subscribed to telemetry, in a program that lives when the runtime is gone.
    pub fn is_any_listening(&self) -> bool {
        self.list.iter().any(|extension| extension.subscribed.is_some() && extension.is_alive)
    }

    /// What an extension said that it failed by, which is then the cause of what breaks.
    pub fn fatal(&self) -> Option<&str> {
        self.fatal.as_deref()
    }

    /// How long a shutdown may take, if it is to be a gentle one.
    pub fn shutdown_time(&self) -> Option<ShutdownTime> {
        let is_external = self.list.iter().any(|extension| extension.is_external);
        self.is_any().then_some(if is_external {
            ShutdownTime { runtime: SHUTDOWN_RUNTIME, all: SHUTDOWN_EXTERNAL }
        } else {
            ShutdownTime { runtime: SHUTDOWN_INTERNAL, all: SHUTDOWN_INTERNAL }
        })
    }

    pub fn standing(&self) -> impl Iterator<Item = Standing<'_>> {
        self.list.iter().map(|extension| Standing {
            name: &extension.name,
            state: extension.state.word(),
            events: extension.events.clone(),
            error_type: extension.error_type.as_deref(),
        })
    }

    /// A program could not be started.
    pub fn not_started(&mut self, name: &str, is_forbidden: bool) {
        if let Some(extension) = self.external(name) {
            extension.is_alive = false;
            extension.fail(State::LaunchError, if is_forbidden { "PermissionDenied" } else { "UnknownError" });
        }
    }

    pub fn exited(&mut self, name: &str) {
        if let Some(extension) = self.external(name) {
            (extension.is_alive, extension.waiting) = (false, None);
        }
    }

    /// No program of an extension lives.
    pub fn are_gone(&self) -> bool {
        !self.list.iter().any(|extension| extension.is_alive)
    }

    /// Tells those who want to know of an invocation.
    pub fn invoke(&mut self, invoke: &Invoke, out: &mut Vec<Answered>) {
        for extension in self.list.iter_mut().filter(|extension| extension.wants(INVOKE)) {
            extension.release(Reply::Invoke(Box::new(invoke.clone())), out);
        }
    }

    /// Tells those who want to know of the end and ask for events, each once.
    pub fn shut_down(&mut self, reason: Reason, time_left: Duration, out: &mut Vec<Answered>) {
        for extension in self.list.iter_mut().filter(|extension| extension.wants(SHUTDOWN) && !extension.is_told_end) {
            extension.is_told_end = extension.waiting.is_some();
            extension.release(Reply::Shutdown { reason, time_left }, out);
        }
    }

    /// Programs that do not want to know of the end.
    pub fn not_told_of_end(&self) -> Vec<String> {
        let others = self.list.iter().filter(|extension| extension.is_alive && !extension.wants(SHUTDOWN));
        others.map(|extension| extension.name.clone()).collect()
    }

    /// Takes a request. It is answered now, or by a later event; a subscription that is granted is for the caller to
    /// keep.
    pub fn ask(&mut self, ticket: Ticket, ask: Ask, out: &mut Vec<Answered>) -> Option<Wanted> {
        let mut wanted = None;
        let reply = match ask {
            Ask::Register { name, events, id, wants_account } => {
                self.register(name, &events, id).map(|()| Some(Reply::Registered { id, wants_account }))
            }
            Ask::Next { id } => self.next(id, ticket).map(|()| None),
            Ask::InitError { id, kind } => self.failed(id, State::InitError, kind).map(|()| Some(Reply::Accepted)),
            Ask::ExitError { id, kind } => self.failed(id, State::ExitError, kind).map(|()| Some(Reply::Accepted)),
            Ask::Subscribe { id, api, body } => self.subscribe(id, api, &body).map(|subscription| {
                wanted = subscription;
                Some(Reply::Subscribed)
            }),
        };
        if let Some(reply) = reply.unwrap_or_else(|refusal| Some(*refusal)) {
            out.push((ticket, reply));
        }
        wanted
    }

    fn register(&mut self, name: String, events: &[String], id: Uuid) -> Result<(), Box<Reply>> {
        let is_external = self.external(&name).is_some();
        let mut known = Vec::new();
        for event in events {
            match event.as_str() {
                INVOKE => known.push(INVOKE),
                SHUTDOWN if is_external => known.push(SHUTDOWN),
                SHUTDOWN => {
                    let why = format!("{event}: ShutdownEventNotSupportedForInternalExtension");
                    return Err(refused("InvalidEventType", why));
                }
                _ => return Err(refused("InvalidEventType", format!("{event}: ErrorInvalidEventType"))),
            }
        }
        known.sort_unstable();
        known.dedup();
        if !is_external {
            if !self.is_open {
                return Err(refused("RegistrationClosed", "Extension registration closed already".into()));
            }
            if self.list.len() >= EXTENSIONS_MAX {
                return Err(refused("TooManyExtensions", format!("Extension limit ({EXTENSIONS_MAX}) reached")));
            }
            if self.list.iter().any(|extension| extension.name == name) {
                let why = "Extension with this name already registered";
                return Err(refused("InvalidExtensionState", why.into()));
            }
            self.list.push(Extension::started(name.clone(), false));
        }
        let Some(extension) = self.list.iter_mut().find(|extension| extension.name == name) else { return Ok(()) };
        if extension.state != State::Started {
            return Err(no_transition(extension.state, State::Registered, &name));
        }
        (extension.id, extension.events, extension.state) = (Some(id), known, State::Registered);
        Ok(())
    }

    fn next(&mut self, id: Uuid, ticket: Ticket) -> Result<(), Box<Reply>> {
        let unknown = || refused("UnknownExtensionIdentifier", format!("Unknown extension {id}"));
        let extension = self.of(id).ok_or_else(unknown)?;
        match extension.state {
            State::Registered | State::Running => {
                (extension.state, extension.waiting) = (State::Ready, Some(ticket));
                Ok(())
            }
            state => Err(no_transition(state, State::Ready, &id.to_string())),
        }
    }

    fn failed(&mut self, id: Uuid, to: State, kind: String) -> Result<(), Box<Reply>> {
        let unknown = || refused("UnknownExtensionIdentifier", "Unknown Lambda-Extension-Identifier".into());
        let extension = self.of(id).ok_or_else(unknown)?;
        match (extension.state, to) {
            (State::Registered, _) | (State::Ready | State::Running, State::ExitError) => extension.fail(to, &kind),
            (state, _) if state == to => {}
            (state, _) => return Err(no_transition(state, to, &id.to_string())),
        }
        self.fatal.get_or_insert(kind);
        Ok(())
    }

    /// `None` if it has the subscription already: asking twice changes nothing.
    fn subscribe(&mut self, id: Uuid, api: Api, body: &[u8]) -> Result<Option<Wanted>, Box<Reply>> {
        let (is_init, word) = (self.is_init, api.word());
        let unknown = || refused("UnknownExtensionIdentifier", format!("Unknown extension {id}"));
        let extension = self.of(id).ok_or_else(unknown)?;
        if !is_init {
            let already = if api == Api::Logs { " already" } else { "" };
            let message = format!("{word} API subscription is closed{already}");
            return Err(Box::new(Reply::Refused { status: 403, kind: format!("{word}.SubscriptionClosed"), message }));
        }
        let invalid = |message| {
            let kind = if api == Api::Logs { "Logs.ValidationError" } else { "ValidationError" };
            Box::new(Reply::Refused { status: 400, kind: kind.to_owned(), message })
        };
        let subscription = Subscription::parse(api, body).map_err(|Refusal(why)| invalid(why))?;
        match extension.subscribed {
            Some(before) if before == api => Ok(None),
            Some(before) => Err(invalid(format!("the extension is subscribed by the {} API already", before.word()))),
            None => {
                extension.subscribed = Some(api);
                Ok(Some(Wanted { name: extension.name.clone(), subscription }))
            }
        }
    }

    fn external(&mut self, name: &str) -> Option<&mut Extension> {
        self.list.iter_mut().find(|extension| extension.is_external && extension.name == name)
    }

    fn of(&mut self, id: Uuid) -> Option<&mut Extension> {
        self.list.iter_mut().find(|extension| extension.id == Some(id))
    }
}

impl Extension {
    fn started(name: String, is_external: bool) -> Extension {
        Extension {
            name,
            id: None,
            is_external,
            is_alive: is_external,
            events: Vec::new(),
            state: State::Started,
            waiting: None,
            subscribed: None,
            error_type: None,
            is_told_end: false,
        }
    }

    fn wants(&self, event: &str) -> bool {
        self.events.contains(&event)
    }

    fn fail(&mut self, state: State, error_type: &str) {
        (self.state, self.error_type) = (state, Some(error_type.to_owned()));
    }

    /// Answers its request for the next event, if it has asked.
    fn release(&mut self, reply: Reply, out: &mut Vec<Answered>) {
        if let Some(ticket) = self.waiting.take() {
            self.state = State::Running;
            out.push((ticket, reply));
        }
    }
}

fn refused(kind: &str, message: String) -> Box<Reply> {
    Box::new(Reply::Refused { status: 403, kind: format!("Extension.{kind}"), message })
}

fn no_transition(from: State, to: State, extension: &str) -> Box<Reply> {
    let message = format!(
        "State transition from {} to {} failed for extension {extension}. Error: State transition is not allowed",
        from.word(),
        to.word()
    );
    refused("InvalidExtensionState", message)
}

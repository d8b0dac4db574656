//! The HTTP APIs of one sandbox: the Runtime API 2018-06-01 for custom runtimes and for whatever stands between a
//! managed runtime and us, and those of extensions (`extensions`).
//!
//! `server` speaks HTTP on the sandbox's own port and turns each request into a `Request`; `Api` hands it on. `Session`
//! is the Runtime API's state for the runtime that runs now: which invocation may be answered, who waits for the next.
//! It answers requests at once, in AWS's words, and passes on what they mean as `Said`. What extensions ask is answered
//! by `environment`. Beside a runtime that speaks frames there is no session: its requests come out of turn.
//!
//! Invariants: only the invocation in flight on this very sandbox is answered, once. What a killed process said, on
//! whichever connection, is never taken for its successor's.
//!
//! A wrapped runtime of a version under SnapStart is not restored: no image is taken of it, so none waits here.

mod credentials;
mod extensions;
mod server;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use ::http::header::CONTENT_TYPE;
use ::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use base::ports::Call;
use base::{Chance, Clock, Timestamp};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::environment::{self, Ask, Breakage, First, Said, Ticket, error_json};
use crate::limits::{API_REQUESTS_MAX, CREDIT_BYTES, RESPONSE_BYTES_MAX};

pub use credentials::{Credentials, PATH as CREDENTIALS_PATH};
pub use extensions::Identity;
use server::Last;
pub use server::{Served, serve};

pub type Reply = Response<Bytes>;

/// A request of the runtime's, with who waits for the reply.
#[derive(Debug)]
pub struct Request {
    /// How often the processes inside had been killed when its connection was made.
    pub generation: u64,
    pub kind: Kind,
    pub reply: oneshot::Sender<Reply>,
}

#[derive(Debug)]
pub enum Kind {
    Next,
    Response { id: String, content_type: Option<String>, body: Body },
    Error { id: String, kind: String, body: Bytes },
    InitError { kind: String, body: Bytes },
    Extension(Ask),
}

/// What was heard on the sandbox's port.
pub enum Heard {
    Said(Said),
    Asked(Ticket, Ask),
}

/// All that is asked on one sandbox's port, and who waits for which answer.
pub struct Api {
    served: Served,
    generation: u64,
    /// Of a runtime that speaks HTTP.
    runtime: Option<Session>,
    asked: VecDeque<(Ticket, Ask)>,
    waiting: BTreeMap<Ticket, oneshot::Sender<Reply>>,
    next_ticket: Ticket,
    identity: Identity,
    clock: Arc<dyn Clock>,
    chance: Arc<dyn Chance>,
}

impl Api {
    pub fn new(served: Served, identity: Identity, clock: Arc<dyn Clock>, chance: Arc<dyn Chance>) -> Api {
        Api {
            generation: 0,
            runtime: served.has_runtime.then(Session::default),
            served,
            asked: VecDeque::new(),
            waiting: BTreeMap::new(),
            next_ticket: 0,
            identity,
            clock,
            chance,
        }
    }

    /// Gives a runtime that speaks HTTP its next invocation.
    pub fn invoke(&mut self, call: Call, deadline: Timestamp) {
        // Before the runtime has it, so before it can respond.
        *self.served.last.lock() = Some(Last { id: call.request_id.to_string(), wants_stream: call.is_streamed });
        if let Some(runtime) = &mut self.runtime {
            runtime.invoke(call, deadline);
        }
    }

    /// The caller took so many more bytes of the response.
    pub fn grant(&mut self, bytes: u64) {
        if let Some(runtime) = &mut self.runtime {
            runtime.grant(bytes);
        }
    }

    /// All processes that spoke are dead. When this answers, nothing of what they said is heard any more, and what
    /// comes from now on is said by others.
    pub async fn reset(&mut self) {
        self.generation = self.generation.saturating_add(1);
        self.served.hang_up(self.generation).await;
        *self.served.last.lock() = None;
        if let Some(runtime) = &mut self.runtime {
            *runtime = Session::default();
        }
        self.asked.clear();
        self.waiting.clear();
    }

    /// What is heard next. Cancelling it loses nothing.
    pub async fn next(&mut self) -> Heard {
        loop {
            if let Some(heard) = self.heard() {
                return heard;
            }
            let piece = async {
                match &mut self.runtime {
                    Some(runtime) => runtime.next_piece().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                request = self.served.requests.recv() => match request {
                    Some(request) => self.take(request),
                    // The server is gone with the sandbox.
                    None => return std::future::pending().await,
                },
                piece = piece => if let Some(runtime) = &mut self.runtime {
                    runtime.piece(piece);
                },
            }
        }
    }

    /// What has been heard already.
    pub fn heard(&mut self) -> Option<Heard> {
        let said = self.runtime.as_mut().and_then(|runtime| runtime.said.pop_front()).map(Heard::Said);
        said.or_else(|| self.asked.pop_front().map(|(ticket, ask)| Heard::Asked(ticket, ask)))
    }

    /// Takes the requests that have come by now: their sender is gone and sends no more.
    pub fn read_out(&mut self) {
        // Others may go on asking, and are heard later.
        for _ in 0..API_REQUESTS_MAX {
            let Ok(request) = self.served.requests.try_recv() else { return };
            self.take(request);
        }
    }

    /// Answers an extension.
    pub fn reply(&mut self, ticket: Ticket, with: environment::Reply) {
        if let Some(waiting) = self.waiting.remove(&ticket) {
            answer(waiting, extensions::render(with, &self.identity, self.clock.now(), &*self.chance));
        }
    }

    fn take(&mut self, Request { generation, kind, reply }: Request) {
        if generation != self.generation {
            return;
        }
        match (kind, &mut self.runtime) {
            (Kind::Extension(ask), _) => {
                // Whoever hung up waits no longer.
                self.waiting.retain(|_, waiting| !waiting.is_closed());
                self.next_ticket = self.next_ticket.saturating_add(1);
                self.waiting.insert(self.next_ticket, reply);
                self.asked.push_back((self.next_ticket, ask));
            }
            (kind, Some(runtime)) => runtime.take(kind, reply),
            // Whoever speaks beside a runtime that speaks frames; all but this is refused before.
            (_, None) => answer(reply, no_transition(State::Running, "Ready")),
        }
    }
}

#[derive(Debug)]
pub enum Body {
    Whole(Bytes),
    Streamed(mpsc::Receiver<Piece>),
    TooLarge,
    /// It ended before its own end.
    Truncated,
    /// A response mode that there is not.
    BadMode,
}

#[derive(Debug)]
pub enum Piece {
    Bytes(Bytes),
    /// The end, with the error in the trailers if there is one: type and body.
    End(Option<(String, Vec<u8>)>),
}

/// The Runtime API's state for one runtime process.
#[derive(Default)]
pub struct Session {
    state: State,
    said: VecDeque<Said>,
    /// Who waits for the next invocation.
    waiting: Option<oneshot::Sender<Reply>>,
    /// An invocation whose taker went away before it had it.
    untaken: Option<Reply>,
    streamed: Option<Streamed>,
    /// The last invocation.
    id: String,
}

struct Streamed {
    pieces: mpsc::Receiver<Piece>,
    reply: oneshot::Sender<Reply>,
    /// How much may come before the caller takes some.
    room: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Starting,
    Ready,
    Running,
    Answered,
}

impl State {
    /// AWS's name.
    fn word(self) -> &'static str {
        match self {
            State::Starting => "Started",
            State::Ready => "Ready",
            State::Running => "Running",
            State::Answered => "ResponseSent",
        }
    }
}

impl Session {
    fn invoke(&mut self, call: Call, deadline: Timestamp) {
        self.id = call.request_id.to_string();
        self.state = State::Running;
        self.hand_over(invocation(call, deadline));
    }

    fn hand_over(&mut self, invocation: Reply) {
        self.untaken = match self.waiting.take() {
            Some(waiting) => waiting.send(invocation).err(),
            None => Some(invocation),
        };
    }

    fn grant(&mut self, bytes: u64) {
        if let Some(streamed) = &mut self.streamed {
            streamed.room = streamed.room.saturating_add(bytes);
        }
    }

    /// The next piece of a response that is streamed, if there may be one.
    async fn next_piece(&mut self) -> Option<Piece> {
        match &mut self.streamed {
            Some(streamed) if streamed.room > 0 => streamed.pieces.recv().await,
            _ => std::future::pending().await,
        }
    }

    fn take(&mut self, kind: Kind, reply: oneshot::Sender<Reply>) {
        match kind {
            Kind::Next => self.next_wanted(reply),
            Kind::InitError { kind, body } => {
                if self.state == State::Starting {
                    self.state = State::Answered;
                    self.said.push_back(Said::InitError { kind, body: body.into() });
                    answer(reply, accepted());
                } else {
                    answer(reply, no_transition(self.state, "InitError"));
                }
            }
            Kind::Response { id, content_type, body } => {
                match self.refusal(&id, "InvocationResponse") {
                    Some(refusal) => answer(reply, refusal),
                    None => self.response(content_type, body, reply),
                };
            }
            Kind::Error { id, kind, body } => match self.refusal(&id, "InvocationErrorResponse") {
                Some(refusal) => answer(reply, refusal),
                None => {
                    self.state = State::Answered;
                    self.said.push_back(Said::Failed { kind, body: body.into() });
                    answer(reply, accepted());
                }
            },
            // Not of the runtime's.
            Kind::Extension(_) => {}
        }
    }

    fn next_wanted(&mut self, reply: oneshot::Sender<Reply>) {
        match self.state {
            State::Starting => self.said.push_back(Said::Ready),
            State::Answered if self.streamed.is_none() && !self.id.is_empty() => self.said.push_back(Said::Next),
            // A client that connected anew.
            State::Ready => {}
            State::Running if self.untaken.is_some() => {}
            State::Running | State::Answered => return answer(reply, no_transition(self.state, "Ready")),
        }
        self.waiting = Some(reply);
        match self.untaken.take() {
            Some(invocation) => self.hand_over(invocation),
            None => self.state = State::Ready,
        }
    }

    /// Why an invocation may not be answered, if it may not.
    fn refusal(&self, id: &str, to: &str) -> Option<Reply> {
        let is_last = !self.id.is_empty() && id == self.id;
        match self.state {
            State::Running if is_last => None,
            State::Ready if is_last => Some(no_transition(self.state, to)),
            _ => Some(invalid_request_id()),
        }
    }

    fn response(&mut self, content_type: Option<String>, body: Body, reply: oneshot::Sender<Reply>) {
        self.state = State::Answered;
        match body {
            Body::Whole(bytes) => {
                self.said.push_back(Said::Head { content_type, is_streamed: false });
                self.said.push_back(Said::Bytes(bytes.into()));
                self.said.push_back(Said::Done);
                answer(reply, accepted());
            }
            Body::Streamed(pieces) => {
                self.said.push_back(Said::Head { content_type, is_streamed: true });
                self.streamed = Some(Streamed { pieces, reply, room: CREDIT_BYTES });
            }
            Body::TooLarge => {
                let too_large = Breakage::TooLarge;
                let body = too_large.body(&self.id);
                self.said.push_back(Said::Failed { kind: too_large.kind().to_owned(), body });
                let message = format!("Exceeded maximum allowed payload size ({RESPONSE_BYTES_MAX} bytes).");
                answer(reply, refused(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", &message));
            }
            Body::Truncated => {
                self.fail("Runtime.TruncatedResponse", "HTTP request detected as truncated");
                let message = "HTTP request detected as truncated";
                answer(reply, refused(StatusCode::BAD_REQUEST, "TruncatedHTTPRequest", message));
            }
            Body::BadMode => {
                self.fail("Runtime.InvalidResponseModeHeader", "Invalid function response mode");
                let message = "Invalid function response mode";
                answer(reply, refused(StatusCode::BAD_REQUEST, "InvalidFunctionResponseMode", message));
            }
        }
    }

    fn fail(&mut self, kind: &str, message: &str) {
        let body = error_json(First::Type, kind, message).into_bytes();
        self.said.push_back(Said::Failed { kind: kind.to_owned(), body });
    }

    fn piece(&mut self, piece: Option<Piece>) {
        match piece {
            Some(Piece::Bytes(bytes)) => {
                if let Some(streamed) = &mut self.streamed {
                    streamed.room = streamed.room.saturating_sub(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
                }
                if !bytes.is_empty() {
                    self.said.push_back(Said::Bytes(bytes.into()));
                }
            }
            Some(Piece::End(error)) => {
                match error {
                    Some((kind, body)) => self.said.push_back(Said::Failed { kind, body }),
                    None => self.said.push_back(Said::Done),
                }
                if let Some(streamed) = self.streamed.take() {
                    answer(streamed.reply, accepted());
                }
            }
            None => {
                self.fail("Runtime.TruncatedResponse", "HTTP request detected as truncated");
                self.streamed = None;
            }
        }
    }
}

fn no_transition(from: State, to: &str) -> Reply {
    let message = format!(
        "State transition from {} to {to} failed for runtime. Error: State transition is not allowed",
        from.word()
    );
    refused(StatusCode::FORBIDDEN, "InvalidStateTransition", &message)
}

/// For who speaks beside a runtime that speaks frames.
fn no_init_error() -> Reply {
    no_transition(State::Running, "InitError")
}

fn invalid_request_id() -> Reply {
    refused(StatusCode::BAD_REQUEST, "InvalidRequestID", "Invalid request ID")
}

/// Whoever asked may have gone.
fn answer(reply: oneshot::Sender<Reply>, with: Reply) {
    reply.send(with).ok();
}

fn accepted() -> Reply {
    json_reply(StatusCode::ACCEPTED, "{\"status\":\"OK\"}\n".to_owned())
}

pub(super) fn refused(status: StatusCode, kind: &str, message: &str) -> Reply {
    json_reply(status, error_json(First::Message, kind, message) + "\n")
}

fn json_reply(status: StatusCode, text: String) -> Reply {
    let mut reply = Response::new(Bytes::from(text));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}

/// An invocation as `next` answers it.
fn invocation(call: Call, deadline: Timestamp) -> Reply {
    let mut headers = HeaderMap::new();
    let mut set = |name: &'static str, value: &str| {
        // JSON may be written over several lines, a header not.
        let value = value.replace(|c: char| c.is_ascii_control(), " ");
        if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    set("content-type", "application/json");
    set("lambda-runtime-aws-request-id", &call.request_id.to_string());
    set("lambda-runtime-deadline-ms", &deadline.as_millis().to_string());
    set("lambda-runtime-invoked-function-arn", &call.invoked_arn);
    let optional = [
        ("lambda-runtime-trace-id", &call.trace_header),
        ("lambda-runtime-client-context", &call.client_context),
        ("lambda-runtime-aws-tenant-id", &call.tenant_id),
    ];
    for (name, value) in optional {
        if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
            set(name, value);
        }
    }
    let mut reply = Response::new(Bytes::from(call.payload));
    *reply.headers_mut() = headers;
    reply
}

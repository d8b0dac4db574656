//! The Runtime API 2018-06-01, for custom runtimes and for whatever stands between a managed runtime and us.
//!
//! `server` speaks HTTP on the sandbox's own port and turns each request into a `Request`; `Session` is the API's state
//! for the runtime that runs now: which invocation may be answered, who waits for the next. It answers requests at once,
//! in AWS's words, and passes on what they mean as `Said`.
//!
//! Invariants: only the invocation in flight on this very sandbox is answered, once. What a killed process said, on
//! whichever connection, is never taken for its successor's.
//!
//! Not yet: extensions, telemetry, logs, restore; they become further paths of `server` and a session each.

mod server;

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use ::http::header::CONTENT_TYPE;
use ::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use base::Timestamp;
use base::ports::Call;
use bytes::Bytes;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use crate::environment::{Breakage, Said};
use crate::limits::{CREDIT_BYTES, RESPONSE_BYTES_MAX};

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

/// The API's state for one runtime process and its successors.
pub struct Session {
    served: Served,
    generation: u64,
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
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
    pub fn new(served: Served) -> Session {
        Session {
            served,
            generation: 0,
            state: State::Starting,
            said: VecDeque::new(),
            waiting: None,
            untaken: None,
            streamed: None,
            id: String::new(),
        }
    }

    /// All processes that spoke are dead. When this answers, nothing of what they said is heard any more, and what comes
    /// from now on is said by others.
    pub async fn reset(&mut self) {
        self.generation = self.generation.saturating_add(1);
        self.served.hang_up(self.generation).await;
        self.state = State::Starting;
        self.said.clear();
        self.waiting = None;
        self.untaken = None;
        self.streamed = None;
        self.id.clear();
    }

    /// Gives the runtime its next invocation.
    pub fn invoke(&mut self, call: Call, deadline: Timestamp) {
        self.id = call.request_id.to_string();
        self.state = State::Running;
        // Before the runtime has it, so before it can respond.
        self.served.wants_stream.store(call.is_streamed, Ordering::Release);
        self.hand_over(invocation(call, deadline));
    }

    fn hand_over(&mut self, invocation: Reply) {
        self.untaken = match self.waiting.take() {
            Some(waiting) => waiting.send(invocation).err(),
            None => Some(invocation),
        };
    }

    /// The caller took so many more bytes of the response.
    pub fn grant(&mut self, bytes: u64) {
        if let Some(streamed) = &mut self.streamed {
            streamed.room = streamed.room.saturating_add(bytes);
        }
    }

    /// What the runtime says next. Cancelling it loses nothing.
    pub async fn next(&mut self) -> Said {
        loop {
            if let Some(said) = self.said.pop_front() {
                return said;
            }
            let piece = async {
                match &mut self.streamed {
                    Some(streamed) if streamed.room > 0 => streamed.pieces.recv().await,
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                request = self.served.requests.recv() => match request {
                    Some(request) => self.take(request),
                    // The server is gone with the sandbox.
                    None => return std::future::pending().await,
                },
                piece = piece => self.piece(piece),
            }
        }
    }

    /// What it has said already.
    pub fn said(&mut self) -> Option<Said> {
        self.said.pop_front()
    }

    /// Takes the requests that have come by now: their sender is gone and sends no more.
    pub fn read_out(&mut self) {
        while let Ok(request) = self.served.requests.try_recv() {
            self.take(request);
        }
    }

    fn take(&mut self, Request { generation, kind, reply }: Request) {
        if generation != self.generation {
            return;
        }
        match kind {
            Kind::Next => self.next_wanted(reply),
            Kind::InitError { kind, body } => {
                if self.state == State::Starting {
                    self.state = State::Answered;
                    self.said.push_back(Said::InitError { kind, body: body.into() });
                    answer(reply, accepted());
                } else {
                    answer(reply, self.no_transition("InitError"));
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
        }
    }

    fn next_wanted(&mut self, reply: oneshot::Sender<Reply>) {
        match self.state {
            State::Starting => self.said.push_back(Said::Ready),
            State::Answered if self.streamed.is_none() && !self.id.is_empty() => self.said.push_back(Said::Next),
            // A client that connected anew.
            State::Ready => {}
            State::Running if self.untaken.is_some() => {}
            State::Running | State::Answered => return answer(reply, self.no_transition("Ready")),
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
            State::Ready if is_last => Some(self.no_transition(to)),
            _ => Some(refused(StatusCode::BAD_REQUEST, "InvalidRequestID", "Invalid request ID")),
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
        let body = json!({ "errorType": kind, "errorMessage": message }).to_string().into_bytes();
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

    fn no_transition(&self, to: &str) -> Reply {
        let message = format!(
            "State transition from {} to {to} failed for runtime. Error: State transition is not allowed",
            self.state.word()
        );
        refused(StatusCode::FORBIDDEN, "InvalidStateTransition", &message)
    }
}

/// Whoever asked may have gone.
fn answer(reply: oneshot::Sender<Reply>, with: Reply) {
    reply.send(with).ok();
}

fn accepted() -> Reply {
    json_reply(StatusCode::ACCEPTED, "{\"status\":\"OK\"}\n".to_owned())
}

pub(super) fn refused(status: StatusCode, kind: &str, message: &str) -> Reply {
    json_reply(status, format!("{}\n", json!({ "errorMessage": message, "errorType": kind })))
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

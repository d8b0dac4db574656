//! The transport of our own bootstraps: frames over a socket pair (`docs/decisions/0007-runtime-frames.md`).
//!
//! `Connection` is the host's end. It keeps the protocol's order as far as it is about frames (streams, messages in
//! parts, credit); what makes sense when is for `environment`.

mod codec;
mod messages;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;

use base::Timestamp;
use base::ports::Call;
use tokio::io::Interest;
use tokio::net::UnixStream;

use crate::environment::{BY_RUNTIMES, Said, error_kind};
use crate::limits::{CREDIT_BYTES, HEAD_MESSAGE_BYTES_MAX, PREPARED_MESSAGE_BYTES_MAX, RESPONSE_BYTES_MAX};
use crate::scratch;

use codec::{HEAD_BYTES, Head, Kind, PAYLOAD_BYTES_MAX};
use messages::{Failure, Init, Invoke, ResponseHead};

pub use messages::Prepared;

pub struct Connection {
    socket: UnixStream,
    received: Vec<u8>,
    /// How much of `received` has been read.
    read_to: usize,
    outgoing: Vec<u8>,
    sent_to: usize,
    said: VecDeque<Said>,
    /// The message whose frames are coming.
    partial: Option<(Kind, Vec<u8>)>,
    /// Whether frames of a response are coming.
    is_responding: bool,
    /// The invocation in hand; 0 before the first.
    stream: u32,
    /// What the runtime may still send of its response.
    credit: u64,
    /// It has said that it waits for its function.
    is_parked: bool,
    /// Of a template: whether it may be copied, or why not.
    verdict: Verdict,
    /// What later instances start sooner with.
    handover: Handover,
    /// What was prepared before was of no use to it.
    has_rejected: bool,
    /// It broke the protocol, which is said once; or it hung up, which is said by its exit alone.
    is_broken: bool,
}

enum Verdict {
    /// Nobody asked, or the answer has been taken.
    None,
    Awaited,
    Given(Result<(), String>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Handover {
    /// Nobody asked for any, or it is over.
    None,
    Awaited,
    /// Nobody waits for it any more.
    Unwanted,
}

enum Fault {
    HungUp,
    Protocol(&'static str),
}

impl From<&'static str> for Fault {
    fn from(why: &'static str) -> Self {
        Fault::Protocol(why)
    }
}

/// A socket holds less than so many reads. A child that it left behind may go on writing.
const READ_OUT_MAX: usize = 64;

impl Connection {
    /// Both ends: the host's, and the descriptor that the runtime is given.
    pub fn pair() -> io::Result<(Connection, OwnedFd)> {
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let connection = Connection {
            socket: UnixStream::from_std(ours)?,
            received: Vec::new(),
            read_to: 0,
            outgoing: Vec::new(),
            sent_to: 0,
            said: VecDeque::new(),
            partial: None,
            is_responding: false,
            stream: 0,
            credit: 0,
            is_parked: false,
            verdict: Verdict::None,
            handover: Handover::None,
            has_rejected: false,
            is_broken: false,
        };
        Ok((connection, theirs.into()))
    }

    /// The function's whole environment. Sent once, first.
    pub fn init(&mut self, env: &BTreeMap<String, String>, prepared: &Prepared) {
        self.tell(&Init { env, prepared: prepared.path.as_deref(), prepare: prepared.is_wanted, template: None });
    }

    /// The same for a runtime of which others are to be copies, with the program that watches what loading the function does.
    pub fn init_template(&mut self, env: &BTreeMap<String, String>, prepared: Option<&str>, watch: &str) {
        self.verdict = Verdict::Awaited;
        self.tell(&Init { env, prepared, prepare: false, template: Some(watch) });
    }

    /// What a copy has of its own, sent once, first.
    pub fn init_clone(&mut self, env: &BTreeMap<String, String>) {
        self.tell(&Init { env, prepared: None, prepare: false, template: None });
    }

    fn tell(&mut self, init: &Init<'_>) {
        // A map of strings always serialises.
        let message = serde_json::to_vec(init).unwrap_or_default();
        codec::write(&mut self.outgoing, Kind::Init, 0, &message);
        self.send();
    }

    /// Waits until a template has loaded its function. Whether it may be copied, or why not; it waits if it may.
    pub async fn verdict(&mut self) -> Result<(), String> {
        loop {
            if let Verdict::Given(verdict) = std::mem::replace(&mut self.verdict, Verdict::Awaited) {
                self.verdict = Verdict::None;
                return verdict;
            }
            if self.is_broken || !self.said.is_empty() {
                return Err("did not load".to_owned());
            }
            self.go_on().await;
        }
    }

    /// Waits until the runtime waits for `init`. Whether it does; otherwise it is of no use.
    pub async fn parked(&mut self) -> bool {
        while !self.is_parked && !self.is_broken {
            self.go_on().await;
        }
        // It has no more to say yet.
        self.is_parked && !self.is_broken && self.said.is_empty()
    }

    pub fn invoke(&mut self, call: &Call, deadline: Timestamp) {
        self.stream = self.stream.wrapping_add(1);
        self.credit = CREDIT_BYTES;
        let invoke = Invoke {
            request_id: call.request_id.to_string(),
            deadline_ms: deadline.as_millis(),
            invoked_function_arn: &call.invoked_arn,
            trace_id: call.trace_header.as_deref(),
            client_context: call.client_context.as_deref(),
            tenant_id: call.tenant_id.as_deref(),
        };
        let message = serde_json::to_vec(&invoke).unwrap_or_default();
        codec::write(&mut self.outgoing, Kind::Invoke, self.stream, &message);
        codec::write(&mut self.outgoing, Kind::Event, self.stream, &call.payload);
        self.send();
    }

    /// Asks for what later instances of this version start sooner with. Between invocations.
    pub fn prepare(&mut self) {
        self.handover = Handover::Awaited;
        codec::write(&mut self.outgoing, Kind::Prepare, 0, &[]);
        self.send();
    }

    /// Waits no longer for that. It may come yet, and is not held.
    pub fn forgo(&mut self) {
        if self.handover == Handover::Awaited {
            self.handover = Handover::Unwanted;
        }
    }

    /// Whether what was prepared was of no use to the runtime, which has loaded its function.
    pub fn has_rejected(&self) -> bool {
        self.has_rejected
    }

    /// Lets the runtime send so many more bytes of its response. Once that is whole it is told nothing: to hear it
    /// would cost it a wake.
    pub fn grant(&mut self, bytes: u64) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        if bytes > 0 && self.is_responding {
            self.credit = self.credit.saturating_add(bytes.into());
            codec::write(&mut self.outgoing, Kind::Credit, self.stream, &bytes.to_le_bytes());
            self.send();
        }
    }

    /// What the runtime says next. Sends what waits to be sent meanwhile. Cancelling it loses nothing.
    pub async fn next(&mut self) -> Said {
        loop {
            if let Some(said) = self.said.pop_front() {
                return said;
            }
            if self.is_broken {
                return std::future::pending().await;
            }
            self.go_on().await;
        }
    }

    /// Waits until something can be read or sent, and does that. Cancelling it loses nothing.
    async fn go_on(&mut self) {
        let interest =
            if self.outgoing.is_empty() { Interest::READABLE } else { Interest::READABLE | Interest::WRITABLE };
        let progress = match self.socket.ready(interest).await {
            Ok(_) => {
                self.send();
                self.receive().map(|_| ())
            }
            Err(_) => Err(Fault::HungUp),
        };
        self.note(progress);
    }

    /// What it has said already.
    pub fn said(&mut self) -> Option<Said> {
        self.said.pop_front()
    }

    fn note(&mut self, progress: Result<(), Fault>) {
        if let Err(fault) = progress {
            self.is_broken = true;
            if let Fault::Protocol(why) = fault {
                self.said.push_back(Said::Broken(why));
            }
        }
    }

    /// Reads what it wrote before now, so that `said` has it: it is gone and will say no more.
    pub fn read_out(&mut self) {
        for _ in 0..READ_OUT_MAX {
            if self.is_broken {
                return;
            }
            // The readiness that the event loop knows may be older than what is there.
            match self.receive_with(|socket, buffer| Ok(rustix::io::read(socket, buffer)?)) {
                Ok(true) => {}
                Ok(false) => return,
                Err(fault) => self.note(Err(fault)),
            }
        }
    }

    /// Sends as much as the socket takes. An error shows when the socket is read.
    fn send(&mut self) {
        while let Some(rest) = self.outgoing.get(self.sent_to..).filter(|rest| !rest.is_empty()) {
            match self.socket.try_write(rest) {
                Ok(count) => self.sent_to = self.sent_to.saturating_add(count),
                Err(_) => return,
            }
        }
        self.sent_to = 0;
        self.outgoing.clear();
        self.outgoing.shrink_to(PAYLOAD_BYTES_MAX);
    }

    fn receive(&mut self) -> Result<bool, Fault> {
        self.receive_with(|socket, buffer| socket.try_read(buffer))
    }

    /// Reads once; whether anything was there.
    fn receive_with(&mut self, read: impl Fn(&UnixStream, &mut [u8]) -> io::Result<usize>) -> Result<bool, Fault> {
        let (socket, received) = (&self.socket, &mut self.received);
        let count: io::Result<usize> = scratch::with(|buffer| {
            let count = read(socket, buffer)?;
            received.extend_from_slice(buffer.get(..count).unwrap_or_default());
            Ok(count)
        });
        match count {
            Ok(0) => return Err(Fault::HungUp),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(_) => return Err(Fault::HungUp),
        }
        while let Some((head, payload)) = self.frame()? {
            self.take(head, payload)?;
        }
        self.received.drain(..self.read_to);
        self.read_to = 0;
        Ok(true)
    }

    fn frame(&mut self) -> Result<Option<(Head, Vec<u8>)>, &'static str> {
        let unread = self.received.get(self.read_to..).unwrap_or_default();
        let Some((head, rest)) = unread.split_first_chunk::<HEAD_BYTES>() else { return Ok(None) };
        let head = Head::parse(*head)?;
        let Some(payload) = rest.get(..head.payload_bytes) else { return Ok(None) };
        let payload = payload.to_vec();
        self.read_to = self.read_to.saturating_add(HEAD_BYTES).saturating_add(head.payload_bytes);
        Ok(Some((head, payload)))
    }

    fn take(&mut self, head: Head, payload: Vec<u8>) -> Result<(), &'static str> {
        let is_whole_environment = matches!(
            head.kind,
            Kind::Parked | Kind::Ready | Kind::InitError | Kind::Prepared | Kind::Harmless | Kind::Unfit | Kind::Loaded
        );
        let stream = if is_whole_environment { 0 } else { self.stream };
        if head.stream != stream {
            return Err("it spoke of an invocation that is not in its hands");
        }
        if self.is_responding && !matches!(head.kind, Kind::Response | Kind::Error) {
            return Err("it left a response half said");
        }
        let payload = match (head.kind, self.handover) {
            (Kind::Prepared, Handover::None) => return Err("it handed over what nobody had asked for"),
            (Kind::Prepared, Handover::Unwanted) => {
                self.partial.take_if(|(kind, _)| *kind == Kind::Prepared);
                Vec::new()
            }
            _ => payload,
        };
        if head.kind == Kind::Response {
            return self.response(head.is_more, payload);
        }
        self.is_responding = false;
        let message = match self.partial.take() {
            Some((kind, _)) if kind != head.kind => return Err("it left a message half said"),
            Some((_, mut message)) => {
                message.extend_from_slice(&payload);
                message
            }
            None => payload,
        };
        let bytes_max = match head.kind {
            Kind::Error | Kind::InitError => usize::try_from(RESPONSE_BYTES_MAX).unwrap_or(usize::MAX),
            Kind::Prepared => PREPARED_MESSAGE_BYTES_MAX,
            _ => HEAD_MESSAGE_BYTES_MAX,
        };
        if message.len() > bytes_max.saturating_add(PAYLOAD_BYTES_MAX) {
            return Err("it sent a message longer than any may be");
        }
        if head.is_more {
            self.partial = Some((head.kind, message));
            return Ok(());
        }
        self.message(head.kind, message)
    }

    fn response(&mut self, is_more: bool, payload: Vec<u8>) -> Result<(), &'static str> {
        if self.partial.is_some() {
            return Err("it left a message half said");
        }
        let length = u64::try_from(payload.len()).unwrap_or(u64::MAX);
        self.credit = self.credit.checked_sub(length).ok_or("it sent more of a response than it was let")?;
        self.is_responding = is_more;
        if !payload.is_empty() {
            self.said.push_back(Said::Bytes(payload));
        }
        if !is_more {
            self.said.push_back(Said::Done);
        }
        Ok(())
    }

    fn message(&mut self, kind: Kind, message: Vec<u8>) -> Result<(), &'static str> {
        let said = match kind {
            Kind::Ready => {
                self.has_rejected = !message.is_empty();
                Said::Ready
            }
            Kind::Loaded => Said::Loaded,
            Kind::Next => Said::Next,
            Kind::InitError => Said::InitError { kind: error_type(&message, "Runtime.Unknown"), body: message },
            Kind::Error => Said::Failed { kind: error_type(&message, "Function.Unknown"), body: message },
            Kind::Head => {
                let head: ResponseHead =
                    serde_json::from_slice(&message).map_err(|_| "it sent a head that is not as agreed")?;
                Said::Head { content_type: head.content_type, is_streamed: head.streaming }
            }
            Kind::Parked => {
                self.is_parked = true;
                return Ok(());
            }
            Kind::Harmless | Kind::Unfit if !matches!(self.verdict, Verdict::Awaited) => {
                return Err("it told whether it may be copied, which nobody asked");
            }
            Kind::Harmless => {
                self.verdict = Verdict::Given(Ok(()));
                return Ok(());
            }
            Kind::Unfit => {
                self.verdict = Verdict::Given(Err(String::from_utf8_lossy(&message).into_owned()));
                return Ok(());
            }
            Kind::Prepared => {
                self.handover = Handover::None;
                Said::Prepared(message)
            }
            Kind::Init | Kind::Invoke | Kind::Event | Kind::Credit | Kind::Response | Kind::Prepare => {
                return Err("it sent what only the host sends");
            }
        };
        self.said.push_back(said);
        Ok(())
    }
}

/// The type in an error's own JSON.
fn error_type(body: &[u8], otherwise: &'static str) -> String {
    let failure = serde_json::from_slice::<Failure>(body).ok();
    error_kind(&failure.and_then(|failure| failure.error_type).unwrap_or_default(), &BY_RUNTIMES, otherwise)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use base::{Cause, RequestId, Uuid};

    use super::*;

    fn connected() -> (Connection, StdUnixStream) {
        let (connection, theirs) = Connection::pair().unwrap();
        (connection, theirs.into())
    }

    fn call(payload: Vec<u8>) -> Call {
        Call {
            request_id: RequestId(Uuid::NIL),
            invoked_arn: "arn".into(),
            payload,
            client_context: None,
            trace_header: None,
            tenant_id: None,
            wants_log_tail: false,
            is_streamed: false,
            concurrency: base::ports::Concurrency::Shared(1),
            allocated: 0,
            is_async: false,
            cause: Cause::origin(Uuid::NIL),
        }
    }

    fn message(kind: Kind, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        codec::write(&mut out, kind, stream, payload);
        out
    }

    #[tokio::test]
    async fn an_invocation_goes_there_and_back() {
        let (mut connection, mut runtime) = connected();
        connection.init(&BTreeMap::from([("A".to_owned(), "1".to_owned())]), &Prepared::default());
        connection.invoke(&call(vec![7; 3_000_000]), Timestamp::from_millis(5));
        let playing = std::thread::spawn(move || {
            let mut expected = message(Kind::Init, 0, br#"{"env":{"A":"1"}}"#);
            let told =
                br#"{"requestId":"00000000-0000-0000-0000-000000000000","deadlineMs":5,"invokedFunctionArn":"arn"}"#;
            expected.extend(message(Kind::Invoke, 1, told));
            expected.extend(message(Kind::Event, 1, &vec![7; 3_000_000]));
            let mut found = vec![0; expected.len()];
            runtime.read_exact(&mut found).unwrap();
            assert!(found == expected);
            let mut answer = message(Kind::Parked, 0, b"");
            answer.extend(message(Kind::Ready, 0, b""));
            answer.extend(message(Kind::Response, 1, &[8; 100_000]));
            answer.extend(message(Kind::Next, 1, b""));
            runtime.write_all(&answer).unwrap();
            runtime
        });
        assert_eq!(connection.next().await, Said::Ready);
        assert_eq!(connection.next().await, Said::Bytes(vec![8; 65_536]));
        assert_eq!(connection.next().await, Said::Bytes(vec![8; 100_000 - 65_536]));
        assert_eq!(connection.next().await, Said::Done);
        assert_eq!(connection.next().await, Said::Next);
        let mut runtime = playing.join().unwrap();
        runtime.write_all(&message(Kind::Next, 1, b"")).unwrap();
        drop(runtime);
        connection.read_out();
        assert_eq!(connection.said(), Some(Said::Next));
        assert_eq!(connection.said(), None);
    }

    #[tokio::test]
    async fn credit_goes_to_a_response_that_goes_on() {
        let (mut connection, mut runtime) = connected();
        connection.invoke(&call(vec![]), Timestamp::default());
        let mut expected = Vec::new();
        codec::write(&mut expected, Kind::Credit, 1, &65_536_u32.to_le_bytes());
        runtime.write_all(&message(Kind::Response, 1, &[0; 65_537])[..HEAD_BYTES + 65_536]).unwrap();
        assert_eq!(connection.next().await, Said::Bytes(vec![0; 65_536]));
        connection.grant(65_536);
        runtime.write_all(&message(Kind::Response, 1, &[0; 1])).unwrap();
        assert_eq!(connection.next().await, Said::Bytes(vec![0; 1]));
        connection.grant(1);
        drop(connection);
        let mut heard = Vec::new();
        runtime.read_to_end(&mut heard).unwrap();
        assert_eq!(heard.split_off(heard.len() - expected.len()), expected);
        assert!(!heard.windows(expected.len()).any(|window| window == expected));
    }

    #[tokio::test]
    async fn what_is_not_as_agreed_breaks_the_connection() {
        let response = |stream, bytes: usize| message(Kind::Response, stream, &vec![0; bytes]);
        for (bytes, why) in [
            (vec![0; 12], "it sent a frame of no kind that a runtime sends"),
            (vec![0, 0, 2, 0, 9, 0, 0, 0, 1, 0, 0, 0], "it sent a frame longer than a frame may be"),
            (message(Kind::Init, 0, b"{}"), "it sent a frame of no kind that a runtime sends"),
            (message(Kind::Prepared, 0, b"code"), "it handed over what nobody had asked for"),
            (response(2, 1), "it spoke of an invocation that is not in its hands"),
            (response(1, 262_145), "it sent more of a response than it was let"),
            (message(Kind::Head, 1, b"{"), "it sent a head that is not as agreed"),
            (
                [vec![1, 0, 0, 0, 9, 1, 0, 0, 1, 0, 0, 0, 0], message(Kind::Next, 1, b"")].concat(),
                "it left a response half said",
            ),
            (
                [vec![1, 0, 0, 0, 10, 1, 0, 0, 1, 0, 0, 0, 0], message(Kind::Next, 1, b"")].concat(),
                "it left a message half said",
            ),
        ] {
            let (mut connection, mut runtime) = connected();
            connection.invoke(&call(vec![]), Timestamp::default());
            let writing = std::thread::spawn(move || {
                // The host may hang up first.
                let _ = runtime.write_all(&bytes);
                runtime
            });
            let broken = loop {
                match connection.next().await {
                    Said::Broken(why) => break why,
                    Said::Bytes(_) => {}
                    other => panic!("{other:?}"),
                }
            };
            assert_eq!(broken, why);
            drop(connection);
            writing.join().unwrap();
        }
    }

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_is_not_held() {
        let (mut connection, mut runtime) = connected();
        connection.prepare();
        runtime.write_all(&message(Kind::Prepared, 0, &[1; 200_000])[..100_000]).unwrap();
        while connection.partial.is_none() {
            connection.go_on().await;
        }
        connection.forgo();
        runtime.write_all(&message(Kind::Prepared, 0, &[1; 200_000])[100_000..]).unwrap();
        assert_eq!(connection.next().await, Said::Prepared(Vec::new()));
        // Nor is it believed a second time.
        runtime.write_all(&message(Kind::Prepared, 0, b"code")).unwrap();
        assert_eq!(connection.next().await, Said::Broken("it handed over what nobody had asked for"));
    }

    #[tokio::test]
    async fn a_runtime_says_when_what_was_prepared_is_of_no_use() {
        for (words, has_rejected) in [(&b""[..], false), (b"compiled", true)] {
            let (mut connection, mut runtime) = connected();
            runtime.write_all(&message(Kind::Ready, 0, words)).unwrap();
            assert_eq!(connection.next().await, Said::Ready);
            assert_eq!(connection.has_rejected(), has_rejected);
        }
    }

    #[tokio::test]
    async fn errors_are_passed_on_to_the_byte() {
        let (mut connection, mut runtime) = connected();
        connection.invoke(&call(vec![]), Timestamp::default());
        let body = br#"{"errorMessage": "x", "errorType": "Function.Own"}"#;
        runtime.write_all(&message(Kind::Error, 1, body)).unwrap();
        assert_eq!(connection.next().await, Said::Failed { kind: "Function.Own".into(), body: body.to_vec() });
        runtime.write_all(&message(Kind::InitError, 0, b"no json")).unwrap();
        let expected = Said::InitError { kind: "Runtime.Unknown".into(), body: b"no json".to_vec() };
        assert_eq!(connection.next().await, expected);
    }
}

//! One invocation in an instance's hands: its response as it comes, the answer that its caller gets, and its times.
//!
//! A response leaves as soon as it is whole, or piece by piece; with the end of the log if that is wanted, which is
//! there only when the invocation is over. Invariant: each invocation is answered once, to the end.

use std::time::Duration;

use base::ports::{Call, UNHANDLED};
use base::record::{Failure, Trace};
use base::{RequestId, Timestamp};
use engine::platform::Span;

use super::failure::Breakage;
use super::tail::Tail;
use super::{Answer, Command};
use crate::limits::{RESPONSE_BYTES_MAX, STREAMED_BYTES_MAX};
use crate::trace;

pub struct Invocation {
    /// Until it is handed to the runtime.
    pub call: Option<Box<Call>>,
    pub id: RequestId,
    /// The same, as it is written.
    pub request_id: String,
    /// The alias or version that was called; empty if none was named.
    pub qualifier: String,
    /// Its instance was not ready for it.
    pub is_cold: bool,
    pub tenant_id: Option<String>,
    pub trace: Option<Trace>,
    wants_tail: bool,
    is_streamed: bool,
    /// When its start was told.
    pub began: Option<Timestamp>,
    pub handed: Option<Timestamp>,
    responding: Option<Timestamp>,
    responded: Option<Timestamp>,
    /// When the runtime had asked for the next event, or was given up.
    pub runtime_done: Option<Timestamp>,
    response: Response,
    pub produced_bytes: u64,
    /// What the handler failed by, if it did.
    pub failure: Option<Failure>,
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

impl Invocation {
    pub fn new(call: Box<Call>, is_cold: bool) -> Invocation {
        Invocation {
            id: call.request_id,
            request_id: call.request_id.to_string(),
            qualifier: qualifier(&call.invoked_arn).to_owned(),
            is_cold,
            tenant_id: call.tenant_id.clone(),
            trace: call.trace_header.as_deref().and_then(trace::of),
            wants_tail: call.wants_log_tail,
            is_streamed: call.is_streamed,
            call: Some(call),
            began: None,
            handed: None,
            responding: None,
            responded: None,
            runtime_done: None,
            response: Response::None,
            produced_bytes: 0,
            failure: None,
            tail: Tail::default(),
        }
    }

    /// The response is whole, or the handler's error is.
    pub fn is_answered(&self) -> bool {
        matches!(self.response, Response::Kept(_) | Response::Told)
    }

    pub fn head(&mut self, now: Timestamp, content_type: Option<String>, is_streamed: bool, out: &mut Vec<Command>) {
        self.responding.get_or_insert(now);
        if !matches!(self.response, Response::None) {
            return;
        }
        if self.is_streamed {
            let bytes_max = if is_streamed { STREAMED_BYTES_MAX } else { RESPONSE_BYTES_MAX };
            self.response = Response::Streaming { bytes_max };
            out.push(Command::Answer(Answer::Begin { content_type }));
        } else {
            self.response = Response::Collecting { content_type, body: Vec::new() };
        }
    }

    pub fn bytes(&mut self, now: Timestamp, bytes: Vec<u8>, out: &mut Vec<Command>) {
        self.head(now, None, false, out);
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let bytes_max = match &self.response {
            Response::Collecting { .. } => RESPONSE_BYTES_MAX,
            Response::Streaming { bytes_max } => *bytes_max,
            // The rest of what was too much already, or followed its own end.
            Response::None | Response::Kept(_) | Response::Told => return,
        };
        self.produced_bytes = self.produced_bytes.saturating_add(length);
        if self.produced_bytes > bytes_max {
            let breakage = Breakage::TooLarge;
            self.failure = Some(breakage.failure());
            let body = breakage.body(&self.request_id);
            self.fail(breakage.kind(), body, out);
            return;
        }
        match &mut self.response {
            Response::Collecting { body, .. } if body.is_empty() => *body = bytes,
            Response::Collecting { body, .. } => body.extend_from_slice(&bytes),
            Response::Streaming { .. } => out.push(Command::Answer(Answer::Piece(bytes))),
            Response::None | Response::Kept(_) | Response::Told => {}
        }
    }

    pub fn done(&mut self, now: Timestamp, out: &mut Vec<Command>) {
        self.head(now, None, false, out);
        self.responded.get_or_insert(now);
        match std::mem::replace(&mut self.response, Response::Told) {
            Response::Collecting { content_type, body } => {
                let whole = Answer::Whole { function_error: None, content_type, body, log_tail: None };
                self.answer(whole, out);
            }
            Response::Streaming { .. } => self.answer(Answer::End { log_tail: None, error: None }, out),
            // Answered already: too large.
            before @ (Response::None | Response::Kept(_) | Response::Told) => self.response = before,
        }
    }

    /// The handler failed.
    pub fn failed(&mut self, now: Timestamp, kind: String, body: Vec<u8>, out: &mut Vec<Command>) {
        if self.is_answered() {
            return;
        }
        self.responding.get_or_insert(now);
        self.responded.get_or_insert(now);
        let is_too_large = u64::try_from(body.len()).unwrap_or(u64::MAX) > RESPONSE_BYTES_MAX;
        let (kind, body) = match Breakage::TooLarge {
            breakage if is_too_large => (breakage.kind().to_owned(), breakage.body(&self.request_id)),
            _ => (kind, body),
        };
        self.fail(&kind, body, out);
        self.failure = Some(Failure::Handler(kind));
    }

    /// How the runtime's time was spent, as far as it came.
    pub fn spans(&self) -> Vec<Span> {
        let spans = [
            Span::between("responseLatency", self.handed, self.responding),
            Span::between("responseDuration", self.responding, self.responded),
            Span::between("runtimeOverhead", self.responded, self.runtime_done),
        ];
        spans.into_iter().flatten().collect()
    }

    /// How long the runtime had it in hand.
    pub fn runtime_took(&self) -> Duration {
        Span::between("", self.handed, self.runtime_done).map_or(Duration::ZERO, |span| span.took)
    }

    /// What is written into the log from its beginning on, for callers that want the end of that.
    pub fn note(&mut self, text: &str) {
        if self.hears_log() {
            self.tail.push(text);
        }
    }

    pub fn hears_log(&self) -> bool {
        self.wants_tail && self.began.is_some()
    }

    /// What the caller still has to get, with the log's end.
    pub fn tell(&mut self, out: &mut Vec<Command>) {
        if let Response::Kept(mut answer) = std::mem::replace(&mut self.response, Response::Told) {
            if let Answer::Whole { log_tail, .. } | Answer::End { log_tail, .. } = &mut answer {
                *log_tail = Some(std::mem::take(&mut self.tail).into_bytes());
            }
            out.push(Command::Answer(answer));
        }
    }

    /// Answers with an error, unless the answer is whole already.
    pub fn fail(&mut self, kind: &str, body: Vec<u8>, out: &mut Vec<Command>) {
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

/// `arn:aws:lambda:REGION:ACCOUNT:function:NAME`, and a qualifier or none.
fn qualifier(arn: &str) -> &str {
    arn.split(':').nth(7).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_names_a_qualifier_or_none() {
        let arn = "arn:aws:lambda:us-east-1:000000000000:function:f";
        assert_eq!(qualifier(arn), "");
        for named in ["live", "7", "$LATEST"] {
            assert_eq!(qualifier(&format!("{arn}:{named}")), named);
        }
    }
}

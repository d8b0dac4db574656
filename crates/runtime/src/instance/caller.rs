//! Who waits for the answer of the invocation in hand, and in which way.
//!
//! The end of an answer may be held back: whoever hears it and calls again finds this instance free.

use base::ports::{InvokeError, Invoked};
use tokio::time::Instant;

use super::{Instance, Reply};
use crate::environment::Answer;
use crate::limits::{ANSWER_HELD_MAX, CREDIT_BYTES};
use crate::response::{Feed, Whole, stream};

#[derive(Default)]
pub struct Caller {
    who: Who,
    /// And until when, if not until the instance is free.
    held: Option<(Answer, Option<Instant>)>,
}

#[derive(Default)]
enum Who {
    #[default]
    Nobody,
    Waiting(Reply),
    Taking(Feed),
}

impl Caller {
    pub fn waits(&mut self, reply: Reply) {
        self.who = Who::Waiting(reply);
    }

    /// Takes the response piece by piece.
    pub fn is_taking(&self) -> bool {
        matches!(self.who, Who::Taking(_))
    }

    /// How many more bytes it has taken; waits until there are some. Cancelling it loses nothing.
    pub async fn taken(&self) -> u64 {
        match &self.who {
            Who::Taking(feed) => feed.taken().await,
            Who::Nobody | Who::Waiting(_) => std::future::pending().await,
        }
    }

    /// Until when the end of an answer is held back.
    pub fn held_until(&self) -> Option<Instant> {
        self.held.as_ref().and_then(|(_, until)| *until)
    }

    /// What a broken environment answers waits until that is cleared away: soon, but with external extensions up to two
    /// seconds, which is the time they have to end. A response waits only for a moment.
    pub fn answer(&mut self, answer: Answer, is_broken: bool) {
        match answer {
            Answer::Whole { .. } | Answer::End { .. } => {
                let until = Instant::now().checked_add(ANSWER_HELD_MAX).filter(|_| !is_broken);
                self.held = Some((answer, until));
            }
            Answer::Begin { .. } | Answer::Piece(_) | Answer::Lost | Answer::NotRestored { .. } => self.tell(answer),
        }
    }

    /// Whether it was the end of a stream, whose writer may wait for somebody to take what follows.
    pub fn answer_held(&mut self) -> bool {
        let Some((answer, _)) = self.held.take() else { return false };
        let was_taking = self.is_taking();
        self.tell(answer);
        was_taking
    }

    fn tell(&mut self, answer: Answer) {
        // A caller that went away hears nothing.
        match (std::mem::take(&mut self.who), answer) {
            (Who::Waiting(reply), Answer::Whole { function_error, content_type, body, log_tail }) => {
                let response = Box::new(Whole { body: Some(body), log_tail });
                reply.send(Ok(Invoked { function_error, content_type, response })).ok();
            }
            (Who::Waiting(reply), Answer::Begin { content_type }) => {
                let (feed, taking) = stream();
                let response = Box::new(taking);
                reply.send(Ok(Invoked { function_error: None, content_type, response })).ok();
                self.who = Who::Taking(feed);
            }
            (Who::Waiting(reply), Answer::NotRestored { is_late }) => {
                let why = if is_late { InvokeError::RestoredLate } else { InvokeError::HookFailed };
                reply.send(Err(why)).ok();
            }
            (Who::Waiting(reply), _) => {
                reply.send(Err(InvokeError::Internal("the instance was gone".to_owned()))).ok();
            }
            (Who::Taking(feed), Answer::Piece(bytes)) => {
                feed.push(bytes);
                self.who = Who::Taking(feed);
            }
            (Who::Taking(feed), Answer::End { log_tail, error }) => feed.end(log_tail, error),
            (Who::Taking(_) | Who::Nobody, _) => {}
        }
    }
}

impl Instance {
    /// Answers what was held back. What a function goes on to write behind the end of its answer goes nowhere, at once.
    pub(super) fn answer_held(&mut self) {
        if self.caller.answer_held() {
            self.transport.grant(CREDIT_BYTES);
        }
    }

    /// A response that nobody takes in pieces is taken as it comes.
    pub(super) fn let_send(&mut self, bytes: usize) {
        if !self.caller.is_taking() {
            self.transport.grant(u64::try_from(bytes).unwrap_or(u64::MAX));
        }
    }
}

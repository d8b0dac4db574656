//! What is heard from inside: the runtime, by frames or over HTTP, and extensions, over HTTP always.

use std::collections::BTreeMap;

use base::Timestamp;
use base::ports::Call;

use crate::environment::{Reply, Ticket};
use crate::frames::Connection;
use crate::http::{Api, Heard};

pub struct Transport {
    pub api: Api,
    /// Of a runtime that speaks frames, while it lives.
    frames: Option<Connection>,
}

impl Transport {
    pub fn new(api: Api) -> Transport {
        Transport { api, frames: None }
    }

    pub fn connect(&mut self, frames: Connection) {
        self.frames = Some(frames);
    }

    /// All who spoke are dead.
    pub async fn reset(&mut self) {
        self.frames = None;
        self.api.reset().await;
    }

    /// What is heard next. Cancelling it loses nothing.
    pub async fn next(&mut self) -> Heard {
        let Some(frames) = &mut self.frames else { return self.api.next().await };
        tokio::select! {
            biased;
            said = frames.next() => Heard::Said(said),
            heard = self.api.next() => heard,
        }
    }

    /// What was heard already.
    pub fn heard(&mut self) -> Option<Heard> {
        let said = self.frames.as_mut().and_then(Connection::said).map(Heard::Said);
        said.or_else(|| self.api.heard())
    }

    /// Takes what was said before now: who said it is gone.
    pub fn read_out(&mut self) {
        if let Some(frames) = &mut self.frames {
            frames.read_out();
        }
        self.api.read_out();
    }

    pub fn invoke(&mut self, call: Call, deadline: Timestamp) {
        match &mut self.frames {
            Some(frames) => frames.invoke(&call, deadline),
            None => self.api.invoke(call, deadline),
        }
    }

    /// Asks a runtime that speaks frames. Whether there is one.
    pub fn prepare(&mut self) -> bool {
        self.frames.as_mut().map(Connection::prepare).is_some()
    }

    /// Lets a runtime go on that has loaded its function and waits to be restored, with what it has of its own.
    pub fn restore(&mut self, env: &BTreeMap<String, String>) {
        if let Some(frames) = &mut self.frames {
            frames.init_clone(env);
        }
    }

    /// Waits for that no longer.
    pub fn forgo(&mut self) {
        if let Some(frames) = &mut self.frames {
            frames.forgo();
        }
    }

    /// Whether what was prepared was of no use to the runtime.
    pub fn has_rejected(&self) -> bool {
        self.frames.as_ref().is_some_and(Connection::has_rejected)
    }

    pub fn grant(&mut self, bytes: u64) {
        match &mut self.frames {
            Some(frames) => frames.grant(bytes),
            None => self.api.grant(bytes),
        }
    }

    pub fn reply(&mut self, ticket: Ticket, reply: Reply) {
        self.api.reply(ticket, reply);
    }
}

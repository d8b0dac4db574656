//! The end of an environment with extensions, as AWS has it: the runtime is asked to go and then killed, subscribers
//! get what telemetry is left, the extensions that want to know are told and given the rest of the time, and what is
//! left is killed with `Clear`.
//!
//! Without extensions there is nothing gentle about it: everybody is killed at once.

use base::Timestamp;

use super::extensions::Reason;
use super::{Command, Environment, SIGKILL, SIGTERM, State, Who, reply};
use crate::limits::SHUTDOWN_TELEMETRY;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shutdown {
    reason: Reason,
    /// When whoever is left is killed.
    ends: Timestamp,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Runtime,
    Telemetry,
    Extensions,
}

impl Environment {
    /// Begins to end all processes.
    pub(super) fn shut_down(&mut self, now: Timestamp, reason: Reason, out: &mut Vec<Command>) {
        let Some(time) = self.extensions.shutdown_time() else { return self.clear(out) };
        let shutdown = Shutdown { reason, ends: now.plus(time.all), stage: Stage::Runtime };
        self.state = State::Stopping(shutdown);
        if !self.is_runtime_alive {
            return self.deliver_rest(now, shutdown, out);
        }
        out.push(Command::Signal(Who::Runtime, SIGTERM));
        self.deadline = Some(now.plus(time.runtime));
    }

    /// A process is gone, an extension asks for an event, or time has passed.
    pub(super) fn go_on_stopping(&mut self, now: Timestamp, shutdown: Shutdown, out: &mut Vec<Command>) {
        let is_late = self.deadline.is_some_and(|deadline| deadline <= now);
        match shutdown.stage {
            Stage::Runtime if !self.is_runtime_alive => self.deliver_rest(now, shutdown, out),
            Stage::Runtime if is_late => {
                out.push(Command::Signal(Who::Runtime, SIGKILL));
                self.deliver_rest(now, shutdown, out);
            }
            Stage::Telemetry if is_late || !self.extensions.is_any_listening() => {
                self.stop_extensions(now, shutdown, out);
            }
            Stage::Extensions if is_late => self.clear(out),
            Stage::Extensions => self.tell_extensions_of_end(now, shutdown, out),
            Stage::Runtime | Stage::Telemetry => {}
        }
    }

    /// Subscribers have all that was told.
    pub(super) fn flushed(&mut self, now: Timestamp, out: &mut Vec<Command>) {
        if let State::Stopping(shutdown) = self.state
            && shutdown.stage == Stage::Telemetry
        {
            self.stop_extensions(now, shutdown, out);
        }
    }

    fn deliver_rest(&mut self, now: Timestamp, shutdown: Shutdown, out: &mut Vec<Command>) {
        if !self.extensions.is_any_listening() {
            return self.stop_extensions(now, shutdown, out);
        }
        self.state = State::Stopping(Shutdown { stage: Stage::Telemetry, ..shutdown });
        self.deadline = Some(now.plus(SHUTDOWN_TELEMETRY));
        out.push(Command::Flush);
    }

    fn stop_extensions(&mut self, now: Timestamp, shutdown: Shutdown, out: &mut Vec<Command>) {
        self.state = State::Stopping(Shutdown { stage: Stage::Extensions, ..shutdown });
        self.deadline = Some(shutdown.ends);
        let others = self.extensions.not_told_of_end();
        out.extend(others.into_iter().map(|name| Command::Signal(Who::Extension(name), SIGKILL)));
        self.tell_extensions_of_end(now, shutdown, out);
    }

    fn tell_extensions_of_end(&mut self, now: Timestamp, shutdown: Shutdown, out: &mut Vec<Command>) {
        let mut replies = Vec::new();
        self.extensions.shut_down(shutdown.reason, shutdown.ends.since(now), &mut replies);
        reply(replies, out);
        if self.extensions.are_gone() {
            self.clear(out);
        }
    }

    /// Kills what is left.
    fn clear(&mut self, out: &mut Vec<Command>) {
        self.state = State::Clearing;
        self.deadline = None;
        out.push(Command::Clear);
    }
}

//! The end of an environment with extensions, as AWS has it: the runtime is asked to go and then killed, the extensions
//! that want to know are told and given the rest of the time, and what is left is killed with `Clear`.
//!
//! Without extensions there is nothing gentle about it: everybody is killed at once.

use base::Timestamp;

use super::extensions::Reason;
use super::{Command, Environment, SIGKILL, SIGTERM, State, Who};
use crate::limits::{SHUTDOWN_EXTERNAL, SHUTDOWN_RUNTIME};

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
    Extensions,
}

impl Environment {
    /// Begins to end all processes.
    pub(super) fn shut_down(&mut self, now: Timestamp, reason: Reason, out: &mut Vec<Command>) {
        let Some(time) = self.extensions.shutdown_time() else { return self.clear(out) };
        out.push(Command::Flush);
        let shutdown = Shutdown { reason, ends: now.plus(time), stage: Stage::Runtime };
        self.state = State::Stopping(shutdown);
        if !self.is_runtime_alive {
            return self.stop_extensions(now, shutdown, out);
        }
        out.push(Command::Signal(Who::Runtime, SIGTERM));
        let runtime_time = if time == SHUTDOWN_EXTERNAL { SHUTDOWN_RUNTIME } else { time };
        self.deadline = Some(now.plus(runtime_time));
    }

    fn stop_extensions(&mut self, now: Timestamp, shutdown: Shutdown, out: &mut Vec<Command>) {
        self.state = State::Stopping(Shutdown { stage: Stage::Extensions, ..shutdown });
        self.deadline = Some(shutdown.ends);
        let mut replies = Vec::new();
        let others = self.extensions.shut_down(shutdown.reason, shutdown.ends.since(now), &mut replies);
        out.extend(replies.into_iter().map(|(ticket, reply)| Command::Reply(ticket, reply)));
        out.extend(others.into_iter().map(|name| Command::Signal(Who::Extension(name), SIGKILL)));
        self.clear_if_gone(out);
    }

    /// A process is gone, an extension asks for an event, or time has passed.
    pub(super) fn go_on_stopping(&mut self, now: Timestamp, shutdown: Shutdown, out: &mut Vec<Command>) {
        let is_late = self.deadline.is_some_and(|deadline| deadline <= now);
        match shutdown.stage {
            Stage::Runtime if !self.is_runtime_alive => self.stop_extensions(now, shutdown, out),
            Stage::Runtime if is_late => {
                out.push(Command::Signal(Who::Runtime, SIGKILL));
                self.stop_extensions(now, shutdown, out);
            }
            Stage::Runtime => {}
            Stage::Extensions if is_late => self.clear(out),
            Stage::Extensions => {
                let mut replies = Vec::new();
                self.extensions.shut_down(shutdown.reason, shutdown.ends.since(now), &mut replies);
                out.extend(replies.into_iter().map(|(ticket, reply)| Command::Reply(ticket, reply)));
                self.clear_if_gone(out);
            }
        }
    }

    fn clear_if_gone(&mut self, out: &mut Vec<Command>) {
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

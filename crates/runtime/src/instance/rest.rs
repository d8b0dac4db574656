//! An instance that has nothing in hand: what the dispatcher is told of it, and what it is asked for meanwhile.

use base::with_causes;
use engine::dispatch::Freed;
use sandbox::{Freezing, Image};
use tokio::time::{Instant, timeout};

use super::{Given, INIT_FAILURE, Instance};
use crate::environment::{Event, Who};
use crate::limits::SANDBOX_START_TIMEOUT;
use crate::runtime::INTERNAL;
use crate::template;

impl Instance {
    /// Tells the dispatcher, once.
    pub(super) fn ready(&mut self) {
        if !std::mem::replace(&mut self.is_ready, true) {
            self.home.ready();
        }
    }

    /// Nothing is in hand any more: the dispatcher may send something else, or an order to end.
    pub(super) fn rest(&mut self) -> Option<Event> {
        match self.ask.take() {
            Some((Given { ask, .. }, handed)) => {
                self.is_ready = true;
                // Asked when the invocation ended, if it began at all.
                let bytes = self.environment.memory_peak_bytes().or_else(|| self.sandbox.memory_peak_bytes());
                let wall = handed.elapsed();
                let cpu = self.cpu.count(Instant::now(), wall, self.used.by_now());
                self.home.free(
                    ask,
                    Freed { wall, cpu, bytes, is_spent: self.is_outdated, is_cold: !self.environment.is_ready() },
                );
            }
            None if self.environment.is_ready() => self.ready(),
            // It broke while it was idle, and what is provisioned is to be ready: another one will be.
            None if self.is_ready && self.environment.is_provisioned() => return Some(self.retire()),
            // It is cold again, and waits for who calls it.
            None if self.is_ready => {}
            None => {
                let is_its_own = !self.environment.is_killed_for_others();
                self.failure = Some(if is_its_own { INIT_FAILURE } else { INTERNAL }.to_owned());
                return Some(self.retire());
            }
        }
        None
    }

    /// Until it is called; and tells what the host would get back, now that nobody waits for anything.
    pub(super) fn stand_still(&mut self) {
        match self.sandbox.freeze() {
            Ok(Freezing::Done) => self.used.rests(self.sandbox.cpu_time()),
            // Where the host lends no freezer it runs on.
            Ok(Freezing::Unsupported) => {}
            Err(error) => tracing::debug!(%error, "failed to freeze an instance"),
        }
        self.is_frozen.send_replace(true);
        if let Some(bytes) = self.sandbox.held_bytes() {
            self.home.weighed(bytes);
        }
    }

    /// What the import of a clone would have printed, as it starts.
    pub(super) fn printed(&self) -> Vec<Event> {
        let template = self.template.as_ref().filter(|_| self.waiting.is_some());
        let printed = template.map_or_else(Vec::new, |template| template.printed.clone());
        printed.into_iter().map(|line| Event::Output(line.source, line.text)).collect()
    }

    /// Lets later clones of its template have what this one had to make for its first answer.
    pub(super) async fn teach(&mut self) {
        if let Some(template) = self.template.take()
            && let Some(process) = self.processes.of(&Who::Runtime)
        {
            template.learn(&self.sandbox, process).await;
        }
    }

    /// What others may begin with, if an image of the runtime can be had.
    pub(super) async fn take_snapshot(&mut self) -> Option<Image> {
        let process = self.processes.of(&Who::Runtime).filter(|_| self.start.is_framed)?;
        match timeout(SANDBOX_START_TIMEOUT, template::take(&self.sandbox, process)).await {
            Ok(Ok(image)) => Some(image),
            Ok(Err(error)) => {
                let (group, stream) = (&self.log.group, &self.log.name);
                tracing::info!(group, stream, "failed to take a snapshot: failed to {}", with_causes(&error));
                None
            }
            Err(_) => None,
        }
    }
}

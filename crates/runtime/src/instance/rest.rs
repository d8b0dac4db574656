//! An instance that has nothing in hand: what the dispatcher is told of it, and what it is asked for meanwhile.

use engine::dispatch::Freed;

use super::{INIT_FAILURE, Instance};
use crate::environment::{Event, Who};

/// How far a runtime is that can make something for later instances of its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preparing {
    /// It is asked when it has nothing else to do.
    Wanted,
    Asked,
    Over,
}

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
            Some((ask, handed)) => {
                self.is_ready = true;
                let bytes = self.sandbox.memory_peak_bytes();
                self.home.free(ask, Freed { wall: handed.elapsed(), bytes, is_spent: self.is_outdated });
            }
            None if self.environment.is_ready() => self.ready(),
            // It is cold again, and waits for who calls it.
            None if self.is_ready => {}
            None => {
                self.failure = Some(INIT_FAILURE.to_owned());
                return Some(self.retire());
            }
        }
        None
    }

    /// Until it is called; and tells what the host would get back, now that nobody waits for anything.
    pub(super) fn stand_still(&mut self) {
        // Where the host lends no freezer it runs on.
        if let Err(error) = self.sandbox.freeze() {
            tracing::debug!(%error, "failed to freeze an instance");
        }
        self.is_frozen.send_replace(true);
        if let Some(bytes) = self.sandbox.held_bytes() {
            self.home.weighed(bytes);
        }
    }

    /// Asks for what later instances start sooner with, once, when nothing else is to be done. Whether it was asked.
    pub(super) fn prepares(&mut self) -> bool {
        let is_wanted = self.preparing == Preparing::Wanted && self.environment.is_ready() && self.transport.prepare();
        self.preparing = if is_wanted { Preparing::Asked } else { Preparing::Over };
        is_wanted
    }

    /// What the import of a clone would have printed, as it starts.
    pub(super) fn printed(&self) -> Vec<Event> {
        let template = self.template.as_ref().filter(|_| self.waiting.is_some());
        let printed = template.map_or_else(Vec::new, |template| template.printed.clone());
        printed.into_iter().map(|(source, text)| Event::Output(source, text)).collect()
    }

    /// Lets later clones of its template have what this one had to make for its first answer.
    pub(super) async fn teach(&mut self) {
        if let Some(template) = self.template.take()
            && let Some(process) = self.processes.of(&Who::Runtime)
        {
            template.learn(&self.sandbox, process).await;
        }
    }

    pub(super) fn take_prepared(&mut self, prepared: Vec<u8>) {
        // Nobody is believed who was not asked.
        if std::mem::replace(&mut self.preparing, Preparing::Over) == Preparing::Asked && !prepared.is_empty() {
            self.home.keep(prepared);
        }
    }
}

//! An instance that has nothing in hand: what the dispatcher is told of it, and what it is asked for meanwhile.

use engine::dispatch::Freed;

use super::{INIT_FAILURE, Instance};
use crate::environment::{Event, Who};

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
}

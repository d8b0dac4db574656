//! Where an instance belongs: its place in the dispatcher's books, to which it tells what becomes of it, and what of it
//! serves those that come later: a template, compiled code. One of which a snapshot is taken has no such place.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base::ports::FunctionSpec;
use base::with_causes;
use engine::dispatch::{AskId, Event, Freed, InstanceId};

use crate::code::PreparedName;
use crate::instance::Home;
use crate::prepare::Handover;
use crate::runtime::Inner;

/// An instance's place in the books.
pub struct Place {
    inner: Arc<Inner>,
    id: InstanceId,
    prepared_name: Option<PreparedName>,
    function: Arc<FunctionSpec>,
    tenant: Option<String>,
    /// A template of its version may be had, and has not been asked for.
    wishes: AtomicBool,
}

impl Place {
    /// `wishes`: it may have a template made.
    pub fn new(
        inner: &Arc<Inner>,
        id: InstanceId,
        function: &Arc<FunctionSpec>,
        tenant: Option<String>,
        prepared_name: Option<PreparedName>,
        wishes: bool,
    ) -> Place {
        let (inner, function) = (Arc::clone(inner), Arc::clone(function));
        Place { inner, id, prepared_name, function, tenant, wishes: AtomicBool::new(wishes) }
    }
}

impl Home for Place {
    fn ready(&self) {
        self.inner.settle(self.inner.books.tell(Event::Ready { instance: self.id }));
    }

    fn waits(&self) {
        self.inner.settle(self.inner.books.tell(Event::Waits { instance: self.id }));
    }

    fn weighed(&self, bytes: u64) {
        self.inner.memory.is_over(self.id);
        self.inner.settle(self.inner.books.tell(Event::Weighed { instance: self.id, bytes }));
    }

    fn free(&self, ask: AskId, freed: Freed) {
        if self.wishes.swap(false, Ordering::Relaxed) {
            self.inner.templates.wish(&self.function, self.tenant.as_deref());
        }
        self.inner.memory.is_over(self.id);
        self.inner.settle(self.inner.books.free(self.id, ask, freed));
    }

    fn hand_over(&self) -> Option<Handover> {
        self.inner.preparer.hand_over(&self.inner.code, self.prepared_name.as_ref()?)
    }

    fn keep(&self, handover: Handover, prepared: Vec<u8>) {
        let inner = Arc::clone(&self.inner);
        let keep = async move {
            let made = std::future::ready(Ok::<_, Infallible>(prepared));
            if let Err(error) = inner.code.prepare(handover.name(), made).await {
                tracing::warn!("failed to {}", with_causes(&error));
            }
        };
        self.inner.parts.spawn.spawn("prepared code", Box::pin(keep));
    }

    fn reject_prepared(&self) {
        if let Some(name) = &self.prepared_name {
            tracing::info!(function = self.function.name, "what was prepared of its code is of no use; doing without");
            self.inner.code.reject(name);
        }
    }
}

/// Of an instance that no orders come to.
pub struct NoPlace;

impl Home for NoPlace {
    fn waits(&self) {}

    fn weighed(&self, _bytes: u64) {}

    fn ready(&self) {}

    fn free(&self, _ask: AskId, _freed: Freed) {}

    fn hand_over(&self) -> Option<Handover> {
        None
    }

    fn keep(&self, _handover: Handover, _prepared: Vec<u8>) {}

    fn reject_prepared(&self) {}
}

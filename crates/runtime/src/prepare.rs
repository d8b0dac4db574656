//! What is made ready for functions that may be asked for: their code is unpacked, and a room of their kind is held.
//!
//! One after the other, each while nobody's instance is being started. It is a courtesy: what cannot be made ready, or
//! is one too many, is made when it is asked for, and then says why it cannot be.

use std::sync::{Arc, Weak};

use base::ports::FunctionSpec;
use base::{Spawn, with_causes};
use tokio::sync::mpsc;

use crate::launch;
use crate::limits::EXPECTED_MAX;
use crate::runtime::Inner;

pub struct Preparer(mpsc::Sender<Arc<FunctionSpec>>);

/// What is to be prepared, for the task that does it.
pub type Expected = mpsc::Receiver<Arc<FunctionSpec>>;

impl Preparer {
    pub fn new() -> (Preparer, Expected) {
        let (expect, expected) = mpsc::channel(EXPECTED_MAX);
        (Preparer(expect), expected)
    }

    pub fn expect(&self, function: Arc<FunctionSpec>) {
        // Whoever makes so many at once will not ask for all of them at once.
        self.0.try_send(function).ok();
    }
}

/// Prepares what is expected until the runtime is no more.
pub fn run(inner: Weak<Inner>, mut expected: Expected, spawn: &dyn Spawn) {
    let task = async move {
        while let Some(function) = expected.recv().await {
            let Some(inner) = inner.upgrade() else { return };
            inner.stock.wait_for_launches().await;
            prepare(&inner, &function).await;
        }
    };
    spawn.spawn("preparer", Box::pin(task));
}

async fn prepare(inner: &Inner, function: &FunctionSpec) {
    if let Ok(served) = inner.languages.serve(&function.runtime).await {
        inner.stock.expect(&launch::kind(inner, function, &served));
    }
    if let Err(error) = inner.code.code(function.code).await {
        tracing::debug!(function = function.name, "failed to {}", with_causes(&error));
    }
    if let Err(error) = inner.code.layers(&function.layers).await {
        tracing::debug!(function = function.name, "failed to {}", with_causes(&error));
    }
}

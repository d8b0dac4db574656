//! Whether somebody still waits for an answer.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

/// Who waits for a request's answer. A request goes on when that one has gone; one that only waits need not.
#[derive(Debug, Clone, Default)]
pub struct Listener(Arc<AtomicBool>);

impl Listener {
    /// Nobody waits any more. Whoever says so lets the request go on as a task of its own, so that it is polled anew and
    /// hears of it: nothing is woken here.
    pub fn hang_up(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Waits until nobody waits any more.
    pub async fn gone(&self) {
        poll_fn(|_| if self.0.load(Ordering::Relaxed) { Poll::Ready(()) } else { Poll::Pending }).await;
    }
}

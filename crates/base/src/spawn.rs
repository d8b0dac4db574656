//! How tasks start: named, and known to whoever must stop them.

use std::future::Future;
use std::pin::Pin;

pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Starts tasks. The real one cancels them at exit and waits for them with a deadline; a simulation steps them.
pub trait Spawn: Send + Sync {
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>);
}

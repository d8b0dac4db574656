//! Looking through events: unpacking chunks and trying what is in them, on threads of their own, as many as there are cores.
//!
//! These threads are nice: a search takes all cores of an idle host, and where the server has something else to do the kernel
//! gives it a tenth of a core. Accounts take [turns](crate::Turns), a chunk at a time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::thread;

use base::AccountId;
use tokio::sync::oneshot;

use crate::Error;
use crate::limits::LOOKERS_MAX;
use crate::turns::Turns;

/// A thread that is so much nicer weighs a tenth of another one, so a search goes on whatever else there is to do.
const NICENESS: i32 = 10;

type Work = Box<dyn FnOnce() + Send>;

/// The threads. They begin when there is something to look through, and end with this.
pub(crate) struct Lookers {
    shared: Arc<Shared>,
    pub count: usize,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// There is work, or it is over.
    changed: Condvar,
}

struct State {
    turns: Turns<AccountId, Work>,
    started: usize,
    is_over: bool,
}

/// What somebody looks for, which is being looked for whether this is awaited or not. What was not begun when this is
/// dropped is left.
pub struct Look<T>(oneshot::Receiver<T>);

impl<T> Future for Look<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(ready!(Pin::new(&mut self.0).poll(cx)).map_err(|_| Error::Stopping))
    }
}

impl Default for State {
    fn default() -> State {
        // Who is free takes the next piece, so the threads are the bound.
        State { turns: Turns::new(usize::MAX, usize::MAX), started: 0, is_over: false }
    }
}

impl Lookers {
    /// As many as there are cores.
    pub fn of_host() -> Lookers {
        Lookers::new(thread::available_parallelism().map_or(1, std::num::NonZero::get).min(LOOKERS_MAX))
    }

    fn new(count: usize) -> Lookers {
        Lookers { shared: Arc::default(), count }
    }

    /// Has this done when it is the account's turn.
    pub fn begin<T: Send + 'static>(&self, account: AccountId, look: impl FnOnce() -> T + Send + 'static) -> Look<T> {
        let (sender, receiver) = oneshot::channel();
        let work = move || {
            // Whoever has gone wants nothing any more.
            if !sender.is_closed() {
                sender.send(look()).ok();
            }
        };
        let mut state = self.shared.state();
        state.turns.wait(account, Box::new(work));
        if state.started < self.count {
            state.started = state.started.saturating_add(1);
            let shared = Arc::clone(&self.shared);
            if let Err(error) = thread::Builder::new().name("look".into()).spawn(move || shared.run()) {
                tracing::error!(%error, "failed to start a thread that looks through log events");
                state.started = state.started.saturating_sub(1);
            }
        }
        drop(state);
        self.shared.changed.notify_one();
        Look(receiver)
    }
}

impl Drop for Lookers {
    fn drop(&mut self) {
        self.shared.state().is_over = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        if let Err(error) = rustix::process::nice(NICENESS) {
            tracing::warn!(%error, "searches of logs are as urgent as everything else");
        }
        let mut state = self.state();
        while !state.is_over {
            let Some((account, work)) = state.turns.take() else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(state);
            // Who waits for it hears that it came to nothing; the thread goes on.
            if catch_unwind(AssertUnwindSafe(work)).is_err() {
                tracing::error!("looking through log events failed");
            }
            state = self.state();
            state.turns.done(&account);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn account(number: u8) -> AccountId {
        format!("{number:012}").parse().unwrap()
    }

    #[tokio::test]
    async fn accounts_take_turns_on_nice_threads() {
        let lookers = Lookers::new(1);
        let (open, is_open) = mpsc::sync_channel::<()>(1);
        let (said, heard) = mpsc::sync_channel(10);
        let begun = said.clone();
        let first = lookers.begin(account(1), move || begun.send("first").map(|()| is_open.recv()));
        assert_eq!(heard.recv(), Ok("first"));
        let mut looks = Vec::new();
        for (number, name) in [(1, "a1"), (1, "a2"), (1, "a3"), (2, "b1"), (3, "gone")] {
            let said = said.clone();
            let look = lookers.begin(account(number), move || said.send(name).unwrap());
            looks.extend(Some(look).filter(|_| name != "gone"));
        }
        open.send(()).unwrap();
        first.await.unwrap().unwrap().unwrap();
        for look in looks {
            look.await.unwrap();
        }
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), ["a1", "b1", "a2", "a3"]);
        let nice = || rustix::process::getpriority_process(None).unwrap();
        assert_eq!(lookers.begin(account(1), nice).await.unwrap(), nice() + NICENESS);
    }

    #[tokio::test]
    async fn what_fails_ends_no_thread() {
        let lookers = Lookers::new(1);
        let failed = lookers.begin(account(1), || -> u8 { unreachable!("a test wants it") });
        assert!(matches!(failed.await, Err(Error::Stopping)));
        assert_eq!(lookers.begin(account(1), || 7).await.unwrap(), 7);
    }
}

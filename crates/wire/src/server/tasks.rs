//! The tasks of a running server: named, counted, cancelled at exit and waited for with a deadline.

use std::time::Duration;

use base::{BoxFuture, Spawn};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// Starts tasks on the tokio runtime that it is used in. Cheap to clone; all clones are one group.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    cancel: CancellationToken,
}

impl Tasks {
    /// Cancels what still runs and waits for it; `false` when something did not yield within `deadline`.
    pub async fn stop(&self, deadline: Duration) -> bool {
        self.cancel.cancel();
        self.tracker.close();
        tokio::time::timeout(deadline, self.tracker.wait()).await.is_ok()
    }

    /// Tasks that have not ended.
    pub fn count(&self) -> usize {
        self.tracker.len()
    }
}

impl Spawn for Tasks {
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        // What is dropped with the runtime may want one more task, that can never run.
        if Handle::try_current().is_err() {
            return;
        }
        let cancelled = self.cancel.clone().cancelled_owned();
        let task = async move {
            tokio::select! {
                () = cancelled => {}
                () = task => {}
            }
        };
        self.tracker.spawn(task.instrument(tracing::debug_span!("task", name)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn stopping_cancels_what_would_run_for_ever() {
        let tasks = Tasks::default();
        tasks.spawn("endless", Box::pin(std::future::pending()));
        assert_eq!(tasks.count(), 1);
        assert!(tasks.stop(Duration::from_secs(60)).await);
        assert_eq!(tasks.count(), 0);
    }
}

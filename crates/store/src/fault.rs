//! Seeded faults over any backend: what a caller sees of a store that is far away, full, or going down.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use base::{BoxFuture, Chance, Seeded, Timestamp};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::backend::Backend;
use crate::backup::CopyError;
use crate::{Batch, Error, Found, Outcome, Read, Space, Watch};

/// Which faults come, and how often. A share of 3 is one call in three; 0 is none.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    pub seed: u64,
    /// Reads and commits that are refused before anything is done: [`Error::Unavailable`].
    pub refused_share: u64,
    /// Commits that are lost on the way in, as when the process dies before the sync: [`Error::Unanswered`].
    pub lost_share: u64,
    /// Commits that are done, but whose answer is lost on the way back: [`Error::Unanswered`].
    pub unanswered_share: u64,
    /// Commits whose answer is lost, and that are done only when the next one comes: [`Error::Unanswered`].
    pub late_share: u64,
    /// Times at most that a call steps back and lets others go first.
    pub delay_polls_max: u64,
    /// The commit, counted from 1, whose write fails: [`Error::Failed`], and so does every commit after it.
    pub failed_commit: Option<u64>,
}

pub(crate) struct Faulty {
    inner: Arc<dyn Backend>,
    faults: Faults,
    chance: Seeded,
    commit_count: AtomicU64,
    late: Mutex<VecDeque<Batch>>,
    fatal: watch::Sender<Option<Arc<str>>>,
}

impl Faulty {
    pub fn new(inner: Arc<dyn Backend>, faults: Faults) -> Self {
        let chance = Seeded::new(faults.seed);
        let (late, fatal) = (Mutex::default(), watch::Sender::new(None));
        Self { inner, faults, chance, commit_count: AtomicU64::new(0), late, fatal }
    }

    fn strikes(&self, share: u64) -> bool {
        share > 0 && self.chance.random_u64().is_multiple_of(share)
    }

    async fn delay(&self) {
        let Some(bound) = self.faults.delay_polls_max.checked_add(1) else { return };
        let mut polls_left = self.chance.random_u64() % bound;
        poll_fn(|cx| match polls_left.checked_sub(1) {
            None => Poll::Ready(()),
            Some(left) => {
                polls_left = left;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        })
        .await;
    }

    /// Does what was given up, in its order.
    async fn catch_up(&self) -> Result<(), Error> {
        loop {
            let Some(batch) = self.late.lock().pop_front() else { return Ok(()) };
            self.inner.commit(batch).await?;
        }
    }

    fn refuse(&self) -> Result<(), Error> {
        match self.strikes(self.faults.refused_share) {
            true => Err(Error::Unavailable { reason: "an injected fault", source: None }),
            false => Ok(()),
        }
    }
}

impl Backend for Faulty {
    fn read<'a>(&'a self, reads: &'a [Read]) -> BoxFuture<'a, Result<Vec<Found>, Error>> {
        Box::pin(async move {
            self.delay().await;
            self.refuse()?;
            self.inner.read(reads).await
        })
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Outcome, Error>> {
        Box::pin(async move {
            self.delay().await;
            let number = self.commit_count.fetch_add(1, Ordering::SeqCst).saturating_add(1);
            if self.faults.failed_commit.is_some_and(|failed| number >= failed) {
                let reason: Arc<str> = "an injected fault".into();
                self.fatal.send_replace(Some(reason.clone()));
                return Err(Error::Failed(reason));
            }
            self.refuse()?;
            if self.strikes(self.faults.lost_share) {
                return Err(Error::Unanswered);
            }
            if self.strikes(self.faults.late_share) {
                self.late.lock().push_back(batch);
                return Err(Error::Unanswered);
            }
            self.catch_up().await?;
            let outcome = self.inner.commit(batch).await?;
            self.delay().await;
            if self.strikes(self.faults.unanswered_share) {
                return Err(Error::Unanswered);
            }
            Ok(outcome)
        })
    }

    fn watch(&self, space: Space, prefix: Bytes) -> Watch {
        self.inner.watch(space, prefix)
    }

    fn now(&self) -> BoxFuture<'_, Result<Timestamp, Error>> {
        self.inner.now()
    }

    fn fail(&self, reason: &str) {
        self.inner.fail(reason);
    }

    fn fatal(&self) -> watch::Receiver<Option<Arc<str>>> {
        match self.faults.failed_commit {
            Some(_) => self.fatal.subscribe(),
            None => self.inner.fatal(),
        }
    }

    fn copy_to<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, Result<(), CopyError>> {
        self.inner.copy_to(dir)
    }

    fn close(&self) -> BoxFuture<'_, Result<(), Error>> {
        self.inner.close()
    }
}

#[cfg(test)]
mod tests {
    use base::ManualClock;

    use super::*;
    use crate::Store;

    const SPACE: Space = Space::new("s");

    /// Whether a commit said that it was done, and whether it was.
    type Ran = (Result<(), Error>, bool);

    /// Commits forty rows, some in vain.
    fn run(faults: Faults) -> (Vec<Ran>, Store) {
        let sound = Store::memory(Arc::new(ManualClock::default()));
        let store = sound.clone().with_faults(faults);
        let run = async {
            let mut ran = Vec::new();
            for number in 0..40_u8 {
                let outcome = store.commit(Batch::new().put_raw(SPACE, vec![number], b"")).await;
                let is_there = sound.get(SPACE, vec![number]).await.unwrap().is_some();
                ran.push((outcome.map(|outcome| assert!(outcome.is_committed())), is_there));
            }
            ran
        };
        (tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(run), store)
    }

    #[test]
    fn faults_are_what_they_say_and_repeat_with_their_seed() {
        let faults = Faults { seed: 5, refused_share: 4, lost_share: 4, unanswered_share: 4, ..Faults::default() };
        let (ran, _) = run(faults);
        let seen = |wanted: fn(&Result<(), Error>, bool) -> bool| ran.iter().filter(|(o, is)| wanted(o, *is)).count();
        let counts = [
            seen(|outcome, is_there| outcome.is_ok() && is_there),
            seen(|outcome, is_there| matches!(outcome, Err(Error::Unavailable { .. })) && !is_there),
            seen(|outcome, is_there| matches!(outcome, Err(Error::Unanswered)) && !is_there),
            seen(|outcome, is_there| matches!(outcome, Err(Error::Unanswered)) && is_there),
        ];
        assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
        assert_eq!(counts.iter().sum::<usize>(), ran.len());
        let (again, _) = run(faults);
        assert_eq!(format!("{ran:?}"), format!("{again:?}"));
    }

    #[test]
    fn a_failed_write_ends_the_store() {
        let (ran, store) = run(Faults { failed_commit: Some(3), ..Faults::default() });
        let committed = ran.iter().map(|(outcome, is_there)| outcome.is_ok() && *is_there).collect::<Vec<_>>();
        assert_eq!(committed, [vec![true; 2], vec![false; 38]].concat());
        let failed = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(store.failed());
        assert_eq!(&*failed, "an injected fault");
    }
}

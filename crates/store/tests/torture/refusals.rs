//! The disk refuses: an operation answers EIO, or there is no room.
//!
//! Pass lines. EIO: nothing handed in later is acknowledged, the store says that it has failed, and the next process
//! finds everything acknowledged, whether or not the kernel kept what it could not write. No room: the commit fails and
//! may be tried again, reads go on, and commits do when there is room.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::SystemClock;
use store::testing::{Action, Fault, Op, Verdict};
use store::{Error, Options, Store};

use crate::disk::{Image, Luck, Recorder, after_power_cut, directory, image_of};
use crate::order::check_order;
use crate::power::block_on;
use crate::workload::{self, begun_and_acked, commits, contents, sized, verify};

/// Longer than any machine needs to notice; only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Refuses the n-th operation that counts. A failed sync is told to every handle of the file that was open then, as
/// Linux has done since 4.13, so the syncs of that file which follow are refused too.
fn refuse_nth(n: usize, counts: impl Fn(&Op<'_>) -> bool + Send + Sync + 'static) -> Arc<Recorder> {
    let seen = AtomicUsize::new(0);
    let unsynced: Mutex<Option<PathBuf>> = Mutex::new(None);
    Arc::new(Recorder::with_judge(Box::new(move |_, op| {
        let mut unsynced = unsynced.lock().unwrap();
        let is_sync = op.action == Action::Sync;
        let is_nth = counts(op) && seen.fetch_add(1, Ordering::SeqCst) == n;
        if is_nth && is_sync {
            *unsynced = Some(op.file.to_owned());
        }
        match is_nth || is_sync && unsynced.as_deref() == Some(op.file) {
            true => Verdict::Fail(Fault::Io),
            false => Verdict::Proceed,
        }
    })))
}

fn is_write_or_sync(op: &Op<'_>) -> bool {
    matches!(op.action, Action::Write { .. } | Action::Sync)
}

fn is_of(op: &Op<'_>, suffix: &str) -> bool {
    op.file.to_string_lossy().ends_with(suffix)
}

async fn an_existing_database() -> Image {
    let dir = directory(&Image::new());
    workload::open(dir.path(), None, None).unwrap().close().await.unwrap();
    image_of(dir.path())
}

/// Commits until the recorder refuses an operation, tries to go on, and lets the next process look. Answers whether that
/// operation came at all.
async fn refuse_one(base: &Image, recorder: Arc<Recorder>, commit_count: usize) -> bool {
    let dir = directory(base);
    let commits = commits(8, commit_count + 1);
    if let Ok(store) = workload::open(dir.path(), Some(recorder.clone()), None) {
        let failure = workload::run(&store, &commits[..commit_count], &recorder).await;
        assert!(failure.is_none() || matches!(failure, Some(Error::Failed(_))), "{failure:?}");
        if recorder.was_refused() {
            // A checkpoint's refusal may still be on its way to the store; a commit's has struck it.
            tokio::time::timeout(PATIENCE, store.failed()).await.expect("the store says that it has failed");
            let later = store.commit(commits[commit_count].batch()).await;
            assert!(matches!(later, Err(Error::Failed(_))), "a later commit: {later:?}");
        }
        // The last checkpoint may be the one that is refused.
        assert_eq!(store.close().await.is_err(), recorder.was_refused());
    }
    let was_refused = recorder.was_refused();
    let trace = recorder.take();
    check_order(&trace).unwrap();
    let (begun, acked) = begun_and_acked(&trace, trace.len());
    for luck in [Luck::Nothing, Luck::All] {
        let left = directory(&after_power_cut(base, &trace, trace.len(), &luck));
        verify(left.path(), &contents(&commits), begun, acked).await.unwrap();
    }
    was_refused
}

#[test]
fn after_an_io_error_nothing_is_acknowledged_and_nothing_lost() {
    block_on(async {
        let base = an_existing_database().await;
        for n in 0..30 {
            assert!(refuse_one(&base, refuse_nth(n, is_write_or_sync), 8).await, "operation {n} came");
        }
        // The log's syncs alone, and the mark.
        for n in 0..4 {
            assert!(refuse_one(&base, refuse_nth(n, |op| op.action == Action::Sync && is_of(op, "-wal")), 8).await);
        }
        assert!(refuse_one(&base, refuse_nth(2, |op| is_of(op, "-mark")), 8).await);
    });
}

#[test]
fn an_io_error_of_a_checkpoint_stops_the_store_and_loses_nothing() {
    block_on(async {
        let base = an_existing_database().await;
        for n in 0..sized(8, 30) {
            let came = refuse_one(&base, refuse_nth(n, |op| is_write_or_sync(op) && is_of(op, ".db")), 30).await;
            // How many checkpoints there are is the threads' affair; all pages are written once at least.
            assert!(came || n >= 8, "operation {n} came");
        }
        for n in 0..sized(2, 5) {
            let came = refuse_one(&base, refuse_nth(n, |op| op.action == Action::Sync && is_of(op, ".db")), 30).await;
            assert!(came || n > 0, "a sync came");
        }
    });
}

/// After a failed sync the kernel may show pages that it will never write. A process that starts on such a machine
/// recovers from them; what it acknowledges then must not rest on them when the power goes.
#[test]
fn a_restart_after_a_failed_sync_does_not_build_on_pages_that_never_reached_the_disk() {
    block_on(async {
        let base = an_existing_database().await;
        let commits = commits(9, 8);
        let first = refuse_nth(5, |op| op.action == Action::Sync && is_of(op, "-wal"));
        let dir = directory(&base);
        // Without a checkpoint all syncs of the log are those of commits.
        let options = Options { tap: Some(first.clone()), ..Options::default() };
        let store = workload::open_with(dir.path(), options).unwrap();
        assert!(workload::run(&store, &commits[..6], &first).await.is_some());
        drop(store);
        let trace = first.take();
        let on_disk = after_power_cut(&base, &trace, trace.len(), &Luck::Nothing);
        let in_kernel = after_power_cut(&base, &trace, trace.len(), &Luck::All);
        assert_ne!(on_disk, in_kernel);

        let dir = directory(&in_kernel);
        let second = Arc::new(Recorder::default());
        let store = workload::open(dir.path(), Some(second.clone()), None).unwrap();
        let mut expected = workload::dump(&store).await.unwrap();
        assert!(workload::run(&store, &commits[6..], &second).await.is_none());
        commits[6..].iter().for_each(|commit| commit.apply(&mut expected));
        let trace = second.take();
        drop(store);
        let left = directory(&after_power_cut(&on_disk, &trace, trace.len(), &Luck::Nothing));
        verify(left.path(), &[expected], 0, 0).await.unwrap();
    });
}

#[test]
fn a_full_disk_refuses_commits_and_forgets_it_when_there_is_room() {
    for writes_that_fit in [0, 1, 2, 5] {
        block_on(async {
            let is_full = Arc::new(AtomicBool::new(false));
            let left = Arc::new(AtomicUsize::new(0));
            let judge = {
                let (is_full, left) = (is_full.clone(), left.clone());
                move |_: usize, op: &Op<'_>| {
                    let grows = matches!(op.action, Action::Write { .. } | Action::Create) && !is_of(op, "-mark");
                    let fits =
                        || left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
                    match grows && is_full.load(Ordering::SeqCst) && !fits() {
                        true => Verdict::Fail(Fault::Full),
                        false => Verdict::Proceed,
                    }
                }
            };
            let recorder = Arc::new(Recorder::with_judge(Box::new(judge)));
            let base = an_existing_database().await;
            let dir = directory(&base);
            let store = workload::open(dir.path(), Some(recorder.clone()), None).unwrap();
            let commits = commits(10, 12);
            let contents = contents(&commits);
            assert!(workload::run(&store, &commits[..5], &recorder).await.is_none());

            left.store(writes_that_fit, Ordering::SeqCst);
            is_full.store(true, Ordering::SeqCst);
            for _ in 0..3 {
                let outcome = store.commit(commits[5].batch()).await;
                assert!(matches!(outcome, Err(Error::Unavailable { .. })), "{outcome:?}");
                assert_eq!(workload::dump(&store).await.unwrap(), contents[5]);
            }
            is_full.store(false, Ordering::SeqCst);
            assert!(workload::run(&store, &commits[5..], &recorder).await.is_none());
            assert_eq!(workload::dump(&store).await.unwrap(), contents[12]);

            // Perhaps not even the room that the last checkpoint needs: nothing is lost, and the next process has it.
            left.store(writes_that_fit, Ordering::SeqCst);
            is_full.store(true, Ordering::SeqCst);
            assert!(matches!(store.close().await, Ok(()) | Err(Error::Unavailable { .. })));
            let trace = recorder.take();
            let left_behind = directory(&after_power_cut(&base, &trace, trace.len(), &Luck::Nothing));
            verify(left_behind.path(), &contents, 12, 12).await.unwrap();
        });
    }
}

/// The disk is full of the log itself, which then must not wait to be full-grown before it begins anew.
#[test]
fn a_log_that_cannot_grow_begins_anew() {
    let dir = directory(&Image::new());
    let may_grow = Arc::new(AtomicBool::new(true));
    let (size, grows) = (AtomicUsize::new(0), may_grow.clone());
    let recorder = Arc::new(Recorder::with_judge(Box::new(move |_, op| match op.action {
        Action::Write { offset, bytes } if is_of(op, "-wal") => {
            let end = usize::try_from(offset).unwrap() + bytes.len();
            if end > size.load(Ordering::SeqCst) && !grows.load(Ordering::SeqCst) {
                return Verdict::Fail(Fault::Full);
            }
            size.fetch_max(end, Ordering::SeqCst);
            Verdict::Proceed
        }
        _ => Verdict::Proceed,
    })));
    let options = Options { tap: Some(recorder), ..Options::default() };
    let store = Store::open(dir.path(), Arc::new(SystemClock), options).unwrap();
    let commits = commits(8, 60);
    block_on(async {
        for commit in &commits[..50] {
            store.commit(commit.batch()).await.unwrap();
        }
        may_grow.store(false, Ordering::SeqCst);
        for commit in &commits[50..] {
            let goes_on = async {
                while let Err(error) = store.commit(commit.batch()).await {
                    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(PATIENCE, goes_on).await.expect("the log begins anew");
        }
        store.close().await.unwrap();
    });
}

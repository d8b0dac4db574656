//! What only the embedded store has: threads, a directory, a disk that fails.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use store::embedded::{Action, Fault, Op, Tap, Verdict};
use store::limits::{CHECKPOINT_PAGES, LOG_PAGES_MAX, PAGE_BYTES};
use store::{Batch, Error, Expect, OpenError, Options, Outcome, Range, Space, Store};

use crate::backends::{block_on, clock, open};

const SPACE: Space = Space::new("s");

fn threads<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap().block_on(future)
}

/// Starts one future a number, all at once, and waits for all.
async fn at_once<F: Future<Output = ()> + Send + 'static>(count: u32, start: impl Fn(u32) -> F) {
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..count {
        tasks.spawn(start(number));
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

/// Adds one to the number under `key`, against all others who do.
async fn increment(store: &Store, key: &'static str) {
    loop {
        let found = store.get(SPACE, key).await.unwrap();
        let (expect, number) = match &found {
            None => (Expect::Absent, 0),
            Some(row) => (Expect::Version(row.version), u32::from_be_bytes(row.value[..].try_into().unwrap())),
        };
        let batch = Batch::new().expect_raw(SPACE, key, expect).put_raw(SPACE, key, &(number + 1).to_be_bytes());
        if store.commit(batch).await.unwrap().is_committed() {
            return;
        }
    }
}

#[test]
fn sixty_four_who_count_together_lose_no_step() {
    let temp = tempfile::tempdir().unwrap();
    for store in [open(temp.path()), Store::memory(clock())] {
        threads(async {
            at_once(64, |number| {
                let store = store.clone();
                async move {
                    for _ in 0..8 {
                        increment(&store, ["a", "b"][number as usize % 2]).await;
                    }
                }
            })
            .await;
            for key in ["a", "b"] {
                let counted = store.get(SPACE, key).await.unwrap().unwrap();
                assert_eq!(&counted.value[..], 256_u32.to_be_bytes());
            }
        });
    }
}

#[test]
fn a_second_process_is_refused_until_the_first_lets_go() {
    let temp = tempfile::tempdir().unwrap();
    let first = open(temp.path());
    let second = Store::open(temp.path(), clock(), Options::default()).err().unwrap();
    assert!(matches!(second, OpenError::Held { pid: Some(_), .. }), "{second}");
    block_on(first.close()).unwrap();
    drop(open(temp.path()));
    drop(open(temp.path()));
}

/// Lets no checkpoint end before the log has grown behind it, for as long as commits can.
#[derive(Default)]
struct NeverDone(AtomicU32);

impl Tap for NeverDone {
    fn before(&self, op: &Op<'_>) -> Verdict {
        let is_log = op.file.to_string_lossy().ends_with("-wal");
        match op.action {
            Action::Write { .. } if is_log => drop(self.0.fetch_add(1, Ordering::SeqCst)),
            Action::Sync if !is_log => {
                let before = self.0.load(Ordering::SeqCst);
                for _ in 0..300 {
                    if self.0.load(Ordering::SeqCst) > before {
                        break;
                    }
                    std::thread::sleep(Duration::from_micros(100));
                }
            }
            _ => {}
        }
        Verdict::Proceed
    }

    fn after(&self, _op: &Op<'_>) {}
}

#[test]
fn the_log_is_copied_and_begun_anew_while_commits_go_on() {
    let temp = tempfile::tempdir().unwrap();
    let tap = Arc::new(NeverDone::default());
    let store = Store::open(temp.path(), clock(), Options { tap: Some(tap), ..Options::default() }).unwrap();
    let log = temp.path().join("store.db-wal");
    let log_bytes = || std::fs::metadata(&log).unwrap().len();
    let log_bytes_max = u64::from(LOG_PAGES_MAX + 4 * CHECKPOINT_PAGES) * u64::from(PAGE_BYTES);
    let commit_count = log_bytes_max * 5 / 4 / 60_000 / 8;
    threads(at_once(8, |producer| {
        let store = store.clone();
        async move {
            for number in 0..commit_count {
                let key = [u64::from(producer).to_be_bytes(), (number % 30).to_be_bytes()].concat();
                let value = number.to_be_bytes().repeat(60_000 / 8);
                store.commit(Batch::new().put_raw(SPACE, key, &value)).await.unwrap();
            }
        }
    }));
    assert!(log_bytes() < log_bytes_max, "{} bytes of log", log_bytes());
    block_on(store.close()).unwrap();
    assert_eq!(log_bytes(), 0, "a store that was closed leaves an empty log");
    drop(store);
    let rows = block_on(open(temp.path()).range(Range::under(SPACE, "", 1_000))).unwrap();
    assert!(rows.more && rows.rows.iter().all(|row| row.value.len() == 60_000));
}

/// Fails every operation of one kind on the log while it is told to.
#[derive(Default)]
struct Broken {
    fails_syncs: AtomicBool,
    is_full: AtomicBool,
    failed_count: AtomicU32,
}

impl Tap for Broken {
    fn before(&self, op: &Op<'_>) -> Verdict {
        let fault = match op.action {
            Action::Sync if self.fails_syncs.load(Ordering::SeqCst) => Fault::Io,
            Action::Write { .. } if self.is_full.load(Ordering::SeqCst) => Fault::Full,
            _ => return Verdict::Proceed,
        };
        self.failed_count.fetch_add(1, Ordering::SeqCst);
        Verdict::Fail(fault)
    }

    fn after(&self, _op: &Op<'_>) {}
}

fn broken(dir: &std::path::Path) -> (Store, Arc<Broken>) {
    let tap = Arc::new(Broken::default());
    (Store::open(dir, clock(), Options { tap: Some(tap.clone()), ..Options::default() }).unwrap(), tap)
}

#[test]
fn a_failed_sync_ends_the_store_and_loses_nothing_that_was_answered() {
    let temp = tempfile::tempdir().unwrap();
    let (store, tap) = broken(temp.path());
    threads(async {
        store.commit(Batch::new().put_raw(SPACE, "kept", b"v")).await.unwrap();
        tap.fails_syncs.store(true, Ordering::SeqCst);
        at_once(32, |number| {
            let store = store.clone();
            async move {
                let outcome = store.commit(Batch::new().put_raw(SPACE, number.to_be_bytes().to_vec(), b"")).await;
                assert!(matches!(outcome, Err(Error::Failed(_))), "{outcome:?}");
            }
        })
        .await;
        assert!(store.failed().await.starts_with("commit: "));
        tap.fails_syncs.store(false, Ordering::SeqCst);
        let later = store.commit(Batch::new()).await;
        assert!(matches!(later, Err(Error::Failed(_))), "a disk that recovers changes nothing: {later:?}");
        assert_eq!(tap.failed_count.load(Ordering::SeqCst), 1, "a failed sync is not tried again");
        assert!(matches!(store.close().await, Err(Error::Failed(_))));
    });
    drop(store);
    let found = block_on(open(temp.path()).get(SPACE, "kept")).unwrap();
    assert_eq!(found.map(|row| row.value), Some("v".into()));
}

#[test]
fn a_full_disk_refuses_commits_until_there_is_room() {
    let temp = tempfile::tempdir().unwrap();
    let (store, tap) = broken(temp.path());
    let put = |n: u32| Batch::new().put_raw(SPACE, n.to_be_bytes().to_vec(), b"v");
    block_on(async {
        store.commit(put(1)).await.unwrap();
        tap.is_full.store(true, Ordering::SeqCst);
        for _ in 0..3 {
            let refused = store.commit(put(2)).await;
            assert!(matches!(refused, Err(Error::Unavailable { .. })), "{refused:?}");
        }
        let rows = store.range(Range::under(SPACE, "", 9)).await.unwrap().rows;
        assert_eq!(rows.len(), 1, "reads go on, and see nothing of what was refused");
        tap.is_full.store(false, Ordering::SeqCst);
        assert!(matches!(store.commit(put(3)).await, Ok(Outcome::Committed(_))));
    });
    drop(store);
    let rows = block_on(open(temp.path()).range(Range::under(SPACE, "", 9))).unwrap().rows;
    let keys: BTreeMap<_, _> = rows.into_iter().map(|row| (row.key.to_vec(), row.version)).collect();
    assert_eq!(keys.keys().cloned().collect::<Vec<_>>(), [1_u32, 3].map(|n| n.to_be_bytes().to_vec()));
}

#[test]
fn a_damaged_page_is_no_answer_and_spares_the_others() {
    let temp = tempfile::tempdir().unwrap();
    let store = open(temp.path());
    let needle = b"a value that is easily found";
    let fill = (0..200_u32).fold(Batch::new(), |batch, number| {
        let key = number.to_be_bytes().to_vec();
        batch.put_raw(SPACE, key, &if number == 100 { needle.repeat(50) } else { vec![1; 1_400] })
    });
    block_on(store.commit(fill)).unwrap();
    block_on(store.close()).unwrap();
    drop(store);
    let path = temp.path().join("store.db");
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(needle.len()).position(|window| window == needle).unwrap();
    bytes[at] ^= 4;
    std::fs::write(&path, bytes).unwrap();

    let store = open(temp.path());
    threads(at_once(32, |number| {
        let store = store.clone();
        async move {
            let key = match number {
                13 => 100,
                number => number,
            };
            let key = u32::to_be_bytes(key).to_vec();
            let batch =
                Batch::new().expect_raw(SPACE, key.clone(), Expect::Present).put_raw(SPACE, key.clone(), b"new");
            let (outcome, found) = (store.commit(batch).await, store.get(SPACE, key).await);
            if number == 13 {
                assert!(matches!(outcome, Err(Error::Damaged(_))), "{outcome:?}");
                assert!(matches!(found, Err(Error::Damaged(_))), "{found:?}");
            } else {
                assert!(outcome.unwrap().is_committed());
                assert_eq!(found.unwrap().unwrap().value, "new");
            }
        }
    }));
}

//! Rows in memory are as current as the database: beside a writer, no read is older than a commit that was answered
//! before it began, older than a read before it, or older than a hint that a watch has given.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use store::{Batch, Change, Found, Outcome, Read, Space, Store, Versioned, Watch};

use crate::backends::open;

const SPACE: Space = Space::new("s");
const COMMITS: u32 = 300;

fn number(found: Option<Versioned>) -> u32 {
    found.map_or(0, |row| u32::from_be_bytes(row.value[..].try_into().unwrap()))
}

async fn get(store: &Store, key: &'static str) -> u32 {
    number(store.get(SPACE, key).await.unwrap())
}

/// Both keys at one snapshot, which is not answered from memory.
async fn get_both(store: &Store) -> (u32, u32) {
    let of = |key: &'static str| Read::Get { space: SPACE, key: key.into() };
    let mut found = store.read(vec![of("a"), of("b")]).await.unwrap().into_iter();
    let mut next = || number(found.next().and_then(Found::into_value));
    (next(), next())
}

async fn write(store: Store, answered: Arc<AtomicU32>) {
    for round in 1..=COMMITS {
        let value = round.to_be_bytes();
        let batch = Batch::new().put_raw(SPACE, "a", &value).put_raw(SPACE, "b", &value);
        assert!(matches!(store.commit(batch).await.unwrap(), Outcome::Committed(_)));
        answered.store(round, Ordering::SeqCst);
    }
}

async fn read(store: Store, answered: Arc<AtomicU32>) {
    let mut seen = 0;
    while seen < COMMITS {
        let least = answered.load(Ordering::SeqCst).max(seen);
        let a = get(&store, "a").await;
        let (both_a, both_b) = get_both(&store).await;
        seen = get(&store, "b").await;
        assert!(least <= a && a <= both_a && both_b <= seen, "{least}, {a}, {both_a}, {both_b}, {seen}");
        assert_eq!(both_a, both_b);
        tokio::task::yield_now().await;
    }
}

async fn follow(store: Store, mut watch: Watch) {
    let mut hints = 0;
    while hints < COMMITS {
        match watch.changed().await {
            Change::Keys(keys) => hints += u32::try_from(keys.len()).unwrap(),
            Change::Many => hints += 1,
        }
        let found = get(&store, "a").await;
        assert!(found >= hints, "{found} after {hints} hints");
        // Of many at once it is not told how many they were.
        hints = if found == COMMITS { found } else { hints };
    }
}

#[test]
fn no_read_is_behind() {
    let temp = tempfile::tempdir().unwrap();
    let store = open(temp.path());
    tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap().block_on(async {
        let answered = Arc::new(AtomicU32::new(0));
        let mut tasks = tokio::task::JoinSet::new();
        // It watches from before the first commit on, so each commit gives one hint.
        tasks.spawn(follow(store.clone(), store.watch(SPACE, "a")));
        tasks.spawn(write(store.clone(), answered.clone()));
        for _ in 0..2 {
            tasks.spawn(read(store.clone(), answered.clone()));
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
    });
}

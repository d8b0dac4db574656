//! The conformance suite: the laws that every backend obeys, through the public handle only.
//!
//! `make` gives an empty store on each call. A law that is broken panics and says which.

mod records;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use base::{Clock, ManualClock, Timestamp};
use bytes::Bytes;

use crate::limits::{
    BATCH_BYTES_MAX, KEY_BYTES_MAX, RANGE_ROWS_MAX, READ_BYTES_MAX, READS_MAX, VALUE_BYTES_MAX, WATCH_KEYS_MAX,
};
use crate::{Batch, Change, Error, Expect, Found, Outcome, Range, Read, Rows, Space, Store, Version};

const A: Space = Space::new("suite_a");
const B: Space = Space::new("suite_b");

/// Runs every law, each on a store of its own.
pub async fn suite(make: impl Fn(Arc<dyn Clock>) -> Store) -> Result<(), Error> {
    let clock = ManualClock::at(Timestamp::from_secs(1_000_000));
    let make = || make(Arc::new(clock.clone()));
    what_is_written_is_read(&make()).await?;
    versions_rise(&make()).await?;
    a_conflict_writes_nothing_and_names_its_reasons(&make()).await?;
    expectations_come_before_writes_and_later_writes_win(&make()).await?;
    one_read_sees_one_moment(&make()).await?;
    ranges_run_both_ways(&make()).await?;
    ranges_are_cut_and_go_on(&make()).await?;
    batches_become_one(&make()).await?;
    limits_hold(&make()).await?;
    watches_hint(&make()).await?;
    leases_have_one_owner(&make(), &clock).await?;
    fences_stop_former_owners(&make(), &clock).await?;
    records::laws(&make).await?;
    a_closed_store_is_unavailable(&make()).await
}

async fn what_is_written_is_read(store: &Store) -> Result<(), Error> {
    assert_eq!(store.get(A, "k").await?, None, "nothing is there before it is written");
    let long_key = vec![7; KEY_BYTES_MAX];
    let long_value = vec![9; VALUE_BYTES_MAX];
    let batch = Batch::new().put_raw(A, "k", b"v").put_raw(A, "", b"").put_raw(A, long_key.clone(), &long_value);
    let version = commit(store, batch).await?;
    let found = store.get(A, "k").await?;
    assert_eq!(found.as_ref().map(|row| (&*row.value, row.version)), Some((&b"v"[..], version)));
    assert_eq!(value(store, A, "").await?, Some(Bytes::new()), "key and value may be empty");
    assert_eq!(value(store, A, long_key).await?, Some(long_value.into()));
    assert_eq!(value(store, B, "k").await?, None, "spaces are apart");
    commit(store, Batch::new().put_raw(A, "k", b"w").delete_raw(A, "").delete_raw(B, "never there")).await?;
    assert_eq!(value(store, A, "k").await?, Some("w".into()));
    assert_eq!(value(store, A, "").await?, None);
    Ok(())
}

async fn versions_rise(store: &Store) -> Result<(), Error> {
    let mut last = Version(0);
    for round in 0..10_u8 {
        let version = commit(store, Batch::new().put_raw(A, vec![round % 3], &[round])).await?;
        assert!(version > last);
        last = version;
    }
    let empty = commit(store, Batch::new()).await?;
    assert!(empty > last, "a batch without writes is a commit too");
    Ok(())
}

async fn a_conflict_writes_nothing_and_names_its_reasons(store: &Store) -> Result<(), Error> {
    let version = commit(store, Batch::new().put_raw(A, "there", b"v")).await?;
    let conflict = Batch::new()
        .expect_raw(A, "there", Expect::Present)
        .expect_raw(A, "there", Expect::Absent)
        .expect_raw(A, "missing", Expect::Present)
        .expect_raw(A, "missing", Expect::Absent)
        .expect_raw(A, "there", Expect::Version(version))
        .expect_raw(A, "there", Expect::Version(Version(version.0 + 1)))
        .expect_raw(A, "missing", Expect::Version(version))
        .expect_raw(A, "there", Expect::Value("v".into()))
        .expect_raw(A, "there", Expect::Value("w".into()))
        .expect_raw(B, "missing", Expect::Value("".into()))
        .put_raw(A, "there", b"changed")
        .put_raw(B, "new", b"v")
        .delete_raw(A, "there");
    assert_eq!(store.commit(conflict).await?, Outcome::Conflict(vec![1, 2, 5, 6, 8, 9]));
    assert_eq!(value(store, A, "there").await?, Some("v".into()));
    assert_eq!(value(store, B, "new").await?, None);
    Ok(())
}

async fn expectations_come_before_writes_and_later_writes_win(store: &Store) -> Result<(), Error> {
    let batch = Batch::new()
        .put_raw(A, "k", b"first")
        .delete_raw(A, "k")
        .put_raw(A, "k", b"second")
        .expect_raw(A, "k", Expect::Absent)
        .put_raw(A, "gone", b"v")
        .delete_raw(A, "gone");
    commit(store, batch).await?;
    assert_eq!(value(store, A, "k").await?, Some("second".into()));
    assert_eq!(value(store, A, "gone").await?, None);
    Ok(())
}

async fn one_read_sees_one_moment(store: &Store) -> Result<(), Error> {
    const ROUNDS: u32 = 200;
    let write = async {
        for round in 0..ROUNDS {
            let round = round.to_be_bytes();
            commit(store, Batch::new().put_raw(A, "left", &round).put_raw(B, "right", &round)).await?;
        }
        Ok::<_, Error>(())
    };
    let watch = async {
        for _ in 0..ROUNDS {
            let left = Read::Get { space: A, key: "left".into() };
            let found = store.read(vec![left, Read::Range(Range::under(B, "right", 9))]).await?;
            let mut found = found.into_iter();
            let left = found.next().and_then(Found::into_value).map(|row| (row.value, row.version));
            let right = found.next().map(Found::into_rows).unwrap_or_default().rows;
            assert_eq!(left, right.into_iter().next().map(|row| (row.value, row.version)));
            tokio::task::yield_now().await;
        }
        Ok::<_, Error>(())
    };
    let (written, watched) = tokio::join!(write, watch);
    written.and(watched)
}

async fn ranges_run_both_ways(store: &Store) -> Result<(), Error> {
    let keys: Vec<&[u8]> = vec![b"", b"a", b"a\0", b"a\xff", b"a\xff\xff", b"b", b"\xff", b"\xff\xff"];
    let mut batch = Batch::new();
    for key in keys.iter().rev() {
        batch = batch.put_raw(A, key.to_vec(), key);
    }
    commit(store, batch).await?;
    let all: BTreeSet<&[u8]> = keys.iter().copied().collect();
    let bounds = keys.iter().copied().chain([&b"aa"[..], b"c"]).collect::<Vec<_>>();
    for from in &bounds {
        for to in bounds.iter().map(|to| Some(*to)).chain([None]) {
            let within = |key: &&&[u8]| **key >= *from && to.is_none_or(|to| **key < to);
            let mut expected: Vec<_> = all.iter().filter(within).map(|key| Bytes::copy_from_slice(key)).collect();
            let (from, to) = (Bytes::copy_from_slice(from), to.map(Bytes::copy_from_slice));
            let mut range = Range { space: A, from, to, limit: 99, reverse: false };
            assert_eq!(found_keys(store, &range).await?, (expected.clone(), false), "{range:?}");
            range.reverse = true;
            expected.reverse();
            assert_eq!(found_keys(store, &range).await?, (expected, false), "{range:?}");
        }
    }
    let (under, _) = found_keys(store, &Range::under(A, "a\u{ff}".as_bytes()[..1].to_vec(), 99)).await?;
    assert_eq!(under, [&b"a"[..], b"a\0", b"a\xff", b"a\xff\xff"]);
    assert_eq!(store.range(Range::under(B, "", 9)).await?, Rows::default());
    Ok(())
}

async fn ranges_are_cut_and_go_on(store: &Store) -> Result<(), Error> {
    let row_count = READ_BYTES_MAX / VALUE_BYTES_MAX + 20;
    let value = vec![1; VALUE_BYTES_MAX];
    let numbers: Vec<_> = (0..u32::try_from(row_count).unwrap_or(u32::MAX)).collect();
    for numbers in numbers.chunks(50) {
        let put = |batch: Batch, n: &u32| batch.put_raw(A, n.to_be_bytes().to_vec(), &value);
        commit(store, numbers.iter().fold(Batch::new(), put)).await?;
    }
    for (limit, reverse) in [(7, false), (RANGE_ROWS_MAX, false), (RANGE_ROWS_MAX, true), (row_count, false)] {
        let mut range = Range { space: A, from: Bytes::new(), to: None, limit, reverse };
        let mut seen = Vec::new();
        loop {
            let (keys, more) = found_keys(store, &range).await?;
            assert!(keys.len() <= limit && (!more || !keys.is_empty()), "each page goes on");
            assert!(keys.len() * VALUE_BYTES_MAX <= READ_BYTES_MAX + 2 * VALUE_BYTES_MAX, "a page is bounded in bytes");
            seen.extend(keys);
            let Some(last) = seen.last().filter(|_| more) else { break };
            match reverse {
                true => range.to = Some(last.clone()),
                false => range.from = [last, &b"\0"[..]].concat().into(),
            }
        }
        if reverse {
            seen.reverse();
        }
        assert_eq!(seen, numbers.iter().map(|n| n.to_be_bytes().to_vec()).collect::<Vec<_>>());
    }
    let none = store.range(Range::under(A, "", 0)).await?;
    assert_eq!((none.rows.len(), none.more), (0, true), "a limit of nothing says only whether there is more");
    Ok(())
}

async fn batches_become_one(store: &Store) -> Result<(), Error> {
    let (first, second) = (Batch::new().put_raw(A, "one", b"1"), Batch::new().put_raw(B, "two", b"2"));
    let fails = second.clone().expect_raw(B, "two", Expect::Present);
    assert!(!store.commit(first.clone().and(fails)).await?.is_committed());
    assert_eq!((value(store, A, "one").await?, value(store, B, "two").await?), (None, None));
    let last = Batch::new().put_raw(A, "one", b"3");
    assert!(store.commit(first.and(second).and(last)).await?.is_committed());
    assert_eq!(value(store, A, "one").await?.as_deref(), Some(b"3".as_slice()), "the later one wins");
    assert_eq!(value(store, B, "two").await?.as_deref(), Some(b"2".as_slice()));
    Ok(())
}

async fn limits_hold(store: &Store) -> Result<(), Error> {
    let long_key = vec![0; KEY_BYTES_MAX + 1];
    let long_value = vec![0; VALUE_BYTES_MAX + 1];
    let put = |batch: Batch, n: usize| batch.put_raw(A, n.to_be_bytes().to_vec(), &long_value[1..]);
    let half = || (0..BATCH_BYTES_MAX / VALUE_BYTES_MAX / 2).fold(Batch::new(), put);
    let too_large = [
        Batch::new().put_raw(A, long_key.clone(), b""),
        Batch::new().delete_raw(A, long_key.clone()),
        Batch::new().expect_raw(A, long_key.clone(), Expect::Absent),
        Batch::new().put_raw(A, "k", &long_value),
        (0..BATCH_BYTES_MAX / VALUE_BYTES_MAX).fold(Batch::new(), put),
        half().and(half()),
        Batch::new().and(Batch::new().delete_raw(A, long_key.clone())),
    ];
    for batch in too_large {
        let refused = store.commit(batch.put_raw(A, "witness", b"")).await;
        assert!(matches!(refused, Err(Error::TooLarge { .. })), "{refused:?}");
    }
    let get = Read::Get { space: A, key: "k".into() };
    assert!(matches!(store.read(vec![get.clone(); READS_MAX + 1]).await, Err(Error::TooLarge { .. })));
    assert_eq!(store.read(vec![get; READS_MAX]).await?.len(), READS_MAX);
    assert_eq!(value(store, A, long_key).await?, None, "no key is longer, so none is found");
    assert_eq!(value(store, A, "witness").await?, None);
    Ok(())
}

async fn watches_hint(store: &Store) -> Result<(), Error> {
    let mut watch = store.watch(A, "p/");
    let mut puts = store.watch(A, "p/").of_puts();
    let mut other = store.watch(B, "");
    assert_eq!(watch.try_changed(), None);
    commit(store, Batch::new().put_raw(A, "p/1", b"").put_raw(A, "q/1", b"").delete_raw(A, "p/2")).await?;
    let refused = Batch::new().expect_raw(A, "p/1", Expect::Absent).put_raw(A, "p/3", b"");
    assert!(!store.commit(refused).await?.is_committed());
    assert_eq!(watch.changed().await, Change::Keys(vec!["p/1".into(), "p/2".into()]));
    assert_eq!(watch.try_changed(), None, "a change is told once");
    assert_eq!(puts.try_changed(), Some(Change::Keys(vec!["p/1".into()])), "what goes is no news to it");
    let (change, committed) = tokio::join!(watch.changed(), commit(store, Batch::new().put_raw(A, "p/4", b"")));
    committed?;
    assert_eq!(change, Change::Keys(vec!["p/4".into()]), "a watch wakes whoever waits");
    for number in 0..=WATCH_KEYS_MAX {
        commit(store, Batch::new().put_raw(A, format!("p/{}", number % 2), b"")).await?;
    }
    assert_eq!(watch.changed().await, Change::Many, "a watch that is behind says so, and commits go on");
    assert_eq!(other.try_changed(), None);
    Ok(())
}

const TTL: Duration = Duration::from_secs(10);

async fn leases_have_one_owner(store: &Store, clock: &ManualClock) -> Result<(), Error> {
    let Some(first) = store.lease("l", "one", TTL).await? else { unreachable!("a free lease is given") };
    assert_eq!(first.expires, clock.now().plus(TTL));
    assert_eq!(store.lease("l", "two", TTL).await?, None, "it has an owner");
    assert!(store.lease("m", "two", TTL).await?.is_some(), "names are apart");
    clock.advance(TTL / 2);
    let again = store.lease("l", "one", TTL).await?;
    assert_eq!(again.as_ref().map(|lease| lease.epoch), Some(first.epoch), "an owner prolongs without a new epoch");
    clock.advance(TTL / 2);
    assert_eq!(store.lease("l", "two", TTL).await?, None, "it was prolonged");
    let renewed = store.renew(&first, TTL).await?;
    assert_eq!(renewed.map(|lease| lease.expires), Some(clock.now().plus(TTL)));
    clock.advance(TTL);
    let Some(second) = store.lease("l", "two", TTL).await? else { unreachable!("an expired lease is given") };
    assert!(second.epoch > first.epoch);
    assert_eq!(store.renew(&first, TTL).await?, None, "a former owner prolongs nothing");
    assert!(!store.release(&first).await?);
    assert!(store.release(&second).await?);
    assert!(!store.release(&second).await?);
    assert_eq!(store.renew(&second, TTL).await?, None);
    let third = store.lease("l", "two", TTL).await?;
    assert!(third.is_some_and(|third| third.epoch > second.epoch), "an epoch never comes back");
    Ok(())
}

async fn fences_stop_former_owners(store: &Store, clock: &ManualClock) -> Result<(), Error> {
    assert!(!store.commit(Batch::new().fence("l", 0)).await?.is_committed(), "a lease that never was fences all");
    let Some(first) = store.lease("l", "one", TTL).await? else { unreachable!("a free lease is given") };
    let write = |epoch| Batch::new().expect_raw(A, "k", Expect::Absent).fence("l", epoch).put_raw(A, "k", b"");
    clock.advance(TTL * 2);
    assert!(store.commit(Batch::new().fence("l", first.epoch)).await?.is_committed(), "nobody has taken it yet");
    let Some(second) = store.lease("l", "two", TTL).await? else { unreachable!("an expired lease is given") };
    assert_eq!(store.commit(write(first.epoch)).await?, Outcome::Conflict(vec![1]));
    assert_eq!(store.commit(write(second.epoch + 1)).await?, Outcome::Conflict(vec![1]));
    assert_eq!(value(store, A, "k").await?, None);
    assert!(store.commit(write(second.epoch)).await?.is_committed());
    Ok(())
}

async fn a_closed_store_is_unavailable(store: &Store) -> Result<(), Error> {
    commit(store, Batch::new().put_raw(A, "k", b"v")).await?;
    store.close().await?;
    store.close().await?;
    assert!(matches!(store.get(A, "k").await, Err(Error::Unavailable { .. })));
    assert!(matches!(store.commit(Batch::new()).await, Err(Error::Unavailable { .. })));
    Ok(())
}

/// Commits a batch that must not conflict.
async fn commit(store: &Store, batch: Batch) -> Result<Version, Error> {
    match store.commit(batch).await? {
        Outcome::Committed(version) => Ok(version),
        Outcome::Conflict(which) => unreachable!("the batch conflicts: {which:?}"),
    }
}

async fn value(store: &Store, space: Space, key: impl Into<Bytes>) -> Result<Option<Bytes>, Error> {
    Ok(store.get(space, key).await?.map(|row| row.value))
}

async fn found_keys(store: &Store, range: &Range) -> Result<(Vec<Bytes>, bool), Error> {
    let Rows { rows, more } = store.range(range.clone()).await?;
    Ok((rows.into_iter().map(|row| row.key).collect(), more))
}

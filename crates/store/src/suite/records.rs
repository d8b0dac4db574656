//! The laws of typed tables over a backend: pages, scopes, and records that go on in parts.

use base::{AccountId, Region, World};
use serde::{Deserialize, Serialize};

use super::commit;
use crate::limits::{RECORD_BYTES_MAX, VALUE_BYTES_MAX};
use crate::table::PARTS;
use crate::{Batch, Error, Page, Range, Record, Row, Scan, Scope, Store, Table};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Note(String);

impl Record for Note {
    const VERSION: u8 = 1;
}

type Key = (String, u64);

const SMALL: Table<Key, Note> = Table::new("suite_small");
const LARGE: Table<String, Note> = Table::large("suite_large");

pub(super) async fn laws(make: &impl Fn() -> Store) -> Result<(), Error> {
    rows_come_in_pages(&make()).await?;
    scopes_are_apart(&make()).await?;
    long_records_come_and_go_whole(&make()).await?;
    long_records_are_never_seen_in_between(&make()).await
}

fn scope(world: u32, region: Option<&str>) -> Scope {
    let region = region.and_then(|name| name.parse::<Region>().ok());
    Scope { world: World(world), account: AccountId::ZERO, region }
}

fn note(length: usize) -> Note {
    Note("n".repeat(length))
}

async fn rows_come_in_pages(store: &Store) -> Result<(), Error> {
    let scope = scope(0, Some("eu-central-1"));
    let names = ["a", "a\0b", "ab", "b"];
    let mut keys = Vec::new();
    let mut batch = Batch::new();
    for name in names {
        for number in [0, 1, 256, u64::MAX] {
            keys.push((name.to_owned(), number));
            batch = batch.put(&SMALL, &scope, (name, number), &note(1)).expect_absent(&SMALL, &scope, (name, number));
        }
    }
    let version = commit(store, batch).await?;
    assert_eq!(paged(store, &scope, Scan::all(3)).await?, keys);
    let backwards = paged(store, &scope, Scan::all(3).reversed()).await?;
    assert_eq!(backwards, keys.iter().rev().cloned().collect::<Vec<_>>());
    let under = paged(store, &scope, Scan::all(3).under::<String>("a")).await?;
    assert_eq!(under, keys.iter().filter(|(name, _)| name == "a").cloned().collect::<Vec<_>>());
    let starting = paged(store, &scope, Scan::all(3).starting_with("a")).await?;
    assert_eq!(starting, keys.iter().filter(|(name, _)| name.starts_with('a')).cloned().collect::<Vec<_>>());
    let row = SMALL.get(store, &scope, ("ab", 256)).await?;
    assert_eq!(row, Some(Row { key: ("ab".into(), 256), value: note(1), version }));
    let many = SMALL.get_many(store, &scope, &[("b", 0), ("c", 0), ("a", 1)]).await?;
    let many: Vec<_> = many.into_iter().map(|row| row.map(|row| row.key)).collect();
    assert_eq!(many, [Some(("b".into(), 0)), None, Some(("a".into(), 1))]);
    let changed = Batch::new().expect_version(&SMALL, &scope, ("b", 0), version).delete(&SMALL, &scope, ("b", 0));
    commit(store, changed.clone()).await?;
    assert!(!store.commit(changed).await?.is_committed());
    assert!(!store.commit(Batch::new().expect_present(&SMALL, &scope, ("b", 0))).await?.is_committed());
    let long = Batch::new().put(&SMALL, &scope, ("b", 0), &note(VALUE_BYTES_MAX));
    assert!(matches!(store.commit(long).await, Err(Error::TooLarge { .. })), "this table does not split");
    Ok(())
}

/// Every key of a scan, page by page.
async fn paged(store: &Store, scope: &Scope, scan: Scan<Key>) -> Result<Vec<Key>, Error> {
    let mut keys = Vec::new();
    let mut scan = Some(scan);
    while let Some(now) = scan.take() {
        let Page { rows, next } = SMALL.page(store, scope, now.clone()).await?;
        keys.extend(rows.into_iter().map(|row| row.key));
        scan = next.map(|(name, number)| now.after((&*name, number)));
    }
    Ok(keys)
}

async fn scopes_are_apart(store: &Store) -> Result<(), Error> {
    let scopes = [scope(0, None), scope(0, Some("eu-central-1")), scope(0, Some("eu-central-2")), scope(1, None)];
    let mut watch = SMALL.watch(store, &scopes[1]);
    let mut batch = Batch::new();
    for scope in &scopes {
        batch = batch.put(&SMALL, scope, ("x", 1), &note(1)).put(&SMALL, scope, ("x", 2), &note(2));
    }
    commit(store, batch).await?;
    for scope in &scopes {
        assert_eq!(paged(store, scope, Scan::all(9)).await?, [("x".to_owned(), 1), ("x".to_owned(), 2)]);
    }
    let crate::Change::Keys(keys) = watch.changed().await else { unreachable!("two keys are few") };
    let keys = keys.iter().map(|key| SMALL.parse_key(key)).collect::<Result<Vec<_>, _>>()?;
    assert_eq!(keys, [1, 2].map(|number| (scopes[1].clone(), ("x".to_owned(), number))));
    let mut after = None;
    let mut seen = Vec::new();
    loop {
        let page = SMALL.scan_all(store, after.as_ref(), 3).await?;
        seen.extend(page.rows.into_iter().map(|row| row.key));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let expected = scopes.iter().flat_map(|scope| [1, 2].map(|number| (scope.clone(), ("x".to_owned(), number))));
    assert_eq!(seen, expected.collect::<Vec<_>>());
    Ok(())
}

async fn long_records_come_and_go_whole(store: &Store) -> Result<(), Error> {
    let scope = scope(0, None);
    let lengths = [10, VALUE_BYTES_MAX, 3 * VALUE_BYTES_MAX, 100, RECORD_BYTES_MAX - 2, VALUE_BYTES_MAX - 4, 0];
    for length in lengths {
        let batch = Batch::new()
            .put(&LARGE, &scope, "k", &note(length))
            .put(&LARGE, &scope, "kk", &note(2 * VALUE_BYTES_MAX))
            .put(&LARGE, &scope, "small", &note(1));
        commit(store, batch).await?;
        let got = LARGE.get(store, &scope, "k").await?.map(|row| row.value);
        assert_eq!(got, Some(note(length)));
        let page = LARGE.page(store, &scope, Scan::all(9)).await?;
        let lengths: Vec<_> = page.rows.iter().map(|row| row.value.0.len()).collect();
        assert_eq!(lengths, [length, 2 * VALUE_BYTES_MAX, 1], "parts are no rows");
    }
    let many = LARGE.get_many(store, &scope, &["kk", "k"]).await?;
    assert_eq!(many.into_iter().flatten().map(|row| row.key).collect::<Vec<_>>(), ["kk", "k"]);
    let long = Batch::new().put(&LARGE, &scope, "k", &note(RECORD_BYTES_MAX));
    assert!(matches!(store.commit(long).await, Err(Error::TooLarge { .. })));
    commit(store, Batch::new().delete(&LARGE, &scope, "k").delete(&LARGE, &scope, "kk")).await?;
    let parts = store.range(Range::under(PARTS, "", 9)).await?.rows;
    assert_eq!(parts, [], "no part outlives its record");
    Ok(())
}

async fn long_records_are_never_seen_in_between(store: &Store) -> Result<(), Error> {
    const ROUND_COUNT: usize = 40;
    let scope = scope(0, None);
    let lengths = [1, 2 * VALUE_BYTES_MAX, 4 * VALUE_BYTES_MAX];
    let write = async {
        for round in 0..ROUND_COUNT {
            let note = note(lengths[round % 3]);
            let batch = if round % 5 == 4 {
                Batch::new().delete(&LARGE, &scope, "k")
            } else {
                Batch::new().put(&LARGE, &scope, "k", &note)
            };
            commit(store, batch).await?;
        }
        Ok::<_, Error>(())
    };
    let read = async {
        for _ in 0..ROUND_COUNT {
            let got = LARGE.get(store, &scope, "k").await?;
            let paged = LARGE.page(store, &scope, Scan::all(9)).await?.rows;
            for row in got.into_iter().chain(paged) {
                assert!(lengths.contains(&row.value.0.len()), "a record is one of those that were written");
            }
            tokio::task::yield_now().await;
        }
        Ok::<_, Error>(())
    };
    let (written, were_whole) = tokio::join!(write, read);
    written.and(were_whole)
}

//! Random batches and reads against a `BTreeMap` that does the same, the embedded store reopened in between.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use proptest::prelude::*;
use store::{Batch, Expect, Found, Outcome, Range, Read, Space, Store, Version};

use crate::backends::{block_on, clock, open};

const SPACES: [Space; 2] = [Space::new("left"), Space::new("right")];

type Key = (Space, Vec<u8>);
type Model = BTreeMap<Key, (Vec<u8>, Version)>;

#[derive(Debug, Clone)]
enum Step {
    Commit { expectations: Vec<(Key, Wanted)>, writes: Vec<(Key, Option<Vec<u8>>)> },
    Get(Key),
    Range { space: Space, from: Vec<u8>, to: Option<Vec<u8>>, limit: usize, reverse: bool },
    Reopen,
}

/// An expectation, in terms of what the model has; `true` where it is meant to hold.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    Existence(bool),
    Version(bool),
    Value(bool),
}

/// Few and short, so that steps meet.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(prop_oneof![Just(0), Just(1), Just(0xff)], 0..3)
}

fn key() -> impl Strategy<Value = Key> {
    (proptest::sample::select(&SPACES[..]), bytes())
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![4 => proptest::collection::vec(any::<u8>(), 0..8), 1 => (0..40_000_usize).prop_map(|n| vec![7; n])]
}

fn step() -> impl Strategy<Value = Step> {
    // Most are meant to hold: one that does not ends the whole batch.
    let wanted = prop_oneof![
        any::<bool>().prop_map(Wanted::Existence),
        proptest::bool::weighted(0.8).prop_map(Wanted::Version),
        proptest::bool::weighted(0.8).prop_map(Wanted::Value)
    ];
    let expectations = proptest::collection::vec((key(), wanted), 0..3);
    let writes = proptest::collection::vec((key(), proptest::option::weighted(0.7, value())), 0..6);
    let space = proptest::sample::select(&SPACES[..]);
    let range = (space, bytes(), proptest::option::of(bytes()), 0..6_usize, any::<bool>());
    prop_oneof![
        6 => (expectations, writes).prop_map(|(expectations, writes)| Step::Commit { expectations, writes }),
        3 => key().prop_map(Step::Get),
        3 => range.prop_map(|(space, from, to, limit, reverse)| Step::Range { space, from, to, limit, reverse }),
        1 => Just(Step::Reopen),
    ]
}

fn expectation(model: &Model, key: &Key, wanted: Wanted) -> (Expect, bool) {
    let found = model.get(key);
    match (wanted, found) {
        (Wanted::Existence(present), _) => {
            (if present { Expect::Present } else { Expect::Absent }, present == found.is_some())
        }
        (Wanted::Version(true), Some((_, version))) => (Expect::Version(*version), true),
        (Wanted::Version(_), _) => (Expect::Version(Version(u64::MAX / 2)), false),
        (Wanted::Value(true), Some((value, _))) => (Expect::Value(value.clone().into()), true),
        (Wanted::Value(_), _) => (Expect::Value("another".into()), false),
    }
}

fn commit(
    store: &Store,
    model: &mut Model,
    last: &mut Version,
    expectations: &[(Key, Wanted)],
    writes: &[(Key, Option<Vec<u8>>)],
) {
    let mut batch = Batch::new();
    let mut failed = Vec::new();
    for (index, (key, wanted)) in expectations.iter().enumerate() {
        let (expect, holds) = expectation(model, key, *wanted);
        batch = batch.expect_raw(key.0, key.1.clone(), expect);
        failed.extend((!holds).then_some(index));
    }
    for ((space, key), value) in writes {
        batch = match value {
            Some(value) => batch.put_raw(*space, key.clone(), value),
            None => batch.delete_raw(*space, key.clone()),
        };
    }
    match block_on(store.commit(batch)).unwrap() {
        Outcome::Conflict(which) => assert_eq!(which, failed),
        Outcome::Committed(version) => {
            assert!(failed.is_empty(), "{failed:?} should have failed");
            assert!(version > *last, "versions rise, over a reopening too");
            *last = version;
            for (key, value) in writes {
                match value {
                    Some(value) => model.insert(key.clone(), (value.clone(), version)),
                    None => model.remove(key),
                };
            }
        }
    }
}

fn range(model: &Model, space: Space, from: &[u8], to: Option<&[u8]>, limit: usize, reverse: bool) -> Found {
    let mut rows = store::Rows::default();
    if to.is_some_and(|to| to <= from) {
        return Found::Rows(rows);
    }
    let start = Bound::Included((space, from.to_vec()));
    let within =
        model.range((start, Bound::Unbounded)).filter(|((s, key), _)| *s == space && to.is_none_or(|to| &key[..] < to));
    let mut all: Vec<_> = within.collect();
    if reverse {
        all.reverse();
    }
    rows.more = all.len() > limit;
    for ((_, key), (value, version)) in all.into_iter().take(limit) {
        rows.rows.push(store::RawRow { key: key.clone().into(), value: value.clone().into(), version: *version });
    }
    Found::Rows(rows)
}

fn check(mut store: Store, steps: Vec<Step>, reopen: impl Fn(Store) -> Store) {
    let mut model = Model::new();
    let mut last = Version(0);
    for step in steps {
        match step {
            Step::Commit { expectations, writes } => commit(&store, &mut model, &mut last, &expectations, &writes),
            Step::Get((space, key)) => {
                let found =
                    block_on(store.get(space, key.clone())).unwrap().map(|row| (row.value.to_vec(), row.version));
                assert_eq!(found.as_ref(), model.get(&(space, key)));
            }
            Step::Range { space, from, to, limit, reverse } => {
                let expected = range(&model, space, &from, to.as_deref(), limit, reverse);
                let asked = Range { space, from: from.into(), to: to.map(Bytes::from), limit, reverse };
                assert_eq!(block_on(store.read(vec![Read::Range(asked)])).unwrap(), [expected]);
            }
            Step::Reopen => store = reopen(store),
        }
    }
    let everything = SPACES.map(|space| {
        let asked = Range { space, from: Bytes::new(), to: None, limit: 999, reverse: false };
        (block_on(store.read(vec![Read::Range(asked)])).unwrap().remove(0), range(&model, space, &[], None, 999, false))
    });
    for (found, expected) in everything {
        assert_eq!(found, expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn memory_does_as_a_map_does(steps in proptest::collection::vec(step(), 0..60)) {
        check(Store::memory(clock()), steps, |store| store);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn embedded_does_as_a_map_does(steps in proptest::collection::vec(step(), 0..60), tidy in any::<bool>()) {
        let temp = tempfile::tempdir().unwrap();
        let reopen = |store: Store| {
            if tidy {
                block_on(store.close()).unwrap();
            }
            drop(store);
            open(temp.path())
        };
        check(open(temp.path()), steps, reopen);
    }
}

//! Archives bent by chance: nothing panics, nothing is written outside, no limit is passed.

use std::fs::File;
use std::os::fd::AsFd;

use archive::Limits;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::tree::{Ground, Node, tree};
use crate::zip::{Item, deflated, directory, link, stored, zip, zip_ending};

const LIMITS: Limits = Limits { archive_bytes_max: 100_000, unzipped_bytes_max: 2_000, entries_max: 40 };

/// Inspects and unpacks; if both agree that all is well, what was unpacked keeps to the limits and to the summary.
fn exercise(bytes: &[u8]) {
    let ground = Ground::new();
    let inspected = archive::inspect(&bytes, &LIMITS);
    let unpacked = archive::unpack(&bytes, File::open(&ground.root).unwrap().as_fd(), &LIMITS);
    ground.assert_nothing_outside();
    let tree = tree(&ground.root);
    assert!(tree.len() <= 40);
    let bytes_of = |node: &Node| match node {
        Node::File { contents, .. } => contents.len() as u64,
        Node::Link { target } => target.as_os_str().len() as u64,
        Node::Directory { .. } => 0,
    };
    let unzipped_bytes: u64 = tree.values().map(bytes_of).sum();
    assert!(unzipped_bytes <= 2_000);
    match (inspected, unpacked) {
        (Ok(inspected), Ok(unpacked)) => {
            assert_eq!((inspected, inspected.unzipped_bytes), (unpacked, unzipped_bytes));
            let files = tree.values().filter(|node| matches!(node, Node::File { .. })).count();
            assert_eq!(files, inspected.file_count as usize);
        }
        (Err(_), Err(_)) => {}
        (inspected, unpacked) => panic!("inspect: {inspected:?}, unpack: {unpacked:?}"),
    }
}

fn names() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ab]{1,2}",
        "[ab]/[ab]",
        "[ab]/[ab]/[ab]/",
        "(\\.\\.|\\.|a|)/(\\.\\.|\\.|b|)(/|c)",
        "[^a]{0,5}",
        Just("a/".to_owned()),
    ]
}

fn items() -> impl Strategy<Value = Item> {
    let contents = || vec(0u8..4, 0..300);
    let item = prop_oneof![
        (names(), contents()).prop_map(|(name, contents)| stored(name, contents)),
        (names(), contents()).prop_map(|(name, contents)| deflated(name, contents)),
        (names(), contents(), any::<bool>(), any::<bool>())
            .prop_map(|(name, contents, signed, wide)| deflated(name, contents).streamed(signed, wide)),
        (names(), contents()).prop_map(|(name, contents)| deflated(name, contents).wide()),
        (names(), names()).prop_map(|(name, target)| link(&name, target)),
        names().prop_map(|name| directory(&(name + "/"))),
    ];
    (item, prop::option::weighted(0.1, any::<u16>())).prop_map(|(item, mode)| match mode {
        Some(mode) => item.mode(mode.into()),
        None => item,
    })
}

fn archives() -> impl Strategy<Value = Vec<u8>> {
    (vec(items(), 1..6), any::<bool>(), vec(any::<u8>(), 0..3)).prop_map(|(items, wide, comment)| {
        zip_ending(&items, |end| {
            if wide {
                end.widen();
            }
            end.comment = comment;
        })
    })
}

/// A change to some bytes: values that matter to a parser more often than others.
#[derive(Debug, Clone)]
enum Change {
    Set(Index, Vec<u8>),
    Cut(Index),
    Insert(Index, Vec<u8>),
    Remove(Index),
    Repeat(Index, Index),
}

fn changes() -> impl Strategy<Value = Change> {
    let values = || {
        prop_oneof![
            vec(any::<u8>(), 1..3),
            Just(vec![0xff; 4]),
            Just(vec![0; 8]),
            Just(b"PK\x01\x02".to_vec()),
            Just(b"PK\x03\x04".to_vec()),
            Just(b"PK\x05\x06".to_vec()),
            Just(b"../".to_vec()),
        ]
    };
    prop_oneof![
        6 => (any::<Index>(), values()).prop_map(|(at, value)| Change::Set(at, value)),
        1 => any::<Index>().prop_map(Change::Cut),
        1 => (any::<Index>(), values()).prop_map(|(at, value)| Change::Insert(at, value)),
        1 => any::<Index>().prop_map(Change::Remove),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Change::Repeat(from, to)),
    ]
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    let at = |index: &Index| index.index(bytes.len().max(1)).min(bytes.len());
    match change {
        Change::Set(index, value) => {
            let start = at(index);
            bytes.iter_mut().skip(start).zip(value).for_each(|(byte, value)| *byte = *value);
        }
        Change::Cut(index) => bytes.truncate(at(index)),
        Change::Insert(index, value) => {
            let start = at(index);
            bytes.splice(start..start, value.iter().copied());
        }
        Change::Remove(index) => {
            let start = at(index);
            bytes.drain(start..bytes.len().min(start + 1));
        }
        Change::Repeat(from, to) => {
            let (from, to) = (at(from).min(at(to)), at(from).max(at(to)));
            let copy = bytes[from..to].to_vec();
            bytes.splice(from..from, copy);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(bytes in vec(any::<u8>(), 0..300)) {
        exercise(&bytes);
    }

    #[test]
    fn any_bytes_between_signatures(parts in vec((0..6usize, vec(any::<u8>(), 0..50)), 0..8)) {
        let signatures = [b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"PK\x07\x08"];
        let bytes: Vec<u8> =
            parts.iter().flat_map(|(kind, rest)| [&signatures[*kind][..], rest].concat()).collect();
        exercise(&bytes);
    }

    #[test]
    fn whole_archives(bytes in archives()) {
        exercise(&bytes);
    }

    #[test]
    fn bent_archives(bytes in archives(), changes in vec(changes(), 1..4)) {
        let mut bytes = bytes;
        changes.iter().for_each(|change| apply(&mut bytes, change));
        exercise(&bytes);
    }

    /// No single change of a byte goes unseen where it matters: what is accepted unpacks to the same contents, or
    /// the byte is one that names, dates or describes.
    #[test]
    fn contents_are_right_or_refused(contents in vec(0u8..8, 1..400), at in any::<Index>(), bit in 0u8..8) {
        let original = zip(&[deflated("a", &contents)]);
        let mut bytes = original.clone();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let ground = Ground::new();
        if ground.unpack(&bytes.as_slice(), &LIMITS).is_ok() {
            let tree = tree(&ground.root);
            let files: Vec<_> = tree
                .values()
                .map(|node| match node {
                    Node::File { contents, .. } => contents,
                    other => panic!("{other:?}"),
                })
                .collect();
            prop_assert_eq!(files, [&contents]);
        }
    }
}

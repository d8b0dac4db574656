//! Archives that look odd and are good: what they unpack to.

use std::path::PathBuf;

use archive::{Limits, Summary};

use crate::tree::{Ground, Node, tree};
use crate::zip::{DEFLATE, Item, deflate, deflated, directory, extra, link, stored, zip, zip_ending};

/// When the builder's files were changed: 2003-04-05 06:07:08.
const MODIFIED_SECS: i64 = 1_049_522_828;

/// Unpacks `bytes`, having inspected them to the same result.
#[track_caller]
fn unpacked(bytes: &[u8]) -> Vec<(String, Node)> {
    let ground = Ground::new();
    let inspected = archive::inspect(&bytes, &Limits::default()).unwrap();
    assert_eq!(ground.unpack(&bytes, &Limits::default()).unwrap(), inspected);
    ground.assert_nothing_outside();
    tree(&ground.root).into_iter().collect()
}

fn file(path: &str, contents: &str) -> (String, Node) {
    let contents = contents.as_bytes().to_vec();
    (path.into(), Node::File { mode: 0o644, modified_secs: MODIFIED_SECS, contents })
}

fn folder(path: &str) -> (String, Node) {
    (path.into(), Node::Directory { mode: 0o755 })
}

#[test]
fn everything_that_an_archive_may_hold() {
    let bytes = zip(&[
        directory("src/"),
        deflated("src/main.py", "print('hello')\n".repeat(9_000)),
        stored("src/data.bin", [0, 1, 2]).mode(0o100_600),
        stored("bootstrap", "#!/bin/sh\n").mode(0o104_711),
        stored("empty", ""),
        link("latest", "src/main.py"),
        directory("none/").mode(0o041_777),
    ]);
    let inspected = archive::inspect(&bytes.as_slice(), &Limits::default()).unwrap();
    let expected = Summary {
        archive_bytes: bytes.len() as u64,
        unzipped_bytes: 135_000 + 3 + 10 + 11,
        file_count: 4,
        directory_count: 2,
        link_count: 1,
    };
    assert_eq!(inspected, expected);
    let program = Node::File { mode: 0o755, modified_secs: MODIFIED_SECS, contents: b"#!/bin/sh\n".to_vec() };
    let expected = [
        ("bootstrap".to_owned(), program),
        file("empty", ""),
        ("latest".to_owned(), Node::Link { target: "src/main.py".into() }),
        folder("none"),
        folder("src"),
        file("src/data.bin", "\0\x01\x02"),
        file("src/main.py", &"print('hello')\n".repeat(9_000)),
    ];
    assert_eq!(unpacked(&bytes), expected);
}

#[test]
fn names_are_taken_literally() {
    let names = [r"lib\util.js", "A", "a", "C:evil", "...", "-rf", "ä", "new\nline", "~"];
    let mut expected: Vec<_> = names.iter().map(|name| file(name, name)).collect();
    expected.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(unpacked(&zip(&names.map(|name| stored(name, name)))), expected);
}

#[test]
fn dots_mean_nothing_and_missing_directories_are_made() {
    let bytes = zip(&[directory("./"), stored("./b/c", "1"), directory("b/"), stored("a/./d/e", "2")]);
    let expected = [folder("a"), folder("a/d"), file("a/d/e", "2"), folder("b"), file("b/c", "1")];
    assert_eq!(unpacked(&bytes), expected);
}

#[test]
fn links_that_stay_within_or_lead_to_layers() {
    let targets = ["../../lib/x.so.1", "./y", "..", "../..", "/opt/nodejs/node_modules", "/var/task/z"];
    let items: Vec<Item> = targets.iter().enumerate().map(|(n, target)| link(&format!("a/b/{n}"), target)).collect();
    let expected = targets.iter().enumerate().map(|(n, target)| {
        let node = Node::Link { target: PathBuf::from(target) };
        (format!("a/b/{n}"), node)
    });
    let expected: Vec<_> = [folder("a"), folder("a/b")].into_iter().chain(expected).collect();
    assert_eq!(unpacked(&zip(&items)), expected);
}

#[test]
fn bytes_in_front_may_be_counted_or_not() {
    let stub = b"#!/usr/bin/env python3\n";
    let uncounted = [&stub[..], &zip(&[stored("a", "b"), deflated("c", "d")])].concat();
    assert_eq!(unpacked(&uncounted), [file("a", "b"), file("c", "d")]);
    let counted = |item: Item, offset: u32| item.central(|header| header.offset = Some(offset));
    let shift = stub.len() as u32;
    let bytes = zip_ending(&[counted(stored("a", "b"), shift)], |end| end.directory_offset += shift);
    assert_eq!(unpacked(&[&stub[..], &bytes].concat()), [file("a", "b")]);
    let wide = zip_ending(&[stored("a", "b")], |end| {
        end.widen();
    });
    assert_eq!(unpacked(&[&stub[..], &wide].concat()), [file("a", "b")]);
}

#[test]
fn wide_sizes_wide_ends_and_comments() {
    let items = [deflated("a", "b").wide(), stored("c", "d").central(|header| header.comment = b"e".repeat(60_000))];
    let bytes = zip_ending(&items, |end| {
        end.widen();
        end.comment = b"comment".repeat(9_000);
    });
    assert_eq!(unpacked(&bytes), [file("a", "b"), file("c", "d")]);
    // A wide record that repeats what fits the narrow one, which some writers add always.
    let bytes = zip_ending(&items, |end| {
        let narrow = end.clone();
        end.widen();
        *end = crate::zip::End { wide: end.wide.take(), ..narrow };
    });
    assert_eq!(unpacked(&bytes), [file("a", "b"), file("c", "d")]);
}

#[test]
fn descriptors_in_all_four_forms() {
    for (signed, wide) in [(true, false), (true, true), (false, false), (false, true)] {
        let items = [deflated("a", "contents").streamed(signed, wide), stored("b", "2").streamed(signed, wide)];
        assert_eq!(unpacked(&zip(&items)), [file("a", "contents"), file("b", "2")], "{signed} {wide}");
    }
}

#[test]
fn only_unix_has_modes() {
    for made_by in [20, 10 << 8 | 20] {
        let bytes = zip(&[stored("a", "b").mode(0o120_777).central(|header| header.made_by = made_by)]);
        assert_eq!(unpacked(&bytes), [file("a", "b")]);
    }
    let typeless = zip(&[stored("a", "b").mode(0o777).central(|header| header.made_by = 19 << 8)]);
    assert!(matches!(&unpacked(&typeless)[..], [(_, Node::File { mode: 0o755, .. })]));
}

#[test]
fn an_empty_directory_may_be_deflated() {
    let item = directory("a/").packed(|bytes| *bytes = deflate(b"")).resized();
    assert_eq!(unpacked(&zip(&[item.both(|header| header.method = DEFLATE)])), [folder("a")]);
}

#[test]
fn times_come_from_the_extended_field_or_else_from_the_old_one() {
    let exact = extra(0x5455, &[&[1][..], &1_700_000_001u32.to_le_bytes()].concat());
    let secs = |item: Item| match &unpacked(&zip(&[item]))[..] {
        [(_, Node::File { modified_secs, .. })] => *modified_secs,
        other => panic!("{other:?}"),
    };
    assert_eq!(secs(stored("a", "").central(|header| header.extra = exact)), 1_700_000_001);
    assert_eq!(secs(stored("a", "").central(|header| header.extra = extra(0x5455, &[1, 2]))), MODIFIED_SECS);
    assert_eq!(secs(stored("a", "").central(|header| header.date = 0)), 315_532_800);
    assert_eq!(secs(stored("a", "").central(|header| header.time = u16::MAX)), 315_532_800);
}

#[test]
fn a_directory_with_something_in_it_is_no_destination() {
    let ground = Ground::new();
    std::fs::write(ground.root.join("before"), "").unwrap();
    let bytes = zip(&[stored("a", "b")]);
    let refused = ground.unpack(&bytes.as_slice(), &Limits::default());
    assert!(matches!(refused, Err(archive::ArchiveError::NotEmpty)));
    assert_eq!(tree(&ground.root).len(), 1);
}

#[test]
fn exactly_as_much_as_allowed() {
    let bytes = zip(&[deflated("a", "x".repeat(1_000)), stored("b/c", "")]);
    let exact = Limits { archive_bytes_max: bytes.len() as u64, unzipped_bytes_max: 1_000, entries_max: 3 };
    let inspect = |limits: Limits| archive::inspect(&bytes.as_slice(), &limits);
    assert!(inspect(exact).is_ok());
    assert!(inspect(Limits { archive_bytes_max: exact.archive_bytes_max - 1, ..exact }).is_err());
    assert!(inspect(Limits { unzipped_bytes_max: 999, ..exact }).is_err());
    assert!(inspect(Limits { entries_max: 2, ..exact }).is_err());
}

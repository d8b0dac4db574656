//! Archives that must be refused, each for its own reason.

use archive::{ArchiveError, EntryFlaw, Limits, StructureFlaw};

use crate::tree::{Ground, Node, tree};
use crate::zip::{
    DEFLATE, DESCRIPTOR, End, Header, Item, WideEnd, ZIP64, deflate, deflated, directory, extra, link, stored, zip,
    zip_ending,
};

/// The part of an error that a test expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    Entry(EntryFlaw),
    Structure(StructureFlaw),
    ArchiveTooLarge,
    UnzippedTooLarge,
    TooMany,
    Empty,
}

use Refusal::{ArchiveTooLarge, Empty, Entry, Structure, TooMany, UnzippedTooLarge};

impl From<ArchiveError> for Refusal {
    fn from(error: ArchiveError) -> Self {
        match error {
            ArchiveError::Entry { flaw, .. } => Entry(flaw),
            ArchiveError::Malformed(flaw) => Structure(flaw),
            ArchiveError::ArchiveTooLarge { .. } => ArchiveTooLarge,
            ArchiveError::UnzippedTooLarge { .. } => UnzippedTooLarge,
            ArchiveError::TooManyEntries { .. } => TooMany,
            ArchiveError::Empty => Empty,
            other => panic!("{other:?}"),
        }
    }
}

fn limits() -> Limits {
    Limits { archive_bytes_max: 1 << 20, unzipped_bytes_max: 1 << 20, entries_max: 1_000 }
}

/// Inspecting and unpacking refuse each archive for the reason given, and nothing appears outside of the directory.
#[track_caller]
fn check(cases: impl IntoIterator<Item = (&'static str, Vec<u8>, Refusal)>) {
    for (what, bytes, expected) in cases {
        let source = bytes.as_slice();
        let inspected = archive::inspect(&source, &limits());
        assert_eq!(inspected.map_err(Refusal::from), Err(expected), "inspecting {what}");
        let ground = Ground::new();
        let unpacked = ground.unpack(&source, &limits());
        assert_eq!(unpacked.map_err(Refusal::from), Err(expected), "unpacking {what}");
        ground.assert_nothing_outside();
        for (path, node) in tree(&ground.root) {
            assert!(!matches!(node, Node::Link { .. }), "{what} left a link at {path}");
        }
    }
}

fn hello() -> Item {
    deflated("index.js", "exports.handler = async () => 'hello';\n".repeat(20))
}

fn named(name: impl AsRef<[u8]>) -> Vec<u8> {
    zip(&[stored("first", "1"), deflated(name, "contents")])
}

/// A raw deflate stream for `packed`, both headers saying that it unpacks to `unpacked` bytes.
fn raw(name: &str, packed: Vec<u8>, unpacked: u32) -> Item {
    stored(name, "").packed(|bytes| *bytes = packed).resized().both(|header| {
        header.method = DEFLATE;
        header.unpacked = unpacked;
    })
}

#[test]
fn names_that_lead_astray() {
    let long = format!("{}/", "n".repeat(200)).repeat(21);
    check([
        ("a parent directory", named("../evil"), Entry(EntryFlaw::NameParent)),
        ("a parent further down", named("a/b/../../../evil"), Entry(EntryFlaw::NameParent)),
        ("a parent that stays within", named("a/../b"), Entry(EntryFlaw::NameParent)),
        ("a parent at the end", named("a/.."), Entry(EntryFlaw::NameParent)),
        ("a directory that is the parent", zip(&[directory("../")]), Entry(EntryFlaw::NameParent)),
        ("an absolute name", named("/etc/cron.d/evil"), Entry(EntryFlaw::NameAbsolute)),
        ("two slashes in front", named("//etc/evil"), Entry(EntryFlaw::NameAbsolute)),
        ("a NUL", named("index.js\0.txt"), Entry(EntryFlaw::NameNul)),
        ("an empty name", named(""), Entry(EntryFlaw::NameEmpty)),
        ("a name that is a dot", named("."), Entry(EntryFlaw::NameEmpty)),
        ("an empty component", named("a//b"), Entry(EntryFlaw::NameEmptyComponent)),
        ("a name in a code page", named(b"caf\x82.js"), Entry(EntryFlaw::NameEncoding)),
        ("an overlong encoding of a slash", named(b"..\xc0\xafevil"), Entry(EntryFlaw::NameEncoding)),
        ("a long name", named(long), Entry(EntryFlaw::NameTooLong)),
        ("the longest name there can be", named("n".repeat(65_535)), Entry(EntryFlaw::NameTooLong)),
        ("a long component", named("n".repeat(256)), Entry(EntryFlaw::ComponentTooLong)),
        ("a deep name", named("d/".repeat(200) + "f"), Entry(EntryFlaw::TooDeep)),
    ]);
}

#[test]
fn names_that_collide() {
    let pair = |one: Item, two: Item| zip(&[stored("first", "1"), one, two]);
    let file = |name: &str| stored(name, "contents");
    check([
        ("one name twice", pair(file("a"), file("a")), Entry(EntryFlaw::Duplicate)),
        ("one name twice, spelt differently", pair(file("a/b"), file("a/./b")), Entry(EntryFlaw::Duplicate)),
        ("one directory twice", pair(directory("a/"), directory("a/")), Entry(EntryFlaw::Duplicate)),
        ("a file over a link", pair(link("a", "first"), file("a")), Entry(EntryFlaw::Duplicate)),
        ("a link over a file", pair(file("a"), link("a", "first")), Entry(EntryFlaw::Duplicate)),
        ("a directory over a file", pair(file("a"), directory("a/")), Entry(EntryFlaw::DirectoryConflict)),
        ("a file over a directory", pair(directory("a/"), file("a")), Entry(EntryFlaw::DirectoryConflict)),
        ("a file over an implied directory", pair(file("a/b"), file("a")), Entry(EntryFlaw::DirectoryConflict)),
        ("a link over a directory", pair(file("a/b"), link("a", "first")), Entry(EntryFlaw::DirectoryConflict)),
        ("a file below a file", pair(file("a"), file("a/b")), Entry(EntryFlaw::BelowFile)),
        ("a file below a link", pair(link("a", "."), file("a/b")), Entry(EntryFlaw::BelowFile)),
        ("a directory far below a link", pair(link("a", "."), directory("a/b/c/")), Entry(EntryFlaw::BelowFile)),
        ("a link below a link", pair(link("a", "."), link("a/b", "c")), Entry(EntryFlaw::BelowFile)),
    ]);
}

#[test]
fn links_that_lead_out() {
    let to = |target: &str| zip(&[stored("first", "1"), link("a/b", target)]);
    check([
        ("a link past the root", to("../../etc/passwd"), Entry(EntryFlaw::LinkEscapes)),
        ("a link through a child", to("c/../../.."), Entry(EntryFlaw::LinkEscapes)),
        ("a link that could climb through another", to("up/../x"), Entry(EntryFlaw::LinkEscapes)),
        ("an absolute link", to("/etc/passwd"), Entry(EntryFlaw::LinkEscapes)),
        ("a link to the root", to("/"), Entry(EntryFlaw::LinkEscapes)),
        ("a link that begins like a layer", to("/optional/x"), Entry(EntryFlaw::LinkEscapes)),
        ("a link out of the layers", to("/opt/../etc/passwd"), Entry(EntryFlaw::LinkEscapes)),
        ("a link to nothing", to(""), Entry(EntryFlaw::LinkLength)),
        ("a long link", to(&"t".repeat(4_096)), Entry(EntryFlaw::LinkLength)),
        ("a NUL in a link", to("ok\0/../../etc"), Entry(EntryFlaw::LinkEncoding)),
        ("a link of no text", zip(&[link("a", b"\xff\xfe")]), Entry(EntryFlaw::LinkEncoding)),
        ("a bomb in a link", zip(&[deflated("a", vec![b'/'; 100_000]).mode(0o120_777)]), Entry(EntryFlaw::LinkLength)),
    ]);
}

#[test]
fn things_that_are_no_files() {
    let mode = |mode: u32| zip(&[hello().mode(mode)]);
    check([
        ("a FIFO", mode(0o010_644), Entry(EntryFlaw::SpecialFile)),
        ("a character device", mode(0o020_666), Entry(EntryFlaw::SpecialFile)),
        ("a block device", mode(0o060_666), Entry(EntryFlaw::SpecialFile)),
        ("a socket", mode(0o140_755), Entry(EntryFlaw::SpecialFile)),
        ("a type that does not exist", mode(0o170_644), Entry(EntryFlaw::SpecialFile)),
        (
            "a device from a Mac",
            zip(&[hello().mode(0o060_666).central(|header| header.made_by = 19 << 8)]),
            Entry(EntryFlaw::SpecialFile),
        ),
        ("a directory by attribute only", mode(0o040_755), Entry(EntryFlaw::KindMismatch)),
        ("a directory by name only", zip(&[directory("a/").mode(0o100_644)]), Entry(EntryFlaw::KindMismatch)),
        ("a link by the name of a directory", zip(&[link("a/", "b")]), Entry(EntryFlaw::KindMismatch)),
        (
            "a directory with contents",
            zip(&[stored("a/", "contents").mode(0o040_755)]),
            Entry(EntryFlaw::DirectoryWithContents),
        ),
    ]);
}

#[test]
fn headers_that_ask_for_what_there_is_not() {
    let both = |change: fn(&mut Header)| zip(&[hello().both(change)]);
    check([
        ("encryption", both(|header| header.flags |= 1), Entry(EntryFlaw::Encrypted)),
        ("strong encryption", both(|header| header.flags |= 1 << 6), Entry(EntryFlaw::Encrypted)),
        ("masked headers", both(|header| header.flags |= 1 << 13), Entry(EntryFlaw::Encrypted)),
        ("a patch", both(|header| header.flags |= 1 << 5), Entry(EntryFlaw::Patch)),
        ("deflate64", both(|header| header.method = 9), Entry(EntryFlaw::Method(9))),
        ("bzip2", both(|header| header.method = 12), Entry(EntryFlaw::Method(12))),
        ("zstd", both(|header| header.method = 93), Entry(EntryFlaw::Method(93))),
        ("AES", both(|header| header.method = 99), Entry(EntryFlaw::Method(99))),
        ("another disk", both(|header| header.disk = 1), Entry(EntryFlaw::MultiDisk)),
        ("a cut extra field", both(|header| header.extra = vec![9, 9, 8, 0, 1]), Entry(EntryFlaw::ExtraField)),
        (
            "two zip64 fields",
            zip(&[hello().wide().both(|header| header.extra = header.extra.repeat(2))]),
            Entry(EntryFlaw::ExtraField),
        ),
        ("no zip64 field", both(|header| header.unpacked = u32::MAX), Entry(EntryFlaw::Zip64Sizes)),
        ("a zip64 field too many", both(|header| header.extra = extra(ZIP64, &[0; 8])), Entry(EntryFlaw::Zip64Sizes)),
        (
            "a zip64 field cut short",
            zip(&[hello().wide().central(|header| header.extra = extra(ZIP64, &[0; 12]))]),
            Entry(EntryFlaw::Zip64Sizes),
        ),
        (
            "a stored size that differs",
            zip(&[stored("a", "12").both(|h| h.unpacked = 1)]),
            Entry(EntryFlaw::StoredSizes),
        ),
    ]);
}

#[test]
fn local_headers_that_tell_another_story() {
    let local = |change: fn(&mut Header)| zip(&[hello().local(change)]);
    check([
        ("no local header", local(|header| header.signature = *b"PK\x03\x05"), Entry(EntryFlaw::LocalHeader)),
        ("another name", local(|header| header.name = b"index.sh".to_vec()), Entry(EntryFlaw::LocalName)),
        ("a longer name", local(|header| header.name = b"index.jsx".to_vec()), Entry(EntryFlaw::LocalName)),
        ("another method", local(|header| header.method = 0), Entry(EntryFlaw::LocalMethod)),
        ("an unknown method", local(|header| header.method = 77), Entry(EntryFlaw::LocalMethod)),
        ("encryption in one header", local(|header| header.flags |= 1), Entry(EntryFlaw::LocalFlags)),
        ("a descriptor in one header", local(|header| header.flags |= DESCRIPTOR), Entry(EntryFlaw::LocalFlags)),
        ("UTF-8 in one header", local(|header| header.flags |= 1 << 11), Entry(EntryFlaw::LocalFlags)),
        ("another checksum", local(|header| header.checksum ^= 1), Entry(EntryFlaw::LocalChecksum)),
        ("another packed size", local(|header| header.packed -= 1), Entry(EntryFlaw::LocalSizes)),
        ("another unpacked size", local(|header| header.unpacked += 1), Entry(EntryFlaw::LocalSizes)),
        ("sizes of zero without descriptor", local(|header| header.packed = 0), Entry(EntryFlaw::LocalSizes)),
        (
            "other sizes in a zip64 field",
            local(|header| header.extra = extra(ZIP64, &[7; 16])),
            Entry(EntryFlaw::LocalSizes),
        ),
        (
            "other sizes in a zip64 field that counts",
            zip(&[hello().wide().local(|header| header.extra = extra(ZIP64, &[7; 16]))]),
            Entry(EntryFlaw::LocalSizes),
        ),
        (
            "no zip64 field in the local header",
            zip(&[hello().wide().local(|header| header.extra.clear())]),
            Entry(EntryFlaw::Zip64Sizes),
        ),
        ("a cut local extra field", local(|header| header.extra = vec![1, 0, 16, 0, 1]), Entry(EntryFlaw::ExtraField)),
    ]);
}

#[test]
fn descriptors_that_are_missing_or_lie() {
    let streamed = || hello().streamed(true, false);
    let descriptor = |change: fn(&mut Vec<u8>)| {
        let mut item = streamed();
        change(&mut item.descriptor);
        zip(&[item, stored("next", "contents")])
    };
    check([
        ("no descriptor", descriptor(Vec::clear), Entry(EntryFlaw::Descriptor)),
        ("a cut descriptor", descriptor(|bytes| bytes.truncate(10)), Entry(EntryFlaw::Descriptor)),
        ("a descriptor with another checksum", descriptor(|bytes| bytes[4] ^= 1), Entry(EntryFlaw::Descriptor)),
        ("a descriptor with another size", descriptor(|bytes| bytes[12] ^= 1), Entry(EntryFlaw::Descriptor)),
        (
            "a local checksum that is neither zero nor right",
            zip(&[streamed().local(|header| header.checksum = 1)]),
            Entry(EntryFlaw::LocalChecksum),
        ),
        (
            "a local size that is neither zero nor right",
            zip(&[streamed().local(|header| header.packed = 1)]),
            Entry(EntryFlaw::LocalSizes),
        ),
    ]);
}

#[test]
fn places_that_overlap_or_lie_outside() {
    let far = |offset: u32| zip(&[hello().central(|header| header.offset = Some(offset))]);
    let (outer, inner) = quoting();
    let mut cut = zip(&[hello()]);
    cut[28..30].copy_from_slice(&u16::MAX.to_le_bytes());
    check([
        ("an offset behind the archive", far(1 << 30), Entry(EntryFlaw::Bounds)),
        ("an offset of all ones", far(u32::MAX), Entry(EntryFlaw::Zip64Sizes)),
        ("an offset at the directory", far(38 + hello().packed.len() as u32), Entry(EntryFlaw::Bounds)),
        ("an offset beside the header", far(1), Entry(EntryFlaw::LocalHeader)),
        ("data into the directory", zip(&[hello().packed(|bytes| bytes.truncate(10))]), Entry(EntryFlaw::Bounds)),
        ("an extra field into the directory", cut, Entry(EntryFlaw::Bounds)),
        ("one place for two names", zip(&[stored("a", ""), stored("b", "").ghost(0)]), Entry(EntryFlaw::LocalName)),
        ("an entry within another", zip(&[outer.clone(), inner.clone()]), Structure(StructureFlaw::Overlap)),
        (
            "an entry within another, and room that would fit it",
            zip(&[outer, inner, padding()]),
            Structure(StructureFlaw::Overlap),
        ),
    ]);
}

/// A stored entry whose contents are another entry, and that other.
fn quoting() -> (Item, Item) {
    let record = zip(&[stored("inner", "contents")]);
    let outer = stored("outer", &record[..30 + 5 + 8]);
    (outer, stored("inner", "contents").ghost(30 + 5))
}

fn padding() -> Item {
    stored("padding", vec![b'p'; 1_000])
}

#[test]
fn contents_that_are_not_what_they_say() {
    let says = |item: Item, change: fn(&mut Header)| zip(&[item.both(change)]);
    let zeros = || deflated("zeros", vec![0; 500_000]);
    check([
        ("a wrong checksum", says(hello(), |header| header.checksum ^= 1), Entry(EntryFlaw::Checksum)),
        ("a wrong checksum, stored", says(stored("a", "b"), |header| header.checksum = 0), Entry(EntryFlaw::Checksum)),
        (
            "a wrong checksum of a directory",
            says(directory("a/"), |header| header.checksum = 1),
            Entry(EntryFlaw::Checksum),
        ),
        ("one byte more than said", says(hello(), |header| header.unpacked -= 1), Entry(EntryFlaw::Size)),
        ("one byte less than said", says(hello(), |header| header.unpacked += 1), Entry(EntryFlaw::Size)),
        ("a bomb that says 10 bytes", says(zeros(), |header| header.unpacked = 10), Entry(EntryFlaw::Size)),
        ("a bomb that says nothing", says(zeros(), |header| header.unpacked = 0), Entry(EntryFlaw::Size)),
        ("a bomb in a directory", zip(&[raw("a/", deflate(&[0; 500_000]), 0).mode(0o040_755)]), Entry(EntryFlaw::Size)),
        ("a cut stream", zip(&[hello().packed(|p| p.truncate(p.len() - 3)).resized()]), Entry(EntryFlaw::Truncated)),
        ("an empty stream", zip(&[raw("a", Vec::new(), 0)]), Entry(EntryFlaw::Truncated)),
        ("bytes behind the stream", zip(&[hello().packed(|p| p.push(0)).resized()]), Entry(EntryFlaw::TrailingData)),
        (
            "a second stream behind the first",
            zip(&[hello().packed(|p| p.extend_from_slice(&deflate(b"evil"))).resized()]),
            Entry(EntryFlaw::TrailingData),
        ),
        (
            "many bytes behind the stream",
            zip(&[hello().packed(|p| p.resize(200_000, 7)).resized()]),
            Entry(EntryFlaw::TrailingData),
        ),
        ("no deflate stream", zip(&[raw("a", vec![0xff; 10], 5)]), Entry(EntryFlaw::Deflate)),
        ("a distance before the start", zip(&[raw("a", vec![3, 2, 0], 3)]), Entry(EntryFlaw::Deflate)),
    ]);
}

#[test]
fn ends_that_are_missing_or_double() {
    let ending = |change: fn(&mut End)| zip_ending(&[hello(), stored("a", "b")], change);
    let after = |bytes: &[u8]| [&zip(&[hello()]), bytes].concat();
    check([
        ("nothing", Vec::new(), Structure(StructureFlaw::NoEnd)),
        ("text", b"exports.handler = 1".repeat(9_999).to_vec(), Structure(StructureFlaw::NoEnd)),
        ("a cut archive", zip(&[hello()])[..100].to_vec(), Structure(StructureFlaw::NoEnd)),
        ("a cut end", after(b"").split_last().unwrap().1.to_vec(), Structure(StructureFlaw::NoEnd)),
        ("an archive without entries", zip(&[]), Empty),
        ("a byte behind the end", after(b"\n"), Structure(StructureFlaw::NoEnd)),
        ("much behind the end", after(&[0; 70_000]), Structure(StructureFlaw::NoEnd)),
        ("a comment cut short", ending(|end| end.comment_bytes = Some(1)), Structure(StructureFlaw::NoEnd)),
        ("a comment too long", ending(|end| end.comment = vec![b'c'; 70_000]), Structure(StructureFlaw::NoEnd)),
        ("an end within the comment", ending(|end| end.comment = zip(&[])), Structure(StructureFlaw::AmbiguousEnd)),
        (
            "the signature of an end within the comment",
            ending(|end| end.comment = b"see PK\x05\x06 there".to_vec()),
            Structure(StructureFlaw::AmbiguousEnd),
        ),
        ("this disk", ending(|end| end.disk = 1), Structure(StructureFlaw::MultiDisk)),
        ("the directory's disk", ending(|end| end.directory_disk = 1), Structure(StructureFlaw::MultiDisk)),
        ("entries elsewhere", ending(|end| end.disk_entries = 1), Structure(StructureFlaw::MultiDisk)),
    ]);
}

#[test]
fn directories_that_are_not_where_or_what_they_should_be() {
    let ending = |change: fn(&mut End)| zip_ending(&[hello(), stored("a", "b")], change);
    let entries = |end: &mut End, count| (end.entries, end.disk_entries) = (count, count);
    check([
        (
            "an entry too few",
            zip_ending(&[hello(), stored("a", "b")], |end| entries(end, 1)),
            Structure(StructureFlaw::DirectoryEntries),
        ),
        (
            "an entry too many",
            zip_ending(&[hello(), stored("a", "b")], |end| entries(end, 3)),
            Structure(StructureFlaw::DirectoryEntries),
        ),
        (
            "no entries but a directory",
            zip_ending(&[hello()], |end| entries(end, 0)),
            Structure(StructureFlaw::DirectoryEntries),
        ),
        ("a directory too long", ending(|end| end.directory_bytes += 1), Structure(StructureFlaw::DirectoryBounds)),
        (
            "a directory longer than all",
            ending(|end| end.directory_bytes = 1 << 30),
            Structure(StructureFlaw::DirectoryBounds),
        ),
        ("a directory too short", ending(|end| end.directory_bytes -= 1), Entry(EntryFlaw::CentralHeader)),
        (
            "a directory behind itself",
            ending(|end| end.directory_offset += 1),
            Structure(StructureFlaw::DirectoryBounds),
        ),
        ("a directory before itself", ending(|end| end.directory_offset -= 1), Entry(EntryFlaw::LocalHeader)),
        (
            "all ones without a zip64 end",
            ending(|end| end.directory_offset = u32::MAX),
            Structure(StructureFlaw::DirectoryBounds),
        ),
        (
            "another central signature",
            zip(&[hello().central(|header| header.signature = *b"PK\x01\x03")]),
            Entry(EntryFlaw::CentralHeader),
        ),
        (
            "a local header for a central one",
            zip(&[hello().central(|header| header.signature = *b"PK\x03\x04")]),
            Entry(EntryFlaw::CentralHeader),
        ),
    ]);
}

#[test]
fn wide_ends_that_lie() {
    let wide = |change: fn(&mut WideEnd)| zip_ending(&[hello()], |end| change(end.widen()));
    check([
        ("another form", wide(|wide| wide.stated_bytes = 45), Structure(StructureFlaw::Zip64End)),
        ("an endless form", wide(|wide| wide.stated_bytes = u64::MAX), Structure(StructureFlaw::Zip64End)),
        ("another place", wide(|wide| wide.located -= 1), Structure(StructureFlaw::Zip64End)),
        ("a place past everything", wide(|wide| wide.located = u64::MAX), Structure(StructureFlaw::Zip64End)),
        ("something in between", wide(|wide| wide.gap = vec![0; 9]), Structure(StructureFlaw::Zip64End)),
        ("two disks", wide(|wide| wide.disks = 2), Structure(StructureFlaw::MultiDisk)),
        ("another disk", wide(|wide| wide.disk = 1), Structure(StructureFlaw::Zip64Disagrees)),
        ("entries elsewhere", wide(|wide| wide.disk_entries = 0), Structure(StructureFlaw::MultiDisk)),
        (
            "a directory past everything",
            wide(|wide| wide.directory_offset = 1 << 60),
            Structure(StructureFlaw::DirectoryBounds),
        ),
        (
            "a directory of all bytes",
            wide(|wide| wide.directory_bytes = u64::MAX),
            Structure(StructureFlaw::DirectoryBounds),
        ),
        (
            "a million entries that are not there",
            wide(|wide| (wide.entries, wide.disk_entries) = (1_000_000, 1_000_000)),
            TooMany,
        ),
        (
            "all the entries there can be",
            wide(|wide| (wide.entries, wide.disk_entries) = (u64::MAX, u64::MAX)),
            TooMany,
        ),
        (
            "another count than the narrow end",
            zip_ending(&[hello()], |end| {
                end.widen();
                end.entries = 2;
            }),
            Structure(StructureFlaw::Zip64Disagrees),
        ),
        (
            "a locator and nothing else",
            zip_ending(&[hello().central(|header| header.comment = [b"PK\x06\x07", &[0; 16][..]].concat())], |_| {}),
            Structure(StructureFlaw::Zip64End),
        ),
    ]);
}

#[test]
fn archives_that_are_too_much() {
    let numbered = |count: u32, name: fn(u32) -> String| -> Vec<u8> {
        zip(&(0..count).map(|n| stored(name(n), "")).collect::<Vec<_>>())
    };
    let vast = |size: u64| {
        hello().wide().both(|header| header.extra = extra(ZIP64, &[size.to_le_bytes(), 9u64.to_le_bytes()].concat()))
    };
    let halves = |index: u8| deflated([index], vec![0; 600_000]);
    check([
        ("a large archive", vec![0; (1 << 20) + 1], ArchiveTooLarge),
        ("a bomb", zip(&[deflated("zeros", vec![0; (1 << 20) + 1])]), UnzippedTooLarge),
        ("two halves of a bomb", zip(&[halves(b'a'), halves(b'b')]), UnzippedTooLarge),
        ("a size of 64 bits", zip(&[vast(1 << 40)]), UnzippedTooLarge),
        ("a size of all ones", zip(&[stored("a", "b"), vast(u64::MAX)]), UnzippedTooLarge),
        ("an entry too many", numbered(1_001, |n| n.to_string()), TooMany),
        ("a directory too many", numbered(500, |n| format!("{n}/d/f")), TooMany),
    ]);
}

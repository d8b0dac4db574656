//! The zip reader on any bytes: no panic, no hang, and what it accepts unpacks to what it said, below the destination
//! and within the limits. Start from the seeds: `cargo +nightly fuzz run archive_reader corpus seeds/archive_reader`.

#![no_main]

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;

use archive::Limits;
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits { archive_bytes_max: 1 << 20, unzipped_bytes_max: 1 << 16, entries_max: 64 };

fuzz_target!(|bytes: &[u8]| {
    let Ok(summary) = archive::inspect(&bytes, &LIMITS) else { return };
    let outer = tempfile::tempdir().expect("a temporary directory");
    let root = outer.path().join("root");
    fs::create_dir(&root).expect("an empty directory");
    let directory = File::open(&root).expect("the directory that was just made");
    let unpacked = archive::unpack(&bytes, directory.as_fd(), &LIMITS).expect("what was accepted unpacks");
    assert_eq!(unpacked, summary);
    let (nodes, unzipped_bytes) = measure(&root);
    assert!(nodes <= 64 && unzipped_bytes == summary.unzipped_bytes && unzipped_bytes <= 1 << 16);
    assert_eq!(fs::read_dir(outer.path()).expect("the outer directory").count(), 1);
});

/// How many things lie below `directory`, and the bytes of their contents. Follows no link.
fn measure(directory: &Path) -> (u64, u64) {
    let (mut nodes, mut bytes) = (0, 0);
    for entry in fs::read_dir(directory).expect("a directory") {
        let entry = entry.expect("an entry");
        let metadata = entry.metadata().expect("metadata of what was just listed");
        let below = if metadata.is_dir() { measure(&entry.path()) } else { (0, metadata.len()) };
        (nodes, bytes) = (nodes + 1 + below.0, bytes + below.1);
    }
    (nodes, bytes)
}

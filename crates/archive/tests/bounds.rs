//! Memory stays small whatever the archive: measured as the peak of this process, so these run alone, in one test.

use std::fs::{self, File};
use std::io::Write;

use archive::limits::ENTRIES_MAX;
use archive::{ArchiveError, EntryFlaw, Limits};

#[cfg(test)]
#[path = "it/zip.rs"]
#[expect(dead_code, reason = "shared with the other test binary, which uses all of it")]
mod zip;

/// What reading one archive may add to the process, above what is there before.
const PEAK_BYTES_MAX: u64 = 24 << 20;

/// Runs `read` and tells by how many bytes the process grew meanwhile, at most.
#[cfg(test)]
fn peak_growth_bytes(read: impl FnOnce()) -> u64 {
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = status_bytes("VmRSS:");
    read();
    status_bytes("VmHWM:").saturating_sub(before)
}

#[cfg(test)]
fn status_bytes(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[test]
fn memory_is_bounded_for_the_most_entries_and_the_largest_contents() {
    let items: Vec<_> = (0..ENTRIES_MAX).map(|n| zip::stored(format!("{n:x}"), "")).collect();
    let most = spooled(&zip::zip_ending(&items, |end| {
        let wide = end.widen();
        (wide.entries, wide.disk_entries) = (ENTRIES_MAX.into(), ENTRIES_MAX.into());
    }));
    drop(items);
    let lying = zip::deflated("zeros", vec![0; 32 << 20]).both(|header| header.checksum ^= 1);
    let bomb = spooled(&zip::zip(&[lying]));
    let archives_bytes = [&most, &bomb].map(|file| file.metadata().unwrap().len());
    assert!(archives_bytes[0] > 8 << 20 && archives_bytes[1] < 1 << 20, "{archives_bytes:?}");

    let limits = Limits::default();
    let grown = peak_growth_bytes(|| {
        assert_eq!(archive::inspect(&most, &limits).unwrap().file_count, ENTRIES_MAX);
        let refused = archive::inspect(&bomb, &limits);
        assert!(matches!(refused, Err(ArchiveError::Entry { flaw: EntryFlaw::Checksum, .. })));
    });
    assert!(grown <= PEAK_BYTES_MAX, "reading added {grown} bytes");
}

#[cfg(test)]
fn spooled(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

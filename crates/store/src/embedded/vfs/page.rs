//! The checksum that every page of the database file carries, in bytes which SQLite leaves free at its end.
//!
//! It covers the content and the page's number, so that a page which was written or read at another page's place does
//! not pass either. What no checksum shows is a write that the disk reported and never made: the old page is sound.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The one page size. Large pages suit sequential keys; a fixed size lets every access be checked without asking.
pub(crate) const PAGE_BYTES: usize = crate::limits::PAGE_BYTES as usize;
/// What SQLite is told to leave free at the end of each page.
pub(crate) const RESERVED_BYTES: u8 = 8;

/// What the first page begins with, and SQLite reads on its own.
pub(super) const HEADER_BYTES: usize = 100;

const CONTENT_BYTES: usize = PAGE_BYTES - RESERVED_BYTES as usize;

pub(super) type Page = [u8; PAGE_BYTES];

/// Writes the checksum of page `number` into its reserved bytes.
pub(super) fn seal(page: &mut Page, number: u64) {
    if let Some((content, reserved)) = page.split_first_chunk_mut::<CONTENT_BYTES>() {
        reserved.copy_from_slice(&xxh3_64_with_seed(content, number).to_be_bytes());
    }
}

/// Whether these are the bytes that were sealed as page `number`, or a page that was never written.
///
/// The file may hold pages of zeros where a page was allocated and freed before it was ever written; only a backup
/// reads those. As part of a tree a page of zeros is malformed, and in a value the value's own checksum differs.
pub(super) fn is_sound(page: &Page, number: u64) -> bool {
    let Some((content, reserved)) = page.split_first_chunk::<CONTENT_BYTES>() else { return false };
    reserved == xxh3_64_with_seed(content, number).to_be_bytes() || page.iter().all(|byte| *byte == 0)
}

/// Whether this first page tells SQLite to leave the checksum's place free: sealing pages of any other database would
/// overwrite what is stored there.
pub(super) fn leaves_room(first: &Page) -> bool {
    const SIZE: [u8; 2] = (PAGE_BYTES as u16).to_be_bytes();
    first.get(16..18) == Some(&SIZE) && first.get(20) == Some(&RESERVED_BYTES)
}

/// The number of the page that begins at `offset`, if one does.
pub(super) fn number_at(offset: u64) -> Option<u64> {
    const BYTES: u64 = PAGE_BYTES as u64;
    offset.is_multiple_of(BYTES).then_some(offset / BYTES + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_changed_bit_and_any_other_place_is_seen(seed: u8, bit in 0..PAGE_BYTES * 8, number in 1..1000u64) {
            let mut page = [seed; PAGE_BYTES];
            seal(&mut page, number);
            prop_assert!(is_sound(&page, number));
            prop_assert!(!is_sound(&page, number + 1));
            page[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!is_sound(&page, number));
        }
    }

    #[test]
    fn a_page_never_written_is_sound() {
        assert!(is_sound(&[0; PAGE_BYTES], 3));
    }
}

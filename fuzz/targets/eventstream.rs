//! The event stream's reader on any bytes, cut anywhere: no panic, and every frame that it accepts is written to the
//! same bytes again unless a header's form is not the shortest: `cargo +nightly fuzz run eventstream`. Checksums are
//! put right first, or no input would ever come past them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::eventstream::Frames;

fuzz_target!(|bytes: &[u8]| {
    let Some((cut, bytes)) = bytes.split_first() else { return };
    let mut stream = bytes.to_vec();
    mend(&mut stream);
    let mut frames = Frames::default();
    for piece in stream.chunks(usize::from(*cut) + 1) {
        frames.push(piece);
        loop {
            match frames.next_message() {
                Ok(Some(message)) => {
                    let written = message.encode().expect("what was read can be written");
                    let mut again = Frames::default();
                    again.push(&written);
                    assert_eq!(again.next_message(), Ok(Some(message)));
                }
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
});

/// Computes both checksums of the first frame.
fn mend(stream: &mut [u8]) {
    let Some(lengths) = stream.get(..8) else { return };
    let total = u32::from_be_bytes(lengths[..4].try_into().expect("four bytes")) as usize;
    let checksum = crc32fast::hash(lengths);
    if let Some(room) = stream.get_mut(8..12) {
        room.copy_from_slice(&checksum.to_be_bytes());
    }
    if total >= 16 && total <= stream.len() {
        let checksum = crc32fast::hash(&stream[..total - 4]);
        stream[total - 4..total].copy_from_slice(&checksum.to_be_bytes());
    }
}

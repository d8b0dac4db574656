//! The decoder of `aws-chunked` bodies on any bytes, cut anywhere: nothing panics, no more comes out than was declared,
//! and cuts make no difference. The first two bytes say how long the content is and where the body is cut:
//! `cargo +nightly fuzz run sigv4_chunked corpus seeds/sigv4_chunked`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::sigv4::Streaming;
use wire::sigv4::checksum::Algorithm;
use wire::sigv4::chunked::{ChunkError, Decoder, Framing};

fuzz_target!(|bytes: &[u8]| {
    let [length, cut, body @ ..] = bytes else { return };
    let whole = decode(u64::from(*length), &[body]);
    let parts: Vec<_> = body.chunks(usize::from(*cut).max(1)).collect();
    assert_eq!(decode(u64::from(*length), &parts), whole);
});

fn decode(decoded_bytes: u64, parts: &[&[u8]]) -> Result<Vec<u8>, ChunkError> {
    let checksum = Some(Algorithm::Crc32);
    let mut decoder = Decoder::trusting(Framing { streaming: Streaming::UnsignedTrailer, decoded_bytes, checksum });
    let mut content = Vec::new();
    for part in parts {
        let fed = decoder.feed(part, |data| content.extend_from_slice(data));
        assert!(content.len() as u64 <= decoded_bytes);
        fed?;
    }
    assert_eq!(decoder.finish()?, content.len() as u64);
    Ok(content)
}

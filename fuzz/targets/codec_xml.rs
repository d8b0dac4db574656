//! The XML decoder on any bytes, by S3's shapes: `cargo +nightly fuzz run codec_xml corpus/codec_xml seeds/codec_xml`.

#![no_main]

mod codec;

use codec::Service;
use libfuzzer_sys::fuzz_target;
use wire::schema::Protocol;

static SERVICE: Service = Service::new(
    "s3",
    include_str!("../../crates/services/src/s3/model.json"),
    include_str!("../../crates/services/src/s3/overlay.json"),
    Protocol::RestXml,
);

fuzz_target!(|bytes: &[u8]| SERVICE.decode(bytes));

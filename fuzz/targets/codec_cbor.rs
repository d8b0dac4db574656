//! The CBOR decoder on any bytes, by CloudWatch's shapes: `cargo +nightly fuzz run codec_cbor corpus/codec_cbor seeds/codec_cbor`.

#![no_main]

mod codec;

use codec::Service;
use libfuzzer_sys::fuzz_target;
use wire::schema::Protocol;

static SERVICE: Service = Service::new(
    "cloudwatch",
    include_str!("../../crates/services/src/cloudwatch/model.json"),
    include_str!("../../crates/services/src/cloudwatch/overlay.json"),
    Protocol::Cbor,
);

fuzz_target!(|bytes: &[u8]| SERVICE.decode(bytes));

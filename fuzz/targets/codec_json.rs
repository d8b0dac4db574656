//! The JSON decoder on any bytes, by DynamoDB's recursive shapes: `cargo +nightly fuzz run codec_json corpus/codec_json seeds/codec_json`.

#![no_main]

mod codec;

use codec::Service;
use libfuzzer_sys::fuzz_target;
use wire::schema::Protocol;

static SERVICE: Service = Service::new(
    "dynamodb",
    include_str!("../../crates/services/src/dynamodb/model.json"),
    include_str!("../../crates/services/src/dynamodb/overlay.json"),
    Protocol::Json10,
);

fuzz_target!(|bytes: &[u8]| SERVICE.decode(bytes));

//! The Query decoder on any form, by CloudFormation's shapes: `cargo +nightly fuzz run codec_query corpus/codec_query seeds/codec_query`.

#![no_main]

mod codec;

use codec::Service;
use libfuzzer_sys::fuzz_target;
use wire::schema::Protocol;

static SERVICE: Service = Service::new(
    "cloudformation",
    include_str!("../../crates/services/src/cloudformation/model.json"),
    include_str!("../../crates/services/src/cloudformation/overlay.json"),
    Protocol::Query,
);

fuzz_target!(|bytes: &[u8]| SERVICE.decode(bytes));

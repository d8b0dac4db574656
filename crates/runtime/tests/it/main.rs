//! The runtime on real sandboxes, in one binary.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that fails panics")]
#![expect(clippy::disallowed_methods, reason = "tests start tasks as the server's `Spawn` would")]

mod bare;
mod bed;
mod clones;
mod crashes;
mod custom;
mod extensions;
mod images;
mod instances;
mod managed;
mod parked;
mod prepared;
mod provisioned;
mod records;
mod templates;
mod zip;

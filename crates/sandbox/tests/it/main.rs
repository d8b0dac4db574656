//! The tests of this crate that start sandboxes, in one binary.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

mod attacks;
mod bare;
mod common;
mod directories;
mod egress;
mod images;
mod images_attacked;
mod images_java;
mod images_node;
mod images_threads;
mod images_zeros;
mod inside;
mod internet;
mod leaks;
mod limits;
mod races;
mod suite;

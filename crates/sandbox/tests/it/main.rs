//! The tests of this crate that start sandboxes, in one binary.

mod attacks;
mod common;
mod inside;
mod leaks;
mod limits;
mod suite;

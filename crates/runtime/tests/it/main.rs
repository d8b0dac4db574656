//! The runtime on real sandboxes, in one binary.

mod bed;
mod managed;

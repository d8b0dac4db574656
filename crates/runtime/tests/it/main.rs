//! The runtime on real sandboxes, in one binary.

mod bed;
mod crashes;
mod custom;
mod instances;
mod managed;

//! Decisions, without I/O: machines that are told what happened and when, and say what to do.
//!
//! `runtime` is their shell in the server, `sim` in the simulator; both run the very same code. Time is an argument.
//!
//! **Invariant:** nothing here reads a clock, draws a random number, or depends on the order of a hash table: the same
//! events give the same commands, always.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

pub mod dispatch;
pub mod emf;
pub mod events;
pub mod filter;
pub mod insights;
pub mod lineage;
pub mod math;
pub mod metric;
pub mod pattern;
pub mod platform;
pub mod poller;
pub mod price;
pub mod queue;

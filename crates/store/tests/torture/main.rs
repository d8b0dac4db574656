//! The embedded store under a disk that loses, tears, refuses and flips.
//!
//! A tap below SQLite records every operation (`disk`); from the record the tests build the directories that a crash
//! could leave, open them with the real store and hold them against the history of what was acknowledged (`workload`).
//! Each test states its pass line and is a function of a planted bug: with each of these the suite must fail, which
//! `mutants` checks. `cargo test` runs reduced sizes; `LAMP_TORTURE=1` the full ones.

// All of it is test code, the functions that the tests share too.
#![cfg(test)]

mod crash_points;
mod disk;
mod fences;
mod flips;
mod mutants;
mod order;
mod power;
mod refusals;
mod workload;

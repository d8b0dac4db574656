//! The points of CloudWatch's metrics: taken as they come, kept in blocks, finer while they are new.
//!
//! ```text
//! take ─> open points (memory) ── settle: one commit ─> blocks: a second ─> a minute ─> 5 minutes ─> an hour
//!              │                                          │    tend moves what is old to the next, or away
//!              └────────────── points, list ──────────────┘
//! ```
//!
//! Whoever follows a journal hands over what it says of metrics, and how far it has come. That is folded into open points,
//! and every few seconds added to the blocks in one commit, together with how far the journal is settled. So after a crash the
//! journal is taken again from there.
//!
//! | file | concept |
//! |---|---|
//! | `datum` | what is taken, and its form in the journal |
//! | `open` | points in memory |
//! | `block` | points of one series, one tier and some minutes, as bytes |
//! | `rows` | where blocks are in the store |
//! | `settle`, `staged` | from memory to the store |
//! | `series` | which series there are, and their numbers |
//! | `tend` | from tier to tier |
//! | `read` | what is found |
//!
//! Invariants:
//! * A sample is in an open point or in one block, never in both nor in neither, over a crash too.
//! * What was taken is read by whoever asks afterwards.
//! * Counts and sums are exact; quantiles are as exact as `engine::metric::sketch` says.
//!
//! Not here: the journal (`chronicle`), and what the operations of CloudWatch mean (`services::cloudwatch`).

mod block;
mod datum;
pub mod limits;
mod metrics;
mod open;
mod read;
mod rows;
mod series;
mod settle;
mod staged;
mod tables;
mod tend;
#[cfg(test)]
mod tests;

pub use datum::{Datum, Unit, decode, encode};
pub use metrics::{Error, Metrics};
pub use read::{Find, Points};
pub use tables::SeriesKey;

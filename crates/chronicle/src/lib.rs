//! The chronicle: what functions and programs said, kept in order, found again by time.
//!
//! ```text
//! log, record, put ─> journal (a stream of the store) ─> follower ─> open events (memory) ─> keeper ─> chunks (packed, by time)
//!             lazy or durable                    one task     with what is read ──────────────> reader
//! ```
//!
//! Whatever is to be kept is appended to one journal: lazily what functions write, durably what a client was promised. One
//! task follows the journal, at start-up from where the chunks end as later from where it was, so there is no other way of
//! recovering. It holds what came last in memory; the keeper packs that into chunks, moves the journal's start behind
//! them, and joins small chunks to larger ones. Readers see open events and chunks as one.
//!
//! Invariants:
//! * An event has a number, its offset in the journal: greater than all before it in its group, and never given twice.
//! * An event is in its group's chunks if its number is below the group's `kept`, else it is open: never both, nor neither.
//! * What was put is read by whoever asks after the answer.
//!
//! Not here: what the operations of CloudWatch Logs mean (`services::logs`), and metrics.

mod chronicle;
mod chunk;
mod clean;
mod derive;
mod entry;
mod event;
mod follow;
mod keep;
pub mod limits;
mod listen;
mod look;
mod open;
mod read;
mod sweep;
mod tables;
mod turns;

pub use chronicle::{Chronicle, Error, Line};
pub use derive::{Derive, Nothing, Taken, What};
pub use event::{Event, Position};
pub use listen::Listener;
pub use look::Look;
pub use read::{Candidates, Found, Test, Want};
pub use sweep::{Sheet, Sweep, Swept};
pub use tables::{GROUPS, Group, STREAMS, Stream, StreamSpan};
pub use turns::Turns;

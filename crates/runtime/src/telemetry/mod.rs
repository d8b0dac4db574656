//! Telemetry for extensions: what an instance logs and does, on its way to programs in its sandbox that subscribed.
//!
//! ```text
//! environment ── Told ──> Relay ── a Buffer each ── Batch ──> delivery, a task each ── HTTP, TCP ──> inside
//! ```
//!
//! `subscription` is what may be asked for, `event` what is told and in which schema, `buffer` decides without I/O when
//! a batch is due and what is dropped, `delivery` carries it in.
//!
//! Invariants: a subscriber that does not take its batches costs bounded memory and is told how much it missed; it
//! never holds back the function, its log or another subscriber. What is told before the first init is over reaches
//! also who subscribes late in it, or is counted.

mod buffer;
mod delivery;
mod event;
mod relay;
mod subscription;

pub use buffer::Dropped;
pub use delivery::Sent;
pub use event::{Category, Told, What};
pub use relay::{Relay, Wanted};
pub use subscription::{Api, Refusal, Subscription};

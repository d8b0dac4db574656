//! The vocabulary of Lamplight: plain data and small handles that every other crate speaks.
//!
//! Nothing here knows HTTP, tokio, a store or an AWS service. A type belongs here when two crates that must not see
//! each other have to agree on it, and nowhere else.

mod arn;
mod cause;
mod chance;
mod clock;
mod context;
mod error;
pub mod hex;
mod ids;
mod listener;
mod panic;
pub mod ports;
pub mod record;
mod secret;
mod spawn;
mod time;
pub mod trace;
pub mod varint;

pub use arn::{Arn, ArnError};
pub use cause::Cause;
pub use chance::{Chance, Seeded, SystemChance, Uuid};
pub use clock::{Clock, ManualClock, SystemClock};
pub use context::{Cx, Principal};
pub use error::{AwsError, Fault, with_causes};
pub use ids::{AccountId, IdError, Region, RequestId, World};
pub use listener::Listener;
pub use panic::CatchPanic;
pub use secret::Secret;
pub use spawn::{BoxFuture, Spawn};
pub use time::{Timestamp, TimestampError};

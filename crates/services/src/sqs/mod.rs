//! Amazon SQS: standard and FIFO queues.
//!
//! ```text
//! send     contents -> live (a place in the queue) -> one commit -> who waits hears of it
//! receive  live (what may be received next) -> one commit (when it can be again), and the bodies -> receipt handles
//! delete   receipt -> live (nobody else's meanwhile) -> one commit
//! ```
//!
//! What may be received when is decided by `engine::queue`, whose shell is [`live`]. Encryption attributes are kept and
//! shown, and change nothing: what is on the disk is encrypted as the disk is.

mod batch;
mod change;
mod contents;
mod errors;
mod freeze;
mod grant;
mod live;
mod message;
pub mod meter;
pub mod move_task;
mod name;
pub mod operator;
mod permission;
mod queue;
mod receipt;
mod receive;
mod redrive;
mod send;
mod settings;
pub mod source;
pub mod sweep;
pub mod target;
mod write;

use crate::Service;

pub use live::LiveQueues;

pub fn service() -> Service {
    Service::new("sqs", include_str!("model.json"), include_str!("overlay.json"))
        .with(change::operations)
        .with(move_task::operations)
        .with(permission::operations)
        .with(queue::operations)
        .with(receive::operations)
        .with(send::operations)
}

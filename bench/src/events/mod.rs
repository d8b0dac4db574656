//! Events that nobody waits for: asynchronous invocations, queues, what queues give to functions, patterns.

pub mod accept;
pub mod cycle;
mod drain;
pub mod feeding;
pub mod pattern;
mod sqs;
pub mod waiting;

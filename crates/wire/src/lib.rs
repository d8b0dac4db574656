//! Everything between a socket and an operation: listening, limits, signatures, the AWS protocols, and the registry
//! of operations.
//!
//! The way of a request is [`pipeline`]; read that first. This crate does not know what any operation does: services
//! hand it their API description (`model.json`) and a handler an operation, and get the six protocols, validation,
//! errors and "not built yet" for free.

pub mod blob;
pub mod body;
pub mod eventstream;
pub mod hosts;
pub mod limits;
pub mod metrics;
pub mod page;
pub mod percent;
pub mod pipeline;
pub mod protocol;
pub mod registry;
pub mod route;
pub mod schema;
pub mod server;
pub mod sigv4;
pub mod value;

pub use blob::{Blob, Spool};
pub use registry::{Events, Handler, Output, Service};
pub use value::Value;

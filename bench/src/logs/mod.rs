//! CloudWatch Logs: what taking events costs those who invoke meanwhile, how fast they are searched, and how much room they
//! take; each checked against what was put, or what other programs find in the same lines.

pub mod client;
pub mod disk;
mod filling;
pub mod ingest;
mod lines;
mod pace;
mod printed;
mod programs;
pub mod search;

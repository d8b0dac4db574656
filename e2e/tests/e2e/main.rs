//! End to end: the real binary, driven by clients that we did not write. One test binary, so that it links once.

mod alarms;
mod clients;
mod concurrency;
mod control_plane;
mod cycles;
mod durability;
mod examples;
mod floods;
mod functions;
mod iam;
mod invoking;
mod killed;
mod logs;
mod metrics;
mod neighbours;
mod pressure;
mod queue_clients;
mod queues;
mod reading;
mod runtimes;
mod server;
mod telemetry;
mod terraform;

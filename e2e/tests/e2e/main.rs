//! End to end: the real binary, driven by clients that we did not write. One test binary, so that it links once.

mod clients;
mod control_plane;
mod durability;
mod functions;
mod iam;
mod server;
mod terraform;

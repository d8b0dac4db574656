//! The listener and the pipeline over real sockets: operations end to end, and what hostile clients do.
//!
//! `LAMP_TORTURE=1` runs the attacks in full size.

mod pipeline;
mod support;

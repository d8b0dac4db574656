//! The listener and the pipeline over real sockets: operations end to end, and what hostile clients do.
//!
//! `LAMP_TORTURE=1` runs the attacks in full size. The modules are `cfg(test)` for clippy, which lets tests unwrap but
//! takes no other function here for a part of one.

#[cfg(test)]
mod framing;
#[cfg(test)]
mod http2;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod log;
#[cfg(test)]
mod pipeline;
#[cfg(test)]
mod signed;
#[cfg(test)]
mod slow;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tls;

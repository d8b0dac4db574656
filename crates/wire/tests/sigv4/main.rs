//! Signature V4 from outside: requests that botocore signed, the same with one thing changed, clocks that are off,
//! bodies in chunks, and bytes that mean nothing.
//!
//! The modules are `cfg(test)` for clippy, which lets tests unwrap but takes no other function here for a part of one.

#[cfg(test)]
mod botocore;
#[cfg(test)]
mod chunked;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod request;
#[cfg(test)]
mod rules;

//! A step of a recipe that failed: what was being done, and the kernel's answer. Small enough to cross a socket.

use std::io;

#[derive(Debug, thiserror::Error)]
#[error("{step}")]
pub struct Failure {
    /// Fits "failed to ...".
    pub step: String,
    #[source]
    pub source: io::Error,
}

impl Failure {
    pub fn errno(&self) -> i32 {
        self.source.raw_os_error().unwrap_or(libc::EIO)
    }
}

/// Names what a call was for.
pub trait Step<T> {
    fn step(self, step: &str) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> Step<T> for Result<T, E> {
    fn step(self, step: &str) -> Result<T, Failure> {
        self.map_err(|error| Failure { step: step.to_owned(), source: error.into() })
    }
}

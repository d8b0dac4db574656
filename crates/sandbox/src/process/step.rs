//! A step of a recipe that failed: what was being done, and the kernel's answer. Small enough to cross a socket.

use std::io;

use tokio::time::Instant;

#[derive(Debug, thiserror::Error)]
#[error("{step}")]
pub struct Failure {
    /// Fits "failed to ...".
    pub step: String,
    #[source]
    pub source: io::Error,
}

impl Failure {
    /// For a call whose success must be taken note of at once: tests let `Step::step` fail after the call was made.
    pub fn of(step: &str) -> impl FnOnce(io::Error) -> Failure {
        move |source| Failure { step: step.to_owned(), source }
    }

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
        #[cfg(feature = "testing")]
        fault::strike(step)?;
        self.map_err(|error| Failure { step: step.to_owned(), source: error.into() })
    }
}

/// A watch that is looked at between steps.
pub struct Laps(Instant);

impl Laps {
    pub fn begin() -> Laps {
        Laps(Instant::now())
    }

    /// Microseconds since it was looked at last.
    pub fn lap(&mut self) -> u32 {
        let now = Instant::now();
        let last = std::mem::replace(&mut self.0, now);
        u32::try_from(now.saturating_duration_since(last).as_micros()).unwrap_or(u32::MAX)
    }
}

/// Faults that tests plan: a step fails, or the server dies while it is done.
#[cfg(feature = "testing")]
pub mod fault {
    use std::io;
    use std::sync::atomic::{AtomicU32, Ordering};

    use rustix::process::{Pid, Signal};
    use serde::{Deserialize, Serialize};

    use super::Failure;

    #[derive(Debug, Clone, Copy, Serialize, Deserialize)]
    pub enum Fault {
        /// The n-th step from the first order on fails. A child goes on counting where its parent was.
        Fail(u32),
        /// The n-th step of each helper fails, which takes or resumes an image.
        FailHelper(u32),
        /// The server is killed before the n-th step.
        KillServer(u32),
    }

    static STEPS_LEFT: AtomicU32 = AtomicU32::new(0);
    static VICTIM: AtomicU32 = AtomicU32::new(0);

    /// Called before each start. Only the first fails; a server may be killed in a later one.
    pub fn plan(fault: Option<Fault>, token: u64, server: u32) {
        match fault {
            Some(Fault::Fail(steps)) => STEPS_LEFT.store(if token == 1 { steps } else { 0 }, Ordering::Relaxed),
            Some(Fault::KillServer(steps)) if token == 1 => {
                STEPS_LEFT.store(steps, Ordering::Relaxed);
                VICTIM.store(server, Ordering::Relaxed);
            }
            _ => {}
        }
    }

    /// Called by each helper first. It counts on where its spawner was, if a server is to be killed.
    pub fn plan_helper(fault: Option<Fault>) {
        match fault {
            Some(Fault::FailHelper(steps)) => STEPS_LEFT.store(steps, Ordering::Relaxed),
            Some(Fault::KillServer(_)) => {}
            Some(Fault::Fail(_)) | None => STEPS_LEFT.store(0, Ordering::Relaxed),
        }
    }

    pub fn strike(step: &str) -> Result<(), Failure> {
        let left = STEPS_LEFT.load(Ordering::Relaxed);
        STEPS_LEFT.store(left.saturating_sub(1), Ordering::Relaxed);
        if left != 1 {
            return Ok(());
        }
        match Pid::from_raw(VICTIM.load(Ordering::Relaxed).cast_signed()) {
            Some(server) => {
                let _ = rustix::process::kill_process(server, Signal::KILL);
                Ok(())
            }
            None => Err(Failure { step: step.to_owned(), source: io::Error::from_raw_os_error(libc::ECANCELED) }),
        }
    }
}

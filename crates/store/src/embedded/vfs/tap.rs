//! Where a test listens to, and interferes with, what reaches the disk. Production has the place and nothing in it.

use std::io;
use std::path::Path;
use std::sync::Arc;

/// One operation on one file of a database: the database itself, its log, its journal or its mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Op<'a> {
    pub file: &'a Path,
    pub action: Action<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action<'a> {
    Create,
    Write {
        offset: u64,
        bytes: &'a [u8],
    },
    Truncate {
        size_bytes: u64,
    },
    Sync,
    /// Durable when it returns if `syncs_directory`, with all entries made before.
    Delete {
        syncs_directory: bool,
    },
}

/// What becomes of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Proceed,
    /// It is not carried out, and the caller is told so.
    Fail(Fault),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// EIO.
    Io,
    /// ENOSPC.
    Full,
}

impl Fault {
    fn error(self) -> io::Error {
        match self {
            Self::Io => rustix::io::Errno::IO.into(),
            Self::Full => rustix::io::Errno::NOSPC.into(),
        }
    }
}

/// Listens to the disk. Called from every thread that does I/O; the last operations of a process may come during
/// its exit.
pub trait Tap: Send + Sync {
    fn before(&self, op: &Op<'_>) -> Verdict;
    /// The operation has succeeded.
    fn after(&self, op: &Op<'_>);
}

/// The tap of a database, if it has one, round file operations of our own.
#[derive(Clone, Default)]
pub(crate) struct Tapped(Option<Arc<dyn Tap>>);

impl Tapped {
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn new(tap: Option<Arc<dyn Tap>>) -> Self {
        Self(tap)
    }

    pub(super) fn get(&self) -> Option<&dyn Tap> {
        self.0.as_deref()
    }

    pub(super) fn run<T>(&self, file: &Path, action: Action<'_>, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let Some(tap) = self.get() else { return act() };
        let op = Op { file, action };
        match tap.before(&op) {
            Verdict::Fail(fault) => Err(fault.error()),
            Verdict::Proceed => act().inspect(|_| tap.after(&op)),
        }
    }
}

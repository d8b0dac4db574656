//! Images of programs: what a program is after it has started, kept so that others begin there.
//!
//! A program in one sandbox waits in a syscall, with all that it needs loaded. `take` reads it, as a debugger would, into
//! sealed memory. `resume` gives that memory to a fresh program of another sandbox: an ordinary one, made by an
//! ordinary start and an exec of the same interpreter, from then on another process with the same contents. Nobody
//! changes sandbox and nobody gets a right: every call that the fresh program is made to do is its own, behind its own
//! filter, in its own files, and no instruction of the image runs before the last of them. The pages of the image are
//! shared by all who began with it, until they write.
//!
//! A helper does either, a child of the spawner with a limit of time: what it reads and whom it holds is not trusted,
//! and the spawner has others to serve. If it ends early, whom it holds dies with it.
//!
//! Invariants: an image is of one program, that was alone in its sandbox, whose threads all waited, and that had nothing
//! open but what it was given and what anybody can open again; of anything else there is none. What is resumed has the
//! sandbox, the limits and the descriptors of the one that it replaces; memory, registers, signal handlers and threads of
//! the one that was taken.
//!
//! Not restored, and a reason to refuse: children, timers, shared memory. Not here: randomness. Everybody who
//! begins with an image knows the same secrets of it, such as the state of its random numbers; the program makes them
//! anew when it goes on. Only on x86-64.

mod descriptors;
mod go_to;
mod layout;
mod learn;
mod own;
mod resume;
mod take;
mod threads;
mod trace;
mod zeros;

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::process::Pid;
use serde::{Deserialize, Serialize};

pub use go_to::go_to;
pub use learn::learn;
pub use resume::resume;
pub use take::take;

use crate::limits::GRANT_NUMBER_MAX;
use crate::process::image::descriptors::Opened;
use crate::process::step::{Failure, Step};

/// Where a program that is to become an image finds it.
pub const IMAGE_AT: u16 = GRANT_NUMBER_MAX;

/// What the server keeps of an image beside its memory.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Description {
    /// Of the head, in the image's memory.
    at: u64,
    bytes: u64,
    /// The number that the program had inside.
    pub process: u32,
    /// The first number that its other threads may have.
    pub threads_from: Option<u32>,
    /// Memory that its clones share.
    pub memory_bytes: u64,
    /// Open in it, and so in those that begin with it.
    pub descriptors: Vec<u16>,
    /// Where they begin, if not where the program was.
    pub directory: Option<PathBuf>,
    /// What clones write at once, of which each is given its own before anybody waits.
    pub written: Vec<(u64, u64)>,
}

/// A program to be taken or replaced: a child of its sandbox's init, by its number inside.
#[derive(Debug, Clone, Copy)]
pub struct Whom {
    pub init: Pid,
    pub process: u32,
}

/// Taken once for all clones.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    /// By their numbers; the first is the main one.
    threads: Vec<Thread>,
    table_at: u64,
    table_bytes: u64,
    /// What the kernel has put there: name, address and length.
    system: Vec<(String, u64, u64)>,
    /// What is mapped of files: address, device and inode.
    files: Vec<(u64, String, u64)>,
    opened: Vec<Opened>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Thread {
    number: u32,
    registers: Vec<u64>,
    /// Those beyond, in the processor's own form: where in the image they are.
    vectors_at: u64,
    vectors_bytes: u64,
    signal_mask: u64,
    /// Where the thread's number is written.
    number_at: u64,
    /// Of its calls in the table, which begin where those of the thread before end.
    table_end: u64,
}

fn read_head(image: &OwnedFd, description: &Description) -> Result<Head, Failure> {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::from(image.try_clone().step("open an image")?);
    let mut bytes = vec![0; usize::try_from(description.bytes).unwrap_or(0)];
    file.read_exact_at(&mut bytes, description.at).step("read an image")?;
    serde_json::from_slice(&bytes).map_err(std::io::Error::from).step("read an image")
}

/// There is none to be had of such a program.
fn refuse(why: &str) -> Failure {
    Failure { step: format!("take an image: {why}"), source: std::io::Error::from_raw_os_error(libc::EOPNOTSUPP) }
}

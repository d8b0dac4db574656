//! The isolation seam: programs that nobody trusts run here, apart from the machine and from each other.
//!
//! `Isolation` is what the server holds; `Isolation::start(Spec)` gives a `Sandbox`: an empty room with its own files,
//! processes, network and limits, in which `Sandbox::run` starts programs. Three backends pass one suite: real
//! processes behind namespaces, cgroups, seccomp and Landlock (`processes`), the same without walls (`bare`), and a
//! fake for tests of what lies above.
//!
//! A program that has loaded what it needs may be kept as an `Image`, with which others begin (`Sandbox::take`,
//! `Sandbox::resume`): ordinary programs of ordinary sandboxes, from memory instead of by their own start.
//!
//! Whoever builds a binary on this crate calls `take_over` as the first thing in `main`: the process backend starts
//! its helper by running the same binary again.
//!
//! Invariants: a sandbox that is handed out is complete, never half confined. Dropping a `Sandbox` kills all that runs
//! in it. When the server dies, however it dies, every sandbox dies with it. `unsafe` is in `sys` alone.
//!
//! Not here: what an invocation is (`runtime`), where code comes from. Not yet: Wasm, microVMs.

mod fake;
mod features;
mod isolation;
mod limits;
mod message;
mod places;
mod process;
mod spec;
mod sys;

pub use fake::{FakeProcess, fake};
pub use features::{EGRESS, Feature, Features, NOT_FORWARDING};
pub use isolation::{
    Event, Exit, Freezing, Image, ImageError, Isolation, ProcessId, RunError, Sandbox, StartError, Status, Usage,
};
pub use process::{IsolationError, Settings, bare, processes, take_over};
pub use spec::{Cpu, Grant, Limits, Mount, Network, Program, Spec};
/// For `lamp doctor`. Not about sandboxes: here since this is the crate that may ask the kernel anything.
pub use sys::is_clock_synchronised;

/// For this crate's own tests.
#[cfg(feature = "testing")]
pub mod testing {
    pub use crate::process::Fault;

    /// The error with which the syscall filter answers a syscall whatever its arguments, if it does.
    pub fn refusal(number: u32) -> Option<i32> {
        crate::process::refusal(number)
    }
}

//! Runs functions: from a release and an event to a response, on `sandbox::Isolation`.
//!
//! ```text
//! Runtime::expect ── prepare ── what is made ready before anybody asks
//! Runtime::invoke ── books ── which instance, or a new one, as `engine::dispatch` decides
//!    │ a new one: stock (rooms and runtimes made ahead), code (zips unpacked once), languages (which interpreter
//!    │ serves), variables (its environment)
//!    └─ instance: a task that owns one sandbox and carries out what `environment` decides
//!         environment   one instance's life, pure: step(now, event) -> commands; the words of reports and errors
//!         frames, http  the two ways in which a runtime talks; to the environment they look the same. Extensions: http
//!         logs          pipes of what programs write, cut into events
//!         telemetry     the same and more, on its way to extensions that subscribed
//!         response      a response on its way to the caller, with back-pressure
//! ```
//!
//! `lamp` builds a `Runtime` and gives it to the services as `base::ports::Invoke`.
//!
//! Invariants: an instance runs one release of one tenant's function, one invocation at a time, and is never lent to
//! another. A caller that goes away changes nothing for the function. Nothing that a function sends is trusted, kept or
//! waited for beyond a named limit. Nothing is locked across I/O, and the warm path reads no store.
//!
//! Not here: what an API call means (`services::lambda`), HTTP of AWS's API (`wire`). Not yet: several
//! invocations at once.

mod access;
mod alarm;
mod books;
mod code;
mod cores;
mod environment;
mod frames;
mod home;
mod http;
mod images;
mod instance;
mod languages;
mod launch;
pub mod limits;
mod logs;
mod memory;
mod places;
mod prepare;
mod response;
mod room;
mod runtime;
mod scratch;
mod shelf;
mod snapshot;
mod stock;
mod telemetry;
mod template;
mod trace;
mod variables;
mod worth;

pub use languages::{Family, Interpreter, Offer, RUNTIMES, Sdk, Serving, has_interpreter, survey};
pub use memory::of_sandboxes;
pub use runtime::{Host, Key, Match, NewError, Parts, Runtime, Settings};

//! The conformance suite, for each backend.

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;

use base::{Clock, SystemClock};
use store::{Faults, Options, Store, suite};

pub fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

pub fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

pub fn open(dir: &Path) -> Store {
    Store::open(dir, clock(), Options::default()).unwrap()
}

#[test]
fn memory_obeys_the_laws() {
    block_on(suite::suite(Store::memory)).unwrap();
}

#[test]
fn embedded_obeys_the_laws() {
    let temp = tempfile::tempdir().unwrap();
    let next = Cell::new(0);
    let make = |clock| {
        next.set(next.get() + 1);
        Store::open(&temp.path().join(next.get().to_string()), clock, Options::default()).unwrap()
    };
    block_on(suite::suite(make)).unwrap();
}

#[test]
fn a_slow_connection_obeys_the_laws() {
    let faults = Faults { seed: 1, delay_polls_max: 3, ..Faults::default() };
    block_on(suite::suite(|clock| Store::memory(clock).with_faults(faults))).unwrap();
}

//! Room to read into, one for each thread: what is read is looked at or copied at once, and clearing new room for every read
//! costs more than most reads.

use std::cell::RefCell;

pub const SCRATCH_BYTES: usize = 16 * 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice());
}

/// What is in it is of no meaning. `work` must not ask for it again.
pub fn with<T>(work: impl FnOnce(&mut [u8]) -> T) -> T {
    SCRATCH.with_borrow_mut(|scratch| work(scratch))
}

//! The spawner of sandboxes by itself, for this crate's tests: what `lamp __spawner` is in the product.

use std::process::ExitCode;

fn main() -> ExitCode {
    sandbox::take_over().unwrap_or_else(|| {
        eprintln!("runtime-spawner is started by tests");
        ExitCode::FAILURE
    })
}

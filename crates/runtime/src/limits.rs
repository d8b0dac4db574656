//! Every bound of this crate, with its reason.

use std::time::Duration;

/// Lambda's limit of functions running at once in an account and region.
pub const CONCURRENCY_DEFAULT: u32 = 1_000;

/// How long an instance is kept that nobody calls.
pub const KEEP_ALIVE_DEFAULT: Duration = Duration::from_secs(600);

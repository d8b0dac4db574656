//! Every bound of the metrics.

use std::time::Duration;

/// Blocks that are open before the follower waits.
pub const OPEN_BLOCKS_MAX: usize = 2_000;

/// What open points weigh before the follower waits.
pub const OPEN_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What a point weighs in memory, and each bin of its sketch.
pub const POINT_BYTES: usize = 96;
pub const BIN_BYTES: usize = 24;

/// Series of an account in a region. Points of further ones are dropped, and counted.
pub const SERIES_MAX: u64 = 100_000;

/// How far ahead of the clock a point may be. Whoever takes data from clients refuses them earlier.
pub const AHEAD_MAX: Duration = Duration::from_secs(3 * 3_600);

/// What a series' row says of its last point is so much behind at most: as CloudWatch's list of what was active lately is.
pub const LAST_EVERY: Duration = Duration::from_secs(50 * 60);

/// What a block takes. In one that is longer, points forget how they spread that have more bins than [`BINS_KEPT_MAX`].
pub const BLOCK_BYTES_MAX: usize = 1024 * 1024;
pub const BINS_KEPT_MAX: usize = 64;

/// Blocks that one commit rewrites, in bytes. More are staged first.
pub const DIRECT_BYTES_MAX: usize = 6 * 1024 * 1024;

/// Blocks that one commit rewrites or stages: each takes some operations, of which a batch has so many at most.
pub const DIRECT_BLOCKS_MAX: usize = 10_000;

/// Bytes of one step of many, not counting the last thing that joins it.
pub const STEP_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Things that one step of many handles.
pub const STEP: usize = store::limits::READS_MAX;

/// Rows of series that one call looks at before it answers with what it has found.
pub const LIST_ROWS_MAX: usize = 20_000;

/// How often series are looked through for those that have no points any more.
pub const FORGET_EVERY: Duration = Duration::from_secs(6 * 3_600);

/// A text in a key is cut to so many bytes.
pub const KEY_TEXT_BYTES_MAX: usize = 512;

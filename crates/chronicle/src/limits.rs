//! Every bound of the chronicle.

use std::time::Duration;

/// What a chunk holds before it is packed. One event may pass it.
pub const CHUNK_BYTES: usize = 1024 * 1024;

/// What an event counts beyond its message, as CloudWatch Logs counts it.
pub const EVENT_OVERHEAD_BYTES: usize = 26;

/// Open events of all groups, as they lie in memory. The group that holds most is kept when there are more.
pub const OPEN_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The same, where the follower waits for the keeper.
pub const OPEN_BYTES_FULL: usize = OPEN_BYTES_MAX + OPEN_BYTES_MAX / 2;

/// What an open event takes beyond its message: itself, its place in what came with it, and room to grow.
pub const OPEN_EVENT_BYTES: usize = 128;

/// How long an event is open at most.
pub const OPEN_TIME_MAX: Duration = Duration::from_secs(300);

/// How often the keeper looks for what is to be kept.
pub const KEEP_EVERY: Duration = Duration::from_secs(1);

/// How often who waits until all is settled looks whether it is.
pub const SETTLE_LOOK_EVERY: Duration = Duration::from_millis(5);

/// Records that are followed at once.
pub const FOLLOW_RECORDS_MAX: usize = 8_192;

/// Bytes that are followed at once.
pub const FOLLOW_BYTES_MAX: usize = 1024 * 1024;

/// Streams whose groups are remembered, some hundred bytes each.
pub const NAMES_CACHED_MAX: usize = 65_536;

/// Log streams of instances that are remembered with their numbers; those of instances that are gone are forgotten first.
pub const PRODUCERS_MAX: usize = 65_536;

/// What an instance may write in one go, and in a second from then on. The rest is dropped, so that one that floods takes nobody
/// else's room.
pub const BURST_BYTES_MAX: u64 = 4 * 1024 * 1024;
pub const RATE_BYTES_MAX: u64 = 10 * 1024 * 1024;

/// Numbers of streams that one run of the server takes.
pub const NUMBERS_TAKEN: u64 = 1 << 32;

/// Attempts to change a row against others who change it at the same time.
pub const ATTEMPTS_MAX: usize = 16;

/// What one search unpacks before it answers with what it has.
pub const SCAN_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Threads that look through events, if there are so many cores.
pub const LOOKERS_MAX: usize = 16;

/// Rows that are removed in one commit.
pub const CLEAN_STEP: usize = 256;

/// Chunks that may be joined at once.
pub const JOIN_MAX: usize = 8;

/// Streams that have events in one chunk, so that its head fits a row.
pub const CHUNK_STREAMS_MAX: usize = 4_096;

/// Open events that are kept in one commit.
pub const KEEP_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Commits in which a group's open events are kept before others have their turn.
pub const KEEP_ROUNDS_MAX: usize = 16;

/// What came after a group's first open event before the group is kept: until then the journal gives up none of it.
pub const JOURNAL_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// So much more for each group that has open events.
pub const JOURNAL_GROUP_BYTES: u64 = 32 * 1024;

/// What is kept until the journal gives up its room, however much more there is to keep.
pub const TRIM_BYTES: usize = 8 * 1024 * 1024;

/// How often groups are looked through for events that are too old.
pub const EXPIRE_EVERY: Duration = Duration::from_secs(600);

/// Events that a listener may be behind.
pub const LISTENER_EVENTS_MAX: usize = 5_000;

/// Lines that a record may mean.
pub const LINES_MAX: u64 = 4;

/// What is handed over to be derived from at once. An event may make some thousand points.
pub const DERIVE_MAX: usize = 256;

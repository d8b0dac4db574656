//! Every bound of the store, for all backends alike.

use std::time::Duration;

/// Longest key. A longer natural key enters as its hash.
pub const KEY_BYTES_MAX: usize = 2_000;

/// Longest value of one row; [`Table::large`](crate::Table::large) splits longer records.
pub const VALUE_BYTES_MAX: usize = 64 * 1024;

/// Keys and values of one batch together.
pub const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Expectations and writes of one batch together, so that many tiny ones cannot hold up a group for long.
pub const BATCH_OPS_MAX: usize = 100_000;

/// Reads that share one snapshot.
pub const READS_MAX: usize = 256;

/// Rows that one range answers with; the rest is the next page.
pub const RANGE_ROWS_MAX: usize = 1_000;

/// Values that one read answers with, in bytes, over all its ranges: a range stops behind the row that passes its
/// share, and says that there is more.
pub const READ_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Longest record of a table that splits, encoded.
pub const RECORD_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Keys that a watch holds for a reader that is behind, before it says only that much has changed.
pub const WATCH_KEYS_MAX: usize = 256;

/// Attempts to take a lease against others who take it at the same time.
pub const LEASE_ATTEMPTS_MAX: usize = 16;

/// Batches that wait for the committer, beyond which `commit` waits its turn to wait.
pub const QUEUE_BATCHES_MAX: usize = 4_096;

/// Bytes of the batches that wait for the committer or are being committed.
pub const QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Batches that share one sync.
pub const GROUP_BATCHES_MAX: usize = 512;

/// Bytes of the batches that share one sync. One batch more may pass it, itself bounded.
pub const GROUP_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Size of a page of the embedded database.
pub const PAGE_BYTES: u32 = 8_192;

/// Pages in the write-ahead log after which the checkpointer copies them to the database: 8 MiB.
pub const CHECKPOINT_PAGES: u32 = 1_024;

/// Pages in the write-ahead log at which the checkpointer holds commits back for the moment that it needs to begin
/// the log anew: 32 MiB. Without it a log that is written without pause would never end.
pub const LOG_PAGES_MAX: u32 = 4_096;

/// How long the checkpointer rests after it found no room, or a slow reader.
pub const RELIEF_REST: Duration = Duration::from_millis(50);

/// How long the checkpointer waits for readers before it leaves the log as it is, commits held back meanwhile.
pub const CHECKPOINT_WAIT: Duration = Duration::from_millis(20);

/// Connections that wait for readers. More are opened when more threads read at once, and closed afterwards.
pub const READERS_KEPT_MAX: usize = 8;

/// Rows in memory that were read lately, with what was decoded of them.
pub const CACHE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What a row in memory takes beside its key, its value and its record.
pub const CACHE_ROW_BYTES: usize = 512;

/// Parts of the cache, each behind a lock of its own.
pub const CACHE_SHARDS: usize = 16;

/// How long a connection waits for a lock that another one holds for a moment.
pub const LOCK_WAIT: Duration = Duration::from_secs(5);

/// What is read of a new blob, hashed and written at a time.
pub const BLOB_COPY_BYTES: usize = 128 * 1024;

/// Name of a record that refers to a blob: with the hash before it, it is a key.
pub const BLOB_REFERRER_BYTES_MAX: usize = 1_900;

/// Blobs that the collector looks at at once. For each it reads its references and its last release.
pub const BLOB_COLLECT_STEP: usize = READS_MAX / 2;

/// Longest secret that the vault seals.
pub const VAULT_SECRET_BYTES_MAX: usize = 64 * 1024;

/// Name of the owner of a secret; a key.
pub const VAULT_OWNER_BYTES_MAX: usize = 1_900;

/// Unwrapped data keys held in memory, about 1 KiB each.
pub const VAULT_CACHED_KEYS_MAX: usize = 4_096;

/// Data keys that a rotation wraps anew in one commit.
pub const VAULT_ROTATE_STEP: usize = 256;

/// Attempts to change a data key against others who change it at the same time.
pub const VAULT_ATTEMPTS_MAX: usize = 16;

/// The file of the master keys; two keys take less than 1 KiB.
pub const VAULT_KEY_FILE_BYTES_MAX: u64 = 16 * 1024;

/// Name of a stream with its scope; a key, less the offset behind it.
pub const STREAM_ID_BYTES_MAX: usize = 1_900;

/// Longest record of a stream.
pub const STREAM_RECORD_BYTES_MAX: usize = 10 * 1024 * 1024;

/// Records are gathered in blocks up to this size. A longer record is a block by itself, in several rows.
pub const STREAM_BLOCK_BYTES: usize = 60 * 1024;

/// What a row holds of a block.
pub const STREAM_PART_BYTES: usize = VALUE_BYTES_MAX - 64;

/// Rows that a trim deletes in one commit.
pub const STREAM_TRIM_STEP: usize = 64;

/// Streams whose end is remembered between appends, some hundred bytes each.
pub const STREAM_TAILS_MAX: usize = 8_192;

/// Attempts to append or read against others who change the same stream at the same time.
pub const STREAM_ATTEMPTS_MAX: usize = 16;

/// Lazy records in memory, waiting or being written. What does not fit is dropped, and counted.
pub const STREAM_LAZY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Lazy records that are written in one commit, and when half of them wait, no more are waited for.
pub const STREAM_FLUSH_BYTES: usize = 2 * 1024 * 1024;

/// Streams that are written in one commit; their ends are read at once.
pub const STREAM_FLUSH_STREAMS: usize = READS_MAX;

/// How long lazy records are gathered before they are written, and how long after a failure.
pub const STREAM_LAZY_DELAY: Duration = Duration::from_millis(50);

/// The manifest of a backup.
pub const BACKUP_MANIFEST_BYTES_MAX: u64 = 64 * 1024;

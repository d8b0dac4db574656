//! The layer between SQLite and the disk: every page is checked when it is read, and a log before it is recovered.
//!
//! SQLite trusts the disk: a flipped bit in a value is served as the value, and one in the log ends the log early and
//! loses acknowledged commits without a word. Here each page of the database file carries a checksum (`page`), each
//! page that is read back from the write-ahead log is held against the checksum of its frame (`log`), and what was
//! synced is marked (`mark`). A page that fails is `SQLITE_IOERR_DATA`, never data.
//!
//! ```text
//! commit      SQLite computes the frame checksums -> log -> sync -> mark
//! read        database page: its own checksum     log page: what was written, or the frame's checksum
//! checkpoint  log page verified -> sealed with a page checksum -> database file
//! open        Vfs::check_log -> SQLite's recovery
//! ```
//!
//! Log and database stay files that a plain SQLite can read. The rollback journal (used only while a database is
//! created) and temporary files are not checked. The tests put a [`Tap`] between, which records, fails and reorders.
//! Memory-mapped reads would bypass the checks, so the shim does not offer them.
//!
//! Not here: detection of a write that the disk confirmed and dropped, leaving an older page that is sound in itself.

mod log;
mod mark;
mod page;
mod shim;
mod tap;

use std::ffi::CStr;
use std::ffi::OsString;
use std::path::Path;
#[cfg(any(test, feature = "testing"))]
use std::sync::Arc;
use std::sync::OnceLock;

use rusqlite::{Connection, OpenFlags};

pub use self::log::LogError;
pub(crate) use self::page::{PAGE_BYTES, RESERVED_BYTES};
use self::shim::Shared;
use self::tap::Tapped;
pub use self::tap::{Action, Fault, Op, Tap, Verdict};

/// SQLite refused to take the layer in.
#[derive(Debug, thiserror::Error)]
#[error("register the checking file layer with SQLite (code {code})")]
pub struct RegisterError {
    code: i32,
}

/// How a database file is opened. It lives as long as the process, since SQLite may come back to it at any time.
#[derive(Clone, Copy)]
pub(crate) struct Vfs {
    name: &'static CStr,
    shared: &'static Shared,
}

impl Vfs {
    /// The one for production.
    pub(crate) fn production() -> Result<Self, RegisterError> {
        static PRODUCTION: OnceLock<Vfs> = OnceLock::new();
        if let Some(vfs) = PRODUCTION.get() {
            return Ok(*vfs);
        }
        // Two threads at once may register two; both stay valid, and one of them is remembered.
        let vfs = shim::register(Shared::new(Tapped::default(), true))?;
        Ok(*PRODUCTION.get_or_init(|| vfs))
    }

    /// One whose operations pass through `tap`, for a test. Each is a registration of its own, and is never freed.
    /// Without `verifies`, damage goes unnoticed: the planted bug that the torture tests must find.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn tapped(tap: Option<Arc<dyn Tap>>, verifies: bool) -> Result<Self, RegisterError> {
        shim::register(Shared::new(Tapped::new(tap), verifies))
    }

    /// Opens the database at `path` and has it leave room for the checksums, which a new database must be told before
    /// its first page is written.
    pub(crate) fn open(&self, path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags_and_vfs(path, flags, self.name)?;
        connection.pragma_update(None, "page_size", PAGE_BYTES as i64)?;
        shim::reserve(&connection, RESERVED_BYTES)?;
        // A page that spilled to the log before its commit and is then changed has no valid checksum for a while.
        connection.pragma_update(None, "cache_spill", false)?;
        Ok(connection)
    }

    /// Verifies the log of the database at `path` before its first connection, under the directory's lock. Where this
    /// fails the database must not be opened: SQLite would drop what cannot be read.
    pub(crate) fn check_log(&self, path: &Path) -> Result<(), LogError> {
        if !self.shared.verifies() {
            return Ok(());
        }
        let mut log = OsString::from(path.as_os_str());
        log.push("-wal");
        log::check(path, Path::new(&log), self.shared.tapped())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::FileExt;
    use std::path::PathBuf;

    use rusqlite::ErrorCode;

    use super::*;

    const ROW_COUNT: u32 = 400;

    fn vfs() -> Vfs {
        Vfs::production().unwrap()
    }

    fn open(path: &Path) -> rusqlite::Result<Connection> {
        let connection = vfs().open(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
        connection.execute_batch("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0;")?;
        Ok(connection)
    }

    /// A database whose rows are in the log (`checkpointed: false`) or in the database file.
    fn filled(path: &Path, checkpointed: bool) -> Connection {
        let connection = open(path).unwrap();
        connection.execute_batch("CREATE TABLE t (k INTEGER PRIMARY KEY, v TEXT)").unwrap();
        for k in 0..ROW_COUNT {
            connection.execute("INSERT INTO t VALUES (?1, ?2)", (k, value(k))).unwrap();
        }
        if checkpointed {
            connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).unwrap();
        }
        connection
    }

    fn value(k: u32) -> String {
        format!("{k:0>500}")
    }

    /// Reads every row: how many were served, and how many were refused. A wrong value is a failure.
    fn read_all(connection: &Connection) -> (u32, u32) {
        let (mut served, mut refused) = (0, 0);
        for k in 0..ROW_COUNT {
            match connection.query_row("SELECT v FROM t WHERE k = ?1", [k], |row| row.get::<_, String>(0)) {
                Ok(read) => {
                    assert_eq!(read, value(k));
                    served += 1;
                }
                Err(error) => {
                    assert_eq!(error.sqlite_error().map(|error| error.extended_code), Some(8202), "{error}");
                    refused += 1;
                }
            }
        }
        (served, refused)
    }

    fn flip(path: &Path, byte: u64) {
        let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
        let mut bytes = [0];
        file.read_exact_at(&mut bytes, byte).unwrap();
        file.write_all_at(&[bytes[0] ^ 4], byte).unwrap();
    }

    fn beside(path: &Path, suffix: &str) -> PathBuf {
        PathBuf::from(format!("{}{suffix}", path.display()))
    }

    /// A copy of the files as they are now: what a killed process leaves.
    fn left_behind(path: &Path) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(path.parent().unwrap()).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
        }
        let path = dir.path().join("kv.db");
        (dir, path)
    }

    #[test]
    fn rows_survive_checkpoint_close_and_plain_sqlite() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kv.db");
        let connection = filled(&path, true);
        assert_eq!(read_all(&connection), (ROW_COUNT, 0));
        assert_eq!(read_all(&open(&path).unwrap()), (ROW_COUNT, 0));
        drop(connection);
        vfs().check_log(&path).unwrap();
        assert_eq!(read_all(&open(&path).unwrap()), (ROW_COUNT, 0));
        assert_eq!(read_all(&Connection::open(&path).unwrap()), (ROW_COUNT, 0));
    }

    #[test]
    fn a_database_without_checksums_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kv.db");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (k)").unwrap();
        assert!(open(&path).is_err());
    }

    #[test]
    fn a_flipped_bit_in_the_database_is_refused_and_its_neighbours_are_served() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kv.db");
        drop(filled(&path, true));
        let pages = fs::metadata(&path).unwrap().len() / PAGE_BYTES as u64;
        flip(&path, (pages - 3) * PAGE_BYTES as u64 + 4000);
        let (served, refused) = read_all(&open(&path).unwrap());
        assert!(served > ROW_COUNT / 2 && refused > 0, "{served} served, {refused} refused");
        flip(&path, 60);
        assert!(open(&path).is_err());
    }

    #[test]
    fn a_misdirected_page_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kv.db");
        drop(filled(&path, true));
        let file = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let mut page = [0; PAGE_BYTES];
        file.read_exact_at(&mut page, 5 * PAGE_BYTES as u64).unwrap();
        file.write_all_at(&page, 6 * PAGE_BYTES as u64).unwrap();
        assert!(read_all(&open(&path).unwrap()).1 > 0);
    }

    #[test]
    fn a_flipped_bit_in_the_live_log_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kv.db");
        let connection = filled(&path, false);
        let end = fs::metadata(beside(&path, "-wal")).unwrap().len();
        flip(&beside(&path, "-wal"), end - 500);
        // A connection with an empty cache must go to the log.
        let (served, refused) = read_all(&open(&path).unwrap());
        assert!(served > ROW_COUNT / 2 && refused > 0, "{served} served, {refused} refused");
        // Nor does a checkpoint carry the damage into the database.
        let checkpoint = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get::<_, i64>(0));
        assert_eq!(checkpoint.unwrap_err().sqlite_error_code(), Some(ErrorCode::SystemIoFailure));
    }

    #[test]
    fn a_flipped_bit_in_a_log_from_before_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let connection = filled(&dir.path().join("kv.db"), false);
        let (_copy, path) = left_behind(&dir.path().join("kv.db"));
        drop(connection);
        let recovered = open(&path).unwrap();
        assert_eq!(read_all(&recovered), (ROW_COUNT, 0));
        let end = fs::metadata(beside(&path, "-wal")).unwrap().len();
        flip(&beside(&path, "-wal"), end - 500);
        assert!(read_all(&open(&path).unwrap()).1 > 0);
    }

    #[test]
    fn an_untouched_log_is_recovered() {
        let dir = tempfile::tempdir().unwrap();
        let connection = filled(&dir.path().join("kv.db"), false);
        let (_copy, path) = left_behind(&dir.path().join("kv.db"));
        vfs().check_log(&path).unwrap();
        assert_eq!(read_all(&open(&path).unwrap()), (ROW_COUNT, 0));
        drop(connection);
    }

    #[test]
    fn damage_anywhere_in_a_marked_log_is_found_before_recovery() {
        let dir = tempfile::tempdir().unwrap();
        let connection = filled(&dir.path().join("kv.db"), false);
        let end = fs::metadata(dir.path().join("kv.db-wal")).unwrap().len();
        let places = [0, 9, 17, 25, 33, 41, 50, 60, 5000, end / 2, end - 8300, end - 8200, end - 8190, end - 1];
        for byte in places {
            let (_copy, path) = left_behind(&dir.path().join("kv.db"));
            flip(&beside(&path, "-wal"), byte);
            assert!(matches!(vfs().check_log(&path), Err(LogError::Damaged { .. })), "byte {byte}");
        }
        for size in [0, 20, 32, 5000, end / 2, end - 1] {
            let (_copy, path) = left_behind(&dir.path().join("kv.db"));
            fs::OpenOptions::new().write(true).open(beside(&path, "-wal")).unwrap().set_len(size).unwrap();
            assert!(matches!(vfs().check_log(&path), Err(LogError::Damaged { .. })), "{size} bytes");
        }
        let (_copy, path) = left_behind(&dir.path().join("kv.db"));
        fs::remove_file(beside(&path, "-wal")).unwrap();
        assert!(matches!(vfs().check_log(&path), Err(LogError::Damaged { .. })));
        fs::write(&path, "").unwrap();
        assert!(matches!(vfs().check_log(&path), Err(LogError::Emptied)));
        drop(connection);
    }

    #[test]
    fn without_a_mark_later_transactions_prove_earlier_ones_and_a_torn_tail_is_harmless() {
        let dir = tempfile::tempdir().unwrap();
        let connection = filled(&dir.path().join("kv.db"), false);
        let end = fs::metadata(dir.path().join("kv.db-wal")).unwrap().len();
        let (_copy, path) = left_behind(&dir.path().join("kv.db"));
        fs::remove_file(dir.path().join("kv.db-mark")).unwrap();
        fs::remove_file(path.with_file_name("kv.db-mark")).unwrap();
        flip(&beside(&path, "-wal"), end / 2);
        assert!(matches!(vfs().check_log(&path), Err(LogError::Damaged { .. })));
        let (_copy, path) = left_behind(&dir.path().join("kv.db"));
        flip(&beside(&path, "-wal"), end - 20);
        vfs().check_log(&path).unwrap();
        assert_eq!(open(&path).unwrap().query_row("SELECT count(*) FROM t", [], |row| row.get(0)), Ok(ROW_COUNT - 1));
        drop(connection);
    }

    #[test]
    fn an_emptied_log_leaves_no_mark() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kv.db");
        let connection = filled(&path, false);
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        let (_copy, copied) = left_behind(&path);
        vfs().check_log(&copied).unwrap();
        assert_eq!(read_all(&open(&copied).unwrap()), (ROW_COUNT, 0));
        // The next generation is marked anew.
        connection.execute("DELETE FROM t WHERE k = 0", []).unwrap();
        let (_copy, copied) = left_behind(&path);
        vfs().check_log(&copied).unwrap();
        flip(&beside(&copied, "-wal"), 5000);
        assert!(vfs().check_log(&copied).is_err());
    }

    #[test]
    fn many_threads_share_one_database() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kv.db");
        let writer = filled(&path, false);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5 {
                        assert_eq!(read_all(&open(&path).unwrap()), (ROW_COUNT, 0));
                    }
                });
            }
            for round in 0..60 {
                writer.execute("UPDATE t SET v = v WHERE k % 60 = ?1", [round]).unwrap();
                writer.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).unwrap();
            }
        });
    }
}

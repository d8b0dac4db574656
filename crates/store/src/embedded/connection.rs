//! Connections to the database: how they are set up, what its tables are, and what its errors mean.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};

use crate::embedded::directory::{Directory, OpenError};
use crate::embedded::vfs::Vfs;
use crate::limits::LOCK_WAIT;
use crate::{Error, Version};

/// `kv` is everything; see the module above for why it is one table. `state` has one row.
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS spaces (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
    CREATE TABLE IF NOT EXISTS kv (
        space INTEGER NOT NULL, key BLOB NOT NULL, version INTEGER NOT NULL, value BLOB NOT NULL,
        PRIMARY KEY (space, key)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS state (id INTEGER PRIMARY KEY CHECK (id = 1), last_version INTEGER NOT NULL) STRICT;
    INSERT OR IGNORE INTO state VALUES (1, 0);
";

/// Opens connections, all alike.
#[derive(Clone)]
pub(crate) struct Connector {
    path: PathBuf,
    vfs: Vfs,
}

/// What the database says about itself when it is opened.
pub(crate) struct Known {
    pub last: Version,
    pub spaces: HashMap<String, i64>,
}

impl Connector {
    pub fn new(path: PathBuf, vfs: Vfs) -> Self {
        Self { path, vfs }
    }

    /// Opens the database, makes its tables if they are not there, and recovers what the last process left in the log.
    pub fn prepare(&self, directory: &Directory) -> Result<(Connection, Known), OpenError> {
        self.vfs.check_log(&self.path)?;
        let failed = |step| move |source| self.failed(step, source);
        let writer = self.open()?;
        let is_new = writer
            .query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get::<_, i64>(0))
            .map_err(failed("read the schema of"))?
            == 0;
        if is_new {
            // From then on a property of the file.
            let set_mode = writer.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()));
            set_mode.map_err(failed("begin the log of"))?;
            let schema = format!("BEGIN IMMEDIATE; {SCHEMA} COMMIT;");
            writer.execute_batch(&schema).map_err(failed("make the tables of"))?;
            directory.sync()?;
        }
        let known = known(&writer).map_err(failed("read the state of"))?;
        Ok((writer, known))
    }

    /// The same for a database elsewhere.
    pub fn elsewhere(&self, path: PathBuf) -> Self {
        Self { path, vfs: self.vfs }
    }

    pub fn open(&self) -> Result<Connection, OpenError> {
        self.connect().map_err(|source| self.failed("open", source))
    }

    pub fn connect(&self) -> rusqlite::Result<Connection> {
        // No connection is used by two threads at once, so SQLite need not guard against it.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_EXRESCODE;
        let connection = self.vfs.open(&self.path, flags)?;
        connection.busy_timeout(LOCK_WAIT)?;
        // Checkpoints are the checkpointer's, and none may run over a failed write when the last connection closes.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        // FULL syncs the log in each commit. EXTRA also syncs the directory when a rollback journal is deleted, which
        // happens while a database is made: a journal that a power cut brought back would undo all that came after.
        connection.execute_batch(
            "PRAGMA synchronous = EXTRA; PRAGMA wal_autocheckpoint = 0; PRAGMA temp_store = MEMORY;
             PRAGMA cache_size = -2048;",
        )?;
        Ok(connection)
    }

    pub fn failed(&self, step: &'static str, source: rusqlite::Error) -> OpenError {
        OpenError::Database { step, path: self.path.clone(), source: Arc::new(source) }
    }
}

fn known(connection: &Connection) -> rusqlite::Result<Known> {
    let last: i64 = connection.query_row("SELECT last_version FROM state", (), |row| row.get(0))?;
    let mut statement = connection.prepare("SELECT name, id FROM spaces")?;
    let spaces = statement.query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
    Ok(Known { last: version(last), spaces })
}

/// SQLite's integers are signed; versions start at 1 and will not reach the half.
pub(crate) fn version(stored: i64) -> Version {
    Version(u64::try_from(stored).unwrap_or(0))
}

pub(crate) fn stored(version: Version) -> i64 {
    i64::try_from(version.0).unwrap_or(i64::MAX)
}

/// An error of SQLite's, outside of COMMIT, in our terms. Nothing was written.
pub(crate) fn explain(step: &'static str, error: rusqlite::Error) -> Error {
    let source = error.sqlite_error().copied();
    let cause = Arc::new(error);
    match source.map(|error| (error.code, error.extended_code)) {
        Some((ErrorCode::DiskFull, _)) => Error::Unavailable { reason: "the disk is full", source: Some(cause) },
        Some((ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked, _)) => {
            Error::Unavailable { reason: "the database is busy", source: Some(cause) }
        }
        Some((ErrorCode::OutOfMemory | ErrorCode::CannotOpen, _)) => {
            Error::Unavailable { reason: "the system gives no memory or files", source: Some(cause) }
        }
        Some((ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase, _) | (_, ffi::SQLITE_IOERR_DATA)) => {
            Error::Damaged(cause)
        }
        _ => Error::Engine { step, source: cause },
    }
}

//! Reads: on the caller's thread, each call on one connection and one snapshot. A single get asks the cache first.
//!
//! A connection is never held across an await, so there are at most as many as threads that read.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, Params, params};

use crate::embedded::connection::{Connector, explain, version};
use crate::embedded::{CLOSED, Shared};
use crate::limits::{KEY_BYTES_MAX, READ_BYTES_MAX, READERS_KEPT_MAX};
use crate::{Error, Found, Range, RawRow, Read, Rows, Space, Versioned};

const SPACE: &str = "SELECT id FROM spaces WHERE name = ?1";
const GET: &str = "SELECT version, value FROM kv WHERE space = ?1 AND key = ?2";
const RANGE: &str = "SELECT key, version, value FROM kv WHERE space = ?1 AND key >= ?2 AND key < ?3 ORDER BY key";
const RANGE_REVERSED: &str =
    "SELECT key, version, value FROM kv WHERE space = ?1 AND key >= ?2 AND key < ?3 ORDER BY key DESC";

/// Greater than every key, which are all shorter.
const LAST: [u8; KEY_BYTES_MAX + 1] = [u8::MAX; KEY_BYTES_MAX + 1];

pub(crate) struct Readers {
    /// Those that nobody uses now; `None` when the store is closed.
    idle: Mutex<Option<Vec<Connection>>>,
    connector: Connector,
    shared: Arc<Shared>,
}

impl Readers {
    pub fn new(connector: Connector, shared: Arc<Shared>) -> Self {
        Self { idle: Mutex::new(Some(Vec::new())), connector, shared }
    }

    pub fn read(&self, reads: &[Read]) -> Result<Vec<Found>, Error> {
        let [Read::Get { space, key }] = reads else { return self.read_database(reads) };
        let ticket = match self.shared.cache.get(*space, key) {
            Ok(row) => return Ok(vec![Found::Value(row.sealed.clone())]),
            Err(ticket) => ticket,
        };
        let found = self.read_database(reads)?;
        if let [Found::Value(row)] = &*found {
            self.shared.cache.keep(ticket, row.as_ref());
        }
        Ok(found)
    }

    fn read_database(&self, reads: &[Read]) -> Result<Vec<Found>, Error> {
        let idle = self.idle.lock().as_mut().ok_or(CLOSED)?.pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.connector.connect().map_err(|error| explain("open a connection to read", error))?,
        };
        // A connection that has failed is dropped, and with it the transaction that it may be in.
        let found = self.read_on(&connection, reads).map_err(|error| explain("read the database", error))?;
        if let Some(idle) = self.idle.lock().as_mut().filter(|idle| idle.len() < READERS_KEPT_MAX) {
            idle.push(connection);
        }
        Ok(found)
    }

    pub fn close(&self) {
        *self.idle.lock() = None;
        self.shared.cache.close();
    }

    fn read_on(&self, connection: &Connection, reads: &[Read]) -> rusqlite::Result<Vec<Found>> {
        let mut bytes_left = READ_BYTES_MAX;
        let mut answer = |read: &Read| match read {
            Read::Get { space, key } => self.get(connection, *space, key).map(Found::Value),
            Read::Range(range) => self.range(connection, range, &mut bytes_left).map(Found::Rows),
        };
        // A single statement is a snapshot by itself.
        if let [read] = reads {
            return Ok(vec![answer(read)?]);
        }
        execute(connection, "BEGIN", ())?;
        let found = reads.iter().map(answer).collect::<rusqlite::Result<_>>()?;
        execute(connection, "COMMIT", ())?;
        Ok(found)
    }

    fn get(&self, connection: &Connection, space: Space, key: &[u8]) -> rusqlite::Result<Option<Versioned>> {
        let Some(id) = self.id(connection, space)? else { return Ok(None) };
        let mut statement = connection.prepare_cached(GET)?;
        let row = statement.query_row(params![id, key], |row| {
            let value = Bytes::copy_from_slice(row.get_ref(1)?.as_blob()?);
            Ok(Versioned { value, version: version(row.get(0)?) })
        });
        row.optional()
    }

    fn range(&self, connection: &Connection, range: &Range, bytes_left: &mut usize) -> rusqlite::Result<Rows> {
        let mut found = Rows::default();
        let Some(id) = self.id(connection, range.space)?.filter(|_| !range.is_empty()) else { return Ok(found) };
        let to: &[u8] = range.to.as_deref().unwrap_or(&LAST);
        let mut statement = connection.prepare_cached(if range.reverse { RANGE_REVERSED } else { RANGE })?;
        let mut rows = statement.query(params![id, &*range.from, to])?;
        while let Some(row) = rows.next()? {
            if found.rows.len() >= range.rows_max() || *bytes_left == 0 {
                found.more = true;
                break;
            }
            let (key, value) = (row.get_ref(0)?.as_blob()?, row.get_ref(2)?.as_blob()?);
            *bytes_left = bytes_left.saturating_sub(key.len() + value.len());
            let (key, value) = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
            found.rows.push(RawRow { key, value, version: version(row.get(1)?) });
        }
        Ok(found)
    }

    /// Absent for a space that was never written, which is the same as an empty one.
    /// A space that nothing is in is known to nobody; one whose first row has just become visible, not yet to all. So it is
    /// looked for where the rows are, and at their snapshot.
    fn id(&self, connection: &Connection, space: Space) -> rusqlite::Result<Option<i64>> {
        let known = self.shared.spaces.read().get(space.name()).copied();
        if known.is_some() {
            return Ok(known);
        }
        connection.prepare_cached(SPACE)?.query_row([space.name()], |row| row.get(0)).optional()
    }
}

/// Runs a statement that answers nothing, prepared once a connection.
pub(crate) fn execute(connection: &Connection, sql: &str, params: impl Params) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute(params).map(drop)
}

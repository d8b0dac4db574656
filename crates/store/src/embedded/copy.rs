//! A consistent copy of the database, made while commits go on.
//!
//! It is made in one step, from one snapshot: a copy in several would begin again with every commit between them, and
//! beside a steady writer never end. Until it is done the log cannot begin anew, so it grows by what is committed
//! meanwhile. Both ends pass through the checking file layer: a damaged page ends the copy, and every page of it has
//! its checksum.

use std::path::PathBuf;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use crate::backup::CopyError;
use crate::disk::blocking;
use crate::embedded::connection::{Connector, explain};
use crate::embedded::directory::Directory;

/// Every page there is.
const ALL_PAGES: i32 = -1;
/// Between attempts while another connection has a lock for a moment.
const RETRY_DELAY: Duration = Duration::from_millis(5);
const ATTEMPTS_MAX: usize = 1_000;

/// Puts into `dir` a database that holds what `source`'s holds now. Nothing opens `dir` as a data directory until it
/// gets its format, which is the caller's to write.
pub(crate) async fn copy_to(source: Connector, dir: PathBuf) -> Result<(), CopyError> {
    blocking(move || copy(&source, &dir)).await.map_err(CopyError::Interrupted)?
}

fn copy(source: &Connector, dir: &std::path::Path) -> Result<(), CopyError> {
    let directory = Directory::take_unfinished(dir)?;
    let from = source.open()?;
    let mut to = source.elsewhere(directory.database()).open()?;
    copy_pages(&from, &mut to)?;
    to.close().map_err(|(_, error)| explain("close the copy of the database", error))?;
    Ok(directory.sync()?)
}

fn copy_pages(from: &Connection, to: &mut Connection) -> Result<(), crate::Error> {
    let failed = |error| explain("copy the database", error);
    let backup = Backup::new(from, to).map_err(failed)?;
    for _ in 0..ATTEMPTS_MAX {
        match backup.step(ALL_PAGES).map_err(failed)? {
            StepResult::Done => return Ok(()),
            _ => std::thread::sleep(RETRY_DELAY),
        }
    }
    Err(crate::Error::Unavailable { reason: "the database is busy", source: None })
}

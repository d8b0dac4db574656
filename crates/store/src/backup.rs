//! Backup and restore of a data directory.
//!
//! A backup is made by the running server: one consistent copy of the database, with every blob that it refers to,
//! in a directory that is laid out as a data directory and has a manifest, `backup.json`. The blobs that are there are
//! copied first, then the database at one moment, then the blobs that came between. Everything that was acknowledged
//! before that moment is in it. Not so what is acknowledged while the database is copied: to have that too, commits
//! would have to wait.
//!
//! Invariants: no blob is collected between a look at its reference and its copy. Format and manifest are written
//! last: nothing opens a directory without a format, and one without a manifest is no backup. Whatever is damaged ends
//! a backup or a restore with an error that names it, and is never passed on as good.
//!
//! The master key is left out, and the manifest says so: who has a backup alone reads no secret.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::blobs::{self, Blob, BlobHash, Blobs};
use crate::data_dir::{self, DATABASE};
use crate::disk::{self, DiskError, blocking};
use crate::embedded::directory::{FORMAT, create_with_parents, write_format};
use crate::limits::{BACKUP_MANIFEST_BYTES_MAX, RANGE_ROWS_MAX};
use crate::{OpenError, Options, Range, Store};

const MANIFEST: &str = "backup.json";
const MANIFEST_FORMAT: u32 = 1;

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub format: u32,
    /// The format of the data directory.
    pub data_format: u32,
    /// The moment that it holds: everything acknowledged before is in it.
    pub created: String,
    pub database_bytes: u64,
    pub database_sha256: BlobHash,
    pub blob_count: u64,
    pub blob_bytes: u64,
    /// For whoever finds the directory.
    pub master_key: String,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("use {}: it is not empty; name a directory that is, or does not exist", .0.display())]
    NotEmpty(PathBuf),
    #[error("find a complete backup in {}: it has no readable {MANIFEST}", .0.display())]
    NoBackup(PathBuf),
    #[error("read the backup: a newer version of this program made it; restore it with that version")]
    Newer,
    #[error("verify the backup: {what} is not what was backed up")]
    Damaged { what: String },
    #[error("copy the database")]
    Copy(#[from] CopyError),
    #[error("open the copy of the database")]
    Open(#[from] OpenError),
    #[error("read the references to blobs")]
    Store(#[from] crate::Error),
    #[error(transparent)]
    Blob(#[from] blobs::Error),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("write the manifest")]
    Manifest(#[from] serde_json::Error),
    #[error("finish the backup")]
    Interrupted(#[source] io::Error),
}

/// Why a store could not be copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error("copy a store that has no files")]
    NoFiles,
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Store(#[from] crate::Error),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("finish the copy")]
    Interrupted(#[source] io::Error),
}

/// Backs up a store and its blobs, while both are in use, to `target`, which must be empty or not exist.
pub async fn backup(store: &Store, blobs: &Blobs, target: &Path) -> Result<Manifest, Error> {
    refuse_occupied(target)?;
    create_with_parents(target)?;
    let dir = data_dir::blobs(target);
    disk::create_dir(&dir)?;
    // What is referred to when it is looked at stays until it is copied.
    let hold = blobs.hold();
    // Blobs can take long, so most are copied before the moment that the backup holds, and few are left for after it.
    copy_referenced(store, blobs, &dir).await?;
    let created = store.now().await?.iso8601();
    store.copy_to(target).await?;
    let copy = open_copy(target, blobs).await?;
    let tally = copy_referenced(&copy, blobs, &dir).await?;
    drop(hold);
    discard_unreferenced(&copy, blobs, &dir).await?;
    copy.close().await?;
    let target = target.to_owned();
    let finish = move || tally.finish(&target, created);
    blocking(finish).await.map_err(Error::Interrupted)?
}

/// Copies the blobs that `store` refers to and `dir` has not; tells of all that it refers to.
async fn copy_referenced(store: &Store, blobs: &Blobs, dir: &Path) -> Result<Tally, Error> {
    let mut tally = Tally { blobs: blobs.clone(), dir: dir.to_owned(), count: 0, bytes: 0 };
    let mut range = Range::under(blobs::REFERENCES, Bytes::new(), RANGE_ROWS_MAX);
    let mut last = None;
    loop {
        let page = store.range(range.clone()).await?;
        let mut wanted = Vec::new();
        for row in &page.rows {
            let blob =
                blobs::referenced(&row.key, &row.value).ok_or_else(|| Error::Damaged { what: "a row".into() })?;
            // References to one blob are neighbours.
            if last != Some(blob) {
                wanted.push(blob);
                last = Some(blob);
            }
        }
        tally = blocking(move || tally.copy_all(&wanted)).await.map_err(Error::Interrupted)??;
        let Some(row) = page.rows.last().filter(|_| page.more) else { return Ok(tally) };
        range.from = [&row.key, &b"\0"[..]].concat().into();
    }
}

/// Removes the blobs whose last reference went before the database was copied.
async fn discard_unreferenced(copy: &Store, blobs: &Blobs, dir: &Path) -> Result<(), Error> {
    let copied = Blobs::open(copy, dir, blobs.clock())?;
    copied.collect(Duration::ZERO).await?;
    Ok(())
}

/// Makes a data directory of a backup. `data_dir` must be empty or not exist; what a restore that was cut off left
/// there is refused by everything that opens a data directory.
pub async fn restore(backup: &Path, data_dir: &Path) -> Result<Manifest, Error> {
    let (backup, data_dir) = (backup.to_owned(), data_dir.to_owned());
    blocking(move || restore_blocking(&backup, &data_dir)).await.map_err(Error::Interrupted)?
}

async fn open_copy(dir: &Path, blobs: &Blobs) -> Result<Store, Error> {
    let (dir, clock) = (dir.to_owned(), blobs.clock());
    let open = move || Store::open(&dir, clock, Options::unfinished());
    Ok(blocking(open).await.map_err(Error::Interrupted)??)
}

/// The blobs of a backup as they are copied.
struct Tally {
    blobs: Blobs,
    dir: PathBuf,
    count: u64,
    bytes: u64,
}

impl Tally {
    fn copy_all(mut self, wanted: &[Blob]) -> Result<Self, Error> {
        for blob in wanted {
            let path = new_blob_path(&self.dir, &blob.hash)?;
            // A copy that failed ended the backup, so one that is there is good.
            if !path.exists() {
                let mut file = create_private(&path)?;
                self.blobs.copy_verified(blob, &mut file)?;
                file.sync_all().map_err(DiskError::at("sync", &path))?;
            }
            self.count = self.count.saturating_add(1);
            self.bytes = self.bytes.saturating_add(blob.size_bytes);
        }
        Ok(self)
    }

    fn finish(self, target: &Path, created: String) -> Result<Manifest, Error> {
        sync_blob_dirs(&self.dir)?;
        let database = measure(&data_dir::database(target))?;
        let manifest = Manifest {
            format: MANIFEST_FORMAT,
            data_format: FORMAT,
            created,
            database_bytes: database.size_bytes,
            database_sha256: database.hash,
            blob_count: self.count,
            blob_bytes: self.bytes,
            master_key: "not included: keep keys/master.json of the source, without it no secret opens".into(),
        };
        write_format(target)?;
        disk::write_private(&target.join(MANIFEST), &serde_json::to_vec_pretty(&manifest)?)?;
        Ok(manifest)
    }
}

fn restore_blocking(backup: &Path, dir: &Path) -> Result<Manifest, Error> {
    let manifest = read_manifest(backup)?;
    refuse_occupied(dir)?;
    create_with_parents(dir)?;
    // The database comes first and the format last: between them the directory is one that nothing opens.
    let database = Blob { hash: manifest.database_sha256, size_bytes: manifest.database_bytes };
    copy_file(&data_dir::database(backup), &data_dir::database(dir), &database, DATABASE)?;
    disk::sync_dir(dir)?;
    let (source, target) = (data_dir::blobs(backup), data_dir::blobs(dir));
    disk::create_dir(&target)?;
    let (mut count, mut bytes): (u64, u64) = (0, 0);
    for shard in 0..=u8::MAX {
        for hash in blobs::list_shard(&source, shard)? {
            let from = blobs::path_below(&source, &hash);
            let size_bytes = fs::metadata(&from).map_err(DiskError::at("measure", &from))?.len();
            let to = new_blob_path(&target, &hash)?;
            copy_file(&from, &to, &Blob { hash, size_bytes }, &format!("blob {hash}"))?;
            count = count.saturating_add(1);
            bytes = bytes.saturating_add(size_bytes);
        }
    }
    if (count, bytes) != (manifest.blob_count, manifest.blob_bytes) {
        return Err(Error::Damaged { what: format!("the number of blobs ({count}, not {})", manifest.blob_count) });
    }
    sync_blob_dirs(&target)?;
    write_format(dir)?;
    Ok(manifest)
}

fn read_manifest(backup: &Path) -> Result<Manifest, Error> {
    let no_backup = || Error::NoBackup(backup.to_owned());
    let mut text = Vec::new();
    let file = File::open(backup.join(MANIFEST)).map_err(|_| no_backup())?;
    file.take(BACKUP_MANIFEST_BYTES_MAX).read_to_end(&mut text).map_err(|_| no_backup())?;
    // Of a newer manifest only the formats are sure to be there.
    let value: serde_json::Value = serde_json::from_slice(&text).map_err(|_| no_backup())?;
    let number = |name: &str| value.get(name).and_then(serde_json::Value::as_u64).ok_or_else(no_backup);
    if number("format")? > MANIFEST_FORMAT.into() || number("data_format")? > FORMAT.into() {
        return Err(Error::Newer);
    }
    serde_json::from_value(value).map_err(|_| no_backup())
}

fn refuse_occupied(dir: &Path) -> Result<(), Error> {
    match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(DiskError::at("list", dir)(error).into()),
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(Error::NotEmpty(dir.to_owned())),
        },
    }
}

/// Copies and syncs a file that has to be `expected`.
fn copy_file(from: &Path, to: &Path, expected: &Blob, what: &str) -> Result<(), Error> {
    let source = File::open(from).map_err(DiskError::at("open", from))?;
    let mut file = create_private(to)?;
    let damaged = || Error::Damaged { what: what.to_owned() };
    match blobs::copy_hashed(source, &mut file, expected.size_bytes) {
        Ok(copied) if copied == *expected => {}
        Ok(_) | Err(blobs::CopyError::TooLarge) => return Err(damaged()),
        Err(blobs::CopyError::Read(error)) => return Err(DiskError::at("read", from)(error).into()),
        Err(blobs::CopyError::Write(error)) => return Err(DiskError::at("write", to)(error).into()),
    }
    Ok(file.sync_all().map_err(DiskError::at("sync", to))?)
}

fn measure(path: &Path) -> Result<Blob, Error> {
    let source = File::open(path).map_err(DiskError::at("open", path))?;
    match blobs::copy_hashed(source, &mut io::sink(), u64::MAX) {
        Ok(measured) => Ok(measured),
        Err(blobs::CopyError::Read(error) | blobs::CopyError::Write(error)) => {
            Err(DiskError::at("read", path)(error).into())
        }
        Err(blobs::CopyError::TooLarge) => Err(Error::Damaged { what: path.display().to_string() }),
    }
}

/// Where a blob goes in a directory of blobs, whose shard is made if need be.
fn new_blob_path(dir: &Path, hash: &BlobHash) -> Result<PathBuf, DiskError> {
    let path = blobs::path_below(dir, hash);
    path.parent().map_or(Ok(()), disk::create_dir)?;
    Ok(path)
}

fn create_private(path: &Path) -> Result<File, DiskError> {
    let created = OpenOptions::new().write(true).create_new(true).mode(disk::MODE_PRIVATE_FILE).open(path);
    created.map_err(DiskError::at("create", path))
}

fn sync_blob_dirs(dir: &Path) -> Result<(), DiskError> {
    for entry in fs::read_dir(dir).map_err(DiskError::at("list", dir))? {
        disk::sync_dir(&entry.map_err(DiskError::at("list", dir))?.path())?;
    }
    disk::sync_dir(dir)?;
    dir.parent().map_or(Ok(()), disk::sync_dir)
}

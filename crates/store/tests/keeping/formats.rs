//! D11: data directories of every format that was ever released open in this version and say what they said then.
//!
//! `tests/fixtures/format-N` is what [`fill`] made with the last version that wrote format N. A fixture is never made
//! anew; a new format gets one of its own, with
//! `LAMP_FIXTURE=tests/fixtures/format-N cargo test -p store --test keeping formats`. Git keeps no modes, so the test
//! sets those of the keys; the master key in a fixture was made for it and opens nothing else.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base::{AccountId, Region, SystemChance, SystemClock, World};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use store::{
    Batch, Blob, Blobs, OpenError, Options, Record, Scope, Sealed, Space, Store, StreamId, Streams, Table, Vault,
    data_dir,
};

const THINGS: Table<String, Thing> = Table::new("fixture_things");
const RAW: Space = Space::new("fixture_raw");

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Thing {
    code: Blob,
    environment: Sealed,
}

impl Record for Thing {
    const VERSION: u8 = 1;
}

fn scope() -> Scope {
    Scope { world: World(0), account: AccountId::ZERO, region: Some(Region::default()) }
}

/// The records of the fixture's stream: one too long for a row among short ones.
fn records() -> Vec<Bytes> {
    let mut records: Vec<_> = (0..50).map(|number| Bytes::from(format!("line {number}"))).collect();
    records[20] = Bytes::from(vec![b'x'; 66_000]);
    records
}

async fn fill(dir: &Path) {
    let clock = Arc::new(SystemClock);
    let store = Store::open(dir, clock.clone(), Options::default()).unwrap();
    let blobs = Blobs::open(&store, &data_dir::blobs(dir), clock).unwrap();
    let chance = Arc::new(SystemChance::default());
    let vault = Vault::open(&store, &data_dir::master_key(dir), chance).await.unwrap();
    let staged = blobs.put(&b"the code"[..], 100).await.unwrap();
    let (batch, environment) = vault.seal_with(Batch::new(), "thing", "environment", b"SECRET=1").await.unwrap();
    let thing = Thing { code: staged.blob(), environment };
    let batch = batch.put(&THINGS, &scope(), "thing", &thing).put_raw(RAW, "key", b"value");
    let batch = blobs.retain(batch, &staged, b"thing").unwrap();
    assert!(store.commit(batch).await.unwrap().is_committed());
    let (streams, stream) = (Streams::new(&store), StreamId::new(&scope(), "stream").unwrap());
    streams.append(&stream, &records()[..30]).await.unwrap();
    records()[30..].iter().for_each(|record| streams.append_lazy(&stream, record));
    streams.flush().await.unwrap();
    streams.trim(&stream, 10).await.unwrap();
    store.lease("lease", "owner", Duration::ZERO).await.unwrap().unwrap();
    store.close().await.unwrap();
}

/// Everything that [`fill`] wrote is there, and can be written to.
async fn check(dir: &Path) {
    let clock = Arc::new(SystemClock);
    let store = Store::open(dir, clock.clone(), Options::default()).unwrap();
    let blobs = Blobs::open(&store, &data_dir::blobs(dir), clock).unwrap();
    let chance = Arc::new(SystemChance::default());
    let vault = Vault::open(&store, &data_dir::master_key(dir), chance).await.unwrap();
    assert_eq!(store.get(RAW, "key").await.unwrap().unwrap().value, "value");
    let thing = THINGS.get(&store, &scope(), "thing").await.unwrap().unwrap().value;
    assert_eq!(blobs.read_verified(&thing.code, 100).await.unwrap(), "the code");
    let secret = vault.unseal("thing", "environment", &thing.environment).await.unwrap();
    assert_eq!(secret.expose(), b"SECRET=1");
    let (streams, stream) = (Streams::new(&store), StreamId::new(&scope(), "stream").unwrap());
    let slice = streams.read(&stream, 0, 100, 1_000_000).await.unwrap();
    assert_eq!((slice.first, slice.start, slice.end), (10, 10, 50));
    assert_eq!(slice.records, records()[10..]);
    assert_eq!(store.lease("lease", "another", Duration::from_secs(1)).await.unwrap().unwrap().epoch, 2);
    assert_eq!(vault.rotate().await.unwrap(), 1);
    assert_eq!(streams.append(&stream, &records()[..1]).await.unwrap(), 50..51);
    for _ in 0..2 {
        assert_eq!(blobs.collect(Duration::ZERO).await.unwrap().deleted_count, 0);
    }
    store.close().await.unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() { copy(&path, &target) } else { fs::copy(&path, &target).map(drop).unwrap() }
    }
}

#[tokio::test]
async fn what_this_version_writes_it_reads_after_a_restart() {
    let temp = tempfile::tempdir().unwrap();
    fill(temp.path()).await;
    if let Some(dir) = std::env::var_os("LAMP_FIXTURE") {
        copy(temp.path(), Path::new(&dir));
        // What only a running process needs.
        for name in ["lock", "store.db-shm"] {
            fs::remove_file(Path::new(&dir).join(name)).ok();
        }
    }
    check(temp.path()).await;
}

#[tokio::test]
async fn every_format_ever_released_is_read() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join("fixtures");
    let mut count = 0;
    for entry in fs::read_dir(fixtures).unwrap() {
        let temp = tempfile::tempdir().unwrap();
        copy(&entry.unwrap().path(), temp.path());
        let keys = temp.path().join("keys");
        fs::set_permissions(&keys, fs::Permissions::from_mode(0o700)).unwrap();
        fs::set_permissions(keys.join("master.json"), fs::Permissions::from_mode(0o600)).unwrap();
        check(temp.path()).await;
        count += 1;
    }
    assert_eq!(count, 1, "the formats that there have been");
}

#[tokio::test]
async fn data_of_a_newer_format_is_refused_and_left_alone() {
    let temp = tempfile::tempdir().unwrap();
    fill(temp.path()).await;
    fs::write(temp.path().join("format"), "2\n").unwrap();
    let database = fs::read(temp.path().join("store.db")).unwrap();
    let refused = Store::open(temp.path(), Arc::new(SystemClock), Options::default()).err().unwrap();
    assert!(matches!(refused, OpenError::Newer { found: 2, known: 1, .. }), "{refused}");
    assert_eq!(fs::read(temp.path().join("store.db")).unwrap(), database);
}

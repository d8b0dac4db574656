//! Backup and restore of a running store, and what of its secrets lies on the disk.
//!
//! D10: under commits without pause, back up, restore elsewhere, and compare: everything that was acknowledged before
//! the moment that the manifest names is there, which comes after the bulk of the blobs; nothing is half there, and all
//! blobs are what they should be.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, SystemTime};

use base::{Clock, SystemChance, SystemClock, Timestamp};
use bytes::Bytes;
use store::backup::{self, Manifest};
use store::{Batch, Blob, Blobs, Options, Range, Space, Store, Vault, data_dir};

const PAIRS: Space = Space::new("pairs");
const BLOB_NAMES: Space = Space::new("blob_names");

struct Server {
    store: Store,
    blobs: Blobs,
    vault: Vault,
}

async fn open(dir: &Path) -> Server {
    let clock = Arc::new(SystemClock);
    let store = Store::open(dir, clock.clone(), Options::default()).unwrap();
    let blobs = Blobs::open(&store, &data_dir::blobs(dir), clock).unwrap();
    let key_file = data_dir::master_key(dir);
    let vault = Vault::open(&store, &key_file, Arc::new(SystemChance::default())).await.unwrap();
    Server { store, blobs, vault }
}

impl Server {
    async fn put_blob(&self, name: &str, content: Vec<u8>) -> Blob {
        let staged = self.blobs.put(std::io::Cursor::new(content), 1_000_000).await.unwrap();
        let named = serde_json::to_vec(&staged.blob()).unwrap();
        let batch = Batch::new().put_raw(BLOB_NAMES, name.to_owned(), &named);
        let batch = self.blobs.retain(batch, &staged, name.as_bytes()).unwrap();
        assert!(self.store.commit(batch).await.unwrap().is_committed());
        staged.blob()
    }
}

/// Every blob that a record points at, read whole.
async fn read_blobs(store: &Store, blobs: &Blobs) -> usize {
    let rows = store.range(Range::under(BLOB_NAMES, Bytes::new(), 1_000)).await.unwrap().rows;
    for row in &rows {
        let blob: Blob = serde_json::from_slice(&row.value).unwrap();
        blobs.read_verified(&blob, 1_000_000).await.unwrap();
    }
    rows.len()
}

/// When each of a writer's commits was acknowledged.
type Acked = Mutex<Vec<Timestamp>>;

/// Commits number after number under two keys at once, and says which were acknowledged.
async fn write_pairs(store: Store, writer: usize, acked: Arc<Acked>, stop: Arc<AtomicBool>) {
    for number in 1_u64.. {
        let pair = |half: &str| format!("{writer}/{number:08}/{half}");
        let batch = Batch::new().put_raw(PAIRS, pair("a"), &[7; 500]).put_raw(PAIRS, pair("b"), &[8; 500]);
        assert!(store.commit(batch).await.unwrap().is_committed());
        acked.lock().unwrap().push(SystemClock.now());
        if stop.load(Ordering::SeqCst) {
            return;
        }
    }
}

/// Blobs come and go, each referred to for a while: what a snapshot refers to may be gone before it is copied.
async fn churn_blobs(server: Arc<Server>, stop: Arc<AtomicBool>) {
    let mut kept = VecDeque::new();
    for number in 0_u64.. {
        let name = format!("churn {number}");
        kept.push_back((server.put_blob(&name, number.to_le_bytes().repeat(1_000)).await, name));
        if kept.len() > 6
            && let Some((blob, name)) = kept.pop_front()
        {
            let batch = Batch::new().delete_raw(BLOB_NAMES, name.clone());
            let batch = server.blobs.release(batch, &blob, name.as_bytes()).unwrap();
            server.store.commit(batch).await.unwrap();
        }
        if stop.load(Ordering::SeqCst) {
            return;
        }
    }
}

async fn collect_restlessly(server: Arc<Server>, stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::SeqCst) {
        server.blobs.collect(Duration::ZERO).await.unwrap();
    }
}

/// The highest number of each writer's, having checked that all before it are there, in pairs.
async fn check_pairs(store: &Store, writer: usize) -> u64 {
    let mut range = Range::under(PAIRS, format!("{writer}/"), 1_000);
    let mut keys = Vec::new();
    loop {
        let page = store.range(range.clone()).await.unwrap();
        keys.extend(page.rows.iter().map(|row| String::from_utf8(row.key.to_vec()).unwrap()));
        let Some(row) = page.rows.last().filter(|_| page.more) else { break };
        range.from = [&row.key[..], b"\0"].concat().into();
    }
    for (pair, number) in keys.chunks(2).zip(1..) {
        assert_eq!(pair, [format!("{writer}/{number:08}/a"), format!("{writer}/{number:08}/b")]);
    }
    keys.len() as u64 / 2
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_constant_commits_restores_to_one_moment() {
    let temp = tempfile::tempdir().unwrap();
    let server = Arc::new(open(&temp.path().join("data")).await);
    for number in 0..60_u8 {
        server.put_blob(&format!("early {number}"), vec![number; 20_000]).await;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let acked: Vec<_> = (0..4).map(|_| Arc::new(Acked::default())).collect();
    let mut load = tokio::task::JoinSet::new();
    for (writer, acked) in acked.iter().enumerate() {
        load.spawn(write_pairs(server.store.clone(), writer, acked.clone(), stop.clone()));
    }
    load.spawn(churn_blobs(server.clone(), stop.clone()));
    load.spawn(collect_restlessly(server.clone(), stop.clone()));
    for round in 0..2 {
        while acked.iter().any(|acked| acked.lock().unwrap().len() < 20 * (round + 1)) {
            tokio::task::yield_now().await;
        }
        let target = temp.path().join(format!("backup {round}"));
        let manifest = backup::backup(&server.store, &server.blobs, &target).await.unwrap();
        let moment = Timestamp::parse_iso8601(&manifest.created).unwrap();
        let is_before = |path: &PathBuf| fs::metadata(path).unwrap().modified().unwrap() < system_time(moment);
        assert!(files(&data_dir::blobs(&target)).iter().any(is_before), "no blob was copied before the database");
        let data = temp.path().join(format!("restored {round}"));
        assert_eq!(backup::restore(&target, &data).await.unwrap(), manifest);
        let store = Store::open(&data, Arc::new(SystemClock), Options::default()).unwrap();
        for (writer, acked) in acked.iter().enumerate() {
            let acked_before = acked.lock().unwrap().iter().filter(|at| **at < moment).count() as u64;
            let found = check_pairs(&store, writer).await;
            assert!(found >= acked_before, "writer {writer}: {found} of {acked_before}");
        }
        let blobs = Blobs::open(&store, &data_dir::blobs(&data), Arc::new(SystemClock)).unwrap();
        let counted = blobs.collect(Duration::ZERO).await.unwrap().examined_count;
        assert_eq!(counted, manifest.blob_count);
        assert!(read_blobs(&store, &blobs).await >= 60);
        store.close().await.unwrap();
    }
    stop.store(true, Ordering::SeqCst);
    load.join_all().await;
    server.blobs.collect(Duration::ZERO).await.unwrap();
    assert!(read_blobs(&server.store, &server.blobs).await >= 60);
}

fn system_time(at: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + at.since(Timestamp::default())
}

/// A small backup, and the directory that it is in.
async fn small() -> (tempfile::TempDir, PathBuf, Manifest) {
    let temp = tempfile::tempdir().unwrap();
    let server = open(&temp.path().join("data")).await;
    server.put_blob("one", b"first".to_vec()).await;
    server.put_blob("two", b"second".to_vec()).await;
    server.put_blob("same as two", b"second".to_vec()).await;
    server.vault.seal("owner", "context", b"hunter2").await.unwrap();
    let target = temp.path().join("backup");
    let manifest = backup::backup(&server.store, &server.blobs, &target).await.unwrap();
    assert_eq!((manifest.blob_count, manifest.blob_bytes), (2, 11));
    (temp, target, manifest)
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

#[tokio::test]
async fn neither_backup_nor_restore_touches_a_directory_in_use() {
    let (temp, target, _) = small().await;
    let server = open(&temp.path().join("data")).await;
    let occupied = backup::backup(&server.store, &server.blobs, &target).await;
    assert!(matches!(occupied, Err(backup::Error::NotEmpty(dir)) if dir == target));
    let occupied = backup::restore(&target, &temp.path().join("data")).await;
    assert!(matches!(occupied, Err(backup::Error::NotEmpty(_))));
    let memory = Store::memory(Arc::new(SystemClock));
    assert!(backup::backup(&memory, &server.blobs, &temp.path().join("other")).await.is_err());
}

#[tokio::test]
async fn every_damaged_or_missing_file_of_a_backup_is_found() {
    let (temp, target, manifest) = small().await;
    let mut checked_count = 0;
    for (number, path) in files(&target).into_iter().enumerate() {
        let whole = fs::read(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        // The restore makes these anew.
        if ["lock", "format"].contains(&name.as_str()) || name.contains('-') {
            continue;
        }
        checked_count += 1;
        let mut flipped = whole.clone();
        let at = flipped.len() / 2;
        flipped[at] ^= 1;
        let damages: [Option<&[u8]>; 3] = [None, Some(&whole[..whole.len() - 1]), Some(&flipped)];
        for (kind, damage) in damages.into_iter().enumerate() {
            match damage {
                None => fs::remove_file(&path).unwrap(),
                Some(damaged) => fs::write(&path, damaged).unwrap(),
            }
            let data = temp.path().join(format!("restored {number} {kind}"));
            let restored = backup::restore(&target, &data).await;
            // A bit of the manifest's prose may flip.
            let is_harmless = name == "backup.json" && restored.is_ok();
            assert!(restored.is_err() || is_harmless, "damage {kind} to {name} went unnoticed");
            if restored.is_err() && data.exists() && fs::read_dir(&data).unwrap().next().is_some() {
                assert!(
                    Store::open(&data, Arc::new(SystemClock), Options::default()).is_err(),
                    "half a restore opened"
                );
            }
            fs::write(&path, &whole).unwrap();
        }
    }
    assert_eq!(checked_count, 4, "the database, two blobs and the manifest");
    assert_eq!(backup::restore(&target, &temp.path().join("good")).await.unwrap(), manifest);
}

/// Drops a backup at every one of its awaits, as when the process ends there, and opens what it has made so far.
#[tokio::test]
async fn a_backup_that_was_cut_off_opens_for_nobody() {
    let (temp, _, _) = small().await;
    let server = open(&temp.path().join("data")).await;
    let mut refused_count = 0;
    for polls_max in 1.. {
        let target = temp.path().join(format!("cut {polls_max}"));
        let done = {
            let mut backup = pin!(backup::backup(&server.store, &server.blobs, &target));
            let mut polls_left = polls_max;
            std::future::poll_fn(|cx| match backup.as_mut().poll(cx) {
                Poll::Ready(done) => Poll::Ready(Some(done.unwrap())),
                Poll::Pending => {
                    polls_left -= 1;
                    if polls_left == 0 { Poll::Ready(None) } else { Poll::Pending }
                }
            })
            .await
        };
        match Store::open(&target, Arc::new(SystemClock), Options::default()) {
            // What blocks goes on after its caller, so the last step may have come to its end.
            Ok(copy) => {
                let blobs = Blobs::open(&copy, &data_dir::blobs(&target), Arc::new(SystemClock)).unwrap();
                assert_eq!(read_blobs(&copy, &blobs).await, 3);
            }
            Err(_) => refused_count += 1,
        }
        if done.is_some() {
            break;
        }
    }
    assert!(refused_count > 3, "{refused_count}");
}

#[tokio::test]
async fn a_backup_of_a_newer_version_is_refused() {
    let (temp, target, _) = small().await;
    let text = fs::read_to_string(target.join("backup.json")).unwrap();
    for field in ["\"format\": 1", "\"data_format\": 1"] {
        fs::write(target.join("backup.json"), text.replace(field, &field.replace('1', "2"))).unwrap();
        let refused = backup::restore(&target, &temp.path().join("restored")).await;
        assert!(matches!(refused, Err(backup::Error::Newer)));
    }
}

#[tokio::test]
async fn a_damaged_blob_ends_a_backup() {
    let temp = tempfile::tempdir().unwrap();
    let server = open(&temp.path().join("data")).await;
    let blob = server.put_blob("one", b"first".to_vec()).await;
    let hash = blob.hash.to_string();
    fs::write(data_dir::blobs(&temp.path().join("data")).join(&hash[..2]).join(&hash), "fisrt").unwrap();
    let target = temp.path().join("backup");
    let error = backup::backup(&server.store, &server.blobs, &target).await.unwrap_err();
    assert!(error.to_string().contains(&hash), "{error}");
    assert!(!data_dir::exists(&target));
    assert!(matches!(backup::restore(&target, &temp.path().join("r")).await, Err(backup::Error::NoBackup(_))));
}

/// A11: canaries are sealed, rotated, checkpointed and backed up; no file of the data directory or the backup has one,
/// and the backup has no master key, though with the original's it opens everything.
#[tokio::test]
async fn no_secret_lies_open_on_the_disk() {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    let server = open(&data).await;
    let canary = |number: usize| format!("canary-{number:04}-Zq8wLx");
    let mut sealed = Vec::new();
    for number in 0..100 {
        let owner = format!("function {number}");
        let secret = server.vault.seal(&owner, "env", canary(number).as_bytes()).await.unwrap();
        let record = serde_json::to_vec(&secret).unwrap();
        assert!(server.store.commit(Batch::new().put_raw(PAIRS, owner, &record)).await.unwrap().is_committed());
        assert!(!format!("{secret:?}").contains("canary"));
        sealed.push(secret);
    }
    let absent = |dir: &Path| {
        for path in files(dir) {
            let bytes = fs::read(&path).unwrap();
            assert!(!bytes.windows(7).any(|window| window == b"canary-"), "{}", path.display());
        }
    };
    absent(&data);
    assert_eq!(server.vault.rotate().await.unwrap(), 100);
    let target = temp.path().join("backup");
    backup::backup(&server.store, &server.blobs, &target).await.unwrap();
    server.store.close().await.unwrap();
    absent(&data);
    absent(&target);
    let master = fs::read_to_string(data.join("keys").join("master.json")).unwrap();
    let key = serde_json::from_str::<serde_json::Value>(&master).unwrap()["keys"][0].as_str().unwrap().to_owned();
    for path in files(&target) {
        let bytes = fs::read(&path).unwrap();
        assert!(!bytes.windows(key.len()).any(|window| window == key.as_bytes()), "{}", path.display());
    }
    let restored = temp.path().join("restored");
    backup::restore(&target, &restored).await.unwrap();
    let store = Store::open(&restored, Arc::new(SystemClock), Options::default()).unwrap();
    let key_file = restored.join("keys").join("master.json");
    let chance = Arc::new(SystemChance::default());
    let missing = Vault::open(&store, &key_file, chance.clone()).await.err().unwrap();
    assert!(matches!(missing, store::vault::OpenError::Missing(_)));
    let vault = Vault::open(&store, &data.join("keys").join("master.json"), chance).await.unwrap();
    for (number, sealed) in sealed.iter().enumerate() {
        let opened = vault.unseal(&format!("function {number}"), "env", sealed).await.unwrap();
        assert_eq!(opened.expose(), canary(number).as_bytes());
    }
}

/// A11: the whole way on the disk; ten thousand owners with `LAMP_TORTURE`.
#[tokio::test]
async fn all_owners_rotate_on_the_disk() {
    let temp = tempfile::tempdir().unwrap();
    let server = open(&temp.path().join("data")).await;
    let owner_count = if std::env::var_os("LAMP_TORTURE").is_some() { 10_000 } else { 500 };
    let mut seals = tokio::task::JoinSet::new();
    for number in 0..owner_count {
        let vault = server.vault.clone();
        seals.spawn(async move { vault.seal(&format!("function {number}"), "env", b"secret").await.unwrap() });
    }
    seals.join_all().await;
    assert_eq!(server.vault.rotate().await.unwrap(), owner_count);
}

//! References to blobs, and the collector that deletes what nothing refers to.
//!
//! A reference is a row (hash, referrer), committed in the batch of the record that points at the blob. The collector
//! is a reconciler: it takes no input, may stop anywhere and start again, and compares files with references.
//!
//! It deletes what has been needed by nothing for a grace period: since the file was written, and since the last of its
//! references was released, which is a row of the store. So the period goes on while no process runs, and one that has
//! passed ends with the first collection of the next process.
//!
//! Invariant: a file is deleted only if it was condemned, then found without a reference, and nobody pinned it between.
//! A pin acquits, and a reference is only made under a pin: so whichever way a new reference and the collector
//! interleave, either the collector sees the reference or the pin has acquitted.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use base::Timestamp;

use super::{Blob, BlobHash, Blobs, Error, Staged, shard_below};
use crate::disk::{DiskError, blocking};
use crate::limits::{BLOB_COLLECT_STEP, BLOB_REFERRER_BYTES_MAX};
use crate::{Batch, Found, Range, Read, Space};

/// Keys are the hash, then the referrer; values the size in bytes, little-endian.
pub(crate) const REFERENCES: Space = Space::new("blob_references");
/// Hash -> when a reference to the blob was released last, in microseconds, little-endian.
const RELEASES: Space = Space::new("blob_releases");

/// What a collection did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Collected {
    pub examined_count: u64,
    pub deleted_count: u64,
    pub deleted_bytes: u64,
}

impl Blobs {
    /// Adds to `batch` a reference to a blob. `referrer` names the record that points at it, world first, and is
    /// unique to it.
    pub fn retain(&self, batch: Batch, staged: &Staged, referrer: &[u8]) -> Result<Batch, Error> {
        let blob = staged.blob();
        Ok(batch.put_raw(REFERENCES, reference_key(&blob.hash, referrer)?, &blob.size_bytes.to_le_bytes()))
    }

    /// Removes in `batch` the reference that `referrer` has to a blob.
    pub fn release(&self, batch: Batch, blob: &Blob, referrer: &[u8]) -> Result<Batch, Error> {
        let now = self.0.clock.now().as_micros().to_le_bytes();
        let batch = batch.delete_raw(REFERENCES, reference_key(&blob.hash, referrer)?);
        Ok(batch.put_raw(RELEASES, blob.hash.as_bytes().to_vec(), &now))
    }

    /// Goes through all files once, and deletes those that nothing has referred to for `grace`. Readers that know a
    /// blob from a record that has just gone can rely on it.
    pub async fn collect(&self, grace: Duration) -> Result<Collected, Error> {
        let mut collected = Collected::default();
        for shard in 0..=u8::MAX {
            let blobs = self.clone();
            let hashes = blocking(move || list_shard(&blobs.0.dir, shard)).await.map_err(Error::Interrupted)??;
            for step in hashes.chunks(BLOB_COLLECT_STEP) {
                self.collect_step(step, grace, &mut collected).await?;
            }
        }
        Ok(collected)
    }

    async fn collect_step(&self, step: &[BlobHash], grace: Duration, collected: &mut Collected) -> Result<(), Error> {
        collected.examined_count = collected.examined_count.saturating_add(step.len() as u64);
        let expired = self.expired(step, grace).await?;
        if expired.is_empty() {
            return Ok(());
        }
        let condemned = self.condemn(expired.clone());
        let expired = self.expired(&expired, grace).await?;
        // Before the files, so that no row stays without one. If a crash comes between, the file's own time counts.
        let batch =
            expired.iter().fold(Batch::new(), |batch, hash| batch.delete_raw(RELEASES, hash.as_bytes().to_vec()));
        self.0.store.commit(batch).await?;
        let deleted = blocking(move || condemned.execute(&expired)).await.map_err(Error::Interrupted)??;
        collected.deleted_count = collected.deleted_count.saturating_add(deleted.deleted_count);
        collected.deleted_bytes = collected.deleted_bytes.saturating_add(deleted.deleted_bytes);
        Ok(())
    }

    /// Those of at most [`BLOB_COLLECT_STEP`] blobs that nothing refers to, nor has for `grace`.
    async fn expired(&self, hashes: &[BlobHash], grace: Duration) -> Result<Vec<BlobHash>, Error> {
        let reads = hashes.iter().flat_map(|hash| [first_reference(hash), last_release(hash)]).collect();
        let mut found = self.0.store.read(reads).await?.into_iter();
        let before = self.0.clock.now().minus(grace);
        let mut released = Vec::new();
        for hash in hashes {
            let references = found.next().map(Found::into_rows).unwrap_or_default();
            let release = found.next().and_then(Found::into_value);
            // An answer that was cut short says nothing against a blob.
            if references.rows.is_empty() && !references.more {
                released.push((*hash, release.map(|row| release_time(hash, &row.value)).transpose()?));
            }
        }
        if released.is_empty() {
            return Ok(Vec::new());
        }
        let blobs = self.clone();
        let expired = move || {
            released.retain(|(_, released)| released.is_none_or(|released| released <= before));
            released.retain(|(hash, _)| blobs.written(hash).is_some_and(|written| written <= before));
            released.into_iter().map(|(hash, _)| hash).collect()
        };
        blocking(expired).await.map_err(Error::Interrupted)
    }

    /// When the file was written; `None` if it is gone or cannot be looked at.
    fn written(&self, hash: &BlobHash) -> Option<Timestamp> {
        let modified = fs::metadata(self.path(hash)).and_then(|metadata| metadata.modified()).ok()?;
        let since_1970 = modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Some(Timestamp::default().plus(since_1970))
    }

    /// Notes that these are about to be deleted, but for those that are pinned.
    fn condemn(&self, hashes: Vec<BlobHash>) -> Condemnation {
        let mut ledger = self.0.ledger.lock();
        ledger.condemnations = ledger.condemnations.saturating_add(1);
        let number = ledger.condemnations;
        for hash in &hashes {
            if !ledger.pins.contains_key(hash) {
                ledger.condemned.insert(*hash, number);
            }
        }
        Condemnation { blobs: self.clone(), number, hashes }
    }
}

/// What one step of a collection condemned, until it is dropped.
struct Condemnation {
    blobs: Blobs,
    number: u64,
    hashes: Vec<BlobHash>,
}

impl Condemnation {
    /// Deletes those that were found without a reference after they were condemned, unless they were acquitted
    /// meanwhile or another collection has condemned them anew.
    fn execute(self, unreferenced: &[BlobHash]) -> Result<Collected, Error> {
        let mut collected = Collected::default();
        for hash in unreferenced {
            let mut ledger = self.blobs.0.ledger.lock();
            if ledger.holds > 0 || ledger.condemned.get(hash) != Some(&self.number) {
                continue;
            }
            let path = self.blobs.path(hash);
            let size_bytes = fs::metadata(&path).map_or(0, |metadata| metadata.len());
            // Under the ledger's lock, so that nobody pins the blob between the decision and the deed. The removal
            // needs no sync: if a power cut undoes it, the next process collects the file again.
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(DiskError::at("delete", &path)(error).into());
                }
                _ => ledger.condemned.remove(hash),
            };
            collected.deleted_count = collected.deleted_count.saturating_add(1);
            collected.deleted_bytes = collected.deleted_bytes.saturating_add(size_bytes);
        }
        Ok(collected)
    }
}

impl Drop for Condemnation {
    fn drop(&mut self) {
        let mut ledger = self.blobs.0.ledger.lock();
        for hash in &self.hashes {
            if ledger.condemned.get(hash) == Some(&self.number) {
                ledger.condemned.remove(hash);
            }
        }
    }
}

/// The blobs in one of the 256 directories below `dir`. What has no blob's name is not ours, and stays.
pub(crate) fn list_shard(dir: &Path, shard: u8) -> Result<Vec<BlobHash>, DiskError> {
    let dir = shard_below(dir, shard);
    let entries = match fs::read_dir(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(DiskError::at("list", &dir))?,
    };
    let mut hashes = Vec::new();
    for entry in entries {
        let name = entry.map_err(DiskError::at("list", &dir))?.file_name();
        hashes.extend(name.to_str().and_then(|name| name.parse::<BlobHash>().ok()));
    }
    Ok(hashes)
}

/// The blob that a row of [`REFERENCES`] refers to.
pub(crate) fn referenced(key: &[u8], value: &[u8]) -> Option<Blob> {
    let (hash, _) = key.split_first_chunk::<{ BlobHash::BYTES }>()?;
    Some(Blob { hash: (*hash).into(), size_bytes: u64::from_le_bytes(value.try_into().ok()?) })
}

fn first_reference(hash: &BlobHash) -> Read {
    Read::Range(Range::under(REFERENCES, hash.as_bytes().to_vec(), 1))
}

fn last_release(hash: &BlobHash) -> Read {
    Read::Get { space: RELEASES, key: hash.as_bytes().to_vec().into() }
}

fn release_time(hash: &BlobHash, row: &[u8]) -> Result<Timestamp, crate::Error> {
    match row.try_into() {
        Ok(micros) => Ok(Timestamp::from_micros(i64::from_le_bytes(micros))),
        Err(_) => Err(crate::Error::Corrupt { space: RELEASES, key: hash.as_bytes().to_vec().into() }),
    }
}

fn reference_key(hash: &BlobHash, referrer: &[u8]) -> Result<Vec<u8>, Error> {
    if referrer.len() > BLOB_REFERRER_BYTES_MAX {
        return Err(Error::ReferrerTooLong { bytes: referrer.len() });
    }
    Ok([hash.as_bytes(), referrer].concat())
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;

    use base::ManualClock;
    use proptest::prelude::*;

    use super::*;
    use crate::Store;

    const GRACE: Duration = Duration::from_secs(60);

    struct Fixture {
        clock: ManualClock,
        store: Store,
        blobs: Blobs,
    }

    fn fixture() -> Fixture {
        let clock = ManualClock::default();
        let store = Store::memory(Arc::new(clock.clone()));
        let blobs = Blobs::temporary(&store, Arc::new(clock.clone())).unwrap();
        Fixture { clock, store, blobs }
    }

    impl Fixture {
        async fn put(&self, content: &'static [u8]) -> Staged {
            self.blobs.put(content, 100).await.unwrap()
        }

        async fn retain(&self, staged: &Staged, referrer: &[u8]) {
            let batch = self.blobs.retain(Batch::new(), staged, referrer).unwrap();
            assert!(self.store.commit(batch).await.unwrap().is_committed());
        }

        async fn release(&self, blob: &Blob, referrer: &[u8]) {
            let batch = self.blobs.release(Batch::new(), blob, referrer).unwrap();
            assert!(self.store.commit(batch).await.unwrap().is_committed());
        }

        /// Looks too early, waits, deletes.
        async fn collect_twice(&self) -> u64 {
            self.blobs.collect(GRACE).await.unwrap();
            self.clock.advance(GRACE);
            self.blobs.collect(GRACE).await.unwrap().deleted_count
        }
    }

    #[tokio::test]
    async fn what_nothing_refers_to_goes_after_the_grace_period() {
        let f = fixture();
        let blob = f.put(b"orphan").await.blob();
        for _ in 0..2 {
            f.clock.advance(GRACE / 3);
            let kept = f.blobs.collect(GRACE).await.unwrap();
            assert_eq!((kept.examined_count, kept.deleted_count), (1, 0));
        }
        f.clock.advance(GRACE);
        let collected = f.blobs.collect(GRACE).await.unwrap();
        assert_eq!(collected, Collected { examined_count: 1, deleted_count: 1, deleted_bytes: 6 });
        assert!(matches!(f.blobs.file(&blob).await, Err(Error::Missing(hash)) if hash == blob.hash));
    }

    /// The grace period needs no process that lasts: servers that live for a minute each collect what an earlier one
    /// left, and no sooner than one that lives long.
    #[tokio::test]
    async fn the_grace_period_goes_on_from_process_to_process() {
        let (clock, dir) = (ManualClock::default(), tempfile::tempdir().unwrap());
        let store = Store::memory(Arc::new(clock.clone()));
        let f = || {
            let blobs = Blobs::open(&store, &dir.path().join("blobs"), Arc::new(clock.clone())).unwrap();
            Fixture { clock: clock.clone(), store: store.clone(), blobs }
        };
        let blob = {
            let f = f();
            drop(f.put(b"orphan").await);
            let staged = f.put(b"released").await;
            f.retain(&staged, b"record").await;
            staged.blob()
        };
        clock.advance(GRACE / 2);
        f().release(&blob, b"record").await;
        clock.advance(GRACE / 2);
        let collected = f().blobs.collect(GRACE).await.unwrap();
        assert_eq!((collected.examined_count, collected.deleted_count), (2, 1), "the orphan alone");
        clock.advance(GRACE / 2);
        assert_eq!(f().blobs.collect(GRACE).await.unwrap().deleted_count, 1);
        assert!(store.range(Range::under(RELEASES, "", 1)).await.unwrap().rows.is_empty());
    }

    #[tokio::test]
    async fn the_last_of_several_references_keeps_a_blob() {
        let f = fixture();
        let staged = f.put(b"shared").await;
        let blob = staged.blob();
        f.retain(&staged, b"one").await;
        f.retain(&staged, b"two").await;
        drop(staged);
        f.release(&blob, b"one").await;
        assert_eq!(f.collect_twice().await, 0);
        f.release(&blob, b"two").await;
        assert_eq!(f.collect_twice().await, 1);
    }

    #[tokio::test]
    async fn pins_holds_and_new_puts_keep_a_blob() {
        let f = fixture();
        let staged = f.put(b"pinned").await;
        assert_eq!(f.collect_twice().await, 0);
        let pinned = f.blobs.pin(&staged.blob()).await.unwrap();
        drop(staged);
        assert_eq!(f.collect_twice().await, 0);
        let hold = f.blobs.hold();
        drop(pinned);
        assert_eq!(f.collect_twice().await, 0);
        drop(hold);
        // Condemned by now, but put again: its grace period begins anew.
        drop(f.put(b"pinned").await);
        assert_eq!(f.blobs.collect(GRACE).await.unwrap().deleted_count, 0);
        assert_eq!(f.collect_twice().await, 1);
    }

    #[tokio::test]
    async fn a_reference_made_between_the_reading_and_the_deletion_keeps_its_blob() {
        let f = fixture();
        let blob = f.put(b"late").await.blob();
        f.blobs.collect(Duration::ZERO).await.unwrap();
        drop(f.put(b"late").await);
        // Two collections read that there is no reference, and are delayed.
        let condemned = f.blobs.condemn(vec![blob.hash]);
        let staged = f.put(b"late").await;
        f.retain(&staged, b"record").await;
        drop(staged);
        assert_eq!(condemned.execute(&[blob.hash]).unwrap().deleted_count, 0);
        // Nor may one that has read before take another's later condemnation for its own.
        f.release(&blob, b"record").await;
        let early = f.blobs.condemn(vec![blob.hash]);
        let staged = f.put(b"late").await;
        f.retain(&staged, b"record").await;
        drop(staged);
        let late = f.blobs.condemn(vec![blob.hash]);
        assert_eq!(early.execute(&[blob.hash]).unwrap().deleted_count, 0);
        drop(late);
        f.blobs.read_verified(&blob, 100).await.unwrap();
    }

    #[tokio::test]
    async fn a_referrer_that_does_not_fit_a_key_is_refused() {
        let f = fixture();
        let staged = f.put(b"x").await;
        let long = vec![b'r'; BLOB_REFERRER_BYTES_MAX + 1];
        assert!(matches!(f.blobs.retain(Batch::new(), &staged, &long), Err(Error::ReferrerTooLong { bytes: 1_901 })));
        f.retain(&staged, &long[1..]).await;
    }

    #[derive(Debug, Clone)]
    enum Step {
        Put(u8),
        Pin(u8),
        /// Commits a reference under a `Staged` of the content, and drops that.
        Retain(u8, u8),
        Release(u8, u8),
        Drop(u8),
        Collect,
        /// Begins a collection of everything, its references read, to be settled at some later step.
        Read,
        Settle,
        Wait(u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        let content = 0..3u8;
        prop_oneof![
            content.clone().prop_map(Step::Put),
            content.clone().prop_map(Step::Pin),
            (content.clone(), 0..2u8).prop_map(|(content, referrer)| Step::Retain(content, referrer)),
            (content.clone(), 0..2u8).prop_map(|(content, referrer)| Step::Release(content, referrer)),
            content.prop_map(Step::Drop),
            Just(Step::Collect),
            Just(Step::Read),
            Just(Step::Settle),
            (0..90u8).prop_map(Step::Wait),
        ]
    }

    const CONTENTS: [&[u8]; 3] = [b"zero", b"one", b"two"];

    async fn run(steps: Vec<Step>) {
        let f = fixture();
        let blobs: Vec<Blob> =
            CONTENTS.iter().map(|c| Blob { hash: BlobHash::of(c), size_bytes: c.len() as u64 }).collect();
        let mut staged: BTreeMap<u8, Vec<Staged>> = BTreeMap::new();
        let mut references: BTreeSet<(u8, u8)> = BTreeSet::new();
        let mut delayed: Vec<(Condemnation, Vec<BlobHash>)> = Vec::new();
        for step in steps {
            match step {
                Step::Put(c) => staged.entry(c).or_default().push(f.put(CONTENTS[usize::from(c)]).await),
                Step::Pin(c) => staged.entry(c).or_default().extend(f.blobs.pin(&blobs[usize::from(c)]).await),
                Step::Retain(c, referrer) => {
                    if let Some(staged) = staged.entry(c).or_default().pop() {
                        f.retain(&staged, &[referrer]).await;
                        references.insert((c, referrer));
                    }
                }
                Step::Release(c, referrer) => {
                    f.release(&blobs[usize::from(c)], &[referrer]).await;
                    references.remove(&(c, referrer));
                }
                Step::Drop(c) => drop(staged.remove(&c)),
                Step::Collect => drop(f.blobs.collect(GRACE).await.unwrap()),
                Step::Read => {
                    let referenced = |c: u8| references.iter().any(|(content, _)| *content == c);
                    let unreferenced = (0..3).filter(|c| !referenced(*c)).map(|c| blobs[usize::from(c)].hash);
                    let condemned = f.blobs.condemn(blobs.iter().map(|blob| blob.hash).collect());
                    delayed.push((condemned, unreferenced.collect()));
                }
                Step::Settle => {
                    if let Some((condemned, unreferenced)) = delayed.pop() {
                        condemned.execute(&unreferenced).unwrap();
                    }
                }
                Step::Wait(secs) => f.clock.advance(Duration::from_secs(secs.into())),
            }
            let pinned = staged.iter().filter(|(_, staged)| !staged.is_empty()).map(|(c, _)| *c);
            for c in pinned.chain(references.iter().map(|(c, _)| *c)) {
                assert_eq!(f.blobs.read_verified(&blobs[usize::from(c)], 100).await.unwrap(), CONTENTS[usize::from(c)]);
            }
        }
        staged.clear();
        delayed.clear();
        for (c, referrer) in references {
            f.release(&blobs[usize::from(c)], &[referrer]).await;
        }
        f.clock.advance(GRACE);
        f.blobs.collect(GRACE).await.unwrap();
        assert_eq!(f.blobs.collect(GRACE).await.unwrap().examined_count, 0, "garbage stayed");
        assert!(f.blobs.0.ledger.lock().condemned.is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        /// Puts, pins, references and collections in any order, some collections delayed between reading the
        /// references and acting on them: what is pinned or referenced can be read, and all else goes in the end.
        #[test]
        fn no_interleaving_deletes_what_is_needed(steps in prop::collection::vec(step(), 1..40)) {
            tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(run(steps));
        }
    }
}

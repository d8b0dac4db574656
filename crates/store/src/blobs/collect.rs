//! References to blobs, and the collector that deletes what nothing refers to.
//!
//! A reference is a row (hash, referrer), committed in the batch of the record that points at the blob. The collector
//! is a reconciler: it takes no input, may stop anywhere and start again, and compares files with references.
//!
//! Invariant: a file is deleted only if it was unpinned and unreferenced in a *later* step than the one that condemned
//! it, and nobody pinned it between. References are read after the condemnation and before the deletion, a pin acquits,
//! and a reference is only made under a pin: so whichever way a new reference and the collector interleave, either the
//! read sees the reference or the pin has acquitted.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use base::Timestamp;

use super::{Blob, BlobHash, Blobs, Condemned, Error, Staged, shard_below};
use crate::disk::{DiskError, blocking};
use crate::limits::{BLOB_COLLECT_STEP, BLOB_CONDEMNED_MAX, BLOB_REFERRER_BYTES_MAX};
use crate::{Batch, Range, Read, Space};

/// Keys are the hash, then the referrer; values the size in bytes, little-endian.
pub(crate) const REFERENCES: Space = Space::new("blob_references");

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
        Ok(batch.delete_raw(REFERENCES, reference_key(&blob.hash, referrer)?))
    }

    /// Goes through all files once, and deletes those that were unreferenced `grace` ago and are now. The grace period
    /// starts when a collection first finds the file so, and anew with each start of the process; readers that know a
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
        let number = self.next_step();
        let reads = step.iter().map(first_reference).collect();
        let found = self.0.store.read(reads).await?;
        let now = self.0.clock.now();
        let (mut referenced, mut unreferenced) = (Vec::new(), Vec::new());
        for (hash, found) in step.iter().zip(found) {
            let found = found.into_rows();
            // An answer that was cut short says nothing against a blob.
            let none = found.rows.is_empty() && !found.more;
            if none { unreferenced.push(*hash) } else { referenced.push(*hash) }
        }
        let blobs = self.clone();
        let settled = blocking(move || blobs.settle(number, &referenced, &unreferenced, now, grace)).await;
        let settled = settled.map_err(Error::Interrupted)??;
        collected.examined_count = collected.examined_count.saturating_add(step.len() as u64);
        collected.deleted_count = collected.deleted_count.saturating_add(settled.deleted_count);
        collected.deleted_bytes = collected.deleted_bytes.saturating_add(settled.deleted_bytes);
        Ok(())
    }

    fn next_step(&self) -> u64 {
        let mut ledger = self.0.ledger.lock();
        ledger.step = ledger.step.saturating_add(1);
        ledger.step
    }

    /// Condemns, acquits or deletes, according to references that were read after step `number` began.
    fn settle(
        &self,
        number: u64,
        referenced: &[BlobHash],
        unreferenced: &[BlobHash],
        now: Timestamp,
        grace: Duration,
    ) -> Result<Collected, Error> {
        let mut collected = Collected::default();
        for hash in referenced {
            self.0.ledger.lock().condemned.remove(hash);
        }
        for hash in unreferenced {
            let mut ledger = self.0.ledger.lock();
            if ledger.pins.contains_key(hash) {
                continue;
            }
            let Some(condemned) = ledger.condemned.get(hash).copied() else {
                // Those for which there is no room are condemned by a later collection.
                if ledger.condemned.len() < BLOB_CONDEMNED_MAX {
                    let step = ledger.step;
                    ledger.condemned.insert(*hash, Condemned { since: now, step });
                }
                continue;
            };
            // Another collection may have condemned it since the references were read; these prove nothing then.
            if ledger.holds > 0 || condemned.step >= number || now.since(condemned.since) < grace {
                continue;
            }
            let path = self.path(hash);
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

    use base::{Clock, ManualClock};
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

        /// Condemns, waits, deletes.
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
        // A collection reads that there is no reference, and is delayed.
        let number = f.blobs.next_step();
        let staged = f.put(b"late").await;
        f.retain(&staged, b"record").await;
        drop(staged);
        let settle = |number| f.blobs.settle(number, &[], &[blob.hash], f.clock.now(), Duration::ZERO);
        assert_eq!(settle(number).unwrap().deleted_count, 0);
        // Nor may a second one that was as late take the first one's verdict for an older one.
        assert_eq!(settle(number).unwrap().deleted_count, 0);
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
        let mut delayed: Vec<(u64, Vec<BlobHash>)> = Vec::new();
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
                    delayed.push((f.blobs.next_step(), unreferenced.collect()));
                }
                Step::Settle => {
                    if let Some((number, unreferenced)) = delayed.pop() {
                        f.blobs.settle(number, &[], &unreferenced, f.clock.now(), GRACE).unwrap();
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
        for (c, referrer) in references {
            f.release(&blobs[usize::from(c)], &[referrer]).await;
        }
        f.collect_twice().await;
        f.clock.advance(GRACE);
        f.blobs.collect(GRACE).await.unwrap();
        assert_eq!(f.blobs.collect(GRACE).await.unwrap().examined_count, 0, "garbage stayed");
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

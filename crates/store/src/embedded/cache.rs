//! Rows that were read lately, so that hot ones cost neither the database nor another decoding.
//!
//! Single gets fill it ([`Readers`](super::readers::Readers)) and ask it first; reads of several rows at one snapshot
//! go past it. The committer takes the rows of a group out *before* the group becomes visible, and marks their keys
//! until it is, or is undone: what is kept is always what the database would answer at that moment, and no read is
//! older than one before it. A reader brings in what it found only if no commit touched the shard meanwhile.
//!
//! **Invariant:** a key that is marked is not kept, and a row is kept only if it was read while its key was not marked
//! and has not been marked since.
//!
//! A shard keeps its rows in two halves. New and wanted ones go to the young half; when that is full it becomes the
//! old one, and what was in the old one and not wanted since is gone.

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64;

use crate::batch::Write;
use crate::limits::{CACHE_BYTES_MAX, CACHE_ROW_BYTES, CACHE_SHARDS};
use crate::table::PARTS;
use crate::{Space, Versioned};

/// A row in memory, as it lies in the database.
pub(crate) struct CachedRow {
    /// Nothing where there is none: that is asked as often, of settings that few have.
    pub sealed: Option<Versioned>,
    /// The record in it, once somebody has decoded it.
    pub decoded: OnceLock<Arc<dyn Any + Send + Sync>>,
}

pub(crate) struct Cache([Mutex<Shard>; CACHE_SHARDS]);

/// Where a row is.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Place {
    space: Space,
    key: Bytes,
}

#[derive(Default)]
struct Shard {
    young: HashMap<Place, Arc<CachedRow>>,
    old: HashMap<Place, Arc<CachedRow>>,
    /// What the young half weighs.
    young_bytes: usize,
    /// Keys that the commit under way writes.
    marked: HashSet<Place>,
    /// Commits that have marked a key here.
    marks: u64,
    is_closed: bool,
}

/// What a reader that found nothing must show to bring the row in.
pub(crate) struct Ticket {
    place: Place,
    /// [`Shard::marks`] at that time; `None` if the row must not be kept.
    marks: Option<u64>,
}

/// A commit under way: the keys stay marked for as long as this lives.
pub(crate) struct Change<'a> {
    cache: &'a Cache,
    places: Vec<Place>,
}

impl Default for Cache {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::default()))
    }
}

impl Cache {
    pub fn get(&self, space: Space, key: &Bytes) -> Result<Arc<CachedRow>, Ticket> {
        let place = Place { space, key: key.clone() };
        let Some(shard) = self.shard(&place) else { return Err(Ticket { place, marks: None }) };
        let mut shard = shard.lock();
        if let Some(row) = shard.get(&place) {
            return Ok(row);
        }
        let may_keep = !shard.is_closed && space != PARTS && !shard.marked.contains(&place);
        Err(Ticket { place, marks: may_keep.then_some(shard.marks) })
    }

    /// Keeps what was read from the database after the ticket was given.
    pub fn keep(&self, ticket: Ticket, sealed: Option<&Versioned>) {
        let Ticket { place, marks: Some(marks) } = ticket else { return };
        let Some(shard) = self.shard(&place) else { return };
        let mut shard = shard.lock();
        if shard.marks == marks && !shard.is_closed {
            shard.insert(place, Arc::new(CachedRow { sealed: sealed.cloned(), decoded: OnceLock::new() }));
        }
    }

    /// Takes out and marks what `writes` change, before any of it can be seen.
    pub fn change<'a, 'w>(&'a self, writes: impl Iterator<Item = &'w Write>) -> Change<'a> {
        let mut places = Vec::new();
        for write in writes {
            match write {
                Write::Put { space: PARTS, .. } | Write::Delete { space: PARTS, .. } => {}
                Write::Put { space, key, .. } | Write::Delete { space, key } => {
                    let place = Place { space: *space, key: key.clone() };
                    if let Some(shard) = self.shard(&place) {
                        shard.lock().mark(&place);
                    }
                    places.push(place);
                }
                Write::Sweep { space: PARTS, .. } => {}
                // Nothing else is swept. If it ever is, nothing is kept rather than something stale.
                Write::Sweep { .. } => self.close(),
            }
        }
        Change { cache: self, places }
    }

    /// Forgets everything, and keeps nothing from now on.
    pub fn close(&self) {
        for shard in &self.0 {
            let mut shard = shard.lock();
            *shard = Shard { is_closed: true, ..Shard::default() };
        }
    }

    fn shard(&self, place: &Place) -> Option<&Mutex<Shard>> {
        self.0.get(usize::try_from(xxh3_64(&place.key) % CACHE_SHARDS as u64).unwrap_or_default())
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        for place in &self.places {
            if let Some(shard) = self.cache.shard(place) {
                shard.lock().marked.remove(place);
            }
        }
    }
}

impl Shard {
    fn get(&mut self, place: &Place) -> Option<Arc<CachedRow>> {
        if let Some(row) = self.young.get(place) {
            return Some(row.clone());
        }
        let (place, row) = self.old.remove_entry(place)?;
        self.insert(place, row.clone());
        Some(row)
    }

    fn insert(&mut self, place: Place, row: Arc<CachedRow>) {
        const HALF_BYTES_MAX: usize = CACHE_BYTES_MAX / CACHE_SHARDS / 2;
        let bytes = weight(&place, &row);
        if bytes > HALF_BYTES_MAX {
            return;
        }
        if self.young_bytes + bytes > HALF_BYTES_MAX {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += bytes;
        if let Some(before) = self.young.insert(place.clone(), row) {
            self.young_bytes -= weight(&place, &before);
        }
    }

    fn mark(&mut self, place: &Place) {
        self.marks += 1;
        if let Some(row) = self.young.remove(place) {
            self.young_bytes -= weight(place, &row);
        }
        self.old.remove(place);
        self.marked.insert(place.clone());
    }
}

/// A decoded record takes about as much again as its row.
fn weight(place: &Place, row: &CachedRow) -> usize {
    let value_bytes = row.sealed.as_ref().map_or(0, |sealed| sealed.value.len());
    CACHE_ROW_BYTES + place.key.len() + 2 * value_bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Version;
    use crate::limits::VALUE_BYTES_MAX;

    const SPACE: Space = Space::new("s");

    fn row(version: u64) -> Versioned {
        Versioned { value: version.to_be_bytes().to_vec().into(), version: Version(version) }
    }

    /// What a reader finds: nothing where the version is 0.
    fn found(version: u64) -> Option<Versioned> {
        (version > 0).then(|| row(version))
    }

    fn put(key: &Bytes) -> Write {
        Write::Put { space: SPACE, key: key.clone(), value: Bytes::new() }
    }

    /// The version of what is kept; 0 of one that is not in the database.
    fn kept(cache: &Cache, key: &Bytes) -> Option<u64> {
        cache.get(SPACE, key).ok().map(|row| row.sealed.as_ref().map_or(0, |sealed| sealed.version.0))
    }

    fn missed(cache: &Cache, key: &Bytes) -> Ticket {
        match cache.get(SPACE, key) {
            Ok(_) => panic!("the row is there"),
            Err(ticket) => ticket,
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        /// A reader asks, and if it has to go to the database, finds what is visible now.
        Read {
            reader: usize,
            key: u8,
        },
        /// It brings in what it found.
        Keep {
            reader: usize,
        },
        Mark {
            keys: Vec<u8>,
        },
        /// The commit under way becomes visible.
        Show,
        /// The commit under way ends, as it was shown or undone.
        End,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0..3_usize, 0..3_u8).prop_map(|(reader, key)| Step::Read { reader, key }),
            4 => (0..3_usize).prop_map(|reader| Step::Keep { reader }),
            2 => proptest::collection::vec(0..3_u8, 1..3).prop_map(|keys| Step::Mark { keys }),
            2 => Just(Step::Show),
            2 => Just(Step::End),
        ];
        proptest::collection::vec(step, 0..60)
    }

    proptest! {
        /// Every order of the steps of readers and one committer: what is kept is what the database has.
        #[test]
        fn what_is_kept_is_what_the_database_has(steps in steps()) {
            let cache = Cache::default();
            let mut database = HashMap::from([(0, 1), (1, 1), (2, 0)]);
            let mut readers: [Option<(Ticket, Option<Versioned>)>; 3] = [None, None, None];
            let mut under_way: Option<(Change<'_>, Vec<u8>)> = None;
            let mut last = 1;
            for step in steps {
                match step {
                    Step::Read { reader, key } => match cache.get(SPACE, &vec![key].into()) {
                        Ok(kept) => prop_assert_eq!(kept.sealed.clone(), found(database[&key])),
                        Err(ticket) => readers[reader] = Some((ticket, found(database[&key]))),
                    },
                    Step::Keep { reader } => {
                        if let Some((ticket, found)) = readers[reader].take() {
                            cache.keep(ticket, found.as_ref());
                        }
                    }
                    Step::Mark { keys } if under_way.is_none() => {
                        let writes: Vec<_> = keys.iter().map(|key| put(&vec![*key].into())).collect();
                        under_way = Some((cache.change(writes.iter()), keys));
                    }
                    Step::Show => {
                        last += 1;
                        let keys = under_way.iter().flat_map(|(_, keys)| keys);
                        // Each third is deleted.
                        let shown = if last % 3 == 0 { 0 } else { last };
                        database.extend(keys.map(|key| (*key, shown)));
                    }
                    Step::End => under_way = None,
                    Step::Mark { .. } => {}
                }
                for (key, version) in &database {
                    let found = kept(&cache, &vec![*key].into());
                    prop_assert!(found.is_none_or(|found| found == *version), "{key}: {found:?}, not {version}");
                }
            }
        }
    }

    #[test]
    fn a_quiet_row_is_kept() {
        let (cache, key) = (Cache::default(), Bytes::from("k"));
        cache.keep(missed(&cache, &key), Some(&row(7)));
        assert_eq!(kept(&cache, &key), Some(7));
        drop(cache.change([put(&key)].iter()));
        assert_eq!(kept(&cache, &key), None);
        cache.keep(missed(&cache, &key), Some(&row(8)));
        assert_eq!(kept(&cache, &key), Some(8));
        drop(cache.change([put(&key)].iter()));
        cache.keep(missed(&cache, &key), None);
        assert_eq!(kept(&cache, &key), Some(0));
    }

    #[test]
    fn memory_is_bounded_and_what_is_wanted_stays() {
        let cache = Cache::default();
        let wanted = Bytes::from("wanted");
        cache.keep(missed(&cache, &wanted), Some(&row(1)));
        let value = Bytes::from(vec![0; VALUE_BYTES_MAX]);
        for number in 0..1_000_u32 {
            let key = Bytes::copy_from_slice(&number.to_be_bytes());
            let row = Versioned { value: value.clone(), version: Version(1) };
            cache.keep(missed(&cache, &key), Some(&row));
            assert_eq!(kept(&cache, &wanted), Some(1));
        }
        let halves = |shard: &Shard| shard.young.iter().chain(&shard.old).map(|(p, r)| weight(p, r)).sum::<usize>();
        let bytes: usize = cache.0.iter().map(|shard| halves(&shard.lock())).sum();
        assert!((CACHE_BYTES_MAX / 4..=CACHE_BYTES_MAX).contains(&bytes), "{bytes}");
    }

    #[test]
    fn a_closed_cache_keeps_nothing() {
        let (cache, key) = (Cache::default(), Bytes::from("k"));
        cache.keep(missed(&cache, &key), Some(&row(1)));
        let other = missed(&cache, &Bytes::from("other"));
        cache.close();
        assert_eq!(kept(&cache, &key), None);
        cache.keep(other, Some(&row(1)));
        cache.keep(missed(&cache, &key), Some(&row(1)));
        assert_eq!((kept(&cache, &key), kept(&cache, &Bytes::from("other"))), (None, None));
    }

    #[test]
    fn a_sweep_of_rows_that_may_be_kept_ends_the_keeping() {
        let (cache, key) = (Cache::default(), Bytes::from("k"));
        cache.keep(missed(&cache, &key), Some(&row(1)));
        let all = Write::Sweep { space: SPACE, from: Bytes::new(), to: Bytes::from("z") };
        drop(cache.change([all].iter()));
        assert_eq!(kept(&cache, &key), None);
    }
}

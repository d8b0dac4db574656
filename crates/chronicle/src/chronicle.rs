//! The handle that everyone holds: what is written, and which groups and streams there are.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use base::ports::{LogEvent, LogStream};
use base::record::{Origin, Record};
use base::{AccountId, AwsError, Chance, Clock, Timestamp, Uuid};
use bytes::Bytes;
use parking_lot::Mutex;
use store::{Batch, Scan, Scope, Store, StreamId, Streams};
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use crate::derive::Derive;
use crate::entry;
use crate::limits::{ATTEMPTS_MAX, BURST_BYTES_MAX, NUMBERS_TAKEN, PRODUCERS_MAX, RATE_BYTES_MAX, SETTLE_LOOK_EVERY};
use crate::listen::Listening;
use crate::look::{Look, Lookers};
use crate::open::Open;
use crate::tables::{
    GONE_GROUPS, GONE_STREAMS, GROUPS, Gone, Group, KEPT, Kept, NAMES, NUMBERS, Named, Numbers, SPANS, STREAMS, Stream,
    StreamSpan, nobody,
};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("reach the log events' rows")]
    Store(#[from] store::Error),
    #[error("reach the journal of log events")]
    Journal(#[from] store::streams::Error),
    #[error("read the chunks of log group {group}: they are damaged")]
    Damaged { group: Uuid },
    #[error("agree with others who change the same log group")]
    Contended,
    #[error("follow the journal of log events: the server is stopping")]
    Stopping,
}

impl From<Error> for AwsError {
    fn from(error: Error) -> Self {
        match error {
            Error::Store(store) => store.into(),
            Error::Journal(journal) => journal.into(),
            Error::Contended | Error::Stopping => Self::unavailable(error.to_string()),
            Error::Damaged { .. } => Self::internal(error.to_string()),
        }
    }
}

/// An event that somebody puts into a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub time: Timestamp,
    pub message: String,
}

/// Cheap to clone; all clones are the same chronicle.
#[derive(Clone)]
pub struct Chronicle(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub store: Store,
    pub streams: Streams,
    pub journal: StreamId,
    pub clock: Arc<dyn Clock>,
    pub chance: Arc<dyn Chance>,
    pub derive: Arc<dyn Derive>,
    pub held: Mutex<Held>,
    /// All records of the journal before this offset are open or in chunks.
    pub followed: watch::Sender<u64>,
    /// Where the journal ended when it was opened.
    pub end_at_open: u64,
    /// A group has enough for a chunk.
    pub enough: Notify,
    /// What was kept since the journal was last asked for its room.
    pub untrimmed_bytes: AtomicUsize,
    /// Something may be deleted of which there is more to go.
    pub is_littered: AtomicBool,
    pub lookers: Lookers,
    /// Instances' streams, by where they are in memory.
    producers: Mutex<HashMap<usize, Producer>>,
    next_number: AtomicU64,
    lost_bytes: AtomicU64,
}

/// An instance that writes.
struct Producer {
    place: Weak<LogStream>,
    number: u64,
    /// What it may write at once, as of a moment.
    allowance: (u64, Timestamp),
}

impl Producer {
    /// Whether it may write so much now.
    fn may_write(&mut self, now: Timestamp, bytes: usize) -> bool {
        let (left, since) = self.allowance;
        let micros = u64::try_from(now.since(since).as_micros()).unwrap_or(u64::MAX);
        let more = micros.saturating_mul(RATE_BYTES_MAX / 1_000_000);
        let left = left.saturating_add(more).min(BURST_BYTES_MAX);
        let after = left.checked_sub(bytes as u64);
        self.allowance = (after.unwrap_or(left), now);
        after.is_some()
    }
}

/// What is in memory of the journal's end.
#[derive(Default)]
pub(crate) struct Held {
    pub open: Open,
    /// The streams that numbers stand for. One that is not here is looked up, so what is deleted is taken out.
    pub names: HashMap<u64, Known>,
    pub listeners: Vec<Listening>,
}

/// What is known of a number.
#[derive(Clone)]
pub(crate) struct Known {
    pub scope: Arc<Scope>,
    pub group: Uuid,
    pub group_name: Arc<str>,
    pub number: u64,
    pub origin: Option<Arc<Origin>>,
    /// Events of the group with lower numbers are in chunks.
    pub kept_below: u64,
}

impl Chronicle {
    pub async fn open(
        store: &Store,
        clock: Arc<dyn Clock>,
        chance: Arc<dyn Chance>,
        derive: Arc<dyn Derive>,
    ) -> Result<Self, Error> {
        let next_number = AtomicU64::new(take_numbers(store).await?);
        let journal = StreamId::new(&nobody(), "chronicle")?;
        let streams = Streams::new(store);
        let slice = streams.read(&journal, 0, 0, 0).await?;
        Ok(Self(Arc::new(Inner {
            store: store.clone(),
            streams,
            journal,
            clock,
            chance,
            derive,
            held: Mutex::default(),
            followed: watch::Sender::new(slice.start),
            end_at_open: slice.end,
            enough: Notify::new(),
            untrimmed_bytes: AtomicUsize::new(0),
            is_littered: AtomicBool::new(true),
            lookers: Lookers::of_host(),
            producers: Mutex::default(),
            next_number,
            lost_bytes: AtomicU64::new(0),
        })))
    }

    /// Puts events into a stream. When it answers they are synced, and whoever reads finds them.
    pub async fn put(&self, stream: u64, lines: &[Line]) -> Result<(), Error> {
        let now = self.0.clock.now();
        let encode = |line: &Line| entry::encode_event(stream, line.time, now, &line.message);
        let records: Vec<Bytes> = lines.iter().map(encode).collect();
        self.append(&records).await
    }

    /// Waits until all that was there when it was opened can be read, and is derived from. Whoever follows must run meanwhile.
    pub async fn ready(&self) -> Result<(), Error> {
        self.until_followed(self.0.end_at_open).await
    }

    /// Takes note of what something is derived from. When it answers that is synced, and whoever derives has taken it.
    pub async fn note(&self, note: &[u8]) -> Result<(), Error> {
        self.append(&[entry::encode_note(note)]).await
    }

    /// The same without waiting: it may be lost in a crash.
    pub fn note_lazy(&self, note: &[u8]) {
        self.0.streams.append_lazy(&self.0.journal, &entry::encode_note(note));
    }

    /// Waits until all that was said before is settled by whoever derives from it. Both who follows and who derives must run
    /// meanwhile.
    pub async fn settled(&self) -> Result<(), Error> {
        self.flush().await?;
        let end = self.0.streams.read(&self.0.journal, 0, 0, 0).await?.end;
        self.until_followed(end).await?;
        while self.0.derive.settled() < end {
            self.0.derive.hurry();
            sleep(SETTLE_LOOK_EVERY).await;
        }
        Ok(())
    }

    async fn append(&self, records: &[Bytes]) -> Result<(), Error> {
        let offsets = self.0.streams.append(&self.0.journal, records).await?;
        self.until_followed(offsets.end).await
    }

    async fn until_followed(&self, end: u64) -> Result<(), Error> {
        let mut followed = self.0.followed.subscribe();
        followed.wait_for(|followed| *followed >= end).await.map_err(|_| Error::Stopping)?;
        Ok(())
    }

    /// Makes a group; `false` if there is one of this name.
    pub async fn create_group(&self, scope: &Scope, name: &str, group: &Group) -> Result<bool, Error> {
        let batch = put_group(Batch::new(), scope, name, group);
        Ok(self.0.store.commit(batch).await?.is_committed())
    }

    /// Deletes a group as it was read, with all that is in it, and does what else is in `batch`. `false` if it has
    /// changed since.
    pub async fn delete_group(
        &self,
        scope: &Scope,
        name: &str,
        group: &store::Row<String, Group>,
        batch: Batch,
    ) -> Result<bool, Error> {
        let id = group.value.id;
        let batch = batch
            .expect_version(&GROUPS, scope, name, group.version)
            .delete(&GROUPS, scope, name)
            .delete(&KEPT, scope, id)
            .put(&GONE_GROUPS, scope, id, &Gone {});
        if !self.0.store.commit(batch).await?.is_committed() {
            return Ok(false);
        }
        {
            let mut held = self.0.held.lock();
            held.names.retain(|_, known| known.group != id);
            held.open.forget(id);
        }
        // Who goes on writing gets a new group, as its next instance would.
        let is_elsewhere = |place: &LogStream| place.group != name || Some(&place.region) != scope.region.as_ref();
        self.0.producers.lock().retain(|_, one| one.place.upgrade().is_some_and(|place| is_elsewhere(&place)));
        self.0.is_littered.store(true, Ordering::Release);
        Ok(true)
    }

    /// Makes a stream; `false` if the group has one of this name, or is not there any more.
    pub async fn create_stream(&self, scope: &Scope, group: (&str, &Group), name: &str) -> Result<bool, Error> {
        let stream = Stream { number: self.next_number(), created: self.0.clock.now() };
        let batch = put_stream(Batch::new(), scope, group.1.id, name, &stream).expect_present(&GROUPS, scope, group.0);
        let batch = put_name(batch, scope, stream.number, group.1.id, (stream.number, name), None);
        Ok(self.0.store.commit(batch).await?.is_committed())
    }

    /// Deletes a stream with all its events; `false` if it has changed since it was read.
    pub async fn delete_stream(
        &self,
        scope: &Scope,
        group: Uuid,
        stream: &store::Row<(Uuid, String), Stream>,
    ) -> Result<bool, Error> {
        let number = stream.value.number;
        let batch = Batch::new()
            .expect_version(&STREAMS, scope, (group, &stream.key.1), stream.version)
            .delete(&STREAMS, scope, (group, &stream.key.1))
            .delete(&NAMES, &nobody(), number)
            .delete(&SPANS, scope, (group, number))
            .put(&GONE_STREAMS, scope, (group, number), &Gone {});
        if !self.0.store.commit(batch).await?.is_committed() {
            return Ok(false);
        }
        {
            let mut held = self.0.held.lock();
            held.names.retain(|_, known| known.number != number);
            held.open.forget_stream(group, number);
        }
        let name = &stream.key.1;
        self.0.producers.lock().retain(|_, one| one.place.upgrade().is_some_and(|place| place.name != *name));
        self.0.is_littered.store(true, Ordering::Release);
        Ok(true)
    }

    /// When events of these streams happened, in their order; `None` for one that has none.
    pub async fn spans(&self, scope: &Scope, group: Uuid, streams: &[u64]) -> Result<Vec<Option<StreamSpan>>, Error> {
        let mut spans = Vec::with_capacity(streams.len());
        for some in streams.chunks(store::limits::READS_MAX) {
            let keys: Vec<_> = some.iter().map(|stream| (group, *stream)).collect();
            // Before the rows: what is kept meanwhile is then in both, and not in neither.
            let open: Vec<_> = {
                let held = self.0.held.lock();
                some.iter().map(|stream| held.open.get(group)?.span(*stream)).collect()
            };
            let kept = SPANS.get_many(&self.0.store, scope, &keys).await?;
            spans.extend(open.into_iter().zip(kept).map(|(open, kept)| match (open, kept) {
                (Some(open), Some(kept)) => Some(open.join(kept.value)),
                (open, kept) => open.or(kept.map(|row| row.value)),
            }));
        }
        Ok(spans)
    }

    /// Has something of an account looked for among events, when it is its turn.
    pub fn look<T: Send + 'static>(&self, account: AccountId, look: impl FnOnce() -> T + Send + 'static) -> Look<T> {
        self.0.lookers.begin(account, look)
    }

    /// How many looks go on at the same time.
    pub fn lookers(&self) -> usize {
        self.0.lookers.count
    }

    /// The names of streams, by their numbers. One that was deleted meanwhile has none.
    pub async fn names(&self, streams: &BTreeSet<u64>) -> Result<BTreeMap<u64, String>, Error> {
        let streams: Vec<u64> = streams.iter().copied().collect();
        let mut names = BTreeMap::new();
        for some in streams.chunks(store::limits::READS_MAX) {
            let rows = NAMES.get_many(&self.0.store, &nobody(), some).await?;
            names.extend(rows.into_iter().flatten().map(|row| (row.key, row.value.name)));
        }
        Ok(names)
    }

    /// What all events of a group count.
    pub async fn group_bytes(&self, scope: &Scope, group: Uuid) -> Result<u64, Error> {
        let open = self.0.held.lock().open.get(group).map_or(0, |open| open.bytes() as u64);
        let kept = KEPT.get(&self.0.store, scope, group).await?.map_or(0, |row| row.value.bytes);
        Ok(kept.saturating_add(open))
    }

    /// Appends lazily what is written, until it is cancelled. To be flushed afterwards.
    pub async fn write(&self) {
        self.0.streams.run().await;
    }

    pub async fn flush(&self) -> Result<(), Error> {
        Ok(self.0.streams.flush().await?)
    }

    pub(crate) fn next_number(&self) -> u64 {
        self.0.next_number.fetch_add(1, Ordering::Relaxed)
    }

    /// Makes what a function's instance logs to, if it is not there: its group and its stream.
    pub(crate) async fn make_place(&self, number: u64, place: &LogStream) -> Result<(), Error> {
        let scope = Scope { world: place.world, account: place.account, region: Some(place.region.clone()) };
        for _ in 0..ATTEMPTS_MAX {
            let now = self.0.clock.now();
            let found = GROUPS.get(&self.0.store, &scope, &place.group).await?;
            let mut batch = Batch::new();
            let group = match found {
                Some(row) => {
                    batch = batch.expect_version(&GROUPS, &scope, &place.group, row.version);
                    row.value
                }
                None => {
                    let group = Group::new(self.0.chance.uuid(), now);
                    batch = put_group(batch, &scope, &place.group, &group);
                    group
                }
            };
            let key = (group.id, place.name.as_str());
            batch = match STREAMS.get(&self.0.store, &scope, key).await? {
                Some(row) => put_name(batch, &scope, number, group.id, (row.value.number, key.1), Some(place)),
                None => {
                    let stream = Stream { number, created: now };
                    let batch = put_stream(batch, &scope, group.id, key.1, &stream);
                    put_name(batch, &scope, number, group.id, (number, key.1), Some(place))
                }
            };
            if self.0.store.commit(batch).await?.is_committed() {
                return Ok(());
            }
        }
        Err(Error::Contended)
    }
}

impl Chronicle {
    /// Takes what a function wrote. It neither waits nor fails.
    pub fn log(&self, stream: &Arc<LogStream>, event: LogEvent) {
        match self.producer(stream, event.time, event.message.len()) {
            Some(number) => {
                let record = entry::encode_event(number, event.time, event.time, &event.message);
                self.0.streams.append_lazy(&self.0.journal, &record);
            }
            None => {
                self.0.lost_bytes.fetch_add(event.message.len() as u64, Ordering::Relaxed);
            }
        }
    }

    /// Takes what happened to an invocation of a function's instance, likewise.
    pub fn record(&self, stream: &Arc<LogStream>, now: Timestamp, record: &Record) {
        // It is small, and never too much.
        if let Some(number) = self.producer(stream, now, 0) {
            self.0.streams.append_lazy(&self.0.journal, &entry::encode_record(number, now, record));
        }
    }

    /// The number of an instance's stream, if it may write so much now. The first time, the journal is told before anybody can
    /// use the number.
    fn producer(&self, stream: &Arc<LogStream>, now: Timestamp, bytes: usize) -> Option<u64> {
        let mut producers = self.0.producers.lock();
        // The memory is not given to another as long as there is a weak pointer to it.
        let place = Arc::as_ptr(stream).addr();
        if let Some(producer) = producers.get_mut(&place) {
            return producer.may_write(now, bytes).then_some(producer.number);
        }
        if producers.len() >= PRODUCERS_MAX || producers.len() == producers.capacity() {
            producers.retain(|_, one| one.place.strong_count() > 0);
        }
        let number = self.next_number();
        self.0.streams.append_lazy(&self.0.journal, &entry::encode_opened(number, stream));
        let mut producer = Producer { place: Arc::downgrade(stream), number, allowance: (BURST_BYTES_MAX, now) };
        let may_write = producer.may_write(now, bytes);
        producers.insert(place, producer);
        may_write.then_some(number)
    }

    /// What functions wrote and nobody has, because they wrote too fast, or the disk took it too slowly.
    pub fn lost_bytes(&self) -> u64 {
        self.0.lost_bytes.load(Ordering::Relaxed).saturating_add(self.0.streams.lazy_stats().dropped_bytes)
    }
}

fn put_group(batch: Batch, scope: &Scope, name: &str, group: &Group) -> Batch {
    batch.expect_absent(&GROUPS, scope, name).put(&GROUPS, scope, name, group).put(
        &KEPT,
        scope,
        group.id,
        &Kept { name: name.to_owned(), ..Kept::default() },
    )
}

fn put_stream(batch: Batch, scope: &Scope, group: Uuid, name: &str, stream: &Stream) -> Batch {
    batch.expect_absent(&STREAMS, scope, (group, name)).put(&STREAMS, scope, (group, name), stream)
}

/// Says what `from` stands for: the stream of this number and name.
fn put_name(
    batch: Batch,
    scope: &Scope,
    from: u64,
    group: Uuid,
    (number, name): (u64, &str),
    place: Option<&LogStream>,
) -> Batch {
    let Scope { world, account, region } = scope.clone();
    let (name, origin) = (name.to_owned(), place.map(|place| place.origin.clone()));
    batch.put(&NAMES, &nobody(), from, &Named { world, account, region, group, number, name, origin })
}

/// The first of the numbers that this run of the server gives to streams.
async fn take_numbers(store: &Store) -> Result<u64, Error> {
    for _ in 0..ATTEMPTS_MAX {
        let found = NUMBERS.get(store, &nobody(), ()).await?;
        let batch = match &found {
            None => Batch::new().expect_absent(&NUMBERS, &nobody(), ()),
            Some(row) => Batch::new().expect_version(&NUMBERS, &nobody(), (), row.version),
        };
        let next = found.map_or(0, |row| row.value.next);
        let taken = Numbers { next: next.saturating_add(NUMBERS_TAKEN) };
        if store.commit(batch.put(&NUMBERS, &nobody(), (), &taken)).await?.is_committed() {
            return Ok(next);
        }
    }
    Err(Error::Contended)
}

/// The streams of a group that are deleted, and of which chunks may still have events.
pub(crate) async fn gone_streams(store: &Store, scope: &Scope, group: Uuid) -> Result<Vec<u64>, Error> {
    let mut gone = Vec::new();
    let mut scan = Scan::all(store::limits::RANGE_ROWS_MAX).under::<Uuid>(group);
    loop {
        let page = GONE_STREAMS.page(store, scope, scan.clone()).await?;
        gone.extend(page.rows.iter().map(|row| row.key.1));
        let Some(next) = page.next else { return Ok(gone) };
        scan = scan.after(next);
    }
}

#[cfg(test)]
mod tests {
    use base::{ManualClock, Region, Seeded, World};

    use super::*;
    use crate::Nothing;

    #[tokio::test]
    async fn one_that_floods_loses_what_is_too_much_and_nobody_else_does() {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(Timestamp::from_secs(1_000)));
        let store = Store::memory(clock.clone());
        let chronicle = Chronicle::open(&store, clock, Arc::new(Seeded::new(1)), Arc::new(Nothing)).await.unwrap();
        let stream = |name: &str| {
            let (world, account, region) = (World::default(), base::AccountId::ZERO, Region::default());
            Arc::new(LogStream {
                world,
                account,
                region,
                group: "g".into(),
                name: name.into(),
                origin: Origin::default(),
            })
        };
        let (loud, quiet) = (stream("loud"), stream("quiet"));
        let log = |stream: &Arc<LogStream>, second: i64, bytes: usize| {
            let (time, message) = (Timestamp::from_secs(second), "x".repeat(bytes));
            chronicle.log(stream, LogEvent { time, message });
        };
        (0..10).for_each(|_| log(&loud, 1_000, 1024 * 1024));
        assert_eq!(chronicle.lost_bytes(), 6 * 1024 * 1024);
        log(&quiet, 1_000, 1_000);
        log(&loud, 1_001, 1024 * 1024);
        assert_eq!(chronicle.lost_bytes(), 6 * 1024 * 1024, "time has passed");
        chronicle.flush().await.unwrap();
        chronicle.catch_up().await.unwrap();
        let scope = Scope { world: World::default(), account: base::AccountId::ZERO, region: Some(Region::default()) };
        let group = GROUPS.get(&store, &scope, "g").await.unwrap().unwrap().value;
        let held = chronicle.0.held.lock();
        assert_eq!(held.open.get(group.id).unwrap().events.len(), 6, "as a group that was made for them");
    }
}

//! Streams against a plain vector, through crashes, rivals and faults.

use base::{AccountId, ManualClock, Region, World};
use proptest::prelude::*;

use super::*;
use crate::Faults;
use crate::limits::{STREAM_LAZY_BYTES_MAX, STREAM_PART_BYTES};

fn store() -> Store {
    Store::memory(Arc::new(ManualClock::default()))
}

fn stream(name: &str) -> StreamId {
    let scope = Scope { world: World(0), account: AccountId::ZERO, region: Some(Region::default()) };
    StreamId::new(&scope, name).unwrap()
}

fn texts(texts: &[&str]) -> Vec<Bytes> {
    texts.iter().map(|text| Bytes::copy_from_slice(text.as_bytes())).collect()
}

#[tokio::test]
async fn records_are_read_from_where_they_were_appended() {
    let streams = Streams::new(&store());
    let (a, b) = (stream("a"), stream("a\0"));
    assert_eq!(streams.append(&a, &texts(&["0", "1"])).await.unwrap(), 0..2);
    assert_eq!(streams.append(&b, &texts(&["other"])).await.unwrap(), 0..1);
    assert_eq!(streams.append(&a, &texts(&["2"])).await.unwrap(), 2..3);
    let slice = streams.read(&a, 1, 10, 1_000).await.unwrap();
    assert_eq!(slice, Slice { first: 1, records: texts(&["1", "2"]), start: 0, end: 3 });
    assert_eq!(slice.next(), 3);
    assert!(streams.read(&a, 3, 10, 1_000).await.unwrap().records.is_empty());
    assert!(streams.read(&a, u64::MAX, 10, 1_000).await.unwrap().records.is_empty());
    assert_eq!(streams.read(&stream("never"), 0, 10, 1_000).await.unwrap(), Slice::default());
}

#[tokio::test]
async fn a_batch_and_its_records_commit_together_or_not_at_all() {
    const SPACE: Space = Space::new("test");
    let store = store();
    let (streams, s) = (Streams::new(&store), stream("s"));
    let first = Batch::new().expect_raw(SPACE, "key", Expect::Absent).put_raw(SPACE, "key", b"value");
    assert!(
        matches!(streams.append_with(&first, &s, &texts(&["0"])).await.unwrap(), Appended::At(at, _) if at == (0..1))
    );
    assert_eq!(streams.append_with(&first, &s, &texts(&["lost"])).await.unwrap(), Appended::Conflict(vec![0]));
    assert_eq!(streams.append(&s, &texts(&["1"])).await.unwrap(), 1..2);
    assert_eq!(streams.read(&s, 0, 10, 100).await.unwrap().records, texts(&["0", "1"]));
    assert_eq!(store.get(SPACE, "key").await.unwrap().unwrap().value, "value");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_appenders_of_two_processes_share_no_offset() {
    let store = store().with_faults(Faults { delay_polls_max: 3, seed: 1, ..Faults::default() });
    let processes = [Streams::new(&store), Streams::new(&store)];
    let s = stream("s");
    let mut appends = tokio::task::JoinSet::new();
    for number in 0..64_usize {
        let (streams, s) = (processes[number % 2].clone(), s.clone());
        appends.spawn(async move {
            loop {
                match streams.append(&s, &texts(&[number.to_string().as_str(); 3])).await {
                    Ok(at) => return (at, number.to_string()),
                    Err(Error::Contended) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
    }
    let mut all: Vec<_> = appends.join_all().await;
    all.sort_by_key(|(at, _)| at.start);
    let slice = processes[0].read(&s, 0, 1_000, 100_000).await.unwrap();
    assert_eq!(slice.end, 3 * 64);
    for ((at, text), (number, records)) in all.into_iter().zip(slice.records.chunks(3).enumerate()) {
        assert_eq!((at.start, at.end), (3 * number as u64, 3 * number as u64 + 3));
        assert_eq!(records, texts(&[text.as_str(); 3]));
    }
}

/// A commit that is cancelled half-way may happen all the same: the next append must not overwrite it.
#[tokio::test]
async fn a_cancelled_append_costs_no_record() {
    let store = store().with_faults(Faults { delay_polls_max: 4, seed: 3, ..Faults::default() });
    let (streams, s) = (Streams::new(&store), stream("s"));
    let mut known = Vec::new();
    for number in 0..200 {
        let text = number.to_string();
        let records = texts(&[&text]);
        tokio::select! {
            biased;
            at = streams.append(&s, &records) => known.push((at.unwrap().start, text)),
            () = async { for _ in 0..number % 12 { tokio::task::yield_now().await } } => {}
        }
    }
    let slice = streams.read(&s, 0, 1_000, 100_000).await.unwrap();
    assert!(known.len() > 20 && slice.records.len() > known.len(), "{} of {}", known.len(), slice.records.len());
    for (at, text) in known {
        assert_eq!(slice.records[at as usize], text);
    }
}

#[tokio::test]
async fn limits_cut_a_read_but_never_to_nothing() {
    let (streams, s) = (Streams::new(&store()), stream("s"));
    streams.append(&s, &vec![Bytes::from(vec![7; 100]); 10]).await.unwrap();
    let read = async |records_max, bytes_max| streams.read(&s, 2, records_max, bytes_max).await.unwrap().records.len();
    assert_eq!(read(3, 10_000).await, 3);
    assert_eq!(read(30, 10_000).await, 8);
    assert_eq!(read(30, 250).await, 2);
    assert_eq!(read(30, 0).await, 1);
    assert_eq!(read(0, 10_000).await, 0);
}

#[tokio::test]
async fn what_does_not_fit_is_refused() {
    let (streams, s) = (Streams::new(&store()), stream("s"));
    let long = Bytes::from(vec![0; crate::limits::STREAM_RECORD_BYTES_MAX + 1]);
    assert!(matches!(streams.append(&s, std::slice::from_ref(&long)).await, Err(Error::RecordTooLarge { .. })));
    let longest = long.slice(1..);
    streams.append(&s, std::slice::from_ref(&longest)).await.unwrap();
    assert_eq!(streams.read(&s, 0, 1, 0).await.unwrap().records, [longest]);
    let scope = Scope { world: World(0), account: AccountId::ZERO, region: None };
    assert!(matches!(StreamId::new(&scope, &"n".repeat(1_900)), Err(Error::NameTooLong { .. })));
}

#[tokio::test]
async fn missing_and_torn_blocks_are_errors() {
    let store = store();
    let (streams, s) = (Streams::new(&store), stream("s"));
    for text in ["0", "1", "2"] {
        streams.append(&s, &texts(&[text])).await.unwrap();
    }
    let keep = store.get(BLOCKS, block::key(&s, 1, 0)).await.unwrap().unwrap().value;
    store.commit(Batch::new().delete_raw(BLOCKS, block::key(&s, 1, 0))).await.unwrap();
    assert!(matches!(streams.read(&s, 0, 10, 100).await, Err(Error::Damaged { offset: 0, .. })));
    store.commit(Batch::new().put_raw(BLOCKS, block::key(&s, 1, 0), &keep[..8])).await.unwrap();
    assert!(matches!(streams.read(&s, 1, 10, 100).await, Err(Error::Damaged { offset: 1, .. })));
    store.commit(Batch::new().put_raw(HEADS, s.0.clone(), b"noise")).await.unwrap();
    assert!(matches!(streams.read(&s, 0, 10, 100).await, Err(Error::Damaged { .. })));
}

#[tokio::test]
async fn trimming_deletes_whole_blocks_and_hides_the_rest() {
    let store = store();
    let (streams, s) = (Streams::new(&store), stream("s"));
    for _ in 0..200 {
        streams.append(&s, &texts(&["x", "y"])).await.unwrap();
    }
    let rows = async || store.range(Range::under(BLOCKS, Bytes::new(), 1_000)).await.unwrap().rows.len();
    assert_eq!(streams.trim(&s, 399).await.unwrap(), 399);
    assert_eq!(rows().await, 1);
    assert_eq!(streams.trim(&s, 10).await.unwrap(), 399, "a start does not fall");
    let slice = streams.read(&s, 0, 10, 100).await.unwrap();
    assert_eq!(slice, Slice { first: 399, records: texts(&["y"]), start: 399, end: 400 });
    assert_eq!(streams.trim(&s, u64::MAX).await.unwrap(), 400, "nor does it pass the end");
    assert_eq!(rows().await, 0);
    assert_eq!(streams.append(&s, &texts(&["z"])).await.unwrap(), 400..401);
    streams.remove(&s).await.unwrap();
    assert_eq!(store.range(Range::under(HEADS, Bytes::new(), 10)).await.unwrap().rows.len(), 0);
    assert_eq!(rows().await, 0);
}

/// Readers from the start, while an appender appends and a trimmer trims: what they get is in order and whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_are_not_disturbed_by_trims() {
    let store = store().with_faults(Faults { delay_polls_max: 2, seed: 5, ..Faults::default() });
    let (streams, s) = (Streams::new(&store), stream("s"));
    let record = |offset: u64| Bytes::from(vec![offset as u8; 1 + offset as usize % 7 * STREAM_PART_BYTES / 3]);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let (streams, s) = (streams.clone(), s.clone());
        tasks.spawn(async move {
            let mut from = 0;
            while from < 150 {
                let slice = streams.read(&s, from / 2, 50, 1_000_000).await.unwrap();
                for (offset, found) in (slice.first..).zip(&slice.records) {
                    assert_eq!(found, &record(offset), "at {offset}");
                }
                assert!(slice.next() <= slice.end && slice.first >= slice.start);
                from = from.max(slice.next());
                tokio::task::yield_now().await;
            }
        });
    }
    for offset in 0..150 {
        assert_eq!(streams.append(&s, &[record(offset)]).await.unwrap().start, offset);
        if offset % 5 == 0 {
            streams.trim(&s, offset.saturating_sub(3)).await.unwrap();
        }
    }
    tasks.join_all().await;
}

#[tokio::test(start_paused = true)]
async fn lazy_records_are_written_soon_in_few_commits() {
    let store = store();
    let (streams, s) = (Streams::new(&store), stream("s"));
    let runner = {
        let streams = streams.clone();
        async move { streams.run().await }
    };
    let work = async {
        for round in 0..3_u64 {
            for number in 0..500 {
                streams.append_lazy(&s, format!("{round} {number}").as_bytes());
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            assert_eq!(streams.read(&s, 0, 1, 0).await.unwrap().end, 500 * (round + 1));
        }
        assert_eq!(store.range(Range::under(BLOCKS, Bytes::new(), 10)).await.unwrap().rows.len(), 3);
        assert_eq!(streams.lazy_stats(), LazyStats::default());
    };
    tokio::select! { () = runner => {}, () = work => {} }
}

#[tokio::test]
async fn lazy_records_beyond_the_bound_are_dropped_and_counted() {
    let (streams, s) = (Streams::new(&store()), stream("s"));
    let record = vec![7; 100_000];
    for _ in 0..200 {
        streams.append_lazy(&s, &record);
    }
    let stats = streams.lazy_stats();
    assert!(stats.waiting_bytes <= STREAM_LAZY_BYTES_MAX && stats.waiting_bytes > STREAM_LAZY_BYTES_MAX - 200_000);
    assert_eq!(stats.dropped_bytes, stats.dropped_count * 100_000);
    streams.flush().await.unwrap();
    assert_eq!(streams.read(&s, 0, 1, 0).await.unwrap().end, 200 - stats.dropped_count);
    assert_eq!(streams.lazy_stats(), LazyStats { waiting_bytes: 0, ..stats });
    streams.append_lazy(&s, &vec![0; crate::limits::STREAM_RECORD_BYTES_MAX + 1]);
    assert_eq!(streams.lazy_stats().dropped_count, stats.dropped_count + 1);
}

/// A store that is away for a while costs lazy records nothing, and keeps their order.
#[tokio::test]
async fn lazy_records_wait_while_the_store_is_unavailable() {
    let store = store().with_faults(Faults { refused_share: 3, seed: 2, ..Faults::default() });
    let streams = Streams::new(&store);
    let mut failed_count = 0;
    for number in 0..100_u32 {
        for name in ["a", "b", "c"] {
            streams.append_lazy(&stream(name), &number.to_le_bytes());
        }
        failed_count += u32::from(streams.flush().await.is_err());
    }
    while streams.flush().await.is_err() {}
    assert!(failed_count > 10);
    assert_eq!(streams.lazy_stats(), LazyStats::default());
    for name in ["a", "b", "c"] {
        let slice = loop {
            if let Ok(slice) = streams.read(&stream(name), 0, 1_000, 10_000).await {
                break slice;
            }
        };
        assert!(
            slice
                .records
                .iter()
                .eq(&(0..100_u32).map(|number| Bytes::from(number.to_le_bytes().to_vec())).collect::<Vec<_>>())
        );
    }
}

#[tokio::test]
async fn a_flush_whose_fate_is_unknown_is_not_repeated() {
    let store = store().with_faults(Faults { unanswered_share: 2, seed: 4, ..Faults::default() });
    let (streams, s) = (Streams::new(&store), stream("s"));
    for number in 0..100_u32 {
        streams.append_lazy(&s, &number.to_le_bytes());
        streams.flush().await.unwrap();
    }
    let slice = streams.read(&s, 0, 1_000, 10_000).await.unwrap();
    assert_eq!(slice.records.len(), 100, "each was written, and none twice");
    assert!(streams.lazy_stats().dropped_count > 20, "though not all were known to be");
}

#[tokio::test]
async fn a_damaged_stream_holds_up_no_other() {
    let store = store();
    let streams = Streams::new(&store);
    store.commit(Batch::new().put_raw(HEADS, stream("b").0, b"noise")).await.unwrap();
    for name in ["a", "b", "c"] {
        streams.append_lazy(&stream(name), b"line");
    }
    streams.flush().await.unwrap();
    assert_eq!(streams.read(&stream("a"), 0, 9, 99).await.unwrap().records, texts(&["line"]));
    assert_eq!(streams.read(&stream("c"), 0, 9, 99).await.unwrap().records, texts(&["line"]));
    assert_eq!(streams.lazy_stats().dropped_count, 1);
}

#[derive(Debug, Clone)]
enum Step {
    Append {
        size: usize,
        count: usize,
    },
    /// By another process.
    Rival {
        size: usize,
    },
    Lazy {
        size: usize,
    },
    Flush,
    Trim(prop::sample::Index),
    Read {
        from: prop::sample::Index,
        records_max: usize,
        bytes_max: usize,
    },
    /// A new process: nothing is left but the store. What was lazy and not flushed is gone.
    Restart,
    Remove,
}

fn step() -> impl Strategy<Value = Step> {
    let size = || prop_oneof![8 => 0..200_usize, 2 => 0..40_000_usize, 1 => 60_000..200_000_usize];
    prop_oneof![
        6 => (size(), 0..5_usize).prop_map(|(size, count)| Step::Append { size, count }),
        2 => size().prop_map(|size| Step::Rival { size }),
        4 => size().prop_map(|size| Step::Lazy { size }),
        2 => Just(Step::Flush),
        2 => any::<prop::sample::Index>().prop_map(Step::Trim),
        6 => (any::<prop::sample::Index>(), 0..30_usize, 0..100_000_usize)
            .prop_map(|(from, records_max, bytes_max)| Step::Read { from, records_max, bytes_max }),
        1 => Just(Step::Restart),
        1 => Just(Step::Remove),
    ]
}

/// What a stream should be: all records ever, and where it starts.
#[derive(Default)]
struct Model {
    records: Vec<Bytes>,
    start: usize,
    lazy: Vec<Bytes>,
}

impl Model {
    fn check(&self, slice: &Slice, from: usize, records_max: usize, bytes_max: usize) {
        let first = from.max(self.start);
        let mut bytes = 0;
        let fits = |(number, record): &(usize, &Bytes)| {
            bytes += record.len();
            *number < records_max && (bytes <= bytes_max || *number == 0)
        };
        let after = self.records.get(first..).unwrap_or_default();
        let expected: Vec<_> = after.iter().enumerate().take_while(fits).map(|(_, record)| record.clone()).collect();
        assert_eq!(slice.records, expected);
        assert_eq!((slice.first, slice.start, slice.end), (first as u64, self.start as u64, self.records.len() as u64));
    }
}

async fn run(steps: Vec<Step>) {
    let store = store();
    let (mut streams, rival) = (Streams::new(&store), Streams::new(&store));
    let (s, neighbour) = (stream("s"), stream("s2"));
    streams.append(&neighbour, &texts(&["neighbour"])).await.unwrap();
    let mut model = Model::default();
    for (number, step) in steps.into_iter().enumerate() {
        let record = |size| Bytes::from(vec![number as u8; size]);
        match step {
            Step::Append { size, count } => {
                let at = streams.append(&s, &vec![record(size); count]).await.unwrap();
                assert_eq!(at, model.records.len() as u64..(model.records.len() + count) as u64);
                model.records.extend(vec![record(size); count]);
            }
            Step::Rival { size } => {
                let at = rival.append(&s, &[record(size)]).await.unwrap();
                assert_eq!(at.start, model.records.len() as u64);
                model.records.push(record(size));
            }
            Step::Lazy { size } => {
                streams.append_lazy(&s, &record(size));
                model.lazy.push(record(size));
            }
            Step::Flush => {
                streams.flush().await.unwrap();
                model.records.append(&mut model.lazy);
            }
            Step::Trim(before) => {
                let before = before.index(model.records.len() + 3);
                model.start = before.min(model.records.len()).max(model.start);
                assert_eq!(streams.trim(&s, before as u64).await.unwrap(), model.start as u64);
            }
            Step::Read { from, records_max, bytes_max } => {
                let from = from.index(model.records.len() + 3);
                let slice = streams.read(&s, from as u64, records_max, bytes_max).await.unwrap();
                model.check(&slice, from, records_max, bytes_max);
            }
            Step::Restart => {
                streams = Streams::new(&store);
                model.lazy.clear();
            }
            Step::Remove => {
                streams.remove(&s).await.unwrap();
                model = Model::default();
            }
        }
    }
    model.check(&streams.read(&s, 0, 10_000, usize::MAX).await.unwrap(), 0, 10_000, usize::MAX);
    assert_eq!(streams.read(&neighbour, 0, 9, 99).await.unwrap().records, texts(&["neighbour"]));
    streams.trim(&s, u64::MAX).await.unwrap();
    let rows = store.range(Range::under(BLOCKS, s.0.clone(), 10)).await.unwrap().rows;
    assert!(rows.is_empty(), "blocks stayed behind");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn a_stream_is_a_vector(steps in prop::collection::vec(step(), 1..50)) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(run(steps));
    }
}

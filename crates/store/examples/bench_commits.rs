//! Durable commits a second against what this disk can sync, in one run: `cargo run --release -p store --example
//! bench_commits [DIR]`. Also how long an empty directory takes to open, and what a read costs.
#![expect(clippy::disallowed_methods, reason = "it measures real time")]

use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::{Chance, Seeded, SystemClock};
use store::{Batch, Options, Range, Space, Store};

const SPACE: Space = Space::new("bench");
const VALUE_BYTES: usize = 1_024;
const RUN: Duration = Duration::from_secs(3);

fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::args().nth(1).map_or_else(std::env::temp_dir, Into::into);
    let temp = tempfile::tempdir_in(dir)?;
    println!("raw append of {VALUE_BYTES} B + fdatasync: {:>8.0}/s", raw_syncs(&temp.path().join("raw"))?);
    let mut opened = Vec::new();
    for number in 0..9 {
        let began = Instant::now();
        let store = open(&temp.path().join(format!("empty-{number}")))?;
        opened.push(began.elapsed());
        drop(store);
    }
    opened.sort();
    println!("open an empty directory: median {:?}, worst {:?}", opened[4], opened[8]);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build()?;
    let store = open(&temp.path().join("store"))?;
    for (shape, sequential) in [("random keys", false), ("rising keys", true)] {
        for producer_count in [1, 16, 64, 256] {
            let mut took = runtime.block_on(commits(&store, producer_count, sequential));
            took.sort();
            let rate = took.len() as f64 / RUN.as_secs_f64();
            let percentile = |percent: usize| took[(took.len() - 1) * percent / 100];
            println!(
                "{shape}, {producer_count:>3} producers: {rate:>8.0} commits/s, p50 {:?}, p99 {:?}, worst {:?}",
                percentile(50),
                percentile(99),
                percentile(100),
            );
        }
    }
    runtime.block_on(reads(&store))?;
    runtime.block_on(store.close())?;
    Ok(())
}

fn open(dir: &Path) -> Result<Store, store::OpenError> {
    Store::open(dir, Arc::new(SystemClock), Options::default())
}

fn raw_syncs(path: &Path) -> std::io::Result<f64> {
    let mut file = File::create(path)?;
    let began = Instant::now();
    let mut sync_count = 0.0;
    while began.elapsed() < RUN {
        file.write_all(&[7; VALUE_BYTES])?;
        file.sync_data()?;
        sync_count += 1.0;
    }
    Ok(sync_count / RUN.as_secs_f64())
}

/// How long each commit took, over all producers.
async fn commits(store: &Store, producer_count: u64, sequential: bool) -> Vec<Duration> {
    let mut tasks = tokio::task::JoinSet::new();
    let end = Instant::now() + RUN;
    for producer in 0..producer_count {
        let store = store.clone();
        tasks.spawn(async move {
            let chance = Seeded::new(producer);
            let mut took = Vec::new();
            let mut number = 0_u64;
            while Instant::now() < end {
                number += 1;
                let key = match sequential {
                    true => [producer.to_be_bytes(), number.to_be_bytes()].concat(),
                    false => [chance.random_u64().to_be_bytes(), chance.random_u64().to_be_bytes()].concat(),
                };
                let began = Instant::now();
                if store.commit(Batch::new().put_raw(SPACE, key, &[7; VALUE_BYTES])).await.is_ok() {
                    took.push(began.elapsed());
                }
            }
            took
        });
    }
    tasks.join_all().await.concat()
}

async fn reads(store: &Store) -> Result<(), store::Error> {
    let keys: Vec<_> = store.range(Range::under(SPACE, "", 1_000)).await?.rows.into_iter().map(|row| row.key).collect();
    const ROUND_COUNT: u32 = 100;
    let began = Instant::now();
    for _ in 0..ROUND_COUNT {
        for key in &keys {
            store.get(SPACE, key.clone()).await?;
        }
    }
    println!("get: {:?}", began.elapsed() / ROUND_COUNT / u32::try_from(keys.len()).unwrap_or(u32::MAX));
    let began = Instant::now();
    for _ in 0..ROUND_COUNT {
        store.range(Range::under(SPACE, "", 100)).await?;
    }
    println!("range of 100 rows: {:?}", began.elapsed() / ROUND_COUNT);
    Ok(())
}

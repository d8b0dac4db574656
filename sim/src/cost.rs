//! What a decision costs, with few functions and with many.

use std::hint::black_box;
use std::time::{Duration, Instant};

use base::ports::Concurrency;
use base::{AccountId, Region, Timestamp, Uuid, World};
use engine::dispatch::{AskId, Command, Dispatch, Event, Freed, KeepAlive, Policy, Settings, Shape, Wanted};

const SHAPE: Shape = Shape { slots: 1, bytes: 100 << 20, is_kept: true };
const LIMIT: Concurrency = Concurrency::Shared(1_000_000);
const PAIRS: usize = 1_000_000;
const ROUNDS: usize = 5;

pub fn run() {
    println!("| functions | ns a warm ask and free, of ten | of all | ns a start, run and end |");
    println!("|---|---|---|---|");
    for count in [10, 1_000, 100_000] {
        // The least of several rounds: whatever else the machine does only adds.
        let rounds: Vec<[f64; 3]> = (0..ROUNDS).map(|_| measure(count)).collect();
        let least = |column: usize| rounds.iter().map(|round| round[column]).fold(f64::INFINITY, f64::min);
        println!("| {count} | {:.0} | {:.0} | {:.0} |", least(0), least(1), least(2));
    }
}

/// Nanoseconds of a warm pair where ten functions of all are called, where all are in turn, and of a cold life; the
/// pool's name looked up each time. What all in turn cost more is the machine's caches, not the dispatcher's work.
#[expect(clippy::disallowed_methods, reason = "it measures what the machine costs")]
fn measure(count: usize) -> [f64; 3] {
    let wanted = |number| Wanted {
        scope: (World(0), AccountId::ZERO, Region::default()),
        function: format!("function-{number}"),
        version: "$LATEST".into(),
        release: Uuid::from_bytes([1; 16]),
        tenant: None,
    };
    let wanted: Vec<Wanted> = (0..count).map(wanted).collect();
    let keep_alive = KeepAlive { policy: Policy::Predictive, keep: Duration::from_secs(600) };
    let settings = Settings { instances_max: 1_000_000, requests_per_unit: 1_000, keep_alive, ..Settings::new(64) };
    let mut dispatch = Dispatch::new(settings);
    let mut now = Timestamp::from_secs(1_000_000);
    let mut out = Vec::new();
    let begin = Instant::now();
    for wanted in &wanted {
        pair(&mut dispatch, now, wanted, &mut out);
        out.clear();
    }
    let cold = begin.elapsed();
    let mut warm = |wanted: &[Wanted]| {
        let begin = Instant::now();
        for wanted in wanted.iter().cycle().take(PAIRS) {
            now = now.plus(Duration::from_micros(1));
            pair(&mut dispatch, now, wanted, &mut out);
            out.clear();
        }
        begin.elapsed().as_nanos() as f64 / PAIRS as f64
    };
    let (few, all) = (warm(&wanted[..10]), warm(&wanted));
    let begin = Instant::now();
    dispatch.step(now, Event::Drain, &mut out);
    for command in std::mem::take(&mut out) {
        if let Command::End { instance } = command {
            dispatch.step(now, Event::Ended { instance, failure: None }, &mut out);
        }
    }
    let cold = cold + begin.elapsed();
    black_box(&out);
    [few, all, cold.as_nanos() as f64 / count as f64]
}

fn pair(dispatch: &mut Dispatch, now: Timestamp, wanted: &Wanted, out: &mut Vec<Command>) {
    let (ask, pool) = (AskId(1), dispatch.pool(wanted, SHAPE));
    dispatch.step(now, Event::Ask { ask, pool, limit: LIMIT, is_async: false }, out);
    if let Some(Command::Lend { instance, .. } | Command::Start { instance, .. }) = out.last().copied() {
        dispatch.step(now, Event::Free { instance, ask, freed: Freed::default() }, out);
    }
}

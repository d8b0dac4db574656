//! A group that is filled with lines over a few connections, and a file with the same lines.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base::{Clock, SystemClock, Timestamp};
use serde_json::{Value, json};

use super::client::Logs;
use super::lines::Lines;
use crate::rounds::{self, timed};

/// How many lines, unless it is said otherwise: some 200 MB.
const EVENTS: u64 = 1_000_000;
/// As many streams, each filled over its own connection.
const STREAMS: u64 = 4;
/// What a batch may have at most, and what each event counts beyond its message.
const BATCH_BYTES_MAX: usize = 1_048_576;
const BATCH_EVENTS_MAX: usize = 10_000;
const EVENT_OVERHEAD_BYTES: usize = 26;
/// The time that the lines are from: all but the last minute of so many.
const SPAN: Duration = Duration::from_secs(60 * 60);

/// What was put.
pub struct Filled {
    pub events: u64,
    /// With the end of each line.
    pub bytes: u64,
    /// In seconds, around all lines.
    pub window: (i64, i64),
}

/// How many events are searched or kept.
pub fn events() -> u64 {
    rounds::events(EVENTS)
}

/// Makes the group, fills it and the file, and says how fast the server took the lines, making them included.
pub fn fill(port: u16, group: &str, path: &Path, events: u64) -> Result<Filled> {
    let mut logs = Logs::of(port)?;
    logs.make_group(group)?;
    for stream in 0..STREAMS {
        logs.make_stream(group, &name(stream))?;
    }
    let now = SystemClock.now();
    let (from, to) = (now.minus(SPAN), now.minus(Duration::from_secs(60)));
    let file = Mutex::new(BufWriter::new(File::create(path).context("make the file of lines")?));
    let ((), ms) = timed(|| {
        std::thread::scope(|scope| {
            let fill_one = |stream| fill_stream(port, group, stream, events, (from, to), &file);
            let threads: Vec<_> = (0..STREAMS).map(|stream| scope.spawn(move || fill_one(stream))).collect();
            threads.into_iter().try_for_each(|thread| match thread.join() {
                Ok(done) => done,
                Err(_) => bail!("fill a stream: its thread ended"),
            })
        })
    })?;
    file.into_inner().unwrap_or_else(PoisonError::into_inner).flush()?;
    let bytes = std::fs::metadata(path)?.len();
    println!(
        "put {events} events, {:.0} MB, in {:.1} s: {:.0} events and {:.1} MB a second",
        bytes as f64 / 1e6,
        ms / 1e3,
        events as f64 / ms * 1e3,
        bytes as f64 / 1e3 / ms
    );
    Ok(Filled { events, bytes, window: (from.as_secs() - 1, now.as_secs()) })
}

fn name(stream: u64) -> String {
    format!("2026/01/01/[$LATEST]{stream:032x}")
}

fn fill_stream(
    port: u16,
    group: &str,
    stream: u64,
    events: u64,
    (from, to): (Timestamp, Timestamp),
    file: &Mutex<BufWriter<File>>,
) -> Result<()> {
    let mut logs = Logs::of(port)?;
    let mut batch = Batch::default();
    let mut send = |batch: &mut Batch| -> Result<()> {
        logs.put(group, &name(stream), &batch.events)?;
        file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&batch.text)?;
        *batch = Batch::default();
        Ok(())
    };
    let share = events / STREAMS + u64::from(stream < events % STREAMS);
    for line in Lines::new(stream, share, from, to) {
        if !batch.has_room(&line.text) {
            send(&mut batch)?;
        }
        batch.add(line.time_ms, &line.text);
    }
    send(&mut batch)
}

#[derive(Default)]
struct Batch {
    events: Vec<Value>,
    text: Vec<u8>,
    counted: usize,
}

impl Batch {
    fn has_room(&self, text: &str) -> bool {
        self.events.len() < BATCH_EVENTS_MAX && self.counted + text.len() + EVENT_OVERHEAD_BYTES <= BATCH_BYTES_MAX
    }

    fn add(&mut self, time_ms: i64, text: &str) {
        self.events.push(json!({ "timestamp": time_ms, "message": text }));
        self.text.extend_from_slice(text.as_bytes());
        self.text.push(b'\n');
        self.counted += text.len() + EVENT_OVERHEAD_BYTES;
    }
}

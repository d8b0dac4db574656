//! A queue in which ever more messages wait: what receiving one takes, what the server holds, and how soon it is there again
//! after it was killed.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::json;
use tempfile::TempDir;

use super::sqs::{Queue, received};
use crate::disk::Synced;
use crate::load::Client;
use crate::peer::Peer;
use crate::rounds::{percentile, rounds, timed};
use crate::server::{private_mb, rss_mb};

const WAITING: [u64; 3] = [1_000, 100_000, 1_000_000];
/// Messages received at each of them, and deleted: half of them at most.
const RECEIVED: u64 = 2_000;
const ROUNDS: usize = 5;

/// The goals after a kill.
const READY_MS_MAX: f64 = 10_000.0;
const RSS_MB_MAX: f64 = 300.0;

pub fn run() -> Result<()> {
    let dir = TempDir::new()?;
    let data = dir.path().join("data");
    let lamp = Peer::lamp_on(&data)?;
    let mut queue = Queue::make(&lamp, "waiting")?;
    Synced::print(&[Synced::measure()?]);
    println!(
        "{:>10}{:>12}{:>16}{:>16}{:>12}{:>12}",
        "waiting", "filled/s", "receive p50 us", "receive p99 us", "RSS MB", "private MB"
    );
    let mut most = 0;
    for waiting in WAITING.into_iter().map(crate::rounds::events) {
        let there = queue.count()?;
        if waiting <= most {
            continue;
        }
        most = waiting;
        let filled = queue.fill(waiting - there)?;
        let micros = receive(&lamp, &queue, RECEIVED.min(waiting / 2) * rounds(ROUNDS) as u64 / ROUNDS as u64)?;
        println!(
            "{waiting:>10}{filled:>12.0}{:>16.0}{:>16.0}{:>12.1}{:>12.1}",
            percentile(&micros, 0.5),
            percentile(&micros, 0.99),
            rss_mb(&lamp)?,
            private_mb(&lamp)?
        );
    }
    let left = queue.count()?;
    // Dropped, it is killed.
    drop(lamp);
    again(&data, &queue, left)
}

/// What receiving one message took each time, sorted.
fn receive(lamp: &Peer, queue: &Queue, times: u64) -> Result<Vec<f64>> {
    let request = queue.request("ReceiveMessage", json!({}))?;
    let mut client = Client::new(lamp.port)?;
    let mut micros = Vec::new();
    for _ in 0..times {
        let (answer, ms) = timed(|| client.send(&request))?;
        answer.check()?;
        micros.push(ms * 1e3);
        let message = received(&answer.body)?.context("receive a message: there is none")?;
        client.send(&queue.request("DeleteMessage", json!({ "ReceiptHandle": message.receipt }))?)?.check()?;
    }
    micros.sort_unstable_by(f64::total_cmp);
    Ok(micros)
}

/// Starts a server on what a killed one has left.
fn again(data: &Path, queue: &Queue, left: u64) -> Result<()> {
    let (lamp, ready) = timed(|| Peer::lamp_on(data))?;
    let mut queue = queue.at(&lamp)?;
    let (answer, first) = timed(|| queue.call("ReceiveMessage", &json!({})))?;
    if answer["Messages"][0].is_null() || queue.count()? != left {
        bail!("find the messages again: there are {} of {left}", queue.count()?);
    }
    std::thread::sleep(Duration::from_secs(2));
    println!(
        "after a kill: ready in {ready:.0} ms, the first of {left} messages received {first:.0} ms later (goal: {:.0} in all); \
         {:.0} MB resident, {:.0} MB private (goal: {RSS_MB_MAX:.0} resident)",
        READY_MS_MAX,
        rss_mb(&lamp)?,
        private_mb(&lamp)?
    );
    Ok(())
}

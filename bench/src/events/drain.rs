//! A queue with a backlog that a function empties, batch by batch.

use std::time::Duration;

use anyhow::{Result, bail};

use super::feeding::{entries, map};
use super::sqs::Queue;
use crate::functions::Function;
use crate::logs::client::Logs;
use crate::peer::Peer;
use crate::rounds::{median, rounds, timed, undisturbed};

const ROUNDS: usize = 3;
/// Messages in the backlog: of ours, and of a peer that takes some hundred a second.
const OURS: u64 = 100_000;
const THEIRS: u64 = 2_000;
/// Messages of a batch, and for how many seconds one is gathered.
const BATCHES: [(u64, u64); 2] = [(10, 0), (10_000, 1)];

const LOOK_EVERY: Duration = Duration::from_millis(5);
const AT_MOST: Duration = Duration::from_secs(300);
/// Lines are in the log within a second.
const LOOKS_MAX: usize = 50;
const LOOK_AGAIN: Duration = Duration::from_millis(200);

const OF_MINISTACK: f64 = 15.0;

pub fn run(lamp: &Peer, ministack: &Peer, python: &Function) -> Result<()> {
    println!(
        "\n{:<12}{:>8}{:>10}{:>12}{:>12}{:>13}{:>15}",
        "drain of", "batch", "window s", "messages", "filled/s", "drained/s", "lamp's / rate"
    );
    for (batch, window) in BATCHES {
        let mut ours = f64::NAN;
        for (peer, usual) in [(lamp, OURS), (ministack, THEIRS)] {
            let messages = crate::rounds::events(usual);
            let mut figures = Vec::new();
            for round in 0..rounds(ROUNDS) {
                let drain = Drain { peer, messages, batch, window };
                let name = format!("drained-{batch}-{round}");
                // Each try has a queue and a function of its own.
                let mut tries = 0;
                figures.push(undisturbed(|| {
                    tries += 1;
                    drain.sample(python, &format!("{name}-{tries}"))
                })?);
            }
            let of = |pick: fn(&(f64, f64)) -> f64| median(figures.iter().map(pick));
            let (filled, drained) = (of(|figures| figures.0), of(|figures| figures.1));
            if peer.name == "lamp" {
                ours = drained;
            }
            let name = peer.name;
            println!(
                "{name:<12}{batch:>8}{window:>10}{messages:>12}{filled:>12.0}{drained:>13.0}{:>15.1}",
                ours / drained
            );
        }
    }
    println!("(goal: {OF_MINISTACK} x MiniStack)");
    Ok(())
}

struct Drain<'p> {
    peer: &'p Peer,
    messages: u64,
    batch: u64,
    window: u64,
}

impl Drain<'_> {
    /// How many messages a second were put there, and taken from there by a function with this name.
    fn sample(&self, python: &Function, name: &str) -> Result<(f64, f64)> {
        self.peer.create(python, name, 0)?;
        let mut queue = Queue::make(self.peer, name)?;
        let filled = queue.fill(self.messages)?;
        let ((), ms) = timed(|| {
            map(self.peer, &queue, name, self.batch, self.window)?;
            queue.wait_until_empty(LOOK_EVERY, AT_MOST)
        })?;
        self.check(name)?;
        Ok((filled, self.messages as f64 / ms * 1e3))
    }

    /// Fails unless the function has seen as many messages as there were.
    fn check(&self, name: &str) -> Result<()> {
        let mut logs = Logs::of(self.peer.port)?;
        let mut seen = 0;
        for _ in 0..LOOKS_MAX {
            seen = 0;
            entries(&mut logs, name, |entry| {
                seen += entry.count;
                Ok(())
            })?;
            if seen >= self.messages {
                return Ok(());
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        bail!("drain a queue of {}: its function saw {seen} messages of {}", self.peer.name, self.messages);
    }
}

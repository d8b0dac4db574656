//! From a message that is sent to the function that its queue feeds: how long one takes, and how many a second.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use http::Method;
use serde_json::{Value, json};

use super::drain;
use super::sqs::Queue;
use crate::disk::Synced;
use crate::functions::{self, EVENT, Function, Language};
use crate::load::Client;
use crate::logs::client::Logs;
use crate::peer::Peer;
use crate::rounds::{median, percentile, rounds, timed, undisturbed};

const ROUNDS: usize = 5;
/// Messages of a round, one after the other.
const MESSAGES: usize = 200;
/// Between two, so that each finds everything at rest.
const GAP: Duration = Duration::from_millis(20);
/// Lines are in the log within a second; a machine at its limit may take longer.
const LOOKS_MAX: usize = 100;
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The goals: beyond two syncs and a warm invocation, and against MiniStack.
const BEYOND_US: f64 = 300.0;
const OF_MINISTACK: f64 = 4.0;

const NAME: &str = "fed";

pub fn run() -> Result<()> {
    let functions = functions::built()?;
    let python = functions.iter().find(|function| function.language == Language::Python && function.is_plain());
    let python = python.context("find a function in Python that is built")?;
    let (lamp, ministack) = (Peer::lamp_with(&["--concurrency", "10000"])?, Peer::ministack()?);
    latency(&lamp, &ministack, python)?;
    drain::run(&lamp, &ministack, python)
}

fn latency(lamp: &Peer, ministack: &Peer, python: &Function) -> Result<()> {
    let mut feeds = vec![Feed::new(lamp, python)?, Feed::new(ministack, python)?];
    let mut disk = Vec::new();
    let invoke = lamp.signed(Method::POST, &Function::invoke_path(NAME), EVENT)?;
    let mut warm = Vec::new();
    for _ in 0..rounds(ROUNDS) {
        // What a message is held against has the same pauses: a core that has slept takes its time.
        disk.push(Synced::measure_with(GAP)?);
        warm.push(undisturbed(|| alone(lamp, &invoke))?);
        for feed in &mut feeds {
            let micros = undisturbed(|| feed.sample())?;
            feed.micros.extend(micros);
        }
    }
    println!("{:<12}{:>10}{:>10}{:>10}{:>15}", "", "messages", "p50 us", "p99 us", "p50 / lamp's");
    let mut ours = f64::NAN;
    for Feed { peer, micros, .. } in &mut feeds {
        micros.sort_unstable_by(f64::total_cmp);
        let (p50, p99) = (percentile(micros, 0.5), percentile(micros, 0.99));
        if peer.name == "lamp" {
            ours = p50;
        }
        println!("{:<12}{:>10}{p50:>10.0}{p99:>10.0}{:>15.2}", peer.name, micros.len(), p50 / ours);
    }
    Synced::print(&disk);
    let (warm, appended) = (median(warm), median(disk.iter().map(|disk| disk.appended_us)));
    let goal = 2.0 * appended + warm + BEYOND_US;
    println!(
        "(with the same pauses; a warm invocation took {warm:.0} us; goals: {goal:.0} us, and MiniStack {OF_MINISTACK} times as long)"
    );
    Ok(())
}

/// What an invocation takes at the median that somebody waits for.
fn alone(lamp: &Peer, invoke: &[u8]) -> Result<f64> {
    let mut client = Client::new(lamp.port)?;
    let mut micros = Vec::new();
    for _ in 0..MESSAGES {
        std::thread::sleep(GAP);
        let ((), ms) = timed(|| client.send(invoke)?.check())?;
        micros.push(ms * 1e3);
    }
    Ok(median(micros))
}

/// A function that a queue feeds.
struct Feed<'p> {
    peer: &'p Peer,
    queue: Queue,
    logs: Logs,
    /// Messages sent so far, each with its number.
    sent: usize,
    micros: Vec<f64>,
}

impl<'p> Feed<'p> {
    fn new(peer: &'p Peer, python: &Function) -> Result<Self> {
        peer.create(python, NAME, 0)?;
        let queue = Queue::make(peer, NAME)?;
        map(peer, &queue, NAME, 10, 0)?;
        let mut feed = Self { peer, queue, logs: Logs::of(peer.port)?, sent: 0, micros: Vec::new() };
        // What is started and read once.
        feed.sample()?;
        Ok(feed)
    }

    /// Sends messages one after the other, and reads from the log when the function was entered with each.
    fn sample(&mut self) -> Result<Vec<f64>> {
        let first = self.sent;
        self.sent += MESSAGES;
        let numbers = first..self.sent;
        let body = |number: usize| json!({ "MessageBody": number.to_string() });
        let requests: Vec<Vec<u8>> =
            numbers.map(|number| self.queue.request("SendMessage", body(number))).collect::<Result<_>>()?;
        let mut client = Client::new(self.peer.port)?;
        let mut sent = Vec::new();
        for request in &requests {
            sent.push(now_us()?);
            client.send(request)?.check()?;
            std::thread::sleep(GAP);
        }
        let entered = self.entered(first)?;
        Ok(entered.into_values().zip(sent).map(|(entered, sent)| entered - sent).collect())
    }

    /// When the function was entered first with each message from a number on, in microseconds.
    fn entered(&mut self, first: usize) -> Result<BTreeMap<usize, f64>> {
        let wanted = self.sent - first;
        for _ in 0..LOOKS_MAX {
            let mut entered = BTreeMap::new();
            entries(&mut self.logs, NAME, |entry| {
                for body in entry.bodies.split(' ') {
                    let number = body.parse().context("read a message's number")?;
                    if number >= first {
                        let time = entered.entry(number).or_insert(entry.at_us);
                        *time = entry.at_us.min(*time);
                    }
                }
                Ok(())
            })?;
            if entered.len() >= wanted {
                return Ok(entered);
            }
            std::thread::sleep(LOOK_EVERY);
        }
        bail!("read when {} of {} was entered with {wanted} messages", NAME, self.peer.name);
    }
}

/// What the function says of an invocation.
pub struct Entry<'l> {
    pub at_us: f64,
    /// Messages that it was given.
    pub count: u64,
    /// What the first ten begin with.
    bodies: &'l str,
}

/// Shows what a function said of each of its invocations by its queue.
pub fn entries(logs: &mut Logs, function: &str, mut see: impl FnMut(Entry<'_>) -> Result<()>) -> Result<()> {
    logs.filter(&format!("/aws/lambda/{function}"), "\"entered\"", |line| {
        let mut words = line.trim().splitn(4, ' ').skip(1);
        let mut word = || words.next().context("read what a function printed");
        let (at, count, bodies) = (word()?.parse::<f64>()?, word()?.parse()?, word()?);
        see(Entry { at_us: at / 1e3, count, bodies })
    })
}

/// Lets a queue feed a function.
pub fn map(peer: &Peer, queue: &Queue, function: &str, batch: u64, window_seconds: u64) -> Result<()> {
    let body = json!({
        "EventSourceArn": queue.arn,
        "FunctionName": function,
        "BatchSize": batch,
        "MaximumBatchingWindowInSeconds": window_seconds,
    });
    let request = peer.signed(Method::POST, "/2015-03-31/event-source-mappings", &Value::to_string(&body))?;
    let answer = Client::new(peer.port)?.send(&request)?;
    answer.check().with_context(|| format!("feed {function} on {} from a queue", peer.name))
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures the machine's time")]
fn now_us() -> Result<f64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as f64 / 1e3)
}

//! What ten thousand log events a second cost those who invoke functions meanwhile.
//!
//! A load of invocations is fixed at half of what the server can do, as it was measured a moment before. It is taken alone;
//! beside `PutLogEvents` in batches; and beside a function that prints as much, and the same calls of it that print nothing:
//! in turn, several rounds. Afterwards what was put must be readable, each event once.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use base::{Clock, SystemClock};
use http::Method;
use serde_json::{Value, json};

use super::client::{self, Logs, check_all_taken};
use super::pace::{self, Pace, Paced, medians, spread};
use super::printed;
use crate::functions::{self, EVENT, Function, Language};
use crate::load;
use crate::peer::Peer;
use crate::rounds::{rounds, shown, undisturbed};

const ROUNDS: usize = 3;
const WARMING: Duration = Duration::from_millis(500);
const TIME: Duration = Duration::from_secs(3);
/// Before each sample, so that the packing of what one has put is not charged to the next.
const REST: Duration = Duration::from_secs(1);
/// Over how many connections functions are invoked.
const CONNECTIONS: u32 = 16;
/// How much of what the server can do is asked of it.
const SHARE: f64 = 0.5;

const EVENTS_A_SECOND: u64 = 10_000;
const WRITERS: u64 = 4;
const BATCH_EVENTS: u64 = 250;
/// Batches of a writer in a second.
const BATCHES_A_SECOND: u64 = EVENTS_A_SECOND / WRITERS / BATCH_EVENTS;
const GROUP: &str = "/bench/ingest";

/// Lines of a call of the function that prints, and over how many connections it is called.
pub const LINES: u64 = 100;
const PRINTERS: u32 = 2;
const PRINTER: &str = "printer";

/// By how many percent invocations may slow down.
const SLOWER_MAX: f64 = 5.0;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Beside {
    Nothing,
    Put,
    Printing,
    CallsThatPrintNothing,
}

const ALL: &[(Beside, &str)] = &[
    (Beside::Nothing, "alone"),
    (Beside::Put, "PutLogEvents"),
    (Beside::Printing, "a function that prints"),
    (Beside::CallsThatPrintNothing, "the same, printing nothing"),
];

/// A server and what is sent to it.
struct Bench {
    lamp: Peer,
    invoke: Vec<Vec<u8>>,
    /// Of the load, a second.
    rate: f64,
    /// Events that were put so far, each with its number.
    put: u64,
    /// Calls that printed so far.
    printing: u64,
}

pub fn run() -> Result<()> {
    let plain = functions::built()?;
    let function = plain.iter().find(|function| function.language == Language::Python).or(plain.first());
    let function = function.context("find a function that is built")?;
    let mut bench = Bench::start(function)?;
    let mut figures: Vec<(Vec<Paced>, Vec<Paced>)> = vec![(Vec::new(), Vec::new()); ALL.len()];
    for _ in 0..rounds(ROUNDS) {
        for ((beside, name), (loads, others)) in ALL.iter().zip(&mut figures) {
            let sample = undisturbed(|| bench.sample(*beside)).with_context(|| format!("invoke beside {name}"))?;
            loads.push(sample.0);
            others.extend(sample.1);
        }
    }
    print(&figures);
    bench.check_put()?;
    bench.check_printed()?;
    printed::run(&bench.lamp, &plain)
}

impl Bench {
    fn start(function: &Function) -> Result<Self> {
        let lamp = Peer::lamp_with(&["--concurrency", "10000"])?;
        lamp.create(function, "load", 0)?;
        lamp.create(function, PRINTER, 1)?;
        let mut logs = Logs::of(lamp.port)?;
        logs.make_group(GROUP)?;
        for writer in 0..WRITERS {
            logs.make_stream(GROUP, &stream(writer))?;
        }
        let request = lamp.signed(Method::POST, &Function::invoke_path("load"), EVENT)?;
        let requests = vec![request.clone(); CONNECTIONS as usize];
        let can = undisturbed(|| load::run_warm(lamp.port, &requests, TIME, TIME))?.per_second;
        let rate = can * SHARE;
        println!("{} answers {can:.0} invocations a second; the load is {rate:.0} a second", function.name);
        Ok(Self { lamp, invoke: vec![request], rate, put: 0, printing: 0 })
    }

    /// The load, and what ran beside it.
    fn sample(&mut self, beside: Beside) -> Result<(Paced, Option<Paced>)> {
        let batches = if beside == Beside::Put { self.batches()? } else { Vec::new() };
        let event = format!(r#"{{"lines":{}}}"#, if beside == Beside::Printing { LINES } else { 0 });
        let calls = [self.lamp.signed(Method::POST, &Function::invoke_path(PRINTER), &event)?];
        let other = match beside {
            Beside::Nothing => Vec::new(),
            Beside::Put => batches.iter().enumerate().map(|(writer, batches)| written(writer, batches)).collect(),
            Beside::Printing | Beside::CallsThatPrintNothing => {
                spread(&calls, PRINTERS, (EVENTS_A_SECOND / LINES) as f64)
            }
        };
        std::thread::sleep(REST);
        let (port, load) = (self.lamp.port, spread(&self.invoke, CONNECTIONS, self.rate));
        let (load, other) = std::thread::scope(|scope| {
            let other = scope.spawn(|| pace::run(port, &other, WARMING, TIME));
            let load = pace::run(port, &load, WARMING, TIME);
            (load, other.join())
        });
        let Ok(other) = other else { bail!("send log events: the thread ended") };
        let (load, other) = (load?, other?);
        if beside == Beside::Printing {
            self.printing += other.answered;
        }
        Ok((load, (beside != Beside::Nothing).then_some(other)))
    }

    /// The batches of each writer for a sample, signed before it begins, so that only sending them takes the client time.
    /// Their events go on counting where those of the last sample ended.
    fn batches(&mut self) -> Result<Vec<Vec<Vec<u8>>>> {
        let count = (WARMING + TIME).as_millis() as u64 * BATCHES_A_SECOND / 1_000;
        let mut all = Vec::new();
        for writer in 0..WRITERS {
            let mut batches = Vec::new();
            for _ in 0..count {
                let now = SystemClock.now().as_millis();
                let first = self.put;
                self.put += BATCH_EVENTS;
                let events: Vec<Value> = (first..self.put).map(|number| event(number, now)).collect();
                let body = client::put(GROUP, &stream(writer), &events);
                batches.push(client::request(self.lamp.port, "PutLogEvents", &body)?);
            }
            all.push(batches);
        }
        Ok(all)
    }

    /// Fails unless each event that was acknowledged is there once.
    fn check_put(&self) -> Result<()> {
        let mut times = vec![0_u32; self.put as usize];
        Logs::of(self.lamp.port)?.filter(GROUP, "", |message| {
            let number = message.split(' ').nth(1).and_then(|word| word.parse::<usize>().ok());
            *number.and_then(|number| times.get_mut(number)).context("read an event's number")? += 1;
            Ok(())
        })?;
        let (missing, doubled) =
            (times.iter().filter(|times| **times == 0).count(), times.iter().filter(|times| **times > 1).count());
        if missing + doubled > 0 {
            bail!("read what was put: of {} events {missing} are missing, {doubled} are there twice", self.put);
        }
        println!("PutLogEvents: all {} events that were acknowledged are readable, each once", self.put);
        Ok(())
    }

    /// Printed lines are not waited for, so some may be dropped: that is said.
    fn check_printed(&self) -> Result<()> {
        let expected = self.printing * LINES;
        let found = printed::count(&self.lamp, PRINTER, expected)?;
        println!("printed: {found} of {expected} lines are readable");
        if found == 0 || found > expected {
            bail!("read what was printed: {found} lines of {expected}");
        }
        Ok(())
    }
}

fn stream(writer: u64) -> String {
    format!("writer-{writer}")
}

/// Some 200 bytes, as programs write.
fn event(number: u64, time_ms: i64) -> Value {
    let (path, took, user) = (number * 7_919 % 1_000_003, number * 31 % 400, number * 17 % 10_000);
    let message = format!(
        "event {number} INFO request 5f0c{path:08x}-{took:04x}-4a1c-9d2e GET /api/v1/orders/{path} took {took} ms for \
         user-{user}, {} bytes from the cache, host ip-10-0-{}-{}, region us-east-1, release 2026.11.3",
        number % 20_000,
        user % 8,
        path % 250
    );
    json!({ "timestamp": time_ms, "message": message })
}

/// A writer's batches, one after another, in turn with those of the others.
fn written(writer: usize, batches: &[Vec<u8>]) -> Pace<'_> {
    let each = Duration::from_secs(1) / BATCHES_A_SECOND as u32;
    let check = |answer: &crate::answer::Answer| {
        answer.check()?;
        check_all_taken(&answer.body)
    };
    Pace { requests: batches, each, offset: each * writer as u32 / WRITERS as u32, check }
}

fn print(figures: &[(Vec<Paced>, Vec<Paced>)]) {
    println!(
        "{:<28}{:>12}{:>10}{:>10}{:>13}{:>13}{:>13}{:>14}",
        "invocations beside", "per second", "p50 us", "p99 us", "p50 + %", "p99 + %", "acked/s", "its p50 us"
    );
    let alone = figures.first().map(|(loads, _)| medians(loads));
    for ((beside, name), (loads, others)) in ALL.iter().zip(figures) {
        let (load, other) = (medians(loads), medians(others));
        let slower = |of: fn(&Paced) -> f64| alone.map_or(f64::NAN, |alone| (of(&load) / of(&alone) - 1.0) * 100.0);
        let events = match beside {
            Beside::Put => other.per_second * BATCH_EVENTS as f64,
            Beside::Printing => other.per_second * LINES as f64,
            Beside::Nothing | Beside::CallsThatPrintNothing => 0.0,
        };
        println!(
            "{name:<28}{:>12.0}{:>10.1}{:>10.1}{:>13.1}{:>13.1}{events:>13.0}{:>14}",
            load.per_second,
            load.p50_us,
            load.p99_us,
            slower(|paced| paced.p50_us),
            slower(|paced| paced.p99_us),
            shown(other.p50_us, 1)
        );
    }
    println!("(goal: at most {SLOWER_MAX} % slower)");
}

//! Many first invocations at once, and one after the other for a while: how many sandboxes a second there are, beside the
//! children a second of a process that only forks into namespaces.
//!
//! Every call must be answered, by an instance of its own: an error, or one that answers twice, is no figure.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::due::{self, Call, Reply};
use crate::fork::ForkFloor;
use crate::functions::{self, EVENT, Function, Language, sleep_event};
use crate::peer::Peer;
use crate::report::{Report, invocation};
use crate::rounds::{median, percentile, rounds, shown, undisturbed_once};
use crate::sandboxes;

const ROUNDS: usize = 3;
/// Sandboxes at once.
const COUNT: usize = 200;
/// How long each holds its instance, at first and at most: until the last has one.
const HOLD_MS_FIRST: u64 = 3_000;
const HOLD_MS_MAX: u64 = 24_000;
const SUSTAINED_SECONDS: u64 = 10;
/// Calls in flight of a sustained run: enough for two cores and whoever makes sandboxes.
const SUSTAINED_AT_ONCE: usize = 16;
/// Functions of a sustained run, called in turn: with fewer, one would be called while it has an instance.
const SUSTAINED_FUNCTIONS: usize = 1_000;
/// An instance that nobody calls goes soon, so that a sustained run does not fill the machine.
const KEEP_ALIVE: &str = "1s";
/// Beyond it a call counts as not answered.
const PATIENCE: Duration = Duration::from_secs(60);
/// From the last function that is made until the first is called, and between looks at whether a server has settled.
const SETTLED: Duration = Duration::from_millis(1500);
const LOOK_EACH: Duration = Duration::from_millis(250);
const LOOKS_MAX: usize = 400;
/// As long as an instance is kept, and as long again: clones that were called look like those that wait.
const LOOKS_ALIKE: usize = 8;

#[derive(Debug, Clone, Copy)]
struct Figures {
    per_second: f64,
    /// The same of the floor.
    floor: f64,
    /// From the call to the first answer, without what the function was told to sleep.
    p50_ms: f64,
    p99_ms: f64,
    /// Rooms and runtimes that were held ready.
    stock: usize,
}

/// A language on a server of its own, so that what is held ready is of this language.
struct Entry {
    function: Function,
    lamp: Peer,
    hold_ms: u64,
    /// Of one function, of many, sustained.
    figures: [Vec<Figures>; 3],
}

const KINDS: [&str; 3] = ["one function", "200 functions", "sustained"];

pub fn run() -> Result<()> {
    let floor = ForkFloor::build()?;
    let mut entries = Vec::new();
    for function in functions::built()? {
        if function.is_plain() && matches!(function.language, Language::Native | Language::Python | Language::Node) {
            entries.push(Entry::new(function)?);
        }
    }
    let rounds = rounds(ROUNDS);
    for round in 0..rounds {
        for entry in &mut entries {
            let floor_of_burst = floor.burst(COUNT)?;
            entry.keep(0, |entry| entry.one_function(round, floor_of_burst))?;
            entry.keep(1, |entry| entry.many_functions(round, floor_of_burst))?;
            let floor_of_time = floor.sustained(SUSTAINED_AT_ONCE, SUSTAINED_SECONDS)?;
            entry.keep(2, |entry| entry.sustained(floor_of_time))?;
        }
    }
    print(&entries, rounds);
    Ok(())
}

impl Entry {
    fn new(function: Function) -> Result<Self> {
        let lamp = Peer::lamp_with(&["--concurrency", "10000", "--keep-alive", KEEP_ALIVE])?;
        let entry = Self { function, lamp, hold_ms: HOLD_MS_FIRST, figures: Default::default() };
        for number in 0..SUSTAINED_FUNCTIONS {
            entry.lamp.create(&entry.function, &format!("sustained-{number}"), 1_000_000 + number as u32)?;
        }
        Ok(entry)
    }

    fn keep(&mut self, kind: usize, sample: impl FnOnce(&mut Self) -> Result<Figures>) -> Result<()> {
        let name = self.function.name;
        let figures = undisturbed_once(|| sample(self)).with_context(|| format!("start many instances of {name}"))?;
        if let Some(kept) = self.figures.get_mut(kind) {
            kept.extend(figures);
        }
        Ok(())
    }

    /// All calls are of one function, whose instances are held so long that none answers twice.
    fn one_function(&mut self, round: usize, floor: f64) -> Result<Figures> {
        let name = format!("one-{round}");
        self.lamp.create(&self.function, &name, round as u32)?;
        loop {
            let stock = self.settle()?;
            let request = invocation(&self.lamp, &name, &sleep_event(self.hold_ms))?;
            let first = self.first_answers(vec![request; COUNT])?;
            if first.colds == COUNT {
                return Ok(first.figures(self.hold_ms as f64, floor, stock));
            }
            self.hold_ms *= 2;
            if self.hold_ms > HOLD_MS_MAX {
                bail!("give each call an instance of its own: {} of {COUNT} had one", first.colds);
            }
        }
    }

    /// Each call is of a function of its own, with code of its own.
    fn many_functions(&mut self, round: usize, floor: f64) -> Result<Figures> {
        let mut requests = Vec::with_capacity(COUNT);
        for number in 0..COUNT {
            let name = format!("many-{round}-{number}");
            self.lamp.create(&self.function, &name, ((round + 1) * 1_000 + number) as u32)?;
            requests.push(invocation(&self.lamp, &name, EVENT)?);
        }
        let stock = self.settle()?;
        let first = self.first_answers(requests)?;
        if first.colds < COUNT {
            bail!("give each call an instance of its own: {} of {COUNT} had one", first.colds);
        }
        Ok(first.figures(0.0, floor, stock))
    }

    fn sustained(&mut self, floor: f64) -> Result<Figures> {
        let names = (0..SUSTAINED_FUNCTIONS).map(|number| format!("sustained-{number}"));
        let requests = names.map(|name| invocation(&self.lamp, &name, EVENT)).collect::<Result<Vec<_>>>()?;
        let stock = self.settle()?;
        let time = Duration::from_secs(SUSTAINED_SECONDS);
        let first = First::of(due::keep_busy(self.lamp.port, &requests, SUSTAINED_AT_ONCE, time)?)?;
        let mut figures = first.figures(0.0, floor, stock);
        // What was ready before was not made in this time; what was called twice while it had an instance does not count.
        figures.per_second = first.colds.saturating_sub(stock) as f64 / SUSTAINED_SECONDS as f64;
        Ok(figures)
    }

    fn first_answers(&self, requests: Vec<Vec<u8>>) -> Result<First> {
        let calls = requests.into_iter().map(|request| Call { due: Duration::ZERO, request });
        First::of(due::play(self.lamp.port, calls.collect(), COUNT, PATIENCE)?)
    }

    /// Waits until no instance is left and as much is held ready as the server wants; tells how much.
    fn settle(&self) -> Result<usize> {
        std::thread::sleep(SETTLED);
        let (mut before, mut alike) = (usize::MAX, 0);
        for _ in 0..LOOKS_MAX {
            let sandboxes = sandboxes::of(&self.lamp)?;
            let is_idle = sandboxes.iter().all(|sandbox| !sandbox.is_instance);
            alike = if is_idle && sandboxes.len() == before { alike + 1 } else { 0 };
            if alike == LOOKS_ALIKE {
                return Ok(sandboxes.len());
            }
            before = sandboxes.len();
            std::thread::sleep(LOOK_EACH);
        }
        bail!("wait for instances of {} to end: they are still there", self.function.name)
    }
}

/// First answers: when each came, in order, and how many began an instance.
struct First {
    ms: Vec<f64>,
    colds: usize,
}

impl First {
    fn of(replies: Vec<Reply>) -> Result<First> {
        let mut first = First { ms: Vec::with_capacity(replies.len()), colds: 0 };
        for reply in replies {
            first.ms.push(reply.ms);
            let report = Report::of(&reply.answered()?)?;
            first.colds += usize::from(report.is_cold());
        }
        first.ms.sort_unstable_by(f64::total_cmp);
        Ok(first)
    }

    /// Figures of calls that were made at the same moment.
    fn figures(&self, held_ms: f64, floor: f64, stock: usize) -> Figures {
        let at = |share: f64| percentile(&self.ms, share) - held_ms;
        let per_second = self.ms.len() as f64 / at(1.0) * 1e3;
        Figures { per_second, floor, p50_ms: at(0.5), p99_ms: at(0.99), stock }
    }
}

fn print(entries: &[Entry], rounds: usize) {
    println!(
        "{COUNT} at once, then {SUSTAINED_SECONDS} s of {SUSTAINED_AT_ONCE} at any moment without what was held ready; \
         medians of {rounds} rounds\n{:<9}{:<15}{:>14}{:>12}{:>12}{:>10}{:>10}{:>8}",
        "", "", "sandboxes/s", "forks/s", "of forks", "p50 ms", "p99 ms", "held"
    );
    for entry in entries {
        for (kind, figures) in KINDS.iter().zip(&entry.figures) {
            let of = |pick: fn(&Figures) -> f64| median(figures.iter().map(pick));
            let ratio = of(|f| f.per_second / f.floor);
            let shown = [
                format!("{:>14}", shown(of(|f| f.per_second), 0)),
                format!("{:>12}", shown(of(|f| f.floor), 0)),
                format!("{:>12}", shown(ratio, 2)),
                format!("{:>10}", shown(of(|f| f.p50_ms), 1)),
                format!("{:>10}", shown(of(|f| f.p99_ms), 1)),
                format!("{:>8}", shown(of(|f| f.stock as f64), 0)),
            ];
            println!("{:<9}{kind:<15}{}", entry.function.name, shown.concat());
        }
    }
}

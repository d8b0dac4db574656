//! What functions cost that nobody calls: idle instances, runtimes that are held ready, functions alone; and a thousand
//! that are called now and then on a small machine.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::due::{self, Call};
use crate::functions::{self, EVENT, Function};
use crate::load::Client;
use crate::many;
use crate::memory_group::MemoryGroup;
use crate::peer::Peer;
use crate::report::{Report, invocation};
use crate::rounds::{median, percentile, shown};
use crate::sampler::Sampler;
use crate::sandboxes::{self, Memory, Sandbox};
use crate::server::{private_mb, rss_mb};

/// Instances of each function that are looked at.
const INSTANCES: usize = 5;
/// Until what can be prepared is, and until what is idle stands still.
const SETTLED: Duration = Duration::from_millis(1500);
const LOOK_EACH: Duration = Duration::from_millis(250);
const LOOKS_MAX: usize = 40;
/// Functions that are never called.
const UNCALLED: [usize; 2] = [1_000, 10_000];

/// The small machine: so much memory, so many functions, each called once a minute. In the first minute all are cold, in
/// the second nobody knows yet how often each is called. Shorter ones would ask for more starts than two cores can do,
/// where not all fit.
const SMALL_BYTES: u64 = 4 << 30;
const SMALL_FUNCTIONS: usize = 1_000;
const SMALL_MINUTES: [u64; 4] = [60; 4];
/// What functions are configured with, in turn.
const SMALL_MEMORY_MB: [u32; 3] = [128, 256, 512];
/// Beyond it a call counts as not answered: a server that is short of memory must say so.
const SMALL_PATIENCE: Duration = Duration::from_secs(30);

pub fn run() -> Result<()> {
    let functions = functions::built()?;
    instances(&functions)?;
    uncalled()?;
    small_machine(&functions, &SMALL_MINUTES)
}

/// The small machine alone, with other minutes, in seconds each.
pub fn run_small(seconds: &[&str]) -> Result<()> {
    let seconds = seconds.iter().map(|seconds| Ok(seconds.parse()?)).collect::<Result<Vec<u64>>>()?;
    small_machine(&functions::built()?, if seconds.is_empty() { &SMALL_MINUTES } else { &seconds })
}

/// What an idle instance of each function holds, and the runtime that waits for one.
fn instances(functions: &[Function]) -> Result<()> {
    let lamp = Peer::lamp_with(&[])?;
    println!(
        "medians of {INSTANCES}, all processes of a sandbox; private: dirty; proportional: with its part of shared pages\n\
         {:<14}{:>12}{:>18}{:>20}{:>18}",
        "idle, MB", "private", "proportional", "held ready private", "proportional"
    );
    let mut instances: Vec<u32> = Vec::new();
    for function in functions {
        let before = pids(&sandboxes::of(&lamp)?);
        for number in 0..INSTANCES {
            lamp.create(function, &format!("{}-{number}", function.name), number as u32)?;
        }
        std::thread::sleep(SETTLED);
        let held = others(&lamp, &before)?;
        for number in 0..INSTANCES {
            let request = invocation(&lamp, &format!("{}-{number}", function.name), EVENT)?;
            let answer = Client::new(lamp.port)?.send(&request)?;
            answer.check().with_context(|| format!("invoke {}", function.name))?;
        }
        std::thread::sleep(SETTLED);
        let idle = idle(&lamp, &instances)?;
        if idle.len() != INSTANCES {
            bail!(
                "look at {INSTANCES} instances of {}: {} are seen; does this program run as root?",
                function.name,
                idle.len()
            );
        }
        let of = |sandboxes: &[Sandbox], pick: fn(&Memory) -> f64| {
            shown(median(sandboxes.iter().map(|sandbox| pick(&sandbox.memory))), 1)
        };
        println!(
            "{:<14}{:>12}{:>18}{:>20}{:>18}",
            function.name,
            of(&idle, |memory| memory.private_mb),
            of(&idle, |memory| memory.proportional_mb),
            of(&held, |memory| memory.private_mb),
            of(&held, |memory| memory.proportional_mb),
        );
        instances.extend(pids(&idle));
    }
    Ok(())
}

/// Instances but for those that are known. One that was held ready before may be an instance now; and where a template is being
/// made, it looks like one for a while.
fn idle(lamp: &Peer, known: &[u32]) -> Result<Vec<Sandbox>> {
    for _ in 0..LOOKS_MAX {
        let mut idle = others(lamp, known)?;
        idle.retain(|sandbox| sandbox.is_instance);
        if idle.len() <= INSTANCES {
            return Ok(idle);
        }
        std::thread::sleep(LOOK_EACH);
    }
    bail!("wait for templates to be made: they still are")
}

fn pids(sandboxes: &[Sandbox]) -> Vec<u32> {
    sandboxes.iter().map(|sandbox| sandbox.pid).collect()
}

/// All sandboxes but those.
fn others(lamp: &Peer, known: &[u32]) -> Result<Vec<Sandbox>> {
    let mut sandboxes = sandboxes::of(lamp)?;
    sandboxes.retain(|sandbox| !known.contains(&sandbox.pid));
    Ok(sandboxes)
}

/// What functions cost the server that were made and never called: the one that made them, and one that finds them.
fn uncalled() -> Result<()> {
    let dir = TempDir::new()?;
    let data = dir.path().join("data");
    println!(
        "\n{:<22}{:>14}{:>12}{:>12}{:>16}{:>16}",
        "functions, not called", "", "resident MB", "private MB", "kB each", "private kB each"
    );
    many::make(&Peer::lamp_on(&data)?, 0, 1)?;
    let first = found(&data)?;
    first.print(1, "found", None);
    let mut made = 1;
    for count in UNCALLED {
        {
            let lamp = Peer::lamp_on(&data)?;
            // What the first request of a server costs is no function's cost.
            many::make(&lamp, made, made + 1)?;
            std::thread::sleep(SETTLED);
            let before = Held::of(&lamp)?;
            many::make(&lamp, made + 1, count)?;
            std::thread::sleep(SETTLED);
            Held::of(&lamp)?.print(count, "made", Some((before, count - made - 1)));
        }
        made = count;
        found(&data)?.print(count, "found", Some((first, count - 1)));
    }
    Ok(())
}

/// What a server holds that has only found its functions.
fn found(data: &Path) -> Result<Held> {
    let lamp = Peer::lamp_on(data)?;
    std::thread::sleep(SETTLED);
    Held::of(&lamp)
}

/// What the server itself holds, sandboxes apart.
#[derive(Debug, Clone, Copy)]
struct Held {
    rss_mb: f64,
    private_mb: f64,
}

impl Held {
    fn of(lamp: &Peer) -> Result<Held> {
        Ok(Held { rss_mb: rss_mb(lamp)?, private_mb: private_mb(lamp)? })
    }

    /// With what each of so many functions added to what was held before.
    fn print(&self, count: usize, what: &str, before: Option<(Held, usize)>) {
        let each = |of: fn(&Held) -> f64| {
            let each = before.map(|(before, added)| (of(self) - of(&before)) * 1e3 / added as f64);
            shown(each.unwrap_or(f64::NAN), 2)
        };
        println!(
            "{count:<22}{what:>14}{:>12.1}{:>12.1}{:>16}{:>16}",
            self.rss_mb,
            self.private_mb,
            each(|held| held.rss_mb),
            each(|held| held.private_mb)
        );
    }
}

/// How a round of calls went, a language each.
#[derive(Debug, Default, Clone)]
struct Tally {
    warm: usize,
    cold: usize,
    refused: usize,
    ms: Vec<f64>,
}

fn small_machine(functions: &[Function], minutes: &[u64]) -> Result<()> {
    let plain: Vec<&Function> = functions.iter().filter(|function| function.is_plain()).collect();
    let group = MemoryGroup::new(SMALL_BYTES);
    let limit = format!("{}MB", SMALL_BYTES >> 20);
    let options = ["--concurrency", "10000", "--memory", &limit];
    let lamp = match &group {
        Ok(group) => Peer::lamp_within(group.path(), &options)?,
        Err(error) => {
            println!("\nwithout a limit of memory: failed to {error:#}");
            Peer::lamp_with(&options)?
        }
    };
    let mut requests = Vec::with_capacity(SMALL_FUNCTIONS);
    for (number, function) in (0..SMALL_FUNCTIONS).zip(plain.iter().cycle()) {
        let name = format!("small-{number}");
        let memory_mb = SMALL_MEMORY_MB[number / plain.len() % SMALL_MEMORY_MB.len()];
        lamp.create_sized(function, &name, number as u32, memory_mb)?;
        requests.push(invocation(&lamp, &name, EVENT)?);
    }
    let mut ends = Vec::new();
    println!(
        "\n{SMALL_FUNCTIONS} functions on a machine of {} GiB, each called once a minute\n\
         {:<8}{:<8}{:<9}{:>8}{:>8}{:>9}{:>9}{:>10}{:>10}",
        SMALL_BYTES >> 30,
        "minute",
        "took",
        "",
        "warm",
        "cold",
        "refused",
        "warm %",
        "p50 ms",
        "p99 ms"
    );
    let path = group.as_ref().ok().map(|group| group.path().to_owned());
    let sampler = Sampler::start(Duration::from_millis(100), move || MemoryGroup::held_mb(path.as_deref()?));
    for (round, minute) in minutes.iter().map(|seconds| Duration::from_secs(*seconds)).enumerate() {
        let tallies = small_minute(&lamp, &requests, plain.len(), minute, &mut ends)?;
        for (function, tally) in plain.iter().zip(tallies) {
            tally.print(round + 1, minute, function.name);
        }
        if !ends.is_empty() {
            break;
        }
    }
    let peak = sampler.stop().iter().map(|(_, mb)| *mb).fold(f64::NAN, f64::max);
    let kills = group.as_ref().map_or(0, MemoryGroup::kills);
    println!(
        "memory of all at its peak: {} MB; the server: {}; killed for want of memory: {kills}",
        shown(peak, 0),
        rss_mb(&lamp).map_or("gone".to_owned(), |mb| format!("{mb:.1} MB resident"))
    );
    drop(lamp);
    match ends.first() {
        Some(first) => {
            bail!("answer each of a thousand functions: {} calls failed, the first with {first}", ends.len())
        }
        None => Ok(()),
    }
}

/// Each function once, one after the other within the minute; the next one begins when all are answered.
fn small_minute(
    lamp: &Peer,
    requests: &[Vec<u8>],
    languages: usize,
    minute: Duration,
    ends: &mut Vec<String>,
) -> Result<Vec<Tally>> {
    let pause = minute / requests.len() as u32;
    let calls = requests.iter().zip(0_u32..);
    let calls = calls.map(|(request, number)| Call { due: pause * number, request: request.clone() });
    let mut tallies = vec![Tally::default(); languages];
    for reply in due::play(lamp.port, calls.collect(), 0, SMALL_PATIENCE)? {
        let Some(tally) = tallies.get_mut(reply.number % languages) else { continue };
        let ms = reply.ms;
        match reply.answered() {
            Ok(answer) if Report::of(&answer)?.is_cold() => tally.cold += 1,
            Ok(_) => tally.warm += 1,
            Err(error) => {
                tally.refused += 1;
                ends.push(format!("{error:#}"));
                continue;
            }
        }
        tally.ms.push(ms);
    }
    Ok(tallies)
}

impl Tally {
    fn print(mut self, round: usize, minute: Duration, language: &str) {
        self.ms.sort_unstable_by(f64::total_cmp);
        let warm = 100.0 * self.warm as f64 / (self.warm + self.cold + self.refused) as f64;
        println!(
            "{round:<8}{:<8}{language:<9}{:>8}{:>8}{:>9}{:>9}{:>10}{:>10}",
            format!("{} s", minute.as_secs()),
            self.warm,
            self.cold,
            self.refused,
            shown(warm, 1),
            shown(percentile(&self.ms, 0.5), 1),
            shown(percentile(&self.ms, 0.99), 1)
        );
    }
}

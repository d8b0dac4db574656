//! An hour of a public trace, faster than it was, against the server: the dispatcher's promises where requests are real.
//!
//! The trace, and how it is spread within its minutes, are the simulator's (`sim`), whose cold starts for the same hour
//! are printed beside the server's. Everything that has a time is divided by the speed: arrivals, durations, keep-alive.
//! A start is not, so the simulator's takes as much longer. Functions sleep for as long as they ran; which of the plain
//! languages one is written in goes by its number.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sim::chance::Chance;
use sim::trace::Traced;

use crate::due::{self, Call, Reply};
use crate::functions::{self, EVENT, Function, Language, sleep_event};
use crate::load::Client;
use crate::peer::Peer;
use crate::report::{Report, invocation};
use crate::rounds::{median, percentile, shown, timed};
use crate::sampler::{Sampler, slope};
use crate::server::rss_of;

const USAGE: &str = "\
usage: bench replay DIR [--speed 20] [--minutes 60] [--functions COUNT] [--policy fixed/10] [--seed 1]

DIR is what the simulator reads (docs/scaling.md). --functions: each so many-th function of the trace that no more are
left. --policy: what the simulator keeps instances by, and for how many minutes of the trace; the server keeps for as
many, divided by the speed.
";

/// Streams of chance that are none of the simulator's: its arrivals are shared, its draws are its own.
const DURATIONS: u64 = 1 << 58;
const SIZES: u64 = 1 << 59;
/// Lambda's limits of a function's memory, and the step in which it is given here, so that there are few kinds.
const MEMORY_MB: (f64, f64) = (128.0, 10_240.0);
const MEMORY_STEP_MB: f64 = 64.0;
/// A function may run for no longer on Lambda.
const RUN_MAX: Duration = Duration::from_secs(900);
/// Beyond it a call counts as not answered.
const PATIENCE: Duration = Duration::from_secs(960);
const RSS_EACH: Duration = Duration::from_millis(500);
/// From the last function that is made until the hour begins.
const SETTLED: Duration = Duration::from_secs(2);
/// Starts of each language that tell how long one takes.
const PROBES: u32 = 3;

struct Plan {
    speed: u32,
    minutes: usize,
    functions_max: usize,
    policy: String,
    seed: u64,
}

/// A function of the trace as it is played.
struct Played<'f> {
    function: &'f Function,
    name: String,
}

/// A call as it is to be.
struct Planned {
    after: Duration,
    number: usize,
    sleep_ms: u64,
}

pub fn run(arguments: &[&str]) -> Result<()> {
    let Some((dir, options)) = arguments.split_first() else { bail!("read the options\n{USAGE}") };
    let plan = Plan::read(options)?;
    let trace = sim::trace::read(Path::new(dir))?;
    let every = trace.len().div_ceil(plan.functions_max.max(1)).max(1);
    let trace: Vec<Traced> = trace.into_iter().step_by(every).collect();
    let keep_seconds = (sim::policy(&plan.policy)?.keep.as_secs() / u64::from(plan.speed)).max(1);
    let lamp = Peer::lamp_with(&["--concurrency", "10000", "--keep-alive", &format!("{keep_seconds}s")])?;
    let functions = languages()?;
    let start_ms = start_ms(&lamp, &functions)?;
    let played = create(&lamp, &functions, &trace, &plan)?;
    std::thread::sleep(SETTLED);
    let planned = planned(&trace, &plan);
    println!(
        "{} functions (each {every}. of the trace), {} calls in {} minutes, {} times as fast; instances kept for {keep_seconds} s",
        trace.len(),
        planned.len(),
        plan.minutes,
        plan.speed
    );
    let calls = planned.iter().map(|call| {
        let name = played.get(call.number).map(|played| played.name.as_str()).unwrap_or_default();
        Ok(Call { due: call.after, request: invocation(&lamp, name, &sleep_event(call.sleep_ms))? })
    });
    let calls = calls.collect::<Result<Vec<_>>>()?;
    let server = lamp.pid();
    let sampler = Sampler::start(RSS_EACH, move || rss_of(server).ok());
    let replies = due::play(lamp.port, calls, 0, PATIENCE)?;
    let rss = sampler.stop();
    let told = Told::of(&replies, &planned, &played)?;
    told.print(&functions);
    print_rss(&rss, rss_of(lamp.pid()).ok());
    compare(&trace, &plan, &told, start_ms)?;
    match told.errors.first() {
        Some(error) => bail!("answer each call: {} failed, the first with {error}", told.errors.len()),
        None => Ok(()),
    }
}

impl Plan {
    fn read(options: &[&str]) -> Result<Plan> {
        let mut plan =
            Plan { speed: 20, minutes: 60, functions_max: usize::MAX, policy: "fixed/10".to_owned(), seed: 1 };
        for pair in options.chunks(2) {
            let [option, value] = pair else { bail!("read the value of {}\n{USAGE}", pair.concat()) };
            let number = || value.parse::<u32>().with_context(|| format!("read the number {value}"));
            match *option {
                "--speed" => plan.speed = number()?.max(1),
                "--minutes" => plan.minutes = number()? as usize,
                "--functions" => plan.functions_max = number()? as usize,
                "--seed" => plan.seed = u64::from(number()?),
                "--policy" => plan.policy = (*value).to_owned(),
                _ => bail!("find an option {option}\n{USAGE}"),
            }
        }
        Ok(plan)
    }
}

/// Those that sleep when they are told to.
fn languages() -> Result<Vec<Function>> {
    let mut functions = functions::built()?;
    functions.retain(|function| {
        function.is_plain() && matches!(function.language, Language::Native | Language::Python | Language::Node)
    });
    if functions.is_empty() {
        bail!("find a function that can be played: run `cargo xtask replay`");
    }
    Ok(functions)
}

/// What a start takes on a server that has nothing else to do.
fn start_ms(lamp: &Peer, functions: &[Function]) -> Result<f64> {
    let mut starts = Vec::new();
    for number in 0..=PROBES {
        for function in functions {
            let name = format!("probe-{}-{number}", function.name);
            lamp.create(function, &name, number)?;
            std::thread::sleep(SETTLED);
            let request = invocation(lamp, &name, EVENT)?;
            let (answer, ms) = timed(|| Client::new(lamp.port)?.send(&request))?;
            answer.check()?;
            // What is once for a language is no start's.
            starts.extend((number > 0).then_some(ms));
        }
    }
    Ok(median(starts))
}

/// Makes each function of the trace, with code of its own, and as much memory as it is once drawn to have.
fn create<'f>(lamp: &Peer, functions: &'f [Function], trace: &[Traced], plan: &Plan) -> Result<Vec<Played<'f>>> {
    let mut played = Vec::with_capacity(trace.len());
    for ((number, traced), function) in trace.iter().enumerate().zip(functions.iter().cycle()) {
        let name = format!("traced-{number}");
        let mib = traced.mib.draw(&mut Chance::new(plan.seed, number as u64 | SIZES));
        lamp.create_sized(function, &name, number as u32, memory_mb(mib))?;
        played.push(Played { function, name });
    }
    Ok(played)
}

fn memory_mb(mib: f64) -> u32 {
    let (least, most) = MEMORY_MB;
    ((mib / MEMORY_STEP_MB).ceil() * MEMORY_STEP_MB).clamp(least, most) as u32
}

/// Every call of the time that is played, in order.
fn planned(trace: &[Traced], plan: &Plan) -> Vec<Planned> {
    let mut planned = Vec::new();
    for (number, traced) in trace.iter().enumerate() {
        let mut chance = Chance::new(plan.seed, number as u64 | DURATIONS);
        for minute in 0..plan.minutes {
            for within in traced.arrivals(number, minute, plan.seed) {
                let after = (Duration::from_secs(60 * minute as u64) + within) / plan.speed;
                let millis = traced.millis.draw(&mut chance) / f64::from(plan.speed);
                let sleep_ms = (millis.round() as u64).min(RUN_MAX.as_millis() as u64 - 1_000);
                planned.push(Planned { after, number, sleep_ms });
            }
        }
    }
    planned.sort_by_key(|call| call.after);
    planned
}

/// What the replies told.
#[derive(Default)]
struct Told {
    answered: usize,
    cold: usize,
    throttled: usize,
    errors: Vec<String>,
    /// What an answer took beyond the function's sleep: all, and those that began an instance.
    warm_ms: Vec<f64>,
    cold_ms: Vec<f64>,
    /// Cold starts, and all answers, by language.
    by_language: Vec<(Language, usize, usize)>,
}

impl Told {
    fn of(replies: &[Reply], planned: &[Planned], played: &[Played<'_>]) -> Result<Told> {
        let mut told = Told::default();
        for reply in replies {
            let Some(call) = planned.get(reply.number) else { continue };
            let answer = match &reply.answer {
                Ok(answer) if answer.status == 429 => {
                    told.throttled += 1;
                    continue;
                }
                Ok(answer) => answer,
                Err(error) => {
                    told.errors.push(format!("{error:#}"));
                    continue;
                }
            };
            if let Err(error) = answer.check() {
                told.errors.push(format!("{error:#}"));
                continue;
            }
            let report = Report::of(answer)?;
            let language = played.get(call.number).map(|played| played.function.language);
            told.note(&report, reply.ms - call.sleep_ms as f64, language);
        }
        told.warm_ms.sort_unstable_by(f64::total_cmp);
        told.cold_ms.sort_unstable_by(f64::total_cmp);
        Ok(told)
    }

    fn note(&mut self, report: &Report, ms: f64, language: Option<Language>) {
        self.answered += 1;
        let is_cold = report.is_cold();
        self.cold += usize::from(is_cold);
        if is_cold {
            self.cold_ms.push(ms)
        } else {
            self.warm_ms.push(ms)
        }
        let Some(language) = language else { return };
        if !self.by_language.iter().any(|(known, _, _)| *known == language) {
            self.by_language.push((language, 0, 0));
        }
        if let Some((_, cold, all)) = self.by_language.iter_mut().find(|(known, _, _)| *known == language) {
            *cold += usize::from(is_cold);
            *all += 1;
        }
    }

    fn cold_percent(&self) -> f64 {
        100.0 * self.cold as f64 / self.answered as f64
    }

    fn print(&self, functions: &[Function]) {
        println!(
            "answered {}, of which cold {}; 429: {}; errors: {}",
            self.answered,
            self.cold,
            self.throttled,
            self.errors.len()
        );
        for function in functions {
            let found = self.by_language.iter().find(|(language, _, _)| *language == function.language);
            if let Some((_, cold, all)) = found {
                println!(
                    "  {:<8}{cold:>7} of {all:>7} cold: {:.2} %",
                    function.name,
                    100.0 * *cold as f64 / *all as f64
                );
            }
        }
        for (what, ms) in [("warm", &self.warm_ms), ("cold", &self.cold_ms)] {
            println!(
                "{what}: beyond what the function slept, p50 {} ms, p99 {} ms, at most {} ms",
                shown(percentile(ms, 0.5), 2),
                shown(percentile(ms, 0.99), 1),
                shown(percentile(ms, 1.0), 0)
            );
        }
    }
}

/// Whether memory is flat: while the first instances come, it is not.
fn print_rss(samples: &[(f64, f64)], after: Option<f64>) {
    let half = samples.get(samples.len() / 2..).unwrap_or_default();
    let first = samples.first().map_or(f64::NAN, |sample| sample.1);
    let most = samples.iter().map(|sample| sample.1).fold(f64::NAN, f64::max);
    println!(
        "server resident: {} MB before, {} at most, {} after; in the second half {} MB a minute",
        shown(first, 1),
        shown(most, 1),
        shown(after.unwrap_or(f64::NAN), 1),
        shown(slope(half) * 60.0, 2)
    );
}

/// The simulator's cold starts of the same calls, on a host that is never short of memory.
fn compare(trace: &[Traced], plan: &Plan, told: &Told, start_ms: f64) -> Result<()> {
    // No start became faster.
    let start_ms = start_ms * f64::from(plan.speed);
    let simulated = sim::Plan {
        memory_gib: vec![0],
        policies: Vec::new(),
        cold: Duration::from_secs_f64(start_ms / 1e3),
        minutes: plan.minutes,
        every: 1,
        seed: plan.seed,
        is_json: false,
    };
    let row = sim::host::run(trace, &plan.policy, sim::policy(&plan.policy)?, 0, &simulated);
    println!(
        "cold: {:.2} %; the simulator's, by {} with starts of {start_ms:.0} ms: {:.2} % ({} of {}); {:+.2} points",
        told.cold_percent(),
        plan.policy,
        row.cold_percent,
        row.cold,
        row.asked,
        told.cold_percent() - row.cold_percent
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use sim::trace::Percentiles;

    use super::*;

    #[test]
    fn options_are_read() {
        let plan = Plan::read(&["--speed", "60", "--functions", "90", "--policy", "predictive/10"]).unwrap();
        assert_eq!((plan.speed, plan.functions_max, plan.policy.as_str()), (60, 90, "predictive/10"));
        assert!(Plan::read(&["--speed"]).is_err() && Plan::read(&["--sped", "1"]).is_err());
    }

    #[test]
    fn memory_is_one_of_lambdas() {
        assert_eq!([1.0, 128.0, 129.0, 20_000.0].map(memory_mb), [128, 128, 192, 10_240]);
    }

    #[test]
    fn what_is_played_is_what_the_trace_asks_for_and_faster() {
        let traced = Traced {
            minutes: vec![3, 0, 2, 9],
            millis: Percentiles::new(&[(0, 2_000.0), (100, 2_000.0)]),
            mib: Percentiles::new(&[(1, 100.0), (100, 200.0)]),
        };
        let plan = Plan::read(&["--minutes", "3"]).unwrap();
        let played = planned(&[traced], &plan);
        let at: Vec<f64> = played.iter().map(|call| call.after.as_secs_f64()).collect();
        assert_eq!(at.len(), 5);
        assert!(at.is_sorted() && at[2] < 3.0 && at[3] >= 6.0 && at[4] < 9.0, "{at:?}");
        assert!(played.iter().all(|call| call.sleep_ms == 100));
    }
}

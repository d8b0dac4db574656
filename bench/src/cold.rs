//! First invocations: no process has run this version of the function before. Beside them the same work in a fresh process
//! of the language, within the same sandbox and without any, and peers.
//!
//! Nobody calls a function in the instant after it was made, so servers have a while to prepare it; and calls come with
//! pauses, in which what is held ready is made anew. Ours and peers get the same of both.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use http::Method;

use crate::functions::{self, EVENT, Function, Language, MEMORY_MB};
use crate::load::Client;
use crate::peer::Peer;
use crate::project::Project;
use crate::report::{Report, invocation};
use crate::rounds::{median, rounds, shown, timed, undisturbed, undisturbed_once};

const ROUNDS: usize = 7;
/// Of peers that take a second each time.
const ROUNDS_OF_SLOW: usize = 3;
/// From the last function of a round that is made until the first is called.
const SETTLED: Duration = Duration::from_millis(1500);
/// Before each call.
const PAUSE: Duration = Duration::from_millis(150);
/// How often a function that is not active yet is called again.
const TRIES_MAX: usize = 10_000;

/// A first invocation, in milliseconds.
#[derive(Default)]
struct Cold {
    total: Vec<f64>,
    /// As `REPORT` tells it: from the start of the runtime's process until the handler is loaded.
    init: Vec<f64>,
    handler: Vec<f64>,
    /// Code, sandbox, the way there and back.
    rest: Vec<f64>,
    /// In the same sandbox, made from nothing as its process is.
    strict: Vec<f64>,
    /// In a process outside of any.
    fresh: Vec<f64>,
    offline: Vec<f64>,
    ministack: Vec<f64>,
}

pub fn run() -> Result<()> {
    let functions = functions::built()?;
    let project = Project::new(&functions, ROUNDS_OF_SLOW)?;
    let peers = Peers {
        lamp: Peer::lamp_with(&[])?,
        strict: Peer::lamp_with(&["--isolation", "strict"])?,
        ministack: Peer::ministack()?,
        offline: Peer::serverless_offline(project.path())?,
    };
    // What is once for a language (interpreters are looked for, our part is compiled) is not once for a function.
    let mut first = Vec::new();
    for function in &functions {
        let name = format!("first-{}", function.name);
        for lamp in [&peers.lamp, &peers.strict] {
            lamp.create(function, &name, 0)?;
        }
        first.push(invoke(&peers.lamp, &name)?.1);
        invoke(&peers.strict, &name)?;
    }
    let mut cold: Vec<Cold> = functions.iter().map(|_| Cold::default()).collect();
    for round in 0..rounds(ROUNDS) {
        peers.create(&functions, round)?;
        for (function, cold) in functions.iter().zip(&mut cold) {
            peers.sample(function, round, cold)?;
        }
    }
    print(&functions, &cold, &first);
    print_strict(&functions, &cold);
    Ok(())
}

struct Peers {
    lamp: Peer,
    strict: Peer,
    ministack: Peer,
    offline: Peer,
}

impl Peers {
    /// Makes all functions of a round, and waits.
    fn create(&self, functions: &[Function], round: usize) -> Result<()> {
        for function in functions {
            let name = format!("{}-{round}", function.name);
            for lamp in [&self.lamp, &self.strict] {
                lamp.create(function, &name, round as u32 + 1)?;
            }
            if is_for_peers(function, round) {
                self.ministack.create(function, &name, round as u32)?;
            }
        }
        std::thread::sleep(SETTLED);
        Ok(())
    }

    fn sample(&self, function: &Function, round: usize, cold: &mut Cold) -> Result<()> {
        let name = format!("{}-{round}", function.name);
        if let Some((report, total)) = rested(|| invoke(&self.lamp, &name))? {
            cold.total.push(total);
            // A report that tells of no init stands for an instance that nothing was left to do for.
            let init_ms = if report.is_cold() { report.init_ms } else { 0.0 };
            cold.init.push(init_ms);
            cold.handler.push(report.handler_ms);
            cold.rest.push(total - init_ms - report.handler_ms);
        }
        cold.strict.extend(rested(|| Ok(invoke(&self.strict, &name)?.1))?);
        cold.fresh.push(undisturbed(|| fresh(function))?);
        if is_for_peers(function, round) {
            let deployed = Project::deployed(function.name, round);
            cold.offline.extend(rested(|| Ok(invoke(&self.offline, &deployed)?.1))?);
            cold.ministack.extend(rested(|| Ok(invoke(&self.ministack, &name)?.1))?);
        }
        Ok(())
    }
}

fn is_for_peers(function: &Function, round: usize) -> bool {
    round < ROUNDS_OF_SLOW && matches!(function.language, Language::Python | Language::Node)
}

/// A sample after a pause, none if a hypervisor disturbed it.
fn rested<T>(sample: impl FnOnce() -> Result<T>) -> Result<Option<T>> {
    std::thread::sleep(PAUSE);
    undisturbed_once(sample)
}

/// Invokes once over a connection of its own, and tells how many milliseconds that took.
fn invoke(peer: &Peer, function: &str) -> Result<(Report, f64)> {
    let request = invocation(peer, function, EVENT)?;
    let mut client = Client::new(peer.port)?;
    let (answer, ms) = timed(|| client.send(&request))?;
    answer.check().with_context(|| format!("invoke {function} on {}", peer.name))?;
    Ok((Report::of(&answer)?, ms))
}

/// From the start of a fresh process to the line that the function prints.
fn fresh(function: &Function) -> Result<f64> {
    let mut command = function.fresh()?;
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped());
    let ((mut child, line), ms) = timed(|| {
        let mut child = command.spawn().with_context(|| format!("start {}", function.name))?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("read its output")?).read_line(&mut line)?;
        Ok((child, line))
    })?;
    child.kill().ok();
    child.wait()?;
    if !line.starts_with("an event came") {
        bail!("run {} in a process: it said {line:?}", function.name);
    }
    Ok(ms)
}

fn print(functions: &[Function], cold: &[Cold], first: &[f64]) {
    println!(
        "medians in ms; init as REPORT tells it; rest: code, sandbox, the way there and back\n\
         {:<14}{:>9}{:>9}{:>9}{:>9}{:>9}{:>11}{:>11}{:>9}{:>9}{:>9}{:>9}",
        "",
        "first",
        "lamp",
        "init",
        "handler",
        "rest",
        "a process",
        "lamp / it",
        "offline",
        "/ lamp",
        "MiniSt.",
        "/ lamp"
    );
    for ((function, cold), first) in functions.iter().zip(cold).zip(first) {
        let of = |values: &[f64]| median(values.iter().copied());
        let (total, init, handler, fresh) = (of(&cold.total), of(&cold.init), of(&cold.handler), of(&cold.fresh));
        let (offline, ministack) = (of(&cold.offline), of(&cold.ministack));
        let parts = [*first, total, init, handler, of(&cold.rest)].map(|ms| format!("{:>9}", shown(ms, 1))).concat();
        let peers = [shown(offline, 0), shown(offline / total, 1), shown(ministack, 0), shown(ministack / total, 1)];
        let peers = peers.map(|figure| format!("{figure:>9}")).concat();
        println!("{:<14}{parts}{:>11}{:>11}{peers}", function.name, shown(fresh, 1), shown(total / fresh, 2));
    }
}

/// What holding sandboxes and runtimes ready saves: the whole of a first invocation beside one for which all is made.
fn print_strict(functions: &[Function], cold: &[Cold]) {
    println!("\n{:<14}{:>9}{:>29}{:>11}", "medians in ms", "lamp", "fresh in the same sandbox", "lamp / it");
    for (function, cold) in functions.iter().zip(cold) {
        let of = |values: &[f64]| median(values.iter().copied());
        let (total, strict) = (of(&cold.total), of(&cold.strict));
        let figures = (shown(total, 1), shown(strict, 1), shown(total / strict, 3));
        println!("{:<14}{:>9}{:>29}{:>11}", function.name, figures.0, figures.1, figures.2);
    }
}

/// From the request that creates a function until it has answered: what a user waits for after each deployment.
pub fn run_create() -> Result<()> {
    let mut functions = functions::built()?;
    // The largest zip stands for large ones.
    functions.retain(|function| function.is_plain() || function.name == "python-boto3");
    let (lamp, ministack) = (Peer::lamp_with(&[])?, Peer::ministack()?);
    println!("{:<14}{:>9}{:>12}{:>16}", "medians in ms", "lamp", "MiniStack", "MiniStack/lamp");
    for function in &functions {
        // What is once for a language.
        create_to_answer(&lamp, function, ROUNDS as u32)?;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 0..rounds(ROUNDS) as u32 {
            ours.extend(undisturbed_once(|| create_to_answer(&lamp, function, round))?);
            if round < ROUNDS_OF_SLOW as u32 && matches!(function.language, Language::Python | Language::Node) {
                theirs.extend(undisturbed_once(|| create_to_answer(&ministack, function, round))?);
            }
        }
        let (ours, theirs) = (median(ours), median(theirs));
        let (ms, ratio) = (shown(theirs, 0), shown(theirs / ours, 1));
        println!("{:<14}{ours:>9.1}{ms:>12}{ratio:>16}", function.name);
    }
    Ok(())
}

fn create_to_answer(peer: &Peer, function: &Function, number: u32) -> Result<f64> {
    let name = format!("{}-{number}", function.name);
    let create = peer.signed(Method::POST, "/2015-03-31/functions", &function.create(&name, number, MEMORY_MB)?)?;
    let invoke = peer.signed(Method::POST, &Function::invoke_path(&name), EVENT)?;
    let mut client = Client::new(peer.port)?;
    let ((), ms) = timed(|| {
        client.send(&create)?.check()?;
        for _ in 0..TRIES_MAX {
            let answer = client.send(&invoke)?;
            // Not active yet.
            if answer.status != 409 {
                return answer.check();
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        bail!("invoke {name} on {}: it does not become active", peer.name)
    })?;
    Ok(ms)
}

//! Invocations of functions that have run before: how long one takes, and how many a second there are, beside the ceiling
//! and peers.

use std::time::Duration;

use anyhow::{Context, Result};
use http::Method;

use crate::functions::{self, EVENT, Function, Language};
use crate::load::{self, Figures};
use crate::peer::Peer;
use crate::project::Project;
use crate::rounds::{median, rounds, undisturbed};

const ROUNDS: usize = 5;
const TIME: Duration = Duration::from_millis(700);
/// Before each sample, for instances that were stopped where they stood, caches and compilers.
const WARMING: Duration = Duration::from_millis(200);
/// Before the first: V8 is at its best after some thousand calls.
const FIRST: Duration = Duration::from_millis(1500);

/// The account's limit, which stands for ten requests a second each: nobody measures a limit here.
const CONCURRENCY: &str = "10000";

/// A function on a server.
struct Entry<'p> {
    language: &'static str,
    peer: &'p Peer,
    path: String,
    figures: Vec<Figures>,
}

pub fn run() -> Result<()> {
    measure(&[1])
}

pub fn run_throughput() -> Result<()> {
    measure(&[16, 64])
}

/// All servers in turn, in several rounds, for each number of connections.
fn measure(connections: &[usize]) -> Result<()> {
    let mut functions = functions::built()?;
    functions.retain(Function::is_plain);
    let project = Project::new(&functions, 1)?;
    let lamp = Peer::lamp_with(&["--concurrency", CONCURRENCY])?;
    let ministack = Peer::ministack()?;
    let mut peers = vec![("native", Peer::ceiling("native")?), ("native", Peer::floor()?)];
    peers.push(("native", Peer::workerd(project.path())?));
    if has(&functions, Language::Python) {
        peers.push(("python", Peer::ceiling("python")?));
        peers.push(("python", Peer::functions_framework_python(project.path())?));
    }
    if has(&functions, Language::Node) {
        peers.push(("node", Peer::ceiling("node")?));
        peers.push(("node", Peer::functions_framework_node(project.path())?));
    }
    let offline = Peer::serverless_offline(project.path())?;
    let mut entries = Vec::new();
    for function in &functions {
        let language = function.name;
        lamp.create(function, language, 0)?;
        entries.push(Entry::new(language, &lamp, language));
        let of_it = peers.iter().filter(|(of, _)| *of == language);
        entries.extend(of_it.map(|(_, peer)| Entry::new(language, peer, language)));
        if matches!(function.language, Language::Python | Language::Node) {
            entries.push(Entry::new(language, &offline, &Project::deployed(language, 0)));
            ministack.create(function, language, 0)?;
            entries.push(Entry::new(language, &ministack, language));
        }
    }
    for entry in &entries {
        entry.sample(1, Duration::ZERO, FIRST)?;
    }
    println!(
        "{:<8}{:<21}{:>6}{:>12}{:>10}{:>10}{:>15}{:>15}",
        "", "", "conns", "per second", "p50 us", "p99 us", "p50 / lamp's", "lamp's / rate"
    );
    for connections in connections.iter().copied() {
        for _ in 0..rounds(ROUNDS) {
            for entry in &mut entries {
                let figures = undisturbed(|| entry.sample(connections, WARMING, TIME))?;
                entry.figures.push(figures);
            }
        }
        print(&mut entries, connections);
    }
    Ok(())
}

fn has(functions: &[Function], language: Language) -> bool {
    functions.iter().any(|function| function.language == language)
}

impl<'p> Entry<'p> {
    fn new(language: &'static str, peer: &'p Peer, function: &str) -> Self {
        Self { language, peer, path: Function::invoke_path(function), figures: Vec::new() }
    }

    fn sample(&self, connections: usize, warming: Duration, time: Duration) -> Result<Figures> {
        let request = self.peer.signed(Method::POST, &self.path, EVENT)?;
        let figures = load::run_warm(self.peer.port, &vec![request; connections], warming, time);
        figures.with_context(|| format!("invoke {} on {}", self.language, self.peer.name))
    }
}

/// Prints the medians of each function and server, and forgets the figures.
fn print(entries: &mut [Entry<'_>], connections: usize) {
    let mut ours = None;
    for entry in entries {
        let taken = std::mem::take(&mut entry.figures);
        let of = |pick: fn(&Figures) -> f64| median(taken.iter().map(pick));
        let (per_second, p50, p99) = (of(|f| f.per_second), of(|f| f.p50_us), of(|f| f.p99_us));
        if entry.peer.name == "lamp" {
            ours = Some((per_second, p50));
        }
        let (our_rate, our_p50) = ours.unwrap_or((f64::NAN, f64::NAN));
        println!(
            "{:<8}{:<21}{connections:>6}{per_second:>12.0}{p50:>10.1}{p99:>10.1}{:>15.2}{:>15.2}",
            entry.language,
            entry.peer.name,
            p50 / our_p50,
            our_rate / per_second
        );
    }
}

//! Speed, as ratios to peers and to the machine's limit, measured in the same run and interleaved.
//!
//! `cargo xtask bench [CASE…]` builds everything optimised and starts this. Cases: `requests` (signed reads and durable
//! writes), `server` (start-up, memory, size), `many` (ten thousand functions), `invoke_warm` (functions that have run),
//! `invoke_throughput` (the same, many at once), `cold_start` (functions that have not), `cold_burst` (many of those at
//! once), `create_to_first_answer`, `density` (what idle ones cost), `logs_ingest` (log events beside invocations),
//! `logs_search` (beside grep and jq), `logs_disk` (bytes for a byte of log), `async_accept` (events that nobody waits for),
//! `sqs_cycle` (send, receive, delete), `sqs_to_function` (a queue that feeds a function), `sqs_waiting` (a million messages),
//! `pattern_match` (events against rules). `cargo xtask replay DIR` plays a trace instead.
//! Absolute figures belong to the machine; quote ratios. `LAMP_BENCH_ROUNDS=1` is for trying a case out, and
//! `LAMP_BENCH_EVENTS=20000` for trying one out that searches, keeps or queues a million.

mod answer;
mod burst;
mod ceiling;
mod cold;
mod density;
mod disk;
mod due;
mod events;
mod floor;
mod fork;
mod functions;
mod load;
mod logs;
mod many;
mod memory_group;
mod peer;
mod project;
mod replay;
mod report;
mod requests;
mod rounds;
mod sampler;
mod sandboxes;
mod server;
mod warm;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use http::{HeaderMap, Method};

/// A case: its name, and what it measures.
type Case = (&'static str, fn() -> Result<()>);

const CASES: &[Case] = &[
    ("requests", requests::run),
    ("server", server::run),
    ("many", many::run),
    ("invoke_warm", warm::run),
    ("invoke_throughput", warm::run_throughput),
    ("cold_start", cold::run),
    ("cold_burst", burst::run),
    ("create_to_first_answer", cold::run_create),
    ("density", density::run),
    ("logs_ingest", logs::ingest::run),
    ("logs_search", logs::search::run),
    ("logs_disk", logs::disk::run),
    ("async_accept", events::accept::run),
    ("sqs_cycle", events::cycle::run),
    ("sqs_to_function", events::feeding::run),
    ("sqs_waiting", events::waiting::run),
    ("pattern_match", events::pattern::run),
];

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    // The servers of the limits, and their processes, are this program too.
    ended(match wanted.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["floor"] => floor::serve(),
        ["ceiling", language] => ceiling::serve(language),
        ["echo"] => ceiling::echo(),
        ["load", port, function, connections, seconds] => load(port, function, connections, seconds),
        ["replay", arguments @ ..] => replay::run(arguments),
        ["small_machine", seconds @ ..] => density::run_small(seconds),
        _ => cases(&wanted),
    })
}

/// Invokes a function of a server that runs already, to look at it meanwhile.
fn load(port: &str, function: &str, connections: &str, seconds: &str) -> Result<()> {
    let (port, connections) = (port.parse()?, connections.parse()?);
    let path = functions::Function::invoke_path(function);
    let request = peer::signed(port, HeaderMap::new(), Method::POST, &path, functions::EVENT)?;
    let time = Duration::from_secs(seconds.parse()?);
    println!("{:?}", load::run(port, &vec![request; connections], time)?);
    Ok(())
}

fn cases(wanted: &[String]) -> Result<()> {
    if let Some(unknown) = wanted.iter().find(|name| !CASES.iter().any(|(known, _)| known == name)) {
        let names: Vec<&str> = CASES.iter().map(|(name, _)| *name).collect();
        bail!("find the case {unknown}: there are {}", names.join(", "));
    }
    for (name, run) in CASES {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            println!("\n# {name}");
            let ((), ms) = rounds::timed(run)?;
            println!("({:.0} s)", ms / 1e3);
        }
    }
    Ok(())
}

fn ended(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: failed to {error:#}");
            ExitCode::FAILURE
        }
    }
}

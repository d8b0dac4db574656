//! First invocations: no process has run this version of the function before. Beside them the same work in a fresh process
//! of the language, without any sandbox, and peers.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, Method};

use crate::functions::{self, EVENT, Function, Language};
use crate::load::Client;
use crate::peer::Peer;
use crate::project::Project;
use crate::rounds::{median, shown, timed, undisturbed, undisturbed_once};

const ROUNDS: usize = 7;
/// Of peers that take a second each time.
const ROUNDS_OF_SLOW: usize = 3;
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
    fresh: Vec<f64>,
    offline: Vec<f64>,
    ministack: Vec<f64>,
}

pub fn run() -> Result<()> {
    let functions = functions::built()?;
    let project = Project::new(&functions, ROUNDS_OF_SLOW)?;
    let (lamp, ministack, offline) =
        (Peer::lamp_logging()?, Peer::ministack()?, Peer::serverless_offline(project.path())?);
    let mut cold: Vec<Cold> = functions.iter().map(|_| Cold::default()).collect();
    // What is once for a language (interpreters are looked for, our part is compiled) is not once for a function.
    let mut first = Vec::new();
    for function in &functions {
        lamp.create(function, &format!("first-{}", function.name), 0)?;
        first.push(invoke(&lamp, &format!("first-{}", function.name))?.1);
    }
    for round in 0..ROUNDS {
        for (function, cold) in functions.iter().zip(&mut cold) {
            let name = format!("{}-{round}", function.name);
            lamp.create(function, &name, round as u32 + 1)?;
            if let Some((report, total)) = undisturbed_once(|| invoke(&lamp, &name))? {
                cold.total.push(total);
                cold.init.push(report.init_ms);
                cold.handler.push(report.handler_ms);
                cold.rest.push(total - report.init_ms - report.handler_ms);
            }
            cold.fresh.push(undisturbed(|| fresh(function))?);
            if round < ROUNDS_OF_SLOW && matches!(function.language, Language::Python | Language::Node) {
                let deployed = Project::deployed(function.name, round);
                cold.offline.extend(undisturbed_once(|| Ok(invoke(&offline, &deployed)?.1))?);
                ministack.create(function, &name, round as u32)?;
                cold.ministack.extend(undisturbed_once(|| Ok(invoke(&ministack, &name)?.1))?);
            }
        }
    }
    print(&functions, &cold, &first);
    Ok(())
}

/// What a function's log says of its invocation.
#[derive(Debug)]
struct Report {
    init_ms: f64,
    handler_ms: f64,
}

/// Invokes once over a connection of its own, and tells how many milliseconds that took.
fn invoke(peer: &Peer, function: &str) -> Result<(Report, f64)> {
    let mut headers = HeaderMap::new();
    headers.insert("x-amz-log-type", HeaderValue::from_static("Tail"));
    let request = peer.signed_with(headers, Method::POST, &Function::invoke_path(function), EVENT)?;
    let mut client = Client::new(peer.port)?;
    let (answer, ms) = timed(|| client.send(&request))?;
    answer.check().with_context(|| format!("invoke {function} on {}", peer.name))?;
    let tail = STANDARD.decode(answer.header("x-amz-log-result").unwrap_or_default())?;
    let tail = String::from_utf8_lossy(&tail);
    let figure = |name: &str| {
        let found = tail.split('\t').find_map(|part| part.trim().strip_prefix(name)?.strip_suffix(" ms"));
        found.and_then(|figure| figure.trim().parse().ok()).unwrap_or(f64::NAN)
    };
    Ok((Report { init_ms: figure("Init Duration:"), handler_ms: figure("Duration:") }, ms))
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

/// From the request that creates a function until it has answered: what a user waits for after each deployment.
pub fn run_create() -> Result<()> {
    let mut functions = functions::built()?;
    // The largest zip stands for large ones.
    functions.retain(|function| function.is_plain() || function.name == "python-boto3");
    let (lamp, ministack) = (Peer::lamp_logging()?, Peer::ministack()?);
    println!("{:<14}{:>9}{:>12}{:>16}", "medians in ms", "lamp", "MiniStack", "MiniStack/lamp");
    for function in &functions {
        // What is once for a language.
        create_to_answer(&lamp, function, ROUNDS as u32)?;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS as u32 {
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
    let create = peer.signed(Method::POST, "/2015-03-31/functions", &function.create(&name, number)?)?;
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

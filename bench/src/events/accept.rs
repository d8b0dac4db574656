//! Events that are left to run later (`InvocationType=Event`): how many a second are on the disk and acknowledged, while those
//! before them run.

use std::time::Duration;

use anyhow::{Context, Result};
use http::{HeaderMap, HeaderValue, Method};

use crate::disk::Synced;
use crate::functions::{self, EVENT, Function, Language};
use crate::load::{self, Client, Figures};
use crate::peer::Peer;
use crate::rounds::{median, rounds, shown, timed, undisturbed};

const ROUNDS: usize = 5;
const TIME: Duration = Duration::from_secs(2);
const WARMING: Duration = Duration::from_millis(200);
const CONNECTIONS: [usize; 3] = [1, 16, 64];
/// Before the first sample: a new server's files grow; one that has run for a while writes its log again.
const FIRST_CONNECTIONS: usize = 16;
/// How long a server may take to run what it has acknowledged.
const PATIENCE: Duration = Duration::from_secs(180);
/// Of what the ceiling answers in native code.
const GOAL: f64 = 0.2;

/// A server, what is sent to it, and what came of it.
struct Entry<'p> {
    peer: &'p Peer,
    what: &'static str,
    request: Vec<u8>,
    figures: Vec<Figures>,
    /// Events run a second, those included that ran after the last was accepted.
    run: Vec<f64>,
}

pub fn run() -> Result<()> {
    let functions = functions::built()?;
    let of = |language| functions.iter().find(|function| function.language == language && function.is_plain());
    let native = of(Language::Native).context("find a native function that is built")?;
    let ceiling = Peer::ceiling("native")?;
    let lamp = Peer::lamp_with(&["--concurrency", "10000"])?;
    lamp.create(native, "native", 0)?;
    let (ministack, moto) = (Peer::ministack()?, Peer::moto()?);
    let mut entries = vec![
        Entry::new(&ceiling, "native, waited for", "native", HeaderMap::new())?,
        Entry::new(&lamp, "native, durable", "native", later())?,
    ];
    if let Some(python) = of(Language::Python) {
        ministack.create(python, "python", 0)?;
        entries.push(Entry::new(&ministack, "python, in memory", "python", later())?);
        // Without Docker it acknowledges events and runs none.
        let put = moto.signed(Method::POST, "/moto-api/config", r#"{"lambda":{"use_docker":false}}"#)?;
        Client::new(moto.port)?.send(&put)?.check()?;
        make_role(&moto)?;
        moto.create(python, "python", 0)?;
        entries.push(Entry::new(&moto, "runs nothing", "python", later())?);
    }
    for entry in &entries {
        entry.sample(FIRST_CONNECTIONS)?;
    }
    println!(
        "{:<12}{:<20}{:>6}{:>12}{:>10}{:>10}{:>15}{:>12}{:>12}",
        "", "", "conns", "accepted/s", "p50 us", "p99 us", "lamp's / rate", "of ceiling", "run/s"
    );
    for connections in CONNECTIONS {
        let mut disk = Vec::new();
        for _ in 0..rounds(ROUNDS) {
            disk.push(Synced::measure()?);
            for entry in &mut entries {
                let (figures, run) = undisturbed(|| entry.sample(connections))?;
                entry.figures.push(figures);
                entry.run.push(run);
            }
        }
        print(&mut entries, connections);
        Synced::print(&disk);
    }
    println!("(goal: {GOAL} of the ceiling)");
    Ok(())
}

fn later() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("x-amz-invocation-type", HeaderValue::from_static("Event"));
    headers
}

/// moto wants the role to be there.
fn make_role(moto: &Peer) -> Result<()> {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/x-www-form-urlencoded"));
    let body = "Action=CreateRole&Version=2010-05-08&RoleName=r&AssumeRolePolicyDocument=%7B%7D";
    let request = crate::peer::signed_for("iam", moto.port, headers, Method::POST, "/", body)?;
    Client::new(moto.port)?.send(&request)?.check().context("make a role on moto")
}

impl<'p> Entry<'p> {
    fn new(peer: &'p Peer, what: &'static str, function: &str, headers: HeaderMap) -> Result<Self> {
        let request = peer.signed_with(headers, Method::POST, &Function::invoke_path(function), EVENT)?;
        Ok(Self { peer, what, request, figures: Vec::new(), run: Vec::new() })
    }

    /// What was accepted, and how many of those ran a second until all had.
    fn sample(&self, connections: usize) -> Result<(Figures, f64)> {
        let requests = vec![self.request.clone(); connections];
        let (figures, ms) = timed(|| {
            let figures = load::run_warm(self.peer.port, &requests, WARMING, TIME)?;
            self.peer.wait_until_idle(PATIENCE)?;
            Ok(figures)
        })?;
        let accepted = figures.per_second * (WARMING + TIME).as_secs_f64();
        Ok((figures, accepted / ms * 1e3))
    }
}

/// Prints the medians of each server, and forgets the figures.
fn print(entries: &mut [Entry<'_>], connections: usize) {
    let taken = |entry: &mut Entry<'_>| {
        (Figures::medians(&std::mem::take(&mut entry.figures)), median(std::mem::take(&mut entry.run)))
    };
    let medians: Vec<(Figures, f64)> = entries.iter_mut().map(taken).collect();
    let rate = |number: usize| medians.get(number).map_or(f64::NAN, |(figures, _)| figures.per_second);
    let (ceiling, ours) = (rate(0), rate(1));
    for (entry, (figures, run)) in entries.iter().zip(&medians) {
        println!(
            "{:<12}{:<20}{connections:>6}{:>12.0}{:>10.1}{:>10.1}{:>15.2}{:>12}{:>12}",
            entry.peer.name,
            entry.what,
            figures.per_second,
            figures.p50_us,
            figures.p99_us,
            ours / figures.per_second,
            shown(figures.per_second / ceiling, 3),
            shown(*run, 0)
        );
    }
}

//! What lines cost that a function prints, and whether they can be read.

use std::time::Duration;

use anyhow::{Result, bail};
use http::Method;

use super::client::Logs;
use crate::functions::{Function, Language};
use crate::load::{self, Figures};
use crate::peer::Peer;
use crate::rounds::{median, rounds, undisturbed};

const ROUNDS: usize = 3;
const WARMING: Duration = Duration::from_millis(200);
const TIME: Duration = Duration::from_millis(700);
/// Before the first, for what is started and compiled.
const FIRST: Duration = Duration::from_millis(1000);

const LINES: [u32; 3] = [0, 1, 10];

/// Lines are in the log within a second; a machine at its limit may take longer.
const LOOKS_MAX: usize = 50;
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Calls functions over one connection, with no line, one and ten in turn.
pub fn run(lamp: &Peer, functions: &[Function]) -> Result<()> {
    println!(
        "\n{:<10}{:>12}{:>12}{:>12}{:>16}{:>18}",
        "", "0 lines us", "1 line us", "10 lines us", "us for a line", "10 lines / none"
    );
    let counting = [Language::Native, Language::Python, Language::Node];
    for function in functions.iter().filter(|function| function.is_plain() && counting.contains(&function.language)) {
        let name = format!("lines-{}", function.name);
        lamp.create(function, &name, 2)?;
        let sample = |lines: u32, warming, time| -> Result<Figures> {
            let event = format!(r#"{{"lines":{lines}}}"#);
            let request = lamp.signed(Method::POST, &Function::invoke_path(&name), &event)?;
            load::run_warm(lamp.port, &[request], warming, time)
        };
        sample(10, Duration::ZERO, FIRST)?;
        let mut figures = LINES.map(|_| Vec::new());
        for _ in 0..rounds(ROUNDS) {
            for (lines, figures) in LINES.iter().zip(&mut figures) {
                figures.push(undisturbed(|| sample(*lines, WARMING, TIME))?.p50_us);
            }
        }
        let [none, one, ten] = figures.map(median);
        println!(
            "{:<10}{none:>12.1}{one:>12.1}{ten:>12.1}{:>16.2}{:>18.2}",
            function.name,
            (ten - none) / 10.0,
            ten / none
        );
    }
    Ok(())
}

/// How many lines that `function` printed are readable, as soon as `expected` are, or when nothing more comes.
pub fn count(lamp: &Peer, function: &str, expected: u64) -> Result<u64> {
    let mut logs = Logs::of(lamp.port)?;
    let mut found = 0;
    for _ in 0..LOOKS_MAX {
        found = logs.count(&format!("/aws/lambda/{function}"), "\"an event came\"")?;
        if found >= expected {
            return Ok(found);
        }
        std::thread::sleep(LOOK_EVERY);
    }
    if found == 0 {
        bail!("read what {function} printed: there is nothing");
    }
    Ok(found)
}

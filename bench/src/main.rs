//! Speed, as ratios to peers and to the machine's limit, measured in the same run and interleaved.
//!
//! `cargo xtask bench [CASE…]` builds everything optimised and starts this. Cases: `requests` (signed reads and durable
//! writes), `server` (start-up, memory, size), `many` (ten thousand functions). Absolute figures belong to the machine;
//! quote ratios.

mod floor;
mod load;
mod many;
mod peer;
mod requests;
mod server;

use std::process::ExitCode;

use anyhow::{Result, bail};

/// A case: its name, and what it measures.
type Case = (&'static str, fn() -> Result<()>);

const CASES: &[Case] = &[("requests", requests::run), ("server", server::run), ("many", many::run)];

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if wanted == ["floor"] {
        return ended(floor::serve());
    }
    ended(cases(&wanted))
}

fn cases(wanted: &[String]) -> Result<()> {
    if let Some(unknown) = wanted.iter().find(|name| !CASES.iter().any(|(known, _)| known == name)) {
        bail!("find the case {unknown}: there are requests, server and many");
    }
    for (name, run) in CASES {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            println!("\n# {name}");
            run()?;
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

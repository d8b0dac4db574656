//! `lamp`: the serverless cloud in one binary. This file runs a command and words its failure; they are beside it.

mod backup;
mod cli;
mod config;
mod control;
mod cost;
mod credentials;
mod doctor;
mod events;
mod functions;
mod keys;
mod log;
mod logs;
mod mapping;
mod near;
mod platform;
mod queue;
mod reading;
mod root;
mod runtimes;
mod sandboxes;
mod start;
mod steering;
mod table;
mod top;
mod usage;
mod wait;
mod wiring;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;
use rustix::fs::Mode;

use crate::cli::{Cli, Command};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The process that makes sandboxes is this binary too, and must not have threads.
    if let Some(done) = sandbox::take_over() {
        return done;
    }
    // All that is written is the owner's alone: data, keys, sockets, backups.
    rustix::process::umask(Mode::from_raw_mode(0o077));
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            // What somebody typed, or a server said, may be in it.
            let lines: Vec<String> = base::with_causes(&*error).lines().map(logs::shown).collect();
            eprintln!("lamp: failed to {}", lines.join("\n"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode, Box<dyn Error>> {
    match command {
        Command::Doctor(options) => return doctor::run(options),
        Command::Cost(options) => cost::run(options)?,
        Command::Top(options) => top::run(options)?,
        Command::Logs(options) => logs::run(options)?,
        Command::Queue(command) => queue::run(command)?,
        Command::Mapping(command) => mapping::run(command)?,
        Command::Events(options) => events::run(options)?,
        Command::Wait(options) => return wait::run(options),
        Command::Start(settings) => start::run(settings)?,
        Command::Runtimes(options) => runtimes::run(options)?,
        Command::Backup(options) => backup::back_up(options)?,
        Command::Restore(options) => backup::restore(options)?,
        Command::RotateKey(place) => backup::rotate_key(place)?,
        Command::Credentials(place) => credentials::print(place)?,
    }
    Ok(ExitCode::SUCCESS)
}

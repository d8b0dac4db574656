//! The commands that look into queues, mappings and events of a server that runs, and steer them.

use std::str::FromStr;
use std::time::Duration;

use base::{AccountId, Region};
use clap::{Args, Subcommand};

use super::Place;
use super::reading::{Of, Since};

#[derive(Subcommand)]
pub enum Queue {
    /// List queues, and how much is in them
    Ls(Of),
    /// Show messages without receiving them
    Peek(Peek),
    /// Show what is sent to a queue from now on, until Ctrl-C
    Tail(Named),
    /// Move dead letters back to where they came from
    Redrive(Redrive),
    /// Remove all messages
    Purge(Named),
    /// Let nobody receive, and no message get too old, until it is thawed
    Freeze(Named),
    /// Let messages be received again
    Thaw(Named),
}

#[derive(Subcommand)]
pub enum Mapping {
    /// List mappings, and how their reading goes
    Ls(Of),
    /// Let a mapping read nothing until it is thawed; what it was called for goes on
    Freeze(ById),
    /// Let a mapping read again
    Thaw(ById),
}

#[derive(Args)]
pub struct Named {
    /// The queue's name
    pub queue: String,
    #[command(flatten)]
    pub of: Of,
}

#[derive(Args)]
pub struct ById {
    /// The mapping's UUID, as `lamp mapping ls` shows it
    pub uuid: String,
    #[command(flatten)]
    pub of: Of,
}

#[derive(Args)]
pub struct Peek {
    /// How many
    #[arg(long, value_name = "COUNT", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    pub limit: u16,
    #[command(flatten)]
    pub named: Named,
}

#[derive(Args)]
pub struct Redrive {
    /// Move them to this queue instead
    #[arg(long, value_name = "QUEUE")]
    pub to: Option<String>,
    #[command(flatten)]
    pub named: Named,
}

#[derive(Args)]
pub struct Events {
    /// The function's name
    pub function: String,
    /// How many of those that wait, and of the dead, are shown
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    pub limit: usize,
    /// Have dead events tried again as if they had just come: all of them, or those with --id
    #[arg(long)]
    pub redrive: bool,
    /// The id of a dead event
    #[arg(long = "id", value_name = "ID", requires = "redrive")]
    pub ids: Vec<String>,
    #[command(flatten)]
    pub of: Of,
}

#[derive(Args)]
pub struct Wait {
    /// Until no function runs, no event waits, and no message lies where a mapping reads
    #[arg(long, required = true)]
    pub until_idle: bool,
    /// Only what one request caused: its id, or the root of its trace
    #[arg(long, value_name = "ID")]
    pub trace: Option<String>,
    /// Leave after so long, and fail: 500ms, 30s, 5m, 2h, 1d
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub timeout: Span,
    /// Do not wait for what is to happen later: retries and delayed messages
    #[arg(long)]
    pub skip_later: bool,
    /// Only what is of this region
    #[arg(long, value_name = "NAME")]
    pub region: Option<Region>,
    /// Only what is of this account
    #[arg(long, value_name = "ID")]
    pub account: Option<AccountId>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub place: Place,
}

/// How long, as people say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

impl Span {
    pub const FORM: &str = "it takes seconds, or a number with its unit: 500ms, 90s, 5m, 2h or 1d";
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(Ok(millis)) = text.strip_suffix("ms").map(str::parse) {
            return Ok(Self(Duration::from_millis(millis)));
        }
        // As AWS's tools have it.
        if let Ok(seconds) = text.parse::<u32>() {
            return Ok(Self(Duration::from_secs(seconds.into())));
        }
        match text.parse() {
            Ok(Since::Ago(duration)) => Ok(Self(duration)),
            _ => Err(Self::FORM.into()),
        }
    }
}
